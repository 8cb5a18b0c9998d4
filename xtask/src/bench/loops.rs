//! Closed loops over keep-alive connections: answers a second, and the server's processor time for each; ours and the
//! bare server in turn.
//!
//! Servers and generator share the machine's cores, the same way for both. The generator costs the same for
//! both too, which flatters the slower server in the ratio of rates; hence the second ratio, of the processor time
//! that each server itself spent on an answer.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{task::JoinSet, time::Instant};

use super::{
    median,
    process::{Subject, own_cpu},
    ratio,
    report::{Report, Row, Target, microseconds, per_second},
    wire::Connection,
};

/// How many connections there are, for either server.
pub const CONNECTIONS: usize = 64;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Rounds of each server.
    pub rounds: usize,
    /// Length of a round.
    pub round: Duration,
}

/// What one connection sends.
pub trait Requests: Send + 'static {
    /// The next request, and the body that it must be answered with.
    fn next(&mut self) -> (&[u8], &[u8]);
}

/// A request and the body that it must be answered with.
pub struct Exchange {
    /// The request.
    pub request: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

/// The same exchanges again and again, evenly, in an order without neighbours. Clones go on with what the others left.
#[derive(Clone)]
pub struct Cycle {
    exchanges: Arc<[Exchange]>,
    next: Arc<AtomicUsize>,
}

impl Cycle {
    /// Of these.
    pub fn new(exchanges: impl IntoIterator<Item = Exchange>) -> Self {
        Self { exchanges: exchanges.into_iter().collect(), next: Arc::default() }
    }
}

impl Requests for Cycle {
    fn next(&mut self) -> (&[u8], &[u8]) {
        // Every one comes round, since the step is prime.
        const STEP: usize = 7919;
        let at = self.next.fetch_add(1, Ordering::Relaxed).wrapping_mul(STEP) % self.exchanges.len();
        let Exchange { request, body } = &self.exchanges[at];
        (request, body)
    }
}

/// What a round gave.
pub struct Round {
    /// Answers a second.
    rate: f64,
    /// The server's processor time an answer, in microseconds.
    cost: f64,
    /// The generator's share of one core for each of its threads.
    generator: f64,
}

/// Rounds of ours and of the bare server, in pairs.
pub struct Pairs {
    plan: Plan,
    ours: Vec<Round>,
    theirs: Vec<Round>,
}

/// Measures in turn, each after a shorter round that is not counted: caches filled, code paged in, allocators grown.
pub fn alternate(
    plan: Plan,
    mut ours: impl FnMut(Duration) -> Result<Round>,
    mut theirs: impl FnMut(Duration) -> Result<Round>,
) -> Result<Pairs> {
    ours(plan.round / 2)?;
    theirs(plan.round / 2)?;
    let mut pairs = Pairs { plan, ours: Vec::new(), theirs: Vec::new() };
    for number in 0..plan.rounds {
        // Who is first changes, so that a drift of the machine favours neither.
        if number.is_multiple_of(2) {
            pairs.ours.push(ours(plan.round)?);
            pairs.theirs.push(theirs(plan.round)?);
        } else {
            pairs.theirs.push(theirs(plan.round)?);
            pairs.ours.push(ours(plan.round)?);
        }
    }
    Ok(pairs)
}

impl Pairs {
    /// Adds the figures to the report: `what` was asked for, `each` is one of it.
    pub fn show(&self, report: &mut Report, what: &str, each: &str, target: Option<Target>) {
        let of = |rounds: &[Round], figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
        let paired = |figure: fn(&Round) -> f64| {
            let pairs = self.ours.iter().zip(&self.theirs);
            median(&pairs.map(|(ours, theirs)| ratio(figure(ours), figure(theirs))).collect::<Vec<f64>>())
        };
        let (our_rates, their_rates) = (of(&self.ours, |r| r.rate), of(&self.theirs, |r| r.rate));
        let row = Row::new(format!("{what}, {CONNECTIONS} connections"), per_second(median(&our_rates)))
            .beside("bare", per_second(median(&their_rates)))
            .ratio(paired(|round| round.rate));
        report.row(match target {
            Some(target) => row.target(target),
            None => row,
        });
        report.row(
            Row::new(
                format!("server's processor time {each}"),
                microseconds(median(&of(&self.ours, |round| round.cost))),
            )
            .beside("bare", microseconds(median(&of(&self.theirs, |round| round.cost))))
            .ratio(paired(|round| round.cost)),
        );
        report.note(format!(
            "{what}: {} rounds of {:?} each, the ratio is the median over pairs of rounds; ours {}, bare {}; \
             a generator thread used {:.0}% of a core with ours, {:.0}% with bare",
            self.plan.rounds,
            self.plan.round,
            spread(&our_rates),
            spread(&their_rates),
            100.0 * median(&of(&self.ours, |r| r.generator)),
            100.0 * median(&of(&self.theirs, |r| r.generator)),
        ));
    }
}

fn spread(rates: &[f64]) -> String {
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rates.iter().copied().fold(0.0, f64::max);
    format!("{} to {}", per_second(least), per_second(most))
}

/// One closed loop a connection for this long, on as many threads as half the cores. `requests` is called for each
/// connection.
pub fn round<R: Requests>(subject: Subject, duration: Duration, requests: impl Fn() -> R + Sync) -> Result<Round> {
    let threads = std::thread::available_parallelism()?.get().div_ceil(2);
    let ready = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (ready, requests) = (&ready, &requests);
                let share = CONNECTIONS / threads + usize::from(thread < CONNECTIONS % threads);
                scope.spawn(move || worker(subject, requests, duration, share, ready))
            })
            .collect();
        ready.wait();
        let (begun, server, own) = (Instant::now(), subject.cpu()?, own_cpu()?);
        let mut answers = 0;
        for worker in workers {
            match worker.join() {
                Ok(done) => answers += done?,
                Err(_) => bail!("a generator thread panicked"),
            }
        }
        let elapsed = begun.elapsed().as_secs_f64();
        let (server, own) = (subject.cpu()? - server, own_cpu()? - own);
        ensure!(answers > 0, "no answer within {duration:?}");
        Ok(Round {
            rate: answers as f64 / elapsed,
            cost: server.as_secs_f64() * 1e6 / answers as f64,
            generator: own.as_secs_f64() / elapsed / threads as f64,
        })
    })
}

