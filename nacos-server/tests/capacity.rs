#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
//! Quotas: shown and set as Nacos has it, and kept to whoever publishes at the same time.

mod support;

use std::sync::Arc;

use serde_json::{Value, json};
use support::{
    Answer, Client, Request, Server,
    config::{CONFIGS, content, publish, publishing, remove},
};
use tokio::sync::Barrier;

const CAPACITY: &str = "/v1/cs/capacity";

fn of(group: &str, tenant: &str, data_id: &str) -> Request {
    Request::post(CONFIGS).form("dataId", data_id).form("group", group).form("tenant", tenant)
}

async fn capacity(client: &mut Client, kind: &str, name: &str) -> Value {
    let answer = client.ask(Request::get(CAPACITY).query(kind, name)).await.good().json();
    assert_eq!((&answer["code"], &answer["message"]), (&json!(200), &Value::Null));
    answer["data"].clone()
}

async fn set(client: &mut Client, kind: &str, name: &str, limits: &[(&str, &str)]) {
    let mut request = Request::post(CAPACITY).form(kind, name);
    for (limit, value) in limits {
        request = request.form(limit, value);
    }
    let text = format!("successfully updated the capacity information configuration of {kind} to {name}");
    let expected = json!({ "code": 200, "message": text, "data": true });
    assert_eq!(client.ask(request).await.good().json(), expected);
}

#[track_caller]
fn refused(answer: &Answer, group: &str, tenant: &str) {
    let text = format!("caused: Configuration limit exceeded [group={group}, namespaceId={tenant}].;");
    assert_eq!((answer.status, &*answer.text()), (429, &*text));
}

