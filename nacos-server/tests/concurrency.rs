#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
//! Many at once on one key: what is read is whole and never goes back, of several compare-and-sets one wins, and the
//! history knows every publish once.

mod support;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nacos_core::storage::{DatabaseOperate, LocalDatabaseOperate, LocalOptions, Query};
use support::{
    Request, Server,
    config::{CONFIGS, GROUP, content, get, history, md5, publish, publishing},
    eventually,
    http::Connection,
};
use tokio::{sync::Barrier, time::Instant};

const PUBLISHERS: usize = 32;
const READERS: usize = 4;
const PUBLISHES: usize = 25;

/// A version is told by its content, which is long enough to be seen torn.
fn version(publisher: usize, number: usize) -> String {
    let name = format!("{publisher}:{number}");
    format!("{name}\n{}", name.repeat(400))
}

fn name(content: &str) -> String {
    content.lines().next().unwrap_or_default().to_owned()
}

struct Read {
    begun: Instant,
    ended: Instant,
    version: String,
}

struct Write {
    begun: Instant,
    acknowledged: Instant,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_versions_whole_and_in_the_order_of_their_commits() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let db = Arc::new(LocalDatabaseOperate::open(LocalOptions::new(folder.path().join("own.db"))).unwrap());
    let server = Server::start_on(db.clone(), folder, &[]).await;
    publish(&mut server.client(), "d", &version(PUBLISHERS, 0)).await;
    let barrier = Arc::new(Barrier::new(PUBLISHERS + READERS));
    let done = Arc::new(AtomicBool::new(false));

    let mut publishers = Vec::new();
    for publisher in 0..PUBLISHERS {
        let (mut client, barrier) = (server.client(), barrier.clone());
        publishers.push(tokio::spawn(async move {
            barrier.wait().await;
            let mut written = Vec::new();
            for number in 0..PUBLISHES {
                let content = version(publisher, number);
                let begun = Instant::now();
                let request = publishing("d", &content).query("src_user", &name(&content));
                assert_eq!(client.ask(request).await.good().text(), "true");
                written.push((name(&content), Write { begun, acknowledged: Instant::now() }));
                // One's own write is seen, or one that came after it; which is judged below.
                let begun = Instant::now();
                let version = name(&self::content(&mut client, "d").await);
                written.push((String::new(), Write { begun, acknowledged: Instant::now() }));
                written.last_mut().unwrap().0 = format!("read {version}");
            }
            written
        }));
    }
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let (mut client, barrier, done) = (server.client(), barrier.clone(), done.clone());
        readers.push(tokio::spawn(async move {
            barrier.wait().await;
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let content = content(&mut client, "d").await;
                let version = name(&content);
                assert_eq!(content, format!("{version}\n{}", version.repeat(400)), "torn");
                seen.push(Read { begun, ended: Instant::now(), version });
            }
            seen
        }));
    }
    let mut writes: HashMap<String, Write> = HashMap::new();
    let mut reads: Vec<Vec<Read>> = Vec::new();
    for publisher in publishers {
        let mut own = Vec::new();
        for (what, Write { begun, acknowledged }) in publisher.await.unwrap() {
            match what.strip_prefix("read ") {
                Some(version) => own.push(Read { begun, ended: acknowledged, version: version.to_owned() }),
                None => drop(writes.insert(what, Write { begun, acknowledged })),
            }
        }
        reads.push(own);
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reads.push(reader.await.unwrap());
    }

    let order = commits(&*db).await;
    assert_eq!(order.len(), PUBLISHERS * PUBLISHES + 1, "each publish has its row");
    let place: HashMap<&str, usize> = order.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    assert_eq!(place.len(), order.len(), "each has it once");
    let mut acknowledged: Vec<(Instant, usize)> =
        writes.iter().map(|(name, write)| (write.acknowledged, place[name.as_str()])).collect();
    acknowledged.sort_unstable();
    for seen in &reads {
        let mut last = 0;
        for read in seen {
            let at = place[read.version.as_str()];
            assert!(at >= last, "{} was seen after {}", read.version, order[last]);
            last = at;
            let before = acknowledged.iter().take_while(|(time, _)| *time < read.begun).map(|(_, at)| *at).max();
            let before = before.unwrap_or(0);
            assert!(at >= before, "{} was read after {} was acknowledged", read.version, order[before]);
            let begun = writes.get(&read.version).map(|write| write.begun);
            assert!(begun.is_none_or(|begun| begun < read.ended), "{} was read before it was sent", read.version);
        }
    }
    assert_eq!(name(&content(&mut server.client(), "d").await), *order.last().unwrap());
    let (total, _) = history(&mut server.client(), "d").await;
    assert_eq!(total as usize, order.len());
    server.stop().await;
    db.close().await.unwrap();
}

