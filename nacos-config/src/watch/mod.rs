//! Who waits for which configuration to change: one index from key to waiters.
//!
//! Owns the index. A change costs what its waiters cost. A [`Waiter`] is answered exactly once, by whichever comes
//! first of a change, the end of its time and the stop of the server: one compare-and-swap decides. The transport
//! is none of this module's business; [`long_poll`] holds HTTP requests with it.

pub mod listening;
pub mod long_poll;

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use nacos_core::{
    clock,
    event::{Received, Subscription},
    key::ConfigKey,
};
use parking_lot::Mutex;
use slab::Slab;
use smallvec::SmallVec;
use tokio::{sync::watch, time::Instant};

use self::listening::Listening;
use crate::{cache::ConfigCache, dump::LocalDataChange};

const SHARDS: usize = 64;
const WAITING: u32 = u32::MAX;
const TIMED_OUT: u32 = u32::MAX - 1;
const STOPPED: u32 = u32::MAX - 2;
/// Addresses remembered at most.
const RETAINED_MAX: usize = 10_000;
/// How long an address is remembered, in milliseconds.
const RETAINED_MS: i64 = 600_000;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The watched key with this index changed.
    Changed(usize),
    /// Time is up.
    TimedOut,
    /// The server stops.
    Stopped,
}

/// One client that waits.
pub struct Waiter {
    /// What it watches, and what it holds of each.
    pub watched: Box<[Listening]>,
    /// Its address.
    pub client_ip: Box<str>,
    /// Its tag.
    pub tag: Option<Box<str>>,
    /// The length of its request, for the log.
    pub request_size: u32,
    /// Since when it waits.
    pub since: Instant,
    state: AtomicU32,
    /// When its wait was ended, in milliseconds after `since`.
    ended_ms: AtomicU32,
    waker: AtomicWaker,
}

impl Waiter {
    /// A waiter that is in no index yet.
    pub fn new(watched: Vec<Listening>, client_ip: &str, tag: Option<&str>, request_size: usize) -> Self {
        Self {
            watched: watched.into(),
            client_ip: client_ip.into(),
            tag: tag.map(Box::from),
            request_size: u32::try_from(request_size).unwrap_or(u32::MAX),
            since: Instant::now(),
            state: AtomicU32::new(WAITING),
            ended_ms: AtomicU32::new(0),
            waker: AtomicWaker::new(),
        }
    }

    /// Ends the wait; `false` if it had ended before.
    fn end(&self, state: u32) -> bool {
        if self.state.load(Ordering::Acquire) != WAITING {
            return false;
        }
        // Two that come in the same moment may both write it: the moment is the same.
        self.ended_ms.store(u32::try_from(self.since.elapsed().as_millis()).unwrap_or(u32::MAX), Ordering::Release);
        let first = self.state.compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if first {
            self.waker.wake();
        }
        first
    }

    /// Time since the wait was ended.
    fn since_end(&self) -> Duration {
        let ended = Duration::from_millis(self.ended_ms.load(Ordering::Acquire).into());
        self.since.elapsed().saturating_sub(ended)
    }

    fn ended(&self) -> Option<Ended> {
        match self.state.load(Ordering::Acquire) {
            WAITING => None,
            TIMED_OUT => Some(Ended::TimedOut),
            STOPPED => Some(Ended::Stopped),
            index => Some(Ended::Changed(index as usize)),
        }
    }
}

struct Place {
    waiter: Arc<Waiter>,
    /// Which of the waiter's keys this is.
    index: u32,
}

/// Most keys have one waiter; only shared ones pay for a table.
enum Places {
    One(Place),
    Many(Box<Slab<Place>>),
}

/// The index.
pub struct WatchIndex {
    shards: Box<[Mutex<HashMap<ConfigKey, Places>>]>,
    waiters: AtomicUsize,
    stopped: watch::Sender<bool>,
    retained: Mutex<HashMap<Box<str>, i64>>,
}

/// Keeps a waiter in the index; takes it out when dropped.
pub struct Registered<'a> {
    index: &'a WatchIndex,
    waiter: Arc<Waiter>,
    slots: SmallVec<[u32; 2]>,
}

