//! The switches as values: names, order and defaults of Nacos' `SwitchDomain`, and the states of a server.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

/// All switches (Nacos `SwitchDomain`). Its serde form is what `GET /operator/switches` answers and what logs and
/// snapshots hold: a member that is missing has its default, one that is unknown is passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SwitchDomain {
    /// Entry `masters`. Kept and shown.
    pub masters: Option<Vec<String>>,
    /// No entry. Kept and shown.
    pub ad_weight_map: BTreeMap<String, i32>,
    /// Entry `pushCacheMillis`: how long an instance list is good for, as it says itself, and how long a UDP subscriber
    /// that does not come back is kept; ms.
    pub default_push_cache_millis: i64,
    /// What answers to beats tell clients: how often to beat; ms.
    pub client_beat_interval: i64,
    /// Kept and shown.
    pub default_cache_millis: i64,
    /// Kept and shown. Finite and above 0.
    pub distro_threshold: f32,
    /// Entry `check`: whether persistent instances are probed, and ephemeral ones without beats marked unhealthy.
    pub health_check_enabled: bool,
    /// Kept and shown.
    pub auto_change_health_check_enabled: bool,
    /// Entry `distro`: whether each member answers for its share of the services alone.
    pub distro_enabled: bool,
    /// Kept and shown.
    pub enable_standalone: bool,
    /// Whether subscribers are pushed to at all.
    pub push_enabled: bool,
    /// Entry `healthCheckTimes`: how many probes in a row make an instance healthy or unhealthy.
    pub check_times: i32,
    /// How often to probe by HTTP.
    #[serde(deserialize_with = "http")]
    pub http_health_params: HealthParams,
    /// How often to probe by TCP.
    #[serde(deserialize_with = "tcp")]
    pub tcp_health_params: HealthParams,
    /// How often to probe MySQL.
    #[serde(deserialize_with = "mysql")]
    pub mysql_health_params: HealthParams,
    /// No entry. Kept and shown.
    pub incremental_list: Vec<String>,
    /// Kept and shown; ms.
    pub server_status_synchronization_period_millis: i64,
    /// Kept and shown; ms.
    pub service_status_synchronization_period_millis: i64,
    /// Kept and shown.
    #[serde(rename = "disableAddIP")]
    pub disable_add_ip: bool,
    /// Kept and shown.
    pub send_beat_only: bool,
    /// What answers to beats tell clients: whether a beat may leave the instance out.
    pub light_beat_enabled: bool,
    /// The beginnings of addresses that are answered with a status alone.
    pub limited_url_map: BTreeMap<String, i32>,
    /// Kept and shown; ms.
    pub distro_server_expired_millis: i64,
    /// The oldest Go client that is pushed to by UDP.
    pub push_go_version: String,
    /// The oldest Java client that is pushed to by UDP.
    pub push_java_version: String,
    /// The oldest DNS client that is pushed to by UDP.
    pub push_python_version: String,
    /// The oldest C or C++ client that is pushed to by UDP.
    pub push_c_version: String,
    /// The oldest C# client that is pushed to by UDP.
    #[serde(rename = "pushCSharpVersion")]
    pub push_csharp_version: String,
    /// No entry. Kept and shown.
    pub enable_authentication: bool,
    /// The name of the [`ServerStatus`] that the server is to be in whatever its own; blank for none. Not checked.
    pub overridden_server_status: Option<String>,
    /// Whether an instance is ephemeral if its registration does not say.
    pub default_instance_ephemeral: bool,
    /// No entry. Services (`group@@name`) whose health is checked although `health_check_enabled` is off.
    pub health_check_white_list: BTreeSet<String>,
    /// Always the same.
    #[serde(skip_deserializing)]
    pub name: DomainName,
    /// Always null.
    #[serde(skip_deserializing)]
    pub checksum: (),
}

