//! Every rule of silence, with the clock paused.

use std::time::Duration;

use nacos_core::key::ServiceKey;
use tokio::{task::JoinHandle, time::sleep};

use super::*;
use crate::{
    metadata::InstanceMetadata,
    model::{ClientId, Metadata, Subscriber},
    registry::{Beat, Registry},
    testing::{instance, registry_with, switches},
};

/// Timers fire at most this much late.
const TICK: u64 = 100;

struct Bench {
    registry: Arc<Registry>,
    switches: Arc<Switches>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Bench {
    async fn new() -> Self {
        Self::with(true).await
    }

    async fn with(expire_instances: bool) -> Self {
        let switches = switches().await;
        let registry = registry_with(Arc::clone(&switches), expire_instances);
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(run(Arc::clone(&registry), stop.subscribe()));
        Self { registry, switches, stop, task }
    }

    fn key() -> ServiceKey {
        ServiceKey::new("public", "g", "s")
    }

    fn client(n: u8) -> ClientId {
        ClientId::of_address(&format!("127.0.0.{n}"), 80, true)
    }

    fn register(&self, n: u8, metadata: &str) {
        self.registry.register(&Self::key(), &Self::client(n), instance(n, 80, metadata)).unwrap();
    }

    fn beat(&self, n: u8) -> Beat {
        self.registry.beat(&Self::key(), Self::client(n).as_str())
    }

    /// `None` if it is gone.
    fn healthy(&self, n: u8) -> Option<bool> {
        let service = self.registry.service(&Self::key())?;
        let state = service.lock();
        state.publishers.get(Self::client(n).as_str()).map(|published| published.instance.healthy)
    }

    /// Waits until `now` milliseconds after the start, but for a moment.
    async fn at(&self, now: u64) {
        let left = now.saturating_sub(self.registry.time.now());
        sleep(Duration::from_millis(left)).await;
    }

    /// Healthy until `sick`, there until `gone`.
    async fn holds(&self, n: u8, sick: u64, gone: u64) {
        self.at(sick).await;
        assert_eq!(self.healthy(n), Some(true), "too early unhealthy");
        self.at(sick + TICK + 1).await;
        assert_eq!(self.healthy(n), Some(false), "not unhealthy after {sick} ms");
        self.at(gone).await;
        assert_eq!(self.healthy(n), Some(false), "too early gone");
        self.at(gone + TICK + 1).await;
        assert_eq!(self.healthy(n), None, "not gone after {gone} ms");
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn silence_makes_unhealthy_and_then_removes() {
    let bench = Bench::new().await;
    bench.register(1, "");
    bench.holds(1, 15_000, 30_000).await;
    assert_eq!(bench.beat(1), Beat::Unknown);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_alive_and_heal() {
    let bench = Bench::new().await;
    bench.register(1, "");
    for n in 1..=20 {
        bench.at(n * 5_000).await;
        assert_eq!(bench.beat(1), Beat::Known(None));
        assert_eq!(bench.healthy(1), Some(true));
    }
    bench.at(100_000 + 15_000 + TICK + 1).await;
    assert_eq!(bench.healthy(1), Some(false));
    bench.at(120_000).await;
    bench.beat(1);
    assert_eq!(bench.healthy(1), Some(true));
    bench.holds(1, 135_000, 150_000).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn metadata_set_the_times() {
    let bench = Bench::new().await;
    bench.register(1, "preserved.heart.beat.timeout=6000,preserved.ip.delete.timeout=9000");
    bench.register(2, "preserved.heart.beat.timeout=soon");
    bench.register(3, "preserved.ip.delete.timeout=8000");
    bench.holds(1, 6_000, 9_000).await;
    assert_eq!(bench.healthy(3), None, "removed before it would be unhealthy");
    bench.holds(2, 15_000, 30_000).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_lays_over_sets_the_times_at_once() {
    let bench = Bench::new().await;
    bench.register(1, "preserved.heart.beat.timeout=60000,preserved.ip.delete.timeout=90000");
    bench.at(1_000).await;
    let over = "preserved.heart.beat.timeout=3000,preserved.ip.delete.timeout=5000,preserved.heart.beat.interval=700";
    let over = InstanceMetadata { extend_data: Metadata::parse(over).unwrap(), ..Default::default() };
    bench.registry.put_overlay(&Bench::key(), "127.0.0.1:80:DEFAULT", Some(over));
    bench.at(2_000).await;
    assert_eq!(bench.beat(1), Beat::Known(Some(700)));
    bench.holds(1, 5_000, 7_000).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn registering_again_with_shorter_times_counts_from_then_on() {
    let bench = Bench::new().await;
    bench.register(1, "");
    bench.at(1_000).await;
    bench.register(1, "preserved.heart.beat.timeout=2000,preserved.ip.delete.timeout=4000");
    bench.holds(1, 3_000, 5_000).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn registering_again_does_not_leave_old_timers_behind() {
    let bench = Bench::new().await;
    bench.register(1, "");
    bench.at(14_000).await;
    bench.registry.deregister(&Bench::key(), Bench::client(1).as_str());
    bench.register(1, "");
    bench.holds(1, 29_000, 44_000).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn instances_stay_where_they_may_not_expire() {
    let bench = Bench::with(false).await;
    bench.register(1, "");
    bench.at(15_000 + TICK + 1).await;
    assert_eq!(bench.healthy(1), Some(false));
    bench.at(170_000).await;
    assert_eq!(bench.healthy(1), Some(false));
    bench.beat(1);
    assert_eq!(bench.healthy(1), Some(true));
    bench.at(185_000 + TICK + 1).await;
    assert_eq!(bench.healthy(1), Some(false), "watched again after it was heard of");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_says_so_is_not_watched() {
    let bench = Bench::new().await;
    bench.register(1, "enableClientBeat=true");
    bench.register(2, "");
    bench.at(100_000).await;
    assert_eq!((bench.healthy(1), bench.healthy(2)), (Some(true), None));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_says_so_is_not_watched() {
    let bench = Bench::new().await;
    bench.registry.put_service(&Bench::key(), |_| ServiceMetadata {
        extend_data: Metadata::parse("enableClientBeat=true").unwrap(),
        ..Default::default()
    });
    bench.register(1, "");
    bench.at(100_000).await;
    assert_eq!(bench.healthy(1), Some(true));
    bench.registry.put_service(&Bench::key(), |_| ServiceMetadata::default());
    bench.at(106_000).await;
    assert_eq!(bench.healthy(1), None, "watched again: it has been silent for long");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_switch_turns_watching_off_and_on() {
    let bench = Bench::new().await;
    bench.register(1, "");
    bench.switches.update("check", "false", true).await.unwrap();
    bench.at(60_000).await;
    assert_eq!(bench.healthy(1), Some(true));
    bench.switches.update("check", "true", true).await.unwrap();
    bench.at(66_000).await;
    assert_eq!(bench.healthy(1), None);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn clients_are_forgotten() {
    let bench = Bench::new().await;
    let id = Bench::client(1);
    bench.register(1, "preserved.heart.beat.timeout=400000,preserved.ip.delete.timeout=500000");
    bench.register(2, "");
    let subscriber = Subscriber {
        addr_str: "127.0.0.3:80".into(),
        agent: String::new(),
        app: String::new(),
        ip: "127.0.0.3".into(),
        port: 80,
        namespace_id: "public".into(),
        service_name: "g@@s".into(),
        cluster: String::new(),
    };
    bench.registry.subscribe(&Bench::key(), &Bench::client(3), subscriber.clone());
    bench.at(20_000).await;
    let service = bench.registry.service(&Bench::key()).unwrap();
    assert!(bench.registry.resubscribe(&service, Bench::client(3).as_str(), |known| *known == subscriber));
    bench.at(50_000).await;
    assert_eq!(bench.registry.subscription_count(), 1, "asked again after 20 s");
    bench.at(50_000 + 2 * TICK).await;
    assert_eq!(bench.registry.subscription_count(), 0, "not heard of for 30 s");
    assert!(bench.registry.client(Bench::client(3).as_str()).is_none());
    bench.at(180_000).await;
    assert!(bench.registry.client(id.as_str()).is_some());
    bench.at(180_000 + 2 * TICK).await;
    assert!(bench.registry.client(id.as_str()).is_none(), "a client is forgotten after 180 s, whatever it publishes");
    assert_eq!(bench.healthy(1), None);
    assert!(bench.registry.client(Bench::client(2).as_str()).is_none());
    bench.at(300_000).await;
    assert_eq!(bench.registry.timers.len(), 0, "no timer is left");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn empty_services_and_orphaned_metadata_are_found() {
    let bench = Bench::new().await;
    let (registry, key) = (&bench.registry, Bench::key());
    registry.put_service(&key, |_| ServiceMetadata::default());
    registry.put_overlay(&key, "127.0.0.1:80:DEFAULT", Some(InstanceMetadata::default()));
    bench.register(1, "");
    bench.at(5_000).await;
    assert_eq!(registry.end_empty_services(0), 0, "somebody is in it");
    registry.deregister(&key, Bench::client(1).as_str());
    bench.at(64_000).await;
    assert_eq!(registry.end_empty_services(60_000), 0, "not yet empty for 60 s");
    assert_eq!(registry.orphans(60_000), vec![]);
    bench.at(65_001).await;
    let overlay = crate::registry::Orphan::Instance(key.clone(), "127.0.0.1:80:DEFAULT".into());
    assert_eq!(registry.orphans(60_000), vec![overlay.clone()]);
    assert_eq!(registry.end_empty_services(60_000), 1);
    assert_eq!(registry.kind(&key), None);
    bench.at(130_000).await;
    let service = crate::registry::Orphan::Service(key.clone());
    assert_eq!(registry.orphans(60_000), vec![service, overlay]);
    bench.register(1, "");
    assert_eq!(registry.orphans(60_000), vec![], "their owners are back");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn time_in_which_the_server_did_not_run_is_not_held_against_clients() {
    let bench = Bench::new().await;
    bench.register(1, "");
    bench.at(10_000).await;
    // As after a SIGSTOP: timers come, but late.
    tokio::time::advance(Duration::from_secs(40)).await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.healthy(1), Some(true));
    assert!(bench.registry.time.now() < 12_000, "{}", bench.registry.time.now());
    bench.holds(1, 15_000, 30_000).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_heard_of_by_one_service_keeps_its_other_instances() {
    let bench = Bench::new().await;
    let other = ServiceKey::new("public", "g", "other");
    let long = "preserved.heart.beat.timeout=400000,preserved.ip.delete.timeout=500000";
    bench.register(1, long);
    bench.registry.register(&other, &Bench::client(1), instance(1, 80, "")).unwrap();
    for n in 1..=60 {
        bench.at(n * 5_000).await;
        bench.registry.beat(&other, Bench::client(1).as_str());
        assert_eq!(bench.healthy(1), Some(true));
        assert!(bench.registry.timers.len() <= 4, "{} timers for two instances", bench.registry.timers.len());
    }
    bench.at(300_000 + 30_000 + 2 * TICK).await;
    assert_eq!(bench.registry.kind(&other).map(|_| bench.registry.instance_count()), Some(1));
    bench.at(300_000 + 250_000).await;
    assert_eq!(bench.registry.instance_count(), 0, "silent for 180 s, whatever its times are");
    assert!(bench.registry.client(Bench::client(1).as_str()).is_none());
    bench.at(600_000).await;
    assert_eq!(bench.registry.timers.len(), 0);
    bench.end().await;
}
