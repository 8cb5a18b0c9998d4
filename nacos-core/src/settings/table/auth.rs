//! Who may call.

use super::{BYTES, FLAG, Kind, OptionSpec, SECONDS, SOME_MS, TEXT, option, same};

pub(super) const AUTH: &[OptionSpec] = &[
    option("nacos.core.auth.enabled", FLAG, "false", "Callers of the API must log in and hold the right.")
        .image(&[same("NACOS_AUTH_ENABLE")])
        .guards(),
    option("nacos.core.auth.admin.enabled", FLAG, "true", "The same for the administration API of Nacos 3.")
        .image(&[same("NACOS_AUTH_ADMIN_ENABLE")])
        .not_yet(),
    option("nacos.core.auth.console.enabled", FLAG, "true", "The same for the console's API of Nacos 3.")
        .image(&[same("NACOS_AUTH_CONSOLE_ENABLE")])
        .not_yet(),
    option("nacos.core.auth.system.type", TEXT, "nacos", "Who checks users: `nacos`, `ldap`, or a plug-in's name.")
        .image(&[same("NACOS_AUTH_SYSTEM_TYPE")])
        .not_yet()
        .guards(),
    option("nacos.core.auth.caching.enabled", FLAG, "true", "Hold users, roles and permissions in memory for 15 s.")
        .image(&[same("NACOS_AUTH_CACHE_ENABLE")])
        .not_yet(),
    option(
        "nacos.core.auth.server.identity.key",
        TEXT,
        "",
        "Name of the header by which members know one another; needs the value too.",
    )
    .image(&[same("NACOS_AUTH_IDENTITY_KEY")]),
    option("nacos.core.auth.server.identity.value", TEXT, "", "Value of that header.")
        .image(&[same("NACOS_AUTH_IDENTITY_VALUE")])
        .secret(),
    option(
        "nacos.core.auth.enable.userAgentAuthWhite",
        FLAG,
        "false",
        "nothing is let through because of a User-Agent.",
    )
    .image(&[same("NACOS_AUTH_USER_AGENT_AUTH_WHITE_ENABLE")])
    .never(),
    option(
        "nacos.core.auth.plugin.nacos.token.secret.key",
        TEXT,
        "",
        "Key that signs tokens, Base64 of 32 bytes or more.",
    )
    .or(&["nacos.core.auth.default.token.secret.key"])
    .image(&[same("NACOS_AUTH_TOKEN")])
    .secret()
    .not_yet(),
    option("nacos.core.auth.plugin.nacos.token.expire.seconds", SECONDS, "18000", "How long a token lives.")
        .or(&["nacos.core.auth.default.token.expire.seconds"])
        .image(&[same("NACOS_AUTH_TOKEN_EXPIRE_SECONDS")])
        .not_yet(),
    option("nacos.core.auth.plugin.nacos.token.cache.enable", FLAG, "false", "Give a user the same token again.")
        .not_yet(),
    option("nacos.core.auth.ldap.url", Kind::Url, "ldap://localhost:389", "LDAP: the directory.").not_yet(),
    option("nacos.core.auth.ldap.timeout", SOME_MS, "3000", "LDAP: longest wait for an answer.").not_yet(),
    option("nacos.core.auth.ldap.basedc", TEXT, "dc=example,dc=org", "LDAP: where users are looked for.").not_yet(),
    option("nacos.core.auth.ldap.userDn", TEXT, "cn=admin,dc=example,dc=org", "LDAP: who looks for them.").not_yet(),
    option("nacos.core.auth.ldap.password", TEXT, "", "LDAP: that one's password.").secret().not_yet(),
    option("nacos.core.auth.ldap.userdn", TEXT, "", "LDAP, before 2.1: the pattern of a user's name.").not_yet(),
    option("nacos.core.auth.ldap.filter.prefix", TEXT, "uid", "LDAP: the attribute that holds the name.").not_yet(),
    option("nacos.core.auth.ldap.case.sensitive", FLAG, "true", "LDAP: whether names differ by case.").not_yet(),
    option(
        "nacos.core.auth.ldap.ignore.partial.result.exception",
        FLAG,
        "false",
        "LDAP: take what a directory gives before it fails.",
    )
    .not_yet(),
    option("nacos.security.ignore.urls", TEXT, "", "each route says itself what it needs.")
        .image(&[same("NACOS_SECURITY_IGNORE_URLS")])
        .never(),
    option("nacos.core.config.plugin.webhook.enabled", FLAG, "false", "Tell a web address of each change.").not_yet(),
    option("nacos.core.config.plugin.webhook.url", Kind::Url, "", "That address.").secret().not_yet(),
    option("nacos.core.config.plugin.webhook.contentMaxCapacity", BYTES, "102400", "Longest content to send to it.")
        .not_yet(),
    option("nacos.core.config.plugin.whitelist.enabled", FLAG, "false", "Import only files of the types below.")
        .not_yet()
        .guards(),
    option("nacos.core.config.plugin.whitelist.suffixs", TEXT, "", "Those types, with commas.").not_yet(),
    option("nacos.core.config.plugin.fileformatcheck.enabled", FLAG, "false", "Import only what its type can be.")
        .not_yet()
        .guards(),
];
