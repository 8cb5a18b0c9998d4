//! The connections that read, and who may use them when.
//!
//! Owns the idle connections. A query waits for one of them, then runs on tokio's threads for blocking work; no
//! more run at once than there are connections, and the number that waits is bounded.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use rusqlite::{Connection, InterruptHandle};
use tokio::sync::{Semaphore, TryAcquireError};

use super::{
    super::{Position, Query, Rows, StorageError},
    open::Lock,
    sql,
};

/// A connection that reads; the folder stays locked as long as it is open.
pub(super) struct Reader {
    // Dropped in this order.
    conn: Connection,
    _lock: Arc<Lock>,
}

impl Reader {
    pub(super) fn new(conn: Connection, lock: Arc<Lock>) -> Self {
        Self { conn, _lock: lock }
    }
}

pub(super) struct Readers {
    idle: Mutex<Vec<Reader>>,
    /// One permit a connection. Closed for good when the database is.
    running: Arc<Semaphore>,
    /// One permit a query that runs or waits.
    admitted: Arc<Semaphore>,
    size: u32,
    max_waiting: usize,
    position: Arc<AtomicU64>,
}

/// A connection on loan; goes back when dropped, also by a panic.
struct Loan<'a> {
    reader: Option<Reader>,
    readers: &'a Readers,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut idle = self.readers.idle.lock();
        // `shut` closes first and empties then, so that none can slip in behind it.
        if !self.readers.running.is_closed() {
            idle.extend(self.reader.take());
        }
    }
}

/// Where a query is.
enum Progress {
    /// It does not run, not yet or no more.
    Waiting,
    /// It runs, and can be told to stop.
    Running(InterruptHandle),
    /// Its caller has gone.
    Abandoned,
}

/// Stops the query when the caller goes.
struct Abandon(Arc<Mutex<Progress>>);

impl Drop for Abandon {
    fn drop(&mut self) {
        let mut progress = self.0.lock();
        if let Progress::Running(handle) = &*progress {
            handle.interrupt();
        }
        *progress = Progress::Abandoned;
    }
}

impl Readers {
    pub(super) fn new(idle: Vec<Reader>, max_waiting: usize, position: Arc<AtomicU64>) -> Self {
        let size = idle.len();
        let max_waiting = max_waiting.min(Semaphore::MAX_PERMITS - size);
        Self {
            idle: Mutex::new(idle),
            running: Arc::new(Semaphore::new(size)),
            admitted: Arc::new(Semaphore::new(size + max_waiting)),
            size: size as u32,
            max_waiting,
            position,
        }
    }

    /// Queries that wait for a connection.
    pub(super) fn waiting(&self) -> usize {
        self.max_waiting.saturating_sub(self.admitted.available_permits())
    }

    pub(super) async fn query(self: &Arc<Self>, query: Query) -> Result<Rows, StorageError> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => StorageError::Busy,
            TryAcquireError::Closed => closed(),
        })?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| closed())?;
        let readers = Arc::clone(self);
        let progress = Arc::new(Mutex::new(Progress::Waiting));
        // A caller that leaves, or whose time is up, does not leave the connection at work.
        let _abandon = Abandon(Arc::clone(&progress));
        let work = move || {
            // Held here and not by the caller, who may be gone before the work is done.
            let _permits = (admitted, running);
            readers.run(&query, &progress)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            Err(error) => Err(StorageError::Unavailable(format!("the query broke off: {error}"))),
        }
    }

    fn run(&self, query: &Query, progress: &Mutex<Progress>) -> Result<Rows, StorageError> {
        let reader = self.idle.lock().pop();
        let loan = Loan { reader, readers: self };
        let Some(reader) = &loan.reader else {
            return Err(closed());
        };
        // Before the read begins: what was committed up to here, it sees.
        let position = Position(self.position.load(Ordering::Acquire));
        {
            let mut progress = progress.lock();
            if matches!(*progress, Progress::Abandoned) {
                return Err(StorageError::Unavailable("nobody waits for the query".into()));
            }
            *progress = Progress::Running(reader.conn.get_interrupt_handle());
        }
        let rows = sql::read(&reader.conn, query);
        // From here on an interruption would hit the next query of this connection.
        *progress.lock() = Progress::Waiting;
        Ok(Rows { rows: rows?, position })
    }

    /// Waits for the queries admitted so far, then shuts.
    pub(super) async fn close(&self) {
        self.admitted.close();
        // An error says that it was shut meanwhile.
        let _all = self.running.acquire_many(self.size).await;
        self.shut();
    }

    /// Refuses all queries from now on and closes the connections, those on loan when they come back.
    pub(super) fn shut(&self) {
        self.admitted.close();
        self.running.close();
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }
}

fn closed() -> StorageError {
    StorageError::Unavailable("it is closed".into())
}
