//! What is known of services, clusters and instances apart from who publishes them: written through a `CpProtocol`,
//! kept in the registry's services.
//!
//! Owns the two groups `naming_service_metadata` and `naming_instance_metadata` (Nacos
//! `NamingMetadataOperateService`, `ServiceMetadataProcessor`, `InstanceMetadataProcessor`): the one way to change
//! metadata, and their appliers.

use std::{collections::BTreeMap, sync::Arc};

use nacos_core::{
    consistency::{ApplyError, CpError, CpProtocol, RequestProcessor, SnapshotOperation},
    key::ServiceKey,
};
use serde::{Deserialize, Serialize};

use crate::{
    health::probe::Checker,
    model::Metadata,
    registry::{Kind, Registry},
    selector::Selector,
};

/// The group of service and cluster metadata.
pub const SERVICE_GROUP: &str = "naming_service_metadata";
/// The group of instance metadata.
pub const INSTANCE_GROUP: &str = "naming_instance_metadata";

/// What is known of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceMetadata {
    /// Whether its instances are ephemeral; fixed by whoever made it.
    pub ephemeral: bool,
    /// With no more than this part of the instances healthy, all are handed out; 0 to 1.
    pub protect_threshold: f32,
    /// Which consumers see which instances.
    pub selector: Selector,
    /// What else is to be known of it.
    pub extend_data: Metadata,
    /// Its clusters, as far as something was said of them.
    pub clusters: BTreeMap<String, ClusterMetadata>,
}

impl ServiceMetadata {
    /// The kind of the service.
    pub(crate) fn kind(&self) -> Kind {
        if self.ephemeral { Kind::Ephemeral } else { Kind::Persistent }
    }
}

impl Default for ServiceMetadata {
    fn default() -> Self {
        Self {
            ephemeral: true,
            protect_threshold: 0.0,
            selector: Selector::default(),
            extend_data: Metadata::none(),
            clusters: BTreeMap::new(),
        }
    }
}

/// What is known of a cluster of a service: how its persistent instances are probed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterMetadata {
    /// The port to probe, where the instances' own is not used.
    pub healthy_check_port: i32,
    /// How to probe.
    pub health_checker: Checker,
    /// Whether each instance is probed at its own port.
    pub use_instance_port_for_check: bool,
    /// What else is to be known of it.
    pub extend_data: Metadata,
}

impl Default for ClusterMetadata {
    fn default() -> Self {
        Self {
            healthy_check_port: 80,
            health_checker: Checker::default(),
            use_instance_port_for_check: true,
            extend_data: Metadata::none(),
        }
    }
}

/// What an operator said of an instance; laid over what its client publishes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceMetadata {
    /// The weight, 0 to 10,000.
    pub weight: f64,
    /// Whether it takes requests.
    pub enabled: bool,
    /// Laid over the client's metadata, name by name.
    pub extend_data: Metadata,
}

impl Default for InstanceMetadata {
    fn default() -> Self {
        Self { weight: 1.0, enabled: true, extend_data: Metadata::none() }
    }
}

/// A service, as entries write it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceName {
    namespace: String,
    group: String,
    name: String,
}

impl From<&ServiceKey> for ServiceName {
    fn from(key: &ServiceKey) -> Self {
        Self { namespace: key.namespace().into(), group: key.group().into(), name: key.name().into() }
    }
}

impl From<&ServiceName> for ServiceKey {
    fn from(name: &ServiceName) -> Self {
        ServiceKey::new(&name.namespace, &name.group, &name.name)
    }
}

