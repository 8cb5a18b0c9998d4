//! UDP subscribers in great numbers, each on a port of its own, which answer every datagram as a Java client does.
//!
//! What is in a datagram is read once for all that are alike, as they are when a change is told to many.

use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;
use tokio::{
    net::UdpSocket,
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout},
};

/// Ports of one address of loopback.
const PER_ADDRESS: usize = 1_000;

/// What each subscriber has to have had.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// So many datagrams since the goal was set.
    Datagrams(u32),
    /// A list of so many instances.
    Hosts(usize),
}

/// The subscribers. They listen until this is dropped.
pub struct Fleet {
    addresses: Vec<SocketAddrV4>,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    state: Mutex<State>,
    reached: Notify,
}

struct State {
    goal: Goal,
    each: Vec<Subscriber>,
    /// Subscribers that have not reached the goal.
    behind: usize,
    /// When the last one reached it.
    last: Option<Instant>,
    /// The last datagram, and what is in it.
    known: Datagram,
    buffer: Vec<u8>,
    failed: Option<anyhow::Error>,
}

#[derive(Clone, Copy, Default)]
struct Subscriber {
    /// Since the goal was set.
    datagrams: u32,
    hosts: usize,
}

#[derive(Default)]
struct Datagram {
    bytes: Vec<u8>,
    hosts: usize,
    answer: Vec<u8>,
}

impl Datagram {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut plain = Vec::new();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            GzDecoder::new(bytes).read_to_end(&mut plain)?;
        } else {
            plain.extend_from_slice(bytes);
        }
        let packet: Value = serde_json::from_slice(&plain)?;
        ensure!(packet["type"] == "dom", "a datagram of type {}", packet["type"]);
        let number = packet["lastRefTime"].as_u64().context("no lastRefTime")?;
        let list: Value = serde_json::from_str(packet["data"].as_str().context("no data")?)?;
        let hosts = list["hosts"].as_array().context("no hosts")?.len();
        let answer = format!(r#"{{"type": "push-ack", "lastRefTime":"{number}", "data":""}}"#);
        Ok(Self { bytes: bytes.to_vec(), hosts, answer: answer.into_bytes() })
    }
}

impl Subscriber {
    fn is_at(&self, goal: Goal) -> bool {
        match goal {
            Goal::Datagrams(count) => self.datagrams >= count,
            Goal::Hosts(count) => self.hosts >= count,
        }
    }
}

impl Fleet {
    /// Opens so many sockets.
    pub fn open(count: usize) -> Result<Self> {
        let state = State {
            goal: Goal::Datagrams(0),
            each: vec![Subscriber::default(); count],
            behind: 0,
            last: None,
            known: Datagram::default(),
            buffer: vec![0; 64 * 1024],
            failed: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), reached: Notify::new() });
        let (mut addresses, mut tasks) = (Vec::new(), JoinSet::new());
        for nth in 0..count {
            let ip = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + u32::try_from(nth / PER_ADDRESS)?);
            let socket = std::net::UdpSocket::bind((ip, 0)).with_context(|| format!("UDP socket {nth}"))?;
            socket.set_nonblocking(true)?;
            let SocketAddr::V4(address) = socket.local_addr()? else { bail!("not an IPv4 socket") };
            addresses.push(address);
            let (socket, shared) = (UdpSocket::from_std(socket)?, Arc::clone(&shared));
            tasks.spawn(async move {
                if let Err(error) = listen(&socket, nth, &shared).await {
                    shared.lock().failed = Some(error.context(format!("subscriber {nth}")));
                    shared.reached.notify_one();
                }
            });
        }
        Ok(Self { addresses, shared, _tasks: tasks })
    }

    /// Where they listen.
    pub fn addresses(&self) -> &[SocketAddrV4] {
        &self.addresses
    }

    /// Sets the goal, and counts datagrams anew.
    pub fn expect(&self, goal: Goal) {
        let mut state = self.shared.lock();
        state.goal = goal;
        state.last = None;
        state.each.iter_mut().for_each(|one| one.datagrams = 0);
        state.behind = state.each.iter().filter(|one| !one.is_at(goal)).count();
    }

    /// Waits until all have reached the goal, at most 15 s. Gives when the last one did, if any still had to.
    pub async fn reached(&self) -> Result<Option<Instant>> {
        let all = async {
            loop {
                {
                    let mut state = self.shared.lock();
                    if let Some(error) = state.failed.take() {
                        return Err(error);
                    }
                    if state.behind == 0 {
                        return Ok(state.last);
                    }
                }
                self.shared.reached.notified().await;
            }
        };
        match timeout(Duration::from_secs(15), all).await {
            Ok(last) => last,
            Err(_) => {
                let state = self.shared.lock();
                Err(anyhow!("{} of {} subscribers wait for {:?}", state.behind, state.each.len(), state.goal))
            }
        }
    }

    /// Fails if a datagram was none.
    pub fn check(&self) -> Result<()> {
        self.shared.lock().failed.take().map_or(Ok(()), Err)
    }

    /// How many datagrams each has had since the goal was set, in order.
    pub fn datagrams(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.shared.lock().each.iter().map(|one| one.datagrams).collect();
        all.sort_unstable();
        all
    }

    /// The last datagram.
    pub fn last_datagram(&self) -> Vec<u8> {
        self.shared.lock().known.bytes.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(socket: &UdpSocket, nth: usize, shared: &Shared) -> Result<()> {
    loop {
        socket.readable().await?;
        loop {
            let mut state = shared.lock();
            let state = &mut *state;
            let (length, from) = match socket.try_recv_from(&mut state.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            let now = Instant::now();
            if state.known.bytes != state.buffer[..length] {
                state.known = Datagram::read(&state.buffer[..length])?;
            }
            // Should there be no room for it, the server will send again.
            let _ = socket.try_send_to(&state.known.answer, from);
            let one = &mut state.each[nth];
            let was_there = one.is_at(state.goal);
            one.datagrams += 1;
            one.hosts = state.known.hosts;
            if !was_there && one.is_at(state.goal) {
                state.last = Some(now);
                state.behind -= 1;
                if state.behind == 0 {
                    shared.reached.notify_one();
                }
            }
        }
    }
}
