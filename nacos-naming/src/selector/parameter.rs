//! The request parameter `selector`: URL-encoded once more, JSON with a type and an expression (Nacos
//! `ServiceController.parseSelector`, `SelectorManager.parseSelector`).

use serde_json::{Deserializer, Value};

use super::{
    Selector,
    expression::{ExpressionError, is_java_whitespace, parse_expression},
};

/// Why a parameter is no selector. The texts are those of Nacos on Java 17.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It cannot be decoded. An `IllegalArgumentException`: 400 with the text; v2 400, code 20002.
    #[error("{0}")]
    Escape(String),
    /// It is not JSON. Nacos takes the code of its exception for the HTTP status, **101**: v1 sends no body, v2 one of
    /// code 30000 with this text. No client can read that; answer 400.
    #[error("errCode: 101, errMsg: Nacos deserialize failed.  ")]
    NotJson,
    /// It has no type, or one that nobody knows: 400 with the text; v2 400, code 21006.
    #[error("not match any type of selector!")]
    UnknownType,
    /// Its expression has a fault: 500 with the text; v2 500, code 30000.
    #[error("Selector parses failed: {0}")]
    Expression(#[from] ExpressionError),
}

impl Selector {
    /// Reads the request parameter; a blank one is [`Selector::None`]. As with Jackson, what follows the JSON is not
    /// looked at.
    ///
    /// # Errors
    /// [`SelectorError`].
    pub fn parse(parameter: &str) -> Result<Self, SelectorError> {
        if parameter.chars().all(is_java_whitespace) {
            return Ok(Selector::None);
        }
        let text = url_decode(parameter).map_err(SelectorError::Escape)?;
        let value = match Deserializer::from_str(&text).into_iter::<Value>().next() {
            Some(value) => value.map_err(|_| SelectorError::NotJson)?,
            None => Value::Null,
        };
        match value.get("type").and_then(Value::as_str) {
            Some("none") => Ok(Selector::None),
            Some("label") => {
                let expression = value.get("expression").map(text_of);
                let labels = parse_expression(expression.as_deref().unwrap_or_default())?;
                Ok(Selector::Label { expression, labels })
            }
            _ => Err(SelectorError::UnknownType),
        }
    }
}

