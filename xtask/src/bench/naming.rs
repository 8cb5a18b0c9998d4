//! `bench naming`: the order of the measurements, and how long each is.
//!
//! The storage has no part in it: instances that live from heartbeats are kept in memory alone.

mod crowd;
mod held;
mod pace;
mod push;
mod rates;
pub mod requests;
mod subscribers;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use super::{Common, limits, loops, option, process::Machine, report::Report};
use crate::server;

/// Options of `bench naming`.
#[derive(clap::Args, Default)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
    Registrations,
    Beats,
    Lists,
    Push,
    Held,
}

impl Args {
    /// The short form of everything.
    pub fn quick() -> Self {
        Self { common: Common::quick(), ..Self::default() }
    }

    /// The same options as they stand on a command line.
    pub fn to_arguments(&self) -> Vec<String> {
        let mut arguments = self.common.to_arguments();
        arguments.extend(self.only.iter().flat_map(|part| option("only", part)));
        arguments
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// How much of each is measured.
struct Plan {
    rates: loops::Plan,
    push: push::Plan,
    held: held::Plan,
}

impl Plan {
    fn full() -> Self {
        Self {
            rates: loops::Plan { rounds: 5, round: Duration::from_secs(2) },
            push: push::Plan { subscribers: 2_000, rounds: 7, storm: 500 },
            held: held::Plan { instances: 100_000, duration: Duration::from_secs(60), subscribers: 10_000 },
        }
    }

    fn quick() -> Self {
        Self {
            rates: loops::Plan { rounds: 3, round: Duration::from_secs(1) },
            push: push::Plan { subscribers: 500, rounds: 3, storm: 500 },
            held: held::Plan { duration: Duration::from_secs(30), ..Self::full().held },
        }
    }
}

/// Runs the benchmarks. A missed target is printed; a wrong answer is an error.
pub fn run(args: &Args) -> Result<()> {
    let plan = if args.common.quick { Plan::quick() } else { Plan::full() };
    let open_files = limits::raise_open_files()?;
    // Built before anything is measured.
    server::binary()?;
    let quiet = Machine::now()?;
    // One thread: the servers need the other cores more.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report::new(open_files)?;
    if args.wants(Part::Registrations) {
        eprintln!("registrations");
        rates::registrations(&mut report, &runtime, plan.rates)?;
    }
    if args.wants(Part::Beats) {
        eprintln!("heartbeats");
        rates::beats(&mut report, &runtime, plan.rates)?;
    }
    if args.wants(Part::Lists) {
        eprintln!("lists");
        rates::lists(&mut report, &runtime, plan.rates)?;
    }
    if args.wants(Part::Push) {
        eprintln!("pushes");
        push::measure(&mut report, &runtime, &plan.push, open_files)?;
    }
    if args.wants(Part::Held) {
        eprintln!("instances held by heartbeats");
        held::measure(&mut report, &runtime, &plan.held, open_files)?;
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
        let common = Common { quick: true, json: Some("f.json".into()) };
        let args = Args { common, only: vec![Part::Beats, Part::Held] };
        let line: Line = clap::Parser::parse_from([vec!["bench".to_owned()], args.to_arguments()].concat());
        assert!(line.args.common == args.common && line.args.only == args.only);
    }
}
