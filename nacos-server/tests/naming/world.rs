//! The server that is asked, what is in it, and how changes are noticed.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use nacos_core::{
    consistency::{CpError, CpProtocol, Entry, RequestProcessor, StandaloneOptions, StandaloneProtocol},
    key::ServiceKey,
    metrics::Metrics,
    storage::{LocalDatabaseOperate, LocalOptions, schema},
    web::Route,
};
use nacos_naming::{NamingModule, registry::Kind};
use nacos_server::NacosServer;
use tokio::runtime::Runtime;

use crate::{
    calls::{cluster, done, of_service, persistent, registering},
    support::{Answer, Client, Request, Server, panics, server::settings},
};

/// Nothing is removed or found out behind the back of a test.
const OPTIONS: [(&str, &str); 5] = [
    ("nacos.naming.clean.empty-service.interval", "3600000"),
    ("nacos.naming.clean.expired-metadata.interval", "3600000"),
    ("nacos.naming.client.expired.time", "3600000"),
    ("nacos.prometheus.metrics.enabled", "true"),
    ("nacos.server.http.max-body-bytes", "8388608"),
];

/// The log of a server, which counts what is written to it.
struct Counting {
    log: StandaloneProtocol,
    writes: AtomicU64,
}

impl Counting {
    fn open(folder: &Path) -> Arc<Self> {
        let options = LocalOptions::new(folder.join("naming").join("naming.db"));
        let database = Arc::new(LocalDatabaseOperate::open_with(options, schema::CONSISTENCY).unwrap());
        let log = StandaloneProtocol::new(database, StandaloneOptions::default(), &Metrics::new());
        Arc::new(Self { log, writes: AtomicU64::new(0) })
    }
}

#[async_trait]
impl CpProtocol for Counting {
    async fn add_processor(&self, processor: Arc<dyn RequestProcessor>) -> Result<(), CpError> {
        self.log.add_processor(processor).await
    }

    async fn write(&self, group: &str, entry: Entry) -> Result<String, CpError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.log.write(group, entry).await
    }

    async fn read(&self, group: &str, request: &str) -> Result<String, CpError> {
        self.log.read(group, request).await
    }
}

pub(crate) struct World {
    pub(crate) runtime: Runtime,
    server: Option<Server>,
    log: Arc<Counting>,
    pub(crate) client: Client,
    pub(crate) routes: Vec<Target>,
}

/// A route's request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
}

impl Target {
    fn of(route: &Route) -> Self {
        let methods = ["GET", "POST", "PUT", "DELETE", "PATCH"];
        let method = methods.into_iter().find(|method| *method == route.method.as_str()).expect("a method of Nacos");
        assert!(route.when.is_none(), "{} is told apart by a parameter, which is not tried out", route.path);
        Self { method, path: route.path }
    }

    /// The one way of reading that changes something: whoever lists a service may subscribe to it.
    pub(crate) fn may_change(&self) -> bool {
        self.method != "GET" || self.path.ends_with("/instance/list")
    }

    pub(crate) fn sets_switches(&self) -> bool {
        self.method == "PUT" && self.path.ends_with("/switches")
    }
}

fn start(runtime: &Runtime, folder: Arc<tempfile::TempDir>, log: Arc<Counting>) -> Server {
    let builder = NacosServer::builder(settings(folder.path(), &OPTIONS)).cp_protocol(log);
    let inner = runtime.block_on(builder.start()).unwrap();
    Server { inner, folder }
}

impl World {
    pub(crate) fn new() -> Self {
        panics::watch();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let log = Counting::open(folder.path());
        let server = start(&runtime, folder, log.clone());
        let routes = server.inner.naming().unwrap().routes().iter().map(Target::of).collect();
        let client = server.client();
        let mut world = Self { runtime, server: Some(server), log, client, routes };
        world.seed();
        world
    }

