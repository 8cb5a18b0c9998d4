//! What every client program has to report of configuration.

use super::super::{
    clients::Language::{self, Go, Java, Node, Python},
    steps::{END, Step, VERSION, expected},
};

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
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Chinese => "chinese",
        }
    }

    /// The steps of one client, with or without a restart of the server among them.
    pub fn steps(self, language: Language, restart: bool) -> Vec<Step> {
        expected(STEPS, language, self.name(), restart)
    }
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
    step("chinese-id-refused").in_round(Round::Ascii.name()),
    step("after-restart-read").after_restart(),
    // The clients' own pauses after a failed poll: Go 5 s, Java and Node 2 s, Python 1 s.
    step("after-restart-told").within(10_000).after_restart(),
    step("remove"),
    step(END),
];

const fn step(name: &'static str) -> Step {
    Step::new(name, &[Python, Node, Java, Go])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(language: Language, round: Round, restart: bool) -> Vec<&'static str> {
        round.steps(language, restart).iter().map(|step| step.name).collect()
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
}
