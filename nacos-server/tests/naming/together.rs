//! Many at once on one service.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::{
    calls::{
        addresses, at, beat, done, full_beat, host, light_beat, listed, listing, of_service, persistent, registering,
        switch,
    },
    support::{Client, Request, Server},
};

const CLIENTS: usize = 24;
const ROUNDS: usize = 12;
/// Addresses of each client.
const OWN: usize = 4;

/// What a client knows of its own instances: what their metadata say last.
type Own = BTreeMap<String, String>;

/// One client of many: comes, goes, changes, beats, and sees all of its own in each list in between.
async fn come_and_go(mut client: Client, number: usize, service: &str, ephemeral: bool) -> Own {
    let mut own = Own::new();
    let kind = if ephemeral { "true" } else { "false" };
    let metadata = |version: &str| json!({ "version": version }).to_string();
    for round in 0..ROUNDS {
        for n in 0..OWN {
            let address = format!("127.4.{number}.{n}:{}", 1000 + n);
            let version = format!("{number}/{round}/{n}");
            match (round + n + number) % 5 {
                0 => {
                    done(&mut client, at("DELETE", service, &address).query("ephemeral", kind)).await;
                    own.remove(&address);
                }
                1 if ephemeral => {
                    let known = own.contains_key(&address);
                    let code = beat(&mut client, light_beat(service, &address)).await;
                    assert_eq!(code, if known { 10_200 } else { 20_404 }, "{address}");
                }
                2 if ephemeral && !own.contains_key(&address) => {
                    let full = full_beat(service, &address, json!({ "version": version }));
                    assert_eq!(beat(&mut client, full).await, 10_200);
                    own.insert(address, version);
                }
                3 if own.contains_key(&address) => {
                    client.ask(at("GET", service, &address)).await.good();
                }
                _ => {
                    let request = registering(service, &address).query("ephemeral", kind);
                    done(&mut client, request.query("metadata", &metadata(&version))).await;
                    own.insert(address, version);
                }
            }
        }
        let seen = listed(&mut client, service).await;
        let begin = format!("127.4.{number}.");
        let mine = seen.iter().filter(|(address, _)| address.starts_with(&begin));
        let mine: Own =
            mine.map(|(a, host)| (a.clone(), host["metadata"]["version"].as_str().unwrap().into())).collect();
        assert_eq!(mine, own, "client {number} after round {round}");
    }
    own
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_who_come_and_go_at_once_leave_the_list_exact() {
    let server = Server::start(&[]).await;
    // No probes: they would find nobody there.
    switch(&mut server.client(), "check", "false").await;
    for (service, ephemeral) in [("ephemeral", true), ("persistent", false)] {
        let barrier = Arc::new(Barrier::new(CLIENTS));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, barrier) = (server.client(), barrier.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    come_and_go(client, number, service, ephemeral).await
                })
            })
            .collect();
        let mut expected = Own::new();
        for client in clients {
            expected.extend(client.await.unwrap());
        }
        let mut client = server.client();
        let version = |host: &Value| host["metadata"]["version"].as_str().unwrap().to_owned();
        let found: Own =
            listed(&mut client, service).await.iter().map(|(a, host)| (a.clone(), version(host))).collect();
        assert_eq!(found, expected);
        // However it is asked for.
        let statuses = Request::get("/v1/ns/instance/statuses").query("key", &format!("DEFAULT_GROUP@@{service}"));
        let statuses = client.ask(statuses).await.good().json();
        assert_eq!(statuses["ips"].as_array().unwrap().len(), expected.len());
        let page = Request::get("/v1/ns/catalog/services").query("serviceNameParam", service);
        let page = client.ask(page.query("pageNo", "1").query("pageSize", "9")).await.good().json();
        let expected = json!({
            "name": service, "groupName": "DEFAULT_GROUP", "clusterCount": 1, "ipCount": expected.len(),
            "healthyInstanceCount": expected.len(), "triggerFlag": "false",
        });
        assert_eq!(page, json!({ "count": 1, "serviceList": [expected] }));
    }
    server.metric("nacos_exception_total{module=\"core\",name=\"handlerPanic\"}");
    let before = listed(&mut server.client(), "persistent").await;
    let folder = server.stop().await;
    let server = Server::start_in(folder, &[]).await;
    assert_eq!(listed(&mut server.client(), "persistent").await, before);
    server.stop().await;
}

