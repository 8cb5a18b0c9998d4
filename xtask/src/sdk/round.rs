//! One round: the programs of all clients side by side against one server, restarted once in the middle.

use std::{path::Path, thread};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{
    Outcome,
    clients::{self, Area, Client, Language, Program},
    conversation::Report,
    gate::{Gate, Restart},
    steps::END,
    tally::Tally,
    tools::Unready,
};

/// A client with its program.
pub type Ready = (&'static Client, Program);

/// Makes the wanted clients ready, all at once, and prints which are not. With `strict` one that cannot be run here is
/// a failure.
pub fn prepare(
    wanted: impl Iterator<Item = &'static Client>,
    area: Area,
    strict: bool,
    outcome: &mut Outcome,
) -> Vec<Ready> {
    let prepared: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = wanted.map(|client| (client, scope.spawn(move || client.prepare(area)))).collect();
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
                if strict {
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

/// The languages of clients that are ready.
pub fn languages(ready: &[Ready]) -> impl Iterator<Item = Language> {
    ready.iter().map(|(client, _)| client.language)
}

/// A folder for one round.
pub fn folder() -> Result<TempDir> {
    let folder = clients::folder()?;
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(tempfile::Builder::new().prefix("run-").tempdir_in(folder)?)
}

/// The server's failure, with its data and logs kept for a look.
pub fn kept(folder: TempDir, error: anyhow::Error) -> anyhow::Error {
    error.context(format!("the server under test, with data and logs in {}", folder.keep().display()))
}

/// Adds a round's results to the outcome, and keeps its folder if there is something to look for.
pub fn settle(tally: Tally, folder: TempDir, outcome: &mut Outcome) {
    let (passed, failed) = tally.close();
    outcome.passed += passed;
    outcome.failed += failed;
    if failed > 0 {
        println!("data and logs are kept in {}", folder.keep().display());
    }
}

/// One client's part in a round.
pub struct Part<'a> {
    /// Its program.
    pub program: &'a Program,
    /// A folder of its own, not made yet.
    pub folder: &'a Path,
    /// Where the restart is waited for.
    pub gate: &'a Gate,
    /// Takes what is reported.
    pub report: &'a (dyn Fn(Report) + Sync),
}

/// Runs every client's part at once, with `restart` called when all comers have come half way: each part brings so
/// many to the gate. A part that fails is a failure of the client's end.
pub fn side_by_side(
    ready: &[Ready],
    tally: &Tally,
    folder: &Path,
    comers: usize,
    restart: impl FnOnce() -> Result<Restart>,
    part: impl Fn(&Part<'_>) -> Result<()> + Sync,
) -> Result<()> {
    let gate = Gate::new(ready.len() * comers);
    thread::scope(|scope| {
        for (client, program) in ready {
            let (gate, part) = (&gate, &part);
            scope.spawn(move || {
                let language = client.language;
                let folder = folder.join(language.name());
                let report = |report: Report| tally.report(language, report);
                let ended = part(&Part { program, folder: &folder, gate, report: &report });
                if let Err(error) = ended {
                    report(Report { step: END.to_owned(), result: Err(format!("{error:#}")) });
                }
            });
        }
        gate.await_all();
        let restarted = restart();
        gate.open(*restarted.as_ref().unwrap_or(&Restart::None));
        restarted.map(|_| ())
    })
}

/// The `host:port` of a server's address, as it is given on the command line.
pub fn address(url: &str) -> Result<String, String> {
    let rest = url.trim_end_matches('/');
    let rest = rest.strip_prefix("http://").unwrap_or(rest);
    let address = rest.strip_suffix("/nacos").unwrap_or(rest);
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(address.to_owned()),
        _ => Err("expected http://HOST:PORT/nacos".to_owned()),
    }
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
