//! What the results of an instance's probes add up to. Pure: no clock, no connection.

use std::time::Duration;

use super::{Outcome, Pace};

/// No instance is probed more often, whatever the switches say.
const INTERVAL_MIN_MS: u64 = 100;

/// What is remembered of an instance's probes: like results in a row, and its pace.
///
/// Follows Nacos 2.4 `HealthCheckCommonV2` and the counters of `HealthCheckStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeState {
    up: u32,
    down: u32,
    /// What the instance counted as when the last result came in.
    healthy: Option<bool>,
    interval_ms: u64,
}

impl ProbeState {
    /// Nothing is known yet; the first probe is due after `first`.
    pub fn new(first: Duration) -> Self {
        Self { up: 0, down: 0, healthy: None, interval_ms: u64::try_from(first.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Takes a result in, for an instance that counts as `healthy` until now, and says what it has to count as from
    /// now on if that is something else.
    ///
    /// `check_times` like results in a row change it, either way; [`Outcome::DownNow`] alone does. A result that
    /// says the same as before counts nothing, but ends the other row. As long as the change did not come about,
    /// each further like result asks for it again. Once the instance counts as something else, by this or by another
    /// hand, the rows begin anew.
    pub fn observe(&mut self, outcome: &Outcome, healthy: bool, check_times: u32) -> Option<bool> {
        if self.healthy.replace(healthy) != Some(healthy) {
            (self.up, self.down) = (0, 0);
        }
        match outcome {
            Outcome::Up => {
                self.down = 0;
                if healthy {
                    return None;
                }
                self.up = self.up.saturating_add(1);
                (self.up >= check_times).then_some(true)
            }
            Outcome::Slow(_) | Outcome::Down(_) => {
                self.up = 0;
                if !healthy {
                    return None;
                }
                self.down = self.down.saturating_add(1);
                (self.down >= check_times).then_some(false)
            }
            Outcome::DownNow(_) => {
                self.up = 0;
                healthy.then_some(false)
            }
            Outcome::Untried(_) => None,
        }
    }

    /// Takes in how long a probe took, for the interval until the next: an answer counts with its time, one that was
    /// slow with twice the interval so far, a failure with the longest.
    pub fn pace(&mut self, outcome: &Outcome, took: Duration, pace: Pace) {
        let response_ms = match outcome {
            Outcome::Up => u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            Outcome::Slow(_) | Outcome::Untried(_) => self.interval_ms.saturating_mul(2),
            Outcome::Down(_) | Outcome::DownNow(_) => pace.max_ms,
        };
        let factor = f64::from(pace.factor);
        // A factor that is no number gives 0, and so the shortest time.
        let smoothed = (factor * self.interval_ms as f64 + (1.0 - factor) * response_ms as f64) as u64;
        self.interval_ms = smoothed.min(pace.max_ms).max(pace.min_ms).max(INTERVAL_MIN_MS);
    }

    /// The time from the start of one probe to the start of the next.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::health::probe::ProbeParams;

    const UP: Outcome = Outcome::Up;
    const SLOW: Outcome = Outcome::Slow(std::borrow::Cow::Borrowed(""));
    const DOWN: Outcome = Outcome::Down(std::borrow::Cow::Borrowed(""));
    const NOW: Outcome = Outcome::DownNow(std::borrow::Cow::Borrowed(""));
    const UNTRIED: Outcome = Outcome::Untried(std::borrow::Cow::Borrowed(""));

    fn state() -> ProbeState {
        ProbeState::new(Duration::from_secs(2))
    }

    /// The changes that a row of results asks for, from a state in which each change comes about.
    fn changes(mut healthy: bool, check_times: u32, outcomes: &[Outcome]) -> Vec<Option<bool>> {
        let mut state = state();
        outcomes
            .iter()
            .map(|outcome| {
                let change = state.observe(outcome, healthy, check_times);
                healthy = change.unwrap_or(healthy);
                change
            })
            .collect()
    }

    #[test]
    fn three_like_results_in_a_row_change_the_health() {
        assert_eq!(changes(true, 3, &[DOWN, SLOW, DOWN, DOWN]), [None, None, Some(false), None]);
        assert_eq!(changes(false, 3, &[UP, UP, UP, UP]), [None, None, Some(true), None]);
    }

    #[test]
    fn another_result_ends_the_row() {
        assert_eq!(changes(true, 3, &[DOWN, DOWN, UP, DOWN, DOWN]), [None; 5]);
        assert_eq!(changes(false, 3, &[UP, UP, SLOW, UP, UP]), [None; 5]);
        assert_eq!(changes(false, 2, &[UP, NOW, UP, UP]), [None, None, None, Some(true)]);
    }

    #[test]
    fn a_certain_failure_needs_no_second() {
        assert_eq!(changes(true, 3, &[NOW]), [Some(false)]);
        assert_eq!(changes(false, 3, &[NOW]), [None]);
        assert_eq!(changes(true, 3, &[NOW, UP, UP, UP]), [Some(false), None, None, Some(true)]);
    }

    #[test]
    fn what_was_not_tried_changes_and_ends_nothing() {
        assert_eq!(changes(true, 2, &[DOWN, UNTRIED, DOWN]), [None, None, Some(false)]);
        assert_eq!(changes(false, 2, &[UP, UNTRIED, UP]), [None, None, Some(true)]);
    }

    #[test]
    fn without_a_row_the_first_result_counts() {
        for check_times in [0, 1] {
            assert_eq!(changes(true, check_times, &[DOWN]), [Some(false)]);
            assert_eq!(changes(false, check_times, &[UP]), [Some(true)]);
        }
    }

    #[test]
    fn a_change_that_does_not_come_about_is_asked_for_again() {
        let mut state = state();
        let asked: Vec<_> = (0..5).map(|_| state.observe(&DOWN, true, 3)).collect();
        assert_eq!(asked, [None, None, Some(false), Some(false), Some(false)]);
    }

    #[test]
    fn what_another_hand_changed_begins_anew() {
        let mut state = state();
        assert_eq!([(); 3].map(|()| state.observe(&DOWN, true, 3)), [None, None, Some(false)]);
        assert_eq!(state.observe(&DOWN, false, 3), None);
        assert_eq!(state.observe(&DOWN, true, 3), None, "registered again as healthy");
    }

    #[test]
    fn the_interval_follows_the_response_time_within_its_bounds() {
        let tcp = ProbeParams::default().tcp;
        let mut state = ProbeState::new(Duration::from_millis(4000));
        state.pace(&UP, Duration::from_millis(2), tcp);
        assert_eq!(state.interval(), Duration::from_millis(3000), "0.75 x 4000 + 0.25 x 2, cut");
        for _ in 0..20 {
            state.pace(&UP, Duration::from_millis(2), tcp);
        }
        assert_eq!(state.interval(), Duration::from_millis(1000));
        state.pace(&SLOW, Duration::ZERO, tcp);
        assert_eq!(state.interval(), Duration::from_millis(1250), "0.75 x 1000 + 0.25 x 2000");
        state.pace(&NOW, Duration::ZERO, tcp);
        assert_eq!(state.interval(), Duration::from_millis(2187), "0.75 x 1250 + 0.25 x 5000, cut");
        for _ in 0..40 {
            state.pace(&DOWN, Duration::ZERO, tcp);
        }
        assert!(state.interval() >= Duration::from_millis(4990), "{:?}", state.interval());
    }

    #[test]
    fn each_kind_has_bounds_of_its_own() {
        let params = ProbeParams::default();
        for (pace, shortest, longest) in
            [(params.tcp, 1000, 5000), (params.http, 500, 5000), (params.mysql, 2000, 3000)]
        {
            let mut state = ProbeState::new(Duration::from_secs(7));
            (0..60).for_each(|_| state.pace(&UP, Duration::ZERO, pace));
            assert_eq!(state.interval(), Duration::from_millis(shortest));
            (0..60).for_each(|_| state.pace(&SLOW, Duration::ZERO, pace));
            assert_eq!(state.interval(), Duration::from_millis(longest));
        }
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![Just(UP), Just(SLOW), Just(DOWN), Just(NOW), Just(UNTRIED)]
    }

    proptest! {
        /// Against a count over the whole history.
        #[test]
        fn the_health_is_that_of_the_last_row(
            start in any::<bool>(),
            check_times in 1_u32..5,
            outcomes in proptest::collection::vec(outcome(), 0..60),
        ) {
            let mut state = state();
            let mut healthy = start;
            let mut model = start;
            for (index, outcome) in outcomes.iter().enumerate() {
                healthy = state.observe(outcome, healthy, check_times).unwrap_or(healthy);
                let told: Vec<_> = outcomes[..=index].iter().rev().filter(|one| **one != UNTRIED).collect();
                let row = told.iter().take_while(|one| (***one == UP) == (*told[0] == UP)).count() as u32;
                match told.first() {
                    Some(Outcome::Up) if row >= check_times => model = true,
                    Some(Outcome::DownNow(_)) => model = false,
                    Some(Outcome::Slow(_) | Outcome::Down(_)) => {
                        // A certain failure in the row has decided already.
                        let counted = told[..row as usize].iter().filter(|one| ***one != NOW).count() as u32;
                        if counted >= check_times { model = false; }
                    }
                    _ => {}
                }
                if outcome != &UNTRIED { prop_assert_eq!(healthy, model, "after {}", index); }
            }
        }

        #[test]
        fn no_switch_makes_it_spin(
            max_ms in any::<u64>(), min_ms in any::<u64>(), factor in any::<f32>(),
            outcomes in proptest::collection::vec(outcome(), 1..20),
        ) {
            let mut state = state();
            for outcome in &outcomes {
                state.pace(outcome, Duration::from_millis(1), Pace { max_ms, min_ms, factor });
                prop_assert!(state.interval() >= Duration::from_millis(INTERVAL_MIN_MS));
            }
        }
    }
}
