//! What a query sees and how it can ask.

use super::{Database, config, done, history, ints, rows, texts};
use crate::storage::{Query, StorageError, Value};

/// A batch is seen by every query that begins after its answer, whoever asks.
pub async fn what_was_answered_is_seen(database: Database) {
    for n in 1..=50 {
        done(&database, vec![config(n, &n.to_string(), "x")]).await;
        let reader = database.clone();
        let seen = tokio::spawn(async move { ints(&reader, "SELECT max(id) FROM config_info", []).await });
        assert_eq!(ints(&database, "SELECT max(id) FROM config_info", []).await, [n]);
        assert_eq!(seen.await.expect("a query"), [n]);
    }
}

/// `LIMIT` and `OFFSET` take bound values; the pages make up the whole.
pub async fn pages_have_no_gap(database: Database) {
    done(&database, (1..=23).map(|n| config(n, &format!("a{n}"), "x")).collect()).await;
    let mut all = Vec::new();
    for offset in (0..30).step_by(5) {
        let sql = "SELECT id FROM config_info WHERE data_id LIKE ?1 ORDER BY id LIMIT ?2 OFFSET ?3";
        let page = ints(&database, sql, ["a%".into(), 5.into(), Value::Int(offset)]).await;
        assert!(page.len() <= 5);
        all.extend(page);
    }
    assert_eq!(all, (1..=23).collect::<Vec<_>>());
    let sql = "SELECT id FROM config_info WHERE id > ?1 ORDER BY id LIMIT ?2";
    assert_eq!(ints(&database, sql, [20.into(), 2.into()]).await, [21, 22]);
    assert_eq!(ints(&database, sql, [23.into(), 2.into()]).await, [0_i64; 0]);
}

/// Joins, groups, sub-queries and parameters used twice or out of order.
pub async fn counts_joins_and_groups(database: Database) {
    let mut statements = vec![config(1, "a", "1"), config(2, "b", "2"), config(3, "c", "3")];
    statements.extend([history(1, "a", "0"), history(2, "a", "1"), history(3, "b", "2")]);
    done(&database, statements).await;
    let sql = "SELECT c.data_id, count(h.nid) FROM config_info c LEFT JOIN his_config_info h \
               ON h.data_id = c.data_id AND h.group_id = c.group_id AND h.tenant_id = c.tenant_id \
               GROUP BY c.data_id ORDER BY c.data_id";
    let counted = rows(&database, sql, []).await;
    let expected: Vec<[Value; 2]> = vec![["a".into(), 2.into()], ["b".into(), 1.into()], ["c".into(), 0.into()]];
    assert_eq!(counted, expected);

    let sql = "SELECT data_id FROM config_info c WHERE c.id >= ?2 AND c.content <> ?1 AND EXISTS \
               (SELECT 1 FROM his_config_info h WHERE h.data_id = c.data_id AND h.content <> ?1) ORDER BY c.id";
    assert_eq!(texts(&database, sql, ["0".into(), 1.into()]).await, ["a", "b"]);
    let sql = "SELECT data_id FROM config_info WHERE id IN (?1, ?2, ?3) ORDER BY id DESC";
    assert_eq!(texts(&database, sql, [1.into(), 3.into(), 99.into()]).await, ["c", "a"]);
}

/// A wrong query is refused, and the next one is answered.
pub async fn an_erroneous_query_is_refused(database: Database) {
    done(&database, vec![config(1, "a", "1")]).await;
    let by_id = "SELECT id FROM config_info WHERE id = ?1";
    for (sql, args) in [
        ("SELEC 1", vec![]),
        ("", vec![]),
        ("SELECT no_such_column FROM config_info", vec![]),
        ("SELECT id FROM no_such_table", vec![]),
        (by_id, vec![]),
        (by_id, vec![1.into(), 2.into()]),
    ] {
        let outcome = database.query(Query::new(sql, args)).await;
        assert!(matches!(outcome, Err(StorageError::Refused(_))), "{sql}: {outcome:?}");
        assert_eq!(ints(&database, by_id, [1.into()]).await, [1]);
    }
}
