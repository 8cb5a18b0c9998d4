//! Telling 1.x clients over UDP what changed: the transport, without who is told what.
//!
//! One socket; a client is sent a datagram at the port that it named, and answers to the port from which it came. A
//! datagram without an answer is sent once more after ten seconds, and has failed after twenty (Nacos 2.4
//! `UdpPushService`, `UdpConnector`; the format is 1.4's). [`Packet`] is the datagram, [`PushStats`] what
//! `GET /v1/ns/operator/push/state` and the metrics tell of all pushes.
//!
//! [`UdpPusher::push`] sends at once, from whatever thread, and never waits. What waits for an answer stands in one
//! queue, in the order of time; one task receives answers, sends again, and sends what the socket had no room for.
//! The lock is held for table work and for sends that cannot block.
//!
//! What differs from Nacos:
//!
//! * A datagram that a newer one of the same service overtook is not sent again: a 1.x client takes what comes last
//!   for the truth, however old it is.
//! * The number that an answer repeats counts up from the time in microseconds, which clients that keep numbers as
//!   floats can repeat exactly.
//! * An error on sending is a lost datagram, and gets its second chance ten seconds later. Nacos pushes again every
//!   second. What is too long for a datagram has failed at once and for good; Nacos tries it for ever.
//! * Nothing is sent to addresses that are never dialled either ([`forbidden`]): it is the client that names its
//!   address.
//!
//! Datagrams of the type `dump`, which make a 1.x client send back all that it knows, are not built: no version of
//! the server ever sent one, and nothing reads the answer.

mod ack;
mod packet;
mod pending;
mod stats;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hashbrown::HashSet;
use nacos_core::{clock, metrics::Metrics};
use parking_lot::Mutex;
use prometheus::{IntCounterVec, Opts};
use socket2::{Domain, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, warn};

use self::{
    packet::Topic,
    pending::{Key, Overdue, Pending},
};
pub use self::{
    packet::{List, PAYLOAD_MAX, Packet},
    stats::{PushDetail, PushState, PushStats},
};
use crate::health::probe::forbidden;

/// So many services are remembered as having been complained about.
const TOLD_MAX: usize = 1000;
/// So many datagrams are received, sent or looked at in one go.
const BATCH: usize = 256;
/// So many bytes of answers may wait to be read, if the system allows it.
const RECEIVED_BYTES: usize = 4 * 1024 * 1024;

/// How pushes are made.
#[derive(Debug, Clone)]
pub struct UdpSettings {
    /// For how long an answer is waited for: before sending again, and again before giving up.
    pub ack_timeout: Duration,
    /// So many datagrams wait for answers at most, at least 1. Beyond that the one that waits longest is given up.
    pub waiting_max: usize,
}

impl Default for UdpSettings {
    /// Nacos' ten seconds, and 50,000 datagrams.
    fn default() -> Self {
        Self { ack_timeout: Duration::from_secs(10), waiting_max: 50_000 }
    }
}

