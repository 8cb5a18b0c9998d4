//! What every client program has to report, and how fast it must have been.
//!
//! The programs hold what a step does; here stands that it was done at all, so that a program that forgets one
//! fails.

use super::clients::Language::{self, Go, Java, Node, Python};

/// The letters of a round's ids and groups. Contents are Chinese in part in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// What Nacos takes by default; Chinese ids and groups must be refused.
    Ascii,
    /// Chinese letters, which Nacos takes with `nacos.core.param.check.enabled=false` alone.
    Chinese,
}

impl Round {
    /// As the client programs are told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Chinese => "chinese",
        }
    }
}

/// The step in which the library names its own version, which must be the pinned one.
pub const VERSION: &str = "version";
/// The step of ending as agreed: last word said, status 0.
pub const END: &str = "end";

/// One thing a client must do.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// As the programs report it.
    pub name: &'static str,
    /// The longest time that it may report, in milliseconds.
    pub within_ms: Option<u64>,
    languages: &'static [Language],
    round: Option<Round>,
    after_restart: bool,
}

/// All steps, in the order in which they are done.
const STEPS: &[Step] = &[
    step(VERSION),
    step("read-missing"),
    step("publish"),
    step("read").within(1_000),
    step("special-characters"),
    step("chinese-content"),
    // The Python client puts the content into the address, where no server takes a mebibyte: there the program
    // publishes it by form, and reads it through the client.
    step("one-mebibyte"),
    step("long-address").only(&[Python]),
    step("endless-address-refused").only(&[Python]),
    step("type"),
    step("told-of-change").within(1_000),
    step("told-of-creation").within(1_000),
    step("told-of-removal").within(1_000),
    // Java alone compares contents key by key, by the type in the answer's head.
    step("told-of-keys").within(1_000).only(&[Java]),
    step("namespace-apart"),
    step("namespace-told").within(1_000),
    step("chinese-id-refused").round(Round::Ascii),
    step("after-restart-read").after_restart(),
    // The clients' own pauses after a failed poll: Go 5 s, Java and Node 2 s, Python 1 s.
    step("after-restart-told").within(10_000).after_restart(),
    step("remove"),
    step(END),
];

const fn step(name: &'static str) -> Step {
    Step { name, within_ms: None, languages: &[Python, Node, Java, Go], round: None, after_restart: false }
}

impl Step {
    const fn within(self, ms: u64) -> Self {
        Self { within_ms: Some(ms), ..self }
    }

    const fn only(self, languages: &'static [Language]) -> Self {
        Self { languages, ..self }
    }

    const fn round(self, round: Round) -> Self {
        Self { round: Some(round), ..self }
    }

    const fn after_restart(self) -> Self {
        Self { after_restart: true, ..self }
    }

    /// Whether the reported time, if one was, is what this step allows; if not, why.
    pub fn judge(&self, took_ms: Option<u64>) -> Result<(), String> {
        match (self.within_ms, took_ms) {
            (Some(limit), Some(took)) if took > limit => Err(format!("took {took} ms, {limit} ms at most")),
            (Some(_), None) => Err("reported without a time".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The steps of one client in one round, with or without a restart of the server in it.
pub fn expected(language: Language, round: Round, restart: bool) -> Vec<Step> {
    STEPS
        .iter()
        .filter(|step| step.languages.contains(&language))
        .filter(|step| step.round.is_none_or(|only| only == round))
        .filter(|step| restart || !step.after_restart)
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(language: Language, round: Round, restart: bool) -> Vec<&'static str> {
        expected(language, round, restart).iter().map(|step| step.name).collect()
    }

    #[test]
    fn a_client_is_expected_to_do_what_it_can() {
        assert!(names(Python, Round::Ascii, true).contains(&"long-address"));
        assert!(!names(Java, Round::Ascii, true).contains(&"long-address"));
        assert!(names(Go, Round::Ascii, true).contains(&"chinese-id-refused"));
        assert!(!names(Go, Round::Chinese, true).contains(&"chinese-id-refused"));
        assert!(names(Node, Round::Chinese, true).contains(&"after-restart-told"));
        assert!(!names(Node, Round::Chinese, false).contains(&"after-restart-told"));
    }

    #[test]
    fn a_bound_needs_a_time_and_holds_it() {
        let told = step("told").within(1_000);
        assert!(told.judge(Some(1_000)).is_ok());
        assert!(told.judge(Some(1_001)).is_err());
        assert!(told.judge(None).is_err());
        assert!(step("publish").judge(None).is_ok());
    }
}
