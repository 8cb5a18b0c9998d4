//! Service discovery.

use super::{FLAG, OptionSpec, SOME, SOME_MS, option};

pub(super) const NAMING: &[OptionSpec] = &[
    option("nacos.naming.data.warmup", FLAG, "false", "Answer only once the members' data has been loaded.").not_yet(),
    option("nacos.naming.expireInstance", FLAG, "true", "Remove instances whose heartbeats stay away."),
    option("nacos.naming.clean.empty-service.interval", SOME_MS, "60000", "How often empty services are looked for."),
    option(
        "nacos.naming.clean.empty-service.expired-time",
        SOME_MS,
        "60000",
        "How long a service stays empty before it is removed.",
    ),
    option(
        "nacos.naming.clean.expired-metadata.interval",
        SOME_MS,
        "5000",
        "How often metadata without an owner is looked for.",
    ),
    option(
        "nacos.naming.clean.expired-metadata.expired-time",
        SOME_MS,
        "60000",
        "How long metadata outlives its owner.",
    ),
    option("nacos.naming.empty-service.auto-clean", FLAG, "false", "Before 2.0: remove empty services.").not_yet(),
    option("nacos.naming.empty-service.clean.initial-delay-ms", SOME_MS, "50000", "Before 2.0: first look for them.")
        .not_yet(),
    option("nacos.naming.empty-service.clean.period-time-ms", SOME_MS, "30000", "Before 2.0: rest between looks.")
        .not_yet(),
    option(
        "nacos.naming.push.pushTaskDelay",
        SOME_MS,
        "500",
        "After a push of a service: how long changes are gathered for its next one.",
    ),
    option("nacos.naming.push.pushTaskTimeout", SOME_MS, "5000", "Longest wait for a client's acknowledgement.")
        .not_yet(),
    option("nacos.naming.push.pushTaskRetryDelay", SOME_MS, "1000", "Wait before a push is tried again.").not_yet(),
    option("nacos.naming.client.expired.time", SOME_MS, "180000", "How long a client may be silent."),
    option("nacos.naming.service.metadata.length", SOME, "1024", "Longest metadata of a service or instance."),
    option("nacos.naming.use-new-raft.first", FLAG, "false", "1.x: begin with JRaft instead of the older Raft.")
        .not_yet(),
    option("nacos.naming.fuzzy.watch.max.pattern.count", SOME, "20", "Nacos 3: most patterns of fuzzy watches.")
        .not_yet(),
    option(
        "nacos.naming.fuzzy.watch.max.pattern.match.service.count",
        SOME,
        "500",
        "Nacos 3: most services that a pattern may match.",
    )
    .not_yet(),
];
