//! A group's processor as its task calls it: a panic is an answer, and what takes long runs beside the runtime.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::super::{ApplyError, RequestProcessor, SnapshotOperation};

/// A processor whose panics are caught.
#[derive(Clone)]
pub(super) struct Guarded(Arc<dyn RequestProcessor>);

impl Guarded {
    pub(super) fn new(processor: Arc<dyn RequestProcessor>) -> Self {
        Self(processor)
    }

    /// Applies an entry. A processor that panicked in the midst of it cannot be trusted any more.
    pub(super) fn apply(&self, entry: &str) -> Result<String, ApplyError> {
        caught(|| self.0.apply(entry)).unwrap_or_else(|panic| Err(ApplyError::Critical(panic)))
    }

    /// Whether it has snapshots at all.
    pub(super) fn has_snapshots(&self) -> bool {
        caught(|| self.0.snapshot().is_some()).unwrap_or(false)
    }

    /// The state as text. The caller waits and applies nothing meanwhile.
    pub(super) async fn save(&self) -> Result<String, String> {
        self.with_snapshots(|snapshots| snapshots.save()).await
    }

    /// Puts this state in the place of the one that there is. As for [`save`](Self::save).
    pub(super) async fn load(&self, text: String) -> Result<(), String> {
        self.with_snapshots(move |snapshots| snapshots.load(&text)).await
    }

    async fn with_snapshots<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn SnapshotOperation) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let processor = Arc::clone(&self.0);
        // A great state takes a while; other tasks must not wait for it.
        let done = tokio::task::spawn_blocking(move || {
            let snapshots = || processor.snapshot().map_or_else(|| Err("it has no snapshots".to_owned()), work);
            caught(snapshots).unwrap_or_else(Err)
        });
        done.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| format!("the processor panicked: {}", told(&*payload)))
}

fn told(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("it did not say why")
}
