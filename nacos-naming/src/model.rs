//! What clients publish and ask for: instances, their metadata, subscribers.
//!
//! Values only; [`registry`](crate::registry) owns where they are kept. Used by all of the crate.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The cluster that is meant when none is named.
pub const DEFAULT_CLUSTER: &str = "DEFAULT";
/// The greatest weight of an instance; the least is 0.
pub const WEIGHT_MAX: f64 = 10_000.0;

/// How often a client is to send heartbeats, in milliseconds, unless its metadata say otherwise.
pub const BEAT_INTERVAL_MS: u64 = 5_000;
/// An instance that has been silent for longer is unhealthy, in milliseconds, unless its metadata say otherwise.
pub const BEAT_TIMEOUT_MS: u64 = 15_000;
/// An instance that has been silent for longer is removed, in milliseconds, unless its metadata say otherwise.
pub const DELETE_TIMEOUT_MS: u64 = 30_000;

/// Keys of metadata that Nacos acts on (`PreservedMetadataKeys`).
pub mod preserved {
    /// How often the client sends heartbeats, in milliseconds.
    pub const BEAT_INTERVAL: &str = "preserved.heart.beat.interval";
    /// Silence after which the instance is unhealthy, in milliseconds.
    pub const BEAT_TIMEOUT: &str = "preserved.heart.beat.timeout";
    /// Silence after which the instance is removed, in milliseconds.
    pub const DELETE_TIMEOUT: &str = "preserved.ip.delete.timeout";
    /// `simple` or `snowflake`: how the instance's id is made.
    pub const ID_GENERATOR: &str = "preserved.instance.id.generator";
    /// `true` on an instance or a service: heartbeats are not watched.
    pub const ENABLE_CLIENT_BEAT: &str = "enableClientBeat";
}

/// A name and its text.
type Pair = (Box<str>, Box<str>);

/// Texts by name, in the order of their names. Clones share them; most instances have few or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(Option<Arc<[Pair]>>);

impl Metadata {
    /// None at all.
    pub fn none() -> Self {
        Self(None)
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.0.as_deref()?;
        let at = all.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        Some(&all[at].1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|all| all.iter().map(|(name, value)| (&**name, &**value)))
    }

    /// As a map that can be changed.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// These, and over them those of `over`.
    pub fn overlaid(&self, over: &Metadata) -> Metadata {
        match (self.is_empty(), over.is_empty()) {
            (_, true) => self.clone(),
            (true, _) => over.clone(),
            _ => {
                let mut map = self.to_map();
                map.extend(over.to_map());
                map.into()
            }
        }
    }

    /// The sum of the lengths of names and values, in UTF-16 units as Java counts them.
    pub fn length(&self) -> usize {
        let units = |text: &str| if text.is_ascii() { text.len() } else { text.encode_utf16().count() };
        self.iter().map(|(name, value)| units(name) + units(value)).sum()
    }

    /// A number of milliseconds under this name, if it is there and made of digits alone (Java
    /// `Instance.getMetaDataByKeyWithDefault`; what overflows counts as absent).
    pub fn millis(&self, name: &str) -> Option<u64> {
        let value = self.get(name)?;
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        value.parse::<i64>().ok().map(|millis| millis as u64)
    }

    /// Reads the parameter `metadata`: a JSON object of texts and numbers, or `name=value,name=value`; blank is none
    /// (Nacos `UtilsAndCommons.parseMetadata`).
    ///
    /// # Errors
    /// `None` where neither form fits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(Self::none());
        }
        if let Ok(map) = serde_json::from_str::<Option<BTreeMap<String, Scalar>>>(text) {
            let map = map.unwrap_or_default();
            return Some(map.into_iter().filter_map(|(name, value)| Some((name, value.0?))).collect());
        }
        let mut map = BTreeMap::new();
        if text.bytes().all(|byte| byte == b',') {
            return Some(Self::none());
        }
        // Java's split drops empty pieces at the end.
        for pair in trimmed_split(text, ',') {
            let mut pieces = trimmed_split(pair, '=');
            let (Some(name), Some(value), None) = (pieces.next(), pieces.next(), pieces.next()) else { return None };
            map.insert(name.to_owned(), value.to_owned());
        }
        Some(map.into())
    }
}

