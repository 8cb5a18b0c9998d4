//! What the backends with one writer share: the batches that wait for it, and their memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::oneshot;

use super::{Batch, Committed, StorageError, Value};

/// Most batches committed together.
pub(super) const GROUP_BATCHES: usize = 512;
/// Bytes of texts after which no further batch joins a group.
pub(super) const GROUP_BYTES: usize = 16 << 20;

pub(super) type Outcome = Result<Committed, StorageError>;

/// A batch that waits, and who waits for it.
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) held: Held,
    pub(super) answer: oneshot::Sender<Outcome>,
}

impl Job {
    pub(super) fn answer(self, outcome: Outcome) {
        // Whoever is answered must find the room that the batch took free.
        drop((self.batch, self.held));
        // An error says that nobody waits any more.
        let _ = self.answer.send(outcome);
    }
}

/// What the writer is told.
pub(super) enum Order {
    Run(Job),
    /// Finish what waits, then end.
    Stop,
}

/// A share of the bytes that may wait, given back when dropped.
pub(super) struct Held {
    pub(super) bytes: usize,
    sum: Arc<AtomicUsize>,
}

impl Held {
    /// Takes the share of `batch`, unless that makes more than `max`. A lone batch is let in whatever its size.
    pub(super) fn take(batch: &Batch, sum: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let bytes = batch.statements.iter().flat_map(|statement| &statement.args).map(size).sum();
        let before = sum.fetch_add(bytes, Ordering::Relaxed);
        let held = Self { bytes, sum: Arc::clone(sum) };
        (before == 0 || before.saturating_add(bytes) <= max).then_some(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sum.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn size(value: &Value) -> usize {
    size_of::<Value>() + value.as_text().map_or(0, |text| text.len())
}
