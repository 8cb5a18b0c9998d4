//! Which database a server keeps its data in: the embedded one, an external one, or one of the composer's own.

use std::{fmt, path::PathBuf, sync::Arc};

use nacos_core::{
    consistency::{CpProtocol, StandaloneOptions, StandaloneProtocol},
    id::Ids,
    metrics::Metrics,
    settings::{Settings, StorageSettings},
    storage::{
        DatabaseOperate, LocalDatabaseOperate, LocalOptions, PostgresDatabaseOperate, PostgresOptions, Reach,
        postgres_servers, schema,
    },
};
use tokio::sync::watch;

use crate::{DataDir, StartError};

/// The database of a running server.
pub(crate) enum Database {
    /// SQLite in the data folder.
    Embedded(Arc<LocalDatabaseOperate>),
    /// Postgres, and where it is.
    Postgres(Arc<PostgresDatabaseOperate>, String),
    /// What a composed server was given.
    Own(Arc<dyn DatabaseOperate>),
}

/// What service discovery must not lose, of a server without others: a log in a database of its own in the data folder,
/// wherever configurations are. So services are found while an external database is away, as with Nacos.
pub(crate) struct NamingLog {
    database: Arc<LocalDatabaseOperate>,
    protocol: Arc<StandaloneProtocol>,
}

impl NamingLog {
    pub(crate) async fn open(settings: &Settings, path: PathBuf, metrics: &Metrics) -> Result<Self, StartError> {
        let database = open_local(settings, path, schema::CONSISTENCY).await?;
        let protocol = StandaloneProtocol::new(database.clone(), StandaloneOptions::default(), metrics);
        Ok(Self { database, protocol: Arc::new(protocol) })
    }

    /// For those who write.
    pub(crate) fn protocol(&self) -> Arc<dyn CpProtocol> {
        self.protocol.clone()
    }

    /// Tells when it is out of service for good, and why.
    pub(crate) fn failed(&self) -> watch::Receiver<Option<String>> {
        self.database.failed()
    }

    /// Finishes what waits and closes it.
    pub(crate) async fn close(self) {
        self.protocol.stop().await;
        drop(self.protocol);
        let database = self.database;
        drop(tokio::task::spawn_blocking(move || drop(database)).await);
    }
}

/// Whether the settings leave the data in the embedded database.
pub(crate) fn is_embedded(storage: &StorageSettings) -> bool {
    let platform = storage.platform.trim();
    platform.is_empty() || platform.eq_ignore_ascii_case("derby")
}

impl Database {
    /// Opens the one that the settings name; `path` is for the embedded one, and `ids` get a worker of
    /// their own on the external one.
    pub(crate) async fn open(settings: &Settings, path: PathBuf, ids: &Arc<Ids>) -> Result<Self, StartError> {
        if is_embedded(&settings.storage) {
            return Ok(Self::Embedded(local(settings, path).await?));
        }
        let platform = settings.storage.platform.trim();
        if !["postgresql", "postgres"].iter().any(|known| platform.eq_ignore_ascii_case(known)) {
            return Err(StartError::NotAvailable(format!(
                "spring.sql.init.platform is {platform}{}, but of external databases this server knows postgresql \
                 alone; unset it to keep data in the embedded database",
                from(settings, "spring.sql.init.platform")
            )));
        }
        // A worker that an operator chose is kept.
        let ids = settings.core.worker_id.is_none().then(|| ids.clone());
        let options = PostgresOptions { ids, ..postgres_options(settings)? };
        let shown: Vec<String> = options.servers.iter().map(ToString::to_string).collect();
        let database = PostgresDatabaseOperate::open(options).await?;
        Ok(Self::Postgres(Arc::new(database), shown.join(", ")))
    }

    /// For those who read and write.
    pub(crate) fn operate(&self) -> Arc<dyn DatabaseOperate> {
        match self {
            Self::Embedded(database) => database.clone(),
            Self::Postgres(database, _) => database.clone(),
            Self::Own(database) => database.clone(),
        }
    }

    /// Tells when it is out of service for good, and why.
    pub(crate) fn failed(&self) -> Option<watch::Receiver<Option<String>>> {
        match self {
            Self::Embedded(database) => Some(database.failed()),
            Self::Postgres(..) | Self::Own(_) => None,
        }
    }

