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

/// The namespace of services that is meant when none is named. Unlike configurations, services of the public namespace
/// bear its name.
pub const DEFAULT_NAMESPACE: &str = "public";

/// What names one service: namespace, group and name.
///
/// One allocation, shared by all clones, which are what tables, events and timers hold.
#[derive(Clone)]
pub struct ServiceKey {
    /// `group@@name`, then the namespace, so that the name under which clients know a service is a slice.
    text: Arc<str>,
    group_end: u32,
    name_end: u32,
}

impl ServiceKey {
    /// A key of these parts, taken as they are; the edge has checked them.
    pub fn new(namespace: &str, group: &str, name: &str) -> Self {
        let mut text = String::with_capacity(namespace.len() + group.len() + name.len() + GROUP_SPLITTER.len());
        text.push_str(group);
        text.push_str(GROUP_SPLITTER);
        text.push_str(name);
        let name_end = text.len() as u32;
        text.push_str(namespace);
        // The edge refuses longer names by far; a key of 4 GiB cannot arrive here.
        Self { text: text.into(), group_end: group.len() as u32, name_end }
    }

    /// A key of a namespace and `group@@name`; without `@@` the group is `DEFAULT_GROUP`.
    pub fn of_grouped(namespace: &str, grouped: &str) -> Self {
        let (group, name) = split_grouped(grouped);
        Self::new(namespace, group, name)
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.text[self.name_end as usize..]
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.text[..self.group_end as usize]
    }

    /// The name without the group.
    pub fn name(&self) -> &str {
        &self.text[self.group_end as usize + GROUP_SPLITTER.len()..self.name_end as usize]
    }

    /// `group@@name`, as clients write it.
    pub fn grouped(&self) -> &str {
        &self.text[..self.name_end as usize]
    }
}

/// What stands between group and name of a service.
pub const GROUP_SPLITTER: &str = "@@";

/// Group and name of `group@@name`; the group is `DEFAULT_GROUP` where there is no `@@`, and what follows a second one
/// is left out (Nacos `NamingUtils.getGroupName`, `getServiceName`).
pub fn split_grouped(grouped: &str) -> (&str, &str) {
    let Some((group, rest)) = grouped.split_once(GROUP_SPLITTER) else { return (DEFAULT_GROUP, grouped) };
    (group, rest.split_once(GROUP_SPLITTER).map_or(rest, |(name, _)| name))
}

impl PartialEq for ServiceKey {
    fn eq(&self, other: &Self) -> bool {
        self.group_end == other.group_end
            && self.name_end == other.name_end
            && (Arc::ptr_eq(&self.text, &other.text) || self.text == other.text)
    }
}

impl Eq for ServiceKey {}

impl Hash for ServiceKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.grouped().hash(state);
        self.namespace().hash(state);
    }
}

impl PartialOrd for ServiceKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// By namespace, then group, then name: the order of all lists.
impl Ord for ServiceKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.namespace(), self.group(), self.name()).cmp(&(other.namespace(), other.group(), other.name()))
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}##{}", self.namespace(), self.grouped())
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

    #[test]
    fn a_service_key_gives_its_parts_back() {
        let key = ServiceKey::of_grouped("dev", "g@@s");
        assert_eq!((key.namespace(), key.group(), key.name(), key.grouped()), ("dev", "g", "s", "g@@s"));
        assert_eq!(ServiceKey::of_grouped("public", "s"), ServiceKey::new("public", DEFAULT_GROUP, "s"));
        assert_ne!(ServiceKey::new("a", "b", "c"), ServiceKey::new("", "b", "ca"));
    }
}
