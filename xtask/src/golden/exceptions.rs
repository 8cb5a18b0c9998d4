//! What of the recordings does not hold yet, with the reason: `exceptions.toml` beside them.
//!
//! Excepted steps are run all the same and are expected to fail. One that passes is stale and fails the run, so the
//! file never holds more than is true.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::{
    run::Judged,
    scenario::{Scenario, Step},
};

/// An entry of the file; all that it names must hold for a step to be covered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The scenario's name.
    scenario: Option<String>,
    /// The step's number in that scenario, from 1.
    step: Option<usize>,
    /// What the path of the step's request begins with, whole segments.
    path: Option<String>,
    /// Why.
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    exception: Vec<Exception>,
}

/// How a scenario ended.
#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    /// The lines of the steps that failed without an exception, and of stale exceptions.
    pub failures: Vec<String>,
    /// The lines of the steps that failed as an exception says.
    pub excepted: Vec<String>,
}

/// Reads the file.
pub fn load(path: &Path) -> Result<Vec<Exception>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("exceptions in {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Exception>> {
    let file: File = toml::from_str(text)?;
    for entry in &file.exception {
        ensure!(entry.scenario.is_some() || entry.path.is_some(), "an exception names neither scenario nor path");
        ensure!(entry.step.is_none() || entry.scenario.is_some(), "an exception names a step but no scenario");
        ensure!(!entry.reason.trim().is_empty(), "an exception has no reason");
    }
    Ok(file.exception)
}

impl Exception {
    /// Whether the entry is about any step of the scenario that is judged.
    pub fn concerns(&self, scenario: &Scenario) -> bool {
        let judged = |step: &&Step| !step.cleanup && step.expect.is_some();
        (1..).zip(&scenario.steps).any(|(number, step)| judged(&step) && self.covers(scenario, number, step))
    }

    fn covers(&self, scenario: &Scenario, number: usize, step: &Step) -> bool {
        self.scenario.as_ref().is_none_or(|name| *name == scenario.name)
            && self.step.is_none_or(|only| only == number)
            && self.path.as_ref().is_none_or(|prefix| {
                let rest = step.path().and_then(|path| path.strip_prefix(prefix.as_str()));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }

    /// The entry in one line.
    pub fn title(&self) -> String {
        let mut parts: Vec<String> = self.scenario.iter().map(|name| format!("scenario {name}")).collect();
        parts.extend(self.step.map(|step| format!("step {step}")));
        parts.extend(self.path.iter().map(|path| format!("path {path}")));
        format!("{} ({})", parts.join(", "), self.reason)
    }
}

/// Sorts what came of a scenario's steps into failures, excepted failures and stale exceptions.
pub fn judge(exceptions: &[Exception], scenario: &Scenario, judged: Vec<Judged>) -> Verdict {
    let mut verdict = Verdict::default();
    let covered = |exception: &Exception, judged: &Judged| {
        let step = scenario.steps.get(judged.step - 1);
        step.is_some_and(|step| exception.covers(scenario, judged.step, step))
    };
    for exception in exceptions {
        let mut about = judged.iter().filter(|one| covered(exception, one)).peekable();
        if about.peek().is_some() && about.all(|one| one.failure.is_none()) {
            verdict.failures.push(format!(
                "STALE {}: passes, but has an exception: {}",
                scenario.name,
                exception.title()
            ));
        }
    }
    for one in judged {
        let excepted = exceptions.iter().find(|exception| covered(exception, &one));
        match (one.failure, excepted) {
            (Some(line), Some(exception)) => {
                let line = line.replacen("FAIL", "known", 1);
                verdict.excepted.push(format!("{line} (excepted: {})", exception.reason));
            }
            (Some(line), None) => verdict.failures.push(line),
            (None, _) => {}
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::scenario;
    use super::*;

    /// Steps: 1 and 2 go to `/v1/ns`, 3 to `/v1/nsx`, 4 is a clean-up of `/v1/ns/x`.
    fn scenario() -> Scenario {
        let line = r#"{"name": "a/b", "steps": [
            {"do": "GET /v1/ns?x=1", "expect": {"status": 200}}, {"do": "PUT /v1/ns/x", "expect": {"status": 200}},
            {"do": "GET /v1/nsx", "expect": {"status": 200}}, {"do": "DELETE /v1/ns/x", "cleanup": true}]}"#;
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), line.replace('\n', "")).unwrap();
        scenario::load(file.path()).unwrap().remove(0)
    }

