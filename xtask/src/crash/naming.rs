//! The writes of service discovery that must not be lost, beside the publishes: persistent instances, what is laid over
//! them, what is said of services, and the switches.
//!
//! Every write bears a version of its own in what it writes, so what is found names the write that it came from.
//! [`ledger`] decides what may be found, [`writers`] write, [`found`] reads a server that was started again. The log
//! lies in the server's data folder, whatever database configurations are in.

mod found;
mod ledger;
mod writers;

pub use found::{Found, read};
pub use ledger::{Ledger, Settled};
pub use writers::{Writers, Written, prepare};

/// The log, and its write-ahead log, in a data folder.
pub const DATABASE: &str = "naming/naming.db";
/// See [`DATABASE`].
pub const LOG: &str = "naming/naming.db-wal";
/// See [`DATABASE`].
pub const LOG_INDEX: &str = "naming/naming.db-shm";

/// Settings under which nothing is taken away for want of use: what is gone was removed by somebody.
pub fn settings() -> Vec<(String, String)> {
    ["nacos.naming.clean.empty-service.expired-time", "nacos.naming.clean.expired-metadata.expired-time"]
        .map(|name| (name.to_owned(), "86400000".to_owned()))
        .to_vec()
}

/// Services that come and go as a whole.
const SERVICES: usize = 6;
/// Instances that all writers register and deregister.
const SHARED: usize = 6;
/// Instances that each writer has to itself.
const OWN: usize = 4;
/// Instances that stay, and that something is laid over.
const LAID: usize = 3;
/// The service of those that come and go.
const COMING: &str = "crash-coming";
/// The service of those that stay.
const STAYING: &str = "crash-staying";

/// What one write writes. Each has at most one version at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A persistent instance, by its number.
    Instance(usize),
    /// All that is laid over an instance that stays.
    Laid(usize),
    /// One name among the metadata laid over an instance that stays, by its number and the writer's.
    Cell(usize, usize),
    /// What is said of a service.
    Service(usize),
    /// A switch.
    Switch,
}

/// Everything that so many writers write.
pub fn targets(writers: usize) -> Vec<Target> {
    let instances = (0..SHARED + writers * OWN).map(Target::Instance);
    let cells = (0..writers).map(|writer| Target::Cell(LAID, writer));
    let services = (0..SERVICES).map(Target::Service);
    instances.chain((0..LAID).map(Target::Laid)).chain(cells).chain(services).chain([Target::Switch]).collect()
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Instance(n) => write!(f, "instance {}", ip(*n)),
            Self::Laid(n) => write!(f, "what is laid over {}", ip(*n)),
            Self::Cell(n, writer) => write!(f, "metadata c{writer} of {}", ip(*n)),
            Self::Service(n) => write!(f, "service {}", service(*n)),
            Self::Switch => f.write_str("a switch"),
        }
    }
}

/// The address of an instance; its port is 80.
fn ip(number: usize) -> String {
    format!("127.10.{}.{}", number / 250, number % 250 + 1)
}

fn service(number: usize) -> String {
    format!("crash-service-{number}")
}

/// The weight that goes with a version: half a write would show.
fn weight(version: u64) -> f64 {
    (version % 9_999 + 1) as f64
}

/// The threshold that goes with a version.
fn threshold(version: u64) -> f64 {
    (version % 100) as f64 / 100.0
}
