//! Compares expected values, which may hold matchers, with actual ones.
//!
//! Pure. The matchers and wrappers are those of the recordings' README; JSON is strict about missing, additional and
//! null members and about strings against numbers, and 1 equals 1.0. A list of differences is empty when all matches.

use std::sync::LazyLock;

use regex::{Regex, RegexBuilder};
use serde_json::Number;

use super::value::{Object, Value, quoted};

/// What each matcher stands for inside a text.
const TOKENS: [(&str, &str); 18] = [
    ("<any-int>", r"-?\d+"),
    ("<any-number>", r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"),
    ("<int-string>", r"-?\d+"),
    ("<ts-ms>", r"1\d{12}"),
    ("<ts-ms-string>", r"1\d{12}"),
    ("<uuid>", r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"),
    ("<md5>", r"[0-9a-f]{32}"),
    ("<ip>", r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[?[0-9a-fA-F]*:[0-9a-fA-F:]+\]?)"),
    ("<host-port>", r"[^\s:/]+:\d+"),
    ("<iso-ts>", r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?"),
    ("<http-date>", r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"),
    ("<jwt>", r"[\w-]+\.[\w-]+\.[\w-]+"),
    ("<non-empty>", r"[\s\S]+"),
    ("<any-string>", r"[\s\S]*"),
    ("<any-text>", r"[\s\S]*"),
    ("<any-bool>", r"(?:true|false)"),
    ("<spaces>", r" *"),
    ("<any>", r"[\s\S]*"),
];

/// Matchers that, alone, stand for JSON numbers.
const NUMERIC: [&str; 3] = ["<any-int>", "<any-number>", "<ts-ms>"];

/// Keys that make an object of one member a rule.
const WRAPPERS: [&str; 9] = [
    "<partial>",
    "<unordered>",
    "<contains>",
    "<not-contains>",
    "<all>",
    "<one-of>",
    "<json-string>",
    "<each>",
    "<keys>",
];

static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    // Each name ends with '>', so none is the beginning of another and their order does not matter.
    let names: Vec<String> = TOKENS.iter().map(|(name, _)| regex::escape(name)).collect();
    Regex::new(&names.join("|")).expect("the names of matchers make a pattern")
});

/// The pattern of a text with matchers in it.
fn pattern(text: &str) -> String {
    let mut out = String::new();
    let mut end = 0;
    for found in TOKEN.find_iter(text) {
        out += &regex::escape(&text[end..found.start()]);
        let meaning = TOKENS.iter().find(|(name, _)| *name == found.as_str()).map_or("", |(_, meaning)| meaning);
        out += &format!("(?:{meaning})");
        end = found.end();
    }
    out + &regex::escape(&text[end..])
}

/// Whether the pattern is found; one beyond the size limit (a text of many megabytes with a matcher) is not.
fn found(pattern: &str, text: &str) -> bool {
    RegexBuilder::new(pattern).size_limit(1 << 28).build().is_ok_and(|regex| regex.is_match(text))
}

/// Whether a text is what is expected, which may hold matchers anywhere.
pub fn text_matches(expected: &str, actual: &str) -> bool {
    expected == actual || TOKEN.is_match(expected) && found(&format!(r"\A(?:{})\z", pattern(expected)), actual)
}

/// Whether a text holds such a piece, which may hold matchers.
pub fn text_holds(actual: &str, piece: &str) -> bool {
    found(&pattern(piece), actual)
}

/// A value for people: on one line, control characters escaped, at most `limit` characters.
pub fn short(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        // More than enough to know that it does not fit.
        if i > limit {
            break;
        }
        match c {
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            c if c.is_control() => out += &format!("\\x{:02x}", u32::from(c)),
            c => out.push(c),
        }
    }
    if out.chars().count() <= limit {
        return out;
    }
    let kept: String = out.chars().take(limit - 3).collect();
    kept + "..."
}

/// How many characters of a value a difference shows.
pub const SHOWN: usize = 90;

fn shown(value: &Value) -> String {
    short(&value.plain(), SHOWN)
}

/// The differences between an expected JSON value and an actual one; `path` names where both stand.
pub fn differences(expected: &Value, actual: &Value, path: &str) -> Vec<String> {
    match expected {
        Value::Text(text) => text_differences(text, actual, path),
        Value::Object(object) => match object.only() {
            Some((kind, argument)) if WRAPPERS.contains(&kind) => wrapped(kind, argument, actual, path),
            _ => object_differences(object, actual, path),
        },
        Value::List(list) => list_differences(list, actual, path),
        Value::Number(number) => match actual {
            Value::Number(other) if numbers_equal(number, other) => Vec::new(),
            Value::Number(other) => vec![format!("{path}: expected {number}, got {other}")],
            _ => vec![format!("{path}: expected {number}, got {}", shown(actual))],
        },
        Value::Null | Value::Bool(_) if expected == actual => Vec::new(),
        Value::Null | Value::Bool(_) => vec![format!("{path}: expected {expected}, got {}", shown(actual))],
    }
}

fn text_differences(expected: &str, actual: &Value, path: &str) -> Vec<String> {
    let ok = match (expected, actual) {
        (kind, Value::Number(number)) if NUMERIC.contains(&kind) => text_matches(kind, &number_text(number)),
        (kind, _) if NUMERIC.contains(&kind) => false,
        ("<any>", _) => true,
        ("<any-bool>", _) => matches!(actual, Value::Bool(_)),
        (_, Value::Text(text)) => text_matches(expected, text),
        _ => false,
    };
    if ok {
        return Vec::new();
    }
    vec![format!("{path}: expected {}, got {}", short(&quoted(expected), SHOWN), short(&actual.to_string(), SHOWN))]
}

/// A number as text; one without a fraction is written as an integer, however it came.
fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}

