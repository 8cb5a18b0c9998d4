//! Several servers on one database.

use std::sync::Arc;

use nacos_core::{
    id::Ids,
    storage::{
        Batch, Change, DatabaseOperate as _, PostgresDatabaseOperate, PostgresOptions, Query, Reach, StorageError,
    },
};

use crate::{KEYS, Schema, at_once, change, hears, is_ready, put, query, telling, told, within, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_start_at_once_make_the_tables_once() {
    let Some(schema) = Schema::new().await else { return };
    let opening = (0..6).map(|_| PostgresDatabaseOperate::open(schema.options()));
    for opened in futures_util::future::join_all(opening).await {
        assert_eq!(*opened.unwrap().reach().borrow(), Reach::Ready);
    }
    assert_eq!(schema.texts("SELECT name FROM nacos_schema ORDER BY number").await, ["first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_told_to_the_others_and_seen_by_them() {
    let Some(schema) = Schema::new().await else { return };
    let (a, b) = (schema.open().await, schema.open().await);
    let (mut of_a, mut of_b) = (a.changes().unwrap(), b.changes().unwrap());
    hears(&*b, &mut of_a).await;
    hears(&*a, &mut of_b).await;

    for n in 1..=50 {
        let (key, what) = (format!("key {n}"), format!("what {n}"));
        let written = within("a write", a.execute(telling(n, &key, &[&what]))).await.unwrap();
        assert_eq!(change(&mut of_b, |_| true).await, told(&what));
        let sql = "SELECT count(*) FROM config_info WHERE data_id = ?1";
        let read = b.query(Query::new(sql, [key.as_str().into()])).await.unwrap();
        assert_eq!(read.rows[0][0].as_int(), Some(1), "{key} was told of and is not seen");
        assert!(read.position >= written.position, "{:?} is before {:?}", read.position, written.position);
    }
    // What b says last, a hears first: nothing of its own came before it.
    write(&*b, telling(100, "b", &["from b"])).await.unwrap();
    assert_eq!(change(&mut of_a, |_| true).await, told("from b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_not_committed_is_not_told() {
    let Some(schema) = Schema::new().await else { return };
    let (a, b) = (schema.open().await, schema.open().await);
    let mut of_b = b.changes().unwrap();
    hears(&*a, &mut of_b).await;
    write(&*a, vec![put(1, "there", "x")]).await.unwrap();
    // Many at once, so that they share transactions.
    let writes = (2..40).map(|n| {
        let (key, what) = if n % 2 == 0 { ("there".to_owned(), "refused") } else { (format!("key {n}"), "done") };
        let batch = telling(n, &key, &[&format!("{what} {n}")]);
        let a = a.clone();
        async move { write(&*a, batch).await }
    });
    let outcomes = futures_util::future::join_all(writes).await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Err(StorageError::Conflict))).count(), 19);
    write(&*a, telling(50, "last", &["last"])).await.unwrap();
    let mut heard = 0;
    loop {
        let Change::Told(what) = change(&mut of_b, |_| true).await else { panic!("the connection broke") };
        if &*what == "last" {
            break;
        }
        assert!(what.starts_with("done "), "{what}");
        heard += 1;
    }
    assert_eq!(heard, 19);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_to_tell_is_written_untold() {
    let Some(schema) = Schema::new().await else { return };
    let (a, b) = (schema.open().await, schema.open().await);
    let mut of_b = b.changes().unwrap();
    hears(&*a, &mut of_b).await;
    let (long, longest) = ("x".repeat(9000), "y".repeat(4 << 10));
    // Neither may a text that Postgres cannot hold harm the batch, or those beside it.
    write(&*a, telling(1, "a", &[&long, "a\0b", "told"])).await.unwrap();
    assert_eq!(change(&mut of_b, |_| true).await, told("told"));
    write(&*a, telling(2, "b", &[&long])).await.unwrap();
    write(&*a, telling(3, "c", &[&longest])).await.unwrap();
    assert_eq!(change(&mut of_b, |_| true).await, told(&longest));
    let keys = query(&*b, KEYS).await.unwrap().rows;
    for key in ["a", "b", "c"] {
        assert!(keys.contains(&vec![key.into()]), "{key} is not there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_characters_are_told_unchanged() {
    let Some(schema) = Schema::new().await else { return };
    let (a, b) = (schema.open().await, schema.open().await);
    let mut of_b = b.changes().unwrap();
    hears(&*a, &mut of_b).await;
    let odd = [
        "",
        " ",
        "  two  blanks ",
        "'; DROP TABLE config_info; --",
        "\\",
        "{a,\"b\"}",
        "NULL",
        "$1 ?1 %s",
        "\u{1}\u{2}",
        "line\r\nline\ttab",
        "namespace+group+数据",
        "\u{1F980}\u{301}\u{202E}",
        "\u{FEFF}\u{FFFF}",
        "null",
    ];
    for (n, what) in odd.iter().enumerate() {
        write(&*a, telling(n as i64 + 1, &format!("key {n}"), &[what])).await.unwrap();
        assert_eq!(change(&mut of_b, |_| true).await, told(what));
    }
    // All of a batch in one.
    write(&*a, telling(100, "all", &odd)).await.unwrap();
    let mut heard = Vec::new();
    for _ in odd {
        let Change::Told(what) = change(&mut of_b, |_| true).await else { panic!("the connection broke") };
        heard.push(what.to_string());
    }
    let mut expected = odd.map(str::to_owned);
    heard.sort();
    expected.sort();
    assert_eq!(heard, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_told_that_it_missed_changes_before_it_listened() {
    let Some(schema) = Schema::new().await else { return };
    let proxy = schema.proxy().await;
    proxy.refuse().await;
    let late = schema.open_with(schema.options_by(&[&proxy])).await;
    let mut changes = late.changes().unwrap();
    let other = schema.open().await;
    write(&*other, telling(1, "a", &["unheard"])).await.unwrap();
    proxy.accept().await;
    assert_eq!(change(&mut changes, |_| true).await, Change::Missed);
    // From now on nothing is: it listens already.
    is_ready(&late).await;
    write(&*other, telling(2, "b", &["heard"])).await.unwrap();
    assert_eq!(change(&mut changes, |_| true).await, told("heard"));
}

/// Two environments in one database, as `currentSchema` allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_of_one_database_are_strangers() {
    let (Some(here), Some(there)) = (Schema::new().await, Schema::new().await) else { return };
    let (a, b, stranger) = (here.open().await, here.open().await, there.open().await);
    let mut of_b = b.changes().unwrap();
    hears(&*a, &mut of_b).await;
    // The stranger's positions run ahead.
    for n in 0..20 {
        write(&*stranger, telling(n, &format!("key {n}"), &["strange"])).await.unwrap();
    }
    let last = within("a write", stranger.execute(telling(100, "last", &["strange"]))).await.unwrap().position;
    write(&*a, telling(200, "a", &["ours"])).await.unwrap();
    assert_eq!(change(&mut of_b, |_| true).await, told("ours"));
    let read = query(&*b, KEYS).await.unwrap().position;
    assert!(read < last, "{read:?} is taken from a stranger who is at {last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_waits_for_no_other_schema() {
    let (Some(here), Some(there)) = (Schema::new().await, Schema::new().await) else { return };
    let (ours, theirs) = (here.open().await, there.open().await);
    let mut holder = there.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE config_info IN EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    let waiting = tokio::spawn(async move { write(&*theirs, vec![put(1, "a", "x")]).await });
    crate::eventually("their write waits for the table", async || {
        let sql = "SELECT mode FROM pg_locks WHERE NOT granted AND relation = 'config_info'::regclass";
        (!there.texts(sql).await.is_empty()).then_some(())
    })
    .await;
    at_once("our write", write(&*ours, vec![put(1, "a", "x")])).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    within("their write", waiting).await.unwrap().unwrap();
}

/// One that waits for a row of another's transaction gets it, and its own order among the commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_that_insert_one_key_one_is_told_of_the_conflict() {
    let Some(schema) = Schema::new().await else { return };
    let (a, b) = (schema.open().await, schema.open().await);
    for n in 0..40 {
        let key = format!("key {n}");
        let batch = |id| Batch::from(vec![put(id, &key, "x")]);
        let outcomes = tokio::join!(write(&*a, batch(2 * n)), write(&*b, batch(2 * n + 1)));
        assert!(
            matches!(outcomes, (Ok(()), Err(StorageError::Conflict)) | (Err(StorageError::Conflict), Ok(()))),
            "{outcomes:?}"
        );
    }
    assert_eq!(schema.keys().await.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_with_the_same_worker_id_settle_on_different_ones() {
    let Some(schema) = Schema::new().await else { return };
    let ids: Vec<_> = (0..3).map(|_| Arc::new(Ids::new(1023))).collect();
    let open =
        |ids: &Arc<Ids>| PostgresDatabaseOperate::open(PostgresOptions { ids: Some(ids.clone()), ..schema.options() });
    let first = open(&ids[0]).await.unwrap();
    let second = open(&ids[1]).await.unwrap();
    assert_eq!([ids[0].worker(), ids[1].worker()], [1023, 0]);
    // A server that reconnects keeps its own if it can.
    schema.terminate("true").await;
    write(&first, vec![put(1, "a", "x")]).await.unwrap();
    write(&second, vec![put(2, "b", "x")]).await.unwrap();
    assert_ne!(ids[0].worker(), ids[1].worker());
    let freed = ids[0].worker();
    first.close().await;
    ids[2].set_worker(freed);
    let third = open(&ids[2]).await.unwrap();
    assert_eq!(ids[2].worker(), freed);
    third.close().await;
    second.close().await;
}
