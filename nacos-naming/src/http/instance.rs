//! What clients call: register, deregister, list, heartbeat, and what operators do with single instances.

use std::net::IpAddr;

use axum::response::Response;
use nacos_core::{
    error::ErrorCode,
    key::{DEFAULT_GROUP, DEFAULT_NAMESPACE, GROUP_SPLITTER, ServiceKey},
    web::{Call, Fault, json, json_bytes, result, text},
};
use serde_json::json;

use super::{Endpoints, read};
use crate::{
    error::NamingError,
    instances::{self, BatchChange, BeatAnswer, Heartbeat, InstanceDetail, Patch, Target},
    model::{DEFAULT_CLUSTER, Instance, InstanceId, Metadata, Subscriber},
    registry::cluster_name,
    view::Form,
};

/// The instance that a v1 call describes, and whether it is ephemeral.
fn v1_instance(e: &Endpoints, call: &Call) -> Result<(Instance, bool), Fault> {
    let ip = read::required(call, "ip")?;
    let port = read::port(call)?;
    let ephemeral = read::flag(call, "ephemeral", e.switches.default_instance_ephemeral());
    let weight = match read::optional(call, "weight") {
        Some(weight) => read::float(&weight)?,
        None => 1.0,
    };
    instances::check_weight(weight)?;
    let enabled = match read::optional(call, "enabled") {
        Some(_) => read::flag(call, "enabled", true),
        None => read::flag(call, "enable", true),
    };
    let metadata = read::metadata(call)?;
    let instance = Instance {
        ip: (*ip).into(),
        port,
        cluster: cluster_name(&read::cluster(call)),
        weight,
        healthy: read::flag(call, "healthy", true),
        enabled,
        id: InstanceId::generate(&metadata),
        metadata,
    };
    Ok((instance, ephemeral))
}

/// `POST /v1/ns/instance`.
pub(super) async fn register(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = read::service_key(&call)?;
    let (instance, ephemeral) = v1_instance(&e, &call)?;
    e.instances.register(&key, instance, ephemeral).await?;
    Ok(text("ok"))
}

/// `DELETE /v1/ns/instance`.
pub(super) async fn deregister(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = read::service_key(&call)?;
    let (instance, ephemeral) = v1_instance(&e, &call)?;
    e.instances.deregister(&key, &instance.ip, instance.port, ephemeral).await?;
    Ok(text("ok"))
}

/// `PUT /v1/ns/instance`.
pub(super) async fn update(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = read::service_key(&call)?;
    let (instance, _) = v1_instance(&e, &call)?;
    e.instances.update(&key, &instance).await?;
    Ok(text("ok"))
}

/// `PATCH /v1/ns/instance`.
pub(super) async fn patch(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = read::service_key(&call)?;
    let ip = read::required(&call, "ip")?;
    let port = read::port(&call)?;
    let weight = read::optional(&call, "weight").map(|weight| read::float(&weight)).transpose()?;
    weight.map_or(Ok(()), instances::check_weight)?;
    let patch = Patch {
        metadata: match read::optional(&call, "metadata") {
            Some(_) => Some(read::metadata(&call)?),
            None => None,
        },
        weight,
        enabled: read::optional(&call, "enabled").map(|_| read::flag(&call, "enabled", true)),
    };
    e.instances.patch(&key, &ip, port, &read::cluster(&call), patch).await?;
    Ok(text("ok"))
}

/// `GET /v1/ns/instance`.
pub(super) async fn detail(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = read::service_key(&call)?;
    let cluster = read::optional(&call, "clusterName").unwrap_or(DEFAULT_CLUSTER.into());
    let ip = read::required(&call, "ip")?;
    let port = read::port(&call)?;
    let InstanceDetail { instance, id, .. } = e.instances.detail(&key, &ip, port, &cluster)?;
    let mut answer = json!({
        "service": key.grouped(),
        "ip": ip,
        "port": port,
        "clusterName": cluster,
        "weight": instance.weight,
        "healthy": instance.healthy,
        "metadata": instance.metadata,
    });
    answer["instanceId"] = json!(id);
    Ok(json(&answer))
}

