//! The external database passes the suite that all storage backends must pass, and what only several servers on one
//! database, a database of another's making, or one that goes away can show.
//!
//! Runs where `NACOS_TEST_POSTGRES` names a Postgres (`cargo xtask pg cargo test …` starts one); each test makes a
//! schema of its own in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(clippy::print_stderr, reason = "what was left out, and how much of a mixture came about")]

mod away;
mod limits;
mod load;
mod proxy;
mod servers;
mod suite;
mod take_over;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use nacos_core::storage::{
    Batch, Change, DatabaseOperate, PostgresDatabaseOperate, PostgresOptions, Query, Reach, Rows, Statement,
    StatementDef, StorageError, Value, postgres_servers,
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, postgres::PgConnection};
use tokio::{sync::broadcast, time::Instant};

use crate::proxy::Proxy;

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(40);

/// A schema of its own; whoever holds it can open any number of databases on it.
struct Schema {
    url: String,
    name: String,
}

impl Schema {
    /// `None` where there is no Postgres.
    async fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Ok(url) = std::env::var("NACOS_TEST_POSTGRES") else {
            eprintln!("left out: NACOS_TEST_POSTGRES is not set");
            return None;
        };
        let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let schema = Self { url, name };
        schema.run(&format!("CREATE SCHEMA {}", schema.name)).await;
        Some(schema)
    }

    /// A connection beside those of the databases.
    async fn connect(&self) -> PgConnection {
        let mut conn = PgConnection::connect(&self.url).await.unwrap();
        let set = format!("SET search_path = {}; SET client_min_messages = warning", self.name);
        conn.execute(sqlx::raw_sql(AssertSqlSafe(set))).await.unwrap();
        conn
    }

    async fn run(&self, sql: &str) {
        let mut conn = self.connect().await;
        conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
    }

    /// The first column of what a query beside the databases reads.
    async fn texts(&self, sql: &str) -> Vec<String> {
        let mut conn = self.connect().await;
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut conn).await.unwrap()
    }

    /// The keys of the configurations that are there.
    async fn keys(&self) -> Vec<String> {
        self.texts("SELECT data_id::text FROM config_info ORDER BY data_id COLLATE \"C\"").await
    }

    /// The URL, with other hosts and with settings of libpq's form; its connections bear the schema's name.
    fn url(&self, hosts: Option<&str>, more: &str) -> String {
        let (login, rest) = self.url.rsplit_once('@').unwrap();
        let (host, database) = rest.split_once('/').unwrap();
        let hosts = hosts.unwrap_or(host);
        format!("{login}@{hosts}/{database}?currentSchema={0}&ApplicationName={0}&sslmode=disable{more}", self.name)
    }

    fn options(&self) -> PostgresOptions {
        PostgresOptions::new(postgres_servers(&self.url(None, ""), "", "").unwrap())
    }

    /// By way of one or several proxies, in their order.
    fn options_by(&self, proxies: &[&Proxy]) -> PostgresOptions {
        let hosts: Vec<String> = proxies.iter().map(|proxy| format!("127.0.0.1:{}", proxy.port())).collect();
        let servers = postgres_servers(&self.url(Some(&hosts.join(",")), ""), "", "").unwrap();
        PostgresOptions { connect_timeout: Duration::from_secs(2), ..PostgresOptions::new(servers) }
    }

    async fn open(&self) -> Arc<PostgresDatabaseOperate> {
        self.open_with(self.options()).await
    }

    async fn open_with(&self, options: PostgresOptions) -> Arc<PostgresDatabaseOperate> {
        Arc::new(within("open", PostgresDatabaseOperate::open(options)).await.unwrap())
    }

    /// A way to the server that can be cut.
    async fn proxy(&self) -> Proxy {
        let (_, rest) = self.url.rsplit_once('@').unwrap();
        Proxy::new(rest.split_once('/').unwrap().0.parse().unwrap()).await
    }

    /// Ends the sessions of the databases on this schema; answers how many there were.
    async fn terminate(&self, which: &str) -> usize {
        let sql = format!(
            "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE application_name = '{}' AND {which}",
            self.name
        );
        self.texts(&sql).await.len()
    }
}

static PUT: StatementDef = StatementDef {
    id: "test.put",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, tenant_id, md5, gmt_create, gmt_modified, content) \
          VALUES (?1, ?2, 'G', '', '', ?3, ?3, ?4)",
};

/// A configuration of group `G`.
fn put(id: i64, data_id: &str, content: &str) -> Statement {
    PUT.with([id.into(), data_id.into(), Value::Time(id), content.into()])
}

/// A batch that writes one configuration, and has others told of it.
fn telling(id: i64, data_id: &str, changed: &[&str]) -> Batch {
    Batch { statements: vec![put(id, data_id, "x")], changed: changed.iter().map(|&what| what.to_owned()).collect() }
}

const KEYS: &str = "SELECT data_id FROM config_info ORDER BY data_id";

async fn query(database: &impl DatabaseOperate, sql: &str) -> Result<Rows, StorageError> {
    within("a query", database.query(Query::new(sql.to_owned(), []))).await
}

async fn write(database: &impl DatabaseOperate, batch: impl Into<Batch>) -> Result<(), StorageError> {
    within("a write", database.execute(batch.into())).await.map(drop)
}

/// What comes of it, which must be soon.
async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(PATIENCE, work).await else { panic!("{what} did not end in {PATIENCE:?}") };
    done
}

/// Asks until there is an answer.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

async fn is_ready(database: &PostgresDatabaseOperate) {
    within("reach Ready", database.reach().wait_for(|reach| *reach == Reach::Ready)).await.unwrap();
}

async fn is_away(database: &PostgresDatabaseOperate) {
    within("reach Away", database.reach().wait_for(|reach| *reach != Reach::Ready)).await.unwrap();
}

/// The next change that `wanted` holds for; the others are passed over.
async fn change(changes: &mut broadcast::Receiver<Change>, wanted: impl Fn(&Change) -> bool) -> Change {
    within("a change", async {
        loop {
            let change = changes.recv().await.unwrap();
            if wanted(&change) {
                return change;
            }
        }
    })
    .await
}

fn told(what: &str) -> Change {
    Change::Told(what.into())
}

/// Returns once `to` hears what `from` writes. What it has heard until then is taken from `changes`.
async fn hears(from: &impl DatabaseOperate, to: &mut broadcast::Receiver<Change>) {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    eventually("a server hears another", async || {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("probe {number}");
        write(from, telling(-i64::from(number), &name, &[&name])).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_millis(200), change(to, |change| *change == told(&name)));
        heard.await.ok()
    })
    .await;
}

/// A time that an answer is not to exceed that needs no waiting.
async fn at_once<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = within(what, work).await;
    assert!(begun.elapsed() < Duration::from_millis(700), "{what} took {:?}", begun.elapsed());
    done
}
