//! What the operator may set, read once at start: typed [`Settings`] out of four layers.
//!
//! Defaults, then the properties file, then the environment, then the command line; the later one wins. Every
//! option of the product is one entry of one table (`table`), also those of modules that this crate does not
//! know, so that one page, one `--print-settings` and one check of names cover all; the typed structs are plain
//! data. Reading is a pure function of [`SettingsInput`]: nothing here opens a file or looks at the process, so
//! tests hand in text. Only the server (or who composes one) loads settings; a module is given its own struct.
//!
//! `docs/settings.md` is made from the table; `UPDATE_DOCS=1 cargo test -p nacos-core settings` rewrites it.

mod docs;
mod error;
mod input;
mod layers;
mod names;
mod option;
mod placeholder;
mod print;
pub mod properties;
mod resolve;
mod table;
mod typed;
mod value;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

pub use docs::markdown;
pub use error::{Problem, SettingsError};
pub use input::{Flag, SettingsFile, SettingsInput, Source, split_set};
pub use option::{Effect, ImageVariable, Kind, OptionSpec, Unit};
pub use typed::{
    AuthSettings, CapacitySettings, ClusterSettings, ConfigSettings, CoreSettings, DatabaseSettings, DumpSettings,
    EmbeddedLimits, FunctionMode, HttpSettings, LogSettings, NamingSettings, NotifySettings, PeerIdentity,
    PoolSettings, SearchSettings, Secret, ServerSettings, StorageSettings,
};
pub use value::Value;

use layers::Layers;
use names::Names;
use resolve::Entry;

/// All settings of one server: what acts, typed and in groups, and every option by name.
#[derive(Clone)]
pub struct Settings {
    /// Addresses, folders, start and stop.
    pub server: ServerSettings,
    /// Limits of the HTTP port.
    pub http: HttpSettings,
    /// Log files and the log on standard error.
    pub logs: LogSettings,
    /// Which database holds the data.
    pub storage: StorageSettings,
    /// Whether this is a member of a cluster, and of which.
    pub cluster: ClusterSettings,
    /// Who may call.
    pub auth: AuthSettings,
    /// What all modules share.
    pub core: CoreSettings,
    /// Configuration management.
    pub config: ConfigSettings,
    /// Service discovery.
    pub naming: NamingSettings,
    specs: Vec<OptionSpec>,
    entries: Vec<Entry>,
    others: BTreeMap<String, String>,
}

/// What [`Settings::load`] gives beside the settings.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What the operator should look at: unknown names, contradictions, protection that was asked for and is not
    /// there. One line each, to be logged at WARN.
    pub warnings: Vec<String>,
    /// What was set and changes nothing here: options of the JVM, Spring or Tomcat, and those that do not act
    /// yet. One line each, to be logged at INFO.
    pub no_effect: Vec<String>,
}

impl Settings {
    /// Reads settings out of `input`.
    ///
    /// # Errors
    /// [`SettingsError`] with every value that is wrong, each with its source and what was expected. The process
    /// should print it and exit with code 2.
    pub fn load(input: SettingsInput) -> Result<Loaded, SettingsError> {
        let mut problems = Vec::new();
        let mut specs: Vec<OptionSpec> = table::all().copied().collect();
        specs.extend(&input.extra);
        let names = Names::new(&specs, &mut problems);
        let mut layers = Layers::collect(&input, &names, &mut problems);
        let entries = resolve::entries(&specs, &names, &mut layers, &mut problems);
        let typed = typed::build(&entries, &specs, &mut layers.warnings, &mut problems);
        if !problems.is_empty() {
            return Err(SettingsError::new(problems));
        }
        let others = resolve::others(&names, &layers);
        let Layers { warnings, no_effect, .. } = layers;
        let typed::Typed { server, http, logs, storage, cluster, auth, core, config, naming } = typed;
        let settings =
            Self { server, http, logs, storage, cluster, auth, core, config, naming, specs, entries, others };
        Ok(Loaded { settings, warnings, no_effect })
    }

    /// The defaults alone.
    ///
    /// # Errors
    /// None, unless the table contradicts itself, which the tests of this module rule out.
    pub fn defaults() -> Result<Self, SettingsError> {
        Self::load(SettingsInput::default()).map(|loaded| loaded.settings)
    }

    /// The data folder that command line and environment ask for: where the properties file is to be looked for,
    /// and therefore known before the file is.
    ///
    /// # Errors
    /// [`SettingsError`] when the value cannot be resolved.
    pub fn home_before_file(input: &SettingsInput) -> Result<PathBuf, SettingsError> {
        let mut problems = Vec::new();
        let specs: Vec<OptionSpec> = table::all().copied().collect();
        let names = Names::new(&specs, &mut problems);
        let without_file = SettingsInput { file: None, ..input.clone() };
        let layers = Layers::collect(&without_file, &names, &mut problems);
        let home = resolve::text_of("nacos.home", &names, &layers).map_err(|problem| SettingsError::new(vec![problem]));
        home.map(PathBuf::from)
    }

    /// The address that the HTTP port binds.
    ///
    /// `server.address` if it is set. Otherwise loopback while anyone may call (auth off, and not told
    /// `nacos.server.allow-unauthenticated`), and all IPv4 addresses where callers are checked or where the
    /// operator asked for it.
    pub fn listen_addr(&self) -> SocketAddr {
        let open = self.auth.enabled || self.server.allow_unauthenticated;
        let default = if open { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        SocketAddr::new(self.server.address.unwrap_or(IpAddr::V4(default)), self.server.port)
    }

    /// The text of any option, for modules that are not part of the default server.
    ///
    /// An option of the table, or one that was registered by [`SettingsInput::extra`], gives its value or its
    /// default, and is known to be of its kind. Any other name gives what the file or `--set` say. `None` where
    /// nothing was set and there is no default.
    pub fn raw(&self, name: &str) -> Option<&str> {
        let called = |entry: &&Entry| {
            entry.name == name || self.specs.get(entry.spec).is_some_and(|spec| spec.names().any(|other| other == name))
        };
        let option = self.entries.iter().find(called).map(|entry| &entry.text);
        option.or_else(|| self.others.get(name)).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Where an option of the table was set, in words for an operator; `None` where its default counts.
    pub fn source(&self, name: &str) -> Option<String> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        (!matches!(entry.source, Source::Default)).then(|| entry.source.to_string())
    }

    /// Every option with its value, its source and one line of help, for `--print-settings`. Secrets are masked.
    pub fn print(&self) -> String {
        print::print(self)
    }
}

/// Shows the typed groups, with secrets masked; the raw texts are left out, since they hold the secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("server", &self.server)
            .field("http", &self.http)
            .field("logs", &self.logs)
            .field("storage", &self.storage)
            .field("cluster", &self.cluster)
            .field("auth", &self.auth)
            .field("core", &self.core)
            .field("config", &self.config)
            .field("naming", &self.naming)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
