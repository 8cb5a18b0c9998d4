//! What was said of services and instances apart from who publishes them, and what becomes of it when they go.

use std::sync::Arc;

use nacos_core::key::ServiceKey;
use smallvec::SmallVec;

use super::{Millis, Registry, Service, service::State};
use crate::{
    metadata::{InstanceMetadata, ServiceMetadata},
    model::ClientId,
};

/// Metadata without an owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Orphan {
    /// Of a service.
    Service(ServiceKey),
    /// Of an instance.
    Instance(ServiceKey, Box<str>),
}

impl Registry {
    /// Describes a service anew; it exists from now on.
    pub(crate) fn put_service(&self, key: &ServiceKey, new: impl Fn(Option<&ServiceMetadata>) -> ServiceMetadata) {
        self.with_service(key, |service, state| {
            let metadata = new(state.metadata.as_deref());
            let kind = metadata.kind();
            self.bring_about(service, state, kind);
            // While nobody is in it, it is what was said last.
            if state.publishers.is_empty() {
                state.kind = Some(kind);
            }
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
    pub(super) fn orphan(&self, service: &Service, state: &State, id: &str, gone: bool) {
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
