//! Who publishes what, and who wants to know: the one place where services and clients are kept.
//!
//! Owns all of it. A service holds its publishers, subscribers, metadata and finished answers behind one lock; a client
//! holds which services it publishes and subscribes to, behind another. Whoever takes both takes the client's first;
//! neither is taken while a table is locked. Nothing here waits, and nothing here does I/O: time comes in as
//! [`Millis`], what others are to do goes out through [`Timers`] and [`Changes`].
//!
//! Called by the operations of [`crate::instances`] and [`crate::services`], by the appliers of what is replicated
//! ([`crate::metadata`], [`crate::persistent`]) and by [`crate::health`]. Nacos: `ServiceManager`, `ClientManager`,
//! `ClientServiceIndexesManager`, `ServiceStorage`, `NamingMetadataManager`.

use std::{
    collections::{BTreeMap, btree_map},
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
};

use hashbrown::{Equivalent, HashMap};
use nacos_core::{clock, key::ServiceKey};
use parking_lot::{Mutex, MutexGuard, RwLock};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    changes::{Arrivals, Changes},
    health::{
        heartbeat::{Deadline, Expiry},
        timers::{Timer, Timers},
    },
    metadata::{InstanceMetadata, ServiceMetadata},
    model::{ClientId, DEFAULT_CLUSTER, Instance, Metadata, Subscriber},
    view::Views,
};

const SHARDS: usize = 64;

/// No timer is set for longer.
const TIMER_MAX_MS: Millis = 60_000;

/// Milliseconds since the registry was made.
pub type Millis = u64;
/// Later than anything.
pub(crate) const NEVER: Millis = u64::MAX;

/// Whether the instances of a service live as long as their clients, or until they are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As long as their clients.
    Ephemeral,
    /// Until they are taken away.
    Persistent,
}

/// The service is of the other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherKind;

/// One service. Others hold it by `Arc`; its content is behind its lock.
pub struct Service {
    key: ServiceKey,
    state: Mutex<State>,
    /// Waits in [`Changes`] to be looked at.
    pub(crate) changed: AtomicBool,
}

/// The content of a service.
pub(crate) struct State {
    /// `None`: nobody made it, or it was removed; it is kept for its subscribers or overlays alone.
    pub(crate) kind: Option<Kind>,
    pub(crate) publishers: BTreeMap<ClientId, Published>,
    pub(crate) subscribers: BTreeMap<ClientId, Arc<Subscriber>>,
    pub(crate) metadata: Option<Arc<ServiceMetadata>>,
    /// What was laid over instances, by `ip:port:cluster`.
    pub(crate) overlays: BTreeMap<Box<str>, Arc<InstanceMetadata>>,
    pub(crate) views: Views,
    /// When somebody came or went, or it was described anew.
    pub(crate) updated: Millis,
    /// Taken out of the table: whoever still holds it must look it up again.
    gone: bool,
}

/// What one client publishes for a service.
pub(crate) struct Published {
    pub(crate) instance: Instance,
    /// The last heartbeat, or the registration.
    pub(crate) beat: Millis,
    /// When its timer fires; [`NEVER`] without one.
    pub(crate) due: Millis,
    /// Which of its timers counts.
    pub(crate) timer: u32,
}

impl Service {
    /// Its key.
    pub fn key(&self) -> &ServiceKey {
        &self.key
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Of a service that nobody knows.
    pub(crate) fn empty() -> Self {
        Self {
            kind: None,
            publishers: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            metadata: None,
            overlays: BTreeMap::new(),
            views: Views::default(),
            updated: 0,
            gone: false,
        }
    }

    fn is_idle(&self) -> bool {
        self.kind.is_none()
            && self.publishers.is_empty()
            && self.subscribers.is_empty()
            && self.overlays.is_empty()
            && self.metadata.is_none()
    }

    /// What was laid over this instance.
    pub(crate) fn overlay(&self, instance: &Instance) -> Option<&Arc<InstanceMetadata>> {
        if self.overlays.is_empty() {
            return None;
        }
        self.overlays.get(instance.metadata_id().as_str())
    }

    /// The instance as others see it.
    pub(crate) fn shown<'a>(&'a self, instance: &'a Instance) -> Shown<'a> {
        match self.overlay(instance) {
            None => Shown {
                instance,
                weight: instance.weight,
                enabled: instance.enabled,
                metadata: instance.metadata.clone(),
            },
            Some(over) => Shown {
                instance,
                weight: over.weight,
                enabled: over.enabled,
                metadata: instance.metadata.overlaid(&over.extend_data),
            },
        }
    }

    /// All instances as others see them, in the order of their clients.
    pub(crate) fn instances(&self) -> impl Iterator<Item = Shown<'_>> {
        self.publishers.values().map(|published| self.shown(&published.instance))
    }