/// `GET /v1/ns/instance/list`: a client that names a port of its own is told of changes from then on.
pub(super) async fn list(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = read::service_key(&call)?;
    let clusters = read::optional(&call, "clusters").unwrap_or_default();
    let ip = read::optional(&call, "clientIP").unwrap_or_default();
    let udp_port: i32 = match read::optional(&call, "udpPort") {
        Some(port) => read::number(&port)?,
        None => 0,
    };
    let agent = call.header("user-agent").filter(|agent| !agent.is_empty());
    let agent = agent.or_else(|| call.header("client-version")).unwrap_or_default();
    let app = read::optional(&call, "app").unwrap_or_default();
    subscribe(&e, &call, &key, Wish { ip: &ip, port: udp_port, agent, app: &app, clusters: &clusters });
    Ok(json_bytes(e.instances.list(&key, Form::V1, &clusters, read::is_true(&call, "healthyOnly"), &ip)))
}

/// What a query says of a client that may want to be told of changes.
struct Wish<'a> {
    ip: &'a str,
    port: i32,
    agent: &'a str,
    app: &'a str,
    clusters: &'a str,
}

fn subscribe(e: &Endpoints, call: &Call, key: &ServiceKey, wish: Wish<'_>) {
    let Ok(port) = u16::try_from(wish.port) else { return };
    if port == 0 || !e.switches.can_push(wish.agent) {
        return;
    }
    // Nobody elsewhere is told by sending to this machine's own programs.
    let own = wish.ip.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    if own && !call.peer.ip().to_canonical().is_loopback() {
        return;
    }
    let subscriber = Subscriber {
        addr_str: format!("{}:{port}", wish.ip),
        agent: wish.agent.to_owned(),
        app: wish.app.to_owned(),
        ip: wish.ip.to_owned(),
        port,
        namespace_id: key.namespace().to_owned(),
        service_name: key.grouped().to_owned(),
        cluster: wish.clusters.to_owned(),
    };
    e.instances.subscribe(key, subscriber);
}

/// `PUT /v1/ns/instance/beat`.
pub(super) async fn beat(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let cluster = read::optional(&call, "clusterName").unwrap_or(DEFAULT_CLUSTER.into());
    let ip = read::optional(&call, "ip").unwrap_or_default();
    let port = match read::optional(&call, "port") {
        Some(port) => read::number(&port)?,
        None => 0,
    };
    let beat = heartbeat(&call, &ip, port, &cluster)?;
    let key = read::service_key(&call)?;
    beat_answer(&e, e.instances.beat(&key, beat).await?)
}

/// `PUT /v2/ns/instance/beat`, which wants `group@@name`.
pub(super) async fn beat_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let grouped = call.required("serviceName")?;
    let cluster = read::optional(&call, "clusterName").unwrap_or(DEFAULT_CLUSTER.into());
    let ip = read::optional(&call, "ip").unwrap_or_default();
    let port = call.number::<u16>("port")?.unwrap_or(0);
    let beat = heartbeat(&call, &ip, port, &cluster)?;
    read::check_grouped(&grouped).map_err(|text| Fault::Illegal(text.to_owned()))?;
    let key = ServiceKey::of_grouped(&read::namespace(&call), &grouped);
    beat_answer(&e, e.instances.beat(&key, beat).await?)
}

