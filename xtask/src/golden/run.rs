//! Runs one scenario against a server, step by step.

use std::{
    collections::HashMap,
    io,
    sync::mpsc::{Receiver as Answer, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    check::{capture, check},
    http::{self, Request, Response},
    matcher::differences,
    request::{Servers, build},
    scenario::{Action, Scenario, Step, TIMEOUT},
    udp::Receiver,
    value::{Object, Value},
    variables::Names,
};

/// The pause between two requests of a step that polls.
const POLL_PAUSE: Duration = Duration::from_millis(150);
/// How long a step polls once another has failed: what it waits for may never come.
const POLL_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A trace of the recorded servers' embedded database giving up a lock: it says nothing about the step.
const LOCK_FAULT: &[u8] = b"PreparedStatementCallback";
/// How long another server may take to show what was changed at the first.
const LAG: Duration = Duration::from_secs(2);
/// How many differences of a step are shown.
const PROBLEMS_SHOWN: usize = 3;

/// What came of one judged step.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Its number, from 1.
    pub step: usize,
    /// The line that says how it failed.
    pub failure: Option<String>,
}

/// Runs a scenario with values of its own; gives what came of its steps, but for those that were not reached or that
/// are not judged.
pub fn run(servers: &Servers, scenario: &Scenario, names: &Names) -> Vec<Judged> {
    let both = if is_of_one_server(scenario) { servers.alone() } else { servers.clone() };
    let mut run = Run {
        servers: both.clone(),
        names: own(names),
        jobs: HashMap::new(),
        ports: HashMap::new(),
        failed: false,
        broken: false,
    };
    let mut judged = Vec::new();
    for (i, step) in scenario.steps.iter().enumerate() {
        run.servers = if i % 2 == 0 { both.clone() } else { both.turned() };
        if run.broken && !step.cleanup {
            continue;
        }
        let problems = run.step(step).unwrap_or_else(|e| {
            run.broken |= !step.cleanup && refused(&e);
            vec![format!("{e:#}")]
        });
        if step.cleanup {
            continue;
        }
        let failure = (!problems.is_empty()).then(|| line(scenario, i + 1, step, &problems));
        run.failed |= failure.is_some();
        if failure.is_some() || step.expect.is_some() {
            judged.push(Judged { step: i + 1, failure });
        }
    }
    judged
}

/// Adds the values that belong to one run of one scenario.
fn own(names: &Names) -> Names {
    let mut names = names.clone();
    let hex = |n: usize| (0..n).map(|_| fastrand::digit(16)).collect::<String>();
    names.set("run", hex(8).as_str());
    names.set("ns", format!("g-{}", hex(10)).as_str());
    for name in ["ip", "ip2", "ip3"] {
        let part = || fastrand::u8(100..=254);
        names.set(name, format!("127.{}.{}.{}", part(), part(), part()).as_str());
    }
    names
}

/// Whether it is about what a server does not share by the database: changed in passing, who listens there, services.
fn is_of_one_server(scenario: &Scenario) -> bool {
    let is_its_own = |step: &Step| match &step.action {
        Action::Call(call) => {
            let who_listens = call.method == "GET" && call.path.ends_with("/listener");
            who_listens || ["/v1/ns/", "/v2/ns/", "/prometheus"].iter().any(|begin| call.path.starts_with(begin))
        }
        _ => false,
    };
    scenario.exclusive || scenario.steps.iter().any(is_its_own)
}

/// Nothing listens there (any more): further steps would say the same.
fn refused(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::ConnectionRefused)
}

