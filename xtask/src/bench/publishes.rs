//! Publishes a second by concurrent clients, each answered after its commit is on disk; beside the rate at which
//! lone transactions are committed in the same folder in the same minute.

use std::{
    collections::HashMap,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    disk, median,
    process::Subject,
    report::{Report, Row, Target, milliseconds, per_second},
    wire::{self, Connection},
};

/// Concurrent publishers.
pub const CLIENTS: usize = 32;

const SIZE: usize = 1024;
const DIGITS: usize = 16;

/// The number of the next content: no two publishes of a run are alike.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn digits(number: u64) -> String {
    format!("{number:0DIGITS$}")
}

/// 1 KiB that begins with the number and needs no encoding in a form.
fn content(number: u64) -> String {
    let mut content = digits(number);
    content.extend(std::iter::repeat_n('x', SIZE - DIGITS));
    content
}

/// How much is measured.
pub struct Plan {
    /// Rounds of everything.
    pub rounds: usize,
    /// Length of each part of a round.
    pub part: Duration,
}

/// When publishers stop.
#[derive(Clone, Copy)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After this many publishes, together.
    Count(usize),
}

/// What publishers did.
pub struct Done {
    /// Answers.
    pub publishes: usize,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Each answer's time.
    latencies: Vec<Duration>,
    /// By dataId, the number of the last acknowledged content of each client that wrote it.
    last: HashMap<String, Vec<u64>>,
}

/// Measures publishes over many keys and over one, and adds them to the report.
///
/// `folder` is where the server under measurement has its data, `theirs` the bare server.
pub fn measure(
    report: &mut Report,
    runtime: &Runtime,
    plan: &Plan,
    ours: Subject,
    theirs: Subject,
    folder: &Path,
) -> Result<()> {
    let many: Vec<String> = (0..1_000).map(|n| format!("bench-publish-{n}")).collect();
    let one = vec!["bench-publish-alone".to_owned()];
    let (mut lone, mut synced, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rates, mut rates_of_one, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        synced.push(disk::synced_writes(folder, plan.part / 4)?);
        lone.push(disk::lone_transactions(folder, plan.part / 4)?);
        let until = Until::Elapsed(plan.part);
        let done = runtime.block_on(publish(ours, &many, until))?;
        rates.push(done.rate());
        runtime.block_on(done.check(ours))?;
        latencies.extend(done.latencies);
        lone.push(disk::lone_transactions(folder, plan.part / 4)?);
        let done = runtime.block_on(publish(ours, &one, until))?;
        rates_of_one.push(done.rate());
        runtime.block_on(done.check(ours))?;
        bare.push(runtime.block_on(publish(theirs, &many, Until::Elapsed(plan.part / 4)))?.rate());
    }
    let lone = median(&lone);
    let target = Target::AtLeast(per_second((10.0 * lone).min(8_000.0)));
    report.row(
        Row::new(format!("publishes at 1 KiB, {CLIENTS} clients, 1,000 keys"), per_second(median(&rates)))
            .beside("lone transactions", per_second(lone))
            .target(target),
    );
    report.row(
        Row::new(format!("publishes at 1 KiB, {CLIENTS} clients, one key"), per_second(median(&rates_of_one)))
            .beside("lone transactions", per_second(lone))
            .target(target),
    );
    report.row(
        Row::new("the same, beside a server that stores nothing", per_second(median(&rates)))
            .beside("bare", per_second(median(&bare))),
    );
    report.row(Row::new("4 KiB pwrite + fdatasync", per_second(median(&synced))));
    latencies.sort_unstable();
    report.note(format!(
        "publishes: {} rounds; target is the smaller of 8,000/s and 10 times the lone transactions; \
         time of a publish over 1,000 keys: median {}, 99th percentile {}",
        plan.rounds,
        milliseconds(percentile(&latencies, 50)),
        milliseconds(percentile(&latencies, 99)),
    ));
    Ok(())
}

