//! Concurrent writers to service discovery.
//!
//! Each takes a target by chance, one of its own or one that all share, and registers, deregisters, lays over, sets,
//! creates, changes or removes it. What a write depends on (a service can be created only if it is not there) is left
//! to the server: a refusal is an answer.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use tokio::task::JoinSet;

use super::{
    COMING, LAID, SHARED, STAYING, Target, ip,
    ledger::{Ledger, Version, Write},
    service, threshold, weight,
};
use crate::{
    bench::wire::{self, Connection, encoded},
    crash::{
        ledger::{Clock, Outcome},
        publishers::Ending,
    },
};

/// No version is less, so none is the default of a switch.
const VERSION_MIN: u64 = 1_000_000;

/// What the writers of a round saw.
#[derive(Debug, Default)]
pub struct Written {
    /// Writes answered with success.
    pub acknowledged: usize,
    /// Those of them that removed something.
    pub removals: usize,
    /// Writes refused because what they depend on was otherwise.
    pub refused: usize,
    /// Writes whose answer the kill cut off.
    pub unanswered: usize,
}

/// Registers the instances that stay, and gives a ledger for so many writers.
///
/// # Errors
/// They are not taken.
pub async fn prepare(server: SocketAddr, writers: usize) -> Result<Ledger> {
    let mut connection = Connection::open(server, None).await?;
    for n in 0..=LAID {
        let target = format!("/nacos/v1/ns/instance?serviceName={STAYING}&ip={}&port=80&ephemeral=false", ip(n));
        let answer = connection.exchange(&request("POST", &target)).await?;
        ensure!(answer.is(b"ok"), "POST {target} answered with {}", answer.summary());
    }
    Ok(Ledger::new(writers))
}

fn request(method: &str, target: &str) -> Vec<u8> {
    let agent = "User-Agent: Nacos-Java-Client:v1.4.7";
    format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{agent}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// The writers of a round at work.
pub struct Writers {
    tasks: JoinSet<(Vec<Write>, Result<()>)>,
}

/// What the writers of a round have in common.
struct Shared {
    targets: Vec<Target>,
    clock: Clock,
    ending: Ending,
}

impl Writers {
    /// Lets as many write as the ledger is made for.
    ///
    /// # Errors
    /// They cannot connect.
    pub async fn start(
        ledger: &Ledger,
        server: SocketAddr,
        count: usize,
        mut rng: Rng,
        ending: Ending,
    ) -> Result<Self> {
        let shared = Arc::new(Shared { targets: ledger.targets().to_vec(), clock: ledger.clock(), ending });
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let writer = Writer {
                shared: Arc::clone(&shared),
                number,
                connection: Connection::open(server, None).await.context("connect")?,
                rng: rng.fork(),
                writes: Vec::new(),
            };
            tasks.spawn(writer.run());
        }
        Ok(Self { tasks })
    }

    /// Waits for their end, and enters what they did.
    ///
    /// # Errors
    /// An answer that must not be, or a connection that broke before the kill.
    pub async fn enter(mut self, ledger: &mut Ledger) -> Result<Written> {
        let mut written = Written::default();
        let mut wrong = Vec::new();
        while let Some(done) = self.tasks.join_next().await {
            let (writes, end) = done?;
            for write in writes {
                written.count(&write);
                ledger.enter(write);
            }
            wrong.extend(end.err().map(|error| format!("{error:#}")));
        }
        ensure!(wrong.is_empty(), "{} writers met what they must not, one of them: {}", wrong.len(), wrong[0]);
        Ok(written)
    }
}

