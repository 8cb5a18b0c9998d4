//! `cargo xtask fuzz`: gives the parsers random bytes for a while, with cargo-fuzz.
//!
//! That wants a nightly compiler and cargo-fuzz; where one is missing the targets are left out, by name. Their
//! corpora run anywhere, as the test `corpus` of the crate they belong to. What a run finds stays under `target/fuzz`: inputs that
//! reached new code, which later runs start from, and those that failed, for the committed corpus.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cargo::{Tool, search_path},
    server::root,
};

/// The packages of targets, each inside the crate whose parsers it tries. No two have a target of one name.
const PACKAGES: [&str; 2] = ["nacos-config/fuzz", "nacos-naming/fuzz"];

const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };
/// How long each target runs in the short form.
const SECONDS_SHORT: u32 = 10;
/// An input that takes longer than this many seconds has failed.
const SECONDS_PER_INPUT: u32 = 10;
/// Lines shown of what a failed target printed.
const LINES_SHOWN: usize = 12;

/// Options of the command.
#[derive(clap::Args)]
pub struct Args {
    /// How long each target runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only this target; may be given more than once
    #[arg(long)]
    target: Vec<String>,
    /// Install what is missing, with rustup and cargo
    #[arg(long)]
    install: bool,
    /// Fail if a target must be left out
    #[arg(long)]
    all: bool,
}

/// A target and the folder of its package.
struct Target {
    name: String,
    package: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A target failed on an input or does not build; with `--all` also what a target needs is missing.
pub fn run(args: Args) -> Result<()> {
    let targets = targets(&args.target)?;
    if let Some(missing) = run_each(&targets, args.seconds, args.install)? {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        println!("left out: fuzz targets {}: {missing}", names.join(", "));
        ensure!(!args.all, "nothing may be left out, and {missing}");
    }
    Ok(())
}

/// The short form, for the `test` command: 10 s for every target. Gives what is missing if they cannot be run; with
/// `install` it is installed first.
///
/// # Errors
/// A target failed on an input or does not build, or an installation failed.
pub fn run_short(install: bool) -> Result<Option<&'static str>> {
    run_each(&targets(&[])?, SECONDS_SHORT, install)
}

fn run_each(targets: &[Target], seconds: u32, install: bool) -> Result<Option<&'static str>> {
    if let Some(missing) = missing(install)? {
        return Ok(Some(missing));
    }
    for package in targets.chunk_by(|one, next| one.package == next.package).filter_map(|targets| targets.first()) {
        let package = &package.package;
        let built = fuzz("build", package)?.status().context("build the fuzz targets")?;
        ensure!(built.success(), "the fuzz targets of {} do not build", package.display());
    }
    let mut failed = Vec::new();
    for target in targets {
        let name = target.name.as_str();
        println!("{name}: {seconds} s");
        match run_target(target, seconds) {
            Ok(inputs) => println!("{name}: {inputs} inputs, passed"),
            Err(error) => {
                println!("{name}: FAILED: {error:#}");
                failed.push(name);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(None)
}

/// The targets of these names, all if there are none; those of a package one after the other.
fn targets(wanted: &[String]) -> Result<Vec<Target>> {
    let mut known: Vec<Target> = Vec::new();
    for package in PACKAGES.map(|folder| root().join(folder)) {
        let folder = package.join("fuzz_targets");
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
        names.sort();
        for name in names {
            ensure!(known.iter().all(|target| target.name != name), "two fuzz targets have the name {name}");
            known.push(Target { name, package: package.clone() });
        }
    }
    for name in wanted {
        let names: Vec<&str> = known.iter().map(|target| target.name.as_str()).collect();
        ensure!(names.contains(&name.as_str()), "no fuzz target {name}; there are {}", names.join(", "));
    }
    known.retain(|target| wanted.is_empty() || wanted.contains(&target.name));
    Ok(known)
}

/// What is needed and not there, after an attempt to install it if that is wished.
fn missing(install: bool) -> Result<Option<&'static str>> {
    if !works(&["--version"])? {
        return Ok(Some("rustup is not installed"));
    }
    let nightly = ["run", "nightly", "rustc", "--version"];
    if !works(&nightly)? {
        if !install {
            return Ok(Some("there is no nightly toolchain (rustup toolchain install nightly, or --install)"));
        }
        let installation = ["toolchain", "install", "nightly", "--profile", "minimal"];
        let status = Command::new("rustup").args(installation).status().context("run rustup")?;
        ensure!(status.success() && works(&nightly)?, "rustup {} failed", installation.join(" "));
    }
    Ok(match CARGO_FUZZ.find(install)? {
        Some(_) => None,
        None => Some("cargo-fuzz is not installed (cargo install cargo-fuzz --locked, or --install)"),
    })
}

fn works(rustup_arguments: &[&str]) -> Result<bool> {
    let mut command = Command::new("rustup");
    match command.args(rustup_arguments).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) => Ok(status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("run rustup"),
    }
}

