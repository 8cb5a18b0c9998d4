//! The registry against a naive model, and the rules that hold between its parts.

use std::collections::{BTreeMap, BTreeSet};

use nacos_core::key::ServiceKey;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{
    metadata::{InstanceMetadata, ServiceMetadata},
    model::Instance,
    testing::{instance, registry},
    view::{Asked, Form},
};

fn key(n: u8) -> ServiceKey {
    ServiceKey::new(if n < 3 { "public" } else { "dev" }, "g", &format!("s{n}"))
}

fn client(n: u8) -> ClientId {
    ClientId::of_address(&format!("127.0.0.{n}"), 80, true)
}

fn subscriber(n: u8, key: &ServiceKey) -> Subscriber {
    Subscriber {
        addr_str: format!("127.0.0.{n}:80"),
        agent: "Nacos-Java-Client:v1.4.1".into(),
        app: "app".into(),
        ip: format!("127.0.0.{n}"),
        port: 80,
        namespace_id: key.namespace().into(),
        service_name: key.grouped().into(),
        cluster: String::new(),
    }
}

/// The answer to a list query, read back.
fn list(registry: &Registry, key: &ServiceKey, healthy_only: bool) -> Value {
    let asked = Asked { form: Form::V1, clusters: "", healthy_only, consumer: "", cache_millis: 10_000, labels: None };
    let json = match registry.service(key) {
        Some(service) => service.lock().answer(key, asked),
        None => State::empty().answer(key, asked),
    };
    serde_json::from_slice(&json).unwrap()
}

fn addresses(list: &Value) -> BTreeSet<String> {
    let hosts = list["hosts"].as_array().unwrap().iter();
    hosts.map(|host| format!("{}:{}", host["ip"].as_str().unwrap(), host["port"])).collect()
}

#[derive(Debug, Clone)]
enum Op {
    Register { client: u8, service: u8, healthy: bool, weight: u8 },
    Deregister { client: u8, service: u8 },
    Beat { client: u8, service: u8 },
    Subscribe { client: u8, service: u8 },
    Unsubscribe { client: u8, service: u8 },
    Release { client: u8 },
    Describe { service: u8, threshold: u8 },
    Remove { service: u8 },
    Overlay { client: u8, service: u8, enabled: Option<bool> },
}

fn op() -> impl Strategy<Value = Op> {
    let (c, s) = (0..5_u8, 0..5_u8);
    prop_oneof![
        4 => (c.clone(), s.clone(), any::<bool>(), 0..3_u8)
            .prop_map(|(client, service, healthy, weight)| Op::Register { client, service, healthy, weight }),
        2 => (c.clone(), s.clone()).prop_map(|(client, service)| Op::Deregister { client, service }),
        2 => (c.clone(), s.clone()).prop_map(|(client, service)| Op::Beat { client, service }),
        2 => (c.clone(), s.clone()).prop_map(|(client, service)| Op::Subscribe { client, service }),
        1 => (c.clone(), s.clone()).prop_map(|(client, service)| Op::Unsubscribe { client, service }),
        1 => c.clone().prop_map(|client| Op::Release { client }),
        1 => (s.clone(), 0..11_u8).prop_map(|(service, threshold)| Op::Describe { service, threshold }),
        1 => s.clone().prop_map(|service| Op::Remove { service }),
        2 => (c, s, proptest::option::of(any::<bool>()))
            .prop_map(|(client, service, enabled)| Op::Overlay { client, service, enabled }),
    ]
}

/// The same, said as plainly as can be.
#[derive(Default)]
struct Model {
    /// By service, then client: healthy, weight.
    published: BTreeMap<u8, BTreeMap<u8, (bool, f64)>>,
    subscribed: BTreeSet<(u8, u8)>,
    exists: BTreeSet<u8>,
    thresholds: BTreeMap<u8, f32>,
    /// By service and client.
    overlays: BTreeMap<(u8, u8), bool>,
}

