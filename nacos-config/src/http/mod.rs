//! The HTTP endpoints of configuration management, v1 and v2, as Nacos 2.4 has them.
//!
//! Handlers read parameters, ask the domain, and write answers; they decide nothing. [`Endpoints`] is what they
//! share.

mod access;
mod admin;
mod bulk;
mod client;
mod history;
mod shapes;
mod v1;
mod v2;

use std::sync::Arc;

use nacos_core::{
    namespace::NamespaceDirectory,
    settings::ConfigSettings,
    storage::StorageError,
    web::{Fault, Routes},
};
use tokio::sync::Semaphore;

use crate::{
    capacity::{Capacity, Over},
    dump::Dump,
    publish::{PublishError, Publisher},
    query::Reader,
    repository::Repository,
    trace::Trace,
    validate::Invalid,
    watch::{WatchIndex, long_poll::LongPolls},
};
use http::StatusCode;
use nacos_core::error::ErrorCode;

/// Sets a logger's level: the name as Nacos knows it, and the level. `false` if either is not known.
pub type SetLogLevel = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// What the handlers share. One counter to clone: every request does.
#[derive(Clone)]
pub struct Endpoints(Arc<Shared>);

impl Endpoints {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl std::ops::Deref for Endpoints {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The parts of [`Endpoints`].
pub struct Shared {
    pub(crate) reader: Reader,
    pub(crate) publisher: Publisher,
    pub(crate) repository: Repository,
    pub(crate) capacity: Capacity,
    pub(crate) dump: Arc<Dump>,
    pub(crate) index: Arc<WatchIndex>,
    pub(crate) polls: LongPolls,
    pub(crate) namespaces: Arc<dyn NamespaceDirectory>,
    pub(crate) settings: ConfigSettings,
    pub(crate) trace: Trace,
    pub(crate) set_log_level: SetLogLevel,
    pub(crate) searches: Searches,
    pub(crate) gets: prometheus::IntGauge,
    pub(crate) publishes: prometheus::IntGauge,
    pub(crate) fuzzy_searches: prometheus::IntGauge,
}

/// Bounds the searches in contents, which read every row (Nacos `ConfigDetailService`).
#[derive(Clone)]
pub(crate) struct Searches {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    timeout: std::time::Duration,
}

impl Searches {
    /// `threads` at once, `queued` waiting, each answered within `timeout`.
    pub(crate) fn new(threads: usize, queued: usize, timeout: std::time::Duration) -> Self {
        Self {
            running: Arc::new(Semaphore::new(threads)),
            admitted: Arc::new(Semaphore::new(threads + queued)),
            timeout,
        }
    }

    /// Runs a search, or refuses it.
    pub(crate) async fn run<T>(&self, search: impl Future<Output = Result<T, StorageError>>) -> Result<T, Fault> {
        let refuse =
            || Fault::Coded(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::ServerError, "server limit match.".to_owned());
        let Ok(_admitted) = self.admitted.try_acquire() else { return Err(refuse()) };
        let bounded = tokio::time::timeout(self.timeout, async {
            let _running = self.running.acquire().await;
            search.await
        });
        Ok(bounded.await.map_err(|_| refuse())??)
    }
}

/// All routes of configuration management.
pub fn routes(endpoints: &Endpoints) -> Routes {
    let mut routes = Routes::new();
    v1::add(&mut routes, endpoints);
    v2::add(&mut routes, endpoints);
    routes
}

impl From<Invalid> for Fault {
    fn from(invalid: Invalid) -> Self {
        Fault::bad(invalid.0)
    }
}

impl From<PublishError> for Fault {
    fn from(error: PublishError) -> Self {
        let text = error.to_string();
        match error {
            PublishError::Conflict(_) => {
                Fault::Coded(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::ResourceConflict, text)
            }
            PublishError::Exists => Fault::Coded(StatusCode::BAD_REQUEST, ErrorCode::ResourceConflict, text),
            PublishError::Aggregated(_) => Fault::Coded(StatusCode::FORBIDDEN, ErrorCode::InvalidDataId, text),
            PublishError::Over(over, _) => {
                let code = match over {
                    Over::Cluster => ErrorCode::OverClusterQuota,
                    Over::Group => ErrorCode::OverGroupQuota,
                    Over::Tenant => ErrorCode::OverTenantQuota,
                    Over::Size => ErrorCode::OverMaxSize,
                };
                Fault::Coded(StatusCode::TOO_MANY_REQUESTS, code, text)
            }
            PublishError::Storage(error) => error.into(),
        }
    }
}
