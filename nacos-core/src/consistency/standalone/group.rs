//! The outer side of a group: what its callers hold, and the queue between them and its task.

use std::sync::{Arc, OnceLock};

use prometheus::{IntCounter, IntGauge};
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::super::{ApplyError, CpError, Entry, RequestProcessor};

pub(super) type Answer = Result<String, CpError>;

/// An entry that waits, and who waits for it.
pub(super) struct Waiting {
    pub(super) entry: Entry,
    /// Its bytes among those that may wait, and itself among those that do.
    held: (OwnedSemaphorePermit, Counted),
    answer: oneshot::Sender<Answer>,
}

impl Waiting {
    pub(super) fn answer(self, answer: Answer) {
        // Whoever is answered must find the room that the entry took free.
        drop((self.entry, self.held));
        // An error says that nobody waits any more.
        let _ = self.answer.send(answer);
    }
}

/// One in a gauge, as long as it lives.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Whether a group goes on, and if not, why. Shared by its callers and its task.
pub(super) struct Health {
    group: &'static str,
    stopped: OnceLock<String>,
    stops: IntCounter,
}

impl Health {
    pub(super) fn new(group: &'static str, stops: IntCounter) -> Self {
        Self { group, stopped: OnceLock::new(), stops }
    }

    /// Stops the group for good. The first reason stays.
    pub(super) fn stop(&self, reason: String) {
        if self.stopped.set(reason.clone()).is_ok() {
            self.stops.inc();
            tracing::error!(group = self.group, reason, "the group has stopped; it takes no more writes");
        }
    }

    /// Why it has stopped, if it has.
    pub(super) fn reason(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// # Errors
    /// [`CpError::Stopped`].
    pub(super) fn check(&self) -> Result<(), CpError> {
        self.reason().map_or(Ok(()), |reason| Err(CpError::Stopped(self.group.to_owned(), reason.to_owned())))
    }
}

/// What the callers of a group hold.
pub(super) struct Group {
    pub(super) processor: Arc<dyn RequestProcessor>,
    pub(super) health: Arc<Health>,
    /// A permit for each byte of the entries that wait.
    pub(super) room: Arc<Semaphore>,
    pub(super) queue: mpsc::Sender<Waiting>,
    pub(super) waiting: IntGauge,
    pub(super) max_entry_bytes: usize,
}

impl Group {
    /// Queues the entry before the first wait, then waits for its answer.
    pub(super) async fn write(&self, entry: Entry) -> Answer {
        let answer = self.enqueue(entry)?;
        let broken = |_| Err(CpError::Unconfirmed(self.name(), "its task broke off".to_owned()));
        answer.await.unwrap_or_else(broken)
    }

    fn enqueue(&self, entry: Entry) -> Result<oneshot::Receiver<Answer>, CpError> {
        self.health.check()?;
        if entry.len() > self.max_entry_bytes {
            let told = format!("the entry has {} bytes, and at most {} are taken", entry.len(), self.max_entry_bytes);
            return Err(CpError::Refused(told));
        }
        // Some stores have no place for it, and would refuse all entries that are written together with this one.
        if entry.contains('\0') {
            return Err(CpError::Refused("the entry holds U+0000".to_owned()));
        }
        let bytes = u32::try_from(entry.len()).unwrap_or(u32::MAX);
        let busy = |_| CpError::Busy(self.name());
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(busy)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { entry, held: (room, Counted::new(&self.waiting)), answer };
        match self.queue.try_send(waiting) {
            Ok(()) => Ok(answered),
            Err(TrySendError::Full(_)) => Err(CpError::Busy(self.name())),
            Err(TrySendError::Closed(_)) => {
                // It may have stopped since it was asked.
                self.health.check()?;
                Err(CpError::Unavailable(self.name(), "stopping".to_owned()))
            }
        }
    }

    /// An entry is applied before its write is answered, so the state of this moment has every entry that was confirmed
    /// before: there is nothing to wait for.
    pub(super) fn read(&self, request: &str) -> Answer {
        self.health.check()?;
        self.processor.read(request).map_err(|error| match error {
            ApplyError::Refused(why) => CpError::Refused(why),
            ApplyError::Critical(why) => {
                self.health.stop(format!("a read met this: {why}"));
                CpError::Stopped(self.name(), why)
            }
        })
    }

    fn name(&self) -> String {
        self.health.group.to_owned()
    }
}
