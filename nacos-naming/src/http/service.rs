//! Services as a whole, and their clusters.

use std::fmt::Write as _;

use axum::response::Response;
use http::StatusCode;
use md5::{Digest, Md5};
use nacos_core::{
    error::ErrorCode,
    key::{DEFAULT_GROUP, ServiceKey},
    web::{Call, Fault, json, rest_result, result, text},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Endpoints, JsonMap, instance, read};
use crate::{
    error::NamingError,
    health::probe::Checker,
    metadata::{ClusterMetadata, ServiceMetadata},
    model::Metadata,
    registry::Kind,
    selector::{self, Selector, SelectorError},
};

fn selector(call: &Call) -> Result<Selector, Fault> {
    Selector::parse(&call.param_or_empty("selector")).map_err(|error| {
        let text = error.to_string();
        match error {
            SelectorError::Escape(_) => Fault::Illegal(text),
            SelectorError::UnknownType => Fault::Coded(StatusCode::BAD_REQUEST, ErrorCode::SelectorError, text),
            SelectorError::NotJson => Fault::Coded(StatusCode::BAD_REQUEST, ErrorCode::ServerError, text),
            SelectorError::Expression(_) => {
                Fault::Coded(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::ServerError, text)
            }
        }
    })
}

/// A threshold as Java reads it; one that is no number is as good as none.
fn finite(threshold: f32) -> f32 {
    if threshold.is_finite() { threshold } else { 0.0 }
}

/// `POST /v1/ns/service`.
pub(super) async fn create(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = read::bound_service_key(&call)?;
    let threshold = match read::optional(&call, "protectThreshold") {
        Some(text) => text.parse().map_err(|_| Fault::Broken(format!("For input string: \"{text}\"")))?,
        None => 0.0,
    };
    let metadata = ServiceMetadata {
        ephemeral: false,
        protect_threshold: finite(threshold),
        selector: selector(&call)?,
        extend_data: read::metadata(&call)?,
        ..Default::default()
    };
    e.services.create(&key, metadata).await?;
    Ok(text("ok"))
}

/// `DELETE /v1/ns/service`.
pub(super) async fn remove(e: Endpoints, call: Call) -> Result<Response, Fault> {
    e.services.remove(&read::bound_service_key(&call)?).await?;
    Ok(text("ok"))
}

/// `PUT /v1/ns/service`.
pub(super) async fn update(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = read::service_key(&call)?;
    let extend_data = read::metadata(&call)?;
    // What is no number is 0 (`NumberUtils.toFloat`).
    let threshold = read::required(&call, "protectThreshold")?.parse().unwrap_or(0.0);
    let metadata = ServiceMetadata {
        protect_threshold: finite(threshold),
        selector: selector(&call)?,
        extend_data,
        ..Default::default()
    };
    e.services.update(&key, metadata).await?;
    Ok(text("ok"))
}

/// `GET /v1/ns/service`.
pub(super) async fn detail(e: Endpoints, call: Call) -> Result<Response, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Cluster<'a> {
        name: &'a str,
        health_checker: Value,
        metadata: &'a Metadata,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail<'a, S> {
        namespace_id: &'a str,
        group_name: &'a str,
        name: &'a str,
        protect_threshold: f32,
        metadata: &'a Metadata,
        selector: S,
        clusters: Vec<Cluster<'a>>,
    }
    let key = read::bound_service_key(&call)?;
    let found = e.services.detail(&key).ok_or_else(|| instance::no_service(&key))?;
    let clusters = found.clusters.iter();
    Ok(json(&Detail {
        namespace_id: key.namespace(),
        group_name: key.group(),
        name: key.name(),
        protect_threshold: found.metadata.protect_threshold,
        metadata: &found.metadata.extend_data,
        selector: found.metadata.selector.v1(),
        clusters: clusters
            .map(|(name, cluster)| Cluster {
                name,
                health_checker: without_nulls(&cluster.health_checker),
                metadata: &cluster.extend_data,
            })
            .collect(),
    }))
}

/// The checker, without what was not said of it: v1 shows no nulls here.
fn without_nulls(checker: &Checker) -> Value {
    let mut value = json!(checker);
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    value
}

/// `GET /v1/ns/service/list`.
pub(super) async fn list(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let (number, size) = read::page_of(&read::required(&call, "pageNo")?, &read::required(&call, "pageSize")?);
    let group = read::optional(&call, "groupName").unwrap_or(DEFAULT_GROUP.into());
    let found = e.services.names(&read::namespace(&call), &group);
    let names: Vec<&str> = read::page(&found, number, size).iter().map(ServiceKey::name).collect();
    Ok(json(&json!({ "count": found.len(), "doms": names })))
}

/// `/v1/ns/service/names`; the member's odd name is Nacos'.
pub(super) async fn names(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let wanted = call.param_or_empty("expr");
    let namespaces = match call.param_not_blank("namespaceId") {
        Some(namespace) => vec![namespace.into_owned()],
        None => e.services.namespaces(),
    };
    let mut count = 0;
    let mut names: JsonMap<Vec<String>> = JsonMap::new();
    for namespace in namespaces {
        let found = e.services.search(&namespace, &wanted);
        count += found.len();
        names.insert(namespace, found.iter().map(|key| key.grouped().to_owned()).collect());
    }
    Ok(json(&json!({ "META-INF/services": names, "count": count })))
}

