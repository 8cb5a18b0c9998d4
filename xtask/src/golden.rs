//! `cargo xtask golden`: sends recorded requests to a server and compares its answers with the recorded ones.
//!
//! The recordings were made with real Nacos servers; they lie, with a description of their format, in
//! `nacos-server/tests/golden`. Scenarios run in any order, several at once, each with names of its own.
//!
//! With two servers that share a Postgres the requests of a scenario go to one and the other in turn, but for
//! scenarios about what servers do not share by it.

// The pause-able clock is for code inside the server; this is a program that talks to it from outside.
#![allow(clippy::disallowed_methods)]

mod archive;
mod check;
mod exceptions;
mod http;
mod matcher;
mod profile;
mod request;
mod run;
mod scenario;
mod udp;
mod value;
mod variables;

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use self::{
    exceptions::{Exception, Verdict},
    http::Origin,
    profile::Profile,
    request::Servers,
    scenario::Scenario,
    variables::Names,
};
use crate::{
    server::{Launch, Server, root},
    storage::{Choice, Prepared},
};

/// How many scenarios run at once unless told otherwise.
const JOBS: u16 = 8;
/// How many scenarios `--times` names.
const SLOWEST: usize = 15;

/// Options of the command.
#[derive(clap::Args)]
pub struct Args {
    /// A running server with its context path, http://127.0.0.1:8848/nacos; without it, one is built and started
    #[arg(long)]
    url: Option<Origin>,
    /// Its console's port, for recordings that need one
    #[arg(long, requires = "url")]
    console_url: Option<Origin>,
    /// Which recordings: those of a server without authentication, or with it
    #[arg(long, value_enum, default_value = "open")]
    profile: Profile,
    /// Only scenarios whose name holds this text
    #[arg(long, default_value = "")]
    only: String,
    #[command(flatten)]
    storage: Choice,
    /// How many scenarios run at once
    #[arg(long, default_value_t = JOBS, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Name what passed and what failed as excepted, too
    #[arg(long)]
    verbose: bool,
    /// Name the scenarios instead of running them
    #[arg(long)]
    list: bool,
    /// Print the slowest scenarios
    #[arg(long)]
    times: bool,
    /// Recordings (.jsonl) or folders of them; all of the project's if none is given
    paths: Vec<PathBuf>,
}

/// The folder of the project's recordings.
fn recordings() -> PathBuf {
    root().join("nacos-server/tests/golden/2.4.3")
}

/// Runs the command. Fails when a scenario did or an exception is stale.
pub fn run(args: Args) -> Result<()> {
    let exceptions = exceptions::load(&root().join("nacos-server/tests/golden/exceptions.toml"))?;
    let paths = if args.paths.is_empty() { vec![recordings()] } else { args.paths.clone() };
    let mut scenarios = Vec::new();
    for path in &paths {
        for file in scenario::files(path)? {
            scenarios.extend(scenario::load(&file)?);
        }
    }
    let unused: Vec<&Exception> = match args.paths.is_empty() {
        true => exceptions.iter().filter(|one| !scenarios.iter().any(|scenario| one.concerns(scenario))).collect(),
        false => Vec::new(),
    };
    scenarios.retain(|one| one.profile == args.profile && one.name.contains(&args.only) && !one.quirk);
    if args.list {
        for one in &scenarios {
            println!("{}  ({} steps)  {}", one.name, one.steps.len(), one.about);
        }
        println!("{} scenarios", scenarios.len());
        return Ok(());
    }
    ensure!(!scenarios.is_empty(), "no scenario is named so");
    ensure!(args.url.is_none() || args.storage.is_default(), "a server at --url has the storage that it has");
    let started = if args.url.is_none() { Some(Started::new(args.profile, args.storage)?) } else { None };
    let (main, second) = match (&args.url, &started) {
        (Some(url), _) => (url.clone(), None),
        (None, Some(started)) => {
            let second = started.second.as_ref().map(|second| second.url().parse()).transpose()?;
            (started.server.url().parse()?, second)
        }
        (None, None) => anyhow::bail!("no server"),
    };
    let mut names = Names::default();
    names.set("port", main.port);
    let servers = Servers { main, second, console: args.console_url.clone() };
    args.profile.prepare(&servers, &mut names)?;

    let replay = Replay { servers, names, exceptions: &exceptions, verbose: args.verbose, tally: Mutex::default() };
    replay.all(&scenarios, args.jobs.into());
    let mut tally = replay.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(started) = started {
        tally.ended = started.end(tally.failed > 0);
    }
    report(tally, &unused, args.times)
}

