//! Switches that operators set by publishing configurations of special names, in group `DEFAULT_GROUP` of the public
//! namespace (Nacos `SwitchService`, `AggrWhitelist`): waiting times of long polls, and the dataIds whose single
//! publish is refused because they are aggregated elsewhere.

use std::{collections::HashMap, time::Duration};

use nacos_core::key::{ConfigKey, DEFAULT_GROUP};
use parking_lot::RwLock;

const SWITCHES: &str = "com.alibaba.nacos.meta.switch";
const AGGREGATED: &str = "com.alibaba.nacos.metadata.aggrIDs";

/// The switches as they stand.
#[derive(Debug, Default)]
pub struct Switches {
    values: RwLock<HashMap<String, String>>,
    aggregated: RwLock<Vec<String>>,
}

impl Switches {
    /// All switches at their defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over a formal content that was dumped, if it is one of the special ones.
    pub fn observe(&self, key: &ConfigKey, content: Option<&str>) {
        if key.group() != DEFAULT_GROUP || !key.namespace().is_empty() {
            return;
        }
        match key.data_id() {
            SWITCHES => *self.values.write() = read_switches(content.unwrap_or_default()),
            AGGREGATED => {
                let lines = content.unwrap_or_default().lines().map(str::trim);
                *self.aggregated.write() = lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
            }
            _ => {}
        }
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.values.read().get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    fn flag(&self, name: &str) -> bool {
        self.values.read().get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// By how much a long poll is answered before the client's own time is up. `fixedDelayTime`, 500 ms.
    pub fn fixed_delay(&self) -> Duration {
        Duration::from_millis(self.number("fixedDelayTime", 500))
    }

    /// The least time that a long poll is held. `MIN_LONG_POOLING_TIMEOUT`, 10 s.
    pub fn hold_min(&self) -> Duration {
        Duration::from_millis(self.number("MIN_LONG_POOLING_TIMEOUT", 10_000))
    }

    /// Whether long polls are held for a fixed time whatever changes (Nacos 1.x `isFixedPolling`), and for how
    /// long: `fixedPollingInertval` (spelt so), at least 10 s.
    pub fn fixed_polling(&self) -> Option<Duration> {
        (self.flag("isFixedPolling") || self.flag("fixedPolling"))
            .then(|| Duration::from_millis(self.number("fixedPollingInertval", 10_000).max(10_000)))
    }

    /// Whether single publishes of this dataId are refused. A pattern's `*` matches anything.
    pub fn is_aggregated(&self, data_id: &str) -> bool {
        self.aggregated.read().iter().any(|pattern| glob(pattern, data_id))
    }
}

fn read_switches(text: &str) -> HashMap<String, String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// Whether `text` is `pattern` with every `*` standing for some letters. In time linear in the text for each piece
/// of the pattern; no regular expression.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_read_from_their_config_alone() {
        let switches = Switches::new();
        let text = "# comment\nfixedDelayTime = 100\nisFixedPolling=true\nfixedPollingInertval=500\nnonsense\n";
        switches.observe(&ConfigKey::new(SWITCHES, "other", ""), Some(text));
        assert_eq!(switches.fixed_delay(), Duration::from_millis(500));
        switches.observe(&ConfigKey::new(SWITCHES, DEFAULT_GROUP, ""), Some(text));
        assert_eq!(switches.fixed_delay(), Duration::from_millis(100));
        assert_eq!(switches.fixed_polling(), Some(Duration::from_secs(10)));
        switches.observe(&ConfigKey::new(SWITCHES, DEFAULT_GROUP, ""), None);
        assert_eq!(switches.fixed_polling(), None);
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, matches) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("*", "", true),
            ("a*b*a", "aba", true),
            ("a*a", "a", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
        let switches = Switches::new();
        switches.observe(&ConfigKey::new(AGGREGATED, DEFAULT_GROUP, ""), Some("agg.*\n\nexact\n"));
        assert!(switches.is_aggregated("agg.x") && switches.is_aggregated("exact"));
        assert!(!switches.is_aggregated("other") && !switches.is_aggregated(""));
    }
}
