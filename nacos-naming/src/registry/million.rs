//! A dry run with a million instances: what they cost in memory, and that nothing takes longer than their number has it.
//!
//! The clock is paused, so half a minute of silence passes in no time; what is measured is processor time. The small form
//! runs with all tests. The large one is run by hand:
//! `cargo test --release -p nacos-naming --lib million -- --ignored --nocapture`.

use std::{fs, net::Ipv4Addr, sync::Arc, time::Duration};

use nacos_core::key::ServiceKey;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Beat, Registry, cluster_name};
use crate::{
    health::heartbeat,
    model::{ClientId, Instance, InstanceId, Metadata},
    testing,
};

/// Instances of most services.
const SMALL: u32 = 10;
/// Heartbeats of each instance.
const BEATS: u64 = 6;
/// Coprime to all numbers of instances, so that neighbours do not beat one after the other.
const STEP: u64 = 7919;

/// So many instances in services of ten, and a hundredth as many in one service.
#[derive(Clone, Copy)]
struct Crowd {
    spread: u32,
    together: u32,
}

impl Crowd {
    fn of(instances: u32) -> Self {
        Self { spread: instances, together: instances / 100 }
    }

    fn len(self) -> u32 {
        self.spread + self.together
    }

    fn services(self) -> u32 {
        self.spread / SMALL + 1
    }

    fn key(self, number: u32) -> ServiceKey {
        let name = if number < self.spread { format!("service-{}", number / SMALL) } else { "all".to_owned() };
        ServiceKey::new("public", "DEFAULT_GROUP", &name)
    }

    fn ip(number: u32) -> String {
        Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + number).to_string()
    }

    fn register(self, registry: &Registry) {
        for number in 0..self.len() {
            let ip = Self::ip(number);
            let client = ClientId::of_address(&ip, 8080, true);
            let instance = Instance {
                ip: ip.into(),
                port: 8080,
                cluster: cluster_name("DEFAULT"),
                weight: 1.0,
                healthy: true,
                enabled: true,
                id: InstanceId::Simple,
                metadata: Metadata::none(),
            };
            registry.register(&self.key(number), &client, instance).unwrap();
        }
    }

    fn beat(self, registry: &Registry) {
        for nth in 0..u64::from(self.len()) {
            let number = (nth * STEP % u64::from(self.len())) as u32;
            let met = registry.beat(&self.key(number), &ClientId::text_of(&Self::ip(number), 8080, true));
            assert_eq!(met, Beat::Known(None), "instance {number}");
        }
    }

    /// How many of all are healthy.
    fn healthy(self, registry: &Registry) -> u32 {
        let mut healthy = 0;
        registry.each_service(|_, service| {
            healthy += service.published().filter(|(_, instance)| instance.healthy).count() as u32;
        });
        healthy
    }
}

/// Processor time of this thread, in seconds; where the system does not tell it, time of day.
fn processor() -> f64 {
    // The system brings its books up to date when it chooses who runs next, else every few milliseconds.
    std::thread::yield_now();
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.as_deref().and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    nanos.map_or_else(|| nacos_core::clock::wall_ms() as f64 / 1e3, |nanos| nanos as f64 / 1e9)
}

/// Resident memory in bytes; 0 where the system does not tell it.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// What phases took, in seconds.
#[derive(Default)]
struct Took(Vec<(&'static str, f64)>);

impl Took {
    /// Since `begun`, and that again in `begun`.
    fn add(&mut self, phase: &'static str, begun: &mut f64) {
        let now = processor();
        let took = now - std::mem::replace(begun, now);
        match self.0.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, sum)) => *sum += took,
            None => self.0.push((phase, took)),
        }
    }
}

/// The life of a crowd: it registers, beats for half a minute, falls silent, and is forgotten.
async fn live(crowd: Crowd) -> Took {
    let registry = testing::registry().await;
    let stop = watch::Sender::new(false);
    let watching = tokio::spawn(heartbeat::run(Arc::clone(&registry), stop.subscribe()));
    let mut took = Took::default();
    let memory = |at: &str, before: u64| {
        let gained = resident().saturating_sub(before) / u64::from(crowd.len());
        println!("  {:>9} instances, {at}: {gained} bytes each", crowd.len());
    };
    let (before, mut begun) = (resident(), processor());

    crowd.register(&registry);
    took.add("register", &mut begun);
    memory("registered", before);
    for _ in 0..BEATS {
        sleep(Duration::from_secs(5)).await;
        took.add("watch", &mut begun);
        crowd.beat(&registry);
        took.add("beat", &mut begun);
    }
    memory("having beaten", before);
    let silent = Instant::now();
    let until =
        async |seconds: u64| tokio::time::sleep_until(silent + Duration::from_millis(seconds * 1000 + 500)).await;
    until(14).await;
    took.add("watch", &mut begun);
    assert_eq!(crowd.healthy(&registry), crowd.len());
    begun = processor();
    until(15).await;
    took.add("turn unhealthy", &mut begun);
    assert_eq!((crowd.healthy(&registry), registry.instance_count()), (0, i64::from(crowd.len())));
    assert_eq!(registry.service_count(), crowd.services() as usize);
    begun = processor();
    until(30).await;
    took.add("be removed", &mut begun);
    assert_eq!(registry.instance_count(), 0);
    until(200).await;
    assert_eq!(registry.end_empty_services(60_000), crowd.services() as usize);
    took.add("be forgotten", &mut begun);
    let mut left = 0;
    registry.each_service(|_, _| left += 1);
    assert_eq!((left, registry.client_ids().len(), registry.timers.len()), (0, 0, 0));
    memory("gone", before);
    stop.send_replace(true);
    watching.await.unwrap();
    took
}

/// Ten times as many may take `factor` times as long, phase by phase.
async fn compare(instances: u32, factor: f64) {
    let few = live(Crowd::of(instances / 10)).await;
    let many = live(Crowd::of(instances)).await;
    let mut slow = Vec::new();
    for ((phase, few), (_, many)) in few.0.iter().zip(&many.0) {
        println!("  {phase}: {:.1} ms, {:.1} ms, {:.1} times as long", few * 1e3, many * 1e3, many / few);
        // What takes a few milliseconds is the noise of them.
        if *many > 0.05 && many / few > factor {
            slow.push(*phase);
        }
    }
    assert!(slow.is_empty(), "ten times as many took more than {factor} times as long to {slow:?}");
}

#[tokio::test(start_paused = true)]
async fn ten_times_as_many_take_no_hundred_times_as_long() {
    compare(50_000, 40.0).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes a gigabyte, and minutes unless optimised"]
async fn a_million_take_as_long_as_their_number_has_it() {
    // Somewhat more than ten: what lies in the processor's caches for a tenth of them does not for all.
    compare(1_000_000, 25.0).await;
}
