//! What a client program has to report, and how fast it must have been.
//!
//! The programs hold what a step does; the tables under [`super::config`] and [`super::naming`] hold that it was done
//! at all, so that a program that forgets one fails.

use super::clients::Language;

/// The step in which the library names its own version, which must be the pinned one.
pub const VERSION: &str = "version";
/// The step of ending as agreed: last word said, status 0.
pub const END: &str = "end";

/// One thing a client must do.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// As the programs report it.
    pub name: &'static str,
    /// The shortest and the longest time that it may report, in milliseconds.
    between_ms: Option<(u64, u64)>,
    languages: &'static [Language],
    round: Option<&'static str>,
    after_restart: bool,
}

impl Step {
    /// A step of these languages, in every round, without a time.
    pub const fn new(name: &'static str, languages: &'static [Language]) -> Self {
        Self { name, between_ms: None, languages, round: None, after_restart: false }
    }

    /// It reports a time, of so many milliseconds at most.
    pub const fn within(self, ms: u64) -> Self {
        self.between(0, ms)
    }

    /// It reports a time, of so many milliseconds at least and at most.
    pub const fn between(self, from_ms: u64, to_ms: u64) -> Self {
        Self { between_ms: Some((from_ms, to_ms)), ..self }
    }

    /// Of these languages alone.
    pub const fn only(self, languages: &'static [Language]) -> Self {
        Self { languages, ..self }
    }

    /// In this round alone.
    pub const fn in_round(self, round: &'static str) -> Self {
        Self { round: Some(round), ..self }
    }

    /// Only if the server was restarted.
    pub const fn after_restart(self) -> Self {
        Self { after_restart: true, ..self }
    }

    /// Whether the reported time, if one was, is what this step allows; if not, why.
    pub fn judge(&self, took_ms: Option<u64>) -> Result<(), String> {
        match (self.between_ms, took_ms) {
            (Some((_, limit)), Some(took)) if took > limit => Err(format!("took {took} ms, {limit} ms at most")),
            (Some((least, _)), Some(took)) if took < least => Err(format!("took {took} ms, {least} ms at least")),
            (Some(_), None) => Err("reported without a time".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The steps of one client in one round, with or without a restart of the server in it.
pub fn expected(table: &[Step], language: Language, round: &str, restart: bool) -> Vec<Step> {
    table
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

    #[test]
    fn a_bound_needs_a_time_and_holds_it() {
        let told = Step::new("told", &[]).within(1_000);
        assert!(told.judge(Some(1_000)).is_ok());
        assert!(told.judge(Some(1_001)).is_err());
        assert!(told.judge(None).is_err());
        let expired = Step::new("expired", &[]).between(15, 20);
        assert!(expired.judge(Some(14)).is_err());
        assert!(expired.judge(Some(15)).is_ok());
        assert!(Step::new("publish", &[]).judge(None).is_ok());
    }
}
