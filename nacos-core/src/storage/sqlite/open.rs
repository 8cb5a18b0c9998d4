//! From a path to connections: folder, lock, look for damage, settings, schema.
//!
//! Owns the lock on the database. The order matters: nobody else may touch the files before they are looked at,
//! and they are looked at before SQLite repairs what it takes for a torn log.

use std::{
    error::Error,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::{
    super::schema::{self, Migration},
    LocalOptions,
    readers::Reader,
    sql,
    wal::{self, Verdict},
};

/// Greatest database that is read through after an unclean stop. Reading takes about a second for this size.
const CHECKED_BYTES_MAX: i64 = 256 << 20;
/// Page cache of the writer; filled only as far as it is used.
const WRITER_CACHE_KIB: u32 = 4096;
/// Page cache of each reader. The system's cache stands behind it.
const READER_CACHE_KIB: u32 = 512;
/// More than the server has statements that write.
const WRITER_STATEMENTS: usize = 192;
/// Texts of queries vary with their filters; the frequent ones stay.
const READER_STATEMENTS: usize = 24;
/// A log that a great batch made longer is cut back to this.
const LOG_BYTES_KEPT: i64 = 24 << 20;

/// Why the database could not be opened. The text tells the operator what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the database {} is in use by another process{}; stop that one, or give this server a data folder of its own",
        .path.display(), .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The database.
        path: PathBuf,
        /// The process that has it, as far as it said so.
        pid: Option<u32>,
    },
    /// A later version of this program has changed the tables. Nothing was touched.
    #[error(
        "the database {} was written by a newer version of this server (its schema is {found}, this version knows \
         {known}); start that version, or restore a copy from before the upgrade", .path.display()
    )]
    NewerVersion {
        /// The database.
        path: PathBuf,
        /// The number of its last migration.
        found: u32,
        /// The number of the last migration in this program.
        known: u32,
    },
    /// The files are damaged. Nothing was repaired.
    #[error(
        "the database {} is damaged: {reason}; keep a copy of it and of the files beside it (-wal, -shm), then \
         restore a backup or mend it with the sqlite3 shell's .recover", .path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The folder or a file in it cannot be made, read or written.
    #[error(
        "cannot read and write the database {}; give the user of this process the right to do so on the file and \
         its folder, or choose another data folder", .path.display()
    )]
    Unwritable {
        /// The database.
        path: PathBuf,
        /// What the system or SQLite said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The disk is full.
    #[error("no space left to open the database {}; free some, then start again", .path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// What the system or SQLite said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Anything else.
    #[error("cannot open the database {}", .path.display())]
    Other {
        /// The database.
        path: PathBuf,
        /// What the system or SQLite said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl OpenError {
    fn io(path: &Path, source: io::Error) -> Self {
        use io::ErrorKind;
        let (path, kind) = (path.to_owned(), source.kind());
        let source = Box::new(source);
        match kind {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path, source },
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::AlreadyExists => Self::Unwritable { path, source },
            _ => Self::Other { path, source },
        }
    }

    fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match sql::code(&source).map(|error| error.code) {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, reason: source.to_string() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path, pid: None },
            Some(ErrorCode::DiskFull) => Self::Full { path, source: Box::new(source) },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::Unwritable { path, source: Box::new(source) }
            }
            _ => Self::Other { path, source: Box::new(source) },
        }
    }
}

/// The right to use the database, held until dropped. The system takes it back from a process that dies.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough while a child process, just forked, has a copy of it open.
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "database not unlocked");
        }
    }
}

impl Lock {
    fn take(path: &Path) -> Result<Self, OpenError> {
        let lock_path = beside(path, ".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| OpenError::io(path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&lock_path).ok().and_then(|text| text.trim().parse().ok());
                return Err(OpenError::Locked { path: path.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(OpenError::io(path, error)),
        }
        // For the message above only; a full disk is reported by what needs the space.
        let told = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = told {
            tracing::debug!(%error, "pid not written to the lock file");
        }
        Ok(Self { file })
    }
}

/// What [`open`] makes.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) readers: Vec<Reader>,
    pub(super) lock: Arc<Lock>,
}

pub(super) fn open(options: &LocalOptions, migrations: &[Migration]) -> Result<Opened, OpenError> {
    // SQLite puts its files beside the file that a link leads to; ours must be there too.
    let target = if options.path.is_symlink() { fs::canonicalize(&options.path).ok() } else { None };
    let path = target.as_deref().unwrap_or(&options.path);
    create_folder(folder_of(path)).map_err(|error| OpenError::io(path, error))?;
    let lock = Arc::new(Lock::take(path)?);
    let unclean = look_at_log(path)?;
    create_file(path).map_err(|error| OpenError::io(path, error))?;

    if !unclean {
        look_at_length(path)?;
    }

    let failed = |error| OpenError::sqlite(path, error);
    let corrupt = |reason: String| OpenError::Corrupt { path: path.to_owned(), reason };
    let mut writer = sql::connect(path, WRITER_CACHE_KIB, WRITER_STATEMENTS).map_err(failed)?;
    let (found, known) = (version(&writer).map_err(failed)?, schema::latest(migrations));
    if found > known {
        return Err(OpenError::NewerVersion { path: path.to_owned(), found, known });
    }
    if unclean && let Some(fault) = look_at_pages(&writer).map_err(failed)? {
        return Err(corrupt(fault));
    }
    let tables: i64 = writer.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if found == 0 && tables > 0 {
        return Err(corrupt("it holds tables, but not the number of their schema".into()));
    }
    set_up_writer(&writer, options.max_bytes).map_err(failed)?;
    migrate(&mut writer, migrations).map_err(failed)?;

    let readers = (0..options.readers.clamp(1, 64))
        .map(|_| {
            let conn = sql::connect(path, READER_CACHE_KIB, READER_STATEMENTS)?;
            conn.pragma_update(None, "query_only", true)?;
            Ok(Reader::new(conn, Arc::clone(&lock)))
        })
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    Ok(Opened { writer, readers, lock })
}

/// The path of a file beside the database, `suffix` added to its whole name as SQLite does.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes the folder, and those above it, so that a power cut does not take them away again.
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder_of(folder);
    create_folder(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        made => made?,
    }
    sync_folder(above)
}