/// The pieces of a text as Java's `split` gives them: without the empty ones at the end.
fn trimmed_split(text: &str, by: char) -> impl Iterator<Item = &str> {
    text.trim_end_matches(by).split(by)
}

/// A JSON value that Jackson reads into a text: a text, a number, a truth value; null is no value.
struct Scalar(Option<String>);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Null => Ok(Scalar(None)),
            serde_json::Value::String(text) => Ok(Scalar(Some(text))),
            value @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_)) => Ok(Scalar(Some(value.to_string()))),
            _ => Err(serde::de::Error::custom("neither text nor number")),
        }
    }
}

impl From<BTreeMap<String, String>> for Metadata {
    fn from(map: BTreeMap<String, String>) -> Self {
        map.into_iter().collect()
    }
}

/// Of names that come twice the last one counts.
impl FromIterator<(String, String)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let map: BTreeMap<String, String> = pairs.into_iter().collect();
        if map.is_empty() {
            return Self(None);
        }
        Self(Some(map.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Option::<BTreeMap<String, Scalar>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(map.into_iter().filter_map(|(name, value)| Some((name, value.0?))).collect())
    }
}

/// The id of an instance. The usual one follows from the instance and is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum InstanceId {
    /// None is shown: the instance came over v2 or gRPC.
    #[default]
    Absent,
    /// `ip#port#cluster#group@@service`.
    Simple,
    /// `number#cluster#group@@service`.
    Snowflake(i64),
}

/// What a client offers at one address for one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// The address; a host name is taken as well.
    pub ip: Arc<str>,
    /// The port.
    pub port: u16,
    /// The cluster.
    pub cluster: Arc<str>,
    /// The weight, 0 to 10,000.
    pub weight: f64,
    /// Whether it is healthy.
    pub healthy: bool,
    /// Whether it takes requests.
    pub enabled: bool,
    /// Its id.
    #[serde(default)]
    pub id: InstanceId,
    /// What else is to be known of it.
    #[serde(default)]
    pub metadata: Metadata,
}

/// Numbers for [`InstanceId::Snowflake`]: unique in this process, and after a restart unless the clock went back.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

impl InstanceId {
    /// The id that the metadata ask for (Nacos `InstanceIdGeneratorManager`); an unknown generator is the usual one.
    pub fn generate(metadata: &Metadata) -> Self {
        if metadata.get(preserved::ID_GENERATOR) != Some("snowflake") {
            return InstanceId::Simple;
        }
        let now = (nacos_core::clock::wall_ms().max(0) as u64) << 20;
        let next = LAST_ID.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
        InstanceId::Snowflake(next.map_or(now, |last| now.max(last + 1)) as i64)
    }
}

impl Instance {
    /// `ip:port`.
    pub fn address(&self) -> String {
        address(&self.ip, self.port)
    }

    /// `ip:port:cluster`, under which metadata of an instance are kept apart from it.
    pub fn metadata_id(&self) -> String {
        metadata_id(&self.ip, self.port, &self.cluster)
    }

    /// The id as it is shown, in the service `grouped`.
    pub fn id_text(&self, grouped: &str) -> Option<String> {
        match self.id {
            InstanceId::Absent => None,
            InstanceId::Simple => Some(format!("{}#{}#{}#{grouped}", self.ip, self.port, self.cluster)),
            InstanceId::Snowflake(number) => Some(format!("{number}#{}#{grouped}", self.cluster)),
        }
    }
}

/// `ip:port`.
pub fn address(ip: &str, port: u16) -> String {
    let mut text = String::with_capacity(ip.len() + 6);
    let _ = write!(text, "{ip}:{port}");
    text
}

/// `ip:port:cluster`.
pub fn metadata_id(ip: &str, port: u16, cluster: &str) -> String {
    let mut text = String::with_capacity(ip.len() + cluster.len() + 7);
    let _ = write!(text, "{ip}:{port}:{cluster}");
    text
}