fn heartbeat(call: &Call, ip: &str, port: u16, cluster: &str) -> Result<Heartbeat, Fault> {
    let Some(full) = read::full_beat(call)? else {
        return Ok(Heartbeat { ip: ip.to_owned(), port, cluster: cluster.to_owned(), full: None });
    };
    let cluster = full.cluster.filter(|cluster| !cluster.trim().is_empty()).unwrap_or(cluster.to_owned());
    let ip = full.ip.unwrap_or_default();
    let port =
        u16::try_from(full.port).map_err(|_| Fault::NotReadable(format!("For input string: \"{}\"", full.port)))?;
    if ip.trim().is_empty() {
        // Nacos makes an instance of the address `null` of this.
        return Err(Fault::Illegal("Param 'ip' is required.".to_owned()));
    }
    let instance = Instance {
        ip: ip.as_str().into(),
        port,
        cluster: cluster_name(&cluster),
        weight: full.weight,
        healthy: true,
        enabled: true,
        id: InstanceId::generate(&full.metadata),
        metadata: full.metadata,
    };
    Ok(Heartbeat { ip, port, cluster, full: Some(instance) })
}

fn beat_answer(e: &Endpoints, answer: BeatAnswer) -> Result<Response, Fault> {
    let code = if answer.known { 10_200 } else { 20_404 };
    let light = e.switches.light_beat_enabled();
    // Thousands of these a second: no JSON tree.
    Ok(json_bytes(format!(
        "{{\"clientBeatInterval\":{},\"code\":{code},\"lightBeatEnabled\":{light}}}",
        answer.interval_ms
    )))
}

fn targets(call: &Call) -> Result<Vec<Target>, Fault> {
    let named = read::batch(call)?.into_iter();
    named
        .map(|one| {
            Ok(Target {
                ip: one.ip.unwrap_or_default(),
                port: u16::try_from(one.port).map_err(|_| Fault::bad("port out of range"))?,
                cluster: one
                    .cluster_name
                    .filter(|name| !name.trim().is_empty())
                    .unwrap_or_else(|| DEFAULT_CLUSTER.to_owned()),
                ephemeral: one.ephemeral,
            })
        })
        .collect()
}

async fn change_metadata(
    e: &Endpoints,
    call: &Call,
    key: &ServiceKey,
    change: fn(Metadata) -> BatchChange,
) -> Result<Vec<String>, Fault> {
    let targets = targets(call)?;
    let metadata = read::metadata(call)?;
    Ok(e.instances.change_metadata(key, &targets, &change(metadata)).await?)
}

/// `PUT` and `DELETE /v1/ns/instance/metadata/batch`.
pub(super) async fn batch(e: Endpoints, call: Call, change: fn(Metadata) -> BatchChange) -> Result<Response, Fault> {
    let key = read::service_key(&call)?;
    read::required(&call, "metadata")?;
    Ok(json(&json!({ "updated": change_metadata(&e, &call, &key, change).await? })))
}

/// The same of v2.
pub(super) async fn batch_v2(e: Endpoints, call: Call, change: fn(Metadata) -> BatchChange) -> Result<Response, Fault> {
    let key = form_key(&call)?;
    call.param_not_blank("metadata").ok_or(Fault::Missing("metadata", "String"))?;
    Ok(result(json!({ "updated": change_metadata(&e, &call, &key, change).await? })))
}

/// `/v1/ns/instance/statuses` and `/v2/ns/instance/statuses/{key}`.
pub(super) fn statuses(e: &Endpoints, key: &str) -> Result<Response, Fault> {
    let key = read::status_key(key)?;
    let all = e.instances.all(&key).into_iter();
    let ips: Vec<String> =
        all.map(|found| format!("{}_{}", found.instance.address(), found.instance.healthy)).collect();
    Ok(json(&json!({ "ips": ips })))
}

/// The service that a v2 form names.
pub(super) fn form_key(call: &Call) -> Result<ServiceKey, Fault> {
    let name = call.param_not_blank("serviceName").ok_or(Fault::Missing("serviceName", "String"))?;
    Ok(v2_key(call, &name))
}

/// The service of a v2 call's own name, group and namespace.
pub(super) fn v2_key(call: &Call, name: &str) -> ServiceKey {
    let group = call.param_not_blank("groupName").unwrap_or(DEFAULT_GROUP.into());
    let namespace = call.param_not_blank("namespaceId").unwrap_or(DEFAULT_NAMESPACE.into());
    ServiceKey::of_grouped(&namespace, &format!("{group}{GROUP_SPLITTER}{name}"))
}

