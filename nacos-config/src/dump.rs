//! From the store into what queries are answered from: the cache, the disk copies, and the word to those who wait.
//!
//! The only writer of [`ConfigCache`]. Three ways lead in: a write that was just committed here
//! ([`Dump::apply`], in the order of the store's positions), one key read again ([`Dump::refresh`]), and
//! everything read again ([`Dump::all`], at start and on demand). Disk copies are written behind, merged by key.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use nacos_core::{
    clock,
    error::Report,
    event::Topic,
    key::ConfigKey,
    metrics::Metrics,
    storage::{Change, Position, StorageError},
};
use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter};
use tokio::{
    sync::{
        Notify, broadcast,
        broadcast::error::{RecvError, TryRecvError},
        watch,
    },
    time::Instant,
};

use crate::{
    cache::{Applied, ConfigCache, Variant},
    disk::DiskCopies,
    model::{Md5, Part, Stored},
    repository::{Repository, Table, changed_key},
    switches::Switches,
    trace::{DumpOutcome, DumpRecord, Trace, TracePart},
};

/// A content that clients of this server get has changed (Nacos `LocalDataChangeEvent`).
#[derive(Debug, Clone)]
pub struct LocalDataChange {
    /// The key.
    pub key: ConfigKey,
    /// Which of its contents.
    pub part: Part,
}

/// How many changes a subscriber may be behind before it must look at the state itself.
pub const CHANGES_BEHIND_MAX: usize = 4096;

/// Rows read at once by a full dump: contents may be large.
const PAGE: i64 = 200;
/// The position of what was read from disk copies: before all that a store commits.
const COPIED: Position = Position(1);
/// The interval of checks that are switched off.
const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Rest before changed rows are looked for again, after that failed.
const CHECK_AGAIN: Duration = Duration::from_secs(1);
/// Keys changed by other servers that are read again together, and how many at the same time.
const CHANGES_AT_ONCE: usize = 512;
const READS_AT_ONCE: usize = 8;
/// Disk copies wait this long for further changes of the same keys, and this many times as long as the last ones
/// took to write: they may have a tenth of a core, however much is published.
const DISK_DELAY: Duration = Duration::from_millis(200);
const DISK_DELAY_MAX: Duration = Duration::from_secs(5);
const DISK_REST: u32 = 9;
/// More changes than this at once, and everything is read again.
const CHANGED_MAX: usize = 10_000;
/// Removed keys are remembered at least this long.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Fills the cache. One a server.
pub struct Dump {
    cache: Arc<ConfigCache>,
    repository: Repository,
    disk: Option<DiskCopies>,
    changes: Topic<LocalDataChange>,
    switches: Arc<Switches>,
    trace: Trace,
    /// The latest position seen.
    latest: AtomicU64,
    dirty: Mutex<HashSet<ConfigKey>>,
    dirtied: Notify,
    took: Histogram,
    disk_failed: IntCounter,
    store_failed: IntCounter,
}

