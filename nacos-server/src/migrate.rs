//! Moving everything from one storage to another: from the embedded database to Postgres, or back.
//!
//! Rows are copied in the order of their keys, those that are there already left alone, so that it can be interrupted
//! and run again; then every table is read on both sides and compared by its number of rows and the MD5 over all of
//! them. A target that holds rows which the source does not have is refused: it is another server's, or has been
//! written to since. No server may write to either meanwhile.

use std::{cmp::Ordering, fmt::Write as _};

use md5::{Digest as _, Md5};
use nacos_core::storage::{Batch, DatabaseOperate, Query, StatementDef, StorageError, Value};

/// A table, its key, and its other columns. Columns that the server does not use are not copied.
struct Table {
    name: &'static str,
    key: &'static [&'static str],
    others: &'static [&'static str],
}

const CAPACITY: &[&str] = &[
    "quota",
    "usage",
    "max_size",
    "max_aggr_count",
    "max_aggr_size",
    "max_history_count",
    "gmt_create",
    "gmt_modified",
];

/// All tables with data (see `nacos_core::storage::schema`).
const TABLES: &[Table] = &[
    Table {
        name: "config_info",
        key: &["id"],
        others: &[
            "data_id",
            "group_id",
            "tenant_id",
            "app_name",
            "md5",
            "gmt_create",
            "gmt_modified",
            "src_user",
            "src_ip",
            "c_desc",
            "c_use",
            "effect",
            "type",
            "encrypted_data_key",
            "c_schema",
            "content",
        ],
    },
    Table {
        name: "config_info_beta",
        key: &["id"],
        others: &[
            "data_id",
            "group_id",
            "tenant_id",
            "app_name",
            "beta_ips",
            "md5",
            "gmt_create",
            "gmt_modified",
            "src_user",
            "src_ip",
            "encrypted_data_key",
            "content",
        ],
    },
    Table {
        name: "config_info_tag",
        key: &["id"],
        others: &[
            "data_id",
            "group_id",
            "tenant_id",
            "tag_id",
            "app_name",
            "md5",
            "gmt_create",
            "gmt_modified",
            "src_user",
            "src_ip",
            "content",
        ],
    },
    Table {
        name: "config_tags_relation",
        key: &["nid"],
        others: &["id", "tag_name", "tag_type", "data_id", "group_id", "tenant_id"],
    },
    Table {
        name: "his_config_info",
        key: &["nid"],
        others: &[
            "id",
            "data_id",
            "group_id",
            "tenant_id",
            "app_name",
            "md5",
            "gmt_create",
            "gmt_modified",
            "src_user",
            "src_ip",
            "op_type",
            "encrypted_data_key",
            "content",
        ],
    },
    Table { name: "group_capacity", key: &["group_id"], others: &concat(CAPACITY) },
    Table { name: "tenant_capacity", key: &["tenant_id"], others: &concat(CAPACITY) },
    Table {
        name: "tenant_info",
        key: &["id"],
        others: &["kp", "tenant_id", "tenant_name", "tenant_desc", "create_source", "gmt_create", "gmt_modified"],
    },
    Table { name: "users", key: &["username"], others: &["password", "enabled"] },
    Table { name: "roles", key: &["username", "role"], others: &[] },
    Table { name: "permissions", key: &["role", "resource", "action"], others: &[] },
];

/// A capacity's columns with its id before them.
const fn concat(columns: &'static [&'static str]) -> [&'static str; 9] {
    let mut all = ["id"; 9];
    let mut at = 0;
    while at < columns.len() {
        all[at + 1] = columns[at];
        at += 1;
    }
    all
}

/// Rows read at once: contents may be large.
const PAGE: i64 = 50;
/// Rows, and bytes of texts, written at once.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// Rows of the target that are named when it is refused.
const NAMED_MAX: usize = 10;

