//! Reads a second over keep-alive connections, in a closed loop; ours and the bare server in turn.
//!
//! Servers and generator share the machine's cores, the same way for both. The generator costs the same for
//! both too, which flatters the slower server in the ratio of rates; hence the second ratio, of the processor time
//! that each server itself spent on an answer.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{task::JoinSet, time::Instant};

use super::{
    bare, median,
    process::{Subject, own_cpu},
    ratio,
    report::{Report, Row, Target, microseconds, per_second},
    wire::{self, Connection},
};

const CONNECTIONS: usize = 64;

/// How much is measured.
pub struct Plan {
    /// Rounds of each server.
    pub rounds: usize,
    /// Length of a round.
    pub round: Duration,
}

/// A read and what it must be answered with.
struct Read {
    request: Vec<u8>,
    body: Vec<u8>,
}

/// What a round gave.
struct Round {
    rate: f64,
    /// The server's processor time an answer, in microseconds.
    cost: f64,
    /// The generator's share of one core for each of its threads.
    generator: f64,
}

/// Measures reads of these configurations (dataId and content) and adds them to the report.
pub fn measure(
    report: &mut Report,
    plan: &Plan,
    ours: Subject,
    theirs: Subject,
    configs: &[(String, String)],
) -> Result<()> {
    let reads = |body: &dyn Fn(&str) -> Vec<u8>| -> Arc<[Read]> {
        configs.iter().map(|(id, content)| Read { request: wire::read(id), body: body(content) }).collect()
    };
    let our_reads = reads(&|content| content.as_bytes().to_vec());
    let their_reads = reads(&|_| bare::CONTENT.to_vec());
    // Warm: caches filled, code paged in, allocators grown.
    round(ours, &our_reads, plan.round / 2)?;
    round(theirs, &their_reads, plan.round / 2)?;
    let (mut our_rounds, mut their_rounds) = (Vec::new(), Vec::new());
    for number in 0..plan.rounds {
        // Who is first changes, so that a drift of the machine favours neither.
        if number.is_multiple_of(2) {
            our_rounds.push(round(ours, &our_reads, plan.round)?);
            their_rounds.push(round(theirs, &their_reads, plan.round)?);
        } else {
            their_rounds.push(round(theirs, &their_reads, plan.round)?);
            our_rounds.push(round(ours, &our_reads, plan.round)?);
        }
    }
    let of = |rounds: &[Round], figure: fn(&Round) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
    let paired = |figure: fn(&Round) -> f64| {
        let pairs = our_rounds.iter().zip(&their_rounds);
        median(&pairs.map(|(ours, theirs)| ratio(figure(ours), figure(theirs))).collect::<Vec<f64>>())
    };
    let (our_rates, their_rates) = (of(&our_rounds, |r| r.rate), of(&their_rounds, |r| r.rate));
    report.row(
        Row::new(format!("gets at 1 KiB, {CONNECTIONS} connections"), per_second(median(&our_rates)))
            .beside("bare", per_second(median(&their_rates)))
            .ratio(paired(|round| round.rate))
            .target(Target::RatioAtLeast(0.70)),
    );
    report.row(
        Row::new("server's processor time a get", microseconds(median(&of(&our_rounds, |r| r.cost))))
            .beside("bare", microseconds(median(&of(&their_rounds, |r| r.cost))))
            .ratio(paired(|round| round.cost)),
    );
    report.note(format!(
        "gets: {} rounds of {:?} each, the ratio is the median over pairs of rounds; ours {}, bare {}; a generator thread used {:.0}% of a core with ours, {:.0}% with bare",
        plan.rounds,
        plan.round,
        spread(&our_rates),
        spread(&their_rates),
        100.0 * median(&of(&our_rounds, |r| r.generator)),
        100.0 * median(&of(&their_rounds, |r| r.generator)),
    ));
    Ok(())
}

fn spread(rates: &[f64]) -> String {
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rates.iter().copied().fold(0.0, f64::max);
    format!("{} to {}", per_second(least), per_second(most))
}

/// One closed loop a connection for this long, on as many threads as half the cores.
fn round(subject: Subject, reads: &Arc<[Read]>, duration: Duration) -> Result<Round> {
    let threads = std::thread::available_parallelism()?.get().div_ceil(2);
    let ready = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let ready = &ready;
                let share = CONNECTIONS / threads + usize::from(thread < CONNECTIONS % threads);
                let reads = Arc::clone(reads);
                scope.spawn(move || worker(subject, reads, duration, thread * 997, share, ready))
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
fn worker(
    subject: Subject,
    reads: Arc<[Read]>,
    duration: Duration,
    first: usize,
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
        for (nth, connection) in opened?.into_iter().enumerate() {
            loops.spawn(closed_loop(connection, Arc::clone(&reads), first + nth * 31, deadline));
        }
        let mut answers = 0;
        while let Some(done) = loops.join_next().await {
            answers += done??;
        }
        Ok(answers)
    })
}

async fn open(subject: Subject, connections: usize) -> Result<Vec<Connection>> {
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(subject.addr, None).await.context("connect")?);
    }
    Ok(opened)
}

async fn closed_loop(mut connection: Connection, reads: Arc<[Read]>, first: usize, deadline: Instant) -> Result<u64> {
    let mut answers = 0;
    // In an order without neighbours; every read comes round since the step is prime.
    for read in (first..).step_by(7).map(|at| &reads[at % reads.len()]) {
        let answer = connection.exchange(&read.request).await?;
        ensure!(answer.is(&read.body), "wrong answer to {}: {}", target(&read.request), answer.summary());
        answers += 1;
        if Instant::now() >= deadline {
            break;
        }
    }
    Ok(answers)
}

/// The first line of a request, for messages.
fn target(request: &[u8]) -> String {
    String::from_utf8_lossy(request).lines().next().unwrap_or_default().to_owned()
}
