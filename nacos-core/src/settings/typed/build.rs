//! The typed groups, filled from the entries.
//!
//! Every option is asked for on every load. A name or kind that the table does not have is therefore found by the
//! first test that loads anything.

use std::{collections::HashMap, net::IpAddr, path::PathBuf, time::Duration};

use super::{
    super::{
        error::Problem,
        option::OptionSpec,
        resolve::{Entry, is_blank},
        value::Value,
    },
    AuthSettings, CapacitySettings, ClusterSettings, ConfigSettings, CoreSettings, DatabaseSettings, DumpSettings,
    EmbeddedLimits, FunctionMode, HttpSettings, LogSettings, NamingSettings, NotifySettings, PeerIdentity,
    PoolSettings, SearchSettings, Secret, ServerSettings, StorageSettings, validate,
};

/// All groups.
pub(in super::super) struct Typed {
    pub(in super::super) server: ServerSettings,
    pub(in super::super) http: HttpSettings,
    pub(in super::super) logs: LogSettings,
    pub(in super::super) storage: StorageSettings,
    pub(in super::super) cluster: ClusterSettings,
    pub(in super::super) auth: AuthSettings,
    pub(in super::super) core: CoreSettings,
    pub(in super::super) config: ConfigSettings,
    pub(in super::super) naming: NamingSettings,
}

/// Makes the groups, and checks options against one another. Where an option is wrong its problem is there
/// already, and the group holds a value that nobody will see.
pub(in super::super) fn build(
    entries: &[Entry],
    specs: &[OptionSpec],
    warnings: &mut Vec<String>,
    problems: &mut Vec<Problem>,
) -> Typed {
    let wrong_before = !problems.is_empty();
    let mut reader = Reader::new(entries, specs, problems);
    let typed = Typed {
        server: server(&mut reader),
        http: http(&mut reader),
        logs: logs(&mut reader),
        storage: storage(&mut reader),
        cluster: cluster(&mut reader),
        auth: auth(&mut reader),
        core: core(&mut reader),
        config: config(&mut reader),
        naming: naming(&mut reader),
    };
    validate::check(&typed, &mut reader, warnings, wrong_before);
    typed
}

fn server(r: &mut Reader<'_>) -> ServerSettings {
    ServerSettings {
        home: r.path("nacos.home"),
        port: r.number("server.port"),
        address: r.address("server.address"),
        context_path: r.text("server.servlet.contextPath"),
        ip: r.some_text("nacos.server.ip"),
        allow_unauthenticated: r.flag("nacos.server.allow-unauthenticated"),
        shutdown_timeout: r.duration("nacos.server.shutdown-timeout-ms"),
        console_ui: r.flag("nacos.console.ui.enabled"),
    }
}

fn http(r: &mut Reader<'_>) -> HttpSettings {
    HttpSettings {
        max_connections: r.number("nacos.server.http.max-connections"),
        max_body_bytes: r.bytes("nacos.server.http.max-body-bytes"),
        max_bodies_bytes: r.bytes("nacos.server.http.max-bodies-bytes"),
        header_timeout: r.duration("nacos.server.http.header-timeout-ms"),
        idle_timeout: r.duration("nacos.server.http.idle-timeout-ms"),
        max_headers: r.number("nacos.server.http.max-headers"),
    }
}

fn logs(r: &mut Reader<'_>) -> LogSettings {
    LogSettings {
        path: r.path("nacos.logs.path"),
        max_file_bytes: r.bytes("nacos.logs.max-file-bytes"),
        max_files: r.number("nacos.logs.max-files"),
        trace: r.flag("nacos.logs.trace.enabled"),
        max_waiting: r.number("nacos.logs.trace.max-waiting"),
        level: r.level("nacos.log.level"),
    }
}

fn storage(r: &mut Reader<'_>) -> StorageSettings {
    let platform = r.text("spring.sql.init.platform");
    StorageSettings {
        platform: if is_blank(&platform) { String::new() } else { platform },
        embedded: r.flag("embeddedStorage"),
        limits: EmbeddedLimits {
            readers: r.number("nacos.storage.embedded.readers"),
            max_waiting_reads: r.number("nacos.storage.embedded.max-waiting-reads"),
            max_waiting_writes: r.number("nacos.storage.embedded.max-waiting-writes"),
            max_waiting_bytes: r.bytes("nacos.storage.embedded.max-waiting-bytes"),
        },
        pool: PoolSettings {
            max_connections: r.number("db.pool.config.maximumPoolSize"),
            connect_timeout: r.duration("db.pool.config.connectionTimeout"),
        },
        databases: databases(r),
    }
}

