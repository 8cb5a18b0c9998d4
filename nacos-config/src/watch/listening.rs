//! The text in which a long poll says what it watches and holds: `dataId ␂ group ␂ md5 [␂ namespace] ␁` for each
//! key (Nacos `MD5Util.getClientMd5Map`), and the text of its answer.

use std::{borrow::Cow, collections::HashMap};

use nacos_core::key::ConfigKey;

use crate::model::Md5;

/// Between the words of a line.
pub const WORD: char = '\u{2}';
/// After each line.
pub const LINE: char = '\u{1}';
/// More keys than this in one request are refused.
pub const KEYS_MAX: usize = 10_000;

/// The MD5 that a client says it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// None: the client has no content.
    Nothing,
    /// This one.
    Md5(Md5),
    /// Some other text, which no content can equal.
    Other(Box<str>),
}

impl Held {
    /// What this text says.
    pub fn parse(text: &str) -> Self {
        match Md5::parse(text) {
            Some(md5) => Held::Md5(md5),
            None if text.is_empty() => Held::Nothing,
            None => Held::Other(text.into()),
        }
    }

    /// Whether a client that holds this is up to date where `current` is stored.
    pub fn equals(&self, current: Option<Md5>) -> bool {
        match (self, current) {
            (Held::Nothing, None) => true,
            (Held::Md5(held), Some(current)) => *held == current,
            _ => false,
        }
    }

    /// The text.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Held::Nothing => "".into(),
            Held::Md5(md5) => md5.to_string().into(),
            Held::Other(text) => (&**text).into(),
        }
    }
}

/// A key and what the client holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The key.
    pub key: ConfigKey,
    /// What the client holds.
    pub held: Held,
}

/// The text is none of the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid probeModify")]
pub struct Malformed;

/// Reads the lines of a request. What follows the last line's end is left out, as in Nacos; of a key that comes
/// twice the last counts.
pub fn parse_listening(text: &str) -> Result<Vec<Listening>, Malformed> {
    let mut listening: Vec<Listening> = Vec::new();
    let mut places: HashMap<ConfigKey, usize> = HashMap::new();
    let mut rest = text;
    while let Some(end) = rest.find(LINE) {
        let mut words = rest[..end].split(WORD);
        rest = &rest[end + 1..];
        let (Some(data_id), Some(group), Some(md5)) = (words.next(), words.next(), words.next()) else {
            return Err(Malformed);
        };
        let namespace = words.next().unwrap_or_default();
        if words.next().is_some() || data_id.is_empty() || group.is_empty() {
            return Err(Malformed);
        }
        let one = Listening { key: ConfigKey::new(data_id, group, namespace), held: Held::parse(md5) };
        match places.get(&one.key) {
            Some(place) => listening[*place] = one,
            None => {
                // One key, the common case, needs no table.
                if !rest.is_empty() || !listening.is_empty() {
                    places.insert(one.key.clone(), listening.len());
                }
                listening.push(one);
            }
        }
        if listening.len() > KEYS_MAX {
            return Err(Malformed);
        }
    }
    // Words that no line's end follows are dropped, but too many of them are refused.
    if rest.matches(WORD).count() > 3 {
        return Err(Malformed);
    }
    Ok(listening)
}

/// The answer that names these keys: form-encoded lines without MD5s (Nacos `MD5Util.compareMd5ResultString`).
pub fn answer_text<'a>(keys: impl Iterator<Item = &'a ConfigKey>) -> String {
    let mut out = String::new();
    for key in keys {
        form_encode(key.data_id(), &mut out);
        out.push_str("%02");
        form_encode(key.group(), &mut out);
        if !key.namespace().trim().is_empty() {
            out.push_str("%02");
            form_encode(key.namespace(), &mut out);
        }
        out.push_str("%01");
    }
    out
}

/// Encodes as Java's `URLEncoder` does.
pub fn form_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(byte as char),
            b' ' => out.push('+'),
            byte => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(DIGITS[usize::from(byte >> 4)] as char);
                out.push(DIGITS[usize::from(byte & 15)] as char);
            }
        }
    }
}

