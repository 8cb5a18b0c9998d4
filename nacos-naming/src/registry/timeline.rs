//! The registry's clock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use nacos_core::clock;
use tokio::time::Instant;

/// Milliseconds since the registry was made.
pub type Millis = u64;
/// Later than anything.
pub(crate) const NEVER: Millis = u64::MAX;

/// The registry's clock: tokio's, which tests can pause, counted from the registry's making. Time in which this process
/// did not run does not count: nobody could be heard then.
#[derive(Debug)]
pub(crate) struct Timeline {
    start: Instant,
    start_wall: i64,
    /// Milliseconds that do not count.
    lost: AtomicU64,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), start_wall: clock::wall_ms(), lost: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) -> Millis {
        (self.start.elapsed().as_millis() as u64).saturating_sub(self.lost.load(Ordering::Relaxed))
    }

    pub(crate) fn instant(&self, at: Millis) -> Instant {
        self.start + Duration::from_millis(at + self.lost.load(Ordering::Relaxed))
    }

    pub(crate) fn wall(&self, at: Millis) -> i64 {
        self.start_wall + (at + self.lost.load(Ordering::Relaxed)) as i64
    }

    /// Leaves out time in which this process did not run.
    pub(crate) fn leave_out(&self, lost: Duration) {
        self.lost.fetch_add(lost.as_millis() as u64, Ordering::Relaxed);
    }
}
