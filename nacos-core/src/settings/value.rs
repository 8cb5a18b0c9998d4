//! Values: text made typed, by kind.

use std::{net::IpAddr, time::Duration};

use super::option::{Kind, Unit};

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing was set, and there is no default.
    Nothing,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A length of time.
    Duration(Duration),
    /// A number of bytes.
    Bytes(u64),
    /// Words, paths, URLs.
    Text(String),
    /// An IP address.
    Address(IpAddr),
}

impl Unit {
    /// How many milliseconds one of it has.
    const fn milliseconds(self) -> u64 {
        match self {
            Self::Milliseconds => 1,
            Self::Seconds => 1000,
            Self::Days => 24 * 60 * 60 * 1000,
        }
    }

    /// Its name, in the plural.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
            Self::Days => "days",
        }
    }
}

impl Kind {
    /// Whether an empty value is a value; otherwise it means the default, as Spring reads it.
    pub(super) fn may_be_empty(&self) -> bool {
        matches!(self, Self::Text | Self::Url | Self::ContextPath)
    }

    /// Makes `text` a value; `None` if it is not one of this kind. Blanks at both ends do not count.
    pub fn parse(&self, text: &str) -> Option<Value> {
        let text = text.trim();
        match *self {
            Self::Bool => match text.to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" => Some(Value::Bool(true)),
                "false" | "off" | "no" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Integer { min, max } => {
                text.parse().ok().filter(|number| (min..=max).contains(number)).map(Value::Integer)
            }
            Self::Duration { unit, min, max } => {
                let ms = amount(text, |suffix| match suffix {
                    "" => Some(unit.milliseconds()),
                    "ms" => Some(1),
                    "s" => Some(1000),
                    "m" => Some(60 * 1000),
                    "h" => Some(60 * 60 * 1000),
                    "d" => Some(Unit::Days.milliseconds()),
                    _ => None,
                })?;
                let bounds = min.checked_mul(unit.milliseconds())?..=max.saturating_mul(unit.milliseconds());
                bounds.contains(&ms).then(|| Value::Duration(Duration::from_millis(ms)))
            }
            Self::Bytes { min, max } => {
                let bytes = amount(text, |suffix| match suffix {
                    "" | "b" => Some(1),
                    "k" | "kb" | "kib" => Some(1 << 10),
                    "m" | "mb" | "mib" => Some(1 << 20),
                    "g" | "gb" | "gib" => Some(1 << 30),
                    "t" | "tb" | "tib" => Some(1 << 40),
                    _ => None,
                })?;
                (min..=max).contains(&bytes).then_some(Value::Bytes(bytes))
            }
            Self::Text | Self::Url => Some(Value::Text(text.to_owned())),
            Self::Choice(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text))?;
                Some(Value::Text((*word).to_owned()))
            }
            Self::Path => (!text.contains('\0')).then(|| Value::Text(text.to_owned())),
            Self::ContextPath => context_path(text).map(Value::Text),
            Self::Address if text.eq_ignore_ascii_case("localhost") => Some(Value::Address([127, 0, 0, 1].into())),
            Self::Address => text.parse().ok().map(Value::Address),
        }
    }

    /// What a value must look like, to follow "expected".
    pub fn expected(&self) -> String {
        match *self {
            Self::Bool => "true or false".to_owned(),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Duration { unit, min, max } => {
                let unit = unit.name();
                format!("a number of {unit} from {min} to {max}, or one with ms, s, m, h or d")
            }
            Self::Bytes { min, max: u64::MAX } => format!("a number of bytes from {min}, or one with KB, MB or GB"),
            Self::Bytes { min, max } => format!("a number of bytes from {min} to {max}, or one with KB, MB or GB"),
            Self::Text => "text".to_owned(),
            Self::Url => "a URL".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Path => "a path".to_owned(),
            Self::ContextPath => {
                "a path such as /nacos, that begins with / and does not end with it, or nothing".to_owned()
            }
            Self::Address => "an IP address or localhost".to_owned(),
        }
    }
}

/// A number with a suffix, times what the suffix (in lower case) stands for.
fn amount(text: &str, factor: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    number.checked_mul(factor(&suffix.trim().to_ascii_lowercase())?)
}

