//! Writes a text as a YAML value, as snakeyaml 2.0 does with its default options.
//!
//! A text of one line comes out byte for byte the same: plain where it can be, between single quotes where it would
//! be read as something else, folded at the blanks after column 80. Texts with line ends or characters that YAML
//! cannot show go between double quotes in one line; snakeyaml would write blocks or `!!binary`, of which Nacos reads
//! the latter back as its Base64.

use std::{fmt::Write as _, sync::LazyLock};

use regex_lite::Regex;

/// Lines are folded at the next single blank after this many UTF-16 units.
const WIDTH: usize = 80;
/// Begins the folded part of a line of a list's mapping.
const CONTINUATION: &str = "\n    ";

/// Texts that snakeyaml's `Resolver` takes for something else: booleans, integers, floats, null, merge, time stamps.
static NOT_A_TEXT: LazyLock<Result<Regex, regex_lite::Error>> = LazyLock::new(|| {
    Regex::new(concat!(
        "^(?:",
        "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
        "|[-+]?0b_*[0-1][0-1_]*|[-+]?0_*[0-7][0-7_]*|[-+]?(?:0|[1-9][0-9_]*)",
        "|[-+]?0x_*[0-9a-fA-F][0-9a-fA-F_]*|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
        r"|[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+",
        r"|[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*",
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        // No numbers, but quoted all the same: other readers disagree about them.
        "|0[0-9_]+",
        "|~|null|Null|NULL|<<",
        "|[0-9]{4}-[0-9]{2}-[0-9]{2}",
        r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?",
        r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
        ")$",
    ))
});

/// Appends `text`. `column` is where the current line of `out` stands.
pub(super) fn push(out: &mut String, text: &str, column: usize) {
    if !text.chars().all(is_shown) {
        push_escaped(out, text);
    } else if is_plain(text) {
        push_folded(out, text, column);
    } else {
        out.push('\'');
        push_folded(out, &text.replace('\'', "''"), column + 1);
        out.push('\'');
    }
}

/// Whether snakeyaml writes the character itself, in one line, and every YAML reader takes it as it is.
fn is_shown(c: char) -> bool {
    matches!(c,
        ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}'
        | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether a text of one line needs no quotes.
fn is_plain(text: &str) -> bool {
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().next_back()) else { return false };
    let second = text[first.len_utf8()..].chars().next();
    let is_indicator = match first {
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => true,
        '?' | ':' | '-' => matches!(second, None | Some(' ')),
        _ => false,
    };
    !is_indicator
        && first != ' '
        && !matches!(last, ' ' | ':')
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !text.contains(": ")
        && !text.contains(" #")
        && NOT_A_TEXT.as_ref().is_ok_and(|regex| !regex.is_match(text))
}

fn push_folded(out: &mut String, text: &str, mut column: usize) {
    let mut rest = text;
    while !rest.is_empty() {
        let word = &rest[..rest.find(' ').unwrap_or(rest.len())];
        let after = &rest[word.len()..];
        rest = after.trim_start_matches(' ');
        let blanks = &after[..after.len() - rest.len()];
        out.push_str(word);
        column += word.encode_utf16().count();
        if blanks == " " && column > WIDTH && !rest.is_empty() {
            out.push_str(CONTINUATION);
            column = CONTINUATION.len() - 1;
        } else {
            out.push_str(blanks);
            column += blanks.len();
        }
    }
}

fn push_escaped(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\t' => write!(out, "\\t"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            c if is_shown(c) => write!(out, "{c}"),
            c if u32::from(c) <= 0xff => write!(out, "\\x{:02x}", u32::from(c)),
            c => write!(out, "\\u{:04x}", u32::from(c)),
        };
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        push(&mut out, text, "  desc: ".len());
        out
    }

    /// What snakeyaml 2.0 printed for these.
    #[test]
    fn plain_texts_are_those_of_snakeyaml() {
        for text in [
            "plain text",
            "it's",
            "中文",
            "😀",
            "-a",
            "?x",
            ":x",
            "=",
            "1.2.3",
            "0o7",
            "y",
            "n",
            "nULL",
            "a#b",
            "a, b",
            "x]",
            "a:b",
            "http://h/p",
            ".",
            "+",
            "1_000a",
            "e3",
            "2024-1-2",
            "12:60",
            "0b2",
            "+_1",
            "<<<",
            "..",
            "--",
            "a\u{a0}b",
        ] {
            assert_eq!(written(text), text);
        }
    }

    #[test]
    fn texts_that_would_be_something_else_are_quoted() {
        for text in [
            "",
            " ",
            " lead",
            "trail ",
            "-",
            "- a",
            "? x",
            "?",
            ":",
            "a:",
            "a: b",
            "a #b",
            "#x",
            "@x",
            "`x",
            "%x",
            "&x",
            "*x",
            "!x",
            "|",
            ">",
            "[x",
            "]",
            "{",
            "}",
            ",",
            "\"x",
            "---",
            "---x",
            "...",
            "~",
            "null",
            "Null",
            "NULL",
            "yes",
            "No",
            "on",
            "OFF",
            "true",
            "False",
            "0",
            "-1",
            "+1",
            "0123",
            "09",
            "0_",
            "1_000",
            "0x1F",
            "0b10",
            "12:30:45",
            "1.",
            ".5",
            "1e3",
            "-1.5E-3",
            "1:30.5",
            "-.inf",
            ".NaN",
            "<<",
            "2024-01-01",
            "2024-1-2 3:04:05.6 +01:00",
        ] {
            assert_eq!(written(text), format!("'{text}'"));
        }
        assert_eq!(written("'q"), "'''q'");
    }

    #[test]
    fn what_cannot_be_shown_is_escaped() {
        assert_eq!(written("tab\there"), r#""tab\there""#);
        assert_eq!(written("two\nlines\r\"\\"), r#""two\nlines\r\"\\""#);
        assert_eq!(
            written("\0\u{1b}\u{7f}\u{85}\u{2028}\u{feff}\u{ffff}中"),
            r#""\x00\x1b\x7f\x85\u2028\ufeff\uffff中""#
        );
    }

    #[test]
    fn long_lines_are_folded_where_snakeyaml_folds_them() {
        let (fifty, sixty) = ("x".repeat(50), "x".repeat(60));
        let y = "y".repeat(50);
        assert_eq!(written(&format!("{fifty} {y} zz and more")), format!("{fifty} {y}\n    zz and more"));
        assert_eq!(written(&format!("'q {sixty} {y} zz more")), format!("'''q {sixty} {y}\n    zz more'"));
        let doubled = "a  b".repeat(40);
        assert_eq!(written(&doubled), doubled, "only at a single blank");
        let end = format!(" {}a ", "x".repeat(80));
        assert_eq!(written(&end), format!("'{end}'"), "not at either end");
        let quote = |n: usize| format!("''{}", "x".repeat(n));
        assert_eq!(written(&format!("{} a", &quote(70)[1..])), format!("'{}\n    a'", quote(70)), "the quote counts");
        assert_eq!(written(&format!("{} a", &quote(69)[1..])), format!("'{} a'", quote(69)));
        // A character beyond the first plane counts as two, as in Java.
        let faces = "😀".repeat(37);
        assert_eq!(written(&format!("{faces} a")), format!("{faces}\n    a"));
        assert_eq!(written(&format!("{} a", &faces[4..])), format!("{} a", &faces[4..]));
    }
}
