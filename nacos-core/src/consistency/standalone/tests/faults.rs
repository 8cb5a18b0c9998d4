//! A store that fails, a processor that fails: whoever is answered is told the truth, and memory and log agree.

use futures_util::{FutureExt as _, future::join_all};

use super::*;

/// The state in memory, which must be the one that the log leads to.
async fn agreed(db: &Arc<Faulty>, protocol: StandaloneProtocol, list: &List) -> Vec<String> {
    // Without a snapshot that would hide it.
    list.unsaveable.store(true, Ordering::Relaxed);
    protocol.stop().await;
    let (_protocol, replayed) = start(db, every(1000)).await;
    assert_eq!(replayed.state(), list.state());
    list.state()
}

#[tokio::test]
async fn an_answer_that_was_lost_is_looked_up() {
    for (fault, there) in
        [(Fault::Lost, false), (Fault::LostButWritten, true), (Fault::LostThenWritten, true), (Fault::Lost, false)]
    {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder);
        let (protocol, list) = start(&db, every(1000)).await;
        write(&protocol, "before").await.unwrap();
        db.plan("cp.append", fault.clone());
        // More than one page has.
        let lost = (0..20).map(|number| format!("lost {number}")).collect::<Vec<_>>();
        let answers = join_all(lost.iter().map(|entry| write(&protocol, entry))).await;
        assert!(answers.iter().all(unconfirmed), "{answers:?}");
        let count = if there { 22 } else { 2 };
        assert_eq!(write(&protocol, "after").await, Ok(count.to_string()), "{fault:?}");
        assert_eq!(agreed(&db, protocol, &list).await.len(), count);
    }
}

/// A store that is away when the log is to be looked at is asked again; until it answers, nothing is written.
#[tokio::test]
async fn a_store_that_is_away_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, list) = start(&db, every(1000)).await;
    let away = || Fault::Refuse(StorageError::Unavailable("gone fishing".to_owned()));
    db.plan("cp.append", Fault::LostButWritten);
    for fault in [away(), Fault::Refuse(StorageError::Busy), Fault::Lost, away(), Fault::Refuse(StorageError::Full)] {
        db.plan("cp.settle", fault);
    }
    let first = write(&protocol, "first").await;
    assert!(unconfirmed(&first), "{first:?}");
    // Those who come meanwhile are told, and nothing of theirs is written.
    let mut told = 0;
    let second = loop {
        match write(&protocol, "second").await {
            Err(CpError::Unavailable(_, why)) => {
                assert!(!why.is_empty());
                told += 1;
            }
            answer => break answer,
        }
    };
    assert_eq!(second, Ok("2".to_owned()));
    assert!((1..=5).contains(&told), "{told}");
    assert_eq!(agreed(&db, protocol, &list).await, ["first", "second"]);
}

#[tokio::test]
async fn a_stop_ends_the_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, list) = start(&db, every(1000)).await;
    write(&protocol, "before").await.unwrap();
    db.plan("cp.append", Fault::LostButWritten);
    for _ in 0..100_000 {
        db.plan("cp.settle", Fault::Refuse(StorageError::Unavailable("gone".to_owned())));
    }
    let lost = write(&protocol, "lost").await;
    assert!(unconfirmed(&lost), "{lost:?}");
    let waiting = write(&protocol, "waiting");
    let (waited, ()) = tokio::join!(waiting, protocol.stop());
    assert!(matches!(waited, Err(CpError::Unavailable(..))), "{waited:?}");
    assert_eq!(list.state(), ["before"]);

    // The next start finds what was written after all, behind the snapshot of the stop.
    db.by_id.lock().clear();
    let (_protocol, list) = start(&db, every(1000)).await;
    assert_eq!(list.state(), ["before", "lost"]);
}

