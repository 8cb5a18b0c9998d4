//! From a registration to the last of thousands of UDP subscribers knowing of it, alone and in a storm.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};

use super::{
    crowd,
    requests::Size,
    subscribers::{Fleet, Goal},
};
use crate::bench::{
    bare, limits, median,
    process::{Bare, Subject},
    report::{self, Report, Row, milliseconds},
    start,
    wire::Connection,
};

/// How much is measured.
pub struct Plan {
    /// Subscribers of the one service.
    pub subscribers: usize,
    /// Lone changes.
    pub rounds: u32,
    /// Registrations in a burst.
    pub storm: u32,
}

/// One service takes all instances that there are.
const SIZE: Size = Size(20_000);
/// Instances before anything is measured.
const FIRST: u32 = 10;
/// Longer than the window in which changes are gathered.
const APART: Duration = Duration::from_millis(700);

/// What a change gave, in milliseconds from its request being sent.
struct Round {
    /// Until it was answered.
    answered: f64,
    /// Until the last subscriber had its datagram.
    last: f64,
}

/// Measures and adds the figures to the report.
pub fn measure(report: &mut Report, runtime: &Runtime, plan: &Plan, open_files: u64) -> Result<()> {
    let count = limits::connections(plan.subscribers, open_files);
    let (ours, datagram) = {
        let (_data, server) = start::fresh()?;
        runtime.block_on(ours(report, plan, Subject::from(&server), count))?
    };
    let theirs = {
        let bare = Bare::start()?;
        runtime.block_on(theirs(plan, bare.subject(), count, &datagram))?
    };
    let of = |rounds: &[Round], figure: fn(&Round) -> f64| median(&rounds.iter().map(figure).collect::<Vec<f64>>());
    report.row(
        Row::new(
            format!("registration to the last of {} datagrams", report::count(count as f64)),
            milliseconds(of(&ours, |round| round.last)),
        )
        .beside("bare", milliseconds(of(&theirs, |round| round.last))),
    );
    let all: Vec<String> = ours.iter().map(|round| format!("{:.1}", round.last)).collect();
    report.note(format!(
        "registration to last datagram, of {} bytes: rounds of {} ms; the registration itself was answered after {} \
         (median), by bare after {}",
        datagram.len(),
        all.join(", "),
        milliseconds(of(&ours, |round| round.answered)),
        milliseconds(of(&theirs, |round| round.answered)),
    ));
    Ok(())
}

async fn ours(report: &mut Report, plan: &Plan, subject: Subject, count: usize) -> Result<(Vec<Round>, Vec<u8>)> {
    crowd::watch_no_beats(subject).await?;
    crowd::register(subject, SIZE, 0..FIRST).await?;
    let fleet = Fleet::open(count)?;
    // Whoever subscribes is told of the service.
    fleet.expect(Goal::Datagrams(1));
    subscribe(subject, &fleet).await?;
    fleet.reached().await.context("first datagrams")?;
    let mut rounds = Vec::new();
    for number in FIRST..FIRST + plan.rounds {
        rest(subject).await?;
        let goal = Goal::Hosts(number as usize + 1);
        rounds.push(change(subject, &fleet, number, goal).await.with_context(|| format!("change {number}"))?);
        ensure!(fleet.datagrams().last() == Some(&1), "one change was told more than once");
    }
    let datagram = fleet.last_datagram();
    // Who does not ask again is forgotten after half a minute.
    subscribe(subject, &fleet).await?;
    rest(subject).await?;
    storm(report, plan, subject, &fleet, FIRST + plan.rounds).await?;
    fleet.check()?;
    Ok((rounds, datagram))
}

async fn theirs(plan: &Plan, subject: Subject, count: usize, datagram: &[u8]) -> Result<Vec<Round>> {
    crowd::put(subject, bare::naming::GIVEN_DATAGRAM, datagram).await?;
    let fleet = Fleet::open(count)?;
    subscribe(subject, &fleet).await?;
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        rest(subject).await?;
        rounds.push(change(subject, &fleet, number, Goal::Datagrams(1)).await?);
    }
    Ok(rounds)
}

/// Everybody subscribes, or says again that it still wants to be told.
async fn subscribe(subject: Subject, fleet: &Fleet) -> Result<()> {
    let mut connection = Connection::open(subject.addr, None).await?;
    for address in fleet.addresses() {
        let answer = connection.exchange(&SIZE.list(0, Some(*address))).await?;
        ensure!(answer.status == 200, "a subscriber was answered with {}", answer.summary());
    }
    Ok(())
}

async fn rest(subject: Subject) -> Result<()> {
    sleep(APART).await;
    subject.settle().await?;
    Ok(())
}

/// One registration, and the datagrams of all.
async fn change(subject: Subject, fleet: &Fleet, number: u32, goal: Goal) -> Result<Round> {
    let mut connection = Connection::open(subject.addr, None).await?;
    let request = SIZE.register(number);
    fleet.expect(goal);
    let sent = Instant::now();
    let answer = connection.exchange(&request).await?;
    ensure!(answer.is(b"ok"), "registration answered with {}", answer.summary());
    let answered = sent.elapsed();
    let last = fleet.reached().await?.context("told before it happened")?;
    Ok(Round { answered: answered.as_secs_f64() * 1e3, last: (last - sent).as_secs_f64() * 1e3 })
}

/// Many registrations as fast as they go, and the datagrams that follow.
async fn storm(report: &mut Report, plan: &Plan, subject: Subject, fleet: &Fleet, first: u32) -> Result<()> {
    let end = first + plan.storm;
    fleet.expect(Goal::Hosts(end as usize));
    let (cpu, begun) = (subject.cpu()?, Instant::now());
    crowd::register(subject, SIZE, first..end).await?;
    let registered = begun.elapsed();
    let last = fleet.reached().await?.context("told before it happened")? - begun;
    // The rest of what is under way.
    rest(subject).await?;
    let cpu = subject.cpu()? - cpu;
    let datagrams = fleet.datagrams();
    let at = |percent: usize| datagrams[(datagrams.len() - 1) * percent / 100];
    report.row(Row::new(
        format!(
            "{} registrations in a burst to the last of {} whole lists",
            plan.storm,
            report::count(datagrams.len() as f64)
        ),
        milliseconds(last.as_secs_f64() * 1e3),
    ));
    let state = crowd::json(subject, "/nacos/v1/ns/operator/push/state").await?;
    report.note(format!(
        "the burst took {:.0} ms; each subscriber had {} datagrams (fewest), {} (median), {} (most), the last of {} \
         bytes; the server used {:.0} ms of processor time for all of it; of all {} datagrams of this part {} were answered",
        registered.as_secs_f64() * 1e3,
        at(0),
        at(50),
        at(100),
        fleet.last_datagram().len(),
        cpu.as_secs_f64() * 1e3,
        state["total"],
        state["succeed"],
    ));
    Ok(())
}
