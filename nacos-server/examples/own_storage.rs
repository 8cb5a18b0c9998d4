//! A composed server on a storage of its own: everything in memory, gone with the process.
//!
//! It shows what an implementation of [`DatabaseOperate`] owes: batches all or nothing, one after another, with
//! positions that grow; the suite of `nacos_core::storage_conformance!` checks the rest (`tests/examples.rs`). The SQL
//! is run by SQLite; a storage need only understand the portable statements that it is given.
//!
//! ```text
//! cargo run --example own_storage -- 8848 ./data
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use nacos_core::{
    settings::{Flag, Settings, SettingsInput},
    storage::{Batch, Committed, DatabaseOperate, Position, Query, Rows, Statement, StorageError, Value, schema},
};
use nacos_server::{Builder, NacosServer};
use parking_lot::Mutex;
use rusqlite::{Connection, ffi, types::ValueRef};

/// Tables in memory.
pub(crate) struct InMemory(Mutex<State>);

struct State {
    tables: Connection,
    /// Batches that were applied.
    applied: u64,
}

impl InMemory {
    /// Empty tables.
    pub(crate) fn new() -> rusqlite::Result<Self> {
        let tables = Connection::open_in_memory()?;
        tables.pragma_update(None, "case_sensitive_like", true)?;
        for step in schema::MIGRATIONS {
            tables.execute_batch(step.sqlite)?;
        }
        Ok(Self(Mutex::new(State { tables, applied: 1 })))
    }
}

// Nothing here waits for a disk or a network, so the lock is held for microseconds and never across an await.
#[async_trait]
impl DatabaseOperate for InMemory {
    async fn execute(&self, batch: Batch) -> Result<Committed, StorageError> {
        let state = &mut *self.0.lock();
        if batch.statements.is_empty() {
            return Ok(Committed { touched: Vec::new(), position: Position(state.applied) });
        }
        // Dropped without a commit, it is rolled back.
        let transaction = state.tables.transaction().map_err(meaning)?;
        let mut touched = Vec::new();
        for (index, statement) in batch.statements.iter().enumerate() {
            let rows = write(&transaction, statement)?;
            if statement.must_touch && rows == 0 {
                return Err(StorageError::DemandUnmet(index));
            }
            touched.push(rows);
        }
        transaction.commit().map_err(meaning)?;
        state.applied += 1;
        Ok(Committed { touched, position: Position(state.applied) })
    }

    async fn query(&self, query: Query) -> Result<Rows, StorageError> {
        let state = self.0.lock();
        let mut prepared = state.tables.prepare_cached(&query.sql).map_err(meaning)?;
        let columns = prepared.column_count();
        if !prepared.readonly() || columns == 0 {
            return Err(StorageError::Refused("the query is no reading statement".to_owned()));
        }
        bind(&mut prepared, &query.args)?;
        let mut found = prepared.raw_query();
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(meaning)? {
            let read = |column| row.get_ref(column).map_err(meaning).and_then(value);
            rows.push((0..columns).map(read).collect::<Result<_, _>>()?);
        }
        Ok(Rows { rows, position: Position(state.applied) })
    }
}

fn write(tables: &Connection, statement: &Statement) -> Result<u64, StorageError> {
    let mut prepared = tables.prepare_cached(statement.def.sql).map_err(meaning)?;
    bind(&mut prepared, &statement.args)?;
    prepared.raw_execute().map(|rows| rows as u64).map_err(meaning)
}

fn bind(prepared: &mut rusqlite::CachedStatement<'_>, args: &[Value]) -> Result<(), StorageError> {
    if prepared.parameter_count() != args.len() {
        return Err(StorageError::Refused("more or fewer arguments than parameters".to_owned()));
    }
    for (index, arg) in (1..).zip(args) {
        match arg {
            Value::Null => prepared.raw_bind_parameter(index, rusqlite::types::Null),
            Value::Int(number) | Value::Time(number) => prepared.raw_bind_parameter(index, number),
            Value::Text(text) => prepared.raw_bind_parameter(index, &**text),
        }
        .map_err(meaning)?;
    }
    Ok(())
}

fn value(stored: ValueRef<'_>) -> Result<Value, StorageError> {
    match stored {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Int(number)),
        ValueRef::Text(bytes) => Ok(Value::from(String::from_utf8_lossy(bytes).into_owned())),
        other => Err(StorageError::Refused(format!("a column is {}", other.data_type()))),
    }
}

fn meaning(error: rusqlite::Error) -> StorageError {
    match error.sqlite_error().map(|raised| raised.extended_code) {
        Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => StorageError::Conflict,
        _ => StorageError::Refused(error.to_string()),
    }
}

/// The server of this example, on this port and with this folder for logs and disk copies. The test of the example
/// starts it, too.
pub(crate) fn compose(port: u16, folder: &str) -> anyhow::Result<Builder> {
    let flag = |option: &str, value: String| Flag { flag: "argument".into(), option: option.into(), value };
    let flags = vec![flag("server.port", port.to_string()), flag("nacos.home", folder.to_owned())];
    let settings = Settings::load(SettingsInput { flags, ..SettingsInput::default() })?.settings;
    Ok(NacosServer::builder(settings).storage(Arc::new(InMemory::new()?)))
}

#[tokio::main]
#[allow(clippy::print_stdout, dead_code)]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(8848), |text| text.parse())?;
    let folder = arguments.next().unwrap_or_else(|| "./data".to_owned());
    let server = compose(port, &folder)?.start().await?;
    println!("listening on {}", server.local_addr());
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}
