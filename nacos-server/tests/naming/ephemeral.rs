//! Instances that live by their heartbeats.

use serde_json::json;

use crate::{
    calls::{addresses, beat, done, full_beat, host, light_beat, listed, registering},
    support::{Request, Server, eventually},
};

const KNOWN: i64 = 10_200;
const UNKNOWN: i64 = 20_404;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_clients_are_asked_to_register_again() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    for address in ["127.3.0.1:80", "127.3.0.2:80", "127.3.0.3:80"] {
        done(&mut client, registering("s", address)).await;
        assert_eq!(beat(&mut client, light_beat("s", address)).await, KNOWN);
    }
    let folder = server.stop().await;

    let server = Server::start_in(folder, &[]).await;
    let mut client = server.client();
    assert!(addresses(&mut client, "s").await.is_empty());
    assert_eq!(client.ask(Request::get("/v2/ns/client/list")).await.good().json()["data"], json!([]));
    assert_eq!(beat(&mut client, light_beat("s", "127.3.0.1:80")).await, UNKNOWN);
    assert!(addresses(&mut client, "s").await.is_empty(), "a light beat registered something");
    // A full one brings it back, a registration as well.
    assert_eq!(beat(&mut client, full_beat("s", "127.3.0.2:80", json!({ "a": "b" }))).await, KNOWN);
    assert_eq!(beat(&mut client, light_beat("s", "127.3.0.2:80")).await, KNOWN);
    done(&mut client, registering("s", "127.3.0.1:80")).await;
    assert_eq!(beat(&mut client, light_beat("s", "127.3.0.1:80")).await, KNOWN);
    let found = listed(&mut client, "s").await;
    assert_eq!(found.keys().collect::<Vec<_>>(), ["127.3.0.1:80", "127.3.0.2:80"]);
    assert_eq!(found["127.3.0.2:80"]["metadata"], json!({ "a": "b" }));
    server.stop().await;
}

/// With times of its own: unhealthy after two seconds of silence, gone after five.
#[tokio::test(flavor = "multi_thread")]
async fn silence_makes_unhealthy_and_then_removes_and_a_heartbeat_heals() {
    let times = "preserved.heart.beat.interval=500,preserved.heart.beat.timeout=2000,preserved.ip.delete.timeout=5000";
    let server = Server::start(&[]).await;
    let mut client = server.client();
    done(&mut client, registering("s", "127.3.1.1:80").query("metadata", times)).await;
    // The usual times: outlives this test.
    done(&mut client, registering("s", "127.3.1.2:80")).await;
    let answer = client.ask(light_beat("s", "127.3.1.1:80")).await.good().json();
    assert_eq!(answer["clientBeatInterval"], 500);
    let health = async |client: &mut _| Some(host(client, "s", "127.3.1.1:80").await?["healthy"] == true);
    eventually("silence to be noticed", async || (health(&mut client).await == Some(false)).then_some(())).await;
    assert_eq!(beat(&mut client, light_beat("s", "127.3.1.1:80")).await, KNOWN);
    assert_eq!(health(&mut client).await, Some(true), "a heartbeat heals at once");
    eventually("it to be removed", async || health(&mut client).await.is_none().then_some(())).await;
    assert_eq!(beat(&mut client, light_beat("s", "127.3.1.1:80")).await, UNKNOWN);
    assert_eq!(addresses(&mut client, "s").await, ["127.3.1.2:80"]);
    server.stop().await;
}
