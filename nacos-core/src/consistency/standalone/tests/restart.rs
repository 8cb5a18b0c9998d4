//! What is there after a start is what was there before it; what is damaged is never taken for the end.

use super::*;

#[tokio::test]
async fn a_restart_leads_to_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for life in 0..4 {
        let db = open(&folder);
        let (protocol, list) = start(&db, every(7)).await;
        assert_eq!(list.state(), expected);
        for number in 0..10 {
            let entry = format!("{life}/{number} with ünïcode and \"quotes\"");
            expected.push(entry.clone());
            assert_eq!(write(&protocol, &entry).await, Ok(expected.len().to_string()));
            let refused = write(&protocol, "refuse this").await;
            assert_eq!(refused, Err(CpError::Refused("not refuse this".to_owned())));
        }
        assert_eq!(protocol.read(GROUP, "count").await, Ok(expected.len().to_string()));
        assert_eq!(list.state(), expected);
        protocol.stop().await;
        db.db.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_clean_stop_leaves_nothing_to_apply() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, list) = start(&db, every(1000)).await;
    for number in 0..20 {
        write(&protocol, &number.to_string()).await.unwrap();
    }
    assert_eq!(list.saved.load(Ordering::Relaxed), 0);
    protocol.stop().await;
    assert_eq!(db.log_length().await, 0);

    // Nothing was written since: the next stop has nothing to save.
    for _ in 0..2 {
        let (protocol, next) = start(&db, every(1000)).await;
        assert_eq!(next.state(), list.state());
        assert_eq!((next.applied.load(Ordering::Relaxed), next.loaded.load(Ordering::Relaxed)), (0, 1));
        protocol.stop().await;
        assert_eq!(next.saved.load(Ordering::Relaxed), 0);
    }

    // And the log goes on behind the snapshot.
    let (protocol, _) = start(&db, every(1000)).await;
    assert_eq!(write(&protocol, "more").await, Ok("21".to_owned()));
    assert_eq!(db.number("SELECT log_index FROM cp_log").await, 21);
}

#[tokio::test]
async fn an_empty_group_starts_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    for _ in 0..2 {
        let (protocol, list) = start(&db, every(1)).await;
        assert!(list.state().is_empty());
        protocol.stop().await;
        assert_eq!(list.saved.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn groups_do_not_meet() {
    struct Other(Arc<List>);
    impl RequestProcessor for Other {
        fn group(&self) -> &'static str {
            "other"
        }
        fn apply(&self, entry: &str) -> Result<String, ApplyError> {
            self.0.apply(entry)
        }
        fn read(&self, request: &str) -> Result<String, ApplyError> {
            self.0.read(request)
        }
        /// The whole log is kept.
        fn snapshot(&self) -> Option<&dyn SnapshotOperation> {
            None
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    for life in 1..4 {
        let (protocol, list) = start(&db, every(2)).await;
        let other = List::new();
        protocol.add_processor(Arc::new(Other(other.clone()))).await.unwrap();
        for number in 0..5 {
            write(&protocol, &format!("a{number}")).await.unwrap();
            protocol.write("other", format!("b{number}").into()).await.unwrap();
        }
        assert!(list.state().iter().all(|entry| entry.starts_with('a')));
        assert!(other.state().iter().all(|entry| entry.starts_with('b')));
        assert_eq!((list.state().len(), other.state().len()), (life * 5, life * 5));
        protocol.stop().await;
        assert_eq!(db.log_length().await, life as i64 * 5);
    }
}

/// Groups of the same name are one; another try with the same name is none of the first one's business.
#[tokio::test]
async fn a_group_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, _) = start(&db, every(100)).await;
    let twice = protocol.add_processor(List::new()).await;
    assert_eq!(twice, Err(CpError::DuplicateGroup(GROUP.to_owned())));
    assert_eq!(write(&protocol, "a").await, Ok("1".to_owned()));
    assert_eq!(protocol.write("none", "a".into()).await, Err(CpError::NoSuchGroup("none".to_owned())));
    assert_eq!(protocol.read("none", "count").await, Err(CpError::NoSuchGroup("none".to_owned())));
}

/// While its log is read, it is known but takes nothing; if that is given up, the place is free again.
#[tokio::test]
async fn a_group_that_is_being_read_takes_no_writes() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let protocol = protocol(&db, every(100));
    let (came, _never) = db.hold("cp.settle");
    {
        let mut adding = protocol.add_processor(List::new());
        tokio::select! {
            added = &mut adding => panic!("{added:?}"),
            () = came.notified() => {}
        }
        assert!(matches!(write(&protocol, "a").await, Err(CpError::Unavailable(..))));
        assert!(matches!(protocol.read(GROUP, "count").await, Err(CpError::Unavailable(..))));
        assert_eq!(protocol.add_processor(List::new()).await, Err(CpError::DuplicateGroup(GROUP.to_owned())));
    }
    assert_eq!(write(&protocol, "a").await, Err(CpError::NoSuchGroup(GROUP.to_owned())));
    protocol.add_processor(List::new()).await.unwrap();
    assert_eq!(write(&protocol, "a").await, Ok("1".to_owned()));
}

