//! What is to be looked at when: one timer wheel for all instances and clients.
//!
//! Owns the wheel. A timer is never taken back: when it fires, whoever set it looks whether it still counts, and sets the
//! next one. So a heartbeat costs no more than writing down when it came.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    model::ClientId,
    registry::{Client, Millis, Service},
};

/// Timers fire at full multiples of this, never early.
const TICK_MS: Millis = 100;
/// Most timers that are taken at once, so that those who fire them let others run in between.
const TAKEN_MAX: usize = 1024;

/// What is to be looked at.
pub(crate) enum Timer {
    /// Whether this instance is still heard of.
    Instance {
        service: Arc<Service>,
        client: ClientId,
        /// Which of its timers this is.
        timer: u32,
    },
    /// Whether this client is still heard of.
    Client(Arc<Client>),
}

/// The wheel: spokes by their tick. The few spokes that there are at a time are found by a tree, however far away.
pub(crate) struct Timers {
    spokes: Mutex<BTreeMap<Millis, Vec<Timer>>>,
    wake: Notify,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self { spokes: Mutex::default(), wake: Notify::new() }
    }

    /// Sets a timer.
    pub(crate) fn add(&self, at: Millis, timer: Timer) {
        let tick = at.div_ceil(TICK_MS);
        let mut spokes = self.spokes.lock();
        let first = spokes.first_key_value().is_none_or(|(earliest, _)| tick < *earliest);
        spokes.entry(tick).or_default().push(timer);
        drop(spokes);
        if first {
            self.wake.notify_one();
        }
    }

    /// Timers that are due, at most a thousand; empty if none is.
    pub(crate) fn take_due(&self, now: Millis) -> Vec<Timer> {
        let mut spokes = self.spokes.lock();
        let Some(mut spoke) = spokes.first_entry().filter(|spoke| *spoke.key() <= now / TICK_MS) else {
            return Vec::new();
        };
        let timers = spoke.get_mut();
        if timers.len() <= TAKEN_MAX {
            return spoke.remove();
        }
        let rest = timers.len() - TAKEN_MAX;
        timers.split_off(rest)
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Millis> {
        self.spokes.lock().first_key_value().map(|(tick, _)| tick * TICK_MS)
    }

    /// Waits until a timer was set that is due before all others.
    pub(crate) async fn earlier(&self) {
        self.wake.notified().await;
    }

    /// How many are set.
    pub(crate) fn len(&self) -> usize {
        self.spokes.lock().values().map(Vec::len).sum()
    }
}
