//! The settings that act, typed and in groups. Plain data: who uses a group says what its values do.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use tracing::level_filters::LevelFilter;

mod build;
mod validate;

pub(super) use build::{Typed, build};

/// A text that must not be shown. `Debug` masks it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Takes a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Never to be logged.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "***" })
    }
}

/// Addresses, folders, start and stop.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// `nacos.home`: the data folder.
    pub home: PathBuf,
    /// `server.port`; 0 for any free port.
    pub port: u16,
    /// `server.address`, if it is set; see [`Settings::listen_addr`](super::Settings::listen_addr).
    pub address: Option<IpAddr>,
    /// `server.servlet.contextPath`: empty, or beginning with `/` and not ending with it.
    pub context_path: String,
    /// `nacos.server.ip`: the address that members and clients are told, if it is not to be detected.
    pub ip: Option<String>,
    /// `nacos.server.allow-unauthenticated`: may be reached from other hosts though anyone may call.
    pub allow_unauthenticated: bool,
    /// `nacos.server.shutdown-timeout-ms`: how long a stop waits for what is under way.
    pub shutdown_timeout: Duration,
    /// `nacos.console.ui.enabled`.
    pub console_ui: bool,
}

/// Limits of the HTTP port.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// `nacos.server.http.max-connections`: connections open at once.
    pub max_connections: usize,
    /// `nacos.server.http.max-body-bytes`: the largest body of one request.
    pub max_body_bytes: u64,
    /// `nacos.server.http.max-bodies-bytes`: all bodies being read at once; never under `max_body_bytes`.
    pub max_bodies_bytes: u64,
    /// `nacos.server.http.header-timeout-ms`: from the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// `nacos.server.http.idle-timeout-ms`: how long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// `nacos.server.http.max-headers`: headers of one request.
    pub max_headers: usize,
}

/// Log files, and the log on standard error.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// `nacos.logs.path`: the folder of the log files.
    pub path: PathBuf,
    /// `nacos.logs.max-file-bytes`: the size at which a file is rolled.
    pub max_file_bytes: u64,
    /// `nacos.logs.max-files`: how many rolled files are kept of each log.
    pub max_files: usize,
    /// `nacos.logs.trace.enabled`: whether the trace, pull and notify logs are written.
    pub trace: bool,
    /// `nacos.logs.trace.max-waiting`: lines of these that wait to be written.
    pub max_waiting: usize,
    /// `nacos.log.level`: the least severe level on standard error.
    pub level: LevelFilter,
}

/// Which database holds the data.
#[derive(Debug, Clone)]
pub struct StorageSettings {
    /// `spring.sql.init.platform`: empty for the embedded one.
    pub platform: String,
    /// `embeddedStorage`: a cluster replicates its embedded databases.
    pub embedded: bool,
    /// `nacos.storage.embedded.*`: limits of the embedded database.
    pub limits: EmbeddedLimits,
    /// `db.pool.config.*`: connections to the external database.
    pub pool: PoolSettings,
    /// `db.*`: the external databases in their order; empty if none is set.
    pub databases: Vec<DatabaseSettings>,
}

/// Limits of the embedded database.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedLimits {
    /// `nacos.storage.embedded.readers`: queries that run at once.
    pub readers: usize,
    /// `nacos.storage.embedded.max-waiting-reads`: queries that wait to run.
    pub max_waiting_reads: usize,
    /// `nacos.storage.embedded.max-waiting-writes`: writes that wait for the disk.
    pub max_waiting_writes: usize,
    /// `nacos.storage.embedded.max-waiting-bytes`: what these may take.
    pub max_waiting_bytes: u64,
}

/// Connections to the external database.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// `db.pool.config.maximumPoolSize`: connections for reading.
    pub max_connections: u32,
    /// `db.pool.config.connectionTimeout`: how long one is waited for.
    pub connect_timeout: Duration,
}

/// One external database.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `db.url.N`, which may hold a password.
    pub url: Secret,
    /// `db.user.N`, else `db.user.0`.
    pub user: String,
    /// `db.password.N`, else `db.password.0`.
    pub password: Secret,
}

/// Which half of the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionMode {
    /// Both.
    All,
    /// Configuration management only.
    Config,
    /// Service discovery only.
    Naming,
}

/// Whether this is a member of a cluster, and of which.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// `nacos.standalone`: alone, whatever else names members.
    pub standalone: bool,
    /// `nacos.functionMode`.
    pub function_mode: FunctionMode,
    /// `nacos.member.list`: the members as they were written (`host[:port][?raft_port=…]`); empty if not set.
    pub members: Vec<String>,
}

/// Who may call.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// `nacos.core.auth.enabled`: callers must be known. Without a plug-in that checks them a server must refuse
    /// to start, not serve openly.
    pub enabled: bool,
    /// `nacos.core.auth.server.identity.*`: the header by which members know one another.
    pub peer_identity: Option<PeerIdentity>,
}