/// An entry of the group of service metadata.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum ServiceEntry {
    /// Makes the service; refused if something was said of it.
    Create { service: ServiceName, metadata: ServiceMetadata },
    /// Makes the service, in the place of all that was said of one that was forgotten.
    Replace { service: ServiceName, metadata: ServiceMetadata },
    /// Says of which kind it is, if anything was said of it.
    SetKind { service: ServiceName, ephemeral: bool },
    /// Makes the service, or changes all but its kind and clusters.
    Put { service: ServiceName, metadata: ServiceMetadata },
    /// Says something of one cluster.
    PutCluster { service: ServiceName, ephemeral: bool, cluster: String, metadata: ClusterMetadata },
    /// Removes the service.
    Remove { service: ServiceName },
}

/// A change of what is laid over an instance; absent parts stay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceChange {
    /// The weight.
    pub weight: Option<f64>,
    /// Whether it takes requests.
    pub enabled: Option<bool>,
    /// In the place of all metadata.
    pub replace: Option<Metadata>,
    /// Metadata to set.
    pub set: Metadata,
    /// Metadata to remove, by their names.
    pub remove: Metadata,
}

impl InstanceChange {
    /// What comes of it.
    fn applied_to(&self, old: &InstanceMetadata) -> InstanceMetadata {
        let mut extend_data = self.replace.as_ref().unwrap_or(&old.extend_data).overlaid(&self.set);
        if !self.remove.is_empty() {
            let mut map = extend_data.to_map();
            map.retain(|name, _| self.remove.get(name).is_none());
            extend_data = map.into();
        }
        InstanceMetadata {
            weight: self.weight.unwrap_or(old.weight),
            enabled: self.enabled.unwrap_or(old.enabled),
            extend_data,
        }
    }
}

/// An entry of the group of instance metadata.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum InstanceEntry {
    Put {
        service: ServiceName,
        id: String,
        metadata: InstanceMetadata,
    },
    /// Changes what is there when it is applied: of those who change different parts at once none undoes another.
    Change {
        service: ServiceName,
        id: String,
        change: InstanceChange,
    },
    Remove {
        service: ServiceName,
        id: String,
    },
}

/// Writes metadata. Cheap to clone.
#[derive(Clone)]
pub struct MetadataWriter {
    cp: Arc<dyn CpProtocol>,
}

impl MetadataWriter {
    /// Brings back what is stored, and takes writes from then on.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub async fn start(cp: Arc<dyn CpProtocol>, registry: Arc<Registry>) -> Result<Self, CpError> {
        cp.add_processor(Arc::new(ServiceApplier { registry: Arc::clone(&registry) })).await?;
        cp.add_processor(Arc::new(InstanceApplier { registry })).await?;
        Ok(Self { cp })
    }

    /// Makes a service.
    ///
    /// # Errors
    /// [`CpError::Refused`] if something was said of it meanwhile; see [`CpProtocol::write`].
    pub async fn create_service(&self, key: &ServiceKey, metadata: ServiceMetadata) -> Result<(), CpError> {
        self.write(SERVICE_GROUP, &ServiceEntry::Create { service: key.into(), metadata }).await
    }

    /// Makes a service, in the place of all that was said of one that was forgotten.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn replace_service(&self, key: &ServiceKey, metadata: ServiceMetadata) -> Result<(), CpError> {
        self.write(SERVICE_GROUP, &ServiceEntry::Replace { service: key.into(), metadata }).await
    }

    /// Says of which kind a service is, of which something else was said.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn set_kind(&self, key: &ServiceKey, kind: Kind) -> Result<(), CpError> {
        let ephemeral = kind == Kind::Ephemeral;
        self.write(SERVICE_GROUP, &ServiceEntry::SetKind { service: key.into(), ephemeral }).await
    }

    /// Makes a service or changes it; an existing one keeps its kind and its clusters.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn put_service(&self, key: &ServiceKey, metadata: ServiceMetadata) -> Result<(), CpError> {
        self.write(SERVICE_GROUP, &ServiceEntry::Put { service: key.into(), metadata }).await
    }

    /// Says something of a cluster.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn put_cluster(
        &self,
        key: &ServiceKey,
        kind: Kind,
        cluster: &str,
        metadata: ClusterMetadata,
    ) -> Result<(), CpError> {
        let ephemeral = kind == Kind::Ephemeral;
        let entry = ServiceEntry::PutCluster { service: key.into(), ephemeral, cluster: cluster.into(), metadata };
        self.write(SERVICE_GROUP, &entry).await
    }

    /// Removes a service with what is known of it.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn remove_service(&self, key: &ServiceKey) -> Result<(), CpError> {
        self.write(SERVICE_GROUP, &ServiceEntry::Remove { service: key.into() }).await
    }

    /// Lays this over an instance, whether it is there or not.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn put_instance(&self, key: &ServiceKey, id: &str, metadata: InstanceMetadata) -> Result<(), CpError> {
        self.write(INSTANCE_GROUP, &InstanceEntry::Put { service: key.into(), id: id.into(), metadata }).await
    }

    /// Changes what is laid over an instance.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn change_instance(&self, key: &ServiceKey, id: &str, change: InstanceChange) -> Result<(), CpError> {
        self.write(INSTANCE_GROUP, &InstanceEntry::Change { service: key.into(), id: id.into(), change }).await
    }

    /// Takes away what was laid over an instance.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn remove_instance(&self, key: &ServiceKey, id: &str) -> Result<(), CpError> {
        self.write(INSTANCE_GROUP, &InstanceEntry::Remove { service: key.into(), id: id.into() }).await
    }

    async fn write(&self, group: &str, entry: &impl Serialize) -> Result<(), CpError> {
        self.cp.write(group, encode(entry)?.into()).await.map(drop)
    }
}

