//! What the backends with one writer share: the batches that wait for it, and their memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{mpsc, oneshot};

use super::{Batch, Committed, Position, StorageError, Value};

/// Most batches committed together.
const GROUP_BATCHES: usize = 512;
/// Bytes of texts after which no further batch joins a group.
const GROUP_BYTES: usize = 16 << 20;

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

/// This order's batch, and those that wait behind it, as many as are committed together. A stop closes the queue.
pub(super) fn gather(order: Order, queue: &mut mpsc::Receiver<Order>) -> Vec<Job> {
    let mut group = Vec::new();
    let (mut next, mut bytes) = (Some(order), 0);
    while let Some(order) = next {
        match order {
            Order::Run(job) => {
                bytes += job.held.bytes;
                group.push(job);
            }
            Order::Stop => queue.close(),
        }
        let room = group.len() < GROUP_BATCHES && bytes < GROUP_BYTES;
        next = if room { queue.try_recv().ok() } else { None };
    }
    group
}

/// Gives each batch that was committed the next position after `first`. Says the last one that was given.
pub(super) fn positioned(touched: Vec<Result<Vec<u64>, StorageError>>, first: u64) -> (Vec<Outcome>, u64) {
    let mut last = first;
    let mut position = |touched| {
        last += 1;
        Committed { touched, position: Position(last) }
    };
    let outcomes = touched.into_iter().map(|one| one.map(&mut position)).collect();
    (outcomes, last)
}

/// A share of the bytes that may wait, given back when dropped.
pub(super) struct Held {
    bytes: usize,
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
