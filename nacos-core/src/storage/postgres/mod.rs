//! The external database: Postgres, shared by any number of servers.
//!
//! Writes go through one connection of each server, which takes all batches that wait, runs each in a savepoint of its
//! own within one transaction, and commits: one round trip of the disk for as many as came while the last one lasted.
//! An advisory lock makes the transactions of all servers stand in one line, so that batches see one another as they
//! do in the embedded database, and positions (from a sequence, drawn under the lock) grow in the order of commits.
//!
//! Reads use a pool. What a write changed for others ([`Batch::changed`]) is sent by `NOTIFY` in its own transaction
//! and arrives at every other server by `LISTEN` ([`DatabaseOperate::changes`]).
//!
//! A connection that breaks before `COMMIT` was sent is made anew and the transaction tried again; one that breaks
//! after that is [`StorageError::Unconfirmed`]. While no server can be reached, writes and reads are
//! [`StorageError::Unavailable`] at once; it is looked for all the while.

mod connect;
mod dialect;
mod function;
mod listen;
mod migrate;
mod take_over;
mod url;
mod values;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use sqlx::{
    Executor as _, Statement as _,
    postgres::{PgArguments, PgConnection, PgPool, PgPoolOptions},
    query::Query as SqlxQuery,
};
use tokio::{
    sync::{
        Notify, Semaphore, broadcast,
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    task::JoinHandle,
};

pub use self::url::{Server as PostgresServer, UrlError, servers as postgres_servers};
use self::{
    connect::{ANSWER_TIMEOUT, ConnectError, Failure},
    dialect::{Numbered, translated},
    values::Bound,
    writer::Writer,
};
use crate::id::Ids;

use super::{
    Batch, Change, Committed, DatabaseOperate, Position, Query, Rows, StorageError, Value,
    group::{Held, Job, Order},
    schema,
};

/// Changes of other servers that may wait to be taken; whoever falls behind is told that it missed some.
const CHANGES_MAX: usize = 4096;

/// A read that waits longer for its connection has the writer look whether the database is there.
const SUSPICIOUS: Duration = Duration::from_millis(250);

/// Where the database is, and the limits of its use.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The servers, tried in this order; the first that takes writes is used. At least one.
    pub servers: Vec<PostgresServer>,
    /// Most connections for reading at once; one for writing and one that listens come on top. Default 20.
    pub max_connections: u32,
    /// Longest wait for a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// Most batches that wait to be written. Default 8192.
    pub max_waiting: usize,
    /// Most bytes of their texts. A batch that comes when none waits is let in whatever its size. Default 256 MiB.
    pub max_waiting_bytes: usize,
    /// Ids whose worker no other server on this database may be: the first free one from theirs on is claimed with
    /// every connection, and given back with it. Default: none.
    pub ids: Option<Arc<Ids>>,
}

impl PostgresOptions {
    /// These servers, with the defaults.
    pub fn new(servers: Vec<PostgresServer>) -> Self {
        Self {
            servers,
            max_connections: 20,
            connect_timeout: Duration::from_secs(5),
            max_waiting: 8192,
            max_waiting_bytes: 256 << 20,
            ids: None,
        }
    }
}

/// Why the database cannot be used; waiting would not help. The text tells the operator what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// It will not let us in, or there is none.
    #[error("the database refused the connection: {0}; mind db.url, db.user and db.password")]
    Refused(String),
    /// A later version of this program has changed the tables. Nothing was touched.
    #[error(
        "the tables were written by a newer version of this server (their schema is {found}, this version knows \
         {known}); start that version, or restore a copy from before the upgrade"
    )]
    NewerVersion {
        /// The number of the last migration found.
        found: u32,
        /// The number of the last migration in this program.
        known: u32,
    },
    /// There are tables of these names that are not Nacos'. Nothing was touched.
    #[error(
        "the database holds tables that are neither this server's nor those of Nacos' plug-in for PostgreSQL; give it \
         an empty schema (currentSchema in db.url), or mend what differs:\n{}", .0.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n")
    )]
    UnknownSchema(Vec<String>),
    /// The tables cannot be made or changed.
    #[error("the tables cannot be made: {0}")]
    Migration(String),
}

/// Whether the database is there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// It is.
    Ready,
    /// It is not, and why.
    Away(String),
}

struct Shared {
    options: PostgresOptions,
    /// What this server is called in notifications, so that it knows its own.
    node: String,
    /// The last position that is known to be committed.
    known: Arc<AtomicU64>,
    reach: watch::Sender<Reach>,
    /// A connection other than the writer's broke: the writer looks whether its own still answers.
    doubt: Notify,
    /// Connections for reading, to the server in use.
    pool: RwLock<PgPool>,
    /// Which server that is.
    at: AtomicUsize,
    changes: broadcast::Sender<Change>,
}

