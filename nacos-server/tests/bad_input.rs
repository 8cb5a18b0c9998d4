//! What nobody should send, to every endpoint: an answer always comes, it is never a fault of this server, and what
//! is answered with an error has changed nothing.

mod support;

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    io,
    sync::Arc,
    time::Duration,
};

use nacos_config::{model::ConfigType, transfer};
use nacos_core::{
    id::Ids,
    storage::{DatabaseOperate, LocalDatabaseOperate, LocalOptions, Query},
    web::{Route, Routes},
};
use nacos_server::{
    console::{self, ConsoleState, ConsoleTexts},
    namespace::Namespaces,
};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use support::{
    Answer, Client, Request, Server,
    config::{CONFIGS, GROUP, get, hold_at_least, md5, probe, publish, publishing},
    http::{Connection, encode, encode_bytes},
    panics,
};
use tokio::{runtime::Runtime, time::Instant};

// ---- what may be answered ------------------------------------------------------------------------------------------

/// Every answer of status 500 and above that bad input may have, by a piece of its text, and why: Nacos 2.4.3 answers
/// so. Any other is a fault of this server.
const NACOS_FAULTS: &[(u16, &str, &str)] = &[
    (
        500,
        "caused: Required request parameter &#39;",
        "v1: Spring's missing parameter ends in the handler of all errors",
    ),
    (500, "caused: Request method &#39;", "an unknown method on a known path ends there too"),
    (500, "caused: Parameter conditions &quot;", "and so does a method that needs a distinguishing parameter"),
    (500, "invalid probeModify", "a long poll's text that the parameter filter cannot cut into lines"),
    (500, "caused: namespaceId [ ", "v1: a namespace that is not there"),
    (500, "Failed to parse multipart servlet request", "an import whose body is no multipart"),
    (500, "JSON parse error", "a clone whose body is no list"),
    (500, "Cas publish ", "a compare-and-set that another content stands against"),
    (500, "errCode: 500, errMsg: Namespace creation failed ", "texts that the columns cannot hold"),
    (500, "errCode: 500, errMsg: Namespace update failed ", "likewise"),
    (500, "\"code\":30000,\"message\":\"For input string: ", "v2: a number that is none"),
];

fn is_allowed(answer: &Answer) -> bool {
    let text = answer.text();
    answer.status < 500
        || NACOS_FAULTS.iter().any(|(status, piece, _)| answer.status == *status && text.contains(piece))
}

/// Whether the answer says that nothing was done. v1 says so in an envelope, or with `false`, under status 200.
fn is_refusal(answer: &Answer) -> bool {
    if answer.status >= 400 {
        return true;
    }
    match serde_json::from_slice::<serde_json::Value>(&answer.body) {
        Ok(serde_json::Value::Bool(done)) => !done,
        Ok(value) => value["code"].as_i64().is_some_and(|code| code != 200 && code != 0),
        Err(_) => false,
    }
}

// ---- the server, and what is stored in it -------------------------------------------------------------------------

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

struct World {
    runtime: Runtime,
    server: Option<Server>,
    db: Arc<LocalDatabaseOperate>,
    client: Client,
    routes: Vec<Target>,
    /// Numbers of rows that are there.
    ids: Vec<String>,
}

/// A route's request line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    method: &'static str,
    path: &'static str,
    when: Option<(&'static str, &'static str)>,
}

impl Target {
    fn of(route: &Route) -> Self {
        let methods = ["GET", "POST", "PUT", "DELETE"];
        let method = methods.into_iter().find(|method| *method == route.method.as_str()).expect("a method of Nacos");
        Self { method, path: route.path, when: route.when }
    }

    /// The one way of reading that writes: a capacity is made when it is first looked at, as in Nacos.
    fn may_write(&self) -> bool {
        self.method != "GET" || self.path == "/v1/cs/capacity"
    }
}

