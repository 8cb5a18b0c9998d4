//! The layers laid over one another: for each option the one assignment that counts.

use std::collections::BTreeMap;

use super::{
    error::Problem,
    input::{SettingsInput, Source},
    names::{Names, Slot, Stranger, Variable},
    option::Kind,
    properties,
};

/// An option's value as it was written, not yet replaced or checked.
#[derive(Debug, Clone)]
pub(super) struct Assigned {
    /// The name under which it was set.
    pub(super) name: String,
    /// The text.
    pub(super) text: String,
    /// Where it was set.
    pub(super) source: Source,
    layer: Layer,
    /// Within a layer the higher rank wins: a canonical name over an older one.
    rank: u8,
}

/// In rising order of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    File,
    Environment,
    CommandLine,
}

/// What was set.
pub(super) struct Layers {
    /// Options of the table.
    pub(super) assigned: BTreeMap<Slot, Assigned>,
    /// Everything else that the file and `--set` name.
    pub(super) others: BTreeMap<String, Assigned>,
    /// The environment, for placeholders.
    pub(super) env: BTreeMap<String, String>,
    /// See [`Loaded::warnings`](super::Loaded::warnings).
    pub(super) warnings: Vec<String>,
    /// See [`Loaded::no_effect`](super::Loaded::no_effect).
    pub(super) no_effect: Vec<String>,
}

impl Layers {
    /// Lays the parts of `input` over one another.
    pub(super) fn collect(input: &SettingsInput, names: &Names<'_>, problems: &mut Vec<Problem>) -> Self {
        let mut layers = Self {
            assigned: BTreeMap::new(),
            others: BTreeMap::new(),
            // Sorted: the outcome must not hang on the order in which a process happens to hold its variables.
            env: input.env.iter().filter(|(_, value)| !value.trim().is_empty()).cloned().collect(),
            warnings: Vec::new(),
            no_effect: Vec::new(),
        };
        layers.file(input, names, problems);
        layers.environment(names);
        for (name, value) in &input.set {
            layers.named(names, name, value, Source::Set, Layer::CommandLine);
        }
        for flag in &input.flags {
            layers.named(names, &flag.option, &flag.value, Source::Flag(flag.flag.clone()), Layer::CommandLine);
        }
        layers.strangers(names);
        layers
    }

    fn file(&mut self, input: &SettingsInput, names: &Names<'_>, problems: &mut Vec<Problem>) {
        let Some(file) = &input.file else { return };
        let name: std::sync::Arc<str> = file.name.as_str().into();
        match properties::parse(&file.bytes) {
            Ok(properties) => {
                for property in properties {
                    let source = Source::File { name: name.clone(), line: property.line };
                    self.named(names, &property.name, &property.value, source, Layer::File);
                }
            }
            Err(properties::Malformed { line, reason }) => {
                problems.push(Problem::Malformed { file: file.name.clone(), line, reason });
            }
        }
    }

    /// Takes what is set under an option's name.
    fn named(&mut self, names: &Names<'_>, name: &str, text: &str, source: Source, layer: Layer) {
        let (name, text) = (name.trim().to_owned(), text.trim().to_owned());
        match names.find(&name) {
            Some(slot) => {
                let aliased = names.spec(slot).is_some_and(|spec| spec.aliases.contains(&name.as_str()));
                let flagged = matches!(source, Source::Flag(_));
                let rank = u8::from(!aliased) + 2 * u8::from(flagged);
                self.offer(slot, Assigned { name, text, source, layer, rank });
            }
            None => {
                self.others.insert(name.clone(), Assigned { name, text, source, layer, rank: 0 });
            }
        }
    }

    fn environment(&mut self, names: &Names<'_>) {
        for (name, value) in self.env.clone() {
            let (slot, text, rank) = match names.find_variable(&name) {
                Some(Variable::Image(slot, variable)) => match (variable.read)(value.trim()) {
                    Some(text) => (slot, text, 2),
                    None => continue,
                },
                Some(Variable::Spring(slot)) => (slot, value.trim().to_owned(), 1),
                None => {
                    self.misspelt(names, &name);
                    continue;
                }
            };
            // Kubernetes gives each pod `NAME_PORT=tcp://…` for each service: `nacos-console` would set our port.
            let numeric = names.spec(slot).is_some_and(|spec| matches!(spec.kind, Kind::Integer { .. }));
            if numeric && (text.starts_with("tcp://") || text.starts_with("udp://")) {
                self.warnings.push(format!("environment variable {name} is the address of a service; not used"));
                continue;
            }
            self.offer_variable(slot, name, text, rank);
        }
        self.image_database(names);
    }