/// Jackson's `asText`.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => String::new(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Java's `URLDecoder`, whose text is the error. What is not UTF-8 becomes U+FFFD.
fn url_decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '+']) {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (sign, after) = rest[at..].split_at(1);
        rest = after;
        if sign == "+" {
            bytes.push(b' ');
            continue;
        }
        let end = after.char_indices().nth(1).map(|(at, c)| at + c.len_utf8());
        let (digits, after) = after.split_at(end.ok_or("URLDecoder: Incomplete trailing escape (%) pattern")?);
        bytes.push(
            hexadecimal(digits)
                .map_err(|fault| format!("URLDecoder: Illegal hex characters in escape (%) pattern - {fault}"))?,
        );
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The byte that two digits stand for. Java reads a number, which may have a sign.
fn hexadecimal(digits: &str) -> Result<u8, String> {
    let number = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    let sign = digits.len() - number.len();
    if let Some(index) = number.chars().position(|c| !c.is_ascii_hexdigit()) {
        return Err(format!("Error at index {} in: \"{digits}\"", sign + index));
    }
    match u8::from_str_radix(number, 16) {
        Ok(byte) if byte == 0 || !digits.starts_with('-') => Ok(byte),
        _ => Err("negative value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(parameter: &str) -> String {
        Selector::parse(parameter).expect_err(parameter).to_string()
    }

    fn label(expression: Option<&str>, labels: &[&str]) -> Result<Selector, SelectorError> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Ok(Selector::Label { expression: expression.map(str::to_owned), labels })
    }

    #[test]
    fn selectors_are_read() {
        for parameter in ["", " \t", r#"{"type":"none"}"#, r#"{"type":"none","expression":"nonsense"} trailing"#] {
            assert_eq!(Selector::parse(parameter), Ok(Selector::None), "{parameter}");
        }
        let expression = "CONSUMER.label.A = PROVIDER.label.A & CONSUMER.label.B=PROVIDER.label.B";
        let parameter = serde_json::json!({"type": "label", "expression": expression, "other": 1}).to_string();
        assert_eq!(Selector::parse(&parameter), label(Some(expression), &["A", "B"]));
        assert_eq!(Selector::parse(r#"{"type":"foo","type":"label"}"#), label(None, &[]));
        assert_eq!(Selector::parse(r#"{"type":"label","expression":{}}"#), label(Some(""), &[]));
        assert_eq!(Selector::parse(r#"{"type":"label","expression":" "}"#), label(Some(" "), &[]));
    }

    #[test]
    fn it_is_decoded_once_more() {
        let parameter = "%7B%22type%22:+%22label%22,%22expression%22:\"CONSUMER.label.%E4%BD%A0%3dPROVIDER.label.你\"}";
        assert_eq!(Selector::parse(parameter), label(Some("CONSUMER.label.你=PROVIDER.label.你"), &["你"]));
        // A plus sign that was not encoded twice is a blank.
        assert_eq!(
            Selector::parse(r#"{"type":"label","expression":"CONSUMER.label.a+b=PROVIDER.label.ab"}"#),
            label(Some("CONSUMER.label.a b=PROVIDER.label.ab"), &["ab"])
        );
        assert_eq!(url_decode("%ff%+5%-0a").as_deref(), Ok("\u{fffd}\u{5}\0a"));
        let illegal = "URLDecoder: Illegal hex characters in escape (%) pattern - ";
        for (parameter, text) in [
            ("%", "URLDecoder: Incomplete trailing escape (%) pattern".to_owned()),
            ("x%4", "URLDecoder: Incomplete trailing escape (%) pattern".to_owned()),
            ("%ä", "URLDecoder: Incomplete trailing escape (%) pattern".to_owned()),
            ("%zz", format!("{illegal}Error at index 0 in: \"zz\"")),
            ("%4%41", format!("{illegal}Error at index 1 in: \"4%\"")),
            ("%+z", format!("{illegal}Error at index 1 in: \"+z\"")),
            ("%--", format!("{illegal}Error at index 1 in: \"--\"")),
            ("% 1", format!("{illegal}Error at index 0 in: \" 1\"")),
            ("%4ä", format!("{illegal}Error at index 1 in: \"4ä\"")),
            ("%-5", format!("{illegal}negative value")),
        ] {
            assert_eq!(Selector::parse(parameter), Err(SelectorError::Escape(text.clone())), "{parameter}");
            assert_eq!(fault(parameter), text);
        }
    }

    /// As recorded, and as Jackson reads the others.
    #[test]
    fn faults_are_told_apart() {
        for parameter in [
            r#"{"type":"nosuch"}"#,
            r#"{"expression":"x"}"#,
            r#"{"type":"Label"}"#,
            r#"{"type":null}"#,
            r#"{"type":{}}"#,
            "[]",
            "5",
            "null",
            "\"label\"",
            "%20",
        ] {
            assert_eq!(Selector::parse(parameter), Err(SelectorError::UnknownType), "{parameter}");
            assert_eq!(fault(parameter), "not match any type of selector!");
        }
        for parameter in ["{oops", r#"{"type":"none""#, "{'type':'none'}", r#"{"type":"label",}"#, "%22%01%22"] {
            assert_eq!(Selector::parse(parameter), Err(SelectorError::NotJson), "{parameter}");
        }
        for parameter in [r#"{"type":"label","expression":"nonsense"}"#, r#"{"type":"label","expression":null}"#] {
            assert_eq!(fault(parameter), "Selector parses failed: parse expression failed!");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Selector::parse(&deep), Err(SelectorError::NotJson));
    }
}