fn line(scenario: &Scenario, number: usize, step: &Step, problems: &[String]) -> String {
    let note = step.note.as_ref().map(|note| format!(" [{note}]")).unwrap_or_default();
    let shown = problems.iter().take(PROBLEMS_SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
    let more = problems.len().saturating_sub(PROBLEMS_SHOWN);
    let more = if more > 0 { format!(" (+{more} more)") } else { String::new() };
    format!("FAIL {} step {number}: {}{note}: {shown}{more}", scenario.name, step.title())
}

/// A scenario under way.
struct Run {
    /// Those that the step under way talks to.
    servers: Servers,
    names: Names,
    jobs: HashMap<String, Answer<Result<Response>>>,
    ports: HashMap<String, Receiver>,
    /// A step has failed.
    failed: bool,
    /// What later steps need is missing.
    broken: bool,
}

impl Run {
    /// Runs a step; gives how it failed.
    fn step(&mut self, step: &Step) -> Result<Vec<String>> {
        match &step.action {
            Action::Sleep(length) => thread::sleep(*length),
            Action::UdpOpen(name) => {
                let receiver = Receiver::open()?;
                self.names.set(name.as_str(), receiver.port);
                self.ports.insert(name.clone(), receiver);
            }
            Action::UdpReceive { name, within } => return self.push(step, name, *within),
            Action::Background { name, call, lead } => {
                let request = build(&self.servers, call, &self.names)?;
                let (sender, receiver) = sync_channel(1);
                thread::spawn(move || {
                    // Nobody waits for the answer if the scenario has ended before its `join`.
                    let _ = sender.send(http::exchange(&request).map_err(anyhow::Error::from));
                });
                self.jobs.insert(name.clone(), receiver);
                thread::sleep(*lead);
            }
            Action::Join(name) => {
                let job = self.jobs.remove(name).with_context(|| format!("no request {name} is under way"))?;
                let response = job.recv_timeout(TIMEOUT + Duration::from_secs(5)).context("no answer")??;
                return self.judge(step, response, |_| anyhow::bail!("a joined request cannot be repeated"));
            }
            Action::Call(call) => {
                let ask = |run: &Self| ask(&build(&run.servers, call, &run.names)?);
                let response = ask(self)?;
                return self.judge(step, response, ask);
            }
        }
        Ok(Vec::new())
    }

    /// Checks an answer, polls if it may still change, and captures.
    fn judge(
        &mut self,
        step: &Step,
        mut response: Response,
        again: impl Fn(&Self) -> Result<Response>,
    ) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        if let (Some(expect), false) = (&step.expect, step.cleanup) {
            problems = check(expect, &response, &self.names)?;
            if let (Some(limit), false) = (step.poll.max(self.lag(step)), problems.is_empty()) {
                let limit = if self.failed { limit.min(POLL_AFTER_FAILURE) } else { limit };
                let end = Instant::now() + limit;
                while !problems.is_empty() && Instant::now() < end {
                    thread::sleep(POLL_PAUSE);
                    response = again(self)?;
                    problems = check(expect, &response, &self.names)?;
                }
            }
        }
        let mut missing = capture(&step.capture, &response, &mut self.names)?;
        if let (Some(limit), false) = (self.lag(step), missing.is_empty() || step.cleanup) {
            let end = Instant::now() + limit;
            while !missing.is_empty() && Instant::now() < end {
                thread::sleep(POLL_PAUSE);
                missing = capture(&step.capture, &again(self)?, &mut self.names)?;
            }
        }
        if !missing.is_empty() && !step.cleanup {
            problems.extend(missing);
            self.broken = true;
        }
        Ok(problems)
    }

    /// How long the answer may still change though the step does not say so: the step before was another server's.
    fn lag(&self, step: &Step) -> Option<Duration> {
        let reads = matches!(&step.action, Action::Call(call) if matches!(call.method.as_str(), "GET" | "HEAD"));
        (reads && self.servers.second.is_some()).then_some(LAG)
    }

    /// Waits for the expected push; others may come first.
    fn push(&self, step: &Step, name: &str, within: Duration) -> Result<Vec<String>> {
        let port = self.ports.get(name).with_context(|| format!("no port {name} is open"))?;
        let end = Instant::now() + within;
        let expected = step.expect.as_ref().and_then(|expect: &Object| expect.get("json")).unwrap_or(&Value::Null);
        let expected = self.names.in_value(expected)?;
        let mut problems = vec![format!("no datagram within {} s", within.as_secs_f64())];
        loop {
            if let Some(packet) = port.receive(end)? {
                problems = differences(&expected, &packet, "$");
            }
            if problems.is_empty() || Instant::now() >= end {
                return Ok(problems);
            }
        }
    }
}

/// Sends a request; again, a little later, if a recorded server's database stood in the way.
fn ask(request: &Request) -> Result<Response> {
    let mut response = http::exchange(request)?;
    for again in 0..2 {
        if !response.body.windows(LOCK_FAULT.len()).any(|part| part == LOCK_FAULT) {
            break;
        }
        thread::sleep(Duration::from_millis(500 + 1000 * again));
        response = http::exchange(request)?;
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
