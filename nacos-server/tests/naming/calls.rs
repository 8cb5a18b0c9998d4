//! Service discovery as clients and operators call it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Client, Request};

pub(crate) const INSTANCE: &str = "/v1/ns/instance";
pub(crate) const SERVICE: &str = "/v1/ns/service";
pub(crate) const SWITCHES: &str = "/v1/ns/operator/switches";
/// What a Java client calls itself.
pub(crate) const AGENT: &str = "Nacos-Java-Client:v1.4.2";

/// A request about this instance of the default group and cluster.
pub(crate) fn at(method: &'static str, service: &str, address: &str) -> Request {
    let (ip, port) = address.rsplit_once(':').unwrap();
    Request::new(method, INSTANCE).query("serviceName", service).query("ip", ip).query("port", port)
}

pub(crate) fn registering(service: &str, address: &str) -> Request {
    at("POST", service, address)
}

pub(crate) fn persistent(service: &str, address: &str) -> Request {
    registering(service, address).query("ephemeral", "false")
}

pub(crate) fn light_beat(service: &str, address: &str) -> Request {
    let (ip, port) = address.rsplit_once(':').unwrap();
    let request = Request::new("PUT", "/v1/ns/instance/beat").query("serviceName", service);
    request.query("ip", ip).query("port", port)
}

/// A heartbeat that tells everything of the instance.
pub(crate) fn full_beat(service: &str, address: &str, metadata: Value) -> Request {
    let (ip, port) = address.rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let beat = serde_json::json!({
        "ip": ip, "port": port, "weight": 1.0, "serviceName": format!("DEFAULT_GROUP@@{service}"),
        "cluster": "DEFAULT", "metadata": metadata, "scheduled": false, "period": 5000, "stopped": false,
    });
    let request = Request::new("PUT", "/v1/ns/instance/beat").query("serviceName", service);
    request.query("beat", &beat.to_string())
}

/// A request about this service of the default group.
pub(crate) fn of_service(method: &'static str, service: &str) -> Request {
    Request::new(method, SERVICE).query("serviceName", service)
}

pub(crate) fn listing(service: &str) -> Request {
    Request::get("/v1/ns/instance/list").query("serviceName", service)
}

pub(crate) fn cluster(service: &str, cluster: &str, checker: &str) -> Request {
    let request = Request::new("PUT", "/v1/ns/cluster").query("serviceName", service).query("clusterName", cluster);
    request.query("checkPort", "80").query("useInstancePort4Check", "true").query("healthChecker", checker)
}

pub(crate) fn health(service: &str, address: &str, healthy: bool) -> Request {
    let (ip, port) = address.rsplit_once(':').unwrap();
    let request = Request::new("PUT", "/v1/ns/health").query("serviceName", service).query("ip", ip);
    request.query("port", port).query("healthy", if healthy { "true" } else { "false" })
}

pub(crate) fn switching(entry: &str, value: &str) -> Request {
    Request::new("PUT", SWITCHES).query("entry", entry).query("value", value)
}

/// Asks for something that must be done.
#[track_caller]
pub(crate) fn done(client: &mut Client, request: Request) -> impl Future<Output = ()> + '_ {
    let caller = std::panic::Location::caller();
    async move {
        let answer = client.ask(request.clone()).await;
        assert_eq!((answer.status, &*answer.text()), (200, "ok"), "{request:?} at {caller}");
    }
}

/// Asks for something that must be refused with this status, and gives the text.
#[track_caller]
pub(crate) fn refused(client: &mut Client, request: Request, status: u16) -> impl Future<Output = String> + '_ {
    let caller = std::panic::Location::caller();
    async move {
        let answer = client.ask(request.clone()).await;
        assert_eq!(answer.status, status, "{request:?}: {answer:?} at {caller}");
        answer.text().into_owned()
    }
}

pub(crate) async fn switch(client: &mut Client, entry: &str, value: &str) {
    done(client, switching(entry, value)).await;
}

/// The code in the answer to a heartbeat.
pub(crate) async fn beat(client: &mut Client, request: Request) -> i64 {
    client.ask(request).await.good().json()["code"].as_i64().unwrap()
}

/// The list of a service.
pub(crate) async fn list(client: &mut Client, service: &str) -> Value {
    client.ask(listing(service)).await.good().json()
}

/// The instances in a list by their addresses, each once.
pub(crate) fn hosts(list: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for host in list["hosts"].as_array().unwrap_or_else(|| panic!("no list: {list}")) {
        let address = format!("{}:{}", host["ip"].as_str().unwrap(), host["port"]);
        assert!(found.insert(address, host.clone()).is_none(), "twice in {list}");
    }
    found
}

/// The instances of a service by their addresses.
pub(crate) async fn listed(client: &mut Client, service: &str) -> BTreeMap<String, Value> {
    hosts(&list(client, service).await)
}

/// One instance in the list of a service.
pub(crate) async fn host(client: &mut Client, service: &str, address: &str) -> Option<Value> {
    listed(client, service).await.remove(address)
}

/// The addresses of a service.
pub(crate) async fn addresses(client: &mut Client, service: &str) -> Vec<String> {
    listed(client, service).await.into_keys().collect()
}

pub(crate) async fn switches(client: &mut Client) -> Value {
    client.ask(Request::get(SWITCHES)).await.good().json()
}