/// The header by which members of a cluster know one another.
#[derive(Debug, Clone)]
pub struct PeerIdentity {
    /// `nacos.core.auth.server.identity.key`: the header's name.
    pub key: String,
    /// `nacos.core.auth.server.identity.value`: its value.
    pub value: Secret,
}

/// What all modules share.
#[derive(Debug, Clone)]
pub struct CoreSettings {
    /// `nacos.core.param.check.enabled`: the filter of lengths and alphabets before the handlers.
    pub param_check: bool,
    /// `nacos.core.snowflake.worker-id`, 0 to 1023; `None` to take it from the stored node id.
    pub worker_id: Option<u16>,
    /// `nacos.prometheus.metrics.enabled`: the list of instances for Prometheus at `/prometheus`.
    pub prometheus_discovery: bool,
}

/// Configuration management.
#[derive(Debug, Clone)]
pub struct ConfigSettings {
    /// `maxContent`: the longest content, in characters as Java counts them (UTF-16 units).
    pub max_content: usize,
    /// `nacos.config.retention.days`: how long history is kept.
    pub retention: Duration,
    /// `nacos.config.cache.max-bytes`: contents held in memory.
    pub cache_max_bytes: u64,
    /// `nacos.config.long-poll.max-held`: long polls held at once.
    pub long_poll_max_held: usize,
    /// The search by content.
    pub search: SearchSettings,
    /// Quotas.
    pub capacity: CapacitySettings,
    /// The periodic check of changed rows.
    pub dump: DumpSettings,
    /// Telling other members of a change.
    pub notify: NotifySettings,
}

/// Service discovery.
#[derive(Debug, Clone)]
pub struct NamingSettings {
    /// `nacos.naming.expireInstance`: instances whose heartbeats stay away are removed.
    pub expire_instances: bool,
    /// `nacos.naming.clean.empty-service.interval`: how often empty services are looked for.
    pub clean_services_interval: Duration,
    /// `nacos.naming.clean.empty-service.expired-time`: how long a service stays though nobody is in it.
    pub empty_service_expires: Duration,
    /// `nacos.naming.clean.expired-metadata.interval`: how often metadata without an owner are looked for.
    pub clean_metadata_interval: Duration,
    /// `nacos.naming.clean.expired-metadata.expired-time`: how long metadata outlive their owner.
    pub metadata_expires: Duration,
    /// `nacos.naming.push.pushTaskDelay`: after a push, the service's next one waits this long and bears all that
    /// changed meanwhile.
    pub push_window: Duration,
    /// `nacos.naming.client.expired.time`: how long a client may be silent.
    pub client_expires: Duration,
    /// `nacos.naming.service.metadata.length`: the longest metadata, names and values together.
    pub metadata_max: usize,
}

/// The search by content.
#[derive(Debug, Clone)]
pub struct SearchSettings {
    /// `nacos.config.search.max_capacity`: searches that may wait; at most 32, as in Nacos.
    pub max_capacity: usize,
    /// `nacos.config.search.max_thread`: searches at once; at most 16, as in Nacos.
    pub max_thread: usize,
    /// `nacos.config.search.wait_timeout`: how long a caller waits.
    pub wait_timeout: Duration,
}

/// Quotas of namespaces and groups, and what they are unless set for one.
#[derive(Debug, Clone)]
pub struct CapacitySettings {
    /// `isManageCapacity`: use is counted.
    pub manage: bool,
    /// `isCapacityLimitCheck`: what is over a quota is refused.
    pub limit_check: bool,
    /// `defaultClusterQuota`: configurations of the whole cluster.
    pub cluster_quota: u32,
    /// `defaultGroupQuota`: configurations of a group.
    pub group_quota: u32,
    /// `defaultTenantQuota`: configurations of a namespace.
    pub tenant_quota: u32,
    /// `defaultMaxSize`: bytes of one content.
    pub max_size: u32,
    /// `defaultMaxAggrCount`: parts of an aggregated configuration.
    pub max_aggr_count: u32,
    /// `defaultMaxAggrSize`: bytes of one part.
    pub max_aggr_size: u32,
}

/// The periodic check of changed rows.
#[derive(Debug, Clone)]
pub struct DumpSettings {
    /// `dumpChangeOn`: whether it runs.
    pub change_on: bool,
    /// `dumpChangeWorkerInterval`: how long it rests between two runs.
    pub change_interval: Duration,
}

/// Telling other members of a change.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// `notifyConnectTimeout`.
    pub connect_timeout: Duration,
    /// `notifySocketTimeout`.
    pub socket_timeout: Duration,
    /// `isHealthCheck`: members that fail are left out.
    pub health_check: bool,
    /// `maxHealthCheckFailCount`: how many failures in a row that takes.
    pub max_health_check_fail_count: u32,
}
