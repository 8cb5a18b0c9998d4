//! The suite of all storage backends: on one server, and on three servers of one database that take turns.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use nacos_core::storage::{
    Batch, Committed, DatabaseOperate, Position, PostgresDatabaseOperate, PostgresOptions, Query, Rows, StorageError,
};

use crate::Schema;

async fn one() -> Option<(Arc<dyn DatabaseOperate>, Schema)> {
    let schema = Schema::new().await?;
    Some((schema.open().await, schema))
}

mod alone {
    nacos_core::storage_conformance!(super::one);
}

/// Servers on one database; each call goes to the next.
///
/// What was answered by one is there for all: a write is committed before its answer, and a read takes its snapshot
/// after the call. Positions of commits are those of the database. What differs is what a server *knows* of them when
/// it reads, or has nothing to write: it hears of another's commits a moment later, and only where those say
/// something. Where it knows less than was answered already, the position counts as unknown; where it knows as much,
/// the suite holds it to that.
struct Turns {
    servers: Vec<Arc<PostgresDatabaseOperate>>,
    turn: AtomicUsize,
    answered: AtomicU64,
}

impl Turns {
    fn next(&self) -> &PostgresDatabaseOperate {
        &self.servers[self.turn.fetch_add(1, Ordering::Relaxed) % self.servers.len()]
    }

    fn known(&self, position: Position, before: u64) -> Position {
        if position.0 < before { Position::UNKNOWN } else { position }
    }
}

#[async_trait]
impl DatabaseOperate for Turns {
    async fn execute(&self, batch: Batch) -> Result<Committed, StorageError> {
        let before = self.answered.load(Ordering::SeqCst);
        let empty = batch.statements.is_empty();
        let mut committed = self.next().execute(batch).await?;
        if empty {
            committed.position = self.known(committed.position, before);
        } else {
            self.answered.fetch_max(committed.position.0, Ordering::SeqCst);
        }
        Ok(committed)
    }

    async fn query(&self, query: Query) -> Result<Rows, StorageError> {
        let before = self.answered.load(Ordering::SeqCst);
        let Rows { rows, position } = self.next().query(query).await?;
        Ok(Rows { rows, position: self.known(position, before) })
    }
}

async fn three() -> Option<(Arc<dyn DatabaseOperate>, Schema)> {
    let schema = Schema::new().await?;
    // Few connections each: to log in costs a test build much time, and the suite's readers are many.
    let options = PostgresOptions { max_connections: 6, ..schema.options() };
    let servers = futures_util::future::join_all((0..3).map(|_| schema.open_with(options.clone()))).await;
    Some((Arc::new(Turns { servers, turn: AtomicUsize::default(), answered: AtomicU64::default() }), schema))
}

mod in_turns {
    nacos_core::storage_conformance!(super::three);
}
