//! `cargo xtask sdk config`: the full round of configuration with each client, side by side.
//!
//! Two rounds, each with a server of its own and a restart in the middle: one with the server's defaults, and one
//! without its check of ids, in which ids and groups are Chinese. With two servers that share a Postgres the clients
//! publish through one and listen at the other ([`gateway`]), and both are restarted.

use std::{path::Path, thread};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::{
    Outcome,
    clients::{CLIENTS, Client, Language, Program, folder},
    conversation::{Report, converse},
    gate::{Gate, Restart},
    gateway,
    probe::Probe,
    steps::{END, Round},
    tally::Tally,
    tools::Unready,
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

/// The `host:port` of a server's address.
fn address(url: &str) -> Result<String, String> {
    let rest = url.trim_end_matches('/');
    let rest = rest.strip_prefix("http://").unwrap_or(rest);
    let address = rest.strip_suffix("/nacos").unwrap_or(rest);
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(address.to_owned()),
        _ => Err("expected http://HOST:PORT/nacos".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// As [`super::run_config`].
pub fn run(args: &Args) -> Result<Outcome> {
    ensure!(args.url.is_none() || args.storage.is_default(), "a server at --url has the storage that it has");
    let mut outcome = Outcome::default();
    let ready = prepare_all(args, &mut outcome);
    if ready.is_empty() {
        return Ok(outcome);
    }
    match &args.url {
        Some(url) => {
            let round = match args.unchecked {
                true => Round::Chinese,
                false => Round::Ascii,
            };
            let folder = run_folder()?;
            let tally = Tally::new(round, languages(&ready), Restart::None);
            side_by_side(&ready, &tally, folder.path(), &Probe::new(url), || Ok(Restart::None))?;
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

/// Makes the wanted clients ready, all at once, and prints which are not.
fn prepare_all(args: &Args, outcome: &mut Outcome) -> Vec<(&'static Client, Program)> {
    let wanted = CLIENTS.iter().filter(|client| args.only.is_none_or(|only| only == client.language));
    let prepared: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = wanted.map(|client| (client, scope.spawn(|| client.prepare()))).collect();
        threads.into_iter().map(|(client, thread)| (client, thread.join())).collect()
    });
    let mut ready = Vec::new();
    for (client, result) in prepared {
        let name = client.language.name();
        let about = format!("{} {} ({})", client.package, client.version, client.registry);
        match result {
            Ok(Ok(program)) => {
                println!("{name:<7} {about}");
                ready.push((client, program));
            }
            Ok(Err(Unready::LeftOut(reason))) => {
                println!("left out: {name} ({reason})");
                outcome.left_out.push(format!("{name} ({reason})"));
                // Who names a client, or wants all of them, is not served by fewer.
                if args.all || args.only.is_some() {
                    outcome.failed += 1;
                }
            }
            Ok(Err(Unready::Broken(error))) => {
                println!("{name:<7} FAILED to be made ready: {error:#}");
                outcome.failed += 1;
            }
            Err(_) => {
                println!("{name:<7} FAILED to be made ready: a panic, see above");
                outcome.failed += 1;
            }
        }
    }
    ready
}

fn run_folder() -> Result<TempDir> {
    let folder = folder()?;
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(tempfile::Builder::new().prefix("run-").tempdir_in(folder)?)
}

/// One round against a server of its own, or two.
fn own_servers(
    ready: &[(&'static Client, Program)],
    round: Round,
    choice: Choice,
    storage: &Prepared,
    outcome: &mut Outcome,
) -> Result<()> {
    let folder = run_folder()?;
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
    let tally = Tally::new(round, languages(ready), Restart::Done);
    let restarted = side_by_side(ready, &tally, folder.path(), &Probe::new(address), || {
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

/// The server's failure, with its data and logs kept for a look.
fn kept(folder: TempDir, error: anyhow::Error) -> anyhow::Error {
    error.context(format!("the server under test, with data and logs in {}", folder.keep().display()))
}

fn languages(ready: &[(&'static Client, Program)]) -> impl Iterator<Item = Language> {
    ready.iter().map(|(client, _)| client.language)
}

/// Adds a round's results to the outcome, and keeps its folder if there is something to look for.
fn settle(tally: Tally, folder: TempDir, outcome: &mut Outcome) {
    let (passed, failed) = tally.close();
    outcome.passed += passed;
    outcome.failed += failed;
    if failed > 0 {
        println!("data and logs are kept in {}", folder.keep().display());
    }
}

/// Runs every client's program at once, with `restart` called when all have come half way.
fn side_by_side(
    ready: &[(&'static Client, Program)],
    tally: &Tally,
    folder: &Path,
    probe: &Probe,
    restart: impl FnOnce() -> Result<Restart>,
) -> Result<()> {
    let gate = Gate::new(ready.len());
    let seed = fastrand::u32(..);
    thread::scope(|scope| {
        for (client, program) in ready {
            let gate = &gate;
            scope.spawn(move || {
                let language = client.language;
                let folder = folder.join(language.name());
                let report = |report: Report| tally.report(language, report);
                let round = tally.round();
                let ended = converse(program, round, seed, &folder, probe, gate, &report);
                if let Err(error) = ended {
                    tally.report(language, Report { step: END.to_owned(), result: Err(format!("{error:#}")) });
                }
            });
        }
        gate.await_all();
        let restarted = restart();
        gate.open(*restarted.as_ref().unwrap_or(&Restart::None));
        restarted.map(|_| ())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let wanted = Ok("127.0.0.1:8848".to_owned());
        assert_eq!(address("http://127.0.0.1:8848/nacos"), wanted);
        assert_eq!(address("http://127.0.0.1:8848/nacos/"), wanted);
        assert_eq!(address("127.0.0.1:8848"), wanted);
        assert!(address("http://127.0.0.1/nacos").is_err());
        assert!(address("http://127.0.0.1:8848/other").is_err());
    }
}
