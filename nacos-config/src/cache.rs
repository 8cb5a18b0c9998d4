//! What queries are answered from: for every key the MD5s and the like of its contents, always in memory; the
//! contents themselves as far as a byte budget goes.
//!
//! Owns both. Written by [`crate::dump`] alone; read by queries and by the comparison of long polls, which touch
//! no SQL and wait for no writer: an [`Item`] is replaced whole.
//!
//! Each version of a content has a number of its own under which the budgeted store holds it, so a reader that
//! reloads an old version cannot put it in the place of a newer one.

use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use nacos_core::{
    key::{ConfigKey, KeyParts},
    storage::Position,
};
use parking_lot::RwLock;

use crate::model::{ConfigType, Md5, Part, Stored};

const SHARDS: usize = 64;
/// What a cached content costs beside its bytes.
const CONTENT_OVERHEAD: u32 = 160;

/// One content of a key, without its bytes.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its MD5.
    pub md5: Md5,
    /// When it was written, in milliseconds since 1970.
    pub last_modified: i64,
    /// The key that clients decrypt it with, if the row has one.
    pub encrypted_data_key: Option<Arc<str>>,
    content: ContentId,
}

impl Variant {
    /// What is known of a stored content that the cache holds no bytes of.
    pub(crate) fn unlisted(stored: &Stored) -> Self {
        Self {
            md5: stored.md5,
            last_modified: stored.last_modified,
            encrypted_data_key: stored.encrypted_data_key.clone(),
            content: ContentId(0),
        }
    }
}

/// Names one version of one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentId(u64);

/// What the cache knows of a key.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// The formal content; `None` where only others were published.
    pub formal: Option<Variant>,
    /// The type of the formal content, or the default.
    pub config_type: ConfigType,
    /// The beta content and the addresses that get it.
    pub beta: Option<(Variant, Arc<[Box<str>]>)>,
    /// The contents by tag, sorted by tag.
    pub tags: Vec<(Arc<str>, Variant)>,
    /// Whether the formal content was removed, which hides the others too (Nacos drops the whole cache item).
    gone: bool,
    formal_at: Position,
    beta_at: Position,
    tags_at: Vec<(Arc<str>, Position)>,
}

impl Item {
    /// The content that a client at this address with this tag header gets, and which part it is.
    pub fn choose(&self, client_ip: &str, tag: Option<&str>) -> Option<(Part, &Variant)> {
        if let Some((variant, ips)) = &self.beta
            && ips.iter().any(|ip| &**ip == client_ip)
        {
            return Some((Part::Beta, variant));
        }
        if let Some(tag) = tag
            && let Some((name, variant)) = self.tag(tag)
        {
            return Some((Part::Tag(name.clone()), variant));
        }
        self.formal.as_ref().map(|variant| (Part::Formal, variant))
    }

    /// The content of this tag.
    pub fn tag(&self, tag: &str) -> Option<&(Arc<str>, Variant)> {
        self.tags.iter().find(|(name, _)| &**name == tag)
    }

    /// The content of a part.
    pub fn variant(&self, part: &Part) -> Option<&Variant> {
        match part {
            Part::Formal => self.formal.as_ref(),
            Part::Beta => self.beta.as_ref().map(|(variant, _)| variant),
            Part::Tag(tag) => self.tag(tag).map(|(_, variant)| variant),
        }
    }

    /// All contents.
    pub fn variants(&self) -> impl Iterator<Item = (Part, &Variant)> {
        let formal = self.formal.iter().map(|variant| (Part::Formal, variant));
        let beta = self.beta.iter().map(|(variant, _)| (Part::Beta, variant));
        let tags = self.tags.iter().map(|(tag, variant)| (Part::Tag(tag.clone()), variant));
        formal.chain(beta).chain(tags)
    }

    fn at(&self, part: &Part) -> Position {
        match part {
            Part::Formal => self.formal_at,
            Part::Beta => self.beta_at,
            Part::Tag(tag) => {
                self.tags_at.iter().find(|(name, _)| name == tag).map_or(Position::UNKNOWN, |(_, at)| *at)
            }
        }
    }
}

struct Slot {
    key: ConfigKey,
    item: Arc<Item>,
}

