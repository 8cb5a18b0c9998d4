//! A whole server in this process.

use std::{net::SocketAddr, path::Path, sync::Arc};

use nacos_core::{
    settings::{Flag, Settings, SettingsInput},
    storage::DatabaseOperate,
};
use nacos_server::NacosServer;
use tempfile::TempDir;

use super::Client;

/// A running server, and the folder that is its own.
pub struct Server {
    pub inner: NacosServer,
    pub folder: Arc<TempDir>,
}

/// Settings for this folder and any free port of loopback, read from nothing but `options`.
pub fn settings(folder: &Path, options: &[(&str, &str)]) -> Settings {
    let flag = |(name, value): (&str, &str)| Flag { flag: "test".into(), option: name.into(), value: value.into() };
    let own = [("server.port", "0"), ("nacos.home", folder.to_str().unwrap())];
    let flags = own.into_iter().chain(options.iter().copied()).map(flag).collect();
    Settings::load(SettingsInput { flags, ..SettingsInput::default() }).unwrap().settings
}

impl Server {
    /// A server in a new folder.
    pub async fn start(options: &[(&str, &str)]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), options).await
    }

    /// A server in this folder.
    pub async fn start_in(folder: Arc<TempDir>, options: &[(&str, &str)]) -> Self {
        let inner = NacosServer::builder(settings(folder.path(), options)).start().await.unwrap();
        Self { inner, folder }
    }

    /// A server in this folder that keeps everything in this storage.
    pub async fn start_on(storage: Arc<dyn DatabaseOperate>, folder: Arc<TempDir>, options: &[(&str, &str)]) -> Self {
        let builder = NacosServer::builder(settings(folder.path(), options)).storage(storage);
        Self { inner: builder.start().await.unwrap(), folder }
    }

    pub fn addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    pub fn client(&self) -> Client {
        Client::new(self.addr())
    }

    /// The value of a metric, named as it is rendered: `nacos_monitor{module="config",name="longPolling"}`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.inner.metrics().render();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    /// How many long polls are held.
    pub fn held(&self) -> usize {
        self.metric("nacos_monitor{module=\"config\",name=\"longPolling\"}") as usize
    }

    pub async fn stop(self) -> Arc<TempDir> {
        self.inner.stop().await;
        self.folder
    }
}
