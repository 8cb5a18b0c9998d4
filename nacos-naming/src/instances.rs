//! What clients do with instances: register, deregister, send heartbeats, change, look up.
//!
//! Decides; the registry holds, and what must last is written through [`PersistentInstances`] and [`MetadataWriter`].
//! Called by the HTTP endpoints. Nacos: `InstanceOperatorClientImpl`.

use std::sync::Arc;

use bytes::Bytes;
use nacos_core::{
    consistency::CpError,
    error::{ErrorCode, Report},
    key::ServiceKey,
};

use crate::{
    error::NamingError,
    health::probe::Checker,
    metadata::{InstanceChange, InstanceMetadata, MetadataWriter},
    model::{
        BEAT_INTERVAL_MS, BEAT_TIMEOUT_MS, ClientId, DELETE_TIMEOUT_MS, Instance, Metadata, Subscriber, WEIGHT_MAX,
        metadata_id, preserved,
    },
    persistent::PersistentInstances,
    registry::{Beat, Kind, OtherKind, Registry, State},
    selector::Labels,
    switches::Switches,
    view::{Asked, Form},
};

/// The operations on instances. Cheap to clone.
#[derive(Clone)]
pub struct Instances {
    registry: Arc<Registry>,
    persistent: PersistentInstances,
    metadata: MetadataWriter,
    switches: Arc<Switches>,
    labels: Option<Arc<dyn Labels>>,
}

/// A heartbeat.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// The address.
    pub ip: String,
    /// The port.
    pub port: u16,
    /// The cluster, by which the interval that an operator set is found.
    pub cluster: String,
    /// What to register if the instance is not known: there if the client told everything of it.
    pub full: Option<Instance>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatAnswer {
    /// Whether the instance is known now; else the client must register it again.
    pub known: bool,
    /// When to send the next one, in milliseconds.
    pub interval_ms: i64,
}

/// One instance, looked up.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceDetail {
    /// What it is, with what was laid over it.
    pub instance: Instance,
    /// Its id, if it shows one.
    pub id: Option<String>,
    /// Whether it goes with its client.
    pub ephemeral: bool,
}

/// What a patch changes; absent parts stay.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    /// In the place of all metadata that an operator set.
    pub metadata: Option<Metadata>,
    /// The weight.
    pub weight: Option<f64>,
    /// Whether it takes requests.
    pub enabled: Option<bool>,
}

/// An instance named in a batch: address, port, cluster, and whether the caller calls it ephemeral.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address.
    pub ip: String,
    /// The port.
    pub port: u16,
    /// The cluster.
    pub cluster: String,
    /// As the caller said.
    pub ephemeral: bool,
}

/// What a batch does to metadata.
#[derive(Debug, Clone)]
pub enum BatchChange {
    /// Sets these.
    Set(Metadata),
    /// Removes those of these names.
    Remove(Metadata),
}

/// Checks an instance before it is registered.
///
/// # Errors
/// Its times contradict one another, its cluster's name or its weight is not allowed.
pub fn check(instance: &Instance) -> Result<(), NamingError> {
    let millis = |name, default| instance.metadata.millis(name).unwrap_or(default);
    let interval = millis(preserved::BEAT_INTERVAL, BEAT_INTERVAL_MS);
    if millis(preserved::BEAT_TIMEOUT, BEAT_TIMEOUT_MS) < interval
        || millis(preserved::DELETE_TIMEOUT, DELETE_TIMEOUT_MS) < interval
    {
        return Err(NamingError::bad(
            ErrorCode::InstanceError,
            "Instance 'heart beat interval' must less than 'heart beat timeout' and 'ip delete timeout'.",
        ));
    }
    if !instance.cluster.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(NamingError::bad(
            ErrorCode::InstanceError,
            format!(
                "Instance 'clusterName' should be characters with only 0-9a-zA-Z-. (current: {})",
                instance.cluster
            ),
        ));
    }
    check_weight(instance.weight)
}

/// Checks a weight.
///
/// # Errors
/// It is not within 0 and 10,000.
pub fn check_weight(weight: f64) -> Result<(), NamingError> {
    if (0.0..=WEIGHT_MAX).contains(&weight) {
        return Ok(());
    }
    Err(NamingError::bad(ErrorCode::WeightError, "instance format invalid: The weights range from 0.0 to 10000.0"))
}

impl Instances {
    pub(crate) fn new(
        registry: Arc<Registry>,
        persistent: PersistentInstances,
        metadata: MetadataWriter,
        switches: Arc<Switches>,
        labels: Option<Arc<dyn Labels>>,
    ) -> Self {
        Self { registry, persistent, metadata, switches, labels }
    }

