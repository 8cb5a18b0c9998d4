//! Whole-server benchmarks. Each figure stands beside a ceiling measured in the same run: a bare axum server, lone
//! transactions in the same folder or pgbench on the same Postgres, the same request held by nobody in particular, the
//! same datagrams sent by a loop.
//!
//! The load generator is this program, so it is run optimised whatever `cargo xtask` was built as. A missed target
//! is printed, not an error; a wrong answer is an error, because a server that answers wrongly fast has no speed.

mod bare;
mod config;
mod disk;
mod gets;
mod growth;
mod held;
mod limits;
mod loops;
mod naming;
mod notify;
mod postgres;
mod process;
mod publishes;
mod report;
mod start;
mod watched;
pub mod wire;

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::{server, storage::Storage};

/// Options of the command.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Configuration over HTTP: reads, publishes, held long polls, notification, memory, start.
    Config(config::Args),
    /// Service discovery over HTTP and UDP: registrations, heartbeats, lists, many instances held, pushes, memory.
    Naming(naming::Args),
    /// The bare axum server that the others stand beside.
    #[command(hide = true)]
    Bare {
        /// The port of loopback to listen on.
        #[arg(long)]
        port: u16,
    },
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    match args.what {
        What::Bare { port } => bare::serve(port),
        What::Config(args) if cfg!(debug_assertions) => optimised("config", &args.to_arguments()),
        What::Config(args) => config::run(&args),
        What::Naming(args) if cfg!(debug_assertions) => optimised("naming", &args.to_arguments()),
        What::Naming(args) => naming::run(&args),
    }
}

/// The short form of `bench config`, for the `test` command: under a minute, wrong answers are errors.
pub fn run_short(storage: Storage) -> Result<()> {
    run(Args { what: What::Config(config::Args::quick(storage)) })
}

/// The short form of `bench naming`, for the `test` command: under two minutes, wrong answers are errors.
pub fn run_short_naming() -> Result<()> {
    run(Args { what: What::Naming(naming::Args::quick()) })
}

/// What every benchmark can be told.
#[derive(clap::Args, Default, Debug, PartialEq)]
struct Common {
    /// A short form: it shows that all works, its figures are rough.
    #[arg(long)]
    quick: bool,
    /// Writes the figures to this file as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Common {
    /// The short form.
    fn quick() -> Self {
        Self { quick: true, json: None }
    }

    /// The same as it stands on a command line.
    fn to_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if self.quick {
            arguments.push("--quick".to_owned());
        }
        if let Some(file) = &self.json {
            arguments.extend(["--json".to_owned(), file.display().to_string()]);
        }
        arguments
    }
}

/// An option and its value as they stand on a command line.
fn option(name: &str, value: &impl ValueEnum) -> Vec<String> {
    let value = value.to_possible_value();
    value.into_iter().flat_map(|value| [format!("--{name}"), value.get_name().to_owned()]).collect()
}

/// Builds this program in the release profile and runs this benchmark in it.
fn optimised(benchmark: &str, arguments: &[String]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "xtask"])
        .current_dir(server::root())
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "cargo build of xtask failed: {status}");
    let status = Command::new(target().join("release/xtask"))
        .args(["bench", benchmark])
        .args(arguments)
        .status()
        .context("run the optimised xtask")?;
    ensure!(status.success(), "bench {benchmark} ended with {status}");
    Ok(())
}

/// Cargo's target folder: on a real disk, where a temporary folder may be memory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| server::root().join("target"), PathBuf::from)
}

/// The middle one of the figures; the mean of the middle two if their number is even, 0 if there is none.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The quotient; 0 if there is nothing to divide by.
fn ratio(ours: f64, theirs: f64) -> f64 {
    if theirs > 0.0 { ours / theirs } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
