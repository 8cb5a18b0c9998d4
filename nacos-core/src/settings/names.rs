//! From what people write to an entry of the table, and to the nearest one when there is none.
//!
//! Case, `-` and `_` do not tell names apart (`server.servlet.context-path` is `server.servlet.contextPath`), as
//! Spring binds them; where two options of the table differ only so, the exact spelling decides.

use std::collections::HashMap;

use super::{
    error::Problem,
    option::{ImageVariable, OptionSpec},
    table,
};

/// One value that can be set: an option's number in the table and, for a list, which of its elements.
pub(super) type Slot = (usize, Option<u32>);

/// All names of all options.
pub(super) struct Names<'a> {
    specs: &'a [OptionSpec],
    exact: HashMap<&'a str, usize>,
    relaxed: HashMap<String, usize>,
    env: HashMap<String, usize>,
    image: HashMap<&'a str, (usize, ImageVariable)>,
}

/// How an environment variable names an option.
pub(super) enum Variable {
    /// As a variable of the container image, which is read its own way.
    Image(Slot, ImageVariable),
    /// In Spring's form.
    Spring(Slot),
}

/// A name that is no option.
pub(super) enum Stranger {
    /// Nacos or what it is built on knows it.
    NoEffect(&'static NoEffect),
    /// Nobody knows it; perhaps the nearest known name was meant.
    Unknown {
        /// That name.
        nearest: Option<&'static str>,
    },
}

/// A name, or all names that begin with it, that Nacos knows and this server does not need.
pub(super) struct NoEffect {
    /// The name; a prefix if it ends in a dot.
    pub(super) name: &'static str,
    /// Why it has no effect.
    pub(super) why: &'static str,
    /// Whether it would protect the server.
    pub(super) guards: bool,
}

/// The lowest likeness at which a name is suggested for another, from 0 to 1.
const LIKENESS_MIN: f64 = 0.7;
/// The same for a name that may also be one without effect.
const SLIP_LIKENESS_MIN: f64 = 0.88;
/// The same for environment variables, of which most have nothing to do with this server.
const VARIABLE_LIKENESS_MIN: f64 = 0.85;

impl<'a> Names<'a> {
    /// The names of these options; one name of two options is a problem.
    pub(super) fn new(specs: &'a [OptionSpec], problems: &mut Vec<Problem>) -> Self {
        let (mut exact, mut relaxed, mut env, mut image) =
            (HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
        for (at, spec) in specs.iter().enumerate() {
            for name in spec.names() {
                if exact.insert(name, at).is_some() {
                    problems.push(Problem::Table(format!("{name} is there twice")));
                }
                relaxed.entry(relax(name)).or_insert(at);
                for form in [upper(name), upper(&name.replace('-', ""))] {
                    env.entry(form).or_insert(at);
                }
            }
            for variable in spec.image {
                if image.insert(variable.name, (at, *variable)).is_some() {
                    problems.push(Problem::Table(format!("variable {} is there twice", variable.name)));
                }
            }
        }
        Self { specs, exact, relaxed, env, image }
    }

    /// The option of this number.
    pub(super) fn spec(&self, (at, _): Slot) -> Option<&'a OptionSpec> {
        self.specs.get(at)
    }

    /// The option that `name` names. `db.url[1]` is `db.url.1`, and `db.url` is `db.url.0`.
    pub(super) fn find(&self, name: &str) -> Option<Slot> {
        if let Some(at) = self.plain(name) {
            return Some((at, self.is_indexed(at).then_some(0)));
        }
        let (list, index) = match name.strip_suffix(']') {
            Some(open) => open.rsplit_once('[')?,
            None => name.rsplit_once('.')?,
        };
        let at = self.plain(list).filter(|at| self.is_indexed(*at))?;
        Some((at, Some(index_of(index)?)))
    }

    /// The option that the environment variable `name` sets.
    pub(super) fn find_variable(&self, name: &str) -> Option<Variable> {
        if let Some((at, variable)) = self.image.get(name) {
            return Some(Variable::Image((*at, self.is_indexed(*at).then_some(0)), *variable));
        }
        let name = upper(name);
        if let Some(at) = self.env.get(&name) {
            return Some(Variable::Spring((*at, self.is_indexed(*at).then_some(0))));
        }
        let (list, index) = name.rsplit_once('_')?;
        let at = self.env.get(list).copied().filter(|at| self.is_indexed(*at))?;
        Some(Variable::Spring((at, Some(index_of(index)?))))
    }

    /// What to say of a name that is no option.
    pub(super) fn stranger(&self, name: &str) -> Stranger {
        let known = |known: &&NoEffect| name == known.name || known.name.ends_with('.') && name.starts_with(known.name);
        let no_effect = table::NO_EFFECT.iter().find(known);
        // A slip of the pen must not pass for one of the many names that Spring has.
        let least = if no_effect.is_some() { SLIP_LIKENESS_MIN } else { LIKENESS_MIN };
        let names = self.specs.iter().flat_map(OptionSpec::names);
        let nearest = best(names, least, &relax(name), |known| relax(known));
        match (no_effect, nearest) {
            (Some(known), None) => Stranger::NoEffect(known),
            (_, nearest) => Stranger::Unknown { nearest },
        }
    }

    /// The known variable that the unknown `name` was probably meant to be.
    pub(super) fn nearest_variable(&self, name: &str) -> Option<String> {
        let image = self.image.keys().map(|known| (*known).to_owned());
        let spring = self.specs.iter().map(|spec| upper(spec.name));
        // Sorted, so that two that are equally near do not take turns.
        let mut names: Vec<String> = image.chain(spring).collect();
        names.sort_unstable();
        best(names.into_iter(), VARIABLE_LIKENESS_MIN, name, String::clone)
    }

    fn plain(&self, name: &str) -> Option<usize> {
        self.exact.get(name).or_else(|| self.relaxed.get(&relax(name))).copied()
    }

    fn is_indexed(&self, at: usize) -> bool {
        self.specs.get(at).is_some_and(|spec| spec.indexed)
    }
}

/// The first of the `names` that are most like the one `sought`, if it is like enough.
fn best<T>(names: impl Iterator<Item = T>, least: f64, sought: &str, spelt: impl Fn(&T) -> String) -> Option<T> {
    let mut best: Option<(f64, T)> = None;
    for name in names {
        let likeness = likeness(sought, &spelt(&name), least);
        if likeness >= least && best.as_ref().is_none_or(|(most, _)| likeness > *most) {
            best = Some((likeness, name));
        }
    }
    best.map(|(_, name)| name)
}

/// How much of two names is the same, from 0 to 1: the share of letters that stay when one is made the other by
/// adding, dropping, changing and swapping letters. 0 at once where the lengths alone keep it under `least`.
fn likeness(a: &str, b: &str, least: f64) -> f64 {
    let (short, long) = (a.len().min(b.len()), a.len().max(b.len()));
    if long == 0 || (short as f64) < least * long as f64 {
        return 0.0;
    }
    1.0 - strsim::osa_distance(a, b) as f64 / long as f64
}

/// What of a name tells it apart.
fn relax(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

/// A name as an environment variable is called.
pub(super) fn upper(name: &str) -> String {
    name.replace(['.', '-'], "_").to_ascii_uppercase()
}

/// An index of a list, without sign and leading zeros, so that one element has one name.
fn index_of(text: &str) -> Option<u32> {
    let index: u32 = text.parse().ok()?;
    (index.to_string() == text).then_some(index)
}
