//! The server that is asked, what is in it, and how changes are noticed.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    calls::{cluster, done, of_service, persistent, registering},
    support::{Answer, Client, Request, Server, panics, server::settings},
};

/// Nothing is removed or found out behind the back of a test.
const OPTIONS: [(&str, &str); 6] = [
    ("nacos.naming.clean.empty-service.expired-time", "3600000"),
    ("nacos.naming.clean.empty-service.interval", "3600000"),
    ("nacos.naming.clean.expired-metadata.interval", "3600000"),
    ("nacos.naming.client.expired.time", "3600000"),
    ("nacos.prometheus.metrics.enabled", "true"),
    ("nacos.server.http.max-body-bytes", "8388608"),
];

/// The log of a server, which counts what is written to it, and can be taken away.
pub(crate) struct Counting {
    log: StandaloneProtocol,
    writes: AtomicU64,
    away: AtomicBool,
}

impl Counting {
    pub(crate) fn take_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub(crate) fn open(folder: &Path) -> Arc<Self> {
        let options = LocalOptions::new(folder.join("naming").join("naming.db"));
        let database = Arc::new(LocalDatabaseOperate::open_with(options, schema::CONSISTENCY).unwrap());
        let log = StandaloneProtocol::new(database, StandaloneOptions::default(), &Metrics::new());
        Arc::new(Self { log, writes: AtomicU64::new(0), away: AtomicBool::new(false) })
    }
}

#[async_trait]
impl CpProtocol for Counting {
    async fn add_processor(&self, processor: Arc<dyn RequestProcessor>) -> Result<(), CpError> {
        self.log.add_processor(processor).await
    }

    async fn write(&self, group: &str, entry: Entry) -> Result<String, CpError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return Err(CpError::Unavailable(group.to_owned(), "it was taken away".to_owned()));
        }
        self.log.write(group, entry).await
    }

    async fn read(&self, group: &str, request: &str) -> Result<String, CpError> {
        self.log.read(group, request).await
    }
}

pub(crate) struct World {
    runtime: Runtime,
    checks: bool,
    server: Option<Server>,
    folder: Arc<TempDir>,
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

fn start(runtime: &Runtime, folder: Arc<TempDir>, log: Arc<Counting>, checks: bool) -> Server {
    let checks = [("nacos.core.param.check.enabled", if checks { "true" } else { "false" })];
    let options: Vec<_> = OPTIONS.into_iter().chain(checks).collect();
    let builder = NacosServer::builder(settings(folder.path(), &options)).cp_protocol(log);
    let inner = runtime.block_on(builder.start()).unwrap();
    Server { inner, folder }
}

impl World {
    /// With the parameter filter, or without.
    pub(crate) fn new(checks: bool) -> Self {
        panics::watch();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let log = Counting::open(folder.path());
        let server = start(&runtime, folder.clone(), log.clone(), checks);
        let routes = server.inner.naming().unwrap().routes().iter().map(Target::of).collect();
        let client = server.client();
        let mut world = Self { runtime, checks, server: Some(server), folder, log, client, routes };
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

    /// Nothing broke on the way, and a server that starts on the same log is the same: after a stop, which leaves a
    /// snapshot, and after none.
    pub(crate) fn close(mut self) {
        assert_eq!(self.panics(), 0.0);
        assert_eq!(panics::seen(), Vec::<String>::new());
        self.open();
        let (before, switches) = (self.durable(), self.switches());
        assert!(!before.is_empty());
        let without_stop = self.copy();
        self.stop();
        for folder in [without_stop, self.copy()] {
            self.log = Counting::open(folder.path());
            let server = start(&self.runtime, folder, self.log.clone(), self.checks);
            self.client = server.client();
            self.server = Some(server);
            assert_eq!(self.durable(), before);
            assert_eq!(self.switches(), switches);
            self.stop();
        }
        assert_eq!(panics::seen(), Vec::<String>::new());
    }

    /// A folder with the log as it is now; nothing may be written to it meanwhile.
    fn copy(&self) -> Arc<TempDir> {
        let copy = Arc::new(tempfile::tempdir().unwrap());
        std::fs::create_dir(copy.path().join("naming")).unwrap();
        for file in ["naming/naming.db", "naming/naming.db-wal"] {
            std::fs::copy(self.folder.path().join(file), copy.path().join(file)).unwrap();
        }
        copy
    }

    fn stop(&mut self) {
        let server = self.server.take().unwrap();
        self.runtime.block_on(async {
            server.stop().await;
            self.log.log.stop().await;
        });
    }
}
