//! What is left after a process died, a power cut tore the log, or a byte went bad.

mod storage_support;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use nacos_core::storage::{DatabaseOperate, LocalDatabaseOperate, LocalOptions, OpenError, Query, StorageError};
use rusqlite::Connection;
use storage_support::{numbers, pair};
use tempfile::TempDir;

const CHILD_PATH: &str = "NACOS_TEST_DATABASE";
/// Small pages make small frames, and so fewer places to cut at.
const PAGE_BYTES: usize = 512;
const FRAME_BYTES: usize = 24 + PAGE_BYTES;

/// The files of a database that died after some batches.
struct Remains {
    database: Vec<u8>,
    log: Vec<u8>,
    /// Length of the log after each batch, the first of which is 1.
    ends: Vec<usize>,
    folder: TempDir,
}

impl Remains {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("made.db");
        Connection::open(&path)
            .and_then(|conn| conn.execute_batch(&format!("PRAGMA page_size = {PAGE_BYTES}; VACUUM")))
            .expect("a database of small pages");
        // The schema is in the database, the batches in the log.
        drop(LocalDatabaseOperate::open(LocalOptions::new(&path)).expect("the schema"));
        let database = LocalDatabaseOperate::open(LocalOptions::new(&path)).expect("the database");
        let read = |suffix: &str| fs::read(folder.path().join(suffix)).expect("a file");
        let mut ends = Vec::new();
        for n in 1..=8 {
            database.execute(pair(n, &"content".repeat(30 * n as usize))).await.expect("a batch");
            ends.push(read("made.db-wal").len());
        }
        let remains = Self { database: read("made.db"), log: read("made.db-wal"), ends, folder };
        drop(database);
        assert!(remains.ends.is_sorted() && remains.ends[0] > 32, "{:?}", remains.ends);
        remains
    }

    /// Lays the files down and opens them.
    fn open(&self, database: &[u8], log: &[u8]) -> Result<LocalDatabaseOperate, OpenError> {
        let path = self.folder.path().join("copy.db");
        for (suffix, content) in [("", Some(database)), ("-wal", Some(log)), ("-shm", None)] {
            let file = PathBuf::from(format!("{}{suffix}", path.display()));
            let _ = fs::remove_file(&file);
            if let Some(content) = content {
                fs::write(file, content).expect("a copy");
            }
        }
        LocalDatabaseOperate::open(LocalOptions::new(path))
    }

    /// The batches whose commit ends before this byte of the log.
    fn committed_by(&self, at: usize) -> Vec<i64> {
        (1..).zip(&self.ends).filter(|(_, end)| **end <= at).map(|(n, _)| n).collect()
    }
}

#[tokio::test]
async fn a_torn_log_keeps_every_commit_before_the_tear() {
    let remains = Remains::new().await;
    let whole = remains.log.len();
    let last_frames = whole - 2 * FRAME_BYTES..=whole;
    let others = (32..whole).step_by(FRAME_BYTES).flat_map(|end| [end - 1, end, end + 1, end + 100]);
    for at in [0, 1, 31].into_iter().chain(others).chain(last_frames) {
        let at = at.min(whole);
        let database = remains.open(&remains.database, &remains.log[..at]).expect("a torn log is no damage");
        assert_eq!(numbers(&database).await, remains.committed_by(at), "cut at {at} of {whole}");
        if at % 16 == 0 {
            // What comes next is written where the torn commit stood.
            database.execute(pair(1000, "x")).await.expect("a batch");
            drop(database);
            let again = LocalDatabaseOperate::open(LocalOptions::new(remains.folder.path().join("copy.db")));
            let all = numbers(&again.expect("the same database")).await;
            assert_eq!(all, [remains.committed_by(at), vec![1000]].concat());
        }
    }
}

#[tokio::test]
async fn a_log_whose_tail_is_garbage_keeps_every_commit_before_it() {
    let remains = Remains::new().await;
    let before_last = remains.ends[remains.ends.len() - 2];
    for at in (before_last..remains.log.len()).step_by(61) {
        for garbage in [0, 0xff, b'x'] {
            let mut log = remains.log.clone();
            log[at..].fill(garbage);
            if log == remains.log {
                continue;
            }
            let database = remains.open(&remains.database, &log).expect("a torn log is no damage");
            assert_eq!(numbers(&database).await, remains.committed_by(before_last), "garbage from {at}");
        }
    }
}

