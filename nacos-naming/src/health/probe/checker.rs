//! How the instances of a cluster are probed, as operators write it down: JSON in Nacos' form.
//!
//! Follows `HealthCheckerFactory` and the classes below `api.naming.pojo.healthcheck` (2.4.3): a missing or unknown
//! type means no probing, unknown members are passed over, and a member of another scalar type is converted where
//! Jackson does so. What differs: a path or headers of `null` are read as empty.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};
use serde_json::{Map, Value};

/// How to find out whether an instance is healthy.
///
/// Stored and shown as `{"type":"TCP"}`, `{"type":"HTTP","path":"","headers":"","expectedResponseCode":200}`,
/// `{"type":"MYSQL","user":null,"pwd":null,"cmd":null}` or `{"type":"NONE"}`. `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Checker {
    /// It is healthy if it accepts a connection.
    #[default]
    Tcp,
    /// It is healthy if it answers a GET with 200.
    Http {
        /// The path, with or without its first slash, and a query if there is one.
        path: String,
        /// Headers to send, as `name:value|name:value`.
        headers: String,
        /// Kept and shown, but without meaning, as in Nacos 2.4.
        expected_response_code: i32,
    },
    /// It is healthy if it lets this user in and answers this query with rows.
    Mysql {
        /// Who logs in; nobody is the empty name.
        user: Option<String>,
        /// The password.
        pwd: Option<String>,
        /// The query.
        cmd: Option<String>,
    },
    /// It is not probed: its health is what it was told to be.
    None,
}

/// Why a text is no checker.
#[derive(Debug, thiserror::Error)]
#[error("health checker not understood: {0}")]
pub struct BadChecker(String);

impl Checker {
    /// Reads what the parameter `healthChecker` holds; what follows the first JSON value is passed over, as Jackson
    /// does.
    ///
    /// # Errors
    /// The text is no JSON object, or a member of it cannot be converted.
    pub fn parse(text: &str) -> Result<Self, BadChecker> {
        match serde_json::Deserializer::from_str(text).into_iter::<Value>().next() {
            Some(Ok(value)) => Self::from_value(&value),
            Some(Err(error)) => Err(BadChecker(error.to_string())),
            None => Err(BadChecker("no content".to_owned())),
        }
    }

    /// The type's name in JSON: `TCP`, `HTTP`, `MYSQL` or `NONE`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Http { .. } => "HTTP",
            Self::Mysql { .. } => "MYSQL",
            Self::None => "NONE",
        }
    }

    fn from_value(value: &Value) -> Result<Self, BadChecker> {
        let Value::Object(members) = value else {
            return Err(BadChecker("an object is expected".to_owned()));
        };
        match members.get("type").and_then(Value::as_str) {
            Some("TCP") => Ok(Self::Tcp),
            Some("HTTP") => Ok(Self::Http {
                path: text(members, "path")?.unwrap_or_default(),
                headers: text(members, "headers")?.unwrap_or_default(),
                expected_response_code: number(members, "expectedResponseCode", 200)?,
            }),
            Some("MYSQL") => {
                Ok(Self::Mysql { user: text(members, "user")?, pwd: text(members, "pwd")?, cmd: text(members, "cmd")? })
            }
            _ => Ok(Self::None),
        }
    }
}

/// What `GET /v1/ns/health/checkers` answers: each type with its members' defaults (Nacos
/// `HealthController.checkers`).
pub fn checkers_json() -> Value {
    let defaults = ["TCP", "HTTP", "MYSQL", "NONE"].map(|name| {
        let members = Map::from_iter([("type".to_owned(), Value::from(name))]);
        let mut shown = Checker::from_value(&Value::Object(members)).map_or(Value::Null, |checker| {
            // Cannot fail: names and scalars alone.
            serde_json::to_value(checker).unwrap_or_default()
        });
        if let Some(members) = shown.as_object_mut() {
            members.remove("type");
        }
        (name.to_owned(), shown)
    });
    Value::Object(Map::from_iter(defaults))
}

/// A member that is a text, or a scalar that can be read as one.
fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, BadChecker> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(scalar @ (Value::Bool(_) | Value::Number(_))) => Ok(Some(scalar.to_string())),
        Some(Value::Array(_) | Value::Object(_)) => Err(BadChecker(format!("{name} is not a text"))),
    }
}

/// A member that is a whole number, or what Jackson turns into one: `null` and a blank text are 0, fractions go.
fn number(members: &Map<String, Value>, name: &str, default: i32) -> Result<i32, BadChecker> {
    let wrong = || BadChecker(format!("{name} is not a whole number"));
    match members.get(name) {
        None => Ok(default),
        Some(Value::Null) => Ok(0),
        Some(Value::Number(number)) => {
            let whole = number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)).ok_or_else(wrong)?;
            i32::try_from(whole).map_err(|_| wrong())
        }
        Some(Value::String(text)) if text.trim().is_empty() => Ok(0),
        Some(Value::String(text)) => text.trim().parse().map_err(|_| wrong()),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(wrong()),
    }
}

