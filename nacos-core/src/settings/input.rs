//! What settings are read from, and where each value came from.

use std::{fmt, sync::Arc};

use super::option::OptionSpec;

/// All that settings are read from. The caller has read the file and the environment.
#[derive(Clone, Default)]
pub struct SettingsInput {
    /// The properties file, if there is one.
    pub file: Option<SettingsFile>,
    /// The environment. An empty variable counts as not set, as in Nacos' container image.
    pub env: Vec<(String, String)>,
    /// The `--set name=value` pairs, in their order.
    pub set: Vec<(String, String)>,
    /// Options that have a flag of their own; they win over `--set`.
    pub flags: Vec<Flag>,
    /// Options of modules that are not part of the default server. They are read, checked, printed and typed
    /// as all others are.
    pub extra: Vec<OptionSpec>,
}

/// A properties file that was read.
#[derive(Clone)]
pub struct SettingsFile {
    /// The name to show in messages.
    pub name: String,
    /// Its bytes, in UTF-8 or else in ISO 8859-1; see [`decode`](super::properties::decode).
    pub bytes: Vec<u8>,
}

/// An option that was set by a flag of its own on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag as it was written, such as `--port`.
    pub flag: String,
    /// The option's name.
    pub option: String,
    /// The value.
    pub value: String,
}

impl SettingsInput {
    /// The environment of this process; variables that are not UTF-8 are left out, since no option's value is.
    pub fn process_env() -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }
}

/// Shows no values, since some are secrets.
impl fmt::Debug for SettingsInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsInput").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Shows the name and the length.
impl fmt::Debug for SettingsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SettingsFile({}, {} bytes)", self.name, self.bytes.len())
    }
}

/// Splits the `name=value` of a `--set`. The name is not checked here.
///
/// # Errors
/// A sentence for the user when there is no `=` or no name.
pub fn split_set(argument: &str) -> Result<(String, String), String> {
    match argument.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err(format!("expected name=value, not {argument:?}")),
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The table of options.
    Default,
    /// The properties file.
    File {
        /// The file's name.
        name: Arc<str>,
        /// The line at which the entry begins, from 1.
        line: usize,
    },
    /// One variable of the environment, or several that belong together.
    Environment(String),
    /// A `--set`.
    Set,
    /// A flag of its own, such as `--port`.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "file {name} line {line}"),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Set => f.write_str("--set"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}
