//! What every implementation of [`DatabaseOperate`] must do, as tests.
//!
//! [`storage_conformance!`](crate::storage_conformance) expands to one `#[tokio::test]` a case, so the crate that
//! calls it needs tokio with `macros` and `rt-multi-thread` among its dev-dependencies. Each case gets a database
//! of its own with the [schema](super::schema) and no rows in it.
//!
//! The cases say nothing that the trait does not promise: where it leaves a choice (no order of commits at hand,
//! U+0000 refused), they take either. Every case panics on a breach, with what was expected.

pub mod batches;
pub mod concurrency;
pub mod queries;
pub mod values;

use std::sync::Arc;

use super::{Batch, Committed, DatabaseOperate, Query, Statement, StatementDef, StorageError, Value};

/// Expands to one test for each case of the [suite](crate::storage::conformance).
///
/// Takes a function, `async fn() -> (Arc<dyn DatabaseOperate>, G)`, that makes an empty database. `G` is whatever
/// must live as long as the database does, such as its temporary folder; it is dropped after it. The function may
/// answer an `Option` of that, `None` where the database cannot be had: the cases are left out.
///
/// ```
/// # use std::sync::Arc;
/// # use nacos_core::storage::{DatabaseOperate, LocalDatabaseOperate, LocalOptions};
/// async fn open() -> (Arc<dyn DatabaseOperate>, tempfile::TempDir) {
///     let folder = tempfile::tempdir().expect("a temporary folder");
///     let options = LocalOptions::new(folder.path().join("nacos.db"));
///     (Arc::new(LocalDatabaseOperate::open(options).expect("a new database")), folder)
/// }
///
/// nacos_core::storage_conformance!(open);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! storage_conformance {
    ($open:path) => {
        $crate::storage_conformance! { @cases $open:
            batches::all_or_nothing
            batches::an_empty_batch_is_answered
            batches::an_unmet_demand_rolls_back
            batches::touched_rows_are_counted
            batches::statements_see_those_before_them
            batches::compare_and_set_by_md5
            batches::insert_from_select
            batches::upsert_updates_in_place
            batches::insert_unless_there
            batches::delete_in_portions
            batches::what_is_refused_changes_nothing
            values::texts_round_trip
            values::nul_round_trips_or_is_refused
            values::integers_round_trip
            values::times_round_trip_and_compare
            values::null_is_not_empty
            values::texts_compare_by_bytes
            values::keys_are_as_long_as_nacos_lets_them_be
            values::a_namespace_is_never_null
            values::like_minds_case_and_knows_wild_cards
            queries::what_was_answered_is_seen
            queries::pages_have_no_gap
            queries::counts_joins_and_groups
            queries::an_erroneous_query_is_refused
            concurrency::a_counter_loses_nothing
            concurrency::commits_stand_in_one_line
            concurrency::a_conflict_spares_its_neighbours
            concurrency::positions_grow
            concurrency::a_read_reaches_its_position
            concurrency::reads_see_whole_batches
            concurrency::dropped_futures_break_nothing
        }
    };
    (@cases $open:path: $($group:ident :: $case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                // Some, unless it is given as an option already.
                if let Some((database, _guard)) = Option::<($crate::storage::conformance::Database, _)>::from($open().await) {
                    $crate::storage::conformance::$group::$case(database).await;
                }
            }
        )*
    };
}

/// The database under test.
pub type Database = Arc<dyn DatabaseOperate>;

static INSERT_CONFIG: StatementDef = StatementDef {
    id: "conformance.insert_config",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, tenant_id, md5, gmt_create, gmt_modified, content) \
          VALUES (?1, ?2, 'G', '', ?3, ?4, ?4, ?5)",
};

static INSERT_HISTORY: StatementDef = StatementDef {
    id: "conformance.insert_history",
    version: 1,
    sql: "INSERT INTO his_config_info (nid, id, data_id, group_id, gmt_create, gmt_modified, op_type, content) \
          VALUES (?1, ?2, ?3, 'G', ?4, ?4, 'I', ?5)",
};

/// A configuration of group `G` whose MD5 is `md5 of CONTENT`, made at time `id`.
fn config(id: i64, data_id: &str, content: &str) -> Statement {
    let md5 = format!("md5 of {content}");
    INSERT_CONFIG.with([id.into(), data_id.into(), md5.into(), Value::Time(id), content.into()])
}

/// An entry of the history, made at time `nid`.
fn history(nid: i64, data_id: &str, content: &str) -> Statement {
    INSERT_HISTORY.with([nid.into(), 0.into(), data_id.into(), Value::Time(nid), content.into()])
}

async fn run(database: &Database, statements: Vec<Statement>) -> Result<Committed, StorageError> {
    database.execute(Batch::from(statements)).await
}

/// Runs what must succeed.
async fn done(database: &Database, statements: Vec<Statement>) -> Committed {
    match run(database, statements).await {
        Ok(committed) => committed,
        Err(error) => panic!("a sound batch failed: {error}"),
    }
}

async fn rows(database: &Database, sql: impl Into<String>, args: impl Into<Vec<Value>>) -> Vec<Vec<Value>> {
    match database.query(Query::new(sql.into(), args)).await {
        Ok(rows) => rows.rows,
        Err(error) => panic!("a sound query failed: {error}"),
    }
}

/// The first column, all of integers.
async fn ints(database: &Database, sql: impl Into<String>, args: impl Into<Vec<Value>>) -> Vec<i64> {
    let rows = rows(database, sql, args).await;
    rows.iter().map(|row| row[0].as_int().expect("an integer")).collect()
}

/// The first column, all of texts.
async fn texts(database: &Database, sql: impl Into<String>, args: impl Into<Vec<Value>>) -> Vec<String> {
    let rows = rows(database, sql, args).await;
    rows.iter().map(|row| row[0].as_text().expect("a text").to_string()).collect()
}

/// Rows in the tables of configurations and of their history.
async fn counts(database: &Database) -> (i64, i64) {
    let sql = "SELECT (SELECT count(*) FROM config_info), (SELECT count(*) FROM his_config_info)";
    let rows = rows(database, sql, []).await;
    (rows[0][0].as_int().expect("a count"), rows[0][1].as_int().expect("a count"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_in_the_macro() {
        let listed = include_str!("conformance.rs");
        for (group, text) in [
            ("batches", include_str!("conformance/batches.rs")),
            ("values", include_str!("conformance/values.rs")),
            ("queries", include_str!("conformance/queries.rs")),
            ("concurrency", include_str!("conformance/concurrency.rs")),
        ] {
            let cases: Vec<&str> =
                text.split("pub async fn ").skip(1).filter_map(|rest| rest.split('(').next()).collect();
            assert!(!cases.is_empty(), "{group}");
            for case in cases {
                assert!(listed.contains(&format!(" {group}::{case}\n")), "{group}::{case} is not run");
            }
        }
    }
}
