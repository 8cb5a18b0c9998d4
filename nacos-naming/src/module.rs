//! The module as a whole: its parts in their order of start, its background tasks, its stop.

use std::{sync::Arc, time::Duration};

use nacos_core::{
    consistency::{CpError, CpProtocol},
    error::Report,
    metrics::Metrics,
    settings::NamingSettings,
    web::Routes,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    health::{self, heartbeat::Expiry},
    http::{self, Endpoints, SetLogLevel, Shared},
    instances::Instances,
    metadata::MetadataWriter,
    persistent::PersistentInstances,
    push::{PushError, Pusher},
    registry::{Orphan, Registry},
    selector::Labels,
    services::Services,
    switches::Switches,
};

/// Empty services are looked for for the first time so long after the start, as Nacos does: clients come back first.
const CLEAN_AFTER: Duration = Duration::from_secs(30);

/// What the module needs of its surroundings.
pub struct NamingOptions {
    /// The settings.
    pub settings: NamingSettings,
    /// Keeps what must not be lost: metadata, persistent instances, switches.
    pub cp: Arc<dyn CpProtocol>,
    /// What is known of addresses, for label selectors; nothing without it.
    pub labels: Option<Arc<dyn Labels>>,
    /// Whether the parameter filter acts.
    pub check_params: bool,
    /// Whether Prometheus may ask for instances.
    pub prometheus: bool,
    /// This server's `ip:port`.
    pub self_address: String,
    /// Where to count.
    pub metrics: Metrics,
    /// Sets a logger's level, for the endpoint of that purpose.
    pub set_log_level: SetLogLevel,
}

/// Why the module did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is stored could not be brought back.
    #[error("bring back metadata and persistent instances")]
    Cp(#[from] CpError),
    /// Nothing can be pushed.
    #[error(transparent)]
    Push(#[from] PushError),
}

/// Service discovery, running.
pub struct NamingModule {
    endpoints: Endpoints,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl NamingModule {
    /// Brings back everything that is stored and starts the background tasks.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(options: NamingOptions) -> Result<Self, StartError> {
        let NamingOptions { settings, cp, labels, check_params, prometheus, self_address, metrics, set_log_level } =
            options;
        let switches = Arc::new(Switches::start(Arc::clone(&cp)).await?);
        let client_ms = settings.client_expires.as_millis() as u64;
        let expiry = Expiry::new(Arc::clone(&switches), settings.expire_instances, client_ms);
        let registry = Arc::new(Registry::new(expiry));
        // What is said of services comes first: it tells their kinds.
        let metadata = MetadataWriter::start(Arc::clone(&cp), Arc::clone(&registry)).await?;
        let persistent = PersistentInstances::start(cp, Arc::clone(&registry)).await?;
        let window = settings.push_window;
        let pusher = Pusher::start(Arc::clone(&registry), Arc::clone(&switches), labels.clone(), window, &metrics)?;

        let stop = watch::Sender::new(false);
        let probing = health::Probing::new(Arc::clone(&registry), Arc::clone(&switches), persistent.clone());
        let tasks = vec![
            tokio::spawn(health::heartbeat::run(Arc::clone(&registry), stop.subscribe())),
            tokio::spawn(Arc::clone(&pusher).run(stop.subscribe())),
            tokio::spawn(probing.run(metrics.clone(), stop.subscribe())),
            tokio::spawn(clean_services(Arc::clone(&registry), settings.clone(), stop.subscribe())),
            tokio::spawn(clean_metadata(Arc::clone(&registry), metadata.clone(), settings.clone(), stop.subscribe())),
        ];
        show_sizes(&metrics, &registry);
        let endpoints = Endpoints::new(Shared {
            instances: Instances::new(
                Arc::clone(&registry),
                persistent,
                metadata.clone(),
                Arc::clone(&switches),
                labels,
            ),
            services: Services::new(Arc::clone(&registry), metadata),
            registry,
            switches,
            pusher,
            metadata_max: check_params.then_some(settings.metadata_max),
            self_address,
            prometheus,
            set_log_level,
        });
        Ok(Self { endpoints, stop, tasks })
    }

    /// The HTTP routes.
    pub fn routes(&self) -> Routes {
        http::routes(&self.endpoints)
    }

    /// The operations on instances, for other parts of a composed server.
    pub fn instances(&self) -> &Instances {
        &self.endpoints.instances
    }

    /// The operations on services, for other parts of a composed server.
    pub fn services(&self) -> &Services {
        &self.endpoints.services
    }

    /// Ends the background tasks. The last step of a stop, after the last request and before that of the protocol.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout(Duration::from_secs(5), task).await.is_err() {
                abort.abort();
                tracing::warn!("a background task of service discovery did not end in time");
            }
        }
    }
}

fn show_sizes(metrics: &Metrics, registry: &Arc<Registry>) {
    let services = metrics.monitor("naming", "serviceCount");
    let instances = metrics.monitor("naming", "ipCount");
    let subscribers = metrics.monitor("naming", "subscriberCount");
    let timers = metrics.monitor("naming", "timers");
    let pending = metrics.monitor("naming", "pushPendingTaskCount");
    let registry = Arc::downgrade(registry);
    metrics.before_render(move || {
        if let Some(registry) = registry.upgrade() {
            services.set(registry.service_count() as i64);
            instances.set(registry.instance_count());
            subscribers.set(registry.subscription_count());
            timers.set(registry.timers.len() as i64);
            pending.set(registry.changes.len() as i64);
        }
    });
}

/// Ends services that have been empty for long.
async fn clean_services(registry: Arc<Registry>, settings: NamingSettings, mut stop: watch::Receiver<bool>) {
    let mut rest = CLEAN_AFTER.min(settings.clean_services_interval);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(rest) => {}
        }
        rest = settings.clean_services_interval;
        let ended = registry.end_empty_services(settings.empty_service_expires.as_millis() as u64);
        if ended > 0 {
            tracing::info!(ended, "empty services removed");
        }
    }
}

/// Removes metadata whose owners have been gone for long.
async fn clean_metadata(
    registry: Arc<Registry>,
    metadata: MetadataWriter,
    settings: NamingSettings,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(settings.clean_metadata_interval) => {}
        }
        for orphan in registry.orphans(settings.metadata_expires.as_millis() as u64) {
            let removed = match &orphan {
                Orphan::Service(key) => metadata.remove_service(key).await,
                Orphan::Instance(key, id) => metadata.remove_instance(key, id).await,
            };
            if let Err(error) = removed {
                tracing::warn!(error = %Report(&error), ?orphan, "metadata without an owner not removed");
                break;
            }
        }
    }
}
