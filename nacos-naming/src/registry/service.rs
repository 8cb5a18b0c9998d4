//! One service: who publishes in it, who wants to know, what was said of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use nacos_core::key::ServiceKey;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::{Kind, Millis};
use crate::{
    health::heartbeat::{Deadline, Expiry},
    metadata::{InstanceMetadata, ServiceMetadata},
    model::{ClientId, Instance, Metadata, Subscriber},
    view::Views,
};

/// One service. Others hold it by `Arc`; its content is behind its lock.
pub struct Service {
    pub(super) key: ServiceKey,
    state: Mutex<State>,
    /// Waits in [`Changes`] to be looked at.
    pub(crate) changed: AtomicBool,
}

/// The content of a service.
pub(crate) struct State {
    /// `None`: nobody made it, or it was removed; it is kept for its subscribers or overlays alone.
    pub(crate) kind: Option<Kind>,
    /// Boxed: a node of the tree has room for eleven, and most services have fewer.
    pub(crate) publishers: BTreeMap<ClientId, Box<Published>>,
    pub(crate) subscribers: BTreeMap<ClientId, Wishes>,
    pub(crate) metadata: Option<Arc<ServiceMetadata>>,
    /// What was laid over instances, by `ip:port:cluster`.
    pub(crate) overlays: BTreeMap<Box<str>, Arc<InstanceMetadata>>,
    pub(crate) views: Views,
    /// When somebody came or went, or it was described anew.
    pub(crate) updated: Millis,
    /// Taken out of the table: whoever still holds it must look it up again.
    pub(super) gone: bool,
}

/// What one client wants to know of a service: once for each combination of clusters that it asked for. Nacos 2.4 keeps
/// the last one alone, so that a client of two kinds misses the pushes of one; Nacos 1 kept them all, as this does.
pub(crate) type Wishes = SmallVec<[Arc<Subscriber>; 1]>;

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
    pub(super) fn new(key: &ServiceKey, now: Millis) -> Self {
        let state = Mutex::new(State { updated: now, ..State::empty() });
        Self { key: key.clone(), state, changed: AtomicBool::new(false) }
    }

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

    pub(super) fn is_idle(&self) -> bool {
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
    pub(super) fn deadline(&self, published: &Published, expiry: &Expiry) -> Deadline {
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
pub struct ServiceView<'a>(pub(super) MutexGuard<'a, State>);

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
