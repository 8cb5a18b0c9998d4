//! Log files, and the log on standard error.

use super::{FLAG, Kind, OptionSpec, SOME, option};

pub(super) const LOGS: &[OptionSpec] = &[
    option("nacos.logs.path", Kind::Path, "${nacos.home}/logs", "Folder of the log files."),
    option(
        "nacos.logs.max-file-bytes",
        Kind::Bytes { min: 64 * 1024, max: u64::MAX },
        "52428800",
        "Size at which a log file is rolled.",
    ),
    option("nacos.logs.max-files", SOME, "10", "How many rolled files of each log are kept."),
    option(
        "nacos.logs.trace.enabled",
        FLAG,
        "true",
        "Write the trace logs: publishes, pulls, client requests, dumps, notifications.",
    ),
    option(
        "nacos.logs.trace.max-waiting",
        SOME,
        "65536",
        "Most lines of trace logs that wait to be written; what comes on top is dropped and counted.",
    ),
    option(
        "nacos.log.level",
        Kind::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
        "info",
        "Least severe level on standard error.",
    ),
];
