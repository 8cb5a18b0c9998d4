//! What an option is: one entry of the table.

/// One option. Built by [`OptionSpec::new`] and the methods that follow it, all `const`.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// The name in Nacos 2.4, or ours. `--set`, the file and the printed settings use it.
    pub name: &'static str,
    /// Other names of the same option: older ones, and those of Nacos 3.
    pub aliases: &'static [&'static str],
    /// Variables of Nacos' container image that set it. Beside them each option has its Spring form: the name in
    /// capitals, dots and dashes as underscores.
    pub image: &'static [ImageVariable],
    /// What a value looks like.
    pub kind: Kind,
    /// The default, as one would write it; may hold placeholders. Empty means none.
    pub default: &'static str,
    /// One line of help.
    pub doc: &'static str,
    /// Whether it changes anything.
    pub effect: Effect,
    /// Whether it protects the server: setting it without effect is then worth a warning.
    pub guards: bool,
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether it is a list: `name.0`, `name.1`, …; `name` alone is the first.
    pub indexed: bool,
}

/// Whether an option changes anything in this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It acts.
    Acts,
    /// Known, and checked, but what it governs is not built yet.
    NotYet,
    /// Known from Nacos, and has no meaning here.
    Never,
}

/// A variable of Nacos' container image.
#[derive(Debug, Clone, Copy)]
pub struct ImageVariable {
    /// Its name.
    pub name: &'static str,
    /// Makes the option's value of the variable's; `None` where the image ignores the value too.
    pub read: fn(&str) -> Option<String>,
}

/// The unit of a duration that is written as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a second.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Days of 24 hours.
    Days,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; also `on`, `yes`, `1` and `off`, `no`, `0`, as Spring has it.
    Bool,
    /// A whole number between the two, both allowed.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A length of time: a number of `unit`, or a number with `ms`, `s`, `m`, `h` or `d`. Bounds are in `unit`.
    Duration {
        /// What a plain number counts.
        unit: Unit,
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A number of bytes, plain or with `KB`, `MB`, `GB` (or `KiB`, `K`, …), each step 1024.
    Bytes {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// Any text; blanks at both ends are cut off.
    Text,
    /// A URL, whose passwords are masked when it is shown.
    Url,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// A file or folder.
    Path,
    /// The path under which HTTP is served, such as `/nacos`; empty or `/` for none.
    ContextPath,
    /// An IP address, or `localhost`.
    Address,
}

impl OptionSpec {
    /// An option that acts, with a name, a kind, a default (as text) and a line of help.
    pub const fn new(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            image: &[],
            kind,
            default,
            doc,
            effect: Effect::Acts,
            guards: false,
            secret: false,
            indexed: false,
        }
    }

    /// Adds other names.
    pub const fn or(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Adds variables of the container image.
    pub const fn image(mut self, variables: &'static [ImageVariable]) -> Self {
        self.image = variables;
        self
    }

    /// Never shows the value.
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Makes it a list.
    pub const fn indexed(mut self) -> Self {
        self.indexed = true;
        self
    }

    /// Known and checked, but not acting yet.
    pub const fn not_yet(mut self) -> Self {
        self.effect = Effect::NotYet;
        self
    }

    /// Known, and without meaning here.
    pub const fn never(mut self) -> Self {
        self.effect = Effect::Never;
        self
    }

    /// Protects the server.
    pub const fn guards(mut self) -> Self {
        self.guards = true;
        self
    }

    /// The option's names, the canonical one first.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

impl ImageVariable {
    /// A variable whose value is the option's.
    pub const fn same(name: &'static str) -> Self {
        Self { name, read: |value| Some(value.to_owned()) }
    }

    /// A variable that switches the option on by one word; the image ignores all others.
    pub(super) const fn switched(name: &'static str, read: fn(&str) -> Option<String>) -> Self {
        Self { name, read }
    }
}