/// The external database. The head of its module says how it works.
pub struct PostgresDatabaseOperate {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Order>,
    waiting_bytes: Arc<AtomicUsize>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl PostgresDatabaseOperate {
    /// Connects, brings the schema up to date, and starts writing and listening. Where no server can be reached now,
    /// it is looked for further on: see [`reach`](Self::reach).
    ///
    /// # Errors
    /// [`PostgresError`]; nothing is left running.
    pub async fn open(options: PostgresOptions) -> Result<Self, PostgresError> {
        let known = Arc::new(AtomicU64::new(Position::UNKNOWN.0));
        let shared = Arc::new(Shared {
            pool: RwLock::new(pool(&options, 0)),
            node: node(),
            known,
            reach: watch::Sender::new(Reach::Away("not connected yet".to_owned())),
            doubt: Notify::new(),
            at: AtomicUsize::new(0),
            changes: broadcast::Sender::new(CHANGES_MAX),
            options,
        });
        let mut writer = Writer::new(shared.clone());
        if let Err(writer::Unready::Refused(error)) = writer.connect().await {
            return Err(error);
        }
        let (queue, orders) = mpsc::channel(shared.options.max_waiting.clamp(1, Semaphore::MAX_PERMITS));
        let tasks = vec![tokio::spawn(writer.run(orders)), tokio::spawn(listen::run(shared.clone()))];
        Ok(Self { shared, queue, waiting_bytes: Arc::default(), tasks: Mutex::new(tasks) })
    }

    /// Tells whether the database is there, and when that changes.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.shared.reach.subscribe()
    }

    /// Batches that wait to be written, for a metric.
    pub fn waiting_writes(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Finishes what waits and closes all connections. What comes later is [`StorageError::Unavailable`].
    pub async fn close(&self) {
        let _ = self.queue.send(Order::Stop).await;
        let mut tasks = std::mem::take(&mut *self.tasks.lock()).into_iter();
        if let Some(writer) = tasks.next() {
            let _ = writer.await;
        }
        tasks.for_each(|task| task.abort());
        let pool = self.shared.pool.read().clone();
        pool.close().await;
    }

    async fn read_once(&self, query: &Query, sql: &str) -> Result<Vec<Vec<Value>>, Failure> {
        let pool = self.shared.pool.read().clone();
        let mut acquiring = std::pin::pin!(pool.acquire());
        let acquired = match tokio::time::timeout(SUSPICIOUS, &mut acquiring).await {
            Ok(acquired) => acquired,
            Err(_) => {
                self.shared.doubt.notify_one();
                acquiring.await
            }
        };
        let mut conn = acquired.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => Failure::Statement(StorageError::Busy),
            error => Failure::Session(connect::text(&error)),
        })?;
        let outcome = answered(async {
            let (bound, columns) = bound(&mut conn, sql, &query.args).await?;
            if columns == 0 {
                let told = "the query is no reading statement".to_owned();
                return Err(Failure::Statement(StorageError::Refused(told)));
            }
            let rows = bound.fetch_all(&mut *conn).await.map_err(of_reading)?;
            rows.iter().map(|row| values::read(row).map_err(Failure::Statement)).collect()
        })
        .await;
        if let Err(Failure::Session(_)) = &outcome {
            // Not to be handed to the next.
            drop(conn.detach());
        }
        outcome
    }
}

impl Drop for PostgresDatabaseOperate {
    fn drop(&mut self) {
        // The writer ends with its queue, after what waits in it.
        for task in self.tasks.get_mut().iter().skip(1) {
            task.abort();
        }
    }
}

#[async_trait]
impl DatabaseOperate for PostgresDatabaseOperate {
    async fn execute(&self, batch: Batch) -> Result<Committed, StorageError> {
        if batch.statements.is_empty() {
            let position = Position(self.shared.known.load(Ordering::Acquire));
            return Ok(Committed { touched: Vec::new(), position });
        }
        self.shared.is_ready()?;
        let held =
            Held::take(&batch, &self.waiting_bytes, self.shared.options.max_waiting_bytes).ok_or(StorageError::Busy)?;
        let (answer, outcome) = oneshot::channel();
        self.queue.try_send(Order::Run(Job { batch, held, answer })).map_err(|refused| match refused {
            TrySendError::Full(_) => StorageError::Busy,
            TrySendError::Closed(_) => StorageError::Unavailable("it is closed".into()),
        })?;
        outcome.await.unwrap_or_else(|_| Err(StorageError::Unconfirmed("the writing task broke off".into())))
    }

