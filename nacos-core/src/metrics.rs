//! The metrics of one server, in Prometheus' text form under Nacos' (Micrometer's) names.
//!
//! A handle, not a global: two servers can live in one process. Hot paths keep the counters they were given;
//! nothing is looked up by name there. `docs/metrics.md` lists every metric with its unit.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

/// The metrics of one server. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    monitor: IntGaugeVec,
    timer: HistogramVec,
    exceptions: IntCounterVec,
    requests: HistogramVec,
    missed: IntCounterVec,
    process: GaugeVec,
    before: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

/// Upper bounds of all time histograms, in seconds.
const SECONDS: [f64; 10] = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];

impl Metrics {
    /// Fresh metrics, all at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels).expect("a valid metric name")
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("a valid metric name")
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)
                .expect("a valid metric name")
        };
        let inner = Inner {
            monitor: gauges("nacos_monitor", "Counts and sizes of a module, as named", &["module", "name"]),
            timer: histograms("nacos_timer_seconds", "Time that an operation took, in seconds", &["module", "name"]),
            exceptions: counters("nacos_exception_total", "Errors of a module since start", &["module", "name"]),
            requests: histograms(
                "http_server_requests_seconds",
                "Time from a read request to its answer, in seconds, long polls included",
                &["method", "status", "uri"],
            ),
            missed: counters(
                "nacos_events_missed_total",
                "Events that a slow subscriber missed and made up for by looking at the state",
                &["topic", "subscriber"],
            ),
            process: GaugeVec::new(Opts::new("process_resident_memory_bytes", "Resident memory in bytes"), &[])
                .expect("a valid metric name"),
            registry,
            before: Mutex::new(Vec::new()),
        };
        let metrics = Self { inner: Arc::new(inner) };
        metrics.add(metrics.inner.monitor.clone());
        metrics.add(metrics.inner.timer.clone());
        metrics.add(metrics.inner.exceptions.clone());
        metrics.add(metrics.inner.requests.clone());
        metrics.add(metrics.inner.missed.clone());
        metrics.add(metrics.inner.process.clone());
        metrics
    }

    /// Adds a metric of a module's own. A second one of the same name is left out and logged.
    pub fn add(&self, collector: impl Collector + 'static) {
        if let Err(error) = self.inner.registry.register(Box::new(collector)) {
            tracing::error!(%error, "metric not registered");
        }
    }

    /// Nacos' gauge `nacos_monitor{module,name}`.
    pub fn monitor(&self, module: &str, name: &str) -> IntGauge {
        self.inner.monitor.with_label_values(&[module, name])
    }

    /// Nacos' timer `nacos_timer_seconds{module,name}`.
    pub fn timer(&self, module: &str, name: &str) -> Histogram {
        self.inner.timer.with_label_values(&[module, name])
    }

    /// Nacos' counter `nacos_exception_total{module,name}`.
    pub fn exceptions(&self, module: &str, name: &str) -> IntCounter {
        self.inner.exceptions.with_label_values(&[module, name])
    }

    /// The timer of one kind of request, `http_server_requests_seconds{method,status,uri}`.
    pub fn requests(&self, method: &str, status: &str, uri: &str) -> Histogram {
        self.inner.requests.with_label_values(&[method, status, uri])
    }

    /// Counts what `subscriber` missed of `topic`.
    pub fn events_missed(&self, topic: &str, subscriber: &str) -> IntCounter {
        self.inner.missed.with_label_values(&[topic, subscriber])
    }

    /// Has `refresh` called whenever the metrics are rendered, for gauges that are read off something.
    pub fn before_render(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.inner.before.lock().push(Box::new(refresh));
    }

    /// All metrics in Prometheus' text form, version 0.0.4.
    pub fn render(&self) -> String {
        self.inner.before.lock().iter().for_each(|refresh| refresh());
        if let Some(bytes) = resident_bytes() {
            self.inner.process.with_label_values(&[] as &[&str]).set(bytes);
        }
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.inner.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics not rendered");
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Resident memory of this process; `None` where the system does not tell.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_rendered_under_its_name() {
        let metrics = Metrics::new();
        metrics.monitor("config", "getConfig").set(3);
        metrics.exceptions("config", "db").inc();
        metrics.timer("config", "readConfigRt").observe(0.002);
        let text = metrics.render();
        for line in [
            "nacos_monitor{module=\"config\",name=\"getConfig\"} 3",
            "nacos_exception_total{module=\"config\",name=\"db\"} 1",
            "nacos_timer_seconds_count{module=\"config\",name=\"readConfigRt\"} 1",
        ] {
            assert!(text.contains(line), "{line} missing in:\n{text}");
        }
    }
}
