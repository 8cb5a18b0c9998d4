//! `cargo xtask sdk naming`: the full round of service discovery with each client, side by side.
//!
//! One round against a server of its own. Each client's program registers, queries and is told of changes; a second
//! process of the same program is killed once its heartbeats have come ([`victim`]), and all see its instance turn
//! unhealthy and leave; then the server is killed and started again. The 30 s until an instance leaves are most of the
//! time that it takes. Instances have addresses of loopback, as have all who are told: nothing is sent anywhere else.
//!
//! The four languages are what a plain run does; Spring Cloud, which takes twice as long to start, comes with `--all`.
//! There is no choice of two servers: ephemeral instances are in the memory of the server that they beat at.

mod questions;
mod registry;
mod steps;
mod tap;
mod victim;

use std::{path::Path, process::Command, sync::mpsc::sync_channel, thread};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;

use self::{questions::Answers, registry::Registry, victim::Victim};
use super::{
    Outcome,
    clients::{Area, CLIENTS, Language, SPRING},
    conversation::converse,
    gate::Restart,
    round::{self, Ready, address, kept, languages, prepare, settle},
    tally::Tally,
};
use crate::{
    server::{Launch, Server},
    storage::{Choice, Storage},
};

/// Options of the command.
#[derive(clap::Args)]
pub struct Args {
    /// Only this client: python, node, java, go, spring
    #[arg(long, value_name = "CLIENT", value_parser = language, conflicts_with = "all")]
    only: Option<Language>,
    /// Spring Cloud too, and a client that cannot be run here is a failure
    #[arg(long)]
    all: bool,
    /// A running server, http://127.0.0.1:8848/nacos, instead of one built and started
    #[arg(long, value_parser = address)]
    url: Option<String>,
    /// A shell command that kills the server at --url and starts it again; without it, it is not restarted
    #[arg(long, value_name = "COMMAND", requires = "url")]
    restart: Option<String>,
    /// Where the server keeps its data
    #[arg(long, value_enum, default_value = "sqlite", conflicts_with = "url")]
    storage: Storage,
    /// Spring Cloud is left out, whatever else is said
    #[arg(skip)]
    without_spring: bool,
}

impl Args {
    /// Every client but Spring Cloud against a server of our own.
    pub fn every_language(all: bool, storage: Storage) -> Self {
        Self { only: None, all, url: None, restart: None, storage, without_spring: true }
    }

    fn wants(&self, language: Language) -> bool {
        match self.only {
            Some(only) => only == language,
            None => language != Language::Spring || (self.all && !self.without_spring),
        }
    }
}

/// A client by its name; Spring Cloud is one here, which it is not where [`Language`] is an option by itself.
fn language(name: &str) -> Result<Language, String> {
    match name == Language::Spring.name() {
        true => Ok(Language::Spring),
        false => Language::from_str(name, false),
    }
}

/// Runs the command.
///
/// # Errors
/// As [`super::run_naming`].
pub fn run(args: &Args) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let wanted = CLIENTS.iter().chain([&SPRING]).filter(|client| args.wants(client.language));
    // Who names a client, or wants all of them, is not served by fewer.
    let ready = prepare(wanted, Area::Naming, args.all || args.only.is_some(), &mut outcome);
    if ready.is_empty() {
        return Ok(outcome);
    }
    let folder = round::folder()?;
    let ended = match &args.url {
        Some(url) => {
            let tally = tally(&ready, args.restart.is_some());
            let restart = || args.restart.as_deref().map_or(Ok(Restart::None), by_command);
            side_by_side(&ready, &tally, folder.path(), url, restart).map(|()| tally)
        }
        None => own_server(&ready, args.storage, folder.path()),
    };
    match ended {
        Ok(tally) => settle(tally, folder, &mut outcome),
        Err(error) => return Err(kept(folder, error)),
    }
    Ok(outcome)
}

fn tally(ready: &[Ready], restart: bool) -> Tally {
    Tally::new("naming", languages(ready).map(|language| (language, steps::steps(language, restart))))
}

fn by_command(command: &str) -> Result<Restart> {
    let status = Command::new("sh").args(["-c", command]).status().context("run sh")?;
    ensure!(status.success(), "{command} ended with {status}");
    Ok(Restart::Done)
}

/// The round against a server of its own.
fn own_server(ready: &[Ready], storage: Storage, folder: &Path) -> Result<Tally> {
    let storage = Choice { storage, servers: 1 }.prepare()?;
    let data = folder.join("data");
    std::fs::create_dir(&data)?;
    let mut launch = Launch::new(data)?;
    launch.log = Some(folder.join("server.log"));
    launch.set = storage.fresh()?;
    let mut server = Some(launch.start()?);
    let tally = tally(ready, true);
    let address = format!("127.0.0.1:{}", launch.port);
    side_by_side(ready, &tally, folder, &address, || {
        server.take().map(Server::kill).transpose()?;
        server = Some(launch.start().context("start it again")?);
        Ok(Restart::Done)
    })?;
    server.map(Server::stop).transpose()?;
    Ok(tally)
}

/// Runs every client's programs at once, with `restart` called when all have come half way.
fn side_by_side(
    ready: &[Ready],
    tally: &Tally,
    folder: &Path,
    server: &str,
    restart: impl FnOnce() -> Result<Restart>,
) -> Result<()> {
    let seed = fastrand::u32(..).to_string();
    let registry = Registry::new(server);
    // The one who waits for the victim's end comes to the gate as well: the server is not killed before.
    round::side_by_side(ready, tally, folder, 2, restart, |part| {
        let (kill, wish) = sync_channel(1);
        let (tell, killed) = sync_channel(1);
        let waiting = part.gate.comer();
        let talking = part.gate.comer();
        thread::scope(|scope| {
            scope.spawn(|| {
                let victim = Victim { program: part.program, registry: &registry, seed: &seed, folder: part.folder };
                victim.run(wish, tell, part.report);
                drop(waiting);
            });
            let answers = Answers::new(&registry, kill, killed);
            let answer = |words: &[&str]| answers.answer(words);
            converse(part.program, [server, "round", &seed], part.folder, talking, &answer, part.report)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spring_cloud_is_run_if_it_is_named_or_all_are_wanted() {
        let mut args = Args::every_language(true, Storage::Sqlite);
        assert!(args.wants(Language::Go) && !args.wants(Language::Spring));
        args.without_spring = false;
        assert!(args.wants(Language::Spring));
        args.all = false;
        assert!(!args.wants(Language::Spring));
        args.only = Some(language("spring").unwrap());
        assert!(args.wants(Language::Spring) && !args.wants(Language::Go));
        assert_eq!(language("go"), Ok(Language::Go));
        assert!(language("cobol").is_err());
    }
}
