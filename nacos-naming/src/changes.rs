//! What happened in the registry since somebody looked: services that changed, for the push, and persistent instances
//! that came, for the probes.
//!
//! Owns both queues. A service that changed a thousand times stands in it once, so it is never longer than there are
//! services, and nothing is ever missed. Nacos: `ServiceChangedEvent`, `ServiceSubscribedEvent`.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use nacos_core::key::ServiceKey;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{health::probe::ProbeId, model::ClientId, registry::Service};

/// New subscribers that wait to be told; beyond that the whole service is.
const SINGLE_MAX: usize = 65_536;

/// A service whose subscribers are to be told.
pub(crate) struct Change {
    pub(crate) service: Arc<Service>,
    /// Only this one; all without it.
    pub(crate) only: Option<ClientId>,
    /// When the first of what is to be told happened.
    pub(crate) since: Instant,
}

/// The queue.
pub(crate) struct Changes {
    waiting: Mutex<Vec<Change>>,
    wake: Notify,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::default(), wake: Notify::new() }
    }

    /// Notes that subscribers are to be told: all of them, or a new one alone.
    pub(crate) fn note(&self, service: &Arc<Service>, only: Option<&ClientId>) {
        {
            let since = Instant::now();
            let mut waiting = self.waiting.lock();
            let only = only.filter(|_| waiting.len() < SINGLE_MAX);
            match only {
                // Whoever waits for all of them is told as well.
                Some(_) if service.changed.load(Ordering::Acquire) => return,
                Some(id) => waiting.push(Change { service: Arc::clone(service), only: Some(id.clone()), since }),
                None if service.changed.swap(true, Ordering::AcqRel) => return,
                None => waiting.push(Change { service: Arc::clone(service), only: None, since }),
            }
        }
        self.wake.notify_one();
    }

    /// Waits until something changed, and takes all that did. What changes from now on comes with the next call.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn take(&self) -> Vec<Change> {
        loop {
            let taken = self.take_now();
            if !taken.is_empty() {
                return taken;
            }
            self.wake.notified().await;
        }
    }

    /// Takes all that changed, if anything did.
    pub(crate) fn take_now(&self) -> Vec<Change> {
        let taken = std::mem::take(&mut *self.waiting.lock());
        for change in taken.iter().filter(|change| change.only.is_none()) {
            change.service.changed.store(false, Ordering::Release);
        }
        taken
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().len()
    }
}

/// Persistent instances that came; as many as there are, at most.
pub(crate) struct Arrivals {
    waiting: Mutex<BTreeSet<(ServiceKey, ClientId)>>,
    wake: Notify,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::default(), wake: Notify::new() }
    }

    /// Notes that an instance came.
    pub(crate) fn note(&self, service: &ServiceKey, client: &ClientId) {
        self.waiting.lock().insert((service.clone(), client.clone()));
        self.wake.notify_one();
    }

    /// Waits until one came, and takes all that did.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn take(&self) -> Vec<ProbeId> {
        loop {
            let taken = std::mem::take(&mut *self.waiting.lock());
            if !taken.is_empty() {
                let taken = taken.into_iter();
                return taken.map(|(service, client)| ProbeId { service, client: client.shared().clone() }).collect();
            }
            self.wake.notified().await;
        }
    }
}
