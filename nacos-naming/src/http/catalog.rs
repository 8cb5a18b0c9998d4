//! The catalog that consoles show: services with their sizes, one service, its instances.

use axum::response::Response;
use http::StatusCode;
use nacos_core::{
    error::ErrorCode,
    key::ServiceKey,
    web::{Call, Fault, json, result},
};
use serde::Serialize;
use serde_json::json;

use super::{Endpoints, JsonMap, read};
use crate::{
    error::NamingError, health::probe::Checker, instances::InstanceDetail, model::Metadata, registry::Shown,
    view::InstanceJson,
};

fn not_found(key: &ServiceKey) -> NamingError {
    let text = format!("service {}@@{} is not found!", key.group(), key.name());
    NamingError::Refused { status: StatusCode::NOT_FOUND, code: ErrorCode::ServerError, text }
}

/// The service that the catalog is asked for; none named is one of no name.
fn key(call: &Call) -> Result<ServiceKey, Fault> {
    let grouped = read::grouped_name(call)?;
    Ok(read::catalog_key(&read::namespace(call), grouped.as_deref()))
}

/// A parameter that Spring binds to an `int` that need not be there.
fn bound_number(call: &Call, name: &str) -> Result<i64, Fault> {
    let Some(text) = call.param_not_blank(name) else { return Ok(0) };
    text.trim().parse::<i32>().map(i64::from).map_err(|_| Fault::Broken(format!("For input string: \"{text}\"")))
}

/// `GET /v1/ns/catalog/services`.
pub(super) async fn services(e: Endpoints, call: Call) -> Result<Response, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Host<'a> {
        valid: bool,
        metadata: &'a Metadata,
        port: u16,
        ip: &'a str,
        weight: f64,
        enabled: bool,
    }
    let number = bound_number(&call, "pageNo")?;
    let size = bound_number(&call, "pageSize")?;
    let namespace = read::namespace(&call);
    let name = call.param_or_empty("serviceNameParam");
    let group = call.param_or_empty("groupNameParam");
    let page = (usize::try_from(number).unwrap_or(0), usize::try_from(size).unwrap_or(0));
    let hide_empty = read::flag(&call, "hasIpCount", false);
    if !read::flag(&call, "withInstances", false) {
        let (count, found) = e.services.page(&namespace, (group.trim(), name.trim()), page, hide_empty);
        let list = found.iter().map(|one| {
            json!({
                "name": one.key.name(),
                "groupName": one.key.group(),
                "clusterCount": one.clusters,
                "ipCount": one.instances,
                "healthyInstanceCount": one.healthy,
                "triggerFlag": one.protected.to_string(),
            })
        });
        return Ok(json(&json!({ "count": count, "serviceList": list.collect::<Vec<_>>() })));
    }
    let (_, found) = e.services.page(&namespace, (group.trim(), name.trim()), page, false);
    let list: Vec<_> = found
        .iter()
        .map(|one| {
            let all = e.instances.all(&one.key);
            let mut clusters: JsonMap<Vec<Host<'_>>> = JsonMap::new();
            for InstanceDetail { instance, .. } in &all {
                clusters.entry(instance.cluster.to_string()).or_default().push(Host {
                    valid: instance.healthy,
                    metadata: &instance.metadata,
                    port: instance.port,
                    ip: &instance.ip,
                    weight: instance.weight,
                    enabled: instance.enabled,
                });
            }
            let clusters: JsonMap<_> = clusters
                .into_iter()
                .map(|(name, hosts)| {
                    (name, json!({ "clusterName": null, "healthChecker": null, "metadata": null, "hosts": hosts }))
                })
                .collect();
            let metadata = e.registry.service_metadata(&one.key);
            json!({
                "namespace": null,
                "serviceName": one.key.name(),
                "groupName": one.key.group(),
                "clusterMap": clusters,
                "metadata": metadata.as_deref().map_or(json!({}), |metadata| json!(metadata.extend_data)),
                "protectThreshold": 0.0,
                "selector": null,
                "ephemeral": null,
            })
        })
        .collect();
    Ok(json(&list))
}