    async fn query(&self, query: Query) -> Result<Rows, StorageError> {
        let mut reach = self.shared.reach.subscribe();
        let sql = translated(&query.sql, &Numbered);
        // What is known to be committed now, the snapshot of a statement that begins later holds.
        let position = Position(self.shared.known.load(Ordering::Acquire));
        let mut tries = 0;
        loop {
            tries += 1;
            // Who waits for an answer of a database that is away by now would wait for long.
            let outcome = tokio::select! {
                biased;
                away = reach.wait_for(|reach| *reach != Reach::Ready) => match away.as_deref() {
                    Ok(Reach::Away(why)) => return Err(StorageError::Unavailable(why.clone())),
                    _ => return Err(StorageError::Unavailable("it is closed".into())),
                },
                outcome = self.read_once(&query, &sql) => outcome,
            };
            if let Err(Failure::Session(_)) = &outcome {
                self.shared.doubt.notify_one();
            }
            match outcome {
                Ok(rows) => return Ok(Rows { rows, position }),
                Err(Failure::Statement(error)) => return Err(error),
                // A read can be tried again whatever happened; idle connections break all at once.
                Err(Failure::Collision(_) | Failure::Session(_)) if tries <= self.shared.options.max_connections => {}
                Err(Failure::Collision(told) | Failure::Session(told)) => return Err(StorageError::Unavailable(told)),
            }
        }
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        Some(self.shared.changes.subscribe())
    }
}

impl Shared {
    fn is_ready(&self) -> Result<(), StorageError> {
        match &*self.reach.borrow() {
            Reach::Ready => Ok(()),
            Reach::Away(why) => Err(StorageError::Unavailable(why.clone())),
        }
    }

    /// Takes note of a committed position.
    fn reached(&self, position: Position) {
        self.known.fetch_max(position.0, Ordering::AcqRel);
    }

    /// The database is there, at this server.
    fn found(&self, at: usize) {
        if self.at.swap(at, Ordering::AcqRel) != at {
            *self.pool.write() = pool(&self.options, at);
        }
        if self.reach.send_replace(Reach::Ready) != Reach::Ready {
            tracing::info!(server = %self.options.servers[at], "the database is there");
        }
    }

    fn lost(&self, why: &str) {
        let away = Reach::Away(why.to_owned());
        if matches!(self.reach.send_replace(away), Reach::Ready) {
            tracing::error!(why, "the database is away: reads are answered from memory and disk copies");
        }
    }

    async fn connect(&self) -> Result<(PgConnection, usize), ConnectError> {
        let first = self.at.load(Ordering::Acquire);
        connect::connect(&self.options.servers, first, self.options.connect_timeout).await
    }
}

fn pool(options: &PostgresOptions, at: usize) -> PgPool {
    PgPoolOptions::new()
        .max_connections(options.max_connections)
        .acquire_timeout(options.connect_timeout)
        .idle_timeout(Duration::from_secs(600))
        // A connection that broke is noticed by its use, which is tried again; asking before would double the trips.
        .test_before_acquire(false)
        .after_connect(|conn, _| {
            Box::pin(async move {
                connect::set_up(conn).await?;
                conn.execute(sqlx::raw_sql("SET default_transaction_read_only = on")).await.map(drop)
            })
        })
        .connect_lazy_with(options.servers[at].options.clone())
}

/// A name for this process among all that share the database.
fn node() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// A statement with its arguments, each as the server wants it, and the number of columns that it answers. The server
/// is asked what it wants once a connection.
async fn bound<'q>(
    conn: &mut PgConnection,
    sql: &str,
    args: &[Value],
) -> Result<(SqlxQuery<'q, sqlx::Postgres, PgArguments>, usize), Failure> {
    let prepared = conn.prepare(sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(sql.to_owned()))).await?;
    let types = prepared.parameters().and_then(|either| either.left()).unwrap_or_default();
    if types.len() != args.len() {
        let told = format!("the statement has {} parameters, and got {}", types.len(), args.len());
        return Err(Failure::Statement(StorageError::Refused(told)));
    }
    let mut bound = PgArguments::default();
    for (value, info) in args.iter().zip(types) {
        let value = Bound::new(value, info).map_err(Failure::Statement)?;
        sqlx::Arguments::add(&mut bound, value)
            .map_err(|error| Failure::Statement(StorageError::Refused(error.to_string())))?;
    }
    Ok((sqlx::query_with(sqlx::AssertSqlSafe(sql.to_owned()), bound), prepared.columns().len()))
}

/// What an error of a reading statement means. Its session is set to write nothing, whatever the server would.
fn of_reading(error: sqlx::Error) -> Failure {
    match connect::code(&error).as_deref() {
        Some("25006") => Failure::Statement(StorageError::Refused(connect::text(&error))),
        _ => error.into(),
    }
}

/// The outcome, unless the server keeps silent for too long.
async fn answered<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let silent = |_| Err(Failure::Session("no answer from the database".to_owned()));
    tokio::time::timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(silent)
}

/// The number of the schema that this program makes.
fn known_schema() -> u32 {
    schema::latest(schema::MIGRATIONS)
}
