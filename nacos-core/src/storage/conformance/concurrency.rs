//! What many at the same time may count on.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::Poll,
};

use super::{Database, config, counts, done, history, ints, rows, run, texts};
use crate::storage::{Batch, Position, Query, StatementDef, StorageError, Value};

static INSERT_COUNTER: StatementDef = StatementDef {
    id: "conformance.insert_counter",
    version: 1,
    sql: "INSERT INTO tenant_capacity (id, tenant_id, quota, usage, gmt_create, gmt_modified) \
          VALUES (1, 'counter', 0, 0, ?1, ?1)",
};

static SET_COUNTER_IF: StatementDef = StatementDef {
    id: "conformance.set_counter_if",
    version: 1,
    sql: "UPDATE tenant_capacity SET usage = ?1 WHERE tenant_id = 'counter' AND usage = ?2",
};

static ADD_TO_COUNTER: StatementDef = StatementDef {
    id: "conformance.add_to_counter",
    version: 1,
    sql: "UPDATE tenant_capacity SET usage = usage + ?1 WHERE tenant_id = 'counter'",
};

static ADD_TO_QUOTA: StatementDef = StatementDef {
    id: "conformance.add_to_quota",
    version: 1,
    sql: "UPDATE tenant_capacity SET quota = quota + ?1 WHERE tenant_id = 'counter'",
};

static KEEP_CONTENT: StatementDef = StatementDef {
    id: "conformance.keep_content",
    version: 1,
    sql: "INSERT INTO his_config_info (nid, id, data_id, group_id, gmt_create, gmt_modified, content) \
          SELECT ?1, id, data_id, group_id, gmt_create, gmt_modified, content FROM config_info WHERE data_id = 'a'",
};

static SET_CONTENT: StatementDef = StatementDef {
    id: "conformance.set_content",
    version: 1,
    sql: "UPDATE config_info SET content = ?1 WHERE data_id = 'a'",
};

const COUNTER: &str = "SELECT usage FROM tenant_capacity WHERE tenant_id = 'counter'";

async fn with_counter(database: &Database) {
    done(database, vec![INSERT_COUNTER.with([Value::Time(1)])]).await;
}

/// 64 writers that read, add one, and set if unchanged: every answered success counts.
pub async fn a_counter_loses_nothing(database: Database) {
    with_counter(&database).await;
    let writers: Vec<_> = (0..64)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move {
                let mut added = 0;
                while added < 2 {
                    let seen = ints(&database, COUNTER, []).await[0];
                    let set = SET_COUNTER_IF.with([Value::Int(seen + 1), Value::Int(seen)]).must_touch();
                    match run(&database, vec![set]).await {
                        Ok(_) => added += 1,
                        Err(StorageError::DemandUnmet(0)) => {}
                        Err(error) => panic!("neither set nor unmet: {error}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    assert_eq!(ints(&database, COUNTER, []).await, [128]);
}

/// Concurrent batches take effect one after another; one that was answered before another was begun stands
/// before it, and positions, where there are any, stand in the same order.
pub async fn commits_stand_in_one_line(database: Database) {
    struct Written {
        begun: u64,
        answered: u64,
        position: Position,
    }
    done(&database, vec![config(1, "a", "0")]).await;
    let clock = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (database, clock) = (database.clone(), Arc::clone(&clock));
            tokio::spawn(async move {
                let mut all = Vec::new();
                for n in 0..10 {
                    // Each keeps the content it found, so that the contents make a chain.
                    let number: i64 = 1 + writer * 10 + n;
                    let batch = vec![KEEP_CONTENT.with([number.into()]), SET_CONTENT.with([number.to_string().into()])];
                    let begun = clock.fetch_add(1, Ordering::SeqCst);
                    let position = done(&database, batch).await.position;
                    let answered = clock.fetch_add(1, Ordering::SeqCst);
                    all.push((number, Written { begun, answered, position }));
                }
                all
            })
        })
        .collect();
    let mut written = HashMap::new();
    for writer in writers {
        written.extend(writer.await.expect("a writer"));
    }

    let mut after = HashMap::new();
    for row in rows(&database, "SELECT content, nid FROM his_config_info", []).await {
        let found: i64 = row[0].as_text().expect("a content").parse().expect("a number");
        let follower = row[1].as_int().expect("a number");
        assert_eq!(after.insert(found, follower), None, "two batches found the content of {found}");
    }
    let line: Vec<&Written> =
        std::iter::successors(after.get(&0), |number| after.get(number)).map(|number| &written[number]).collect();
    assert_eq!(line.len(), 160, "the chain of contents is broken");
    for (index, later) in line.iter().enumerate() {
        for earlier in &line[..index] {
            assert!(earlier.begun < later.answered, "answered before one that stands before it was begun");
            if later.position != Position::UNKNOWN && earlier.position != Position::UNKNOWN {
                assert!(earlier.position < later.position, "positions do not stand in the order of commits");
            }
        }
    }
}

/// Of batches that come together, those with a conflict fail, and the others do not notice.
pub async fn a_conflict_spares_its_neighbours(database: Database) {
    done(&database, vec![config(1000, "taken", "x")]).await;
    let writers: Vec<_> = (0..64)
        .map(|n| {
            let database = database.clone();
            tokio::spawn(async move {
                let data_id = if n % 4 == 0 { "taken".to_owned() } else { format!("free{n}") };
                (n, run(&database, vec![history(n, &data_id, "x"), config(n, &data_id, "x")]).await)
            })
        })
        .collect();
    for writer in writers {
        match writer.await.expect("a writer") {
            (n, Err(StorageError::Conflict)) => assert_eq!(n % 4, 0),
            (n, outcome) => assert_eq!(outcome.map(|done| (done.touched, n % 4 > 0)).ok(), Some((vec![1, 1], true))),
        }
    }
    assert_eq!(counts(&database).await, (1 + 48, 48));
}

/// One batch after another has ever greater positions, and a query later on is at the last one or beyond.
pub async fn positions_grow(database: Database) {
    let mut last = Position::UNKNOWN;
    for n in 1..=20 {
        let position = done(&database, vec![config(n, &n.to_string(), "x")]).await.position;
        // A batch that fails, and an empty one, must not turn the order back.
        assert!(run(&database, vec![config(n, "again", "x")]).await.is_err());
        let empty = done(&database, vec![]).await.position;
        let read = database.query(Query::new(COUNTER, [])).await.map(|rows| rows.position);
        if position == Position::UNKNOWN {
            continue;
        }
        assert!(position > last, "{position:?} after {last:?}");
        for beside in [Ok(empty), read.map_err(|error| error.to_string())] {
            assert!(beside == Ok(Position::UNKNOWN) || beside >= Ok(position), "{beside:?} after {position:?}");
        }
        last = position;
    }
}

/// A query has seen every batch up to the position it answers with.
pub async fn a_read_reaches_its_position(database: Database) {
    with_counter(&database).await;
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (database, over) = (database.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    let read = database.query(Query::new(COUNTER, [])).await.expect("a sound query");
                    seen.push((read.position, read.rows[0][0].as_int().expect("a count")));
                }
                seen
            })
        })
        .collect();
    let mut positions = Vec::new();
    for _ in 0..100 {
        positions.push(done(&database, vec![ADD_TO_COUNTER.with([1.into()])]).await.position);
    }
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        for (position, count) in reader.await.expect("a reader") {
            if position != Position::UNKNOWN {
                let least = positions.iter().filter(|written| **written <= position).count() as i64;
                assert!(count >= least, "a read at {position:?} saw {count} of {least} batches");
            }
        }
    }
}

