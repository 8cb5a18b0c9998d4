//! What `PUT /operator/switches` does with an entry and its value: a pure function from one domain to the next, with
//! Nacos' checks and texts (`SwitchManager.update`, `SwitchEntry`).

use std::collections::BTreeMap;

use serde_json::{Deserializer, Value};

use super::domain::{HealthParams, SwitchDomain, java_float, java_trim};

/// Why a switch was not changed. The texts are those of Nacos on Java 17.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// The value is not allowed, or no number: an `IllegalArgumentException` (which a `NumberFormatException` is).
    /// v1 400 with the text; v2 500, code 30000.
    #[error("{0}")]
    Illegal(String),
    /// The value lacks a part that Nacos looks for without checking: v1 500, `caused: TEXT;`; v2 500, code 30000.
    #[error("{0}")]
    Broken(String),
}

impl SwitchDomain {
    /// The domain with this entry set to this value. An entry that nobody knows changes nothing, and neither do some
    /// values: an empty `limitedUrlMap` (`,` is the one that clears it) and an `enableStandalone` that is not empty.
    ///
    /// Two kinds of values are refused that Nacos takes: numbers that are not finite, which JSON cannot hold, and
    /// `null` for health parameters, which makes the probes of Nacos fail.
    ///
    /// # Errors
    /// [`SwitchError`].
    pub fn with(&self, entry: &str, value: &str) -> Result<Self, SwitchError> {
        let mut next = self.clone();
        match entry {
            "distroThreshold" => next.distro_threshold = threshold(value)?,
            "clientBeatInterval" => next.client_beat_interval = number(value)?,
            "pushVersion" => {
                let (kind, version) = push_version(value)?;
                *match kind {
                    "java" => &mut next.push_java_version,
                    "python" => &mut next.push_python_version,
                    "c" => &mut next.push_c_version,
                    "go" => &mut next.push_go_version,
                    "csharp" => &mut next.push_csharp_version,
                    _ => return illegal(format!("unsupported client type: {kind}")),
                } = version.to_owned();
            }
            "pushCacheMillis" => {
                next.default_push_cache_millis =
                    at_least(10_000, value, "min cache time for http or tcp is too small(<10000)")?;
            }
            "defaultCacheMillis" => {
                next.default_cache_millis = at_least(1_000, value, "min default cache time  is too small(<1000)")?;
            }
            "masters" => next.masters = Some(java_split(value, ',').into_iter().map(str::to_owned).collect()),
            "distro" => next.distro_enabled = is_true(value),
            "check" => next.health_check_enabled = is_true(value),
            "pushEnabled" => next.push_enabled = is_true(value),
            "serviceStatusSynchronizationPeriodMillis" => {
                next.service_status_synchronization_period_millis =
                    at_least(5_000, value, "serviceStatusSynchronizationPeriodMillis is too small(<5000)")?;
            }
            "serverStatusSynchronizationPeriodMillis" => {
                // The text names another limit than the one that holds.
                next.server_status_synchronization_period_millis =
                    at_least(1_000, value, "serverStatusSynchronizationPeriodMillis is too small(<15000)")?;
            }
            "healthCheckTimes" => next.check_times = number(value)?,
            "disableAddIP" => next.disable_add_ip = is_true(value),
            "sendBeatOnly" => next.send_beat_only = is_true(value),
            "limitedUrlMap" if !value.is_empty() => next.limited_url_map = limited_urls(value)?,
            "enableStandalone" if value.is_empty() => next.enable_standalone = false,
            "overriddenServerStatus" => {
                next.overridden_server_status = Some(if value == "null" { String::new() } else { value.to_owned() });
            }
            "defaultInstanceEphemeral" => next.default_instance_ephemeral = is_true(value),
            "distroServerExpiredMillis" => next.distro_server_expired_millis = number(value)?,
            "lightBeatEnabled" => next.light_beat_enabled = means_true(value),
            "autoChangeHealthCheckEnabled" => next.auto_change_health_check_enabled = means_true(value),
            "httpHealthParams" => next.http_health_params = checked(health_params(HealthParams::HTTP, value)?)?,
            "tcpHealthParams" => next.tcp_health_params = checked(health_params(HealthParams::TCP, value)?)?,
            "mysqlHealthParams" => next.mysql_health_params = health_params(HealthParams::MYSQL, value)?,
            _ => {}
        }
        Ok(next)
    }
}