pub(crate) fn encode(value: &impl Serialize) -> Result<String, CpError> {
    // Our own types: only a number that is no number could fail here, and the edge lets none in.
    serde_json::to_string(value).map_err(|error| CpError::Refused(error.to_string()))
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(entry: &'a str) -> Result<T, ApplyError> {
    // Skipping an entry would make members differ.
    serde_json::from_str(entry).map_err(|error| ApplyError::Critical(format!("an entry cannot be read: {error}")))
}

pub(crate) fn no_reads(_: &str) -> Result<String, ApplyError> {
    Err(ApplyError::Refused("this group answers no questions".to_owned()))
}

/// What Nacos says of a service that is created twice.
pub(crate) fn already_exists(key: &ServiceKey) -> String {
    format!("specified service {} already exists!", key.grouped())
}

struct ServiceApplier {
    registry: Arc<Registry>,
}

impl RequestProcessor for ServiceApplier {
    fn group(&self) -> &'static str {
        SERVICE_GROUP
    }

    fn apply(&self, entry: &str) -> Result<String, ApplyError> {
        match decode::<ServiceEntry>(entry)? {
            ServiceEntry::Create { service, metadata } => {
                let key = (&service).into();
                if self.registry.service_metadata(&key).is_some() {
                    return Err(ApplyError::Refused(already_exists(&key)));
                }
                self.registry.put_service(&key, |_| metadata.clone());
            }
            ServiceEntry::Replace { service, metadata } => {
                self.registry.put_service(&(&service).into(), |_| metadata.clone());
            }
            ServiceEntry::SetKind { service, ephemeral } => {
                let key = (&service).into();
                if let Some(old) = self.registry.service_metadata(&key) {
                    self.registry.put_service(&key, |_| ServiceMetadata { ephemeral, ..(*old).clone() });
                }
            }
            ServiceEntry::Put { service, metadata } => self.registry.put_service(&(&service).into(), |old| match old {
                Some(old) => {
                    ServiceMetadata { ephemeral: old.ephemeral, clusters: old.clusters.clone(), ..metadata.clone() }
                }
                None => metadata.clone(),
            }),
            ServiceEntry::PutCluster { service, ephemeral, cluster, metadata } => {
                self.registry.put_service(&(&service).into(), |old| {
                    let mut new = old.cloned().unwrap_or(ServiceMetadata { ephemeral, ..Default::default() });
                    new.clusters.insert(cluster.clone(), metadata.clone());
                    new
                });
            }
            ServiceEntry::Remove { service } => self.registry.remove_service(&(&service).into()),
        }
        Ok(String::new())
    }

    fn read(&self, request: &str) -> Result<String, ApplyError> {
        no_reads(request)
    }

    fn snapshot(&self) -> Option<&dyn SnapshotOperation> {
        Some(self)
    }
}