/// Decodes as Java's `URLDecoder` does: an escape that is none is an error.
pub fn form_decode(text: &str) -> Result<Cow<'_, str>, Malformed> {
    let raw = text.as_bytes();
    if !raw.iter().any(|b| matches!(b, b'%' | b'+')) {
        return Ok(text.into());
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |i: usize| raw.get(i).and_then(|b| (*b as char).to_digit(16)).ok_or(Malformed);
                out.push((digit(at + 1)? * 16 + digit(at + 2)?) as u8);
                at += 2;
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    Ok(String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MD5: &str = "f97c5d29941bfb1b2fdab0874906ab82";

    #[test]
    fn both_forms_of_line_are_read() {
        let text = format!("a\u{2}g\u{2}{MD5}\u{1}b\u{2}g\u{2}\u{2}dev\u{1}c\u{2}g\u{2}x\u{1}");
        let got = parse_listening(&text).unwrap();
        assert_eq!(got.len(), 3);
        assert_eq!((got[0].key.namespace(), &got[0].held), ("", &Held::Md5(Md5::of(b"one"))));
        assert_eq!((got[1].key.namespace(), &got[1].held), ("dev", &Held::Nothing));
        assert_eq!(got[2].held, Held::Other("x".into()));
    }

    #[test]
    fn malformed_lines_are_refused_and_an_open_end_is_dropped() {
        for bad in ["d\u{1}", "d\u{2}g\u{1}", "d\u{2}g\u{2}m\u{2}t\u{2}x\u{1}", "a\u{2}b\u{2}c\u{2}d\u{2}e", "\u{1}"] {
            assert_eq!(parse_listening(bad), Err(Malformed), "{bad:?}");
        }
        assert_eq!(parse_listening("d\u{2}g\u{2}0"), Ok(vec![]));
        assert_eq!(parse_listening("abc"), Ok(vec![]));
        let many = "d\u{2}g\u{2}\u{1}".repeat(KEYS_MAX + 5);
        assert_eq!(parse_listening(&many).unwrap().len(), 1, "the same key is one key");
        let many: String = (0..=KEYS_MAX).map(|n| format!("d{n}\u{2}g\u{2}\u{1}")).collect();
        assert_eq!(parse_listening(&many), Err(Malformed));
    }

    #[test]
    fn of_a_key_that_comes_twice_the_last_counts() {
        let got = parse_listening(&format!("d\u{2}g\u{2}{MD5}\u{1}d\u{2}g\u{2}\u{1}")).unwrap();
        assert_eq!(got, [Listening { key: ConfigKey::new("d", "g", ""), held: Held::Nothing }]);
    }

    #[test]
    fn answers_are_encoded_as_java_encodes_them() {
        let keys = [ConfigKey::new("d:1", "g", "ns"), ConfigKey::new("中 *", "g", "")];
        assert_eq!(answer_text(keys.iter()), "d%3A1%02g%02ns%01%E4%B8%AD+*%02g%01");
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(text in "\\PC{0,40}") {
            let mut out = String::new();
            form_encode(&text, &mut out);
            prop_assert_eq!(form_decode(&out).unwrap(), text);
        }

        #[test]
        fn lines_round_trip(lines in proptest::collection::vec(("[a-z.]{1,9}", "[A-Z]{1,5}", "[a-z0-9]{0,3}"), 0..20)) {
            let text: String = lines.iter().map(|(d, g, n)| format!("{d}\u{2}{g}\u{2}{MD5}\u{2}{n}\u{1}")).collect();
            let got = parse_listening(&text).unwrap();
            let keys: std::collections::HashSet<_> = lines.iter().map(|(d, g, n)| ConfigKey::new(d, g, n)).collect();
            prop_assert_eq!(got.len(), keys.len());
            prop_assert!(got.iter().all(|one| keys.contains(&one.key)));
        }

        #[test]
        fn nothing_makes_the_parser_panic(text in "[a\u{1}\u{2}%+]{0,30}") {
            let _ = parse_listening(&text);
            let _ = form_decode(&text);
        }
    }
}
