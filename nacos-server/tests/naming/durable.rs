//! What must not be lost: persistent instances, what is said of services, clusters and instances, and the switches.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    calls::{
        addresses, at, cluster, done, health, host, listed, listing, of_service, persistent, refused, registering,
        switch, switches, switching,
    },
    support::{
        Client, Request, Server,
        process::{Launch, Process},
    },
};

const LABELS: &str = r#"{"type":"label","expression":"CONSUMER.label.A = PROVIDER.label.A"}"#;
const HTTP: &str = r#"{"type":"HTTP","path":"/alive","headers":"a:b","expectedResponseCode":204}"#;

/// Something of everything that is kept.
async fn write_all(client: &mut Client) {
    // No probes: what they find would be a change.
    switch(client, "check", "false").await;
    switch(client, "clientBeatInterval", "7000").await;
    switch(client, "limitedUrlMap", "/nacos/v1/ns/nowhere:599").await;
    switch(client, "pushVersion", "go:1.2.3").await;

    // A service that is said everything of, with clusters of each kind.
    let described = of_service("POST", "full").query("protectThreshold", "0.25").query("selector", LABELS);
    done(client, described.query("metadata", r#"{"owner":"中文 🦀","empty":""}"#)).await;
    let tcp = cluster("full", "TCP", r#"{"type":"TCP"}"#).query("metadata", "rack=7");
    done(client, tcp).await;
    done(client, cluster("full", "BY-HAND", r#"{"type":"NONE"}"#)).await;
    let http = Request::new("PUT", "/v1/ns/cluster").query("serviceName", "full").query("clusterName", "HTTP");
    let http = http.query("checkPort", "8081").query("useInstancePort4Check", "false").query("healthChecker", HTTP);
    done(client, http).await;
    let mysql = cluster("full", "MYSQL", r#"{"type":"MYSQL","user":"u","pwd":"p","cmd":"select 1"}"#);
    done(client, mysql).await;
    for (n, name) in ["TCP", "BY-HAND", "HTTP", "MYSQL"].into_iter().enumerate() {
        let of_cluster = persistent("full", &format!("127.1.0.{n}:80")).query("clusterName", name);
        done(client, of_cluster.query("weight", "2.5").query("metadata", r#"{"zone":"a","ü":"ß"}"#)).await;
    }
    done(client, health("full", "127.1.0.1:80", false).query("clusterName", "BY-HAND")).await;
    let unhealthy = persistent("full", "127.1.0.9:65535").query("healthy", "false").query("enabled", "false");
    done(client, unhealthy.query("weight", "0")).await;
    let snowflake = persistent("full", "127.1.0.8:1").query("metadata", "preserved.instance.id.generator=snowflake");
    done(client, snowflake).await;
    // Described anew: kind and clusters stay.
    let anew = of_service("PUT", "full").query("protectThreshold", "0.5").query("selector", LABELS);
    done(client, anew.query("metadata", r#"{"owner":"another"}"#)).await;

    // Put in the place of another, and taken away.
    done(client, persistent("changed", "127.1.1.1:80").query("weight", "1")).await;
    done(client, persistent("changed", "127.1.1.1:80").query("weight", "3").query("clusterName", "OTHER")).await;
    done(client, persistent("changed", "127.1.1.2:80")).await;
    done(client, at("DELETE", "changed", "127.1.1.2:80").query("ephemeral", "false")).await;
    done(client, persistent("changed", "127.1.1.3:80")).await;
    done(client, at("PUT", "changed", "127.1.1.3:80").query("weight", "9").query("metadata", "laid=over")).await;
    done(client, at("PATCH", "changed", "127.1.1.3:80").query("enabled", "false")).await;
    done(client, at("PATCH", "changed", "127.1.1.3:80").query("enabled", "true")).await;
    let batch = Request::new("PUT", "/v1/ns/instance/metadata/batch").query("serviceName", "changed");
    client.ask(batch.query("metadata", r#"{"batch":"1","gone":"2"}"#)).await.good();
    let batch = Request::new("DELETE", "/v1/ns/instance/metadata/batch").query("serviceName", "changed");
    client.ask(batch.query("metadata", r#"{"gone":""}"#)).await.good();

    // The same names in another group and namespace.
    let elsewhere = |request: Request| request.query("groupName", "G").query("namespaceId", "ns-1");
    done(client, elsewhere(persistent("full", "127.1.2.1:80"))).await;
    let v2 = Request::post("/v2/ns/instance").form("serviceName", "v2").form("ip", "::1").form("port", "80");
    client.ask(v2.form("ephemeral", "false").form("weight", "10000")).await.good();
    // Made and removed.
    done(client, of_service("POST", "removed").query("metadata", "a=b")).await;
    done(client, of_service("DELETE", "removed")).await;
    done(client, persistent("left", "127.1.3.1:80")).await;
    done(client, at("DELETE", "left", "127.1.3.1:80").query("ephemeral", "false")).await;
    // Empty, but said something of; one of each kind.
    done(client, of_service("POST", "empty")).await;
    let ephemeral = Request::post("/v2/ns/service").form("serviceName", "for-ephemeral").form("ephemeral", "true");
    client.ask(ephemeral.form("protectThreshold", "0.75")).await.good();
}

/// Everything that clients and operators see of that, but for times.
async fn all_that_is_seen(client: &mut Client) -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    let of = |path: &str, name: &str| Request::get(path).query("serviceName", name);
    for (name, request) in [
        ("full", listing("full")),
        ("full, the healthy ones", listing("full").query("healthyOnly", "true")),
        ("full, one cluster", listing("full").query("clusters", "BY-HAND")),
        ("full, v2", of("/v2/ns/instance/list", "full")),
        ("full, said of it", of_service("GET", "full")),
        ("full, said of it, v2", of("/v2/ns/service", "full")),
        ("full, in the catalog", of("/v1/ns/catalog/service", "full")),
        ("disabled", at("GET", "full", "127.1.0.9:65535")),
        ("snowflake", at("GET", "full", "127.1.0.8:1")),
        ("statuses", Request::get("/v1/ns/instance/statuses").query("key", "DEFAULT_GROUP@@full")),
        ("changed", listing("changed")),
        ("changed, one", at("GET", "changed", "127.1.1.3:80")),
        ("taken away", at("GET", "changed", "127.1.1.2:80")),
        ("elsewhere", listing("full").query("groupName", "G").query("namespaceId", "ns-1")),
        ("by v2", listing("v2")),
        ("removed", of_service("GET", "removed")),
        ("empty", of_service("GET", "empty")),
        ("empty, v2", of("/v2/ns/service", "empty")),
        ("for ephemeral ones", of("/v2/ns/service", "for-ephemeral")),
        (
            "catalog",
            Request::get("/v1/ns/catalog/services")
                .query("serviceNameParam", "full")
                .query("withInstances", "true")
                .query("pageNo", "1")
                .query("pageSize", "9"),
        ),
        ("switches", Request::get("/v1/ns/operator/switches")),
        ("clients", Request::get("/v2/ns/client/list")),
    ] {
        let answer = client.ask(request).await;
        let mut json = serde_json::from_slice(&answer.body).unwrap_or_else(|_| Value::from(answer.text()));
        for time in ["/lastRefTime", "/data/lastRefTime"] {
            json.pointer_mut(time).map(Value::take);
        }
        seen.push((name.to_owned(), json!({ "status": answer.status, "body": json })));
    }
    seen
}

/// Ends the process, by this signal, and starts another one in the same folder.
async fn start_again(launch: &Launch, mut process: Process, signal: &str) -> Process {
    process.signal(signal);
    process.ended().await;
    launch.ready().await
}

#[tokio::test]
async fn everything_durable_survives_a_stop_and_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path());
    let mut process = launch.ready().await;
    write_all(&mut process.client()).await;
    let before = all_that_is_seen(&mut process.client()).await;
    let missing: Vec<&str> = before.iter().filter(|(_, a)| a["status"] != 200).map(|(name, _)| &**name).collect();
    assert_eq!(missing, ["taken away", "removed"]);
    let full = listed(&mut process.client(), "full").await;
    assert_eq!(full.len(), 5, "the disabled one is not shown: {full:?}");
    assert_eq!((&full["127.1.0.1:80"]["weight"], &full["127.1.0.1:80"]["metadata"]["ü"]), (&json!(2.5), &json!("ß")));
    let changed = host(&mut process.client(), "changed", "127.1.1.3:80").await.unwrap();
    assert_eq!((&changed["weight"], &changed["metadata"]), (&json!(9.0), &json!({ "laid": "over", "batch": "1" })));
    // By kill with a log, by stop with a snapshot, by kill with a snapshot alone.
    for signal in ["KILL", "TERM", "KILL"] {
        process = start_again(&launch, process, signal).await;
        for (before, after) in before.iter().zip(all_that_is_seen(&mut process.client()).await) {
            assert_eq!(*before, after, "after {signal}");
        }
    }
    // And goes on: kinds, counts, what is taken away.
    let mut client = process.client();
    refused(&mut client, registering("full", "127.1.0.7:80"), 400).await;
    refused(&mut client, persistent("for-ephemeral", "127.1.0.7:80"), 400).await;
    refused(&mut client, of_service("POST", "empty"), 400).await;
    done(&mut client, at("DELETE", "full", "127.1.0.0:80").query("ephemeral", "false")).await;
    process = start_again(&launch, process, "KILL").await;
    let mut client = process.client();
    assert_eq!(addresses(&mut client, "full").await, ["127.1.0.1:80", "127.1.0.2:80", "127.1.0.3:80", "127.1.0.8:1"]);
}

#[tokio::test]
async fn what_is_laid_over_ephemeral_instances_acts_again_when_they_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path());
    let mut process = launch.ready().await;
    let mut client = process.client();
    let own = |address: &str| registering("s", address).query("weight", "5").query("metadata", "own=1,both=own");
    for n in 1..=4 {
        done(&mut client, own(&format!("127.2.0.{n}:80"))).await;
    }
    let over = at("PUT", "s", "127.2.0.1:80").query("weight", "7").query("metadata", "both=over,more=2");
    done(&mut client, over).await;
    done(&mut client, at("PATCH", "s", "127.2.0.2:80").query("enabled", "false")).await;
    let batch = Request::new("PUT", "/v1/ns/instance/metadata/batch").query("serviceName", "s");
    let batch = batch.query("metadata", r#"{"batch":"3"}"#);
    let third = r#"[{"ip":"127.2.0.3","port":80,"clusterName":"DEFAULT","ephemeral":true}]"#;
    client.ask(batch.query("instances", third)).await.good();
    // Of an instance that never came.
    done(&mut client, at("PUT", "s", "127.2.0.9:80").query("weight", "8")).await;

    for signal in ["KILL", "TERM"] {
        process = start_again(&launch, process, signal).await;
        let mut client = process.client();
        assert!(addresses(&mut client, "s").await.is_empty(), "ephemeral instances came back by themselves");
        refused(&mut client, of_service("GET", "s"), 400).await;
        for n in [1, 2, 3, 4, 9] {
            done(&mut client, own(&format!("127.2.0.{n}:80"))).await;
        }
        let shown: Vec<(String, Value, Value)> = listed(&mut client, "s")
            .await
            .into_iter()
            .map(|(address, host)| (address, host["weight"].clone(), host["metadata"].clone()))
            .collect();
        let plain = json!({ "own": "1", "both": "own" });
        let expected = [
            ("127.2.0.1:80", json!(7.0), json!({ "own": "1", "both": "over", "more": "2" })),
            // What a batch or a patch made, and did not say, is the usual, as in Nacos.
            ("127.2.0.3:80", json!(1.0), json!({ "own": "1", "both": "own", "batch": "3" })),
            ("127.2.0.4:80", json!(5.0), plain.clone()),
            ("127.2.0.9:80", json!(8.0), plain),
        ];
        assert_eq!(shown, expected.map(|(address, weight, metadata)| (address.to_owned(), weight, metadata)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_survive_unless_they_were_set_for_debugging() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    switch(&mut client, "defaultInstanceEphemeral", "false").await;
    switch(&mut client, "healthCheckTimes", "5").await;
    let before = switches(&mut client).await;
    done(&mut client, switching("lightBeatEnabled", "false").query("debug", "true")).await;
    done(&mut client, switching("healthCheckTimes", "6").query("debug", "true")).await;
    let debugged = switches(&mut client).await;
    assert_eq!((&debugged["lightBeatEnabled"], &debugged["checkTimes"]), (&json!(false), &json!(6)));
    let folder = server.stop().await;

    let server = Server::start_in(folder, &[]).await;
    let mut client = server.client();
    assert_eq!(switches(&mut client).await, before);
    // And they act: without a word this one is persistent.
    done(&mut client, registering("s", "127.2.1.1:80")).await;
    let folder = server.stop().await;
    let server = Server::start_in(folder, &[]).await;
    assert_eq!(addresses(&mut server.client(), "s").await, ["127.2.1.1:80"]);
    server.stop().await;
}

/// Settings by which services that are empty are soon forgotten, and what was said of them is kept for long.
const FORGETFUL: [(&str, &str); 3] = [
    ("nacos.naming.clean.empty-service.interval", "50"),
    ("nacos.naming.clean.empty-service.expired-time", "50"),
    ("nacos.naming.clean.expired-metadata.expired-time", "3600000"),
];

async fn forgotten(client: &mut Client, service: &str) {
    let begun = Instant::now();
    while client.ask(of_service("GET", service)).await.status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(60), "an empty service stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A service that was forgotten may become one of ephemeral instances; a restart must not make it persistent again
/// behind its clients' backs.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_changed_its_kind_keeps_the_new_one_after_a_restart() {
    let server = Server::start(&FORGETFUL).await;
    let mut client = server.client();
    done(&mut client, of_service("POST", "s").query("metadata", "a=b")).await;
    forgotten(&mut client, "s").await;
    done(&mut client, registering("s", "127.2.2.1:80")).await;
    let folder = server.stop().await;
    let server = Server::start_in(folder, &FORGETFUL).await;
    done(&mut server.client(), registering("s", "127.2.2.1:80")).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_forgotten_can_be_created_again() {
    let server = Server::start(&FORGETFUL).await;
    let mut client = server.client();
    done(&mut client, of_service("POST", "s").query("metadata", "a=b")).await;
    done(&mut client, cluster("s", "C", r#"{"type":"NONE"}"#)).await;
    forgotten(&mut client, "s").await;
    done(&mut client, of_service("POST", "s").query("metadata", "c=d")).await;
    let mut folder = server.stop().await;
    for _ in 0..2 {
        let server = Server::start_in(folder, &FORGETFUL).await;
        let found = server.client().ask(of_service("GET", "s")).await.good().json();
        assert_eq!(found["metadata"], json!({ "c": "d" }));
        folder = server.stop().await;
    }
}
