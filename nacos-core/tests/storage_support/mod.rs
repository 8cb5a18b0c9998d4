//! What the tests of the embedded database write and read.

#![allow(dead_code, reason = "each test file uses its part")]

use nacos_core::storage::{Batch, DatabaseOperate, Query, Statement, StatementDef, Value};

static CONFIG: StatementDef = StatementDef {
    id: "test.config",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, gmt_create, gmt_modified, content) \
          VALUES (?1, ?2, 'G', ?1, ?1, ?3)",
};

static HISTORY: StatementDef = StatementDef {
    id: "test.history",
    version: 1,
    sql: "INSERT INTO his_config_info (nid, id, data_id, group_id, gmt_create, gmt_modified, content) \
          VALUES (?1, ?1, ?2, 'G', ?1, ?1, ?3)",
};

/// The numbers of all configurations.
pub(crate) const NUMBERS: &str = "SELECT id FROM config_info ORDER BY id";

/// A configuration of this number and content.
pub(crate) fn config(number: i64, content: &str) -> Statement {
    CONFIG.with([number.into(), format!("config{number}").into(), content.into()])
}

/// A configuration with its entry in the history: two rows that must be there together.
pub(crate) fn pair(number: i64, content: &str) -> Batch {
    let history = HISTORY.with([number.into(), format!("config{number}").into(), content.into()]);
    Batch::from(vec![history, config(number, content)])
}

/// Numbers of the configurations that are there. Panics if one is there without its entry in the history, with
/// another content, or the other way round.
pub(crate) async fn numbers(database: &dyn DatabaseOperate) -> Vec<i64> {
    let sql = "SELECT c.id FROM config_info c JOIN his_config_info h ON h.nid = c.id AND h.content = c.content \
               AND h.data_id = c.data_id ORDER BY c.id";
    let whole = database.query(Query::new(sql, [])).await.expect("a query").rows;
    let rows = "SELECT (SELECT count(*) FROM config_info), (SELECT count(*) FROM his_config_info)";
    let rows = database.query(Query::new(rows, [])).await.expect("a query").rows;
    let count = Value::Int(whole.len() as i64);
    assert_eq!(rows, [[count.clone(), count]], "half a batch is there");
    whole.iter().map(|row| row[0].as_int().expect("a number")).collect()
}

/// Removes the pairs up to this number.
pub(crate) fn remove_up_to(number: i64) -> Batch {
    static CONFIGS: StatementDef =
        StatementDef { id: "test.remove_configs", version: 1, sql: "DELETE FROM config_info WHERE id <= ?1" };
    static HISTORIES: StatementDef =
        StatementDef { id: "test.remove_histories", version: 1, sql: "DELETE FROM his_config_info WHERE nid <= ?1" };
    Batch::from(vec![CONFIGS.with([number.into()]), HISTORIES.with([number.into()])])
}
