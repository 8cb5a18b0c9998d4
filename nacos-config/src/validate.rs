//! The rules of configuration parameters (Nacos 2.4 `ParamUtils`), with their texts.
//!
//! They come after the parameter filter of the web layer and hold when that is switched off, too.

use crate::model::comma_list;

/// A rule is broken; the text is Nacos'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

fn invalid(text: impl Into<String>) -> Result<(), Invalid> {
    Err(Invalid(text.into()))
}

fn spelt(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':'))
}

/// Java counts UTF-16 units.
fn longer(text: &str, max: usize) -> bool {
    text.len() > max && text.encode_utf16().count() > max
}

/// dataId and group: not blank; letters and digits of any script, `_-.:`.
pub fn key(data_id: &str, group: &str) -> Result<(), Invalid> {
    for (name, value) in [("dataId", data_id), ("group", group)] {
        if value.trim().is_empty() || !spelt(value) {
            return invalid(format!("invalid {name} : {value}"));
        }
    }
    Ok(())
}

/// A namespace in v1, where it is called tenant: at most 128 of the same letters. Blank passes.
pub fn tenant(value: &str) -> Result<(), Invalid> {
    namespace("tenant", value)
}

/// A namespace in v2.
pub fn namespace_id(value: &str) -> Result<(), Invalid> {
    namespace("namespaceId", value)
}

fn namespace(name: &str, value: &str) -> Result<(), Invalid> {
    if value.trim().is_empty() {
        return Ok(());
    }
    if !spelt(value.trim()) {
        return invalid(format!("invalid {name}"));
    }
    if longer(value, 128) {
        return invalid(format!("too long {name}, over 128"));
    }
    Ok(())
}

/// A tag that chooses a content: at most 16 of the same letters. Blank passes.
pub fn tag(value: Option<&str>) -> Result<(), Invalid> {
    let Some(value) = value.filter(|value| !value.trim().is_empty()) else { return Ok(()) };
    if !spelt(value.trim()) {
        return invalid(format!("invalid tag : {value}"));
    }
    if longer(value, 16) {
        return invalid("too long tag, over 16");
    }
    Ok(())
}

/// A content: not blank, at most `max` characters.
pub fn content(value: &str, max: usize) -> Result<(), Invalid> {
    if value.trim().is_empty() {
        return invalid(format!("content is blank : {value}"));
    }
    if longer(value, max) {
        return invalid(format!("invalid content, over {max}"));
    }
    Ok(())
}

/// The descriptive fields of a publish, each by the name under which the rule knows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Described<'a> {
    /// A comma list, at most 5 of at most 64.
    pub config_tags: Option<&'a str>,
    /// At most 128.
    pub desc: Option<&'a str>,
    /// At most 32.
    pub usage: Option<&'a str>,
    /// At most 32.
    pub effect: Option<&'a str>,
    /// At most 32.
    pub config_type: Option<&'a str>,
    /// At most 32,768.
    pub schema: Option<&'a str>,
}

/// Checks the descriptive fields.
pub fn described(fields: Described<'_>) -> Result<(), Invalid> {
    if let Some(tags) = fields.config_tags {
        // As Nacos counts: blanks between commas are tags too, but a trailing comma is none.
        if tags.trim_end_matches(',').split(',').count() > 5 {
            return invalid("too much config_tags, over 5");
        }
        if comma_list(tags).any(|tag| longer(tag, 64)) {
            return invalid("too long tag, over 64");
        }
    }
    for (name, value, max) in [
        ("desc", fields.desc, 128),
        ("use", fields.usage, 32),
        ("effect", fields.effect, 32),
        ("type", fields.config_type, 32),
        ("schema", fields.schema, 32_768),
    ] {
        if value.is_some_and(|value| longer(value, max)) {
            return invalid(format!("too long {name}, over {max}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_nacos() {
        assert_eq!(key("   ", "g").unwrap_err().0, "invalid dataId :    ");
        assert_eq!(key("a", "b c").unwrap_err().0, "invalid group : b c");
        assert!(key("中文-a_b.c:d", "组").is_ok());
        assert_eq!(tenant("a/b").unwrap_err().0, "invalid tenant");
        assert_eq!(namespace_id(&"n".repeat(129)).unwrap_err().0, "too long namespaceId, over 128");
        assert_eq!(tag(Some("a b")).unwrap_err().0, "invalid tag : a b");
        assert_eq!(tag(Some(&"t".repeat(17))).unwrap_err().0, "too long tag, over 16");
        assert!(tag(Some(" ")).is_ok() && tag(None).is_ok());
        assert_eq!(content(" ", 10).unwrap_err().0, "content is blank :  ");
        assert_eq!(content("12345678901", 10).unwrap_err().0, "invalid content, over 10");
        assert!(content("中中中中中", 5).is_ok(), "characters count, not bytes");
        assert_eq!(
            described(Described { config_tags: Some("a,b,c,d,e,f"), ..Described::default() }).unwrap_err().0,
            "too much config_tags, over 5"
        );
    }
}
