//! What operators see and set: switches, metrics, the state of pushes, who is responsible.

use axum::response::Response;
use http::StatusCode;
use nacos_core::{
    clock,
    error::ErrorCode,
    web::{Call, Fault, json, result, text},
};
use serde_json::{Value, json};

use super::{Endpoints, instance, read};
use crate::switches::{SwitchError, SwitchUpdateError};

/// `GET /v1/ns/operator/switches`.
pub(super) fn switches(e: &Endpoints) -> Response {
    json(&*e.switches.get())
}

/// `GET /v2/ns/operator/switches`.
pub(super) fn switches_v2(e: &Endpoints) -> Response {
    result(&*e.switches.get())
}

/// `PUT /v1/ns/operator/switches`.
pub(super) async fn set_switch(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let entry = call.required("entry")?;
    let value = call.required("value")?;
    let debug = read::flag(&call, "debug", false);
    e.switches.update(&entry, &value, debug).await.map_err(|error| match error {
        SwitchUpdateError::Value(SwitchError::Illegal(text)) => Fault::Illegal(text),
        SwitchUpdateError::Value(SwitchError::Broken(text)) => Fault::Broken(text),
        SwitchUpdateError::Store(error) => crate::error::NamingError::Cp(error).into(),
    })?;
    Ok(text("ok"))
}

/// `PUT /v2/ns/operator/switches`.
pub(super) async fn set_switch_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let debug = instance::bound_flag(&call, "debug")?.unwrap_or(false);
    let entry = call.param_not_blank("entry").ok_or(Fault::Missing("entry", "String"))?;
    let value = call.param_not_blank("value").ok_or(Fault::Missing("value", "String"))?;
    e.switches.update(&entry, &value, debug).await.map_err(|error| match error {
        SwitchUpdateError::Value(SwitchError::Illegal(text)) => {
            Fault::Coded(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::ServerError, text)
        }
        SwitchUpdateError::Value(SwitchError::Broken(text)) => Fault::Broken(text),
        SwitchUpdateError::Store(error) => crate::error::NamingError::Cp(error).into(),
    })?;
    Ok(result("ok"))
}

/// `GET /v1/ns/operator/metrics`.
pub(super) fn metrics(e: &Endpoints, call: &Call) -> Response {
    let only_status = read::optional(call, "onlyStatus").is_none_or(|value| value.eq_ignore_ascii_case("true"));
    if only_status {
        return json(&json!({ "status": e.switches.status().name() }));
    }
    let mut all = counts(e);
    all["responsibleInstanceCount"] = json!(e.registry.instance_count());
    json(&all)
}

/// `GET /v2/ns/operator/metrics`.
pub(super) fn metrics_v2(e: &Endpoints, call: &Call) -> Result<Response, Fault> {
    if instance::bound_flag(call, "onlyStatus")?.unwrap_or(true) {
        return Ok(result(json!({ "status": e.switches.status().name() })));
    }
    Ok(result(counts(e)))
}

fn counts(e: &Endpoints) -> Value {
    let ids = e.registry.client_ids();
    let connections = ids.iter().filter(|id| !id.is_address()).count();
    let persistent = ids.iter().filter(|id| id.is_address() && id.is_persistent()).count();
    let machine = Machine::read();
    json!({
        "status": e.switches.status().name(),
        "serviceCount": e.registry.service_count(),
        "instanceCount": e.registry.instance_count(),
        "subscribeCount": e.registry.subscription_count(),
        "clientCount": ids.len(),
        "connectionBasedClientCount": connections,
        "ephemeralIpPortClientCount": ids.len() - connections - persistent,
        "persistentIpPortClientCount": persistent,
        // Nobody else is there.
        "responsibleClientCount": ids.len(),
        "cpu": machine.cpu,
        "load": machine.load,
        "mem": machine.memory,
    })
}

/// What the machine does, as far as the system tells.
struct Machine {
    /// Part of all processors that is busy, since the machine's start; 0 to 1.
    cpu: f64,
    /// Load of the last minute.
    load: f64,
    /// Part of the memory that is taken, 0 to 1.
    memory: f64,
}

