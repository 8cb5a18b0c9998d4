//! Instances: how they come, stay by their heartbeats, and go.

use std::{
    collections::btree_map,
    sync::{Arc, atomic::Ordering},
};

use nacos_core::key::ServiceKey;

use super::{
    Kind, Millis, NEVER, OtherKind, Registry, Service,
    client::ClientState,
    service::{Published, State},
};
use crate::{
    health::{
        heartbeat::{Deadline, Expiry},
        timers::Timer,
    },
    model::{ClientId, Instance},
};

/// No timer is set for longer.
const TIMER_MAX_MS: Millis = 60_000;

/// How a heartbeat was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The instance is known; its own heartbeat interval in milliseconds, if it has one.
    Known(Option<u64>),
    /// There is no such instance.
    Unknown,
}

/// What came of an instance whose timer fired.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expired {
    /// It was heard of meanwhile, or is gone, or another timer counts.
    Nothing,
    /// It is unhealthy from now on.
    Unhealthy,
    /// It was removed.
    Removed,
}

impl Registry {
    /// Registers an ephemeral instance, or puts it in the place of what this client published before. Tells whether what
    /// was said of the service, before it was forgotten, is that it has persistent ones.
    ///
    /// # Errors
    /// The service is one of persistent instances; nothing changed.
    pub fn register(&self, key: &ServiceKey, id: &ClientId, instance: Instance) -> Result<bool, OtherKind> {
        // Two attempts at most use it, and only the last one keeps it.
        self.with_both(id, key, |service, client, state| {
            if state.kind.is_some_and(|kind| kind != Kind::Ephemeral) {
                return Err(OtherKind);
            }
            self.bring_about(service, state, Kind::Ephemeral);
            self.put(service, client, state, id, instance.clone());
            Ok(state.metadata.as_deref().is_some_and(|said| said.kind() != Kind::Ephemeral))
        })
    }

    /// Puts a persistent instance, whatever the kind of its service: all members must come to the same state.
    pub(crate) fn put_persistent(&self, key: &ServiceKey, id: &ClientId, instance: Instance) {
        self.with_both(id, key, |service, client, state| {
            self.bring_about(service, state, Kind::Persistent);
            self.put(service, client, state, id, instance.clone());
        });
    }