/// The cache of one server.
pub struct ConfigCache {
    shards: Box<[RwLock<HashTable<Slot>>]>,
    hasher: DefaultHashBuilder,
    contents: moka::sync::Cache<ContentId, Bytes>,
    content_bytes_max: u64,
    next_content: AtomicU64,
    formals: AtomicUsize,
}

/// What [`ConfigCache::apply`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// A later version is already there.
    Stale,
    /// The content is what it was; only its time or type may be new.
    Unchanged,
    /// The content is another one, or gone.
    Changed,
}

/// Bytes that a content takes in memory, about.
fn weight(content: &Bytes) -> u32 {
    u32::try_from(content.len()).unwrap_or(u32::MAX).saturating_add(CONTENT_OVERHEAD)
}

impl ConfigCache {
    /// A cache that keeps contents of up to `content_bytes_max` bytes in memory.
    pub fn new(content_bytes_max: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect(),
            hasher: DefaultHashBuilder::default(),
            contents: moka::sync::Cache::builder()
                .max_capacity(content_bytes_max)
                .weigher(|_, bytes: &Bytes| weight(bytes))
                .build(),
            content_bytes_max,
            next_content: AtomicU64::new(1),
            formals: AtomicUsize::new(0),
        }
    }

    /// What is known of a key; `None` for one never published or removed.
    pub fn get(&self, key: KeyParts<'_>) -> Option<Arc<Item>> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash).read();
        let slot = shard.find(hash, |slot| slot.key.as_parts() == key)?;
        if slot.item.gone { None } else { Some(slot.item.clone()) }
    }

    /// The cache's own copy of a key, if it holds it: whoever keeps keys can share its letters.
    pub fn shared_key(&self, key: KeyParts<'_>) -> Option<ConfigKey> {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).read().find(hash, |slot| slot.key.as_parts() == key).map(|slot| slot.key.clone())
    }

    /// The MD5 that a client at this address with this tag must hold to be up to date; `None` where there is
    /// nothing for it (Nacos compares with the empty text there).
    pub fn md5_for(&self, key: KeyParts<'_>, client_ip: &str, tag: Option<&str>) -> Option<Md5> {
        self.get(key)?.choose(client_ip, tag).map(|(_, variant)| variant.md5)
    }

    /// A content's bytes, if they are in memory.
    pub fn content(&self, variant: &Variant) -> Option<Bytes> {
        self.contents.get(&variant.content)
    }

    /// Puts a content's bytes back into memory after they were read again.
    pub fn remember(&self, variant: &Variant, content: Bytes) {
        self.keep(variant.content, content);
    }

    /// One that alone is over the budget is left out; moka would hold it until it tidies up.
    fn keep(&self, id: ContentId, content: Bytes) {
        if u64::from(weight(&content)) <= self.content_bytes_max {
            self.contents.insert(id, content);
        }
    }

    /// How many keys have a formal content.
    pub fn formal_count(&self) -> usize {
        self.formals.load(Ordering::Relaxed)
    }

    /// Bytes of contents in memory, about.
    pub fn content_bytes(&self) -> u64 {
        self.contents.weighted_size()
    }

    /// Writes what the store holds for a part of a key since `position`: a content, or nothing.
    ///
    /// A version older than what is there is left out. Removing the formal content hides beta and tags of that
    /// key as well, until one of them is written again.
    pub fn apply(&self, key: &ConfigKey, part: &Part, position: Position, stored: Option<&Stored>) -> Applied {
        // Bytes first: whoever sees the new item finds its content.
        let variant = stored.map(|stored| {
            let content = ContentId(self.next_content.fetch_add(1, Ordering::Relaxed));
            self.keep(content, Bytes::from_owner(SharedText(stored.content.clone())));
            Variant {
                md5: stored.md5,
                last_modified: stored.last_modified,
                encrypted_data_key: stored.encrypted_data_key.clone(),
                content,
            }
        });
        let fresh = variant.as_ref().map(|variant| variant.content);
        let (applied, drop) = self.replace(key, part, position, variant, stored);
        for content in drop.into_iter().chain(fresh.filter(|_| applied == Applied::Stale)) {
            self.contents.invalidate(&content);
        }
        applied
    }

    fn replace(
        &self,
        key: &ConfigKey,
        part: &Part,
        position: Position,
        variant: Option<Variant>,
        stored: Option<&Stored>,
    ) -> (Applied, Vec<ContentId>) {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).write();
        let entry = shard.entry(hash, |slot| slot.key == *key, |slot| self.hasher.hash_one(&slot.key));
        let old = match &entry {
            Entry::Occupied(slot) => slot.get().item.clone(),
            Entry::Vacant(_) => Arc::new(Item { gone: true, ..Item::default() }),
        };
        if position != Position::UNKNOWN && position < old.at(part) {
            return (Applied::Stale, Vec::new());
        }
        let had_formal = old.formal.is_some() && !old.gone;
        let before = if old.gone { None } else { old.variant(part).map(|variant| (variant.md5, variant.content)) };
        let mut drop: Vec<ContentId> = before.map(|(_, content)| content).into_iter().collect();
        let mut item = (*old).clone();
        if item.gone && variant.is_some() {
            // Whatever was hidden stays hidden: it comes back only when it is written again.
            item = Item { formal_at: item.formal_at, beta_at: item.beta_at, tags_at: item.tags_at, ..Item::default() };
        }
        let changed = before.map(|(md5, _)| md5) != variant.as_ref().map(|variant| variant.md5);
        match part {
            Part::Formal => {
                item.formal_at = position;
                item.config_type = stored.map(|stored| stored.config_type).unwrap_or_default();
                if variant.is_none() {
                    item.gone = true;
                    drop.extend(item.beta.take().map(|(variant, _)| variant.content));
                    drop.extend(item.tags.drain(..).map(|(_, variant)| variant.content));
                }
                item.formal = variant;
            }
            Part::Beta => {
                item.beta_at = position;
                item.beta = variant.zip(stored.map(|stored| stored.beta_ips.clone()));
            }
            Part::Tag(tag) => {
                item.tags_at.retain(|(name, _)| name != tag);
                item.tags_at.push((tag.clone(), position));
                item.tags.retain(|(name, _)| name != tag);
                if let Some(variant) = variant {
                    let at = item.tags.partition_point(|(name, _)| name < tag);
                    item.tags.insert(at, (tag.clone(), variant));
                }
            }
        }
        let ips_changed = matches!(part, Part::Beta)
            && old.beta.as_ref().map(|(_, ips)| ips) != item.beta.as_ref().map(|(_, ips)| ips);
        match (had_formal, item.formal.is_some()) {
            (false, true) => self.formals.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.formals.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        let item = Arc::new(item);
        match entry {
            Entry::Occupied(mut slot) => slot.get_mut().item = item,
            Entry::Vacant(slot) => {
                slot.insert(Slot { key: key.clone(), item });
            }
        }
        (if changed || ips_changed { Applied::Changed } else { Applied::Unchanged }, drop)
    }

    /// Forgets keys without a content whose last change lies before `position`, and marks of removed tags: they are
    /// kept for a while so that a late answer of an older write does not bring them back.
    pub fn forget_removed(&self, position: Position) {
        for shard in &self.shards {
            shard.write().retain(|slot| {
                let item = &slot.item;
                let gone_tag = |tag: &Arc<str>, at: Position| at < position && item.tag(tag).is_none();
                if item.tags_at.iter().any(|(tag, at)| gone_tag(tag, *at)) {
                    let mut kept = (**item).clone();
                    kept.tags_at.retain(|(tag, at)| !gone_tag(tag, *at));
                    slot.item = Arc::new(kept);
                }
                let item = &slot.item;
                let empty = item.gone || item.variants().next().is_none();
                !(empty && item.formal_at < position && item.beta_at < position && item.tags_at.is_empty())
            });
        }
    }

    /// All keys with a content. A copy: the cache goes on changing meanwhile.
    pub fn keys(&self) -> Vec<ConfigKey> {
        let mut keys = Vec::new();
        for shard in &self.shards {
            keys.extend(shard.read().iter().filter(|slot| !slot.item.gone).map(|slot| slot.key.clone()));
        }
        keys
    }

    fn shard(&self, hash: u64) -> &RwLock<HashTable<Slot>> {
        // The table itself uses the low and the highest bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

/// Lets the bytes handed to hyper be those that the row was read into, without a copy.
struct SharedText(Arc<str>);

impl AsRef<[u8]> for SharedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(content: &str) -> Stored {
        Stored {
            content: content.into(),
            md5: Md5::of(content.as_bytes()),
            last_modified: 1,
            encrypted_data_key: Some("".into()),
            config_type: ConfigType::Text,
            beta_ips: Arc::new([]),
        }
    }

    fn content(cache: &ConfigCache, key: &ConfigKey) -> Option<String> {
        let item = cache.get(key.as_parts())?;
        let (_, variant) = item.choose("127.0.0.1", None)?;
        Some(String::from_utf8(cache.content(variant)?.to_vec()).unwrap())
    }

    #[test]
    fn an_older_version_does_not_replace_a_newer_one() {
        let cache = ConfigCache::new(1 << 20);
        let key = ConfigKey::new("d", "g", "");
        assert_eq!(cache.apply(&key, &Part::Formal, Position(2), Some(&stored("two"))), Applied::Changed);
        assert_eq!(cache.apply(&key, &Part::Formal, Position(1), Some(&stored("one"))), Applied::Stale);
        assert_eq!(content(&cache, &key).unwrap(), "two");
        assert_eq!(cache.apply(&key, &Part::Formal, Position(4), None), Applied::Changed);
        assert_eq!(cache.apply(&key, &Part::Formal, Position(3), Some(&stored("three"))), Applied::Stale);
        assert!(cache.get(key.as_parts()).is_none());
        assert_eq!(cache.formal_count(), 0);
    }

    #[test]
    fn the_same_content_again_is_no_change() {
        let cache = ConfigCache::new(1 << 20);
        let key = ConfigKey::new("d", "g", "");
        cache.apply(&key, &Part::Formal, Position(1), Some(&stored("x")));
        assert_eq!(cache.apply(&key, &Part::Formal, Position(2), Some(&stored("x"))), Applied::Unchanged);
        assert_eq!(content(&cache, &key).unwrap(), "x");
    }

    #[test]
    fn beta_tag_and_formal_are_chosen_in_this_order() {
        let cache = ConfigCache::new(1 << 20);
        let key = ConfigKey::new("d", "g", "n");
        cache.apply(&key, &Part::Formal, Position(1), Some(&stored("formal")));
        let beta = Stored { beta_ips: ["10.0.0.1".into()].into(), ..stored("beta") };
        cache.apply(&key, &Part::Beta, Position(2), Some(&beta));
        cache.apply(&key, &Part::Tag("t".into()), Position(3), Some(&stored("tagged")));
        let item = cache.get(key.as_parts()).unwrap();
        assert_eq!(item.choose("10.0.0.1", Some("t")).unwrap().0, Part::Beta);
        assert_eq!(item.choose("10.0.0.2", Some("t")).unwrap().0, Part::Tag("t".into()));
        assert_eq!(item.choose("10.0.0.2", Some("u")).unwrap().0, Part::Formal);
        cache.apply(&key, &Part::Formal, Position(4), None);
        assert!(cache.get(key.as_parts()).is_none(), "removing the formal content hides the others");
        cache.apply(&key, &Part::Formal, Position(5), Some(&stored("again")));
        assert!(cache.get(key.as_parts()).unwrap().beta.is_none());
    }

    #[test]
    fn removed_keys_are_forgotten_after_a_while() {
        let cache = ConfigCache::new(1 << 20);
        let key = ConfigKey::new("d", "g", "");
        cache.apply(&key, &Part::Formal, Position(1), Some(&stored("x")));
        cache.apply(&key, &Part::Formal, Position(2), None);
        cache.forget_removed(Position(2));
        assert!(cache.shared_key(key.as_parts()).is_some());
        cache.forget_removed(Position(3));
        assert!(cache.shared_key(key.as_parts()).is_none());
    }

    #[test]
    fn contents_stay_within_the_budget_and_overwrites_leave_nothing() {
        let cache = ConfigCache::new(100_000);
        let key = ConfigKey::new("d", "g", "");
        for n in 1..500 {
            cache.apply(&key, &Part::Formal, Position(n), Some(&stored(&"x".repeat(1000 + n as usize))));
        }
        cache.contents.run_pending_tasks();
        assert!(cache.content_bytes() < 3000, "{}", cache.content_bytes());
        for n in 0..500 {
            let key = ConfigKey::new(&format!("d{n}"), "g", "");
            cache.apply(&key, &Part::Formal, Position(600), Some(&stored(&"y".repeat(1000))));
        }
        cache.contents.run_pending_tasks();
        assert!(cache.content_bytes() <= 100_000);
    }
}
