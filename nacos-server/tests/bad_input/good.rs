//! A good request to each route, from which bad ones are made.

use nacos_config::{model::ConfigType, transfer};

use crate::{
    support::{
        Request,
        config::{GROUP, md5, probe},
        encode,
    },
    world::{Target, World},
};

/// What each parameter is where nothing is wrong with it. What a route does not read does not hurt it.
pub(crate) const GOOD: &[(&str, &str)] = &[
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
pub(crate) const MORE: &[&str] = &[
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

pub(crate) fn good_parameters(target: &Target) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = target.when.into_iter().map(own).collect();
    // The namespace's handlers refuse ids that are taken, and blank ones by name.
    let of_console = target.path.contains("/console/namespace");
    // A search with few results has no pages to count.
    let is_search = target.path.ends_with("searchDetail") || target.when.is_some_and(|(name, _)| name == "search");
    for (name, value) in GOOD.iter().copied() {
        let value = match name {
            "namespaceId" if of_console && target.method == "POST" => "fresh",
            // Its handler takes a blank one for a mistake.
            "dataId" if is_search => "",
            "tenant" if target.path == "/v1/cs/capacity" => "ns1",
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
pub(crate) fn good_body(target: &Target) -> Option<(&'static str, Vec<u8>)> {
    match target.when {
        Some(("import", _)) => Some(("multipart/form-data; boundary=cut", multipart(&archive()))),
        Some(("clone", _)) => Some(("application/json", b"[{\"cfgId\":\"1\",\"dataId\":\"d9\"}]".to_vec())),
        _ => None,
    }
}

pub(crate) fn archive() -> Vec<u8> {
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

pub(crate) fn multipart(file: &[u8]) -> Vec<u8> {
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