impl SnapshotOperation for ServiceApplier {
    fn save(&self) -> Result<String, String> {
        let mut all: Vec<(ServiceName, Arc<ServiceMetadata>)> = Vec::new();
        self.registry.each_service(|key, view| {
            if let Some(metadata) = view.metadata() {
                all.push((key.into(), Arc::clone(metadata)));
            }
        });
        let all: Vec<_> = all.iter().map(|(name, metadata)| (name, &**metadata)).collect();
        serde_json::to_string(&all).map_err(|error| error.to_string())
    }

    fn load(&self, snapshot: &str) -> Result<(), String> {
        let all: Vec<(ServiceName, ServiceMetadata)> = serde_json::from_str(snapshot).map_err(|e| e.to_string())?;
        let kept: std::collections::HashSet<ServiceKey> = all.iter().map(|(name, _)| name.into()).collect();
        let mut stale = Vec::new();
        self.registry.each_service(|key, view| {
            if view.metadata().is_some() && !kept.contains(key) {
                stale.push(key.clone());
            }
        });
        stale.iter().for_each(|key| self.registry.remove_service(key));
        for (name, metadata) in all {
            self.registry.put_service(&(&name).into(), |_| metadata.clone());
        }
        Ok(())
    }
}

struct InstanceApplier {
    registry: Arc<Registry>,
}

impl RequestProcessor for InstanceApplier {
    fn group(&self) -> &'static str {
        INSTANCE_GROUP
    }

    fn apply(&self, entry: &str) -> Result<String, ApplyError> {
        match decode::<InstanceEntry>(entry)? {
            InstanceEntry::Put { service, id, metadata } => {
                self.registry.put_overlay(&(&service).into(), &id, Some(metadata));
            }
            InstanceEntry::Change { service, id, change } => {
                let key = (&service).into();
                let old = self.registry.overlay(&key, &id).unwrap_or_default();
                self.registry.put_overlay(&key, &id, Some(change.applied_to(&old)));
            }
            InstanceEntry::Remove { service, id } => self.registry.put_overlay(&(&service).into(), &id, None),
        }
        Ok(String::new())
    }

    fn read(&self, request: &str) -> Result<String, ApplyError> {
        no_reads(request)
    }

    fn snapshot(&self) -> Option<&dyn SnapshotOperation> {
        Some(self)
    }
}

impl SnapshotOperation for InstanceApplier {
    fn save(&self) -> Result<String, String> {
        let mut all: Vec<(ServiceName, String, InstanceMetadata)> = Vec::new();
        self.registry.each_service(|key, view| {
            all.extend(view.overlays().map(|(id, metadata)| (key.into(), id.to_owned(), metadata.clone())));
        });
        serde_json::to_string(&all).map_err(|error| error.to_string())
    }

    fn load(&self, snapshot: &str) -> Result<(), String> {
        let all: Vec<(ServiceName, String, InstanceMetadata)> =
            serde_json::from_str(snapshot).map_err(|error| error.to_string())?;
        let mut stale: Vec<(ServiceKey, String)> = Vec::new();
        self.registry.each_service(|key, view| {
            stale.extend(view.overlays().map(|(id, _)| (key.clone(), id.to_owned())));
        });
        stale.iter().for_each(|(key, id)| self.registry.put_overlay(key, id, None));
        for (name, id, metadata) in all {
            self.registry.put_overlay(&(&name).into(), &id, Some(metadata));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
