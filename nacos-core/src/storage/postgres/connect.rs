//! Connections: to the first server that takes writes, set up alike, and what their errors mean.

use std::time::Duration;

use sqlx::{Connection as _, Executor as _, postgres::PgConnection};

use super::{super::StorageError, url::Server};

/// Past this the connection counts as lost: the server gives a statement up before ([`SESSION`]).
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(13);

/// Times are UTC and texts are read plainly, whatever the database's own settings.
const SESSION: &str = "SET TIME ZONE 'UTC'; SET standard_conforming_strings = on; SET statement_timeout = 10000; \
                       SET lock_timeout = 8000; SET idle_in_transaction_session_timeout = 30000";

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ConnectError {
    /// No server could be reached, or none takes writes. It may be better in a moment.
    #[error("{0}")]
    Away(String),
    /// A server answered that it will not have us: wrong password, no such database. An operator must act.
    #[error("{0}")]
    Refused(String),
}

/// Connects to the first server that takes writes, beginning at `first`. Answers which it is.
pub(super) async fn connect(
    servers: &[Server],
    first: usize,
    timeout: Duration,
) -> Result<(PgConnection, usize), ConnectError> {
    let mut told = Vec::new();
    let mut refused = false;
    for at in (0..servers.len()).map(|step| (first + step) % servers.len()) {
        let server = &servers[at];
        let limit = server.connect_timeout.unwrap_or(timeout);
        match tokio::time::timeout(limit, one(server)).await {
            Ok(Ok(conn)) => return Ok((conn, at)),
            Ok(Err(error)) => {
                refused |= matches!(error, ConnectError::Refused(_));
                told.push(format!("{server}: {error}"));
            }
            Err(_) => told.push(format!("{server}: no answer within {limit:?}")),
        }
    }
    let told = told.join("; ");
    Err(if refused { ConnectError::Refused(told) } else { ConnectError::Away(told) })
}

async fn one(server: &Server) -> Result<PgConnection, ConnectError> {
    let failed = |error: sqlx::Error| {
        // What it answers, it means, unless it says that it is starting, stopping, or has no room.
        let passing =
            |code: &str| ["08", "25", "40", "53", "55", "57", "58", "XX"].iter().any(|class| code.starts_with(class));
        let refused = code(&error).is_some_and(|code| !passing(&code))
            || matches!(&error, sqlx::Error::Tls(_) | sqlx::Error::Configuration(_))
            // What TLS makes of a certificate that it does not accept.
            || matches!(&error, sqlx::Error::Io(broken) if broken.kind() == std::io::ErrorKind::InvalidData);
        let text = text(&error);
        if refused { ConnectError::Refused(text) } else { ConnectError::Away(text) }
    };
    let mut conn = PgConnection::connect_with(&server.options).await.map_err(failed)?;
    set_up(&mut conn).await.map_err(failed)?;
    let read_only: bool =
        sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut conn).await.map_err(failed)?;
    if read_only {
        return Err(ConnectError::Away("it is a standby that takes no writes".to_owned()));
    }
    Ok(conn)
}

/// Gives a session its settings.
pub(super) async fn set_up(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    conn.execute(sqlx::raw_sql(SESSION)).await.map(drop)
}

/// The SQLSTATE of an error, if the database raised it.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

/// What an error says, without sqlx's own words for a database's.
pub(super) fn text(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(raised) => raised.message().to_owned(),
        None => error.to_string(),
    }
}

/// What became of a statement.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database refused it; the session goes on.
    Statement(StorageError),
    /// It collided with another transaction; the same may succeed now.
    Collision(String),
    /// The session is of no more use.
    Session(String),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let told = text(&error);
        let Some(code) = code(&error) else {
            return match error {
                sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
                    Failure::Statement(StorageError::Refused(told))
                }
                _ => Failure::Session(told),
            };
        };
        meaning_of(&code, told)
    }
}

/// What an error that the database raised means, by its SQLSTATE.
pub(super) fn meaning_of(code: &str, told: String) -> Failure {
    match code.as_bytes() {
        b"23505" => Failure::Statement(StorageError::Conflict),
        b"53100" | b"53200" => Failure::Statement(StorageError::Full),
        b"40001" | b"40P01" => Failure::Collision(told),
        // Given up after its time, or waited too long for a lock.
        b"57014" | b"55P03" => Failure::Statement(StorageError::Unavailable(told)),
        b"XX001" | b"XX002" => Failure::Statement(StorageError::Corrupt(told)),
        // It became a standby; the connection is to the wrong server now.
        b"25006" => Failure::Session(told),
        // Connection lost, too many connections, shutting down, starting up.
        [b'0', b'8', ..] | [b'5', b'3', ..] | [b'5', b'7', ..] | [b'5', b'8', ..] => Failure::Session(told),
        _ => Failure::Statement(StorageError::Refused(format!("{told} ({code})"))),
    }
}
