//! Export, import and clone beyond what is recorded of Nacos: which rows they touch, and that nothing is lost on the
//! way from one namespace to another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use serde_json::{Value, json};
use support::{
    Client, Request, Server,
    config::{CONFIGS, content, publish},
};

async fn publish_in(client: &mut Client, (data_id, group, tenant): (&str, &str, &str), text: &str) {
    let request = Request::post(CONFIGS).form("dataId", data_id).form("group", group).form("tenant", tenant);
    let request = request.form("content", text).form("type", "yaml").form("desc", "words").form("appName", "app");
    assert_eq!(client.ask(request).await.good().text(), "true");
}

async fn content_in(client: &mut Client, (data_id, group, tenant): (&str, &str, &str)) -> String {
    let request = Request::get(CONFIGS).query("dataId", data_id).query("group", group).query("tenant", tenant);
    client.ask(request).await.good().text().into_owned()
}

async fn namespaces(client: &mut Client, ids: &[&str]) {
    for id in ids {
        let request = Request::post("/v1/console/namespaces").form("customNamespaceId", id).form("namespaceName", id);
        client.ask(request).await.good();
    }
}

/// The archive of what is in this namespace and group.
async fn export(client: &mut Client, layout: &str, tenant: &str, group: &str) -> Vec<u8> {
    let request = Request::get(CONFIGS).query(layout, "true").query("ids", "").query("tenant", tenant);
    client.ask(request.query("group", group)).await.good().body
}

/// Imports with these parts of the form, and answers what is said of it.
async fn import(client: &mut Client, texts: &[(&str, &str)], archive: &[u8]) -> Value {
    let request = Request::post(CONFIGS).query("import", "true").form_data(texts, "file", archive);
    client.ask(request).await.good().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_imported_whole_into_another_namespace() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    namespaces(&mut client, &["from", "v1", "v2"]).await;
    // Names that would be paths, and texts that would break an archive's metadata.
    let keys = [("a.yml", "G"), ("a..b:c", "G"), ("d", "H-1"), ("very-long".repeat(20).leak(), "G")];
    for (data_id, group) in keys {
        publish_in(&mut client, (data_id, group, "from"), &format!("content: '中文 🦀' # {data_id}\r\n")).await;
    }
    for (layout, target) in [("export", "v1"), ("exportV2", "v2")] {
        let archive = export(&mut client, layout, "from", "").await;
        // The namespace and the policy as Nacos' console sends them: the one in the URL, the other as a part.
        let request = Request::post(CONFIGS).query("import", "true").query("namespace", target);
        let answer = client.ask(request.form_data(&[("policy", "SKIP")], "file", &archive)).await.good().json();
        assert_eq!((&answer["code"], &answer["data"]["succCount"]), (&json!(200), &json!(4)), "{answer}");
        for (data_id, group) in keys {
            let expected = content_in(&mut client, (data_id, group, "from")).await;
            assert_eq!(content_in(&mut client, (data_id, group, target)).await, expected);
        }
        let request = Request::get(CONFIGS).query("show", "all").query("dataId", "d").query("group", "H-1");
        let detail = client.ask(request.query("tenant", target)).await.good().json();
        // The old layout has no room for type and description.
        let (kind, desc) = if layout == "export" { ("text", Value::Null) } else { ("yaml", json!("words")) };
        assert_eq!((&detail["type"], &detail["desc"]), (&json!(kind), &desc), "{detail}");
        assert_eq!(detail["appName"], "app");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_its_own_namespace_and_group_alone() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    namespaces(&mut client, &["a_b", "axb", "to"]).await;
    for (group, tenant) in [("G_1", "a_b"), ("Gx1", "a_b"), ("G_1", "axb")] {
        publish_in(&mut client, ("d", group, tenant), &format!("{group} {tenant}")).await;
    }
    let archive = export(&mut client, "exportV2", "a_b", "G_1").await;
    let answer = import(&mut client, &[("namespace", "to")], &archive).await;
    assert_eq!(answer["data"], json!({ "succCount": 1, "skipCount": 0 }), "{answer}");
    assert_eq!(content_in(&mut client, ("d", "G_1", "to")).await, "G_1 a_b");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_for_what_exists_is_read_from_the_form_too() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    for data_id in ["a", "b", "c"] {
        publish(&mut client, data_id, "old").await;
    }
    let archive = export(&mut client, "export", "", "").await;
    for data_id in ["a", "b"] {
        publish(&mut client, data_id, "new").await;
    }
    let skipped = import(&mut client, &[("policy", "SKIP")], &archive).await;
    assert_eq!((&skipped["data"]["succCount"], &skipped["data"]["skipCount"]), (&json!(0), &json!(3)), "{skipped}");
    assert_eq!(content(&mut client, "a").await, "new");
    let replaced = import(&mut client, &[("policy", "OVERWRITE"), ("src_user", "somebody")], &archive).await;
    assert_eq!(replaced["data"]["succCount"], 3, "{replaced}");
    assert_eq!(content(&mut client, "a").await, "old");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_of_one_row_named_twice_is_one_copy_by_its_first_name() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    namespaces(&mut client, &["to"]).await;
    publish(&mut client, "d", "1").await;
    let request = Request::get(CONFIGS).query("show", "all").query("dataId", "d").query("group", "DEFAULT_GROUP");
    let id = client.ask(request).await.good().json()["id"].clone();
    let request = Request::post(CONFIGS).query("clone", "true").query("tenant", "to");
    let body = json!([{ "cfgId": id, "dataId": "first" }, { "cfgId": id, "dataId": "second" }]).to_string();
    let answer = client.ask(request.body("application/json", body)).await.good().json();
    assert_eq!(answer["data"], json!({ "succCount": 1, "skipCount": 0 }), "{answer}");
    assert_eq!(content_in(&mut client, ("first", "DEFAULT_GROUP", "to")).await, "1");
    server.stop().await;
}

/// To a servlet the texts of a multipart form are parameters like others; `curl -F` sends such.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_published_by_a_multipart_form() {
    let server = Server::start(&[]).await;
    let mut client = server.client();
    let text = "a=b&c %41+中文\r\n";
    let texts = [("dataId", "d"), ("group", "G"), ("content", text)];
    let request = Request::post(CONFIGS).query("tenant", " ").form_data(&texts, "unused", b"x");
    assert_eq!(client.ask(request).await.good().text(), "true");
    assert_eq!(content_in(&mut client, ("d", "G", "")).await, text);
    // A namespace of blanks is the public one, whoever asks.
    assert_eq!(content_in(&mut client, ("d", "G", " ")).await, text);
    let of = |path: &str| Request::get(path).query("dataId", "d").query("group", "G").query("tenant", " ");
    assert_eq!(client.ask(of(CONFIGS).query("show", "all")).await.good().json()["content"], text);
    let history = client.ask(of("/v1/cs/history").query("search", "accurate")).await.good().json();
    assert_eq!(history["totalCount"], 1);
    let broken = Request::post(CONFIGS).body("multipart/form-data; boundary=cut", "--cut\r\nno end");
    assert_eq!(client.ask(broken).await.status, 500);
    server.stop().await;
}
