//! Many writers, full queues, stops.

use futures_util::{FutureExt as _, future::join_all};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_follow_the_order_of_application() {
    const WRITERS: usize = 64;
    const EACH: usize = 25;
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let metrics = Metrics::new();
    let (protocol, list) = (Arc::new(StandaloneProtocol::new(db.clone(), every(300), &metrics)), List::new());
    protocol.add_processor(list.clone()).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let protocol = protocol.clone();
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for number in 0..EACH {
                let answer = write(&protocol, &format!("{writer}/{number}")).await.unwrap();
                let answer: usize = answer.parse().unwrap();
                // A read sees what was confirmed before it.
                let count: usize = protocol.read(GROUP, "count").await.unwrap().parse().unwrap();
                assert!(count >= answer);
                answers.push(answer);
            }
            answers
        })
    });
    let mut all = Vec::new();
    for (writer, answers) in join_all(writers).await.into_iter().enumerate() {
        let answers = answers.unwrap();
        assert!(answers.is_sorted());
        let state = list.state();
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(state[answer - 1], format!("{writer}/{number}"));
        }
        all.extend(answers);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=WRITERS * EACH).collect::<Vec<_>>());
    let batches = db.appended.load(Ordering::Relaxed);
    assert!(batches < WRITERS * EACH / 4, "{batches} batches: they are not written together");
    let text = metrics.render();
    for line in [
        "nacos_monitor{module=\"cp\",name=\"list.waiting\"} 0".to_owned(),
        format!("nacos_monitor{{module=\"cp\",name=\"list.written\"}} {}", WRITERS * EACH),
    ] {
        assert!(text.contains(&line), "{line} missing in:\n{text}");
    }
    protocol.stop().await;
    let (_protocol, next) = start(&db, every(300)).await;
    assert_eq!(next.state(), list.state());
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let metrics = Metrics::new();
    let options = StandaloneOptions {
        max_waiting: 3,
        max_waiting_bytes: 100,
        max_entry_bytes: 50,
        ..StandaloneOptions::default()
    };
    let (protocol, list) = (StandaloneProtocol::new(db.clone(), options, &metrics), List::new());
    protocol.add_processor(list.clone()).await.unwrap();
    let busy = || Err(CpError::Busy(GROUP.to_owned()));

    let (came, go_on) = db.hold("cp.append");
    let mut first = Box::pin(write(&protocol, "first"));
    assert_eq!(first.as_mut().now_or_never(), None);
    came.notified().await;
    let mut more: Vec<_> = ["a", "b", "c"].into_iter().map(|entry| Box::pin(write(&protocol, entry))).collect();
    more.iter_mut().for_each(|write| assert_eq!(write.as_mut().now_or_never(), None));
    assert_eq!(write(&protocol, "d").await, busy());
    assert!(metrics.render().contains("nacos_monitor{module=\"cp\",name=\"list.waiting\"} 4"));
    go_on.notify_one();
    assert_eq!(first.await, Ok("1".to_owned()));
    assert!(join_all(more).await.iter().all(Result::is_ok));

    // By bytes: 50 and 50 wait, one more does not.
    let (came, go_on) = db.hold("cp.append");
    let great = "x".repeat(50);
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(write(&protocol, &great))).collect();
    waiting.iter_mut().for_each(|write| assert_eq!(write.as_mut().now_or_never(), None));
    came.notified().await;
    assert_eq!(write(&protocol, "e").await, busy());
    go_on.notify_one();
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    assert_eq!(write(&protocol, "f").await, Ok("7".to_owned()));
    assert!(metrics.render().contains("nacos_monitor{module=\"cp\",name=\"list.waiting\"} 0"));

    // What cannot be kept is refused before it touches anything.
    assert!(matches!(write(&protocol, &"x".repeat(51)).await, Err(CpError::Refused(_))));
    assert!(matches!(write(&protocol, "a\0b").await, Err(CpError::Refused(_))));
    assert_eq!(list.state().len(), 7);
    assert_eq!(write(&protocol, "").await, Ok("8".to_owned()));
}

#[tokio::test]
async fn a_stop_finishes_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, list) = start(&db, every(1000)).await;
    let (came, go_on) = db.hold("cp.append");
    let mut waiting = vec![Box::pin(write(&protocol, "0"))];
    assert_eq!(waiting[0].as_mut().now_or_never(), None);
    came.notified().await;
    for entry in ["1", "2", "3"] {
        waiting.push(Box::pin(write(&protocol, entry)));
        assert_eq!(waiting.last_mut().and_then(|write| write.as_mut().now_or_never()), None);
    }
    // Two that stop wait for the same.
    let (mut one, mut other) = (Box::pin(protocol.stop()), Box::pin(protocol.stop()));
    assert_eq!(one.as_mut().now_or_never(), None);
    assert_eq!(other.as_mut().now_or_never(), None);
    go_on.notify_one();
    one.await;
    other.await;
    let answers: Vec<_> = join_all(waiting).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, ["1", "2", "3", "4"]);

    let unavailable = |answer| matches!(answer, Err(CpError::Unavailable(_, why)) if why == "stopping");
    assert!(unavailable(write(&protocol, "late").await));
    assert_eq!(protocol.read(GROUP, "count").await, Ok("4".to_owned()));
    protocol.stop().await;
    assert_eq!(list.saved.load(Ordering::Relaxed), 1);
    assert_eq!(db.log_length().await, 0);
}

#[tokio::test]
async fn nothing_begins_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let protocol = protocol(&db, every(1000));
    protocol.stop().await;
    let refused = protocol.add_processor(List::new()).await;
    assert_eq!(refused, Err(CpError::Unavailable(GROUP.to_owned(), "stopping".to_owned())));
    protocol.stop().await;
}

/// A group that is being read when the stop comes is not left running.
#[tokio::test]
async fn a_stop_while_a_log_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let protocol = protocol(&db, every(1000));
    let (came, go_on) = db.hold("cp.settle");
    let mut adding = protocol.add_processor(List::new());
    assert_eq!(adding.as_mut().now_or_never(), None);
    came.notified().await;
    protocol.stop().await;
    go_on.notify_one();
    assert_eq!(adding.await, Err(CpError::Unavailable(GROUP.to_owned(), "stopping".to_owned())));
    protocol.stop().await;
}

/// Dropped without a stop, its tasks finish by themselves.
#[tokio::test]
async fn a_drop_finishes_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder);
    let (protocol, list) = start(&db, every(1000)).await;
    assert_eq!(write(&protocol, "a").now_or_never(), None);
    let (came, go_on) = db.hold("cp.trim_log");
    drop(protocol);
    came.notified().await;
    assert_eq!(list.state(), ["a"]);
    assert_eq!(db.number("SELECT log_index FROM cp_snapshot").await, 1);
    go_on.notify_one();
}
