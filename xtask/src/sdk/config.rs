//! `cargo xtask sdk config`: the full round of configuration with each client, side by side.
//!
//! Two rounds, each with a server of its own and a restart in the middle: one with the server's defaults, and one
//! without its check of ids, in which ids and groups are Chinese. With two servers that share a Postgres the clients
//! publish through one and listen at the other ([`gateway`]), and both are restarted.

mod probe;
mod questions;
mod steps;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use self::{probe::Probe, steps::Round};
use super::{
    Outcome,
    clients::{Area, CLIENTS, Language},
    conversation::converse,
    gate::Restart,
    gateway,
    round::{self, Ready, address, kept, languages, prepare, settle},
    tally::Tally,
};
use crate::{
    server::{Launch, Server},
    storage::{Choice, Prepared},
};

/// Options of the command.
#[derive(clap::Args)]
pub struct Args {
    /// Only this client
    #[arg(long, value_enum, conflicts_with = "all")]
    only: Option<Language>,
    /// A client that cannot be run here is a failure
    #[arg(long)]
    all: bool,
    /// A running server, http://127.0.0.1:8848/nacos, instead of one built and started; it is not restarted
    #[arg(long, value_parser = address)]
    url: Option<String>,
    /// The server at --url runs with nacos.core.param.check.enabled=false: Chinese ids instead of ASCII ones
    #[arg(long, requires = "url")]
    unchecked: bool,
    #[command(flatten)]
    storage: Choice,
}

impl Args {
    /// Every client against a server of our own.
    pub fn every_client(all: bool, storage: Choice) -> Self {
        Self { only: None, all, url: None, unchecked: false, storage }
    }
}

/// Runs the command.
///
/// # Errors
/// As [`super::run_config`].
pub fn run(args: &Args) -> Result<Outcome> {
    ensure!(args.url.is_none() || args.storage.is_default(), "a server at --url has the storage that it has");
    let mut outcome = Outcome::default();
    let wanted = CLIENTS.iter().filter(|client| args.only.is_none_or(|only| only == client.language));
    // Who names a client, or wants all of them, is not served by fewer.
    let ready = prepare(wanted, Area::Config, args.all || args.only.is_some(), &mut outcome);
    if ready.is_empty() {
        return Ok(outcome);
    }
    match &args.url {
        Some(url) => {
            let round = match args.unchecked {
                true => Round::Chinese,
                false => Round::Ascii,
            };
            let folder = round::folder()?;
            let tally = tally(round, &ready, false);
            side_by_side(&ready, &tally, folder.path(), round, &Probe::new(url), || Ok(Restart::None))?;
            settle(tally, folder, &mut outcome);
        }
        None => {
            let storage = args.storage.prepare()?;
            for round in [Round::Ascii, Round::Chinese] {
                own_servers(&ready, round, args.storage, &storage, &mut outcome)?;
            }
        }
    }
    Ok(outcome)
}

fn tally(round: Round, ready: &[Ready], restart: bool) -> Tally {
    Tally::new(round.name(), languages(ready).map(|language| (language, round.steps(language, restart))))
}

/// One round against a server of its own, or two.
fn own_servers(ready: &[Ready], round: Round, choice: Choice, storage: &Prepared, outcome: &mut Outcome) -> Result<()> {
    let folder = round::folder()?;
    let mut settings = storage.fresh()?;
    if round == Round::Chinese {
        settings.push(("nacos.core.param.check.enabled".to_owned(), "false".to_owned()));
    }
    let launch = |name: &str| {
        let data = folder.path().join(format!("data{name}"));
        std::fs::create_dir(&data)?;
        let mut launch = Launch::new(data)?;
        launch.log = Some(folder.path().join(format!("server{name}.log")));
        launch.set.clone_from(&settings);
        anyhow::Ok(launch)
    };
    let mut launches = vec![launch("")?];
    if choice.is_shared() {
        launches.push(launch("-2")?);
    }
    let start = || launches.iter().map(Launch::start).collect::<Result<Vec<Server>>>();
    let stop = |servers: Vec<Server>| servers.into_iter().try_for_each(Server::stop);
    let mut servers = match start() {
        Ok(servers) => servers,
        Err(error) => return Err(kept(folder, error)),
    };
    let address = match servers.as_slice() {
        [first, second] => gateway::open(first.addr(), second.addr())?.to_string(),
        _ => format!("127.0.0.1:{}", launches[0].port),
    };
    let tally = tally(round, ready, true);
    let restarted = side_by_side(ready, &tally, folder.path(), round, &Probe::new(address), || {
        stop(std::mem::take(&mut servers))?;
        servers = start().context("start it again")?;
        Ok(Restart::Done)
    });
    let stopped = stop(servers);
    if let Err(error) = restarted.and(stopped) {
        return Err(kept(folder, error));
    }
    settle(tally, folder, outcome);
    Ok(())
}

/// Runs every client's program at once, with `restart` called when all have come half way.
fn side_by_side(
    ready: &[Ready],
    tally: &Tally,
    folder: &Path,
    round: Round,
    probe: &Probe,
    restart: impl FnOnce() -> Result<Restart>,
) -> Result<()> {
    let seed = fastrand::u32(..).to_string();
    round::side_by_side(ready, tally, folder, 1, restart, |part| {
        let arguments = [probe.address(), round.name(), &seed];
        let answer = |words: &[&str]| questions::answer(probe, words);
        converse(part.program, arguments, part.folder, part.gate.comer(), &answer, part.report)
    })
}
