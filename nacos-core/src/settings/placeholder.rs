//! `${name:default}` in values, replaced as Spring replaces it.
//!
//! Pure: what a name stands for is asked of the caller. Work and result are bounded, since a few lines of a file
//! can refer to one another so that the result doubles with each.

/// The deepest nesting of placeholders in placeholders.
const DEPTH_MAX: usize = 16;
/// The most names replaced for one value.
const STEPS_MAX: usize = 256;
/// The longest value, in bytes.
const LENGTH_MAX: usize = 64 * 1024;

/// Where names are looked up.
pub(super) trait Lookup {
    /// What was set under this name, not yet replaced.
    fn set(&self, name: &str) -> Option<String>;
    /// The default of the option of this name, for a placeholder that has none of its own.
    fn default(&self, name: &str) -> Option<String>;
    /// Whether the option of this name takes an empty value for its default.
    fn empty_is_default(&self, name: &str) -> bool;
}

/// Why a value's placeholders cannot be replaced; its text is for the operator.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unresolved {
    /// The name is nowhere set, and there is no default.
    #[error("${{{0}}} is not set anywhere and has no default")]
    Unknown(String),
    /// The name stands for a value that refers to itself.
    #[error("${{{0}}} refers to itself")]
    Circular(String),
    /// A bound of this module was reached.
    #[error("its placeholders nest too deep or grow too long")]
    TooMuch,
}

/// `text` with all placeholders replaced. An `${` without its `}` stays as it is.
pub(super) fn resolve(text: &str, lookup: &dyn Lookup) -> Result<String, Unresolved> {
    let mut run = Run { lookup, steps: 0, open: Vec::new() };
    run.text(text, 0)
}

struct Run<'a> {
    lookup: &'a dyn Lookup,
    steps: usize,
    /// The names whose values are being replaced now.
    open: Vec<String>,
}

impl Run<'_> {
    fn text(&mut self, text: &str, depth: usize) -> Result<String, Unresolved> {
        let mut rest = text;
        let mut done = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            let Some(end) = end_of(after) else { break };
            done.push_str(before);
            done.push_str(&self.placeholder(&after[..end], depth + 1)?);
            rest = &after[end + 1..];
            if done.len() > LENGTH_MAX {
                return Err(Unresolved::TooMuch);
            }
        }
        done.push_str(rest);
        Ok(done)
    }

    fn placeholder(&mut self, inner: &str, depth: usize) -> Result<String, Unresolved> {
        self.steps += 1;
        if depth > DEPTH_MAX || self.steps > STEPS_MAX {
            return Err(Unresolved::TooMuch);
        }
        let (name, default) = match colon_of(inner) {
            Some(at) => (&inner[..at], Some(&inner[at + 1..])),
            None => (inner, None),
        };
        let name = self.text(name, depth)?;
        if self.open.contains(&name) {
            return Err(Unresolved::Circular(name));
        }
        if let Some(value) = self.lookup.set(&name) {
            self.open.push(name.clone());
            let value = self.text(&value, depth);
            self.open.pop();
            match value {
                Ok(value) if value.trim().is_empty() && self.lookup.empty_is_default(&name) => {}
                value => return value,
            }
        }
        // A default is written here, not under the name: it may hold the name again.
        let default = default.map(str::to_owned).or_else(|| self.lookup.default(&name));
        default.ok_or(Unresolved::Unknown(name)).and_then(|default| self.text(&default, depth))
    }
}

/// Where the `}` stands that ends a placeholder, braces inside being paired.
fn end_of(text: &str) -> Option<usize> {
    at_level_0(text, b'}')
}

/// Where the first `:` stands that is not inside braces.
fn colon_of(text: &str) -> Option<usize> {
    at_level_0(text, b':')
}

fn at_level_0(text: &str, sought: u8) -> Option<usize> {
    let mut level = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            byte if level == 0 && byte == sought => return Some(at),
            b'{' => level += 1,
            b'}' => level = level.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    impl Lookup for HashMap<&str, &str> {
        fn set(&self, name: &str) -> Option<String> {
            self.get(name).map(|value| (*value).to_owned())
        }

        fn default(&self, name: &str) -> Option<String> {
            (name == "server.port").then(|| "8848".to_owned())
        }

        fn empty_is_default(&self, name: &str) -> bool {
            name == "server.port"
        }
    }

    fn check(text: &str, expected: Result<&str, Unresolved>) {
        let known = HashMap::from([
            ("HOST", "db"),
            ("A", "${B}-${HOST}"),
            ("B", "b"),
            ("WHICH", "B"),
            ("LOOP", "${POOL}"),
            ("POOL", "x${LOOP}"),
            ("SELF", "${SELF:1}"),
        ]);
        assert_eq!(resolve(text, &known), expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn names_defaults_and_nesting() {
        check("plain $ {x} }", Ok("plain $ {x} }"));
        check("jdbc:${HOST}:${PORT:3306}/?${P:a=1&b=2:3}", Ok("jdbc:db:3306/?a=1&b=2:3"));
        check("${A}", Ok("b-db"));
        check("${NONE:}", Ok(""));
        check("${NONE:${B}}", Ok("b"));
        check("${B:${NONE}}", Ok("b"));
        check("${NONE:${NONE:1}}", Ok("1"));
        check("${${WHICH}}", Ok("b"));
        check("cn=${U:{0}},dc", Ok("cn={0},dc"));
        check("${server.port}", Ok("8848"));
        check("${server.port:1}", Ok("1"));
        let empty = HashMap::from([("server.port", "${X:}"), ("X", "")]);
        assert_eq!(resolve("${server.port}|${server.port:1}|${X:2}", &empty), Ok("8848|1|".to_owned()));
        check("a${B", Ok("a${B"));
        check("${B}${A", Ok("b${A"));
    }

    #[test]
    fn what_cannot_be_replaced_says_why() {
        check("${NONE}", Err(Unresolved::Unknown("NONE".into())));
        check("${}", Err(Unresolved::Unknown(String::new())));
        check("${LOOP}", Err(Unresolved::Circular("LOOP".into())));
        check("${SELF}", Err(Unresolved::Circular("SELF".into())));
    }

    #[test]
    fn work_and_length_are_bounded() {
        let deep = "${".repeat(40) + &"}".repeat(40);
        check(&deep, Err(Unresolved::TooMuch));
        struct Doubling;
        impl Lookup for Doubling {
            fn set(&self, name: &str) -> Option<String> {
                let level: u32 = name.parse().ok()?;
                Some(if level == 0 { "x".repeat(1000) } else { format!("${{{0}}}${{{0}}}", level - 1) })
            }

            fn default(&self, _: &str) -> Option<String> {
                None
            }

            fn empty_is_default(&self, _: &str) -> bool {
                false
            }
        }
        assert_eq!(resolve("${3}", &Doubling).map(|text| text.len()), Ok(8000));
        assert_eq!(resolve("${14}", &Doubling), Err(Unresolved::TooMuch));
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "[${}:AHé]{0,100}") {
            let known = HashMap::from([("A", "${H:${A}}"), ("H", "${A}{"), ("AA", "1"), ("é", "${AA}")]);
            if let Ok(done) = resolve(&text, &known) {
                prop_assert!(done.len() <= LENGTH_MAX + text.len());
            }
        }
    }
}
