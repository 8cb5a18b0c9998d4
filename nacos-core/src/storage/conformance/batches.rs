//! What one batch does.

use super::{Database, config, counts, done, history, ints, rows, run, texts};
use crate::storage::{Statement, StatementDef, StorageError, Value};

static SET_IF_MD5: StatementDef = StatementDef {
    id: "conformance.set_if_md5",
    version: 1,
    sql: "UPDATE config_info SET content = ?2, md5 = ?3 WHERE data_id = ?1 AND md5 = ?4",
};

static DELETE_CONFIG: StatementDef =
    StatementDef { id: "conformance.delete_config", version: 1, sql: "DELETE FROM config_info WHERE data_id LIKE ?1" };

static KEEP_HISTORY: StatementDef = StatementDef {
    id: "conformance.keep_history",
    version: 1,
    sql: "INSERT INTO his_config_info (nid, id, data_id, group_id, tenant_id, md5, gmt_create, gmt_modified, \
          op_type, content) SELECT ?1, id, data_id, group_id, tenant_id, md5, gmt_create, ?2, 'U', content \
          FROM config_info WHERE data_id = ?3",
};

static UPSERT: StatementDef = StatementDef {
    id: "conformance.upsert",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, tenant_id, md5, gmt_create, gmt_modified, content) \
          VALUES (?1, ?2, 'G', '', ?3, ?4, ?4, ?5) ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET \
          md5 = excluded.md5, gmt_modified = excluded.gmt_modified, content = excluded.content",
};

static UPSERT_IF_MD5: StatementDef = StatementDef {
    id: "conformance.upsert_if_md5",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, tenant_id, md5, gmt_create, gmt_modified, content) \
          VALUES (?1, ?2, 'G', '', ?3, ?4, ?4, ?5) ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET \
          md5 = ?3, gmt_modified = ?4, content = ?5 WHERE config_info.md5 = ?6",
};

static INSERT_UNLESS_THERE: StatementDef = StatementDef {
    id: "conformance.insert_unless_there",
    version: 1,
    sql: "INSERT INTO config_info (id, data_id, group_id, tenant_id, gmt_create, gmt_modified, content) \
          VALUES (?1, ?2, 'G', '', ?3, ?3, ?4) ON CONFLICT (data_id, group_id, tenant_id) DO NOTHING",
};

static CLEAN: StatementDef = StatementDef {
    id: "conformance.clean",
    version: 1,
    sql: "DELETE FROM his_config_info WHERE nid IN \
          (SELECT nid FROM his_config_info WHERE gmt_modified < ?1 ORDER BY gmt_modified LIMIT ?2)",
};

static ERRONEOUS: StatementDef =
    StatementDef { id: "conformance.erroneous", version: 1, sql: "DELETE FRM config_info" };

static NO_SUCH_TABLE: StatementDef =
    StatementDef { id: "conformance.no_such_table", version: 1, sql: "DELETE FROM no_such_table" };

fn upsert(id: i64, data_id: &str, content: &str, time: i64) -> Statement {
    UPSERT.with([id.into(), data_id.into(), format!("md5 of {content}").into(), Value::Time(time), content.into()])
}

/// A batch whose last statement conflicts leaves no trace of the first ones.
pub async fn all_or_nothing(database: Database) {
    done(&database, vec![config(1, "a", "1"), history(1, "a", "1")]).await;
    let outcome = run(&database, vec![config(2, "b", "2"), history(2, "b", "2"), config(3, "a", "3")]).await;
    assert!(matches!(outcome, Err(StorageError::Conflict)), "{outcome:?}");
    assert_eq!(counts(&database).await, (1, 1));

    // A conflict on the primary key is the same as one on another unique index.
    let outcome = run(&database, vec![history(3, "c", "3"), config(1, "c", "3")]).await;
    assert!(matches!(outcome, Err(StorageError::Conflict)), "{outcome:?}");
    assert_eq!(counts(&database).await, (1, 1));
    assert_eq!(texts(&database, "SELECT content FROM config_info", []).await, ["1"]);
}

