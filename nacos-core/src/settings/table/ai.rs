//! What Nacos 3 added: its console's own port, its gates, its registry of AI tools.

use super::{FLAG, Kind, OptionSpec, PORT, SECONDS, SOME, option, same};

pub(super) const NACOS_3: &[OptionSpec] = &[
    option(
        "nacos.deployment.type",
        Kind::Choice(&["merged", "server", "console"]),
        "merged",
        "Serve the API, the console, or both.",
    )
    .image(&[same("NACOS_DEPLOYMENT_TYPE")])
    .not_yet(),
    option("nacos.console.port", PORT, "8080", "Port of the console.").not_yet(),
    option("nacos.console.contextPath", Kind::ContextPath, "", "Path under which the console is served.")
        .image(&[same("NACOS_CONSOLE_CONTEXTPATH")])
        .not_yet(),
    option("nacos.console.remote.server.context-path", Kind::ContextPath, "/nacos", "That path at a server apart.")
        .not_yet(),
    option("nacos.core.api.compatibility.client.enabled", FLAG, "true", "Serve v1 and v2 to clients.").not_yet(),
    option("nacos.core.api.compatibility.console.enabled", FLAG, "false", "Serve v1 and v2 to the console.").not_yet(),
    option("nacos.core.api.compatibility.admin.enabled", FLAG, "false", "Serve v1 and v2 to administrators.").not_yet(),
    option("nacos.extension.ai.enabled", FLAG, "true", "Serve the registry of AI tools.").not_yet(),
    option("nacos.ai.mcp.registry.enabled", FLAG, "false", "Serve that registry in its own form, on its own port.")
        .image(&[same("NACOS_AI_REGISTRY_ENABLED")])
        .not_yet(),
    option("nacos.ai.mcp.registry.port", PORT, "9080", "That port.").image(&[same("NACOS_AI_REGISTRY_PORT")]).not_yet(),
    option("nacos.mcp.cache.enabled", FLAG, "true", "Hold the registry's index in memory.").not_yet(),
    option("nacos.mcp.cache.max-size", SOME, "10000", "Most entries of it.").not_yet(),
    option("nacos.mcp.cache.expire-time-seconds", SECONDS, "3600", "How long an entry is held.").not_yet(),
    option("nacos.mcp.cache.cleanup-interval-seconds", SECONDS, "300", "How often old ones are removed.").not_yet(),
];
