//! The table of routes, and the dispatcher that finds the one route of a request, asks for its permission, checks
//! its parameters, runs it, and writes its faults.
//!
//! Deny by default: a route cannot be written down without its [`Access`], and authorisation sees the matched
//! route, after the one normalisation of the path that there is (a single trailing slash is cut off).

use std::{
    collections::HashMap, future::Future, net::SocketAddr, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration,
};

use axum::{body::Body, extract::ConnectInfo, response::Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use prometheus::{Histogram, IntCounter};
use tokio::time::Instant;

use super::{BodyLimits, Call, Fault, JSON, Style, TEXT, answer, call::swallow, check::Check};
use crate::{
    auth::{Access, AuthPlugin},
    metrics::Metrics,
};

type Answer = Pin<Box<dyn Future<Output = Result<Response, Fault>> + Send>>;
type Handler = Arc<dyn Fn(Call) -> Answer + Send + Sync>;

/// One route: what it matches, what it needs, what it does.
#[derive(Clone)]
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path below the context path, without a trailing slash: `/v1/cs/configs`. A segment in braces,
    /// `/v2/ns/instance/statuses/{key}`, stands for any one segment, which [`Call::path_value`] gives by that name.
    pub path: &'static str,
    /// A parameter that must have this value for the route to match, as Spring's `params = "show=all"`.
    pub when: Option<(&'static str, &'static str)>,
    /// What the caller needs.
    pub access: Access,
    /// How faults are written.
    pub style: Style,
    /// The parameter filter.
    pub check: Check,
    handler: Handler,
}

/// Gives the answer to a request that goes no further.
pub type Gate = Arc<dyn Fn(&Parts) -> Option<Response> + Send + Sync>;

/// A part of the paths with rules of its own, as Nacos has servlet filters for them.
#[derive(Clone)]
pub struct Area {
    /// How its paths begin, below the context path: `/v1/ns/`.
    pub prefix: &'static str,
    /// Sees every request of the area before its route is looked for; what it gives is the answer.
    pub gate: Gate,
    /// What to say of a path that no route has, or none for this method; the method and the whole path are given.
    pub unknown: fn(&Method, &str) -> Fault,
}

/// Routes under construction; the modules' tables are joined into one.
#[derive(Clone, Default)]
pub struct Routes {
    routes: Vec<Route>,
    areas: Vec<Area>,
}

impl Routes {
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route.
    #[expect(clippy::too_many_arguments, reason = "a line of a table: each column is told apart by its type")]
    pub fn add<F, Fut>(
        &mut self,
        method: Method,
        path: &'static str,
        when: Option<(&'static str, &'static str)>,
        access: Access,
        style: Style,
        check: Check,
        handler: F,
    ) where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Fault>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call| Box::pin(handler(call)));
        self.routes.push(Route { method, path, when, access, style, check, handler });
    }

    /// Adds another table's routes.
    pub fn merge(&mut self, other: Routes) {
        self.routes.extend(other.routes);
        self.areas.extend(other.areas);
    }

    /// Adds rules for a part of the paths.
    pub fn area(&mut self, area: Area) {
        self.areas.push(area);
    }

    /// All routes, for those who check that each is what it should be.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

/// What a [`Dispatcher`] needs to know.
pub struct DispatcherOptions {
    /// The context path, without a trailing slash; empty for none.
    pub context_path: String,
    /// Limits on bodies.
    pub bodies: BodyLimits,
    /// Whether the parameter filter acts (`nacos.core.param.check.enabled`).
    pub check_params: bool,
    /// Who decides about permissions; `None` while auth is off.
    pub auth: Option<Arc<dyn AuthPlugin>>,
    /// Where requests are counted.
    pub metrics: Metrics,
}

/// Serves the routes. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

struct Inner {
    options: DispatcherOptions,
    /// By path; the few routes of one path are searched in order, those with a condition first.
    paths: HashMap<&'static str, Vec<Entry>>,
    /// Paths with segments in braces; few, and looked at when no other fits.
    patterns: Vec<&'static str>,
    areas: Vec<Area>,
    panics: IntCounter,
}

struct Entry {
    route: Route,
    good: Histogram,
    bad: Histogram,
}

