//! The console's endpoints through the dispatcher: what was recorded from Nacos 2.4.3, and what was not.

mod recorded;

use axum::body::{Body, to_bytes};
use http::{Request, header};
use nacos_core::{
    id::Ids,
    metrics::Metrics,
    storage::{DatabaseOperate, StorageError},
    web::{BodyLimits, Dispatcher, DispatcherOptions},
};
use tempfile::TempDir;

use super::*;
use crate::namespace::tests::{Failing, database, namespaces, store_config};

/// A dispatcher over the console's routes, with what it shows under the test's control.
struct Console {
    dispatcher: Dispatcher,
    database: Arc<dyn DatabaseOperate>,
    _folder: Option<TempDir>,
}

/// What an answer says.
#[derive(Debug, PartialEq)]
struct Said {
    status: u16,
    kind: String,
    body: String,
}

fn state_over(database: &Arc<dyn DatabaseOperate>) -> ConsoleState {
    ConsoleState {
        namespaces: namespaces(database),
        state: Arc::new(Vec::new),
        readiness: Arc::new(|| Ok(())),
        texts: Arc::default(),
    }
}

fn dispatcher(state: ConsoleState, check_params: bool) -> Dispatcher {
    let options = DispatcherOptions {
        context_path: "/nacos".to_owned(),
        bodies: BodyLimits::generous(),
        check_params,
        auth: None,
        metrics: Metrics::new(),
    };
    Dispatcher::new(routes(state), options)
}

impl Console {
    fn new() -> Self {
        Self::with(true, |_| {})
    }

    /// With or without the parameter filter, and a state that the test has changed.
    fn with(check_params: bool, change: impl FnOnce(&mut ConsoleState)) -> Self {
        let (folder, database) = database();
        let mut state = state_over(&database);
        change(&mut state);
        Self { dispatcher: dispatcher(state, check_params), database, _folder: Some(folder) }
    }

    fn failing(error: StorageError) -> Self {
        let database: Arc<dyn DatabaseOperate> = Arc::new(Failing(error));
        Self { dispatcher: dispatcher(state_over(&database), true), database, _folder: None }
    }