/// A batch without statements succeeds and changes nothing.
pub async fn an_empty_batch_is_answered(database: Database) {
    assert_eq!(done(&database, vec![]).await.touched, [0_u64; 0]);
    assert_eq!(counts(&database).await, (0, 0));
}

/// A statement that must touch a row and touches none undoes the whole batch, and is named by its index.
pub async fn an_unmet_demand_rolls_back(database: Database) {
    done(&database, vec![config(1, "a", "1")]).await;
    let absent = || DELETE_CONFIG.with(["absent".into()]);
    let statements = vec![history(1, "a", "1"), absent(), absent().must_touch(), config(2, "b", "2")];
    let outcome = run(&database, statements).await;
    assert!(matches!(outcome, Err(StorageError::DemandUnmet(2))), "{outcome:?}");
    assert_eq!(counts(&database).await, (1, 0));

    let committed = done(&database, vec![DELETE_CONFIG.with(["a".into()]).must_touch(), absent()]).await;
    assert_eq!(committed.touched, [1, 0]);
    assert_eq!(counts(&database).await, (0, 0));
}

/// Each statement answers how many rows it touched: inserted, deleted, or matched by an update.
pub async fn touched_rows_are_counted(database: Database) {
    static TOUCH_ALL: StatementDef =
        StatementDef { id: "conformance.touch_all", version: 1, sql: "UPDATE config_info SET app_name = ?1" };
    let committed = done(&database, (1..=7).map(|n| config(n, &format!("a{n}"), "x")).collect()).await;
    assert_eq!(committed.touched, [1; 7]);
    let same = || TOUCH_ALL.with(["app".into()]);
    let committed = done(&database, vec![same(), same(), DELETE_CONFIG.with(["a_".into()]), same()]).await;
    assert_eq!(committed.touched, [7, 7, 7, 0], "a row counts even if it had the value before");
}

/// Statements run in order, each on what those before it left.
pub async fn statements_see_those_before_them(database: Database) {
    let md5 = |text: &str| Value::from(format!("md5 of {text}"));
    let set = |from: &str, to: &str| SET_IF_MD5.with(["a".into(), to.into(), md5(to), md5(from)]).must_touch();
    let keep = |nid: i64| KEEP_HISTORY.with([nid.into(), Value::Time(nid), "a".into()]).must_touch();
    done(&database, vec![config(1, "a", "1"), keep(1), set("1", "2"), keep(2), set("2", "3"), keep(3)]).await;
    assert_eq!(texts(&database, "SELECT content FROM his_config_info ORDER BY nid", []).await, ["1", "2", "3"]);
}

/// `UPDATE … WHERE md5 = ?` with a demand is compare-and-set.
pub async fn compare_and_set_by_md5(database: Database) {
    done(&database, vec![config(1, "a", "1")]).await;
    let set = |from: &str, to: &str| {
        let args: Vec<Value> =
            vec!["a".into(), to.into(), format!("md5 of {to}").into(), format!("md5 of {from}").into()];
        SET_IF_MD5.with(args).must_touch()
    };
    assert_eq!(done(&database, vec![set("1", "2")]).await.touched, [1]);
    let outcome = run(&database, vec![set("1", "3")]).await;
    assert!(matches!(outcome, Err(StorageError::DemandUnmet(0))), "{outcome:?}");
    assert_eq!(texts(&database, "SELECT content FROM config_info", []).await, ["2"]);
}

/// `INSERT … SELECT` copies rows, and touches none if there are none.
pub async fn insert_from_select(database: Database) {
    done(&database, vec![config(1, "a", "content")]).await;
    let keep = |nid: i64, data_id: &str| KEEP_HISTORY.with([nid.into(), Value::Time(77), data_id.into()]);
    assert_eq!(done(&database, vec![keep(1, "a"), keep(2, "absent")]).await.touched, [1, 0]);
    let kept = rows(&database, "SELECT nid, id, md5, op_type, content, gmt_modified FROM his_config_info", []).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0][..2], [Value::Int(1), Value::Int(1)]);
    assert_eq!(kept[0][2..5], ["md5 of content".into(), "U".into(), "content".into()]);
    assert_eq!(kept[0][5].as_int(), Some(77));
}