/// One thread of the generator: its connections, in a runtime of its own. Gives the number of answers.
fn worker<R: Requests>(
    subject: Subject,
    requests: impl Fn() -> R,
    duration: Duration,
    connections: usize,
    ready: &Barrier,
) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let opened = open(subject, connections).await;
        // Reached whether or not that went well: the others wait here.
        ready.wait();
        let deadline = Instant::now() + duration;
        let mut loops = JoinSet::new();
        for connection in opened? {
            loops.spawn(closed_loop(connection, requests(), deadline));
        }
        let mut answers = 0;
        while let Some(done) = loops.join_next().await {
            answers += done??;
        }
        Ok(answers)
    })
}

/// So many connections.
pub async fn open(subject: Subject, connections: usize) -> Result<Vec<Connection>> {
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(subject.addr, None).await.context("connect")?);
    }
    Ok(opened)
}

async fn closed_loop(mut connection: Connection, mut requests: impl Requests, deadline: Instant) -> Result<u64> {
    let mut answers = 0;
    loop {
        let (request, body) = requests.next();
        let answer = connection.exchange(request).await?;
        ensure!(answer.is(body), "wrong answer to {}: {}", target(request), answer.summary());
        answers += 1;
        if Instant::now() >= deadline {
            return Ok(answers);
        }
    }
}

/// The first line of a request, for messages.
pub fn target(request: &[u8]) -> String {
    String::from_utf8_lossy(request).lines().next().unwrap_or_default().to_owned()
}
