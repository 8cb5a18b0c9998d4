//! Configurations as clients handle them.

use nacos_config::model::Md5;

use super::{Answer, Client, Request};

pub const CONFIGS: &str = "/v1/cs/configs";
pub const LISTENER: &str = "/v1/cs/configs/listener";
/// The group of all tests.
pub const GROUP: &str = "DEFAULT_GROUP";

pub fn md5(content: impl AsRef<[u8]>) -> String {
    Md5::of(content.as_ref()).to_string()
}

/// A request for this key in the public namespace.
pub fn of(method: &'static str, data_id: &str) -> Request {
    Request::new(method, CONFIGS).query("dataId", data_id).query("group", GROUP)
}

pub fn publishing(data_id: &str, content: &str) -> Request {
    of("POST", data_id).form("content", content)
}

pub async fn publish(client: &mut Client, data_id: &str, content: &str) {
    let answer = client.ask(publishing(data_id, content)).await;
    assert_eq!((answer.status, &*answer.text()), (200, "true"), "{answer:?}");
}

pub async fn remove(client: &mut Client, data_id: &str) {
    assert_eq!(client.ask(of("DELETE", data_id)).await.good().text(), "true");
}

pub async fn get(client: &mut Client, data_id: &str) -> Answer {
    client.ask(of("GET", data_id)).await
}

/// The content, which must be there and be the one that its MD5 says.
pub async fn content(client: &mut Client, data_id: &str) -> String {
    let answer = get(client, data_id).await.good();
    assert_eq!(answer.header("content-md5"), Some(&*md5(&answer.body)));
    answer.text().into_owned()
}

/// What a client listens to: dataId, the MD5 it holds.
pub fn probe(held: &[(&str, &str)]) -> String {
    held.iter().map(|(data_id, md5)| format!("{data_id}\u{2}{GROUP}\u{2}{md5}\u{1}")).collect()
}

/// A long poll that asks to be held for `hold_ms`.
pub fn poll(held: &[(&str, &str)], hold_ms: u64) -> Request {
    Request::post(LISTENER).form("Listening-Configs", &probe(held)).header("Long-Pulling-Timeout", hold_ms.to_string())
}

/// The answer that names this key.
pub fn changed(data_id: &str) -> String {
    format!("{data_id}%02{GROUP}%01\n")
}

/// Publishes the switches, so that polls are held at least for `least_ms`, and exactly as long as they ask beyond.
pub async fn hold_at_least(client: &mut Client, least_ms: u64) {
    let text = format!("fixedDelayTime=0\nMIN_LONG_POOLING_TIMEOUT={least_ms}");
    publish(client, "com.alibaba.nacos.meta.switch", &text).await;
}

/// The history of a key, newest first, at most 500 rows of it, and how many there are.
pub async fn history(client: &mut Client, data_id: &str) -> (u64, Vec<serde_json::Value>) {
    let request = Request::get("/v1/cs/history").query("search", "accurate").query("pageSize", "500");
    let page = client.ask(request.query("dataId", data_id).query("group", GROUP)).await.good().json();
    (page["totalCount"].as_u64().unwrap(), page["pageItems"].as_array().unwrap().clone())
}
