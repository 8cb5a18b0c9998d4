//! From the portable SQL of the repositories to that of Postgres.
//!
//! Parameters are `?1` there and `$1` here. `LIKE` without an escape character has none there, and a backslash here.
//! Nothing else differs in what the repositories may say; texts compare by bytes because the schema says so.

use std::fmt::Write as _;

/// How a parameter is written.
pub(super) trait Mark {
    fn write(&self, number: usize, out: &mut String);
}

/// `$1`.
pub(super) struct Numbered;

impl Mark for Numbered {
    fn write(&self, number: usize, out: &mut String) {
        let _ = write!(out, "${number}");
    }
}

/// The statement as Postgres reads it.
pub(super) fn translated(sql: &str, mark: &impl Mark) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let mut rest = sql;
    while let Some(at) = rest.find(['?', '\'']) {
        let (before, here) = rest.split_at(at);
        out.push_str(before);
        if let Some(text) = here.strip_prefix('\'') {
            // A text: up to the next quote; two in a row are two texts to this reader, which does no harm.
            let end = text.find('\'').map_or(here.len(), |end| end + 2);
            out.push_str(&here[..end]);
            rest = &here[end..];
            continue;
        }
        let digits = here[1..].bytes().take_while(u8::is_ascii_digit).count();
        let Ok(number) = here[1..=digits].parse() else {
            out.push('?');
            rest = &here[1..];
            continue;
        };
        mark.write(number, &mut out);
        rest = &here[digits + 1..];
        if before.trim_end().ends_with("LIKE") && !rest.trim_start().starts_with("ESCAPE") {
            out.push_str(" ESCAPE ''");
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_patterns_are_rewritten_and_texts_left_alone() {
        for (portable, expected) in [
            ("SELECT 1", "SELECT 1"),
            ("a = ?1 AND b = ?12", "a = $1 AND b = $12"),
            ("a LIKE ?1 AND b = ?2", "a LIKE $1 ESCAPE '' AND b = $2"),
            ("a LIKE ?1 ESCAPE '\\' OR c LIKE ?2", "a LIKE $1 ESCAPE '\\' OR c LIKE $2 ESCAPE ''"),
            ("a = '?1' AND b = 'it''s ?2' AND c = ?3", "a = '?1' AND b = 'it''s ?2' AND c = $3"),
            ("a ? b '", "a ? b '"),
        ] {
            assert_eq!(translated(portable, &Numbered), expected);
        }
    }
}
