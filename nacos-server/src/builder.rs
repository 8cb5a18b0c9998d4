//! Composing a server: what it is made of, and its start and stop in order.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use nacos_config::{ConfigModule, ConfigOptions, trace::Trace};
use nacos_core::{
    auth::AuthPlugin,
    consistency::CpProtocol,
    id::{Ids, WORKER_MAX},
    metrics::Metrics,
    settings::{FunctionMode, Settings},
    storage::{DatabaseOperate, OpenError, PostgresError},
    web::{BodyLimits, Dispatcher, DispatcherOptions, Routes},
};
use nacos_naming::{NamingModule, NamingOptions, selector::Labels};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    DataDir, DataDirError, LogControl, actuator,
    console::{self, ConsoleState, ConsoleTexts},
    database::{self, Database, NamingLog},
    namespace::Namespaces,
    serve,
};

/// A body must be there this long after its headers.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a server did not start. `Display` says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting asks for what this version cannot do; starting without it would be worse.
    #[error("{0}")]
    NotAvailable(String),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The embedded database cannot be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The external database cannot be used.
    #[error("use the database that db.url names")]
    External(#[from] PostgresError),
    /// The log files cannot be written.
    #[error("write log files in {0}")]
    Logs(PathBuf, #[source] std::io::Error),
    /// The port cannot be had: something else listens there, or the address is not this machine's.
    #[error("listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// Configuration management did not start.
    #[error(transparent)]
    Config(#[from] nacos_config::StartError),
    /// Service discovery did not start.
    #[error(transparent)]
    Naming(#[from] nacos_naming::StartError),
}

/// Says what a server is made of. Everything has a default but the settings.
pub struct Builder {
    settings: Settings,
    storage: Option<Arc<dyn DatabaseOperate>>,
    auth: Option<Arc<dyn AuthPlugin>>,
    config: bool,
    naming: bool,
    cp: Option<Arc<dyn CpProtocol>>,
    labels: Option<Arc<dyn Labels>>,
    console: bool,
    routes: Routes,
    log_control: LogControl,
    progress: Progress,
}

/// Is told of long work at start: rows read, and rows in all.
pub type Progress = Box<dyn FnMut(u64, u64) + Send>;

/// A running server.
pub struct NacosServer {
    local_addr: SocketAddr,
    metrics: Metrics,
    config: Option<ConfigModule>,
    naming: Option<NamingModule>,
    naming_log: Option<NamingLog>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    database: Database,
    trace: Option<nacos_config::trace::TraceGuard>,
}

impl NacosServer {
    /// A server with these settings: configuration management, service discovery and the console, on the embedded
    /// database. `nacos.functionMode` leaves out one of the first two.
    pub fn builder(settings: Settings) -> Builder {
        let mode = settings.cluster.function_mode;
        Builder {
            settings,
            storage: None,
            auth: None,
            config: mode != FunctionMode::Naming,
            naming: mode != FunctionMode::Config,
            cp: None,
            labels: None,
            console: true,
            routes: Routes::new(),
            log_control: LogControl::none(),
            progress: Box::new(|_, _| {}),
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Its metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where its data is, in words for an operator.
    pub fn storage(&self) -> String {
        let copies = self.config.as_ref().and_then(ConfigModule::from_copies);
        let away = copies.map(|keys| format!(", which is AWAY: {keys} configurations are served from disk copies"));
        format!("{}{}", self.database, away.unwrap_or_default())
    }

    /// Configuration management, unless it was left out.
    pub fn config(&self) -> Option<&ConfigModule> {
        self.config.as_ref()
    }

    /// Service discovery, unless it was left out.
    pub fn naming(&self) -> Option<&NamingModule> {
        self.naming.as_ref()
    }

    /// Waits until the server cannot go on, and says why: a database of its own failed so that no write may be
    /// answered any more. Never ends otherwise.
    pub async fn failed(&self) -> String {
        tokio::select! {
            reason = first_failure(self.database.failed()) => reason,
            reason = first_failure(self.naming_log.as_ref().map(NamingLog::failed)) => reason,
        }
    }

    /// Stops in order: held polls are answered, requests finished, copies and logs written, the database closed.
    pub async fn stop(self) {
        if let Some(config) = &self.config {
            config.release_polls();
        }
        self.stop.send_replace(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the HTTP port's task broke");
        }
        if let Some(config) = self.config {
            config.stop().await;
        }
        if let Some(naming) = self.naming {
            naming.stop().await;
        }
        if let Some(log) = self.naming_log {
            log.close().await;
        }
        drop(self.trace);
        self.database.close().await;
    }
}

impl Builder {
    /// Keeps everything in this storage instead of the embedded database.
    pub fn storage(mut self, storage: Arc<dyn DatabaseOperate>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Asks this plug-in about every request to a route that is not open.
    pub fn auth(mut self, auth: Arc<dyn AuthPlugin>) -> Self {
        self.auth = Some(auth);
        self
    }

    /// With or without configuration management.
    pub fn with_config(mut self, with: bool) -> Self {
        self.config = with;
        self
    }

    /// With or without service discovery.
    pub fn with_naming(mut self, with: bool) -> Self {
        self.naming = with;
        self
    }

    /// Keeps metadata, persistent instances and switches by this protocol, instead of a log in the data folder.
    pub fn cp_protocol(mut self, protocol: Arc<dyn CpProtocol>) -> Self {
        self.cp = Some(protocol);
        self
    }

    /// What is known of addresses (a CMDB), for the label selectors of services.
    pub fn labels(mut self, labels: Arc<dyn Labels>) -> Self {
        self.labels = Some(labels);
        self
    }

    /// With or without the console's endpoints (namespaces, server state, health).
    pub fn with_console(mut self, with: bool) -> Self {
        self.console = with;
        self
    }

    /// Adds routes of one's own. Their paths lie below the context path; each says what it needs of its callers.
    pub fn routes(mut self, routes: Routes) -> Self {
        self.routes.merge(routes);
        self
    }

    /// What changes log levels, for the endpoint of that purpose.
    pub fn log_control(mut self, control: LogControl) -> Self {
        self.log_control = control;
        self
    }

    /// Is told of long work at start.
    pub fn progress(mut self, progress: impl FnMut(u64, u64) + Send + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Starts: takes the port, opens the store, reads what is stored, serves.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running and the port is free.
    pub async fn start(self) -> Result<NacosServer, StartError> {
        let settings = self.settings;
        refuse_unavailable(&settings, self.auth.is_some(), self.storage.is_some())?;
        let wanted = settings.listen_addr();
        let listen_error = |error| StartError::Listen(wanted, error);
        let listener = serve::bind(wanted).map_err(listen_error)?;
        let local_addr = listener.local_addr().map_err(listen_error)?;

        let metrics = Metrics::new();
        let data = DataDir::open(&settings.server.home)?;
        let worker = match settings.core.worker_id {
            Some(worker) => worker,
            None => (data.node_id()? % (u64::from(WORKER_MAX) + 1)) as u16,
        };
        let ids = Arc::new(Ids::new(worker));
        let database = match self.storage {
            Some(storage) => Database::Own(storage),
            None => Database::open(&settings, data.database(), &ids).await?,
        };
        database.show(&metrics);
        let storage = database.operate();
        let quota = i32::try_from(settings.config.capacity.tenant_quota).unwrap_or(i32::MAX);
        let namespaces = Arc::new(Namespaces::new(storage.clone(), ids.clone(), quota));
        let self_ip = settings.server.ip.clone().unwrap_or_else(|| own_ip(local_addr));

        let mut naming_log = None;
        let cp = match (self.naming, self.cp) {
            (false, _) => None,
            (true, Some(cp)) => Some(cp),
            (true, None) => {
                let log = NamingLog::open(&settings, data.naming(), &metrics).await?;
                Some(naming_log.insert(log).protocol())
            }
        };

        let mut routes = Routes::new();
        let (config, trace) = if self.config {
            let (trace, guard) = start_trace(&settings, &self_ip, &metrics)?;
            let control = self.log_control.clone();
            let options = ConfigOptions {
                settings: settings.config.clone(),
                db: storage,
                ids,
                namespaces: namespaces.clone(),
                disk: Some(data.config_data()),
                trace,
                self_ip: self_ip.clone(),
                metrics: metrics.clone(),
                set_log_level: Arc::new(move |name, level| control.set(name, level)),
            };
            let config = ConfigModule::start(options, self.progress).await?;
            routes.merge(config.routes());
            (Some(config), guard)
        } else {
            (None, None)
        };
        let naming = if let Some(cp) = cp {
            let control = self.log_control.clone();
            let options = NamingOptions {
                settings: settings.naming.clone(),
                cp,
                labels: self.labels,
                check_params: settings.core.param_check,
                prometheus: settings.core.prometheus_discovery,
                self_address: format!("{self_ip}:{}", local_addr.port()),
                metrics: metrics.clone(),
                set_log_level: Arc::new(move |name, level| control.set(name, level)),
            };
            let naming = match NamingModule::start(options).await {
                Ok(naming) => naming,
                Err(error) => {
                    // They hold what its tasks wait for.
                    drop(routes);
                    if let Some(config) = config {
                        config.stop().await;
                    }
                    return Err(error.into());
                }
            };
            routes.merge(naming.routes());
            Some(naming)
        } else {
            None
        };
        // By now everything is read: a request that is accepted finds a server that is ready, until its database fails.
        // (An external one that is away keeps nobody from reading, so the server stays ready.)
        let (config_failed, naming_failed) = (database.failed(), naming_log.as_ref().map(NamingLog::failed));
        let readiness: console::ReadinessSource = Arc::new(move || {
            let is_failed = |failed: &Option<watch::Receiver<Option<String>>>| {
                failed.as_ref().is_some_and(|f| f.borrow().is_some())
            };
            match (is_failed(&config_failed), is_failed(&naming_failed)) {
                (false, false) => Ok(()),
                (true, false) => Err("config".to_owned()),
                (false, true) => Err("naming".to_owned()),
                (true, true) => Err("config,naming".to_owned()),
            }
        });
        if self.console {
            routes.merge(console::routes(ConsoleState {
                namespaces,
                state: state_source(&settings, local_addr),
                readiness: readiness.clone(),
                texts: Arc::new(ConsoleTexts::load(&data.root().join("conf"))),
            }));
        }
        routes.merge(actuator::routes(metrics.clone(), readiness));
        routes.merge(self.routes);
        let http = settings.http.clone();
        let dispatcher = Dispatcher::new(
            routes,
            DispatcherOptions {
                context_path: settings.server.context_path.clone(),
                bodies: BodyLimits::new(http.max_body_bytes as usize, http.max_bodies_bytes as usize, BODY_TIMEOUT),
                check_params: settings.core.param_check,
                auth: self.auth,
                metrics: metrics.clone(),
            },
        );
        let stop = watch::Sender::new(false);
        let drain = settings.server.shutdown_timeout;
        let serving = tokio::spawn(serve::serve(listener, dispatcher, http, stop.subscribe(), drain));
        Ok(NacosServer { local_addr, metrics, config, naming, naming_log, stop, serving, database, trace })
    }
}

/// Waits until a database says that it failed; for ever without one.
async fn first_failure(failed: Option<watch::Receiver<Option<String>>>) -> String {
    if let Some(mut failed) = failed
        && let Ok(reason) = failed.wait_for(Option::is_some).await
    {
        return reason.clone().unwrap_or_default();
    }
    std::future::pending().await
}

/// Refuses settings that would be silently not what they say.
fn refuse_unavailable(settings: &Settings, has_auth: bool, has_storage: bool) -> Result<(), StartError> {
    let refuse = |text: String| Err(StartError::NotAvailable(text));
    let from = |name: &str| settings.source(name).map(|source| format!(" ({source})")).unwrap_or_default();
    if settings.auth.enabled && !has_auth {
        return refuse(format!(
            "nacos.core.auth.enabled is set{}, but this version has no authentication yet: it would let everybody \
             in. Unset it to serve loopback alone, or compose a server with an auth plug-in",
            from("nacos.core.auth.enabled")
        ));
    }
    if !has_storage && database::is_embedded(&settings.storage) && !settings.storage.databases.is_empty() {
        // As Nacos does: the platform decides.
        tracing::warn!("db.url.0 has no effect without spring.sql.init.platform: data is in the embedded database");
    }
    if let Some(what) = cluster(settings) {
        return refuse(format!(
            "{what}, but this version runs standalone alone. Unset that, or set nacos.standalone=true"
        ));
    }
    Ok(())
}

/// What asks for a cluster: members named in any way, or `nacos.standalone=false` said in so many words, as Nacos'
/// container image says it by `MODE=cluster`.
fn cluster(settings: &Settings) -> Option<String> {
    if settings.cluster.standalone {
        return None;
    }
    let told = |name: &str| settings.source(name).map(|source| format!("{name} asks for a cluster ({source})"));
    let file = settings.server.home.join("conf").join("cluster.conf");
    let names_members = |text: String| {
        text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).any(|line| !line.is_empty())
    };
    if !settings.cluster.members.is_empty() {
        return told("nacos.member.list");
    }
    if std::fs::read_to_string(&file).is_ok_and(names_members) {
        return Some(format!("{} names members of a cluster", file.display()));
    }
    if settings.raw("nacos.core.member.lookup.type") == Some("address-server") {
        return told("nacos.core.member.lookup.type");
    }
    told("nacos.standalone")
}

fn start_trace(
    settings: &Settings,
    self_ip: &str,
    metrics: &Metrics,
) -> Result<(Trace, Option<nacos_config::trace::TraceGuard>), StartError> {
    if !settings.logs.trace {
        return Ok((Trace::disabled(), None));
    }
    let folder = settings.logs.path.clone();
    let options = nacos_config::trace::TraceOptions {
        folder: folder.clone(),
        max_file_bytes: settings.logs.max_file_bytes,
        max_files: settings.logs.max_files as u32,
        queue_max: settings.logs.max_waiting,
        self_ip: self_ip.to_owned(),
    };
    let (trace, guard) = Trace::start(options, metrics).map_err(|error| StartError::Logs(folder, error))?;
    Ok((trace, Some(guard)))
}

/// The address to show for this server: the one it listens on, loopback if it listens on all.
fn own_ip(listening: SocketAddr) -> String {
    let ip = listening.ip();
    if ip.is_unspecified() { "127.0.0.1".to_owned() } else { ip.to_string() }
}

/// What `/v1/console/server/state` shows (http-core reference, section 3).
fn state_source(settings: &Settings, addr: SocketAddr) -> console::StateSource {
    let config = &settings.config;
    let flag = |on: bool| Some(on.to_string());
    let number = |value: u64| Some(value.to_string());
    let state = vec![
        ("startup_mode", Some(if cluster(settings).is_some() { "cluster" } else { "standalone" }.to_owned())),
        ("function_mode", settings.raw("nacos.functionMode").filter(|mode| *mode != "all").map(str::to_owned)),
        ("server_port", Some(addr.port().to_string())),
        ("datasource_platform", Some(settings.storage.platform.clone())),
        ("auth_enabled", flag(settings.auth.enabled)),
        ("auth_system_type", Some("nacos".to_owned())),
        ("auth_admin_request", flag(false)),
        ("login_page_enabled", flag(settings.auth.enabled)),
        ("console_ui_enabled", flag(settings.server.console_ui)),
        ("config_retention_days", number(config.retention.as_secs() / 86_400)),
        ("plugin_datasource_log_enabled", flag(false)),
        ("isManageCapacity", flag(config.capacity.manage)),
        ("isCapacityLimitCheck", flag(config.capacity.limit_check)),
        ("defaultClusterQuota", number(config.capacity.cluster_quota.into())),
        ("defaultGroupQuota", number(config.capacity.group_quota.into())),
        ("defaultMaxSize", number(config.capacity.max_size.into())),
        ("defaultMaxAggrSize", number(config.capacity.max_aggr_size.into())),
        ("defaultMaxAggrCount", number(config.capacity.max_aggr_count.into())),
        ("maxContent", number(config.max_content as u64)),
        ("isHealthCheck", flag(config.notify.health_check)),
        ("maxHealthCheckFailCount", number(config.notify.max_health_check_fail_count.into())),
        ("notifyConnectTimeout", number(config.notify.connect_timeout.as_millis() as u64)),
        ("notifySocketTimeout", number(config.notify.socket_timeout.as_millis() as u64)),
    ];
    Arc::new(move || state.clone())
}