/// `GET /v1/ns/service/subscribers`.
pub(super) async fn subscribers(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let number = read::optional(&call, "pageNo").unwrap_or("1".into());
    let size = read::optional(&call, "pageSize").unwrap_or("1000".into());
    let (number, size) = read::page_of(&number, &size);
    let key = read::service_key(&call)?;
    let found = e.services.subscribers(key.namespace(), key.group(), key.name());
    let page: Vec<_> = read::page(&found, number, size).iter().map(|one| &**one).collect();
    Ok(json(&json!({ "subscribers": page, "count": found.len() })))
}

/// `PUT /v1/ns/service/checksum`, of Nacos 1: two servers whose answers are alike have the same instances, and say the
/// same of the service.
pub(super) fn checksum(e: &Endpoints, call: &Call) -> Result<Response, Fault> {
    let key = read::service_key(call)?;
    let found = e
        .services
        .detail(&key)
        .ok_or_else(|| NamingError::missing(format!("serviceName not found: {}", key.grouped())))?;
    let mut text = format!("{}{}", key.grouped(), json!(found.metadata));
    let mut instances = e.instances.all(&key);
    instances.sort_by(|a, b| (&a.instance.ip, a.instance.port).cmp(&(&b.instance.ip, b.instance.port)));
    for found in &instances {
        let one = &found.instance;
        let _ = write!(text, "{}_{:?}_{}_{},", one.address(), one.weight, one.healthy, one.cluster);
    }
    let mut hex = String::with_capacity(32);
    for byte in Md5::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(json(&json!({ "checksum": hex })))
}

/// `GET /v1/ns/service/selector/types`.
pub(super) fn selector_types() -> Response {
    rest_result(200, None, selector::TYPES)
}

/// `PUT /v1/ns/cluster`.
pub(super) async fn put_cluster(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let cluster = read::required(&call, "clusterName")?;
    let key = read::service_key(&call)?;
    let port = read::required(&call, "checkPort")?.parse().unwrap_or(0);
    read::required(&call, "useInstancePort4Check")?;
    let own_port = read::flag(&call, "useInstancePort4Check", true);
    let checker = read::required(&call, "healthChecker")?;
    let metadata = ClusterMetadata {
        healthy_check_port: port,
        health_checker: Checker::parse(&checker).map_err(|error| Fault::Broken(error.to_string()))?,
        use_instance_port_for_check: own_port,
        extend_data: read::metadata(&call)?,
    };
    e.services.put_cluster(&key, &cluster, metadata).await?;
    Ok(text("ok"))
}

fn form_metadata(call: &Call) -> Result<(ServiceKey, ServiceMetadata), Fault> {
    let ephemeral = instance::bound_flag(call, "ephemeral")?.unwrap_or(false);
    let threshold = call.number::<f32>("protectThreshold")?.unwrap_or(0.0);
    let key = instance::form_key(call)?;
    let metadata = ServiceMetadata {
        ephemeral,
        protect_threshold: finite(threshold),
        selector: selector(call)?,
        extend_data: read::metadata(call)?,
        ..Default::default()
    };
    Ok((key, metadata))
}

/// `POST /v2/ns/service`.
pub(super) async fn create_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let (key, metadata) = form_metadata(&call)?;
    e.services.create(&key, metadata).await?;
    Ok(result("ok"))
}

/// `PUT /v2/ns/service`.
pub(super) async fn update_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let (key, metadata) = form_metadata(&call)?;
    e.services.update(&key, metadata).await?;
    Ok(result("ok"))
}

/// `DELETE /v2/ns/service`.
pub(super) async fn remove_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let name = call.required("serviceName")?;
    e.services.remove(&instance::v2_key(&call, &name)).await?;
    Ok(result("ok"))
}

/// `GET /v2/ns/service`.
pub(super) async fn detail_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Cluster<'a> {
        cluster_name: &'a str,
        health_checker: &'a Checker,
        metadata: &'a Metadata,
        hosts: (),
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail<'a, S> {
        namespace: &'a str,
        service_name: &'a str,
        group_name: &'a str,
        cluster_map: JsonMap<Cluster<'a>>,
        metadata: &'a Metadata,
        protect_threshold: f32,
        selector: S,
        ephemeral: bool,
    }
    let name = call.required("serviceName")?;
    let key = instance::v2_key(&call, &name);
    let found = e.services.detail(&key).ok_or_else(|| -> NamingError { instance::no_service(&key) })?;
    let clusters = found.clusters.iter();
    Ok(result(Detail {
        namespace: key.namespace(),
        service_name: key.name(),
        group_name: key.group(),
        cluster_map: clusters
            .map(|(name, cluster)| {
                let shown = Cluster {
                    cluster_name: name,
                    health_checker: &cluster.health_checker,
                    metadata: &cluster.extend_data,
                    hosts: (),
                };
                (name.clone(), shown)
            })
            .collect(),
        metadata: &found.metadata.extend_data,
        protect_threshold: found.metadata.protect_threshold,
        selector: found.metadata.selector.v2(),
        ephemeral: found.kind == Kind::Ephemeral,
    }))
}

/// `GET /v2/ns/service/list`.
pub(super) async fn list_v2(e: Endpoints, call: Call) -> Result<Response, Fault> {
    let number = call.number::<i32>("pageNo")?.unwrap_or(1);
    let size = call.number::<i32>("pageSize")?.unwrap_or(20).min(500);
    let group = call.param_not_blank("groupName").unwrap_or(DEFAULT_GROUP.into());
    let found = e.services.names(&read::namespace(&call), &group);
    let page = read::page(&found, number.into(), size.into());
    let names: Vec<&str> = page.iter().map(ServiceKey::name).collect();
    Ok(result(json!({ "count": found.len(), "services": names })))
}
