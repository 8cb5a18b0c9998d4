//! gRPC, for clients (`sdk`) and between members (`cluster`).

use super::{BYTES, FLAG, OptionSpec, SECONDS, SOME_MS, option};

pub(super) const GRPC: &[OptionSpec] = &[
    option(
        "nacos.remote.server.grpc.maxinbound.message.size",
        BYTES,
        "10485760",
        "Longest message, unless one of the next two says otherwise.",
    )
    .not_yet(),
    option("nacos.remote.server.grpc.sdk.max-inbound-message-size", BYTES, "10485760", "Longest message of a client.")
        .not_yet(),
    option(
        "nacos.remote.server.grpc.cluster.max-inbound-message-size",
        BYTES,
        "10485760",
        "Longest message of a member.",
    )
    .not_yet(),
    option("nacos.remote.server.grpc.sdk.keep-alive-time", SOME_MS, "7200000", "Silence before a client is pinged.")
        .not_yet(),
    option("nacos.remote.server.grpc.sdk.keep-alive-timeout", SOME_MS, "20000", "Longest wait for its answer.")
        .not_yet(),
    option(
        "nacos.remote.server.grpc.sdk.permit-keep-alive-time",
        SOME_MS,
        "300000",
        "Least time between pings that a client may ask for.",
    )
    .not_yet(),
    option(
        "nacos.remote.server.grpc.cluster.keep-alive-time",
        SOME_MS,
        "7200000",
        "Silence before a member is pinged.",
    )
    .not_yet(),
    option("nacos.remote.server.grpc.cluster.keep-alive-timeout", SOME_MS, "20000", "Longest wait for its answer.")
        .not_yet(),
    option(
        "nacos.remote.server.grpc.cluster.permit-keep-alive-time",
        SOME_MS,
        "300000",
        "Least time between pings that a member may ask for.",
    )
    .not_yet(),
    option("nacos.metric.grpc.server.executor.enabled", FLAG, "true", "Metrics of the gRPC servers.").not_yet(),
    option("nacos.metric.grpc.server.executor.interval", SOME_MS, "15000", "How often they are taken.").not_yet(),
    option("nacos.metric.grpc.server.connection.enabled", FLAG, "true", "Metrics of the connections.").not_yet(),
    option("nacos.metric.grpc.server.connection.interval", SECONDS, "15", "How often they are taken.").not_yet(),
];