/// `cargo fuzz` with the nightly compiler; all it builds lies under the workspace's `target`.
fn fuzz(subcommand: &str, package: &Path) -> Result<Command> {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", subcommand, "--fuzz-dir"]).arg(package);
    command.arg("--target-dir").arg(output()).current_dir(root());
    // These are of the compiler and the package that runs this program, not of those to be built.
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.env("PATH", search_path()?);
    Ok(command)
}

fn output() -> PathBuf {
    root().join("target/fuzz")
}

/// Runs one target and gives the number of inputs it took.
fn run_target(Target { name, package }: &Target, seconds: u32) -> Result<u64> {
    let new_folder = |kind: &str| -> Result<PathBuf> {
        let folder = output().join(kind).join(name);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    };
    let (found, failed) = (new_folder("found")?, new_folder("failed")?);
    let log = output().join(format!("{name}.log"));
    let file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
    let mut command = fuzz("run", package)?;
    // New inputs go to the first folder; the committed corpus is only read.
    command.arg(name).arg(&found).arg(package.join("corpus").join(name)).arg("--");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={SECONDS_PER_INPUT}"));
    command.arg("-print_final_stats=1").arg(format!("-artifact_prefix={}/", failed.display()));
    let status = command.stdout(file.try_clone()?).stderr(file).status().context("run cargo fuzz")?;
    let mut printed = Vec::new();
    File::open(&log)?.read_to_end(&mut printed)?;
    let printed = String::from_utf8_lossy(&printed);
    if !status.success() {
        bail!("{status}; the input lies in {}\n{}", failed.display(), told(&printed, &log));
    }
    let inputs = printed.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let inputs: u64 = inputs.and_then(|number| number.trim().parse().ok()).context("no count of inputs was printed")?;
    ensure!(inputs > 0, "it ran no input");
    Ok(inputs)
}

/// What a failed target printed: from its panic on if there is one, else the end.
fn told(printed: &str, log: &Path) -> String {
    let lines: Vec<&str> = printed.lines().collect();
    let panic = lines.iter().position(|line| line.contains("panicked at"));
    let start = panic.unwrap_or(lines.len().saturating_sub(LINES_SHOWN));
    let end = lines.len().min(start + LINES_SHOWN);
    format!("{}\n(all of it is in {})", lines[start..end].join("\n"), log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_all_packages_are_found_by_name() -> Result<()> {
        let all = targets(&[])?;
        for package in PACKAGES {
            assert!(all.iter().any(|target| target.package.ends_with(package)), "{package}");
        }
        let wanted = ["selector_expression".to_owned(), "form_parser".to_owned()];
        let names: Vec<String> = targets(&wanted)?.into_iter().map(|target| target.name).collect();
        assert_eq!(names, ["form_parser", "selector_expression"]);
        let unknown = targets(&["nosuch".to_owned()]).map(drop).expect_err("no such target").to_string();
        assert!(unknown.starts_with("no fuzz target nosuch; there are form_parser, "), "{unknown}");
        Ok(())
    }
}
