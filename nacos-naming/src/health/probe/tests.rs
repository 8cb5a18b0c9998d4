//! Probes of real listeners on loopback addresses.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

fn target(ip: &str, port: u16, checker: Checker) -> ProbeTarget {
    ProbeTarget { ip: ip.into(), port, checker }
}

fn http(path: &str) -> Checker {
    Checker::Http { path: path.into(), headers: "X-Probe:yes".into(), expected_response_code: 200 }
}

async fn listener(ip: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn tcp_is_healthy_if_it_accepts() {
    let (listener, port) = listener("127.0.0.2").await;
    let dialler = Dialler::new();
    assert_eq!(probe(&dialler, &target("127.0.0.2", port, Checker::Tcp)).await, Outcome::Up);
    drop(listener);
    let refused = probe(&dialler, &target("127.0.0.2", port, Checker::Tcp)).await;
    assert_eq!(refused, Outcome::DownNow("connection refused".into()));
}

#[tokio::test]
async fn an_address_that_is_not_dialled_counts_as_failed() {
    let outcome = probe(&Dialler::new(), &target("169.254.169.254", 80, http("/latest"))).await;
    assert_eq!(outcome, Outcome::Down("169.254.169.254 is not dialled: link-local".into()));
}

#[tokio::test]
async fn http_is_healthy_if_it_answers_200() {
    let (listener, port) = listener("127.0.0.3").await;
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            let request = String::from_utf8(request).unwrap();
            assert!(request.contains(&format!("\r\nHost: 127.0.0.3:{port}\r\n")), "{request}");
            assert!(request.contains("\r\nx-probe: yes\r\n"), "{request}");
            let status = request.split_once("/status/").unwrap().1.split_once(' ').unwrap().0;
            let answer = format!("HTTP/1.1 {status} x\r\nLocation: /status/200\r\nContent-Length: 4\r\n\r\nbody");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let dialler = Dialler::new();
    let ask = async |status: u16| probe(&dialler, &target("127.0.0.3", port, http(&format!("/status/{status}")))).await;
    assert_eq!(ask(200).await, Outcome::Up);
    assert_eq!(ask(503).await, Outcome::Slow("answered 503".into()));
    assert_eq!(ask(302).await, Outcome::Slow("answered 302".into()), "no redirect is followed");
    assert_eq!(ask(404).await, Outcome::DownNow("answered 404".into()));
    server.abort();
    let _ = server.await;
    assert_eq!(ask(200).await, Outcome::DownNow("connection refused".into()));
}

#[tokio::test]
async fn mysql_is_asked_over_a_real_connection() {
    let (listener, port) = listener("127.0.0.4").await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"\x17\0\0\0\xff\x10\x04#08004Too many conn.").await.unwrap();
    });
    let checker = Checker::Mysql { user: Some("u".into()), pwd: None, cmd: Some("select 1".into()) };
    let outcome = probe(&Dialler::new(), &target("127.0.0.4", port, checker)).await;
    assert_eq!(outcome, Outcome::DownNow("error 1040: Too many conn.".into()));
    server.await.unwrap();
}

#[tokio::test]
async fn a_port_that_says_nothing_is_slow() {
    let (_listener, port) = listener("127.0.0.5").await;
    let outcome = probe(&Dialler::new(), &target("127.0.0.5", port, http("/"))).await;
    assert_eq!(outcome, Outcome::Slow("no answer in time".into()));
}
