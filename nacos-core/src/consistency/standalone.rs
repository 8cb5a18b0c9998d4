//! The protocol of a server without others: every entry is in the log of its group, on disk, before it is applied.
//!
//! Owns one log and one task for each group, in a database of its own with the tables of
//! [`schema::CONSISTENCY`](crate::storage::schema::CONSISTENCY); nobody else may write there, and two processes never
//! share one. [`store`] has the rows, [`writer`] the task, [`group`] what callers hold, [`replay`] what comes before
//! the first write. Made and stopped by the server; domain crates see [`CpProtocol`] alone.
//!
//! Takes the place of Nacos' JRaft groups of one member (2.4.3, `JRaftServer`, `NacosStateMachine`).

mod checksum;
mod group;
mod processor;
mod replay;
mod store;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};

use self::{
    group::{Group, Health},
    processor::Guarded,
    store::Store,
    writer::{Due, Meters, Writer},
};
use super::{CpError, CpProtocol, Entry, RequestProcessor};
use crate::{metrics::Metrics, storage::DatabaseOperate};

pub use store::STATEMENTS;

/// The limits of [`StandaloneProtocol`], for each group.
#[derive(Debug, Clone)]
pub struct StandaloneOptions {
    /// Most entries that wait to be written; at least 1. Default 8192.
    pub max_waiting: usize,
    /// Most bytes of theirs; at least one entry of the greatest size. Default 256 MiB.
    pub max_waiting_bytes: usize,
    /// Most bytes of one entry; what is longer is refused. Default 10 MiB.
    pub max_entry_bytes: usize,
    /// Entries after which a snapshot is taken; at least 1. Default 10,000.
    pub snapshot_every: u64,
    /// Bytes of entries after which one is taken. Default 64 MiB.
    pub snapshot_bytes: u64,
}

impl Default for StandaloneOptions {
    fn default() -> Self {
        Self {
            max_waiting: 8192,
            max_waiting_bytes: 256 << 20,
            max_entry_bytes: 10 << 20,
            snapshot_every: 10_000,
            snapshot_bytes: 64 << 20,
        }
    }
}

/// Keeps entries for a server without others. The head of its module says how.
///
/// An entry must be no longer than [`StandaloneOptions::max_entry_bytes`] and hold no U+0000; else it is
/// [`CpError::Refused`], and not in the log. A group whose processor met [`ApplyError::Critical`](super::ApplyError) or
/// panicked, or whose log is not its own, is [`CpError::Stopped`] until the next start.
///
/// Dropping it does what [`stop`](Self::stop) does, but waits for nothing.
pub struct StandaloneProtocol {
    /// Let go of by a stop, so that whoever opened it can close it though somebody still holds the protocol.
    db: Mutex<Option<Arc<dyn DatabaseOperate>>>,
    options: StandaloneOptions,
    metrics: Metrics,
    groups: Mutex<HashMap<&'static str, Slot>>,
    /// Each group's task holds a receiver as long as it runs.
    stopping: watch::Sender<bool>,
}

/// A group's place.
enum Slot {
    /// Its rows are being read.
    Loading,
    Ready(Arc<Group>),
}

/// A place that is given back unless a group comes into it.
struct Reserved<'a> {
    groups: &'a Mutex<HashMap<&'static str, Slot>>,
    name: &'static str,
    filled: bool,
}

impl Reserved<'_> {
    fn fill(mut self, group: Group) {
        self.groups.lock().insert(self.name, Slot::Ready(Arc::new(group)));
        self.filled = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.filled {
            self.groups.lock().remove(self.name);
        }
    }
}

impl StandaloneProtocol {
    /// A protocol without groups, on a database that has the tables of
    /// [`schema::CONSISTENCY`](crate::storage::schema::CONSISTENCY).
    pub fn new(db: Arc<dyn DatabaseOperate>, options: StandaloneOptions, metrics: &Metrics) -> Self {
        Self {
            db: Mutex::new(Some(db)),
            options,
            metrics: metrics.clone(),
            groups: Mutex::default(),
            stopping: watch::Sender::new(false),
        }
    }

    /// Finishes what waits, takes a snapshot of each group that was written to since its last, and ends all tasks. What
    /// comes later is [`CpError::Unavailable`]; reads go on. A second call waits for the same.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the tasks to finish by themselves.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        self.stopping.closed().await;
        self.db.lock().take();
    }

    fn reserve(&self, name: &'static str) -> Result<Reserved<'_>, CpError> {
        match self.groups.lock().entry(name) {
            hash_map::Entry::Occupied(_) => Err(CpError::DuplicateGroup(name.to_owned())),
            hash_map::Entry::Vacant(place) => {
                place.insert(Slot::Loading);
                Ok(Reserved { groups: &self.groups, name, filled: false })
            }
        }
    }

    fn group(&self, name: &str) -> Result<Arc<Group>, CpError> {
        match self.groups.lock().get(name) {
            Some(Slot::Ready(group)) => Ok(Arc::clone(group)),
            Some(Slot::Loading) => Err(CpError::Unavailable(name.to_owned(), "its log is being read".to_owned())),
            None => Err(CpError::NoSuchGroup(name.to_owned())),
        }
    }
}

#[async_trait]
impl CpProtocol for StandaloneProtocol {
    async fn add_processor(&self, processor: Arc<dyn RequestProcessor>) -> Result<(), CpError> {
        let name = processor.group();
        let reserved = self.reserve(name)?;
        let db = self.db.lock().clone();
        let db = db.ok_or_else(|| CpError::Unavailable(name.to_owned(), "stopping".to_owned()))?;
        let store = Store::new(db, name);
        let guarded = Guarded::new(Arc::clone(&processor));
        let log = replay::replay(&store, &guarded).await?;

        // In this order: a stop either is seen here, or waits for the task that has this receiver.
        let stop = self.stopping.subscribe();
        if *stop.borrow() {
            return Err(CpError::Unavailable(name.to_owned(), "stopping".to_owned()));
        }
        let options = &self.options;
        let (sender, queue) = mpsc::channel(options.max_waiting.clamp(1, Semaphore::MAX_PERMITS));
        let room = options.max_waiting_bytes.max(options.max_entry_bytes).min(Semaphore::MAX_PERMITS);
        let health = Arc::new(Health::new(name, self.metrics.exceptions("cp", "stopped")));
        let writer = Writer {
            store,
            processor: guarded,
            log,
            queue,
            health: Arc::clone(&health),
            stop,
            due: Due { entries: options.snapshot_every.max(1), bytes: options.snapshot_bytes.max(1) },
            meters: Meters::new(&self.metrics, name),
        };
        tokio::spawn(writer.run());
        reserved.fill(Group {
            processor,
            health,
            room: Arc::new(Semaphore::new(room)),
            queue: sender,
            waiting: self.metrics.monitor("cp", &format!("{name}.waiting")),
            max_entry_bytes: options.max_entry_bytes,
        });
        Ok(())
    }

    async fn write(&self, group: &str, entry: Entry) -> Result<String, CpError> {
        self.group(group)?.write(entry).await
    }

    async fn read(&self, group: &str, request: &str) -> Result<String, CpError> {
        self.group(group)?.read(request)
    }
}
