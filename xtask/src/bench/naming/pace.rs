//! Heartbeats at a fixed pace, from a thread of its own that does little else: it shares the cores with the server.
//!
//! Each heartbeat has its time, evenly spread, and is sent over the connection whose turn it is. The answer to the one
//! before is read only then, when it has long been there: two system calls a heartbeat, and hardly ever a wait. No
//! connection has more than one request under way, as with real clients.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Result, anyhow, ensure};
use tokio::time::Instant;

use super::requests::{BEATEN, Size};
use crate::bench::{loops::CONNECTIONS, wire::Blocking};

/// From one heartbeat of an instance to its next.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Longer than an instance may be silent: whoever waits so long has lost anyway.
const PATIENCE: Duration = Duration::from_secs(20);

/// Coprime to numbers of instances: each comes once in an interval, and none beside those of its own service.
const STEP: u64 = 7919;

/// The thread at work.
pub struct Pace {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<Result<Vec<u32>>>,
}

impl Pace {
    /// Begins to send the heartbeats of the instances below `count`.
    pub fn start(to: SocketAddr, size: Size, count: u32) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            std::thread::spawn(move || beat(to, size, count, &stop, &sent))
        };
        Self { stop, sent, thread }
    }

    /// How many it has sent; an error if it came to an end.
    pub fn sent(&self) -> Result<usize> {
        ensure!(!self.thread.is_finished(), "the heartbeats ended");
        Ok(self.sent.load(Ordering::Relaxed))
    }

    /// Stops, and gives for each heartbeat how late it was sent, in microseconds.
    pub fn stop(self) -> Result<Vec<u32>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the heartbeats' thread panicked"))?
    }
}

fn beat(to: SocketAddr, size: Size, count: u32, stop: &AtomicBool, sent: &AtomicUsize) -> Result<Vec<u32>> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Blocking::open(to, PATIENCE)?);
    }
    let mut late = Vec::new();
    let begun = Instant::now();
    for nth in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = begun + Duration::from_nanos(nth * INTERVAL.as_nanos() as u64 / u64::from(count));
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
        let number = (nth * STEP % u64::from(count)) as u32;
        let request = size.light_beat(number);
        let connection = &mut connections[nth as usize % CONNECTIONS];
        if nth as usize >= CONNECTIONS {
            check(connection)?;
        }
        connection.send(&request)?;
        late.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
        sent.store(late.len(), Ordering::Relaxed);
    }
    let waiting = late.len().min(CONNECTIONS);
    connections.iter_mut().take(waiting).try_for_each(check)?;
    Ok(late)
}

fn check(connection: &mut Blocking) -> Result<()> {
    let answer = connection.answer()?;
    ensure!(answer.is(BEATEN.as_bytes()), "a heartbeat was answered with {}", answer.summary());
    Ok(())
}
