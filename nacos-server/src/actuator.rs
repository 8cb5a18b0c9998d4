//! `/actuator`: what probes and Prometheus read.

use axum::response::Response;
use http::{HeaderValue, Method, StatusCode, header};
use nacos_core::{
    auth::Access,
    metrics::Metrics,
    web::{Call, Routes, Style, check, text},
};

use crate::console::ReadinessSource;

/// The routes.
pub(crate) fn routes(metrics: Metrics, readiness: ReadinessSource) -> Routes {
    let mut routes = Routes::new();
    routes.add(Method::GET, "/actuator/prometheus", None, Access::Open, Style::Text, check::none, move |_: Call| {
        let metrics = metrics.clone();
        async move {
            let mut response = text(metrics.render());
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
            Ok(response)
        }
    });
    routes.add(Method::GET, "/actuator/health", None, Access::Open, Style::Text, check::none, move |_: Call| {
        let up = readiness().is_ok();
        async move { Ok(health(up)) }
    });
    routes
}

/// As Spring Boot answers.
fn health(up: bool) -> Response {
    let mut response = text(if up { r#"{"status":"UP"}"# } else { r#"{"status":"OUT_OF_SERVICE"}"# });
    if !up {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.spring-boot.actuator.v3+json"));
    response
}
