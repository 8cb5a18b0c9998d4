//! What is known of clients: `/v2/ns/client`.

use axum::response::Response;
use nacos_core::{
    key::ServiceKey,
    web::{Call, Fault, result},
};
use serde_json::{Value, json};

use super::{Endpoints, instance};
use crate::{
    error::NamingError,
    model::Instance,
    registry::{Client, ClientView},
};

fn found(e: &Endpoints, call: &Call) -> Result<(std::sync::Arc<Client>, ClientView), Fault> {
    let id = call.required("clientId")?;
    let client = e.registry.client(&id).ok_or_else(|| NamingError::missing(format!("clientId [ {id} ] not exist")))?;
    let view = e.registry.client_view(&client);
    Ok((client, view))
}

/// `GET /v2/ns/client/list`.
pub(super) fn list(e: &Endpoints) -> Response {
    let ids = e.registry.client_ids();
    result(ids.iter().map(|id| id.as_str()).collect::<Vec<_>>())
}

/// `GET /v2/ns/client`.
pub(super) fn detail(e: &Endpoints, call: &Call) -> Result<Response, Fault> {
    let (client, view) = found(e, call)?;
    let id = client.id();
    let (ip, port) = id.parts().unwrap_or_default();
    Ok(result(json!({
        "clientId": id.as_str(),
        "ephemeral": !id.is_persistent(),
        "lastUpdatedTime": view.updated_ms,
        "clientType": "ipPort",
        "clientIp": ip,
        "clientPort": port,
    })))
}

fn registered(instance: &Instance) -> Value {
    json!({ "ip": instance.ip, "port": instance.port, "cluster": instance.cluster })
}

fn named(key: &ServiceKey) -> Value {
    json!({ "namespace": key.namespace(), "group": key.group(), "serviceName": key.name() })
}

/// `GET /v2/ns/client/publish/list`.
pub(super) fn published(e: &Endpoints, call: &Call) -> Result<Response, Fault> {
    let (_, view) = found(e, call)?;
    let list = view.published.iter().map(|(key, instance)| {
        let mut item = named(key);
        item["registeredInstance"] = registered(instance);
        item
    });
    Ok(result(list.collect::<Vec<_>>()))
}

/// `GET /v2/ns/client/subscribe/list`.
pub(super) fn subscribed(e: &Endpoints, call: &Call) -> Result<Response, Fault> {
    let (_, view) = found(e, call)?;
    let list = view.subscribed.iter().map(|(key, subscriber)| {
        let mut item = named(key);
        item["subscriberInfo"] =
            json!({ "app": subscriber.app, "agent": subscriber.agent, "addr": subscriber.addr_str });
        item
    });
    Ok(result(list.collect::<Vec<_>>()))
}

/// Service, address and port of a query; both must be named for anything to be found, as in Nacos 2.4.
fn asked(call: &Call) -> Result<(ServiceKey, Option<String>, Option<u16>), Fault> {
    let name = call.required("serviceName")?;
    instance::bound_flag(call, "ephemeral")?;
    let port = call.number::<u16>("port")?;
    Ok((instance::v2_key(call, &name), call.param("ip").map(|ip| ip.into_owned()), port))
}

/// `GET /v2/ns/client/service/publisher/list`.
pub(super) fn publishers(e: &Endpoints, call: &Call) -> Result<Response, Fault> {
    let (key, ip, port) = asked(call)?;
    let mut list = Vec::new();
    if let Some(service) = e.registry.service(&key) {
        for (client, published) in &service.lock().publishers {
            if ip.as_deref() == Some(&*published.instance.ip) && port == Some(published.instance.port) {
                let mut item = registered(&published.instance);
                item["clientId"] = json!(client.as_str());
                list.push(item);
            }
        }
    }
    Ok(result(list))
}

/// `GET /v2/ns/client/service/subscriber/list`.
pub(super) fn subscribers(e: &Endpoints, call: &Call) -> Result<Response, Fault> {
    let (key, ip, port) = asked(call)?;
    let mut list = Vec::new();
    if let Some(service) = e.registry.service(&key) {
        for (client, wishes) in &service.lock().subscribers {
            // Once, however many combinations of clusters it asked for.
            let Some(subscriber) = wishes.first() else { continue };
            if ip.as_deref() == Some(&subscriber.ip) && port == Some(subscriber.port) {
                list.push(json!({ "clientId": client.as_str(), "ip": subscriber.ip, "port": subscriber.port }));
            }
        }
    }
    Ok(result(list))
}