/// A truth value as Spring binds it; absent and empty are `None`.
pub(super) fn bound_flag(call: &Call, name: &'static str) -> Result<Option<bool>, Fault> {
    let Some(value) = call.param_not_blank(name) else { return Ok(None) };
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(Some(true)),
        "false" | "off" | "no" | "0" => Ok(Some(false)),
        _ => Err(Fault::NotReadable(format!("Invalid boolean value [{value}]"))),
    }
}

/// The instance that a v2 form describes, and whether it is ephemeral.
fn form_instance(e: &Endpoints, call: &Call) -> Result<(ServiceKey, Instance, bool), Fault> {
    let healthy = bound_flag(call, "healthy")?.unwrap_or(true);
    let enabled = bound_flag(call, "enabled")?.unwrap_or(true);
    let ephemeral = bound_flag(call, "ephemeral")?.unwrap_or_else(|| e.switches.default_instance_ephemeral());
    let weight = call.number::<f64>("weight")?.unwrap_or(1.0);
    let port = call.number::<u16>("port")?;
    let key = form_key(call)?;
    let ip = call.param_not_blank("ip").ok_or(Fault::Missing("ip", "String"))?;
    let port = port.ok_or(Fault::Missing("port", "Integer"))?;
    instances::check_weight(weight)?;
    let instance = Instance {
        ip: (*ip).into(),
        port,
        cluster: cluster_name(&call.param_not_blank("clusterName").unwrap_or(DEFAULT_CLUSTER.into())),
        weight,
        healthy,
        enabled,
        id: InstanceId::Absent,
        metadata: read::metadata(call)?,
    };
    Ok((key, instance, ephemeral))
}

/// `POST /v2/ns/instance`.
pub(super) async fn register_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let (key, instance, ephemeral) = form_instance(&e, &call)?;
    e.instances.register(&key, instance, ephemeral).await?;
    Ok(result("ok"))
}

/// `DELETE /v2/ns/instance`.
pub(super) async fn deregister_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let (key, instance, ephemeral) = form_instance(&e, &call)?;
    e.instances.deregister(&key, &instance.ip, instance.port, ephemeral).await?;
    Ok(result("ok"))
}

/// `PUT /v2/ns/instance`.
pub(super) async fn update_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let (key, instance, _) = form_instance(&e, &call)?;
    e.instances.update(&key, &instance).await?;
    Ok(result("ok"))
}

/// `PATCH /v2/ns/instance`, which wants `group@@name` and all parameters, and answers in bare text.
pub(super) async fn patch_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let grouped = call.required("serviceName")?;
    let ip = call.required("ip")?;
    let cluster = call.param_not_blank("cluster").unwrap_or(DEFAULT_CLUSTER.into());
    let port = call.required_number::<u16>("port", "Integer")?;
    let weight = call.required_number::<f64>("weight", "Double")?;
    let enabled = bound_flag(&call, "enabled")?.ok_or(Fault::Missing("enabled", "Boolean"))?;
    let metadata = call.required("metadata")?;
    read::check_grouped(&grouped).map_err(|text| Fault::Illegal(text.to_owned()))?;
    instances::check_weight(weight)?;
    let metadata = match metadata.trim().is_empty() {
        true => None,
        false => Some(read::metadata(&call)?),
    };
    let key = ServiceKey::of_grouped(&read::namespace(&call), &grouped);
    let patch = Patch { metadata, weight: Some(weight), enabled: Some(enabled) };
    e.instances.patch(&key, &ip, port, &cluster, patch).await?;
    Ok(text("ok"))
}

/// `GET /v2/ns/instance`.
pub(super) async fn detail_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let name = call.required("serviceName")?;
    let ip = call.required("ip")?;
    let port = call.required_number::<u16>("port", "Integer")?;
    let cluster = call.param_not_blank("clusterName").unwrap_or(DEFAULT_CLUSTER.into());
    let key = named_key(&call, &name)?;
    let InstanceDetail { instance, id, .. } = e.instances.detail(&key, &ip, port, &cluster)?;
    Ok(result(json!({
        "serviceName": key.grouped(),
        "ip": ip,
        "port": port,
        "clusterName": cluster,
        "weight": instance.weight,
        "healthy": instance.healthy,
        "instanceId": id,
        "metadata": instance.metadata,
    })))
}