/// Entries 1 to 5 in the log, without a snapshot.
async fn five_entries(db: &Arc<Faulty>) {
    let (protocol, list) = start(db, every(1000)).await;
    for number in 1..=5 {
        write(&protocol, &format!("entry {number}")).await.unwrap();
    }
    list.unsaveable.store(true, Ordering::Relaxed);
    protocol.stop().await;
    assert_eq!(db.log_length().await, 5);
}

#[tokio::test]
async fn a_stop_saves_what_a_start_had_to_apply() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    five_entries(&db).await;
    let (protocol, list) = start(&db, every(1000)).await;
    protocol.stop().await;
    assert_eq!((db.log_length().await, list.saved.load(Ordering::Relaxed)), (0, 1));

    // So does the first batch, where more were to be applied than a snapshot is due for.
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    five_entries(&db).await;
    let (protocol, list) = start(&db, every(4)).await;
    assert_eq!(write(&protocol, "sixth").await, Ok("6".to_owned()));
    assert_eq!((db.log_length().await, list.saved.load(Ordering::Relaxed)), (1, 1));
}

/// What a process sent in its last moments is decided before the next one reads.
#[tokio::test]
async fn what_was_under_way_at_the_end_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (before, _) = start(&db, every(1000)).await;
    let (came, _never) = db.hold("cp.settle");
    db.plan("cp.append", Fault::LostThenWritten);
    assert!(unconfirmed(&write(&before, "late").await));
    came.notified().await;
    let (after, list) = start(&db, every(1000)).await;
    assert_eq!(list.state(), ["late"]);
    assert_eq!(write(&after, "next").await, Ok("2".to_owned()));
}

/// Why this store cannot be read, and that it can be once that was mended.
async fn fails_to_start(db: &Arc<Faulty>, mend: Option<&'static StatementDef>) -> String {
    let protocol = protocol(db, every(1000));
    let reason = stopped(protocol.add_processor(List::new()).await);
    if let Some(mend) = mend {
        db.run(mend).await;
        let list = List::new();
        protocol.add_processor(list.clone()).await.unwrap();
        assert_eq!(list.state(), (1..=5).map(|number| format!("entry {number}")).collect::<Vec<_>>());
    }
    reason
}

#[tokio::test]
async fn a_damaged_entry_is_named() {
    static DAMAGE: StatementDef =
        StatementDef { id: "test.damage", version: 1, sql: "UPDATE cp_log SET entry = 'entry x' WHERE log_index = 3" };
    static MEND: StatementDef =
        StatementDef { id: "test.mend", version: 1, sql: "UPDATE cp_log SET entry = 'entry 3' WHERE log_index = 3" };
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    five_entries(&db).await;
    db.run(&DAMAGE).await;
    let reason = fails_to_start(&db, Some(&MEND)).await;
    assert!(reason.contains("entry 3") && reason.contains("checksum"), "{reason}");
}

/// Two entries that changed places are sound texts, but not at their indices.
#[tokio::test]
async fn an_entry_in_the_place_of_another_is_noticed() {
    static SWAP: StatementDef = StatementDef {
        id: "test.swap",
        version: 1,
        sql: "UPDATE cp_log SET (entry, checksum) = \
              (SELECT b.entry, b.checksum FROM cp_log b WHERE b.log_index = 6 - cp_log.log_index) \
              WHERE log_index IN (2, 4)",
    };
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    five_entries(&db).await;
    db.run(&SWAP).await;
    let reason = fails_to_start(&db, None).await;
    assert!(reason.contains("entry 2") && reason.contains("checksum"), "{reason}");
}

#[tokio::test]
async fn a_gap_is_named() {
    static FIRST: StatementDef =
        StatementDef { id: "test.first", version: 1, sql: "DELETE FROM cp_log WHERE log_index = 1" };
    static FOURTH: StatementDef =
        StatementDef { id: "test.fourth", version: 1, sql: "DELETE FROM cp_log WHERE log_index = 4" };
    for (gap, told) in [(&FIRST, "no entry 1"), (&FOURTH, "no entry 4")] {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder);
        five_entries(&db).await;
        db.run(gap).await;
        let reason = fails_to_start(&db, None).await;
        assert!(reason.contains(told), "{reason}");
    }
}

