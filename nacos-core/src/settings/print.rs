//! `--print-settings`: every option with its value, where it came from, and one line of help.

use std::fmt::Write as _;

use super::{
    Settings,
    input::Source,
    option::{Effect, Kind, OptionSpec},
    resolve::Entry,
    table,
    value::masked_url,
};

/// Values and sources longer than this push their own line, not all others.
const COLUMN_MAX: usize = 48;

/// The settings as lines `mark name = value  source  help`; the mark `*` says that the value was set.
pub(super) fn print(settings: &Settings) -> String {
    let lines: Vec<Line<'_>> =
        settings.entries.iter().filter_map(|entry| Some(Line::new(settings.specs.get(entry.spec)?, entry))).collect();
    let width = |of: fn(&Line<'_>) -> usize| lines.iter().map(of).filter(|w| *w <= COLUMN_MAX).max().unwrap_or(0);
    let name_width = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
    let value_width = width(|line| line.value.chars().count());
    let source_width = width(|line| line.source.chars().count());
    let mut out = format!("# Listens on {}. `*` marks what was set. Masked: ***\n", settings.listen_addr());
    let mut titles = titles(settings).peekable();
    for (at, line) in lines.iter().enumerate() {
        let spec = settings.entries.get(at).map_or(0, |entry| entry.spec);
        while let Some((_, title)) = titles.next_if(|(first, _)| *first <= spec) {
            let _ = write!(out, "\n# {title}\n");
        }
        let Line { mark, name, value, source, help } = line;
        let _ = writeln!(out, "{mark} {name:name_width$} = {value:value_width$}  {source:source_width$}  {help}");
    }
    out
}

struct Line<'a> {
    mark: char,
    name: &'a str,
    value: String,
    source: String,
    help: String,
}

impl<'a> Line<'a> {
    fn new(spec: &OptionSpec, entry: &'a Entry) -> Self {
        let mark = if entry.source == Source::Default { ' ' } else { '*' };
        Self {
            mark,
            name: &entry.name,
            value: shown(spec, &entry.text),
            source: entry.source.to_string(),
            help: help(spec),
        }
    }
}

/// A value as it may be shown, on one line.
fn shown(spec: &OptionSpec, text: &str) -> String {
    let text = match spec.kind {
        _ if text.is_empty() => return String::new(),
        _ if spec.secret => return "***".to_owned(),
        Kind::Url => masked_url(text),
        _ => text.to_owned(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The line of help, with what the option does not do.
pub(super) fn help(spec: &OptionSpec) -> String {
    match spec.effect {
        Effect::Acts => spec.doc.to_owned(),
        Effect::NotYet => format!("(Not yet.) {}", spec.doc),
        Effect::Never => format!("No effect: {}", spec.doc),
    }
}

/// The headings, each with the number of its first option.
fn titles(settings: &Settings) -> impl Iterator<Item = (usize, &'static str)> {
    let mut first = 0;
    let groups = table::GROUPS.iter().map(move |group| {
        let start = first;
        first += group.options.len();
        (start, group.title)
    });
    let known = table::all().count();
    groups.chain((settings.specs.len() > known).then_some((known, "Extensions")))
}