impl Serialize for Checker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", self.type_name())?;
        match self {
            Self::Tcp | Self::None => {}
            Self::Http { path, headers, expected_response_code } => {
                map.serialize_entry("path", path)?;
                map.serialize_entry("headers", headers)?;
                map.serialize_entry("expectedResponseCode", expected_response_code)?;
            }
            Self::Mysql { user, pwd, cmd } => {
                map.serialize_entry("user", user)?;
                map.serialize_entry("pwd", pwd)?;
                map.serialize_entry("cmd", cmd)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Checker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp | Self::None => f.write_str(self.type_name()),
            Self::Http { path, .. } => f.debug_struct("HTTP").field("path", path).finish_non_exhaustive(),
            Self::Mysql { user, cmd, .. } => {
                f.debug_struct("MYSQL").field("user", user).field("cmd", cmd).finish_non_exhaustive()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn http(path: &str, headers: &str, expected_response_code: i32) -> Checker {
        Checker::Http { path: path.into(), headers: headers.into(), expected_response_code }
    }

    fn mysql(user: Option<&str>, pwd: Option<&str>, cmd: Option<&str>) -> Checker {
        Checker::Mysql { user: user.map(Into::into), pwd: pwd.map(Into::into), cmd: cmd.map(Into::into) }
    }

    #[test]
    fn the_recorded_texts_are_read() {
        // v1-naming-cluster-health.jsonl of 2.4.3
        let recorded = [
            (r#"{"type":"TCP"}"#, Checker::Tcp),
            (r#"{"type":"HTTP","path":"/x","headers":"a:b","expectedResponseCode":201}"#, http("/x", "a:b", 201)),
            (
                r#"{"type":"MYSQL","user":"u","pwd":"p","cmd":"select 1"}"#,
                mysql(Some("u"), Some("p"), Some("select 1")),
            ),
            (r#"{"type":"NONE"}"#, Checker::None),
        ];
        for (text, checker) in recorded {
            assert_eq!(Checker::parse(text).unwrap(), checker);
            assert_eq!(serde_json::to_string(&checker).unwrap(), text);
        }
    }

    #[test]
    fn what_is_missing_has_a_default() {
        assert_eq!(Checker::parse(r#"{"type":"HTTP"}"#).unwrap(), http("", "", 200));
        assert_eq!(Checker::parse(r#"{"type":"MYSQL","more":1}"#).unwrap(), mysql(None, None, None));
        assert_eq!(Checker::default(), Checker::Tcp);
    }

    #[test]
    fn without_a_known_type_there_is_no_probing() {
        for text in ["{}", r#"{"type":null}"#, r#"{"type":"tcp"}"#, r#"{"type":"DUBBO","x":[]}"#, r#"{"type":5}"#] {
            assert_eq!(Checker::parse(text).unwrap(), Checker::None, "{text}");
        }
    }

    #[test]
    fn scalars_are_converted_and_the_rest_is_refused() {
        let text = r#"{"type":"HTTP","path":5,"headers":true,"expectedResponseCode":" 204 "} left over"#;
        assert_eq!(Checker::parse(text).unwrap(), http("5", "true", 204));
        let text = r#"{"type":"HTTP","path":null,"headers":null,"expectedResponseCode":null}"#;
        assert_eq!(Checker::parse(text).unwrap(), http("", "", 0));
        assert_eq!(Checker::parse(r#"{"type":"HTTP","expectedResponseCode":200.9}"#).unwrap(), http("", "", 200));
        for text in [
            "",
            "null",
            "[]",
            "5",
            r#""TCP""#,
            "{",
            r#"{"type":"HTTP","path":{}}"#,
            r#"{"type":"HTTP","expectedResponseCode":"x"}"#,
            r#"{"type":"HTTP","expectedResponseCode":true}"#,
            r#"{"type":"HTTP","expectedResponseCode":3000000000}"#,
            r#"{"type":"MYSQL","pwd":[]}"#,
        ] {
            assert!(Checker::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_types_are_listed_with_their_defaults() {
        // recorded as v1-naming-cluster-health/checkers
        assert_eq!(
            checkers_json(),
            json!({
                "TCP": {},
                "HTTP": {"path": "", "headers": "", "expectedResponseCode": 200},
                "MYSQL": {"user": null, "pwd": null, "cmd": null},
                "NONE": {}
            })
        );
    }

    #[test]
    fn a_password_is_not_printed() {
        let checker = mysql(Some("u"), Some("canary"), Some("select 1"));
        assert!(!format!("{checker:?}").contains("canary"));
        let error = Checker::parse(r#"{"type":"MYSQL","pwd":["canary"]}"#).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary"));
    }

    fn any_checker() -> impl Strategy<Value = Checker> {
        prop_oneof![
            Just(Checker::Tcp),
            Just(Checker::None),
            (any::<String>(), any::<String>(), any::<i32>()).prop_map(|(path, headers, expected_response_code)| {
                Checker::Http { path, headers, expected_response_code }
            }),
            (any::<Option<String>>(), any::<Option<String>>(), any::<Option<String>>())
                .prop_map(|(user, pwd, cmd)| Checker::Mysql { user, pwd, cmd }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(checker in any_checker()) {
            let text = serde_json::to_string(&checker).unwrap();
            prop_assert_eq!(&Checker::parse(&text).unwrap(), &checker);
            prop_assert_eq!(serde_json::from_str::<Checker>(&text).unwrap(), checker);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = Checker::parse(&text);
        }
    }
}
