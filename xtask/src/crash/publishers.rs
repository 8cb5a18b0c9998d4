//! Concurrent publishers, and the moment when the server, or its Postgres, is killed under them.
//!
//! Three in four publish plainly, by turns to a key of their own and to keys that all share. One in four swaps:
//! it reads a key, and publishes with `casMd5` of what it read, by turns to keys that only swappers write and to the
//! shared ones.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use md5::{Digest as _, Md5};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::ledger::{Clock, Digest, Key, Ledger, Outcome, Publish, hex};
use crate::{
    bench::wire::{self, Connection},
    postgres::Postgres,
    server::Server,
};

/// Of so many publishers, one swaps.
pub const PLAIN_PER_SWAPPER: usize = 4;

/// Keys that swappers alone write. Few, so that they contend.
const SWAPPED: usize = 2;
/// Keys that all write.
const SHARED: usize = 6;

/// The rest of a publisher that was turned away.
const REST: Duration = Duration::from_millis(20);
/// How long the server may take until it writes again once its Postgres is back.
const RECOVERY: Duration = Duration::from_secs(15);

/// The dataIds: swapped ones, shared ones, and one for each publisher.
pub fn keys(clients: usize) -> Vec<String> {
    let named = |kind: &'static str, count| (0..count).map(move |n| format!("crash-{kind}-{n}"));
    named("swapped", SWAPPED).chain(named("shared", SHARED)).chain(named("own", clients)).collect()
}

/// What the publishers of a round saw.
#[derive(Debug, Default)]
pub struct Written {
    /// Publishes answered with success.
    pub acknowledged: usize,
    /// Those of them that compared.
    pub swapped: usize,
    /// Publishes whose comparison failed.
    pub refused: usize,
    /// Publishes answered with the word that the database is away.
    pub turned_away: usize,
    /// Publishes whose answer the kill cut off, and those answered with the word that they may be written.
    pub unanswered: usize,
}

/// Publishes a first content to the keys that are only swapped from then on.
pub async fn create_swapped(ledger: &mut Ledger, server: SocketAddr) -> Result<()> {
    let mut connection = Connection::open(server, None).await?;
    for key in 0..SWAPPED {
        let name = ledger.names()[key].clone();
        let content = format!("first of {name}");
        let sent = ledger.clock().tick();
        let answer = connection.exchange(&wire::publish(&name, &content, None)).await?;
        ensure!(answer.is(b"true"), "publish of {name} answered with {}", answer.summary());
        let outcome = Outcome::Acknowledged(ledger.clock().tick());
        ledger.enter(Publish { key, content: Md5::digest(&content).into(), compares: None, sent, outcome });
    }
    Ok(())
}

/// Who publishes in a round, and until when.
pub struct Plan {
    /// Concurrent publishers.
    pub clients: usize,
    /// The round's number.
    pub round: usize,
    /// For how long they publish, once the first publish was acknowledged, until something is killed.
    pub wait: Duration,
    /// How they learn of it.
    pub ending: Ending,
}

/// How those who write learn that it is over.
#[derive(Clone, Default)]
pub struct Ending(Arc<Flags>);

#[derive(Default)]
struct Flags {
    /// Set before the server is killed.
    killed: AtomicBool,
    /// Set when it is enough.
    stop: AtomicBool,
}

impl Ending {
    /// Whether the server is being killed, so that connections may break.
    pub fn is_killed(&self) -> bool {
        self.0.killed.load(Ordering::SeqCst)
    }

    /// It is enough.
    pub fn end(&self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }

    /// Whether it is enough.
    pub fn is_enough(&self) -> bool {
        self.0.stop.load(Ordering::SeqCst)
    }
}

/// Lets the publishers write, kills the server, and enters what they did into the ledger. Gives the sums, and how long
/// they wrote.
///
/// # Errors
/// An answer that is neither success nor a failed comparison, or a connection that broke before the kill.
pub async fn until_killed(ledger: &mut Ledger, server: Server, plan: &Plan, rng: Rng) -> Result<(Written, Duration)> {
    let publishers = Publishers::start(ledger, server.addr(), plan, rng).await?;
    let first = publishers.wrote_for(plan.wait).await;
    plan.ending.0.killed.store(true, Ordering::SeqCst);
    server.kill()?;
    let wrote = publishers.begun.elapsed();
    let written = publishers.enter(ledger).await?;
    first?;
    Ok((written, wrote))
}

/// What came of a Postgres that was killed and started again.
pub struct Outage {
    /// Until it was killed.
    pub wrote: Duration,
    /// Until it was started again and let clients in.
    pub away: Duration,
    /// From then on, until a publish was acknowledged that was sent after that.
    pub recovery: Duration,
}

