//! The language of a label selector: `CONSUMER.label.A = PROVIDER.label.A & CONSUMER.label.B = PROVIDER.label.B`
//! (Nacos `ExpressionInterpreter`). Pairs of a consumer's label and the provider's of the same name; white space
//! counts for nothing.
//!
//! A pure function; called by [`super::parameter`] and the fuzz target `selector_expression`.

use std::collections::BTreeSet;

const CONSUMER: &str = "CONSUMER";
const PROVIDER: &str = "PROVIDER";
/// Between a side's word and the name of its label.
const LABEL: &str = ".label.";

/// Why a text is not an expression. Both texts are Nacos'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is not of the language.
    #[error("parse expression failed!")]
    Syntax,
    /// A label has no name, which Nacos does not foresee and Java words.
    #[error("Index 1 out of bounds for length 0")]
    NoName,
}

/// The names of the labels that the expression compares; none of a blank expression.
///
/// # Errors
/// [`ExpressionError`], of the first pair that has a fault.
pub fn parse_expression(expression: &str) -> Result<BTreeSet<String>, ExpressionError> {
    let text: String = expression.chars().filter(|c| !is_java_whitespace(*c)).collect();
    let labels = text.split_terminator('&').map(|pair| label_of_pair(pair).map(str::to_owned));
    let labels: BTreeSet<String> = labels.collect::<Result<_, _>>()?;
    // What ends in a connector lacks a pair.
    if text.ends_with('&') { Err(ExpressionError::Syntax) } else { Ok(labels) }
}

fn label_of_pair(pair: &str) -> Result<&str, ExpressionError> {
    let mut sides = pair.split('=');
    let consumer = label_of_side(sides.next().unwrap_or_default(), CONSUMER)?;
    let provider = label_of_side(sides.next().ok_or(ExpressionError::Syntax)?, PROVIDER)?;
    if consumer == provider && sides.next().is_none() { Ok(consumer) } else { Err(ExpressionError::Syntax) }
}

/// The name after the side's word. Nacos takes what stands between the first two matches of `WORD.label.` as a regular
/// expression, whose dots are any characters: a name ends where such a match begins, and may be empty.
fn label_of_side<'a>(side: &'a str, word: &str) -> Result<&'a str, ExpressionError> {
    let rest = side.strip_prefix(word).and_then(|rest| rest.strip_prefix(LABEL)).ok_or(ExpressionError::Syntax)?;
    let mut remains = rest;
    while let Some(after) = after_match(remains, word) {
        remains = after;
    }
    if remains.is_empty() {
        return Err(ExpressionError::NoName);
    }
    let mut places = rest.match_indices(word).map(|(at, _)| at);
    let end = places.find(|at| after_match(&rest[*at..], word).is_some());
    Ok(&rest[..end.unwrap_or(rest.len())])
}

/// What follows the match of `WORD.label.` at the beginning of the text.
fn after_match<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    after_any(after_any(text.strip_prefix(word)?)?.strip_prefix("label")?)
}

/// Java's dot matches no end of a line; of those only this one is no white space.
fn after_any(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().filter(|c| *c != '\u{85}').map(|_| chars.as_str())
}

