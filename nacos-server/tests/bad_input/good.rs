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

/// What each path reads. A path that is not here fails a test: its parameters must be tried out, too.
const READS: &[(&str, &str)] = &[
    (
        "/v1/cs/configs",
        "dataId group tenant content tag appName src_user config_tags desc use effect type schema encryptedDataKey \
         username pageNo pageSize types search show beta delType ids export exportV2 import clone namespace policy",
    ),
    ("/v1/cs/configs/catalog", "dataId group tenant"),
    ("/v1/cs/configs/listener", "Listening-Configs dataId group tenant sampleTime"),
    ("/v1/cs/listener", "ip all tenant sampleTime"),
    ("/v1/cs/history", "dataId group tenant pageNo pageSize nid search"),
    ("/v1/cs/history/previous", "dataId group tenant id"),
    ("/v1/cs/history/configs", "tenant"),
    ("/v1/cs/communication/configWatchers", "dataId group tenant"),
    ("/v1/cs/communication/watcherConfigs", "ip"),
    ("/v1/cs/capacity", "group tenant quota maxSize maxAggrCount maxAggrSize"),
    ("/v1/cs/health", ""),
    ("/v1/cs/ops/localCache", ""),
    ("/v1/cs/ops/log", "logName logLevel"),
    ("/v1/cs/ops/derby", "sql"),
    ("/v1/cs/ops/data/removal", "file"),
    ("/v1/cs/metrics/current", "ip dataId group tenant"),
    ("/v1/cs/metrics/cluster", "ip dataId group tenant"),
    (
        "/v2/cs/config",
        "dataId group namespaceId content tag appName srcUser configTags desc use effect type schema encryptedDataKey",
    ),
    (
        "/v2/cs/config/searchDetail",
        "dataId group tenant config_detail appName config_tags types pageNo pageSize search",
    ),
    ("/v2/cs/history/list", "dataId group namespaceId pageNo pageSize"),
    ("/v2/cs/history", "dataId group namespaceId nid"),
    ("/v2/cs/history/previous", "dataId group namespaceId id"),
    ("/v2/cs/history/configs", "namespaceId"),
    (
        "/v1/console/namespaces",
        "namespaceId customNamespaceId namespaceName namespace namespaceShowName namespaceDesc show checkNamespaceIdExist",
    ),
    ("/v2/console/namespace", "namespaceId namespaceName namespaceDesc"),
    ("/v2/console/namespace/list", ""),
    ("/v1/console/server/state", ""),
    ("/v1/console/server/announcement", "language"),
    ("/v1/console/server/guide", ""),
    ("/v1/console/health/liveness", ""),
    ("/v1/console/health/readiness", ""),
    ("/v2/console/health/liveness", ""),
    ("/v2/console/health/readiness", ""),
    ("/actuator/health", ""),
    ("/actuator/prometheus", ""),
];

/// What each parameter is where nothing is wrong with it. Those that are not here are left out.
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
];

/// The names of the parameters that a route reads.
pub(crate) fn read_by(target: &Target) -> Vec<&'static str> {
    let reads = READS.iter().find(|(path, _)| *path == target.path);
    reads.map(|(_, names)| names.split_whitespace().collect()).unwrap_or_default()
}

/// Parameters that a route does what it is for with.
pub(crate) fn good_parameters(target: &Target) -> Vec<(&'static str, String)> {
    let mut all: Vec<(&str, String)> = target.when.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    // A search with few results has no pages to count.
    let is_search = target.path.ends_with("searchDetail") || target.when.is_some_and(|(name, _)| name == "search");
    for name in read_by(target) {
        let Some((_, value)) = GOOD.iter().find(|(known, _)| *known == name) else { continue };
        let value = match name {
            // Of a namespace that is there already none can be made.
            "namespaceId" if target.path == "/v2/console/namespace" && target.method == "POST" => "fresh",
            "dataId" if is_search => "",
            // Its handler takes a blank one for a mistake.
            "tenant" if target.path == "/v1/cs/capacity" => "ns1",
            _ => value,
        };
        if all.iter().all(|(known, _)| *known != name) {
            all.push((name, value.to_owned()));
        }
    }
    if (target.method, target.path) == ("POST", "/v1/cs/configs/listener") {
        all.push(("Listening-Configs", probe(&[("d1", &md5("content"))])));
    }
    all
}

/// The body that a route reads beside its parameters, if it does.
pub(crate) fn good_body(target: &Target) -> Option<(&'static str, Vec<u8>)> {
    match target.when {
        Some(("import", _)) => Some(("multipart/form-data; boundary=cut", multipart(&archive()))),
        Some(("clone", _)) => Some(("application/json", b"[{\"cfgId\":\"1\",\"dataId\":\"d9\"}]".to_vec())),
        _ => None,
    }
}

/// An archive of one configuration.
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

/// A body with this file; its boundary is `cut`.
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
        assert!(READS.iter().any(|(path, _)| *path == target.path), "nobody tries out {}", target.path);
        let mut request = Request::new(target.method, target.path);
        let body = good_body(&target);
        let in_form = body.is_none() && matches!(target.method, "POST" | "PUT");
        for (name, value) in good_parameters(&target) {
            request = request.raw_parameter(in_form, encode(name).as_bytes(), encode(&value).as_bytes());
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
