//! What the tests of this crate share: a protocol in memory, and a registry.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use nacos_core::consistency::{ApplyError, CpError, CpProtocol, Entry, RequestProcessor};
use parking_lot::Mutex;

use crate::{
    health::heartbeat::Expiry,
    model::{Instance, InstanceId, Metadata},
    registry::{Registry, cluster_name},
    switches::Switches,
};

/// Applies at once, and forgets.
#[derive(Default)]
pub(crate) struct Memory {
    groups: Mutex<HashMap<&'static str, Arc<dyn RequestProcessor>>>,
}

impl Memory {
    /// The processor of a group.
    pub(crate) fn processor(&self, group: &str) -> Arc<dyn RequestProcessor> {
        Arc::clone(&self.groups.lock()[group])
    }
}

#[async_trait]
impl CpProtocol for Memory {
    async fn add_processor(&self, processor: Arc<dyn RequestProcessor>) -> Result<(), CpError> {
        self.groups.lock().insert(processor.group(), processor);
        Ok(())
    }

    async fn write(&self, group: &str, entry: Entry) -> Result<String, CpError> {
        self.processor(group).apply(&entry).map_err(|error| match error {
            ApplyError::Refused(text) => CpError::Refused(text),
            ApplyError::Critical(text) => CpError::Stopped(group.to_owned(), text),
        })
    }

    async fn read(&self, group: &str, request: &str) -> Result<String, CpError> {
        self.processor(group).read(request).map_err(|error| CpError::Refused(error.to_string()))
    }
}

/// Switches that nobody has touched.
pub(crate) async fn switches() -> Arc<Switches> {
    Arc::new(Switches::start(Arc::new(Memory::default())).await.unwrap())
}

/// An empty registry with Nacos' times.
pub(crate) async fn registry() -> Arc<Registry> {
    registry_with(switches().await, true)
}

/// An empty registry with these switches.
pub(crate) fn registry_with(switches: Arc<Switches>, expire_instances: bool) -> Arc<Registry> {
    Arc::new(Registry::new(Expiry::new(switches, expire_instances, 180_000)))
}

/// An instance at 127.0.0.`n`, with these metadata as `name=value,…`.
pub(crate) fn instance(n: u8, port: u16, metadata: &str) -> Instance {
    Instance {
        ip: format!("127.0.0.{n}").into(),
        port,
        cluster: cluster_name("DEFAULT"),
        weight: 1.0,
        healthy: true,
        enabled: true,
        id: InstanceId::Simple,
        metadata: Metadata::parse(metadata).unwrap(),
    }
}