    /// Registers an instance of the client of its address.
    ///
    /// # Errors
    /// [`check`]; the service is of the other kind; a persistent one could not be stored.
    pub async fn register(&self, key: &ServiceKey, instance: Instance, ephemeral: bool) -> Result<(), NamingError> {
        check(&instance)?;
        let id = ClientId::of_address(&instance.ip, instance.port, ephemeral);
        let other = |OtherKind| NamingError::other_kind(key, ephemeral);
        if ephemeral {
            let said_otherwise = self.registry.register(key, &id, instance).map_err(other)?;
            if said_otherwise {
                // Else a restart would make it what it was before it was forgotten. It is registered all the same.
                if let Err(error) = self.metadata.set_kind(key, Kind::Ephemeral).await {
                    tracing::warn!(error = %Report(&error), service = %key, "its kind is not stored");
                }
            }
            return Ok(());
        }
        // From here on no ephemeral instance comes in between.
        let claim = self.registry.claim(key, Kind::Persistent).map_err(other)?;
        let written = async {
            if claim.said_otherwise {
                self.metadata.set_kind(key, Kind::Persistent).await?;
            }
            self.persistent.register(key, &id, instance).await
        };
        let written = written.await;
        if claim.new && matches!(&written, Err(error) if !matches!(error, CpError::Unconfirmed(..))) {
            self.registry.unclaim(key);
        }
        Ok(written?)
    }

    /// Takes the instance at this address away. None there is no error.
    ///
    /// # Errors
    /// It is persistent and this could not be stored.
    pub async fn deregister(&self, key: &ServiceKey, ip: &str, port: u16, ephemeral: bool) -> Result<(), NamingError> {
        let id = ClientId::of_address(ip, port, ephemeral);
        if ephemeral {
            self.registry.deregister(key, id.as_str());
        } else if self.publishes(key, id.as_str()) {
            self.persistent.deregister(key, &id).await?;
        }
        Ok(())
    }

    fn publishes(&self, key: &ServiceKey, client: &str) -> bool {
        self.registry.service(key).is_some_and(|service| service.lock().publishers.contains_key(client))
    }

    /// Lays weight, state and metadata over an instance, whether it is there or not. This outlives its registrations.
    ///
    /// # Errors
    /// [`check`]; there is no such service; it could not be stored.
    pub async fn update(&self, key: &ServiceKey, instance: &Instance) -> Result<(), NamingError> {
        check(instance)?;
        if self.registry.kind(key).is_none() {
            return Err(NamingError::bad(
                ErrorCode::InstanceError,
                format!(
                    "service not found, namespace: {}, service: Service{{namespace='{}', group='{}', name='{}', \
                     ephemeral=true, revision=0}}",
                    key.namespace(),
                    key.namespace(),
                    key.group(),
                    key.name()
                ),
            ));
        }
        let metadata = InstanceMetadata {
            weight: instance.weight,
            enabled: instance.enabled,
            extend_data: instance.metadata.clone(),
        };
        Ok(self.metadata.put_instance(key, &instance.metadata_id(), metadata).await?)
    }

    /// Changes what lies over an instance, in the parts that are given.
    ///
    /// # Errors
    /// There is no such instance; it could not be stored.
    pub async fn patch(
        &self,
        key: &ServiceKey,
        ip: &str,
        port: u16,
        cluster: &str,
        patch: Patch,
    ) -> Result<(), NamingError> {
        self.detail(key, ip, port, cluster)?;
        let Patch { metadata: replace, weight, enabled } = patch;
        let change = InstanceChange { weight, enabled, replace, ..Default::default() };
        Ok(self.metadata.change_instance(key, &metadata_id(ip, port, cluster), change).await?)
    }

    /// Looks an instance up.
    ///
    /// # Errors
    /// There is none at all in the service, or not this one.
    pub fn detail(&self, key: &ServiceKey, ip: &str, port: u16, cluster: &str) -> Result<InstanceDetail, NamingError> {
        let none = || NamingError::missing(format!("no ips found for cluster {cluster} in service {}", key.grouped()));
        let service = self.registry.service(key).ok_or_else(none)?;
        let state = service.lock();
        if state.publishers.is_empty() {
            return Err(none());
        }
        let found = state.publishers.values().find(|published| {
            let instance = &published.instance;
            *instance.ip == *ip && instance.port == port && *instance.cluster == *cluster
        });
        let found = found.ok_or_else(|| NamingError::missing("no matched ip found!"))?;
        Ok(detail(key, &state, &found.instance))
    }

    /// All instances of a service, whatever their state.
    pub fn all(&self, key: &ServiceKey) -> Vec<InstanceDetail> {
        let Some(service) = self.registry.service(key) else { return Vec::new() };
        let state = service.lock();
        state.publishers.values().map(|published| detail(key, &state, &published.instance)).collect()
    }