/// Why not everything was moved. The source is never changed; what the target has by then, a further run keeps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The storage to read from failed.
    #[error("read {1}")]
    Source(#[source] StorageError, &'static str),
    /// The storage to write to failed. A row that it refuses is named by the table and its key.
    #[error("write {1}")]
    Target(#[source] StorageError, String),
    /// The target holds rows that the source does not have.
    #[error(
        "the target is in use already: it holds rows that the source does not have ({}); nothing was written. Move \
         into an empty database", .0.join(", ")
    )]
    Foreign(Vec<String>),
    /// After all was written the two differ: somebody wrote to one of them.
    #[error(
        "{table} differs: {source_rows} rows with MD5 {source_md5} were read, {target_rows} with {target_md5} are \
             there; did a server write meanwhile? Stop it, empty the target if it wrote there, and run this again"
    )]
    Differs {
        /// The table.
        table: &'static str,
        /// Rows of the source.
        source_rows: u64,
        /// Their MD5.
        source_md5: String,
        /// Rows of the target.
        target_rows: u64,
        /// Their MD5.
        target_md5: String,
    },
}

/// One table that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its name.
    pub table: &'static str,
    /// Rows on both sides.
    pub rows: u64,
    /// The MD5 over all of them, in lower case; the same on both sides.
    pub md5: String,
    /// Rows that this run wrote; the others were there.
    pub written: u64,
}

/// Moves everything. `progress` is told what is done: which of the three steps, rows done, and rows in all.
///
/// # Errors
/// [`MigrateError`].
pub async fn migrate(
    source: &dyn DatabaseOperate,
    target: &dyn DatabaseOperate,
    mut progress: impl FnMut(&'static str, u64, u64) + Send,
) -> Result<Vec<Moved>, MigrateError> {
    let mut total = 0;
    for table in TABLES {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        let rows = source.query(Query::new(sql, [])).await.map_err(|error| MigrateError::Source(error, table.name))?;
        total += rows.rows.first().and_then(|row| row.first()).and_then(Value::as_int).unwrap_or_default() as u64;
    }
    let mut done = 0;
    let mut foreign = Vec::new();
    for table in TABLES {
        foreign_rows(table, source, target, &mut foreign, &mut |rows| {
            done += rows;
            progress("looking at the target", done.min(total), total);
        })
        .await?;
    }
    progress("looking at the target", total, total);
    if !foreign.is_empty() {
        return Err(MigrateError::Foreign(foreign));
    }
    let mut written = Vec::new();
    let mut done = 0;
    for table in TABLES {
        let mut tick = |rows| {
            done += rows;
            progress("copying", done.min(total), total);
        };
        written.push(copy(table, source, target, &mut tick).await?);
    }
    progress("copying", total, total);
    let mut moved = Vec::new();
    let mut done = 0;
    for (table, written) in TABLES.iter().zip(written) {
        let mut tick = |rows| {
            done += rows;
            progress("comparing", done.min(total), total);
        };
        let (source_rows, source_md5) = digest(table, source, Side::Source, &mut tick).await?;
        let (target_rows, target_md5) = digest(table, target, Side::Target, &mut |_| {}).await?;
        if (source_rows, &source_md5) != (target_rows, &target_md5) {
            return Err(MigrateError::Differs { table: table.name, source_rows, source_md5, target_rows, target_md5 });
        }
        moved.push(Moved { table: table.name, rows: source_rows, md5: source_md5, written });
    }
    progress("comparing", total, total);
    Ok(moved)
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Target,
}

impl Side {
    fn failed(self, error: StorageError, table: &'static str) -> MigrateError {
        match self {
            Side::Source => MigrateError::Source(error, table),
            Side::Target => MigrateError::Target(error, table.to_owned()),
        }
    }
}

/// Reads a table in the order of its key, page by page.
struct Walk<'a> {
    table: &'static Table,
    database: &'a dyn DatabaseOperate,
    side: Side,
    columns: String,
    last: Option<Vec<Value>>,
    page: std::vec::IntoIter<Vec<Value>>,
    over: bool,
}