    fn put(
        &self,
        service: &Arc<Service>,
        client: &mut ClientState,
        state: &mut State,
        id: &ClientId,
        instance: Instance,
    ) {
        let now = self.time.now();
        state.updated = now;
        let metadata_id = instance.metadata_id();
        match state.publishers.entry(id.clone()) {
            btree_map::Entry::Occupied(mut old) => {
                let old = old.get_mut();
                let moved = std::mem::replace(&mut old.instance, instance);
                old.beat = now;
                let left = moved.metadata_id();
                if left != metadata_id {
                    self.orphan(service, state, &left, true);
                }
            }
            btree_map::Entry::Vacant(place) => {
                place.insert(Box::new(Published { instance, beat: now, due: NEVER, timer: 0 }));
                client.published.push(Arc::clone(service));
                self.counts.instances.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.orphan(service, state, &metadata_id, false);
        if id.is_persistent() {
            self.arrivals.note(&service.key, id);
        } else if id.is_address() {
            self.watch(service, state, id);
        }
        self.note_change(service, state);
    }

    /// Sets a timer for an instance if it has none, or one that fires too late.
    pub(super) fn watch(&self, service: &Arc<Service>, state: &mut State, id: &ClientId) {
        let Some(published) = state.publishers.get(id) else { return };
        let at = match state.deadline(published, &self.expiry) {
            Deadline::At(at) => at,
            Deadline::Unwatched => self.time.now() + self.expiry.recheck_ms(),
            Deadline::Never => NEVER,
        };
        let now = self.time.now();
        // Its client may be heard of by another service; then it is looked at now and then.
        let silent = Some(self.expiry.client_due(false, published.beat)).filter(|at| *at > now).unwrap_or(NEVER);
        // Timers are not taken back, so none is set for long: those of instances that went do not gather.
        let at = at.min(silent).min(now + TIMER_MAX_MS);
        if at >= published.due {
            return;
        }
        let timer = self.timer_ids.fetch_add(1, Ordering::Relaxed);
        if let Some(published) = state.publishers.get_mut(id) {
            published.due = at;
            published.timer = timer;
        }
        self.timers.add(at, Timer::Instance { service: Arc::clone(service), client: id.clone(), timer });
    }

    /// Takes away what this client publishes for the service; `None` if it publishes nothing.
    pub fn deregister(&self, key: &ServiceKey, client: &str) -> Option<Instance> {
        let client = self.client(client)?;
        let mut client_state = client.state.lock();
        if client_state.released {
            return None;
        }
        client.touched.store(self.time.now(), Ordering::Relaxed);
        let service = self.service(key)?;
        let mut state = service.lock();
        let removed = self.take(&service, &mut client_state, &mut state, &client.id);
        self.forget_if_idle(&service, &mut state);
        drop(state);
        self.watch_idle(&client, &mut client_state);
        if client.id.is_persistent() && client_state.published.is_empty() {
            self.release_locked(&client, &mut client_state);
        }
        removed
    }

    pub(super) fn take(
        &self,
        service: &Arc<Service>,
        client: &mut ClientState,
        state: &mut State,
        id: &ClientId,
    ) -> Option<Instance> {
        let removed = state.publishers.remove(id)?.instance;
        let now = self.time.now();
        state.updated = now;
        self.orphan(service, state, &removed.metadata_id(), true);
        client.published.retain(|other| !Arc::ptr_eq(other, service));
        self.counts.instances.fetch_sub(1, Ordering::Relaxed);
        self.note_change(service, state);
        Some(removed)
    }

    /// Meets a heartbeat of an ephemeral instance; it is healthy from now on.
    pub fn beat(&self, key: &ServiceKey, client: &str) -> Beat {
        let Some(service) = self.service(key) else { return Beat::Unknown };
        let mut state = service.lock();
        let now = self.time.now();
        let Some(published) = state.publishers.get_mut(client) else { return Beat::Unknown };
        published.beat = now;
        let rose = !std::mem::replace(&mut published.instance.healthy, true);
        let unwatched = published.due == NEVER;
        if rose {
            self.note_change(&service, &mut state);
        }
        if rose || unwatched {
            self.watch(&service, &mut state, &ClientId::from_text(client));
        }
        let Some(published) = state.publishers.get(client) else { return Beat::Unknown };
        let over = state.overlay(&published.instance);
        Beat::Known(Expiry::beat_interval(&published.instance, over.map(|over| &over.extend_data)))
    }

    /// Sets whether an instance is healthy, if it is there.
    pub(crate) fn set_healthy(&self, key: &ServiceKey, client: &str, healthy: bool) {
        let Some(service) = self.service(key) else { return };
        let mut state = service.lock();
        let Some(published) = state.publishers.get_mut(client) else { return };
        if std::mem::replace(&mut published.instance.healthy, healthy) != healthy {
            self.note_change(&service, &mut state);
        }
    }

    /// Meets the timer of an instance.
    pub(crate) fn instance_due(&self, service: &Arc<Service>, id: &ClientId, timer: u32) -> Expired {
        // The client's lock comes first, though it is only needed for a removal.
        let Some(client) = self.client(id.as_str()) else { return Expired::Nothing };
        let mut client_state = client.state.lock();
        let mut state = service.lock();
        let Some(published) = state.publishers.get_mut(id) else { return Expired::Nothing };
        if published.timer != timer || published.due == NEVER {
            return Expired::Nothing;
        }
        published.due = NEVER;
        let now = self.time.now();
        // It may have been heard before time was left out.
        published.beat = published.beat.min(now);
        if self.expiry.client_due(false, published.beat) <= now {
            drop(state);
            if self.is_silent(&client, &client_state, now) {
                self.release_locked(&client, &mut client_state);
                return Expired::Removed;
            }
            // Nobody takes it away meanwhile, or puts another in its place: that needs the client's lock.
            state = service.lock();
        }
        let Some(published) = state.publishers.get(id) else { return Expired::Nothing };
        let deadline = state.deadline(published, &self.expiry);
        if !matches!(deadline, Deadline::At(at) if at <= now) {
            self.watch(service, &mut state, id);
            return Expired::Nothing;
        }
        let over = state.overlay(&published.instance).map(|over| &over.extend_data);
        if self.expiry.removes(&published.instance, over, published.beat, now) {
            self.take(service, &mut client_state, &mut state, id);
            self.forget_if_idle(service, &mut state);
            drop(state);
            self.watch_idle(&client, &mut client_state);
            return Expired::Removed;
        }
        if let Some(published) = state.publishers.get_mut(id) {
            published.instance.healthy = false;
        }
        self.note_change(service, &mut state);
        self.watch(service, &mut state, id);
        Expired::Unhealthy
    }
}
