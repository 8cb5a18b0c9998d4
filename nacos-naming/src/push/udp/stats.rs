//! How many pushes there were, and how they ended: one account for all transports of a server.

use std::{sync::Arc, time::Duration};

use nacos_core::metrics::Metrics;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// Costs are told of the present minute (Nacos `PerformanceLoggerThread.PERIOD`).
const WINDOW: Duration = Duration::from_secs(60);
/// A cost while there is none.
const NONE: i64 = -1;

/// The account of pushes, over UDP and over gRPC. Each is counted once, when its end is known (Nacos 2.4
/// `MetricsMonitor`, `NacosMonitorPushResultHook`).
///
/// Nacos sets it back to nothing at midnight too (`PerformanceLoggerThread.refreshMetrics`); whoever owns it calls
/// [`PushStats::reset`] for that.
#[derive(Debug)]
pub struct PushStats {
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    total: i64,
    failed: i64,
    empty: i64,
    /// The start of the minute that the costs below are of.
    window: Instant,
    costs: i64,
    cost_sum_ms: i64,
    cost_max_ms: i64,
}

/// The answer of `GET /v1/ns/operator/push/state`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PushState {
    /// Pushes that clients acknowledged.
    pub succeed: i64,
    /// All whose end is known.
    pub total: i64,
    /// The part of them that succeeded, 0 to 1.
    pub ratio: Ratio,
    /// Costs, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<PushDetail>,
    /// Whether the account was set back by this question.
    pub reset: bool,
}

/// What pushes cost, from the change to the client's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PushDetail {
    /// The mean of this minute in milliseconds, -1 if there is none or it is 0.
    pub avg_push_cost: i64,
    /// The longest of this minute in milliseconds, -1 if there is none.
    pub max_push_cost: i64,
}

/// The part of pushes that succeeded, as Jackson writes it: `0` as long as there was none, else a float.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Ratio {
    /// There was no push.
    Nothing(i64),
    /// 0.0 to 1.0
    Part(f32),
}

impl PushStats {
    /// An empty account.
    pub fn new() -> Self {
        Self { numbers: Mutex::new(Numbers::new()) }
    }

    /// Shows the account in Nacos' gauges `totalPush`, `failedPush`, `emptyPush`, `avgPushCost` and `maxPushCost`.
    pub fn show_in(self: &Arc<Self>, metrics: &Metrics) {
        let names = ["totalPush", "failedPush", "emptyPush", "avgPushCost", "maxPushCost"];
        let gauges = names.map(|name| metrics.monitor("naming", name));
        let stats = self.clone();
        metrics.before_render(move || {
            let mut numbers = stats.numbers.lock();
            let detail = numbers.detail(Instant::now());
            let values = [numbers.total, numbers.failed, numbers.empty, detail.avg_push_cost, detail.max_push_cost];
            for (gauge, value) in gauges.iter().zip(values) {
                gauge.set(value);
            }
        });
    }

    /// Counts a push that its client acknowledged after `cost`; `empty` if the list had no healthy instance.
    pub fn succeeded(&self, cost: Duration, empty: bool) {
        let cost_ms = i64::try_from(cost.as_millis()).unwrap_or(i64::MAX);
        let mut numbers = self.numbers.lock();
        numbers.roll(Instant::now());
        numbers.total += 1;
        numbers.empty += i64::from(empty);
        numbers.costs += 1;
        numbers.cost_sum_ms = numbers.cost_sum_ms.saturating_add(cost_ms);
        numbers.cost_max_ms = numbers.cost_max_ms.max(cost_ms);
    }

    /// Counts a push that did not reach its client.
    pub fn failed(&self) {
        let mut numbers = self.numbers.lock();
        numbers.total += 1;
        numbers.failed += 1;
    }

    /// The account, with what pushes cost if `detail`, and empty afterwards if `reset`.
    pub fn state(&self, detail: bool, reset: bool) -> PushState {
        let mut numbers = self.numbers.lock();
        let succeed = numbers.total - numbers.failed;
        let ratio = match numbers.total {
            0 => Ratio::Nothing(0),
            total => Ratio::Part(succeed as f32 / total as f32),
        };
        let detail = detail.then(|| numbers.detail(Instant::now()));
        let state = PushState { succeed, total: numbers.total, ratio, detail, reset };
        if reset {
            *numbers = Numbers::new();
        }
        state
    }

