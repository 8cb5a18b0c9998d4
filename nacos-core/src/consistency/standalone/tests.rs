//! What the tests share: a processor whose state shows every entry, and a store that fails as it is told.

mod faults;
mod limits;
mod model;
mod restart;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::{
    super::{ApplyError, CpError, CpProtocol, RequestProcessor, SnapshotOperation},
    STATEMENTS, StandaloneOptions, StandaloneProtocol, store,
};
use crate::{
    metrics::Metrics,
    storage::{
        Batch, Committed, DatabaseOperate, LocalDatabaseOperate, LocalOptions, Query, Rows, StatementDef, StorageError,
        Value, schema,
    },
};

const GROUP: &str = "list";

/// The entries that were applied, in their order; the answer is how many there are.
#[derive(Default)]
struct List {
    state: Mutex<Vec<String>>,
    /// How often it applied an entry, was loaded, and saved.
    applied: AtomicUsize,
    loaded: AtomicUsize,
    saved: AtomicUsize,
    /// Fails to save.
    unsaveable: AtomicBool,
    /// Entries that would stop it are like any other.
    mended: AtomicBool,
}

impl List {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> Vec<String> {
        self.state.lock().clone()
    }
}

impl RequestProcessor for List {
    fn group(&self) -> &'static str {
        GROUP
    }

    fn apply(&self, entry: &str) -> Result<String, ApplyError> {
        self.applied.fetch_add(1, Ordering::Relaxed);
        let mended = self.mended.load(Ordering::Relaxed);
        if entry.starts_with("refuse") {
            return Err(ApplyError::Refused(format!("not {entry}")));
        }
        if entry.starts_with("critical") && !mended {
            return Err(ApplyError::Critical("no room in the inn".to_owned()));
        }
        assert!(mended || !entry.starts_with("panic"), "what a mess");
        let mut state = self.state.lock();
        state.push(entry.to_owned());
        Ok(state.len().to_string())
    }

    fn read(&self, request: &str) -> Result<String, ApplyError> {
        match request {
            "count" => Ok(self.state.lock().len().to_string()),
            "critical" => Err(ApplyError::Critical("not a list any more".to_owned())),
            other => Err(ApplyError::Refused(format!("no {other}"))),
        }
    }

    fn snapshot(&self) -> Option<&dyn SnapshotOperation> {
        Some(self)
    }
}

impl SnapshotOperation for List {
    fn save(&self) -> Result<String, String> {
        self.saved.fetch_add(1, Ordering::Relaxed);
        if self.unsaveable.load(Ordering::Relaxed) {
            return Err("it will not".to_owned());
        }
        serde_json::to_string(&*self.state.lock()).map_err(|error| error.to_string())
    }

