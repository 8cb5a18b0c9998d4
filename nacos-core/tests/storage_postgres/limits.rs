//! What is refused, and that it does no harm.

use std::sync::Arc;

use nacos_core::storage::{
    DatabaseOperate as _, PostgresDatabaseOperate, PostgresOptions, Query, StatementDef, StorageError, Value,
};

use crate::{KEYS, Schema, at_once, eventually, put, query, telling, within, write};

fn is_refused<T>(outcome: &Result<T, StorageError>) -> bool {
    matches!(outcome, Err(StorageError::Refused(_)))
}

/// Holds the table until it is told to let go, with one write waiting for it.
async fn crowded(schema: &Schema, options: PostgresOptions) -> (Arc<PostgresDatabaseOperate>, sqlx::PgConnection) {
    let database = schema.open_with(options).await;
    let mut holder = schema.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE config_info IN EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    (database, holder)
}

async fn begun(schema: &Schema) {
    eventually("the first write waits for the table", async || {
        let sql = "SELECT mode FROM pg_locks WHERE NOT granted AND relation = 'config_info'::regclass";
        (!schema.texts(sql).await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_batches_than_may_wait_are_refused_and_none_of_the_others_lost() {
    let Some(schema) = Schema::new().await else { return };
    let (database, mut holder) = crowded(&schema, PostgresOptions { max_waiting: 4, ..schema.options() }).await;
    let spawn = |n: i64| {
        let database = database.clone();
        tokio::spawn(async move { write(&*database, vec![put(n, &format!("key {n:02}"), "x")]).await })
    };
    let mut writes = vec![spawn(0)];
    begun(&schema).await;
    writes.extend((1..=4).map(spawn));
    eventually("four wait", async || (database.waiting_writes() == 4).then_some(())).await;
    for n in 5..20 {
        let outcome = at_once("a write", write(&*database, vec![put(n, &format!("key {n:02}"), "x")])).await;
        assert!(matches!(outcome, Err(StorageError::Busy)), "{outcome:?}");
    }
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    for write in writes {
        within("a write", write).await.unwrap().unwrap();
    }
    assert_eq!(schema.keys().await, ["key 00", "key 01", "key 02", "key 03", "key 04"]);
    write(&*database, vec![put(30, "after", "x")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_bytes_than_may_wait_are_refused_and_a_lone_batch_is_not() {
    let Some(schema) = Schema::new().await else { return };
    let (database, mut holder) =
        crowded(&schema, PostgresOptions { max_waiting_bytes: 10_000, ..schema.options() }).await;
    let large = "x".repeat(50_000);
    let lone = tokio::spawn({
        let (database, large) = (database.clone(), large.clone());
        async move { write(&*database, vec![put(1, "lone", &large)]).await }
    });
    begun(&schema).await;
    let outcome = at_once("a write", write(&*database, vec![put(2, "small", "x")])).await;
    assert!(matches!(outcome, Err(StorageError::Busy)), "{outcome:?}");
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    within("the lone write", lone).await.unwrap().unwrap();
    write(&*database, vec![put(3, "small", "x")]).await.unwrap();
    assert_eq!(schema.keys().await, ["lone", "small"]);
}

/// Longer than a write waits for a lock: it is refused, and what comes later is not harmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_another_holds_for_long_makes_writes_unavailable() {
    let Some(schema) = Schema::new().await else { return };
    let (database, mut holder) = crowded(&schema, schema.options()).await;
    let outcome = write(&*database, telling(1, "a", &["a"])).await;
    assert!(matches!(outcome, Err(StorageError::Unavailable(_))), "{outcome:?}");
    // Reading goes on beside it.
    assert!(query(&*database, KEYS).await.unwrap().rows.is_empty());
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    write(&*database, vec![put(2, "b", "x")]).await.unwrap();
    assert_eq!(schema.keys().await, ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_waiting_is_finished_before_it_closes() {
    let Some(schema) = Schema::new().await else { return };
    let (database, mut holder) = crowded(&schema, schema.options()).await;
    let spawn = |n: i64| {
        let database = database.clone();
        tokio::spawn(async move { write(&*database, vec![put(n, &n.to_string(), "x")]).await })
    };
    let mut writes = vec![spawn(0)];
    begun(&schema).await;
    writes.extend((1..=5).map(spawn));
    eventually("five wait", async || (database.waiting_writes() == 5).then_some(())).await;
    let closing = tokio::spawn({
        let database = database.clone();
        async move { database.close().await }
    });
    eventually("six wait", async || (database.waiting_writes() == 6).then_some(())).await;
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    within("close", closing).await.unwrap();
    for write in writes {
        within("a write", write).await.unwrap().unwrap();
    }
    assert_eq!(schema.keys().await.len(), 6);
    for outcome in [write(&*database, vec![put(9, "late", "x")]).await, query(&*database, KEYS).await.map(drop)] {
        assert!(matches!(outcome, Err(StorageError::Unavailable(_))), "{outcome:?}");
    }
    eventually("no connection is left", async || (schema.terminate("true").await == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_with_u_0000_is_refused() {
    let Some(schema) = Schema::new().await else { return };
    let database = schema.open().await;
    for (id, key, content) in [(1, "a\0b", "x"), (2, "a", "x\0"), (3, "\0", "x")] {
        let beside = write(&*database, vec![put(id + 10, &format!("beside {id}"), "x")]);
        let (outcome, beside) = tokio::join!(write(&*database, vec![put(id, key, content)]), beside);
        assert!(is_refused(&outcome), "{outcome:?}");
        beside.unwrap();
    }
    let outcome =
        database.query(Query::new("SELECT data_id FROM config_info WHERE data_id = ?1", ["a\0".into()])).await;
    assert!(is_refused(&outcome), "{outcome:?}");
    assert_eq!(schema.keys().await, ["beside 1", "beside 2", "beside 3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_arguments_than_the_statement_has_are_refused() {
    static TOO_MANY: StatementDef = StatementDef {
        id: "test.too_many",
        version: 1,
        sql: { "UPDATE config_info SET content = ?1 WHERE id = ?65536" },
    };
    let Some(schema) = Schema::new().await else { return };
    let database = schema.open().await;
    let many = |count: usize| vec![Value::from("x"); count];
    let sql = |count: usize| {
        let marks: Vec<String> = (1..=count).map(|n| format!("?{n}")).collect();
        format!("SELECT count(*) FROM config_info WHERE data_id IN ({})", marks.join(", "))
    };
    for (named, given) in [(1, 2), (2, 1), (1, 0), (0, 1), (3, 70_000), (65_536, 65_536), (70_000, 70_000)] {
        let sql = if named == 0 { "SELECT 1".to_owned() } else { sql(named) };
        let outcome = within("a query", database.query(Query::new(sql, many(given)))).await;
        assert!(is_refused(&outcome), "{named} named, {given} given: {outcome:?}");
    }
    // As many as the protocol has place for.
    let outcome = within("a query", database.query(Query::new(sql(32_000), many(32_000)))).await;
    assert_eq!(outcome.unwrap().rows[0][0].as_int(), Some(0));
    for count in [0, 1, 70_000] {
        let outcome = write(&*database, vec![put(1, "a", "x"), TOO_MANY.with(many(count))]).await;
        assert!(is_refused(&outcome), "{count}: {outcome:?}");
    }
    write(&*database, vec![put(2, "b", "x")]).await.unwrap();
    // Beside sound ones of the same statement, which must not notice.
    let wrong = |n: i64| match n % 3 {
        0 => crate::PUT.with([n.into(), "wrong".into()]),
        1 => crate::PUT.with([n.into(), "wrong".into(), Value::Time(1), "x".into(), "more".into()]),
        _ => crate::PUT.with([n.into(), "wrong".into(), "no time".into(), "x".into()]),
    };
    let writes = (10..40).map(|n| {
        let sound = n % 2 == 0;
        let statement = if sound { put(n, &format!("c {n}"), "x") } else { wrong(n) };
        let database = database.clone();
        async move { (sound, write(&*database, vec![statement]).await) }
    });
    for (sound, outcome) in futures_util::future::join_all(writes).await {
        assert!(if sound { outcome.is_ok() } else { is_refused(&outcome) }, "sound: {sound}, {outcome:?}");
    }
    assert_eq!(schema.keys().await.len(), 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_writes_is_refused() {
    let Some(schema) = Schema::new().await else { return };
    let proxy = schema.proxy().await;
    let database = schema.open_with(schema.options_by(&[&proxy])).await;
    write(&*database, vec![put(1, "there", "x")]).await.unwrap();
    query(&*database, KEYS).await.unwrap();
    let position = || schema.texts("SELECT last_value::text FROM nacos_position");
    let before = position().await;
    let insert = "INSERT INTO roles (username, role) VALUES ('a', 'b')";
    for sql in [
        insert,
        &format!("{insert} RETURNING role"),
        &format!("WITH made AS ({insert} RETURNING role) SELECT role FROM made"),
        "DELETE FROM config_info",
        "DELETE FROM config_info RETURNING data_id",
        "SELECT nextval('nacos_position')",
        "SELECT data_id FROM config_info FOR UPDATE",
        "SET default_transaction_read_only = off",
        "BEGIN",
        "COMMIT",
        "SELECT 1; DELETE FROM config_info",
        "SELECT pg_notify('nacos_changes', 'x'); DELETE FROM config_info",
        "TRUNCATE config_info",
        "",
    ] {
        let outcome = query(&*database, sql).await;
        assert!(is_refused(&outcome), "{sql}: {outcome:?}");
    }
    assert_eq!(position().await, before);
    assert_eq!(schema.keys().await, ["there"]);
    assert!(schema.texts("SELECT role FROM roles").await.is_empty());
    // It is the statement that is wrong, not the connection.
    assert!(proxy.made() < 10, "{} connections were made", proxy.made());
}