/// Makes the file if there is none. SQLite would, but not sync its entry in the folder.
fn create_file(path: &Path) -> io::Result<()> {
    let mut new = OpenOptions::new();
    new.write(true).create_new(true);
    // It will hold passwords' hashes and whatever users keep in configurations.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
    match new.open(path) {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // Also for a file that an earlier start made: that start may have died right here.
    if fs::metadata(path)?.len() == 0 { sync_folder(folder_of(path)) } else { Ok(()) }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened as a file.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Whether there is a log to be read, that is, whether the last stop was unclean.
fn look_at_log(path: &Path) -> Result<bool, OpenError> {
    let io = |error| OpenError::io(path, error);
    let corrupt = |reason| Err(OpenError::Corrupt { path: path.to_owned(), reason });
    let log = match File::open(beside(path, "-wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        log => log.map_err(io)?,
    };
    match wal::judge(io::BufReader::new(log)).map_err(io)? {
        Verdict::Empty => Ok(false),
        // SQLite would throw the log away.
        Verdict::Sound if fs::metadata(path).map_or(0, |there| there.len()) == 0 => {
            let what = if path.exists() { "empty" } else { "missing" };
            corrupt(format!("it is {what}, but the log of its writes (-wal) is not"))
        }
        Verdict::Sound => Ok(true),
        Verdict::Damaged { frame } => corrupt(format!(
            "the log of its last writes (-wal) is bad at frame {frame}, and acknowledged writes stand behind that"
        )),
    }
}

/// Refuses a database that ends before its header says. SQLite takes the rest of a page for zeros. With a log there
/// is nothing to see here: it may hold the missing pages.
fn look_at_length(path: &Path) -> Result<(), OpenError> {
    let mut header = [0; 100];
    let mut file = File::open(path).map_err(|error| OpenError::io(path, error))?;
    let length = file.metadata().map_err(|error| OpenError::io(path, error))?.len();
    // What is no database is SQLite's to tell.
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"SQLite format 3\0") {
        return Ok(());
    }
    let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        bytes => u64::from(bytes),
    };
    let pages = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]));
    if length < pages * page_bytes {
        let reason = format!("it has {length} bytes, and {} by its own header", pages * page_bytes);
        return Err(OpenError::Corrupt { path: path.to_owned(), reason });
    }
    Ok(())
}

/// The number of the last migration that ran; 0 for a new database.
fn version(conn: &Connection) -> rusqlite::Result<u32> {
    // SQLite keeps 32 bits and shows them with a sign.
    conn.query_row("PRAGMA user_version", [], |row| row.get::<_, i32>(0)).map(|number| number as u32)
}

/// Reads all pages of a database that is not too great; answers the first fault.
fn look_at_pages(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    if number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?) > CHECKED_BYTES_MAX {
        return Ok(None);
    }
    let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((verdict != "ok").then_some(verdict))
}

fn set_up_writer(conn: &Connection, max_bytes: Option<u64>) -> rusqlite::Result<()> {
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // The writer says when, so that it sees a failure.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    if let Some(bytes) = max_bytes {
        let page_bytes: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page_bytes.max(1);
        conn.pragma_update_and_check(None, "max_page_count", pages.clamp(1, 0xffff_fffe), |_| Ok(()))?;
    }
    Ok(())
}

/// Runs the steps that the database does not have yet.
fn migrate(conn: &mut Connection, migrations: &[Migration]) -> rusqlite::Result<()> {
    let found = version(conn)?;
    for step in migrations.iter().filter(|step| step.number > found) {
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step.sqlite)?;
        transaction.pragma_update(None, "user_version", step.number)?;
        transaction.commit()?;
        tracing::info!(number = step.number, name = step.name, "database schema changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
