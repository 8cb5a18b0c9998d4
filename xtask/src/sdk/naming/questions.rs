//! What client programs ask of the server's instances, and have done to them behind their library's back.
//!
//! A service is three words: namespace, `-` for the public one, group, name.
//!
//! | they ask | they hear |
//! |---|---|
//! | `register SERVICE IP PORT [NAME=VALUE…]`: an instance that does not beat, with further parameters | `ok` |
//! | `deregister SERVICE IP PORT` | `ok` |
//! | `instance SERVICE IP PORT` | `none`, or `DEFAULT 1.5 healthy ephemeral {"a":"1"}` |
//! | `subscribed SERVICE`: until somebody on loopback is told of its changes | `yes`, or who is told instead |
//! | `kill`: the other process of the program, by SIGKILL once it has beaten | the milliseconds since its last heartbeat |

use std::{
    sync::mpsc::{Receiver, SyncSender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::registry::{Registry, Service};

/// After a restart of the server a client asks again, and is then told, after its list's 10 s.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(15);

/// Answers the programs of one client.
pub struct Answers<'a> {
    registry: &'a Registry,
    /// Asks for the other process to be killed.
    kill: SyncSender<()>,
    /// When its last heartbeat was, once it is.
    killed: Receiver<Instant>,
}

impl<'a> Answers<'a> {
    /// Answers with what the server shows; the other process is killed at the end of these queues.
    pub fn new(registry: &'a Registry, kill: SyncSender<()>, killed: Receiver<Instant>) -> Self {
        Self { registry, kill, killed }
    }

    /// Answers one question.
    ///
    /// # Errors
    /// It is none of these, or the server refused.
    pub fn answer(&self, words: &[&str]) -> Result<String> {
        match words {
            ["kill"] => {
                // The queue is closed if the other process has failed, and its failure was reported.
                let asked = self.kill.send(()).ok();
                let last_beat = asked.and_then(|()| self.killed.recv().ok()).context("there is no other process")?;
                Ok(last_beat.elapsed().as_millis().to_string())
            }
            [what, namespace, group, name, more @ ..] => {
                self.of_service(what, &Service::new(namespace, group, name), more)
            }
            _ => bail!("half a question"),
        }
    }

    fn of_service(&self, what: &str, service: &Service, more: &[&str]) -> Result<String> {
        match (what, more) {
            ("register", [ip, port, parameters @ ..]) => {
                let parameters =
                    parameters.iter().map(|one| one.split_once('=').context("a parameter without a value"));
                self.registry.register(service, ip, port, &parameters.collect::<Result<Vec<_>>>()?)?;
                Ok("ok".to_owned())
            }
            ("deregister", [ip, port]) => {
                self.registry.deregister(service, ip, port)?;
                Ok("ok".to_owned())
            }
            ("instance", [ip, port]) => {
                let address = format!("{ip}:{port}");
                let all = self.registry.instances(service)?;
                let mut those = all.iter().filter(|one| one.address() == address).map(ToString::to_string);
                let first = those.next().unwrap_or_else(|| "none".to_owned());
                // One address may be listed in two clusters, which is never right here.
                Ok(those.fold(first, |all, one| format!("{all} and {one}")))
            }
            ("subscribed", []) => self.subscribed(service),
            _ => bail!("an unknown question"),
        }
    }

    fn subscribed(&self, service: &Service) -> Result<String> {
        let begun = Instant::now();
        loop {
            let told = self.registry.subscribers(service)?;
            match told.iter().find(|address| !address.starts_with("127.")) {
                Some(elsewhere) => return Ok(format!("{elsewhere} is told, which is not on loopback")),
                None if !told.is_empty() => return Ok("yes".to_owned()),
                None if begun.elapsed() > SUBSCRIBED_WITHIN => return Ok("nobody is told".to_owned()),
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}