fn illegal<T>(text: impl Into<String>) -> Result<T, SwitchError> {
    Err(SwitchError::Illegal(text.into()))
}

fn threshold(value: &str) -> Result<f32, SwitchError> {
    let text = java_trim(value);
    if text.is_empty() {
        return illegal("empty String");
    }
    let Some(threshold) = java_float(text) else {
        // The one fault of a number that Java has words for.
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let digits = digits.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        let several = digits.matches('.').count() > 1;
        return illegal(if several { "multiple points".to_owned() } else { format!("For input string: \"{text}\"") });
    };
    if threshold <= 0.0 {
        return illegal(format!("distroThreshold can not be zero or negative: {}", java_float_text(threshold)));
    }
    if !threshold.is_finite() {
        return illegal(format!("distroThreshold must be finite: {}", java_float_text(threshold)));
    }
    Ok(threshold)
}

/// Java's `Float.toString`.
fn java_float_text(number: f32) -> String {
    let size = number.abs();
    if number.is_infinite() {
        (if number > 0.0 { "Infinity" } else { "-Infinity" }).to_owned()
    } else if size == 0.0 || (1e-3..1e7).contains(&size) || number.is_nan() {
        format!("{number:?}")
    } else {
        let text = format!("{number:E}");
        if text.contains('.') { text } else { text.replacen('E', ".0E", 1) }
    }
}

/// Java's `Long.parseLong` and `Integer.parseInt`, of ASCII digits.
fn number<T: std::str::FromStr>(value: &str) -> Result<T, SwitchError> {
    value.parse().or_else(|_| illegal(format!("For input string: \"{value}\"")))
}

fn at_least(least: i64, value: &str, text: &str) -> Result<i64, SwitchError> {
    let millis = number(value)?;
    if millis < least { illegal(text) } else { Ok(millis) }
}

/// Java's `Boolean.parseBoolean`.
fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