impl Default for SwitchDomain {
    fn default() -> Self {
        Self {
            masters: None,
            ad_weight_map: BTreeMap::new(),
            default_push_cache_millis: 10_000,
            client_beat_interval: 5_000,
            default_cache_millis: 3_000,
            distro_threshold: 0.7,
            health_check_enabled: true,
            auto_change_health_check_enabled: true,
            distro_enabled: true,
            enable_standalone: true,
            push_enabled: true,
            check_times: 3,
            http_health_params: HealthParams::HTTP,
            tcp_health_params: HealthParams::TCP,
            mysql_health_params: HealthParams::MYSQL,
            incremental_list: Vec::new(),
            server_status_synchronization_period_millis: 2_000,
            service_status_synchronization_period_millis: 5_000,
            disable_add_ip: false,
            send_beat_only: false,
            light_beat_enabled: true,
            limited_url_map: BTreeMap::new(),
            distro_server_expired_millis: 10_000,
            push_go_version: "0.1.0".to_owned(),
            push_java_version: "0.1.0".to_owned(),
            push_python_version: "0.4.3".to_owned(),
            push_c_version: "1.0.12".to_owned(),
            push_csharp_version: "0.9.0".to_owned(),
            enable_authentication: false,
            overridden_server_status: None,
            default_instance_ephemeral: true,
            health_check_white_list: BTreeSet::new(),
            name: DomainName,
            checksum: (),
        }
    }
}

impl SwitchDomain {
    /// The state that [`overridden_server_status`](Self::overridden_server_status) names. A name that is none overrides
    /// nothing; in Nacos it ends the task that looks after the state, which then stays as it is until a restart.
    pub fn overridden(&self) -> Option<ServerStatus> {
        self.overridden_server_status.as_deref().and_then(ServerStatus::of_name)
    }
}

/// The constant name of the domain (Nacos `UtilsAndCommons.SWITCH_DOMAIN_NAME`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DomainName;

impl Serialize for DomainName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("00-00---000-NACOS_SWITCH_DOMAIN-000---00-00")
    }
}

/// The time between two probes of an instance: the smoothed time that a probe takes, within limits (Nacos
/// `HealthParams`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HealthParams {
    /// At most so long; ms.
    pub max: i32,
    /// At least so long; ms.
    pub min: i32,
    /// What the time before counts against the new one, 0 to 1. Finite.
    pub factor: f32,
}

impl HealthParams {
    /// The defaults for HTTP.
    pub const HTTP: Self = Self { max: 5_000, min: 500, factor: 0.85 };
    /// The defaults for TCP.
    pub const TCP: Self = Self { max: 5_000, min: 1_000, factor: 0.75 };
    /// The defaults for MySQL.
    pub const MYSQL: Self = Self { max: 3_000, min: 2_000, factor: 0.65 };

    /// Reads an object as Jackson does, with these for what is missing: a null and a blank text are 0, texts are read
    /// as numbers, whole numbers lose their fraction. `None` for what it does not read, and for numbers that are not
    /// finite.
    pub(super) fn read(self, value: &Value) -> Option<Self> {
        let value = value.as_object()?;
        Some(Self {
            max: value.get("max").map_or(Some(self.max), whole)?,
            min: value.get("min").map_or(Some(self.min), whole)?,
            factor: value.get("factor").map_or(Some(self.factor), fraction)?,
        })
    }
}

fn whole(value: &Value) -> Option<i32> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.try_into().ok(),
            // Beyond the limits of the type, nothing is cut off to come back within them.
            None => number.as_f64().filter(|n| (i32::MIN.into()..=i32::MAX.into()).contains(n)).map(|n| n as i32),
        },
        Value::String(text) => match java_trim(text) {
            "" | "null" => Some(0),
            text => text.parse().ok(),
        },
        Value::Null => Some(0),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn fraction(value: &Value) -> Option<f32> {
    let number = match value {
        Value::Number(number) => number.as_f64()? as f32,
        Value::String(text) => match java_trim(text) {
            "" | "null" => 0.0,
            text => java_float(text)?,
        },
        Value::Null => 0.0,
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    number.is_finite().then_some(number)
}

/// Java's `String.trim`.
pub(super) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// Java's `Float.parseFloat` of a text without blanks around it. Not read: hexadecimal numbers.
pub(super) fn java_float(text: &str) -> Option<f32> {
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        // Rust reads these in other spellings too.
        "NaN" | "Infinity" => text.parse().ok(),
        number if number.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text).parse().ok()
        }
        _ => None,
    }
}

fn http<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HealthParams, D::Error> {
    stored(HealthParams::HTTP, deserializer)
}

fn tcp<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HealthParams, D::Error> {
    stored(HealthParams::TCP, deserializer)
}

fn mysql<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HealthParams, D::Error> {
    stored(HealthParams::MYSQL, deserializer)
}

fn stored<'de, D: Deserializer<'de>>(default: HealthParams, deserializer: D) -> Result<HealthParams, D::Error> {
    let value = Value::deserialize(deserializer)?;
    default.read(&value).ok_or_else(|| D::Error::custom("health params are an object of max, min and factor"))
}

