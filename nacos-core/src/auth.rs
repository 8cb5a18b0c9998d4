//! Who may do what: the traits that an auth plug-in implements, and the words in which routes say what they need.
//!
//! Traits and words only; the default plug-in is the server's. Every route declares an [`Access`]: one that
//! does not cannot be written down.

use async_trait::async_trait;

use crate::web::Call;

/// Reading or writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `r`.
    Read,
    /// `w`.
    Write,
}

/// What an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// The configuration that the request's parameters name: `namespace:group:config/dataId`.
    Config,
    /// The service that the request's parameters name: `namespace:group:naming/serviceName`.
    Naming,
    /// A resource of this literal name, matched as it stands: `nacos/admin`, `/v1/cs/ops`.
    Named(&'static str),
}

/// What a route needs of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: open even when auth is on. Nacos leaves health checks and the server's state open.
    Open,
    /// The right to do this.
    Needs(Action, Resource),
}

/// Why a caller was turned away; the text is Nacos'.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// Decides about every request whose route is not [`Access::Open`].
#[async_trait]
pub trait AuthPlugin: Send + Sync + 'static {
    /// Lets the call pass, or says why not. Called on the matched route, before any parameter is checked.
    async fn authorise(&self, call: &Call, action: Action, resource: Resource) -> Result<(), Denied>;
}
