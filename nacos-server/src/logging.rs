//! The log on standard error, and its levels, which an operator may change while the server runs.

use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// Changes levels. Cheap to clone.
#[derive(Clone)]
pub struct LogControl {
    set: Arc<Set>,
}

/// Sets the level of a logger: `false` if the level is none.
type Set = dyn Fn(&str, &str) -> bool + Send + Sync;

impl LogControl {
    /// A control that changes nothing: for servers within a process that logs on its own.
    pub fn none() -> Self {
        Self { set: Arc::new(|_, _| false) }
    }

    /// Sets the level of a logger by Nacos' name of it (`config-server`, `naming-server`, `core`, `remote` …; any
    /// other name, the whole server). `false` if the level is none.
    pub fn set(&self, logger: &str, level: &str) -> bool {
        (self.set)(logger, level)
    }
}

/// Writes what waits when dropped, as far as standard error takes it within a second.
pub struct LogGuard {
    _worker: WorkerGuard,
}

/// Lines that may wait for standard error. What comes on top is dropped: whoever reads the log slowly, or not at all,
/// holds no request up.
const WAITING_MAX: usize = 8192;

/// Begins to log to standard error from this level up. `None` if the process logs already.
pub fn init(level: LevelFilter) -> Option<(LogControl, LogGuard)> {
    let (filter, handle) = reload::Layer::new(EnvFilter::default().add_directive(level.into()));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let (writer, worker) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_MAX).finish(std::io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi).with_target(true);
    tracing_subscriber::registry().with(filter).with(layer).try_init().ok()?;
    let set = move |logger: &str, level: &str| {
        let level = match level.to_ascii_lowercase().as_str() {
            "all" => "trace".to_owned(),
            level => level.to_owned(),
        };
        let Ok(level) = level.parse::<LevelFilter>() else { return false };
        let module = match logger {
            name if name.starts_with("config") => Some("nacos_config"),
            name if name.starts_with("naming") => Some("nacos_naming"),
            name if name.starts_with("core") || name.starts_with("remote") => Some("nacos_core"),
            _ => None,
        };
        let directive = match module {
            Some(module) => format!("{module}={level}").parse(),
            None => level.to_string().parse(),
        };
        let Ok(directive) = directive else { return false };
        handle
            .modify(|filter| {
                let changed = std::mem::take(filter).add_directive(directive);
                *filter = changed;
            })
            .is_ok()
    };
    Some((LogControl { set: Arc::new(set) }, LogGuard { _worker: worker }))
}
