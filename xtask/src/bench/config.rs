//! `bench config`: the order of the measurements, and how long each is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use super::{
    Common, gets, growth, held, limits, loops, notify, option, postgres,
    process::{Bare, Machine, Subject},
    publishes,
    report::Report,
    start, watched,
};
use crate::{server, storage::Storage};

/// Options of `bench config`.
#[derive(clap::Args, Default)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Where the server keeps its data; on Postgres, gets and publishes are measured.
    #[arg(long, value_enum, default_value = "sqlite")]
    storage: Storage,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Start,
    Gets,
    Publishes,
    Held,
    Watched,
    Notify,
    Growth,
}

/// What is measured on Postgres: the rest does not touch the storage.
const ON_POSTGRES: [Part; 2] = [Part::Gets, Part::Publishes];

impl Args {
    /// The short form of everything.
    pub fn quick(storage: Storage) -> Self {
        Self { common: Common::quick(), storage, ..Self::default() }
    }

    /// The same options as they stand on a command line.
    pub fn to_arguments(&self) -> Vec<String> {
        let mut arguments = self.common.to_arguments();
        arguments.extend(self.only.iter().flat_map(|part| option("only", part)));
        arguments.extend(option("storage", &self.storage));
        arguments
    }

    fn wants(&self, part: Part) -> bool {
        let measured = self.storage == Storage::Sqlite || ON_POSTGRES.contains(&part);
        measured && (self.only.is_empty() || self.only.contains(&part))
    }
}

/// How much of each is measured.
struct Plan {
    starts: usize,
    gets: loops::Plan,
    publishes: publishes::Plan,
    held: Vec<usize>,
    watched: usize,
    notify: notify::Plan,
    overwrites: Vec<usize>,
}

impl Plan {
    fn full() -> Self {
        Self {
            starts: 9,
            gets: loops::Plan { rounds: 7, round: Duration::from_secs(3) },
            publishes: publishes::Plan { rounds: 5, part: Duration::from_secs(4) },
            held: vec![1_000, 10_000, 30_000],
            watched: 1_000,
            notify: notify::Plan { polls: 10_000, rounds: 7 },
            overwrites: vec![1_000, 10_000, 25_000, 50_000],
        }
    }

    fn quick() -> Self {
        Self {
            starts: 3,
            gets: loops::Plan { rounds: 3, round: Duration::from_secs(1) },
            publishes: publishes::Plan { rounds: 1, part: Duration::from_secs(2) },
            held: vec![1_000],
            watched: 200,
            notify: notify::Plan { polls: 1_000, rounds: 3 },
            overwrites: vec![1_000, 6_000],
        }
    }
}

/// Runs the benchmarks. A missed target is printed; a wrong answer is an error.
pub fn run(args: &Args) -> Result<()> {
    let plan = if args.common.quick { Plan::quick() } else { Plan::full() };
    ensure!(
        args.storage == Storage::Sqlite || args.only.iter().all(|part| ON_POSTGRES.contains(part)),
        "on Postgres gets and publishes are measured"
    );
    let open_files = limits::raise_open_files()?;
    // Built before anything is measured.
    server::binary()?;
    let quiet = Machine::now()?;
    // One thread: the servers need the other cores more.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report::new(open_files)?;
    let configs: Vec<(String, String)> =
        (0..1_000).map(|n| (format!("bench-config-{n:04}"), format!("{n:04}").repeat(256))).collect();
    if args.storage == Storage::Postgres {
        let plan = postgres::Plan {
            gets: args.wants(Part::Gets).then_some(plan.gets),
            publishes: args.wants(Part::Publishes).then_some(&plan.publishes),
        };
        postgres::measure(&mut report, &runtime, &plan, &configs)?;
    } else if [Part::Start, Part::Gets, Part::Publishes].into_iter().any(|part| args.wants(part)) {
        let data = start::data_folder()?;
        eprintln!("start");
        let server = start::measure(&mut report, &runtime, plan.starts, data.path(), &configs)?;
        let bare = Bare::start()?;
        let (ours, theirs) = (Subject::from(&server), bare.subject());
        if args.wants(Part::Gets) {
            eprintln!("gets");
            gets::measure(&mut report, plan.gets, ours, theirs, &configs)?;
        }
        if args.wants(Part::Publishes) {
            eprintln!("publishes");
            publishes::measure(&mut report, &runtime, &plan.publishes, ours, theirs, data.path())?;
        }
        server.stop().context("stop the server")?;
    }
    if args.wants(Part::Held) {
        eprintln!("held polls");
        held::measure(&mut report, &runtime, &plan.held, open_files)?;
    }
    if args.wants(Part::Watched) {
        eprintln!("watched keys");
        watched::measure(&mut report, &runtime, plan.watched)?;
    }
    if args.wants(Part::Notify) {
        eprintln!("notification");
        notify::measure(&mut report, &runtime, &plan.notify, open_files)?;
    }
    if args.wants(Part::Growth) {
        eprintln!("overwrites");
        growth::measure(&mut report, &runtime, &plan.overwrites)?;
    }
    report.finish(&quiet, &args.common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_back() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let args = Args {
            common: Common { quick: true, json: Some("f.json".into()) },
            only: vec![Part::Gets, Part::Held],
            storage: Storage::Postgres,
        };
        let line: Line = clap::Parser::parse_from([vec!["bench".to_owned()], args.to_arguments()].concat());
        assert!(line.args.common == args.common && line.args.only == args.only);
        assert_eq!(line.args.storage, args.storage);
    }
}
