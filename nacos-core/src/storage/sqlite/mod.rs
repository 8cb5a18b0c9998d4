//! The embedded database: one SQLite file in write-ahead mode, one thread that writes, a few connections that
//! read.
//!
//! A write is answered once it is synced to disk; batches that wait at the same time share one sync. Reads run
//! beside writes and see whole batches only. All limits are in [`LocalOptions`]; what exceeds them is refused
//! with [`StorageError::Busy`]. Once damage was met, every write is [`StorageError::Corrupt`]; reads that do not
//! touch it go on.
//!
//! Texts may hold U+0000, but SQL functions and `LIKE` look only at what stands before it; Postgres refuses
//! it. `LIKE` takes `_` and `%` for wild cards, minds case, and knows no escape character unless the statement
//! names one: portable statements say `LIKE ?1 ESCAPE '\'`. A pattern has at most 50,000 bytes. Times are read
//! back as [`Value::Int`](super::Value::Int).
//!
//! Files: the database; beside it `-wal` (its log, emptied by a clean stop), `-shm` (an index of the log,
//! rebuilt when missing) and `.lock`.

mod open;
mod readers;
mod sql;
mod wal;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{
    Semaphore,
    mpsc::{self, error::TrySendError},
    oneshot, watch,
};

use self::{readers::Readers, writer::Writer};
use super::{
    Batch, Committed, DatabaseOperate, Position, Query, Rows, StorageError,
    group::{Held, Job, Order},
    schema::{self, Migration},
};

pub use open::OpenError;

/// Where the embedded database is, and its limits.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The database's file. It and its folder are made if they are not there.
    pub path: PathBuf,
    /// Most batches that wait to be written; at least 1. Default 8192.
    pub max_waiting: usize,
    /// Most bytes of their texts. A batch that comes when none waits is let in whatever its size. Default
    /// 256 MiB.
    pub max_waiting_bytes: usize,
    /// Connections that read, and so the most queries that run at once; 1 to 64. Default 2.
    pub readers: usize,
    /// Most queries that wait for such a connection. Default 4096.
    pub max_waiting_reads: usize,
    /// A quota for the database's file, in bytes, rounded down to whole pages; what would exceed it is refused
    /// with [`StorageError::Full`]. The log beside it comes on top. Default: none.
    pub max_bytes: Option<u64>,
}

impl LocalOptions {
    /// This file, with the defaults.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_waiting: 8192,
            max_waiting_bytes: 256 << 20,
            readers: 2,
            max_waiting_reads: 4096,
            max_bytes: None,
        }
    }
}

/// The embedded database of a standalone server.
///
/// [`Position`] counts the batches since it was opened, and is never [`Position::UNKNOWN`].
///
/// Dropping it does what [`close`](Self::close) does, but blocks the thread meanwhile, and does not wait for
/// queries that still run: until the last of them is done, the files stay locked.
pub struct LocalDatabaseOperate {
    /// `None` once it is being dropped.
    queue: Option<mpsc::Sender<Order>>,
    waiting_bytes: Arc<AtomicUsize>,
    max_waiting_bytes: usize,
    readers: Arc<Readers>,
    position: Arc<AtomicU64>,
    failed: watch::Receiver<Option<String>>,
    /// Where damage was met. Nothing is written on top of it.
    damaged: OnceLock<String>,
    thread: Mutex<Option<JoinHandle<Result<(), StorageError>>>>,
}

impl LocalDatabaseOperate {
    /// Opens the database, brings its schema up to date, and starts the writing thread. Blocks; a first start
    /// takes some milliseconds, one after an unclean stop up to a second or two, since it reads all pages.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left running.
    pub fn open(options: LocalOptions) -> Result<Self, OpenError> {
        Self::open_with(options, schema::MIGRATIONS)
    }

