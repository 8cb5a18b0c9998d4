//! Who publishes what, and who wants to know: the one place where services and clients are kept.
//!
//! Owns all of it. A service holds its publishers, subscribers, metadata and finished answers behind one lock; a client
//! holds which services it publishes and subscribes to, behind another. Whoever takes both takes the client's first;
//! neither is taken while a table is locked. Nothing here waits, and nothing here does I/O: time comes in as
//! [`Millis`], what others are to do goes out through `Timers` and `Changes`.
//!
//! Called by the operations of [`crate::instances`] and [`crate::services`], by the appliers of what is replicated
//! ([`crate::metadata`], [`crate::persistent`]) and by [`crate::health`]. Nacos: `ServiceManager`, `ClientManager`,
//! `ClientServiceIndexesManager`, `ServiceStorage`, `NamingMetadataManager`.

mod client;
mod described;
mod instances;
mod service;
mod shards;
mod timeline;

pub use client::{Client, ClientView};
pub(crate) use described::Orphan;
pub use instances::Beat;
pub(crate) use instances::Expired;
pub use service::{Service, ServiceView};
pub(crate) use service::{Shown, State};
pub use timeline::Millis;
pub(crate) use timeline::NEVER;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use nacos_core::key::ServiceKey;
use parking_lot::{Mutex, RwLock};

use crate::{
    changes::{Arrivals, Changes},
    health::{heartbeat::Expiry, timers::Timers},
    model::{ClientId, DEFAULT_CLUSTER, Subscriber},
};
use client::ClientState;
use shards::Shards;
use timeline::Timeline;

/// Whether the instances of a service live as long as their clients, or until they are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As long as their clients.
    Ephemeral,
    /// Until they are taken away.
    Persistent,
}

/// What was found when a service was claimed for one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// It did not exist before.
    pub(crate) new: bool,
    /// What was said of it, and would be said again after a restart, is that it is of the other kind.
    pub(crate) said_otherwise: bool,
}

/// The service is of the other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherKind;

/// Sizes, kept as things come and go.
#[derive(Default)]
pub(crate) struct Counts {
    instances: AtomicI64,
    subscriptions: AtomicI64,
}

/// All services and clients of a server.
pub struct Registry {
    services: Shards<ServiceKey, Arc<Service>>,
    clients: Shards<ClientId, Arc<Client>>,
    /// The services that exist, in the order of lists.
    existing: RwLock<BTreeMap<ServiceKey, Arc<Service>>>,
    counts: Counts,
    /// Metadata without an owner, and since when; at most as many as there are metadata.
    orphans: Mutex<BTreeMap<Orphan, Millis>>,
    timer_ids: AtomicU32,
    pub(crate) time: Timeline,
    pub(crate) timers: Timers,
    pub(crate) changes: Changes,
    pub(crate) arrivals: Arrivals,
    pub(crate) expiry: Expiry,
}

impl Registry {
    /// An empty registry.
    pub(crate) fn new(expiry: Expiry) -> Self {
        let time = Timeline::new();
        Self {
            services: Shards::new(),
            clients: Shards::new(),
            existing: RwLock::default(),
            counts: Counts::default(),
            orphans: Mutex::default(),
            timer_ids: AtomicU32::new(0),
            time,
            timers: Timers::new(),
            changes: Changes::new(),
            arrivals: Arrivals::new(),
            expiry,
        }
    }

    /// The service of this key, whether it exists or is only kept for its subscribers.
    pub(crate) fn service(&self, key: &ServiceKey) -> Option<Arc<Service>> {
        self.services.get(key)
    }

    /// The kind of this service, if it exists.
    pub fn kind(&self, key: &ServiceKey) -> Option<Kind> {
        self.service(key)?.lock().kind
    }

    /// The client of this id.
    pub fn client(&self, id: &str) -> Option<Arc<Client>> {
        self.clients.get(id)
    }

    /// The ids of all clients.
    pub fn client_ids(&self) -> Vec<ClientId> {
        let mut ids: Vec<ClientId> = self.clients.values().iter().map(|client| client.id.clone()).collect();
        ids.sort_unstable();
        ids
    }

    /// Instances in all.
    pub fn instance_count(&self) -> i64 {
        self.counts.instances.load(Ordering::Relaxed)
    }

    /// Subscriptions in all.
    pub fn subscription_count(&self) -> i64 {
        self.counts.subscriptions.load(Ordering::Relaxed)
    }

    /// Services that exist.
    pub fn service_count(&self) -> usize {
        self.existing.read().len()
    }

    /// The namespaces in which services exist.
    pub fn namespaces(&self) -> Vec<String> {
        let existing = self.existing.read();
        let mut all: Vec<String> = Vec::new();
        let mut next = existing.iter().next();
        while let Some((key, _)) = next {
            all.push(key.namespace().to_owned());
            // The first key behind all of this namespace.
            let behind = ServiceKey::new(&format!("{}\0", key.namespace()), "", "");
            next = existing.range(behind..).next();
        }
        all
    }

