//! The same server on Postgres: reads beside the bare server, publishes beside Postgres' own benchmark.
//!
//! `pgbench -N` is the ceiling: as many clients, each committing an update, a read and an insert of its own by
//! prepared statements, on the same Postgres right before and after the publishes.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::{
    gets, loops, median,
    process::{Bare, Subject},
    publishes::{self, CLIENTS, Until},
    report::{Report, Row, Target, milliseconds, per_second},
    start,
};
use crate::{
    postgres::{Database, Postgres, output_of},
    server::Launch,
    storage::Storage,
};

/// Rows of pgbench's largest table, in 100,000.
const SCALE: &str = "10";
/// What share of pgbench's rate publishes are to reach.
const SHARE: f64 = 0.60;

/// What is measured.
pub struct Plan<'a> {
    /// Reads, if they are.
    pub gets: Option<loops::Plan>,
    /// Publishes, if they are.
    pub publishes: Option<&'a publishes::Plan>,
}

/// Starts a Postgres and a server on it with these configurations, measures, and adds the figures to the report.
pub fn measure(report: &mut Report, runtime: &Runtime, plan: &Plan<'_>, configs: &[(String, String)]) -> Result<()> {
    let postgres = Storage::Postgres.start(Some(&super::target()))?.context("no Postgres")?;
    let data = start::data_folder()?;
    let mut launch = Launch::new(data.path())?;
    let database = postgres.create_database()?;
    launch.set.clone_from(&database.settings);
    let server = launch.start()?;
    let ours = Subject::from(&server);
    runtime.block_on(start::publish_all(ours, configs))?;
    // As pgbench does with its own tables, and Postgres by itself within a minute: without figures about the tables it
    // may read them by the wrong index.
    postgres.query(&database.name, "VACUUM ANALYZE")?;
    report.note(format!("storage: {}", postgres.version()?));
    if let Some(plan) = plan.gets {
        eprintln!("gets");
        let bare = Bare::start()?;
        gets::measure(report, plan, ours, bare.subject(), configs)?;
    }
    if let Some(plan) = plan.publishes {
        eprintln!("publishes");
        publish(report, runtime, plan, ours, &postgres)?;
    }
    server.stop().context("stop the server")
}

fn publish(
    report: &mut Report,
    runtime: &Runtime,
    plan: &publishes::Plan,
    ours: Subject,
    postgres: &Postgres,
) -> Result<()> {
    let many: Vec<String> = (0..1_000).map(|n| format!("bench-publish-{n}")).collect();
    let one = vec!["bench-publish-alone".to_owned()];
    let ceiling = Pgbench::new(postgres)?;
    let mut transactions = vec![ceiling.run(plan.part)?];
    let (mut rates, mut rates_of_one, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    let (mut shares, mut shares_of_one) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let before = transactions.last().copied().unwrap_or_default();
        let done = runtime.block_on(publishes::publish(ours, &many, Until::Elapsed(plan.part)))?;
        runtime.block_on(done.check(ours))?;
        let done_of_one = runtime.block_on(publishes::publish(ours, &one, Until::Elapsed(plan.part)))?;
        runtime.block_on(done_of_one.check(ours))?;
        let after = ceiling.run(plan.part)?;
        let beside = f64::midpoint(before, after);
        shares.push(super::ratio(done.rate(), beside));
        shares_of_one.push(super::ratio(done_of_one.rate(), beside));
        rates.push(done.rate());
        rates_of_one.push(done_of_one.rate());
        latencies.extend(done.into_latencies());
        transactions.push(after);
    }
    let beside = per_second(median(&transactions));
    for (keys, rates, shares) in [("1,000 keys", &rates, shares), ("one key", &rates_of_one, shares_of_one)] {
        report.row(
            Row::new(format!("publishes at 1 KiB, {CLIENTS} clients, {keys}"), per_second(median(rates)))
                .beside("pgbench -N", beside)
                .ratio(median(&shares))
                .target(Target::RatioAtLeast(SHARE)),
        );
    }
    latencies.sort_unstable();
    report.note(format!(
        "publishes: {} rounds, each between two runs of pgbench, the ratio is the median over rounds; pgbench {}; \
         over 1,000 keys {}, over one {}; time of a publish over 1,000 keys: median {}, 99th percentile {}",
        plan.rounds,
        in_turn(&transactions),
        in_turn(&rates),
        in_turn(&rates_of_one),
        milliseconds(publishes::percentile(&latencies, 50)),
        milliseconds(publishes::percentile(&latencies, 99)),
    ));
    Ok(())
}

/// The rates one after the other: what grows with the rows stored shows in them.
fn in_turn(rates: &[f64]) -> String {
    let rates: Vec<String> = rates.iter().map(|rate| per_second(*rate).to_string()).collect();
    rates.join(", ")
}

/// Postgres' own benchmark, in a database of its own.
struct Pgbench<'a> {
    postgres: &'a Postgres,
    database: Database,
}

impl<'a> Pgbench<'a> {
    fn new(postgres: &'a Postgres) -> Result<Self> {
        let database = postgres.create_database()?;
        output_of(postgres.client("pgbench").args(["-i", "-q", "-s", SCALE, &database.name]))?;
        Ok(Self { postgres, database })
    }

    /// Transactions a second over this time.
    fn run(&self, duration: Duration) -> Result<f64> {
        let (clients, seconds) = (CLIENTS.to_string(), duration.as_secs().max(1).to_string());
        let mut pgbench = self.postgres.client("pgbench");
        // -n: the tables are not vacuumed first, which would wait for what a run before left.
        pgbench.args(["-n", "-N", "-M", "prepared", "-j", "2", "-c", &clients, "-T", &seconds, &self.database.name]);
        let output = output_of(&mut pgbench)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        rate(&said).with_context(|| format!("pgbench said no rate: {said}"))
    }
}

/// The rate in what pgbench says at its end.
fn rate(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_found() {
        let said = "number of failed transactions: 0 (0.000%)\nlatency average = 6.6 ms\n\
                    tps = 4844.158212 (without initial connection time)\n";
        assert_eq!(rate(said), Some(4844.158212));
        assert_eq!(rate("pgbench: error"), None);
    }
}