/// The path without its last slash; `None` for what cannot be the beginning of a URL's path.
fn context_path(text: &str) -> Option<String> {
    if text.is_empty() || text == "/" {
        return Some(String::new());
    }
    let mut parts = text.strip_prefix('/')?.split('/');
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let sound = parts.all(|part| !part.is_empty() && part != "." && part != ".." && part.chars().all(good));
    sound.then(|| text.to_owned())
}

/// A URL as it may be shown: without the password of its user and without what its query calls a secret.
pub(super) fn masked_url(url: &str) -> String {
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let mut shown = match (place.split_once("://"), place.rsplit_once('@')) {
        (_, None) => place.to_owned(),
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        // Some drivers put user and password before an `@` without `//`: nothing before it is safe to show.
        (None, Some((_, host))) => format!("***@{host}"),
    };
    for (at, pair) in query.into_iter().flat_map(|query| query.split(['&', ';'])).enumerate() {
        shown.push(if at == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_secret_name(name) => {
                shown.push_str(name);
                shown.push_str("=***");
            }
            _ => shown.push_str(pair),
        }
    }
    shown
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "pwd", "secret", "token", "key"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_takes_its_forms_and_no_others() {
        let duration = Kind::Duration { unit: Unit::Milliseconds, min: 1, max: 60_000 };
        let seconds = |s| Some(Value::Duration(Duration::from_secs(s)));
        assert_eq!(duration.parse(" 15000 "), seconds(15));
        assert_eq!(duration.parse("15s"), seconds(15));
        assert_eq!(duration.parse("1m"), seconds(60));
        for wrong in ["", "0", "61s", "-1", "1.5s", "1w", "s", "18446744073709551616", "18446744073709551615d"] {
            assert_eq!(duration.parse(wrong), None, "{wrong}");
        }
        let bytes = Kind::Bytes { min: 1, max: u64::MAX };
        for text in ["67108864", "64MB", "64MiB", "64 mb", "64m", "65536K", "67108864B"] {
            assert_eq!(bytes.parse(text), Some(Value::Bytes(64 << 20)), "{text}");
        }
        for wrong in ["", "0", "64MBit", "16777216T", "-1", "0x10"] {
            assert_eq!(bytes.parse(wrong), None, "{wrong}");
        }
        assert_eq!(Kind::Bool.parse("TRUE"), Some(Value::Bool(true)));
        assert_eq!(Kind::Bool.parse("off"), Some(Value::Bool(false)));
        assert_eq!(Kind::Bool.parse("fasle"), None);
        assert_eq!(Kind::Integer { min: 0, max: 65_535 }.parse("65536"), None);
        assert_eq!(Kind::Choice(&["all", "config"]).parse("Config"), Some(Value::Text("config".into())));
        assert_eq!(Kind::Address.parse("localhost"), Some(Value::Address([127, 0, 0, 1].into())));
        assert_eq!(Kind::Address.parse("example.org"), None);
    }

    #[test]
    fn a_context_path_is_a_path_or_nothing() {
        for (text, path) in [("/nacos", "/nacos"), ("/a/b-c", "/a/b-c"), ("/", ""), ("", "")] {
            assert_eq!(Kind::ContextPath.parse(text), Some(Value::Text(path.into())));
        }
        for wrong in ["nacos", "/nacos/", "//", "/a b", "/a?b", "/../a", "/{x}"] {
            assert_eq!(Kind::ContextPath.parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn passwords_of_urls_are_masked() {
        for (url, shown) in [
            ("jdbc:mysql://db:3306/nacos?useSSL=false", "jdbc:mysql://db:3306/nacos?useSSL=false"),
            ("postgres://nacos:p@ss@db:5432/nacos", "postgres://***@db:5432/nacos"),
            ("jdbc:mysql://db/n?user=u&password=p&x=1", "jdbc:mysql://db/n?user=u&password=***&x=1"),
            ("jdbc:oracle:thin:u/p@db", "***@db"),
        ] {
            assert_eq!(masked_url(url), shown);
        }
    }
}