impl Machine {
    fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let numbers = |line: &str| -> Vec<f64> { line.split_whitespace().filter_map(|n| n.parse().ok()).collect() };
        let load = numbers(&text("/proc/loadavg")).first().copied().unwrap_or(-1.0);
        let ticks = text("/proc/stat").lines().next().map(numbers).unwrap_or_default();
        let all: f64 = ticks.iter().sum();
        let idle: f64 = ticks.get(3..5).unwrap_or_default().iter().sum();
        let memory = text("/proc/meminfo");
        let field = |name: &str| {
            memory.lines().find(|line| line.starts_with(name)).and_then(|line| numbers(line).first().copied())
        };
        let memory = match (field("MemTotal:"), field("MemFree:")) {
            (Some(total), Some(free)) if total > 0.0 => 1.0 - free / total,
            _ => -1.0,
        };
        Self { cpu: if all > 0.0 { 1.0 - idle / all } else { -1.0 }, load, memory }
    }
}

/// `/v1/ns/operator/push/state`.
pub(super) fn push_state(e: &Endpoints, call: &Call) -> Response {
    json(&e.pusher.state(read::flag(call, "detail", false), read::flag(call, "reset", false)))
}

/// `GET /v1/ns/operator/distro/client`.
pub(super) fn responsible(e: &Endpoints, call: &Call) -> Result<Response, Fault> {
    call.required("ip")?;
    call.required("port")?;
    Ok(json(&json!({ "responsibleServer": e.self_address })))
}

/// This server as a member of a cluster of one.
fn member(e: &Endpoints) -> Value {
    let (ip, port) = e.self_address.rsplit_once(':').unwrap_or((&e.self_address, "0"));
    let port: i64 = port.parse().unwrap_or(0);
    json!({
        "ip": ip,
        "port": port,
        "state": "UP",
        "extendInfo": {
            "lastRefreshTime": clock::wall_ms(),
            "raftPort": (port - 1000).to_string(),
            "readyToUpgrade": true,
            // What clients understand, and what it really is.
            "version": "2.4.3",
            "rustVersion": env!("CARGO_PKG_VERSION"),
        },
        "address": e.self_address,
        "failAccessCnt": 0,
        "abilities": {
            "remoteAbility": { "supportRemoteConnection": false, "grpcReportEnabled": false },
            "configAbility": { "supportRemoteMetrics": false },
            "namingAbility": { "supportJraft": true },
        },
        "grpcReportEnabled": false,
    })
}

/// `GET /v1/ns/operator/servers` and `/v1/ns/operator/distro/status`, of Nacos 1: the members, under this name.
pub(super) fn members(e: &Endpoints, name: &str) -> Response {
    json(&json!({ name: [member(e)] }))
}

/// `GET /v1/ns/operator/distro/server`, of Nacos 1.
pub(super) fn responsible_for_service(e: &Endpoints, call: &Call) -> Result<Response, Fault> {
    read::service_key(call)?;
    Ok(json(&json!({ "responsibleServer": e.self_address })))
}

/// `GET /v1/ns/operator/cluster/state`, of Nacos 1: who is alone leads, without elections.
pub(super) fn cluster_state(e: &Endpoints) -> Response {
    json(&json!({ "ip": e.self_address, "term": 0, "leaderDueMs": 0, "heartbeatDueMs": 0, "state": "LEADER" }))
}

/// `PUT /v1/ns/operator/log`.
pub(super) fn log_level(e: &Endpoints, call: &Call) -> Result<Response, Fault> {
    let name = call.required("logName")?;
    let level = call.required("logLevel")?;
    if !(e.set_log_level)(&name, &level) {
        return Err(Fault::Illegal(format!("unknown logger or level: {name}={level}")));
    }
    Ok(text("ok"))
}

/// `/v1/ns/health/server`.
pub(super) fn health(e: &Endpoints) -> Response {
    let port = e.self_address.rsplit(':').next().unwrap_or_default();
    let services = e.registry.service_count();
    json(&json!({
        "msg": format!("Hello! I am Nacos-Naming and healthy! total services: {services}, local port:{port}")
    }))
}