impl Default for WatchIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl WatchIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect(),
            waiters: AtomicUsize::new(0),
            stopped: watch::Sender::new(false),
            retained: Mutex::new(HashMap::new()),
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiters.load(Ordering::Relaxed)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a waiter under each of its keys. Compare what it holds after this, not before: a change in between
    /// would be missed.
    pub fn register(&self, waiter: Waiter) -> Registered<'_> {
        let waiter = Arc::new(waiter);
        let mut slots = SmallVec::with_capacity(waiter.watched.len());
        for (index, listening) in waiter.watched.iter().enumerate() {
            let place = Place { waiter: waiter.clone(), index: index as u32 };
            let mut shard = self.shard(&listening.key).lock();
            let slot = match shard.entry(listening.key.clone()) {
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(Places::One(place));
                    0
                }
                std::collections::hash_map::Entry::Occupied(mut entry) => {
                    let places = entry.get_mut();
                    if let Places::Many(slab) = places {
                        slab.insert(place)
                    } else {
                        let mut slab = Box::new(Slab::with_capacity(4));
                        if let Places::One(first) = std::mem::replace(places, Places::Many(Box::default())) {
                            slab.insert(first);
                        }
                        let slot = slab.insert(place);
                        *places = Places::Many(slab);
                        slot
                    }
                }
            };
            slots.push(slot as u32);
        }
        self.waiters.fetch_add(1, Ordering::Relaxed);
        if *self.stopped.borrow() {
            waiter.end(STOPPED);
        }
        Registered { index: self, waiter, slots }
    }

    /// Answers all who wait for a key, whatever they hold, and says how many that were.
    pub fn wake(&self, key: &ConfigKey) -> usize {
        let Some(places) = self.shard(key).lock().remove(key) else { return 0 };
        let wake = |place: &Place| usize::from(place.waiter.end(place.index));
        match &places {
            Places::One(place) => wake(place),
            Places::Many(slab) => slab.iter().map(|(_, place)| wake(place)).sum(),
        }
    }

    /// Answers all who hold something else than the cache has: what is left to do when changes were missed.
    pub fn wake_outdated(&self, cache: &ConfigCache) {
        for shard in &self.shards {
            let keys: Vec<ConfigKey> = shard.lock().keys().cloned().collect();
            for key in keys {
                self.for_each_of(&key, |place| {
                    let waiter = &place.waiter;
                    let current = cache.md5_for(key.as_parts(), &waiter.client_ip, waiter.tag.as_deref());
                    if !waiter.watched[place.index as usize].held.equals(current) {
                        waiter.end(place.index);
                    }
                });
            }
        }
    }

    /// Answers everybody, now and from now on: the server stops.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
        for shard in &self.shards {
            for places in shard.lock().values() {
                match places {
                    Places::One(place) => _ = place.waiter.end(STOPPED),
                    Places::Many(slab) => slab.iter().for_each(|(_, place)| _ = place.waiter.end(STOPPED)),
                }
            }
        }
    }

    /// Waits until the server stops.
    pub async fn stopped(&self) {
        // The sender lives as long as the index, so this ends by the value alone.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// The addresses that wait for a key, each with the text of the MD5 it holds.
    pub fn clients_of(&self, key: &ConfigKey) -> Vec<(Box<str>, String)> {
        let mut found = Vec::new();
        self.for_each_of(key, |place| {
            let held = place.waiter.watched[place.index as usize].held.text().into_owned();
            found.push((place.waiter.client_ip.clone(), held));
        });
        found
    }

    /// The keys that an address waits for, each with the text of the MD5 it holds.
    pub fn keys_of(&self, client_ip: &str) -> Vec<(ConfigKey, String)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            for (key, places) in shard.lock().iter() {
                let mut look = |place: &Place| {
                    if &*place.waiter.client_ip == client_ip {
                        let held = place.waiter.watched[place.index as usize].held.text().into_owned();
                        found.push((key.clone(), held));
                    }
                };
                match places {
                    Places::One(place) => look(place),
                    Places::Many(slab) => slab.iter().for_each(|(_, place)| look(place)),
                }
            }
        }
        found
    }

    /// Remembers that a client at this address was answered now (Nacos `getRetainIps`).
    pub fn retain(&self, client_ip: &str) {
        let now = clock::wall_ms();
        let mut retained = self.retained.lock();
        if let Some(time) = retained.get_mut(client_ip) {
            *time = now;
            return;
        }
        if retained.len() >= RETAINED_MAX {
            retained.retain(|_, time| now - *time < RETAINED_MS);
            if retained.len() >= RETAINED_MAX {
                return;
            }
        }
        retained.insert(client_ip.into(), now);
    }

    /// The addresses answered in the last ten minutes, with the time of the last answer in milliseconds since
    /// 1970; at most 10,000.
    pub fn retained(&self) -> Vec<(Box<str>, i64)> {
        let now = clock::wall_ms();
        let retained = self.retained.lock();
        retained.iter().filter(|(_, time)| now - **time < RETAINED_MS).map(|(ip, time)| (ip.clone(), *time)).collect()
    }

    /// Wakes waiters as changes come, until the topic closes.
    pub async fn follow(self: Arc<Self>, cache: Arc<ConfigCache>, mut changes: Subscription<LocalDataChange>) {
        loop {
            match changes.next().await {
                Received::Event(change) => _ = self.wake(&change.key),
                Received::Missed(count) => {
                    tracing::warn!(count, "changes were missed, comparing all waiters");
                    self.wake_outdated(&cache);
                }
                Received::Closed => return,
            }
        }
    }

    fn for_each_of(&self, key: &ConfigKey, mut look: impl FnMut(&Place)) {
        match self.shard(key).lock().get(key) {
            None => {}
            Some(Places::One(place)) => look(place),
            Some(Places::Many(slab)) => slab.iter().for_each(|(_, place)| look(place)),
        }
    }

    fn shard(&self, key: &ConfigKey) -> &Mutex<HashMap<ConfigKey, Places>> {
        // Spreads over the locks; each map hashes with a key of its own besides.
        let parts = key.as_parts();
        let bytes = parts.data_id.bytes().chain(parts.group.bytes()).chain(parts.namespace.bytes());
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

impl Registered<'_> {
    /// The waiter.
    pub fn waiter(&self) -> &Waiter {
        &self.waiter
    }

    /// Ends the wait because its time is up, unless it has ended otherwise in the same moment; says how it ended.
    pub fn time_out(&self) -> Ended {
        self.waiter.end(TIMED_OUT);
        self.waiter.ended().unwrap_or(Ended::TimedOut)
    }

    /// Waits for the end.
    pub fn ended(&self) -> impl Future<Output = Ended> + '_ {
        Wait(&self.waiter)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        for (listening, slot) in self.waiter.watched.iter().zip(&self.slots) {
            let mut shard = self.index.shard(&listening.key).lock();
            // A wake took the whole list away; others may have begun a new one since.
            let empty = match shard.get_mut(&listening.key) {
                Some(Places::One(place)) => Arc::ptr_eq(&place.waiter, &self.waiter),
                Some(Places::Many(slab)) => {
                    let slot = *slot as usize;
                    if slab.get(slot).is_some_and(|place| Arc::ptr_eq(&place.waiter, &self.waiter)) {
                        slab.remove(slot);
                    }
                    slab.is_empty()
                }
                None => false,
            };
            if empty {
                shard.remove(&listening.key);
            }
        }
        self.index.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Wait<'a>(&'a Waiter);

