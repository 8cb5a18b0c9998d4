//! Members, and what runs between them.

use super::{
    BYTES, COUNT, FLAG, ImageVariable, Kind, MS, OptionSpec, PORT, SECONDS, SOME, SOME_MS, TEXT, option, same,
};

pub(super) const CLUSTER: &[OptionSpec] = &[
    option(
        "nacos.member.list",
        TEXT,
        "",
        "Members, `host[:port][?raft_port=…]` with commas between; `conf/cluster.conf` comes first.",
    )
    .image(&[same("MEMBER_LIST"), ImageVariable::switched("NACOS_SERVERS", with_commas)]),
    option(
        "nacos.core.member.lookup.type",
        Kind::Choice(&["file", "address-server"]),
        "",
        "Where members are found. Empty: in `conf/cluster.conf` or the list, else at the address server.",
    )
    .not_yet(),
    option("nacos.core.address-server.retry", COUNT, "5", "Tries to reach the address server at start.").not_yet(),
    option("address.server.domain", TEXT, "jmenv.tbsite.net", "Host of the address server.").not_yet(),
    option("address.server.port", PORT, "8080", "Port of the address server.").not_yet(),
    option("address.server.url", TEXT, "/nacos/serverlist", "Path at the address server.").not_yet(),
    option("nacos.core.member.fail-access-cnt", COUNT, "3", "Failed calls after which a member is down.").not_yet(),
    option("nacos.core.member.meta.site", TEXT, "", "Told to other members: place.").not_yet(),
    option("nacos.core.member.meta.adweight", TEXT, "", "Told to other members: weight by hand.").not_yet(),
    option("nacos.core.member.meta.weight", TEXT, "", "Told to other members: weight.").not_yet(),
    option("nacos.inetutils.prefer-hostname-over-ip", FLAG, "false", "Be known by host name.")
        .or(&["nacos.preferHostnameOverIp"])
        .image(&[ImageVariable::switched("PREFER_HOST_MODE", |by| (by == "hostname").then(|| "true".to_owned()))])
        .not_yet(),
    option("nacos.inetutils.use-only-site-local-interfaces", FLAG, "false", "Detect private addresses only.")
        .image(&[same("USE_ONLY_SITE_INTERFACES")])
        .not_yet(),
    option("nacos.inetutils.preferred-networks", TEXT, "", "Detect addresses that begin so, or match.")
        .indexed()
        .image(&[same("PREFERRED_NETWORKS")])
        .not_yet(),
    option("nacos.inetutils.ignored-interfaces", TEXT, "", "Detect no addresses of interfaces that match.")
        .indexed()
        .image(&[same("IGNORED_INTERFACES")])
        .not_yet(),
    option("nacos.core.inet.auto-refresh", SOME_MS, "30000", "How often the own address is detected anew.").not_yet(),
    option("nacos.core.support.upgrade.from.1x", FLAG, "false", "Nacos 2.1: double writes for members of 1.x.")
        .not_yet(),
];

/// The image writes a list with blanks to `cluster.conf`, a member a line.
fn with_commas(servers: &str) -> Option<String> {
    Some(servers.split_whitespace().collect::<Vec<_>>().join(","))
}

pub(super) const DISTRO: &[OptionSpec] = &[
    option("nacos.core.protocol.distro.data.sync.delayMs", SOME_MS, "1000", "How long changes of a key are gathered.")
        .or(&["nacos.core.protocol.distro.data.sync_delay_ms"])
        .not_yet(),
    option("nacos.core.protocol.distro.data.sync.timeoutMs", SOME_MS, "3000", "Longest time to send one.").not_yet(),
    option("nacos.core.protocol.distro.data.sync.retryDelayMs", SOME_MS, "3000", "Wait before it is sent again.")
        .or(&["nacos.core.protocol.distro.data.sync_retry_delay_ms"])
        .not_yet(),
    option("nacos.core.protocol.distro.data.verify.intervalMs", SOME_MS, "5000", "How often members compare data.")
        .or(&["nacos.core.protocol.distro.data.verify_interval_ms"])
        .not_yet(),
    option("nacos.core.protocol.distro.data.verify.timeoutMs", SOME_MS, "3000", "Longest time for comparing.")
        .not_yet(),
    option("nacos.core.protocol.distro.data.load.retryDelayMs", SOME_MS, "30000", "Wait before loading again.")
        .or(&["nacos.core.protocol.distro.data.load_retry_delay_ms"])
        .not_yet(),
    option("nacos.core.protocol.distro.data.load.timeoutMs", SOME_MS, "30000", "Longest time for loading.").not_yet(),
];

pub(super) const RAFT: &[OptionSpec] = &[
    option("nacos.core.protocol.raft.data.election_timeout_ms", SOME_MS, "5000", "Silence after which one elects.")
        .not_yet(),
    option("nacos.core.protocol.raft.data.snapshot_interval_secs", SECONDS, "1800", "How often snapshots are taken.")
        .not_yet(),
    option("nacos.core.protocol.raft.data.core_thread_num", SOME, "8", "tasks share one runtime.").never(),
    option("nacos.core.protocol.raft.data.cli_service_thread_num", SOME, "4", "tasks share one runtime.").never(),
    option(
        "nacos.core.protocol.raft.data.read_index_type",
        Kind::Choice(&["ReadOnlySafe", "ReadOnlyLeaseBased"]),
        "ReadOnlySafe",
        "How a leader makes sure of itself before a linearizable read.",
    )
    .not_yet(),
    option("nacos.core.protocol.raft.data.rpc_request_timeout_ms", SOME_MS, "5000", "Longest wait for a member.")
        .not_yet(),
    option("nacos.core.protocol.raft.data.request_failoverRetries", COUNT, "1", "Nacos does not read it either.")
        .never(),
    option("nacos.core.protocol.raft.data.max_byte_count_per_rpc", BYTES, "131072", "Most bytes of a snapshot's part.")
        .not_yet(),
    option("nacos.core.protocol.raft.data.max_entries_size", SOME, "1024", "Most entries of one append.").not_yet(),
    option("nacos.core.protocol.raft.data.max_body_size", BYTES, "524288", "Most bytes of one append.").not_yet(),
    option("nacos.core.protocol.raft.data.max_append_buffer_size", BYTES, "262144", "Most bytes buffered to write.")
        .not_yet(),
    option("nacos.core.protocol.raft.data.max_election_delay_ms", MS, "1000", "Chance added to an election's wait.")
        .not_yet(),
    option("nacos.core.protocol.raft.data.election_heartbeat_factor", SOME, "10", "Heartbeats to an election time.")
        .not_yet(),
    option("nacos.core.protocol.raft.data.apply_batch", SOME, "32", "Most entries applied together.").not_yet(),
    option("nacos.core.protocol.raft.data.sync", FLAG, "true", "a log entry is on disk before it is acknowledged.")
        .never(),
    option("nacos.core.protocol.raft.data.sync_meta", FLAG, "false", "votes are always on disk before they count.")
        .never(),
    option("nacos.core.protocol.raft.data.disruptor_buffer_size", SOME, "16384", "no such buffer is used.").never(),
    option("nacos.core.protocol.raft.data.replicator_pipeline", FLAG, "true", "Send without waiting for answers.")
        .not_yet(),
    option("nacos.core.protocol.raft.data.max_replicator_inflight_msgs", SOME, "256", "Most sends without answer.")
        .not_yet(),
    option("nacos.core.protocol.raft.data.enable_log_entry_checksum", FLAG, "false", "entries always have one.")
        .never(),
    option("nacos.core.protocol.raft.strictMode", FLAG, "false", "Nacos does not read it either.").never(),
];