impl World {
    fn new(options: &[(&str, &str)]) -> Self {
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
        let mut world = Self { runtime, server: Some(server), db, client, routes, ids: Vec::new() };
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
    fn position(&self) -> u64 {
        self.runtime.block_on(self.db.query(Query::new("SELECT 1", []))).unwrap().position.0
    }

    /// All that is stored.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for table in TABLES {
            let rows =
                self.runtime.block_on(self.db.query(Query::new(format!("SELECT * FROM {table} ORDER BY 1"), [])));
            format!("{:?}", rows.unwrap().rows).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        self.runtime.block_on(self.client.try_ask(request))
    }

    fn panics(&self) -> f64 {
        self.server.as_ref().unwrap().metric("nacos_exception_total{module=\"core\",name=\"handlerPanic\"}")
    }

    /// Nothing broke on the way, and what is served is what is stored.
    fn close(mut self) {
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

// ---- good requests -------------------------------------------------------------------------------------------------

/// What each parameter is where nothing is wrong with it. What a route does not read does not hurt it.
const GOOD: &[(&str, &str)] = &[
    ("dataId", "d1"),
    ("group", GROUP),
    ("content", "content"),
    ("tenant", ""),
    ("namespaceId", ""),
    ("pageNo", "1"),
    ("pageSize", "10"),
    ("config_detail", ""),
    ("ip", "127.0.0.1"),
    ("ids", ""),
    ("id", "1"),
    ("nid", "1"),
    ("logName", "config-server"),
    ("logLevel", "info"),
    ("sql", "select 1"),
    ("quota", "0"),
    ("customNamespaceId", ""),
    ("namespaceName", "name"),
    ("namespaceShowName", "name"),
    ("namespace", ""),
    ("namespaceDesc", "words"),
];

/// Parameters that may be added.
const MORE: &[&str] = &[
    "tag",
    "appName",
    "src_user",
    "srcUser",
    "config_tags",
    "configTags",
    "desc",
    "use",
    "effect",
    "type",
    "schema",
    "encryptedDataKey",
    "search",
    "show",
    "beta",
    "types",
    "policy",
    "delType",
    "export",
    "exportV2",
    "import",
    "clone",
    "sampleTime",
    "all",
    "maxSize",
    "maxAggrCount",
    "maxAggrSize",
    "language",
    "username",
    "Listening-Configs",
    "checkNamespaceIdExist",
    "file",
    "",
];

fn good_parameters(target: &Target) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = target.when.into_iter().map(own).collect();
    // The namespace's handlers refuse ids that are taken, and blank ones by name.
    let of_console = target.path.contains("/console/namespace");
    for (name, value) in GOOD.iter().copied() {
        let value = match name {
            "namespaceId" if of_console && target.method == "POST" => "fresh",
            _ => value,
        };
        if all.iter().all(|(known, _)| known != name) {
            all.push(own((name, value)));
        }
    }
    if (target.method, target.path) == ("POST", "/v1/cs/configs/listener") {
        all.push(own(("Listening-Configs", &probe(&[("d1", &md5("content"))]))));
    }
    all
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The body that a route reads beside its parameters, if it does.
fn good_body(target: &Target) -> Option<(&'static str, Vec<u8>)> {
    match target.when {
        Some(("import", _)) => Some(("multipart/form-data; boundary=cut", multipart(&archive()))),
        Some(("clone", _)) => Some(("application/json", b"[{\"cfgId\":\"1\",\"dataId\":\"d9\"}]".to_vec())),
        _ => None,
    }
}

fn archive() -> Vec<u8> {
    let item = transfer::ExportItem {
        group: GROUP.to_owned(),
        data_id: "imported".to_owned(),
        content: "imported".into(),
        app_name: None,
        config_type: Some(ConfigType::Text.as_str().to_owned()),
        desc: None,
    };
    transfer::export_v2(&[item]).unwrap()
}

fn multipart(file: &[u8]) -> Vec<u8> {
    let mut body = b"--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.zip\"\r\n\r\n".to_vec();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--cut--\r\n");
    body
}

#[test]
fn every_route_has_a_good_request() {
    let mut world = World::new(&[]);
    assert!(world.routes.len() > 50, "{} routes", world.routes.len());
    for target in world.routes.clone() {
        let mut request = Request::new(target.method, target.path);
        let body = good_body(&target);
        let in_form = body.is_none() && matches!(target.method, "POST" | "PUT");
        for (name, value) in good_parameters(&target) {
            request = request.raw_parameter(in_form, encode(&name).as_bytes(), encode(&value).as_bytes());
        }
        if let Some((kind, body)) = body {
            request = request.body(kind, body);
        }
        let answer = world.ask(&request).unwrap();
        // What is not there is not there; all else is done.
        assert!(answer.status == 200 || answer.status == 404, "{request:?}: {answer:?}");
    }
    world.close();
}

// ---- bad requests --------------------------------------------------------------------------------------------------

/// One request with everything that is wrong with it.
#[derive(Debug, Clone)]
struct Case {
    target: Target,
    method: Option<&'static str>,
    tail: &'static str,
    changes: Vec<Change>,
    in_form: bool,
    headers: Vec<(&'static str, Short)>,
    body: Option<(&'static str, Short)>,
}

/// What is done to the good parameters.
#[derive(Debug, Clone)]
enum Change {
    Remove(usize),
    RemoveAll,
    Replace(usize, Short),
    /// Comes a second time, in the query and in the form.
    Repeat(usize, Short),
    Add(&'static str, Short),
    AddOdd(Short, Short),
}

/// Bytes as they are sent, shown in brief.
#[derive(Clone)]
struct Short(Vec<u8>);

impl std::fmt::Debug for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.0[..self.0.len().min(300)];
        write!(f, "{:?} ({} bytes)", String::from_utf8_lossy(shown), self.0.len())
    }
}

/// Values, not yet encoded.
fn value(ids: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let words = select(vec![
        "",
        " ",
        "   ",
        "\t",
        "\r\n",
        "\0",
        "a\0b",
        "\u{1}",
        "d\u{2}g\u{2}m\u{1}",
        "\u{2}",
        "\u{1}\u{1}",
        "\u{7f}",
        "null",
        "public",
        "true",
        "false",
        "undefined",
        "%",
        "%%",
        "%00",
        "%zz",
        "%2",
        "+",
        "++",
        "*",
        "**",
        "_",
        "\\",
        "'",
        "\"",
        "' OR 1=1 --",
        "\"; DROP TABLE config_info; --",
        "?",
        "?1",
        "a.b",
        "a/b",
        "../../etc/passwd",
        "..\\..\\x",
        "a:b",
        "<script>alert(1)</script>",
        "${jndi:ldap://127.0.0.1/x}",
        "{{7*7}}",
        "中文",
        "é",
        "e\u{301}",
        "ǅ",
        "\u{202e}x",
        "\u{feff}",
        "\u{fffd}",
        "🦀",
        "\u{10ffff}",
        "١٢٣",
        "１",
        "²",
        ",",
        ",,,",
        "a,,b",
        "one",
        "one,two",
        "d1",
        "d2",
        "d1,d2",
        "DEFAULT_GROUP",
        "ns1",
        "t1",
        "content",
        "aggregated.x",
        "aggregated.",
        "yaml",
        "json",
        "ABORT",
        "SKIP",
        "OVERWRITE",
        "abort",
        "accurate",
        "blur",
        "all",
        "ids",
        "127.0.0.1",
        "::1",
        "999.999.999.999",
        "127.0.0.1,1.1.1.1",
        "imported",
        "d1+DEFAULT_GROUP",
        "fresh",
        "name@",
        "name",
    ]);
    let numbers = select(vec![
        "0",
        "-0",
        "1",
        "-1",
        "+1",
        "01",
        "1.5",
        "1e3",
        "1e400",
        "NaN",
        "Infinity",
        "0x10",
        " 7 ",
        "500",
        "501",
        "1000000",
        "2147483647",
        "2147483648",
        "-2147483648",
        "-2147483649",
        "4294967296",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "18446744073709551615",
        "99999999999999999999999999",
    ]);
    let long = (
        select(vec!["x", "中", "*", ",", "1,", "a,", "%", "\0", " ", "🦀"]),
        select(vec![17, 65, 129, 257, 1025, 33_000]),
    );
    // Only a form may be so large; some lists are, and some patterns.
    let huge = (select(vec!["x", "*", "a,", "1,", "%"]), select(vec![60_000, 400_000]));
    prop_oneof![
        6 => words.prop_map(|text| text.as_bytes().to_vec()),
        4 => numbers.prop_map(|text| text.as_bytes().to_vec()),
        3 => select(ids).prop_map(String::into_bytes),
        3 => long.prop_map(|(text, times)| text.repeat(times).into_bytes()),
        1 => huge.prop_map(|(text, times)| text.repeat(times / text.len()).into_bytes()),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        2 => "\\PC{0,30}".prop_map(String::into_bytes),
    ]
}

/// The same, encoded well or badly.
fn sent(ids: Vec<String>) -> impl Strategy<Value = Short> {
    (value(ids), 0..10_u8).prop_map(|(value, how)| {
        Short(match how {
            0..=6 => encode_bytes(&value).into_bytes(),
            7 => encode_bytes(&value).to_ascii_lowercase().into_bytes(),
            // Cut in the midst of an escape.
            8 => {
                let mut text = encode_bytes(&value).into_bytes();
                text.pop();
                text
            }
            // As it is, but for what would end the line of the request or the pair.
            _ => value.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | b'&' | b' ' | b'#')).collect(),
        })
    })
}

fn change(ids: Vec<String>) -> impl Strategy<Value = Change> {
    let good = 0..GOOD.len() + 2;
    let value = || sent(ids.clone());
    prop_oneof![
        2 => good.clone().prop_map(Change::Remove),
        1 => Just(Change::RemoveAll),
        8 => (good.clone(), value()).prop_map(|(at, value)| Change::Replace(at, value)),
        2 => (good, value()).prop_map(|(at, value)| Change::Repeat(at, value)),
        6 => (select(MORE), value()).prop_map(|(name, value)| Change::Add(name, value)),
        1 => (value(), value()).prop_map(|(name, value)| Change::AddOdd(name, value)),
    ]
}

fn header(ids: Vec<String>) -> impl Strategy<Value = (&'static str, Short)> {
    let known = select(vec![
        "casMd5",
        "betaIps",
        "X-Forwarded-For",
        "X-Real-IP",
        "Client-AppName",
        "Client-Version",
        "Vipserver-Tag",
        "Notify",
        "Long-Pulling-Timeout-No-Hangup",
        "User-Agent",
        "Origin",
        "Accept",
        "Accept-Encoding",
        "Accept-Charset",
        "Range",
        "If-Modified-Since",
        "If-None-Match",
        "Cookie",
        "Authorization",
        "X-HTTP-Method-Override",
        "X-Odd",
        "Upgrade",
        "Access-Control-Request-Method",
        "Access-Control-Request-Headers",
        "Content-Encoding",
    ]);
    // What a header may hold; the rest would be a head that cannot be parsed, which is another test's business.
    let text = value(ids).prop_map(|value| {
        value.into_iter().filter(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f).take(40_000).collect()
    });
    let text = text.prop_map(Short);
    // A poll of a positive time would be held for it.
    let time = select(vec!["", "0", "-1", "x", "1.5", "-9223372036854775808", "99999999999999999999", "1 1"]);
    let kind = select(vec![
        "",
        "x",
        "application/x-www-form-urlencoded;charset=GBK",
        "APPLICATION/X-WWW-FORM-URLENCODED",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=cut",
        "application/json",
        "text/plain;charset=x",
    ]);
    prop_oneof![
        6 => (known, text),
        2 => time.prop_map(|time| ("Long-Pulling-Timeout", Short(time.as_bytes().to_vec()))),
        2 => kind.prop_map(|kind| ("Content-Type", Short(kind.as_bytes().to_vec()))),
    ]
}

fn body(ids: Vec<String>) -> impl Strategy<Value = (&'static str, Short)> {
    let json = |text: String| ("application/json", Short(text.into_bytes()));
    let nested = (select(vec!["[", "{\"a\":", "[{\"cfgId\":"]), select(vec![1, 10, 127, 200, 100_000]));
    let part = (value(ids.clone()), value(ids.clone())).prop_map(|(head, file)| {
        let mut body = b"--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"".to_vec();
        body.extend_from_slice(&head);
        body.extend_from_slice(b"\"\r\n\r\n");
        body.extend_from_slice(&file);
        body.extend_from_slice(b"\r\n--cut--\r\n");
        ("multipart/form-data; boundary=cut", Short(body))
    });
    // A good archive with a byte turned, or cut off.
    let broken = (any::<proptest::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(|(at, byte, cut)| {
        let mut file = archive();
        let at = at.index(file.len());
        if cut {
            file.truncate(at)
        } else {
            file[at] = byte
        }
        ("multipart/form-data; boundary=cut", Short(multipart(&file)))
    });
    let clone = (value(ids.clone()), value(ids.clone()), value(ids)).prop_map(move |(id, data_id, group)| {
        let text = |value: Vec<u8>| serde_json::to_string(&String::from_utf8_lossy(&value)).unwrap();
        json(format!("[null,{{\"cfgId\":{},\"dataId\":{},\"group\":{}}}]", text(id), text(data_id), text(group)))
    });
    let lists =
        select(vec!["", "[]", "[null]", "{}", "null", "1", "\"\"", "[{}]", "[{\"cfgId\":1.5}]", "[{\"cfgId\":null}]"]);
    prop_oneof![
        2 => (proptest::collection::vec(any::<u8>(), 0..200)).prop_map(|bytes| ("application/octet-stream", Short(bytes))),
        2 => part,
        4 => broken,
        1 => nested.prop_map(move |(text, times)| json(text.repeat(times))),
        1 => lists.prop_map(move |text| json(text.to_owned())),
        4 => clone,
    ]
}

fn case(routes: Vec<Target>, ids: Vec<String>) -> impl Strategy<Value = Case> {
    let odd_method = select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "NONSENSE"]);
    (
        select(routes),
        proptest::option::weighted(0.05, odd_method),
        prop_oneof![20 => Just(""), 1 => select(vec!["/", "//", "/x", ";a=b", "%2f", "/../configs", ".json"])],
        proptest::collection::vec(change(ids.clone()), 0..5),
        any::<bool>(),
        proptest::collection::vec(header(ids.clone()), 0..3),
        proptest::option::weighted(0.1, body(ids)),
    )
        .prop_map(|(target, method, tail, changes, in_form, headers, body)| {
            let own = good_body(&target).map(|(kind, body)| (kind, Short(body)));
            // A route that reads a body gets one, good or bad.
            let body = body.or(own);
            Case { target, method, tail, changes, in_form, headers, body }
        })
}