/// In milliseconds, of sorted times.
pub fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Publishes new contents of 1 KiB by concurrent clients in closed loops, the keys divided among them; all write
/// all keys if there are fewer keys than clients.
pub async fn publish(subject: Subject, keys: &[String], until: Until) -> Result<Done> {
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let shared = keys.len() < CLIENTS;
        let own = keys.iter().enumerate().filter(|(at, _)| shared || at % CLIENTS == client);
        let connection = Connection::open(subject.addr, None).await.context("connect")?;
        clients.push(Client::new(connection, own.map(|(_, key)| key.as_str())));
    }
    let begun = Instant::now();
    let mut loops = JoinSet::new();
    for (nth, client) in clients.into_iter().enumerate() {
        let (deadline, count) = match until {
            Until::Elapsed(duration) => (Some(begun + duration), usize::MAX),
            Until::Count(count) => (None, count / CLIENTS + usize::from(nth < count % CLIENTS)),
        };
        loops.spawn(client.run(deadline, count));
    }
    let mut done = Done { publishes: 0, elapsed: Duration::ZERO, latencies: Vec::new(), last: HashMap::new() };
    while let Some(client) = loops.join_next().await {
        let client = client??;
        done.publishes += client.latencies.len();
        done.latencies.extend_from_slice(&client.latencies);
        for request in client.requests {
            if let Some(number) = request.acknowledged {
                done.last.entry(request.data_id).or_default().push(number);
            }
        }
    }
    done.elapsed = begun.elapsed();
    Ok(done)
}

impl Done {
    /// Each answer's time.
    pub fn into_latencies(self) -> Vec<Duration> {
        self.latencies
    }

    /// Publishes a second.
    pub fn rate(&self) -> f64 {
        self.publishes as f64 / self.elapsed.as_secs_f64()
    }

    /// Reads every key back: it must hold what was acknowledged last. Nacos answers a publish before its cache
    /// has the new content, so a read may lag by a moment; 5 s are allowed.
    pub async fn check(&self, subject: Subject) -> Result<()> {
        let mut connection = Connection::open(subject.addr, None).await?;
        let deadline = Instant::now() + Duration::from_secs(5);
        for (data_id, numbers) in &self.last {
            let request = wire::read(data_id);
            loop {
                let answer = connection.exchange(&request).await?;
                if answer.status == 200 && numbers.iter().any(|number| content(*number).as_bytes() == answer.body) {
                    break;
                }
                ensure!(
                    Instant::now() < deadline,
                    "{data_id} does not hold what was published last: {}",
                    answer.summary()
                );
                sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }
}

struct Client {
    connection: Connection,
    requests: Vec<Request>,
    latencies: Vec<Duration>,
}

struct Request {
    data_id: String,
    bytes: Vec<u8>,
    /// The number of the content that was acknowledged last.
    acknowledged: Option<u64>,
}

impl Client {
    fn new<'a>(connection: Connection, keys: impl Iterator<Item = &'a str>) -> Self {
        let requests = keys.map(|data_id| Request {
            data_id: data_id.to_owned(),
            bytes: wire::publish(data_id, &content(0), None),
            acknowledged: None,
        });
        Self { connection, requests: requests.collect(), latencies: Vec::new() }
    }

    async fn run(mut self, deadline: Option<Instant>, count: usize) -> Result<Self> {
        while self.latencies.len() < count {
            let at = self.latencies.len() % self.requests.len();
            let request = &mut self.requests[at];
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            // The content stands at the request's end, and only its first digits change.
            let start = request.bytes.len() - SIZE;
            request.bytes[start..start + DIGITS].copy_from_slice(digits(number).as_bytes());
            let sent = Instant::now();
            let answer = self.connection.exchange(&request.bytes).await?;
            ensure!(answer.is(b"true"), "publish of {} answered with {}", request.data_id, answer.summary());
            let now = Instant::now();
            self.latencies.push(now - sent);
            request.acknowledged = Some(number);
            if deadline.is_some_and(|deadline| now >= deadline) {
                break;
            }
        }
        Ok(self)
    }
}