/// Sends to 1.x clients. Sending ends when this is dropped.
#[derive(Debug)]
pub struct UdpPusher {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl UdpPusher {
    /// Opens a socket at `bind`, whose port is 0 for any free one, and begins. `[::]` reaches IPv4 clients too. Adds
    /// its metrics.
    ///
    /// Call it within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn start(
        bind: SocketAddr,
        settings: UdpSettings,
        stats: Arc<PushStats>,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let socket = open(bind)?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared {
            socket: UdpSocket::from_std(socket)?,
            address,
            pending: Mutex::new(Pending::new(settings.ack_timeout, settings.waiting_max.max(1))),
            changed: Notify::new(),
            number: AtomicU64::new(u64::try_from(clock::wall_ms()).unwrap_or_default() * 1000),
            stats,
            counts: Counts::new(metrics),
            told: Mutex::default(),
        });
        let gauge = metrics.monitor("naming", "udpPushWaiting");
        let weak = Arc::downgrade(&shared);
        metrics.before_render(move || {
            gauge.set(weak.upgrade().map_or(0, |shared| shared.pending.lock().len() as i64));
        });
        Ok(Self { task: tokio::spawn(shared.clone().run()), shared })
    }

    /// The address that datagrams come from.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.address
    }

    /// Makes the datagram of one change: encoded and compressed once, for all clients that see the same list.
    pub fn packet(&self, list: &List<'_>) -> Arc<Packet> {
        Arc::new(Packet::new(self.shared.number.fetch_add(1, Ordering::Relaxed), list))
    }

    /// Sends a datagram to a client's port. Whether it arrived ends up in the [`PushStats`].
    pub fn push(&self, target: SocketAddr, packet: Arc<Packet>) {
        self.shared.push(target, packet);
    }

    /// How many datagrams wait for an answer, or for room to be sent.
    pub fn waiting(&self) -> usize {
        self.shared.pending.lock().len()
    }
}

impl Drop for UdpPusher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    address: SocketAddr,
    pending: Mutex<Pending>,
    /// The task has to look again: something is due sooner than it knew, or waits for room.
    changed: Notify,
    number: AtomicU64,
    stats: Arc<PushStats>,
    counts: Counts,
    /// Services whose lists were too long; each is logged once.
    told: Mutex<HashSet<Topic>>,
}

impl Shared {
    fn push(&self, target: SocketAddr, packet: Arc<Packet>) {
        let target = canonical(target);
        if packet.payload().len() > PAYLOAD_MAX {
            self.refuse("too_long");
            self.tell_too_long(&packet);
            return;
        }
        if target.port() == 0 || forbidden(target.ip()).is_some() {
            self.refuse("forbidden");
            debug!(%target, service = %packet.service(), "not an address to push to");
            return;
        }
        let key = Key { target, number: packet.number() };
        let mut pending = self.pending.lock();
        let was_empty = pending.len() == 0;
        let Some(given_up) = pending.insert(key, packet.clone(), Instant::now()) else { return };
        let unsent = pending.has_unsent() || !self.send(&key, &packet);
        if unsent {
            pending.wait_for_room(key);
        }
        drop(pending);
        for (key, packet) in given_up {
            self.counts.dropped.with_label_values(&["full"]).inc();
            self.failed(&key, &packet, "too many wait for answers");
        }
        if unsent || was_empty {
            self.changed.notify_one();
        }
    }

    fn refuse(&self, reason: &str) {
        self.counts.dropped.with_label_values(&[reason]).inc();
        self.stats.failed();
    }

    fn tell_too_long(&self, packet: &Packet) {
        let mut told = self.told.lock();
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        if told.insert(packet.topic().clone()) {
            let length = packet.payload().len();
            drop(told);
            warn!(service = %packet.service(), length, longest = PAYLOAD_MAX, "list too long for UDP, clients must poll");
        }
    }

