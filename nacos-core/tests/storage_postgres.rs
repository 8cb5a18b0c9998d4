//! The external database passes the suite that all storage backends must pass, and what only several servers on one
//! database can show.
//!
//! Runs where `NACOS_TEST_POSTGRES` names a Postgres (`cargo xtask pg cargo test …` starts one); each test makes a
//! schema of its own in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use nacos_core::storage::{
    Change, DatabaseOperate, PostgresDatabaseOperate, PostgresError, PostgresOptions, Query, Reach, StorageError,
    postgres_servers,
};
use sqlx::{Connection as _, Executor as _, postgres::PgConnection};

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

    async fn connect(&self) -> PgConnection {
        let mut conn = PgConnection::connect(&self.url).await.unwrap();
        conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SET search_path = {}", self.name)))).await.unwrap();
        conn
    }

    async fn run(&self, sql: &str) {
        let mut conn = self.connect().await;
        conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))).await.unwrap();
    }

    fn options(&self) -> PostgresOptions {
        let url = format!("{}?currentSchema={}", self.url, self.name);
        PostgresOptions::new(postgres_servers(&url, "", "").unwrap())
    }

    async fn open(&self) -> Arc<PostgresDatabaseOperate> {
        Arc::new(PostgresDatabaseOperate::open(self.options()).await.unwrap())
    }
}

async fn open() -> Option<(Arc<dyn DatabaseOperate>, Schema)> {
    let schema = Schema::new().await?;
    Some((schema.open().await, schema))
}

nacos_core::storage_conformance!(open);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_start_at_once_make_the_tables_once() {
    let Some(schema) = Schema::new().await else { return };
    let opening = (0..6).map(|_| PostgresDatabaseOperate::open(schema.options()));
    for opened in futures_util::future::join_all(opening).await {
        assert_eq!(*opened.unwrap().reach().borrow(), Reach::Ready);
    }
    let mut conn = schema.connect().await;
    let steps: Vec<String> =
        sqlx::query_scalar("SELECT name FROM nacos_schema ORDER BY number").fetch_all(&mut conn).await.unwrap();
    assert_eq!(steps, ["first"]);
}
