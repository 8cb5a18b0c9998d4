//! The one thread that writes.
//!
//! Owns the writing connection. It takes all batches that wait, runs each in a savepoint of its own within one
//! transaction, commits, and answers them all: one sync of the disk for as many as came while the last one
//! lasted. It sets no time aside for more to come.
//!
//! After a commit that may or may not be on disk nothing more is written: the system drops pages that it could
//! not write, so a second sync that succeeds proves nothing. Only a new start, which reads the disk, can tell.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, MAIN_DB, wal::CheckpointMode};
use tokio::sync::{mpsc, watch};

use super::{
    super::{
        Batch, StorageError,
        group::{Job, Order, gather, positioned},
    },
    open::Lock,
    sql,
};

/// Pages (of 4 KiB) that the log grows by before they are moved into the database.
const CHECKPOINT_PAGES: i64 = 5000;
/// How long a stop waits for a read that still holds an old state.
const LAST_READ_WAIT: Duration = Duration::from_secs(1);

/// A file that must stay where it is: what is committed to one that was deleted or replaced is gone with it.
struct Placed {
    path: PathBuf,
    file: FileId,
}

impl Placed {
    /// The file that stands here now, if there is one.
    fn at(path: PathBuf) -> Option<Self> {
        Some(Self { file: file_id(&path).ok()?, path })
    }

    /// Why it is not there any more.
    fn lost(&self) -> Option<String> {
        match file_id(&self.path) {
            Ok(now) if now == self.file => None,
            Ok(_) => Some(format!("another file stands in the place of {}", self.path.display())),
            Err(error) => Some(format!("{} was taken away: {error}", self.path.display())),
        }
    }
}

/// Device and number of a file; nothing where the system has none to compare.
type FileId = (u64, u64);

fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    return Ok((std::os::unix::fs::MetadataExt::dev(&metadata), std::os::unix::fs::MetadataExt::ino(&metadata)));
    #[cfg(not(unix))]
    return Ok((0, u64::from(metadata.is_file())));
}

/// Why a group was not committed.
enum Lost {
    /// The transaction could not begin; no batch is to blame.
    NotBegun(StorageError),
    /// All was rolled back on account of one batch, or of their sum.
    RolledBack(StorageError),
    /// Nobody can say what is on disk.
    Unknown(String),
}

pub(super) struct Writer {
    // Dropped in this order: the lock outlives the connection.
    conn: Connection,
    _lock: Arc<Lock>,
    position: Arc<AtomicU64>,
    failed: watch::Sender<Option<String>>,
    /// Pages in the log when it was last looked at.
    log_pages: i64,
    /// The log is moved into the database once it holds so many pages.
    checkpoint_at: i64,
    /// The database and its log.
    files: Vec<Placed>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail("the writing thread panicked".into());
        }
    }
}

impl Writer {
    pub(super) fn new(
        conn: Connection,
        lock: Arc<Lock>,
        position: Arc<AtomicU64>,
        failed: watch::Sender<Option<String>>,
    ) -> Self {
        let path = conn.path().unwrap_or_default();
        let files = [path.into(), format!("{path}-wal").into()].into_iter().filter_map(Placed::at).collect();
        Self { conn, _lock: lock, position, failed, log_pages: 0, checkpoint_at: CHECKPOINT_PAGES, files }
    }

