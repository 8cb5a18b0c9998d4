//! What the writer's connection and the readers' have in common: settings, values, the meaning of errors.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, Statement as Prepared, ToSql,
    config::DbConfig,
    ffi,
    types::{ToSqlOutput, ValueRef},
};

use super::super::{Query, Statement, StorageError, Value};

/// How long to wait for a lock that another program (a backup, the `sqlite3` shell) holds on the file.
const FOREIGN_LOCK_WAIT: Duration = Duration::from_secs(5);

/// Opens a connection to a file that exists, with the settings that all connections share.
pub(super) fn connect(path: &Path, cache_kib: u32, statements: usize) -> rusqlite::Result<Connection> {
    // Each connection is used by one thread at a time, so SQLite need not lock it.
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(FOREIGN_LOCK_WAIT)?;
    conn.set_prepared_statement_cache_capacity(statements);
    // The log is moved into the database when we say so: after a failure it must stay as it is.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // A name in double quotes that is no column is an error, as in Postgres, and not a text.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "case_sensitive_like", true)?;
    Ok(conn)
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(n) | Value::Time(n) => ValueRef::Integer(*n),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn bind(prepared: &mut Prepared<'_>, args: &[Value]) -> Result<(), StorageError> {
    let wanted = prepared.parameter_count();
    if wanted != args.len() {
        return Err(StorageError::Refused(format!("{} arguments for {wanted} parameters", args.len())));
    }
    for (index, value) in args.iter().enumerate() {
        prepared.raw_bind_parameter(index + 1, value).map_err(meaning)?;
    }
    Ok(())
}

/// Runs a statement that writes; answers the number of rows touched.
pub(super) fn write(conn: &Connection, statement: &Statement) -> Result<u64, StorageError> {
    let mut prepared = conn.prepare_cached(statement.def.sql).map_err(meaning)?;
    // Transaction control counts as reading for SQLite; let in, it would commit the neighbours' batches.
    if prepared.readonly() {
        return Err(StorageError::Refused(format!("statement {} does not write", statement.def.id)));
    }
    bind(&mut prepared, &statement.args)?;
    prepared.raw_execute().map(|touched| touched as u64).map_err(meaning)
}

/// Runs a statement that reads.
pub(super) fn read(conn: &Connection, query: &Query) -> Result<Vec<Vec<Value>>, StorageError> {
    let mut prepared = conn.prepare_cached(&query.sql).map_err(meaning)?;
    let columns = prepared.column_count();
    if !prepared.readonly() || columns == 0 {
        return Err(StorageError::Refused("the query is no reading statement".into()));
    }
    bind(&mut prepared, &query.args)?;
    let mut rows = prepared.raw_query();
    let mut out = Vec::new();
    while let Some(row) = rows.next().map_err(meaning)? {
        let mut values = Vec::with_capacity(columns);
        for column in 0..columns {
            values.push(value(row.get_ref(column).map_err(meaning)?)?);
        }
        out.push(values);
    }
    Ok(out)
}

fn value(stored: ValueRef<'_>) -> Result<Value, StorageError> {
    match stored {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(n) => Ok(Value::Int(n)),
        // Only this program writes here, and it binds `str`s: other bytes were not written by it.
        ValueRef::Text(bytes) => std::str::from_utf8(bytes)
            .map(|text| Value::Text(Arc::from(text)))
            .map_err(|_| StorageError::Corrupt("a text that is not UTF-8".into())),
        ValueRef::Real(_) | ValueRef::Blob(_) => {
            Err(StorageError::Refused("a column is neither an integer nor a text".into()))
        }
    }
}

/// SQLite's code of an error, if SQLite raised it.
pub(super) fn code(error: &rusqlite::Error) -> Option<ffi::Error> {
    match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => Some(*error),
        _ => None,
    }
}

/// Whether the disk, or the limit set on the database, is full.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    code(error).is_some_and(|error| error.code == ErrorCode::DiskFull)
}

/// What an error of a statement means to the caller, given that nothing of its batch is written.
pub(super) fn meaning(error: rusqlite::Error) -> StorageError {
    let text = error.to_string();
    let Some(raised) = code(&error) else {
        return StorageError::Refused(text);
    };
    match (raised.code, raised.extended_code) {
        (
            ErrorCode::ConstraintViolation,
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID,
        ) => StorageError::Conflict,
        (ErrorCode::DiskFull, _) => StorageError::Full,
        (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _)
        | (ErrorCode::SystemIoFailure, ffi::SQLITE_IOERR_CORRUPTFS) => StorageError::Corrupt(text),
        (
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationInterrupted,
            _,
        ) => StorageError::Unavailable(text),
        _ => StorageError::Refused(text),
    }
}
