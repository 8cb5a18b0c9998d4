//! What the embedded database does beyond the suite for all backends: its limits, its end, and what it refuses.

mod storage_support;

use std::{
    fs,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use nacos_core::storage::{
    Batch, Committed, DatabaseOperate, LocalDatabaseOperate, LocalOptions, Position, Query, StatementDef, StorageError,
};
use rusqlite::Connection;
use storage_support::{NUMBERS, config, numbers, pair};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn options(folder: &TempDir) -> LocalOptions {
    LocalOptions::new(folder.path().join("nacos.db"))
}

fn open(options: LocalOptions) -> LocalDatabaseOperate {
    LocalDatabaseOperate::open(options).expect("open the database")
}

type Call = Pin<Box<dyn Future<Output = Result<Committed, StorageError>> + Send>>;

/// A database whose writing thread stands before an obstacle, with batch 0 in its hands.
struct Stuck {
    database: Arc<LocalDatabaseOperate>,
    obstacle: Connection,
    first: Call,
}

impl Stuck {
    async fn new(options: LocalOptions, content: &str) -> Self {
        let database = Arc::new(open(options.clone()));
        let obstacle = Connection::open(&options.path).expect("a second connection");
        obstacle.busy_timeout(Duration::from_secs(10)).expect("a time limit");
        obstacle.execute_batch("BEGIN IMMEDIATE").expect("the right to write");
        let first = call(&database, 0, content).await.expect("a place in the queue");
        while database.waiting_writes() > 0 {
            tokio::task::yield_now().await;
        }
        Self { database, obstacle, first }
    }

    async fn set_free(self) -> Arc<LocalDatabaseOperate> {
        self.obstacle.execute_batch("ROLLBACK").expect("give the right back");
        // At once: were it the last connection, its end would remove the log.
        drop(self.obstacle);
        self.first.await.expect("the first batch");
        self.database
    }
}

/// Sends a batch. `Ok` is the call that waits for its answer, an error is the answer.
async fn call(database: &Arc<LocalDatabaseOperate>, number: i64, content: &str) -> Result<Call, StorageError> {
    let (database, batch) = (Arc::clone(database), pair(number, content));
    let mut call: Call = Box::pin(async move { database.execute(batch).await });
    match poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
        Poll::Pending => Ok(call),
        Poll::Ready(outcome) => Err(outcome.expect_err("no answer before the obstacle is gone")),
    }
}

