//! `cargo xtask sdk`: real Nacos clients of other languages against the built server.
//!
//! The clients are installed by their own package managers under `target/sdk`, the versions are pinned in
//! [`clients`]. What is driven through them are programs of ours in `xtask/sdk`, one for each language and area; they
//! say on their standard output how it went ([`conversation`]), and `steps` of [`config`] and [`naming`] know what
//! each of them has to say.

// The pause-able clock is for code inside the server; this is a program that talks to it from outside.
#![allow(clippy::disallowed_methods)]

mod clients;
mod config;
mod conversation;
mod gate;
mod gateway;
mod http;
mod naming;
mod round;
mod steps;
mod tally;
mod tools;

use anyhow::{Result, ensure};

use crate::storage::{Choice, Storage};

/// Options of the command.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Configuration over HTTP: publish, read, listen, remove, with a restart of the server in between.
    Config(config::Args),
    /// Service discovery over HTTP: register, beat, query, be told by UDP, with killed clients and a killed server.
    Naming(naming::Args),
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps that passed, over all clients.
    pub passed: usize,
    /// Steps that failed, over all clients; a client that was left out counts as one where none may be.
    pub failed: usize,
    /// Clients that could not be run here, each with the reason: `java (mvn not found)`.
    pub left_out: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// A step failed, a client was left out that may not be, or the server cannot be built, started or stopped.
pub fn run(args: Args) -> Result<()> {
    let outcome = match args.what {
        What::Config(args) => config::run(&args)?,
        What::Naming(args) => naming::run(&args)?,
    };
    println!("{} passed, {} failed", outcome.passed, outcome.failed);
    ensure!(outcome.failed == 0, "{} steps failed", outcome.failed);
    Ok(())
}

/// `sdk config` with every client, for the `test` command. Prints a line for each client and step and for each
/// client left out, but no sum. With `all` a client left out is a failure.
///
/// # Errors
/// The server cannot be built, started or stopped. Failed steps are no error, they are in the outcome.
pub fn run_config(all: bool, storage: Choice) -> Result<Outcome> {
    config::run(&config::Args::every_client(all, storage))
}

/// `sdk naming` with every client but Spring Cloud, for the `test` command. Prints as [`run_config`] does; with `all`
/// a client left out is a failure. Takes some 80 s: an instance whose client was killed leaves after 30.
///
/// # Errors
/// As [`run_config`].
pub fn run_naming(all: bool, storage: Storage) -> Result<Outcome> {
    naming::run(&naming::Args::every_language(all, storage))
}
