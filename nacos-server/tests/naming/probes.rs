//! What active checks find.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    calls::{cluster, done, health, host, persistent, refused, switch},
    support::{Client, Server, eventually},
};

/// A server that answers every request with the status of the moment, and keeps the last head.
struct Answering {
    addr: SocketAddr,
    status: Arc<AtomicU16>,
    asked: Arc<parking_lot::Mutex<String>>,
}

impl Answering {
    async fn start(at: &str) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (status, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(parking_lot::Mutex::default()));
        let (now, heard) = (status.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (now, heard) = (now.clone(), heard.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
                    *heard.lock() = String::from_utf8_lossy(&head).into_owned();
                    let answer = format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", now.load(Ordering::SeqCst));
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { addr, status, asked }
    }
}

async fn healthy(client: &mut Client, service: &str, address: &str) -> bool {
    host(client, service, address).await.unwrap()["healthy"] == true
}

async fn becomes(client: &mut Client, service: &str, address: &str, wanted: bool) {
    let what = format!("{address} to be {}", if wanted { "healthy" } else { "unhealthy" });
    eventually(&what, async || (healthy(client, service, address).await == wanted).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_find_who_is_there_and_health_by_hand_is_for_clusters_without_probes() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    // As quick as it can be had: one result decides, the first probe comes within 2 to 5 seconds.
    switch(&mut client, "healthCheckTimes", "1").await;
    for kind in ["tcp", "http"] {
        switch(&mut client, &format!("{kind}HealthParams"), r#"{"max":3000,"min":500,"factor":0}"#).await;
    }
    // A port that nobody has, at an address that no other test uses.
    let closed = TcpListener::bind("127.6.0.1:0").await.unwrap().local_addr().unwrap();
    let web = Answering::start("127.6.0.2:0").await;
    let (tcp, http) = (closed.to_string(), web.addr.to_string());
    // One more that stays healthy all the time, so that no service protects itself.
    let other = Answering::start("127.6.0.3:0").await.addr.to_string();
    for (service, address) in [("tcp", &tcp), ("tcp", &other), ("http", &http), ("http", &other), ("hand", &other)] {
        done(&mut client, persistent(service, address)).await;
    }
    let checker = r#"{"type":"HTTP","path":"/alive?x=1","headers":"X-Probe:yes|X-More:1","expectedResponseCode":200}"#;
    done(&mut client, cluster("http", "DEFAULT", checker)).await;
    done(&mut client, cluster("hand", "DEFAULT", r#"{"type":"NONE"}"#)).await;
    let by_hand = persistent("hand", "127.6.0.4:1");
    done(&mut client, by_hand).await;

    // Where probes are made, nobody else says who is healthy.
    for service in ["tcp", "http"] {
        let text = refused(&mut client, health(service, &other, false), 400).await;
        let told = format!("health check is still working, service: DEFAULT_GROUP@@{service}, cluster: DEFAULT");
        assert_eq!(text, told);
    }
    done(&mut client, health("hand", "127.6.0.4:1", false)).await;
    assert!(!healthy(&mut client, "hand", "127.6.0.4:1").await);
    // One that is not there is no error, and does not come by it.
    done(&mut client, health("hand", "127.6.0.5:1", false)).await;
    assert_eq!(host(&mut client, "hand", "127.6.0.5:1").await, None);

    becomes(&mut client, "tcp", &tcp, false).await;
    let listener = TcpListener::bind(closed).await.unwrap();
    becomes(&mut client, "tcp", &tcp, true).await;
    drop(listener);
    becomes(&mut client, "tcp", &tcp, false).await;

    eventually("an HTTP probe", async || (!web.asked.lock().is_empty()).then_some(())).await;
    let asked = web.asked.lock().to_ascii_lowercase();
    assert!(asked.starts_with("get /alive?x=1 http/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nx-probe: yes\r\n") && asked.contains("\r\nx-more: 1\r\n"), "{asked}");
    assert!(healthy(&mut client, "http", &http).await);
    web.status.store(500, Ordering::SeqCst);
    becomes(&mut client, "http", &http, false).await;
    web.status.store(200, Ordering::SeqCst);
    becomes(&mut client, "http", &http, true).await;

    for service in ["tcp", "http", "hand"] {
        assert!(healthy(&mut client, service, &other).await, "{service}");
    }
    assert!(!healthy(&mut client, "hand", "127.6.0.4:1").await, "a probe was made where none is to be");
    // What was found is kept.
    let folder = server.stop().await;
    let server = Server::start_in(folder, &[]).await;
    let mut client = server.client();
    assert!(!healthy(&mut client, "tcp", &tcp).await);
    assert!(!healthy(&mut client, "hand", "127.6.0.4:1").await);
    assert!(healthy(&mut client, "http", &http).await);
    // Without probes nothing is found.
    let none = host(&mut client, "tcp", &tcp).await.unwrap();
    assert_eq!(none["ephemeral"], json!(false));
    server.stop().await;
}
