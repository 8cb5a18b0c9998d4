//! The keys of the field: namespace, configuration key, and the text forms in which clients write them.
//!
//! Keys are data: nothing here touches a file or a table. Used by every crate.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// The group that is meant when none is named.
pub const DEFAULT_GROUP: &str = "DEFAULT_GROUP";

/// A namespace, in the form in which configurations are stored: the public one is the empty text.
///
/// Nacos calls it `tenant` in v1 and `namespaceId` in v2. `public` and `null` are spellings of the public
/// namespace in some calls only; [`NamespaceId::normalised`] folds them, [`NamespaceId::literal`] does not
/// (Nacos 2.4 `NamespaceUtil.processNamespaceParameter`, and its absence).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceId(Arc<str>);

impl NamespaceId {
    /// The public namespace.
    pub fn public() -> Self {
        Self("".into())
    }

    /// The namespace of exactly this id; blank is the public one.
    pub fn literal(id: &str) -> Self {
        if id.trim().is_empty() { Self::public() } else { Self(id.into()) }
    }

    /// The namespace of this id, trimmed; blank, `public` and `null` in any case are the public one.
    pub fn normalised(id: &str) -> Self {
        let id = id.trim();
        if id.is_empty() || id.eq_ignore_ascii_case("public") || id.eq_ignore_ascii_case("null") {
            Self::public()
        } else {
            Self(id.into())
        }
    }

    /// The stored form; empty for the public namespace.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the public namespace.
    pub fn is_public(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What names one configuration: dataId, group and namespace.
///
/// One allocation, shared by all clones: the three parts lie one after another, without separators, so that a
/// million keys cost little more than their letters.
#[derive(Clone)]
pub struct ConfigKey {
    text: Arc<str>,
    data_id_end: u32,
    group_end: u32,
}

impl ConfigKey {
    /// A key of these parts. They are taken as they are; the edge has checked them. A namespace of blanks is the
    /// public one, as everywhere in Nacos.
    pub fn new(data_id: &str, group: &str, namespace: &str) -> Self {
        let namespace = if namespace.trim().is_empty() { "" } else { namespace };
        let mut text = String::with_capacity(data_id.len() + group.len() + namespace.len());
        text.push_str(data_id);
        text.push_str(group);
        text.push_str(namespace);
        Self {
            text: text.into(),
            // The edge refuses longer bodies by far; a key of 4 GiB cannot arrive here.
            data_id_end: data_id.len() as u32,
            group_end: (data_id.len() + group.len()) as u32,
        }
    }

    /// The dataId.
    pub fn data_id(&self) -> &str {
        &self.text[..self.data_id_end as usize]
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.text[self.data_id_end as usize..self.group_end as usize]
    }

    /// The namespace in its stored form; empty for the public one.
    pub fn namespace(&self) -> &str {
        &self.text[self.group_end as usize..]
    }

    /// The three parts, for look-ups without an allocation.
    pub fn as_parts(&self) -> KeyParts<'_> {
        KeyParts { data_id: self.data_id(), group: self.group(), namespace: self.namespace() }
    }

    /// The text form of Nacos' logs and listener queries: `dataId+group` or `dataId+group+namespace`, with
    /// `+` in a part written `%2B` and `%` written `%25` (Nacos `GroupKey2.getKey`).
    pub fn group_key(&self) -> String {
        let mut out = String::with_capacity(self.text.len() + 2);
        escape(self.data_id(), &mut out);
        out.push('+');
        escape(self.group(), &mut out);
        if !self.namespace().is_empty() {
            out.push('+');
            escape(self.namespace(), &mut out);
        }
        out
    }

    /// Reads the text form back. `None` where a part is missing or an escape is none of `%2B` and `%25`
    /// (Nacos `GroupKey2.parseKey` throws there).
    pub fn parse_group_key(text: &str) -> Option<Self> {
        let mut parts = text.split('+').map(unescape);
        let data_id = parts.next()??;
        let group = parts.next()??;
        let namespace = match parts.next() {
            Some(part) => part?,
            None => String::new(),
        };
        if parts.next().is_some() || data_id.is_empty() || group.is_empty() {
            return None;
        }
        Some(Self::new(&data_id, &group, &namespace))
    }
}

fn escape(part: &str, out: &mut String) {
    for c in part.chars() {
        match c {
            '+' => out.push_str("%2B"),
            '%' => out.push_str("%25"),
            c => out.push(c),
        }
    }
}

fn unescape(part: &str) -> Option<String> {
    let mut out = String::with_capacity(part.len());
    let mut rest = part;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        if let Some(after) = tail.strip_prefix("%2B") {
            out.push('+');
            rest = after;
        } else {
            rest = tail.strip_prefix("%25")?;
            out.push('%');
        }
    }
    out.push_str(rest);
    Some(out)
}

impl PartialEq for ConfigKey {
    fn eq(&self, other: &Self) -> bool {
        self.data_id_end == other.data_id_end
            && self.group_end == other.group_end
            && (Arc::ptr_eq(&self.text, &other.text) || self.text == other.text)
    }
}

impl Eq for ConfigKey {}

impl Hash for ConfigKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_parts().hash(state);
    }
}

impl PartialOrd for ConfigKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ConfigKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_parts().cmp(&other.as_parts())
    }
}

impl fmt::Debug for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.group_key())
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.group_key())
    }
}

/// A borrowed [`ConfigKey`]; both hash alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyParts<'a> {
    /// The dataId.
    pub data_id: &'a str,
    /// The group.
    pub group: &'a str,
    /// The namespace in its stored form.
    pub namespace: &'a str,
}

impl KeyParts<'_> {
    /// An owned key of the same parts.
    pub fn to_key(self) -> ConfigKey {
        ConfigKey::new(self.data_id, self.group, self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn group_key_round_trips(data_id in "\\PC{1,12}", group in "[a-z+%]{1,6}", namespace in "[a-z+%2B]{0,6}") {
            let key = ConfigKey::new(&data_id, &group, &namespace);
            prop_assert_eq!((key.data_id(), key.group(), key.namespace()), (&*data_id, &*group, &*namespace));
            prop_assert_eq!(ConfigKey::parse_group_key(&key.group_key()), Some(key));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = ConfigKey::parse_group_key(&text);
        }
    }

    #[test]
    fn parts_that_join_alike_are_different_keys() {
        assert_ne!(ConfigKey::new("ab", "c", ""), ConfigKey::new("a", "bc", ""));
        assert_ne!(ConfigKey::new("ab", "c", ""), ConfigKey::new("ab", "", "c"));
    }

    #[test]
    fn public_has_several_spellings_only_when_normalised() {
        for text in ["", " ", "public", "PUBLIC", "null"] {
            assert!(NamespaceId::normalised(text).is_public(), "{text:?}");
        }
        assert_eq!(NamespaceId::literal("public").as_str(), "public");
        assert_eq!(NamespaceId::normalised(" dev ").as_str(), "dev");
    }

    #[test]
    fn a_bad_escape_is_refused() {
        assert_eq!(ConfigKey::parse_group_key("a%2Cb+g"), None);
        assert_eq!(ConfigKey::parse_group_key("a"), None);
        assert_eq!(ConfigKey::parse_group_key("a+g+n+x"), None);
    }
}
