//! What 1.x clients are told over UDP.

use std::{
    io::{Seek, Write},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout},
};

use crate::{
    calls::{AGENT, addresses, at, cluster, done, health, hosts, listing, persistent, registering, switch},
    support::{Client, LONG, Request, Server, eventually},
};

/// After a push of a service its changes are gathered for so long, unless the settings say otherwise.
const WINDOW: Duration = Duration::from_millis(500);
/// Settings that say otherwise, for tests in which it does not matter.
const SHORT: [(&str, &str); 1] = [("nacos.naming.push.pushTaskDelay", "100")];

/// The port of a client that takes pushes.
struct Ear {
    socket: UdpSocket,
    port: u16,
}

/// One push.
#[derive(Debug)]
struct Push {
    list: Value,
    number: u64,
    bytes: usize,
    compressed: bool,
    came: Instant,
}

impl Push {
    fn addresses(&self) -> Vec<String> {
        hosts(&self.list).into_keys().collect()
    }
}

impl Ear {
    async fn open() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        Self { socket, port }
    }

    /// Lists a service as a client does that wants to be told of its changes.
    fn asking(&self, service: &str) -> Request {
        let request = listing(service).query("clientIP", "127.0.0.1").query("udpPort", &self.port.to_string());
        request.header("User-Agent", AGENT)
    }

    /// Subscribes, and waits for the first push, which every new subscriber gets.
    async fn subscribe(&self, client: &mut Client, service: &str) -> Push {
        client.ask(self.asking(service)).await.good();
        self.next().await
    }

    /// The next push, acknowledged.
    async fn next(&self) -> Push {
        self.within(LONG).await.expect("a push")
    }

    /// The next push, acknowledged, if it comes within this time.
    async fn within(&self, wait: Duration) -> Option<Push> {
        let mut buffer = vec![0; 65_536];
        let (bytes, from) = timeout(wait, self.socket.recv_from(&mut buffer)).await.ok()?.unwrap();
        let came = Instant::now();
        let compressed = buffer.starts_with(&[0x1f, 0x8b]);
        let text = if compressed { unpacked(&buffer[..bytes]) } else { buffer[..bytes].to_vec() };
        let packet: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(packet["type"], "dom", "{packet}");
        let number = packet["lastRefTime"].as_u64().unwrap();
        let answer = json!({ "type": "push-ack", "lastRefTime": number, "data": "" });
        self.socket.send_to(answer.to_string().as_bytes(), from).await.unwrap();
        let list = serde_json::from_str(packet["data"].as_str().unwrap()).unwrap();
        Some(Push { list, number, bytes, compressed, came })
    }

    /// The pushes until one has this many instances.
    async fn until(&self, instances: usize) -> Vec<Push> {
        let mut pushes = vec![self.next().await];
        while hosts(&pushes.last().unwrap().list).len() != instances {
            pushes.push(self.next().await);
        }
        pushes
    }

    /// Nothing comes for longer than changes are gathered.
    async fn is_silent(&self) {
        let push = self.within(WINDOW + WINDOW / 4).await;
        assert!(push.is_none(), "{push:?}");
    }
}

/// By another program than the server's own library.
fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    let output = Command::new("gzip").arg("-dc").stdin(file).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

