#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
//! Long polls over real connections: held, answered once, never forgotten, never lost in a race.

mod support;

use std::{sync::Arc, time::Duration};

use support::{
    Client, LONG, Request, Server,
    config::{
        GROUP, LISTENER, changed, content, get, hold_at_least, md5, of, poll, probe, publish, publishing, remove,
    },
    eventually,
    http::Connection,
};
use tokio::{sync::Barrier, task::JoinHandle, time::Instant};

/// A poll under way.
type Held = JoinHandle<support::Answer>;

fn ask(server: &Server, request: Request) -> Held {
    let mut client = server.client();
    tokio::spawn(async move { client.ask(request).await })
}

async fn answered(held: Held) -> String {
    let answer = tokio::time::timeout(LONG, held).await.expect("an answer in time").unwrap().good();
    answer.text().into_owned()
}

async fn held(server: &Server, count: usize) {
    eventually(&format!("{count} held polls"), async || (server.held() == count).then_some(())).await;
}

/// Returns once all changes made so far have been told: those who poll from now on are woken by later ones alone.
async fn settle(server: &Server, sentinel: &str) {
    let before = server.held();
    let waiting = ask(server, poll(&[(sentinel, "")], 60_000));
    held(server, before + 1).await;
    publish(&mut server.client(), sentinel, "x").await;
    assert_eq!(answered(waiting).await, changed(sentinel));
    held(server, before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_at_the_moment_of_the_time_out_is_answered_once() {
    const HOLD: Duration = Duration::from_millis(20);
    const KEYS: u64 = 8;
    let server = Server::start(&[]).await;
    hold_at_least(&mut server.client(), 1).await;
    let mut tasks = Vec::new();
    for key in 0..KEYS {
        let (addr, mut publisher) = (server.addr(), server.client());
        tasks.push(tokio::spawn(async move {
            let data_id = format!("d{key}");
            let mut connection = Connection::open(addr).await.unwrap();
            publish(&mut publisher, &data_id, "0").await;
            let (mut empty, mut told) = (0, 0);
            for round in 1..=60 {
                let (old, new) = ((round - 1).to_string(), round.to_string());
                let request = poll(&[(&data_id, &md5(old))], HOLD.as_millis() as u64).bytes();
                let sent = Instant::now();
                connection.send(&request).await.unwrap();
                // Around the end of the hold, each time at another moment.
                let offset = Duration::from_micros((round * 7 + key * 13) % 60 * 100);
                tokio::time::sleep_until(sent + HOLD - Duration::from_millis(4) + offset).await;
                publish(&mut publisher, &data_id, &new).await;
                let committed = Instant::now();
                let answer = connection.receive(false).await.unwrap().good();
                if answer.body.is_empty() {
                    assert!(
                        committed >= sent + HOLD,
                        "round {round}: nothing told of a change acknowledged {:?} before the time-out",
                        sent + HOLD - committed
                    );
                    empty += 1;
                } else {
                    assert_eq!(answer.text(), changed(&data_id));
                    told += 1;
                }
                // A second answer would be taken for that of this request.
                connection.send(&of("GET", &data_id).bytes()).await.unwrap();
                assert_eq!(connection.receive(false).await.unwrap().good().text(), new);
            }
            (empty, told)
        }));
    }
    let (mut empty, mut told) = (0, 0);
    for task in tasks {
        let counts = task.await.unwrap();
        (empty, told) = (empty + counts.0, told + counts.1);
    }
    assert!(empty > 20 && told > 20, "no race: {empty} timed out, {told} told");
    held(&server, 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_comparing_and_waiting() {
    let server = Server::start(&[]).await;
    let mut tasks = Vec::new();
    for key in 0..4 {
        let (mut poller, mut publisher) = (server.client(), server.client());
        tasks.push(tokio::spawn(async move {
            let data_id = format!("d{key}");
            // Created, changed and removed in turn, while the poller asks in the same moment.
            for round in 0..125_u32 {
                let (old, new) = (round.to_string(), (round + 1).to_string());
                let old = if round % 5 == 0 { String::new() } else { md5(old) };
                let barrier = Arc::new(Barrier::new(2));
                let there = barrier.clone();
                let asked = async {
                    barrier.wait().await;
                    poller.ask(poll(&[(&data_id, &old)], 60_000)).await.good()
                };
                let written = async {
                    there.wait().await;
                    if round % 5 == 4 {
                        remove(&mut publisher, &data_id).await;
                    } else {
                        publish(&mut publisher, &data_id, &new).await;
                    }
                };
                let both = tokio::time::timeout(LONG, async { tokio::join!(asked, written) }).await;
                let (answer, ()) = both.unwrap_or_else(|_| panic!("round {round} of {data_id} was never told"));
                assert_eq!(answer.text(), changed(&data_id), "round {round}");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    held(&server, 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_wait_for_one_key_are_all_answered() {
    const CLIENTS: usize = 1000;
    let server = Server::start(&[]).await;
    publish(&mut server.client(), "d", "old").await;
    settle(&server, "told").await;
    let request = poll(&[("other", ""), ("d", &md5("old"))], 60_000);
    let polls: Vec<Held> = (0..CLIENTS).map(|_| ask(&server, request.clone())).collect();
    held(&server, CLIENTS).await;
    publish(&mut server.client(), "d", "new").await;
    for poll in polls {
        assert_eq!(answered(poll).await, changed("d"));
    }
    held(&server, 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_lasts_as_long_as_asked_less_the_delay_and_at_least_the_minimum() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    publish(&mut client, "com.alibaba.nacos.meta.switch", "fixedDelayTime=200\nMIN_LONG_POOLING_TIMEOUT=150").await;
    for (asked, expected) in [("600", 400), ("150", 150), ("-1", 150), ("-9223372036854775808", 150)] {
        let begun = Instant::now();
        let request = Request::post(LISTENER).form("Listening-Configs", &probe(&[("d", "")]));
        let answer = client.ask(request.header("Long-Pulling-Timeout", asked)).await.good();
        let took = begun.elapsed().as_millis();
        assert!(answer.body.is_empty(), "{answer:?}");
        // Timers count whole milliseconds.
        assert!((expected - 2..expected + 5_000).contains(&took), "{asked}: {took} ms");
    }
    for wrong in ["", "x", "1.5", "9223372036854775808"] {
        let request = Request::post(LISTENER).form("Listening-Configs", &probe(&[("d", "")]));
        let answer = client.ask(request.header("Long-Pulling-Timeout", wrong)).await;
        assert_eq!(answer.status, 400, "{wrong:?}: {answer:?}");
    }
    assert_eq!(server.held(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_told_at_once_and_no_hangup_never_waits() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    publish(&mut client, "a", "1").await;
    publish(&mut client, "b", "2").await;
    let all = [("a", "x".to_owned()), ("b", md5("2")), ("c", "x".to_owned()), ("d", String::new())];
    let all: Vec<(&str, &str)> = all.iter().map(|(data_id, md5)| (*data_id, md5.as_str())).collect();
    let answer = client.ask(poll(&all, 60_000)).await.good();
    assert_eq!(answer.text(), format!("a%02{GROUP}%01c%02{GROUP}%01\n"));
    let answer = client.ask(poll(&[("d", "")], 60_000).header("Long-Pulling-Timeout-No-Hangup", "TRUE")).await.good();
    assert!(answer.body.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_wait_for_a_key_are_answered_when_it_changes() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    publish(&mut client, "a", "1").await;
    settle(&server, "told").await;
    let a = ask(&server, poll(&[("a", &md5("1")), ("b", "")], 60_000));
    let b = ask(&server, poll(&[("b", "")], 60_000));
    let c = ask(&server, poll(&[("c", "")], 60_000));
    held(&server, 3).await;
    publish(&mut client, "b", "1").await;
    assert_eq!(answered(a).await, changed("b"));
    assert_eq!(answered(b).await, changed("b"));
    held(&server, 1).await;
    // The same content again is no change.
    publish(&mut client, "b", "1").await;
    let b = ask(&server, poll(&[("b", &md5("1"))], 60_000));
    held(&server, 2).await;
    publish(&mut client, "b", "1").await;
    settle(&server, "again").await;
    assert!(!b.is_finished() && !c.is_finished());
    remove(&mut client, "b").await;
    assert_eq!(answered(b).await, changed("b"));
    c.abort();
    held(&server, 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beta_and_tag_are_compared_for_whom_they_are_meant() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    let from = |ip: &str, request: Request| request.header("X-Forwarded-For", ip);
    publish(&mut client, "d", "formal").await;
    settle(&server, "told").await;
    let wait = || poll(&[("d", &md5("formal"))], 60_000);
    let chosen = ask(&server, from("1.1.1.1", wait()));
    let other = ask(&server, from("2.2.2.2", wait()));
    held(&server, 2).await;
    client.ask(publishing("d", "beta").header("betaIps", "1.1.1.1,3.3.3.3")).await.good();
    // As Nacos 2.4, a beta content is told to all who wait.
    assert_eq!(answered(chosen).await, changed("d"));
    assert_eq!(answered(other).await, changed("d"));
    settle(&server, "beta").await;
    let other = ask(&server, from("2.2.2.2", wait()));
    held(&server, 1).await;
    assert_eq!(answered(ask(&server, from("3.3.3.3", wait()))).await, changed("d"));
    let chosen = ask(&server, from("1.1.1.1", poll(&[("d", &md5("beta"))], 60_000)));
    held(&server, 2).await;
    client.ask(of("DELETE", "d").query("beta", "true")).await.good();
    assert_eq!(answered(chosen).await, changed("d"));
    assert_eq!(answered(other).await, changed("d"));

    client.ask(publishing("d", "tagged").form("tag", "t")).await.good();
    settle(&server, "tag").await;
    let tagged = ask(&server, poll(&[("d", &md5("tagged"))], 60_000).header("Vipserver-Tag", "t"));
    held(&server, 1).await;
    assert_eq!(answered(ask(&server, wait().header("Vipserver-Tag", "t"))).await, changed("d"));
    client.ask(of("DELETE", "d").query("tag", "t")).await.good();
    assert_eq!(answered(tagged).await, changed("d"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_who_waits_for_what() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    publish(&mut client, "a", "1").await;
    settle(&server, "told").await;
    let one = ask(&server, poll(&[("a", &md5("1")), ("b", "")], 60_000).header("X-Forwarded-For", "1.1.1.1, 9.9.9.9"));
    let two = ask(&server, poll(&[("a", &md5("1"))], 60_000).header("X-Real-IP", "2.2.2.2"));
    held(&server, 2).await;
    let key = |data_id: &str| format!("{data_id}+{GROUP}");
    let seen = async |client: &mut Client, request: Request| client.ask(request).await.good().json();
    let by_config =
        |path: &'static str, data_id: &str| Request::get(path).query("dataId", data_id).query("group", GROUP);
    let by_ip = |path: &'static str, ip: &str| Request::get(path).query("ip", ip);

    let held_of_a = serde_json::json!({ "1.1.1.1": md5("1"), "2.2.2.2": md5("1") });
    let found = seen(&mut client, by_config(LISTENER, "a").query("sampleTime", "2")).await;
    assert_eq!(found, serde_json::json!({ "collectStatus": 200, "lisentersGroupkeyStatus": held_of_a }));
    let found = seen(&mut client, by_config("/v1/cs/communication/configWatchers", "a")).await;
    assert_eq!(found["lisentersGroupkeyStatus"], held_of_a);
    let found = seen(&mut client, by_ip("/v1/cs/listener", "1.1.1.1")).await;
    assert_eq!(found["lisentersGroupkeyStatus"], serde_json::json!({ (key("a")): md5("1"), (key("b")): "" }));
    let found = seen(&mut client, by_ip("/v1/cs/communication/watcherConfigs", "2.2.2.2")).await;
    assert_eq!(found["lisentersGroupkeyStatus"], serde_json::json!({ (key("a")): md5("1") }));
    let found = seen(&mut client, by_config(LISTENER, "unknown")).await;
    assert_eq!(found["lisentersGroupkeyStatus"], serde_json::json!({}));

    publish(&mut client, "a", "2").await;
    assert_eq!(answered(one).await, changed("a"));
    assert_eq!(answered(two).await, changed("a"));
    held(&server, 0).await;
    let found = seen(&mut client, by_ip("/v1/cs/listener", "1.1.1.1")).await;
    assert_eq!(found["lisentersGroupkeyStatus"], serde_json::json!({}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_forgotten() {
    let server = Server::start(&[]).await;
    let request = poll(&[("a", ""), ("b", "")], 60_000).header("X-Forwarded-For", "1.1.1.1").bytes();
    let mut connections = Vec::new();
    for _ in 0..20 {
        let mut connection = Connection::open(server.addr()).await.unwrap();
        connection.send(&request).await.unwrap();
        connections.push(connection);
    }
    held(&server, 20).await;
    let last = connections.pop();
    drop(connections);
    held(&server, 1).await;
    drop(last);
    held(&server, 0).await;
    let seen = server.client().ask(Request::get("/v1/cs/listener").query("ip", "1.1.1.1")).await.good().json();
    assert_eq!(seen["lisentersGroupkeyStatus"], serde_json::json!({}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_beyond_the_limit_are_refused_after_a_while() {
    let server = Server::start(&[("nacos.config.long-poll.max-held", "2")]).await;
    let first: Vec<Held> = (0..2).map(|_| ask(&server, poll(&[("d", "")], 60_000))).collect();
    held(&server, 2).await;
    let begun = Instant::now();
    let refused = server.client().ask(poll(&[("d", "")], 60_000)).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(begun.elapsed() >= Duration::from_secs(1), "at once, so that it would come back at once");
    // What need not be held is answered all the same.
    let mut client = server.client();
    assert_eq!(client.ask(poll(&[("d", "x")], 60_000)).await.good().text(), changed("d"));
    publish(&mut client, "d", "1").await;
    for poll in first {
        assert_eq!(answered(poll).await, changed("d"));
    }
    let again = ask(&server, poll(&[("e", "")], 60_000));
    held(&server, 1).await;
    again.abort();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_clients_are_answered_in_headers_and_never_held() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    publish(&mut client, "d", "1").await;
    let short = |held: &str| Request::post(LISTENER).form("Listening-Configs", &probe(&[("d", held)]));
    for version in [None, Some("2.0.3"), Some("1.4.7"), Some("nonsense")] {
        let mut request = short("x");
        if let Some(version) = version {
            request = request.header("Client-Version", version);
        }
        let answer = client.ask(request).await.good();
        assert_eq!(answer.header("probe-modify-response"), Some(&*format!("d:{GROUP};")), "{version:?}");
        assert_eq!(answer.header("probe-modify-response-new"), Some(changed("d").trim_end()), "{version:?}");
        assert!(answer.body.is_empty());
    }
    let answer = client.ask(short(&md5("1"))).await.good();
    assert_eq!(answer.header("probe-modify-response"), Some(""));
    let answer = client.ask(short("x").header("Client-Version", "2.0.4")).await.good();
    assert_eq!(answer.header("probe-modify-response"), None);
    server.stop().await;
}

/// The least time of a fixed poll is ten seconds, which is what this test takes.
#[tokio::test(flavor = "multi_thread")]
async fn fixed_polls_wait_their_time_out_whatever_changes() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    publish(&mut client, "d", "1").await;
    publish(&mut client, "com.alibaba.nacos.meta.switch", "isFixedPolling=true\nfixedPollingInertval=1").await;
    let begun = Instant::now();
    let changing = ask(&server, poll(&[("d", &md5("1"))], 60_000));
    let unchanged = ask(&server, poll(&[("e", "")], 60_000));
    held(&server, 2).await;
    publish(&mut client, "d", "2").await;
    assert_eq!(answered(changing).await, changed("d"));
    assert_eq!(answered(unchanged).await, "");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(9_998) && took < Duration::from_secs(20), "{took:?}");
    assert_eq!(content(&mut client, "d").await, "2");

    // A stop does not wait for them.
    let cut = ask(&server, poll(&[("d", "x")], 60_000));
    held(&server, 1).await;
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(answered(cut).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_all_who_wait_with_nothing() {
    let server = Server::start(&[]).await;
    let polls: Vec<Held> = (0..50).map(|n| ask(&server, poll(&[(&format!("d{n}"), "")], 60_000))).collect();
    held(&server, 50).await;
    let addr = server.addr();
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for poll in polls {
        assert_eq!(answered(poll).await, "");
    }
    assert!(Connection::open(addr).await.is_err(), "the port is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_in_one_poll_are_watched_and_one_more_is_refused() {
    let server = Server::start(&[]).await;
    let names: Vec<String> = (0..=10_000).map(|n| format!("d{n}")).collect();
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let refused = server.client().ask(poll(&all, 60_000)).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let waiting = ask(&server, poll(&all[..10_000], 60_000));
    held(&server, 1).await;
    publish(&mut server.client(), "d9999", "1").await;
    assert_eq!(answered(waiting).await, changed("d9999"));
    held(&server, 0).await;
    assert_eq!(get(&mut server.client(), "d0").await.status, 404);
    server.stop().await;
}
