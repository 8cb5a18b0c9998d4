//! A client that is killed with SIGKILL after it has beaten, and what becomes of its instance.
//!
//! The program is told to do the round `victim`: it registers one instance in a service in which the other process of
//! the same client has one as well, says `registered NAMESPACE GROUP SERVICE IP PORT`, and lives on until the other
//! process wants it dead. What is seen over plain HTTP is reported here; what the other process sees through its
//! library, it reports itself.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    super::{
        clients::Program,
        conversation::{Partner, Report},
    },
    registry::{Registry, Service},
    steps::seen,
    tap::Tap,
};

/// How long the program may take to register: a JVM among others starts in seconds.
const REGISTERED_WITHIN: Duration = Duration::from_secs(60);
/// The Node client beats after up to 10 s first.
const BEATS_WITHIN: Duration = Duration::from_secs(20);
/// The other process has most of its steps before.
const WISHED_WITHIN: Duration = Duration::from_secs(120);
/// Longer than any instance stays.
const WATCHED: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(50);

/// What it takes to run one.
pub struct Victim<'a> {
    /// The client's program.
    pub program: &'a Program,
    /// The server's instances.
    pub registry: &'a Registry,
    /// The round's seed.
    pub seed: &'a str,
    /// The client's folder, in which it gets one of its own.
    pub folder: &'a Path,
}

/// One that was killed.
struct Killed {
    service: Service,
    address: String,
    last_beat: Instant,
}

/// What was seen: milliseconds since the last heartbeat.
#[derive(Default)]
struct Seen {
    unhealthy: Option<u64>,
    gone: Option<u64>,
    /// Why the others did not stay healthy.
    fault: Option<String>,
}

impl Victim<'_> {
    /// Runs the program, kills it when wished, says when it last beat, watches, and reports.
    pub fn run(&self, wish: Receiver<()>, tell: SyncSender<Instant>, report: &dyn Fn(Report)) {
        let tell_of = |step: &str, result| report(Report { step: step.to_owned(), result });
        let killed = match self.kill(wish) {
            Ok(killed) => killed,
            Err(error) => return tell_of(seen::BEATS, Err(format!("{error:#}"))),
        };
        tell_of(seen::BEATS, Ok(None));
        // Nobody may be there to hear it: then the program has reported its own end.
        let _ = tell.send(killed.last_beat);
        let begun = Instant::now();
        let mut seen = Seen::default();
        let broken = killed.watch(self.registry, &mut seen).err().map(|error| format!("{error:#}"));
        let or_why = |at: Option<u64>| match at {
            Some(ms) => Ok(Some(ms)),
            None => Err(broken.clone().unwrap_or_else(|| format!("not seen before it left, or within {WATCHED:?}"))),
        };
        tell_of(seen::UNHEALTHY, or_why(seen.unhealthy));
        tell_of(seen::GONE, or_why(seen.gone));
        let lived = begun.elapsed().as_millis() as u64;
        tell_of(seen::LIVES, seen.fault.or(broken).map_or(Ok(Some(lived)), Err));
    }

    fn kill(&self, wish: Receiver<()>) -> Result<Killed> {
        let tap = Tap::open(self.registry.server())?;
        let arguments = [&tap.address.to_string(), "victim", self.seed];
        let mut partner = Partner::start(self.program, arguments, &self.folder.join("victim"))?;
        let (service, address) = loop {
            let line = partner.next_line(REGISTERED_WITHIN)?.context("it ended before it was registered")?;
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["registered", namespace, group, name, ip, port] => {
                    break (Service::new(namespace, group, name), format!("{ip}:{port}"));
                }
                _ => partner.keep(&line)?,
            }
        };
        until(BEATS_WITHIN, "no heartbeat came", || Ok(tap.last_beat().is_some()))?;
        until(BEATS_WITHIN, "it is not listed beside another one", || {
            let all = self.registry.instances(&service)?;
            Ok(all.len() > 1 && all.iter().any(|one| one.address() == address))
        })?;
        wish.recv_timeout(WISHED_WITHIN).context("the other process did not get as far as to kill it")?;
        // With a SIGKILL to it and to all that it started.
        drop(partner);
        let last_beat = tap.last_beat().context("there was a heartbeat")?;
        Ok(Killed { service, address, last_beat })
    }
}

impl Killed {
    /// Looks until the instance has left, or has had the time to.
    fn watch(&self, registry: &Registry, seen: &mut Seen) -> Result<()> {
        while self.last_beat.elapsed() < WATCHED {
            let all = registry.instances(&self.service)?;
            let ms = self.last_beat.elapsed().as_millis() as u64;
            let (its, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.address() == self.address);
            if others.is_empty() || others.iter().any(|one| !one.healthy) {
                let listed: Vec<_> = others.iter().map(|one| format!("{} {one}", one.address())).collect();
                let fault = || format!("after {ms} ms the instances of those who live were {listed:?}");
                seen.fault.get_or_insert_with(fault);
            }
            match its.first() {
                None => {
                    seen.gone = Some(ms);
                    return Ok(());
                }
                Some(one) if !one.healthy => {
                    seen.unhealthy.get_or_insert(ms);
                }
                Some(_) => ensure!(seen.unhealthy.is_none(), "it turned healthy again after {ms} ms"),
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// Asks until it is so.
fn until(patience: Duration, otherwise: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so()? {
        if begun.elapsed() > patience {
            bail!("{otherwise} within {patience:?}");
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