impl Model {
    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Register { client, service, healthy, weight } => {
                self.exists.insert(service);
                self.published.entry(service).or_default().insert(client, (healthy, f64::from(weight)));
            }
            Op::Deregister { client, service } => {
                self.published.entry(service).or_default().remove(&client);
            }
            Op::Beat { client, service } => {
                if let Some(one) = self.published.entry(service).or_default().get_mut(&client) {
                    one.0 = true;
                }
            }
            Op::Subscribe { client, service } => {
                self.subscribed.insert((service, client));
            }
            Op::Unsubscribe { client, service } => {
                self.subscribed.remove(&(service, client));
            }
            Op::Release { client } => {
                for all in self.published.values_mut() {
                    all.remove(&client);
                }
                self.subscribed.retain(|(_, one)| *one != client);
            }
            Op::Describe { service, threshold } => {
                self.exists.insert(service);
                self.thresholds.insert(service, f32::from(threshold) / 10.0);
            }
            Op::Remove { service } => {
                self.thresholds.remove(&service);
                if self.published.get(&service).is_none_or(BTreeMap::is_empty) {
                    self.exists.remove(&service);
                }
            }
            Op::Overlay { client, service, enabled: Some(enabled) } => {
                self.overlays.insert((service, client), enabled);
            }
            Op::Overlay { client, service, enabled: None } => {
                self.overlays.remove(&(service, client));
            }
        }
    }

    /// Addresses, whether the threshold acts.
    fn list(&self, service: u8, healthy_only: bool) -> (BTreeSet<String>, bool) {
        let none = BTreeMap::new();
        let all = self.published.get(&service).unwrap_or(&none);
        let enabled = |client: u8| self.overlays.get(&(service, client)).copied().unwrap_or(true);
        let shown: Vec<_> = all.iter().filter(|(client, _)| enabled(**client)).collect();
        let healthy = shown.iter().filter(|(_, (healthy, _))| *healthy).count();
        let hosts: BTreeSet<String> = shown
            .iter()
            .filter(|(_, (healthy, _))| *healthy || !healthy_only)
            .map(|(client, _)| format!("127.0.0.{client}:80"))
            .collect();
        let reached = self
            .thresholds
            .get(&service)
            .is_some_and(|threshold| !hosts.is_empty() && healthy as f32 / hosts.len() as f32 <= *threshold);
        (hosts, reached)
    }
}

fn apply(registry: &Registry, op: &Op) {
    match *op {
        Op::Register { client: c, service, healthy, weight } => {
            let instance = Instance { healthy, weight: f64::from(weight), ..instance(c, 80, "") };
            registry.register(&key(service), &client(c), instance).unwrap();
        }
        Op::Deregister { client: c, service } => drop(registry.deregister(&key(service), client(c).as_str())),
        Op::Beat { client: c, service } => drop(registry.beat(&key(service), client(c).as_str())),
        Op::Subscribe { client: c, service } => {
            registry.subscribe(&key(service), &client(c), subscriber(c, &key(service)));
        }
        Op::Unsubscribe { client: c, service } => registry.unsubscribe(&key(service), client(c).as_str()),
        Op::Release { client: c } => {
            if let Some(client) = registry.client(client(c).as_str()) {
                registry.release(&client);
            }
        }
        Op::Describe { service, threshold } => registry.put_service(&key(service), |_| ServiceMetadata {
            protect_threshold: f32::from(threshold) / 10.0,
            ..Default::default()
        }),
        Op::Remove { service } => registry.remove_service(&key(service)),
        Op::Overlay { client: c, service, enabled } => {
            let metadata = enabled.map(|enabled| InstanceMetadata { enabled, ..Default::default() });
            registry.put_overlay(&key(service), &instance(c, 80, "").metadata_id(), metadata);
        }
    }
}

fn compare(registry: &Registry, model: &Model) {
    for service in 0..5 {
        let key = key(service);
        for healthy_only in [false, true] {
            let list = list(registry, &key, healthy_only);
            let (hosts, reached) = model.list(service, healthy_only);
            assert_eq!(addresses(&list), hosts, "{key} healthy_only={healthy_only}");
            assert_eq!(list["reachProtectionThreshold"], reached, "{key}");
            if reached || healthy_only {
                assert!(list["hosts"].as_array().unwrap().iter().all(|host| host["healthy"] == true));
            }
        }
        assert_eq!(registry.kind(&key).is_some(), model.exists.contains(&service), "{key}");
        let subscribers = registry.service(&key).map_or(0, |service| service.lock().subscribers.len());
        assert_eq!(subscribers, model.subscribed.iter().filter(|(one, _)| *one == service).count(), "{key}");
    }
    let instances: usize = model.published.values().map(BTreeMap::len).sum();
    assert_eq!(registry.instance_count(), instances as i64);
    assert_eq!(registry.subscription_count(), model.subscribed.len() as i64);
    assert_eq!(registry.service_count(), model.exists.len());
    for namespace in ["public", "dev"] {
        let found = registry.services_of(namespace, |_| true);
        let names: Vec<_> = found.iter().map(|service| service.key().clone()).collect();
        let wanted: Vec<_> = model.exists.iter().map(|n| key(*n)).filter(|k| k.namespace() == namespace).collect();
        assert_eq!(names, wanted);
    }
    let namespaces: BTreeSet<String> = model.exists.iter().map(|n| key(*n).namespace().to_owned()).collect();
    assert_eq!(registry.namespaces(), namespaces.into_iter().collect::<Vec<_>>());
    for c in 0..5 {
        let Some(client) = registry.client(client(c).as_str()) else { continue };
        let view = registry.client_view(&client);
        let published = model.published.iter().filter(|(_, all)| all.contains_key(&c)).count();
        assert_eq!(view.published.len(), published, "{}", client.id());
        assert_eq!(view.subscribed.len(), model.subscribed.iter().filter(|(_, one)| *one == c).count());
    }
}

