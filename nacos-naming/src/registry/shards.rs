//! A table in parts, so that those who change it seldom wait for one another.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::{Equivalent, HashMap};
use parking_lot::RwLock;

const SHARDS: usize = 64;

pub(super) struct Shards<K, V>(Box<[RwLock<HashMap<K, V, RandomState>>]>, RandomState);

impl<K: Eq + Hash + Clone, V: Clone> Shards<K, V> {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| RwLock::default()).collect(), RandomState::new())
    }

    fn of<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, V, RandomState>> {
        &self.0[self.1.hash_one(key) as usize % SHARDS]
    }

    pub(super) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        self.of(key).read().get(key).cloned()
    }

    pub(super) fn get_or_insert(&self, key: &K, make: impl FnOnce() -> V) -> (V, bool) {
        if let Some(found) = self.get(key) {
            return (found, false);
        }
        let mut shard = self.of(key).write();
        if let Some(found) = shard.get(key) {
            return (found.clone(), false);
        }
        let made = make();
        shard.insert(key.clone(), made.clone());
        (made, true)
    }

    pub(super) fn remove<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) {
        let mut shard = self.of(key).write();
        shard.remove(key);
        // What a storm made it grow to is given back.
        if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
            shard.shrink_to_fit();
        }
    }

    pub(super) fn values(&self) -> Vec<V> {
        self.0.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>()).collect()
    }
}
