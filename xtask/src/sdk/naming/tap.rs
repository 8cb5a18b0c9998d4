//! An address of ours in front of the server that knows when a heartbeat went through.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, Result};

use super::super::gateway::forward;

/// The way of one client to the server.
pub struct Tap {
    /// Where the client is to send to.
    pub address: SocketAddr,
    last_beat: Arc<Mutex<Option<Instant>>>,
}

impl Tap {
    /// Listens until this process ends.
    ///
    /// # Errors
    /// There is no port, or `server` is no address.
    pub fn open(server: &str) -> Result<Self> {
        let server: SocketAddr = server.parse().with_context(|| format!("{server} is no address"))?;
        let last_beat = Arc::new(Mutex::new(None));
        let noted = last_beat.clone();
        let address = forward(
            move |_| server,
            move |head| {
                if head.method == "PUT" && head.path.ends_with("/ns/instance/beat") {
                    *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                }
            },
        )?;
        Ok(Self { address, last_beat })
    }

    /// When the last heartbeat was answered.
    pub fn last_beat(&self) -> Option<Instant> {
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
