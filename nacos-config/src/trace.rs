//! The logs that operators and their tools read: who published, dumped, pulled and polled what, and when.
//!
//! Six files in Nacos' formats (2.4 `ConfigTraceService`, `RequestLogAspect`, `LongPollingService`, and the patterns
//! of `config-included.xml`): `config-trace.log`, `config-pull-check.log`, `config-client-request.log`,
//! `config-dump.log`, `config-notify.log`, `config-memory.log`.
//!
//! The thread `nacos-trace` owns the files; every part of this crate may hold a [`Trace`] and record through it. A
//! record costs its caller a copy into a bounded queue: it never waits and never touches a file. What does not fit
//! is dropped and counted. Lines reach the files some 200 ms later, and are not synced to disk.
//!
//! Where the lines differ from Nacos': control characters, line separators, `|` and `\` in a value are escaped
//! (`\n`, `\u007c`, `\\`), so that no caller can forge a line or a field; application names and addresses are cut
//! after [`TEXT_BYTES_MAX`] bytes; a request that failed is written too, with the result `false`; the free texts of
//! `config-dump.log` are shorter.

mod file;
mod format;
mod queue;
mod record;
mod stamp;

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use jiff::tz::TimeZone;
use nacos_core::{clock, metrics::Metrics};
use prometheus::IntCounter;

pub use self::record::{
    Address, App, Channel, DumpOutcome, DumpRecord, NotifyOutcome, NotifyRecord, PersistKind, PersistRecord,
    PollingChange, PollingKind, PollingRecord, PullOutcome, PullRecord, RequestOp, RequestRecord, TEXT_BYTES_MAX,
    TracePart,
};
use self::{
    file::Files,
    format::Formatter,
    queue::{Entry, Queue},
    record::Event,
};

/// Where the logs are, and how large they may grow.
#[derive(Debug, Clone)]
pub struct TraceOptions {
    /// The folder of the files; made if it is not there.
    pub folder: PathBuf,
    /// A file is rolled before it would exceed this size, in bytes.
    pub max_file_bytes: u64,
    /// How many rolled files (`.1` is the youngest) are kept of each; with 0 a full file is deleted.
    pub max_files: u32,
    /// How many records wait at most, at least 1; as many again may be in the thread's hands. A record takes some
    /// 150 bytes, beside texts that it shares.
    pub queue_max: usize,
    /// The address that this server writes as its own.
    pub self_ip: String,
}

/// Where events are recorded. Cheap to clone; clones record to the same files.
#[derive(Clone)]
pub struct Trace {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    queue: Arc<Queue>,
    dropped: IntCounter,
    clock: fn() -> i64,
}

impl Trace {
    /// A trace that writes nothing.
    pub fn disabled() -> Self {
        Self { shared: None }
    }

    /// Opens the files, starts the thread that writes them, and adds the metrics `nacos_config_trace_dropped_total`
    /// and `nacos_config_trace_failed_total`. Dates are in the system's time zone as it is now, with its daylight
    /// saving; in UTC if it is not known.
    ///
    /// # Errors
    /// If the folder or a file cannot be made or opened, or no thread can be started; nothing runs then. Later
    /// failures (a full disk) lose lines, which are counted, and are got over as soon as the disk allows.
    pub fn start(options: TraceOptions, metrics: &Metrics) -> io::Result<(Self, TraceGuard)> {
        Self::start_with(options, metrics, clock::wall_ms, TimeZone::system())
    }

    fn start_with(
        options: TraceOptions,
        metrics: &Metrics,
        clock: fn() -> i64,
        zone: TimeZone,
    ) -> io::Result<(Self, TraceGuard)> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect("a valid metric name");
            metrics.add(counter.clone());
            counter
        };
        let dropped =
            counter("nacos_config_trace_dropped_total", "Records of the trace logs left out as too many waited");
        let failed = counter("nacos_config_trace_failed_total", "Lines of the trace logs that could not be written");

        let mut files = Files::open(&options.folder, options.max_file_bytes, options.max_files, &failed)?;
        let mut formatter = Formatter::new(&options.self_ip, zone);
        let queue = Arc::new(Queue::new(options.queue_max));
        let taken = queue.clone();
        let thread = Builder::new().name("nacos-trace".to_owned()).spawn(move || {
            let mut batch = Vec::new();
            loop {
                let open = taken.take(&mut batch);
                for entry in batch.drain(..) {
                    formatter.lines(&entry, |log, line| files.push(log, line));
                }
                files.flush();
                if !open {
                    return;
                }
            }
        })?;
        let shared = Shared { queue: queue.clone(), dropped, clock };
        Ok((Self { shared: Some(Arc::new(shared)) }, TraceGuard { queue, thread: Some(thread) }))
    }

    /// A client read a configuration. Makes three lines: trace, pull check (of a content only), client request.
    pub fn pull(&self, record: PullRecord) {
        self.record(Event::Pull(record));
    }

    /// A configuration was written or removed in the store.
    pub fn persist(&self, record: PersistRecord) {
        self.record(Event::Persist(record));
    }

    /// A member was told of a change. A failure goes to `config-notify.log` as well.
    pub fn notify(&self, record: NotifyRecord) {
        self.record(Event::Notify(record));
    }

    /// A change was taken over into cache and disk copies. Makes a line of the trace and one of `config-dump.log`.
    pub fn dump(&self, record: DumpRecord) {
        self.record(Event::Dump(record));
    }

    /// A client's publish or removal was answered.
    pub fn request(&self, record: RequestRecord) {
        self.record(Event::Request(record));
    }

    /// A long poll was answered.
    pub fn polling(&self, record: PollingRecord) {
        self.record(Event::Polling(record));
    }

    /// This many long polls are held now. Nacos writes it every 10 seconds.
    pub fn memory(&self, client_count: u64) {
        self.record(Event::Memory { client_count });
    }

    fn record(&self, event: Event) {
        let Some(shared) = &self.shared else { return };
        let at_ms = (shared.clock)();
        if !shared.queue.push(Entry { at_ms, event }) {
            shared.dropped.inc();
        }
    }
}

/// Keeps the writing thread. Dropping it writes what was recorded before, closes the files and waits for that; so
/// drop it last, and not where a wait of some milliseconds does harm. What is recorded afterwards counts as dropped.
#[must_use = "dropping the guard ends the trace"]
pub struct TraceGuard {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for TraceGuard {
    fn drop(&mut self) {
        self.queue.close();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the trace logs had panicked");
        }
    }
}

#[cfg(test)]
mod tests;