    /// The services that exist in this namespace and are wanted, in the order of group and name.
    pub(crate) fn services_of(&self, namespace: &str, wanted: impl Fn(&ServiceKey) -> bool) -> Vec<Arc<Service>> {
        let existing = self.existing.read();
        let from = ServiceKey::new(namespace, "", "");
        let of_namespace = existing.range(from..).take_while(|(key, _)| key.namespace() == namespace);
        of_namespace.filter(|(key, _)| wanted(key)).map(|(_, service)| Arc::clone(service)).collect()
    }

    /// Shows every service, those too that are kept for their subscribers or overlays alone. Locks one after another.
    pub fn each_service(&self, mut see: impl FnMut(&ServiceKey, &ServiceView<'_>)) {
        for service in self.services.values() {
            let view = ServiceView(service.lock());
            see(&service.key, &view);
        }
    }

    /// Shows the subscribers of every service of a namespace that has any, whether it exists or not.
    pub(crate) fn each_subscribed(
        &self,
        namespace: &str,
        mut see: impl FnMut(&ServiceKey, &mut dyn Iterator<Item = &Arc<Subscriber>>),
    ) {
        for service in self.services.values() {
            if service.key.namespace() == namespace {
                let state = service.lock();
                if !state.subscribers.is_empty() {
                    see(&service.key, &mut state.subscribers.values().flatten());
                }
            }
        }
    }

    fn service_or_new(&self, key: &ServiceKey) -> Arc<Service> {
        let now = self.time.now();
        let make = || Arc::new(Service::new(key, now));
        self.services.get_or_insert(key, make).0
    }

    fn client_or_new(&self, id: &ClientId) -> Arc<Client> {
        let now = self.time.now();
        self.clients.get_or_insert(id, || Arc::new(Client::new(id, now))).0
    }

    /// Runs `change` on a service, made if need be, and forgets it if nothing is left of it.
    fn with_service<T>(&self, key: &ServiceKey, mut change: impl FnMut(&Arc<Service>, &mut State) -> T) -> T {
        loop {
            let service = self.service_or_new(key);
            let mut state = service.lock();
            if state.gone {
                continue;
            }
            let answer = change(&service, &mut state);
            self.forget_if_idle(&service, &mut state);
            return answer;
        }
    }

    /// Runs `change` on a client and a service, both made if need be.
    fn with_both<T>(
        &self,
        id: &ClientId,
        key: &ServiceKey,
        mut change: impl FnMut(&Arc<Service>, &mut ClientState, &mut State) -> T,
    ) -> T {
        loop {
            let client = self.client_or_new(id);
            let mut client_state = client.state.lock();
            if client_state.released {
                continue;
            }
            client.touched.store(self.time.now(), Ordering::Relaxed);
            let answer = self.with_service(key, |service, state| change(service, &mut client_state, state));
            self.watch_idle(&client, &mut client_state);
            return answer;
        }
    }

    fn forget_if_idle(&self, service: &Service, state: &mut State) {
        if state.is_idle() && !state.gone {
            state.gone = true;
            self.services.remove(&service.key);
        }
    }

    /// Makes the service exist.
    fn bring_about(&self, service: &Arc<Service>, state: &mut State, kind: Kind) {
        if state.kind.is_none() {
            state.kind = Some(kind);
            state.updated = self.time.now();
            if state.metadata.is_some() {
                self.orphans.lock().remove(&Orphan::Service(service.key.clone()));
            }
            self.existing.write().insert(service.key.clone(), Arc::clone(service));
        }
    }

    /// Makes the service exist as one of this kind, before the first of its instances is there.
    ///
    /// # Errors
    /// It is one of the other kind.
    pub(crate) fn claim(&self, key: &ServiceKey, kind: Kind) -> Result<Claim, OtherKind> {
        self.with_service(key, |service, state| {
            let new = state.kind.is_none();
            self.bring_about(service, state, kind);
            if state.kind != Some(kind) {
                return Err(OtherKind);
            }
            Ok(Claim { new, said_otherwise: state.metadata.as_deref().is_some_and(|said| said.kind() != kind) })
        })
    }

    /// Takes back what [`claim`](Self::claim) made, as long as nobody is in it and nothing was said of it.
    pub(crate) fn unclaim(&self, key: &ServiceKey) {
        self.with_service(key, |service, state| {
            if state.publishers.is_empty() && state.metadata.is_none() && state.kind.take().is_some() {
                self.existing.write().remove(&service.key);
            }
        });
    }

    /// Whatever is shown of the service may be another thing now.
    fn note_change(&self, service: &Arc<Service>, state: &mut State) {
        state.views.clear();
        if !state.subscribers.is_empty() {
            self.changes.note(service, None);
        }
    }
}

static DEFAULT: LazyLock<Arc<str>> = LazyLock::new(|| DEFAULT_CLUSTER.into());

/// The name of a cluster, shared where it is the usual one.
pub fn cluster_name(name: &str) -> Arc<str> {
    if name == DEFAULT_CLUSTER { Arc::clone(&DEFAULT) } else { name.into() }
}

#[cfg(test)]
mod million;
#[cfg(test)]
mod tests;
