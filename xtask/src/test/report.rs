//! What came of the steps, and how it is told.

use std::{fmt, time::Duration};

use anyhow::Result;

/// What a step that did not fail has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran, and all of it holds.
    Passed,
    /// So far as it ran it holds; these parts were left out, each with the reason.
    Without(Vec<String>),
    /// This machine cannot run it, for this reason.
    LeftOut(String),
}

/// How a step counts.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed, without these parts.
    Passed(Vec<String>),
    /// It failed, for this reason.
    Failed(String),
    /// It was not run, for this reason.
    LeftOut(String),
}

impl Verdict {
    /// With `strict` nothing may be left out.
    pub fn new(result: Result<Outcome>, strict: bool) -> Self {
        let left_out = |what: &str| format!("left out: {what}");
        match result {
            Err(error) => Self::Failed(format!("{error:#}")),
            Ok(Outcome::Passed) => Self::Passed(Vec::new()),
            Ok(Outcome::Without(parts)) if strict => Self::Failed(left_out(&parts.join(", "))),
            Ok(Outcome::Without(parts)) => Self::Passed(parts),
            Ok(Outcome::LeftOut(reason)) if strict => Self::Failed(left_out(&reason)),
            Ok(Outcome::LeftOut(reason)) => Self::LeftOut(reason),
        }
    }
}

/// The steps so far. Its last line when displayed is the sum.
#[derive(Default)]
pub struct Report {
    steps: Vec<Told>,
}

struct Told {
    name: &'static str,
    took: Duration,
    verdict: Verdict,
}

impl Report {
    /// Adds a step, and gives its line.
    pub fn add(&mut self, name: &'static str, took: Duration, verdict: Verdict) -> String {
        let told = Told { name, took, verdict };
        let line = told.to_string();
        self.steps.push(told);
        line
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    fn count(&self, like: impl Fn(&Verdict) -> bool) -> usize {
        self.steps.iter().filter(|told| like(&told.verdict)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took: Duration = self.steps.iter().map(|told| told.took).sum();
        writeln!(f, "== all steps, in {:.0} s", took.as_secs_f64())?;
        self.steps.iter().try_for_each(|told| writeln!(f, "{told}"))?;
        let passed = self.count(|verdict| matches!(verdict, Verdict::Passed(_)));
        let skipped = self.count(|verdict| matches!(verdict, Verdict::LeftOut(_)));
        write!(f, "{passed} passed, {} failed", self.failed())?;
        match skipped {
            0 => Ok(()),
            _ => write!(f, ", {skipped} skipped"),
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10} {:>6.1} s  ", self.name, self.took.as_secs_f64())?;
        match &self.verdict {
            Verdict::Passed(without) if without.is_empty() => write!(f, "passed"),
            Verdict::Passed(without) => write!(f, "passed, left out: {}", without.join(", ")),
            Verdict::Failed(reason) => write!(f, "FAILED: {reason}"),
            Verdict::LeftOut(reason) => write!(f, "left out: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn outcomes() -> [Result<Outcome>; 4] {
        [
            Ok(Outcome::Passed),
            Ok(Outcome::Without(vec!["java (mvn not found)".to_owned()])),
            Ok(Outcome::LeftOut("no compiler".to_owned())),
            Err(anyhow!("cause").context("outer")),
        ]
    }

    fn told(strict: bool) -> String {
        let mut report = Report::default();
        for (name, outcome) in ["a", "b", "c", "d"].into_iter().zip(outcomes()) {
            report.add(name, Duration::from_millis(1_500), Verdict::new(outcome, strict));
        }
        report.to_string()
    }

    #[test]
    fn what_was_left_out_is_named_and_counted() {
        assert_eq!(
            told(false),
            "== all steps, in 6 s\n\
             a             1.5 s  passed\n\
             b             1.5 s  passed, left out: java (mvn not found)\n\
             c             1.5 s  left out: no compiler\n\
             d             1.5 s  FAILED: outer: cause\n\
             2 passed, 1 failed, 1 skipped"
        );
    }

    #[test]
    fn where_nothing_may_be_left_out_it_fails() {
        let told = told(true);
        assert!(told.contains("\nb             1.5 s  FAILED: left out: java (mvn not found)\n"), "{told}");
        assert!(told.contains("\nc             1.5 s  FAILED: left out: no compiler\n"), "{told}");
        assert!(told.ends_with("\n1 passed, 3 failed"), "{told}");
    }
}