/// As [`until_killed`], but it is Postgres that is killed, and started again after a pause of this length; the
/// publishers go on until they have written for as long again.
///
/// # Errors
/// An answer other than success, a failed comparison or, until the server has written again, the word that its
/// database is away or the write unconfirmed; a connection that broke; no write within [`RECOVERY`].
pub async fn across_outage(
    ledger: &mut Ledger,
    server: SocketAddr,
    postgres: &mut Postgres,
    plan: &Plan,
    mut rng: Rng,
) -> Result<(Written, Outage)> {
    let pause = Duration::from_millis(rng.u64(0..=600));
    let publishers = Publishers::start(ledger, server, plan, rng).await?;
    let shared = &publishers.shared;
    let first = publishers.wrote_for(plan.wait).await;
    shared.away.store(true, Ordering::SeqCst);
    let (wrote, killed) = (publishers.begun.elapsed(), Instant::now());
    postgres.kill()?;
    tokio::time::sleep(pause).await;
    postgres.run()?;
    let (away, back) = (killed.elapsed(), Instant::now());
    shared.back.store(shared.clock.tick(), Ordering::SeqCst);
    let again = timeout(RECOVERY, shared.again.notified()).await;
    let recovery = back.elapsed();
    if again.is_ok() {
        shared.recovered.store(shared.clock.tick(), Ordering::SeqCst);
        tokio::time::sleep(plan.wait).await;
    }
    plan.ending.end();
    let written = publishers.enter(ledger).await?;
    first?;
    ensure!(again.is_ok(), "no publish was acknowledged within {RECOVERY:?} of Postgres being back");
    Ok((written, Outage { wrote, away, recovery }))
}

/// The publishers of a round at work.
struct Publishers {
    shared: Arc<Shared>,
    begun: Instant,
    tasks: JoinSet<(Vec<Publish>, Result<()>)>,
}

impl Publishers {
    async fn start(ledger: &Ledger, server: SocketAddr, plan: &Plan, mut rng: Rng) -> Result<Self> {
        let shared = Arc::new(Shared {
            names: ledger.names().to_vec(),
            clock: ledger.clock(),
            first: Notify::new(),
            away: AtomicBool::new(false),
            back: AtomicU64::new(u64::MAX),
            again: Notify::new(),
            recovered: AtomicU64::new(u64::MAX),
            ending: plan.ending.clone(),
        });
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..plan.clients {
            let publisher = Publisher {
                shared: Arc::clone(&shared),
                number,
                swaps: number % PLAIN_PER_SWAPPER == PLAIN_PER_SWAPPER - 1,
                connection: Connection::open(server, None).await.context("connect")?,
                rng: rng.fork(),
                contents: format!("round {} publisher {number} content ", plan.round),
                publishes: Vec::new(),
            };
            tasks.spawn(publisher.run());
        }
        Ok(Self { shared, begun, tasks })
    }

    /// Waits for the first acknowledged publish, and this long.
    async fn wrote_for(&self, wait: Duration) -> Result<()> {
        let first = timeout(Duration::from_secs(10), self.shared.first.notified()).await;
        ensure!(first.is_ok(), "no publish was acknowledged within 10 s");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Waits for their end, and enters what they did.
    async fn enter(mut self, ledger: &mut Ledger) -> Result<Written> {
        let mut written = Written::default();
        let mut wrong = Vec::new();
        while let Some(done) = self.tasks.join_next().await {
            let (publishes, end) = done?;
            for publish in publishes {
                written.count(&publish);
                ledger.enter(publish);
            }
            wrong.extend(end.err().map(|error| format!("{error:#}")));
        }
        ensure!(wrong.is_empty(), "{} publishers met what they must not, one of them: {}", wrong.len(), wrong[0]);
        Ok(written)
    }
}

impl Written {
    fn count(&mut self, publish: &Publish) {
        match publish.outcome {
            Outcome::Acknowledged(_) => {
                self.acknowledged += 1;
                self.swapped += usize::from(publish.compares.is_some());
            }
            Outcome::Refused => self.refused += 1,
            Outcome::TurnedAway => self.turned_away += 1,
            Outcome::Unanswered => self.unanswered += 1,
        }
    }
}

/// What the publishers of a round have in common.
struct Shared {
    names: Vec<String>,
    clock: Clock,
    /// Told when the first publish is acknowledged.
    first: Notify,
    /// Set before Postgres is killed: from then on answers may say that it is away.
    away: AtomicBool,
    /// The tick at which it was back.
    back: AtomicU64,
    /// Told when a publish is acknowledged that was sent later.
    again: Notify,
    /// The tick after that: to what is sent later no answer may say that the database is away.
    recovered: AtomicU64,
    ending: Ending,
}

struct Publisher {
    shared: Arc<Shared>,
    number: usize,
    swaps: bool,
    connection: Connection,
    rng: Rng,
    /// What all its contents begin with; a count follows.
    contents: String,
    publishes: Vec<Publish>,
}

impl Publisher {
    /// Publishes until the server is gone or it is enough. Gives what it published, and an error if the server is
    /// not just gone.
    async fn run(mut self) -> (Vec<Publish>, Result<()>) {
        let end = loop {
            if self.shared.ending.is_enough() {
                return (self.publishes, Ok(()));
            }
            if let Err(error) = self.step().await {
                break error;
            }
        };
        let broken = end.downcast_ref::<io::Error>().is_some_and(|error| error.kind() != io::ErrorKind::InvalidData);
        let expected = broken && self.shared.ending.is_killed();
        (self.publishes, if expected { Ok(()) } else { Err(end) })
    }

