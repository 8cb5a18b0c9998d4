//! The servers under measurement as processes: where they listen, what memory and processor time they took.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use crate::server::{self, Server};

/// A server to measure: this project's or the bare one.
#[derive(Clone, Copy)]
pub struct Subject {
    /// How the report calls it.
    pub name: &'static str,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its process id.
    pub pid: u32,
}

impl From<&Server> for Subject {
    fn from(server: &Server) -> Self {
        Self { name: "ours", addr: server.addr(), pid: server.pid() }
    }
}

impl Subject {
    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib * 1024)
    }

    /// Processor time used so far, user and system.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.pid.to_string())
    }

    /// Waits until the server has nothing left to do: for half a second its memory stood still and it used no
    /// more processor time than a timer's tick. Gives its resident memory.
    ///
    /// # Errors
    /// It did not come to rest within a minute.
    pub async fn settle(&self) -> Result<u64> {
        const STILL: Duration = Duration::from_millis(500);
        let begun = Instant::now();
        let (mut since, mut memory, mut cpu) = (Instant::now(), self.resident()?, self.cpu()?);
        while since.elapsed() < STILL {
            ensure!(begun.elapsed() < Duration::from_secs(60), "{} did not come to rest", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let (memory_now, cpu_now) = (self.resident()?, self.cpu()?);
            if memory_now != memory || cpu_now > cpu + TICK {
                (since, memory, cpu) = (Instant::now(), memory_now, cpu_now);
            }
        }
        Ok(memory)
    }
}

/// Linux counts processor time for user space in hundredths of a second on every architecture that runs this.
const TICK: Duration = Duration::from_millis(10);

/// Processor time used so far by this program, which is the load generator.
pub fn own_cpu() -> Result<Duration> {
    cpu_of("self")
}

fn cpu_of(process: &str) -> Result<Duration> {
    cpu_fields(process, [11, 12])
}

/// The sum of fields of a process's `stat`, counted from its state.
fn cpu_fields<const N: usize>(process: &str, wanted: [usize; N]) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name in brackets, which may hold blanks.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let mut ticks = 0;
    for field in wanted {
        ticks += fields.get(field).context("stat is too short")?.parse::<u32>()?;
    }
    Ok(TICK * ticks)
}

/// What the figures are measured on.
pub fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(format!(
        "{cores} cores of {}, {} of memory, Linux {}",
        model.trim_matches([' ', '\t', ':']),
        total.trim(),
        kernel.trim()
    ))
}

/// What the whole machine does, to tell how quiet it was while something was measured.
pub struct Machine {
    begun: Instant,
    /// Processor time of all programs, and time taken by neighbours of a virtual machine.
    busy: Duration,
    /// Processor time of this program and of the servers that it has ended.
    own: Duration,
}

impl Machine {
    /// As it is now.
    pub fn now() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        // user, nice, system, idle, waiting, interrupts, soft interrupts, stolen
        let all: Vec<u32> = stat
            .lines()
            .next()
            .into_iter()
            .flat_map(str::split_whitespace)
            .filter_map(|field| field.parse().ok())
            .collect();
        let busy = all.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
        Ok(Self {
            begun: Instant::now(),
            busy: TICK * busy.map(|(_, ticks)| ticks).sum(),
            own: cpu_fields("self", [11, 12, 13, 14])?,
        })
    }

    /// The share of the machine that others took since, from 0 to 1. Servers still running count as others.
    pub fn others_since(&self) -> Result<f64> {
        let now = Self::now()?;
        let others = (now.busy - self.busy).saturating_sub(now.own - self.own);
        let cores = std::thread::available_parallelism()?.get();
        Ok(others.as_secs_f64() / (now.begun - self.begun).as_secs_f64() / cores as f64)
    }
}

/// The bare server as a process. Killed when dropped.
pub struct Bare {
    child: Child,
    addr: SocketAddr,
}

impl Bare {
    /// Starts it on a free port and waits until it listens, at most 10 s.
    pub fn start() -> Result<Self> {
        let port = server::free_port()?;
        let child = Command::new(std::env::current_exe()?)
            .args(["bench", "bare", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("start the bare server")?;
        let bare = Self { child, addr: SocketAddr::from(([127, 0, 0, 1], port)) };
        let begun = Instant::now();
        while TcpStream::connect(bare.addr).is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(10), "the bare server does not listen");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(bare)
    }

    /// What to measure.
    pub fn subject(&self) -> Subject {
        Subject { name: "bare", addr: self.addr, pid: self.child.id() }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