    fn load(&self, snapshot: &str) -> Result<(), String> {
        self.loaded.fetch_add(1, Ordering::Relaxed);
        *self.state.lock() = serde_json::from_str(snapshot).map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// What a store does to one batch.
#[derive(Debug, Clone)]
enum Fault {
    /// Answers this, and writes nothing.
    Refuse(StorageError),
    /// Loses the answer, and writes nothing.
    Lost,
    /// Writes it and loses the answer.
    LostButWritten,
    /// Loses the answer, and writes it only just before the next batch.
    LostThenWritten,
    /// Writes it, or not, and never answers; nor anything from then on.
    Crash(bool),
    /// Tells that it came, and waits for the word to go on.
    Held(Arc<Notify>, Arc<Notify>),
}

/// The embedded database, but for the faults that are planned.
struct Faulty {
    db: LocalDatabaseOperate,
    /// For the next batch that has a statement of this id.
    by_id: Mutex<Vec<(&'static str, Fault)>>,
    /// For the batch that comes after so many.
    by_number: Mutex<Vec<(usize, Fault)>>,
    number: AtomicUsize,
    /// Batches of entries.
    appended: AtomicUsize,
    late: Mutex<Option<Batch>>,
    /// The last of the entries that are read is missing.
    short: AtomicBool,
    crashed: AtomicBool,
    crash: Notify,
}

impl Faulty {
    fn on(db: LocalDatabaseOperate) -> Arc<Self> {
        Arc::new(Self {
            db,
            by_id: Mutex::default(),
            by_number: Mutex::default(),
            number: AtomicUsize::new(0),
            appended: AtomicUsize::new(0),
            late: Mutex::default(),
            short: AtomicBool::new(false),
            crashed: AtomicBool::new(false),
            crash: Notify::new(),
        })
    }

    /// The next batch with such a statement meets this.
    fn plan(&self, id: &'static str, fault: Fault) {
        self.by_id.lock().push((id, fault));
    }

    /// Holds the next batch with such a statement: whether it came, and the word to go on.
    fn hold(&self, id: &'static str) -> (Arc<Notify>, Arc<Notify>) {
        let (came, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        self.plan(id, Fault::Held(came.clone(), go_on.clone()));
        (came, go_on)
    }

    fn fault(&self, batch: &Batch) -> Option<Fault> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let appends = batch.statements.iter().any(|one| one.def.id == "cp.append");
        self.appended.fetch_add(usize::from(appends), Ordering::Relaxed);
        let mut planned = self.by_number.lock();
        if let Some(at) = planned.iter().position(|(planned, _)| *planned == number) {
            return Some(planned.remove(at).1);
        }
        let mut planned = self.by_id.lock();
        let at = planned.iter().position(|(id, _)| batch.statements.iter().any(|one| one.def.id == *id))?;
        Some(planned.remove(at).1)
    }

    async fn end(&self) -> Result<Committed, StorageError> {
        self.crashed.store(true, Ordering::Relaxed);
        self.crash.notify_one();
        std::future::pending().await
    }

    /// One number.
    async fn number(&self, sql: &'static str) -> i64 {
        self.db.query(Query::new(sql, [])).await.unwrap().rows[0][0].as_int().unwrap()
    }

    async fn log_length(&self) -> i64 {
        self.number("SELECT count(*) FROM cp_log").await
    }

    async fn run(&self, def: &'static StatementDef) {
        let touched = self.db.execute(vec![def.with([]).must_touch()].into()).await.unwrap().touched;
        assert_ne!(touched, [0]);
    }
}

#[async_trait]
impl DatabaseOperate for Faulty {
    async fn execute(&self, batch: Batch) -> Result<Committed, StorageError> {
        if self.crashed.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let fault = self.fault(&batch);
        if let Some(Fault::Held(came, go_on)) = &fault {
            came.notify_one();
            go_on.notified().await;
        }
        let late = self.late.lock().take();
        if let Some(late) = late {
            // As one that was sent long ago, it must be decided first.
            let _ = self.db.execute(late).await;
        }
        let lost = || Err(StorageError::Unconfirmed("the line broke".to_owned()));
        match fault {
            None | Some(Fault::Held(..)) => self.db.execute(batch).await,
            Some(Fault::Refuse(error)) => Err(error),
            Some(Fault::Lost) => lost(),
            Some(Fault::LostButWritten) => {
                self.db.execute(batch).await?;
                lost()
            }
            Some(Fault::LostThenWritten) => {
                *self.late.lock() = Some(batch);
                lost()
            }
            Some(Fault::Crash(written)) => {
                if written {
                    self.db.execute(batch).await?;
                }
                self.end().await
            }
        }
    }

    async fn query(&self, query: Query) -> Result<Rows, StorageError> {
        if self.crashed.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let entries = query.sql == store::ENTRIES;
        let mut read = self.db.query(query).await?;
        if entries && self.short.load(Ordering::Relaxed) {
            read.rows.pop();
        }
        Ok(read)
    }
}

fn open(folder: &TempDir) -> Arc<Faulty> {
    let options = LocalOptions::new(folder.path().join("cp.db"));
    Faulty::on(LocalDatabaseOperate::open_with(options, schema::CONSISTENCY).unwrap())
}

/// A protocol on this store with the one group, and its processor.
async fn start(db: &Arc<Faulty>, options: StandaloneOptions) -> (StandaloneProtocol, Arc<List>) {
    let (protocol, list) = (protocol(db, options), List::new());
    protocol.add_processor(list.clone()).await.unwrap();
    (protocol, list)
}

fn protocol(db: &Arc<Faulty>, options: StandaloneOptions) -> StandaloneProtocol {
    StandaloneProtocol::new(db.clone(), options, &Metrics::new())
}

fn every(entries: u64) -> StandaloneOptions {
    StandaloneOptions { snapshot_every: entries, ..Default::default() }
}

async fn write(protocol: &StandaloneProtocol, entry: &str) -> Result<String, CpError> {
    protocol.write(GROUP, entry.into()).await
}

fn unconfirmed(answer: &Result<String, CpError>) -> bool {
    matches!(answer, Err(CpError::Unconfirmed(group, _)) if group == GROUP)
}

/// What a group says that has stopped.
#[track_caller]
fn stopped<T: std::fmt::Debug>(answer: Result<T, CpError>) -> String {
    match answer {
        Err(error @ CpError::Stopped(..)) if error.to_string().contains(GROUP) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn statements_have_ids_of_their_own() {
    let ids: BTreeSet<_> = STATEMENTS.iter().map(|def| def.id).collect();
    assert_eq!(ids.len(), STATEMENTS.len());
    assert!(ids.iter().all(|id| id.starts_with("cp.")), "{ids:?}");
}

#[tokio::test]
async fn statements_use_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let reading = [store::EXTENT, store::HEAD, store::PART, store::SIZES, store::ENTRIES];
    // An explained deletion is no reading statement; it finds its rows as a query does.
    let deleting = STATEMENTS.iter().filter(|def| def.sql.starts_with("DELETE"));
    let deleting = deleting.map(|def| def.sql.replace("DELETE", "SELECT 1"));
    for sql in deleting.chain(reading.map(str::to_owned)) {
        let count = (1..).take_while(|number| sql.contains(&format!("?{number}"))).count();
        let explained = Query::new(format!("EXPLAIN QUERY PLAN {sql}"), vec![Value::Int(1); count]);
        let rows = db.query(explained).await.unwrap().rows;
        assert!(rows.iter().any(|row| row[3].as_text().unwrap().contains("SEARCH")), "{sql}: {rows:?}");
        for plan in rows.iter().filter_map(|row| row[3].as_text()) {
            assert!(!plan.contains("SCAN c") && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
    }
}