    fn offer_variable(&mut self, slot: Slot, variable: String, text: String, rank: u8) {
        let source = Source::Environment(variable.clone());
        self.offer(slot, Assigned { name: variable, text, source, layer: Layer::Environment, rank });
    }

    /// The container image makes its database URL of several variables, and uses it if a platform is named.
    fn image_database(&mut self, names: &Names<'_>) {
        let get = |name: &str| self.env.get(name).map(|value| value.trim().to_owned());
        let parts = (get("SPRING_DATASOURCE_PLATFORM"), get("MYSQL_SERVICE_HOST"), get("MYSQL_SERVICE_DB_NAME"));
        let (Some(platform), Some(host), Some(database)) = parts else { return };
        let (scheme, default_port, default_parameters) = match platform.as_str() {
            "mysql" => ("mysql", "3306", MYSQL_PARAMETERS),
            "postgres" | "postgresql" => ("postgresql", "5432", ""),
            other => (other, "3306", ""),
        };
        let port = get("MYSQL_SERVICE_PORT").unwrap_or_else(|| default_port.to_owned());
        let parameters = get("MYSQL_SERVICE_DB_PARAM").unwrap_or_else(|| default_parameters.to_owned());
        let query = if parameters.is_empty() { String::new() } else { format!("?{parameters}") };
        let url = format!("jdbc:{scheme}://{host}:{port}/{database}{query}");
        if let Some(slot) = names.find("db.url.0") {
            self.offer_variable(slot, "MYSQL_SERVICE_HOST".to_owned(), url, 0);
        }
    }

    /// A variable that is nearly one of ours is probably meant to be it; worst, if it was to protect the server.
    fn misspelt(&mut self, names: &Names<'_>, name: &str) {
        if !name.starts_with("NACOS_") {
            return;
        }
        if let Some(meant) = names.nearest_variable(name) {
            self.warnings.push(format!("environment variable {name} is not known; did you mean {meant}?"));
        }
    }

    /// Takes an assignment if it wins over the one that is there.
    fn offer(&mut self, slot: Slot, new: Assigned) {
        let Some(old) = self.assigned.get(&slot) else {
            self.assigned.insert(slot, new);
            return;
        };
        if old.layer != new.layer {
            if old.layer < new.layer {
                self.assigned.insert(slot, new);
            }
            return;
        }
        // An empty value under one name does not hide a value under another: Nacos asks for the older name then.
        let wins = match (old.text.is_empty(), new.text.is_empty()) {
            (false, true) if old.name != new.name => false,
            (true, false) if old.name != new.name => true,
            _ => new.rank >= old.rank,
        };
        let (winner, loser) = if wins { (&new, old) } else { (old, &new) };
        if winner.text != loser.text && !loser.text.is_empty() {
            self.warnings.push(format!(
                "{} ({}) is set again by {} ({}), which counts",
                loser.name, loser.source, winner.name, winner.source
            ));
        }
        if wins {
            self.assigned.insert(slot, new);
        }
    }

    /// Says which names are not options of this server.
    fn strangers(&mut self, names: &Names<'_>) {
        for other in self.others.values() {
            let (name, source) = (&other.name, &other.source);
            match names.stranger(name) {
                Stranger::NoEffect(known) => {
                    let line = format!("{name} ({source}) has no effect: {}", known.why);
                    if known.guards { &mut self.warnings } else { &mut self.no_effect }.push(line);
                }
                Stranger::Unknown { nearest } => {
                    let meant = nearest.map(|meant| format!("; did you mean {meant}?"));
                    self.warnings.push(format!("unknown option {name} ({source}){}", meant.unwrap_or_default()));
                }
            }
        }
    }
}

/// What the image appends to a MySQL URL where nothing else is said.
const MYSQL_PARAMETERS: &str =
    "characterEncoding=utf8&connectTimeout=1000&socketTimeout=3000&autoReconnect=true&useSSL=false";
