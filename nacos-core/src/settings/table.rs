//! Every option of the product, in groups; the order of the groups is that of the printed settings and the page.
//!
//! A table: its files are as long as there are options, and read as one.

use super::{
    names::NoEffect,
    option::{ImageVariable, Kind, OptionSpec, Unit},
};

mod ai;
mod auth;
mod cluster;
mod config;
mod logs;
mod naming;
mod other;
mod remote;
mod server;
mod storage;

pub(super) use other::NO_EFFECT;

/// Options that belong together.
pub(super) struct Group {
    /// Its heading.
    pub(super) title: &'static str,
    /// Its options.
    pub(super) options: &'static [OptionSpec],
}

/// All groups.
pub(super) const GROUPS: &[Group] = &[
    Group { title: "Server", options: server::SERVER },
    Group { title: "HTTP limits", options: server::HTTP },
    Group { title: "Logs", options: logs::LOGS },
    Group { title: "Storage", options: storage::STORAGE },
    Group { title: "Authentication", options: auth::AUTH },
    Group { title: "Core", options: server::CORE },
    Group { title: "Configuration management", options: config::CONFIG },
    Group { title: "Service discovery", options: naming::NAMING },
    Group { title: "Cluster", options: cluster::CLUSTER },
    Group { title: "Distro", options: cluster::DISTRO },
    Group { title: "Raft", options: cluster::RAFT },
    Group { title: "gRPC", options: remote::GRPC },
    Group { title: "Nacos 3", options: ai::NACOS_3 },
];

/// All options, group after group.
pub(super) fn all() -> impl Iterator<Item = &'static OptionSpec> {
    GROUPS.iter().flat_map(|group| group.options)
}

// Short forms for the files of the table.

const COUNT_MAX: i64 = i32::MAX as i64;
const FLAG: Kind = Kind::Bool;
const TEXT: Kind = Kind::Text;
const COUNT: Kind = Kind::Integer { min: 0, max: COUNT_MAX };
const SOME: Kind = Kind::Integer { min: 1, max: COUNT_MAX };
const PORT: Kind = Kind::Integer { min: 0, max: u16::MAX as i64 };
const MS: Kind = Kind::Duration { unit: Unit::Milliseconds, min: 0, max: COUNT_MAX as u64 };
const SOME_MS: Kind = Kind::Duration { unit: Unit::Milliseconds, min: 1, max: COUNT_MAX as u64 };
const SECONDS: Kind = Kind::Duration { unit: Unit::Seconds, min: 1, max: COUNT_MAX as u64 };
const BYTES: Kind = Kind::Bytes { min: 1, max: u64::MAX };

const fn option(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> OptionSpec {
    OptionSpec::new(name, kind, default, doc)
}

const fn same(name: &'static str) -> ImageVariable {
    ImageVariable::same(name)
}