impl Dispatcher {
    /// A dispatcher over these routes.
    pub fn new(routes: Routes, options: DispatcherOptions) -> Self {
        let mut paths: HashMap<&'static str, Vec<Entry>> = HashMap::new();
        for route in routes.routes {
            let timer = |status| options.metrics.requests(route.method.as_str(), status, route.path);
            let entry = Entry { good: timer("200"), bad: timer("error"), route };
            let entries = paths.entry(entry.route.path).or_default();
            let at = if entry.route.when.is_some() {
                entries.iter().position(|other| other.route.when.is_none()).unwrap_or(entries.len())
            } else {
                entries.len()
            };
            entries.insert(at, entry);
        }
        let panics = options.metrics.exceptions("core", "handlerPanic");
        let patterns = paths.keys().copied().filter(|path| path.contains('{')).collect();
        Self { inner: Arc::new(Inner { options, paths, patterns, areas: routes.areas, panics }) }
    }

    /// Answers one request of an axum server that knows its connections ([`ConnectInfo`]).
    pub async fn dispatch(self, request: Request<Body>) -> Response {
        let peer = request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |info| info.0);
        self.dispatch_from(request, peer).await
    }

    /// Answers one request from this socket. Never fails: what goes wrong is an answer too.
    pub async fn dispatch_from(self, request: Request<Body>, peer: SocketAddr) -> Response {
        let (parts, body) = request.into_parts();
        let origin = parts.headers.get(header::ORIGIN).cloned();
        let started = Instant::now();
        let inner = self.inner;
        let area = inner.area(parts.uri.path());
        if let Some(response) = area.and_then(|area| (area.gate)(&parts)) {
            Box::pin(swallow(body)).await;
            return finish(response, origin);
        }
        let Some((path, entries)) = inner.find(parts.uri.path()) else {
            let full = parts.uri.path().to_owned();
            let fault = match area {
                Some(area) => (area.unknown)(&parts.method, &full),
                None => Fault::Outside(StatusCode::NOT_FOUND, "No message available".to_owned()),
            };
            Box::pin(swallow(body)).await;
            return finish(fault.into_response(Style::Text, &full), origin);
        };
        let values = if path.contains('{') { inner.path_values(path, parts.uri.path()) } else { Vec::new() };
        if parts.method == Method::OPTIONS {
            Box::pin(swallow(body)).await;
            return finish(options_answer(path, entries, &parts.headers), origin);
        }
        // Made only for what goes wrong.
        let full_path = || format!("{}{path}", inner.options.context_path);
        // Boxed, so that a request that is held does not hold the room that reading it took.
        let mut call = match Call::without_body(parts, path, peer) {
            Ok(call) => call,
            Err(parts) => match Box::pin(Call::read(*parts, body, path, peer, &inner.options.bodies)).await {
                Ok(call) => call,
                Err(fault) => return finish(fault.into_response(style_of(path), &full_path()), origin),
            },
        };
        call.path_values = values;
        let found = entries.iter().find(|entry| {
            entry.route.method == call.method
                && entry.route.when.is_none_or(|(name, value)| call.params.values(name).any(|v| v == value))
        });
        let Some(entry) = found else {
            let response = match area {
                Some(area) => (area.unknown)(&call.method, &full_path()).into_response(style_of(path), &full_path()),
                None => not_supported(&call.method, path, entries),
            };
            return finish(response, origin);
        };
        let style = entry.route.style;
        let answer = match inner.admit(entry, &call).await {
            // A panic must not happen on input; if it does, the caller gets 500 and the server lives.
            Ok(()) => match AssertUnwindSafe((entry.route.handler)(call)).catch_unwind().await {
                Ok(answer) => answer,
                Err(_) => {
                    inner.panics.inc();
                    tracing::error!(path = entry.route.path, "handler panicked");
                    Err(Fault::Broken("Server failed".to_owned()))
                }
            },
            Err(fault) => Err(fault),
        };
        let response = match answer {
            Ok(response) => response,
            Err(fault) => fault.into_response(style, &full_path()),
        };
        let timer = if response.status().is_success() { &entry.good } else { &entry.bad };
        timer.observe(started.elapsed().as_secs_f64());
        finish(response, origin)
    }
}

