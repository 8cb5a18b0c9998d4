//! Stop and start, and a database that goes away and comes back: what was acknowledged is there, contents are served
//! from their copies, and nothing is half done.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use nacos_core::storage::{
    Batch, Change, Committed, DatabaseOperate, LocalDatabaseOperate, LocalOptions, Query, Rows, StatementDef,
    StorageError,
};
use nacos_server::NacosServer;
use serde_json::json;
use support::{
    Answer, Client, Request, Server,
    config::{CONFIGS, GROUP, changed, content, get, hold_at_least, md5, of, poll, publish, publishing, remove},
    eventually,
};
use tokio::sync::broadcast;

// ---- a database with a switch ---------------------------------------------------------------------------------------

/// The embedded database, until it is taken away.
struct Switched {
    inner: LocalDatabaseOperate,
    away: AtomicBool,
    /// Whether others may write to it, though nobody tells.
    shared: bool,
    changes: broadcast::Sender<Change>,
}

impl Switched {
    fn open(folder: &Path) -> Arc<Self> {
        Self::open_as(folder, true)
    }

    fn open_as(folder: &Path, shared: bool) -> Arc<Self> {
        let inner = LocalDatabaseOperate::open(LocalOptions::new(folder.join("own.db"))).unwrap();
        Arc::new(Self { inner, away: AtomicBool::new(false), shared, changes: broadcast::Sender::new(1) })
    }

    fn take_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn is_there(&self) -> Result<(), StorageError> {
        let away = self.away.load(Ordering::SeqCst);
        if away { Err(StorageError::Unavailable("it was taken away".to_owned())) } else { Ok(()) }
    }

    /// Counts the batches that were written.
    async fn position(&self) -> u64 {
        self.inner.query(Query::new("SELECT 1", [])).await.unwrap().position.0
    }
}

#[async_trait]
impl DatabaseOperate for Switched {
    async fn execute(&self, batch: Batch) -> Result<Committed, StorageError> {
        self.is_there()?;
        self.inner.execute(batch).await
    }

    async fn query(&self, query: Query) -> Result<Rows, StorageError> {
        self.is_there()?;
        self.inner.query(query).await
    }

    fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        self.shared.then(|| self.changes.subscribe())
    }
}

// ---- disk copies ----------------------------------------------------------------------------------------------------

