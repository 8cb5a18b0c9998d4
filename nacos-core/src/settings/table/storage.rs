//! Which database holds the data.

use super::{BYTES, FLAG, ImageVariable, Kind, OptionSpec, SOME, SOME_MS, TEXT, option, same};

pub(super) const STORAGE: &[OptionSpec] = &[
    option("spring.sql.init.platform", TEXT, "", "Kind of the external database, such as `postgresql`.")
        .or(&["spring.datasource.platform"])
        .image(&[same("SPRING_DATASOURCE_PLATFORM")]),
    option(
        "embeddedStorage",
        FLAG,
        "false",
        "In a cluster: keep data in the members' embedded databases, replicated by Raft.",
    )
    .image(&[ImageVariable::switched("EMBEDDED_STORAGE", |how| (how == "embedded").then(|| "true".to_owned()))]),
    option("nacos.storage.embedded.readers", Kind::Integer { min: 1, max: 64 }, "2", "Queries that run at once."),
    option("nacos.storage.embedded.max-waiting-reads", SOME, "4096", "Most queries that wait to run."),
    option("nacos.storage.embedded.max-waiting-writes", SOME, "8192", "Most writes that wait for the disk."),
    option("nacos.storage.embedded.max-waiting-bytes", BYTES, "268435456", "Most memory for the writes that wait."),
    option("db.num", Kind::Integer { min: 1, max: 64 }, "1", "How many external databases are used.")
        .image(&[same("MYSQL_DATABASE_NUM")]),
    option(
        "db.url",
        Kind::Url,
        "",
        "URL of the external database. The image makes it of `MYSQL_SERVICE_HOST`, `_PORT`, `_DB_NAME` and \
         `_DB_PARAM` where `SPRING_DATASOURCE_PLATFORM` is set.",
    )
    .indexed(),
    option("db.user", TEXT, "", "User of the external database; the first counts where one is missing.")
        .indexed()
        .image(&[same("MYSQL_SERVICE_USER")]),
    option("db.password", TEXT, "", "Password of the external database; the first counts where one is missing.")
        .indexed()
        .secret()
        .image(&[same("MYSQL_SERVICE_PASSWORD")]),
    option(
        "db.pool.config.connectionTimeout",
        SOME_MS,
        "5000",
        "Longest wait for a connection, to a server and of the pool.",
    )
    .image(&[same("DB_POOL_CONNECTION_TIMEOUT")]),
    option("db.pool.config.validationTimeout", SOME_MS, "10000", "a connection is tested by its use.").never(),
    option(
        "db.pool.config.maximumPoolSize",
        Kind::Integer { min: 1, max: 1000 },
        "20",
        "Most connections for reading; one that writes and one that listens come on top.",
    ),
    option("db.pool.config.minimumIdle", super::COUNT, "2", "connections are opened when they are needed.").never(),
];