proptest! {
    #[test]
    fn the_registry_is_its_model(ops in proptest::collection::vec(op(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let registry = registry().await;
            let mut model = Model::default();
            for op in &ops {
                apply(&registry, op);
                model.apply(op);
                compare(&registry, &model);
            }
            // Nothing is left of what nobody holds any more.
            for c in 0..5 {
                apply(&registry, &Op::Release { client: c });
                for service in 0..5 {
                    apply(&registry, &Op::Overlay { client: c, service, enabled: None });
                }
            }
            for service in 0..5 {
                apply(&registry, &Op::Remove { service });
            }
            let mut left = 0;
            registry.each_service(|_, _| left += 1);
            assert_eq!((left, registry.client_ids().len(), registry.service_count()), (0, 0, 0));
        });
    }
}

#[tokio::test]
async fn an_answer_is_made_once_and_dropped_by_any_change() {
    let registry = registry().await;
    registry.register(&key(1), &client(1), instance(1, 80, "")).unwrap();
    let service = registry.service(&key(1)).unwrap();
    let asked =
        Asked { form: Form::V1, clusters: "", healthy_only: false, consumer: "", cache_millis: 1, labels: None };
    let first = service.lock().answer(&key(1), asked);
    let second = service.lock().answer(&key(1), asked);
    assert_eq!(first.as_ptr(), second.as_ptr());
    registry.beat(&key(1), client(1).as_str());
    assert_eq!(service.lock().answer(&key(1), asked).as_ptr(), first.as_ptr(), "a heartbeat changes nothing");
    registry.set_healthy(&key(1), client(1).as_str(), false);
    let third = service.lock().answer(&key(1), asked);
    assert_ne!(third, first);
    assert_eq!(list(&registry, &key(1), true)["hosts"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn kinds_do_not_mix() {
    let registry = registry().await;
    registry.put_persistent(&key(1), &ClientId::of_address("127.0.0.1", 80, false), instance(1, 80, ""));
    assert_eq!(registry.register(&key(1), &client(2), instance(2, 80, "")), Err(OtherKind));
    assert_eq!(addresses(&list(&registry, &key(1), false)).len(), 1);
    registry.deregister(&key(1), "127.0.0.1:80#false");
    assert!(registry.client("127.0.0.1:80#false").is_none(), "a persistent client goes with its last instance");
}

#[tokio::test]
async fn concurrent_clients_end_as_they_should() {
    let registry = registry().await;
    let tasks: Vec<_> = (0..8_u8)
        .map(|c| {
            let registry = Arc::clone(&registry);
            std::thread::spawn(move || {
                for round in 0..400_u16 {
                    let service = key((round % 5) as u8);
                    registry.register(&service, &client(c), instance(c, 80, "")).unwrap();
                    registry.subscribe(&service, &client(c), subscriber(c, &service));
                    registry.beat(&service, client(c).as_str());
                    if round % 3 == 0 {
                        registry.unsubscribe(&service, client(c).as_str());
                        registry.deregister(&service, client(c).as_str());
                    }
                    if round % 7 == 0
                        && let Some(client) = registry.client(client(c).as_str())
                    {
                        registry.release(&client);
                    }
                    registry.end_empty_services(0);
                }
                if let Some(client) = registry.client(client(c).as_str()) {
                    registry.release(&client);
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    registry.end_empty_services(0);
    let mut left = 0;
    registry.each_service(|_, _| left += 1);
    assert_eq!((left, registry.client_ids().len()), (0, 0));
    assert_eq!((registry.instance_count(), registry.subscription_count(), registry.service_count()), (0, 0, 0));
}

#[tokio::test]
async fn a_client_may_ask_for_several_combinations_of_clusters() {
    let registry = registry().await;
    let with = |cluster: &str| Subscriber { cluster: cluster.into(), ..subscriber(1, &key(1)) };
    for cluster in ["", "a", "a,b", "a"] {
        registry.subscribe(&key(1), &client(1), with(cluster));
    }
    let clusters = || {
        let mut all = Vec::new();
        registry.each_subscribed("public", |_, found| all.extend(found.map(|one| one.cluster.clone())));
        all
    };
    assert_eq!(clusters(), ["", "a", "a,b"]);
    assert_eq!(registry.subscription_count(), 1);
    for n in 0..100 {
        registry.subscribe(&key(1), &client(1), with(&format!("c{n}")));
    }
    assert_eq!(clusters().len(), 16);
    registry.unsubscribe(&key(1), client(1).as_str());
    assert_eq!((clusters().len(), registry.subscription_count()), (0, 0));
}
