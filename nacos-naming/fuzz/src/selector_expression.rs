//! `nacos_naming::selector`: the expression of a label selector. The input is read twice: as an expression, and as the
//! request parameter that holds one.

use std::collections::BTreeSet;

use nacos_naming::selector::{ExpressionError, Selector, SelectorError, parse_expression};

/// The reader agrees with a naive one; what it accepts can be put together again; a parameter says the same as the
/// expression in it; what is read is stored and shown as it is.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let parsed = parse_expression(&text);
    assert_eq!(parsed, naive(&text));
    if let Ok(labels) = &parsed {
        assert_eq!(parse_expression(&joined(labels)).as_ref(), Ok(labels));
    }

    // Encoded once more, as a client has to.
    let json = serde_json::json!({"type": "label", "expression": text}).to_string();
    let parameter: String = json.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let selector = Selector::parse(&parameter);
    match parsed {
        Ok(labels) => {
            let selector = selector.expect("its expression is one");
            assert_eq!(selector, Selector::Label { expression: Some(text.clone().into_owned()), labels });
            kept(&selector);
        }
        Err(error) => assert_eq!(selector, Err(SelectorError::Expression(error))),
    }

    if let Ok(selector) = Selector::parse(&text) {
        if let Selector::Label { expression, labels } = &selector {
            assert_eq!(parse_expression(expression.as_deref().unwrap_or_default()).as_ref(), Ok(labels));
        }
        kept(&selector);
    }
}

/// What is stored reads back, and what is shown is JSON with the labels in it.
fn kept(selector: &Selector) {
    let stored = serde_json::to_string(selector).expect("it can be written");
    assert_eq!(serde_json::from_str::<Selector>(&stored).ok().as_ref(), Some(selector));
    let v1 = serde_json::to_string(&selector.v1()).expect("it can be written");
    assert_eq!(serde_json::from_str::<Selector>(&v1).ok().as_ref(), Some(selector));
    let v2 = serde_json::to_string(&selector.v2()).expect("it can be written");
    let v2: serde_json::Value = serde_json::from_str(&v2).expect("it is JSON");
    assert_eq!(v2["type"], selector.type_name());
}

fn joined(labels: &BTreeSet<String>) -> String {
    let side = |word: &str, label: &str| match label {
        // A name may be empty if another side seems to follow.
        "" => format!("{word}.label.{word}.label.x"),
        label => format!("{word}.label.{label}"),
    };
    let pairs: Vec<String> =
        labels.iter().map(|label| format!("{}={}", side("CONSUMER", label), side("PROVIDER", label))).collect();
    pairs.join(" &\n")
}

/// Cuts the text into terms and takes one after the other, as Nacos' `ExpressionInterpreter` does.
fn naive(text: &str) -> Result<BTreeSet<String>, ExpressionError> {
    let text: Vec<char> = text.chars().filter(|c| !is_white_space(*c)).collect();
    let mut labels = BTreeSet::new();
    if text.is_empty() {
        return Ok(labels);
    }
    let mut terms = vec![String::new()];
    let mut at = 0;
    while let Some(c) = text.get(at) {
        at += 1;
        if matches!(c, '=' | '&') {
            terms.push(c.to_string());
            // What follows a connector is not one, whatever it is.
            terms.push(text.get(at).map(char::to_string).unwrap_or_default());
            at += 1;
        } else if let Some(term) = terms.last_mut() {
            term.push(*c);
        }
    }
    let mut terms = terms.into_iter().filter(|term| !term.is_empty());
    loop {
        let consumer = naive_label(terms.next(), "CONSUMER")?;
        if terms.next().as_deref() != Some("=") || naive_label(terms.next(), "PROVIDER")? != consumer {
            return Err(ExpressionError::Syntax);
        }
        labels.insert(consumer);
        match terms.next().as_deref() {
            None => return Ok(labels),
            Some("&") => {}
            Some(_) => return Err(ExpressionError::Syntax),
        }
    }
}

/// The second of the pieces between matches of `WORD.label.`, if empty ones at the end are none.
fn naive_label(term: Option<String>, word: &str) -> Result<String, ExpressionError> {
    let term = term.filter(|term| term.starts_with(&format!("{word}.label."))).ok_or(ExpressionError::Syntax)?;
    let term: Vec<char> = term.chars().collect();
    let pattern: Vec<char> = format!("{word}.label.").chars().collect();
    let fits = |(c, p): (&char, &char)| if *p == '.' { *c != '\u{85}' } else { c == p };
    let mut pieces = vec![String::new()];
    let mut at = 0;
    while at < term.len() {
        let here = term.get(at..at + pattern.len());
        if here.is_some_and(|here| here.iter().zip(&pattern).all(fits)) {
            pieces.push(String::new());
            at += pattern.len();
        } else {
            pieces.last_mut().expect("a piece").push(term[at]);
            at += 1;
        }
    }
    while pieces.last().is_some_and(String::is_empty) {
        pieces.pop();
    }
    pieces.into_iter().nth(1).ok_or(ExpressionError::NoName)
}

/// Java's: Unicode's but for those that do not break a line, and the separators of information.
fn is_white_space(c: char) -> bool {
    let unicode = c.is_whitespace() && !matches!(c, '\u{85}' | '\u{a0}' | '\u{2007}' | '\u{202f}');
    unicode || ('\u{1c}'..='\u{1f}').contains(&c)
}
