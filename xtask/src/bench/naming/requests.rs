//! What a Java client of 1.4 sends for service discovery, for instances that are made up by number.

use std::fmt::Write as _;
use std::net::SocketAddrV4;

use crate::bench::wire::encoded;

/// The path under which instances are registered.
pub const INSTANCE: &str = "/nacos/v1/ns/instance";
/// The path of heartbeats.
pub const BEAT: &str = "/nacos/v1/ns/instance/beat";
/// The path of lists.
pub const LIST: &str = "/nacos/v1/ns/instance/list";
/// The answer to the heartbeat of an instance that is known.
pub const BEATEN: &str = r#"{"clientBeatInterval":5000,"code":10200,"lightBeatEnabled":true}"#;

/// `NamingProxy.builderHeader` of 1.4.1, and what its HTTP client adds.
const HEADERS: &str = "Host: 127.0.0.1\r\nClient-Version: 1.4.1\r\nUser-Agent: Nacos-Java-Client:v1.4.1\r\n\
                       Accept-Encoding: gzip,deflate,sdch\r\nConnection: Keep-Alive\r\n\
                       RequestId: 8d5bb9b5-5ae4-4b29-a7d3-0f2f5c1f7b06\r\nRequest-Module: Naming\r\n\
                       Content-Type: application/x-www-form-urlencoded;charset=UTF-8\r\nAccept-Charset: UTF-8\r\n";

/// Instances made up by number, so many in a service. Each has an address of its own in 127.0.0.0/8, and all names and
/// addresses of one size of service are of one length.
#[derive(Clone, Copy)]
pub struct Size(pub u32);

impl Size {
    /// The name of the service that this instance is in.
    pub fn service_of(self, number: u32) -> String {
        self.service(number / self.0)
    }

    /// The name of this service, without its group.
    pub fn service(self, service: u32) -> String {
        format!("bench-{}-{service:06}", self.0)
    }

    fn ip(self, number: u32) -> String {
        // Every part has three digits.
        format!("127.{}.{}.{}", 100 + number / 10_000 % 100, 100 + number / 100 % 100, 100 + number % 100)
    }

    fn port(self) -> u32 {
        8000 + self.0
    }

    /// Registers the instance.
    pub fn register(self, number: u32) -> Vec<u8> {
        let target = format!(
            "{INSTANCE}?app=unknown&metadata=%7B%7D&ip={}&weight=1.0&ephemeral=true&serviceName=DEFAULT_GROUP%40%40{}\
             &enable=true&groupName=DEFAULT_GROUP&clusterName=DEFAULT&port={}&healthy=true&namespaceId=public",
            self.ip(number),
            self.service_of(number),
            self.port()
        );
        request("POST", &target, Some(""))
    }

    /// A heartbeat without the instance's description.
    pub fn light_beat(self, number: u32) -> Vec<u8> {
        self.beat(number, "")
    }

    /// A heartbeat with it.
    pub fn full_beat(self, number: u32) -> Vec<u8> {
        let beat = format!(
            r#"{{"port":{},"ip":"{}","weight":1.0,"serviceName":"DEFAULT_GROUP@@{}","cluster":"DEFAULT","metadata":{{}},"scheduled":false,"period":5000,"stopped":false}}"#,
            self.port(),
            self.ip(number),
            self.service_of(number)
        );
        self.beat(number, &format!("beat={}", encoded(&beat)))
    }

    fn beat(self, number: u32, form: &str) -> Vec<u8> {
        let target = format!(
            "{BEAT}?app=unknown&serviceName=DEFAULT_GROUP%40%40{}&namespaceId=public&port={}&clusterName=DEFAULT&ip={}",
            self.service_of(number),
            self.port(),
            self.ip(number)
        );
        request("PUT", &target, Some(form))
    }

    /// Asks for the list of a service; from now on its changes are told to the subscriber, if one is named.
    pub fn list(self, service: u32, subscriber: Option<SocketAddrV4>) -> Vec<u8> {
        let subscriber = subscriber.unwrap_or(SocketAddrV4::new([127, 0, 0, 1].into(), 0));
        let target = format!(
            "{LIST}?app=unknown&healthyOnly=false&namespaceId=public&clientIP={}&serviceName=DEFAULT_GROUP%40%40{}\
             &udpPort={}&clusters=",
            subscriber.ip(),
            self.service(service),
            subscriber.port()
        );
        request("GET", &target, None)
    }
}

/// A request with the headers of the Java client, and with this form if it is one that may have a body.
pub fn request(method: &str, target: &str, form: Option<&str>) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n{HEADERS}");
    if let Some(form) = form {
        let _ = write!(text, "Content-Length: {}\r\n\r\n{form}", form.len());
    } else {
        text.push_str("\r\n");
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn addresses_differ_and_are_of_one_length() {
        let size = Size(10);
        let all: HashSet<String> = (0..1_000_000).step_by(7).map(|number| size.ip(number)).collect();
        assert_eq!(all.len(), 1_000_000_usize.div_ceil(7));
        assert!(all.iter().all(|ip| ip.len() == 15 && ip.parse::<std::net::Ipv4Addr>().is_ok()));
    }

    #[test]
    fn a_beat_is_of_the_instance_that_was_registered() {
        let [register, beat] = [Size(10).register(12_345), Size(10).light_beat(12_345)].map(String::from_utf8);
        for part in ["serviceName=DEFAULT_GROUP%40%40bench-10-001234&", "ip=127.101.123.145", "port=8010&"] {
            assert!(
                [&register, &beat].iter().all(|text| text.as_ref().is_ok_and(|text| text.contains(part))),
                "{part}"
            );
        }
        assert!(beat.is_ok_and(|text| text.ends_with("\r\nContent-Length: 0\r\n\r\n")));
    }
}
