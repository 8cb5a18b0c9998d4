//! What follows from silence: the rules of heartbeats, and the task that applies them.
//!
//! The rules are pure (`Expiry`); the registry holds the times and does what follows; `run` alone waits. Nacos:
//! `ClientBeatCheckTaskV2`, `UnhealthyInstanceChecker`, `ExpiredInstanceChecker`, `ExpiredClientCleaner`.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::timers::Timer;
use crate::{
    metadata::ServiceMetadata,
    model::{BEAT_TIMEOUT_MS, DELETE_TIMEOUT_MS, Instance, Metadata, preserved},
    registry::{Expired, Millis, NEVER, Registry},
    switches::Switches,
};

/// How often to look whether this process runs at all.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A timer may be late for so long because of others' load; beyond that, this process did not run.
const STALL: Duration = Duration::from_secs(2);
/// How soon an instance whose heartbeats are not watched now is looked at again.
const RECHECK_MS: Millis = 5_000;

/// The rules of silence.
pub(crate) struct Expiry {
    switches: Arc<Switches>,
    /// Whether silent instances are removed (`nacos.naming.expireInstance`).
    expire_instances: bool,
    /// A client that publishes something is removed after so long a silence (`nacos.naming.client.expired.time`).
    client_ms: Millis,
}

/// When an instance must be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// From then on something follows from its silence.
    At(Millis),
    /// Its heartbeats are not watched, at present.
    Unwatched,
    /// Nothing more follows from its silence.
    Never,
}

impl Expiry {
    pub(crate) fn new(switches: Arc<Switches>, expire_instances: bool, client_ms: Millis) -> Self {
        Self { switches, expire_instances, client_ms }
    }

    /// How soon to look again at what is not watched.
    pub(crate) fn recheck_ms(&self) -> Millis {
        RECHECK_MS
    }

    /// When something follows from the silence of this instance, heard of last at `beat`; `over` are the metadata
    /// that an operator laid over it.
    pub(crate) fn deadline(
        &self,
        instance: &Instance,
        over: Option<&Metadata>,
        service: Option<&ServiceMetadata>,
        beat: Millis,
    ) -> Deadline {
        if !self.switches.health_check_enabled() || ignores_beats(instance, over, service) {
            return Deadline::Unwatched;
        }
        let sick = if instance.healthy { after(beat, timeout(instance, over)) } else { NEVER };
        let gone = if self.expire_instances { after(beat, delete_timeout(instance, over)) } else { NEVER };
        match sick.min(gone) {
            NEVER => Deadline::Never,
            at => Deadline::At(at),
        }
    }

    /// Whether this silence removes the instance.
    pub(crate) fn removes(&self, instance: &Instance, over: Option<&Metadata>, beat: Millis, now: Millis) -> bool {
        self.expire_instances && after(beat, delete_timeout(instance, over)) <= now
    }

    /// When a client heard of last at `heard` is removed. One that publishes nothing is of no use for long: it
    /// subscribes, and asks again every few seconds as long as it lives.
    pub(crate) fn client_due(&self, publishes_nothing: bool, heard: Millis) -> Millis {
        let expired = after(heard, self.client_ms);
        if publishes_nothing {
            expired.min(after(heard, DELETE_TIMEOUT_MS.max(self.switches.push_cache_millis())))
        } else {
            expired
        }
    }

    /// The heartbeat interval that an instance asks for, in milliseconds.
    pub(crate) fn beat_interval(instance: &Instance, over: Option<&Metadata>) -> Option<u64> {
        millis(instance, over, preserved::BEAT_INTERVAL)
    }
}

/// More than `silence` after `since`.
fn after(since: Millis, silence: u64) -> Millis {
    since.saturating_add(silence).saturating_add(1)
}

fn millis(instance: &Instance, over: Option<&Metadata>, name: &str) -> Option<u64> {
    over.and_then(|over| over.millis(name)).or_else(|| instance.metadata.millis(name))
}

fn timeout(instance: &Instance, over: Option<&Metadata>) -> u64 {
    millis(instance, over, preserved::BEAT_TIMEOUT).unwrap_or(BEAT_TIMEOUT_MS)
}

fn delete_timeout(instance: &Instance, over: Option<&Metadata>) -> u64 {
    millis(instance, over, preserved::DELETE_TIMEOUT).unwrap_or(DELETE_TIMEOUT_MS)
}

fn ignores_beats(instance: &Instance, over: Option<&Metadata>, service: Option<&ServiceMetadata>) -> bool {
    let says = |metadata: Option<&Metadata>| {
        metadata.and_then(|metadata| metadata.get(preserved::ENABLE_CLIENT_BEAT)).map(java_true)
    };
    says(over).or_else(|| says(Some(&instance.metadata))).unwrap_or(false)
        || says(service.map(|service| &service.extend_data)).unwrap_or(false)
}

/// What Nacos' `ConvertUtils.toBoolean` takes for true.
pub(crate) fn java_true(text: &str) -> bool {
    ["true", "on", "yes", "t", "y"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Applies the rules until the server stops.
pub(crate) async fn run(registry: Arc<Registry>, mut stop: watch::Receiver<bool>) {
    let mut pulse = Pulse(Instant::now());
    loop {
        pulse.look(&registry);
        let due = registry.timers.take_due(registry.time.now());
        if due.is_empty() {
            let latest = Instant::now() + LOOK_EVERY;
            let next = registry.timers.next().map_or(latest, |at| registry.time.instant(at).min(latest));
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = registry.timers.earlier() => {}
                () = tokio::time::sleep_until(next) => {}
            }
            continue;
        }
        for timer in due {
            pulse.look(&registry);
            match timer {
                Timer::Instance { service, client, timer } => match registry.instance_due(&service, &client, timer) {
                    Expired::Nothing => {}
                    Expired::Unhealthy => {
                        tracing::info!(service = %service.key(), %client, "heartbeats stay away: unhealthy");
                    }
                    Expired::Removed => {
                        tracing::info!(service = %service.key(), %client, "heartbeats stay away: removed");
                    }
                },
                Timer::Client(client) => {
                    if registry.client_due(&client) {
                        tracing::debug!(client = %client.id(), "client forgotten");
                    }
                }
            }
        }
        if *stop.borrow() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// When the task last ran.
struct Pulse(Instant);

impl Pulse {
    /// A task that runs every second and did not for longer tells that this process did not run: it was stopped, or its
    /// machine was. Heartbeats could not be heard meanwhile, so their silence is not held against the clients.
    fn look(&mut self, registry: &Registry) {
        let now = Instant::now();
        let gap = now - std::mem::replace(&mut self.0, now);
        if gap > LOOK_EVERY + STALL {
            tracing::warn!(ms = gap.as_millis() as u64, "this process did not run for a while; no client is blamed");
            registry.time.leave_out(gap);
        }
    }
}

#[cfg(test)]
mod tests;
