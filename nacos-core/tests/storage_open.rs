//! Opening: what makes a database, and what keeps one from being opened.

mod storage_support;

use std::{
    error::Error as _,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use nacos_core::storage::{DatabaseOperate, LocalDatabaseOperate, LocalOptions, OpenError, StorageError};
use rusqlite::Connection;
use storage_support::{numbers, pair};

/// The folder that the child process of [`a_second_process_is_kept_out`] opens.
const CHILD_PATH: &str = "NACOS_TEST_DATABASE";

fn open(path: &Path) -> Result<LocalDatabaseOperate, OpenError> {
    LocalDatabaseOperate::open(LocalOptions::new(path))
}

fn refused(path: &Path) -> OpenError {
    let error = open(path).err().expect("opened");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "which database? {text}");
    error
}

/// A database with some rows, properly closed.
async fn made(path: &Path) {
    let database = open(path).expect("a new database");
    for n in 1..=3 {
        database.execute(pair(n, "x")).await.expect("a batch");
    }
    database.close().await.expect("a clean close");
}

#[tokio::test]
async fn a_database_is_made_with_its_folders_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new/folders/nacos.db");
    made(&path).await;
    assert_eq!(numbers(&open(&path).expect("the same database")).await, [1, 2, 3]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "others may read it: {mode:o}");
    }
}

#[tokio::test]
async fn a_first_start_that_was_cut_short_is_made_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    fs::write(&path, "").expect("an empty file");
    made(&path).await;
    assert_eq!(numbers(&open(&path).expect("the same database")).await, [1, 2, 3]);
}

#[test]
fn what_is_no_database_is_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    for content in ["garbage".to_owned(), "nothing of the kind\n".repeat(1000), "SQLite format 3\0".to_owned()] {
        fs::write(&path, &content).expect("a file");
        let error = refused(&path);
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("restore a backup"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("the file"), content);
    }
}

#[test]
fn a_database_of_another_program_is_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    let other = Connection::open(&path).expect("a database");
    other.execute_batch("CREATE TABLE users (name)").expect("a table");
    drop(other);
    let before = fs::read(&path).expect("the file");
    assert!(matches!(refused(&path), OpenError::Corrupt { .. }));
    assert_eq!(fs::read(&path).expect("the file"), before);
}

#[tokio::test]
async fn a_damaged_header_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    made(&path).await;
    let mut bytes = fs::read(&path).expect("the file");
    bytes[..16].fill(0);
    fs::write(&path, &bytes).expect("the file");
    assert!(matches!(refused(&path), OpenError::Corrupt { .. }));
    bytes.truncate(0);
    bytes.extend(b"SQLite format 3\0");
    fs::write(&path, &bytes).expect("the file");
    assert!(matches!(refused(&path), OpenError::Corrupt { .. }));
}

#[tokio::test]
async fn a_truncated_database_is_told_at_start_or_by_the_query() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    made(&path).await;
    let bytes = fs::read(&path).expect("the file");
    for pages in 1..bytes.len() / 4096 {
        fs::write(&path, &bytes[..pages * 4096]).expect("the file");
        match open(&path) {
            Err(OpenError::Corrupt { .. }) => continue,
            Err(error) => panic!("{pages} pages: {error}"),
            Ok(database) => {
                let outcome = database.execute(pair(4, "x")).await;
                assert!(matches!(outcome, Err(StorageError::Corrupt(_))), "{pages} pages: {outcome:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_log_without_its_database_is_not_thrown_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, log, copy) =
        (folder.path().join("nacos.db"), folder.path().join("nacos.db-wal"), folder.path().join("copy.db"));
    let database = open(&path).expect("a new database");
    database.execute(pair(1, "x")).await.expect("a batch");
    fs::copy(&log, folder.path().join("copy.db-wal")).expect("a copy of the log");
    let error = refused(&copy);
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    assert!(fs::metadata(folder.path().join("copy.db-wal")).expect("the log").len() > 0);
}

#[tokio::test]
async fn a_newer_schema_is_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    made(&path).await;
    let newer = Connection::open(&path).expect("the database");
    newer.execute_batch("CREATE TABLE later (n); PRAGMA user_version = 1000").expect("a change");
    newer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
    drop(newer);
    let before = fs::read(&path).expect("the file");
    let error = refused(&path);
    assert!(matches!(error, OpenError::NewerVersion { found: 1000, known: 1.., .. }), "{error:?}");
    assert!(error.to_string().contains("newer version"), "{error}");
    assert_eq!(fs::read(&path).expect("the file"), before);
}

#[tokio::test]
async fn a_second_opening_is_kept_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    let first = open(&path).expect("a new database");
    let error = refused(&path);
    assert!(matches!(error, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{error:?}");
    first.execute(pair(1, "x")).await.expect("a batch");
    drop(first);
    assert_eq!(numbers(&open(&path).expect("the same database")).await, [1]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_leads_to_the_same_database_and_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, link) = (folder.path().join("nacos.db"), folder.path().join("link.db"));
    made(&path).await;
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let database = open(&link).expect("the same database");
    assert_eq!(numbers(&database).await, [1, 2, 3]);
    assert!(matches!(refused(&path), OpenError::Locked { .. }));
}

/// Ends its process however the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    let mut child = Killed(
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "child_holds_the_database", "--nocapture"])
            .env(CHILD_PATH, &path)
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()
            .expect("a second process"),
    );
    let said = BufReader::new(child.0.stdout.take().expect("its output"));
    assert!(said.lines().map_while(Result::ok).any(|line| line.contains("it is open")), "the child ended");
    let error = refused(&path);
    assert!(matches!(error, OpenError::Locked { pid, .. } if pid == Some(child.0.id())), "{error:?}");
    assert!(error.to_string().contains("in use by another process"), "{error}");

    // The system gives the lock back whatever way the process ends.
    child.0.kill().expect("kill -9");
    child.0.wait().expect("its end");
    assert_eq!(numbers(&open(&path).expect("the same database")).await, [7]);
}