impl<'a> Walk<'a> {
    /// All columns, or the key alone.
    fn new(table: &'static Table, database: &'a dyn DatabaseOperate, side: Side, key_alone: bool) -> Self {
        let others = if key_alone { &[] } else { table.others };
        let columns: Vec<&str> = table.key.iter().chain(others).copied().collect();
        Self {
            table,
            database,
            side,
            columns: columns.join(", "),
            last: None,
            page: Vec::new().into_iter(),
            over: false,
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<Value>>, MigrateError> {
        loop {
            if let Some(row) = self.page.next() {
                self.last = Some(row[..self.table.key.len()].to_vec());
                return Ok(Some(row));
            }
            if self.over {
                return Ok(None);
            }
            let key = self.table.key.join(", ");
            let marks = |from: usize, count: usize| {
                (from..from + count).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
            };
            let mut args = self.last.clone().unwrap_or_default();
            let after =
                if args.is_empty() { String::new() } else { format!("WHERE ({key}) > ({}) ", marks(1, args.len())) };
            args.push(PAGE.into());
            let sql =
                format!("SELECT {} FROM {} {after}ORDER BY {key} LIMIT ?{}", self.columns, self.table.name, args.len());
            let rows = self.database.query(Query::new(sql, args)).await;
            let rows = rows.map_err(|error| self.side.failed(error, self.table.name))?.rows;
            self.over = (rows.len() as i64) < PAGE;
            self.page =
                rows.into_iter().map(|row| row.into_iter().map(plain).collect()).collect::<Vec<_>>().into_iter();
        }
    }
}

/// A time is a number in one database, and a time in the other.
fn plain(value: Value) -> Value {
    match value {
        Value::Time(ms) => Value::Int(ms),
        other => other,
    }
}

fn compare(a: &[Value], b: &[Value]) -> Ordering {
    let one = |(a, b): (&Value, &Value)| match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        _ => Ordering::Equal,
    };
    a.iter().zip(b).map(one).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
}

/// Adds what the target has and the source has not.
async fn foreign_rows(
    table: &'static Table,
    source: &dyn DatabaseOperate,
    target: &dyn DatabaseOperate,
    foreign: &mut Vec<String>,
    tick: &mut (dyn FnMut(u64) + Send),
) -> Result<(), MigrateError> {
    let mut theirs = Walk::new(table, target, Side::Target, true);
    let mut ours = Walk::new(table, source, Side::Source, true);
    let mut next = ours.next().await?;
    while let Some(row) = theirs.next().await? {
        tick(1);
        while next.as_ref().is_some_and(|next| compare(next, &row).is_lt()) {
            next = ours.next().await?;
        }
        if next.as_ref().is_none_or(|next| compare(next, &row).is_ne()) {
            foreign.push(format!("{} {}", table.name, shown(&row)));
            if foreign.len() == NAMED_MAX {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn shown(key: &[Value]) -> String {
    let one = |value: &Value| match value {
        Value::Text(text) => text.to_string(),
        other => other.as_int().map(|number| number.to_string()).unwrap_or_default(),
    };
    key.iter().map(one).collect::<Vec<_>>().join("/")
}

/// Writes what the target does not have as the source has it. Says how many rows.
async fn copy(
    table: &'static Table,
    source: &dyn DatabaseOperate,
    target: &dyn DatabaseOperate,
    tick: &mut (dyn FnMut(u64) + Send),
) -> Result<u64, MigrateError> {
    let write = write_statement(table);
    let mut ours = Walk::new(table, source, Side::Source, false);
    let mut theirs = Walk::new(table, target, Side::Target, false);
    let mut there = theirs.next().await?;
    let mut batch = Batch::default();
    let (mut bytes, mut written) = (0, 0);
    loop {
        let row = ours.next().await?;
        if let Some(row) = row {
            tick(1);
            let key = table.key.len();
            while there.as_ref().is_some_and(|there| compare(&there[..key], &row[..key]).is_lt()) {
                there = theirs.next().await?;
            }
            if there.as_ref() == Some(&row) {
                continue;
            }
            bytes += row.iter().filter_map(Value::as_text).map(|text| text.len()).sum::<usize>();
            batch.push(write.with(row));
            if batch.statements.len() < BATCH_ROWS && bytes < BATCH_BYTES {
                continue;
            }
        } else if batch.statements.is_empty() {
            return Ok(written);
        }
        written += flush(table, target, &mut batch).await?;
        bytes = 0;
    }
}

/// Writes a batch; what is refused is looked for row by row, so that it can be named.
async fn flush(table: &'static Table, target: &dyn DatabaseOperate, batch: &mut Batch) -> Result<u64, MigrateError> {
    let batch = std::mem::take(batch);
    let rows = batch.statements.len() as u64;
    match target.execute(batch.clone()).await {
        Ok(_) => return Ok(rows),
        Err(StorageError::Refused(_) | StorageError::Conflict) => {}
        Err(error) => return Err(MigrateError::Target(error, table.name.to_owned())),
    }
    for statement in batch.statements {
        let key = shown(&statement.args[..table.key.len()]);
        let one = target.execute(vec![statement].into()).await;
        one.map_err(|error| MigrateError::Target(error, format!("{} {key}", table.name)))?;
    }
    Ok(rows)
}

/// Inserts a row, or makes it what it is in the source. One statement a table, made once in the process's life.
fn write_statement(table: &'static Table) -> &'static StatementDef {
    let columns: Vec<&str> = table.key.iter().chain(table.others).copied().collect();
    let marks: Vec<String> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
    let mut sql = format!(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO ",
        table.name,
        columns.join(", "),
        marks.join(", "),
        table.key.join(", ")
    );
    if table.others.is_empty() {
        sql.push_str("NOTHING");
    } else {
        let set = |(at, column): (usize, &&str)| format!("{column} = ?{}", at + table.key.len() + 1);
        let set: Vec<String> = table.others.iter().enumerate().map(set).collect();
        let _ = write!(sql, "UPDATE SET {}", set.join(", "));
    }
    let id = Box::leak(format!("migrate.{}", table.name).into_boxed_str());
    Box::leak(Box::new(StatementDef { id, version: 1, sql: Box::leak(sql.into_boxed_str()) }))
}

/// The number of rows, and the MD5 over all of them in the order of their keys.
async fn digest(
    table: &'static Table,
    database: &dyn DatabaseOperate,
    side: Side,
    tick: &mut (dyn FnMut(u64) + Send),
) -> Result<(u64, String), MigrateError> {
    let mut walk = Walk::new(table, database, side, false);
    let (mut rows, mut md5) = (0, Md5::new());
    while let Some(row) = walk.next().await? {
        rows += 1;
        tick(1);
        for value in &row {
            match value {
                Value::Null => md5.update(b"n"),
                Value::Int(number) | Value::Time(number) => {
                    md5.update(b"i");
                    md5.update(number.to_le_bytes());
                }
                Value::Text(text) => {
                    md5.update(b"t");
                    md5.update((text.len() as u64).to_le_bytes());
                    md5.update(text.as_bytes());
                }
            }
        }
    }
    let mut hex = String::with_capacity(32);
    for byte in md5.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok((rows, hex))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nacos_core::storage::{LocalDatabaseOperate, LocalOptions, schema};

    use super::*;

    fn open(folder: &tempfile::TempDir, name: &str) -> Arc<LocalDatabaseOperate> {
        Arc::new(LocalDatabaseOperate::open(LocalOptions::new(folder.path().join(name))).unwrap())
    }

    static CONFIG: StatementDef = StatementDef {
        id: "test.config",
        version: 1,
        sql: "INSERT INTO config_info (id, data_id, group_id, gmt_create, gmt_modified, content) \
              VALUES (?1, ?2, 'G', ?1, ?1, ?3)",
    };
    static ROLE: StatementDef =
        StatementDef { id: "test.role", version: 1, sql: "INSERT INTO roles (username, role) VALUES (?1, ?2)" };
    static EDIT: StatementDef =
        StatementDef { id: "test.edit", version: 1, sql: "UPDATE config_info SET content = 'other' WHERE id = ?1" };

    async fn fill(database: &LocalDatabaseOperate, ids: std::ops::Range<i64>) {
        let config = |id: i64| CONFIG.with([id.into(), format!("d{id}").into(), format!("content {id}").into()]);
        let mut batch: Vec<_> = ids.map(config).collect();
        for (user, role) in [("a", "x"), ("a", "y"), ("b", "x")] {
            batch.push(ROLE.with([user.into(), role.into()]));
        }
        database.execute(batch.into()).await.unwrap();
    }

    #[test]
    fn every_column_of_every_table_is_moved() {
        let sql = schema::MIGRATIONS[0].sqlite;
        assert_eq!(schema::latest(schema::MIGRATIONS), 1, "a later step may have added columns");
        for text in sql.split("CREATE TABLE ").skip(1) {
            let (name, rest) = text.split_once(' ').unwrap();
            let table = TABLES.iter().find(|table| table.name == name).unwrap_or_else(|| panic!("{name}"));
            let lines = rest.lines().skip(1).take_while(|line| !line.starts_with(')'));
            let mut columns: Vec<&str> =
                lines.filter_map(|line| line.trim().split(' ').next()).filter(|word| *word != "PRIMARY").collect();
            let mut known: Vec<&str> = table.key.iter().chain(table.others).copied().collect();
            columns.sort_unstable();
            known.sort_unstable();
            assert_eq!(known, columns, "{name}");
        }
    }

    #[tokio::test]
    async fn everything_is_moved_and_a_second_run_finds_it_there() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (open(&folder, "a.db"), open(&folder, "b.db"));
        fill(&source, 0..1234).await;
        let mut shares = Vec::new();
        let moved = migrate(&*source, &*target, |what, done, total| shares.push((what, done, total))).await.unwrap();
        let of = |moved: &[Moved], name: &str| moved.iter().find(|one| one.table == name).cloned().unwrap();
        let (configs, roles) = (of(&moved, "config_info"), of(&moved, "roles"));
        assert_eq!((configs.rows, configs.written, roles.rows, roles.written), (1234, 1234, 3, 3));
        assert_eq!(shares.last(), Some(&("comparing", 1237, 1237)));
        let again = migrate(&*source, &*target, |_, _, _| {}).await.unwrap();
        assert_eq!(again.iter().map(|one| one.written).sum::<u64>(), 0);
        assert_eq!(of(&again, "config_info").md5, configs.md5);
        // As after an interruption: a part is there, a row of it outdated.
        source.execute(vec![EDIT.with([7.into()])].into()).await.unwrap();
        let again = migrate(&*source, &*target, |_, _, _| {}).await.unwrap();
        assert_eq!(of(&again, "config_info").written, 1);
        assert_ne!(of(&again, "config_info").md5, configs.md5);
    }

    #[tokio::test]
    async fn a_target_with_rows_of_its_own_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (open(&folder, "a.db"), open(&folder, "b.db"));
        fill(&source, 0..10).await;
        fill(&target, 5..12).await;
        let error = migrate(&*source, &*target, |_, _, _| {}).await.unwrap_err();
        assert!(
            matches!(&error, MigrateError::Foreign(rows) if *rows == ["config_info 10", "config_info 11"]),
            "{error}"
        );
        let rows = target.query(Query::new("SELECT count(*) FROM config_info", [])).await.unwrap();
        assert_eq!(rows.rows[0][0].as_int(), Some(7));
    }
}
