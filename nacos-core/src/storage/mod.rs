//! What is stored, and the one trait that every storage backend implements.
//!
//! A backend knows statements, not configurations: [`DatabaseOperate::execute`] applies a [`Batch`] all or
//! nothing, [`DatabaseOperate::query`] reads. The SQL is portable between SQLite and Postgres: parameters
//! are written `?1`, `?2` …; no clock, no random function and no auto-increment value stands in a statement
//! that writes, because replicas apply the same batch and must agree. The caller binds such values. `LIKE` names
//! its escape character, `LIKE ?1 ESCAPE '\'`: the dialects disagree on whether there is one without that.
//!
//! Used by the repositories of the domain crates; they own the statements, this module owns how they run.
//! The schema of all tables is in [`schema`].

pub mod schema;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod group;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use tokio::sync::broadcast;

#[cfg(feature = "postgres")]
pub use postgres::{
    PostgresDatabaseOperate, PostgresError, PostgresOptions, PostgresServer, Reach, UrlError, postgres_servers,
};
#[cfg(feature = "sqlite")]
pub use sqlite::{LocalDatabaseOperate, LocalOptions, OpenError};

/// A value bound to a statement, or read from a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A 64-bit integer.
    Int(i64),
    /// Text in UTF-8. Shared, because a content of 10 MiB goes to cache and storage alike. U+0000 in it may be
    /// [refused](StorageError::Refused): Postgres has no place for it.
    Text(Arc<str>),
    /// A point in time, in milliseconds since 1970 UTC. An integer column in SQLite, a timestamp in Postgres.
    /// SQLite reads it back as [`Value::Int`]: take it by [`as_int`](Value::as_int).
    Time(i64),
}

impl Value {
    /// The integer or time, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) | Value::Time(n) => Some(*n),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&Arc<str>> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(value: Arc<str>) -> Self {
        Value::Text(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// A statement that writes, registered in code.
///
/// A Raft log carries `id`, `version` and the arguments, never SQL text: so a rolling upgrade cannot make
/// replicas differ, and nobody can send SQL. A changed text gets a new version; both are kept as long as
/// logs may hold the older one.
#[derive(Debug)]
pub struct StatementDef {
    /// Unique among all statements, for ever: `config.upsert`, `namespace.delete`.
    pub id: &'static str,
    /// Counts changes of `sql` under this id, from 1.
    pub version: u16,
    /// Portable SQL with parameters `?1`, `?2` ….
    pub sql: &'static str,
}

/// A registered statement with its arguments, and what it demands.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Which statement.
    pub def: &'static StatementDef,
    /// Bound to `?1`, `?2` … in this order; as many as the text names.
    pub args: Vec<Value>,
    /// Whether it must touch at least one row; if it touches none, the whole batch is rolled back with
    /// [`StorageError::DemandUnmet`]. This is how compare-and-set is said.
    pub must_touch: bool,
}

impl StatementDef {
    /// The statement with these arguments, without demand.
    pub fn with(&'static self, args: impl Into<Vec<Value>>) -> Statement {
        Statement { def: self, args: args.into(), must_touch: false }
    }
}

impl Statement {
    /// The same statement, demanding that it touch at least one row.
    pub fn must_touch(mut self) -> Self {
        self.must_touch = true;
        self
    }
}

/// Statements applied in order, all or nothing.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// In the order in which they run; each sees what those before it did.
    pub statements: Vec<Statement>,
    /// What other servers on the same storage are told once it is committed, see [`DatabaseOperate::changes`]; at
    /// most 4 KiB each.
    pub changed: Vec<String>,
}

impl Batch {
    /// Appends a statement.
    pub fn push(&mut self, statement: Statement) {
        self.statements.push(statement);
    }
}

impl From<Vec<Statement>> for Batch {
    fn from(statements: Vec<Statement>) -> Self {
        Self { statements, changed: Vec::new() }
    }
}

/// What another server changed in the storage that it shares with this one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It committed a batch that said so ([`Batch::changed`]).
    Told(Arc<str>),
    /// Some changes may have gone unheard: the connection was lost, or has just been made.
    Missed,
}

/// A statement that reads. Its text may be put together at run time (optional filters); values are bound.
#[derive(Debug, Clone)]
pub struct Query {
    /// Portable SQL with parameters `?1`, `?2` ….
    pub sql: Cow<'static, str>,
    /// Bound in this order.
    pub args: Vec<Value>,
}

impl Query {
    /// A query with its arguments.
    pub fn new(sql: impl Into<Cow<'static, str>>, args: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), args: args.into() }
    }
}

/// A place in the order of the store's commits; grows by at least one with every batch.
///
/// Lets a cache in front of the store decide which of two versions is the later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The store has no such order at hand; whoever needs one must read again.
    pub const UNKNOWN: Position = Position(0);
}

/// What a committed batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Rows touched by each statement, in the batch's order.
    pub touched: Vec<u64>,
    /// Where the batch stands among the commits, or [`Position::UNKNOWN`].
    pub position: Position,
}

/// What a query read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// One `Vec` a row, in the order of the selected columns.
    pub rows: Vec<Vec<Value>>,
    /// Every batch up to this position is in `rows`; later ones may be.
    pub position: Position,
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The statement at this index touched no row though it had to; nothing was written.
    #[error("statement {0} of the batch touched no row")]
    DemandUnmet(usize),
    /// A unique index refused the batch; nothing was written.
    #[error("a row with this key exists already")]
    Conflict,
    /// The disk or the database is full; nothing was written. Free space, then retry.
    #[error("no space left for the database")]
    Full,
    /// More requests wait than the limit allows; nothing was written. Retry later.
    #[error("too many requests wait for the database")]
    Busy,
    /// The store cannot be reached or is stopping; nothing was written. Retry later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The answer was lost: the batch may be written or not. Read, then decide.
    #[error("the database did not confirm the write: {0}")]
    Unconfirmed(String),
    /// The file is damaged. An operator must act.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// The statement itself is wrong: a defect of this program. Nothing was written.
    #[error("the database refused the statement: {0}")]
    Refused(String),
}

/// A database, embedded, replicated or external.
#[async_trait]
pub trait DatabaseOperate: Send + Sync + 'static {
    /// Applies the batch all or nothing, and answers once it is durable (fsynced, or held by a majority).
    ///
    /// Concurrent batches take effect one after another, in an order that agrees with that of their answers.
    /// An empty batch answers at once.
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll is the same as [`StorageError::Unconfirmed`].
    async fn execute(&self, batch: Batch) -> Result<Committed, StorageError>;

    /// Reads. Sees every batch whose `execute` was answered before this call, on this node.
    async fn query(&self, query: Query) -> Result<Rows, StorageError>;

    /// What other servers change from now on; `None` for a storage that no other server writes to. A query after a
    /// change was received sees it. A receiver that lags has missed as much as [`Change::Missed`] says.
    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        None
    }
}