#[tokio::test]
async fn what_was_not_written_is_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, list) = start(&db, every(1000)).await;
    let group = || GROUP.to_owned();
    for (error, expected) in [
        (StorageError::Busy, CpError::Busy(group())),
        (StorageError::Full, CpError::Unavailable(group(), StorageError::Full.to_string())),
        (
            StorageError::Unavailable("x".into()),
            CpError::Unavailable(group(), "the database is not available: x".into()),
        ),
        (
            StorageError::Refused("x".into()),
            CpError::Unavailable(group(), "the database refused the statement: x".into()),
        ),
    ] {
        db.plan("cp.append", Fault::Refuse(error));
        assert_eq!(write(&protocol, "not written").await, Err(expected));
        assert!(write(&protocol, "written").await.is_ok());
    }
    assert_eq!(agreed(&db, protocol, &list).await, ["written"; 4]);
}

#[tokio::test]
async fn another_process_on_the_same_log_stops_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (here, list) = start(&db, every(1000)).await;
    let (there, _) = start(&db, every(1000)).await;
    write(&there, "there").await.unwrap();
    for _ in 0..2 {
        let reason = stopped(write(&here, "here").await);
        assert!(reason.contains("another process") && reason.contains("entry 1"), "{reason}");
    }
    stopped(here.read(GROUP, "count").await);
    // It must not put its own state in the place of the other's.
    here.stop().await;
    assert_eq!(list.saved.load(Ordering::Relaxed), 0);
    assert_eq!(write(&there, "there").await, Ok("2".to_owned()));
}

#[tokio::test]
async fn others_entries_where_ones_own_might_be_stop_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (here, list) = start(&db, every(1000)).await;
    let (there, _) = start(&db, every(1000)).await;
    let (came, go_on) = db.hold("cp.settle");
    db.plan("cp.append", Fault::Lost);
    let lost = write(&here, "here").await;
    assert!(unconfirmed(&lost), "{lost:?}");
    came.notified().await;
    write(&there, "there").await.unwrap();
    go_on.notify_one();
    let reason = stopped(write(&here, "here").await);
    assert!(reason.contains("another process"), "{reason}");
    assert!(list.state().is_empty());
}

#[tokio::test]
async fn a_damaged_store_stops_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, _) = start(&db, every(1000)).await;
    db.plan("cp.append", Fault::Refuse(StorageError::Corrupt("a hole".to_owned())));
    for _ in 0..2 {
        let reason = stopped(write(&protocol, "a").await);
        assert!(reason.contains("a hole"), "{reason}");
    }
}

/// An entry that stops the processor is in the log, with those behind it: they are neither applied nor failed.
#[tokio::test]
async fn an_entry_that_cannot_be_applied_stops_the_group() {
    for (culprit, told) in [("critical", "no room in the inn"), ("panic", "what a mess")] {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder);
        let metrics = Metrics::new();
        let (protocol, list) = (StandaloneProtocol::new(db.clone(), every(1000), &metrics), List::new());
        protocol.add_processor(list.clone()).await.unwrap();
        let together = join_all(["good", culprit, "behind"].map(|entry| write(&protocol, entry))).await;
        assert_eq!(together[0], Ok("1".to_owned()));
        assert!(unconfirmed(&together[1]) && unconfirmed(&together[2]), "{together:?}");
        for _ in 0..2 {
            let reason = stopped(write(&protocol, "later").await);
            assert!(reason.contains("entry 2") && reason.contains(told), "{reason}");
        }
        stopped(protocol.read(GROUP, "count").await);
        assert!(metrics.render().contains("nacos_exception_total{module=\"cp\",name=\"stopped\"} 1"));
        protocol.stop().await;
        assert_eq!((list.saved.load(Ordering::Relaxed), list.state()), (0, vec!["good".to_owned()]));

        // It is the same after a start, until the program is mended; nothing is lost then.
        let again = super::protocol(&db, every(1000));
        let reason = stopped(again.add_processor(List::new()).await);
        assert!(reason.contains("entry 2") && reason.contains(told), "{reason}");
        let mended = List::new();
        mended.mended.store(true, Ordering::Relaxed);
        again.add_processor(mended.clone()).await.unwrap();
        assert_eq!(mended.state(), ["good", culprit, "behind"]);
        assert_eq!(write(&again, "later").await, Ok("4".to_owned()));
    }
}

