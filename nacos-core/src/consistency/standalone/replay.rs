//! From a group's rows to its processor's state, before its task begins.

use super::{
    super::{ApplyError, CpError},
    processor::Guarded,
    store::{ReadError, Store},
};
use crate::storage::StorageError;

/// Where a group's log stands.
pub(super) struct Log {
    /// The last entry that is applied; 0 if there was none. Between two batches, the last one of the log.
    pub(super) last: i64,
    /// The last entry that is in the snapshot; 0 without one.
    pub(super) snapshot: i64,
    /// The first entry that the store still has, or would have.
    pub(super) oldest: i64,
    /// The last generation that a snapshot was tried under.
    pub(super) generation: i64,
    /// Entries and their bytes since a snapshot was last tried.
    pub(super) entries_since: u64,
    pub(super) bytes_since: u64,
}

/// Why a group cannot begin.
pub(super) fn unreadable(group: &str, error: ReadError) -> CpError {
    match error {
        ReadError::Store(StorageError::Busy) => CpError::Busy(group.to_owned()),
        ReadError::Damaged(why) => CpError::Stopped(group.to_owned(), why),
        ReadError::Store(error @ StorageError::Corrupt(_)) => CpError::Stopped(group.to_owned(), error.to_string()),
        ReadError::Store(error) => CpError::Unavailable(group.to_owned(), error.to_string()),
    }
}

/// Brings the snapshot and every entry after it to the processor.
///
/// # Errors
/// [`CpError::Stopped`] where what is stored is damaged or cannot be applied: an entry is never left out.
pub(super) async fn replay(store: &Store, processor: &Guarded) -> Result<Log, CpError> {
    let group = store.group();
    let failed = |error| unreadable(group, error);
    let stopped = |why: String| CpError::Stopped(group.to_owned(), why);
    // What a process before this one sent in its last moments is there from here on, or never will be.
    store.settle().await.map_err(|error| failed(error.into()))?;

    let extent = store.extent().await.map_err(failed)?;
    let head = store.head().await.map_err(failed)?;
    let snapshot = head.as_ref().map_or(0, |head| head.index);
    if let Some(head) = &head {
        let text = store.snapshot(head).await.map_err(failed)?;
        let loaded = processor.load(text).await;
        loaded.map_err(|why| stopped(format!("the snapshot at entry {snapshot} cannot be loaded: {why}")))?;
    }

    let (mut last, mut bytes) = (snapshot, 0);
    loop {
        let entries = store.after(last).await.map_err(failed)?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            last += 1;
            bytes += entry.len() as u64;
            match processor.apply(entry) {
                // What was refused when it was written is refused again, and changes nothing again.
                Ok(_) | Err(ApplyError::Refused(_)) => {}
                Err(ApplyError::Critical(why)) => {
                    return Err(stopped(format!("entry {last} cannot be applied: {why}")));
                }
            }
        }
        // A long log is no reason for other tasks to wait.
        tokio::task::yield_now().await;
    }
    let replayed = last - snapshot;
    tracing::info!(group, snapshot, replayed, bytes, "log read");
    Ok(Log {
        last,
        snapshot,
        oldest: extent.oldest.unwrap_or(last + 1),
        generation: extent.generation,
        entries_since: replayed.unsigned_abs(),
        bytes_since: bytes,
    })
}
