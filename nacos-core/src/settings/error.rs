//! What can be wrong with settings.

use std::fmt;

use super::input::Source;

/// Everything that is wrong, in the order of the options. Shown one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    problems: Vec<Problem>,
}

impl SettingsError {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// What is wrong; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file is not a properties file.
    #[error("file {file} line {line}: {reason}")]
    Malformed {
        /// The file's name.
        file: String,
        /// The line at which the entry begins, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A value is not of its option's kind.
    #[error("{option}={value} ({origin}): expected {expected}")]
    Value {
        /// The option, by the name under which it was set.
        option: String,
        /// The value; masked if it is a secret.
        value: String,
        /// Where it was set.
        origin: Source,
        /// What it must look like.
        expected: String,
    },
    /// A `${…}` in a value cannot be replaced.
    #[error("{option} ({origin}): {reason}")]
    Placeholder {
        /// The option, by the name under which it was set.
        option: String,
        /// Where it was set.
        origin: Source,
        /// Which placeholder, and why.
        reason: String,
    },
    /// Two values, each right by itself, do not go together.
    #[error("{0}")]
    Clash(String),
    /// The table of options contradicts itself: a mistake in the program, or in an option registered by
    /// [`extra`](super::SettingsInput::extra).
    #[error("the table of options is wrong: {0}")]
    Table(String),
}