impl Case {
    fn request(&self) -> Request {
        let mut parameters: Vec<(bool, Vec<u8>, Vec<u8>)> = good_parameters(&self.target)
            .into_iter()
            .map(|(name, value)| (self.in_form, encode(&name).into_bytes(), encode(&value).into_bytes()))
            .collect();
        for change in &self.changes {
            match change {
                Change::Remove(at) => {
                    if *at < parameters.len() {
                        parameters.remove(*at);
                    }
                }
                Change::RemoveAll => parameters.clear(),
                Change::Replace(at, value) => {
                    if let Some(parameter) = parameters.get_mut(*at) {
                        parameter.2.clone_from(&value.0);
                    }
                }
                Change::Repeat(at, value) => {
                    if let Some((in_form, name, _)) = parameters.get(*at).cloned() {
                        parameters.push((!in_form, name, value.0.clone()));
                    }
                }
                Change::Add(name, value) => {
                    parameters.push((self.in_form, encode(name).into_bytes(), value.0.clone()));
                }
                Change::AddOdd(name, value) => parameters.push((self.in_form, name.0.clone(), value.0.clone())),
            }
        }
        let mut request =
            Request::new(self.method.unwrap_or(self.target.method), &format!("{}{}", self.target.path, self.tail));
        for (in_form, name, value) in &parameters {
            // What is too long for the head of a request is another test's business; it goes into the form.
            let in_form = self.body.is_none() && (*in_form || value.len() > 40_000);
            request = request.raw_parameter(in_form, name, value);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, &value.0);
        }
        match &self.body {
            Some((kind, body)) => request.body(kind, body.0.clone()),
            None => request,
        }
    }
}