    /// Numbers of the failing steps among 1 to 3 to lines of the verdict, cut after their first word.
    fn verdict(exceptions: &str, failing: &[usize]) -> (Vec<String>, Vec<String>) {
        let line = |step: usize| failing.contains(&step).then(|| format!("{step} line"));
        let judged = (1..=3).map(|step| Judged { step, failure: line(step) }).collect();
        let verdict = judge(&parse(exceptions).unwrap(), &scenario(), judged);
        let first = |lines: Vec<String>| lines.iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
        (first(verdict.failures), first(verdict.excepted))
    }

    fn lines(failures: &[&str], excepted: &[&str]) -> (Vec<String>, Vec<String>) {
        let owned = |lines: &[&str]| lines.iter().map(|&l| l.to_owned()).collect();
        (owned(failures), owned(excepted))
    }

    const NAMING: &str = "[[exception]]\npath = \"/v1/ns\"\nreason = \"later\"\n";
    const WHOLE: &str = "[[exception]]\nscenario = \"a/b\"\nreason = \"later\"\n";
    const STEP: &str = "[[exception]]\nscenario = \"a/b\"\nstep = 2\nreason = \"later\"\n";

    #[test]
    fn without_exceptions_failures_are_failures() {
        assert_eq!(verdict("", &[1, 3]), lines(&["1", "3"], &[]));
        assert_eq!(verdict("", &[]), lines(&[], &[]));
    }

    #[test]
    fn a_path_covers_whole_segments() {
        assert_eq!(verdict(NAMING, &[1, 2, 3]), lines(&["3"], &["1", "2"]));
        assert_eq!(verdict(NAMING, &[2]), lines(&[], &["2"]));
    }

    #[test]
    fn a_scenario_or_one_step() {
        assert_eq!(verdict(WHOLE, &[1, 3]), lines(&[], &["1", "3"]));
        assert_eq!(verdict(STEP, &[1, 2]), lines(&["1"], &["2"]));
    }

    #[test]
    fn what_passes_is_stale() {
        for exceptions in [NAMING, WHOLE, STEP] {
            assert_eq!(verdict(exceptions, &[]), lines(&["STALE"], &[]), "{exceptions}");
        }
        assert_eq!(verdict(NAMING, &[3]), lines(&["STALE", "3"], &[]));
        assert_eq!(verdict(&format!("{NAMING}{STEP}"), &[1]), lines(&["STALE"], &["1"]));
    }

    #[test]
    fn a_step_that_was_not_reached_proves_nothing() {
        let judged = vec![Judged { step: 1, failure: None }];
        assert_eq!(judge(&parse(STEP).unwrap(), &scenario(), judged), Verdict::default());
    }

    #[test]
    fn entries_that_name_nothing() {
        let concerns = |text: &str| parse(text).unwrap()[0].concerns(&scenario());
        assert!(concerns(NAMING) && concerns(WHOLE) && concerns(STEP));
        assert!(!concerns(&STEP.replace('2', "4")), "clean-up is not judged");
        assert!(!concerns(&STEP.replace('2', "5")));
        assert!(!concerns(&WHOLE.replace("a/b", "a")));
    }

    #[test]
    fn bad_entries_are_refused() {
        for text in [
            "[[exception]]\nreason = \"x\"\n",
            "[[exception]]\npath = \"/v1/ns\"\n",
            "[[exception]]\npath = \"/v1/ns\"\nreason = \" \"\n",
            "[[exception]]\npath = \"/v1/ns\"\nstep = 1\nreason = \"x\"\n",
            "[[exceptions]]\npath = \"/v1/ns\"\nreason = \"x\"\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
