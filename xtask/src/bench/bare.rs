//! The bare axum server: what the same paths cost when nothing stands behind them.
//!
//! Written the plain way, with `Router`, extractors and `axum::serve`. It reads one configuration from memory with
//! the headers of a Nacos answer, takes a publish without storing it, and holds a long poll until its time is over
//! or a publish wakes it. Run as a process of its own: `cargo xtask bench bare --port N`.

pub mod naming;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Form, Router,
    extract::{FromRequestParts, State},
    http::{
        HeaderName, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, LAST_MODIFIED, PRAGMA},
        request::Parts,
    },
    response::IntoResponse,
    routing::{get, post},
};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::Notify};

use super::wire;

/// What every read is answered with: 1 KiB.
pub const CONTENT: &[u8; 1024] = &[b'x'; 1024];

/// Serves on this port of loopback until killed.
#[tokio::main]
pub async fn serve(port: u16) -> Result<()> {
    let router = Router::new()
        .route(wire::CONFIGS, get(read).post(publish))
        .route(wire::LISTENER, post(hold))
        .with_state(Arc::new(Notify::new()))
        .merge(naming::routes().await?);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.context("bind")?;
    axum::serve(listener, router).await.context("serve")
}

async fn read() -> impl IntoResponse {
    let headers = [
        (HeaderName::from_static("config-type"), "text"),
        (HeaderName::from_static("content-md5"), "e5b844cc57f57094ea4585e235f36c78"),
        (PRAGMA, "no-cache"),
        (EXPIRES, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (CACHE_CONTROL, "no-cache,no-store"),
        (LAST_MODIFIED, "Sat, 21 Nov 2026 07:34:28 GMT"),
        (CONTENT_TYPE, "text/plain;charset=UTF-8"),
    ];
    (headers, &CONTENT[..])
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Publish {
    data_id: String,
    group: String,
    content: String,
}

async fn publish(State(changes): State<Arc<Notify>>, Form(publish): Form<Publish>) -> &'static str {
    if publish.data_id.is_empty() || publish.group.is_empty() || publish.content.is_empty() {
        return "false";
    }
    changes.notify_waiters();
    "true"
}

#[derive(Deserialize)]
struct Listening {
    #[serde(rename = "Listening-Configs")]
    configs: String,
}

/// How long the client is willing to wait, from its header. An extractor of its own, so that no copy of all headers
/// is kept while the request is held.
struct Timeout(Duration);

impl<S: Sync> FromRequestParts<S> for Timeout {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let value = parts.headers.get("long-pulling-timeout").and_then(|value| value.to_str().ok()?.parse().ok());
        value.map(|millis| Self(Duration::from_millis(millis))).ok_or(StatusCode::BAD_REQUEST)
    }
}

async fn hold(
    State(changes): State<Arc<Notify>>,
    Timeout(timeout): Timeout,
    Form(listening): Form<Listening>,
) -> String {
    match tokio::time::timeout(timeout, changes.notified()).await {
        Ok(()) => listening.configs,
        Err(_) => String::new(),
    }
}