/// Has 32 clients publish 96 keys of `request` at once and says how many were let in; meanwhile looks that there are
/// never more of them than `quota`.
async fn rush(server: &Server, quota: i64, seen: (&'static str, &'static str), request: fn(usize) -> Request) -> usize {
    const CLIENTS: usize = 32;
    let barrier = Arc::new(Barrier::new(CLIENTS + 1));
    let clients = (0..CLIENTS).map(|number| {
        let (mut client, barrier) = (server.client(), barrier.clone());
        tokio::spawn(async move {
            barrier.wait().await;
            let mut let_in = 0;
            for key in 0..3 {
                let answer = client.ask(request(number * 3 + key).form("content", "x")).await;
                match answer.status {
                    200 => let_in += 1,
                    429 => assert!(answer.text().contains("Configuration limit exceeded"), "{answer:?}"),
                    _ => panic!("{answer:?}"),
                }
            }
            let_in
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut client = server.client();
    barrier.wait().await;
    while !clients.iter().all(|client| client.is_finished()) {
        let usage = capacity(&mut client, seen.0, seen.1).await["usage"].as_i64().unwrap();
        assert!(usage <= quota, "{usage} of {quota}");
    }
    let mut let_in = 0;
    for client in clients {
        let_in += client.await.unwrap();
    }
    let_in
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn quotas_hold_however_many_publish_at_once() {
    let options = [("isCapacityLimitCheck", "true"), ("defaultGroupQuota", "7"), ("defaultTenantQuota", "9")];
    let server = Server::start(&options).await;
    let mut client = server.client();
    set(&mut client, "group", "G", &[("quota", "10")]).await;
    set(&mut client, "tenant", "ns", &[("quota", "11")]).await;
    let name = |key: usize| format!("d{key}");
    let let_in = [
        rush(&server, 10, ("group", "G"), |key| of("G", "", &format!("d{key}"))).await,
        rush(&server, 11, ("tenant", "ns"), |key| of(["G", "H"][key % 2], "ns", &format!("d{key}"))).await,
        rush(&server, 7, ("group", "D"), |key| of("D", "", &format!("d{key}"))).await,
        rush(&server, 9, ("tenant", "dd"), |key| of("G", "dd", &format!("d{key}"))).await,
    ];
    assert_eq!(let_in, [10, 11, 7, 9]);
    assert_eq!(capacity(&mut client, "tenant", "ns").await["usage"], 11);

    // A full group takes new contents of the keys it has, but no new key, until one goes.
    let mut there = Vec::new();
    for key in 0..96 {
        let request = Request::get(CONFIGS).query("dataId", &name(key)).query("group", "D");
        if client.ask(request).await.status == 200 {
            there.push(key);
        }
    }
    assert_eq!(there.len(), 7);
    client.ask(of("D", "", &name(there[0])).form("content", "new")).await.good();
    refused(&client.ask(of("D", "", "another").form("content", "x")).await, "D", "");
    let gone = Request::new("DELETE", CONFIGS).query("dataId", &name(there[1])).query("group", "D");
    client.ask(gone).await.good();
    client.ask(of("D", "", "another").form("content", "x")).await.good();
    refused(&client.ask(of("D", "", "one.more").form("content", "x")).await, "D", "");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_quota_of_the_whole_server_holds() {
    let server = Server::start(&[("isCapacityLimitCheck", "true"), ("defaultClusterQuota", "20")]).await;
    let let_in = rush(&server, 20, ("group", ""), |key| {
        of(["G", "H", "I"][key % 3], ["", "ns"][key / 3 % 2], &format!("d{key}"))
    });
    assert_eq!(let_in.await, 20);
    // The message names the key's own group and namespace, whichever limit it was.
    refused(&server.client().ask(of("J", "other", "d").form("content", "x")).await, "J", "other");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_counted_in_bytes_and_only_where_limits_are_checked() {
    let server = Server::start(&[("isCapacityLimitCheck", "true"), ("defaultMaxSize", "12")]).await;
    let mut client = server.client();
    publish(&mut client, "d", "123456789012").await;
    let text = "caused: Configuration content size is over limit [group=DEFAULT_GROUP, namespaceId=].;";
    for over in ["1234567890123", "中文中文1"] {
        let answer = client.ask(publishing("d", over)).await;
        assert_eq!((answer.status, &*answer.text()), (429, text));
    }
    assert_eq!(content(&mut client, "d").await, "123456789012");
    set(&mut client, "group", "DEFAULT_GROUP", &[("maxSize", "13")]).await;
    publish(&mut client, "d", "中文中文1").await;
    // v2 has the codes of Nacos 3, the only version that answers such a thing there.
    let v2 = |content| {
        let request = Request::post("/v2/cs/config").form("dataId", "d").form("group", "DEFAULT_GROUP");
        request.form("content", content)
    };
    let answer = client.ask(v2("12345678901234")).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (429, json!(5034)));
    // Beta and tag contents are for few and for a while; they are not counted.
    client.ask(publishing("d", "12345678901234").header("betaIps", "1.1.1.1")).await.good();
    client.ask(publishing("d", "12345678901234").form("tag", "t")).await.good();
    server.stop().await;

    let server = Server::start(&[("defaultGroupQuota", "1"), ("defaultMaxSize", "3")]).await;
    let mut client = server.client();
    for data_id in ["a", "b", "c"] {
        publish(&mut client, data_id, "longer").await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capacities_are_shown_and_set_as_nacos_does() {
    let server = Server::start(&[("defaultMaxSize", "1000")]).await;
    let mut client = server.client();
    publish(&mut client, "a", "1").await;
    publish(&mut client, "b", "1").await;
    let shown = capacity(&mut client, "group", "DEFAULT_GROUP").await;
    assert!(shown["id"].as_str().is_some_and(|id| id.parse::<i64>().is_ok()), "{shown}");
    let expected = json!({
        "id": shown["id"], "groupName": "DEFAULT_GROUP", "quota": 200, "usage": 2, "maxSize": 1000,
        "maxAggrCount": 10_000, "maxAggrSize": 1024, "gmtCreate": null, "gmtModified": null,
    });
    assert_eq!(shown, expected);
    set(&mut client, "group", "DEFAULT_GROUP", &[("quota", "5"), ("maxAggrSize", "6")]).await;
    set(&mut client, "group", "DEFAULT_GROUP", &[("maxSize", "7"), ("maxAggrCount", "8")]).await;
    let now = capacity(&mut client, "group", "DEFAULT_GROUP").await;
    let limits = json!([5, 2, 7, 8, 6]);
    assert_eq!(json!([now["quota"], now["usage"], now["maxSize"], now["maxAggrCount"], now["maxAggrSize"]]), limits);
    assert_eq!(now["id"], shown["id"]);
    remove(&mut client, "a").await;
    assert_eq!(capacity(&mut client, "group", "DEFAULT_GROUP").await["usage"], 1);

    set(&mut client, "tenant", "ns", &[("quota", "3")]).await;
    let shown = capacity(&mut client, "tenant", "ns").await;
    assert_eq!(json!([shown["tenant"], shown["quota"], shown["usage"]]), json!(["ns", 3, 0]));
    // 0 is the default again.
    set(&mut client, "tenant", "ns", &[("quota", "0")]).await;
    assert_eq!(capacity(&mut client, "tenant", "ns").await["quota"], 200);
    assert_eq!(capacity(&mut client, "group", "").await["quota"], 100_000);

    let both = "The parameter group and tenant cannot be empty at the same time";
    let none = "The parameters quota, maxSize, maxAggrCount, maxAggrSize cannot be empty at the same time";
    let get = || Request::get(CAPACITY);
    let post = || Request::post(CAPACITY);
    for (request, text, data) in [
        (get(), both, Value::Null),
        (get().query("tenant", ""), "tenant cannot be an empty string", Value::Null),
        (get().query("tenant", " "), "tenant cannot be an empty string", Value::Null),
        (post().form("quota", "1"), both, json!(false)),
        (post().form("quota", "1").form("group", " "), both, json!(false)),
        (post().form("quota", "1").form("group", "").form("tenant", ""), both, json!(false)),
        (post().form("group", "G"), none, json!(false)),
        (post().form("group", "G").form("tenant", "").form("quota", "1"), "parameter tenant is empty.", json!(false)),
    ] {
        let answer = client.ask(request.clone()).await;
        let expected = json!({ "code": 400, "message": text, "data": data });
        assert_eq!((answer.status, answer.json()), (400, expected), "{request:?}");
    }
    // With a group, a blank tenant counts as none.
    let shown = client.ask(get().query("group", "DEFAULT_GROUP").query("tenant", "")).await.good().json();
    assert_eq!(shown["data"], capacity(&mut client, "group", "DEFAULT_GROUP").await);
    for wrong in ["x", "-1", "2147483648", "1.5"] {
        let answer = client.ask(post().form("group", "G").form("quota", wrong)).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    server.stop().await;
}