/// `GET /v1/ns/catalog/service`.
pub(super) async fn service(e: Endpoints, call: Call) -> Result<Response, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Service<'a, S> {
        name: &'a str,
        group_name: &'a str,
        protect_threshold: f32,
        selector: S,
        metadata: &'a Metadata,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Cluster<'a> {
        service_name: &'a str,
        name: &'a str,
        health_checker: &'a Checker,
        default_port: u16,
        default_check_port: i32,
        #[serde(rename = "useIPPort4Check")]
        use_ip_port_4_check: bool,
        metadata: &'a Metadata,
    }
    #[derive(Serialize)]
    struct View<'a, S> {
        service: Service<'a, S>,
        clusters: Vec<Cluster<'a>>,
    }
    let key = key(&call)?;
    let found = e.services.detail(&key).ok_or_else(|| not_found(&key))?;
    let clusters = found.clusters.iter();
    Ok(json(&View {
        service: Service {
            name: key.name(),
            group_name: key.group(),
            protect_threshold: found.metadata.protect_threshold,
            selector: found.metadata.selector.v1(),
            metadata: &found.metadata.extend_data,
        },
        clusters: clusters
            .map(|(name, cluster)| Cluster {
                service_name: key.grouped(),
                name,
                health_checker: &cluster.health_checker,
                default_port: 80,
                default_check_port: cluster.healthy_check_port,
                use_ip_port_4_check: cluster.use_instance_port_for_check,
                metadata: &cluster.extend_data,
            })
            .collect(),
    }))
}

/// Instances as lists show them.
fn shown<'a>(key: &'a ServiceKey, found: &'a [InstanceDetail]) -> Vec<serde_json::Value> {
    let json = found.iter().map(|InstanceDetail { instance, ephemeral, .. }| {
        let shown =
            Shown { instance, weight: instance.weight, enabled: instance.enabled, metadata: instance.metadata.clone() };
        json!(InstanceJson::of(key, &shown, *ephemeral))
    });
    json.collect()
}

/// `/v1/ns/catalog/instances`.
pub(super) async fn instances(e: Endpoints, call: Call) -> Result<Response, Fault> {
    call.required("serviceName")?;
    let cluster = call.required("clusterName")?;
    call.required("pageNo")?;
    call.required("pageSize")?;
    let (number, size) = (bound_number(&call, "pageNo")?, bound_number(&call, "pageSize")?);
    let key = key(&call)?;
    if e.registry.kind(&key).is_none() {
        return Err(not_found(&key).into());
    }
    let mut found = e.instances.all(&key);
    found.retain(|one| *one.instance.cluster == *cluster);
    if found.is_empty() {
        let text = format!("cluster {cluster} is not found!");
        return Err(Fault::Coded(StatusCode::NOT_FOUND, ErrorCode::ServerError, text));
    }
    let page = read::page(&found, number, size);
    Ok(json(&json!({ "list": shown(&key, page), "count": found.len() })))
}

/// `/v2/ns/catalog/instances`; its errors are those of v1.
pub(super) async fn instances_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let grouped = call.required("serviceName")?;
    call.required("pageNo")?;
    call.required("pageSize")?;
    let (number, size) = (bound_number(&call, "pageNo")?, bound_number(&call, "pageSize")?);
    let wanted = |name| match call.param_not_blank(name) {
        Some(_) => super::instance::bound_flag(&call, name),
        None => Ok(None),
    };
    let (healthy, enabled) = (wanted("healthyOnly")?, wanted("enabledOnly")?);
    let key = ServiceKey::of_grouped(&read::namespace(&call), &grouped);
    if e.registry.kind(&key).is_none() {
        return Ok(result(json!({ "count": 0 })));
    }
    let mut found = e.instances.all(&key);
    found.retain(|one| {
        healthy.is_none_or(|healthy| one.instance.healthy == healthy)
            && enabled.is_none_or(|enabled| one.instance.enabled == enabled)
    });
    let page = read::page(&found, number, size);
    if page.is_empty() {
        return Ok(result(json!({ "count": found.len() })));
    }
    Ok(result(json!({ "instances": shown(&key, page), "count": found.len() })))
}