    /// Shows how much waits for it and whether it is there, as `nacos_monitor{module="core"}`.
    pub(crate) fn show(&self, metrics: &Metrics) {
        let gauge = |name: &str| metrics.monitor("core", name);
        match self {
            Self::Embedded(database) => {
                let (writes, reads) = (gauge("databaseWaitingWrites"), gauge("databaseWaitingReads"));
                let database = Arc::downgrade(database);
                metrics.before_render(move || {
                    if let Some(database) = database.upgrade() {
                        writes.set(database.waiting_writes() as i64);
                        reads.set(database.waiting_reads() as i64);
                    }
                });
            }
            Self::Postgres(database, _) => {
                let (writes, away) = (gauge("databaseWaitingWrites"), gauge("databaseAway"));
                let database = Arc::downgrade(database);
                metrics.before_render(move || {
                    if let Some(database) = database.upgrade() {
                        writes.set(database.waiting_writes() as i64);
                        away.set(i64::from(*database.reach().borrow() != Reach::Ready));
                    }
                });
            }
            Self::Own(_) => {}
        }
    }

    /// Finishes what waits and closes it.
    pub(crate) async fn close(self) {
        match self {
            // Closing waits for the disk.
            Self::Embedded(database) => drop(tokio::task::spawn_blocking(move || drop(database)).await),
            Self::Postgres(database, _) => database.close().await,
            Self::Own(_) => {}
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(_) => f.write_str("embedded SQLite"),
            Self::Postgres(_, at) => write!(f, "PostgreSQL at {at}"),
            Self::Own(_) => f.write_str("a storage of its own"),
        }
    }
}

/// Opens the embedded database of the data folder, for a program that moves its data. It is locked meanwhile.
///
/// # Errors
/// [`StartError`].
pub async fn open_embedded(settings: &Settings) -> Result<Arc<LocalDatabaseOperate>, StartError> {
    let data = DataDir::open(&settings.server.home)?;
    local(settings, data.database()).await
}

/// Opens the Postgres that the settings name, whatever the platform is, for a program that moves its data.
///
/// # Errors
/// [`StartError`], also if it is away.
pub async fn open_postgres(settings: &Settings) -> Result<Arc<PostgresDatabaseOperate>, StartError> {
    let database = PostgresDatabaseOperate::open(postgres_options(settings)?).await?;
    let reach = database.reach().borrow().clone();
    match reach {
        Reach::Away(why) => Err(StartError::NotAvailable(format!("the database that db.url names is away: {why}"))),
        _ => Ok(Arc::new(database)),
    }
}

async fn local(settings: &Settings, path: PathBuf) -> Result<Arc<LocalDatabaseOperate>, StartError> {
    open_local(settings, path, schema::MIGRATIONS).await
}

async fn open_local(
    settings: &Settings,
    path: PathBuf,
    tables: &'static [schema::Migration],
) -> Result<Arc<LocalDatabaseOperate>, StartError> {
    let limits = settings.storage.limits;
    let options = LocalOptions {
        max_waiting: limits.max_waiting_writes,
        max_waiting_bytes: limits.max_waiting_bytes as usize,
        readers: limits.readers,
        max_waiting_reads: limits.max_waiting_reads,
        ..LocalOptions::new(path)
    };
    let opened = tokio::task::spawn_blocking(move || LocalDatabaseOperate::open_with(options, tables)).await;
    let broken = |_| StartError::NotAvailable("opening the database broke; the log has more".to_owned());
    Ok(Arc::new(opened.map_err(broken)??))
}

/// Where an option was set, in brackets.
fn from(settings: &Settings, name: &str) -> String {
    settings.source(name).map(|source| format!(" ({source})")).unwrap_or_default()
}

/// Nacos names the external database by `db.*`.
fn postgres_options(settings: &Settings) -> Result<PostgresOptions, StartError> {
    let refuse = |text: String| Err(StartError::NotAvailable(text));
    let storage = &settings.storage;
    let mut servers = Vec::new();
    for (at, database) in storage.databases.iter().enumerate() {
        match postgres_servers(database.url.expose(), &database.user, database.password.expose()) {
            Ok(named) => servers.extend(named),
            Err(error) => {
                let name = format!("db.url.{at}");
                return refuse(format!("{name}{} cannot be used: {error}", from(settings, &name)));
            }
        }
    }
    if servers.is_empty() {
        return refuse("the database is to be PostgreSQL, but db.url.0 names no database".to_owned());
    }
    Ok(PostgresOptions {
        max_connections: storage.pool.max_connections,
        connect_timeout: storage.pool.connect_timeout,
        max_waiting: storage.limits.max_waiting_writes,
        max_waiting_bytes: storage.limits.max_waiting_bytes as usize,
        ..PostgresOptions::new(servers)
    })
}