impl Written {
    fn count(&mut self, write: &Write) {
        match write.outcome {
            Outcome::Acknowledged(_) => {
                self.acknowledged += 1;
                self.removals += usize::from(write.version.is_none());
            }
            Outcome::Refused | Outcome::TurnedAway => self.refused += 1,
            Outcome::Unanswered => self.unanswered += 1,
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    number: usize,
    connection: Connection,
    rng: Rng,
    writes: Vec<Write>,
}

impl Writer {
    /// Writes until the server is gone or it is enough. Gives what it wrote, and an error if the server is not just
    /// gone.
    async fn run(mut self) -> (Vec<Write>, Result<()>) {
        let end = loop {
            if self.shared.ending.is_enough() {
                return (self.writes, Ok(()));
            }
            if let Err(error) = self.step().await {
                break error;
            }
        };
        let broken = end.downcast_ref::<io::Error>().is_some_and(|error| error.kind() != io::ErrorKind::InvalidData);
        let expected = broken && self.shared.ending.is_killed();
        (self.writes, if expected { Ok(()) } else { Err(end) })
    }

    async fn step(&mut self) -> Result<()> {
        let target = self.pick();
        let removes = self.rng.u8(..3) == 0 && !matches!(self.shared.targets[target], Target::Switch | Target::Laid(_));
        // No tick comes twice, in no round.
        let sent = self.shared.clock.tick();
        let version = (!removes).then_some(sent + VERSION_MIN);
        let (request, refusals) = self.request(target, version);
        let answer = self.connection.exchange(&request).await;
        let outcome = match &answer {
            Ok(answer) if is_done(answer) => Outcome::Acknowledged(self.shared.clock.tick()),
            Ok(answer) if answer.status == 400 && refusals.iter().any(|text| contains(answer.body, text)) => {
                Outcome::Refused
            }
            Ok(answer) => {
                let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
                bail!("{} answered with {}", String::from_utf8_lossy(line), answer.summary())
            }
            Err(_) => Outcome::Unanswered,
        };
        self.writes.push(Write { target, version, sent, outcome });
        answer?;
        Ok(())
    }

    /// A target of its own, or one that all share.
    fn pick(&mut self) -> usize {
        loop {
            let index = self.rng.usize(..self.shared.targets.len());
            let own = match self.shared.targets[index] {
                Target::Instance(n) => n < SHARED || (n - SHARED) / super::OWN == self.number,
                Target::Cell(_, writer) => writer == self.number,
                // Seldom: all switches are written each time.
                Target::Switch => self.rng.u8(..4) == 0,
                Target::Laid(_) | Target::Service(_) => true,
            };
            if own {
                return index;
            }
        }
    }

    /// The request that makes this of the target, and the texts of refusals that it may meet.
    fn request(&mut self, target: usize, version: Version) -> (Vec<u8>, &'static [&'static str]) {
        let metadata = |version: u64, more: &str| {
            let length = if version.is_multiple_of(20) { 900 } else { version as usize % 60 };
            encoded(&format!("{{\"{more}\":\"{version}\",\"rest\":\"{}\"}}", "x".repeat(length)))
        };
        let of = |service: &str, n: usize| format!("serviceName={service}&ip={}&port=80", ip(n));
        let (method, target, refusals): (_, _, &[_]) = match (self.shared.targets[target], version) {
            (Target::Instance(n), Some(v)) => {
                let (of, weight, metadata) = (of(COMING, n), weight(v), metadata(v, "v"));
                ("POST", format!("instance?{of}&ephemeral=false&weight={weight}&metadata={metadata}"), &[])
            }
            (Target::Instance(n), None) => ("DELETE", format!("instance?{}&ephemeral=false", of(COMING, n)), &[]),
            (Target::Laid(n), version) => {
                let v = version.unwrap_or_default();
                let (of, weight, metadata) = (of(STAYING, n), weight(v), metadata(v, "v"));
                ("PUT", format!("instance?{of}&weight={weight}&metadata={metadata}"), &[])
            }
            (Target::Cell(n, writer), version) => {
                let instances = encoded(&format!("[{{\"ip\":\"{}\",\"port\":80,\"ephemeral\":false}}]", ip(n)));
                let v = version.map_or_else(String::new, |version| version.to_string());
                let metadata = encoded(&format!("{{\"c{writer}\":\"{v}\"}}"));
                let method = if version.is_some() { "PUT" } else { "DELETE" };
                let batch = format!("instance/metadata/batch?serviceName={STAYING}&instances={instances}");
                (method, format!("{batch}&metadata={metadata}"), &[])
            }
            (Target::Service(n), None) => ("DELETE", format!("service?serviceName={}", service(n)), &["not found"]),
            (Target::Service(n), Some(v)) => {
                let (threshold, metadata) = (threshold(v), metadata(v, "v"));
                let said =
                    format!("service?serviceName={}&protectThreshold={threshold}&metadata={metadata}", service(n));
                if self.rng.bool() { ("POST", said, &["already exists"]) } else { ("PUT", said, &["not found"]) }
            }
            (Target::Switch, version) => {
                let value = version.unwrap_or_default();
                ("PUT", format!("operator/switches?entry=distroServerExpiredMillis&value={value}"), &[])
            }
        };
        (request(method, &format!("/nacos/v1/ns/{target}")), refusals)
    }
}

/// Whether an answer says that it was done; a batch names the one instance that it changed.
fn is_done(answer: &wire::Answer<'_>) -> bool {
    answer.is(b"ok") || answer.status == 200 && contains(answer.body, "{\"updated\":[\"127.")
}

fn contains(body: &[u8], text: &str) -> bool {
    memchr::memmem::find(body, text.as_bytes()).is_some()
}
