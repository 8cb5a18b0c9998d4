#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
//! Service discovery by whole servers: what survives, what clients are told, what probes find, what is refused, and
//! that nothing anybody sends breaks it.
//!
//! All instances are at addresses of loopback.

#[path = "../support/mod.rs"]
mod support;

mod allowed;
mod calls;
mod disk;
mod durable;
mod ephemeral;
mod good;
mod junk;
mod modes;
mod probes;
mod pushes;
mod requests;
mod together;
mod world;
