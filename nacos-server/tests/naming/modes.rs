//! One module without the other, and what operators close and open.

use serde_json::json;

use crate::{
    calls::{SWITCHES, addresses, done, listing, persistent, refused, registering, switch, switches, switching},
    support::{
        Client, Request, Server,
        config::{CONFIGS, get, publish},
    },
};

async fn is_ready(client: &mut Client) {
    for path in ["/v1/console/health/readiness", "/v2/console/health/readiness", "/v1/console/health/liveness"] {
        client.ask(Request::get(path)).await.good();
    }
    assert_eq!(client.ask(Request::get("/actuator/health")).await.good().json()["status"], "UP");
}

async fn mode(client: &mut Client) -> serde_json::Value {
    client.ask(Request::get("/v1/console/server/state")).await.good().json()["function_mode"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn service_discovery_alone_has_no_configurations() {
    let server = Server::start(&[("nacos.functionMode", "naming")]).await;
    let mut client = server.client();
    is_ready(&mut client).await;
    assert_eq!(mode(&mut client).await, "naming");
    done(&mut client, registering("s", "127.7.0.1:80")).await;
    done(&mut client, persistent("p", "127.7.0.1:80")).await;
    let config = |method: &'static str| Request::new(method, CONFIGS).query("dataId", "d").query("group", "g");
    for request in [
        config("GET"),
        config("DELETE"),
        config("POST").query("content", "c"),
        Request::post("/v1/cs/configs/listener"),
        Request::get("/v2/cs/config"),
        Request::get("/v1/cs/health"),
    ] {
        let answer = client.ask(request.clone()).await;
        assert!(matches!(answer.status, 404 | 501), "{request:?}: {answer:?}");
    }
    // Namespaces are there for both.
    client.ask(Request::get("/v1/console/namespaces")).await.good();
    let folder = server.stop().await;
    assert!(!folder.path().join("config-data").exists());
    let server = Server::start_in(folder, &[("nacos.functionMode", "naming")]).await;
    assert_eq!(addresses(&mut server.client(), "p").await, ["127.7.0.1:80"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_alone_have_no_service_discovery() {
    let server = Server::start(&[("nacos.functionMode", "config")]).await;
    let mut client = server.client();
    is_ready(&mut client).await;
    assert_eq!(mode(&mut client).await, "config");
    publish(&mut client, "d", "1").await;
    for request in [
        listing("s"),
        registering("s", "127.7.0.1:80"),
        persistent("s", "127.7.0.1:80"),
        Request::get(SWITCHES),
        Request::get("/v1/ns/operator/metrics"),
        Request::get("/v1/ns/nowhere"),
        Request::get("/v2/ns/service/list"),
        Request::post("/v2/ns/instance"),
    ] {
        let answer = client.ask(request.clone()).await;
        assert!(matches!(answer.status, 404 | 501), "{request:?}: {answer:?}");
    }
    assert_eq!(get(&mut client, "d").await.good().text(), "1");
    let folder = server.stop().await;
    assert!(!folder.path().join("naming").exists());
}

/// What was written while both modules ran is there when one is left out and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_was_left_out_for_a_while_has_lost_nothing() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    publish(&mut client, "d", "1").await;
    done(&mut client, persistent("p", "127.7.1.1:80")).await;
    let mut folder = server.stop().await;
    for mode in ["config", "naming", "all"] {
        let server = Server::start_in(folder, &[("nacos.functionMode", mode)]).await;
        let mut client = server.client();
        if mode != "naming" {
            assert_eq!(get(&mut client, "d").await.good().text(), "1");
        }
        if mode != "config" {
            assert_eq!(addresses(&mut client, "p").await, ["127.7.1.1:80"]);
        }
        folder = server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limited_addresses_are_closed_and_opened_again() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    done(&mut client, registering("s", "127.7.2.1:80")).await;
    switch(&mut client, "limitedUrlMap", "/nacos/v1/ns/instance/list:418,/nacos/v1/ns/service:503").await;
    for (request, status) in [
        (listing("s"), 418),
        (Request::get("/v1/ns/service/list").query("pageNo", "1").query("pageSize", "1"), 503),
        (Request::get("/v1/ns/service"), 503),
    ] {
        let answer = client.ask(request).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0));
    }
    // All else goes on; the way of v2 is no v1.
    done(&mut client, registering("s", "127.7.2.2:80")).await;
    client.ask(Request::get("/v2/ns/instance/list").query("serviceName", "s")).await.good();
    publish(&mut client, "d", "1").await;
    is_ready(&mut client).await;
    // An empty value changes nothing, as in Nacos; this one empties the map.
    switch(&mut client, "limitedUrlMap", ",").await;
    assert_eq!(addresses(&mut client, "s").await, ["127.7.2.1:80", "127.7.2.2:80"]);
    server.stop().await;
}

/// The switches are what opens again what they closed.
#[tokio::test(flavor = "multi_thread")]
async fn limited_addresses_never_close_the_switches() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    switch(&mut client, "limitedUrlMap", "/nacos/v1/ns:503").await;
    assert_eq!(client.ask(listing("s")).await.status, 503);
    assert_eq!(switches(&mut client).await["limitedUrlMap"], json!({ "/nacos/v1/ns": 503 }));
    switch(&mut client, "limitedUrlMap", ",").await;
    client.ask(listing("s")).await.good();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overridden_status_closes_what_it_says_and_null_opens_it_again() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    let reading = || listing("s");
    let writing = || registering("s", "127.7.3.1:80");
    for (status, reads, writes) in [
        ("DOWN", false, false),
        ("READ_ONLY", true, false),
        ("WRITE_ONLY", false, true),
        ("STARTING", false, false),
        ("PAUSED", false, false),
        ("UP", true, true),
        ("nonsense", true, true),
    ] {
        switch(&mut client, "overriddenServerStatus", status).await;
        for (request, open) in [(reading(), reads), (writing(), writes)] {
            let answer = client.ask(request).await;
            assert_eq!(answer.status, if open { 200 } else { 503 }, "{status}: {answer:?}");
            if !open {
                assert_eq!(answer.text(), format!("server is {status}now, please try again later!"));
            }
        }
        // What it is about is shown to whoever may ask; the switches always are.
        assert_eq!(switches(&mut client).await["overriddenServerStatus"], status);
        client.ask(Request::get("/v2/ns/instance/list").query("serviceName", "s")).await.good();
        publish(&mut client, "d", status).await;
        is_ready(&mut client).await;
    }
    switch(&mut client, "overriddenServerStatus", "DOWN").await;
    let v2 = client.ask(Request::get("/v2/ns/operator/metrics")).await.good().json();
    assert_eq!(v2["data"]["status"], "DOWN");
    // Closed for good, until it is opened: by a restart it is not.
    let folder = server.stop().await;
    let server = Server::start_in(folder, &[]).await;
    let mut client = server.client();
    refused(&mut client, reading(), 503).await;
    switch(&mut client, "overriddenServerStatus", "null").await;
    client.ask(reading()).await.good();
    // For debugging, this once.
    done(&mut client, switching("overriddenServerStatus", "DOWN").query("debug", "true")).await;
    refused(&mut client, reading(), 503).await;
    let folder = server.stop().await;
    let server = Server::start_in(folder, &[]).await;
    server.client().ask(reading()).await.good();
    server.stop().await;
}
