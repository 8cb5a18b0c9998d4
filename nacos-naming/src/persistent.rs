//! Instances that stay until they are taken away: written through a `CpProtocol`, in the group
//! `naming_persistent_service_v2` (Nacos `PersistentClientOperationServiceImpl`).
//!
//! Owns that group: the one way to change persistent instances, and its applier. Where they are kept is the registry's.

use std::sync::Arc;

use nacos_core::{
    consistency::{ApplyError, CpError, CpProtocol, RequestProcessor, SnapshotOperation},
    key::ServiceKey,
};
use serde::{Deserialize, Serialize};

use crate::{
    metadata::{ServiceName, decode, encode, no_reads},
    model::{ClientId, Instance},
    registry::Registry,
};

/// The group's name.
pub const GROUP: &str = "naming_persistent_service_v2";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Entry {
    Register {
        service: ServiceName,
        client: String,
        instance: Instance,
    },
    Deregister {
        service: ServiceName,
        client: String,
    },
    /// Only if the instance is there: what a probe found must not bring back what was taken away meanwhile.
    Health {
        service: ServiceName,
        client: String,
        healthy: bool,
    },
}

/// Writes persistent instances. Cheap to clone.
#[derive(Clone)]
pub struct PersistentInstances {
    cp: Arc<dyn CpProtocol>,
}

impl PersistentInstances {
    /// Brings back what is stored, and takes writes from then on.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub async fn start(cp: Arc<dyn CpProtocol>, registry: Arc<Registry>) -> Result<Self, CpError> {
        cp.add_processor(Arc::new(Applier { registry })).await?;
        Ok(Self { cp })
    }

    /// Registers an instance, or puts it in the place of the one at its address.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn register(&self, key: &ServiceKey, client: &ClientId, instance: Instance) -> Result<(), CpError> {
        self.write(&Entry::Register { service: key.into(), client: client.as_str().into(), instance }).await
    }

    /// Takes an instance away.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn deregister(&self, key: &ServiceKey, client: &ClientId) -> Result<(), CpError> {
        self.write(&Entry::Deregister { service: key.into(), client: client.as_str().into() }).await
    }

    /// Says whether an instance is healthy.
    ///
    /// # Errors
    /// See [`CpProtocol::write`].
    pub async fn set_healthy(&self, key: &ServiceKey, client: &str, healthy: bool) -> Result<(), CpError> {
        self.write(&Entry::Health { service: key.into(), client: client.into(), healthy }).await
    }

    async fn write(&self, entry: &Entry) -> Result<(), CpError> {
        self.cp.write(GROUP, encode(entry)?.into()).await.map(drop)
    }
}

struct Applier {
    registry: Arc<Registry>,
}

impl RequestProcessor for Applier {
    fn group(&self) -> &'static str {
        GROUP
    }

    fn apply(&self, entry: &str) -> Result<String, ApplyError> {
        match decode::<Entry>(entry)? {
            Entry::Register { service, client, instance } => {
                self.registry.put_persistent(&(&service).into(), &ClientId::from_text(&client), instance);
            }
            Entry::Deregister { service, client } => {
                self.registry.deregister(&(&service).into(), &client);
            }
            Entry::Health { service, client, healthy } => {
                self.registry.set_healthy(&(&service).into(), &client, healthy);
            }
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

impl SnapshotOperation for Applier {
    fn save(&self) -> Result<String, String> {
        let mut all: Vec<(ServiceName, String, Instance)> = Vec::new();
        self.registry.each_service(|key, view| {
            let persistent = view.published().filter(|(client, _)| client.is_persistent());
            all.extend(persistent.map(|(client, instance)| (key.into(), client.as_str().to_owned(), instance.clone())));
        });
        serde_json::to_string(&all).map_err(|error| error.to_string())
    }

    fn load(&self, snapshot: &str) -> Result<(), String> {
        let all: Vec<(ServiceName, String, Instance)> = serde_json::from_str(snapshot).map_err(|e| e.to_string())?;
        let mut stale: Vec<(ServiceKey, String)> = Vec::new();
        self.registry.each_service(|key, view| {
            let persistent = view.published().filter(|(client, _)| client.is_persistent());
            stale.extend(persistent.map(|(client, _)| (key.clone(), client.as_str().to_owned())));
        });
        stale.iter().for_each(|(key, client)| {
            self.registry.deregister(key, client);
        });
        for (name, client, instance) in all {
            self.registry.put_persistent(&(&name).into(), &ClientId::from_text(&client), instance);
        }
        Ok(())
    }
}
