//! The bare server beside service discovery: it reads what clients send, keeps nothing but who wants to be told, and
//! answers with what it was given beforehand.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use anyhow::{Context, Result};
use axum::{
    Form, Router,
    body::Bytes,
    extract::{Query, State},
    http::{
        HeaderName, StatusCode,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY},
    },
    response::{AppendHeaders, IntoResponse},
    routing::{get, post, put},
};
use serde::Deserialize;
use tokio::net::UdpSocket;

use crate::bench::naming::requests::{BEAT, BEATEN, INSTANCE, LIST};

/// Where to put what lists are answered with.
pub const GIVEN_LIST: &str = "/bench/list";
/// Where to put what subscribers are sent when something registers.
pub const GIVEN_DATAGRAM: &str = "/bench/datagram";

struct Discovery {
    list: RwLock<Bytes>,
    datagram: RwLock<Bytes>,
    subscribers: Mutex<Vec<SocketAddr>>,
    socket: UdpSocket,
}

/// The routes.
pub async fn routes() -> Result<Router> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.context("bind a UDP socket")?;
    let discovery =
        Discovery { list: RwLock::default(), datagram: RwLock::default(), subscribers: Mutex::default(), socket };
    Ok(Router::new()
        .route(INSTANCE, post(register))
        .route(BEAT, put(beat))
        .route(LIST, get(list))
        .route(GIVEN_LIST, put(|State(all): State<Arc<Discovery>>, body| async move { give(&all.list, body) }))
        .route(GIVEN_DATAGRAM, put(|State(all): State<Arc<Discovery>>, body| async move { give(&all.datagram, body) }))
        .with_state(Arc::new(discovery)))
}

fn give(place: &RwLock<Bytes>, body: Bytes) -> &'static str {
    *place.write().unwrap_or_else(PoisonError::into_inner) = body;
    "ok"
}

fn given(place: &RwLock<Bytes>) -> Bytes {
    place.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The headers that ours sends.
fn headers(kind: &'static str) -> AppendHeaders<[(HeaderName, &'static str); 3]> {
    AppendHeaders([
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, "script-src 'self'"),
        (VARY, "Origin,Access-Control-Request-Method,Access-Control-Request-Headers"),
    ])
}

const JSON: &str = "application/json;charset=UTF-8";

/// The parameters that name an instance.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    service_name: String,
    ip: IpAddr,
    port: u16,
}

async fn register(State(all): State<Arc<Discovery>>, Query(named): Query<Named>) -> impl IntoResponse {
    if named.service_name.is_empty() || named.ip.is_unspecified() || named.port == 0 {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let subscribers = all.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !subscribers.is_empty() {
        tokio::spawn(tell(Arc::clone(&all), subscribers));
    }
    (headers("text/plain;charset=UTF-8"), "ok").into_response()
}

async fn tell(all: Arc<Discovery>, subscribers: Vec<SocketAddr>) {
    let datagram = given(&all.datagram);
    for subscriber in subscribers {
        // One that does not arrive is missed by the one who measures.
        let _ = all.socket.send_to(&datagram, subscriber).await;
    }
}

#[derive(Deserialize)]
struct Beat {
    beat: Option<String>,
}

async fn beat(Query(named): Query<Named>, Form(full): Form<Beat>) -> impl IntoResponse {
    if named.service_name.is_empty() || full.beat.is_some_and(|beat| beat.is_empty()) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    (headers(JSON), BEATEN).into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    service_name: String,
    udp_port: u16,
    #[serde(rename = "clientIP")]
    client_ip: IpAddr,
}

async fn list(State(all): State<Arc<Discovery>>, Query(wanted): Query<Wanted>) -> impl IntoResponse {
    if wanted.service_name.is_empty() {
        return StatusCode::BAD_REQUEST.into_response();
    }
    if wanted.udp_port > 0 {
        let subscriber = SocketAddr::new(wanted.client_ip, wanted.udp_port);
        all.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
    }
    (headers(JSON), given(&all.list)).into_response()
}