    /// The same with other tables than the server's: those of `migrations`, such as [`schema::CONSISTENCY`]. A file is
    /// opened with the same list all its life.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left running.
    pub fn open_with(options: LocalOptions, migrations: &'static [Migration]) -> Result<Self, OpenError> {
        let opened = open::open(&options, migrations)?;
        let (queue, orders) = mpsc::channel(options.max_waiting.clamp(1, Semaphore::MAX_PERMITS));
        let (failing, failed) = watch::channel(None);
        // 0 is `Position::UNKNOWN`.
        let position = Arc::new(AtomicU64::new(1));
        let writer = Writer::new(opened.writer, opened.lock, Arc::clone(&position), failing);
        let thread = std::thread::Builder::new()
            .name("nacos-db-writer".into())
            .spawn(move || writer.run(orders))
            .map_err(|error| OpenError::Other { path: options.path, source: Box::new(error) })?;
        Ok(Self {
            queue: Some(queue),
            waiting_bytes: Arc::default(),
            max_waiting_bytes: options.max_waiting_bytes,
            readers: Arc::new(Readers::new(opened.readers, options.max_waiting_reads, Arc::clone(&position))),
            position,
            failed,
            damaged: OnceLock::new(),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Tells when the database went out of service, and why: the disk failed in the midst of a commit, and what
    /// is on it can only be known by starting anew. The server must stop. Reads go on until then; every write is
    /// [`StorageError::Unavailable`].
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.failed.clone()
    }

    /// Remembers damage.
    fn note<T>(&self, outcome: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(StorageError::Corrupt(what)) = &outcome
            && self.damaged.set(what.clone()).is_ok()
        {
            tracing::error!(what, "the database is damaged; it takes no more writes");
        }
        outcome
    }

    /// Batches that wait to be written, for a metric.
    pub fn waiting_writes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Queries that wait for a connection, for a metric.
    pub fn waiting_reads(&self) -> usize {
        self.readers.waiting()
    }

    /// Finishes what waits, moves the log into the database and closes all files. What comes later is
    /// [`StorageError::Unavailable`]. A second call does nothing.
    ///
    /// # Errors
    /// What kept the log from being moved; all acknowledged batches are on disk nevertheless, and the next
    /// start reads the log.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rest to the drop of the database.
    pub async fn close(&self) -> Result<(), StorageError> {
        self.readers.close().await;
        if let Some(queue) = &self.queue {
            // An error says that the thread has ended already.
            let _ = queue.send(Order::Stop).await;
        }
        let Some(thread) = self.thread.lock().take() else {
            return Ok(());
        };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(outcome)) => outcome,
            _ => Err(StorageError::Unavailable("the writing thread broke off".into())),
        }
    }
}

impl Drop for LocalDatabaseOperate {
    fn drop(&mut self) {
        self.readers.shut();
        self.queue = None;
        if let Some(thread) = self.thread.get_mut().take() {
            // The thread has logged what went wrong.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl DatabaseOperate for LocalDatabaseOperate {
    async fn execute(&self, batch: Batch) -> Result<Committed, StorageError> {
        if batch.statements.is_empty() {
            let position = Position(self.position.load(Ordering::Acquire));
            return Ok(Committed { touched: Vec::new(), position });
        }
        if let Some(what) = self.damaged.get() {
            return Err(StorageError::Corrupt(what.clone()));
        }
        let held = Held::take(&batch, &self.waiting_bytes, self.max_waiting_bytes).ok_or(StorageError::Busy)?;
        let (answer, outcome) = oneshot::channel();
        let stopping = || StorageError::Unavailable("it is closed".into());
        self.queue.as_ref().ok_or_else(stopping)?.try_send(Order::Run(Job { batch, held, answer })).map_err(
            |refused| match refused {
                TrySendError::Full(_) => StorageError::Busy,
                TrySendError::Closed(_) => {
                    self.failed.borrow().clone().map_or_else(stopping, StorageError::Unavailable)
                }
            },
        )?;
        let broken = |_| Err(StorageError::Unconfirmed("the writing thread broke off".into()));
        self.note(outcome.await.unwrap_or_else(broken))
    }

    async fn query(&self, query: Query) -> Result<Rows, StorageError> {
        self.note(self.readers.query(query).await)
    }
}