impl Inner {
    /// The path below the context path and its routes.
    fn find(&self, full: &str) -> Option<(&'static str, &[Entry])> {
        let path = self.below(full)?;
        let (path, entries) = self.paths.get_key_value(path).or_else(|| {
            let pattern = self.patterns.iter().find(|pattern| matches(pattern, path))?;
            self.paths.get_key_value(pattern)
        })?;
        Some((path, entries))
    }

    fn below<'a>(&self, full: &'a str) -> Option<&'a str> {
        let path = full.strip_prefix(self.options.context_path.as_str())?;
        Some(path.strip_suffix('/').filter(|cut| !cut.is_empty()).unwrap_or(path))
    }

    fn area(&self, full: &str) -> Option<&Area> {
        if self.areas.is_empty() {
            return None;
        }
        let path = full.strip_prefix(self.options.context_path.as_str())?;
        self.areas.iter().find(|area| path.starts_with(area.prefix))
    }

    /// The values of a pattern's segments in braces.
    fn path_values(&self, pattern: &'static str, full: &str) -> Vec<(&'static str, String)> {
        let path = self.below(full).unwrap_or_default();
        let pairs = pattern.split('/').zip(path.split('/'));
        pairs.filter_map(|(name, value)| Some((variable(name)?, percent_decoded(value)))).collect()
    }

    async fn admit(&self, entry: &Entry, call: &Call) -> Result<(), Fault> {
        if let (Some(auth), Access::Needs(action, resource)) = (&self.options.auth, entry.route.access)
            && let Err(denied) = auth.authorise(call, action, resource).await
        {
            return Err(Fault::Outside(StatusCode::FORBIDDEN, denied.0));
        }
        if self.options.check_params {
            (entry.route.check)(call)?;
        }
        Ok(())
    }
}

/// The name in a segment in braces.
fn variable(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn matches(pattern: &'static str, path: &str) -> bool {
    let mut wanted = pattern.split('/');
    let mut given = path.split('/');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) => match variable(wanted) {
                Some(_) if !given.is_empty() => {}
                None if wanted == given => {}
                _ => return false,
            },
            _ => return false,
        }
    }
}

fn percent_decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn style_of(path: &str) -> Style {
    if path.contains("/v1/") { Style::Text } else { Style::Result }
}

/// The path is known, the method or the distinguishing parameter is not.
fn not_supported(method: &Method, path: &str, entries: &[Entry]) -> Response {
    if let Some((name, value)) = entries.iter().filter(|e| e.route.method == *method).find_map(|e| e.route.when) {
        let text =
            format!("caused: Parameter conditions &quot;{name}={value}&quot; not met for actual request parameters: ;");
        return answer::build(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text.into());
    }
    let text = format!("caused: Request method &#39;{method}&#39; not supported;");
    if path.contains("/v2") {
        let body = answer::ResultBody { code: 500, message: Some(&text), data: () };
        return answer::encode(StatusCode::INTERNAL_SERVER_ERROR, &body);
    }
    answer::build(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text.into())
}

fn options_answer(path: &str, entries: &[Entry], headers: &HeaderMap) -> Response {
    let mut methods: Vec<&str> = entries.iter().map(|entry| entry.route.method.as_str()).collect();
    methods.sort_unstable();
    methods.dedup();
    let kind = if path.starts_with("/v1/cs") { JSON } else { TEXT };
    let mut response = answer::build(StatusCode::OK, kind, Body::empty());
    let out = response.headers_mut();
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            out.insert(name, value);
        }
    };
    if headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).and_then(|v| v.to_str().ok());
        set(header::ACCESS_CONTROL_ALLOW_METHODS, wanted.unwrap_or_default());
        if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|v| v.to_str().ok()) {
            set(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
        }
        set(header::ACCESS_CONTROL_MAX_AGE, "18000");
    }
    set(header::ALLOW, &methods.join(","));
    response
}

/// What every answer bears (Nacos 2.4's console security settings and CORS filter).
fn finish(mut response: Response, origin: Option<HeaderValue>) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("script-src 'self'"));
    headers.insert(
        header::VARY,
        HeaderValue::from_static("Origin,Access-Control-Request-Method,Access-Control-Request-Headers"),
    );
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    response
}

impl BodyLimits {
    /// Limits wide enough for tests and small tools: 128 MiB a body, 512 MiB together, 30 s to read.
    pub fn generous() -> Self {
        Self::new(128 << 20, 512 << 20, Duration::from_secs(30))
    }
}
