#![allow(
    clippy::disallowed_methods,
    reason = "it watches processes from outside: there is no clock of tests to follow"
)]
//! Integration runs, checks and benchmarks: everything that drives the built server from outside.
//!
//! One module per command. Nothing depends on this crate, and it depends on none of the server's:
//! it sees the server as its users do, through the binary and its ports.

mod bench;
mod cargo;
mod crash;
mod fuzz;
mod golden;
mod postgres;
mod sdk;
mod server;
mod storage;
mod test;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "integration runs, checks and benchmarks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that this machine can run: lints, unit tests, recorded exchanges, crashes, real clients.
    Test(test::Args),
    /// Replays the recorded exchanges of real Nacos servers against the built server.
    Golden(golden::Args),
    /// Real clients of other languages against the built server.
    Sdk(sdk::Args),
    /// Kills the server while it is written to, and looks for acknowledged writes afterwards.
    Crash(crash::Args),
    /// Whole-server benchmarks, each beside a ceiling measured in the same run.
    Bench(bench::Args),
    /// Starts a Postgres of its own for a while, alone or beside a command.
    Pg(postgres::Args),
    /// Runs the fuzz targets for a while each.
    Fuzz(fuzz::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Test(args) => test::run(args),
        Command::Golden(args) => golden::run(args),
        Command::Sdk(args) => sdk::run(args),
        Command::Crash(args) => crash::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Pg(args) => postgres::run(args),
        Command::Fuzz(args) => fuzz::run(args),
    }
}
