//! Writes that every member of a cluster applies in the same order: the traits between the domain crates, which have
//! something to keep, and the protocols that keep it.
//!
//! A domain crate implements [`RequestProcessor`] for each group of data it has and hands it to a [`CpProtocol`]; it
//! never sees how an entry becomes durable. [`StandaloneProtocol`] is the protocol of a server without others: one
//! log for each group, in a database of its own. The names follow Nacos' `consistency` module (2.4.3, `CPProtocol`,
//! `RequestProcessor4CP`, `SnapshotOperation`).

mod standalone;

use std::sync::Arc;

use async_trait::async_trait;

pub use standalone::{STATEMENTS, StandaloneOptions, StandaloneProtocol};

/// One entry of a group's log: text, JSON by convention, so that a log can be read by people.
pub type Entry = Arc<str>;

/// Keeps what must never be lost and must be the same everywhere: entries of groups, applied in one order.
#[async_trait]
pub trait CpProtocol: Send + Sync + 'static {
    /// Makes the group of this processor: brings its stored snapshot and the entries after it to the processor, in
    /// order, and only then takes writes for it.
    ///
    /// # Errors
    /// [`CpError::DuplicateGroup`]; [`CpError::Unavailable`] or [`CpError::Busy`] where the store does not answer, and
    /// [`CpError::Stopped`] where what it holds is damaged or cannot be applied. After an error there is no such group,
    /// and the processor may hold some of its entries: the next attempt takes a fresh one.
    async fn add_processor(&self, processor: Arc<dyn RequestProcessor>) -> Result<(), CpError>;

    /// Writes an entry: once it is durable it is applied, and what the processor says is the answer.
    ///
    /// # Errors
    /// [`CpError::Refused`] is the processor's own answer, or the protocol's to an entry that it cannot keep. After
    /// [`CpError::Unconfirmed`] the entry may be applied, now or later (the store lost its answer, or the group stopped
    /// between writing the entry and applying it); after every other error it is not.
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll is the same as [`CpError::Unconfirmed`].
    async fn write(&self, group: &str, entry: Entry) -> Result<String, CpError>;

    /// Asks the processor, after every entry that was confirmed before this call has been applied. Entries may be
    /// applied meanwhile.
    ///
    /// # Errors
    /// As [`write`](Self::write), but nothing is ever changed.
    async fn read(&self, group: &str, request: &str) -> Result<String, CpError>;
}

/// Applies the entries of one group. Calls of [`apply`](Self::apply) and of [`SnapshotOperation`] never overlap.
pub trait RequestProcessor: Send + Sync + 'static {
    /// The group's name, unique in a server.
    fn group(&self) -> &'static str;

    /// Applies an entry. The same entries in the same order must lead to the same state and the same answers on every
    /// member: no clock, no chance. Must be quick; it runs on the path of every write of its group.
    ///
    /// # Errors
    /// [`ApplyError`].
    fn apply(&self, entry: &str) -> Result<String, ApplyError>;

    /// Answers a question about the state. May run beside [`apply`](Self::apply), and beside itself.
    ///
    /// # Errors
    /// [`ApplyError`].
    fn read(&self, request: &str) -> Result<String, ApplyError>;

    /// How the state is saved and loaded. Without it, the whole log is kept.
    fn snapshot(&self) -> Option<&dyn SnapshotOperation>;
}

/// Saves and loads the whole state of a group.
pub trait SnapshotOperation: Send + Sync {
    /// The state as text, JSON by convention.
    ///
    /// # Errors
    /// Why it cannot be had.
    fn save(&self) -> Result<String, String>;

    /// Puts this state in the place of the one that there is.
    ///
    /// # Errors
    /// Why it cannot be read; the state is then what it was.
    fn load(&self, snapshot: &str) -> Result<(), String>;
}

/// Why an entry was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The entry breaks a rule; an answer like any other, and the same on every member.
    #[error("{0}")]
    Refused(String),
    /// The state can no longer be trusted: the group stops.
    #[error("{0}")]
    Critical(String),
}

/// Why a group did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpError {
    /// The processor refused the entry.
    #[error("{0}")]
    Refused(String),
    /// There is no such group.
    #[error("no such raft group: {0}")]
    NoSuchGroup(String),
    /// The group exists already.
    #[error("duplicate raft group: {0}")]
    DuplicateGroup(String),
    /// More writes wait than the limit allows. Retry later.
    #[error("too many writes wait for the group {0}")]
    Busy(String),
    /// The group takes no writes: it is stopping, its store is away or full, or it has no leader.
    #[error("the group {0} takes no writes: {1}")]
    Unavailable(String, String),
    /// The answer was lost: the entry may be applied or not. Read, then decide.
    #[error("the write to the group {0} was not confirmed: {1}")]
    Unconfirmed(String, String),
    /// The group met what it cannot get over, and stays as it is until an operator acts.
    #[error("the group {0} has stopped: {1}")]
    Stopped(String, String),
}
