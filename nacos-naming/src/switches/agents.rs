//! Which clients of 1.x can be pushed to by UDP: a pure function of what they call themselves and of the switches
//! (Nacos `UdpPushService.canEnablePush`, `ClientInfo`).

use super::domain::{SwitchDomain, java_trim};

/// Whether the agent is of a kind and version that understands pushes, and pushes are on.
pub(super) fn can_push(domain: &SwitchDomain, agent: &str) -> bool {
    domain.push_enabled && oldest(domain, agent).is_some_and(|oldest| version_of_agent(agent) >= version(oldest))
}

/// The version from which on this kind of client is pushed to. Python clients call themselves nothing in particular
/// and are not: their switch stands for the DNS client.
fn oldest<'a>(domain: &'a SwitchDomain, agent: &str) -> Option<&'a str> {
    [
        ("Nacos-Go-Client", &domain.push_go_version),
        ("Nacos-Java-Client", &domain.push_java_version),
        ("Nacos-C-Client", &domain.push_c_version),
        ("vip-client4cpp", &domain.push_c_version),
        ("Nacos-CSharp-Client", &domain.push_csharp_version),
        ("Nacos-DNS", &domain.push_python_version),
    ]
    .into_iter()
    .find(|(kind, _)| agent.starts_with(kind))
    .map(|(_, oldest)| oldest.as_str())
}

/// The version after the first `:v`, 0.0.0 without one.
fn version_of_agent(agent: &str) -> [u32; 3] {
    agent.split_once(":v").map_or([0; 3], |(_, text)| version(text))
}

/// The first three parts of a version, each as far as it is digits (Jackson `VersionUtil.parseVersion`). What is too
/// large for the type is its largest number; Java's wrap around.
fn version(text: &str) -> [u32; 3] {
    let mut parts = java_trim(text).split(['-', '_', '.', '/', ';', ':']);
    std::array::from_fn(|_| {
        let digits = parts.next().unwrap_or_default().bytes().map_while(|b| b.is_ascii_digit().then_some(b - b'0'));
        digits.fold(0, |number: u32, digit| number.saturating_mul(10).saturating_add(digit.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_and_the_version_decide() {
        let domain = SwitchDomain::default();
        for (agent, pushed) in [
            ("Nacos-Java-Client:v1.4.2", true),
            ("Nacos-Java-Client:v0.1.0", true),
            ("Nacos-Java-Client:v0.0.9", false),
            ("Nacos-Java-Client:v0.1", true),
            ("Nacos-Java-Client:v0.1.0-beta", true),
            ("Nacos-Java-Client:v 1_2-3 ", true),
            ("Nacos-Java-Client:vx.9.9", true),
            ("Nacos-Java-Client:vx.0.9", false),
            ("Nacos-Java-Client:v", false),
            ("Nacos-Java-Client:v.", false),
            ("Nacos-Java-Client:1.4.2", false),
            ("Nacos-Java-Client", false),
            ("Nacos-Java-Client:v99999999999.0.0", true),
            ("nacos-java-client:v1.4.2", false),
            (" Nacos-Java-Client:v1.4.2", false),
            ("Nacos-Go-Client:v0.1.0", true),
            ("Nacos-Go-Client:v0.0.1", false),
            ("Nacos-C-Client:v1.0.12", true),
            ("Nacos-C-Client:v1.0.11", false),
            ("Nacos-C-Client:v1.0.9", false),
            ("vip-client4cpp:v1.1.0", true),
            ("vip-client4cpp:v1.0.2", false),
            ("Nacos-CSharp-Client:v0.9.0", true),
            ("Nacos-CSharp-Client:v0.8.9", false),
            ("Nacos-DNS:v0.4.3", true),
            ("Nacos-DNS:v0.4.2", false),
            ("Nacos-Python-Client:v9.9.9", false),
            ("Nacos-Php-Client:v9.9.9", false),
            ("Nacos-SDK-Java:v9.9.9", false),
            ("unit-nginx:v9.9.9", false),
            ("Nacos-Server:v9.9.9", false),
            ("unknown", false),
            ("", false),
        ] {
            assert_eq!(can_push(&domain, agent), pushed, "{agent}");
        }
    }

    #[test]
    fn each_kind_has_a_switch() {
        let old = "9.0.0".to_owned();
        let plain = SwitchDomain::default();
        for (agent, domain) in [
            ("Nacos-Java-Client:v8.9.9", SwitchDomain { push_java_version: old.clone(), ..plain.clone() }),
            ("Nacos-Go-Client:v8.9.9", SwitchDomain { push_go_version: old.clone(), ..plain.clone() }),
            ("Nacos-C-Client:v8.9.9", SwitchDomain { push_c_version: old.clone(), ..plain.clone() }),
            ("vip-client4cpp:v8.9.9", SwitchDomain { push_c_version: old.clone(), ..plain.clone() }),
            ("Nacos-CSharp-Client:v8.9.9", SwitchDomain { push_csharp_version: old.clone(), ..plain.clone() }),
            ("Nacos-DNS:v8.9.9", SwitchDomain { push_python_version: old, ..plain.clone() }),
        ] {
            assert!(can_push(&plain, agent), "{agent}");
            assert!(!can_push(&domain, agent), "{agent}");
            assert!(can_push(&domain, &agent.replace('8', "9")), "{agent}");
            assert!(!can_push(&SwitchDomain { push_enabled: false, ..plain.clone() }, agent), "{agent}");
        }
        // A client that says no version has 0.0.0.
        let any = SwitchDomain { push_java_version: "0.0.0".to_owned(), ..plain };
        assert!(can_push(&any, "Nacos-Java-Client"));
    }

    #[test]
    fn versions_are_jacksons() {
        for (text, parts) in [
            ("1.2.3", [1, 2, 3]),
            ("v1.2.3", [0, 2, 3]),
            (" 1.2 ", [1, 2, 0]),
            ("1-2_3", [1, 2, 3]),
            ("", [0, 0, 0]),
            ("1.x.3", [1, 0, 3]),
            ("1.2.3-beta", [1, 2, 3]),
            (".1", [0, 1, 0]),
            ("1..2", [1, 0, 2]),
            ("1/2;3:4", [1, 2, 3]),
            ("99999999999.1.0", [u32::MAX, 1, 0]),
        ] {
            assert_eq!(version(text), parts, "{text}");
        }
    }
}
