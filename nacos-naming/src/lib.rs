//! Service discovery: who offers which service where, who wants to know, and who is told.
//!
//! Knows nothing of consensus protocols: what must not be lost goes through `nacos_core::consistency::CpProtocol`.
//! `docs/architecture.md` is the map.

mod changes;
pub mod error;
pub mod health;
pub mod http;
pub mod instances;
pub mod metadata;
pub mod model;
mod module;
pub mod persistent;
pub mod push;
pub mod registry;
pub mod selector;
pub mod services;
pub mod switches;
#[cfg(test)]
mod testing;
mod view;

pub use module::{NamingModule, NamingOptions, StartError};
