//! Concurrent publishers, and the moment when the server is killed under them.
//!
//! Three in four publish plainly, by turns to a key of their own and to keys that all share. One in four swaps:
//! it reads a key, and publishes with `casMd5` of what it read, by turns to keys that only swappers write and to the
//! shared ones.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
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
    server::Server,
};

/// Of so many publishers, one swaps.
pub const PLAIN_PER_SWAPPER: usize = 4;

/// Keys that swappers alone write. Few, so that they contend.
const SWAPPED: usize = 2;
/// Keys that all write.
const SHARED: usize = 6;

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
    /// Publishes whose answer the kill cut off.
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

/// Lets the publishers write, kills the server this long after the first publish was acknowledged, and enters what
/// they did into the ledger. Gives the sums, and how long they wrote.
///
/// # Errors
/// An answer that is neither success nor a failed comparison, or a connection that broke before the kill.
pub async fn until_killed(
    ledger: &mut Ledger,
    server: Server,
    clients: usize,
    mut rng: Rng,
    round: usize,
    wait: Duration,
) -> Result<(Written, Duration)> {
    let shared = Arc::new(Shared {
        names: ledger.names().to_vec(),
        clock: ledger.clock(),
        first: Notify::new(),
        killed: AtomicBool::new(false),
    });
    let begun = Instant::now();
    let mut publishers = JoinSet::new();
    for number in 0..clients {
        let publisher = Publisher {
            shared: Arc::clone(&shared),
            number,
            swaps: number % PLAIN_PER_SWAPPER == PLAIN_PER_SWAPPER - 1,
            connection: Connection::open(server.addr(), None).await.context("connect")?,
            rng: rng.fork(),
            contents: format!("round {round} publisher {number} content "),
            publishes: Vec::new(),
        };
        publishers.spawn(publisher.run());
    }
    let first = timeout(Duration::from_secs(10), shared.first.notified()).await;
    if first.is_ok() {
        tokio::time::sleep(wait).await;
    }
    shared.killed.store(true, Ordering::SeqCst);
    server.kill()?;
    let wrote = begun.elapsed();
    let mut written = Written::default();
    let mut wrong = Vec::new();
    while let Some(done) = publishers.join_next().await {
        let (publishes, end) = done?;
        for publish in publishes {
            written.count(&publish);
            ledger.enter(publish);
        }
        wrong.extend(end.err().map(|error| format!("{error:#}")));
    }
    ensure!(wrong.is_empty(), "{} publishers met what they must not, one of them: {}", wrong.len(), wrong[0]);
    ensure!(first.is_ok(), "no publish was acknowledged within 10 s");
    Ok((written, wrote))
}

impl Written {
    fn count(&mut self, publish: &Publish) {
        match publish.outcome {
            Outcome::Acknowledged(_) => {
                self.acknowledged += 1;
                self.swapped += usize::from(publish.compares.is_some());
            }
            Outcome::Refused => self.refused += 1,
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
    /// Set before the kill: from then on connections may break.
    killed: AtomicBool,
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
    /// Publishes until the server is gone. Gives what it published, and an error if the server is not just gone.
    async fn run(mut self) -> (Vec<Publish>, Result<()>) {
        let end = loop {
            if let Err(error) = self.step().await {
                break error;
            }
        };
        let broken = end.downcast_ref::<io::Error>().is_some_and(|error| error.kind() != io::ErrorKind::InvalidData);
        let expected = broken && self.shared.killed.load(Ordering::SeqCst);
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
            Ok(answer) => bail!("publish of {name} answered with {}", answer.summary()),
            Err(_) => Outcome::Unanswered,
        };
        self.publishes.push(Publish { key, content: Md5::digest(&content).into(), compares, sent, outcome });
        if outcome == Outcome::Unanswered {
            answer?;
        }
        if matches!(outcome, Outcome::Acknowledged(_)) {
            self.shared.first.notify_one();
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

/// Whether an answer says that the stored MD5 is another.
fn is_refusal(answer: &wire::Answer<'_>) -> bool {
    answer.status == 500 && answer.body == b"caused: Cas publish fail, server md5 may have changed.;"
}
