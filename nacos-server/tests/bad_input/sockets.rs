//! What is no HTTP, or HTTP at its edges, on bare sockets; and clients that are slow, silent, or too many.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    LONG, Server,
    config::{GROUP, content, get, of, poll, publish, publishing},
    eventually,
    http::Connection,
    panics,
};

const READ: &str = "GET /nacos/v1/cs/health HTTP/1.1\r\nHost: test\r\n";

/// Requests that break a rule, each with what may come of it.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let posting = |headers: &str, body: &str| {
        format!(
            "POST /nacos/v1/cs/configs?dataId=d&group={GROUP}&content=x HTTP/1.1\r\nHost: test\r\n{headers}\r\n{body}"
        )
    };
    let chunked = |body: &str| posting("Transfer-Encoding: chunked\r\n", body);
    let mut all: Vec<(&'static str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("blank lines", b"\r\n\r\n\r\n\r\n".to_vec()),
        ("no line", b"GET".to_vec()),
        ("no target", b"GET\r\n\r\n".to_vec()),
        ("no version", b"GET /nacos\r\n\r\n".to_vec()),
        ("a version to come", b"GET /nacos HTTP/9.9\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec()),
        ("zeros", vec![0; 5000]),
        ("bytes", (0..=255).cycle().take(70_000).collect()),
        ("one long line", vec![b'A'; 200_000]),
        ("blanks", vec![b' '; 100_000]),
        ("another method", b"get /nacos/v1/cs/configs HTTP/1.1\r\nHost: t\r\n\r\n".to_vec()),
        ("CONNECT", b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: t\r\n\r\n".to_vec()),
        ("all of it", b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n".to_vec()),
        ("a whole address", b"GET http://127.0.0.1/nacos/v1/cs/health HTTP/1.1\r\nHost: t\r\n\r\n".to_vec()),
        ("a fragment", b"GET /nacos/v1/cs/health#x HTTP/1.1\r\nHost: t\r\n\r\n".to_vec()),
        ("letters that are no target's", "GET /nacos/中?\u{202e} HTTP/1.1\r\nHost: t\r\n\r\n".as_bytes().to_vec()),
        ("bytes in the target", b"GET /nacos/\xff\xfe?a=\xff HTTP/1.1\r\nHost: t\r\n\r\n".to_vec()),
        ("blanks in the target", b"GET /nacos/v1/cs/health a b HTTP/1.1\r\nHost: t\r\n\r\n".to_vec()),
        ("a long target", format!("GET /nacos/{} HTTP/1.1\r\n\r\n", "a".repeat(70_000)).into_bytes()),
        ("a long header", format!("{READ}X: {}\r\n\r\n", "a".repeat(70_000)).into_bytes()),
        ("too many headers", format!("{READ}{}\r\n", "X: y\r\n".repeat(200)).into_bytes()),
        ("a flood of headers", format!("{READ}{}\r\n", "X: y\r\n".repeat(50_000)).into_bytes()),
        ("a header without a colon", format!("{READ}X\r\n\r\n").into_bytes()),
        ("a header without a name", format!("{READ}: x\r\n\r\n").into_bytes()),
        ("a blank before the colon", format!("{READ}X : y\r\n\r\n").into_bytes()),
        ("a folded header", format!("{READ}X: a\r\n b\r\n\r\n").into_bytes()),
        ("a zero in a header", format!("{READ}X: a\0b\r\n\r\n").into_bytes()),
        ("bare line feeds", READ.replace("\r\n", "\n").into_bytes()),
        ("bare returns", READ.replace("\r\n", "\r").into_bytes()),
        ("an upgrade", format!("{READ}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n").into_bytes()),
        (
            "an upgrade to HTTP/2",
            format!("{READ}Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\n\r\n").into_bytes(),
        ),
        ("a strange expectation", format!("{READ}Expect: x\r\n\r\n").into_bytes()),
    ];
    for (name, text) in [
        ("a negative length", posting("Content-Length: -1\r\n", "")),
        ("a length that is none", posting("Content-Length: 1e3\r\n", "x")),
        ("a length with a sign", posting("Content-Length: +1\r\n", "x")),
        ("a length beyond all numbers", posting("Content-Length: 99999999999999999999999\r\n", "x")),
        ("two lengths", posting("Content-Length: 1\r\nContent-Length: 2\r\n", "xy")),
        ("a list of lengths", posting("Content-Length: 1, 2\r\n", "xy")),
        ("an unknown coding", posting("Transfer-Encoding: gzip\r\n", "x")),
        ("chunks that are not last", posting("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n")),
        ("a chunk of no size", chunked("\r\nx\r\n0\r\n\r\n")),
        ("a chunk whose size is none", chunked("zz\r\nx\r\n0\r\n\r\n")),
        ("a chunk of a negative size", chunked("-1\r\nx\r\n0\r\n\r\n")),
        ("a chunk beyond all numbers", chunked("fffffffffffffffffffff\r\nx\r\n0\r\n\r\n")),
        ("a chunk that is shorter", chunked("5\r\nx\r\n0\r\n\r\n")),
        ("a chunk that is longer", chunked("1\r\nxyz\r\n0\r\n\r\n")),
        ("a chunk with endless words", chunked(&format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(100_000)))),
        ("a flood of trailers", chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(50_000)))),
        ("chunks without an end", chunked("1\r\nx\r\n")),
        ("less than announced", posting("Content-Length: 1000\r\n", "x")),
    ] {
        all.push((name, text.into_bytes()));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_and_does_nothing() {
    panics::watch();
    let server = Server::start(&[]).await;
    let mut client = server.client();
    for (name, bytes) in broken() {
        let mut connection = Connection::open(server.addr()).await.unwrap();
        // The server may have heard enough before all is sent.
        let _ = connection.send(&bytes).await;
        let _ = connection.finish().await;
        let said = String::from_utf8_lossy(&connection.rest().await).into_owned();
        for line in said.split("HTTP/1.1 ").skip(1) {
            let not_supported = line.starts_with("500") && line.contains("caused: Request method &#39;");
            assert!(matches!(&line[..1], "1" | "2" | "4") || not_supported, "{name}: {said}");
        }
        // Of those that would publish, all are cut short or wrong.
        let answer = get(&mut client, "d").await;
        assert_eq!(answer.status, 404, "published by {name}: {said}");
    }
    assert_eq!(panics::seen(), Vec::<String>::new());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_on_heads_are_told() {
    let server = Server::start(&[("nacos.server.http.max-headers", "20")]).await;
    for (bytes, status) in [
        (format!("{READ}{}\r\n", "X: y\r\n".repeat(19)), 200),
        (format!("{READ}{}\r\n", "X: y\r\n".repeat(20)), 431),
        (format!("{READ}X: {}\r\n\r\n", "a".repeat(60_000)), 200),
        (format!("{READ}X: {}\r\n\r\n", "a".repeat(300_000)), 431),
    ] {
        let mut connection = Connection::open(server.addr()).await.unwrap();
        connection.send(bytes.as_bytes()).await.unwrap();
        assert_eq!(connection.receive(false).await.unwrap().status, status, "{} bytes", bytes.len());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_a_row_are_answered_in_their_order() {
    let server = Server::start(&[]).await;
    let mut connection = Connection::open(server.addr()).await.unwrap();
    let mut all = Vec::new();
    for n in 0..50 {
        all.extend(publishing("d", &n.to_string()).bytes());
        all.extend(of("GET", "d").bytes());
    }
    connection.send(&all).await.unwrap();
    for n in 0..50 {
        assert_eq!(connection.receive(false).await.unwrap().good().text(), "true");
        assert_eq!(connection.receive(false).await.unwrap().good().text(), n.to_string());
    }
    // Behind a whole body the next request begins, whatever is there.
    let mut bytes = publishing("d", "last").bytes();
    bytes.extend_from_slice(b"and more than was announced\r\n\r\n");
    connection.send(&bytes).await.unwrap();
    assert_eq!(connection.receive(false).await.unwrap().good().text(), "true");
    let answer = connection.receive(false).await.unwrap();
    assert!(answer.status == 400 && answer.closes(), "{answer:?}");
    assert_eq!(content(&mut server.client(), "d").await, "last");
    server.stop().await;
}

const HEAD_MS: u64 = 300;
const IDLE_MS: u64 = 900;

async fn impatient() -> Server {
    let (head, idle) = (HEAD_MS.to_string(), IDLE_MS.to_string());
    let options = [("nacos.server.http.header-timeout-ms", &*head), ("nacos.server.http.idle-timeout-ms", &*idle)];
    Server::start(&options).await
}

/// Waits until the server hangs up; says after how many milliseconds.
async fn hung_up(mut connection: Connection, since: Instant) -> u64 {
    connection.rest().await;
    since.elapsed().as_millis() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients_are_cut_off() {
    let server = impatient().await;
    let addr = server.addr();
    let open = || async move { (Connection::open(addr).await.unwrap(), Instant::now()) };

    let (silent, since) = open().await;
    let silent = tokio::spawn(hung_up(silent, since));
    let (mut half, since) = open().await;
    half.send(READ.as_bytes()).await.unwrap();
    let half = tokio::spawn(hung_up(half, since));
    let (mut dripping, since) = open().await;
    let dripping = tokio::spawn(async move {
        for byte in READ.repeat(100).bytes() {
            if dripping.send(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        since.elapsed().as_millis() as u64
    });
    // A good request first earns nobody the right to dawdle with the next one.
    let (mut second, _) = open().await;
    second.send(format!("{READ}\r\n").as_bytes()).await.unwrap();
    second.receive(false).await.unwrap().good();
    let since = Instant::now();
    second.send(b"GET /nacos").await.unwrap();
    let second = tokio::spawn(hung_up(second, since));
    let (mut idle, _) = open().await;
    idle.send(format!("{READ}\r\n").as_bytes()).await.unwrap();
    idle.receive(false).await.unwrap().good();
    let idle = tokio::spawn(hung_up(idle, Instant::now()));

    for (name, least, waiting) in [
        ("silent", IDLE_MS, silent),
        ("half", HEAD_MS, half),
        ("dripping", HEAD_MS, dripping),
        ("second", HEAD_MS, second),
        ("idle", IDLE_MS, idle),
    ] {
        let took = waiting.await.unwrap();
        assert!((least - 5..least + 5_000).contains(&took), "{name}: {took} ms");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_answer_is_not_idle() {
    let server = impatient().await;
    let mut client = server.client();
    let begun = Instant::now();
    let mut polling = server.client();
    let polling = tokio::spawn(async move { polling.ask(poll(&[("d", "")], 60_000)).await.good() });
    eventually("the poll to be held", async || (server.held() == 1).then_some(())).await;
    tokio::time::sleep_until(begun + Duration::from_millis(IDLE_MS * 3)).await;
    assert_eq!(server.held(), 1);
    publish(&mut client, "d", "1").await;
    assert!(!polling.await.unwrap().body.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let server = Server::start(&[("nacos.server.http.max-connections", "4")]).await;
    let mut taken = Vec::new();
    for _ in 0..4 {
        let mut connection = Connection::open(server.addr()).await.unwrap();
        connection.send(format!("{READ}\r\n").as_bytes()).await.unwrap();
        connection.receive(false).await.unwrap().good();
        taken.push(connection);
    }
    let mut waiting = Connection::open(server.addr()).await.unwrap();
    waiting.send(format!("{READ}\r\n").as_bytes()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting.receive(false)).await.is_err());
    taken.pop();
    waiting.receive(false).await.unwrap().good();
    drop((taken, waiting));
    tokio::time::timeout(LONG, server.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_half_open_connections_keep_nobody_from_being_served() {
    let server = Server::start(&[]).await;
    let mut half = Vec::new();
    for _ in 0..1000 {
        let mut connection = Connection::open(server.addr()).await.unwrap();
        connection.send(READ.as_bytes()).await.unwrap();
        half.push(connection);
    }
    publish(&mut server.client(), "d", "1").await;
    assert_eq!(content(&mut server.client(), "d").await, "1");
    // And a stop does not wait for them.
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
