//! What can be wrong with a request, and how each family of endpoints says it.
//!
//! v1 answers in plain text (`caused: …;`, Nacos `GlobalExceptionHandler` and `ConsoleExceptionHandler`), v2 and v3
//! in a `Result` (`NacosApiExceptionHandler`), filters in Spring's error JSON or a bare line.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{
    JSON, TEXT,
    answer::{self, ResultBody},
};
use crate::{
    clock,
    error::{ErrorCode, Report},
    storage::StorageError,
};

/// How a family of endpoints writes errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// v1: plain text.
    Text,
    /// v2: a `Result`.
    Result,
    /// v1 of service discovery: the bare text (Nacos' `ResponseExceptionHandler` of naming).
    Bare,
}

/// Why a request is not answered as asked.
#[derive(Debug)]
pub enum Fault {
    /// A required parameter of this name and Java type is not there.
    Missing(&'static str, &'static str),
    /// A parameter does not read as the number or word it must be; the text says which and why.
    NotReadable(String),
    /// A parameter breaks a rule of its own (Java `IllegalArgumentException`).
    Illegal(String),
    /// A rule of the domain is broken: the HTTP status and the text (Java `NacosException`).
    Refused(StatusCode, String),
    /// The same with a code of the v2 table (Java `NacosApiException`).
    Coded(StatusCode, ErrorCode, String),
    /// The parameter filter refuses: 400 and a bare line, in every family.
    Filtered(String),
    /// Refused outside any handler: Spring's error JSON with this status and text.
    Outside(StatusCode, String),
    /// A v1 envelope whose code is also the HTTP status.
    Envelope(StatusCode, String, Value),
    /// Something broke here; the text is fit for callers, the cause is logged where it happened.
    Broken(String),
}

impl Fault {
    /// A refusal with status 400.
    pub fn bad(text: impl Into<String>) -> Self {
        Fault::Refused(StatusCode::BAD_REQUEST, text.into())
    }

    /// The answer. `path` is the request's path with the context path, for Spring's error JSON.
    pub fn into_response(self, style: Style, path: &str) -> Response {
        match (self, style) {
            (Fault::Missing(name, kind), Style::Text) => caused(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("Required request parameter &#39;{name}&#39; for method parameter type {kind} is not present"),
            ),
            (Fault::Missing(name, _), Style::Bare) => {
                answer::build(StatusCode::BAD_REQUEST, TEXT, format!("Parameter '{name}' is missing").into())
            }
            (Fault::NotReadable(text) | Fault::Illegal(text), Style::Bare) => {
                answer::build(StatusCode::BAD_REQUEST, TEXT, text.into())
            }
            (Fault::Refused(status, text) | Fault::Coded(status, _, text), Style::Bare) => {
                answer::build(status, TEXT, text.into())
            }
            (Fault::Broken(text), Style::Bare) => caused(StatusCode::INTERNAL_SERVER_ERROR, &text),
            (Fault::Missing(name, kind), Style::Result) => coded(
                StatusCode::BAD_REQUEST,
                ErrorCode::ParameterMissing,
                &format!("Required parameter '{name}' type {kind} is not present"),
            ),
            (Fault::NotReadable(text), Style::Text) => caused(StatusCode::BAD_REQUEST, &text),
            (Fault::NotReadable(text) | Fault::Broken(text), Style::Result) => answer::encode(
                StatusCode::INTERNAL_SERVER_ERROR,
                &ResultBody { code: ErrorCode::ServerError.code(), message: Some(&text), data: () },
            ),
            (Fault::Illegal(text), Style::Text) => caused(StatusCode::BAD_REQUEST, &text),
            (Fault::Illegal(text), Style::Result) => {
                coded(StatusCode::BAD_REQUEST, ErrorCode::ParameterValidateError, &text)
            }
            (Fault::Refused(status, text) | Fault::Coded(status, _, text), Style::Text) => caused(status, &text),
            (Fault::Refused(status, text), Style::Result) => coded(status, ErrorCode::ParameterValidateError, &text),
            (Fault::Coded(status, code, text), Style::Result) => coded(status, code, &text),
            (Fault::Broken(text), Style::Text) => caused(StatusCode::INTERNAL_SERVER_ERROR, &text),
            (Fault::Filtered(text), _) => {
                let mut response = Response::new(Body::from(text + "\r\n"));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                // `/v1/cs` is JSON by a filter even where the body is none; the others say what it is.
                let kind = if path.contains("/v1/cs") { JSON } else { TEXT };
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                response
            }
            (Fault::Outside(status, text), _) => answer::encode(
                status,
                &json!({
                    "timestamp": clock::iso_time(clock::wall_ms()),
                    "status": status.as_u16(),
                    "error": status.canonical_reason().unwrap_or_default(),
                    "message": text,
                    "path": path,
                }),
            ),
            (Fault::Envelope(status, text, data), _) => {
                answer::encode(status, &ResultBody { code: i32::from(status.as_u16()), message: Some(&text), data })
            }
        }
    }
}

fn caused(status: StatusCode, text: &str) -> Response {
    answer::build(status, TEXT, format!("caused: {text};").into())
}

fn coded(status: StatusCode, code: ErrorCode, text: &str) -> Response {
    answer::encode(status, &ResultBody { code: code.code(), message: Some(code.text()), data: text })
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        // Callers are told what they can act on; how the database words it stays in the log.
        let (status, text) = match &error {
            StorageError::Unconfirmed(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "The write was not confirmed in time; it may have happened. Read before trying again",
            ),
            StorageError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Too many requests wait for the database"),
            StorageError::Full => (StatusCode::INTERNAL_SERVER_ERROR, "No space left for the database"),
            StorageError::Unavailable(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "The database is not available at this time")
            }
            StorageError::Corrupt(_) => (StatusCode::INTERNAL_SERVER_ERROR, "The database is damaged"),
            StorageError::DemandUnmet(_) | StorageError::Conflict | StorageError::Refused(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "The database refused the request")
            }
        };
        // A refused statement may be long, and its text a caller's.
        let report: String = Report(&error).to_string().chars().take(500).collect();
        tracing::warn!(error = report, "storage failed a request");
        let code = match &error {
            StorageError::Unconfirmed(_) => ErrorCode::ServerError,
            _ => ErrorCode::DataAccessError,
        };
        Fault::Coded(status, code, text.to_owned())
    }
}