    async fn step(&mut self) -> Result<()> {
        let key = self.pick();
        let compares = if self.swaps {
            match self.read(key).await? {
                Some(content) => Some(content),
                // Not there yet: some plain publisher will make it.
                None => return Ok(()),
            }
        } else {
            None
        };
        self.publish(key, compares).await
    }

    fn pick(&mut self) -> Key {
        match (self.rng.bool(), self.swaps) {
            (true, _) => SWAPPED + self.rng.usize(..SHARED),
            (false, true) => self.rng.usize(..SWAPPED),
            (false, false) => SWAPPED + SHARED + self.number,
        }
    }

    /// The content of a key, or `None` if there is none.
    async fn read(&mut self, key: Key) -> Result<Option<Digest>> {
        let name = &self.shared.names[key];
        let answer = self.connection.exchange(&wire::read(name)).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let digest: Digest = Md5::digest(answer.body).into();
        let told = answer.header("content-md5");
        ensure!(answer.status == 200, "read of {name} answered with {}", answer.summary());
        ensure!(told == Some(&hex(&digest)), "read of {name}: Content-MD5 {told:?} of a body with {}", hex(&digest));
        Ok(Some(digest))
    }

    async fn publish(&mut self, key: Key, compares: Option<Digest>) -> Result<()> {
        let content = self.content();
        let name = &self.shared.names[key];
        let request = wire::publish(name, &content, compares.as_ref().map(hex).as_deref());
        let sent = self.shared.clock.tick();
        let answer = self.connection.exchange(&request).await;
        let outcome = match &answer {
            Ok(answer) if answer.is(b"true") => Outcome::Acknowledged(self.shared.clock.tick()),
            Ok(answer) if compares.is_some() && is_refusal(answer) => Outcome::Refused,
            Ok(answer) if self.shared.may_fail(sent) && says_away(answer) => Outcome::TurnedAway,
            Ok(answer) if self.shared.may_fail(sent) && says_unconfirmed(answer) => Outcome::Unanswered,
            Ok(answer) => bail!("publish of {name} answered with {}", answer.summary()),
            Err(_) => Outcome::Unanswered,
        };
        self.publishes.push(Publish { key, content: Md5::digest(&content).into(), compares, sent, outcome });
        match outcome {
            Outcome::Acknowledged(_) => {
                self.shared.first.notify_one();
                if sent > self.shared.back.load(Ordering::SeqCst) {
                    self.shared.again.notify_one();
                }
            }
            Outcome::Refused => {}
            Outcome::TurnedAway | Outcome::Unanswered => {
                answer?;
                tokio::time::sleep(REST).await;
            }
        }
        Ok(())
    }

    /// A content that nobody has published; now and then a long one, that fills pages of its own.
    fn content(&mut self) -> String {
        let count = self.publishes.len();
        let length = if self.rng.u8(..20) == 0 { self.rng.usize(..10_000) } else { self.rng.usize(..600) };
        let rest: String = std::iter::repeat_with(|| self.rng.lowercase()).take(length).collect();
        format!("{}{count} {rest}", self.contents)
    }
}

impl Shared {
    /// Whether the answer to what was sent at this tick may say that the database is away.
    fn may_fail(&self, sent: u64) -> bool {
        self.away.load(Ordering::SeqCst) && sent < self.recovered.load(Ordering::SeqCst)
    }
}

/// Whether an answer says that nothing was written because the database is away.
fn says_away(answer: &wire::Answer<'_>) -> bool {
    answer.status == 500 && contains(answer.body, "The database is not available at this time")
}

/// Whether an answer says that nobody knows whether it was written.
fn says_unconfirmed(answer: &wire::Answer<'_>) -> bool {
    answer.status == 500 && contains(answer.body, "not confirmed in time; it may have happened")
}

fn contains(body: &[u8], text: &str) -> bool {
    memchr::memmem::find(body, text.as_bytes()).is_some()
}

/// Whether an answer says that the stored MD5 is another.
fn is_refusal(answer: &wire::Answer<'_>) -> bool {
    answer.status == 500 && answer.body == b"caused: Cas publish fail, server md5 may have changed.;"
}
