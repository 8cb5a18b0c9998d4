//! Running the tools of other languages' ecosystems: package managers and compilers.

use std::{
    fs::File,
    io::ErrorKind,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

/// How long one call of a package manager or a compiler may take: a first Maven or Go run fetches a lot.
const LIMIT: Duration = Duration::from_secs(600);

/// Why a client cannot be run.
pub enum Unready {
    /// This machine lacks something, a tool or a registry that answers: the run goes on without the client.
    LeftOut(String),
    /// Something of ours is wrong.
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Unready {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

/// Runs a step that needs the network: its failure leaves the client out.
pub fn fetch(command: &mut Command, log: &Path) -> Result<(), Unready> {
    let tool = name_of(command);
    match run(command, log)? {
        Ended::Well => Ok(()),
        Ended::NotFound => Err(Unready::LeftOut(format!("{tool} not found"))),
        Ended::Badly(how) => Err(Unready::LeftOut(format!("{tool} {how}, see {}", log.display()))),
    }
}

/// Runs a step on what is there already: its failure is ours, the tool's absence is not.
pub fn compile(command: &mut Command, log: &Path) -> Result<(), Unready> {
    let tool = name_of(command);
    match run(command, log)? {
        Ended::Well => Ok(()),
        Ended::NotFound => Err(Unready::LeftOut(format!("{tool} not found"))),
        Ended::Badly(how) => Err(Unready::Broken(anyhow!("{tool} {how}, see {}", log.display()))),
    }
}

/// The first line of what `tool` answers to `argument`; leaves the client out if there is no such tool.
pub fn version(tool: &str, argument: &str) -> Result<String, Unready> {
    let answer = Command::new(tool).arg(argument).stdin(Stdio::null()).output();
    match answer {
        Ok(answer) if answer.status.success() => {
            Ok(String::from_utf8_lossy(&answer.stdout).lines().next().unwrap_or_default().to_owned())
        }
        Ok(answer) => Err(Unready::LeftOut(format!("{tool} {argument} ended with {}", answer.status))),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Unready::LeftOut(format!("{tool} not found"))),
        Err(error) => Err(anyhow!(error).context(format!("run {tool}")).into()),
    }
}

/// Kills a process that was started as the leader of a group of its own, with all that it started.
pub fn kill_group(child: &mut Child) {
    // Without an answer to wait for: a group that is gone already is as good.
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).stderr(Stdio::null()).status();
    let _ = child.kill();
}

enum Ended {
    Well,
    NotFound,
    Badly(String),
}

fn run(command: &mut Command, log: &Path) -> Result<Ended> {
    let out = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let spawned = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ended::NotFound),
        Err(error) => return Err(error).with_context(|| format!("run {}", name_of(command))),
    };
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match status.success() {
                true => Ended::Well,
                false => Ended::Badly(format!("failed ({status})")),
            });
        }
        if begun.elapsed() > LIMIT {
            kill_group(&mut child);
            child.wait()?;
            return Ok(Ended::Badly(format!("took over {LIMIT:?}")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn name_of(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned()
}
