//! Telling subscribers what changed.
//!
//! Owns which service is pushed when. A lone change leaves at once; what follows it within the window is gathered into
//! one push at the window's end, however much it is. The transport to 1.x clients is [`udp`]. Nacos:
//! `PushDelayTaskExecuteEngine`, `PushExecuteTask`, `PushExecutorUdpImpl`.

pub mod udp;

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use nacos_core::{key::ServiceKey, metrics::Metrics};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    changes::Change,
    model::{Instance, Subscriber},
    registry::{Registry, Service},
    selector::Labels,
    switches::Switches,
    view::{Asked, Form, push_data},
};
use udp::{List, Packet, PushState, PushStats, UdpPusher, UdpSettings};

/// Nothing can be pushed.
#[derive(Debug, thiserror::Error)]
#[error("open a UDP socket to push to clients")]
pub struct PushError(#[from] std::io::Error);

/// Pushes changes to subscribers.
pub struct Pusher {
    registry: Arc<Registry>,
    switches: Arc<Switches>,
    labels: Option<Arc<dyn Labels>>,
    window: Duration,
    udp: UdpPusher,
    stats: Arc<PushStats>,
}

/// Most new subscribers that wait to be told; more have the list from their queries alone.
const NEWCOMERS_MAX: usize = 65_536;
/// So many of them are told before others' changes are looked for again.
const NEWCOMERS_AT_ONCE: usize = 64;
/// So many packets are kept while new subscribers are told.
const PACKETS_MAX: usize = 64;

/// Services that were pushed less than a window ago.
#[derive(Default)]
struct Recent {
    /// Since when something waits for the end of a service's window; `None` if nothing changed meanwhile.
    services: HashMap<ServiceKey, Option<Instant>>,
    /// When whose window ends; pushes come in the order of time, so several may end at once.
    ends: BTreeMap<Instant, Vec<Arc<Service>>>,
}

impl Recent {
    /// What is to be pushed now because of this change; `None` if it waits. New subscribers do not wait, and nobody
    /// waits because of them.
    fn admit(&mut self, change: Change, now: Instant, window: Duration) -> Option<Change> {
        if change.only.is_some() {
            return Some(change);
        }
        match self.services.entry(change.service.key().clone()) {
            hash_map::Entry::Occupied(mut waiting) => {
                waiting.get_mut().get_or_insert(change.since);
                None
            }
            hash_map::Entry::Vacant(place) => {
                place.insert(None);
                self.ends.entry(now + window).or_default().push(Arc::clone(&change.service));
                Some(change)
            }
        }
    }

    /// What waited for windows that have ended. Those services begin a new one.
    fn ended(&mut self, now: Instant, window: Duration) -> Vec<Change> {
        let mut due = Vec::new();
        while let Some(entry) = self.ends.first_entry().filter(|entry| *entry.key() <= now) {
            for service in entry.remove() {
                if let Some(Some(since)) = self.services.remove(service.key()) {
                    self.services.insert(service.key().clone(), None);
                    self.ends.entry(now + window).or_default().push(Arc::clone(&service));
                    due.push(Change { service, only: None, since });
                }
            }
        }
        due
    }

    fn next_end(&self) -> Option<Instant> {
        self.ends.first_key_value().map(|(at, _)| *at)
    }
}

impl Pusher {
    /// Opens the socket.
    pub(crate) fn start(
        registry: Arc<Registry>,
        switches: Arc<Switches>,
        labels: Option<Arc<dyn Labels>>,
        window: Duration,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, PushError> {
        let stats = Arc::new(PushStats::new());
        stats.show_in(metrics);
        // Both families by one socket; where the system has no IPv6, IPv4 alone.
        let open = |ip: IpAddr| UdpPusher::start((ip, 0).into(), UdpSettings::default(), Arc::clone(&stats), metrics);
        let udp = open(Ipv6Addr::UNSPECIFIED.into()).or_else(|_| open(Ipv4Addr::UNSPECIFIED.into()))?;
        Ok(Arc::new(Self { registry, switches, labels, window, udp, stats }))
    }

    /// Pushes until the server stops.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut recent = Recent::default();
        let mut newcomers: VecDeque<Change> = VecDeque::new();
        let mut packets = Packets::default();
        loop {
            let due = recent.ended(Instant::now(), self.window);
            self.push_all(due).await;
            let changes = if newcomers.is_empty() {
                packets.0.clear();
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    changes = self.registry.changes.take() => changes,
                    () = until(recent.next_end()) => continue,
                }
            } else if *stop.borrow() {
                return;
            } else {
                self.registry.changes.take_now()
            };
            let now = Instant::now();
            let admitted = changes.into_iter().filter_map(|change| recent.admit(change, now, self.window));
            let (new, due): (Vec<_>, Vec<_>) = admitted.partition(|change| change.only.is_some());
            self.push_all(due).await;
            // They have the list from their queries; a storm of them keeps no change waiting.
            newcomers.extend(new.into_iter().take(NEWCOMERS_MAX.saturating_sub(newcomers.len())));
            for change in newcomers.drain(..newcomers.len().min(NEWCOMERS_AT_ONCE)) {
                self.push(&change, &mut packets);
            }
            tokio::task::yield_now().await;
        }
    }

    async fn push_all(&self, due: Vec<Change>) {
        for change in due {
            self.push(&change, &mut Packets::default());
            // A storm of services must not keep others from running.
            tokio::task::yield_now().await;
        }
    }

    fn push(&self, change: &Change, packets: &mut Packets) {
        if !self.switches.push_enabled() {
            return;
        }
        let service = &change.service;
        let (subscribers, empty) = self.wanted(change);
        for (subscriber, json) in subscribers {
            // Whoever names no address is not reached.
            let Ok(ip) = subscriber.ip.parse::<IpAddr>() else { continue };
            let packet = packets.of(json, |json| {
                let data = push_data(service.key(), std::str::from_utf8(json).unwrap_or_default());
                let clusters = &subscriber.cluster;
                self.udp.packet(&List { service: service.key(), clusters, json: &data, empty, since: change.since })
            });
            self.udp.push(SocketAddr::new(ip, subscriber.port), packet);
        }
    }

    /// Who is to be told what, and whether it is that nobody is healthy.
    fn wanted(&self, change: &Change) -> (Vec<(Arc<Subscriber>, Bytes)>, bool) {
        let service = &change.service;
        let mut state = service.lock();
        let wanted: Vec<Arc<Subscriber>> = match &change.only {
            Some(id) => state.subscribers.get(id).into_iter().flatten().cloned().collect(),
            None => state.subscribers.values().flatten().cloned().collect(),
        };
        let answer = |subscriber: Arc<Subscriber>| {
            let asked = Asked {
                form: Form::V1,
                clusters: &subscriber.cluster,
                healthy_only: false,
                consumer: &subscriber.ip,
                cache_millis: self.switches.push_cache_millis(),
                labels: self.labels.as_deref(),
            };
            let json = state.answer(service.key(), asked);
            (subscriber, json)
        };
        let answers = wanted.into_iter().map(answer).collect();
        let serves = |instance: &Instance| instance.healthy && instance.weight > 0.0;
        (answers, !state.publishers.values().any(|published| serves(&published.instance)))
    }

    /// How pushes went, counted from zero again if `reset`.
    pub(crate) fn state(&self, detail: bool, reset: bool) -> PushState {
        self.stats.state(detail, reset)
    }
}

