#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
//! What nobody should send, to every endpoint: an answer always comes, it is never a fault of this server, and what
//! is answered with an error has changed nothing.

#[path = "../support/mod.rs"]
mod support;

mod allowed;
mod good;
mod junk;
mod requests;
mod sizes;
mod sockets;
mod world;
