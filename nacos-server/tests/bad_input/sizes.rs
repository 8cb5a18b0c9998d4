//! What is too large: contents, bodies, and all bodies together.

use std::time::Duration;

use crate::support::{
    LONG, Request, Server,
    config::{CONFIGS, GROUP, content, get, history, md5, of, publish, publishing},
    encode,
    http::Connection,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_content_of_ten_mebi_characters_is_taken_and_one_more_is_refused() {
    const MOST: usize = 10_485_760;
    let server = Server::start(&[]).await;
    let mut client = server.client();
    let most = "x".repeat(MOST);
    publish(&mut client, "d", &most).await;
    let answer = get(&mut client, "d").await.good();
    assert!(answer.body == most.as_bytes() && answer.header("content-md5") == Some(&*md5(&most)));

    let over = most + "y";
    let answer = client.ask(publishing("d", &over)).await;
    assert_eq!((answer.status, &*answer.text()), (400, "caused: invalid content, over 10485760;"));
    let v2 = Request::post("/v2/cs/config").form("dataId", "d").form("group", GROUP).form("content", &over);
    let answer = client.ask(v2).await;
    assert_eq!((answer.status, answer.json()["data"].as_str()), (400, Some("invalid content, over 10485760")));
    assert_eq!(get(&mut client, "d").await.good().body.len(), MOST);
    assert_eq!(history(&mut client, "d").await.0, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn characters_are_counted_as_java_counts_them() {
    let server = Server::start(&[("maxContent", "10")]).await;
    let mut client = server.client();
    for (content, taken) in
        [("0123456789", true), ("中中中中中中中中中中", true), ("🦀🦀🦀🦀🦀", true), ("🦀🦀🦀🦀🦀x", false)]
    {
        let answer = client.ask(publishing("d", content)).await;
        assert_eq!(answer.status == 200, taken, "{content}: {answer:?}");
        if taken {
            assert_eq!(self::content(&mut client, "d").await, content);
        }
    }
    server.stop().await;
}

const BODY_MAX: usize = 262_144;

fn form(bytes: usize) -> Vec<u8> {
    let mut form = format!("dataId=d&group={GROUP}&content=").into_bytes();
    form.resize(bytes, b'x');
    form
}

fn head(path: &str, more: &str) -> String {
    format!(
        "POST /nacos{path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/x-www-form-urlencoded\r\n{more}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_and_the_client_is_told_so() {
    let server = Server::start(&[("nacos.server.http.max-body-bytes", &BODY_MAX.to_string())]).await;
    let mut client = server.client();
    for chunked in [false, true] {
        for (bytes, status) in [(BODY_MAX, 200), (BODY_MAX + 1, 413), (BODY_MAX * 4, 413)] {
            let mut request = Vec::new();
            let form = form(bytes);
            if chunked {
                request.extend_from_slice(head(CONFIGS, "Transfer-Encoding: chunked").as_bytes());
                for piece in form.chunks(50_000) {
                    request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                    request.extend_from_slice(piece);
                    request.extend_from_slice(b"\r\n");
                }
                request.extend_from_slice(b"0\r\n\r\n");
            } else {
                request.extend_from_slice(head(CONFIGS, &format!("Content-Length: {bytes}")).as_bytes());
                request.extend_from_slice(&form);
            }
            // Sends all before it listens, as most clients do: whoever hangs up on it must let it finish first.
            let mut connection = Connection::open(server.addr()).await.unwrap();
            connection.send(&request).await.unwrap_or_else(|error| panic!("{bytes} bytes, chunked {chunked}: {error}"));
            let answer = connection.receive(false).await;
            let answer = answer.unwrap_or_else(|error| panic!("{bytes} bytes, chunked {chunked}: {error}"));
            assert_eq!(answer.status, status, "{answer:?}");
            if status == 413 {
                assert_eq!(answer.json()["error"], "Payload Too Large");
                assert_eq!(get(&mut client, "d").await.status, 404, "something was written");
            } else {
                client.ask(of("DELETE", "d")).await.good();
            }
        }
    }
    // Whoever is told of the limit before the body need not send it.
    let mut connection = Connection::open(server.addr()).await.unwrap();
    let expecting = format!("Content-Length: {}\r\nExpect: 100-continue", BODY_MAX + 1);
    connection.send(head(CONFIGS, &expecting).as_bytes()).await.unwrap();
    assert_eq!(connection.receive(false).await.unwrap().status, 413);
    server.stop().await;
}

/// Five clients that announce bodies and do not send them must not keep all others from publishing.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_come_keep_nobody_waiting() {
    let bytes = BODY_MAX.to_string();
    let all = (BODY_MAX * 5).to_string();
    let options = [("nacos.server.http.max-body-bytes", &*bytes), ("nacos.server.http.max-bodies-bytes", &*all)];
    let server = Server::start(&options).await;
    let mut idlers = Vec::new();
    for _ in 0..6 {
        let mut connection = Connection::open(server.addr()).await.unwrap();
        connection.send(head(CONFIGS, &format!("Content-Length: {bytes}")).as_bytes()).await.unwrap();
        connection.send(b"dataId=").await.unwrap();
        idlers.push(connection);
    }
    // They are being read once their connections are accepted, which is in order.
    let mut client = server.client();
    client.ask(Request::get("/v1/cs/health")).await.good();
    let published = tokio::time::timeout(Duration::from_secs(10), publish(&mut client, "d", "1")).await;
    assert!(published.is_ok(), "no publish while others dawdle");
    assert_eq!(content(&mut client, "d").await, "1");
    drop(idlers);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_parameters_are_read_and_the_others_left_out() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    let with = |before: usize| {
        let form = format!("{}dataId=d&group={GROUP}&content={}", "a=&".repeat(before), encode("x y"));
        Request::post(CONFIGS).body("application/x-www-form-urlencoded", form)
    };
    assert_eq!(client.ask(with(9_997)).await.good().text(), "true");
    assert_eq!(content(&mut client, "d").await, "x y");
    let answer = client.ask(with(9_998)).await;
    assert!(answer.status == 500 && answer.text().contains("&#39;content&#39;"), "{answer:?}");
    tokio::time::timeout(LONG, server.stop()).await.unwrap();
}