#[tokio::test]
async fn a_flipped_byte_in_the_log_never_undoes_more_than_the_last_commit() {
    let remains = Remains::new().await;
    let before_last = remains.ends[remains.ends.len() - 2];
    let mut told = 0;
    for at in (0..remains.log.len()).step_by(37) {
        let mut log = remains.log.clone();
        log[at] ^= 1 << (at % 8);
        match remains.open(&remains.database, &log) {
            Err(OpenError::Corrupt { reason, .. }) => {
                assert!(reason.contains("-wal"), "{reason}");
                told += 1;
            }
            Err(error) => panic!("flipped at {at}: {error}"),
            Ok(database) => {
                assert!(at >= before_last, "flipped at {at}, and not told");
                assert_eq!(numbers(&database).await, remains.committed_by(before_last), "flipped at {at}");
            }
        }
    }
    assert!(told >= before_last / 37, "{told}");
}

#[tokio::test]
async fn a_flipped_byte_in_the_database_is_an_error_or_goes_unseen() {
    let remains = Remains::new().await;
    // A log that is read again makes this an unclean start, at which all pages are looked at.
    let unclean = &remains.log[..remains.ends[0]];
    let mut outcomes = BTreeMap::new();
    let mut count = |outcome: &'static str| *outcomes.entry(outcome).or_insert(0) += 1;
    for (at, log) in (0..remains.database.len()).step_by(101).flat_map(|at| [(at, unclean), (at, &[][..])]) {
        let mut bytes = remains.database.clone();
        bytes[at] ^= 1 << (at % 8);
        let database = match remains.open(&bytes, log) {
            Ok(database) => database,
            Err(OpenError::Corrupt { .. }) => {
                count("told at start");
                continue;
            }
            // In the header: it is not the version that it says, nor of a format that can be written.
            Err(OpenError::NewerVersion { .. } | OpenError::Unwritable { .. }) if at < 100 => continue,
            Err(error) => panic!("flipped at {at}: {error:?}"),
        };
        let mut seen = "unseen";
        for table in ["config_info", "his_config_info", "config_tags_relation", "tenant_info", "users"] {
            match database.query(Query::new(format!("SELECT * FROM {table} ORDER BY 2"), [])).await {
                Ok(_) => {}
                // A name in the schema is another one now.
                Err(StorageError::Corrupt(_) | StorageError::Refused(_)) => seen = "told by a query",
                Err(error) => panic!("flipped at {at}: {error:?}"),
            }
        }
        match database.execute(pair(2000, "x")).await {
            Ok(_) | Err(StorageError::Corrupt(_) | StorageError::Refused(_) | StorageError::Conflict) => {}
            Err(error) => panic!("flipped at {at}: {error:?}"),
        }
        count(seen);
    }
    assert!(outcomes.contains_key("told at start"), "{outcomes:?}");
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nacos.db");
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "child_writes_until_killed", "--nocapture"])
            .env(CHILD_PATH, &path)
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()
            .expect("a second process");
        let said = BufReader::new(child.stdout.take().expect("its output"));
        let mut lines =
            said.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("written ")?.parse::<i64>().ok());
        let before = acknowledged.len();
        acknowledged.extend(lines.by_ref().take(100 + 37 * round));
        child.kill().expect("kill -9");
        child.wait().expect("its end");
        assert!(acknowledged.len() >= before + 100, "the child ended by itself");
        // Answers that were on their way count as well.
        acknowledged.extend(lines);

        let database = LocalDatabaseOperate::open(LocalOptions::new(&path)).expect("the database");
        let there = numbers(&database).await;
        let lost: Vec<i64> = acknowledged.iter().copied().filter(|n| there.binary_search(n).is_err()).collect();
        assert_eq!(lost, [0_i64; 0], "in round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the second process of another test"]
async fn child_writes_until_killed() {
    let path = std::env::var_os(CHILD_PATH).expect("run by the other test only");
    let database = LocalDatabaseOperate::open(LocalOptions::new(Path::new(&path))).expect("the database");
    let first = numbers(&database).await.last().map_or(1, |last| last + 1);
    let database = Arc::new(database);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let database = Arc::clone(&database);
            tokio::spawn(async move {
                for n in (first + writer..).step_by(8) {
                    database.execute(pair(n, &"content".repeat(100))).await.expect("a batch");
                    // One write, so that lines are whole; an error says that the other process is gone.
                    if std::io::stdout().write_all(format!("written {n}\n").as_bytes()).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
}