    fn seed(&mut self) {
        self.open();
        let Self { runtime, client, .. } = self;
        runtime.block_on(async {
            for address in ["127.9.0.1:80", "127.9.0.2:80"] {
                done(client, registering("s1", address)).await;
                done(client, registering("s1", address).query("namespaceId", "ns1").query("groupName", "g")).await;
            }
            done(client, persistent("p1", "127.9.1.1:80")).await;
            done(client, cluster("p1", "DEFAULT", r#"{"type":"NONE"}"#)).await;
            for name in ["empty", "empty-2", "described"] {
                done(client, of_service("POST", name).query("metadata", "a=b")).await;
            }
        });
    }

    /// Undoes what switches do to others: whatever was closed is open again, nothing is probed, nobody is forgotten.
    /// By the way that no switch closes.
    pub(crate) fn open(&mut self) {
        for (entry, value) in [
            ("overriddenServerStatus", "null"),
            ("limitedUrlMap", ","),
            ("check", "false"),
            ("pushCacheMillis", "3600000"),
            ("defaultInstanceEphemeral", "true"),
        ] {
            let request = Request::new("PUT", "/v2/ns/operator/switches").form("entry", entry);
            self.ask(&request.form("value", value)).unwrap().good();
        }
    }

    fn naming(&self) -> &NamingModule {
        self.server.as_ref().unwrap().inner.naming().unwrap()
    }

    /// Counts what was written durably.
    pub(crate) fn writes(&self) -> u64 {
        self.log.writes.load(Ordering::SeqCst)
    }

    /// All that is in memory, but for the switches.
    pub(crate) fn state(&self) -> String {
        let (services, instances) = (self.naming().services(), self.naming().instances());
        let mut all = String::new();
        for namespace in services.namespaces() {
            for key in services.search(&namespace, "") {
                all.push_str(&format!("{key:?} {:?} {:?}\n", services.detail(&key), instances.all(&key)));
            }
            all.push_str(&format!("{:?}\n", services.subscribers(&namespace, "", "")));
        }
        all
    }

    /// The switches as they stand.
    pub(crate) fn switches(&mut self) -> String {
        let answer = self.ask(&Request::get("/v2/ns/operator/switches")).unwrap();
        answer.good().text().into_owned()
    }

    pub(crate) fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        self.runtime.block_on(self.client.try_ask(request))
    }

    fn panics(&self) -> f64 {
        let server = self.server.as_ref().unwrap();
        server.metric("nacos_exception_total{module=\"core\",name=\"handlerPanic\"}")
    }

    /// What a restart must bring back.
    fn durable(&self) -> BTreeMap<ServiceKey, String> {
        let (services, instances) = (self.naming().services(), self.naming().instances());
        let mut all = BTreeMap::new();
        for namespace in services.namespaces() {
            for key in services.search(&namespace, "") {
                let detail = services.detail(&key).unwrap();
                let persistent = detail.kind == Kind::Persistent;
                let found = instances.all(&key);
                if persistent && !found.is_empty() {
                    all.insert(key, format!("{detail:?} {found:?}"));
                } else if detail.metadata != Default::default() {
                    all.insert(key, format!("{:?} {:?}", detail.kind, detail.metadata));
                }
            }
        }
        all
    }

    /// Nothing broke on the way, and a server that starts on the same folder is the same.
    pub(crate) fn close(mut self) {
        assert_eq!(self.panics(), 0.0);
        assert_eq!(panics::seen(), Vec::<String>::new());
        self.open();
        let (before, switches) = (self.durable(), self.switches());
        assert!(!before.is_empty());
        let server = self.server.take().unwrap();
        let folder = self.runtime.block_on(async {
            let folder = server.stop().await;
            self.log.log.stop().await;
            folder
        });
        // A copy, for its first owner may not be gone yet.
        let kept = Arc::new(tempfile::tempdir().unwrap());
        std::fs::create_dir(kept.path().join("naming")).unwrap();
        for file in ["naming/naming.db", "naming/naming.db-wal"] {
            std::fs::copy(folder.path().join(file), kept.path().join(file)).unwrap();
        }
        let log = Counting::open(kept.path());
        let server = start(&self.runtime, kept, log.clone());
        self.client = server.client();
        self.server = Some(server);
        assert_eq!(self.durable(), before);
        assert_eq!(self.switches(), switches);
        let server = self.server.take().unwrap();
        self.runtime.block_on(async {
            server.stop().await;
            log.log.stop().await;
        });
        assert_eq!(panics::seen(), Vec::<String>::new());
    }
}