impl Future for Wait<'_> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        self.0.waker.register(context.waker());
        self.0.ended().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{listening::Held, *};

    fn waiter(keys: &[&str], ip: &str) -> Waiter {
        let watched = keys.iter().map(|key| Listening { key: ConfigKey::new(key, "g", ""), held: Held::Nothing });
        Waiter::new(watched.collect(), ip, None, 0)
    }

    fn key(name: &str) -> ConfigKey {
        ConfigKey::new(name, "g", "")
    }

    #[tokio::test]
    async fn a_change_wakes_those_who_wait_for_it_and_no_others() {
        let index = WatchIndex::new();
        let a = index.register(waiter(&["a", "b"], "1"));
        let b = index.register(waiter(&["b"], "2"));
        let c = index.register(waiter(&["c"], "3"));
        assert_eq!(index.wake(&key("b")), 2);
        assert_eq!(a.ended().await, Ended::Changed(1));
        assert_eq!(b.ended().await, Ended::Changed(0));
        assert_eq!(index.wake(&key("a")), 0, "answered once");
        assert_eq!(c.time_out(), Ended::TimedOut);
        drop((a, b, c));
        assert!(index.is_empty());
        assert!(index.shards.iter().all(|shard| shard.lock().is_empty()), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_change_in_the_moment_of_the_time_out_counts_once() {
        let index = WatchIndex::new();
        let a = index.register(waiter(&["a"], "1"));
        index.wake(&key("a"));
        assert_eq!(a.time_out(), Ended::Changed(0));
        let b = index.register(waiter(&["a"], "1"));
        assert_eq!(b.time_out(), Ended::TimedOut);
        assert_eq!(index.wake(&key("a")), 0);
    }

    #[tokio::test]
    async fn a_stop_answers_all_even_those_who_come_late() {
        let index = WatchIndex::new();
        let a = index.register(waiter(&["a"], "1"));
        index.stop();
        assert_eq!(a.ended().await, Ended::Stopped);
        let late = index.register(waiter(&["a"], "1"));
        assert_eq!(late.ended().await, Ended::Stopped);
    }

    #[test]
    fn retained_addresses_are_bounded() {
        let index = WatchIndex::new();
        for n in 0..RETAINED_MAX + 10 {
            index.retain(&n.to_string());
        }
        assert_eq!(index.retained().len(), RETAINED_MAX);
    }

    proptest! {
        /// Against a list of (waiter, key): the same waiters are answered, and nothing is left in the end.
        #[test]
        fn the_index_agrees_with_a_list(steps in proptest::collection::vec((0..3u8, 0..5usize, 0..4usize), 1..60)) {
            let names = ["a", "b", "c", "d", "e"];
            let index = WatchIndex::new();
            let mut alive: Vec<(Registered<'_>, Vec<&str>)> = Vec::new();
            for (step, first, count) in steps {
                match step {
                    0 => {
                        let keys: Vec<&str> = (0..=count).map(|n| names[(first + n) % 5]).collect();
                        alive.push((index.register(waiter(&keys, "x")), keys));
                    }
                    1 => {
                        let expected =
                            alive.iter().filter(|(one, keys)| one.waiter().ended().is_none() && keys.contains(&names[first]));
                        let expected = expected.count();
                        prop_assert_eq!(index.wake(&key(names[first])), expected);
                    }
                    _ => {
                        if !alive.is_empty() {
                            alive.swap_remove(first % alive.len());
                        }
                    }
                }
                prop_assert_eq!(index.len(), alive.len());
            }
            alive.clear();
            prop_assert!(index.shards.iter().all(|shard| shard.lock().is_empty()));
        }
    }
}