/// A query sees all of a batch or nothing of it.
pub async fn reads_see_whole_batches(database: Database) {
    with_counter(&database).await;
    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (database, over) = (database.clone(), Arc::clone(&over));
        async move {
            while !over.load(Ordering::SeqCst) {
                done(&database, vec![ADD_TO_COUNTER.with([1.into()]), ADD_TO_QUOTA.with([1.into()])]).await;
            }
        }
    });
    // Until some hundred reads fell among the writes, not merely beside them.
    let mut distinct = 0;
    let mut last = -1;
    while distinct < 100 {
        let row = rows(&database, "SELECT usage, quota FROM tenant_capacity WHERE tenant_id = 'counter'", []).await;
        assert_eq!(row[0][0], row[0][1], "half a batch was seen");
        let count = row[0][0].as_int().expect("a count");
        assert!(count >= last, "a read went back from {last} to {count}");
        distinct += u32::from(count > last);
        last = count;
    }
    over.store(true, Ordering::SeqCst);
    writer.await.expect("the writer");
}

/// Calls given up after their first poll leave nothing half-done and take no place from later ones.
pub async fn dropped_futures_break_nothing(database: Database) {
    for n in 0..300 {
        let name = format!("dropped{n}");
        {
            let mut call = pin!(database.execute(Batch::from(vec![config(n, &name, "x"), history(n, &name, "x")])));
            let _ = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        }
        let mut call = pin!(database.query(Query::new("SELECT content FROM config_info", [])));
        let _ = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
    }
    for n in 1000..1020 {
        done(&database, vec![config(n, &format!("kept{n}"), "x")]).await;
    }
    assert_eq!(
        texts(&database, "SELECT data_id FROM config_info WHERE data_id LIKE ?1", ["kept%".into()]).await.len(),
        20
    );
    let halves = "SELECT count(*) FROM (SELECT data_id FROM config_info WHERE data_id LIKE 'dropped%' \
                  UNION ALL SELECT data_id FROM his_config_info) AS both_tables";
    let whole = "SELECT count(*) FROM config_info c JOIN his_config_info h ON h.data_id = c.data_id";
    let sql = format!("SELECT ({halves}), ({whole})");
    let row = &rows(&database, sql, []).await[0];
    assert_eq!(row[0].as_int(), row[1].as_int().map(|whole| whole * 2), "half a batch was written");
}
