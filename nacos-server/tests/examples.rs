#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
//! The examples run as they are written.

#[path = "../examples/config_only.rs"]
mod config_only;

#[path = "../examples/own_storage.rs"]
mod own_storage;

use std::io::{Read, Write};

use http::Method;
use nacos_core::{
    auth::Access,
    web::{Call, Fault, Routes, Style, check, text},
};

fn get(port: u16, target: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn config_only_serves_its_own_route_and_no_console() {
    let folder = tempfile::tempdir().unwrap();
    let server = config_only::compose(0, folder.path().to_str().unwrap()).unwrap().start().await.unwrap();
    let port = server.local_addr().port();
    let answers = tokio::task::spawn_blocking(move || {
        [
            get(port, "/nacos/hello?name=you"),
            get(port, "/nacos/hello"),
            get(port, "/nacos/v1/cs/configs?dataId=none&group=g"),
            get(port, "/nacos/v1/console/namespaces"),
        ]
    });
    let [hello, nameless, config, console] = answers.await.unwrap();
    assert!(hello.starts_with("HTTP/1.1 200") && hello.ends_with("\r\n\r\nhello you\n"), "{hello}");
    assert!(nameless.starts_with("HTTP/1.1 500") && nameless.contains("&#39;name&#39;"), "{nameless}");
    assert!(config.starts_with("HTTP/1.1 404") && config.ends_with("config data not exist\n"), "{config}");
    assert!(console.starts_with("HTTP/1.1 404") && console.contains("No message available"), "{console}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_is_answered_and_counted_and_the_server_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut routes = Routes::new();
    routes.add(Method::GET, "/broken", None, Access::Open, Style::Text, check::none, |call: Call| async move {
        if call.param("how").is_none() {
            panic!("a test breaks it");
        }
        Ok::<_, Fault>(text("fine"))
    });
    let builder = config_only::compose(0, folder.path().to_str().unwrap()).unwrap().routes(routes);
    let server = builder.start().await.unwrap();
    let port = server.local_addr().port();
    let answers = tokio::task::spawn_blocking(move || [get(port, "/nacos/broken"), get(port, "/nacos/broken?how=")]);
    let [broken, fine] = answers.await.unwrap();
    assert!(broken.starts_with("HTTP/1.1 500") && broken.ends_with("caused: Server failed;"), "{broken}");
    assert!(fine.ends_with("\r\n\r\nfine"), "{fine}");
    let counted = server.metrics().render();
    assert!(counted.contains("nacos_exception_total{module=\"core\",name=\"handlerPanic\"} 1\n"), "{counted}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_storage_serves_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = own_storage::compose(0, folder.path().to_str().unwrap()).unwrap().start().await.unwrap();
    let port = server.local_addr().port();
    let answers = tokio::task::spawn_blocking(move || {
        let query = "dataId=d&group=G&content=1";
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        write!(stream, "POST /nacos/v1/cs/configs?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        [answer, get(port, "/nacos/v1/cs/configs?dataId=d&group=G"), get(port, "/nacos/v1/console/namespaces")]
    });
    let [published, read, namespaces] = answers.await.unwrap();
    assert!(published.ends_with("\r\n\r\ntrue"), "{published}");
    assert!(read.ends_with("\r\n\r\n1"), "{read}");
    assert!(namespaces.contains("\"configCount\":1"), "{namespaces}");
    server.stop().await;
    assert!(!folder.path().join("nacos.db").exists());
}

mod own_storage_passes_the_suite {
    use std::sync::Arc;

    use nacos_core::storage::DatabaseOperate;

    async fn open() -> (Arc<dyn DatabaseOperate>, ()) {
        (Arc::new(super::own_storage::InMemory::new().expect("tables")), ())
    }

    nacos_core::storage_conformance!(open);
}
