//! Configuration management.

use super::{BYTES, COUNT, FLAG, Kind, MS, OptionSpec, SECONDS, SOME, SOME_MS, Unit, option};

pub(super) const CONFIG: &[OptionSpec] = &[
    option(
        "maxContent",
        Kind::Integer { min: 1, max: super::COUNT_MAX },
        "10485760",
        "Longest content, in characters as Java counts them.",
    ),
    option(
        "nacos.config.retention.days",
        Kind::Duration { unit: Unit::Days, min: 1, max: 36_500 },
        "30",
        "How long the history of configurations is kept.",
    ),
    option("nacos.config.cache.max-bytes", BYTES, "268435456", "Memory for contents; the rest is read from disk."),
    option("nacos.config.long-poll.max-held", SOME, "65536", "Most long polls held at once."),
    option("nacos.config.search.max_capacity", SOME, "4", "Searches by content that may wait; at most 32 count."),
    option("nacos.config.search.max_thread", SOME, "2", "Searches by content at once; at most 16 count."),
    option("nacos.config.search.wait_timeout", SOME_MS, "8000", "Longest wait of a search by content."),
    option("isManageCapacity", FLAG, "true", "Count what namespaces and groups use."),
    option("isCapacityLimitCheck", FLAG, "false", "Refuse what is over a quota."),
    option("defaultClusterQuota", COUNT, "100000", "Quota of the whole cluster, in configurations."),
    option("defaultGroupQuota", COUNT, "200", "Quota of a group, in configurations."),
    option("defaultTenantQuota", COUNT, "200", "Quota of a namespace, in configurations."),
    option("defaultMaxSize", COUNT, "102400", "Longest content under a quota, in bytes."),
    option("defaultMaxAggrCount", COUNT, "10000", "Most parts of an aggregated configuration."),
    option("defaultMaxAggrSize", COUNT, "1024", "Longest such part, in bytes."),
    option(
        "initialExpansionPercent",
        COUNT,
        "100",
        "growth of a quota that is exceeded when it is first counted; use has no count that could be missing.",
    )
    .never(),
    option(
        "correctUsageDelay",
        SECONDS,
        "600",
        "how often use is counted afresh; it is counted in the rows themselves.",
    )
    .never(),
    option("dumpChangeOn", FLAG, "true", "Look for changed rows that no event told of."),
    option("dumpChangeWorkerInterval", SOME_MS, "30000", "Rest between two such looks."),
    option("notifyConnectTimeout", SOME_MS, "100", "Telling members of a change: longest time to connect.").not_yet(),
    option("notifySocketTimeout", SOME_MS, "200", "Telling members of a change: longest time for the answer.")
        .not_yet(),
    option("isHealthCheck", FLAG, "true", "Telling members of a change: leave out those that keep failing.").not_yet(),
    option("maxHealthCheckFailCount", COUNT, "12", "How many failures in a row that takes.").not_yet(),
    option("nacos.config.push.maxRetryTime", COUNT, "50", "gRPC: how often a push is tried again.").not_yet(),
    option("nacos.config.push.timeout", SOME_MS, "3000", "gRPC: longest wait for a client's acknowledgement.")
        .not_yet(),
    option("nacos.config.push.batchSize", SOME, "20", "gRPC: changes of a fuzzy watch in one push.").not_yet(),
    option("nacos.config.fuzzy.watch.max.pattern.count", SOME, "20", "gRPC: most patterns of fuzzy watches.").not_yet(),
    option(
        "nacos.config.fuzzy.watch.max.pattern.match.config.count",
        SOME,
        "500",
        "gRPC: most configurations that a pattern may match.",
    )
    .not_yet(),
    option("nacos.config.gray.version.max.count", COUNT, "10", "Nacos 3: most gray versions of a configuration.")
        .not_yet(),
    option("nacos.config.gray.compatible.model", FLAG, "true", "Nacos 3: keep gray versions in the old tables too.")
        .not_yet(),
    option(
        "nacos.config.namespace.compatible.mode",
        FLAG,
        "true",
        "Nacos 3: keep the public namespace in its old form too.",
    )
    .not_yet(),
    option("nacos.config.derby.ops.enabled", FLAG, "false", "no endpoint runs SQL.").never(),
    option("nacos.lock.default_expire_time", MS, "30000", "Nacos 3: how long a lock is held unless it says.").not_yet(),
    option("nacos.lock.max_expire_time", MS, "1800000", "Nacos 3: how long a lock may be held.").not_yet(),
];