    /// When this instance must be looked at, by its own metadata and what was laid over them.
    fn deadline(&self, published: &Published, expiry: &Expiry) -> Deadline {
        let over = self.overlay(&published.instance).map(|over| &over.extend_data);
        expiry.deadline(&published.instance, over, self.metadata.as_deref(), published.beat)
    }
}

/// An instance as others see it: what its client publishes, and what an operator laid over it.
pub(crate) struct Shown<'a> {
    pub(crate) instance: &'a Instance,
    pub(crate) weight: f64,
    pub(crate) enabled: bool,
    pub(crate) metadata: Metadata,
}

/// A look at a service, for those who walk over all of them.
pub struct ServiceView<'a>(MutexGuard<'a, State>);

impl ServiceView<'_> {
    /// Its kind, if it exists.
    pub fn kind(&self) -> Option<Kind> {
        self.0.kind
    }

    /// Its metadata, if something was said of it.
    pub fn metadata(&self) -> Option<&Arc<ServiceMetadata>> {
        self.0.metadata.as_ref()
    }

    /// What was laid over its instances.
    pub fn overlays(&self) -> impl Iterator<Item = (&str, &InstanceMetadata)> {
        self.0.overlays.iter().map(|(id, metadata)| (&**id, &**metadata))
    }

    /// What is published.
    pub fn published(&self) -> impl Iterator<Item = (&ClientId, &Instance)> {
        self.0.publishers.iter().map(|(client, published)| (client, &published.instance))
    }
}

/// One client.
pub struct Client {
    id: ClientId,
    state: Mutex<ClientState>,
    /// When it last did anything but send heartbeats.
    touched: AtomicU64,
}

#[derive(Default)]
struct ClientState {
    published: SmallVec<[Arc<Service>; 1]>,
    subscribed: SmallVec<[Arc<Service>; 1]>,
    /// Taken out of the table: whoever still holds it must look it up again.
    released: bool,
}

impl Client {
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

struct Shards<K, V>(Box<[RwLock<HashMap<K, V, RandomState>>]>, RandomState);

impl<K: Eq + Hash + Clone, V: Clone> Shards<K, V> {
    fn new() -> Self {
        Self((0..SHARDS).map(|_| RwLock::default()).collect(), RandomState::new())
    }

    fn of<Q: Hash + ?Sized>(&self, key: &Q) -> &RwLock<HashMap<K, V, RandomState>> {
        &self.0[self.1.hash_one(key) as usize % SHARDS]
    }

    fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        self.of(key).read().get(key).cloned()
    }

    fn get_or_insert(&self, key: &K, make: impl FnOnce() -> V) -> (V, bool) {
        if let Some(found) = self.get(key) {
            return (found, false);
        }
        let mut shard = self.of(key).write();
        if let Some(found) = shard.get(key) {
            return (found.clone(), false);
        }
        let made = make();
        shard.insert(key.clone(), made.clone());
        (made, true)
    }

    fn remove<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) {
        let mut shard = self.of(key).write();
        shard.remove(key);
        // What a storm made it grow to is given back.
        if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
            shard.shrink_to_fit();
        }
    }

    fn values(&self) -> Vec<V> {
        self.0.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>()).collect()
    }
}

/// The registry's clock: tokio's, which tests can pause, counted from the registry's making.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline {
    start: Instant,
    start_wall: i64,
}

impl Timeline {
    fn new() -> Self {
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
        mut see: impl FnMut(&ServiceKey, btree_map::Values<'_, ClientId, Arc<Subscriber>>),
    ) {
        for service in self.services.values() {
            if service.key.namespace() == namespace {
                let state = service.lock();
                if !state.subscribers.is_empty() {
                    see(&service.key, state.subscribers.values());
                }
            }
        }
    }

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
            .filter_map(|service| {
                let subscriber = service.lock().subscribers.get(client.id.as_str()).cloned()?;
                Some((service.key.clone(), subscriber))
            })
            .collect();
        ClientView { updated_ms: self.time.wall(heard), published, subscribed }
    }

