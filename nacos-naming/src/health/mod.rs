//! Whether instances are healthy: ephemeral ones by their heartbeats, persistent ones by probes.
//!
//! Owns the link between the registry and the prober: which instances are probed how, and what becomes of what the
//! probes find.

pub mod heartbeat;
pub mod probe;
pub mod timers;

use std::sync::Arc;

use nacos_core::{error::Report, metrics::Metrics};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    persistent::PersistentInstances,
    registry::Registry,
    switches::{HealthParams, Switches},
};
use probe::{Dialler, Pace, ProbeId, ProbeParams, ProbeSource, ProbeTarget, Prober, ProberSettings};

/// Most findings that wait to be written; what is beyond comes again with the next probe.
const FINDINGS_MAX: usize = 1024;
/// Most findings that are written at once.
const WRITES_MAX: usize = 128;

/// A changed health that a probe found.
struct Finding {
    id: ProbeId,
    healthy: bool,
}

/// Probes the registry's persistent instances.
pub(crate) struct Probing {
    source: Arc<Source>,
    persistent: PersistentInstances,
    findings: mpsc::Receiver<Finding>,
}

/// The registry, as the prober sees it.
struct Source {
    registry: Arc<Registry>,
    switches: Arc<Switches>,
    findings: mpsc::Sender<Finding>,
}

impl Probing {
    pub(crate) fn new(registry: Arc<Registry>, switches: Arc<Switches>, persistent: PersistentInstances) -> Self {
        let (sender, findings) = mpsc::channel(FINDINGS_MAX);
        Self { source: Arc::new(Source { registry, switches, findings: sender }), persistent, findings }
    }

    /// Probes, and writes what changes, until the server stops.
    pub(crate) async fn run(mut self, metrics: Metrics, mut stop: watch::Receiver<bool>) {
        let source: Arc<dyn ProbeSource> = self.source.clone();
        let prober = Prober::start(source, Dialler::new(), &ProberSettings::default(), &metrics);
        let mut writes = JoinSet::new();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                added = self.source.registry.arrivals.take() => added.into_iter().for_each(|id| prober.add(id)),
                Some(finding) = self.findings.recv(), if writes.len() < WRITES_MAX => {
                    let persistent = self.persistent.clone();
                    writes.spawn(async move {
                        let Finding { id, healthy } = finding;
                        if let Err(error) = persistent.set_healthy(&id.service, &id.client, healthy).await {
                            tracing::warn!(error = %Report(&error), "what a probe found is not written");
                        }
                    });
                }
                Some(_) = writes.join_next() => {}
            }
        }
    }
}

impl ProbeSource for Source {
    fn target(&self, id: &ProbeId) -> Option<ProbeTarget> {
        let service = self.registry.service(&id.service)?;
        let state = service.lock();
        let instance = &state.publishers.get(&*id.client)?.instance;
        let cluster = state.metadata.as_deref().and_then(|metadata| metadata.clusters.get(&*instance.cluster));
        let (checker, port) = match cluster {
            None => (Default::default(), instance.port),
            Some(cluster) if cluster.use_instance_port_for_check => (cluster.health_checker.clone(), instance.port),
            // A port that is none cannot be connected to, and so the instance is unhealthy.
            Some(cluster) => (cluster.health_checker.clone(), u16::try_from(cluster.healthy_check_port).unwrap_or(0)),
        };
        Some(ProbeTarget { ip: instance.ip.to_string(), port, checker })
    }

    fn healthy(&self, id: &ProbeId) -> Option<bool> {
        let service = self.registry.service(&id.service)?;
        let state = service.lock();
        Some(state.publishers.get(&*id.client)?.instance.healthy)
    }

    fn params(&self) -> ProbeParams {
        let domain = self.switches.get();
        let pace = |params: &HealthParams| Pace {
            max_ms: u64::try_from(params.max).unwrap_or(0),
            min_ms: u64::try_from(params.min).unwrap_or(0),
            factor: params.factor,
        };
        ProbeParams {
            enabled: self.switches.health_check_enabled(),
            check_times: u32::try_from(domain.check_times).unwrap_or(1),
            tcp: pace(&domain.tcp_health_params),
            http: pace(&domain.http_health_params),
            mysql: pace(&domain.mysql_health_params),
        }
    }

    fn responsible(&self, id: &ProbeId) -> bool {
        self.switches.probe_enabled(id.service.grouped())
    }

    fn report(&self, id: &ProbeId, healthy: bool) {
        // Full: the next probe finds the same.
        let _ = self.findings.try_send(Finding { id: id.clone(), healthy });
    }
}