/// The files of all copies.
fn copies(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for shard in std::fs::read_dir(folder.join("config-data")).unwrap() {
        found.extend(std::fs::read_dir(shard.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    found
}

/// The copy of this key of the public namespace, if it is there.
fn copy_of(folder: &Path, data_id: &str) -> Option<(PathBuf, String)> {
    let head = format!("\"data_id\":{},\"group\":\"{GROUP}\",\"namespace\":\"\"", json!(data_id));
    let read = |path: PathBuf| Some((path.clone(), std::fs::read_to_string(path).ok()?));
    copies(folder)
        .into_iter()
        .filter_map(read)
        .find(|(_, text)| text.lines().next().is_some_and(|line| line.contains(&head)))
}

/// Waits until the copy of a key holds this content.
async fn copied(folder: &Path, data_id: &str, content: &str) {
    eventually(&format!("the copy of {data_id}"), async || {
        copy_of(folder, data_id).filter(|(_, text)| text.contains(content)).map(drop)
    })
    .await;
}

// ---- tests ----------------------------------------------------------------------------------------------------------

/// Everything that clients and operators see of what [`write_all`] writes, but for the time of the answer.
async fn all_that_is_seen(client: &mut Client) -> Vec<(String, Answer)> {
    let key = |path: &str| Request::get(path).query("dataId", "full").query("group", GROUP);
    let from = |ip: &str, request: Request| request.header("X-Forwarded-For", ip);
    let mut seen = Vec::new();
    for (name, request) in [
        ("formal", of("GET", "full")),
        ("beta", from("1.1.1.1", of("GET", "full"))),
        ("tag", of("GET", "full").query("tag", "t")),
        ("own tag", of("GET", "full").header("Vipserver-Tag", "t")),
        ("removed", of("GET", "removed")),
        ("of a namespace", of("GET", "full").query("tenant", "ns1")),
        ("everything", key(CONFIGS).query("show", "all")),
        ("beta in detail", key(CONFIGS).query("beta", "true")),
        (
            "by tag",
            of("GET", "")
                .query("search", "accurate")
                .query("config_tags", "two")
                .query("pageNo", "1")
                .query("pageSize", "9"),
        ),
        ("history", key("/v1/cs/history").query("search", "accurate")),
        (
            "history of the removed",
            Request::get("/v1/cs/history").query("dataId", "removed").query("group", GROUP).query("search", "accurate"),
        ),
        ("namespaces", Request::get("/v1/console/namespaces")),
        ("capacity", Request::get("/v1/cs/capacity").query("tenant", "ns1")),
        ("large", of("GET", "large")),
    ] {
        let mut answer = client.ask(request).await;
        answer.headers.retain(|(name, _)| name != "date");
        seen.push((name.to_owned(), answer));
    }
    seen
}

async fn write_all(client: &mut Client) {
    let request = of("POST", "full").form("type", "yaml").form("config_tags", "one,two").form("desc", "words");
    let request = request.form("appName", "app").form("use", "use").form("effect", "effect").form("schema", "schema");
    let request = request.form("src_user", "somebody").form("encryptedDataKey", "secret");
    client.ask(request.clone().form("content", "first")).await.good();
    client.ask(request.form("content", "second 中文 🦀\n")).await.good();
    client.ask(publishing("full", "beta").header("betaIps", "1.1.1.1,2.2.2.2")).await.good();
    client.ask(publishing("full", "tagged").form("tag", "t")).await.good();
    publish(client, "removed", "gone").await;
    remove(client, "removed").await;
    publish(client, "large", &"x".repeat(2_000_000)).await;
    let namespace =
        Request::post("/v1/console/namespaces").form("customNamespaceId", "ns1").form("namespaceName", "one");
    client.ask(namespace.form("namespaceDesc", "described")).await.good();
    client.ask(publishing("full", "of ns1").form("tenant", "ns1")).await.good();
    client.ask(Request::post("/v1/cs/capacity").form("tenant", "ns1").form("quota", "7")).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_restart() {
    let server = Server::start(&[]).await;
    write_all(&mut server.client()).await;
    let before = all_that_is_seen(&mut server.client()).await;
    let not_found: Vec<&str> =
        before.iter().filter(|(_, answer)| answer.status != 200).map(|(name, _)| &**name).collect();
    assert_eq!(not_found, ["removed"]);
    let folder = server.stop().await;
    // A copy a key: full, the same of ns1, large. The stop has written what was due.
    assert_eq!(copies(folder.path()).len(), 3);

    for _ in 0..2 {
        let server = Server::start_in(folder.clone(), &[]).await;
        for (before, after) in before.iter().zip(all_that_is_seen(&mut server.client()).await) {
            assert_eq!(*before, after);
        }
        server.stop().await;
    }
    // Only what is stored counts: without its copies the server is the same, and makes them again.
    std::fs::remove_dir_all(folder.path().join("config-data")).unwrap();
    let server = Server::start_in(folder.clone(), &[]).await;
    assert_eq!(all_that_is_seen(&mut server.client()).await, before);
    eventually("new copies", async || (copies(folder.path()).len() == 3).then_some(())).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_after_a_restart_is_held_and_told_what_changed() {
    let server = Server::start(&[]).await;
    hold_at_least(&mut server.client(), 1).await;
    publish(&mut server.client(), "a", "1").await;
    publish(&mut server.client(), "b", "1").await;
    let folder = server.stop().await;
    let server = Server::start_in(folder, &[]).await;
    let mut client = server.client();
    // The switch is stored as well: 100 ms instead of ten seconds.
    let held = [("a", &*md5("1")), ("b", &*md5("1"))];
    assert!(client.ask(poll(&held, 100)).await.good().body.is_empty());
    let outdated = [("a", &*md5("0")), ("b", &*md5("1"))];
    assert_eq!(client.ask(poll(&outdated, 60_000)).await.good().text(), changed("a"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_the_database_is_away_reads_go_on_and_writes_change_nothing() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let db = Switched::open(folder.path());
    // No room for contents in memory: they are read from their copies.
    let server = Server::start_on(db.clone(), folder.clone(), &[("nacos.config.cache.max-bytes", "1")]).await;
    let mut client = server.client();
    write_all(&mut client).await;
    hold_at_least(&mut client, 1).await;
    for number in 0..20 {
        publish(&mut client, &format!("d{number}"), &format!("content {number}")).await;
    }
    copied(folder.path(), "d19", "content 19").await;
    copied(folder.path(), "full", "tagged").await;
    eventually("all copies", async || (copies(folder.path()).len() == 24).then_some(())).await;

    db.take_away(true);
    let position = db.position().await;
    let mut held = server.client();
    let held = tokio::spawn(async move { held.ask(poll(&[("d0", &md5("content 0"))], 60_000)).await.good() });
    eventually("the poll to be held", async || (server.held() == 1).then_some(())).await;
    for number in 0..20 {
        assert_eq!(content(&mut client, &format!("d{number}")).await, format!("content {number}"));
    }
    assert_eq!(get(&mut client, "large").await.good().body.len(), 2_000_000);
    assert_eq!(content(&mut client, "full").await, "second 中文 🦀\n");
    let beta = client.ask(of("GET", "full").header("X-Forwarded-For", "2.2.2.2")).await.good();
    assert_eq!((&*beta.text(), beta.header("isbeta")), ("beta", Some("true")));
    assert_eq!(client.ask(of("GET", "full").query("tag", "t")).await.good().text(), "tagged");
    assert_eq!(get(&mut client, "removed").await.status, 404);
    assert_eq!(client.ask(poll(&[("d1", "old")], 60_000)).await.good().text(), changed("d1"));
    assert!(client.ask(poll(&[("d1", &md5("content 1"))], 20)).await.good().body.is_empty());

    let told = "The database is not available at this time";
    let v1 = |request: Request| (request, false);
    let v2 = |request: Request| (request.form("dataId", "d0").form("group", GROUP), true);
    let key = |path: &str| Request::get(path).query("dataId", "d0").query("group", GROUP);
    for (request, is_v2) in [
        v1(publishing("d0", "new")),
        v1(publishing("new", "new")),
        v1(publishing("d0", "new").header("betaIps", "1.1.1.1")),
        v1(publishing("d0", "new").form("tag", "t")),
        v1(publishing("d0", "new").header("casMd5", md5("content 0"))),
        v1(of("DELETE", "d0")),
        v1(of("DELETE", "full").query("tag", "t")),
        v1(Request::new("DELETE", CONFIGS).query("delType", "ids").query("ids", "1,2")),
        v1(Request::post(CONFIGS)
            .query("clone", "true")
            .query("tenant", "")
            .body("application/json", "[{\"cfgId\":1}]")),
        v1(key(CONFIGS).query("show", "all")),
        v1(key("/v1/cs/history").query("search", "accurate")),
        v1(Request::get("/v1/cs/capacity").query("group", "G")),
        v1(Request::post("/v1/cs/capacity").form("group", "G").form("quota", "1")),
        v1(Request::get("/v1/console/namespaces")),
        v1(Request::post("/v1/console/namespaces").form("customNamespaceId", "n").form("namespaceName", "n")),
        v1(Request::new("DELETE", "/v1/console/namespaces").query("namespaceId", "ns1")),
        v1(Request::post("/v1/cs/ops/localCache")),
        v2(Request::post("/v2/cs/config").form("content", "new")),
        v2(Request::new("DELETE", "/v2/cs/config")),
        v2(Request::get("/v2/cs/history/list")),
        v2(Request::post("/v2/console/namespace").form("namespaceId", "n").form("namespaceName", "n")),
    ] {
        let answer = client.ask(request.clone()).await;
        assert_eq!(answer.status, 500, "{request:?}: {answer:?}");
        if is_v2 {
            let expected = json!({ "code": 10002, "message": "data access error", "data": told });
            assert_eq!(answer.json(), expected, "{request:?}");
        } else {
            assert_eq!(answer.text(), format!("caused: {told};"), "{request:?}");
        }
    }
    // Nacos answers this one so whatever is wrong.
    let answer = client.ask(of("DELETE", "full").query("beta", "true")).await.good();
    assert_eq!(answer.json(), json!({ "code": 500, "message": "remove beta data error", "data": false }));
    assert_eq!(content(&mut client, "d0").await, "content 0");
    assert_eq!(get(&mut client, "new").await.status, 404);
    assert_eq!(db.position().await, position, "something was written");
    assert!(!held.is_finished(), "somebody was told of what did not happen");

    // A content that is nowhere is an error, and not the answer that there is none.
    let (path, text) = copy_of(folder.path(), "d7").unwrap();
    std::fs::write(&path, text.replace("content 7", "content 8")).unwrap();
    assert_eq!(get(&mut client, "d7").await.status, 500);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(get(&mut client, "d7").await.status, 500);

    db.take_away(false);
    assert_eq!(content(&mut client, "d7").await, "content 7");
    publish(&mut client, "d0", "new").await;
    assert_eq!(held.await.unwrap().text(), changed("d0"));
    assert_eq!(content(&mut client, "d0").await, "new");
    copied(folder.path(), "d0", "new").await;
    server.stop().await;
    db.inner.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_start_while_a_database_of_its_own_is_away() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let db = Switched::open_as(folder.path(), false);
    let server = Server::start_on(db.clone(), folder.clone(), &[]).await;
    publish(&mut server.client(), "d", "1").await;
    let port = server.addr().port().to_string();
    server.stop().await;
    db.take_away(true);
    let settings = support::server::settings(folder.path(), &[("server.port", &port)]);
    let error = NacosServer::builder(settings.clone()).storage(db.clone()).start().await.err().unwrap();
    let told = nacos_core::error::Report(&error).to_string();
    assert_eq!(told, "read the stored configurations: the database is not available: it was taken away");
    // It left the port, and the copies, as they were.
    db.take_away(false);
    assert!(copy_of(folder.path(), "d").is_some());
    let inner = NacosServer::builder(settings).storage(db.clone()).start().await.unwrap();
    let server = Server { inner, folder };
    assert_eq!(content(&mut server.client(), "d").await, "1");
    server.stop().await;
    db.inner.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_damaged_missing_or_of_nobody_are_mended_at_the_start() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let db = Switched::open(folder.path());
    let options = [("nacos.config.cache.max-bytes", "1")];
    let server = Server::start_on(db.clone(), folder.clone(), &options).await;
    for data_id in ["cut", "junk", "gone", "good", "removed"] {
        publish(&mut server.client(), data_id, &format!("content of {data_id}")).await;
    }
    server.stop().await;
    let path = |data_id| copy_of(folder.path(), data_id).unwrap().0;
    let (cut, junk, gone, removed) = (path("cut"), path("junk"), path("gone"), path("removed"));
    let old = std::fs::read(&removed).unwrap();
    let server = Server::start_on(db.clone(), folder.clone(), &options).await;
    remove(&mut server.client(), "removed").await;
    server.stop().await;

    let text = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &text[..20]).unwrap();
    std::fs::write(&junk, "{}\n\0\0\0").unwrap();
    std::fs::remove_file(&gone).unwrap();
    // A copy that came back from a backup, and one that a crash left half written.
    std::fs::write(&removed, old).unwrap();
    std::fs::write(removed.with_extension("new"), "half").unwrap();
    let server = Server::start_on(db.clone(), folder.clone(), &options).await;
    let mut client = server.client();
    eventually("the copies to be mended", async || {
        let whole = ["cut", "junk", "gone", "good"].iter().all(|data_id| copy_of(folder.path(), data_id).is_some());
        (whole && copies(folder.path()).len() == 4).then_some(())
    })
    .await;
    db.take_away(true);
    for data_id in ["cut", "junk", "gone", "good"] {
        assert_eq!(content(&mut client, data_id).await, format!("content of {data_id}"));
    }
    assert_eq!(get(&mut client, "removed").await.status, 404);
    db.take_away(false);
    server.stop().await;
    db.inner.close().await.unwrap();
}

static EDIT: StatementDef = StatementDef {
    id: "test.edit",
    version: 1,
    sql: "UPDATE config_info SET content = ?2, gmt_modified = ?3 WHERE data_id = ?1",
};

static REMOVE: StatementDef =
    StatementDef { id: "test.remove", version: 1, sql: "DELETE FROM config_info WHERE data_id = ?1" };

static REMOVED: StatementDef = StatementDef {
    id: "test.removed",
    version: 1,
    sql: "INSERT INTO his_config_info (nid, id, data_id, group_id, gmt_create, gmt_modified, op_type, content) \
          VALUES (?1, 1, ?2, ?3, ?4, ?4, 'D', 'x')",
};

/// Two servers on one database, one of which is not told of what the other writes; or an operator at the database.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_changed_behind_the_servers_back_are_noticed() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let db = Switched::open(folder.path());
    let server = Server::start_on(db.clone(), folder, &[("dumpChangeWorkerInterval", "50")]).await;
    let mut client = server.client();
    publish(&mut client, "edited", "old").await;
    publish(&mut client, "removed", "old").await;
    let mut told = server.client();
    let told = tokio::spawn(async move { told.ask(poll(&[("edited", &md5("old"))], 60_000)).await.good() });

    // A moment later: what was written in the same millisecond is the later write of the two that the server knows.
    let later = nacos_core::clock::wall_ms() + 10;
    let time = nacos_core::storage::Value::Time(later);
    db.execute(vec![EDIT.with(["edited".into(), "new".into(), time.clone()])].into()).await.unwrap();
    let gone = [REMOVE.with(["removed".into()]), REMOVED.with([1.into(), "removed".into(), GROUP.into(), time])];
    db.execute(Vec::from(gone).into()).await.unwrap();
    assert_eq!(told.await.unwrap().text(), changed("edited"));
    assert_eq!(content(&mut client, "edited").await, "new");
    eventually("the removal to be noticed", async || (get(&mut client, "removed").await.status == 404).then_some(()))
        .await;
    server.stop().await;
    db.inner.close().await.unwrap();
}