#[tokio::test]
async fn a_read_that_finds_the_state_broken_stops_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, list) = start(&db, every(1000)).await;
    write(&protocol, "a").await.unwrap();
    assert_eq!(protocol.read(GROUP, "moon").await, Err(CpError::Refused("no moon".to_owned())));
    assert!(write(&protocol, "b").await.is_ok());
    stopped(protocol.read(GROUP, "critical").await);
    stopped(write(&protocol, "c").await);
    stopped(protocol.read(GROUP, "count").await);
    protocol.stop().await;
    assert_eq!(list.saved.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_snapshot_that_fails_fails_no_write() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let metrics = Metrics::new();
    let (protocol, list) = (StandaloneProtocol::new(db.clone(), every(5), &metrics), List::new());
    protocol.add_processor(list.clone()).await.unwrap();
    list.unsaveable.store(true, Ordering::Relaxed);
    for number in 1..=16 {
        assert_eq!(write(&protocol, "entry").await, Ok(number.to_string()));
    }
    assert_eq!(db.log_length().await, 16);
    assert!(metrics.render().contains("nacos_exception_total{module=\"cp\",name=\"snapshot\"} 3"));

    // As soon as it can be saved, the whole of it is.
    list.unsaveable.store(false, Ordering::Relaxed);
    for number in 17..=21 {
        assert_eq!(write(&protocol, "entry").await, Ok(number.to_string()));
    }
    assert_eq!(db.number("SELECT log_index FROM cp_snapshot").await, 20);
    assert_eq!(db.log_length().await, 1);
    protocol.stop().await;
    let (_protocol, next) = start(&db, every(5)).await;
    assert_eq!(next.state(), list.state());
}

/// The parts of a snapshot that may be the one that counts are never written over.
#[tokio::test]
async fn a_snapshot_whose_answer_was_lost_is_taken_anew() {
    for (id, fault) in [
        ("cp.switch", Fault::LostButWritten),
        ("cp.switch", Fault::Lost),
        ("cp.add_part", Fault::LostButWritten),
        ("cp.trim_parts", Fault::Lost),
        ("cp.trim_log", Fault::Refuse(StorageError::Busy)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder);
        let (protocol, list) = start(&db, every(10)).await;
        db.plan(id, fault);
        for number in 0..10 {
            write(&protocol, &format!("a rather long entry, which makes for several parts {number}")).await.unwrap();
        }
        // The next attempt is at the same entry.
        protocol.stop().await;
        assert!(db.by_id.lock().is_empty());
        let (_protocol, next) = start(&db, every(10)).await;
        assert_eq!(next.state(), list.state());
        assert_eq!(db.number("SELECT log_index FROM cp_snapshot").await, 10);
    }
}

/// Whoever goes away leaves his entry behind, wherever it is.
#[tokio::test]
async fn a_write_that_nobody_waits_for_is_done_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, list) = start(&db, every(1000)).await;
    assert_eq!(write(&protocol, "first").now_or_never(), None);
    assert_eq!(write(&protocol, "second").await, Ok("2".to_owned()));

    let (came, go_on) = db.hold("cp.append");
    {
        let mut third = Box::pin(write(&protocol, "third"));
        tokio::select! {
            answer = &mut third => panic!("{answer:?}"),
            () = came.notified() => {}
        }
    }
    go_on.notify_one();
    assert_eq!(write(&protocol, "fourth").await, Ok("4".to_owned()));
    assert_eq!(agreed(&db, protocol, &list).await, ["first", "second", "third", "fourth"]);
}
