//! Snowflake ids: 64-bit numbers that grow with time and are unique among members.
//!
//! 41 bits of milliseconds, 10 bits of worker id, 12 bits of sequence, as Nacos' `SnowFlowerIdGenerator` has
//! them, so that ids of both sort together. The worker id comes from the stored node id; servers that share a database
//! settle it among themselves ([`Ids::set_worker`]).

use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;

use crate::clock;

/// Milliseconds since 1970 at which Nacos' snowflakes begin (2018-08-05).
const EPOCH_MS: i64 = 1_533_429_240_000;
const SEQUENCE_BITS: u32 = 12;
const WORKER_BITS: u32 = 10;

/// The greatest worker id.
pub const WORKER_MAX: u16 = (1 << WORKER_BITS) - 1;

/// Makes ids. One a process; cheap to call from anywhere.
#[derive(Debug)]
pub struct Ids {
    worker: AtomicU16,
    last: Mutex<(i64, u32)>,
}

impl Ids {
    /// Ids of this worker; bits over [`WORKER_MAX`] are cut off.
    pub fn new(worker: u16) -> Self {
        Self { worker: AtomicU16::new(worker & WORKER_MAX), last: Mutex::new((0, 0)) }
    }

    /// The worker id in use.
    pub fn worker(&self) -> u16 {
        self.worker.load(Ordering::Relaxed)
    }

    /// Makes ids of another worker from now on, still greater than all before. Bits over [`WORKER_MAX`] are cut off.
    pub fn set_worker(&self, worker: u16) {
        let mut last = self.last.lock();
        if self.worker.swap(worker & WORKER_MAX, Ordering::Relaxed) > worker {
            // A lower number in the same millisecond would be a lower id.
            *last = (last.0 + 1, 0);
        }
    }

    /// A new id, greater than all before it. A clock that steps back does not: the last time is used on, and
    /// moves ahead by itself once 4096 ids were made in one millisecond.
    pub fn next(&self) -> i64 {
        let mut last = self.last.lock();
        let (mut ms, mut sequence) = *last;
        let now = clock::wall_ms();
        if now > ms {
            (ms, sequence) = (now, 0);
        } else {
            sequence += 1;
            if sequence >> SEQUENCE_BITS != 0 {
                (ms, sequence) = (ms + 1, 0);
            }
        }
        *last = (ms, sequence);
        ((ms - EPOCH_MS) << (WORKER_BITS + SEQUENCE_BITS))
            | (i64::from(self.worker()) << SEQUENCE_BITS)
            | i64::from(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_beyond_one_millisecond() {
        let ids = Ids::new(7);
        let made: Vec<i64> = (0..20_000).map(|_| ids.next()).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(made.iter().all(|id| (id >> SEQUENCE_BITS) & i64::from(WORKER_MAX) == 7));
    }

    #[test]
    fn ids_grow_whatever_the_worker_becomes() {
        let ids = Ids::new(7);
        let mut last = ids.next();
        for worker in [1023, 0, 5, 5, 4, 700, 1] {
            ids.set_worker(worker);
            let next = ids.next();
            assert!(next > last, "{worker}");
            assert_eq!((next >> SEQUENCE_BITS) & i64::from(WORKER_MAX), i64::from(worker));
            last = next;
        }
    }
}