/// The versions in the order in which they were committed: each row of the history holds the content before a
/// change and, in its user, the name of the one after it. The numbers of the rows must be in the same order, or
/// `previous` would show something else than what was there before.
async fn commits(db: &dyn DatabaseOperate) -> Vec<String> {
    let sql = "SELECT op_type, content, src_user FROM his_config_info ORDER BY nid";
    let rows = db.query(Query::new(sql, [])).await.unwrap().rows;
    let text = |row: &[nacos_core::storage::Value], at: usize| row[at].as_text().map(|text| text.to_string());
    let mut order = vec![version(PUBLISHERS, 0).lines().next().unwrap().to_owned()];
    let mut after: HashMap<String, (usize, String)> = HashMap::new();
    for (number, row) in rows.iter().enumerate() {
        match text(row, 0).unwrap().trim() {
            "I" => assert_eq!((number, name(&text(row, 1).unwrap())), (0, order[0].clone())),
            "U" => {
                let old = after.insert(name(&text(row, 1).unwrap()), (number, text(row, 2).unwrap()));
                assert_eq!(old, None, "a version was replaced twice");
            }
            other => panic!("{other}"),
        }
    }
    let mut last = 0;
    while let Some((number, next)) = after.remove(order.last().unwrap()) {
        assert!(number > last, "the history's numbers are not in the order of the commits, at {next}");
        last = number;
        order.push(next);
    }
    assert!(after.is_empty(), "rows that follow from none: {:?}", after.keys());
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_compare_and_sets_exactly_one_wins() {
    const ROUNDS: usize = 25;
    const RIVALS: usize = 16;
    let server = Server::start(&[]).await;
    let mut client = server.client();
    for (kind, header) in [("formal", None), ("beta", Some(("betaIps", "1.2.3.4"))), ("tag", None)] {
        let tagged = move |data_id: &str, content: &str| {
            let mut request = publishing(data_id, content);
            if let Some((name, value)) = header {
                request = request.header(name, value);
            }
            if kind == "tag" { request.form("tag", "t") } else { request }
        };
        let of_kind = move |data_id: &str| {
            let request = support::config::of("GET", data_id).header("X-Forwarded-For", "1.2.3.4");
            if kind == "tag" { request.query("tag", "t") } else { request }
        };
        // The key is there for its own sake, whatever part of it is fought for.
        publish(&mut client, kind, "formal").await;
        client.ask(tagged(kind, "begin")).await.good();
        let mut held = "begin".to_owned();
        for round in 0..ROUNDS {
            let barrier = Arc::new(Barrier::new(RIVALS));
            let rivals = (0..RIVALS).map(|rival| {
                let (mut client, barrier) = (server.client(), barrier.clone());
                let content = format!("{round}:{rival}");
                let request = tagged(kind, &content).header("casMd5", md5(&held));
                tokio::spawn(async move {
                    barrier.wait().await;
                    (content, client.ask(request).await)
                })
            });
            let mut winners = Vec::new();
            for rival in rivals.collect::<Vec<_>>() {
                let (content, answer) = rival.await.unwrap();
                match answer.status {
                    200 => winners.push(content),
                    500 => assert!(answer.text().contains("Cas publish"), "{answer:?}"),
                    _ => panic!("{answer:?}"),
                }
            }
            assert_eq!(winners.len(), 1, "round {round} of {kind}: {winners:?}");
            held = winners.remove(0);
            assert_eq!(client.ask(of_kind(kind)).await.good().text(), held);
        }
    }
    let (total, rows) = history(&mut client, "formal").await;
    assert_eq!(total as usize, ROUNDS + 2);
    assert!(rows.iter().take(ROUNDS + 1).all(|row| row["opType"] == "U         "), "{rows:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn publishes_and_removals_of_one_key_leave_cache_and_store_agreeing() {
    let server = Server::start(&[]).await;
    for round in 0..20 {
        let data_id = format!("d{round}");
        let barrier = Arc::new(Barrier::new(8));
        let rivals = (0..8).map(|rival| {
            let (mut client, barrier, data_id) = (server.client(), barrier.clone(), data_id.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                for number in 0..5 {
                    if (rival + number) % 2 == 0 {
                        publish(&mut client, &data_id, &format!("{rival}:{number}")).await;
                    } else {
                        support::config::remove(&mut client, &data_id).await;
                    }
                }
            })
        });
        for rival in rivals.collect::<Vec<_>>() {
            rival.await.unwrap();
        }
        let mut client = server.client();
        let stored = client.ask(support::config::of("GET", &data_id).query("show", "all")).await.good();
        let cached = get(&mut client, &data_id).await;
        match cached.status {
            200 => assert_eq!(stored.json()["content"], *cached.text()),
            404 => assert!(stored.body.is_empty(), "{stored:?} is not in the cache"),
            _ => panic!("{cached:?}"),
        }
        let (total, rows) = history(&mut client, &data_id).await;
        assert_eq!(total as usize, rows.len());
        let count = |kind: &str| rows.iter().filter(|row| row["opType"].as_str().unwrap().trim() == kind).count();
        assert_eq!(count("I") + count("U"), 20, "each of the 20 publishes has its row");
        assert_eq!(count("I"), count("D") + usize::from(cached.status == 200), "made and removed in turn: {rows:?}");
    }
    server.stop().await;
}

/// Whoever leaves before the answer does not know whether his write happened; the server must: what it serves is
/// what it stores.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_leave_in_the_middle_of_a_write_leave_cache_and_store_agreeing() {
    let server = Server::start(&[]).await;
    for round in 0..20 {
        for number in 0..20 {
            let mut connection = Connection::open(server.addr()).await.unwrap();
            let request = publishing(&format!("d{number}"), &format!("round {round}"));
            connection.send(&request.bytes()).await.unwrap();
        }
    }
    let mut client = server.client();
    // Requests of one connection keep their order, those of several do not: each key has some round.
    for number in 0..20 {
        let key = format!("d{number}");
        let request = Request::get(CONFIGS).query("dataId", &key).query("group", GROUP).query("show", "all");
        eventually(&format!("cache and store to agree on {key}"), async || {
            let stored = client.ask(request.clone()).await;
            let served = get(&mut client, &key).await;
            (served.status == 200 && stored.json()["content"] == *served.text()).then_some(())
        })
        .await;
    }
    server.stop().await;
}

/// Even where no content is kept in memory, a read that is overtaken by writes gets one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_content_that_is_overwritten_fast_is_always_readable() {
    let server = Server::start(&[("nacos.config.cache.max-bytes", "1")]).await;
    publish(&mut server.client(), "d", &version(0, 0)).await;
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (mut client, done) = (server.client(), done.clone());
            tokio::spawn(async move {
                for number in 1.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    publish(&mut client, "d", &version(writer, number)).await;
                }
            })
        })
        .collect();
    let mut client = server.client();
    for _ in 0..1000 {
        let answer = get(&mut client, "d").await.good();
        assert_eq!(answer.header("content-md5"), Some(&*md5(&answer.body)));
    }
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    server.stop().await;
}