/// Reads more rows than can be had in the time that another call needs to begin.
const SLOW: &str = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000) \
                    SELECT count(*) FROM c";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_loses_nothing() {
    let folder = folder();
    let stuck = Stuck::new(LocalOptions { max_waiting: 10, ..options(&folder) }, "x").await;
    let (mut waiting, mut refused) = (Vec::new(), 0);
    // The thread may take some more into its hands before it stops at the obstacle.
    while refused < 10 {
        match call(&stuck.database, 1 + waiting.len() as i64, "x").await {
            Ok(call) => waiting.push(call),
            Err(StorageError::Busy) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(waiting.len() >= 10, "{}", waiting.len());
    assert!(stuck.database.waiting_writes() <= 10);
    let database = stuck.set_free().await;
    let last = waiting.len() as i64;
    for call in waiting {
        call.await.expect("a batch that waited");
    }
    database.execute(pair(2000, "x")).await.expect("room again");
    assert_eq!(numbers(&*database).await, (0..=last).chain([2000]).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_that_wait_are_bounded() {
    let folder = folder();
    let (large, half) = ("x".repeat(150_000), "x".repeat(40_000));
    let stuck = Stuck::new(LocalOptions { max_waiting_bytes: 100_000, ..options(&folder) }, &large).await;
    assert!(matches!(call(&stuck.database, 1, "x").await.err(), Some(StorageError::Busy)));
    let database = stuck.set_free().await;
    database.execute(pair(1, &half)).await.expect("room again");

    let stuck = Stuck::new(LocalOptions::new(folder.path().join("other.db")), &half).await;
    let second = call(&stuck.database, 1, &half).await.expect("the default has room for more");
    stuck.set_free().await;
    second.await.expect("a batch that waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_that_wait_are_bounded() {
    let folder = folder();
    let database = open(LocalOptions { readers: 1, max_waiting_reads: 2, ..options(&folder) });
    let slow = || database.query(Query::new(SLOW, []));
    let (a, b, c, d) = tokio::join!(slow(), slow(), slow(), slow());
    assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
    assert!(matches!(d, Err(StorageError::Busy)), "{d:?}");
    assert!(slow().await.is_ok());
    assert_eq!(database.waiting_reads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_given_up_return_their_connection() {
    let folder = folder();
    let database = open(LocalOptions { readers: 1, max_waiting_reads: 8, ..options(&folder) });
    for _ in 0..5 {
        let _ = tokio::time::timeout(Duration::from_millis(1), database.query(Query::new(SLOW, []))).await;
    }
    assert_eq!(numbers(&database).await, [0_i64; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_finishes_what_waits() {
    let folder = folder();
    let options = options(&folder);
    let stuck = Stuck::new(options.clone(), "x").await;
    let mut waiting = Vec::new();
    for n in 1..=20 {
        waiting.push(call(&stuck.database, n, "x").await.expect("a place in the queue"));
    }
    let mut read = Box::pin(stuck.database.query(Query::new(SLOW, [])));
    let begun = poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await;
    assert!(begun.is_pending());
    let database = Arc::clone(&stuck.database);
    let close = tokio::spawn(async move { database.close().await });
    let read = read.await;
    let database = stuck.set_free().await;
    close.await.expect("close").expect("a clean close");
    assert!(read.is_ok(), "{read:?}");
    for call in waiting {
        call.await.expect("a batch that waited");
    }

    let late = database.execute(pair(99, "x")).await;
    assert!(matches!(late, Err(StorageError::Unavailable(_))), "{late:?}");
    let late = database.query(Query::new(NUMBERS, [])).await;
    assert!(matches!(late, Err(StorageError::Unavailable(_))), "{late:?}");
    assert_eq!(database.close().await.map_err(|error| error.to_string()), Ok(()));
    assert_eq!(*database.failed().borrow(), None);

    // The closed one is still there, but all of its files are free, and the log is empty.
    assert_eq!(fs::metadata(options.path.with_extension("db-wal")).map(|log| log.len()).ok(), Some(0));
    assert_eq!(numbers(&open(options)).await, (0..=20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_is_a_close() {
    let folder = folder();
    let options = options(&folder);
    for n in 1..=3 {
        let database = open(options.clone());
        database.execute(pair(n, "x")).await.expect("a batch");
        drop(database);
        assert_eq!(fs::metadata(options.path.with_extension("db-wal")).map(|log| log.len()).ok(), Some(0));
    }
    assert_eq!(numbers(&open(options)).await, [1, 2, 3]);
}

#[tokio::test]
async fn positions_are_known_from_the_start() {
    let folder = folder();
    let database = open(options(&folder));
    let empty = database.query(Query::new(NUMBERS, [])).await.expect("a query").position;
    assert!(empty > Position::UNKNOWN);
    let first = database.execute(pair(1, "x")).await.expect("a batch").position;
    assert_eq!(first, Position(empty.0 + 1));
    assert_eq!(database.query(Query::new(NUMBERS, [])).await.expect("a query").position, first);
}

#[tokio::test]
async fn only_statements_that_write_are_executed() {
    static WRONG: [StatementDef; 8] = [
        StatementDef { id: "test.select", version: 1, sql: "SELECT 1" },
        StatementDef { id: "test.commit", version: 1, sql: "COMMIT" },
        StatementDef { id: "test.begin", version: 1, sql: "BEGIN" },
        StatementDef { id: "test.release", version: 1, sql: "RELEASE batch" },
        StatementDef { id: "test.attach", version: 1, sql: "ATTACH ':memory:' AS other" },
        StatementDef { id: "test.two", version: 1, sql: "DELETE FROM users; DELETE FROM roles" },
        StatementDef { id: "test.empty", version: 1, sql: "" },
        StatementDef { id: "test.quotes", version: 1, sql: "DELETE FROM users WHERE username = \"text\"" },
    ];
    let folder = folder();
    let database = open(options(&folder));
    for wrong in &WRONG {
        let outcome = database.execute(Batch::from(vec![config(1, "x"), wrong.with([])])).await;
        assert!(matches!(outcome, Err(StorageError::Refused(_))), "{}: {outcome:?}", wrong.id);
    }
    assert_eq!(numbers(&database).await, [0_i64; 0]);
}

#[tokio::test]
async fn only_statements_that_read_are_queried() {
    let folder = folder();
    let database = open(options(&folder));
    database.execute(pair(1, "x")).await.expect("a batch");
    for sql in [
        "DELETE FROM config_info",
        "DELETE FROM config_info RETURNING id",
        "UPDATE config_info SET id = 2",
        "BEGIN",
        "DROP TABLE users",
        "SELECT 1; SELECT 2",
        "SELECT 0.5",
        "SELECT x'00'",
    ] {
        let outcome = database.query(Query::new(sql, [])).await;
        assert!(matches!(outcome, Err(StorageError::Refused(_))), "{sql}: {outcome:?}");
    }
    assert_eq!(numbers(&database).await, [1]);
}

#[tokio::test]
async fn nul_is_a_character_like_others() {
    let folder = folder();
    let options = options(&folder);
    let text = "\0before\0after\0";
    let database = open(options.clone());
    database.execute(pair(1, text)).await.expect("a batch");
    drop(database);
    let read =
        open(options).query(Query::new("SELECT content FROM config_info WHERE content = ?1", [text.into()])).await;
    assert_eq!(read.expect("a query").rows, [[text.into()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_does_not_grow_with_overwrites() {
    static SET: StatementDef =
        StatementDef { id: "test.set", version: 1, sql: "UPDATE config_info SET content = ?1 WHERE id = 1" };
    let folder = folder();
    let options = options(&folder);
    let database = open(options.clone());
    database.execute(Batch::from(vec![config(1, "x")])).await.expect("a batch");
    let content = "x".repeat(1 << 20);
    for _ in 0..100 {
        database.execute(Batch::from(vec![SET.with([content.as_str().into()])])).await.expect("a batch");
    }
    let bytes = |suffix| fs::metadata(options.path.with_extension(suffix)).expect("a file").len();
    assert!(bytes("db-wal") < 24 << 20, "{}", bytes("db-wal"));
    assert!(bytes("db") < 8 << 20, "{}", bytes("db"));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_once_the_files_were_taken_away() {
    type Harm = fn(&std::path::Path);
    let harms: [(&str, Harm); 4] = [
        ("the database deleted", |path| fs::remove_file(path).expect("deleted")),
        ("its log deleted", |path| fs::remove_file(path.with_extension("db-wal")).expect("deleted")),
        ("the folder moved away", |path| {
            let folder = path.parent().expect("a folder");
            fs::rename(folder, folder.with_extension("old")).expect("moved");
        }),
        ("another put in its place", |path| {
            fs::copy(path, path.with_extension("copy")).expect("copied");
            fs::rename(path.with_extension("copy"), path).expect("replaced");
        }),
    ];
    for (name, harm) in harms {
        let folder = folder();
        let path = folder.path().join("data/nacos.db");
        let database = open(LocalOptions::new(&path));
        database.execute(pair(1, "x")).await.expect("written");
        harm(&path);
        let error = database.execute(pair(2, "x")).await.expect_err(name);
        assert!(matches!(error, StorageError::Unconfirmed(_)), "{name}: {error:?}");
        assert!(database.failed().borrow().is_some(), "{name}");
        let error = database.execute(pair(3, "x")).await.expect_err(name);
        assert!(matches!(error, StorageError::Unavailable(_)), "{name}: {error:?}");
        assert!(database.close().await.is_err(), "{name}");
    }
}

/// What a write would add to a damaged database nobody could count on.
#[tokio::test(flavor = "multi_thread")]
async fn once_damage_was_met_nothing_is_written() {
    let folder = folder();
    let database = open(options(&folder));
    for number in 0..50 {
        database.execute(pair(number, &"x".repeat(10_000))).await.expect("written");
    }
    database.close().await.expect("closed");
    let path = folder.path().join("nacos.db");
    let mut bytes = fs::read(&path).expect("read");
    // Pages that hold nothing but a long content, and the number of the next such page.
    for page in bytes.chunks_mut(4096).filter(|page| page[4..].iter().all(|byte| *byte == b'x')) {
        page.fill(0x5a);
    }
    fs::write(&path, bytes).expect("written");
    let database = open(options(&folder));
    database.execute(pair(100, "y")).await.expect("nothing is known of it yet");
    let error =
        database.query(Query::new("SELECT sum(length(content)) FROM config_info", [])).await.expect_err("damage");
    assert!(matches!(error, StorageError::Corrupt(_)), "{error:?}");
    let error = database.execute(pair(101, "x")).await.expect_err("damage");
    assert!(matches!(error, StorageError::Corrupt(_)), "{error:?}");
    database.query(Query::new("SELECT count(*) FROM tenant_info", [])).await.expect("what is whole is read");
}
