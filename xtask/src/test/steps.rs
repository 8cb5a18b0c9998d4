//! What is checked, in the order in which it is: what takes seconds before what takes minutes.

use std::{
    fs::File,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::report::Outcome;
use crate::{
    bench,
    cargo::{Tool, cargo, run, succeeds},
    crash, fuzz, golden,
    postgres::{self, Postgres, Programs},
    sdk,
    storage::{Choice, Storage},
};

/// One step.
pub struct Step {
    /// Its name on the command line and in the report.
    pub name: &'static str,
    /// What it checks.
    pub about: &'static str,
    /// Whether it may be left out where nothing else may.
    pub excused: bool,
    /// Runs it; what it finds is printed.
    pub run: fn(Wishes) -> Result<Outcome>,
}

/// What whoever started the command asked for.
#[derive(Clone, Copy)]
pub struct Wishes {
    /// Nothing is to be left out, and what is missing may be installed.
    pub all: bool,
    /// The steps were named one by one.
    pub named: bool,
}

/// All steps.
pub const STEPS: [Step; 13] = [
    step("fmt", "sources are formatted", fmt),
    step("clippy", "no lint, in any target", clippy),
    step("features", "the libraries alone, with the fewest features", features),
    step("doc", "the documentation builds without a warning", doc),
    step("deny", "licences, banned crates and sources of dependencies", deny),
    Step { excused: true, ..step("advisories", "dependencies without a known fault", advisories) },
    step("tests", "unit, property, integration and documentation tests; the corpora of the fuzz targets", tests),
    step("golden", "recorded exchanges of real servers", |_| {
        golden::run_all(Choice::EMBEDDED).map(|()| Outcome::Passed)
    }),
    step("crash", "kill -9 under load, 5 rounds", |_| crash::run_short(Storage::Sqlite, 5).map(|()| Outcome::Passed)),
    step("sdk", "real clients of other languages", sdk),
    step("bench", "the benchmarks in short: wrong answers fail, figures do not", |_| {
        bench::run_short(Storage::Sqlite)?;
        bench::run_short_naming().map(|()| Outcome::Passed)
    }),
    step("postgres", "recorded exchanges, clients, crashes and benchmarks in short on Postgres", on_postgres),
    step("fuzz", "the fuzz targets, 10 s each", fuzz),
];

const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

/// The fuzz targets are packages of their own.
const FUZZ_MANIFESTS: [&str; 2] = ["nacos-config/fuzz/Cargo.toml", "nacos-naming/fuzz/Cargo.toml"];

/// How long the database of advisories may take to come. A network that drops what it does not let through
/// answers never.
const FETCH_LIMIT: Duration = Duration::from_secs(90);

const fn step(name: &'static str, about: &'static str, run: fn(Wishes) -> Result<Outcome>) -> Step {
    Step { name, about, excused: false, run }
}

fn fmt(_: Wishes) -> Result<Outcome> {
    if !succeeds(cargo().args(["fmt", "--version"])) {
        return Ok(Outcome::LeftOut("rustfmt is not installed (rustup component add rustfmt)".to_owned()));
    }
    run(cargo().args(["fmt", "--all", "--check"]))?;
    for manifest in FUZZ_MANIFESTS {
        run(cargo().args(["fmt", "--manifest-path", manifest, "--check"]))?;
    }
    Ok(Outcome::Passed)
}

fn clippy(_: Wishes) -> Result<Outcome> {
    lint(&["--workspace", "--all-targets", "--all-features"])
}

fn features(_: Wishes) -> Result<Outcome> {
    lint(&["--package", "nacos-core", "--no-default-features"])?;
    lint(&["--package", "nacos-config"])?;
    lint(&["--package", "nacos-naming"])
}

fn lint(what: &[&str]) -> Result<Outcome> {
    if !succeeds(cargo().args(["clippy", "--version"])) {
        return Ok(Outcome::LeftOut("clippy is not installed (rustup component add clippy)".to_owned()));
    }
    run(cargo().arg("clippy").args(what).args(["--", "-D", "warnings"]))?;
    Ok(Outcome::Passed)
}

fn doc(_: Wishes) -> Result<Outcome> {
    run(cargo().args(["doc", "--workspace", "--all-features", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}

fn deny(wishes: Wishes) -> Result<Outcome> {
    let Some(program) = DENY.find(wishes.all)? else { return Ok(without_deny()) };
    run(cargo_at(program).args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    Ok(Outcome::Passed)
}

fn advisories(wishes: Wishes) -> Result<Outcome> {
    let Some(program) = DENY.find(wishes.all)? else { return Ok(without_deny()) };
    if let Some(reason) = fetch_advisories(cargo_at(&program))? {
        return Ok(Outcome::LeftOut(format!("its database cannot be fetched: {reason}")));
    }
    run(cargo_at(program).args(["check", "--disable-fetch", "advisories"]))?;
    Ok(Outcome::Passed)
}

fn without_deny() -> Outcome {
    Outcome::LeftOut(format!("{} is not installed (--all installs it)", DENY.name))
}

/// A program that wants to be told which cargo runs it.
fn cargo_at(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::server::root());
    command
}

/// Fetches the database; if that cannot be done, why.
fn fetch_advisories(mut deny: Command) -> Result<Option<String>> {
    let said = tempfile::NamedTempFile::new()?;
    deny.args(["fetch", "db"]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = deny.stderr(File::create(said.path())?).spawn().context("run cargo-deny")?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if begun.elapsed() > FETCH_LIMIT => {
                child.kill()?;
                child.wait()?;
                return Ok(Some(format!("no answer within {} s", FETCH_LIMIT.as_secs())));
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    if status.success() {
        return Ok(None);
    }
    let said = std::fs::read_to_string(said.path())?;
    Ok(Some(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it did not say why").trim().to_owned()))
}

fn tests(_: Wishes) -> Result<Outcome> {
    let mut test = cargo();
    test.args(["test", "--workspace", "--all-features", "--no-fail-fast"]);
    let Some(programs) = Programs::find() else {
        run(&mut test)?;
        // One that was named from outside serves as well.
        if std::env::var_os(postgres::VARIABLE).is_some() {
            return Ok(Outcome::Passed);
        }
        return Ok(Outcome::Without(vec![format!("tests on Postgres ({})", Programs::MISSING)]));
    };
    let postgres = Postgres::start_encrypted(programs)?;
    run(test.envs(postgres.variables()))?;
    Ok(Outcome::Passed)
}

fn on_postgres(wishes: Wishes) -> Result<Outcome> {
    if Programs::find().is_none() {
        return Ok(Outcome::LeftOut(Programs::MISSING.to_owned()));
    }
    println!("-- recorded exchanges, one server");
    golden::run_all(Choice::POSTGRES)?;
    println!("-- recorded exchanges, two servers in turn");
    golden::run_all(Choice::SHARED)?;
    println!("-- kill -9 of the server and of Postgres by turns");
    crash::run_short(Storage::Postgres, 4)?;
    println!("-- benchmarks");
    bench::run_short(Storage::Postgres)?;
    println!("-- clients that publish through one server and listen at another");
    clients(sdk::run_config(wishes.all, Choice::SHARED)?)
}

fn sdk(wishes: Wishes) -> Result<Outcome> {
    println!("-- configurations");
    let config = sdk::run_config(wishes.all, Choice::EMBEDDED)?;
    println!("-- services");
    let naming = sdk::run_naming(wishes.all, Storage::Sqlite)?;
    // Clients that cannot be run for the one cannot for the other.
    clients(sdk::Outcome {
        passed: config.passed + naming.passed,
        failed: config.failed + naming.failed,
        left_out: config.left_out,
    })
}

fn clients(outcome: sdk::Outcome) -> Result<Outcome> {
    println!("{} steps passed, {} failed", outcome.passed, outcome.failed);
    ensure!(outcome.failed == 0, "{} steps of clients failed", outcome.failed);
    Ok(match (outcome.left_out.is_empty(), outcome.passed) {
        (true, _) => Outcome::Passed,
        (false, 0) => Outcome::LeftOut(outcome.left_out.join(", ")),
        (false, _) => Outcome::Without(outcome.left_out),
    })
}

fn fuzz(wishes: Wishes) -> Result<Outcome> {
    if !wishes.all && !wishes.named {
        let reason = "built for minutes, and run only if wished: --all, or --only fuzz; the corpora ran as tests";
        return Ok(Outcome::LeftOut(reason.to_owned()));
    }
    Ok(fuzz::run_short(wishes.all)?.map_or(Outcome::Passed, |missing| Outcome::LeftOut(missing.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_told_apart_and_one_step_is_excused() {
        let names: HashSet<_> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
        let excused: Vec<_> = STEPS.iter().filter(|step| step.excused).map(|step| step.name).collect();
        assert_eq!(excused, ["advisories"]);
    }
}
