//! The registry's clock.

use nacos_core::clock;
use tokio::time::Instant;

/// Milliseconds since the registry was made.
pub type Millis = u64;
/// Later than anything.
pub(crate) const NEVER: Millis = u64::MAX;

/// The registry's clock: tokio's, which tests can pause, counted from the registry's making.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline {
    start: Instant,
    start_wall: i64,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), start_wall: clock::wall_ms() }
    }

    pub(crate) fn now(&self) -> Millis {
        self.start.elapsed().as_millis() as u64
    }

    pub(crate) fn instant(&self, at: Millis) -> Instant {
        self.start + std::time::Duration::from_millis(at)
    }

    pub(crate) fn wall(&self, at: Millis) -> i64 {
        self.start_wall + at as i64
    }
}