    /// Hands a datagram to the system; `false` if there is no room for it now.
    fn send(&self, key: &Key, packet: &Packet) -> bool {
        match self.socket.try_send_to(packet.payload(), self.reachable(key.target)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                self.counts.send_errors.with_label_values::<&str>(&[]).inc();
                debug!(target = %key.target, service = %packet.service(), %error, "datagram not sent");
                true
            }
            Ok(_) => true,
        }
    }

    /// A client's address in the form that the socket takes.
    fn reachable(&self, target: SocketAddr) -> SocketAddr {
        match target.ip() {
            IpAddr::V4(ip) if self.address.is_ipv6() => SocketAddr::new(ip.to_ipv6_mapped().into(), target.port()),
            _ => target,
        }
    }

    fn failed(&self, key: &Key, packet: &Packet, reason: &'static str) {
        self.stats.failed();
        debug!(target = %key.target, service = %packet.service(), reason, "push failed");
    }

    async fn run(self: Arc<Self>) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let (due, unsent) = {
                let pending = self.pending.lock();
                (pending.next_due(), pending.has_unsent())
            };
            let wait = sleep_until(due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600)));
            let received = tokio::select! {
                ready = self.socket.readable() => ready.and_then(|()| self.receive(&mut buffer)),
                ready = self.socket.writable(), if unsent => ready.map(|()| self.send_unsent()),
                () = wait, if due.is_some() => {
                    self.send_again();
                    Ok(())
                }
                () = self.changed.notified() => Ok(()),
            };
            if let Err(error) = received {
                // Some systems tell here that a client's port is closed. The socket is as good as before.
                debug!(%error, "receiving answers to pushes");
                sleep(Duration::from_millis(1)).await;
            }
            // A flood of datagrams would keep this task at work without a pause.
            tokio::task::yield_now().await;
        }
    }

    /// Takes in what has arrived.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..BATCH {
            let (len, from) = match self.socket.try_recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let Some(number) = ack::number(&buffer[..len]) else {
                self.counts.acks_ignored.with_label_values(&["malformed"]).inc();
                continue;
            };
            let acknowledged = self.pending.lock().acknowledged(&Key { target: canonical(from), number });
            match acknowledged {
                Some(packet) => self.stats.succeeded(packet.since().elapsed(), packet.is_empty()),
                None => self.counts.acks_ignored.with_label_values(&["unknown"]).inc(),
            }
        }
        Ok(())
    }

    /// Sends what there was no room for, as far as there is now.
    fn send_unsent(&self) {
        for _ in 0..BATCH {
            let mut pending = self.pending.lock();
            let Some((key, packet)) = pending.first_unsent() else { return };
            if !self.send(&key, &packet) {
                return;
            }
            pending.sent(&key);
        }
    }

    /// Sends again what had no answer, and gives up what had its second chance.
    fn send_again(&self) {
        for _ in 0..BATCH {
            let mut pending = self.pending.lock();
            match pending.overdue(Instant::now()) {
                None => return,
                Some(Overdue::Again(key, packet)) => {
                    if pending.has_unsent() || !self.send(&key, &packet) {
                        pending.wait_for_room(key);
                    }
                }
                Some(Overdue::GivenUp(key, packet)) => {
                    drop(pending);
                    self.failed(&key, &packet, "no answer");
                }
            }
        }
    }
}

fn open(bind: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(bind), Type::DGRAM, None)?;
    if bind.is_ipv6() {
        // What a system does by itself differs.
        socket.set_only_v6(false)?;
    }
    // Answers of thousands come at once. The system gives what it likes.
    let _ = socket.set_recv_buffer_size(RECEIVED_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&bind.into())?;
    Ok(socket.into())
}

/// An address as itself, not as an IPv4 address mapped into IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[derive(Debug)]
struct Counts {
    dropped: IntCounterVec,
    acks_ignored: IntCounterVec,
    send_errors: IntCounterVec,
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("a valid metric name");
            metrics.add(counter.clone());
            counter
        };
        let counts = Self {
            dropped: counter(
                "nacos_naming_udp_dropped_total",
                "Datagrams to clients that were given up early",
                &["reason"],
            ),
            acks_ignored: counter(
                "nacos_naming_udp_acks_ignored_total",
                "Datagrams received that answer none of ours",
                &["reason"],
            ),
            send_errors: counter(
                "nacos_naming_udp_send_errors_total",
                "Datagrams that the system refused to send",
                &[],
            ),
        };
        // They are at zero before anything is counted.
        for reason in ["full", "too_long", "forbidden"] {
            counts.dropped.with_label_values(&[reason]);
        }
        for reason in ["malformed", "unknown"] {
            counts.acks_ignored.with_label_values(&[reason]);
        }
        counts.send_errors.with_label_values::<&str>(&[]);
        counts
    }
}

#[cfg(test)]
mod tests;