/// What names a client: `ip:port#true` for the ephemeral instances at an address, `ip:port#false` for the persistent
/// ones, anything without `#` for a connection (Nacos `ClientManagerDelegate`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// The client of an address.
    pub fn of_address(ip: &str, port: u16, ephemeral: bool) -> Self {
        Self(Self::text_of(ip, port, ephemeral).into())
    }

    /// The text of [`of_address`](Self::of_address), for look-ups.
    pub fn text_of(ip: &str, port: u16, ephemeral: bool) -> String {
        let mut text = String::with_capacity(ip.len() + 12);
        let _ = write!(text, "{ip}:{port}#{ephemeral}");
        text
    }

    /// The id as it was written down.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }

    /// Whether this is the client of an address.
    pub fn is_address(&self) -> bool {
        self.0.contains('#')
    }

    /// Whether what it publishes is persistent.
    pub fn is_persistent(&self) -> bool {
        self.0.ends_with("#false")
    }

    /// `ip` and `port` of a client of an address.
    pub fn parts(&self) -> Option<(&str, &str)> {
        self.0.split_once('#')?.0.rsplit_once(':')
    }
}

impl std::borrow::Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who wants to be told of changes of a service, as Nacos shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscriber {
    /// `ip:port`.
    pub addr_str: String,
    /// Its `User-Agent`.
    pub agent: String,
    /// Its application.
    pub app: String,
    /// Its address, as it said itself.
    pub ip: String,
    /// The port at which it takes pushes.
    pub port: u16,
    /// The namespace of the service.
    pub namespace_id: String,
    /// `group@@name` of the service.
    pub service_name: String,
    /// The clusters that it wants to know of, with commas; empty for all.
    pub cluster: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Option<Vec<(String, String)>> {
        Metadata::parse(text).map(|all| all.to_map().into_iter().collect())
    }

    #[test]
    fn metadata_are_read_in_both_forms() {
        let two = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
        assert_eq!(pairs("{\"b\":2,\"a\":\"1\"}"), Some(two.clone()));
        assert_eq!(pairs("a=1,b=2"), Some(two.clone()));
        assert_eq!(pairs("a=1,b=2,,"), Some(two));
        assert_eq!(pairs(" "), Some(vec![]));
        assert_eq!(pairs("{}"), Some(vec![]));
        assert_eq!(pairs(","), Some(vec![]));
        for wrong in ["{oops", "[\"a\"]", "{\"a\":{\"b\":1}}", "justtext", "a=1=2", "a=", "="] {
            assert_eq!(pairs(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_digits_are_times() {
        let of = |value: &str| Metadata::from_iter([("t".to_owned(), value.to_owned())]).millis("t");
        assert_eq!(of("3000"), Some(3000));
        assert_eq!(of("0"), Some(0));
        for wrong in ["", "soon", "-1", "1.5", " 1", "99999999999999999999"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn clients_are_told_apart_by_their_ids() {
        let ephemeral = ClientId::of_address("127.0.0.1", 80, true);
        assert_eq!(ephemeral.as_str(), "127.0.0.1:80#true");
        assert!(ephemeral.is_address() && !ephemeral.is_persistent());
        assert_eq!(ephemeral.parts(), Some(("127.0.0.1", "80")));
        assert!(ClientId::of_address("::1", 80, false).is_persistent());
        assert_eq!(ClientId::of_address("::1", 80, false).parts(), Some(("::1", "80")));
        assert!(!ClientId::from_text("1700_127.0.0.1_5").is_address());
    }

    #[test]
    fn generated_ids_differ() {
        let snowflake = Metadata::from_iter([(preserved::ID_GENERATOR.to_owned(), "snowflake".to_owned())]);
        let (one, two) = (InstanceId::generate(&snowflake), InstanceId::generate(&snowflake));
        assert!(matches!((&one, &two), (InstanceId::Snowflake(a), InstanceId::Snowflake(b)) if a < b));
        assert_eq!(InstanceId::generate(&Metadata::none()), InstanceId::Simple);
    }

    proptest! {
        #[test]
        fn metadata_hold_what_was_put_in(map in proptest::collection::btree_map("\\PC{0,6}", "\\PC{0,6}", 0..6)) {
            let metadata = Metadata::from(map.clone());
            for (name, value) in &map {
                prop_assert_eq!(metadata.get(name), Some(value.as_str()));
            }
            prop_assert_eq!(metadata.get("\u{10ffff} absent"), None);
            let text = serde_json::to_string(&metadata).unwrap();
            prop_assert_eq!(Metadata::parse(&text), Some(metadata.clone()));
            prop_assert_eq!(serde_json::from_str::<Metadata>(&text).unwrap(), metadata);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}") {
            let _ = Metadata::parse(&text);
        }
    }
}
