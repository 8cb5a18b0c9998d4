//! The console's endpoints that belong to no domain: namespaces, the server's state, its texts, health.
//!
//! This file is the table of routes, with the rights that Nacos 2.4.3 asks for; the handlers stand beside it. Owns
//! no state: what it shows comes from [`ConsoleState`], which the server puts together.

mod namespaces;
mod server;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc};

use axum::response::Response;
use http::Method;
use nacos_core::{
    auth::{
        Access::{self, Needs, Open},
        Action::{Read, Write},
        Resource,
    },
    web::{
        Call, Fault, Routes,
        Style::{self, Result as Coded, Text},
        check,
    },
};

pub use server::ConsoleTexts;

use crate::namespace::Namespaces;

const NAMESPACES: Resource = Resource::Named("console/namespaces");

/// The modules' contributions to the server's state, in order; of a name that comes twice the last value counts.
/// `version` is there without them: it is [`NACOS_VERSION`](crate::NACOS_VERSION).
pub type StateSource = Arc<dyn Fn() -> Vec<(&'static str, Option<String>)> + Send + Sync>;

/// Says whether the server is ready for requests; if not, which modules are to blame: `config and naming`.
/// Must not block.
pub type ReadinessSource = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the console's endpoints show and change.
#[derive(Clone)]
pub struct ConsoleState {
    /// The namespaces.
    pub namespaces: Arc<Namespaces>,
    /// What `/v1/console/server/state` shows.
    pub state: StateSource,
    /// What the readiness probes ask.
    pub readiness: ReadinessSource,
    /// What `/v1/console/server/announcement` and `/guide` show.
    pub texts: Arc<ConsoleTexts>,
}

/// The routes below `/v1/console` and `/v2/console`.
pub fn routes(state: ConsoleState) -> Routes {
    const NONE: Option<(&str, &str)> = None;
    const V1: &str = "/v1/console/namespaces";
    const V2: &str = "/v2/console/namespace";

    let mut table = Table { routes: Routes::new(), state: Arc::new(state) };
    table.add(Method::GET, V1, Some(("show", "all")), Open, Text, namespaces::v1_show);
    table.add(Method::GET, V1, Some(("checkNamespaceIdExist", "true")), Open, Text, namespaces::v1_exists);
    table.add(Method::GET, V1, NONE, Open, Text, namespaces::v1_list);
    table.add(Method::POST, V1, NONE, Needs(Write, NAMESPACES), Text, namespaces::v1_create);
    table.add(Method::PUT, V1, NONE, Needs(Write, NAMESPACES), Text, namespaces::v1_update);
    table.add(Method::DELETE, V1, NONE, Needs(Write, NAMESPACES), Text, namespaces::v1_delete);

    table.add(Method::GET, "/v2/console/namespace/list", NONE, Open, Coded, namespaces::v2_list);
    table.add(Method::GET, V2, NONE, Needs(Read, NAMESPACES), Coded, namespaces::v2_show);
    table.add(Method::POST, V2, NONE, Needs(Write, NAMESPACES), Coded, namespaces::v2_create);
    table.add(Method::PUT, V2, NONE, Needs(Write, NAMESPACES), Coded, namespaces::v2_update);
    table.add(Method::DELETE, V2, NONE, Needs(Write, NAMESPACES), Coded, namespaces::v2_delete);

    table.add(Method::GET, "/v1/console/server/state", NONE, Open, Text, server::state);
    table.add(Method::GET, "/v1/console/server/announcement", NONE, Open, Text, server::announcement);
    table.add(Method::GET, "/v1/console/server/guide", NONE, Open, Text, server::guide);

    table.add(Method::GET, "/v1/console/health/liveness", NONE, Open, Text, server::v1_liveness);
    table.add(Method::GET, "/v1/console/health/readiness", NONE, Open, Text, server::v1_readiness);
    table.add(Method::GET, "/v2/console/health/liveness", NONE, Open, Coded, server::v2_liveness);
    table.add(Method::GET, "/v2/console/health/readiness", NONE, Open, Coded, server::v2_readiness);
    table.routes
}

type Answer = Result<Response, Fault>;

struct Table {
    routes: Routes,
    state: Arc<ConsoleState>,
}

impl Table {
    fn add<Fut>(
        &mut self,
        method: Method,
        path: &'static str,
        when: Option<(&'static str, &'static str)>,
        access: Access,
        style: Style,
        handler: fn(Arc<ConsoleState>, Call) -> Fut,
    ) where
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let state = self.state.clone();
        self.routes.add(method, path, when, access, style, console_check, move |call| handler(state.clone(), call));
    }
}

/// What the parameter filter looks at on every route of the console (Nacos `ConsoleDefaultHttpParamExtractor`). As
/// there, only the first value of each name: the rules of the domain hold for what the handlers read.
fn console_check(call: &Call) -> Result<(), Fault> {
    let first = |name| call.params.first(name);
    if let Some(name) = first("namespaceName") {
        check::namespace_name(&name)?;
    }
    let id = first("namespaceId").filter(|id| !id.trim().is_empty()).or_else(|| first("customNamespaceId"));
    id.map_or(Ok(()), |id| check::namespace_id(&id))
}