fn check(world: &mut World, case: &Case, seen: &mut HashMap<u16, u32>) -> Result<(), TestCaseError> {
    let request = case.request();
    let (position, digest) = (world.position(), world.digest());
    let answer = match world.ask(&request) {
        Ok(answer) => answer,
        Err(error) => return Err(TestCaseError::fail(format!("no answer: {error}"))),
    };
    *seen.entry(answer.status).or_default() += 1;
    prop_assert!(is_allowed(&answer), "{answer:?}");
    // The connection goes on, or was closed with a word.
    let next = world.ask(&Request::get("/v1/cs/health"));
    prop_assert!(next.as_ref().is_ok_and(|next| next.status == 200), "{next:?} after {answer:?}");
    prop_assert_eq!(world.panics(), 0.0);
    prop_assert_eq!(panics::seen(), Vec::<String>::new());
    let is_reading = matches!(case.method.unwrap_or(case.target.method), "GET" | "HEAD" | "OPTIONS");
    if is_refusal(&answer) || is_reading && !case.target.may_write() {
        prop_assert!(world.position() == position || world.digest() == digest, "changed by {answer:?}");
    }
    if let Ok(page) = serde_json::from_slice::<serde_json::Value>(&answer.body) {
        let pages = page.get("pagesAvailable").or(page["data"].get("pagesAvailable"));
        prop_assert!(pages.is_none_or(|pages| pages.as_i64().is_some_and(|pages| pages >= 0)), "{answer:?}");
    }
    Ok(())
}

/// As many cases as are asked for by `PROPTEST_CASES`, or enough to come by every route several dozen times.
fn runner(cases: u32) -> TestRunner {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    TestRunner::new(Config {
        cases: asked.unwrap_or(cases),
        // What is stored changes from case to case, so a smaller one is found only now and then.
        max_shrink_iters: std::env::var("SHRINK").map_or(400, |n| n.parse().unwrap()),
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn no_request_breaks_the_server_and_no_refusal_changes_it() {
    let mut world = World::new(&[("nacos.server.http.max-body-bytes", "1048576"), ("maxContent", "262144")]);
    let (routes, ids) = (world.routes.clone(), world.ids.clone());
    let mut seen = HashMap::new();
    let shared = std::cell::RefCell::new((&mut world, &mut seen));
    let outcome = runner(2500).run(&case(routes, ids), |case| {
        let (world, seen) = &mut *shared.borrow_mut();
        check(world, &case, seen)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(seen.get(&200).is_some_and(|count| *count > 200), "the requests are too bad to reach a handler: {seen:?}");
    assert!(seen.get(&400).is_some_and(|count| *count > 200), "the requests are too good: {seen:?}");
    world.close();
}
