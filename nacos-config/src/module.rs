//! The module as a whole: its parts in their order of start, its background tasks, its stop.

use std::{path::PathBuf, sync::Arc, time::Duration};

use nacos_core::{
    clock,
    error::Report,
    id::Ids,
    metrics::Metrics,
    namespace::NamespaceDirectory,
    settings::ConfigSettings,
    storage::{DatabaseOperate, StorageError},
    web::Routes,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    cache::ConfigCache,
    capacity::Capacity,
    disk::DiskCopies,
    dump::{Dump, LocalDataChange},
    http::{self, Endpoints, Searches, SetLogLevel, Shared},
    publish::Publisher,
    query::Reader,
    repository::Repository,
    switches::Switches,
    trace::Trace,
    watch::{WatchIndex, long_poll::LongPolls},
};

/// History rows deleted at once; small, so that a publish never waits long behind a cleaning.
const CLEAN_STEP: i64 = 1000;
/// How often the history is cleaned, as Nacos does.
const CLEAN_EVERY: Duration = Duration::from_secs(600);
/// How often the number of held polls is logged.
const MEMORY_EVERY: Duration = Duration::from_secs(10);

/// What the module needs of its surroundings.
pub struct ConfigOptions {
    /// The settings.
    pub settings: ConfigSettings,
    /// The store.
    pub db: Arc<dyn DatabaseOperate>,
    /// Where ids come from.
    pub ids: Arc<Ids>,
    /// Which namespaces exist.
    pub namespaces: Arc<dyn NamespaceDirectory>,
    /// Where disk copies lie; none are kept without it.
    pub disk: Option<PathBuf>,
    /// The trace logs.
    pub trace: Trace,
    /// This server's address, for the logs.
    pub self_ip: String,
    /// Where to count.
    pub metrics: Metrics,
    /// Sets a logger's level, for the endpoint of that purpose.
    pub set_log_level: SetLogLevel,
}