    /// Serves the queue until it is closed and empty, then moves the log into the database.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Order>) -> Result<(), StorageError> {
        let mut shared = false;
        while let Some(order) = queue.blocking_recv() {
            if shared {
                // Those just answered are about to send again; whoever is first should not get a sync for itself.
                // Costs nothing when no other thread can run, and a lone writer never comes here.
                std::thread::yield_now();
            }
            let mut group = gather(order, &mut queue);
            shared = group.len() > 1;
            self.serve(&mut group);
            self.checkpoint_if_due();
        }
        self.finish()
    }

    /// Commits the group and answers it; leaves it empty.
    fn serve(&mut self, group: &mut Vec<Job>) {
        if let Some(reason) = self.failed.borrow().clone() {
            return answer_all(group, &StorageError::Unavailable(reason));
        }
        match self.commit(group) {
            Ok(outcomes) => {
                let (outcomes, last) = positioned(outcomes, self.position.load(Ordering::Relaxed));
                // Before the answers: who has one must find its position reached.
                self.position.store(last, Ordering::Release);
                for (job, outcome) in group.drain(..).zip(outcomes) {
                    job.answer(outcome);
                }
            }
            Err(Lost::RolledBack(_)) if group.len() > 1 => {
                // One too large for the disk must not take the small ones with it.
                for job in group.drain(..) {
                    self.serve(&mut vec![job]);
                }
            }
            Err(Lost::NotBegun(error) | Lost::RolledBack(error)) => answer_all(group, &error),
            Err(Lost::Unknown(reason)) => {
                self.fail(reason.clone());
                answer_all(group, &StorageError::Unconfirmed(reason));
            }
        }
    }

    /// Runs the group in one transaction. `Ok` holds what each batch did, and what was done is on disk.
    fn commit(&self, group: &[Job]) -> Result<Vec<Result<Vec<u64>, StorageError>>, Lost> {
        self.control("BEGIN IMMEDIATE").map_err(|error| Lost::NotBegun(sql::meaning(error)))?;
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group {
            let outcome = self.apply(&job.batch);
            if let Err(error) = &outcome {
                // SQLite itself ends the transaction when the disk is full or fails.
                if self.conn.is_autocommit() {
                    return Err(Lost::RolledBack(error.clone()));
                }
                let undone = self.control("ROLLBACK TO batch").and_then(|()| self.control("RELEASE batch"));
                if undone.is_err() {
                    self.roll_back()?;
                    return Err(Lost::RolledBack(error.clone()));
                }
            }
            outcomes.push(outcome);
        }
        if outcomes.iter().all(Result::is_err) {
            self.roll_back()?;
            return Ok(outcomes);
        }
        match self.control("COMMIT") {
            // Asked after the sync: whatever is answered was on files that can be found again.
            Ok(()) => match self.files.iter().find_map(Placed::lost) {
                None => Ok(outcomes),
                Some(reason) => Err(Lost::Unknown(reason)),
            },
            // Space is asked for before anything is synced, so what fails here was not committed.
            Err(error) if sql::is_full(&error) => {
                self.roll_back()?;
                Err(Lost::RolledBack(StorageError::Full))
            }
            Err(error) => Err(Lost::Unknown(error.to_string())),
        }
    }

    fn apply(&self, batch: &Batch) -> Result<Vec<u64>, StorageError> {
        self.control("SAVEPOINT batch").map_err(sql::meaning)?;
        let mut touched = Vec::with_capacity(batch.statements.len());
        for (index, statement) in batch.statements.iter().enumerate() {
            let rows = sql::write(&self.conn, statement)?;
            if statement.must_touch && rows == 0 {
                return Err(StorageError::DemandUnmet(index));
            }
            touched.push(rows);
        }
        self.control("RELEASE batch").map_err(sql::meaning)?;
        Ok(touched)
    }

    fn control(&self, statement: &'static str) -> rusqlite::Result<()> {
        self.conn.prepare_cached(statement)?.raw_execute().map(drop)
    }

    /// Ends the transaction without a trace, if SQLite has not done so itself.
    fn roll_back(&self) -> Result<(), Lost> {
        if self.conn.is_autocommit() {
            return Ok(());
        }
        self.control("ROLLBACK").map_err(|error| Lost::Unknown(format!("a transaction cannot be rolled back: {error}")))
    }

    /// Moves the log into the database when it has grown enough. Runs after the answers, so that nobody waits
    /// for it but the next group.
    fn checkpoint_if_due(&mut self) {
        if self.failed.borrow().is_some() {
            return;
        }
        let Ok((pages, _)) = self.conn.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::NOOP) else {
            return;
        };
        let pages = i64::from(pages);
        if pages < self.log_pages {
            // It was moved as a whole, and writing began at its start again.
            self.checkpoint_at = CHECKPOINT_PAGES;
        }
        self.log_pages = pages;
        if pages < self.checkpoint_at {
            return;
        }
        // A reader that holds an old state stops the move half-way; the next try comes after as many pages again.
        self.checkpoint_at = pages.saturating_add(CHECKPOINT_PAGES);
        let moved = self.conn.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE);
        match moved.map_err(|error| (sql::code(&error).map(|raised| raised.code), error)) {
            // Busy: another program (a backup) is at it.
            Ok(_) | Err((Some(ErrorCode::DatabaseBusy), _)) => {}
            Err((Some(ErrorCode::DiskFull), _)) => tracing::warn!(pages, "no space to move the log into the database"),
            Err((_, error)) => self.fail(format!("moving the log into the database: {error}")),
        }
    }

    /// Leaves an empty log behind, by which the next start knows that this stop was a clean one.
    fn finish(self) -> Result<(), StorageError> {
        if let Some(reason) = self.failed.borrow().clone() {
            // The files stay as they are; the next start reads what is really there.
            return Err(StorageError::Unavailable(reason));
        }
        self.conn.flush_prepared_statement_cache();
        self.conn
            .busy_timeout(LAST_READ_WAIT)
            .and_then(|()| self.conn.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::TRUNCATE))
            .map(drop)
            .map_err(|error| {
                tracing::warn!(%error, "the database's log stays for the next start to read");
                sql::meaning(error)
            })
    }

    fn fail(&self, reason: String) {
        tracing::error!(reason, "the database is out of service until the next start");
        self.failed.send_replace(Some(reason));
    }
}

fn answer_all(group: &mut Vec<Job>, error: &StorageError) {
    for job in group.drain(..) {
        job.answer(Err(error.clone()));
    }
}
