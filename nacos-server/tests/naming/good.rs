//! A good request to each route, from which bad ones are made.

use crate::{
    support::{Request, encode},
    world::{Target, World},
};

/// What each path reads. A path that is not here fails a test: its parameters must be tried out, too.
const READS: &[(&str, &str)] = &[
    (
        "/v1/ns/instance",
        "serviceName groupName namespaceId ip port clusterName cluster weight healthy enabled enable ephemeral \
         metadata app",
    ),
    ("/v1/ns/instance/list", "serviceName groupName namespaceId clusters healthyOnly clientIP udpPort app"),
    ("/v1/ns/instance/beat", "serviceName groupName namespaceId beat ip port clusterName"),
    ("/v1/ns/instance/metadata/batch", "serviceName groupName namespaceId metadata instances consistencyType"),
    ("/v1/ns/instance/statuses", "key"),
    ("/v1/ns/service", "serviceName groupName namespaceId protectThreshold metadata selector"),
    ("/v1/ns/service/list", "groupName namespaceId pageNo pageSize selector"),
    ("/v1/ns/service/names", "namespaceId expr"),
    ("/v1/ns/service/subscribers", "serviceName groupName namespaceId pageNo pageSize aggregation"),
    ("/v1/ns/service/checksum", "serviceName groupName namespaceId"),
    ("/v1/ns/service/selector/types", ""),
    (
        "/v1/ns/cluster",
        "serviceName groupName namespaceId clusterName checkPort useInstancePort4Check healthChecker metadata",
    ),
    ("/v1/ns/health", HEALTH),
    ("/v1/ns/health/instance", HEALTH),
    ("/v1/ns/health/server", ""),
    ("/v1/ns/health/checkers", ""),
    (
        "/v1/ns/catalog/services",
        "namespaceId pageNo pageSize withInstances serviceNameParam groupNameParam hasIpCount instance",
    ),
    ("/v1/ns/catalog/service", "serviceName groupName namespaceId"),
    ("/v1/ns/catalog/instances", "serviceName groupName namespaceId clusterName pageNo pageSize"),
    ("/v1/ns/operator/push/state", "detail reset"),
    ("/v1/ns/ops/push/state", "detail reset"),
    ("/v1/ns/operator/switches", "entry value debug"),
    ("/v1/ns/ops/switches", "entry value debug"),
    ("/v1/ns/operator/metrics", "onlyStatus"),
    ("/v1/ns/ops/metrics", "onlyStatus"),
    ("/v1/ns/operator/distro/client", "ip port"),
    ("/v1/ns/ops/distro/client", "ip port"),
    ("/v1/ns/operator/distro/server", "serviceName groupName namespaceId"),
    ("/v1/ns/ops/distro/server", "serviceName groupName namespaceId"),
    ("/v1/ns/operator/distro/status", ""),
    ("/v1/ns/ops/distro/status", ""),
    ("/v1/ns/operator/servers", "healthy"),
    ("/v1/ns/ops/servers", "healthy"),
    ("/v1/ns/operator/cluster/state", ""),
    ("/v1/ns/ops/cluster/state", ""),
    ("/v1/ns/operator/log", "logName logLevel"),
    ("/v1/ns/ops/log", "logName logLevel"),
    (
        "/v2/ns/instance",
        "serviceName groupName namespaceId ip port clusterName cluster weight healthy enabled ephemeral metadata",
    ),
    ("/v2/ns/instance/list", "serviceName groupName namespaceId clusterName ip port healthyOnly app"),
    ("/v2/ns/instance/beat", "serviceName namespaceId beat ip port clusterName"),
    ("/v2/ns/instance/metadata/batch", "serviceName groupName namespaceId metadata instances consistencyType"),
    ("/v2/ns/instance/statuses/{key}", "{key}"),
    ("/v2/ns/service", "serviceName groupName namespaceId ephemeral protectThreshold metadata selector"),
    ("/v2/ns/service/list", "groupName namespaceId pageNo pageSize selector"),
    ("/v2/ns/health", HEALTH),
    ("/v2/ns/health/instance", HEALTH),
    ("/v2/ns/catalog/instances", "serviceName namespaceId clusterName healthyOnly enabledOnly pageNo pageSize"),
    ("/v2/ns/client/list", ""),
    ("/v2/ns/client", "clientId"),
    ("/v2/ns/client/publish/list", "clientId"),
    ("/v2/ns/client/subscribe/list", "clientId"),
    ("/v2/ns/client/service/publisher/list", "namespaceId groupName serviceName ephemeral ip port"),
    ("/v2/ns/client/service/subscriber/list", "namespaceId groupName serviceName ephemeral ip port"),
    ("/v2/ns/operator/switches", "entry value debug"),
    ("/v2/ns/ops/switches", "entry value debug"),
    ("/v2/ns/operator/metrics", "onlyStatus"),
    ("/v2/ns/ops/metrics", "onlyStatus"),
    ("/prometheus", ""),
    ("/prometheus/namespaceId/{namespaceId}", "{namespaceId}"),
    ("/prometheus/namespaceId/{namespaceId}/service/{service}", "{namespaceId} {service}"),
];

