use rusqlite::Connection;

use super::{super::LocalOptions, OpenError, migrate, open, version};
use crate::storage::schema::{MIGRATIONS, Migration, latest};

fn step(number: u32, sqlite: &'static str) -> Migration {
    Migration { number, name: "test", sqlite, postgres: "" }
}

fn tables(conn: &Connection) -> Vec<String> {
    let mut prepared = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    prepared.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn steps_run_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions::new(folder.path().join("nacos.db"));
    let mut steps = vec![step(1, "CREATE TABLE a (n INTEGER); INSERT INTO a VALUES (1)")];
    for known in 1..=3 {
        for _ in 0..2 {
            let opened = open(&options, &steps).unwrap();
            assert_eq!(version(&opened.writer).unwrap(), known);
            let n: i64 = opened.writer.query_row("SELECT sum(n) FROM a", [], |row| row.get(0)).unwrap();
            assert_eq!(n, i64::from(known));
        }
        steps.push(step(known + 1, "INSERT INTO a VALUES (1)"));
    }
}

#[test]
fn a_step_that_fails_leaves_the_state_before_it() {
    let mut conn = Connection::open_in_memory().unwrap();
    let steps = [step(1, "CREATE TABLE a (n)"), step(2, "CREATE TABLE b (n); CREATE TABLE a (n)")];
    assert!(migrate(&mut conn, &steps).is_err());
    assert_eq!(version(&conn).unwrap(), 1);
    assert_eq!(tables(&conn), ["a"]);

    migrate(&mut conn, &[step(1, "not run again"), step(2, "CREATE TABLE b (n)")]).unwrap();
    assert_eq!(tables(&conn), ["a", "b"]);
}

#[test]
fn a_later_schema_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions::new(folder.path().join("nacos.db"));
    let newer = [MIGRATIONS, &[step(latest(MIGRATIONS) + 1, "CREATE TABLE later (n)")]].concat();
    drop(open(&options, &newer).unwrap());
    let refused = open(&options, MIGRATIONS).err();
    assert!(matches!(refused, Some(OpenError::NewerVersion { found, known, .. }) if found == known + 1), "{refused:?}");
    drop(open(&options, &newer).unwrap());
}

#[test]
fn the_writer_syncs_each_commit_and_readers_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(&LocalOptions::new(folder.path().join("nacos.db")), MIGRATIONS).unwrap();
    let pragma = |name: &str| opened.writer.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(pragma("synchronous"), 2);
    assert_eq!(pragma("wal_autocheckpoint"), 0);
    let mode: String = opened.writer.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    assert_eq!(opened.readers.len(), 2);
}

/// The statements that publish, list and clean must not walk whole tables.
#[test]
fn frequent_statements_use_an_index() {
    let mut conn = Connection::open_in_memory().unwrap();
    migrate(&mut conn, MIGRATIONS).unwrap();
    for (sql, index) in [
        ("SELECT * FROM config_info WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3", "uk_configinfo_"),
        ("SELECT id FROM config_info WHERE tenant_id = ?1 ORDER BY id LIMIT 10", "idx_configinfo_tenant"),
        ("SELECT count(*) FROM config_info WHERE tenant_id = ?1", "idx_configinfo_tenant"),
        ("SELECT count(*) FROM config_info WHERE group_id = ?1 AND tenant_id = ?2", "idx_configinfo_group"),
        ("SELECT data_id FROM config_info WHERE gmt_modified >= ?1", "idx_configinfo_gmt_modified"),
        ("SELECT data_id FROM config_info_beta WHERE gmt_modified >= ?1", "idx_configinfobeta_gmt_modified"),
        ("SELECT data_id FROM config_info_tag WHERE gmt_modified >= ?1", "idx_configinfotag_gmt_modified"),
        (
            "DELETE FROM config_tags_relation WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3",
            "idx_configtagrelation_datagrouptenant",
        ),
        ("SELECT 1 FROM config_tags_relation b WHERE b.id = ?1 AND b.tag_name IN (?2)", "uk_configtagrelation_"),
        (
            "SELECT nid FROM his_config_info WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3 \
             ORDER BY nid DESC LIMIT 10",
            "idx_hisconfiginfo_datagrouptenant",
        ),
        ("SELECT max(nid) FROM his_config_info WHERE id = ?1", "idx_hisconfiginfo_id"),
        (
            "SELECT nid FROM his_config_info WHERE gmt_modified < ?1 ORDER BY gmt_modified, nid LIMIT 10",
            "idx_hisconfiginfo_gmt_modified",
        ),
    ] {
        let mut prepared = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let marks = vec![1; prepared.parameter_count()];
        let plan: Vec<String> = prepared
            .query_map(rusqlite::params_from_iter(marks), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(plan.iter().any(|line| line.contains(index)), "{sql}: {plan:?}");
        assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{sql}: {plan:?}");
    }
}
