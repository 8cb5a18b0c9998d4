//! When which instance is probed.
//!
//! One task holds a queue in the order of time and the probes under way, of which there is a bound; what is due
//! beyond it waits for a place. Instances come by [`Prober::add`], and go when their source does not know them any
//! more, which is noticed when their turn comes. The queue holds as many entries as the source has instances.
//!
//! The lock guards queue and counts alone: never held while the source is asked, nor across a wait.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use hashbrown::HashMap;
use nacos_core::metrics::Metrics;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{Checker, Dialler, Outcome, ProbeId, ProbeSource, ProbeState, ProbeTarget};

/// No first probe comes sooner (Nacos `HealthCheckTaskV2.LOWER_CHECK_RT`).
const FIRST_MIN: Duration = Duration::from_secs(2);
/// A probe that begins later than due by more than this is counted as late (Nacos warns then).
const LATE_AFTER: Duration = Duration::from_millis(500);
/// That instances cannot be probed is said so often.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How probes are made.
#[derive(Debug, Clone)]
pub struct ProberSettings {
    /// So many probes are under way at most, at least 1; each has a connection.
    pub in_flight_max: usize,
    /// What spreads the first probes.
    pub seed: u64,
}

impl Default for ProberSettings {
    /// 512 at once, spread as chance wills.
    fn default() -> Self {
        Self { in_flight_max: 512, seed: fastrand::u64(..) }
    }
}

/// Probes the instances of a source. Probing ends when this is dropped.
#[derive(Debug)]
pub struct Prober {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Begins with no instance. Adds its metrics: the counts `tcpHealthCheck`, `httpHealthCheck` and
    /// `mysqlHealthCheck` of Nacos' `nacos_monitor`, `nacos_naming_probes_late_total` and
    /// `nacos_naming_probes_untried_total`.
    ///
    /// Call it within a tokio runtime.
    pub fn start(source: Arc<dyn ProbeSource>, dialler: Dialler, settings: &ProberSettings, metrics: &Metrics) -> Self {
        let probes: Probes = Box::new(move |target| {
            let dialler = dialler.clone();
            async move { super::probe(&dialler, &target).await }.boxed()
        });
        Self::start_with(source, probes, settings, metrics)
    }

    fn start_with(source: Arc<dyn ProbeSource>, probes: Probes, settings: &ProberSettings, metrics: &Metrics) -> Self {
        let shared = Arc::new(Shared {
            source,
            queue: Mutex::new(Queue {
                entries: HashMap::new(),
                due: BTreeMap::new(),
                sequence: 0,
                random: fastrand::Rng::with_seed(settings.seed),
                warned: None,
            }),
            changed: Notify::new(),
            counts: Counts::new(metrics),
        });
        let task = tokio::spawn(run(shared.clone(), probes, settings.in_flight_max.max(1)));
        Self { shared, task }
    }

    /// Has an instance probed from now on; its source knows it already. One that is probed already is left as it is.
    /// Never waits.
    pub fn add(&self, id: ProbeId) {
        let longest = self.shared.source.params().tcp.max_ms;
        let now = Instant::now();
        let mut queue = self.shared.queue.lock();
        if let Some(entry) = queue.entries.get_mut(&id) {
            entry.added_again = true;
            return;
        }
        let first = FIRST_MIN + Duration::from_millis(queue.random.u64(0..=longest.min(60_000)));
        queue.entries.insert(id.clone(), Entry { state: ProbeState::new(first), added_again: false });
        queue.put(id, now + first);
        drop(queue);
        self.shared.changed.notify_one();
    }

    /// How many instances are probed.
    pub fn len(&self) -> usize {
        self.shared.queue.lock().entries.len()
    }

    /// Whether no instance is probed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes one probe; another one in tests.
type Probes = Box<dyn Fn(ProbeTarget) -> BoxFuture<'static, Outcome> + Send + Sync>;

struct Shared {
    source: Arc<dyn ProbeSource>,
    queue: Mutex<Queue>,
    changed: Notify,
    counts: Counts,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("entries", &self.queue.lock().entries.len()).finish_non_exhaustive()
    }
}

struct Queue {
    /// All instances: those that wait, and those whose probe is under way.
    entries: HashMap<ProbeId, Entry>,
    /// Those that wait, by time; the number keeps apart what is due at the same time.
    due: BTreeMap<(Instant, u64), ProbeId>,
    sequence: u64,
    random: fastrand::Rng,
    /// When it was last said that probes could not be tried.
    warned: Option<Instant>,
}

struct Entry {
    state: ProbeState,
    /// Whether it was added once more. If so, that the source did not know it may be old news, and it is asked again.
    added_again: bool,
}

impl Queue {
    fn put(&mut self, id: ProbeId, at: Instant) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), id);
    }

    /// The next that is due, out of the queue, with the time at which it was.
    fn take(&mut self, now: Instant) -> Option<(ProbeId, Instant)> {
        let first = self.due.first_entry()?;
        let at = first.key().0;
        (at <= now).then(|| (first.remove(), at))
    }

    /// Forgets an instance that its source does not know, or, if it came back meanwhile, asks again.
    fn gone(&mut self, id: ProbeId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if std::mem::take(&mut entry.added_again) {
            let again = now + entry.state.interval();
            self.put(id, again);
        } else {
            self.entries.remove(&id);
        }
    }
}

