//! Instances as targets of Prometheus' `http_sd` (Nacos `PrometheusController`).

use std::{collections::BTreeMap, sync::Arc};

use axum::response::Response;
use http::Method;
use nacos_core::{
    auth::Access,
    key::ServiceKey,
    web::{Call, Fault, Routes, Style, check, json},
};
use serde_json::{Value, json};

use super::Endpoints;

/// Adds the routes. Nacos leaves all but the first open, and that one to HTTP Basic; ours are open while auth is off,
/// and ask for the right to read services otherwise.
pub(super) fn add(routes: &mut Routes, endpoints: &Endpoints) {
    let mut add = |path, targets: fn(&Endpoints, &Call) -> Vec<Value>| {
        let shared = endpoints.clone();
        let access = super::v1::READ;
        debug_assert!(access != Access::Open);
        routes.add(Method::GET, path, None, access, Style::Bare, check::none, move |call: Call| {
            let answer: Response = json(&targets(&shared, &call));
            async move { Ok::<_, Fault>(answer) }
        });
    };
    add("/prometheus", |e, _| {
        let namespaces = e.registry.namespaces();
        namespaces.iter().flat_map(|namespace| of_namespace(e, namespace, |_| true)).collect()
    });
    add("/prometheus/namespaceId/{namespaceId}", |e, call| of_namespace(e, call.path_value("namespaceId"), |_| true));
    add("/prometheus/namespaceId/{namespaceId}/service/{service}", |e, call| {
        let name = call.path_value("service");
        of_namespace(e, call.path_value("namespaceId"), |key| key.name() == name)
    });
}

fn of_namespace(e: &Endpoints, namespace: &str, wanted: impl Fn(&ServiceKey) -> bool) -> Vec<Value> {
    let services = e.registry.services_of(namespace, wanted);
    services.iter().map(Arc::as_ref).flat_map(|service| targets(e, service.key())).collect()
}

fn targets(e: &Endpoints, key: &ServiceKey) -> Vec<Value> {
    let all = e.instances.all(key).into_iter();
    all.map(|found| {
        let instance = found.instance;
        let mut labels = BTreeMap::from([("__meta_clusterName".to_owned(), instance.cluster.to_string())]);
        // Prometheus' names of labels have neither dots nor dashes.
        labels.extend(instance.metadata.iter().map(|(name, value)| (name.replace(['.', '-'], "_"), value.to_owned())));
        json!({ "targets": [instance.address()], "labels": labels })
    })
    .collect()
}
