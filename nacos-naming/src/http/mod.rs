//! The HTTP endpoints of service discovery, v1 and v2, as Nacos 2.4 has them, and Prometheus' `http_sd`.
//!
//! Handlers read parameters, ask the domain, and write answers; they decide nothing. [`Endpoints`] is what they share.

mod catalog;
mod client;
mod instance;
mod operator;
mod prometheus;
mod read;
mod service;
mod v1;
mod v2;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header, request::Parts};
use nacos_core::web::{Area, Fault, Routes, TEXT};

use crate::{
    instances::Instances,
    push::Pusher,
    registry::Registry,
    services::Services,
    switches::{ServerStatus, Switches},
};

/// Sets a logger's level: the name as Nacos knows it, and the level. `false` if either is not known.
pub type SetLogLevel = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// What the handlers share. One counter to clone: every request does.
#[derive(Clone)]
pub struct Endpoints(Arc<Shared>);

impl Endpoints {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl std::ops::Deref for Endpoints {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The parts of [`Endpoints`].
pub struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) instances: Instances,
    pub(crate) services: Services,
    pub(crate) switches: Arc<Switches>,
    pub(crate) pusher: Arc<Pusher>,
    /// Longest metadata; `None` while the parameter filter is off.
    pub(crate) metadata_max: Option<usize>,
    /// This server's `ip:port`.
    pub(crate) self_address: String,
    /// Whether Prometheus may ask.
    pub(crate) prometheus: bool,
    pub(crate) set_log_level: SetLogLevel,
}

/// All routes of service discovery.
pub fn routes(endpoints: &Endpoints) -> Routes {
    let mut routes = Routes::new();
    v1::add(&mut routes, endpoints);
    v2::add(&mut routes, endpoints);
    if endpoints.prometheus {
        prometheus::add(&mut routes, endpoints);
    }
    let switches = Arc::clone(&endpoints.switches);
    routes.area(Area {
        prefix: "/v1/ns/",
        gate: Arc::new(move |parts| gate(&switches, parts)),
        unknown: |method, path| Fault::Outside(StatusCode::NOT_IMPLEMENTED, format!("no such api:{method}:{path}")),
    });
    routes
}

/// What the switches keep out (Nacos `TrafficReviseFilter`). Unlike there, nothing is let through for its
/// `User-Agent`; only the switches themselves stay within reach, so that what was closed can be opened again.
fn gate(switches: &Switches, parts: &Parts) -> Option<Response> {
    // What was closed by the switches is opened by them.
    if parts.uri.path().trim_end_matches('/').ends_with("/switches") {
        return None;
    }
    if let Some(status) = switches.limited(parts.uri.path_and_query().map_or("", |target| target.as_str())) {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        return Some((status, Body::empty()).into_response());
    }
    let status = switches.status();
    let reads = parts.method == http::Method::GET || parts.method == http::Method::HEAD;
    let open = match status {
        ServerStatus::Up => true,
        ServerStatus::ReadOnly => reads,
        ServerStatus::WriteOnly => !reads,
        ServerStatus::Down | ServerStatus::Starting | ServerStatus::Paused => false,
    };
    if open {
        return None;
    }
    let text = format!("server is {}now, please try again later!", status.name());
    Some((StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, TEXT)], text).into_response())
}

/// Names with the JSON of what they stand for, in order.
type JsonMap<T> = BTreeMap<String, T>;
