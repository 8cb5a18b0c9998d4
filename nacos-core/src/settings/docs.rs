//! `docs/settings.md`, made from the table.

use std::fmt::Write as _;

use super::{
    names::upper,
    option::{Effect, Kind, OptionSpec},
    print::help,
    table,
};

/// The page, as Markdown. A test holds the file against it.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for group in table::GROUPS {
        let _ = write!(page, "\n## {}\n\n| Option | Default | Value | Meaning |\n|---|---|---|---|\n", group.title);
        for spec in group.options {
            let name =
                if spec.indexed { format!("`{0}.0`, `{0}.1`, …", spec.name) } else { format!("`{}`", spec.name) };
            let default = if spec.default.is_empty() { String::new() } else { format!("`{}`", spec.default) };
            let _ = writeln!(page, "| {name} | {default} | {} | {} |", value(spec), cell(&meaning(spec)));
        }
    }
    page.push_str(NO_EFFECT);
    for known in table::NO_EFFECT {
        let every = if known.name.ends_with('.') { "*" } else { "" };
        let loud = if known.guards { " (warned about)" } else { "" };
        let _ = writeln!(page, "| `{}{every}` | {}{loud} |", known.name, cell(known.why));
    }
    page
}

const INTRODUCTION: &str = "\
# Settings

<!-- Made from nacos-core/src/settings/table: change it there, then
     UPDATE_DOCS=1 cargo test -p nacos-core --lib settings -->

An option is set, each place winning over those before it,

1. in `conf/application.properties` under the data folder, or the file that `--config` names: Nacos' own file and
   names;
2. in the environment: by the variable that Nacos' container image uses (given below), or by the option's name in
   capitals with `.` and `-` as `_` (`NACOS_CONFIG_RETENTION_DAYS`; dashes may also be left out). An empty variable
   counts as not set;
3. on the command line: `--set name=value`, and the flags `--port` (`server.port`), `--data-dir` (`nacos.home`) and
   `--allow-unauthenticated`.

`nacos-server --print-settings` shows every value and where it came from. Case, `-` and `_` do not tell names apart.
An unknown name is warned about, with the nearest known one (of the environment, which holds other programs' variables
too, only names that are nearly right). A wrong value stops the start with exit code 2, and all wrong values are named
at once; what this version cannot do stops it with exit code 1.

Values may hold `${name}` and `${name:default}`, where a name is another option, a variable of the environment or any
name of the file. A file is UTF-8, else ISO 8859-1. An empty value means the default, except for texts and URLs. A
length of time is a plain number of its unit, or a number with `ms`, `s`, `m`, `h` or `d`; a number of bytes may have
`KB`, `MB` or `GB` (steps of 1024, also `KiB`, `K`, …); a flag is `true`, `on`, `yes`, `1` or `false`, `off`, `no`, `0`.

*Not yet* marks what is read and checked, but acts only once the part that it belongs to is built. Options are read
once, at start: a change needs a restart.
";

const NO_EFFECT: &str = "
## Without effect

Nacos, Spring and Tomcat know these; here they are accepted, so that an old file can stay as it is. The
log counts them, and names them at level `debug`.

| Name | Why |
|---|---|
";

fn value(spec: &OptionSpec) -> String {
    match spec.kind {
        Kind::Bool => "flag".to_owned(),
        Kind::Integer { min, max } if max == i64::from(i32::MAX) => format!("number from {min}"),
        Kind::Integer { min, max } => format!("{min} to {max}"),
        Kind::Duration { unit, min, .. } => format!("{} from {min}", unit.name()),
        Kind::Bytes { min, .. } => format!("bytes from {min}"),
        Kind::Text => "text".to_owned(),
        Kind::Url => "URL".to_owned(),
        Kind::Choice(words) => {
            words.iter().filter(|word| !word.is_empty()).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
        }
        Kind::Path | Kind::ContextPath => "path".to_owned(),
        Kind::Address => "IP address".to_owned(),
    }
}

fn meaning(spec: &OptionSpec) -> String {
    let mut text = match spec.effect {
        Effect::NotYet => format!("*Not yet.* {}", spec.doc),
        _ => help(spec),
    };
    let spring = upper(spec.name);
    let variables: Vec<String> = spec.image.iter().map(|variable| format!("`{}`", variable.name)).collect();
    if !variables.is_empty() && spec.image.iter().all(|variable| variable.name != spring) {
        let _ = write!(text, " Image: {}.", variables.join(", "));
    }
    if !spec.aliases.is_empty() {
        let aliases: Vec<String> = spec.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        let _ = write!(text, " Also {}.", aliases.join(", "));
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