/// What a server does with requests (Nacos `ServerStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerStatus {
    /// Everything.
    Up,
    /// Refuses all but those of its peers.
    Down,
    /// As down: not ready yet.
    Starting,
    /// As down: an operator's wish.
    Paused,
    /// Refuses what reads.
    WriteOnly,
    /// Refuses what writes.
    ReadOnly,
}

impl ServerStatus {
    /// All of them, in Nacos' order.
    pub const ALL: [Self; 6] = [Self::Up, Self::Down, Self::Starting, Self::Paused, Self::WriteOnly, Self::ReadOnly];

    /// As Nacos spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "UP",
            Self::Down => "DOWN",
            Self::Starting => "STARTING",
            Self::Paused => "PAUSED",
            Self::WriteOnly => "WRITE_ONLY",
            Self::ReadOnly => "READ_ONLY",
        }
    }

    /// The one that is spelt so.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server of Nacos 2.4.3 answers before anything was changed, byte for byte.
    const DEFAULTS: &str = concat!(
        r#"{"masters":null,"adWeightMap":{},"defaultPushCacheMillis":10000,"clientBeatInterval":5000,"#,
        r#""defaultCacheMillis":3000,"distroThreshold":0.7,"healthCheckEnabled":true,"#,
        r#""autoChangeHealthCheckEnabled":true,"distroEnabled":true,"enableStandalone":true,"pushEnabled":true,"#,
        r#""checkTimes":3,"httpHealthParams":{"max":5000,"min":500,"factor":0.85},"#,
        r#""tcpHealthParams":{"max":5000,"min":1000,"factor":0.75},"#,
        r#""mysqlHealthParams":{"max":3000,"min":2000,"factor":0.65},"incrementalList":[],"#,
        r#""serverStatusSynchronizationPeriodMillis":2000,"serviceStatusSynchronizationPeriodMillis":5000,"#,
        r#""disableAddIP":false,"sendBeatOnly":false,"lightBeatEnabled":true,"limitedUrlMap":{},"#,
        r#""distroServerExpiredMillis":10000,"pushGoVersion":"0.1.0","pushJavaVersion":"0.1.0","#,
        r#""pushPythonVersion":"0.4.3","pushCVersion":"1.0.12","pushCSharpVersion":"0.9.0","#,
        r#""enableAuthentication":false,"overriddenServerStatus":null,"defaultInstanceEphemeral":true,"#,
        r#""healthCheckWhiteList":[],"name":"00-00---000-NACOS_SWITCH_DOMAIN-000---00-00","checksum":null}"#,
    );

    #[test]
    fn defaults_are_nacos() {
        assert_eq!(serde_json::to_string(&SwitchDomain::default()).ok().as_deref(), Some(DEFAULTS));
        assert_eq!(serde_json::from_str::<SwitchDomain>(DEFAULTS).ok(), Some(SwitchDomain::default()));
    }

    #[test]
    fn what_is_missing_has_its_default_and_what_is_unknown_is_passed_over() {
        let text = r#"{"checkTimes":7,"later":{"x":[1]},"name":"another","checksum":"x",
            "httpHealthParams":{"max":4000,"later":1},"tcpHealthParams":{},"mysqlHealthParams":{"factor":0.5}}"#;
        let expected = SwitchDomain {
            check_times: 7,
            http_health_params: HealthParams { max: 4_000, ..HealthParams::HTTP },
            mysql_health_params: HealthParams { factor: 0.5, ..HealthParams::MYSQL },
            ..SwitchDomain::default()
        };
        assert_eq!(serde_json::from_str::<SwitchDomain>(text).ok(), Some(expected));
        assert!(serde_json::from_str::<SwitchDomain>(r#"{"httpHealthParams":null}"#).is_err());
        assert!(serde_json::from_str::<SwitchDomain>(r#"{"checkTimes":"x"}"#).is_err());
    }

    #[test]
    fn the_stored_form_holds_every_value() {
        let domain = SwitchDomain {
            masters: Some(vec![String::new(), "a:1".to_owned()]),
            ad_weight_map: BTreeMap::from([("a".to_owned(), -1)]),
            distro_threshold: f32::MAX,
            limited_url_map: BTreeMap::from([("/x".to_owned(), 503)]),
            incremental_list: vec!["i".to_owned()],
            health_check_white_list: BTreeSet::from(["g@@s".to_owned()]),
            overridden_server_status: Some("\u{1}\"".to_owned()),
            mysql_health_params: HealthParams { max: i32::MIN, min: i32::MAX, factor: -1.0e-40 },
            ..SwitchDomain::default()
        };
        let text = serde_json::to_string(&domain).expect("it can be written");
        assert_eq!(serde_json::from_str::<SwitchDomain>(&text).ok(), Some(domain));
    }

    /// What Jackson made of the same texts, `None` where it threw.
    #[test]
    fn health_params_are_read_as_jackson_does() {
        for (text, max) in [
            (r#"4000"#, Some(4_000)),
            (r#""4000""#, Some(4_000)),
            (r#"4000.7"#, Some(4_000)),
            (r#"-4000.7"#, Some(-4_000)),
            (r#"null"#, Some(0)),
            (r#""""#, Some(0)),
            (r#"" 4001 ""#, Some(4_001)),
            (r#""+4001""#, Some(4_001)),
            (r#""null""#, Some(0)),
            (r#"true"#, None),
            (r#""x""#, None),
            (r#""4000.5""#, None),
            (r#"3000000000"#, None),
            (r#"3e9"#, None),
            (r#"2147483646.9"#, Some(i32::MAX - 1)),
            (r#"2147483647.1"#, None),
            (r#"-2147483648.9"#, None),
            (r#""3000000000""#, None),
            (r#"123456789012345678901234567890"#, None),
            (r#"{}"#, None),
            (r#"[4000]"#, None),
        ] {
            let value: Value = serde_json::from_str(&format!(r#"{{"max":{text}}}"#)).expect(text);
            let expected = max.map(|max| HealthParams { max, ..HealthParams::TCP });
            assert_eq!(HealthParams::TCP.read(&value), expected, "{text}");
        }
        for (text, factor) in [
            (r#"1"#, Some(1.0)),
            (r#"0.5"#, Some(0.5)),
            (r#""0.5""#, Some(0.5)),
            (r#"" 0.5f ""#, Some(0.5)),
            (r#"null"#, Some(0.0)),
            (r#""""#, Some(0.0)),
            (r#""1e-400""#, Some(0.0)),
            (r#"1e-60"#, Some(0.0)),
            (r#"true"#, None),
            (r#"[0.5]"#, None),
            // JSON has no such numbers; Nacos takes them and shows texts.
            (r#""NaN""#, None),
            (r#""Infinity""#, None),
            (r#"1e60"#, None),
        ] {
            let value: Value = serde_json::from_str(&format!(r#"{{"factor":{text}}}"#)).expect(text);
            let expected = factor.map(|factor| HealthParams { factor, ..HealthParams::TCP });
            assert_eq!(HealthParams::TCP.read(&value), expected, "{text}");
        }
    }

    #[test]
    fn floats_are_javas() {
        for (text, number) in [
            ("1f", 1.0),
            ("1d", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("-.5e-3", -0.0005),
            ("1e400", f32::INFINITY),
            ("+2", 2.0),
        ] {
            assert_eq!(java_float(text), Some(number), "{text}");
        }
        assert_eq!(java_float("-Infinity"), Some(f32::NEG_INFINITY));
        assert!(java_float("NaN").is_some_and(f32::is_nan));
        for text in [
            "",
            "x",
            "+",
            "-",
            "1e",
            "inf",
            "nan",
            "infinity",
            ".",
            "1_0",
            "1 f",
            "f",
            "1ff",
            "+-1",
            "--Infinity",
            " 1",
        ] {
            assert_eq!(java_float(text), None, "{text}");
        }
    }

    #[test]
    fn states_have_nacos_names() {
        let names = ServerStatus::ALL.map(ServerStatus::name);
        assert_eq!(names, ["UP", "DOWN", "STARTING", "PAUSED", "WRITE_ONLY", "READ_ONLY"]);
        for status in ServerStatus::ALL {
            assert_eq!(ServerStatus::of_name(status.name()), Some(status));
        }
        for (text, status) in [("DOWN", Some(ServerStatus::Down)), ("", None), (" UP", None), ("up", None)] {
            let domain = SwitchDomain { overridden_server_status: Some(text.to_owned()), ..SwitchDomain::default() };
            assert_eq!(domain.overridden(), status, "{text}");
        }
        assert_eq!(SwitchDomain::default().overridden(), None);
    }
}