#[tokio::test]
#[ignore = "the second process of another test"]
async fn child_holds_the_database() {
    let path = std::env::var_os(CHILD_PATH).expect("run by the other test only");
    let database = open(Path::new(&path)).expect("a new database");
    database.execute(pair(7, "x")).await.expect("a batch");
    println!("it is open");
    // Until the other one kills this process or goes away itself.
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn what_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "in the way").expect("a file");
    // Tests may run as root, whom no mode of a file keeps out.
    for path in [file.join("nacos.db"), file.join("deeper/nacos.db"), folder.path().to_owned()] {
        let error = refused(&path);
        assert!(matches!(error, OpenError::Unwritable { .. }), "{}: {error:?}", path.display());
        assert!(error.source().is_some(), "{error:?}");
    }
    assert_eq!(fs::read_to_string(&file).expect("the file"), "in the way");
}

#[tokio::test]
async fn a_quota_is_a_full_disk_that_reads_and_shrinks() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    let database = LocalDatabaseOperate::open(LocalOptions { max_bytes: Some(1 << 20), ..LocalOptions::new(&path) })
        .expect("a new database");
    let content = "x".repeat(10_000);
    let mut written = 0;
    let full = loop {
        match database.execute(pair(written + 1, &content)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StorageError::Full), "{full:?}");
    assert!((20..100).contains(&written), "{written}");
    assert_eq!(numbers(&database).await, (1..=written).collect::<Vec<_>>());

    database.execute(storage_support::remove_up_to(written / 2)).await.expect("room is made");
    database.execute(pair(1000, &content)).await.expect("there is room again");
    assert_eq!(database.failed().borrow().clone(), None);
    database.close().await.expect("a clean close");
    assert!(fs::metadata(&path).expect("the file").len() <= 1 << 20);
    let left = (written / 2 + 1..=written).chain([1000]).collect::<Vec<_>>();
    assert_eq!(numbers(&open(&path).expect("the same database")).await, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_too_large_does_not_take_small_ones_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    let database = Arc::new(
        LocalDatabaseOperate::open(LocalOptions { max_bytes: Some(2 << 20), ..LocalOptions::new(&path) })
            .expect("a new database"),
    );
    let large = "x".repeat(4 << 20);
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let (database, large) = (Arc::clone(&database), large.clone());
            let content = if n % 10 == 0 { large } else { "small".to_owned() };
            tokio::spawn(async move { (n, database.execute(pair(n, &content)).await) })
        })
        .collect();
    for call in calls {
        match call.await.expect("a writer") {
            (n, Ok(_)) => assert_ne!(n % 10, 0),
            (n, Err(StorageError::Full)) => assert_eq!(n % 10, 0),
            (n, Err(error)) => panic!("{n}: {error}"),
        }
    }
    let small = (0..100).filter(|n| n % 10 > 0).collect::<Vec<_>>();
    assert_eq!(numbers(&*database).await, small);
}
