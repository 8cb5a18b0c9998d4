//! From a publish to the last answer of thousands of polls held on its key.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::{
    runtime::Runtime,
    task::{JoinSet, yield_now},
    time::Instant,
};

use super::{
    held::{self, Fleet, WATCHED},
    limits, median,
    process::{Bare, Subject},
    report::{Report, Row, Target, milliseconds},
    start,
    wire::{self, Connection},
};

/// How much is measured.
pub struct Plan {
    /// Held polls.
    pub polls: usize,
    /// Publishes.
    pub rounds: usize,
}

/// What a round gave, in milliseconds from the publish being sent.
struct Round {
    /// Until the publish was answered.
    answered: f64,
    /// Until the last poll was.
    last: f64,
}

/// Measures ours and the bare server, and adds the figures to the report.
pub fn measure(report: &mut Report, runtime: &Runtime, plan: &Plan, open_files: u64) -> Result<()> {
    let polls = limits::connections(plan.polls, open_files);
    let ours = {
        let (_data, server) = start::fresh()?;
        let subject = Subject::from(&server);
        let expected = |_: &str| wire::changed(WATCHED);
        runtime.block_on(async {
            let md5 = held::publish(subject, "round 0").await?;
            rounds(subject, plan.rounds, polls, md5, expected).await
        })?
    };
    let theirs = {
        let bare = Bare::start()?;
        // The bare server stores nothing, and gives back what a poll asked for, decoded.
        let expected = |md5: &str| format!("{WATCHED}\u{2}{}\u{2}{md5}\u{1}", wire::GROUP).into_bytes();
        let md5 = start::md5_hex("round 0");
        runtime.block_on(rounds(bare.subject(), plan.rounds, polls, md5, expected))?
    };
    let of = |rounds: &[Round], figure: fn(&Round) -> f64| median(&rounds.iter().map(figure).collect::<Vec<f64>>());
    report.row(
        Row::new(format!("publish to the last of {polls} answers"), milliseconds(of(&ours, |round| round.last)))
            .beside("bare", milliseconds(of(&theirs, |round| round.last)))
            .target(Target::AtMost(milliseconds(300.0))),
    );
    let all: Vec<String> = ours.iter().map(|round| format!("{:.0}", round.last)).collect();
    report.note(format!(
        "publish to last answer: rounds of {} ms; the publish itself was answered after {} (median)",
        all.join(", "),
        milliseconds(of(&ours, |round| round.answered))
    ));
    Ok(())
}

async fn rounds(
    subject: Subject,
    rounds: usize,
    polls: usize,
    mut md5: String,
    expected: impl Fn(&str) -> Vec<u8>,
) -> Result<Vec<Round>> {
    let mut fleet = Fleet::new(subject);
    fleet.grow(polls, |_| held::poll(&md5)).await?;
    let mut figures = Vec::new();
    for round in 1..=rounds {
        subject.settle().await?;
        fleet.check_held().with_context(|| format!("before round {round}"))?;
        let content = format!("round {round}");
        let body = expected(&md5);
        figures.push(wake(subject, &mut fleet, &content, body).await.with_context(|| format!("round {round}"))?);
        md5 = start::md5_hex(&content);
        for connection in fleet.connections() {
            connection.send(&held::poll(&md5)).await?;
        }
    }
    Ok(figures)
}

/// One publish, and the answers of all polls.
async fn wake(subject: Subject, fleet: &mut Fleet, content: &str, body: Vec<u8>) -> Result<Round> {
    let mut publisher = Connection::open(subject.addr, None).await?;
    let mut waiting = JoinSet::new();
    let body: std::sync::Arc<[u8]> = body.into();
    let count = fleet.connections().len();
    for mut connection in fleet.connections().drain(..) {
        let body = std::sync::Arc::clone(&body);
        waiting.spawn(async move {
            let answer = connection.answer().await?;
            let at = Instant::now();
            ensure!(answer.is(&body), "wrong answer to a poll: {}", answer.summary());
            Ok((connection, at))
        });
    }
    // One turn of a runtime with one thread: every poll now waits in its read.
    yield_now().await;
    let sent = Instant::now();
    let answer = publisher.exchange(&wire::publish(WATCHED, content, None)).await?;
    ensure!(answer.is(b"true"), "publish answered with {}", answer.summary());
    let answered = sent.elapsed();
    let mut last = sent;
    let all = async {
        while let Some(done) = waiting.join_next().await {
            let (connection, at) = done??;
            last = last.max(at);
            fleet.connections().push(connection);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.context("not all polls were answered within 60 s")??;
    ensure!(fleet.connections().len() == count, "polls are missing");
    Ok(Round { answered: answered.as_secs_f64() * 1e3, last: (last - sent).as_secs_f64() * 1e3 })
}