/// `ON CONFLICT … DO UPDATE` inserts, then updates the same row; its condition can keep it from doing so.
pub async fn upsert_updates_in_place(database: Database) {
    let all = "SELECT id, content FROM config_info";
    assert_eq!(done(&database, vec![upsert(1, "a", "1", 10)]).await.touched, [1]);
    assert_eq!(done(&database, vec![upsert(2, "a", "2", 20)]).await.touched, [1]);
    assert_eq!(rows(&database, all, []).await, [[Value::Int(1), "2".into()]]);
    assert_eq!(ints(&database, "SELECT gmt_create FROM config_info", []).await, [10]);
    assert_eq!(ints(&database, "SELECT gmt_modified FROM config_info", []).await, [20]);

    let compared = |content: &str, expected: &str| {
        let args: Vec<Value> =
            vec![3.into(), "a".into(), "md5".into(), Value::Time(30), content.into(), expected.into()];
        UPSERT_IF_MD5.with(args).must_touch()
    };
    let outcome = run(&database, vec![compared("3", "md5 of 1")]).await;
    assert!(matches!(outcome, Err(StorageError::DemandUnmet(0))), "{outcome:?}");
    assert_eq!(done(&database, vec![compared("3", "md5 of 2")]).await.touched, [1]);
    assert_eq!(rows(&database, all, []).await, [[Value::Int(1), "3".into()]]);
}

/// `ON CONFLICT … DO NOTHING` leaves the row that is there and touches none.
pub async fn insert_unless_there(database: Database) {
    let insert = |id: i64| INSERT_UNLESS_THERE.with([id.into(), "a".into(), Value::Time(id), "x".into()]);
    assert_eq!(done(&database, vec![insert(1), insert(2)]).await.touched, [1, 0]);
    assert_eq!(ints(&database, "SELECT id FROM config_info", []).await, [1]);
}

/// `DELETE … WHERE … IN (SELECT … LIMIT ?)` removes no more than it is told, oldest first.
pub async fn delete_in_portions(database: Database) {
    done(&database, (1..=25).map(|n| history(n, "a", "x")).collect()).await;
    let mut removed = Vec::new();
    loop {
        let touched = done(&database, vec![CLEAN.with([Value::Time(21), Value::Int(8)])]).await.touched[0];
        removed.push(touched);
        if touched < 8 {
            break;
        }
    }
    assert_eq!(removed, [8, 8, 4]);
    assert_eq!(
        ints(&database, "SELECT nid FROM his_config_info ORDER BY nid", []).await,
        (21..=25).collect::<Vec<_>>()
    );
}

/// A wrong statement, wrong arguments, or NULL where none may be: refused, and the batch leaves no trace.
pub async fn what_is_refused_changes_nothing(database: Database) {
    done(&database, vec![config(1, "a", "1")]).await;
    let too_few = DELETE_CONFIG.with([]);
    let too_many = DELETE_CONFIG.with(["a".into(), "b".into()]);
    let null = INSERT_UNLESS_THERE.with([2.into(), "b".into(), Value::Time(2), Value::Null]);
    for wrong in [ERRONEOUS.with([]), NO_SUCH_TABLE.with([]), too_few, too_many, null] {
        let name = wrong.def.id;
        let outcome = run(&database, vec![DELETE_CONFIG.with(["%".into()]), history(1, "a", "1"), wrong]).await;
        assert!(matches!(outcome, Err(StorageError::Refused(_))), "{name}: {outcome:?}");
        assert_eq!(counts(&database).await, (1, 0), "{name}");
    }
    done(&database, vec![config(2, "b", "2")]).await;
}