    fn service_or_new(&self, key: &ServiceKey) -> Arc<Service> {
        let now = self.time.now();
        let make = || {
            Arc::new(Service {
                key: key.clone(),
                state: Mutex::new(State { updated: now, ..State::empty() }),
                changed: AtomicBool::new(false),
            })
        };
        self.services.get_or_insert(key, make).0
    }

    fn client_or_new(&self, id: &ClientId) -> Arc<Client> {
        let now = self.time.now();
        let make = || Arc::new(Client { id: id.clone(), state: Mutex::default(), touched: AtomicU64::new(now) });
        let (client, new) = self.clients.get_or_insert(id, make);
        if new && id.is_address() && !id.is_persistent() {
            self.timers.add(self.expiry.client_due(true, now), Timer::Client(Arc::clone(&client)));
        }
        client
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
            return self.with_service(key, |service, state| change(service, &mut client_state, state));
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

    /// Whatever is shown of the service may be another thing now.
    fn note_change(&self, service: &Arc<Service>, state: &mut State) {
        state.views.clear();
        if !state.subscribers.is_empty() {
            self.changes.note(service, None);
        }
    }

    /// Registers an ephemeral instance, or puts it in the place of what this client published before.
    ///
    /// # Errors
    /// The service is one of persistent instances; nothing changed.
    pub fn register(&self, key: &ServiceKey, id: &ClientId, instance: Instance) -> Result<(), OtherKind> {
        // Two attempts at most use it, and only the last one keeps it.
        self.with_both(id, key, |service, client, state| {
            if state.kind.is_some_and(|kind| kind != Kind::Ephemeral) {
                return Err(OtherKind);
            }
            self.bring_about(service, state, Kind::Ephemeral);
            self.put(service, client, state, id, instance.clone());
            Ok(())
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
                place.insert(Published { instance, beat: now, due: NEVER, timer: 0 });
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
    fn watch(&self, service: &Arc<Service>, state: &mut State, id: &ClientId) {
        let Some(published) = state.publishers.get(id) else { return };
        let at = match state.deadline(published, &self.expiry) {
            // Timers are not taken back, so none is set for long: those of instances that went do not gather.
            Deadline::At(at) => at.min(self.time.now() + TIMER_MAX_MS),
            Deadline::Unwatched => self.time.now() + self.expiry.recheck_ms(),
            Deadline::Never => return,
        };
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
        if client.id.is_persistent() && client_state.published.is_empty() {
            self.release_locked(&client, &mut client_state);
        }
        removed
    }

    fn take(
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

    /// Removes a client with all that it publishes and subscribes to.
    pub fn release(&self, client: &Arc<Client>) {
        let mut state = client.state.lock();
        self.release_locked(client, &mut state);
    }

    fn release_locked(&self, client: &Arc<Client>, client_state: &mut ClientState) {
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
            if state.subscribers.insert(id.clone(), Arc::clone(&subscriber)).is_none() {
                client.subscribed.push(Arc::clone(service));
                self.counts.subscriptions.fetch_add(1, Ordering::Relaxed);
                self.changes.note(service, Some(id));
            }
        });
    }

    /// Notes that a client asked again for what it subscribes to with the same words; `false` if that is not so.
    pub(crate) fn resubscribe(&self, service: &Service, id: &str, same: impl Fn(&Subscriber) -> bool) -> bool {
        if !service.lock().subscribers.get(id).is_some_and(|known| same(known)) {
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
            return Expired::Removed;
        }
        if let Some(published) = state.publishers.get_mut(id) {
            published.instance.healthy = false;
        }
        self.note_change(service, &mut state);
        self.watch(service, &mut state, id);
        Expired::Unhealthy
    }

    /// Meets the timer of a client; `true` if it was removed.
    pub(crate) fn client_due(&self, client: &Arc<Client>) -> bool {
        let mut client_state = client.state.lock();
        if client_state.released {
            return false;
        }
        let mut heard = client.touched.load(Ordering::Relaxed);
        for service in &client_state.published {
            if let Some(published) = service.lock().publishers.get(&client.id) {
                heard = heard.max(published.beat);
            }
        }
        let due = self.expiry.client_due(client_state.published.is_empty(), heard);
        if due > self.time.now() {
            self.timers.add(due, Timer::Client(Arc::clone(client)));
            return false;
        }
        self.release_locked(client, &mut client_state);
        true
    }

    /// Describes a service anew; it exists from now on.
    pub(crate) fn put_service(&self, key: &ServiceKey, new: impl Fn(Option<&ServiceMetadata>) -> ServiceMetadata) {
        self.with_service(key, |service, state| {
            let metadata = new(state.metadata.as_deref());
            let kind = if metadata.ephemeral { Kind::Ephemeral } else { Kind::Persistent };
            self.bring_about(service, state, kind);
            state.updated = self.time.now();
            state.metadata = Some(Arc::new(metadata));
            self.note_change(service, state);
        });
    }

    /// Removes a service with what is known of it. Its subscribers stay.
    pub(crate) fn remove_service(&self, key: &ServiceKey) {
        self.with_service(key, |service, state| {
            state.metadata = None;
            self.orphans.lock().remove(&Orphan::Service(key.clone()));
            self.end(service, state);
        });
    }

    fn end(&self, service: &Arc<Service>, state: &mut State) {
        // Who registered in the meantime keeps it alive.
        if state.publishers.is_empty() && state.kind.take().is_some() {
            self.existing.write().remove(&service.key);
        }
        self.note_change(service, state);
    }

    /// Lays something over an instance, or takes it away.
    pub(crate) fn put_overlay(&self, key: &ServiceKey, id: &str, metadata: Option<InstanceMetadata>) {
        self.with_service(key, |service, state| {
            match &metadata {
                Some(metadata) => {
                    state.overlays.insert(id.into(), Arc::new(metadata.clone()));
                }
                None => {
                    self.orphan(service, state, id, false);
                    state.overlays.remove(id);
                }
            }
            // Its times may have changed.
            let clients = state.publishers.iter().filter(|(client, published)| {
                client.is_address() && !client.is_persistent() && published.instance.metadata_id() == id
            });
            let clients: SmallVec<[ClientId; 1]> = clients.map(|(client, _)| client.clone()).collect();
            for client in clients {
                self.watch(service, state, &client);
            }
            self.note_change(service, state);
        });
    }

    /// What was laid over an instance.
    pub fn overlay(&self, key: &ServiceKey, id: &str) -> Option<InstanceMetadata> {
        Some((**self.service(key)?.lock().overlays.get(id)?).clone())
    }

    /// What is known of a service.
    pub fn service_metadata(&self, key: &ServiceKey) -> Option<Arc<ServiceMetadata>> {
        self.service(key)?.lock().metadata.clone()
    }

    /// Ends services that nobody has published in for `expired_ms`; their metadata are orphans from now on.
    pub(crate) fn end_empty_services(&self, expired_ms: Millis) -> usize {
        let now = self.time.now();
        let all: Vec<Arc<Service>> = self.existing.read().values().cloned().collect();
        let mut ended = 0;
        for service in all {
            let mut state = service.lock();
            if state.kind.is_some() && state.publishers.is_empty() && now.saturating_sub(state.updated) >= expired_ms {
                self.end(&service, &mut state);
                if state.metadata.is_some() {
                    self.orphans.lock().insert(Orphan::Service(service.key.clone()), now);
                }
                self.forget_if_idle(&service, &mut state);
                ended += 1;
            }
        }
        ended
    }

    /// Metadata whose service or instance has been gone for longer than `expired_ms`.
    pub(crate) fn orphans(&self, expired_ms: Millis) -> Vec<Orphan> {
        let now = self.time.now();
        let orphans = self.orphans.lock();
        let expired = orphans.iter().filter(|(_, since)| now.saturating_sub(**since) > expired_ms);
        expired.map(|(orphan, _)| orphan.clone()).collect()
    }

    /// Notes that the owner of an overlay is gone, or is there again.
    fn orphan(&self, service: &Service, state: &State, id: &str, gone: bool) {
        if state.overlays.contains_key(id) {
            let orphan = Orphan::Instance(service.key.clone(), id.into());
            if gone {
                self.orphans.lock().insert(orphan, self.time.now());
            } else {
                self.orphans.lock().remove(&orphan);
            }
        }
    }
}

/// Metadata without an owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Orphan {
    /// Of a service.
    Service(ServiceKey),
    /// Of an instance.
    Instance(ServiceKey, Box<str>),
}

static DEFAULT: LazyLock<Arc<str>> = LazyLock::new(|| DEFAULT_CLUSTER.into());

/// The name of a cluster, shared where it is the usual one.
pub fn cluster_name(name: &str) -> Arc<str> {
    if name == DEFAULT_CLUSTER { Arc::clone(&DEFAULT) } else { name.into() }
}

#[cfg(test)]
mod tests;
