//! The shapes of Nacos' answers: bare text or JSON, the v1 `RestResult`, the v2 `Result`, a page of a list.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{JSON, TEXT};
use crate::error::ErrorCode;

/// A text answer with status 200.
pub fn text(body: impl Into<Body>) -> Response {
    build(StatusCode::OK, TEXT, body.into())
}

/// A bare JSON answer with status 200.
pub fn json(value: &impl Serialize) -> Response {
    encode(StatusCode::OK, value)
}

/// A JSON answer that is finished already, with status 200.
pub fn json_bytes(body: impl Into<Body>) -> Response {
    build(StatusCode::OK, JSON, body.into())
}

/// The v1 envelope `{"code":…,"message":…,"data":…}` with HTTP status 200, whatever the code.
pub fn rest_result(code: i32, message: Option<&str>, data: impl Serialize) -> Response {
    encode(StatusCode::OK, &ResultBody { code, message, data })
}

/// The v2 envelope of a success.
pub fn result(data: impl Serialize) -> Response {
    encode(
        StatusCode::OK,
        &ResultBody { code: ErrorCode::Success.code(), message: Some(ErrorCode::Success.text()), data },
    )
}

/// The envelope that v1 (`RestResult`, 200 is good) and v2 (`Result`, 0 is good) share; absent members are null.
#[derive(Debug, Serialize)]
pub struct ResultBody<'a, T> {
    /// The code.
    pub code: i32,
    /// The text that belongs to the code.
    pub message: Option<&'a str>,
    /// What was asked for, or what is wrong.
    pub data: T,
}

/// A page of a list (Nacos `Page`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// How many items there are on all pages.
    pub total_count: i64,
    /// Which page this is, from 1.
    pub page_number: i64,
    /// How many pages there are.
    pub pages_available: i64,
    /// The items of this page.
    pub page_items: Vec<T>,
}

impl<T> Page<T> {
    /// A page of `size` items (at least 1) out of `total`.
    pub fn new(total: i64, number: i64, size: i64, items: Vec<T>) -> Self {
        let size = size.max(1);
        Self { total_count: total, page_number: number, pages_available: (total + size - 1) / size, page_items: items }
    }
}

pub(super) fn encode(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => build(status, JSON, body.into()),
        // Our own types: only a map with keys that are no texts could fail here.
        Err(error) => {
            tracing::error!(%error, "answer not encoded");
            build(StatusCode::INTERNAL_SERVER_ERROR, TEXT, Body::empty())
        }
    }
}

pub(super) fn build(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