/// One address after another goes through all hands: the last word counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_all_who_fight_over_one_address_one_remains() {
    let server = Server::start(&[]).await;
    switch(&mut server.client(), "check", "false").await;
    for (service, kind) in [("ephemeral", "true"), ("persistent", "false")] {
        let barrier = Arc::new(Barrier::new(CLIENTS));
        let rivals: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (mut client, barrier) = (server.client(), barrier.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    for round in 0..ROUNDS {
                        let metadata = format!("by={number},round={round}");
                        let request = registering(service, "127.4.99.1:80").query("ephemeral", kind);
                        done(&mut client, request.query("metadata", &metadata)).await;
                        let list = client.ask(listing(service)).await.good().json();
                        let hosts = list["hosts"].as_array().unwrap();
                        assert!(hosts.len() <= 1, "{list}");
                        if number % 3 == 0 {
                            let gone = at("DELETE", service, "127.4.99.1:80").query("ephemeral", kind);
                            done(&mut client, gone).await;
                        }
                    }
                    // Each one's last word is that it is there.
                    done(&mut client, registering(service, "127.4.99.1:80").query("ephemeral", kind)).await;
                })
            })
            .collect();
        for rival in rivals {
            rival.await.unwrap();
        }
        assert_eq!(addresses(&mut server.client(), service).await, ["127.4.99.1:80"]);
    }
    server.stop().await;
}

/// Runs this on as many clients as there are, all beginning at once, and gives what came of each.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    server: &Server,
    count: usize,
    work: impl Fn(Client, usize) -> F,
) -> Vec<T> {
    let barrier = Arc::new(Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let (barrier, work) = (barrier.clone(), work(server.client(), number));
            tokio::spawn(async move {
                barrier.wait().await;
                work.await
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn metadata_set_by_many_at_once_are_all_there() {
    let server = Server::start(&[]).await;
    done(&mut server.client(), registering("s", "127.4.98.1:80")).await;
    at_once(&server, CLIENTS, |mut client, number| async move {
        for round in 0..4 {
            let batch = Request::new("PUT", "/v1/ns/instance/metadata/batch").query("serviceName", "s");
            let batch = batch.query("metadata", &json!({ format!("k{number}-{round}"): "1" }).to_string());
            assert_eq!(client.ask(batch).await.good().json()["updated"].as_array().unwrap().len(), 1);
        }
    })
    .await;
    let host = host(&mut server.client(), "s", "127.4.98.1:80").await.unwrap();
    assert_eq!(host["metadata"].as_object().unwrap().len(), CLIENTS * 4, "acknowledged changes are lost");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn patches_of_different_parts_at_once_are_all_there() {
    let server = Server::start(&[]).await;
    done(&mut server.client(), registering("s", "127.4.97.1:80")).await;
    for round in 1..=20 {
        at_once(&server, 2, |mut client, number| async move {
            let patch = at("PATCH", "s", "127.4.97.1:80");
            let weight = round.to_string();
            let patch = if number == 0 {
                patch.query("weight", &weight)
            } else {
                patch.query("metadata", &format!("r={round}"))
            };
            done(&mut client, patch).await;
        })
        .await;
        let host = host(&mut server.client(), "s", "127.4.97.1:80").await.unwrap();
        let seen = (host["weight"].as_f64().unwrap(), host["metadata"]["r"].as_str().unwrap().to_owned());
        assert_eq!(seen, (f64::from(round), round.to_string()), "an acknowledged patch is lost");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_who_create_one_service_one_succeeds() {
    let server = Server::start(&[]).await;
    for round in 0..10 {
        let name = format!("s{round}");
        let created = at_once(&server, 8, |mut client, number| {
            let request = of_service("POST", &name).query("metadata", &format!("by={number}"));
            async move { client.ask(request).await.status }
        })
        .await;
        assert!(created.iter().all(|status| matches!(status, 200 | 400)), "{created:?}");
        let winners = created.iter().filter(|status| **status == 200).count();
        assert_eq!(winners, 1, "round {round}: so many were told that they created it");
    }
    server.stop().await;
}

/// Whoever comes first decides the kind, and all others are told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_has_instances_of_one_kind_however_many_register_at_once() {
    let server = Server::start(&[]).await;
    switch(&mut server.client(), "check", "false").await;
    for round in 0..10 {
        let name = format!("s{round}");
        let answers = at_once(&server, 8, |mut client, number| {
            let address = format!("127.4.96.{number}:80");
            let request = if number % 2 == 0 { registering(&name, &address) } else { persistent(&name, &address) };
            async move {
                // The write of a persistent one takes a while, in which others come.
                tokio::time::sleep(std::time::Duration::from_micros(if number % 2 == 0 { 500 } else { 0 })).await;
                client.ask(request).await.status
            }
        })
        .await;
        let mut kinds = [0, 0];
        for (number, status) in answers.iter().enumerate() {
            assert!(matches!(status, 200 | 400), "{answers:?}");
            kinds[number % 2] += usize::from(*status == 200);
        }
        assert!(kinds[0] == 0 || kinds[1] == 0, "round {round}: ephemeral and persistent ones were let in: {kinds:?}");
        assert_eq!(addresses(&mut server.client(), &name).await.len(), kinds[0] + kinds[1]);
    }
    server.stop().await;
}