fn databases(r: &mut Reader<'_>) -> Vec<DatabaseSettings> {
    let wanted: u32 = r.number("db.num");
    let first_user = r.element("db.user", 0);
    let first_password = r.element("db.password", 0);
    let mut databases = Vec::new();
    for at in 0..wanted {
        let Some(url) = r.element("db.url", at) else {
            if r.count("db.url") > 0 {
                let wanted = r.shown("db.num");
                let missing = format!("{wanted} asks for more databases than there are: db.url.{at} is missing");
                r.problems.push(Problem::Clash(missing));
            }
            break;
        };
        let user = r.element("db.user", at).or_else(|| first_user.clone()).unwrap_or_default();
        let password = r.element("db.password", at).or_else(|| first_password.clone()).unwrap_or_default();
        databases.push(DatabaseSettings { url: Secret::new(url), user, password: Secret::new(password) });
    }
    databases
}

fn cluster(r: &mut Reader<'_>) -> ClusterSettings {
    let members = r.text("nacos.member.list");
    let members = members.split(|c: char| c == ',' || c.is_whitespace()).filter(|member| !member.is_empty());
    ClusterSettings {
        standalone: r.flag("nacos.standalone"),
        function_mode: match r.text("nacos.functionMode").as_str() {
            "config" => FunctionMode::Config,
            "naming" => FunctionMode::Naming,
            _ => FunctionMode::All,
        },
        members: members.map(str::to_owned).collect(),
    }
}

fn auth(r: &mut Reader<'_>) -> AuthSettings {
    let key = r.some_text("nacos.core.auth.server.identity.key");
    let value = r.some_text("nacos.core.auth.server.identity.value");
    AuthSettings {
        enabled: r.flag("nacos.core.auth.enabled"),
        peer_identity: key.zip(value).map(|(key, value)| PeerIdentity { key, value: Secret::new(value) }),
    }
}

fn core(r: &mut Reader<'_>) -> CoreSettings {
    let worker_id: i64 = r.number("nacos.core.snowflake.worker-id");
    CoreSettings {
        param_check: r.flag("nacos.core.param.check.enabled"),
        worker_id: u16::try_from(worker_id).ok(),
        prometheus_discovery: r.flag("nacos.prometheus.metrics.enabled"),
    }
}

fn naming(r: &mut Reader<'_>) -> NamingSettings {
    NamingSettings {
        expire_instances: r.flag("nacos.naming.expireInstance"),
        clean_services_interval: r.duration("nacos.naming.clean.empty-service.interval"),
        empty_service_expires: r.duration("nacos.naming.clean.empty-service.expired-time"),
        clean_metadata_interval: r.duration("nacos.naming.clean.expired-metadata.interval"),
        metadata_expires: r.duration("nacos.naming.clean.expired-metadata.expired-time"),
        push_window: r.duration("nacos.naming.push.pushTaskDelay"),
        client_expires: r.duration("nacos.naming.client.expired.time"),
        metadata_max: r.number("nacos.naming.service.metadata.length"),
    }
}

fn config(r: &mut Reader<'_>) -> ConfigSettings {
    ConfigSettings {
        max_content: r.number("maxContent"),
        retention: r.duration("nacos.config.retention.days"),
        cache_max_bytes: r.bytes("nacos.config.cache.max-bytes"),
        long_poll_max_held: r.number("nacos.config.long-poll.max-held"),
        search: SearchSettings {
            // Nacos cuts these two off silently too.
            max_capacity: r.number::<usize>("nacos.config.search.max_capacity").min(32),
            max_thread: r.number::<usize>("nacos.config.search.max_thread").min(16),
            wait_timeout: r.duration("nacos.config.search.wait_timeout"),
        },
        capacity: CapacitySettings {
            manage: r.flag("isManageCapacity"),
            limit_check: r.flag("isCapacityLimitCheck"),
            cluster_quota: r.number("defaultClusterQuota"),
            group_quota: r.number("defaultGroupQuota"),
            tenant_quota: r.number("defaultTenantQuota"),
            max_size: r.number("defaultMaxSize"),
            max_aggr_count: r.number("defaultMaxAggrCount"),
            max_aggr_size: r.number("defaultMaxAggrSize"),
        },
        dump: DumpSettings {
            change_on: r.flag("dumpChangeOn"),
            change_interval: r.duration("dumpChangeWorkerInterval"),
        },
        notify: NotifySettings {
            connect_timeout: r.duration("notifyConnectTimeout"),
            socket_timeout: r.duration("notifySocketTimeout"),
            health_check: r.flag("isHealthCheck"),
            max_health_check_fail_count: r.number("maxHealthCheckFailCount"),
        },
    }
}

