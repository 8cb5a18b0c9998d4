//! What is done with services as a whole: create, change, remove, describe, list.
//!
//! Decides; the registry holds, and metadata are written through [`MetadataWriter`]. Called by the HTTP endpoints.
//! Nacos: `ServiceOperatorV2Impl`, `ClusterOperatorV2Impl`, `CatalogServiceV2Impl`.

use std::{collections::BTreeMap, sync::Arc};

use nacos_core::{consistency::CpError, error::ErrorCode, key::ServiceKey};

use crate::{
    error::NamingError,
    metadata::{ClusterMetadata, MetadataWriter, ServiceMetadata, already_exists},
    model::Subscriber,
    registry::{Kind, Registry, State},
};

/// The operations on services. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    registry: Arc<Registry>,
    metadata: MetadataWriter,
}

/// A service, looked up.
#[derive(Debug, Clone)]
pub struct ServiceDetail {
    /// Its kind.
    pub kind: Kind,
    /// What is known of it, or what holds where nothing is.
    pub metadata: ServiceMetadata,
    /// The clusters in which instances are.
    pub clusters: BTreeMap<String, ClusterMetadata>,
}

/// A line of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSummary {
    /// The service.
    pub key: ServiceKey,
    /// Clusters with instances.
    pub clusters: usize,
    /// Instances.
    pub instances: usize,
    /// Healthy ones among them.
    pub healthy: usize,
    /// Whether the protection threshold is reached.
    pub protected: bool,
}

fn not_found(key: &ServiceKey) -> NamingError {
    NamingError::bad(ErrorCode::ServiceNotExist, format!("service {} not found!", key.grouped()))
}

impl Services {
    pub(crate) fn new(registry: Arc<Registry>, metadata: MetadataWriter) -> Self {
        Self { registry, metadata }
    }

    /// Creates a service.
    ///
    /// # Errors
    /// It exists; it could not be stored.
    pub async fn create(&self, key: &ServiceKey, metadata: ServiceMetadata) -> Result<(), NamingError> {
        if self.registry.kind(key).is_some() {
            return Err(NamingError::bad(ErrorCode::ServiceAlreadyExist, already_exists(key)));
        }
        if self.registry.service_metadata(key).is_some() {
            return Ok(self.metadata.replace_service(key, metadata).await?);
        }
        match self.metadata.create_service(key, metadata).await {
            // Somebody was quicker.
            Err(CpError::Refused(text)) => Err(NamingError::bad(ErrorCode::ServiceAlreadyExist, text)),
            written => Ok(written?),
        }
    }

    /// Describes a service anew; its kind and clusters stay.
    ///
    /// # Errors
    /// It does not exist; it could not be stored.
    pub async fn update(&self, key: &ServiceKey, metadata: ServiceMetadata) -> Result<(), NamingError> {
        let kind = self.registry.kind(key).ok_or_else(|| not_found(key))?;
        let metadata = ServiceMetadata { ephemeral: kind == Kind::Ephemeral, ..metadata };
        Ok(self.metadata.put_service(key, metadata).await?)
    }

    /// Removes a service in which nobody is.
    ///
    /// # Errors
    /// It does not exist, or is not empty; it could not be stored.
    pub async fn remove(&self, key: &ServiceKey) -> Result<(), NamingError> {
        let service = self.registry.service(key).ok_or_else(|| not_found(key))?;
        let (kind, empty) = {
            let state = service.lock();
            (state.kind, state.publishers.is_empty())
        };
        kind.ok_or_else(|| not_found(key))?;
        if !empty {
            return Err(NamingError::bad(
                ErrorCode::ServiceDeleteFailure,
                format!("Service {} is not empty, can't be delete. Please unregister instance first", key.grouped()),
            ));
        }
        Ok(self.metadata.remove_service(key).await?)
    }

    /// Looks a service up.
    pub fn detail(&self, key: &ServiceKey) -> Option<ServiceDetail> {
        let service = self.registry.service(key)?;
        let state = service.lock();
        let kind = state.kind?;
        let metadata = state.metadata.as_deref().cloned().unwrap_or_default();
        let clusters = clusters(&state).into_iter();
        let clusters = clusters
            .map(|name| {
                let known = metadata.clusters.get(&name).cloned().unwrap_or_default();
                (name, known)
            })
            .collect();
        Some(ServiceDetail { kind, metadata, clusters })
    }

    /// Says how a cluster is probed, and what else is to be known of it.
    ///
    /// # Errors
    /// The service does not exist; it could not be stored.
    pub async fn put_cluster(
        &self,
        key: &ServiceKey,
        cluster: &str,
        metadata: ClusterMetadata,
    ) -> Result<(), NamingError> {
        let kind = self
            .registry
            .kind(key)
            .ok_or_else(|| NamingError::bad(ErrorCode::ServerError, format!("service not found:{}", key.grouped())))?;
        Ok(self.metadata.put_cluster(key, kind, cluster, metadata).await?)
    }

    /// The names of the services of a group, in order.
    pub fn names(&self, namespace: &str, group: &str) -> Vec<ServiceKey> {
        let found = self.registry.services_of(namespace, |key| key.group() == group);
        found.iter().map(|service| service.key().clone()).collect()
    }

    /// The services of a namespace whose `group@@name` contains a text, in order.
    pub fn search(&self, namespace: &str, text: &str) -> Vec<ServiceKey> {
        let found = self.registry.services_of(namespace, |key| key.grouped().contains(text));
        found.iter().map(|service| service.key().clone()).collect()
    }

    /// The namespaces in which services are.
    pub fn namespaces(&self) -> Vec<String> {
        self.registry.namespaces()
    }

    /// The services of a namespace whose group and name contain these texts, in order: how many they are, and one
    /// page of them. Pages count from 1.
    pub fn page(
        &self,
        namespace: &str,
        (group, name): (&str, &str),
        (page, size): (usize, usize),
        without_empty: bool,
    ) -> (usize, Vec<ServiceSummary>) {
        let mut found =
            self.registry.services_of(namespace, |key| key.group().contains(group) && key.name().contains(name));
        if without_empty {
            found.retain(|service| !service.lock().publishers.is_empty());
        }
        let total = found.len();
        let skipped = page.saturating_sub(1).saturating_mul(size);
        let summaries = found.iter().skip(skipped).take(size).map(|service| {
            let state = service.lock();
            let healthy = state.publishers.values().filter(|published| published.instance.healthy).count();
            let instances = state.publishers.len();
            let threshold = state.metadata.as_deref().map_or(0.0, |metadata| metadata.protect_threshold);
            ServiceSummary {
                key: service.key().clone(),
                clusters: clusters(&state).len(),
                instances,
                healthy,
                // Of no instances no part is healthy, nor less than a threshold.
                protected: instances > 0 && healthy as f64 / instances as f64 <= f64::from(threshold),
            }
        });
        (total, summaries.collect())
    }

    /// Who wants to be told of services whose group and name contain these texts, each once, in order.
    pub fn subscribers(&self, namespace: &str, group: &str, name: &str) -> Vec<Arc<Subscriber>> {
        let mut found: Vec<Arc<Subscriber>> = Vec::new();
        self.registry.each_subscribed(namespace, |key, subscribers| {
            if key.group().contains(group) && key.name().contains(name) {
                found.extend(subscribers.cloned());
            }
        });
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The clusters in which instances are, in order.
fn clusters(state: &State) -> Vec<String> {
    let mut names: Vec<&str> = state.publishers.values().map(|published| &*published.instance.cluster).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(str::to_owned).collect()
}