/// All recordings of a server without authentication, against a server of our own or two, for the `test` command.
///
/// # Errors
/// As [`run()`].
pub fn run_all(storage: Choice) -> Result<()> {
    run(Args {
        storage,
        url: None,
        console_url: None,
        profile: Profile::Open,
        only: String::new(),
        jobs: JOBS,
        verbose: false,
        list: false,
        times: false,
        paths: Vec::new(),
    })
}

/// The servers started for this run.
struct Started {
    server: Server,
    /// Another that shares the first one's data.
    second: Option<Server>,
    folder: tempfile::TempDir,
    /// Outlives them.
    _storage: Prepared,
}

impl Started {
    fn new(profile: Profile, choice: Choice) -> Result<Self> {
        let storage = choice.prepare()?;
        let folder = tempfile::tempdir()?;
        let mut settings = profile.settings();
        settings.extend(storage.fresh()?);
        let start = |name: &str| {
            let data = folder.path().join(format!("data{name}"));
            std::fs::create_dir(&data)?;
            let mut launch = Launch::new(data)?;
            launch.set.clone_from(&settings);
            launch.log = Some(folder.path().join(format!("server{name}.log")));
            launch.start()
        };
        let started = start("").and_then(|first| Ok((first, choice.is_shared().then(|| start("-2")).transpose()?)));
        let (server, second) = match started {
            Ok(servers) => servers,
            Err(e) => {
                let folder = folder.keep();
                return Err(e.context(format!("start the server under test; its log is in {}", folder.display())));
            }
        };
        Ok(Self { server, second, folder, _storage: storage })
    }

    /// Stops the servers. Their folder is kept when something went wrong.
    fn end(self, failed: bool) -> Result<()> {
        let stopped = self.second.map_or(Ok(()), Server::stop).and(self.server.stop());
        if failed || stopped.is_err() {
            println!("the server's data and log are kept in {}", self.folder.keep().display());
        }
        stopped.context("stop the server under test")
    }
}

/// Results so far.
struct Tally {
    passed: usize,
    excepted: usize,
    failed: usize,
    times: Vec<(Duration, String)>,
    ended: Result<()>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { passed: 0, excepted: 0, failed: 0, times: Vec::new(), ended: Ok(()) }
    }
}

/// All that the threads of a run share.
struct Replay<'a> {
    servers: Servers,
    names: Names,
    exceptions: &'a [Exception],
    verbose: bool,
    tally: Mutex<Tally>,
}

impl Replay<'_> {
    /// Runs the scenarios, `jobs` at once; those that are exclusive alone, after the others.
    fn all(&self, scenarios: &[Scenario], jobs: usize) {
        let (exclusive, shared): (Vec<_>, Vec<_>) = scenarios.iter().partition(|one| one.exclusive);
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..jobs.min(shared.len()) {
                scope.spawn(|| {
                    while let Some(scenario) = shared.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.one(scenario);
                    }
                });
            }
        });
        exclusive.into_iter().for_each(|scenario| self.one(scenario));
    }

    fn one(&self, scenario: &Scenario) {
        let start = Instant::now();
        let judged = run::run(&self.servers, scenario, &self.names);
        let Verdict { failures, excepted } = exceptions::judge(self.exceptions, scenario, judged);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.times.push((start.elapsed(), scenario.name.clone()));
        // Printed under the lock, so that the lines of a scenario stay together.
        failures.iter().for_each(|line| println!("{line}"));
        if self.verbose {
            excepted.iter().for_each(|line| println!("{line}"));
        }
        if !failures.is_empty() {
            tally.failed += 1;
        } else if !excepted.is_empty() {
            tally.excepted += 1;
        } else {
            tally.passed += 1;
            if self.verbose {
                println!("ok   {}", scenario.name);
            }
        }
    }
}

fn report(mut tally: Tally, unused: &[&Exception], times: bool) -> Result<()> {
    for exception in unused {
        println!("STALE exception without a step: {}", exception.title());
    }
    if times {
        tally.times.sort_by(|a, b| b.cmp(a));
        for (time, name) in tally.times.iter().take(SLOWEST) {
            println!("{:6.1} s  {name}", time.as_secs_f64());
        }
    }
    if tally.excepted > 0 {
        println!("{} more fail only as exceptions.toml says", tally.excepted);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    tally.ended?;
    ensure!(tally.failed == 0, "{} recorded scenarios do not hold", tally.failed);
    ensure!(unused.is_empty(), "{} exceptions are stale", unused.len());
    Ok(())
}