/// Packets that were made, by the lists in them: one for all who see the same list, which is then the same bytes.
#[derive(Default)]
struct Packets(HashMap<usize, (Bytes, Arc<Packet>)>);

impl Packets {
    fn of(&mut self, json: Bytes, make: impl FnOnce(&[u8]) -> Arc<Packet>) -> Arc<Packet> {
        if self.0.len() >= PACKETS_MAX {
            self.0.clear();
        }
        // The list is kept beside its packet, so that no other can be at its place.
        let at = json.as_ptr() as usize;
        let made = self.0.entry(at).or_insert_with(|| {
            let packet = make(&json);
            (json, packet)
        });
        Arc::clone(&made.1)
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use nacos_core::key::ServiceKey;

    use super::*;
    use crate::{
        model::ClientId,
        testing::{instance, registry},
    };

    const WINDOW: Duration = Duration::from_millis(500);

    /// A service in a registry of its own.
    async fn service() -> Arc<Service> {
        let registry = registry().await;
        let key = ServiceKey::new("public", "g", "s");
        registry.register(&key, &ClientId::of_address("127.0.0.1", 80, true), instance(1, 80, "")).unwrap();
        registry.service(&key).unwrap()
    }

    fn all(service: &Arc<Service>) -> Change {
        Change { service: Arc::clone(service), only: None, since: Instant::now() }
    }

    fn one(service: &Arc<Service>, n: u8) -> Change {
        let only = Some(ClientId::of_address(&format!("127.0.0.{n}"), 80, true));
        Change { service: Arc::clone(service), only, since: Instant::now() }
    }

    /// For each push the client it is for, or `*`.
    fn shown(changes: &[Change]) -> Vec<String> {
        changes.iter().map(|change| change.only.as_ref().map_or("*".to_owned(), ToString::to_string)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_change_leaves_at_once_and_a_storm_is_one_push_a_window() {
        let (service, mut recent) = (service().await, Recent::default());
        let start = Instant::now();
        assert!(recent.admit(all(&service), start, WINDOW).is_some());
        for ms in [1, 5, 100, 499] {
            assert!(recent.admit(all(&service), start + Duration::from_millis(ms), WINDOW).is_none());
        }
        assert_eq!(recent.next_end(), Some(start + WINDOW));
        assert!(recent.ended(start + WINDOW - Duration::from_millis(1), WINDOW).is_empty());
        assert_eq!(shown(&recent.ended(start + WINDOW, WINDOW)), ["*"]);
        // That push began a window of its own, in which nothing came.
        assert!(recent.ended(start + WINDOW * 2, WINDOW).is_empty());
        assert_eq!((recent.next_end(), recent.services.len()), (None, 0));
        assert!(recent.admit(all(&service), start + WINDOW * 3, WINDOW).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn new_subscribers_are_told_at_once_and_hold_nobody_up() {
        let (service, mut recent) = (service().await, Recent::default());
        let start = Instant::now();
        assert!(recent.admit(one(&service, 1), start, WINDOW).is_some());
        assert!(recent.admit(all(&service), start, WINDOW).is_some());
        assert!(recent.admit(one(&service, 2), start, WINDOW).is_some());
        assert!(recent.ended(start + WINDOW, WINDOW).is_empty());
    }
}
