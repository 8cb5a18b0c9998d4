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