/// Reads entries by name. What does not fit the table is a problem, never a panic.
pub(super) struct Reader<'a> {
    entries: HashMap<&'a str, &'a Entry>,
    specs: &'a [OptionSpec],
    pub(super) problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(entries: &'a [Entry], specs: &'a [OptionSpec], problems: &'a mut Vec<Problem>) -> Self {
        let entries = entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        Self { entries, specs, problems }
    }

    /// An option as it is to be named in a message: name, value, source.
    pub(super) fn shown(&self, name: &str) -> String {
        match self.entries.get(name) {
            Some(entry) if self.specs.get(entry.spec).is_some_and(|spec| spec.secret) => {
                format!("{name} ({})", entry.source)
            }
            Some(entry) => format!("{name}={} ({})", entry.text, entry.source),
            None => name.to_owned(),
        }
    }

    /// The element of a list, if it is set and not empty.
    pub(super) fn element(&self, list: &str, index: u32) -> Option<String> {
        let entry = self.entries.get(format!("{list}.{index}").as_str())?;
        (!entry.text.is_empty()).then(|| entry.text.clone())
    }

    /// Whether an option has a value that is not empty.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| !entry.text.is_empty())
    }

    /// How many elements of a list are set and not empty.
    pub(super) fn count(&self, list: &str) -> usize {
        let in_list = |entry: &&&Entry| self.specs.get(entry.spec).is_some_and(|spec| spec.name == list);
        self.entries.values().filter(in_list).filter(|entry| !entry.text.is_empty()).count()
    }

    fn value(&mut self, name: &str) -> Value {
        match self.entries.get(name) {
            Some(entry) => entry.value.clone(),
            None => {
                self.problems.push(Problem::Table(format!("{name} is not there")));
                Value::Nothing
            }
        }
    }

    fn unfit(&mut self, name: &str) {
        // An option without a value has been reported, or may be without one.
        if self.problems.is_empty() {
            self.problems.push(Problem::Table(format!("{name} is of another kind")));
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(flag) => flag,
            _ => {
                self.unfit(name);
                false
            }
        }
    }

    fn number<T: TryFrom<i64> + Default>(&mut self, name: &str) -> T {
        if let Value::Integer(number) = self.value(name)
            && let Ok(number) = T::try_from(number)
        {
            return number;
        }
        self.unfit(name);
        T::default()
    }

    fn duration(&mut self, name: &str) -> Duration {
        match self.value(name) {
            Value::Duration(duration) => duration,
            _ => {
                self.unfit(name);
                Duration::ZERO
            }
        }
    }

    fn bytes(&mut self, name: &str) -> u64 {
        match self.value(name) {
            Value::Bytes(bytes) => bytes,
            _ => {
                self.unfit(name);
                0
            }
        }
    }

    fn text(&mut self, name: &str) -> String {
        match self.value(name) {
            Value::Text(text) => text,
            Value::Nothing => String::new(),
            _ => {
                self.unfit(name);
                String::new()
            }
        }
    }

    fn some_text(&mut self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    fn path(&mut self, name: &str) -> PathBuf {
        PathBuf::from(self.text(name))
    }

    fn address(&mut self, name: &str) -> Option<IpAddr> {
        match self.value(name) {
            Value::Address(address) => Some(address),
            Value::Nothing => None,
            _ => {
                self.unfit(name);
                None
            }
        }
    }

    fn level(&mut self, name: &str) -> tracing::level_filters::LevelFilter {
        match self.text(name).parse() {
            Ok(level) => level,
            Err(_) => {
                self.unfit(name);
                tracing::level_filters::LevelFilter::INFO
            }
        }
    }
}
