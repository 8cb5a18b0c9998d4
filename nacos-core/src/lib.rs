//! The words and seams that all crates of the server share: keys, errors, settings, events, storage, the web
//! layer.
//!
//! Nothing here knows a protocol's behaviour. `docs/architecture.md` is the map.

pub mod auth;
pub mod clock;
pub mod consistency;
pub mod error;
pub mod event;
pub mod id;
pub mod key;
pub mod metrics;
pub mod namespace;
pub mod settings;
pub mod storage;
pub mod web;
