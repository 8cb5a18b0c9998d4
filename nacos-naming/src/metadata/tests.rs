//! Entries and snapshots lead to the same registry.

use proptest::prelude::*;

use super::*;
use crate::{
    model::ClientId,
    persistent::{self, PersistentInstances},
    testing::{Memory, instance, registry},
};

/// A registry with all appliers, on a protocol in memory.
struct Node {
    memory: Arc<Memory>,
    registry: Arc<Registry>,
    metadata: MetadataWriter,
    persistent: PersistentInstances,
}

impl Node {
    async fn new() -> Self {
        let (memory, registry) = (Arc::new(Memory::default()), registry().await);
        let metadata = MetadataWriter::start(memory.clone(), Arc::clone(&registry)).await.unwrap();
        let persistent = PersistentInstances::start(memory.clone(), Arc::clone(&registry)).await.unwrap();
        Self { memory, registry, metadata, persistent }
    }

    fn snapshot(&self, group: &str) -> String {
        self.memory.processor(group).snapshot().unwrap().save().unwrap()
    }

    fn load(&self, group: &str, snapshot: &str) {
        self.memory.processor(group).snapshot().unwrap().load(snapshot).unwrap();
    }

    /// All that is replicated, in an order that does not depend on tables.
    fn state(&self) -> Vec<String> {
        let mut state = Vec::new();
        self.registry.each_service(|key, view| {
            state.extend(view.metadata().map(|metadata| format!("{key} {metadata:?}")));
            state.extend(view.overlays().map(|(id, metadata)| format!("{key} {id} {metadata:?}")));
            state.extend(view.published().map(|(client, instance)| format!("{key} {client} {instance:?}")));
        });
        state.sort();
        state
    }
}

#[derive(Debug, Clone)]
enum Op {
    Service(u8, f32),
    Cluster(u8, u8),
    RemoveService(u8),
    Overlay(u8, u8, bool),
    RemoveOverlay(u8, u8),
    Register(u8, u8),
    Healthy(u8, u8, bool),
    Deregister(u8, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let n = || 0..3_u8;
    prop_oneof![
        (n(), 0.0..1.0_f32).prop_map(|(s, t)| Op::Service(s, t)),
        (n(), n()).prop_map(|(s, c)| Op::Cluster(s, c)),
        n().prop_map(Op::RemoveService),
        (n(), n(), any::<bool>()).prop_map(|(s, c, on)| Op::Overlay(s, c, on)),
        (n(), n()).prop_map(|(s, c)| Op::RemoveOverlay(s, c)),
        (n(), n()).prop_map(|(s, c)| Op::Register(s, c)),
        (n(), n(), any::<bool>()).prop_map(|(s, c, on)| Op::Healthy(s, c, on)),
        (n(), n()).prop_map(|(s, c)| Op::Deregister(s, c)),
    ]
}

async fn apply(node: &Node, op: &Op) {
    let key = |n: u8| ServiceKey::new("public", "g", &format!("s{n}"));
    let client = |n: u8| ClientId::of_address(&format!("127.0.0.{n}"), 80, false);
    let id = |n: u8| instance(n, 80, "").metadata_id();
    let done = match *op {
        Op::Service(s, protect_threshold) => {
            let metadata = ServiceMetadata { ephemeral: false, protect_threshold, ..Default::default() };
            node.metadata.put_service(&key(s), metadata).await
        }
        Op::Cluster(s, c) => {
            let metadata = ClusterMetadata { healthy_check_port: c.into(), ..Default::default() };
            node.metadata.put_cluster(&key(s), Kind::Persistent, &format!("c{c}"), metadata).await
        }
        Op::RemoveService(s) => node.metadata.remove_service(&key(s)).await,
        Op::Overlay(s, c, enabled) => {
            let metadata = InstanceMetadata { enabled, ..Default::default() };
            node.metadata.put_instance(&key(s), &id(c), metadata).await
        }
        Op::RemoveOverlay(s, c) => node.metadata.remove_instance(&key(s), &id(c)).await,
        Op::Register(s, c) => node.persistent.register(&key(s), &client(c), instance(c, 80, "a=1")).await,
        Op::Healthy(s, c, healthy) => node.persistent.set_healthy(&key(s), client(c).as_str(), healthy).await,
        Op::Deregister(s, c) => node.persistent.deregister(&key(s), &client(c)).await,
    };
    done.unwrap();
}

proptest! {
    /// However far another node got by itself, a snapshot brings it to the same state.
    #[test]
    fn a_snapshot_is_the_whole_state(
        ops in proptest::collection::vec(op(), 0..40),
        other in proptest::collection::vec(op(), 0..15),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (first, second) = (Node::new().await, Node::new().await);
            for op in &ops {
                apply(&first, op).await;
            }
            for op in &other {
                apply(&second, op).await;
            }
            for group in [SERVICE_GROUP, INSTANCE_GROUP, persistent::GROUP] {
                second.load(group, &first.snapshot(group));
            }
            assert_eq!(second.state(), first.state());
        });
    }
}

#[tokio::test]
async fn what_cannot_be_read_stops_its_group_and_a_bad_snapshot_changes_nothing() {
    let node = Node::new().await;
    apply(&node, &Op::Service(1, 0.5)).await;
    let before = node.state();
    for group in [SERVICE_GROUP, INSTANCE_GROUP, persistent::GROUP] {
        let processor = node.memory.processor(group);
        for entry in ["", "{}", "{\"op\":\"nosuch\"}", "[]"] {
            assert!(matches!(processor.apply(entry), Err(ApplyError::Critical(_))), "{group} {entry}");
        }
        assert!(processor.snapshot().unwrap().load("{").is_err());
    }
    assert_eq!(node.state(), before);
}

#[test]
fn what_is_stored_is_read_by_later_versions() {
    // Members that are missing have their defaults, and unknown ones are passed over.
    let metadata: ServiceMetadata = serde_json::from_str("{\"protectThreshold\":0.5,\"new\":1}").unwrap();
    assert_eq!(metadata, ServiceMetadata { protect_threshold: 0.5, ..Default::default() });
    assert_eq!(serde_json::from_str::<InstanceMetadata>("{}").unwrap(), InstanceMetadata::default());
    let stored = serde_json::to_string(&ServiceMetadata::default()).unwrap();
    assert_eq!(
        stored,
        "{\"ephemeral\":true,\"protectThreshold\":0.0,\"selector\":{\"type\":\"none\"},\"extendData\":{},\"clusters\":{}}"
    );
}