    /// The list of a service as JSON, ready to be sent; an unknown service is an empty list.
    pub(crate) fn list(
        &self,
        key: &ServiceKey,
        form: Form,
        clusters: &str,
        healthy_only: bool,
        consumer: &str,
    ) -> Bytes {
        let cache_millis = self.switches.push_cache_millis();
        let asked = Asked { form, clusters, healthy_only, consumer, cache_millis, labels: self.labels.as_deref() };
        match self.registry.service(key) {
            Some(service) => service.lock().answer(key, asked),
            None => State::empty().answer(key, asked),
        }
    }

    /// Notes that a client wants to be told of changes of a service. Asking again keeps it alive.
    pub(crate) fn subscribe(&self, key: &ServiceKey, subscriber: Subscriber) {
        let id = ClientId::of_address(&subscriber.ip, subscriber.port, true);
        if let Some(service) = self.registry.service(key)
            && self.registry.resubscribe(&service, id.as_str(), |known| *known == subscriber)
        {
            return;
        }
        self.registry.subscribe(key, &id, subscriber);
    }

    /// Meets a heartbeat; registers the instance if it is not known and the client told everything of it.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub async fn beat(&self, key: &ServiceKey, beat: Heartbeat) -> Result<BeatAnswer, NamingError> {
        let client = ClientId::text_of(&beat.ip, beat.port, true);
        let mut met = self.registry.beat(key, &client);
        if met == Beat::Unknown
            && let Some(instance) = beat.full
        {
            self.register(key, instance, true).await?;
            met = self.registry.beat(key, &client);
        }
        let own = match met {
            Beat::Known(own) => own,
            // What an operator laid over it acts even so.
            Beat::Unknown => self
                .registry
                .overlay(key, &metadata_id(&beat.ip, beat.port, &beat.cluster))
                .and_then(|over| over.extend_data.millis(preserved::BEAT_INTERVAL)),
        };
        let interval_ms = own.map_or_else(|| self.switches.client_beat_interval(), |own| own as i64);
        Ok(BeatAnswer { known: met != Beat::Unknown, interval_ms })
    }

    /// Changes the metadata that lie over instances: those named, or all of the service. Gives those it changed, as
    /// `ip:port:unknown:cluster:ephemeral`.
    ///
    /// # Errors
    /// It could not be stored; those before that one are changed.
    pub async fn change_metadata(
        &self,
        key: &ServiceKey,
        targets: &[Target],
        change: &BatchChange,
    ) -> Result<Vec<String>, NamingError> {
        let targets: Vec<Target> = if targets.is_empty() {
            let all = self.all(key).into_iter();
            all.map(|found| Target {
                ip: found.instance.ip.to_string(),
                port: found.instance.port,
                cluster: found.instance.cluster.to_string(),
                ephemeral: found.ephemeral,
            })
            .collect()
        } else {
            let known = targets.iter();
            known.filter(|one| self.detail(key, &one.ip, one.port, &one.cluster).is_ok()).cloned().collect()
        };
        let mut changed = Vec::with_capacity(targets.len());
        for target in targets {
            let id = metadata_id(&target.ip, target.port, &target.cluster);
            let change = match change.clone() {
                BatchChange::Set(set) => InstanceChange { set, ..Default::default() },
                BatchChange::Remove(remove) => InstanceChange { remove, ..Default::default() },
            };
            self.metadata.change_instance(key, &id, change).await?;
            let kind = if target.ephemeral { "ephemeral" } else { "persist" };
            changed.push(format!("{}:{}:unknown:{}:{kind}", target.ip, target.port, target.cluster));
        }
        Ok(changed)
    }

    /// Sets by hand whether a persistent instance is healthy.
    ///
    /// # Errors
    /// Its cluster is probed; it could not be stored.
    pub async fn set_healthy(
        &self,
        key: &ServiceKey,
        cluster: &str,
        ip: &str,
        port: u16,
        healthy: bool,
    ) -> Result<(), NamingError> {
        let metadata = self.registry.service_metadata(key);
        let by_hand = metadata
            .as_deref()
            .and_then(|metadata| metadata.clusters.get(cluster))
            .is_some_and(|cluster| cluster.health_checker == Checker::None);
        if !by_hand {
            return Err(NamingError::bad(
                ErrorCode::ServerError,
                format!("health check is still working, service: {}, cluster: {cluster}", key.grouped()),
            ));
        }
        // In another cluster it is probed, or not, by other rules.
        if self.detail(key, ip, port, cluster).is_ok() {
            let client = ClientId::text_of(ip, port, false);
            self.persistent.set_healthy(key, &client, healthy).await?;
        }
        Ok(())
    }
}

fn detail(key: &ServiceKey, state: &State, instance: &Instance) -> InstanceDetail {
    let shown = state.shown(instance);
    InstanceDetail {
        id: instance.id_text(key.grouped()),
        ephemeral: state.kind != Some(Kind::Persistent),
        instance: Instance {
            weight: shown.weight,
            enabled: shown.enabled,
            metadata: shown.metadata,
            ..instance.clone()
        },
    }
}
