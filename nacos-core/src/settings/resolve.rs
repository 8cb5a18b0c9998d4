//! From what was written to values: placeholders replaced, kinds checked, defaults filled in.

use std::collections::BTreeMap;

use super::{
    error::Problem,
    input::Source,
    layers::{Assigned, Layers},
    names::{Names, Slot, upper},
    option::{Effect, OptionSpec},
    placeholder::{self, Lookup},
    value::Value,
};

/// One option with its value.
#[derive(Clone)]
pub(super) struct Entry {
    /// The canonical name, with the index for an element of a list.
    pub(super) name: String,
    /// The option's number in the table.
    pub(super) spec: usize,
    /// The value as text, placeholders replaced; the default's if none was set.
    pub(super) text: String,
    /// The value.
    pub(super) value: Value,
    /// Where it was set.
    pub(super) source: Source,
}

/// What of the file is not used, and may therefore name variables that are not set: the container image's file
/// spells a database URL out of variables that only users of a database set.
const DATABASE: &str = "db.";
const PLATFORM: &str = "spring.sql.init.platform";

/// Every option, in the table's order: one entry for each, and for a list one for each element that is set (one
/// without a value when none is).
pub(super) fn entries(
    specs: &[OptionSpec],
    names: &Names<'_>,
    layers: &mut Layers,
    problems: &mut Vec<Problem>,
) -> Vec<Entry> {
    let no_database = text_of(PLATFORM, names, layers).is_ok_and(|platform| is_blank(&platform));
    let mut entries = Vec::with_capacity(specs.len());
    for (at, spec) in specs.iter().enumerate() {
        let unused = no_database && spec.name.starts_with(DATABASE);
        let assigned: Vec<(Slot, Assigned)> =
            layers.assigned.range((at, None)..=(at, Some(u32::MAX))).map(|(slot, a)| (*slot, a.clone())).collect();
        let before = entries.len();
        for ((_, index), assigned) in assigned {
            let name = index.map_or_else(|| spec.name.to_owned(), |index| format!("{}.{index}", spec.name));
            match value_of(spec, &assigned, &Both { names, layers }) {
                Ok(Some((text, value))) => {
                    let entry = Entry { name, spec: at, text, value, source: assigned.source };
                    without_effect(spec, &assigned.name, &entry, layers);
                    entries.push(entry);
                }
                Ok(None) => {}
                Err(Problem::Placeholder { option, origin, reason }) if unused => {
                    let line = format!("{option} ({origin}) is not used: {reason}, and no {PLATFORM} is set");
                    layers.no_effect.push(line);
                }
                Err(problem) => {
                    problems.push(problem);
                    let (text, value, source) = (String::new(), Value::Nothing, assigned.source);
                    entries.push(Entry { name, spec: at, text, value, source });
                }
            }
        }
        if entries.len() == before {
            entries.extend(default_of(at, spec, names, layers, problems));
        }
    }
    entries
}

/// What the file and `--set` say under names that are no options; as it is written where it cannot be replaced.
pub(super) fn others(names: &Names<'_>, layers: &Layers) -> BTreeMap<String, String> {
    let text = |other: &Assigned| {
        placeholder::resolve(&other.text, &Both { names, layers }).unwrap_or_else(|_| other.text.clone())
    };
    layers.others.iter().map(|(name, other)| (name.clone(), text(other))).collect()
}

/// The text of one option that is no list.
pub(super) fn text_of(name: &str, names: &Names<'_>, layers: &Layers) -> Result<String, Problem> {
    let lookup = Both { names, layers };
    let found = names.find(name).and_then(|slot| Some((names.spec(slot)?, layers.assigned.get(&slot))));
    let Some((spec, assigned)) = found else {
        return Err(Problem::Table(format!("{name} is not there")));
    };
    if let Some(assigned) = assigned
        && let Some((text, _)) = value_of(spec, assigned, &lookup)?
    {
        return Ok(text);
    }
    placeholder::resolve(spec.default, &lookup).map_err(|reason| Problem::Table(format!("{name}: {reason}")))
}

/// The value that was set; `None` if it is empty and that means the default.
fn value_of(spec: &OptionSpec, assigned: &Assigned, lookup: &dyn Lookup) -> Result<Option<(String, Value)>, Problem> {
    let Assigned { name, text, source, .. } = assigned;
    let text = placeholder::resolve(text, lookup).map_err(|reason| Problem::Placeholder {
        option: name.clone(),
        origin: source.clone(),
        reason: reason.to_string(),
    })?;
    let text = text.trim();
    if text.is_empty() && !spec.kind.may_be_empty() {
        return Ok(None);
    }
    match spec.kind.parse(text) {
        Some(value) => Ok(Some((text.to_owned(), value))),
        None => Err(Problem::Value {
            option: name.clone(),
            value: if spec.secret { "***".to_owned() } else { text.to_owned() },
            origin: source.clone(),
            expected: spec.kind.expected(),
        }),
    }
}

fn default_of(
    at: usize,
    spec: &OptionSpec,
    names: &Names<'_>,
    layers: &Layers,
    problems: &mut Vec<Problem>,
) -> Option<Entry> {
    let text = match placeholder::resolve(spec.default, &Both { names, layers }) {
        Ok(text) => text,
        // The default leans on another option that cannot be resolved; that one has been reported.
        Err(_) => return None,
    };
    let value = if text.is_empty() { Some(Value::Nothing) } else { spec.kind.parse(&text) };
    let Some(value) = value else {
        problems.push(Problem::Table(format!("the default of {} is not {}", spec.name, spec.kind.expected())));
        return None;
    };
    Some(Entry { name: spec.name.to_owned(), spec: at, text, value, source: Source::Default })
}

/// Says so when an option was set to something else than its default, and does not act.
fn without_effect(spec: &OptionSpec, written: &str, entry: &Entry, layers: &mut Layers) {
    if spec.kind.parse(spec.default).unwrap_or(Value::Nothing) == entry.value || entry.text == spec.default {
        // The file that Nacos ships spells many defaults out.
        return;
    }
    let source = &entry.source;
    let line = match spec.effect {
        Effect::Acts => return,
        Effect::NotYet => format!("{written} ({source}) has no effect yet"),
        Effect::Never => format!("{written} ({source}) has no effect here: {}", spec.doc),
    };
    if spec.guards { &mut layers.warnings } else { &mut layers.no_effect }.push(line);
}

/// Old images write `${SPRING_DATASOURCE_PLATFORM:""}` with the quotes.
pub(super) fn is_blank(platform: &str) -> bool {
    platform.trim_matches(['"', ' ']).is_empty()
}

/// Placeholders may name options, variables, and anything else in the file.
struct Both<'a> {
    names: &'a Names<'a>,
    layers: &'a Layers,
}

impl Lookup for Both<'_> {
    fn set(&self, name: &str) -> Option<String> {
        let option = || self.layers.assigned.get(&self.names.find(name)?).map(|assigned| assigned.text.clone());
        let variable = || self.layers.env.get(name).cloned();
        let other = || self.layers.others.get(name).map(|other| other.text.clone());
        let spring = || self.layers.env.get(&upper(name)).cloned();
        option().or_else(variable).or_else(other).or_else(spring)
    }

    fn default(&self, name: &str) -> Option<String> {
        let spec = self.names.spec(self.names.find(name)?)?;
        (!spec.default.is_empty()).then(|| spec.default.to_owned())
    }

    fn empty_is_default(&self, name: &str) -> bool {
        self.names.find(name).and_then(|slot| self.names.spec(slot)).is_some_and(|spec| !spec.kind.may_be_empty())
    }
}
