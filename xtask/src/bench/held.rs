//! What a held long poll costs in memory: resident bytes gained, over the number of polls; ours and the bare
//! server with the same request bytes.

use anyhow::{Context, Result, ensure};
use tokio::runtime::Runtime;

use super::{
    limits,
    process::{Bare, Subject},
    report::{Report, Row, Target, bytes},
    start,
    wire::{self, Connection, Watched},
};

/// The configuration that all polls watch.
pub const WATCHED: &str = "bench-watched";

/// Held polls, each on a connection of its own.
pub struct Fleet {
    subject: Subject,
    connections: Vec<Connection>,
}

impl Fleet {
    /// No polls yet.
    pub fn new(subject: Subject) -> Self {
        Self { subject, connections: Vec::new() }
    }

    /// Opens connections until there are `count`, and sends on each the request made for its number.
    pub async fn grow(&mut self, count: usize, request: impl Fn(usize) -> Vec<u8>) -> Result<()> {
        // So many as surely fit into the queue of connections that wait to be accepted.
        const BATCH: usize = 100;
        while self.connections.len() < count {
            let number = self.connections.len();
            let mut connection = Connection::open(self.subject.addr, limits::source(number))
                .await
                .with_context(|| format!("open connection {number} to {}", self.subject.name))?;
            connection.send(&request(number)).await?;
            self.connections.push(connection);
            if self.connections.len().is_multiple_of(BATCH) {
                // Connections are accepted in order: once this one is answered, all before it are.
                let mut last = Connection::open(self.subject.addr, None).await?;
                last.exchange(&wire::read(WATCHED)).await?;
            }
        }
        Ok(())
    }

    /// Fails if any poll was answered or closed.
    pub fn check_held(&self) -> Result<()> {
        for (number, connection) in self.connections.iter().enumerate() {
            connection
                .check_silent()
                .with_context(|| format!("poll {number} of {} at {}", self.connections.len(), self.subject.name))?;
        }
        Ok(())
    }

    /// The connections, for one who waits for their answers and may send the next polls.
    pub fn connections(&mut self) -> &mut Vec<Connection> {
        &mut self.connections
    }
}

/// Touches the paths that the measurement will use, so that code paged in and pools grown do not count as polls.
/// Gives the resident bytes afterwards.
pub async fn warm(subject: Subject, request: impl Fn(usize) -> Vec<u8>) -> Result<u64> {
    let mut fleet = Fleet::new(subject);
    fleet.grow(8, request).await?;
    subject.settle().await?;
    fleet.check_held()?;
    drop(fleet);
    subject.settle().await
}

/// A poll on one key whose content the client holds.
pub fn poll(md5: &str) -> Vec<u8> {
    wire::long_poll([Watched { data_id: WATCHED, md5 }])
}

/// Publishes the watched configuration and gives its MD5 as the server tells it.
pub async fn publish(subject: Subject, content: &str) -> Result<String> {
    start::publish(subject, WATCHED, content).await
}

/// Measures held polls at each of these counts, as far as open files reach, and adds them to the report.
pub fn measure(report: &mut Report, runtime: &Runtime, counts: &[usize], open_files: u64) -> Result<()> {
    let counts: Vec<(usize, usize)> =
        counts.iter().map(|count| (*count, limits::connections(*count, open_files))).collect();
    let (data, server) = start::fresh()?;
    let ours = runtime.block_on(async {
        let subject = Subject::from(&server);
        let md5 = publish(subject, "watched").await?;
        series(subject, &counts, &md5).await
    })?;
    drop((server, data));
    let bare = Bare::start()?;
    let theirs = runtime.block_on(series(bare.subject(), &counts, "00000000000000000000000000000000"))?;
    for ((wanted, count), (ours, theirs)) in counts.into_iter().zip(ours.into_iter().zip(theirs)) {
        report.row(
            Row::new(format!("memory a held poll, {count} polls"), bytes(ours))
                .beside("bare", bytes(theirs))
                .target(Target::RatioAtMost(1.05)),
        );
        if count < wanted {
            report.note(format!(
                "{wanted} held polls: stopped at {count}, since a process may open {open_files} files here"
            ));
        }
    }
    Ok(())
}

/// Resident bytes a poll at each count, in one process that holds more and more of them.
async fn series(subject: Subject, counts: &[(usize, usize)], md5: &str) -> Result<Vec<f64>> {
    let idle = warm(subject, |_| poll(md5)).await?;
    let mut fleet = Fleet::new(subject);
    let mut figures = Vec::new();
    for (_, count) in counts {
        ensure!(*count > 0, "no connection fits the limit of open files");
        fleet.grow(*count, |_| poll(md5)).await?;
        let held = subject.settle().await?;
        fleet.check_held()?;
        figures.push((held as f64 - idle as f64) / *count as f64);
    }
    Ok(figures)
}