/// Waits until this turns true.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Dump {
    /// A dump from this repository into this cache and these copies.
    pub fn new(
        cache: Arc<ConfigCache>,
        repository: Repository,
        disk: Option<DiskCopies>,
        switches: Arc<Switches>,
        trace: Trace,
        metrics: &Metrics,
    ) -> Self {
        Self {
            cache,
            repository,
            disk,
            changes: Topic::new("LocalDataChange", CHANGES_BEHIND_MAX, metrics.clone()),
            switches,
            trace,
            latest: AtomicU64::new(0),
            dirty: Mutex::new(HashSet::new()),
            dirtied: Notify::new(),
            took: metrics.timer("config", "dumpRt"),
            disk_failed: metrics.exceptions("config", "diskCopy"),
            store_failed: metrics.exceptions("config", "db"),
        }
    }

    /// Where changes are told.
    pub fn changes(&self) -> &Topic<LocalDataChange> {
        &self.changes
    }

    /// Takes over what a committed write left of a part: a content, or nothing. Tells those who wait if it is
    /// another content than before. Returns at once; disk copies follow.
    pub fn apply(&self, key: &ConfigKey, part: &Part, position: Position, stored: Option<&Stored>) {
        if !self.take_over(key, part, position, stored) {
            return;
        }
        let now = clock::wall_ms();
        let modified = stored.map_or(now, |stored| stored.last_modified);
        self.trace.dump(DumpRecord {
            key: key.clone(),
            part: TracePart::from(part),
            outcome: if stored.is_some() { DumpOutcome::Ok } else { DumpOutcome::RemoveOk },
            handle_ip: None,
            last_modified_ms: modified,
            delay_ms: now - modified,
            length: stored.map_or(0, |stored| stored.content.len() as u64),
        });
    }

    /// [`Self::apply`] without a line in the log, of which a full dump would make too many. `false` if it came late.
    fn take_over(&self, key: &ConfigKey, part: &Part, position: Position, stored: Option<&Stored>) -> bool {
        self.latest.fetch_max(position.0, Ordering::Relaxed);
        let applied = self.cache.apply(key, part, position, stored);
        if applied == Applied::Stale {
            return false;
        }
        if *part == Part::Formal {
            self.switches.observe(key, stored.map(|stored| &*stored.content));
        }
        self.dirty.lock().insert(key.clone());
        self.dirtied.notify_one();
        if applied == Applied::Changed {
            self.changes.publish(LocalDataChange { key: key.clone(), part: part.clone() });
        }
        true
    }

    /// Reads all contents of a key again and takes them over.
    pub async fn refresh(&self, key: &ConfigKey) -> Result<(), StorageError> {
        let _timer = self.took.start_timer();
        let (position, parts) = self.repository.parts(key).await.inspect_err(|_| self.store_failed.inc())?;
        let cached = self.cache.get(key.as_parts());
        let had_formal = cached.as_ref().is_some_and(|item| item.formal.is_some());
        if had_formal && !parts.iter().any(|(part, _)| *part == Part::Formal) {
            // Removing the formal content hides the others as well.
            self.apply(key, &Part::Formal, position, None);
            return Ok(());
        }
        for (part, _) in cached.iter().flat_map(|item| item.variants()) {
            if !parts.iter().any(|(stored, _)| *stored == part) {
                self.apply(key, &part, position, None);
            }
        }
        for (part, stored) in &parts {
            self.apply(key, part, position, Some(stored));
        }
        Ok(())
    }

    /// Reads everything again. `progress` is called with rows done and rows in all. Says how many contents there
    /// are.
    pub async fn all(&self, mut progress: impl FnMut(u64, u64) + Send) -> Result<u64, StorageError> {
        let mut total = 0;
        for table in Table::ALL {
            total += self.repository.count(table).await? as u64;
        }
        let mut done = 0;
        let mut seen = HashSet::new();
        for table in Table::ALL {
            let mut last_id = i64::MIN;
            loop {
                let page = self.repository.dump_page(table, last_id, PAGE).await?;
                if page.contents.is_empty() {
                    break;
                }
                last_id = page.last_id;
                done += page.contents.len() as u64;
                for (key, part, stored) in page.contents {
                    self.take_over(&key, &part, page.position, Some(&stored));
                    seen.insert((key, part));
                }
                progress(done, total.max(done));
            }
        }
        for key in self.cache.keys() {
            let Some(item) = self.cache.get(key.as_parts()) else { continue };
            if item.variants().any(|(part, _)| !seen.contains(&(key.clone(), part))) {
                self.refresh(&key).await?;
            }
        }
        Ok(done)
    }

    /// The bytes of a content: from memory, from its disk copy, or from the store. If the store holds a later one by
    /// now, that one, which the cache then knows as well. `None` if there is none any more, or it can be read nowhere.
    pub async fn content(&self, key: &ConfigKey, part: &Part, variant: Variant) -> Option<(Variant, Bytes)> {
        if let Some(content) = self.cache.content(&variant) {
            return Some((variant, content));
        }
        let mut found = None;
        if let Some(disk) = self.disk.clone() {
            let (key, md5) = (key.clone(), variant.md5);
            found = tokio::task::spawn_blocking(move || disk.read(&key, md5)).await.ok().flatten();
        }
        if found.is_none() {
            match self.repository.parts(key).await {
                Ok((position, parts)) => {
                    let (_, stored) = parts.into_iter().find(|(stored, _)| stored == part)?;
                    let content = Bytes::copy_from_slice(stored.content.as_bytes());
                    if stored.md5 != variant.md5 {
                        // First, so that no later read finds the older one.
                        self.apply(key, part, position, Some(&stored));
                        return Some((Variant::unlisted(&stored), content));
                    }
                    found = Some(content);
                }
                Err(error) => {
                    self.store_failed.inc();
                    tracing::warn!(%key, error = %Report(&error), "content not readable from the store");
                }
            }
        }
        if let Some(content) = &found {
            self.cache.remember(&variant, content.clone());
        }
        found.map(|content| (variant, content))
    }

    /// Takes over the disk copies, for a start while the store is away. Says how many keys there are.
    pub async fn from_copies(&self) -> usize {
        let Some(disk) = self.disk.clone() else { return 0 };
        let (keys, mut copies) = tokio::sync::mpsc::channel(64);
        let reading =
            tokio::task::spawn_blocking(move || disk.each(|key, parts| drop(keys.blocking_send((key, parts)))));
        let mut count = 0;
        while let Some((key, parts)) = copies.recv().await {
            count += 1;
            for (part, stored) in &parts {
                self.take_over(&key, part, COPIED, Some(stored));
            }
        }
        match reading.await {
            Ok(Ok(0)) => {}
            Ok(Ok(damaged)) => tracing::warn!(damaged, "disk copies that are damaged were passed over"),
            other => tracing::warn!(?other, "disk copies could not be read"),
        }
        count
    }

    /// Follows what other servers write to the store: keys that they tell of, and every `interval` whatever rows
    /// changed besides. `whole` says whether the cache holds all that was stored at first. Ends when `stop` turns true.
    pub async fn run_checks(
        self: Arc<Self>,
        mut others: broadcast::Receiver<Change>,
        interval: Option<Duration>,
        mut whole: bool,
        mut stop: watch::Receiver<bool>,
    ) {
        let rest = interval.unwrap_or(NEVER);
        let mut since = clock::wall_ms();
        let mut next = if whole { Instant::now() + rest } else { Instant::now() };
        let (mut missed, mut failing, mut told) = (false, false, true);
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                // Not put off by what is told meanwhile.
                () = tokio::time::sleep_until(next) => {}
                change = others.recv(), if told => {
                    match change {
                        Err(RecvError::Closed) => told = false,
                        change => if !self.take_changes(change, &mut others).await {
                            (missed, next) = (true, Instant::now());
                        },
                    }
                    continue;
                }
            }
            let begun = clock::wall_ms();
            // Clocks of writers differ a little; a row seen twice costs a look.
            let from = since - 5_000;
            let done = match whole {
                false => self.all(|_, _| {}).await.map(drop),
                true if missed => self.check_missed(from).await,
                true => self.check_changed(from).await,
            };
            let pause = match done {
                Ok(()) => {
                    (since, whole, missed, failing) = (begun, true, false, false);
                    rest
                }
                Err(error) => {
                    self.store_failed.inc();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error = %Report(&error), "changed rows not read; tried again until they are");
                    }
                    CHECK_AGAIN
                }
            };
            next = Instant::now() + pause;
        }
    }

    /// Reads the keys again that another server tells of, this one and whatever else was told by now. `false` if
    /// something was missed.
    async fn take_changes(&self, first: Result<Change, RecvError>, others: &mut broadcast::Receiver<Change>) -> bool {
        let mut keys = HashSet::new();
        let mut complete = true;
        let mut next = Some(first);
        while let Some(change) = next {
            match change {
                Ok(Change::Told(told)) => keys.extend(changed_key(&told)),
                Ok(_) | Err(_) => complete = false,
            }
            if keys.len() >= CHANGES_AT_ONCE {
                break;
            }
            next = match others.try_recv() {
                Ok(change) => Some(Ok(change)),
                Err(TryRecvError::Lagged(count)) => Some(Err(RecvError::Lagged(count))),
                Err(TryRecvError::Empty | TryRecvError::Closed) => None,
            };
        }
        let read: Vec<bool> = futures_util::stream::iter(keys)
            .map(|key| async move { self.refresh(&key).await.is_ok() })
            .buffer_unordered(READS_AT_ONCE)
            .collect()
            .await;
        complete && read.into_iter().all(|read| read)
    }

    /// Forgets keys that were removed a while ago, every minute until `stop` turns true.
    pub async fn run_forget(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            // What was removed before this minute began: no write of then can still be on its way.
            let before = Position(self.latest.load(Ordering::Relaxed));
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(FORGET_EVERY) => self.cache.forget_removed(before),
            }
        }
    }

    /// Looks for what was changed without a word: changed rows, and beta and tag contents that are gone, which leave no
    /// row behind to tell of it.
    async fn check_missed(&self, since: i64) -> Result<(), StorageError> {
        self.check_changed(since).await?;
        let there = self.repository.beta_and_tags().await?;
        for key in self.cache.keys() {
            let Some(item) = self.cache.get(key.as_parts()) else { continue };
            let mut parts = item.variants().map(|(part, _)| part).filter(|part| *part != Part::Formal);
            if parts.any(|part| !there.contains(&(key.clone(), part))) {
                self.refresh(&key).await?;
            }
        }
        Ok(())
    }

    async fn check_changed(&self, since: i64) -> Result<(), StorageError> {
        let changed = self.repository.changed_since(since).await?;
        if changed.len() >= CHANGED_MAX {
            return self.all(|_, _| {}).await.map(drop);
        }
        for (key, part, modified) in changed {
            let cached = self.cache.get(key.as_parts());
            let known = match &part {
                // A removal: known if nothing older is left.
                None => cached
                    .and_then(|item| item.formal.as_ref().map(|variant| variant.last_modified > modified))
                    .unwrap_or(true),
                Some(part) => cached
                    .and_then(|item| item.variant(part).map(|variant| variant.last_modified >= modified))
                    .unwrap_or(false),
            };
            if !known {
                self.refresh(&key).await?;
            }
        }
        Ok(())
    }

    /// Writes disk copies behind the cache until `stop` turns true, then what is left. Begins by comparing all
    /// copies with the cache.
    pub async fn run_disk(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let Some(disk) = self.disk.clone() else { return };
        self.reconcile(&disk).await;
        let mut delay = DISK_DELAY;
        loop {
            let stopping = tokio::select! {
                () = stopped(&mut stop) => true,
                () = self.dirtied.notified() => false,
            };
            if !stopping {
                tokio::select! {
                    () = stopped(&mut stop) => {}
                    () = tokio::time::sleep(delay) => {}
                }
            }
            let begun = Instant::now();
            self.write_dirty(&disk).await;
            if stopping {
                return;
            }
            delay = (begun.elapsed() * DISK_REST).clamp(DISK_DELAY, DISK_DELAY_MAX);
        }
    }

    /// How many keys wait for their disk copy to be written.
    pub fn waiting_copies(&self) -> usize {
        self.dirty.lock().len()
    }

    async fn write_dirty(&self, disk: &DiskCopies) {
        let dirty: Vec<ConfigKey> = std::mem::take(&mut *self.dirty.lock()).into_iter().collect();
        // Steps, so that the contents of a million keys are not in memory at once.
        for keys in dirty.chunks(64) {
            let mut copies = Vec::with_capacity(keys.len());
            for key in keys {
                match self.parts_of(key).await {
                    Some(parts) => copies.push((key.clone(), parts)),
                    // It changed meanwhile; whoever changed it marked it again.
                    None => continue,
                }
            }
            let disk = disk.clone();
            let failed = tokio::task::spawn_blocking(move || {
                let mut failed = Vec::new();
                for (key, parts) in copies {
                    if let Err(error) = disk.write(&key, &parts) {
                        failed.push((key, error));
                    }
                }
                failed
            })
            .await
            .unwrap_or_default();
            self.disk_failed.inc_by(failed.len() as u64);
            // One line for all: a full disk would fail for every key.
            if let Some((key, error)) = failed.first() {
                tracing::warn!(%key, %error, keys = failed.len(), "disk copies not written, to be tried again");
            }
            // With the next change of any key; the periodic comparison at start is the last resort.
            self.dirty.lock().extend(failed.into_iter().map(|(key, _)| key));
        }
    }

    /// What a key's copy must hold; `None` if a content cannot be read now.
    async fn parts_of(&self, key: &ConfigKey) -> Option<Vec<(Part, Stored)>> {
        let Some(item) = self.cache.get(key.as_parts()) else { return Some(Vec::new()) };
        let mut parts = Vec::new();
        for (part, variant) in item.variants() {
            let (variant, content) = self.content(key, &part, variant.clone()).await?;
            parts.push((
                part.clone(),
                Stored {
                    content: String::from_utf8_lossy(&content).into(),
                    md5: variant.md5,
                    last_modified: variant.last_modified,
                    encrypted_data_key: variant.encrypted_data_key.clone(),
                    config_type: item.config_type,
                    beta_ips: match (&part, &item.beta) {
                        (Part::Beta, Some((_, ips))) => ips.clone(),
                        _ => Arc::new([]),
                    },
                },
            ));
        }
        Some(parts)
    }

    async fn reconcile(&self, disk: &DiskCopies) {
        // What the full dump marked is compared here; what is marked from now on is written afterwards.
        self.dirty.lock().clear();
        let keys = self.cache.keys();
        let wanted: Vec<(ConfigKey, Vec<(Part, Md5)>)> = keys
            .iter()
            .filter_map(|key| {
                let item = self.cache.get(key.as_parts())?;
                Some((key.clone(), item.variants().map(|(part, variant)| (part, variant.md5)).collect()))
            })
            .collect();
        let disk = disk.clone();
        let looked = tokio::task::spawn_blocking(move || {
            if let Err(error) = disk.keep_only(&keys) {
                tracing::warn!(%error, "disk copies of removed keys not cleared");
            }
            wanted.into_iter().filter(|(key, parts)| !disk.is_current(key, parts)).map(|(key, _)| key).collect()
        });
        let outdated: Vec<ConfigKey> = looked.await.unwrap_or_default();
        if !outdated.is_empty() {
            self.dirty.lock().extend(outdated);
            self.dirtied.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use nacos_core::{
        id::Ids,
        storage::{LocalDatabaseOperate, LocalOptions},
    };

    use super::*;

    #[tokio::test]
    async fn a_lag_among_changes_that_are_taken_together_is_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let db = LocalDatabaseOperate::open(LocalOptions::new(folder.path().join("nacos.db"))).unwrap();
        let repository = Repository::new(Arc::new(db), Arc::new(Ids::new(0)));
        let cache = Arc::new(ConfigCache::new(1 << 20));
        let switches = Arc::new(Switches::new());
        let dump = Dump::new(cache, repository, None, switches, Trace::disabled(), &Metrics::new());
        let (sender, mut others) = broadcast::channel(2);
        let tell = |count: usize| {
            for number in 0..count {
                sender.send(Change::Told(format!("config d{number}+g").into())).unwrap();
            }
        };
        tell(2);
        let first = others.recv().await;
        assert!(dump.take_changes(first, &mut others).await, "nothing was missed");
        tell(1);
        let first = others.recv().await;
        tell(5);
        assert!(!dump.take_changes(first, &mut others).await, "three were");
    }
}
