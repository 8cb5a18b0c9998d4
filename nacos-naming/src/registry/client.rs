//! One client: which services it publishes and subscribes to, and how it comes and goes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use nacos_core::key::ServiceKey;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::{Millis, Registry, Service};
use crate::{
    health::timers::Timer,
    model::{ClientId, Instance, Subscriber},
};

/// Most combinations of clusters of one service that a client is told of; a further one takes the oldest one's place.
const WISHES_MAX: usize = 16;

/// One client.
pub struct Client {
    pub(super) id: ClientId,
    pub(super) state: Mutex<ClientState>,
    /// When it last did anything but send heartbeats.
    pub(super) touched: AtomicU64,
}

#[derive(Default)]
pub(super) struct ClientState {
    pub(super) published: SmallVec<[Arc<Service>; 1]>,
    pub(super) subscribed: SmallVec<[Arc<Service>; 1]>,
    /// Taken out of the table: whoever still holds it must look it up again.
    pub(super) released: bool,
    /// It has a timer. While it publishes something, the timers of its instances serve.
    timed: bool,
}

impl Client {
    pub(super) fn new(id: &ClientId, now: Millis) -> Self {
        Self { id: id.clone(), state: Mutex::default(), touched: AtomicU64::new(now) }
    }

    /// Its id.
    pub fn id(&self) -> &ClientId {
        &self.id
    }
}

/// What a client does, for operators.
pub struct ClientView {
    /// When it was last heard of, in milliseconds since 1970.
    pub updated_ms: i64,
    /// Services that it publishes, with what.
    pub published: Vec<(ServiceKey, Instance)>,
    /// Services that it subscribes to, with what is known of it.
    pub subscribed: Vec<(ServiceKey, Arc<Subscriber>)>,
}

impl Registry {
    /// What a client does.
    pub fn client_view(&self, client: &Client) -> ClientView {
        let state = client.state.lock();
        let mut heard = client.touched.load(Ordering::Relaxed);
        let mut published = Vec::new();
        for service in &state.published {
            if let Some(found) = service.lock().publishers.get(client.id.as_str()) {
                heard = heard.max(found.beat);
                published.push((service.key.clone(), found.instance.clone()));
            }
        }
        let subscribed = state.subscribed.iter();
        let subscribed = subscribed
            .flat_map(|service| {
                let wishes = service.lock().subscribers.get(client.id.as_str()).cloned().unwrap_or_default();
                wishes.into_iter().map(|wish| (service.key.clone(), wish))
            })
            .collect();
        ClientView { updated_ms: self.time.wall(heard), published, subscribed }
    }

    /// Removes a client with all that it publishes and subscribes to.
    pub fn release(&self, client: &Arc<Client>) {
        let mut state = client.state.lock();
        self.release_locked(client, &mut state);
    }

    pub(super) fn release_locked(&self, client: &Arc<Client>, client_state: &mut ClientState) {
        if std::mem::replace(&mut client_state.released, true) {
            return;
        }
        for service in std::mem::take(&mut client_state.published) {
            let mut state = service.lock();
            self.take(&service, client_state, &mut state, &client.id);
            self.forget_if_idle(&service, &mut state);
        }
        for service in std::mem::take(&mut client_state.subscribed) {
            let mut state = service.lock();
            if state.subscribers.remove(&client.id).is_some() {
                self.counts.subscriptions.fetch_sub(1, Ordering::Relaxed);
            }
            self.forget_if_idle(&service, &mut state);
        }
        self.clients.remove(&client.id);
    }

    /// Subscribes a client to a service, which need not exist. A new one is told of the service soon.
    pub fn subscribe(&self, key: &ServiceKey, id: &ClientId, subscriber: Subscriber) {
        let subscriber = Arc::new(subscriber);
        self.with_both(id, key, |service, client, state| {
            let wishes = state.subscribers.entry(id.clone()).or_default();
            if wishes.is_empty() {
                client.subscribed.push(Arc::clone(service));
                self.counts.subscriptions.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(known) = wishes.iter_mut().find(|known| known.cluster == subscriber.cluster) {
                *known = Arc::clone(&subscriber);
                return;
            }
            if wishes.len() >= WISHES_MAX {
                wishes.remove(0);
            }
            wishes.push(Arc::clone(&subscriber));
            self.changes.note(service, Some(id));
        });
    }

    /// Notes that a client asked again for what it subscribes to with the same words; `false` if that is not so.
    pub(crate) fn resubscribe(&self, service: &Service, id: &str, same: impl Fn(&Subscriber) -> bool) -> bool {
        if !service.lock().subscribers.get(id).is_some_and(|known| known.iter().any(|known| same(known))) {
            return false;
        }
        let Some(client) = self.client(id) else { return false };
        client.touched.store(self.time.now(), Ordering::Relaxed);
        true
    }

    /// Takes a subscription back.
    pub fn unsubscribe(&self, key: &ServiceKey, client: &str) {
        let Some(client) = self.client(client) else { return };
        let mut client_state = client.state.lock();
        client.touched.store(self.time.now(), Ordering::Relaxed);
        let Some(service) = self.service(key) else { return };
        let mut state = service.lock();
        if state.subscribers.remove(&client.id).is_some() {
            client_state.subscribed.retain(|other| !Arc::ptr_eq(other, &service));
            self.counts.subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
        self.forget_if_idle(&service, &mut state);
    }

    /// Meets the timer of a client; `true` if it was removed.
    pub(crate) fn client_due(&self, client: &Arc<Client>) -> bool {
        let mut client_state = client.state.lock();
        if client_state.released {
            return false;
        }
        client_state.timed = false;
        if !client_state.published.is_empty() {
            return false;
        }
        if self.expiry.client_due(true, client.touched.load(Ordering::Relaxed)) > self.time.now() {
            self.watch_idle(client, &mut client_state);
            return false;
        }
        self.release_locked(client, &mut client_state);
        true
    }

    /// Sets a timer for a client of an address that publishes nothing.
    pub(super) fn watch_idle(&self, client: &Arc<Client>, state: &mut ClientState) {
        let watched = client.id.is_address() && !client.id.is_persistent() && state.published.is_empty();
        if watched && !state.released && !std::mem::replace(&mut state.timed, true) {
            let due = self.expiry.client_due(true, client.touched.load(Ordering::Relaxed));
            self.timers.add(due, Timer::Client(Arc::clone(client)));
        }
    }

    /// Whether a client that publishes something has been silent for so long that it is to be removed, whatever it
    /// publishes. None of its services may be locked.
    pub(super) fn is_silent(&self, client: &Client, state: &ClientState, now: Millis) -> bool {
        let mut heard = client.touched.load(Ordering::Relaxed);
        for service in &state.published {
            if let Some(published) = service.lock().publishers.get(&client.id) {
                heard = heard.max(published.beat);
            }
        }
        self.expiry.client_due(false, heard) <= now
    }
}