/// The service of a v2 call whose name must not be blank (Nacos `NamingUtils.getGroupedName`).
fn named_key(call: &Call, name: &str) -> Result<ServiceKey, Fault> {
    if name.trim().is_empty() {
        return Err(Fault::Illegal("Param 'serviceName' is illegal, serviceName is blank".to_owned()));
    }
    Ok(v2_key(call, name))
}

/// `GET /v2/ns/instance/list`.
pub(super) async fn list_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let name = call.required("serviceName")?;
    let clusters = call.param_or_empty("clusterName");
    let ip = call.param_or_empty("ip");
    let port = call.number::<i32>("port")?.unwrap_or(0);
    let healthy_only = bound_flag(&call, "healthyOnly")?.unwrap_or(false);
    let app = call.param_or_empty("app");
    let agent = call.header("user-agent").filter(|agent| !agent.is_empty());
    let agent = agent.or_else(|| call.header("client-version")).unwrap_or_default();
    let key = named_key(&call, &name)?;
    subscribe(&e, &call, &key, Wish { ip: &ip, port, agent, app: &app, clusters: &clusters });
    Ok(json_bytes(e.instances.list(&key, Form::V2, &clusters, healthy_only, &ip)))
}

/// `PUT /v1/ns/health` and `/v1/ns/health/instance`.
pub(super) async fn health(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let healthy = ["healthy", "valid"].into_iter().find(|name| read::optional(&call, name).is_some());
    let healthy = healthy.ok_or_else(|| Fault::Illegal("Param 'healthy' is required.".to_owned()))?;
    let healthy = read::flag(&call, healthy, false);
    let key = read::service_key(&call)?;
    let cluster = read::optional(&call, "clusterName").unwrap_or(DEFAULT_CLUSTER.into());
    let ip = read::required(&call, "ip")?;
    let port = read::port(&call)?;
    e.instances.set_healthy(&key, &cluster, &ip, port, healthy).await?;
    Ok(text("ok"))
}

/// `PUT /v2/ns/health` and `/v2/ns/health/instance`.
pub(super) async fn health_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let healthy = bound_flag(&call, "healthy")?;
    let port = call.number::<u16>("port")?;
    let healthy = healthy.ok_or(Fault::Missing("healthy", "Boolean"))?;
    let key = form_key(&call)?;
    let ip = call.param_not_blank("ip").ok_or(Fault::Missing("ip", "String"))?;
    let port = port.ok_or(Fault::Missing("port", "Integer"))?;
    let cluster = call.param_not_blank("clusterName").unwrap_or(DEFAULT_CLUSTER.into());
    e.instances.set_healthy(&key, &cluster, &ip, port, healthy).await?;
    Ok(result("ok"))
}

/// Refuses metadata that are too long (Nacos `nacos.naming.service.metadata.length`).
pub(super) fn check_metadata(e: &Endpoints, call: &Call) -> Result<(), Fault> {
    let Some(max) = e.metadata_max else { return Ok(()) };
    // Far fewer bytes than that cannot be too long, and need not be read here.
    match call.params.first("metadata") {
        Some(text) if text.len() > max && read::metadata(call)?.length() > max => {
            Err(Fault::Filtered(format!("Param 'Metadata' is illegal, the param length should not exceed {max}.")))
        }
        Some(_) => read::metadata(call).map(drop),
        None => Ok(()),
    }
}

/// The refusal for a service that does not exist.
pub(super) fn no_service(key: &ServiceKey) -> NamingError {
    NamingError::bad(
        ErrorCode::ServiceNotExist,
        format!("service not found, namespace: {}, serviceName: {}", key.namespace(), key.grouped()),
    )
}
