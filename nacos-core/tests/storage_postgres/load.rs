//! Many writes at once while all connections break.

use std::{sync::Arc, time::Duration};

use nacos_core::storage::{Batch, StatementDef, StorageError, Value};
use tokio::sync::Semaphore;

use crate::{
    Schema,
    proxy::{Cut, Proxy},
    put, within, write,
};

static KEEP: StatementDef = StatementDef {
    id: "test.keep",
    version: 1,
    sql: "INSERT INTO his_config_info (nid, id, data_id, group_id, gmt_create, gmt_modified, content) \
          VALUES (?1, ?1, ?2, 'G', ?3, ?3, 'x')",
};

/// Of 200 batches each fourth conflicts; they come in small crowds while `trouble` goes on. Answers how many
/// were unconfirmed.
async fn through<F: Future<Output = ()>>(trouble: impl FnOnce(Arc<Proxy>) -> F) -> Option<usize> {
    let schema = Schema::new().await?;
    let proxy = Arc::new(schema.proxy().await);
    let database = schema.open_with(schema.options_by(&[&proxy])).await;
    write(&*database, vec![put(10_000, "taken", "x")]).await.unwrap();

    let crowd = Arc::new(Semaphore::new(12));
    let writers: Vec<_> = (0..200)
        .map(|n| {
            let (database, crowd) = (database.clone(), crowd.clone());
            tokio::spawn(async move {
                let _place = crowd.acquire().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                let key = if n % 4 == 0 { "taken".to_owned() } else { format!("key {n:03}") };
                // The one that does not conflict goes first, so that half of it could remain.
                let kept = KEEP.with([n.into(), format!("key {n:03}").into(), Value::Time(n)]);
                let outcome = write(&*database, Batch::from(vec![kept, put(n, &key, "x")])).await;
                if let Err(StorageError::Unavailable(_)) = outcome {
                    crate::is_ready(&database).await;
                }
                outcome
            })
        })
        .collect();
    let writing = async {
        let mut outcomes = Vec::new();
        for writer in writers {
            outcomes.push(writer.await.unwrap());
        }
        outcomes
    };
    let (outcomes, ()) = within("all", futures_util::future::join(writing, trouble(proxy.clone()))).await;

    let there = schema.keys().await;
    let kept = schema.texts("SELECT data_id::text FROM his_config_info").await;
    let (mut done, mut lost, mut unconfirmed) = (0, 0, 0);
    for (n, outcome) in outcomes.iter().enumerate() {
        let key = format!("key {n:03}");
        let count = there.iter().filter(|found| **found == key).count();
        assert_eq!(count, kept.iter().filter(|found| **found == key).count(), "half of {key} is there: {outcome:?}");
        match outcome {
            Ok(()) => {
                assert_eq!((count, n % 4 > 0), (1, true), "{key} was answered");
                done += 1;
            }
            Err(StorageError::Unconfirmed(_)) => unconfirmed += 1,
            Err(StorageError::Conflict) => assert_eq!((count, n % 4), (0, 0), "{key} was in conflict"),
            Err(StorageError::Unavailable(_)) => {
                assert_eq!(count, 0, "{key} was refused");
                lost += 1;
            }
            Err(error) => panic!("{key}: {error:?}"),
        }
    }
    eprintln!("{done} done, {lost} unavailable, {unconfirmed} unconfirmed");
    assert!(done > 50, "{done} done, {lost} unavailable, {unconfirmed} unconfirmed");
    crate::is_ready(&database).await;
    write(&*database, vec![put(20_000, "after", "x")]).await.unwrap();
    Some(unconfirmed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_holds_though_all_connections_are_cut_again_and_again() {
    through(async |proxy| {
        for n in 0..10 {
            tokio::time::sleep(Duration::from_millis(20 + 7 * n)).await;
            proxy.cut();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_holds_though_commits_are_cut() {
    let unconfirmed = through(async |proxy| {
        for n in 0..6 {
            proxy.cut_at_commit(Some(if n % 2 == 0 { Cut::Before } else { Cut::After }));
            let before = proxy.commits_cut();
            // As long as there are any writers.
            let cut = async {
                while proxy.commits_cut() == before {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(200), cut).await;
            proxy.cut_at_commit(None);
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    })
    .await;
    assert!(unconfirmed.is_none_or(|number| number > 2), "{unconfirmed:?} unconfirmed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_holds_though_the_database_comes_and_goes() {
    through(async |proxy| {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            proxy.refuse().await;
            tokio::time::sleep(Duration::from_millis(15)).await;
            proxy.accept().await;
        }
    })
    .await;
}
