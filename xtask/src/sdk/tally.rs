//! What the clients of one round reported, held against what they had to report. Prints each step as it comes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::{clients::Language, conversation::Report, steps::Step};

/// The results of one round.
pub struct Tally {
    round: &'static str,
    state: Mutex<State>,
}

struct State {
    /// Steps that are still to be reported.
    due: HashMap<Language, Vec<Step>>,
    passed: usize,
    failed: usize,
}

impl Tally {
    /// Nothing reported yet by these clients, in a round that is printed by this name.
    pub fn new(round: &'static str, due: impl Iterator<Item = (Language, Vec<Step>)>) -> Self {
        let state = State { due: due.collect(), passed: 0, failed: 0 };
        Self { round, state: Mutex::new(state) }
    }

    /// Takes a report. One of a step that is not due, because it is unknown or was reported before, is a failure.
    pub fn report(&self, language: Language, report: Report) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = state.due.entry(language).or_default();
        let result = match due.iter().position(|step| step.name == report.step) {
            None => Err(match report.result {
                Ok(_) => "reported, but not due".to_owned(),
                Err(reason) => format!("reported, but not due: {reason}"),
            }),
            Some(index) => {
                let step = due.remove(index);
                report.result.and_then(|took| step.judge(took).map(|()| took))
            }
        };
        match result {
            Ok(_) => state.passed += 1,
            Err(_) => state.failed += 1,
        }
        // Printed under the lock, so that lines do not mix.
        print(self.round, language, &report.step, &result);
    }

    /// How many steps passed and failed. A step that nobody reported failed.
    pub fn close(self) -> (usize, usize) {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (language, due) in std::mem::take(&mut state.due) {
            state.failed += due.len();
            for step in due {
                let result = Err("not reported".to_owned());
                print(self.round, language, step.name, &result);
            }
        }
        (state.passed, state.failed)
    }
}

fn print(round: &str, language: Language, step: &str, result: &Result<Option<u64>, String>) {
    let how = match result {
        Ok(None) => "ok".to_owned(),
        Ok(Some(ms)) => format!("ok, {ms} ms"),
        Err(reason) => format!("FAILED: {reason}"),
    };
    println!("{:<7} {round:<8} {step:<24} {how}", language.name());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due() -> Vec<Step> {
        let step = |name| Step::new(name, &[Language::Go]);
        vec![step("publish"), step("told").within(1_000), step("end")]
    }

    fn tally() -> Tally {
        Tally::new("ascii", [(Language::Go, due())].into_iter())
    }

    fn report(step: &str, result: Result<Option<u64>, String>) -> Report {
        Report { step: step.to_owned(), result }
    }

    #[test]
    fn what_is_not_reported_failed() {
        let due = due().len();
        let tally = tally();
        tally.report(Language::Go, report("publish", Ok(None)));
        assert_eq!(tally.close(), (1, due - 1));
    }

    #[test]
    fn too_late_twice_and_unknown_failed() {
        let due = due().len();
        let tally = tally();
        tally.report(Language::Go, report("told", Ok(Some(1_001))));
        tally.report(Language::Go, report("publish", Ok(None)));
        tally.report(Language::Go, report("publish", Ok(None)));
        tally.report(Language::Go, report("dance", Ok(None)));
        // Two of the failures are of steps that were due, two are on top of them.
        assert_eq!(tally.close(), (1, 1 + (due - 2) + 2));
    }
}
