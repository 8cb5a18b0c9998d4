//! The server that is asked, what is stored in it, and how changes are noticed.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    io,
    sync::Arc,
};

use nacos_core::{
    id::Ids,
    storage::{DatabaseOperate, LocalDatabaseOperate, LocalOptions, Query},
    web::{Route, Routes},
};
use nacos_server::{
    console::{self, ConsoleState, ConsoleTexts},
    namespace::Namespaces,
};
use tokio::runtime::Runtime;

use crate::support::{
    self, Answer, Client, Request, Server,
    config::{CONFIGS, hold_at_least, publish, publishing},
    panics,
};

const TABLES: [&str; 8] = [
    "config_info",
    "config_info_beta",
    "config_info_tag",
    "config_tags_relation",
    "his_config_info",
    "group_capacity",
    "tenant_capacity",
    "tenant_info",
];

pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) server: Option<Server>,
    pub(crate) db: Arc<LocalDatabaseOperate>,
    pub(crate) client: Client,
    pub(crate) routes: Vec<Target>,
    /// The last digest, and of which position it is.
    digested: Option<(u64, u64)>,
    /// Numbers of rows that are there.
    pub(crate) ids: Vec<String>,
}

/// A route's request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) when: Option<(&'static str, &'static str)>,
}

impl Target {
    fn of(route: &Route) -> Self {
        let methods = ["GET", "POST", "PUT", "DELETE"];
        let method = methods.into_iter().find(|method| *method == route.method.as_str()).expect("a method of Nacos");
        Self { method, path: route.path, when: route.when }
    }

    /// The one way of reading that writes: a capacity is made when it is first looked at, as in Nacos.
    pub(crate) fn may_write(&self) -> bool {
        self.method != "GET" || self.path == "/v1/cs/capacity"
    }
}

impl World {
    pub(crate) fn new(options: &[(&str, &str)]) -> Self {
        panics::watch();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let db = Arc::new(LocalDatabaseOperate::open(LocalOptions::new(folder.path().join("own.db"))).unwrap());
        let server = runtime.block_on(Server::start_on(db.clone(), folder, options));
        let mut routes = server.inner.config().unwrap().routes();
        routes.merge(console_routes(db.clone()));
        let mut routes: Vec<Target> = routes.iter().map(Target::of).collect();
        for path in ["/actuator/health", "/actuator/prometheus"] {
            routes.push(Target { method: "GET", path, when: None });
        }
        let client = server.client();
        let mut world = Self { runtime, server: Some(server), db, client, routes, digested: None, ids: Vec::new() };
        world.seed();
        world
    }

    fn seed(&mut self) {
        let Self { runtime, client, .. } = self;
        runtime.block_on(async {
            hold_at_least(client, 1).await;
            publish(client, "com.alibaba.nacos.metadata.aggrIDs", "aggregated.*").await;
            for content in ["1", "2", "content"] {
                publish(client, "d1", content).await;
            }
            publish(client, "d2", "a: 1").await;
            client.ask(publishing("d1", "beta").header("betaIps", "127.0.0.1")).await.good();
            client.ask(publishing("d1", "tag").form("tag", "t1")).await.good();
            client.ask(publishing("d2", "a: 2").form("config_tags", "one,two").form("type", "yaml")).await.good();
            let namespace = Request::post("/v1/console/namespaces").form("customNamespaceId", "ns1");
            client.ask(namespace.form("namespaceName", "one")).await.good();
            client.ask(publishing("d1", "of ns1").form("tenant", "ns1")).await.good();
        });
        let read = |sql: &'static str| {
            let rows = runtime.block_on(self.db.query(Query::new(sql, []))).unwrap().rows;
            rows.into_iter().map(|row| row[0].as_int().unwrap().to_string()).collect::<Vec<_>>()
        };
        self.ids = read("SELECT id FROM config_info WHERE data_id IN ('d1', 'd2')");
        self.ids.extend(read("SELECT nid FROM his_config_info WHERE data_id IN ('d1', 'd2')"));
    }

    /// Counts the batches that were written.
    pub(crate) fn position(&self) -> u64 {
        self.runtime.block_on(self.db.query(Query::new("SELECT 1", []))).unwrap().position.0
    }

    /// All that is stored.
    pub(crate) fn digest(&mut self) -> u64 {
        let position = self.position();
        if let Some((at, digest)) = self.digested
            && at == position
        {
            return digest;
        }
        let mut hasher = DefaultHasher::new();
        for table in TABLES {
            let rows =
                self.runtime.block_on(self.db.query(Query::new(format!("SELECT * FROM {table} ORDER BY 1"), [])));
            format!("{:?}", rows.unwrap().rows).hash(&mut hasher);
        }
        let digest = hasher.finish();
        self.digested = Some((position, digest));
        digest
    }

    pub(crate) fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        self.runtime.block_on(self.client.try_ask(request))
    }

    pub(crate) fn panics(&self) -> f64 {
        self.server.as_ref().unwrap().metric("nacos_exception_total{module=\"core\",name=\"handlerPanic\"}")
    }

    /// Nothing broke on the way, and what is served is what is stored.
    pub(crate) fn close(mut self) {
        assert_eq!(self.panics(), 0.0);
        assert_eq!(panics::seen(), Vec::<String>::new());
        let sql = "SELECT data_id, group_id, tenant_id, content FROM config_info";
        let rows = self.runtime.block_on(self.db.query(Query::new(sql, []))).unwrap().rows;
        for row in rows {
            let text = |at: usize| row[at].as_text().unwrap().to_string();
            // To an address of no beta content.
            let request = Request::get(CONFIGS).query("dataId", &text(0)).query("group", &text(1));
            let request = request.query("tenant", &text(2)).header("X-Forwarded-For", "nobody");
            assert_eq!(self.ask(&request).unwrap().good().text(), text(3), "{request:?}");
        }
        let server = self.server.take().unwrap();
        self.runtime.block_on(async {
            support::eventually("no poll to be held", async || (server.held() == 0).then_some(())).await;
            server.stop().await;
            self.db.close().await.unwrap();
        });
    }
}

fn console_routes(db: Arc<dyn DatabaseOperate>) -> Routes {
    console::routes(ConsoleState {
        namespaces: Arc::new(Namespaces::new(db, Arc::new(Ids::new(9)), 200)),
        state: Arc::new(Vec::new),
        readiness: Arc::new(|| Ok(())),
        texts: Arc::new(ConsoleTexts::default()),
    })
}