/// The log ends where there is no further row, not where one was not handed over.
#[tokio::test]
async fn a_missing_row_is_not_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    five_entries(&db).await;
    db.short.store(true, Ordering::Relaxed);
    let reason = fails_to_start(&db, None).await;
    assert!(reason.contains("strange"), "{reason}");
}

#[tokio::test]
async fn a_gap_behind_the_snapshot_is_named() {
    static SIXTH: StatementDef =
        StatementDef { id: "test.sixth", version: 1, sql: "DELETE FROM cp_log WHERE log_index = 6" };
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, list) = start(&db, every(5)).await;
    for number in 0..8 {
        write(&protocol, &number.to_string()).await.unwrap();
    }
    list.unsaveable.store(true, Ordering::Relaxed);
    protocol.stop().await;
    assert_eq!(db.number("SELECT log_index FROM cp_snapshot").await, 5);
    db.run(&SIXTH).await;
    let reason = fails_to_start(&db, None).await;
    assert!(reason.contains("no entry 6"), "{reason}");
}

#[tokio::test]
async fn a_damaged_snapshot_is_named() {
    static CHANGE: StatementDef = StatementDef {
        id: "test.change",
        version: 1,
        sql: "UPDATE cp_snapshot_part SET content = 'x' || substr(content, 2) WHERE part = 1",
    };
    static REMOVE: StatementDef =
        StatementDef { id: "test.remove", version: 1, sql: "DELETE FROM cp_snapshot_part WHERE part = 1" };
    static INDEX: StatementDef =
        StatementDef { id: "test.index", version: 1, sql: "UPDATE cp_snapshot SET log_index = log_index - 1" };
    for (damage, told) in [(&CHANGE, "checksum"), (&REMOVE, "part 1"), (&INDEX, "checksum")] {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder);
        let (protocol, _) = start(&db, every(1000)).await;
        for number in 0..30 {
            write(&protocol, &format!("entry {number}")).await.unwrap();
        }
        protocol.stop().await;
        db.run(damage).await;
        let reason = fails_to_start(&db, None).await;
        assert!(reason.contains(told), "{reason}");
    }
}

#[tokio::test]
async fn a_snapshot_that_is_sound_but_no_state_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let store = store::Store::new(db.clone(), GROUP);
    store.put_snapshot(1, 30, "no list").await.unwrap();
    let reason = fails_to_start(&db, None).await;
    assert!(reason.contains("entry 30 cannot be loaded"), "{reason}");
}

/// A long state is cut between characters, wherever that is.
#[tokio::test]
async fn a_snapshot_has_as_many_parts_as_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let text = "ab€😀".repeat(store::PART_BYTES);
    let (protocol, _) = start(&db, every(1000)).await;
    write(&protocol, &text).await.unwrap();
    protocol.stop().await;
    let parts = db.number("SELECT parts FROM cp_snapshot").await;
    assert!(parts >= (text.len() / store::PART_BYTES) as i64, "{parts}");
    assert_eq!(db.number("SELECT count(*) FROM cp_snapshot_part").await, parts);
    let (_protocol, list) = start(&db, every(1000)).await;
    assert_eq!(list.state(), [text]);
}

#[tokio::test]
async fn snapshots_keep_the_log_short() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let by_bytes = StandaloneOptions { snapshot_bytes: 60, ..Default::default() };
    for options in [every(10), by_bytes] {
        let (protocol, list) = start(&db, options).await;
        for _ in 0..200 {
            write(&protocol, "entry").await.unwrap();
            // One that is answered may make a snapshot due, which comes before the next batch.
            assert!(db.log_length().await <= 13, "the log grows");
        }
        assert!(list.saved.load(Ordering::Relaxed) >= 15);
        protocol.stop().await;
        assert_eq!(db.log_length().await, 0);
        let stale = "SELECT count(*) FROM cp_snapshot_part WHERE generation <> (SELECT generation FROM cp_snapshot)";
        assert_eq!(db.number(stale).await, 0);
    }
    let (_protocol, list) = start(&db, every(10)).await;
    assert_eq!(list.state().len(), 400);
}

/// The entries after the later snapshot may be all that is left.
#[tokio::test]
async fn a_snapshot_never_gives_way_to_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let store = store::Store::new(db.clone(), GROUP);
    store.put_snapshot(5, 10, "[]").await.unwrap();
    for (generation, index) in [(4, 12), (5, 12), (6, 9)] {
        assert!(store.put_snapshot(generation, index, "[\"x\"]").await.is_err(), "{generation} {index}");
        assert_eq!(db.number("SELECT log_index FROM cp_snapshot").await, 10);
    }
    store.put_snapshot(7, 10, "[\"x\"]").await.unwrap();
    let head = store.head().await.unwrap().unwrap();
    assert_eq!(store.snapshot(&head).await.unwrap(), "[\"x\"]");
}
