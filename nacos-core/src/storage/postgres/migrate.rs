//! The tables: made, changed step by step, or taken over from Nacos' plug-in.
//!
//! All in one transaction under a lock, so that of several servers that start at once one does it.

use sqlx::{Executor as _, Row as _, postgres::PgConnection};

use super::{super::schema, PostgresError, answered, connect, known_schema, take_over};

/// The lock for changes of the schema. (The letters "nacot".)
const SCHEMA_LOCK: i64 = 0x6e_6163_6f74;

/// What the server keeps for itself beside Nacos' tables: which steps were run, and the order of commits.
const OWN: &str = "CREATE TABLE IF NOT EXISTS nacos_schema (number bigint NOT NULL PRIMARY KEY, name text NOT NULL, \
                   applied timestamptz NOT NULL DEFAULT now()); \
                   CREATE SEQUENCE IF NOT EXISTS nacos_position";

/// Why the schema is not as it must be.
pub(super) enum Error {
    /// An operator must act.
    Refused(PostgresError),
    /// The connection broke, or another transaction was in the way.
    Failed(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        connect::Failure::from(error).into()
    }
}

impl From<connect::Failure> for Error {
    fn from(failure: connect::Failure) -> Self {
        match failure {
            connect::Failure::Statement(error) => Error::Refused(PostgresError::Migration(error.to_string())),
            connect::Failure::Collision(why) | connect::Failure::Session(why) => Error::Failed(why),
        }
    }
}

/// Brings the schema up to date.
pub(super) async fn run(conn: &mut PgConnection) -> Result<(), Error> {
    let known = known_schema();
    // Most starts find all done, and need no lock.
    if answered(async { Ok(found(conn).await?) }).await? == Some(known) {
        return Ok(());
    }
    // Waiting for another server's step takes what it takes.
    conn.execute(sqlx::raw_sql(
        "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL client_min_messages = warning",
    ))
    .await?;
    let outcome = under_lock(conn, known).await;
    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
    conn.execute(sqlx::raw_sql(end)).await?;
    outcome
}

async fn under_lock(conn: &mut PgConnection, known: u32) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *conn).await?;
    let found = found(conn).await?;
    if let Some(found) = found
        && found > known
    {
        return Err(Error::Refused(PostgresError::NewerVersion { found, known }));
    }
    conn.execute(sqlx::raw_sql(OWN)).await?;
    let mut done = found.unwrap_or(0);
    if done == 0 && take_over::run(conn).await? {
        tracing::info!("the tables of Nacos' plug-in for PostgreSQL were taken over");
        note(conn, 1, "taken over").await?;
        done = 1;
    }
    for step in schema::MIGRATIONS.iter().filter(|step| step.number > done) {
        conn.execute(sqlx::raw_sql(step.postgres)).await?;
        note(conn, step.number, step.name).await?;
        tracing::info!(number = step.number, name = step.name, "database schema changed");
    }
    Ok(())
}

async fn note(conn: &mut PgConnection, number: u32, name: &str) -> Result<(), sqlx::Error> {
    let noted = sqlx::query("INSERT INTO nacos_schema (number, name) VALUES ($1, $2)");
    noted.bind(i64::from(number)).bind(name).execute(conn).await.map(drop)
}

/// The number of the last step that was run; `None` where this server was never at work.
async fn found(conn: &mut PgConnection) -> Result<Option<u32>, sqlx::Error> {
    // Not `to_regclass`, which remembers within a transaction that there was none.
    let there: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'nacos_schema')",
    )
    .fetch_one(&mut *conn)
    .await?;
    if !there {
        return Ok(None);
    }
    let row = sqlx::query("SELECT COALESCE(max(number), 0) FROM nacos_schema").fetch_one(conn).await?;
    let number: i64 = row.try_get(0)?;
    Ok(Some(u32::try_from(number).unwrap_or(u32::MAX)))
}