fn numbers_equal(a: &Number, b: &Number) -> bool {
    // Integers are compared as such: as floats, neighbours beyond 2^53 would be equal.
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}

fn integer(number: &Number) -> Option<i128> {
    if number.is_f64() {
        let float = number.as_f64()?;
        return (float.fract() == 0.0 && float.abs() < 1e30).then_some(float as i128);
    }
    number.as_i128()
}

/// The members that `expected` names and how they differ in `actual`.
fn named_members(expected: &Object, actual: &Object, path: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (name, value) in expected.iter() {
        match actual.get(name) {
            Some(other) => out.extend(differences(value, other, &format!("{path}.{name}"))),
            None => out.push(format!("{path}.{name}: missing")),
        }
    }
    out
}

fn object_differences(expected: &Object, actual: &Value, path: &str) -> Vec<String> {
    let Value::Object(actual) = actual else {
        return vec![format!("{path}: expected an object, got {}", shown(actual))];
    };
    let mut out = named_members(expected, actual, path);
    for (name, value) in actual.iter().filter(|(name, _)| expected.get(name).is_none()) {
        out.push(format!("{path}.{name}: unexpected (= {})", short(&value.plain(), 40)));
    }
    out
}

fn list_differences(expected: &[Value], actual: &Value, path: &str) -> Vec<String> {
    let Value::List(actual) = actual else {
        return vec![format!("{path}: expected a list, got {}", shown(actual))];
    };
    let mut out = Vec::new();
    if expected.len() != actual.len() {
        out.push(format!("{path}: expected {} elements, got {}", expected.len(), actual.len()));
    }
    for (i, (one, other)) in expected.iter().zip(actual).enumerate() {
        out.extend(differences(one, other, &format!("{path}[{i}]")));
    }
    out
}

fn wrapped(kind: &str, argument: &Value, actual: &Value, path: &str) -> Vec<String> {
    match (kind, argument) {
        ("<partial>", Value::Object(some)) => match actual {
            Value::Object(actual) => named_members(some, actual, path),
            _ => vec![format!("{path}: expected an object, got {}", shown(actual))],
        },
        ("<keys>", Value::List(names)) => key_differences(names, actual, path),
        ("<all>", Value::List(rules)) => rules.iter().flat_map(|rule| differences(rule, actual, path)).collect(),
        ("<one-of>", Value::List(rules)) => rules
            .iter()
            .map(|rule| differences(rule, actual, path))
            .min_by_key(Vec::len)
            .unwrap_or_else(|| vec![format!("{path}: <one-of> without a choice")]),
        ("<json-string>", inner) => match actual.as_text().map(serde_json::from_str::<Value>) {
            Some(Ok(parsed)) => differences(inner, &parsed, &format!("{path}(json)")),
            _ => vec![format!("{path}: expected JSON in a string, got {}", shown(actual))],
        },
        ("<partial>" | "<keys>" | "<all>" | "<one-of>", _) => vec![malformed(kind, argument, path)],
        (_, argument) => match actual {
            Value::List(actual) => elements(kind, argument, actual, path),
            _ => vec![format!("{path}: expected a list, got {}", shown(actual))],
        },
    }
}

/// A fault of the recording, which must not pass for a match.
fn malformed(kind: &str, argument: &Value, path: &str) -> String {
    format!("{path}: {kind} cannot have the argument {}", shown(argument))
}

fn key_differences(names: &[Value], actual: &Value, path: &str) -> Vec<String> {
    let Value::Object(actual) = actual else {
        return vec![format!("{path}: expected an object, got {}", shown(actual))];
    };
    let wanted = |name: &str| names.iter().any(|one| one.as_text() == Some(name));
    let mut missing: Vec<String> = names.iter().map(Value::plain).filter(|name| actual.get(name).is_none()).collect();
    let mut extra: Vec<&str> = actual.iter().map(|(name, _)| name).filter(|name| !wanted(name)).collect();
    if missing.is_empty() && extra.is_empty() {
        return Vec::new();
    }
    missing.sort();
    extra.sort_unstable();
    vec![format!("{path}: missing keys {missing:?}, extra keys {extra:?}")]
}

/// The wrappers that judge the elements of a list.
fn elements(kind: &str, argument: &Value, actual: &[Value], path: &str) -> Vec<String> {
    if kind == "<each>" {
        let each = actual.iter().enumerate();
        return each.flat_map(|(i, one)| differences(argument, one, &format!("{path}[{i}]"))).collect();
    }
    let Value::List(wanted) = argument else {
        return vec![malformed(kind, argument, path)];
    };
    if kind == "<not-contains>" {
        let held = |want: &&Value| actual.iter().any(|one| differences(want, one, "").is_empty());
        return wanted.iter().filter(held).map(|want| format!("{path}: must not hold {}", shown(want))).collect();
    }
    let mut out = Vec::new();
    if kind == "<unordered>" && wanted.len() != actual.len() {
        out.push(format!("{path}: expected {} elements, got {}", wanted.len(), actual.len()));
    }
    // Each wanted element takes the first that fits and is not taken yet.
    let mut rest: Vec<usize> = (0..actual.len()).collect();
    for want in wanted {
        let tries: Vec<Vec<String>> =
            rest.iter().map(|&i| differences(want, &actual[i], &format!("{path}[{i}]"))).collect();
        if let Some(hit) = tries.iter().position(Vec::is_empty) {
            rest.remove(hit);
            continue;
        }
        let nearest = tries.into_iter().min_by_key(Vec::len).and_then(|near| near.into_iter().next());
        let nearest = nearest.map(|near| format!(" (nearest: {near})")).unwrap_or_default();
        out.push(format!("{path}: no element like {}{nearest}", shown(want)));
    }
    out
}

#[cfg(test)]
mod tests;