/// Java's `Character.isWhitespace`: no-break spaces are none, separators of information are.
pub(super) fn is_java_whitespace(c: char) -> bool {
    matches!(c, '\t'..='\r' | '\u{1c}'..=' ' | '\u{1680}' | '\u{2000}'..='\u{2006}' | '\u{2008}'..='\u{200a}')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{205f}' | '\u{3000}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(expression: &str) -> Result<Vec<String>, ExpressionError> {
        parse_expression(expression).map(|labels| labels.into_iter().collect())
    }

    #[test]
    fn pairs_of_one_label_each() {
        for (expression, labels) in [
            ("", &[][..]),
            (" \t\u{3000}\u{1c}", &[]),
            ("CONSUMER.label.A=PROVIDER.label.A", &["A"]),
            ("CONSUMER.label.B=PROVIDER.label.B&CONSUMER.label.A=PROVIDER.label.A", &["A", "B"]),
            ("CONSUMER.label.A=PROVIDER.label.A&CONSUMER.label.A=PROVIDER.label.A", &["A"]),
            (" CON SUMER.label.a b = PROVIDER.label.ab\n& CONSUMER.label.x.y = PROVIDER.label.x.y ", &["ab", "x.y"]),
            ("CONSUMER.label.\u{a0}=PROVIDER.label.\u{a0}", &["\u{a0}"]),
            ("CONSUMER.label.你=PROVIDER.label.你", &["你"]),
        ] {
            assert_eq!(
                parsed(expression),
                Ok(labels.iter().map(|label| (*label).to_owned()).collect()),
                "{expression}"
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for expression in [
            "nonsense",
            "=",
            "&",
            "A=A",
            "CONSUMER.label.A",
            "CONSUMER.label.A=",
            "CONSUMER.label.A==PROVIDER.label.A",
            "CONSUMER.label.A=CONSUMER.label.A",
            "PROVIDER.label.A=CONSUMER.label.A",
            "CONSUMER.label.A=PROVIDER.label.B",
            "CONSUMER.label.A=PROVIDER.label.A=",
            "CONSUMER.label.A=PROVIDER.label.A=x",
            "CONSUMER.label.A=PROVIDER.label.A&",
            "&CONSUMER.label.A=PROVIDER.label.A",
            "CONSUMER.label.A=PROVIDER.label.A&&CONSUMER.label.B=PROVIDER.label.B",
            "consumer.label.A=provider.label.A",
            "CONSUMERxlabelxA=PROVIDERxlabelxA",
        ] {
            assert_eq!(parsed(expression), Err(ExpressionError::Syntax), "{expression}");
        }
        for expression in [
            "CONSUMER.label.",
            "CONSUMER.label.&x",
            "CONSUMER.label.A=PROVIDER.label.",
            "CONSUMER.label.A=PROVIDER.label.=x",
            "CONSUMER.label.A=PROVIDER.label.A&CONSUMER.label.",
            "CONSUMER.label.CONSUMER.label.=PROVIDER.label.x",
        ] {
            assert_eq!(parsed(expression), Err(ExpressionError::NoName), "{expression}");
        }
    }

    /// As the class itself answers, run on the same texts.
    #[test]
    fn a_name_ends_where_another_side_seems_to_begin() {
        for (expression, label) in [
            ("CONSUMER.label.AxCONSUMERzlabelzB=PROVIDER.label.Ax", "Ax"),
            ("CONSUMER.label.A=PROVIDER.label.APROVIDER-label-", "A"),
            ("CONSUMER.label.CONSUMER.label.x=PROVIDER.label.PROVIDER.label.y", ""),
            ("CONSUMER.label.CONSUMERlabel=PROVIDER.label.CONSUMERlabel", "CONSUMERlabel"),
            ("CONSUMER.label.CONSUMER\u{85}label.x=PROVIDER.label.CONSUMER\u{85}label.x", "CONSUMER\u{85}label.x"),
        ] {
            assert_eq!(parsed(expression), Ok(vec![label.to_owned()]), "{expression}");
        }
    }

    #[test]
    fn texts_are_nacos() {
        assert_eq!(ExpressionError::Syntax.to_string(), "parse expression failed!");
        assert_eq!(ExpressionError::NoName.to_string(), "Index 1 out of bounds for length 0");
    }

    proptest! {
        #[test]
        fn labels_come_back(
            labels in prop::collection::vec("[a-zA-Z0-9._-]{1,8}", 1..5),
            blanks in "[ \t\n]{0,3}",
        ) {
            let pairs: Vec<String> = labels
                .iter()
                .map(|label| format!("{blanks}CONSUMER.label.{label}{blanks}={blanks}PROVIDER.label.{label}{blanks}"))
                .collect();
            prop_assert_eq!(parse_expression(&pairs.join("&")), Ok(labels.into_iter().collect()));
        }
    }
}