/// Why the module did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of disk copies cannot be used.
    #[error("open the folder of disk copies {0}")]
    Disk(PathBuf, #[source] std::io::Error),
    /// What is stored could not be read.
    #[error("read the stored configurations")]
    Storage(#[from] StorageError),
}

/// Configuration management, running.
pub struct ConfigModule {
    endpoints: Endpoints,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    from_copies: Option<usize>,
}

impl ConfigModule {
    /// Reads everything that is stored and starts the background tasks. `progress` is called with rows read and
    /// rows in all.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(options: ConfigOptions, progress: impl FnMut(u64, u64) + Send) -> Result<Self, StartError> {
        let ConfigOptions { settings, db, ids, namespaces, disk, trace, self_ip, metrics, set_log_level } = options;
        let disk = match disk {
            Some(folder) => Some(DiskCopies::open(&folder).map_err(|error| StartError::Disk(folder, error))?),
            None => None,
        };
        // Before anything is read: what is changed while it is read is told.
        let others = db.changes();
        let cache = Arc::new(ConfigCache::new(settings.cache_max_bytes));
        let index = Arc::new(WatchIndex::new());
        let switches = Arc::new(Switches::new());
        let repository = Repository::new(db.clone(), ids.clone());
        let dump =
            Arc::new(Dump::new(cache.clone(), repository.clone(), disk, switches.clone(), trace.clone(), &metrics));
        let mut from_copies = None;
        match dump.all(progress).await {
            Ok(_) => {}
            // Others keep that store; this server is of use without it.
            Err(error @ StorageError::Unavailable(_)) if others.is_some() => {
                let keys = dump.from_copies().await;
                tracing::warn!(keys, error = %Report(&error), "the database is away: starting from the disk copies");
                from_copies = Some(keys);
            }
            Err(error) => return Err(error.into()),
        }

        let capacity = Capacity::new(db, ids, settings.capacity.clone());
        let publisher = Publisher::new(
            repository.clone(),
            dump.clone(),
            capacity.clone(),
            switches.clone(),
            trace.clone(),
            self_ip,
            &metrics,
        );
        let held_max = settings.long_poll_max_held;
        let polls = LongPolls::new(cache.clone(), index.clone(), switches, trace.clone(), held_max);
        let stop = watch::Sender::new(false);
        let mut tasks = vec![
            tokio::spawn(index.clone().follow(cache.clone(), dump.changes().subscribe("watch"))),
            tokio::spawn(dump.clone().run_disk(stop.subscribe())),
            tokio::spawn(dump.clone().run_forget(stop.subscribe())),
            tokio::spawn(clean_history(repository.clone(), settings.retention, stop.subscribe())),
            tokio::spawn(report_polls(index.clone(), trace.clone(), stop.subscribe())),
        ];
        // Where nobody else writes there is nothing to look for.
        if let Some(others) = others {
            let interval = settings.dump.change_on.then_some(settings.dump.change_interval);
            let whole = from_copies.is_none();
            tasks.push(tokio::spawn(dump.clone().run_checks(others, interval, whole, stop.subscribe())));
        }
        show_sizes(&metrics, &cache, &index, &dump);
        let search = &settings.search;
        let searches = Searches::new(search.max_thread, search.max_capacity, search.wait_timeout);
        let endpoints = Endpoints::new(Shared {
            reader: Reader::new(cache, dump.clone()),
            publisher,
            repository,
            capacity,
            dump,
            index,
            polls,
            namespaces,
            trace,
            set_log_level,
            searches,
            gets: metrics.monitor("config", "getConfig"),
            publishes: metrics.monitor("config", "publish"),
            fuzzy_searches: metrics.monitor("config", "fuzzySearch"),
            settings,
        });
        Ok(Self { endpoints, stop, tasks, from_copies })
    }

    /// How many configurations were taken from disk copies, because the store was away at the start; `None` if it was
    /// there.
    pub fn from_copies(&self) -> Option<usize> {
        self.from_copies
    }

    /// The HTTP routes.
    pub fn routes(&self) -> Routes {
        http::routes(&self.endpoints)
    }

    /// Writes and removes configurations, for other parts of a composed server.
    pub fn publisher(&self) -> &Publisher {
        &self.endpoints.publisher
    }

    /// Reads configurations as a client does.
    pub fn reader(&self) -> &Reader {
        &self.endpoints.reader
    }

    /// Subscribes to the changes that clients of this server are told.
    pub fn subscribe(&self, who: &str) -> nacos_core::event::Subscription<LocalDataChange> {
        self.endpoints.dump.changes().subscribe(who)
    }

    /// Answers all held polls, now and from now on. The first step of a stop.
    pub fn release_polls(&self) {
        self.endpoints.index.stop();
    }

    /// Ends the background tasks after they have written what they had to. The last step of a stop, after the
    /// last request.
    pub async fn stop(self) {
        self.release_polls();
        self.stop.send_replace(true);
        let Self { endpoints, tasks, .. } = self;
        // The watch's task ends with the topic, whose owners go here.
        drop(endpoints);
        for task in tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout(Duration::from_secs(5), task).await.is_err() {
                abort.abort();
                tracing::warn!("a background task of configuration management did not end in time");
            }
        }
    }
}

fn show_sizes(metrics: &Metrics, cache: &Arc<ConfigCache>, index: &Arc<WatchIndex>, dump: &Arc<Dump>) {
    let polls = metrics.monitor("config", "longPolling");
    let configs = metrics.monitor("config", "configCount");
    let cached = metrics.monitor("config", "cachedContentBytes");
    let tasks = metrics.monitor("config", "dumpTask");
    let retained = metrics.monitor("config", "retainedClientIps");
    let (cache, index, dump) = (Arc::downgrade(cache), Arc::downgrade(index), Arc::downgrade(dump));
    metrics.before_render(move || {
        if let (Some(cache), Some(index), Some(dump)) = (cache.upgrade(), index.upgrade(), dump.upgrade()) {
            polls.set(index.len() as i64);
            retained.set(index.retained().len() as i64);
            configs.set(cache.formal_count() as i64);
            cached.set(cache.content_bytes() as i64);
            tasks.set(dump.waiting_copies() as i64);
        }
    });
}

/// Deletes history rows older than `keep` in small steps.
async fn clean_history(repository: Repository, keep: Duration, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(CLEAN_EVERY) => {}
        }
        let before = clock::wall_ms() - keep.as_millis() as i64;
        loop {
            match repository.clean_history(before, CLEAN_STEP).await {
                Ok(deleted) if deleted < CLEAN_STEP as u64 => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => {
                    tracing::warn!(error = %Report(&error), "history not cleaned");
                    break;
                }
            }
        }
    }
}

async fn report_polls(index: Arc<WatchIndex>, trace: Trace, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(MEMORY_EVERY) => trace.memory(index.len() as u64),
        }
    }
}