/// A probe that ended.
struct Ended {
    id: ProbeId,
    target: ProbeTarget,
    outcome: Outcome,
    began: Instant,
    took: Duration,
}

async fn run(shared: Arc<Shared>, probes: Probes, in_flight_max: usize) {
    let mut under_way = FuturesUnordered::new();
    loop {
        let mut next = None;
        // Not all at once: thousands may be due, of which this server is to probe none.
        for _ in 0..in_flight_max {
            if under_way.len() >= in_flight_max {
                break;
            }
            let now = Instant::now();
            let (taken, first) = {
                let mut queue = shared.queue.lock();
                let taken = queue.take(now);
                (taken, queue.due.first_key_value().map(|(key, _)| key.0))
            };
            next = first;
            let Some((id, due)) = taken else { break };
            if let Some(target) = shared.begin(&id, due, now) {
                under_way.push(probe_one(id, target, &probes));
            }
        }
        let places = under_way.len() < in_flight_max;
        let wait = sleep_until(next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600)));
        tokio::select! {
            Some(ended) = under_way.next(), if !under_way.is_empty() => shared.end(ended),
            () = shared.changed.notified() => {}
            () = wait, if places => {}
        }
    }
}

fn probe_one(id: ProbeId, target: ProbeTarget, probes: &Probes) -> impl Future<Output = Ended> + use<> {
    let began = Instant::now();
    let probe = probes(target.clone());
    async move {
        // One probe that fails in an unforeseen way is not to end all others.
        let outcome = AssertUnwindSafe(probe).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Outcome::Untried("the probe panicked".into()));
        Ended { id, target, outcome, took: began.elapsed(), began }
    }
}

impl Shared {
    /// What to do with an instance whose turn it is: probe this target, or nothing now.
    fn begin(&self, id: &ProbeId, due: Instant, now: Instant) -> Option<ProbeTarget> {
        let wanted = self.source.params().enabled && self.source.responsible(id);
        match self.source.target(id) {
            None => self.queue.lock().gone(id.clone(), now),
            Some(target) if wanted && target.checker != Checker::None => {
                self.counts.of(&target.checker).inc();
                if now - due > LATE_AFTER {
                    self.counts.late.inc();
                }
                return Some(target);
            }
            Some(_) => {
                let mut queue = self.queue.lock();
                let interval = queue.entries.get(id).map(|entry| entry.state.interval());
                queue.put(id.clone(), now + interval.unwrap_or(FIRST_MIN));
            }
        }
        None
    }

    /// Whether the last warning is long enough ago: there may be one for each instance and interval.
    fn may_warn(&self) -> bool {
        let now = Instant::now();
        let mut queue = self.queue.lock();
        let may = queue.warned.is_none_or(|last| now - last >= WARN_EVERY);
        if may {
            queue.warned = Some(now);
        }
        may
    }

    /// Takes in what a probe found, and has it probed again.
    fn end(&self, ended: Ended) {
        let Ended { id, target, outcome, began, took } = ended;
        if let Outcome::Untried(reason) = &outcome {
            self.counts.untried.inc();
            if self.may_warn() {
                warn!(service = %id.service, ip = %target.ip, port = target.port, %reason, "instances not probed");
            }
        }
        let params = self.source.params();
        let healthy = self.source.healthy(&id);
        let now = Instant::now();
        let change = {
            let mut queue = self.queue.lock();
            let Some(healthy) = healthy else {
                queue.gone(id, now);
                return;
            };
            let Some(entry) = queue.entries.get_mut(&id) else { return };
            entry.state.pace(&outcome, took, params.pace(&target.checker));
            let change = entry.state.observe(&outcome, healthy, params.check_times);
            let next = (began + entry.state.interval()).max(now);
            queue.put(id.clone(), next);
            change
        };
        // Asked again: switches and members may have changed while the probe was under way.
        if let Some(healthy) = change
            && params.enabled
            && self.source.responsible(&id)
        {
            info!(
                service = %id.service, ip = %target.ip, port = target.port, healthy, checker = target.checker.type_name(),
                reason = reason(&outcome), "probes changed an instance's health"
            );
            self.source.report(&id, healthy);
        }
    }
}

fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Up => "ok",
        Outcome::Slow(reason) | Outcome::Down(reason) | Outcome::DownNow(reason) | Outcome::Untried(reason) => reason,
    }
}

struct Counts {
    tcp: IntGauge,
    http: IntGauge,
    mysql: IntGauge,
    late: IntCounter,
    untried: IntCounter,
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect("a valid metric name");
            metrics.add(counter.clone());
            counter
        };
        Self {
            tcp: metrics.monitor("naming", "tcpHealthCheck"),
            http: metrics.monitor("naming", "httpHealthCheck"),
            mysql: metrics.monitor("naming", "mysqlHealthCheck"),
            late: counter(
                "nacos_naming_probes_late_total",
                "Probes begun half a second late, for too many were under way",
            ),
            untried: counter("nacos_naming_probes_untried_total", "Probes that this server could not make"),
        }
    }

    fn of(&self, checker: &Checker) -> &IntGauge {
        match checker {
            Checker::Http { .. } => &self.http,
            Checker::Mysql { .. } => &self.mysql,
            Checker::Tcp | Checker::None => &self.tcp,
        }
    }
}

#[cfg(test)]
mod tests;
