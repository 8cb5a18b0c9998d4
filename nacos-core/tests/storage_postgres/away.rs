//! A database that goes away, comes back, or leaves in the midst of something.

use std::{sync::Arc, time::Duration};

use nacos_core::storage::{Change, DatabaseOperate as _, PostgresDatabaseOperate, Reach, StorageError};

use crate::{
    KEYS, Schema, at_once, change, eventually, is_away, is_ready,
    proxy::{Cut, Proxy},
    put, query, telling, told, within, write,
};

/// A database that is reached by a proxy.
async fn proxied() -> Option<(Schema, Proxy, Arc<PostgresDatabaseOperate>)> {
    let schema = Schema::new().await?;
    let proxy = schema.proxy().await;
    let database = schema.open_with(schema.options_by(&[&proxy])).await;
    Some((schema, proxy, database))
}

fn is_unavailable<T>(outcome: &Result<T, StorageError>) -> bool {
    matches!(outcome, Err(StorageError::Unavailable(why)) if !why.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_told_at_once_and_comes_back_by_itself() {
    let Some((schema, proxy, database)) = proxied().await else { return };
    let mut changes = database.changes().unwrap();
    write(&*database, vec![put(1, "before", "x")]).await.unwrap();
    query(&*database, KEYS).await.unwrap();
    change(&mut changes, |change| *change == Change::Missed).await;

    proxy.refuse().await;
    // Nobody writes or reads, and it is noticed all the same.
    is_away(&database).await;
    for n in 0..20 {
        let outcome = at_once("a write", write(&*database, vec![put(10 + n, "while away", "x")])).await;
        assert!(is_unavailable(&outcome), "{outcome:?}");
        let outcome = at_once("a query", query(&*database, KEYS)).await;
        assert!(is_unavailable(&outcome), "{outcome:?}");
    }
    let other = schema.open().await;
    write(&*other, telling(2, "by another", &["unheard"])).await.unwrap();

    proxy.accept().await;
    is_ready(&database).await;
    write(&*database, vec![put(3, "after", "x")]).await.unwrap();
    let rows = query(&*database, KEYS).await.unwrap().rows;
    assert_eq!(rows, [["after".into()], ["before".into()], ["by another".into()]]);
    assert_eq!(change(&mut changes, |_| true).await, Change::Missed);
    write(&*other, telling(4, "again", &["heard"])).await.unwrap();
    assert_eq!(change(&mut changes, |_| true).await, told("heard"));
}

/// Those who ask as it leaves, before anybody has noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_as_the_database_leaves_is_unavailable() {
    let Some((schema, proxy, database)) = proxied().await else { return };
    for round in 0..3 {
        is_ready(&database).await;
        write(&*database, vec![put(round, &format!("before {round}"), "x")]).await.unwrap();
        proxy.refuse().await;
        let asked = (0..40).map(|n| {
            let database = database.clone();
            tokio::spawn(async move {
                if n % 2 == 0 {
                    return query(&*database, KEYS).await.map(drop);
                }
                write(&*database, vec![put(1000 + n, &format!("while away {round} {n}"), "x")]).await
            })
        });
        let outcomes = at_once("all", futures_util::future::join_all(asked)).await;
        for outcome in outcomes {
            let outcome = outcome.unwrap();
            assert!(is_unavailable(&outcome), "{outcome:?}");
        }
        proxy.accept().await;
    }
    assert_eq!(schema.keys().await, ["before 0", "before 1", "before 2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_alone_notice_that_it_is_away_and_back() {
    let Some((schema, proxy, _)) = proxied().await else { return };
    let options = schema.options_by(&[&proxy]);
    let database = schema.open_with(options).await;
    for _ in 0..2 {
        proxy.refuse().await;
        let outcome = at_once("a query", query(&*database, KEYS)).await;
        assert!(is_unavailable(&outcome), "{outcome:?}");
        is_away(&database).await;
        proxy.accept().await;
        eventually("a query succeeds", async || query(&*database, KEYS).await.ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_were_cut_while_idle_are_made_anew() {
    let Some((schema, proxy, database)) = proxied().await else { return };
    let read_by_many = async || {
        let reads = (0..60).map(|_| {
            let database = database.clone();
            tokio::spawn(async move { query(&*database, "SELECT pg_sleep(0.02)::text").await })
        });
        for read in futures_util::future::join_all(reads).await {
            read.unwrap().unwrap();
        }
    };
    for round in 0..5 {
        read_by_many().await;
        proxy.cut();
        if round % 2 == 0 {
            write(&*database, vec![put(round, &round.to_string(), "x")]).await.unwrap();
            read_by_many().await;
        } else {
            read_by_many().await;
            write(&*database, vec![put(round, &round.to_string(), "x")]).await.unwrap();
        }
        assert_eq!(*database.reach().borrow(), Reach::Ready);
    }
    assert_eq!(schema.keys().await, ["0", "1", "2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_cut_is_unconfirmed_whatever_became_of_it() {
    let Some((schema, proxy, database)) = proxied().await else { return };
    let other = schema.open().await;
    let mut changes = other.changes().unwrap();
    write(&*database, vec![put(1, "there", "x")]).await.unwrap();
    for (n, cut) in [Cut::Before, Cut::After, Cut::Before, Cut::After].into_iter().enumerate() {
        let id = 10 + n as i64;
        let key = format!("{id} {cut:?}");
        proxy.cut_at_commit(Some(cut));
        let batches = futures_util::future::join3(
            write(&*database, telling(id, &key, &[&key])),
            // Beside others in one transaction, or in one of its own: refused is refused.
            write(&*database, vec![put(id + 100, "there", "x")]),
            write(&*database, vec![]),
        );
        let (written, refused, nothing) = batches.await;
        proxy.cut_at_commit(None);
        assert!(matches!(written, Err(StorageError::Unconfirmed(_))), "{key}: {written:?}");
        assert!(matches!(refused, Err(StorageError::Conflict)), "{key}: {refused:?}");
        nothing.unwrap();
        assert_eq!(schema.keys().await.contains(&key), cut == Cut::After, "{key}");
        // It goes on by itself.
        write(&*database, vec![put(id + 200, &format!("{id} next"), "x")]).await.unwrap();
    }
    // What was done was told, whoever did not read the answer.
    write(&*database, telling(500, "last", &["last"])).await.unwrap();
    let mut heard = Vec::new();
    while heard.last() != Some(&told("last")) {
        heard.push(change(&mut changes, |change| *change != Change::Missed).await);
    }
    assert!(!heard.iter().any(|change| matches!(change, Change::Told(what) if what.ends_with("Before"))), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_an_operator_ends_are_made_anew() {
    let Some(schema) = Schema::new().await else { return };
    let database = schema.open().await;
    let mut changes = database.changes().unwrap();
    let other = schema.open().await;
    for n in 0..5 {
        query(&*database, KEYS).await.unwrap();
        assert!(schema.terminate("true").await > 0, "the connections of the schema were not found");
        write(&*database, vec![put(n, &n.to_string(), "x")]).await.unwrap();
        assert_eq!(query(&*database, KEYS).await.unwrap().rows.len(), n as usize + 1);
    }
    // In the midst of a transaction that waits.
    let mut holder = schema.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE config_info IN EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    let waiting = tokio::spawn({
        let database = database.clone();
        async move { write(&*database, vec![put(100, "waited", "x")]).await }
    });
    for _ in 0..2 {
        eventually("the waiting session is ended", async || {
            (schema.terminate("wait_event_type = 'Lock'").await > 0).then_some(())
        })
        .await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    within("the write that waited", waiting).await.unwrap().unwrap();
    assert_eq!(schema.keys().await.len(), 6);
    // The listener's was among them.
    crate::hears(&*other, &mut changes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_at_the_start_is_looked_for() {
    let Some(schema) = Schema::new().await else { return };
    let proxy = schema.proxy().await;
    proxy.refuse().await;
    let database = at_once("open", Box::pin(schema.open_with(schema.options_by(&[&proxy])))).await;
    assert!(matches!(&*database.reach().borrow(), Reach::Away(why) if why.contains("127.0.0.1")));
    assert!(is_unavailable(&write(&*database, vec![put(1, "a", "x")]).await));
    assert!(is_unavailable(&query(&*database, KEYS).await));
    // An empty batch asks nothing of it.
    write(&*database, vec![]).await.unwrap();
    assert_eq!(
        schema
            .texts("SELECT to_regclass('config_info')::text WHERE to_regclass('config_info') IS NOT NULL")
            .await
            .len(),
        0
    );
    proxy.accept().await;
    is_ready(&database).await;
    assert_eq!(query(&*database, KEYS).await.unwrap().rows.len(), 0);
    write(&*database, vec![put(1, "a", "x")]).await.unwrap();
    assert_eq!(schema.texts("SELECT name FROM nacos_schema").await, ["first"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_server_is_used_where_the_first_refuses() {
    let Some(schema) = Schema::new().await else { return };
    let (first, second) = (schema.proxy().await, schema.proxy().await);
    first.refuse().await;
    let database = schema.open_with(schema.options_by(&[&first, &second])).await;
    assert_eq!(*database.reach().borrow(), Reach::Ready);
    write(&*database, vec![put(1, "a", "x")]).await.unwrap();
    assert_eq!(query(&*database, KEYS).await.unwrap().rows.len(), 1);
    assert_eq!(first.made(), 0);
    // Writing, reading, and listening.
    eventually("three connections", async || (second.made() == 3).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_under_way_is_left_for_the_next() {
    let Some(schema) = Schema::new().await else { return };
    let (first, second) = (schema.proxy().await, schema.proxy().await);
    let database = schema.open_with(schema.options_by(&[&first, &second])).await;
    let mut changes = database.changes().unwrap();
    let other = schema.open().await;
    change(&mut changes, |change| *change == Change::Missed).await;
    for (n, (dying, next)) in [(&first, &second), (&second, &first), (&first, &second)].into_iter().enumerate() {
        let n = n as i64;
        write(&*database, vec![put(10 * n, &format!("{n} before"), "x")]).await.unwrap();
        query(&*database, KEYS).await.unwrap();
        dying.refuse().await;
        // Tried again at the next, since nothing was committed.
        write(&*database, vec![put(10 * n + 1, &format!("{n} after"), "x")]).await.unwrap();
        assert_eq!(query(&*database, KEYS).await.unwrap().rows.len(), 2 * (n as usize + 1));
        assert_eq!(*database.reach().borrow(), Reach::Ready);
        change(&mut changes, |change| *change == Change::Missed).await;
        assert!(next.made() >= 3, "writing, reading, and listening");
        dying.accept().await;
    }
    write(&*other, telling(100, "told", &["heard"])).await.unwrap();
    assert_eq!(change(&mut changes, |_| true).await, told("heard"));
}

/// The connection that writes broke and the server takes no other, while the one that listens lives on: what it
/// hears there says nothing of the server that is written to now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listener_follows_the_writer_to_another_server() {
    let Some(schema) = Schema::new().await else { return };
    let (first, second) = (schema.proxy().await, schema.proxy().await);
    let database = schema.open_with(schema.options_by(&[&first, &second])).await;
    let mut changes = database.changes().unwrap();
    change(&mut changes, |change| *change == Change::Missed).await;
    write(&*database, vec![put(1, "a", "x")]).await.unwrap();
    first.refuse_new().await;
    assert_eq!(schema.terminate("query = 'COMMIT'").await, 1);
    write(&*database, vec![put(2, "b", "x")]).await.unwrap();
    assert_eq!(second.made(), 1);
    eventually("it listens at the second server", async || (second.made() == 2).then_some(())).await;
    assert_eq!(change(&mut changes, |_| true).await, Change::Missed);
}

/// Nothing answers and nothing breaks. Everybody is answered in the end, and all works when it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_swallows_everything_keeps_nobody_for_ever() {
    let Some((schema, proxy, database)) = proxied().await else { return };
    write(&*database, vec![put(1, "before", "x")]).await.unwrap();
    let reads = (0..10).map(|_| query(&*database, "SELECT pg_sleep(0.02)::text"));
    futures_util::future::join_all(reads).await;
    proxy.block(true);
    let (written, read) = tokio::join!(write(&*database, vec![put(2, "during", "x")]), query(&*database, KEYS));
    assert!(is_unavailable(&written), "{written:?}");
    assert!(is_unavailable(&read), "{read:?}");
    is_away(&database).await;
    let outcome = at_once("a query", query(&*database, KEYS)).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    proxy.block(false);
    is_ready(&database).await;
    write(&*database, vec![put(3, "after", "x")]).await.unwrap();
    assert_eq!(schema.keys().await, ["after", "before"]);
}

/// It begins to swallow everything at any moment of the way back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_blocks_while_it_is_looked_for_keeps_nobody_for_ever() {
    let Some((_schema, proxy, database)) = proxied().await else { return };
    for delay in [0, 1, 2, 4, 6, 8, 10, 13, 16, 20] {
        proxy.refuse().await;
        is_away(&database).await;
        let made = proxy.made();
        proxy.accept().await;
        eventually("it is looked for", async || (proxy.made() > made).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        proxy.block(true);
        tokio::time::sleep(Duration::from_millis(50)).await;
        // The connections of then are lost for good.
        proxy.refuse().await;
        proxy.block(false);
        proxy.accept().await;
        is_ready(&database).await;
        eventually("a query succeeds", async || query(&*database, KEYS).await.ok()).await;
    }
}
