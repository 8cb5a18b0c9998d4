//! What was written to service discovery, what was answered, and therefore what the server may show.
//!
//! Times are ticks, as for publishes: of two writes the one that was answered before the other was sent took effect
//! before it; nothing else is known of their order. So what is found of a target must come from a write that no
//! acknowledged one certainly followed. What is found is settled: whatever was written before and is not that must
//! never turn up again.

use anyhow::{Result, bail, ensure};

use super::{Target, targets};
use crate::crash::ledger::{Clock, Outcome};

/// What the switch is before anybody has set it.
const SWITCH_DEFAULT: u64 = 10_000;

/// The version of a target; `None` if it is not there.
pub type Version = Option<u64>;

/// One write, as its writer saw it.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    /// Which target, as an index.
    pub target: usize,
    /// What it makes of it.
    pub version: Version,
    /// The tick before it was sent.
    pub sent: u64,
    /// What it was answered.
    pub outcome: Outcome,
}

/// What became of the writes that were not answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Found.
    pub stored: usize,
    /// Not found, or overwritten by another.
    pub others: usize,
}

/// All writes to a data folder.
pub struct Ledger {
    clock: Clock,
    targets: Vec<Target>,
    /// What was found last, by target, and the tick of that.
    settled: Vec<(Version, u64)>,
    /// What was written since, by target.
    written: Vec<Vec<Write>>,
}

impl Ledger {
    /// Nothing written yet by so many writers; the switch has its default.
    pub fn new(writers: usize) -> Self {
        let targets = targets(writers);
        let settled = targets.iter().map(|target| ((*target == Target::Switch).then_some(SWITCH_DEFAULT), 0)).collect();
        Self { clock: Clock::default(), settled, written: vec![Vec::new(); targets.len()], targets }
    }

    /// The clock that writers take their ticks from; the first tick is 1.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The targets, by their indices.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What was found of a target last.
    pub fn settled(&self, target: usize) -> Version {
        self.settled[target].0
    }

    /// Enters a write.
    pub fn enter(&mut self, write: Write) {
        if !matches!(write.outcome, Outcome::Refused | Outcome::TurnedAway) {
            self.written[write.target].push(write);
        }
    }

    /// Compares what is found (by target) with what was written, and settles it. Nothing may be in flight.
    ///
    /// # Errors
    /// Every contradiction, up to ten.
    pub fn judge(&mut self, found: &[Version]) -> Result<Settled> {
        ensure!(found.len() == self.targets.len(), "{} of {} targets are found", found.len(), self.targets.len());
        let mut wrong = Vec::new();
        for (target, found) in found.iter().enumerate() {
            if let Err(error) = self.explain(target, *found) {
                wrong.push(format!("{}: {error}", self.targets[target]));
            }
        }
        if !wrong.is_empty() {
            let more = wrong.len().saturating_sub(10);
            wrong.truncate(10);
            bail!("{}{}", wrong.join("; "), if more > 0 { format!("; and {more} more") } else { String::new() });
        }
        let now = self.clock.tick();
        let mut settled = Settled::default();
        for ((found, state), written) in found.iter().zip(&mut self.settled).zip(&mut self.written) {
            *state = (*found, now);
            for write in written.drain(..).filter(|write| write.outcome == Outcome::Unanswered) {
                if write.version == *found { settled.stored += 1 } else { settled.others += 1 }
            }
        }
        Ok(settled)
    }

    fn explain(&self, target: usize, found: Version) -> Result<()> {
        let (before, settled) = self.settled[target];
        let written = &self.written[target];
        let acknowledged = written.iter().filter_map(|write| match write.outcome {
            Outcome::Acknowledged(at) => Some((write, at)),
            _ => None,
        });
        let latest = acknowledged.map(|(write, _)| (write.sent, write.version)).max();
        let ends = |write: &Write| match write.outcome {
            Outcome::Acknowledged(at) => at,
            _ => u64::MAX,
        };
        let from = written.iter().filter(|write| write.version == found).map(ends);
        let Some(ended) = from.chain((before == found).then_some(settled)).max() else {
            bail!("{} is shown, which was not written since {} was", shown(found), shown(before));
        };
        match latest {
            Some((sent, version)) if sent > ended => {
                bail!("{} is shown, though {} was acknowledged later", shown(found), shown(version))
            }
            _ => Ok(()),
        }
    }
}

fn shown(version: Version) -> String {
    version.map_or_else(|| "nothing".to_owned(), |version| format!("version {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: usize = 0;

    fn write(version: Version, sent: u64, outcome: Outcome) -> Write {
        Write { target: TARGET, version, sent, outcome }
    }

    fn acknowledged(version: Version, sent: u64, at: u64) -> Write {
        write(version, sent, Outcome::Acknowledged(at))
    }

    fn unanswered(version: Version, sent: u64) -> Write {
        write(version, sent, Outcome::Unanswered)
    }

    /// Whether this may be found of the first target after these writes.
    fn judged(ledger: &mut Ledger, writes: &[Write], found: Version) -> Result<Settled, String> {
        let mut all: Vec<Version> = (0..ledger.targets.len()).map(|target| ledger.settled(target)).collect();
        all[TARGET] = found;
        // Settling takes a tick that must be later than those written here.
        while ledger.clock.tick() < 100 {}
        writes.iter().for_each(|write| ledger.enter(*write));
        ledger.judge(&all).map_err(|error| error.to_string())
    }

    fn once(writes: &[Write], found: Version) -> Result<Settled, String> {
        judged(&mut Ledger::new(1), writes, found)
    }

    #[test]
    fn what_was_acknowledged_last_is_found() {
        let writes = [acknowledged(Some(1), 1, 2), acknowledged(Some(2), 3, 4)];
        assert!(once(&writes, Some(2)).is_ok());
        assert!(once(&writes, Some(1)).is_err_and(|error| error.contains("version 2 was acknowledged later")));
        assert!(once(&writes, None).is_err_and(|error| error.contains("nothing is shown")));
        assert!(once(&writes, Some(3)).is_err_and(|error| error.contains("was not written")));
        let removed = [acknowledged(Some(1), 1, 2), acknowledged(None, 3, 4)];
        assert!(once(&removed, None).is_ok());
        assert!(once(&removed, Some(1)).is_err());
    }

    #[test]
    fn of_those_at_once_any_may_be_the_last() {
        let writes = [acknowledged(Some(1), 1, 4), acknowledged(Some(2), 2, 3), acknowledged(None, 2, 5)];
        for found in [Some(1), Some(2), None] {
            assert!(once(&writes, found).is_ok(), "{found:?}");
        }
    }

    #[test]
    fn what_was_not_answered_may_be_found_and_no_later() {
        let writes = [acknowledged(Some(1), 1, 2), unanswered(Some(2), 3)];
        assert_eq!(once(&writes, Some(1)), Ok(Settled { stored: 0, others: 1 }));
        assert_eq!(once(&writes, Some(2)), Ok(Settled { stored: 1, others: 0 }));
        let mut ledger = Ledger::new(1);
        assert!(judged(&mut ledger, &writes, Some(1)).is_ok());
        assert!(judged(&mut ledger, &[], Some(1)).is_ok());
        assert!(judged(&mut ledger, &[], Some(2)).is_err_and(|error| error.contains("version 2 is shown")));
        assert!(judged(&mut ledger, &[], None).is_err());
    }

    #[test]
    fn refused_ones_are_none() {
        let writes = [acknowledged(Some(1), 1, 2), write(Some(2), 3, Outcome::Refused)];
        assert!(once(&writes, Some(1)).is_ok());
        assert!(once(&writes, Some(2)).is_err());
    }
}
