//! A group's one task.
//!
//! Owns the group's log and the state of its processor: nobody else appends, applies, saves or loads. It takes all
//! entries that wait, writes them in one batch, and once that is committed applies them one by one and answers each.
//! Snapshots are taken between batches.
//!
//! Memory and log never differ by more than a batch that is under way: where the store lost the answer to one, nothing
//! goes on before the log was looked at.

use std::{sync::Arc, time::Duration};

use prometheus::{Histogram, IntCounter, IntGauge};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    super::{ApplyError, CpError, Entry},
    group::{Health, Waiting},
    processor::Guarded,
    replay::Log,
    store::{ReadError, Store},
};
use crate::{metrics::Metrics, storage::StorageError};

/// Most entries written together, and bytes of them after which no further entry joins.
const GROUP_ENTRIES: usize = 512;
const GROUP_BYTES: usize = 16 << 20;
/// Rest before the log is looked at again, at first and at most. Short in tests, which have other things to do.
const REST: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });
const REST_MAX: Duration = Duration::from_millis(if cfg!(test) { 8 } else { 5000 });

/// What a group counts.
pub(super) struct Meters {
    written: IntGauge,
    committing: Histogram,
    failed_writes: IntCounter,
    failed_snapshots: IntCounter,
}

impl Meters {
    pub(super) fn new(metrics: &Metrics, group: &str) -> Self {
        Self {
            written: metrics.monitor("cp", &format!("{group}.written")),
            committing: metrics.timer("cp", "commitRt"),
            failed_writes: metrics.exceptions("cp", "write"),
            failed_snapshots: metrics.exceptions("cp", "snapshot"),
        }
    }
}

/// When a snapshot is due.
#[derive(Clone, Copy)]
pub(super) struct Due {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) processor: Guarded,
    pub(super) log: Log,
    pub(super) queue: mpsc::Receiver<Waiting>,
    pub(super) health: Arc<Health>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) due: Due,
    pub(super) meters: Meters,
}

