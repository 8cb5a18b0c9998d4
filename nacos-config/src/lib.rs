//! Configuration management: publish, query, and be told of changes.
//!
//! [`ConfigModule`] puts it together over any storage; `http` has the endpoints. The way of a write is
//! `publish` → `repository` → `dump` → `cache` and `watch`; the way of a query ends at the cache. No consensus
//! crate and no naming is known here.

pub mod cache;
pub mod capacity;
pub mod disk;
pub mod dump;
pub mod http;
pub mod model;
pub mod publish;
pub mod query;
pub mod repository;
pub mod switches;
pub mod trace;
pub mod transfer;
pub mod validate;
pub mod watch;

mod module;

pub use module::{ConfigModule, ConfigOptions, StartError};
