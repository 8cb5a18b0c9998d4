//! Cargo itself, and tools that it installs for this project alone, under `target/tools`.
//!
//! Used by the commands that build, check or fuzz the workspace from outside.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{bench, server::root};

/// A program from crates.io, pinned.
#[derive(Clone, Copy)]
pub struct Tool {
    /// Its crate's name and its own.
    pub name: &'static str,
    /// The version that is installed. One that is there already may be another.
    pub version: &'static str,
}

/// The `cargo` that runs this program, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Prints the command and runs it to its end, with its output where ours goes.
///
/// # Errors
/// It cannot be started, or ends with a status other than 0.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    println!("$ {line}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("run {line}"))?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}

/// Whether the command can be started and succeeds. Its output is thrown away.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

impl Tool {
    /// Where it is: among this project's tools, else wherever the shell would find it. With `install` it is
    /// installed if it is nowhere; `None` means that it is not to be had.
    ///
    /// # Errors
    /// The installation failed.
    pub fn find(self, install: bool) -> Result<Option<PathBuf>> {
        let ours = folder().join("bin").join(self.name);
        for path in [ours.clone(), self.name.into()] {
            if succeeds(Command::new(&path).arg("--version")) {
                return Ok(Some(path));
            }
        }
        if !install {
            return Ok(None);
        }
        let mut command = cargo();
        // Unoptimised: it runs once on a small graph, and is built faster than that would gain.
        command.args(["install", self.name, "--version", self.version, "--locked", "--debug", "--root"]).arg(folder());
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env_remove("CARGO_TARGET_DIR");
        run(&mut command)?;
        Ok(Some(ours))
    }
}

/// The shell's search path with this project's tools in front, for a cargo that has to find a subcommand there.
pub fn search_path() -> Result<OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder().join("bin")).chain(std::env::split_paths(&inherited));
    std::env::join_paths(folders).context("a folder of the search path holds a separator")
}

fn folder() -> PathBuf {
    bench::target().join("tools")
}

/// As one would type it, for the eye alone.
fn line(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    command.get_args().fold(name, |line, argument| format!("{line} {}", argument.to_string_lossy()))
}