/// Waits until this turns true, or nobody is left to turn it.
async fn stopping(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Writer {
    /// Serves the queue until it is closed and empty, then takes a last snapshot.
    pub(super) async fn run(mut self) {
        let mut shared = false;
        loop {
            if self.is_due() {
                self.snapshot().await;
            }
            let Some(first) = self.next().await else { break };
            if shared {
                // Those just answered are about to send again; whoever is first should not get a commit for itself.
                tokio::task::yield_now().await;
            }
            let group = self.gather(first);
            shared = group.len() > 1;
            self.commit(group).await;
        }
        // The next start has nothing to apply then.
        if self.may_snapshot() {
            self.snapshot().await;
        }
    }

    /// The next entry. A stop lets no more in; what waits by then is still taken.
    async fn next(&mut self) -> Option<Waiting> {
        tokio::select! {
            waiting = self.queue.recv() => return waiting,
            () = stopping(&mut self.stop) => {}
        }
        self.queue.close();
        self.queue.recv().await
    }

    /// This entry and those that wait behind it, as many as are written together.
    fn gather(&mut self, first: Waiting) -> Vec<Waiting> {
        let mut bytes = first.entry.len();
        let mut group = vec![first];
        while group.len() < GROUP_ENTRIES
            && bytes < GROUP_BYTES
            && let Ok(next) = self.queue.try_recv()
        {
            bytes += next.entry.len();
            group.push(next);
        }
        group
    }

    async fn commit(&mut self, group: Vec<Waiting>) {
        if let Err(stopped) = self.health.check() {
            return answer_all(group, &stopped);
        }
        let entries: Vec<Entry> = group.iter().map(|waiting| Arc::clone(&waiting.entry)).collect();
        let started = Instant::now();
        let outcome = self.store.append(self.log.last + 1, &entries).await;
        self.meters.committing.observe(started.elapsed().as_secs_f64());
        let Err(error) = outcome else {
            return self.apply_all(group);
        };
        self.meters.failed_writes.inc_by(group.len() as u64);
        let name = self.store.group().to_owned();
        match error {
            StorageError::Unconfirmed(why) => {
                answer_all(group, &CpError::Unconfirmed(name, why));
                self.settle(&entries).await;
            }
            // From here on nothing of the group is written.
            StorageError::Busy => answer_all(group, &CpError::Busy(name)),
            StorageError::Conflict => {
                let reason = format!("another process writes to its log: entry {} is there", self.log.last + 1);
                self.fail(reason.clone());
                answer_all(group, &CpError::Stopped(name, reason));
            }
            StorageError::Corrupt(_) => {
                self.fail(error.to_string());
                answer_all(group, &CpError::Stopped(name, error.to_string()));
            }
            StorageError::Full
            | StorageError::Unavailable(_)
            | StorageError::Refused(_)
            | StorageError::DemandUnmet(_) => answer_all(group, &CpError::Unavailable(name, error.to_string())),
        }
    }

    /// Applies entries that are in the log, and answers each.
    fn apply_all(&mut self, group: Vec<Waiting>) {
        for waiting in group {
            let applied = self.apply(&waiting.entry);
            waiting.answer(applied);
        }
    }

    /// Applies the next entry of the log.
    fn apply(&mut self, entry: &str) -> Result<String, CpError> {
        // It is in the log, so a start with a mended program will apply it: nobody may be told that it failed.
        let unconfirmed = |why: &str| CpError::Unconfirmed(self.store.group().to_owned(), format!("it stopped: {why}"));
        if let Some(why) = self.health.reason() {
            return Err(unconfirmed(why));
        }
        let answer = match self.processor.apply(entry) {
            Ok(answer) => Ok(answer),
            Err(ApplyError::Refused(why)) => Err(CpError::Refused(why)),
            Err(ApplyError::Critical(why)) => {
                let answer = Err(unconfirmed(&why));
                self.fail(format!("entry {} cannot be applied: {why}", self.log.last + 1));
                return answer;
            }
        };
        self.log.last += 1;
        self.log.entries_since += 1;
        self.log.bytes_since += entry.len() as u64;
        self.meters.written.inc();
        answer
    }

    /// Learns what became of a batch whose answer was lost, and applies it if it is there. Until that is known, those
    /// who wait are told that the store is away; a stop ends the attempts.
    async fn settle(&mut self, sent: &[Entry]) {
        let mut rest = REST;
        loop {
            let why = match self.look(sent).await {
                Ok(false) => return,
                Ok(true) => {
                    // Who sent them was answered already.
                    sent.iter().for_each(|entry| drop(self.apply(entry)));
                    return;
                }
                Err(ReadError::Store(error)) if is_passing(&error) => error.to_string(),
                Err(error) => return self.fail(error.to_string()),
            };
            let group = self.store.group();
            tracing::warn!(group, why, "what became of the last entries is not known yet");
            let away = CpError::Unavailable(group.to_owned(), why);
            while let Ok(waiting) = self.queue.try_recv() {
                waiting.answer(Err(away.clone()));
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stopping(&mut self.stop) => {
                    self.queue.close();
                    while let Some(waiting) = self.queue.recv().await {
                        waiting.answer(Err(CpError::Unavailable(group.to_owned(), "stopping".to_owned())));
                    }
                    return;
                }
            }
            rest = (rest * 2).min(REST_MAX);
        }
    }

    /// Whether the log goes on with what was sent. A batch is there as a whole or not at all; anything else was written
    /// by somebody else.
    async fn look(&self, sent: &[Entry]) -> Result<bool, ReadError> {
        self.store.settle().await?;
        let mut found = Vec::new();
        while found.len() <= sent.len() {
            let entries = self.store.after(self.log.last + found.len() as i64).await?;
            if entries.is_empty() {
                break;
            }
            found.extend(entries);
        }
        match found.as_slice() {
            [] => Ok(false),
            found if found == sent => Ok(true),
            _ => Err(ReadError::Damaged(format!(
                "another process writes to its log: there are other entries after {}",
                self.log.last
            ))),
        }
    }

    /// Stops the group: those who wait are refused, and nobody else is let in.
    fn fail(&mut self, reason: String) {
        self.health.stop(reason);
        self.queue.close();
    }

    fn may_snapshot(&self) -> bool {
        // The state of a group that has stopped is not to be trusted.
        self.log.last > self.log.snapshot && self.health.reason().is_none() && self.processor.has_snapshots()
    }

    fn is_due(&self) -> bool {
        let due = self.log.entries_since >= self.due.entries || self.log.bytes_since >= self.due.bytes;
        due && self.may_snapshot()
    }

    /// Takes a snapshot and deletes what it makes superfluous. Where that fails, the log grows on, and as many entries
    /// as make a snapshot due bring the next attempt.
    async fn snapshot(&mut self) {
        (self.log.entries_since, self.log.bytes_since) = (0, 0);
        if let Err(why) = self.try_snapshot().await {
            self.meters.failed_snapshots.inc();
            tracing::warn!(group = self.store.group(), index = self.log.last, why, "a snapshot was not finished");
        }
    }

    async fn try_snapshot(&mut self) -> Result<(), String> {
        let index = self.log.last;
        let text = self.processor.save().await?;
        self.log.generation += 1;
        let generation = self.log.generation;
        self.store.put_snapshot(generation, index, &text).await.map_err(|error| error.to_string())?;
        self.log.snapshot = index;
        tracing::debug!(group = self.store.group(), index, bytes = text.len(), "snapshot taken");
        // What stays behind is deleted after the next one.
        let trimmed = self.store.trim(generation, &mut self.log.oldest, index).await;
        trimmed.map_err(|error| format!("entries before it are not deleted: {error}"))
    }
}

/// Whether the same may succeed later.
fn is_passing(error: &StorageError) -> bool {
    match error {
        StorageError::Full | StorageError::Busy | StorageError::Unavailable(_) | StorageError::Unconfirmed(_) => true,
        StorageError::DemandUnmet(_) | StorageError::Conflict | StorageError::Corrupt(_) | StorageError::Refused(_) => {
            false
        }
    }
}

fn answer_all(group: Vec<Waiting>, error: &CpError) {
    for waiting in group {
        waiting.answer(Err(error.clone()));
    }
}
