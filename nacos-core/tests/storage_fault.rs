//! A disk that fails: what is answered, that nothing is written on, and that nothing acknowledged is lost.
//!
//! The faults are made by a library loaded before the C library, so each case runs in a process of its own. It
//! is compiled here by the C compiler that built SQLite.
#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

mod storage_support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nacos_core::storage::{DatabaseOperate, LocalDatabaseOperate, LocalOptions, OpenError, StorageError};
use storage_support::{numbers, pair};

const FOLDER: &str = "FAULT_FOLDER";

/// Runs a case with the faults at hand; answers the folder it ran in.
fn run(case: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/storage_fault/shim.c");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let compiled = Command::new(compiler).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.expect("a C compiler").success());
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", case, "--nocapture"])
        .env("LD_PRELOAD", &library)
        .env(FOLDER, folder.path())
        .output()
        .expect("a second process");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    folder
}

/// What is there once the disk works again and the server was started anew.
async fn left(folder: &tempfile::TempDir) -> Vec<i64> {
    numbers(&open(folder.path()).expect("the database")).await
}

fn open(folder: &Path) -> Result<LocalDatabaseOperate, OpenError> {
    LocalDatabaseOperate::open(LocalOptions::new(folder.join("nacos.db")))
}

/// In the second process: the folder and its database, with batches 1 to 3 in it.
async fn begin() -> (PathBuf, LocalDatabaseOperate) {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("run by the other tests only"));
    let database = open(&folder).expect("a new database");
    for n in 1..=3 {
        database.execute(pair(n, "x")).await.expect("a batch");
    }
    (folder, database)
}

/// Makes the fault happen from now on.
fn arm(folder: &Path, fault: &str) {
    fs::write(folder.join(fault), "").expect("a fault");
}

fn disarm(folder: &Path, fault: &str) {
    fs::remove_file(folder.join(fault)).expect("no more fault");
}

/// Nothing is written any more, even though the disk works again; what was acknowledged can be read.
async fn is_out_of_service(database: &LocalDatabaseOperate, there: &[i64]) {
    let mut failed = database.failed();
    let reason = failed.wait_for(Option::is_some).await.expect("the database is there").clone();
    assert!(reason.is_some_and(|reason| !reason.is_empty()));
    for n in 100..110 {
        let outcome = database.execute(pair(n, "x")).await;
        assert!(matches!(outcome, Err(StorageError::Unavailable(_))), "{outcome:?}");
    }
    assert_eq!(numbers(database).await, there);
}

/// Whether the files stayed as they were from before the close to after it.
async fn closes_without_touching(folder: &Path, database: LocalDatabaseOperate) {
    let read =
        || (fs::read(folder.join("nacos.db")).expect("a file"), fs::read(folder.join("nacos.db-wal")).expect("a file"));
    let before = read();
    let outcome = database.close().await;
    assert!(matches!(outcome, Err(StorageError::Unavailable(_))), "{outcome:?}");
    drop(database);
    assert!(read() == before, "a failed database was written to");
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written() {
    let folder = run("case_failed_sync");
    let left = left(&folder).await;
    assert!(left == [1, 2, 3] || left == [1, 2, 3, 4], "{left:?}");
}

#[tokio::test]
#[ignore = "the second process of another test"]
async fn case_failed_sync() {
    let (folder, database) = begin().await;
    arm(&folder, "sync-log");
    let outcome = database.execute(pair(4, "x")).await;
    assert!(matches!(outcome, Err(StorageError::Unconfirmed(_))), "{outcome:?}");
    disarm(&folder, "sync-log");
    is_out_of_service(&database, &[1, 2, 3]).await;
    closes_without_touching(&folder, database).await;
}

#[tokio::test]
async fn after_a_failed_write_to_the_log_nothing_is_written() {
    let folder = run("case_failed_write");
    assert_eq!(left(&folder).await, [1, 2, 3]);
}

#[tokio::test]
#[ignore = "the second process of another test"]
async fn case_failed_write() {
    let (folder, database) = begin().await;
    arm(&folder, "write-log-error");
    let outcome = database.execute(pair(4, "x")).await;
    assert!(matches!(outcome, Err(StorageError::Unconfirmed(_))), "{outcome:?}");
    disarm(&folder, "write-log-error");
    is_out_of_service(&database, &[1, 2, 3]).await;
    closes_without_touching(&folder, database).await;
}

#[tokio::test]
async fn a_failed_move_of_the_log_loses_nothing() {
    let folder = run("case_failed_move");
    let left = left(&folder).await;
    let acknowledged = fs::read_to_string(folder.path().join("acknowledged")).expect("what the case wrote");
    assert_eq!(left, (1..=acknowledged.parse().expect("a number")).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "the second process of another test"]
async fn case_failed_move() {
    let (folder, database) = begin().await;
    arm(&folder, "sync-database");
    let large = "x".repeat(1 << 20);
    // Acknowledged, since the log is synced; but at some time it must be moved.
    let mut last = 3;
    let outcome = loop {
        match database.execute(pair(last + 1, &large)).await {
            Ok(_) => last += 1,
            Err(error) => break error,
        }
        assert!(last < 100, "the log was never moved");
    };
    assert!(matches!(outcome, StorageError::Unavailable(_)), "{outcome:?}");
    disarm(&folder, "sync-database");
    is_out_of_service(&database, &(1..=last).collect::<Vec<_>>()).await;
    fs::write(folder.join("acknowledged"), last.to_string()).expect("a note");
    closes_without_touching(&folder, database).await;
}

#[tokio::test]
async fn a_full_disk_is_told_and_got_over() {
    let folder = run("case_full_disk");
    assert_eq!(left(&folder).await, [1, 2, 3, 5, 6]);
}

#[tokio::test]
#[ignore = "the second process of another test"]
async fn case_full_disk() {
    let (folder, database) = begin().await;
    arm(&folder, "write-full");
    for content in ["x".to_owned(), "x".repeat(8 << 20)] {
        // The large one is too much for memory alone, so it fails before its commit.
        let outcome = database.execute(pair(4, &content)).await;
        assert!(matches!(outcome, Err(StorageError::Full)), "{outcome:?}");
        assert_eq!(numbers(&database).await, [1, 2, 3]);
    }
    let error = open(&folder.join("other")).err().expect("a full disk");
    assert!(matches!(error, OpenError::Full { .. }), "{error:?}");
    disarm(&folder, "write-full");
    database.execute(pair(5, "x")).await.expect("there is room again");
    assert_eq!(*database.failed().borrow(), None);
    database.execute(pair(6, &"x".repeat(8 << 20))).await.expect("there is room again");
    database.close().await.expect("a clean close");
}
