//! Records on their way to the thread: a bounded queue that is emptied in batches.
//!
//! A channel would wake the thread for each record of a trickle, a system call at the caller's expense. Here the
//! first record of a batch wakes it, it waits for more, and then takes them all.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::record::Event;

/// How long the thread waits for more after the first record.
const LINGER: Duration = Duration::from_millis(200);
/// It waits no longer once so many records are there.
const BATCH: usize = 4096;

/// A record with the time at which it was made, in milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) at_ms: i64,
    pub(super) event: Event,
}

pub(super) struct Queue {
    state: Mutex<State>,
    /// For the thread alone: there is something to do.
    wake: Condvar,
    max: usize,
    batch: usize,
}

#[derive(Default)]
struct State {
    waiting: Vec<Entry>,
    closed: bool,
}

impl Queue {
    /// A queue of at most `max` records.
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self { state: Mutex::default(), wake: Condvar::new(), max, batch: max.div_ceil(2).min(BATCH) }
    }

    /// Takes a record in, unless the queue is full or closed. Never waits for the thread.
    pub(super) fn push(&self, entry: Entry) -> bool {
        let mut state = self.state.lock();
        if state.closed || state.waiting.len() >= self.max {
            return false;
        }
        state.waiting.push(entry);
        let waiting = state.waiting.len();
        drop(state);
        if waiting == 1 || waiting == self.batch {
            self.wake.notify_one();
        }
        true
    }

    /// Waits for records and moves them into `batch`, which must be empty. `false` if these are the last.
    pub(super) fn take(&self, batch: &mut Vec<Entry>) -> bool {
        // One large burst must not hold its memory for ever, and callers shall not pay for its growing.
        batch.shrink_to(self.batch);
        batch.reserve(self.batch);
        let mut state = self.state.lock();
        self.wake.wait_while(&mut state, |state| state.waiting.is_empty() && !state.closed);
        self.wake.wait_while_for(&mut state, |state| state.waiting.len() < self.batch && !state.closed, LINGER);
        std::mem::swap(&mut state.waiting, batch);
        !state.closed
    }

    /// Takes nothing in any more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_ms: i64) -> Entry {
        Entry { at_ms, event: Event::Memory { client_count: 0 } }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_fitted_is_kept() {
        let queue = Queue::new(3);
        let taken: Vec<bool> = (0..5).map(|at_ms| queue.push(entry(at_ms))).collect();
        assert_eq!(taken, [true, true, true, false, false]);

        let mut batch = Vec::new();
        assert!(queue.take(&mut batch));
        assert_eq!(batch.iter().map(|entry| entry.at_ms).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(queue.push(entry(5)), "there is room again");
    }

    #[test]
    fn the_last_records_are_taken_after_closing() {
        let queue = Queue::new(8);
        assert!(queue.push(entry(1)));
        queue.close();
        assert!(!queue.push(entry(2)));
        let mut batch = Vec::new();
        assert!(!queue.take(&mut batch));
        assert_eq!(batch.len(), 1);
    }

    #[test]
    fn a_waiting_thread_is_woken_by_the_first_record() {
        let queue = std::sync::Arc::new(Queue::new(2));
        let taker = std::thread::spawn({
            let queue = queue.clone();
            move || {
                let mut batch = Vec::new();
                let open = queue.take(&mut batch);
                (open, batch.len())
            }
        });
        assert!(queue.push(entry(1)));
        assert_eq!(taker.join().expect("no panic"), (true, 1));
    }

    #[test]
    fn the_memory_of_a_burst_is_given_back() {
        let queue = Queue::new(100_000);
        let mut batch = Vec::with_capacity(50_000);
        queue.close();
        queue.take(&mut batch);
        queue.take(&mut batch);
        assert!(batch.capacity() <= BATCH, "{}", batch.capacity());
    }
}
