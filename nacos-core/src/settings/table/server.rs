//! Addresses, folders, limits, and what all modules share.

use super::{BYTES, FLAG, ImageVariable, Kind, OptionSpec, PORT, SOME, SOME_MS, TEXT, option, same};

pub(super) const SERVER: &[OptionSpec] = &[
    option("nacos.home", Kind::Path, "./data", "Data folder: database, `conf`, `logs`, secrets."),
    option(
        "server.port",
        PORT,
        "8848",
        "Port of the HTTP API, 0 for any free one. (gRPC will listen 1000 and 1001 above it, Raft 1000 below.)",
    )
    .or(&["nacos.server.main.port"])
    .image(&[same("NACOS_APPLICATION_PORT")]),
    option(
        "server.address",
        Kind::Address,
        "",
        "Address to listen on. Empty: 127.0.0.1 while anyone may call, 0.0.0.0 with authentication or \
         `nacos.server.allow-unauthenticated`.",
    ),
    option("server.servlet.contextPath", Kind::ContextPath, "/nacos", "Path under which everything is served.")
        .or(&["server.servlet.context-path", "nacos.server.contextPath"])
        .image(&[same("SERVER_SERVLET_CONTEXTPATH")]),
    option(
        "nacos.server.allow-unauthenticated",
        FLAG,
        "false",
        "Serve other hosts although authentication is off. Flag `--allow-unauthenticated`.",
    ),
    option("nacos.server.ip", TEXT, "", "Own address as members and clients are told it. Empty: detected.")
        .or(&["nacos.inetutils.ip-address"])
        .image(&[same("NACOS_SERVER_IP")]),
    option(
        "nacos.standalone",
        FLAG,
        "false",
        "Run alone, whatever else names members of a cluster. Said to be false, it asks for one.",
    )
    .image(&[ImageVariable::switched("MODE", |mode| match mode {
        "standalone" => Some("true".to_owned()),
        "cluster" => Some("false".to_owned()),
        _ => None,
    })]),
    option("nacos.functionMode", Kind::Choice(&["all", "config", "naming"]), "all", "Run one module only, or all.")
        .image(&[ImageVariable::switched("FUNCTION_MODE", |mode| {
            matches!(mode, "config" | "naming").then(|| mode.to_owned())
        })]),
    option(
        "nacos.server.shutdown-timeout-ms",
        SOME_MS,
        "10000",
        "How long a stop waits for requests under way before it cuts them off.",
    ),
    option("nacos.console.ui.enabled", FLAG, "true", "Serve the web console.").not_yet(),
];

pub(super) const HTTP: &[OptionSpec] = &[
    option("nacos.server.http.max-connections", SOME, "100000", "Most connections open at once."),
    option("nacos.server.http.max-body-bytes", BYTES, "104857600", "Largest body of one request."),
    option(
        "nacos.server.http.max-bodies-bytes",
        BYTES,
        "536870912",
        "Most memory for all request bodies being read at once.",
    ),
    option(
        "nacos.server.http.header-timeout-ms",
        SOME_MS,
        "15000",
        "Longest time a request's headers may take to arrive.",
    ),
    option(
        "nacos.server.http.idle-timeout-ms",
        SOME_MS,
        "120000",
        "Longest time a connection may wait for its next request.",
    ),
    option(
        "nacos.server.http.max-headers",
        Kind::Integer { min: 16, max: 10_000 },
        "128",
        "Most headers of one request.",
    ),
];

pub(super) const CORE: &[OptionSpec] = &[
    option(
        "nacos.core.param.check.enabled",
        FLAG,
        "true",
        "Check lengths and characters of keys before any handler sees them.",
    ),
    option(
        "nacos.core.snowflake.worker-id",
        Kind::Integer { min: -1, max: 1023 },
        "-1",
        "Worker number in new ids, other on each member. -1: from the stored node id, on Postgres the next that is free.",
    ),
    option(
        "nacos.prometheus.metrics.enabled",
        FLAG,
        "false",
        "Serve the list of instances for Prometheus' HTTP discovery. (`/actuator/prometheus` is always there.)",
    ),
    option("nacos.core.monitor.topn.enabled", FLAG, "true", "Count the most changed configurations and services.")
        .not_yet(),
    option("nacos.core.monitor.topn.count", SOME, "10", "How many of them are reported.").not_yet(),
    option("nacos.core.monitor.topn.internalMs", SOME_MS, "30000", "How often they are reported.").not_yet(),
];