/// Nacos' `ConvertUtils.toBoolean`.
fn means_true(value: &str) -> bool {
    ["y", "yes", "on", "true", "t"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Java's `String.split`: empty parts at the end are left out, all of them if there is nothing else.
fn java_split(value: &str, separator: char) -> Vec<&str> {
    let mut parts: Vec<&str> = value.split(separator).collect();
    while parts.last().is_some_and(|part| part.is_empty()) && !value.is_empty() {
        parts.pop();
    }
    parts
}

fn push_version(value: &str) -> Result<(&str, &str), SwitchError> {
    let parts = java_split(value, ':');
    let part = |index: usize| {
        let missing = || SwitchError::Broken(format!("Index {index} out of bounds for length {}", parts.len()));
        parts.get(index).copied().ok_or_else(missing)
    };
    let (kind, version) = (part(0)?, part(1)?);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if version.split('.').count() == 3 && version.split('.').all(is_number) {
        Ok((kind, version))
    } else {
        illegal(r"illegal version, must match: [0-9]+\.[0-9]+\.[0-9]+")
    }
}

fn limited_urls(value: &str) -> Result<BTreeMap<String, i32>, SwitchError> {
    let mut urls = BTreeMap::new();
    for each in java_split(value, ',') {
        let [url, status, ..] = java_split(each, ':')[..] else { return illegal("invalid input for limited urls") };
        if url.is_empty() {
            return illegal("url can not be empty, url: ");
        }
        let status = number(status)?;
        if status <= 0 {
            return illegal(format!("illegal normal status code: {status}"));
        }
        urls.insert(url.to_owned(), status);
    }
    Ok(urls)
}

/// What the text says, and what it leaves out from the defaults, not from what is set. What follows the JSON is not
/// looked at.
fn health_params(default: HealthParams, value: &str) -> Result<HealthParams, SwitchError> {
    let value = Deserializer::from_str(value).into_iter::<Value>().next().and_then(Result::ok);
    value.and_then(|value| default.read(&value)).map_or_else(|| illegal("json param invalid."), Ok)
}

/// What Nacos checks for HTTP and TCP, not for MySQL.
fn checked(params: HealthParams) -> Result<HealthParams, SwitchError> {
    if params.min < 500 {
        illegal("min check time for http or tcp is too small(<500)")
    } else if params.max < 3_000 {
        illegal("max check time for http or tcp is too small(<3000)")
    } else if (0.0..=1.0).contains(&params.factor) {
        Ok(params)
    } else {
        illegal("malformed factor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members that the entry changes in a domain that has everything switched the other way.
    fn changed(entry: &str, value: &str) -> Result<Value, SwitchError> {
        let before = SwitchDomain {
            masters: Some(vec!["m".to_owned()]),
            limited_url_map: BTreeMap::from([("/old".to_owned(), 500)]),
            overridden_server_status: Some("DOWN".to_owned()),
            http_health_params: HealthParams { max: 1, min: 2, factor: 3.0 },
            tcp_health_params: HealthParams { max: 1, min: 2, factor: 3.0 },
            mysql_health_params: HealthParams { max: 1, min: 2, factor: 3.0 },
            ..SwitchDomain::default()
        };
        let after = before.with(entry, value)?;
        let members = |domain: &SwitchDomain| match serde_json::to_value(domain) {
            Ok(Value::Object(members)) => members,
            other => panic!("{other:?}"),
        };
        let before = members(&before);
        Ok(members(&after).into_iter().filter(|(name, value)| before[name] != *value).collect())
    }

    #[test]
    fn each_entry_changes_its_switch() {
        for (entry, value, expected) in [
            ("distroThreshold", "0.5", r#"{"distroThreshold":0.5}"#),
            ("distroThreshold", " 1e10f ", r#"{"distroThreshold":1e10}"#),
            ("clientBeatInterval", "6000", r#"{"clientBeatInterval":6000}"#),
            ("clientBeatInterval", "-1", r#"{"clientBeatInterval":-1}"#),
            ("clientBeatInterval", "+9223372036854775807", r#"{"clientBeatInterval":9223372036854775807}"#),
            ("pushVersion", "java:1.2.3", r#"{"pushJavaVersion":"1.2.3"}"#),
            ("pushVersion", "python:01.2.3:x", r#"{"pushPythonVersion":"01.2.3"}"#),
            ("pushVersion", "c:1.2.3", r#"{"pushCVersion":"1.2.3"}"#),
            ("pushVersion", "go:1.2.3", r#"{"pushGoVersion":"1.2.3"}"#),
            ("pushVersion", "csharp:1.2.3", r#"{"pushCSharpVersion":"1.2.3"}"#),
            ("pushCacheMillis", "12000", r#"{"defaultPushCacheMillis":12000}"#),
            ("pushCacheMillis", "10000", "{}"),
            ("defaultCacheMillis", "1000", r#"{"defaultCacheMillis":1000}"#),
            ("masters", "a:1,,b,", r#"{"masters":["a:1","","b"]}"#),
            ("masters", "", r#"{"masters":[""]}"#),
            ("masters", ",,", r#"{"masters":[]}"#),
            ("distro", "false", r#"{"distroEnabled":false}"#),
            ("distro", "TRUE", "{}"),
            ("check", "yes", r#"{"healthCheckEnabled":false}"#),
            ("pushEnabled", "", r#"{"pushEnabled":false}"#),
            (
                "serviceStatusSynchronizationPeriodMillis",
                "6000",
                r#"{"serviceStatusSynchronizationPeriodMillis":6000}"#,
            ),
            ("serverStatusSynchronizationPeriodMillis", "1000", r#"{"serverStatusSynchronizationPeriodMillis":1000}"#),
            ("healthCheckTimes", "-5", r#"{"checkTimes":-5}"#),
            ("disableAddIP", "true", r#"{"disableAddIP":true}"#),
            ("sendBeatOnly", "True", r#"{"sendBeatOnly":true}"#),
            ("limitedUrlMap", "/a:502,/b:503:x", r#"{"limitedUrlMap":{"/a":502,"/b":503}}"#),
            ("limitedUrlMap", "/a:502,/a:503,", r#"{"limitedUrlMap":{"/a":503}}"#),
            ("limitedUrlMap", "", "{}"),
            ("limitedUrlMap", ",", r#"{"limitedUrlMap":{}}"#),
            ("enableStandalone", "false", "{}"),
            ("enableStandalone", "", r#"{"enableStandalone":false}"#),
            ("overriddenServerStatus", "UP", r#"{"overriddenServerStatus":"UP"}"#),
            ("overriddenServerStatus", "nosuch", r#"{"overriddenServerStatus":"nosuch"}"#),
            ("overriddenServerStatus", "null", r#"{"overriddenServerStatus":""}"#),
            ("overriddenServerStatus", "", r#"{"overriddenServerStatus":""}"#),
            ("defaultInstanceEphemeral", "false", r#"{"defaultInstanceEphemeral":false}"#),
            ("distroServerExpiredMillis", "-1", r#"{"distroServerExpiredMillis":-1}"#),
            ("lightBeatEnabled", "Yes", "{}"),
            ("lightBeatEnabled", "true ", r#"{"lightBeatEnabled":false}"#),
            ("autoChangeHealthCheckEnabled", "T", "{}"),
            ("autoChangeHealthCheckEnabled", "1", r#"{"autoChangeHealthCheckEnabled":false}"#),
            ("httpHealthParams", "{}", r#"{"httpHealthParams":{"max":5000,"min":500,"factor":0.85}}"#),
            (
                "httpHealthParams",
                r#"{"max":3000,"min":9000,"factor":1,"later":0} trailing"#,
                r#"{"httpHealthParams":{"max":3000,"min":9000,"factor":1}}"#,
            ),
            ("tcpHealthParams", r#"{"factor":0}"#, r#"{"tcpHealthParams":{"max":5000,"min":1000,"factor":0}}"#),
            ("mysqlHealthParams", r#"{"min":-1}"#, r#"{"mysqlHealthParams":{"max":3000,"min":-1,"factor":0.65}}"#),
            ("nosuch", "1", "{}"),
            ("", "", "{}"),
            ("PushEnabled", "false", "{}"),
            ("batch", "x", "{}"),
            ("healthCheckWhiteList", "x", "{}"),
        ] {
            // Numbers as the switches hold them, not as the text spells them.
            let expected: SwitchDomainMembers = serde_json::from_str(expected).expect(expected);
            assert_eq!(changed(entry, value).map(members_of), Ok(expected), "{entry}={value}");
        }
    }

    type SwitchDomainMembers = BTreeMap<String, Number>;

    /// JSON in which all numbers are of single precision.
    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(i64),
        Fraction(f32),
        Object(BTreeMap<String, f32>),
        Other(Value),
    }

    fn members_of(value: Value) -> SwitchDomainMembers {
        serde_json::from_value(value).expect("members")
    }

    #[test]
    fn values_that_are_not_allowed_are_refused_in_nacos_words() {
        let version = r"illegal version, must match: [0-9]+\.[0-9]+\.[0-9]+";
        for (entry, value, text) in [
            ("distroThreshold", "0", "distroThreshold can not be zero or negative: 0.0"),
            ("distroThreshold", "-0", "distroThreshold can not be zero or negative: -0.0"),
            ("distroThreshold", "-1e10", "distroThreshold can not be zero or negative: -1.0E10"),
            ("distroThreshold", "-Infinity", "distroThreshold can not be zero or negative: -Infinity"),
            ("distroThreshold", "Infinity", "distroThreshold must be finite: Infinity"),
            ("distroThreshold", "1e40", "distroThreshold must be finite: Infinity"),
            ("distroThreshold", "NaN", "distroThreshold must be finite: NaN"),
            ("distroThreshold", " x ", "For input string: \"x\""),
            ("distroThreshold", " ", "empty String"),
            ("distroThreshold", "-1.2.3", "multiple points"),
            ("distroThreshold", "..x", "multiple points"),
            ("distroThreshold", ".x.", "For input string: \".x.\""),
            ("clientBeatInterval", "soon", "For input string: \"soon\""),
            ("clientBeatInterval", " 5", "For input string: \" 5\""),
            ("clientBeatInterval", "", "For input string: \"\""),
            ("clientBeatInterval", "9223372036854775808", "For input string: \"9223372036854775808\""),
            ("pushVersion", "java:1.2", version),
            ("pushVersion", "java:1.2.3.4", version),
            ("pushVersion", "java:1..3", version),
            ("pushVersion", "java:1.2.x", version),
            ("pushVersion", "java: 1.2.3", version),
            ("pushVersion", "ruby:1.2", version),
            ("pushVersion", "a::1.2.3", version),
            ("pushVersion", "ruby:1.2.3", "unsupported client type: ruby"),
            ("pushVersion", ":1.2.3", "unsupported client type: "),
            ("pushVersion", "Java:1.2.3", "unsupported client type: Java"),
            ("pushCacheMillis", "9999", "min cache time for http or tcp is too small(<10000)"),
            ("pushCacheMillis", "x", "For input string: \"x\""),
            ("defaultCacheMillis", "999", "min default cache time  is too small(<1000)"),
            (
                "serviceStatusSynchronizationPeriodMillis",
                "4999",
                "serviceStatusSynchronizationPeriodMillis is too small(<5000)",
            ),
            (
                "serverStatusSynchronizationPeriodMillis",
                "999",
                "serverStatusSynchronizationPeriodMillis is too small(<15000)",
            ),
            ("healthCheckTimes", "2147483648", "For input string: \"2147483648\""),
            ("limitedUrlMap", "/a", "invalid input for limited urls"),
            ("limitedUrlMap", "/a:502,,/b:503", "invalid input for limited urls"),
            ("limitedUrlMap", "/a:", "invalid input for limited urls"),
            ("limitedUrlMap", ":502", "url can not be empty, url: "),
            ("limitedUrlMap", "/a:x", "For input string: \"x\""),
            ("limitedUrlMap", "/a:0", "illegal normal status code: 0"),
            ("limitedUrlMap", "/a:502,/b:-1", "illegal normal status code: -1"),
            ("distroServerExpiredMillis", "1.0", "For input string: \"1.0\""),
            ("httpHealthParams", r#"{"min":499}"#, "min check time for http or tcp is too small(<500)"),
            ("httpHealthParams", r#"{"max":2999}"#, "max check time for http or tcp is too small(<3000)"),
            ("httpHealthParams", r#"{"min":0,"max":0}"#, "min check time for http or tcp is too small(<500)"),
            ("tcpHealthParams", r#"{"factor":1.01}"#, "malformed factor"),
            ("tcpHealthParams", r#"{"factor":-0.01}"#, "malformed factor"),
            ("tcpHealthParams", r#"{"max":null}"#, "max check time for http or tcp is too small(<3000)"),
            ("tcpHealthParams", "", "json param invalid."),
            ("tcpHealthParams", "{oops", "json param invalid."),
            ("tcpHealthParams", "[]", "json param invalid."),
            ("httpHealthParams", "null", "json param invalid."),
            ("mysqlHealthParams", "null", "json param invalid."),
            ("mysqlHealthParams", r#"{"max":true}"#, "json param invalid."),
        ] {
            assert_eq!(changed(entry, value), illegal(text), "{entry}={value}");
        }
    }

    #[test]
    fn a_version_without_its_parts_breaks_nacos() {
        for (value, text) in [
            ("java", "Index 1 out of bounds for length 1"),
            ("java:", "Index 1 out of bounds for length 1"),
            ("", "Index 1 out of bounds for length 1"),
            (":", "Index 0 out of bounds for length 0"),
            ("::", "Index 0 out of bounds for length 0"),
        ] {
            assert_eq!(changed("pushVersion", value), Err(SwitchError::Broken(text.to_owned())), "{value}");
        }
    }

    /// What Java printed.
    #[test]
    fn floats_are_printed_as_java_does() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (-1.0, "-1.0"),
            (-1e10, "-1.0E10"),
            (-1.5e-5, "-1.5E-5"),
            (-9999999.0, "-9999999.0"),
            (-1e7, "-1.0E7"),
            (-0.001, "-0.001"),
            (-0.00099, "-9.9E-4"),
            (-123_456.78, "-123456.78"),
            (f32::MIN, "-3.4028235E38"),
            (f32::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(java_float_text(number), text);
        }
    }
}