    /// Sets the account back to nothing.
    pub fn reset(&self) {
        *self.numbers.lock() = Numbers::new();
    }
}

impl Default for PushStats {
    fn default() -> Self {
        Self::new()
    }
}

impl Numbers {
    fn new() -> Self {
        let window = Instant::now();
        Self { total: 0, failed: 0, empty: 0, window, costs: 0, cost_sum_ms: 0, cost_max_ms: NONE }
    }

    /// Forgets the costs of a minute that is over.
    fn roll(&mut self, now: Instant) {
        if now - self.window >= WINDOW {
            self.window = now;
            (self.costs, self.cost_sum_ms, self.cost_max_ms) = (0, 0, NONE);
        }
    }

    fn detail(&mut self, now: Instant) -> PushDetail {
        self.roll(now);
        let known = self.costs > 0 && self.cost_sum_ms > 0;
        PushDetail {
            avg_push_cost: if known { self.cost_sum_ms / self.costs } else { NONE },
            max_push_cost: self.cost_max_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::advance;

    use super::*;

    fn shown(stats: &PushStats, detail: bool, reset: bool) -> serde_json::Value {
        serde_json::to_value(stats.state(detail, reset)).unwrap()
    }

    const MILLIS: fn(u64) -> Duration = Duration::from_millis;

    #[tokio::test(start_paused = true)]
    async fn an_empty_account_is_shown_as_nacos_shows_it() {
        let stats = PushStats::new();
        let text = serde_json::to_string(&stats.state(true, false)).unwrap();
        let costs = r#"{"avgPushCost":-1,"maxPushCost":-1}"#;
        assert_eq!(text, format!(r#"{{"succeed":0,"total":0,"ratio":0,"detail":{costs},"reset":false}}"#));
        let text = serde_json::to_string(&stats.state(false, true)).unwrap();
        assert_eq!(text, r#"{"succeed":0,"total":0,"ratio":0,"reset":true}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn pushes_are_counted() {
        let stats = PushStats::new();
        stats.succeeded(MILLIS(500), false);
        stats.succeeded(MILLIS(701), true);
        stats.failed();
        let text = serde_json::to_string(&stats.state(false, false)).unwrap();
        assert_eq!(text, r#"{"succeed":2,"total":3,"ratio":0.6666667,"reset":false}"#);
        assert_eq!(shown(&stats, true, true)["detail"], json!({"avgPushCost": 600, "maxPushCost": 701}));
        assert_eq!(shown(&stats, false, false), json!({"succeed": 0, "total": 0, "ratio": 0, "reset": false}));
    }

    #[tokio::test(start_paused = true)]
    async fn costs_are_of_one_minute() {
        let stats = PushStats::new();
        stats.succeeded(MILLIS(900), false);
        advance(WINDOW - MILLIS(1)).await;
        assert_eq!(stats.state(true, false).detail.unwrap().max_push_cost, 900);
        advance(MILLIS(1)).await;
        let state = stats.state(true, false);
        assert_eq!(state.detail.unwrap(), PushDetail { avg_push_cost: NONE, max_push_cost: NONE });
        assert_eq!(state.total, 1);
        stats.succeeded(MILLIS(0), false);
        let detail = stats.state(true, false).detail.unwrap();
        assert_eq!(detail, PushDetail { avg_push_cost: NONE, max_push_cost: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn the_gauges_show_it() {
        let (stats, metrics) = (Arc::new(PushStats::new()), Metrics::new());
        stats.show_in(&metrics);
        stats.succeeded(MILLIS(20), true);
        stats.failed();
        let text = metrics.render();
        for (name, value) in
            [("totalPush", 2), ("failedPush", 1), ("emptyPush", 1), ("avgPushCost", 20), ("maxPushCost", 20)]
        {
            let line = format!("nacos_monitor{{module=\"naming\",name=\"{name}\"}} {value}");
            assert!(text.contains(&line), "{line} missing in:\n{text}");
        }
    }
}
