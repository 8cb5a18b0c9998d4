//! What the tests of whole servers share: a server in this process, a server as a process, and an HTTP client that
//! can also send what no client would.
//!
//! Each test has a folder of its own and port 0, so all of them run at once.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on fails")]

pub mod config;
pub mod http;
pub mod panics;
pub mod postgres;
pub mod process;
pub mod server;

use std::time::Duration;

use tokio::time::Instant;

pub use self::{
    http::{Answer, Client, Request, encode},
    server::Server,
};

/// Nothing that a test waits for takes this long, even on a busy machine.
pub const LONG: Duration = Duration::from_secs(30);

/// Looks again and again until there is what is wanted.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < LONG, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Says that a test, or a part of one, was left out, and why.
pub fn left_out(what: &str, why: &str) {
    eprintln!("LEFT OUT: {what}: {why}");
}