const HEALTH: &str = "serviceName groupName namespaceId ip port clusterName healthy valid";

/// What each parameter is where nothing is wrong with it. Those that are not here are left out.
const GOOD: &[(&str, &str)] = &[
    ("serviceName", "s1"),
    ("groupName", "DEFAULT_GROUP"),
    ("namespaceId", "public"),
    ("ip", "127.9.0.1"),
    ("port", "80"),
    ("clusterName", "DEFAULT"),
    ("weight", "1"),
    ("healthy", "true"),
    ("enabled", "true"),
    ("metadata", r#"{"a":"b"}"#),
    ("beat", r#"{"ip":"127.9.0.1","port":80,"cluster":"DEFAULT","weight":1.0,"metadata":{"a":"b"}}"#),
    ("instances", r#"[{"ip":"127.9.0.1","port":80,"clusterName":"DEFAULT","ephemeral":true}]"#),
    ("clientIP", "127.0.0.1"),
    ("key", "DEFAULT_GROUP@@s1"),
    ("{key}", "DEFAULT_GROUP@@s1"),
    ("{namespaceId}", "public"),
    ("{service}", "s1"),
    ("protectThreshold", "0.5"),
    ("selector", r#"{"type":"label","expression":"CONSUMER.label.A=PROVIDER.label.A"}"#),
    ("pageNo", "1"),
    ("pageSize", "10"),
    ("checkPort", "80"),
    ("useInstancePort4Check", "true"),
    ("healthChecker", r#"{"type":"HTTP","path":"/x","headers":"a:b","expectedResponseCode":200}"#),
    ("entry", "healthCheckTimes"),
    ("value", "3"),
    ("logName", "naming-main"),
    ("logLevel", "info"),
    ("clientId", "127.9.0.1:80#true"),
];

/// The names of the parameters that a route reads; those in braces stand in its path.
pub(crate) fn read_by(target: &Target) -> Vec<&'static str> {
    let reads = READS.iter().find(|(path, _)| *path == target.path);
    reads.map(|(_, names)| names.split_whitespace().collect()).unwrap_or_default()
}

/// Parameters that a route does what it is for with.
pub(crate) fn good_parameters(target: &Target) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    let is_health = target.path.contains("/health");
    for name in read_by(target) {
        let Some((_, value)) = GOOD.iter().find(|(known, _)| *known == name) else { continue };
        let value = match (name, target.method, target.path) {
            ("serviceName", "POST", "/v1/ns/service") => "fresh",
            ("serviceName", "POST", "/v2/ns/service") => "fresh-2",
            // Empty, and so it can be removed.
            ("serviceName", "DELETE", "/v1/ns/service") => "empty",
            ("serviceName", "DELETE", "/v2/ns/service") => "empty-2",
            ("serviceName", "PUT", "/v2/ns/instance/beat") | ("serviceName", "PATCH", "/v2/ns/instance") => {
                "DEFAULT_GROUP@@s1"
            }
            // The one that is told its health by hand.
            ("serviceName", _, _) if is_health => "p1",
            ("ip", _, _) if is_health => "127.9.1.1",
            _ => value,
        };
        all.push((name, value.to_owned()));
    }
    all
}

/// The request with these parameters, in the form or in the query.
pub(crate) fn request(target: &Target, parameters: &[(&str, String)], in_form: bool) -> Request {
    let mut path = target.path.to_owned();
    for (name, value) in parameters.iter().filter(|(name, _)| name.starts_with('{')) {
        path = path.replace(name, &encode(value));
    }
    let mut request = Request::new(target.method, &path);
    for (name, value) in parameters.iter().filter(|(name, _)| !name.starts_with('{')) {
        request = request.raw_parameter(in_form, encode(name).as_bytes(), encode(value).as_bytes());
    }
    request
}

#[test]
fn every_route_has_a_good_request() {
    for in_form in [false, true] {
        let mut world = World::new(true);
        assert!(world.routes.len() > 90, "{} routes", world.routes.len());
        // What is removed is not there for the others.
        let mut targets = world.routes.clone();
        targets.sort_by_key(|target| target.method == "DELETE");
        for target in targets {
            assert!(READS.iter().any(|(path, _)| *path == target.path), "nobody tries out {}", target.path);
            let request = request(&target, &good_parameters(&target), in_form);
            let answer = world.ask(&request).unwrap();
            // A server within a test has no log of its own.
            let status = if target.path.ends_with("/log") { 400 } else { 200 };
            assert_eq!(answer.status, status, "{request:?}: {answer:?}");
        }
        world.close();
    }
}