    /// Sends `METHOD /path`, with the pairs in the form of a POST or PUT, else in the query.
    async fn ask(&self, line: &str, pairs: &[(&str, &str)]) -> Said {
        let (method, path) = line.split_once(' ').unwrap();
        let encoded: Vec<_> = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let encoded = encoded.join("&");
        let request = if matches!(method, "POST" | "PUT") {
            Request::builder()
                .uri(format!("/nacos{path}"))
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(header::CONTENT_LENGTH, encoded.len())
                .method(method)
                .body(encoded.into())
        } else {
            Request::builder().uri(format!("/nacos{path}?{encoded}")).method(method).body(Body::empty())
        };
        let response = self.dispatcher.clone().dispatch(request.unwrap()).await;
        let status = response.status().as_u16();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Said { status, kind, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn json(body: &str) -> Said {
    Said { status: 200, kind: "application/json;charset=UTF-8".to_owned(), body: body.to_owned() }
}

fn text(status: u16, body: &str) -> Said {
    Said { status, kind: "text/plain;charset=UTF-8".to_owned(), body: body.to_owned() }
}

fn coded(status: u16, code: i32, message: &str, data: &str) -> Said {
    let data = serde_json::to_string(data).unwrap();
    Said { status, ..json(&format!(r#"{{"code":{code},"message":"{message}","data":{data}}}"#)) }
}

const V1: &str = "/v1/console/namespaces";
const V2: &str = "/v2/console/namespace";

#[test]
fn each_route_asks_for_the_right_that_nacos_asks_for() {
    let (_folder, database) = database();
    let mut lines: Vec<_> = routes(state_over(&database))
        .iter()
        .map(|route| {
            let when = route.when.map(|(name, value)| format!("?{name}={value}")).unwrap_or_default();
            let access = match route.access {
                Open => "open",
                Needs(Read, Resource::Named("console/namespaces")) => "r",
                Needs(Write, Resource::Named("console/namespaces")) => "w",
                other => panic!("{other:?}"),
            };
            format!("{} {}{when} {access}", route.method, route.path)
        })
        .collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "DELETE /v1/console/namespaces w",
            "DELETE /v2/console/namespace w",
            "GET /v1/console/health/liveness open",
            "GET /v1/console/health/readiness open",
            "GET /v1/console/namespaces open",
            "GET /v1/console/namespaces?checkNamespaceIdExist=true open",
            "GET /v1/console/namespaces?show=all open",
            "GET /v1/console/server/announcement open",
            "GET /v1/console/server/guide open",
            "GET /v1/console/server/state open",
            "GET /v2/console/health/liveness open",
            "GET /v2/console/health/readiness open",
            "GET /v2/console/namespace r",
            "GET /v2/console/namespace/list open",
            "POST /v1/console/namespaces w",
            "POST /v2/console/namespace w",
            "PUT /v1/console/namespaces w",
            "PUT /v2/console/namespace w",
        ]
    );
}

#[tokio::test]
async fn configurations_are_counted_and_stay_when_their_namespace_goes() {
    let console = Console::new();
    let shown = |count: u8| {
        format!(
            r#"{{"namespace":"n1","namespaceShowName":"one","namespaceDesc":null,"quota":200,"configCount":{count},"type":2}}"#
        )
    };
    let create = [("customNamespaceId", "n1"), ("namespaceName", "one")];
    assert_eq!(console.ask(&format!("POST {V1}"), &create).await, json("true"));
    let ids = Ids::new(3);
    store_config(&console.database, &ids, "n1", "d1").await;
    store_config(&console.database, &ids, "n1", "d2").await;
    let show = [("show", "all"), ("namespaceId", "n1")];
    assert_eq!(console.ask(&format!("GET {V1}"), &show).await, json(&shown(2)));

    assert_eq!(console.ask(&format!("DELETE {V1}"), &[("namespaceId", "n1")]).await, json("true"));
    assert_eq!(console.ask(&format!("POST {V1}"), &create).await, json("true"));
    assert_eq!(console.ask(&format!("GET {V1}"), &show).await, json(&shown(2)));
}

#[tokio::test]
async fn the_list_is_the_same_in_both_versions_but_for_the_envelope() {
    let console = Console::new();
    let create = [("namespaceId", "n1"), ("namespaceName", "one"), ("namespaceDesc", "d")];
    assert_eq!(
        console.ask(&format!("POST {V2}"), &create).await,
        json(r#"{"code":0,"message":"success","data":true}"#)
    );
    let list = r#"[{"namespace":"","namespaceShowName":"public","namespaceDesc":null,"quota":200,"configCount":0,"type":0},{"namespace":"n1","namespaceShowName":"one","namespaceDesc":"d","quota":200,"configCount":0,"type":2}]"#;
    let v1 = format!(r#"{{"code":200,"message":null,"data":{list}}}"#);
    let v2 = format!(r#"{{"code":0,"message":"success","data":{list}}}"#);
    assert_eq!(console.ask(&format!("GET {V1}"), &[]).await, json(&v1));
    assert_eq!(console.ask(&format!("GET {V2}/list"), &[]).await, json(&v2));
}

#[tokio::test]
async fn the_public_namespace_is_shown_under_a_blank_id() {
    let console = Console::new();
    let public = r#"{"namespace":"","namespaceShowName":"Public","namespaceDesc":"Public Namespace","quota":200,"configCount":0,"type":0}"#;
    assert_eq!(console.ask(&format!("GET {V1}"), &[("show", "all"), ("namespaceId", "")]).await, json(public));
    let v2 = format!(r#"{{"code":0,"message":"success","data":{public}}}"#);
    assert_eq!(console.ask(&format!("GET {V2}"), &[("namespaceId", "")]).await, json(&v2));
}

#[tokio::test]
async fn a_blank_id_is_made_up() {
    let console = Console::new();
    let create = [("customNamespaceId", ""), ("namespaceName", "one")];
    assert_eq!(console.ask(&format!("POST {V1}"), &create).await, json("true"));
    let list: serde_json::Value = serde_json::from_str(&console.ask(&format!("GET {V1}"), &[]).await.body).unwrap();
    let id = list["data"][1]["namespace"].as_str().unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
}

/// With the filter on, most of these never reach the handler.
#[tokio::test]
async fn the_rules_of_the_domain_hold_without_the_parameter_filter() {
    let console = Console::with(false, |_| {});
    let taken = [("namespaceId", "taken"), ("namespaceName", "x")];
    assert_eq!(console.ask(&format!("POST {V2}"), &taken).await.status, 200);
    let long = "n".repeat(129);
    let cases = [
        ("a.b", "x", "namespaceId [a.b] mismatch the pattern"),
        (&long, "x", "too long namespaceId, over 128"),
        ("taken", "x", "the namespaceId is existed, namespaceId: taken"),
        ("taken", "a@b", "the namespaceId is existed, namespaceId: taken"),
        ("free", "a@b", "namespaceName [a@b] contains illegal char"),
    ];
    for (id, name, told) in cases {
        let v2 = console.ask(&format!("POST {V2}"), &[("namespaceId", id), ("namespaceName", name)]).await;
        assert_eq!(v2, coded(400, 22000, "illegal namespace", told));
        let v1 = console.ask(&format!("POST {V1}"), &[("customNamespaceId", id), ("namespaceName", name)]).await;
        assert_eq!(v1, json("false"), "{id} {name}");
    }
    let renamed = console.ask(&format!("PUT {V2}"), &[("namespaceId", "taken"), ("namespaceName", "a%b")]).await;
    assert_eq!(renamed, coded(400, 22000, "illegal namespace", "namespaceName [a%b] contains illegal char"));

    let shown = console.ask(&format!("GET {V1}"), &[("show", "all"), ("namespaceId", "<a&'b\">")]).await;
    assert_eq!(shown, text(500, "caused: namespaceId [ &lt;a&amp;&#39;b&quot;&gt; ] not exist;"));
}

#[tokio::test]
async fn the_filter_looks_at_the_first_value_and_the_handler_at_all_of_them() {
    let console = Console::new();
    let twice = [("customNamespaceId", "a"), ("customNamespaceId", "b"), ("namespaceName", "x")];
    assert_eq!(console.ask(&format!("POST {V1}"), &twice).await, json("false"));
    let both = [("namespaceId", " "), ("customNamespaceId", "a.b"), ("namespaceName", "x")];
    let refused = "Param 'namespaceId/tenant' is illegal, illegal characters should not appear in the param.\r\n";
    assert_eq!(console.ask(&format!("POST {V1}"), &both).await, text(400, refused));
    let list = console.ask(&format!("GET {V1}"), &[]).await;
    assert_eq!(list.body.matches("\"namespace\"").count(), 1, "{}", list.body);
}

#[tokio::test]
async fn texts_that_nacos_columns_cannot_hold_are_refused() {
    let console = Console::new();
    let (name, description) = ("n".repeat(129), "d".repeat(257));
    for (name, description) in [(name.as_str(), "d"), ("n", description.as_str())] {
        let told = |doing| format!("errCode: 500, errMsg: Namespace {doing} failed ");
        let rest = [("namespaceName", name), ("namespaceShowName", name), ("namespaceDesc", description)];
        for (line, id, doing) in
            [(format!("POST {V1}"), "customNamespaceId", "creation"), (format!("PUT {V1}"), "namespace", "update")]
        {
            let said = console.ask(&line, &[&[(id, "n1")], &rest[..]].concat()).await;
            assert_eq!(said, text(500, &format!("caused: {};", told(doing))));
        }
        for (line, doing) in [(format!("POST {V2}"), "creation"), (format!("PUT {V2}"), "update")] {
            let said = console.ask(&line, &[&[("namespaceId", "n1")], &rest[..]].concat()).await;
            assert_eq!(said, coded(500, 30000, "server error", &told(doing)));
        }
    }
}

#[tokio::test]
async fn a_failing_store_is_never_answered_as_a_refusal() {
    let console = Console::failing(StorageError::Unconfirmed("no majority".to_owned()));
    let told = "The write was not confirmed in time; it may have happened. Read before trying again";
    let v1 = [("customNamespaceId", "n"), ("namespaceName", "x"), ("namespace", "n"), ("namespaceShowName", "x")];
    for line in ["POST", "PUT"] {
        assert_eq!(console.ask(&format!("{line} {V1}"), &v1).await, text(500, &format!("caused: {told};")));
    }
    let id = [("namespaceId", "n")];
    assert_eq!(console.ask(&format!("DELETE {V1}"), &id).await, text(500, &format!("caused: {told};")));
    let v2 = [("namespaceId", "n"), ("namespaceName", "x")];
    for line in ["POST", "PUT"] {
        assert_eq!(console.ask(&format!("{line} {V2}"), &v2).await, coded(500, 30000, "server error", told));
    }
    assert_eq!(console.ask(&format!("DELETE {V2}"), &id).await, coded(500, 30000, "server error", told));

    let console = Console::failing(StorageError::Conflict);
    assert_eq!(console.ask(&format!("POST {V1}"), &v1).await, json("false"));
    let existed = coded(400, 22000, "illegal namespace", "the namespaceId is existed, namespaceId: n");
    assert_eq!(console.ask(&format!("POST {V2}"), &v2).await, existed);
}

#[tokio::test]
async fn a_server_that_is_not_ready_says_which_modules_are_not() {
    let console = Console::with(true, |state| {
        state.readiness = Arc::new(|| Err("config and naming".to_owned()));
    });
    let told = "config and naming not in readiness";
    assert_eq!(console.ask("GET /v1/console/health/readiness", &[]).await, text(500, told));
    let v2 = Said { status: 500, ..json(&format!(r#"{{"code":30000,"message":"{told}","data":null}}"#)) };
    assert_eq!(console.ask("GET /v2/console/health/readiness", &[]).await, v2);
    assert_eq!(console.ask("GET /v1/console/health/liveness", &[]).await, text(200, "OK"));
    let alive = json(r#"{"code":0,"message":"success","data":"ok"}"#);
    assert_eq!(console.ask("GET /v2/console/health/liveness", &[]).await, alive);
}

#[tokio::test]
async fn the_state_is_put_together_from_its_contributors() {
    let console = Console::with(true, |state| {
        state.state = Arc::new(|| {
            let text = |text: &str| Some(text.to_owned());
            vec![("startup_mode", text("cluster")), ("function_mode", None), ("startup_mode", text("standalone"))]
        });
    });
    assert_eq!(
        console.ask("GET /v1/console/server/state", &[]).await,
        json(r#"{"function_mode":null,"startup_mode":"standalone","version":"2.4.3"}"#)
    );
}

#[tokio::test]
async fn the_console_texts_are_those_of_the_folder() {
    let conf = TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(conf.path().join(name), text).unwrap();
    write("announcement_en-US.conf", "<a href=\"x\">on</a>");
    write("announcement_zh-CN.conf", "开");
    write("announcement_fr-FR.conf", &"x".repeat(64 * 1024 + 1));
    write("announcement_xx.txt", "another kind of file");
    write("console-guide.conf", "guide");
    write("application.properties", "secret=1");
    std::fs::create_dir(conf.path().join("announcement_de-DE.conf")).unwrap();
    let texts = ConsoleTexts::load(conf.path());
    let mut languages: Vec<_> = texts.announcements.keys().map(String::as_str).collect();
    languages.sort_unstable();
    assert_eq!(languages, ["en-US", "zh-CN"]);
    assert_eq!(ConsoleTexts::load(&conf.path().join("nowhere")), ConsoleTexts::default());

    let console = Console::with(true, |state| state.texts = Arc::new(texts));
    let data = |data: &str| json(&format!(r#"{{"code":200,"message":null,"data":{data}}}"#));
    let announcement = "GET /v1/console/server/announcement";
    assert_eq!(console.ask(announcement, &[]).await, data("\"开\""));
    assert_eq!(console.ask(announcement, &[("language", "")]).await, data("\"开\""));
    assert_eq!(console.ask(announcement, &[("language", "en-US")]).await, data(r#""<a href=\"x\">on</a>""#));
    assert_eq!(console.ask(announcement, &[("language", "xx-XX")]).await, data("null"));
    for hostile in ["../application", "a/b", "a\\b"] {
        let said = console.ask(announcement, &[("language", hostile)]).await;
        assert_eq!(said, text(400, "caused: Invalid filename;"));
    }
    assert_eq!(console.ask("GET /v1/console/server/guide", &[]).await, data("\"guide\""));
}
