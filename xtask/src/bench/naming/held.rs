//! Many instances that live from their heartbeats: what processor time they take, and what memory; with lists asked
//! for, and with subscribers.

use std::{ops::Range, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};

use super::{
    crowd,
    pace::{INTERVAL, Pace},
    requests::Size,
    subscribers::{Fleet, Goal},
};
use crate::bench::{
    limits, median,
    process::{Bare, Subject, own_cpu},
    report::{Figure, Report, Row, Target, bytes, cores, count, microseconds, milliseconds},
    start,
    wire::Connection,
};

/// How much is measured.
pub struct Plan {
    /// Instances, ten in a service.
    pub instances: u32,
    /// How long their heartbeats are counted.
    pub duration: Duration,
    /// Subscribers, each to a service of its own.
    pub subscribers: usize,
}

const SIZE: Size = Size(10);
/// Of so many services one is compared before and after.
const SAMPLE: usize = 100;

/// Measures and adds the figures to the report.
pub fn measure(report: &mut Report, runtime: &Runtime, plan: &Plan, open_files: u64) -> Result<()> {
    let bare = {
        let bare = Bare::start()?;
        runtime.block_on(paced(bare.subject(), plan))?
    };
    let (_data, server) = start::fresh()?;
    runtime.block_on(hold(report, plan, Subject::from(&server), &bare, open_files))
}

/// What heartbeats at their pace took of a server.
struct Beaten {
    /// Heartbeats.
    beats: f64,
    /// In seconds.
    elapsed: f64,
    /// Of the server, in seconds.
    cpu: f64,
    /// Of the generator, in seconds.
    own: f64,
    /// Which heartbeats these were, of all that were sent.
    sent: Range<usize>,
}

impl Beaten {
    /// Looks on for so long.
    async fn during(duration: Duration, pace: &Pace, subject: Subject) -> Result<Self> {
        let (first, cpu, own, begun) = (pace.sent()?, subject.cpu()?, own_cpu()?, Instant::now());
        sleep(duration).await;
        let (cpu, own, elapsed) = (subject.cpu()? - cpu, own_cpu()? - own, begun.elapsed());
        let sent = first..pace.sent()?;
        let beats = sent.len() as f64;
        Ok(Self { beats, elapsed: elapsed.as_secs_f64(), cpu: cpu.as_secs_f64(), own: own.as_secs_f64(), sent })
    }

    fn cores(&self) -> Figure {
        cores(self.cpu / self.elapsed)
    }

    fn each(&self) -> Figure {
        microseconds(self.cpu * 1e6 / self.beats)
    }
}

/// The bare server at the same pace, for a quarter of the time.
async fn paced(subject: Subject, plan: &Plan) -> Result<Beaten> {
    let pace = Pace::start(subject.addr, SIZE, plan.instances);
    sleep(Duration::from_secs(1)).await;
    let beaten = Beaten::during(plan.duration / 4, &pace, subject).await?;
    pace.stop()?;
    Ok(beaten)
}

async fn hold(report: &mut Report, plan: &Plan, subject: Subject, bare: &Beaten, open_files: u64) -> Result<()> {
    let idle = warm(subject).await?;
    let begun = Instant::now();
    crowd::register(subject, SIZE, 0..plan.instances).await?;
    let registered = begun.elapsed();
    let pace = Pace::start(subject.addr, SIZE, plan.instances);
    // Until each has had its first, and timers have begun to fire.
    sleep(INTERVAL + Duration::from_secs(1)).await;
    let an_instance = |memory: f64| bytes((memory - idle as f64) / f64::from(plan.instances));
    let instances = count(plan.instances.into());
    report.row(Row::new(format!("memory an instance, {instances} registered"), an_instance(resident(subject).await?)));

    let services = 0..plan.instances / SIZE.0;
    let before = crowd::lists(subject, SIZE, services.clone().step_by(SAMPLE)).await?;
    let beaten = Beaten::during(plan.duration, &pace, subject).await?;
    // What changed in between would have another time in its list.
    let after = crowd::lists(subject, SIZE, services.clone().step_by(SAMPLE)).await?;
    let silent = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    ensure!(silent == 0, "instances of {silent} of {} services were unhealthy for a while", before.len());
    crowd::check_count(subject, plan.instances).await?;
    let held = an_instance(resident(subject).await?);

    report.row(
        Row::new(format!("{instances} instances that beat"), beaten.cores())
            .beside("bare", bare.cores())
            .target(Target::AtMost(cores(0.5))),
    );
    report
        .row(Row::new("server's processor time a heartbeat, at that pace", beaten.each()).beside("bare", bare.each()));
    crowd::lists(subject, SIZE, services.clone()).await.context("all lists at the end")?;
    report.row(Row::new("memory an instance, each list asked for", an_instance(resident(subject).await?)));
    let subscribers = limits::connections(plan.subscribers, open_files).min(services.len());
    let fleet = subscribe(subject, subscribers).await?;
    report.row(
        Row::new(
            format!("memory an instance, {} subscribers told", count(subscribers as f64)),
            an_instance(resident(subject).await?),
        )
        .target(Target::AtMost(bytes(1024.0))),
    );
    fleet.check()?;
    let mut late = pace.stop().context("heartbeats")?.get(beaten.sent.clone()).context("no heartbeats")?.to_vec();
    late.sort_unstable();
    let percentile = |percent: usize| milliseconds(f64::from(late[(late.len() - 1) * percent / 100]) / 1e3);
    report.note(format!(
        "{instances} instances, registered within {:.1} s: {:.0} heartbeats a second over {:.0} s, the generator used \
         {} for them; sent late by {} (median), {} (99th percentile), {} at most; memory an instance at the end of that \
         time {held}; all were healthy all the time, and the lists of every {SAMPLE}th service did not change",
        registered.as_secs_f64(),
        beaten.beats / beaten.elapsed,
        beaten.elapsed,
        cores(beaten.own / beaten.elapsed),
        percentile(50),
        percentile(99),
        percentile(100),
    ));
    Ok(())
}

/// Touches the paths that the measurement will use, so that code paged in and pools grown do not count as instances.
/// Gives the resident bytes afterwards. What it registers soon expires.
async fn warm(subject: Subject) -> Result<u64> {
    let size = Size(8);
    crowd::register(subject, size, 0..64).await?;
    crowd::lists(subject, size, 0..8).await?;
    subject.settle().await
}

/// Resident memory while the server works: the median over a second.
async fn resident(subject: Subject) -> Result<f64> {
    let mut samples = Vec::new();
    for _ in 0..10 {
        sleep(Duration::from_millis(100)).await;
        samples.push(subject.resident()? as f64);
    }
    Ok(median(&samples))
}

/// One subscriber for each of so many services; each has had its first datagram, and answered it.
async fn subscribe(subject: Subject, count: usize) -> Result<Fleet> {
    let fleet = Fleet::open(count)?;
    fleet.expect(Goal::Datagrams(1));
    let mut connection = Connection::open(subject.addr, None).await?;
    for (service, address) in (0..).zip(fleet.addresses()) {
        let answer = connection.exchange(&SIZE.list(service, Some(*address))).await?;
        ensure!(answer.status == 200, "a subscriber was answered with {}", answer.summary());
    }
    fleet.reached().await.context("first datagrams of subscribers")?;
    Ok(fleet)
}
