//! What other servers changed: `LISTEN` on a connection of its own.
//!
//! A payload is the name of the server that wrote, the position of its commit, and what it said
//! ([`Batch::changed`](super::super::Batch::changed)).

use std::{sync::Arc, time::Duration};

use sqlx::{
    Executor as _,
    postgres::{PgListener, PgPoolOptions},
};

use super::{
    super::{Change, Position},
    Reach, Shared, connect,
};

/// The channel of all servers on one schema, as an expression: channels are the database's, which may hold several.
pub(super) const CHANNEL: &str = "'nacos_changes_' || to_hex(hashtextextended(current_schema()::text, 0))";
/// Postgres takes payloads under 8,000 bytes.
const PAYLOAD_MAX: usize = 7_900;
/// A connection that heard nothing for so long is asked whether it is there.
const QUIET: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(500);

/// What to send; what is too long for it, or has a character that Postgres has not, is left to the periodic check.
pub(super) fn payloads<'a>(node: &str, position: u64, changed: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut payloads: Vec<String> = changed.map(|what| format!("{node} {position} {what}")).collect();
    payloads.retain(|payload| payload.len() <= PAYLOAD_MAX && !payload.contains('\0'));
    payloads.sort_unstable();
    payloads.dedup();
    payloads
}

fn read(payload: &str) -> Option<(&str, Position, &str)> {
    let mut parts = payload.splitn(3, ' ');
    Some((parts.next()?, Position(parts.next()?.parse().ok()?), parts.next()?))
}

/// Listens until it is aborted.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut reach = shared.reach.subscribe();
    loop {
        // The writer looks for the database; one that is not there need not be asked twice.
        if reach.wait_for(|reach| *reach == Reach::Ready).await.is_err() {
            return;
        }
        if let Err(error) = listen(&shared).await {
            tracing::warn!(error = connect::text(&error), "not told of other servers' changes");
        }
        shared.doubt.notify_one();
        tokio::time::sleep(REST).await;
    }
}

/// Listens until the connection breaks.
async fn listen(shared: &Shared) -> Result<(), sqlx::Error> {
    let at = shared.at.load(std::sync::atomic::Ordering::Acquire);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(shared.options.connect_timeout)
        .connect_lazy_with(shared.options.servers[at].options.clone());
    let listening = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        let channel = sqlx::AssertSqlSafe(format!("SELECT {CHANNEL}"));
        let channel: String = sqlx::query_scalar(channel).fetch_one(&mut listener).await?;
        listener.listen(&channel).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    let mut listener = tokio::time::timeout(shared.options.connect_timeout + QUIET, listening)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    // What was changed before nobody has told us of.
    let _ = shared.changes.send(Change::Missed);
    // Another server that is written to now tells its changes itself.
    while shared.at.load(std::sync::atomic::Ordering::Acquire) == at {
        let notification = match tokio::time::timeout(QUIET, listener.try_recv()).await {
            Ok(received) => received?,
            Err(_) => {
                let asked = listener.execute(sqlx::raw_sql("SELECT 1"));
                match tokio::time::timeout(QUIET, asked).await {
                    Ok(answered) => answered.map(drop)?,
                    Err(_) => return Ok(()),
                }
                continue;
            }
        };
        let Some(notification) = notification else {
            return Ok(());
        };
        let Some((node, position, what)) = read(notification.payload()) else {
            tracing::debug!(payload = notification.payload(), "a notification of nobody's");
            continue;
        };
        if node != shared.node {
            shared.reached(position);
            // An error says that nobody listens.
            let _ = shared.changes.send(Change::Told(what.into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_read_as_they_were_written() {
        let changed =
            ["config a b".to_owned(), "x".repeat(9000), "config a b".to_owned(), String::new(), "\0".to_owned()];
        let payloads = payloads("n1", 7, changed.iter());
        assert_eq!(payloads.len(), 2);
        assert_eq!(read(&payloads[0]), Some(("n1", Position(7), "")));
        assert_eq!(read(&payloads[1]), Some(("n1", Position(7), "config a b")));
        assert_eq!(read("nonsense"), None);
    }
}