async fn push_state(client: &mut Client) -> (i64, i64) {
    let state = client.ask(Request::get("/v1/ns/operator/push/state")).await.good().json();
    (state["succeed"].as_i64().unwrap(), state["total"].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_change_is_told_at_once_and_as_a_list_query_would() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    let ear = Ear::open().await;
    assert!(ear.subscribe(&mut client, "s").await.addresses().is_empty());
    let mut fastest = Duration::MAX;
    let mut last = 0;
    // On a busy machine one of some is enough.
    for n in 1..=6 {
        // Nothing was told for a whole window: the next change is a lone one.
        ear.is_silent().await;
        let begun = Instant::now();
        let address = format!("127.5.0.{n}:80");
        done(&mut client, registering("s", &address).query("metadata", "a=b")).await;
        let push = ear.next().await;
        fastest = fastest.min(push.came - begun);
        let mut asked = client.ask(ear.asking("s")).await.good().json();
        // Pushes of Nacos leave this one out.
        asked.as_object_mut().unwrap().remove("groupName");
        let mut pushed = push.list;
        assert!(pushed["lastRefTime"].as_u64().unwrap() <= asked["lastRefTime"].as_u64().unwrap());
        asked["lastRefTime"] = Value::Null;
        pushed["lastRefTime"] = Value::Null;
        assert_eq!(pushed, asked);
        assert_eq!(hosts(&pushed).len(), n);
        assert!(push.number > last, "an older number after a newer one");
        last = push.number;
        if n >= 2 && fastest < Duration::from_millis(200) {
            break;
        }
    }
    assert!(fastest < Duration::from_millis(200), "told after {fastest:?}");
    eventually("all to be acknowledged", async || {
        let (succeeded, total) = push_state(&mut client).await;
        (succeeded > 2 && succeeded == total).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_changes_is_gathered_and_the_last_push_is_the_final_list() {
    const CHANGES: usize = 200;
    let server = Server::start(&[]).await;
    let mut client = server.client();
    let ear = Ear::open().await;
    ear.subscribe(&mut client, "s").await;
    ear.is_silent().await;
    let begun = Instant::now();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let mut client = server.client();
            tokio::spawn(async move {
                for n in (writer..CHANGES).step_by(8) {
                    done(&mut client, registering("s", &format!("127.5.1.{n}:80"))).await;
                }
            })
        })
        .collect();
    let pushes = ear.until(CHANGES).await;
    for writer in writers {
        writer.await.unwrap();
    }
    let took = pushes.last().unwrap().came - begun;
    // One at once, and one at the end of each window.
    let most = 2 + took.as_millis() / WINDOW.as_millis();
    assert!(pushes.len() as u128 <= most, "{} pushes in {took:?}", pushes.len());
    assert!(pushes.is_sorted_by_key(|push| push.list["lastRefTime"].as_u64()));
    assert!(pushes.is_sorted_by_key(|push| push.number));
    assert_eq!(pushes.last().unwrap().addresses(), addresses(&mut client, "s").await);
    // Taken away again in one go.
    for n in 0..CHANGES {
        done(&mut client, at("DELETE", "s", &format!("127.5.1.{n}:80"))).await;
    }
    ear.until(0).await;
    ear.is_silent().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_is_told_to_all_who_asked_for_the_service_and_to_nobody_else() {
    let server = Server::start(&SHORT).await;
    let mut client = server.client();
    let (one, two, other) = (Ear::open().await, Ear::open().await, Ear::open().await);
    done(&mut client, persistent("s", "127.5.2.1:80").query("clusterName", "HAND")).await;
    done(&mut client, cluster("s", "HAND", r#"{"type":"NONE"}"#)).await;
    one.subscribe(&mut client, "s").await;
    two.subscribe(&mut client, "s").await;
    other.subscribe(&mut client, "other").await;
    let of = |push: &Push, field: &str| hosts(&push.list)["127.5.2.1:80"][field].clone();
    // Something else each time, so each is told by a push of its own.
    let unhealthy = health("s", "127.5.2.1:80", false).query("clusterName", "HAND");
    let heavier = at("PUT", "s", "127.5.2.1:80").query("clusterName", "HAND").query("weight", "4");
    let patched = at("PATCH", "s", "127.5.2.1:80").query("clusterName", "HAND").query("metadata", "a=b");
    let gone = at("DELETE", "s", "127.5.2.1:80").query("clusterName", "HAND").query("ephemeral", "false");
    for (request, field, value) in [
        (unhealthy, "healthy", json!(true)),
        (heavier, "weight", json!(4.0)),
        (patched, "metadata", json!({ "a": "b" })),
        (gone, "", json!(null)),
    ] {
        one.is_silent().await;
        done(&mut client, request).await;
        for ear in [&one, &two] {
            let push = ear.next().await;
            match field {
                "" => assert!(push.addresses().is_empty()),
                // With no healthy one left, the service protects itself: it is described, and 0 of 1 is no more than
                // its threshold of 0.
                _ => assert_eq!(of(&push, field), value, "{field}"),
            }
        }
    }
    other.is_silent().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_clusters_is_told_of_those_alone() {
    let server = Server::start(&SHORT).await;
    let mut client = server.client();
    let ear = Ear::open().await;
    client.ask(ear.asking("s").query("clusters", "A,B")).await.good();
    ear.next().await;
    for (n, name) in ["A", "B", "C"].into_iter().enumerate() {
        done(&mut client, registering("s", &format!("127.5.3.{n}:80")).query("clusterName", name)).await;
    }
    let last = ear.until(2).await.pop().unwrap();
    assert_eq!(last.addresses(), ["127.5.3.0:80", "127.5.3.1:80"]);
    assert_eq!(last.list["clusters"], "A,B");
    // On a busy machine the third one may come after the window's end: a push of its own, which says the same.
    while let Some(push) = ear.within(WINDOW + WINDOW / 4).await {
        assert_eq!(push.addresses(), last.addresses());
    }
    done(&mut client, at("DELETE", "s", "127.5.3.1:80").query("clusterName", "B")).await;
    assert_eq!(ear.next().await.addresses(), ["127.5.3.0:80"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_are_compressed_and_short_ones_are_not() {
    let server = Server::start(&SHORT).await;
    let mut client = server.client();
    let ear = Ear::open().await;
    ear.subscribe(&mut client, "s").await;
    let mut sizes = Vec::new();
    for n in 1..=12 {
        done(&mut client, registering("s", &format!("127.5.4.{n}:80"))).await;
        let push = ear.until(n).await.pop().unwrap();
        sizes.push((push.compressed, push.bytes));
    }
    assert!(!sizes[0].0 && sizes[11].0, "{sizes:?}");
    for (compressed, bytes) in &sizes {
        // What is compressed was longer before; what is not is short.
        assert!(*compressed || *bytes < 1024, "{sizes:?}");
    }
    assert!(sizes.is_sorted_by_key(|(compressed, _)| *compressed), "{sizes:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_pushed_to_is_not() {
    let server = Server::start(&SHORT).await;
    let mut client = server.client();
    let ear = Ear::open().await;
    let own = |agent: &'static str| {
        let request = listing("s").query("clientIP", "127.0.0.1").query("udpPort", &ear.port.to_string());
        request.header("User-Agent", agent)
    };
    for agent in ["curl/8.0", "Nacos-Python-Client:v1.0.0", "Nacos-Go-Client:v0.0.9"] {
        client.ask(own(agent)).await.good();
    }
    let subscribers = Request::get("/v1/ns/service/subscribers").query("serviceName", "s");
    assert_eq!(client.ask(subscribers.clone()).await.good().json()["count"], 0);
    // Off altogether, then on again, which a client notices that asks again.
    switch(&mut client, "pushEnabled", "false").await;
    client.ask(own(AGENT)).await.good();
    done(&mut client, registering("s", "127.5.5.1:80")).await;
    ear.is_silent().await;
    switch(&mut client, "pushEnabled", "true").await;
    assert_eq!(ear.subscribe(&mut client, "s").await.addresses(), ["127.5.5.1:80"]);
    let found = client.ask(subscribers).await.good().json();
    assert_eq!((&found["count"], &found["subscribers"][0]["agent"]), (&json!(1), &json!(AGENT)));
    // And off again while somebody is subscribed.
    switch(&mut client, "pushEnabled", "false").await;
    done(&mut client, registering("s", "127.5.5.2:80")).await;
    ear.is_silent().await;
    server.stop().await;
}

/// Silence is a change like any other.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_from_silence_is_told() {
    let times = "preserved.heart.beat.interval=500,preserved.heart.beat.timeout=2000,preserved.ip.delete.timeout=4000";
    let server = Server::start(&SHORT).await;
    let mut client = server.client();
    let ear = Ear::open().await;
    done(&mut client, registering("s", "127.5.6.1:80").query("metadata", times)).await;
    let first = ear.subscribe(&mut client, "s").await;
    assert_eq!(hosts(&first.list)["127.5.6.1:80"]["healthy"], true);
    assert_eq!(hosts(&ear.next().await.list)["127.5.6.1:80"]["healthy"], false);
    assert!(ear.next().await.addresses().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes over half a minute"]
async fn who_does_not_ask_again_is_forgotten_after_half_a_minute() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    let (silent, asking) = (Ear::open().await, Ear::open().await);
    silent.subscribe(&mut client, "s").await;
    asking.subscribe(&mut client, "s").await;
    let begun = Instant::now();
    let subscribers = Request::get("/v1/ns/service/subscribers").query("serviceName", "s");
    loop {
        client.ask(asking.asking("s")).await.good();
        let count = client.ask(subscribers.clone()).await.good().json()["count"].as_u64().unwrap();
        if count == 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(45), "{count} subscribers after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(29), "forgotten after {:?}", begun.elapsed());
    done(&mut client, registering("s", "127.5.7.1:80")).await;
    asking.until(1).await;
    silent.is_silent().await;
    server.stop().await;
}
