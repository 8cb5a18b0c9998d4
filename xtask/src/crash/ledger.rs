//! What was published, what was answered, and therefore what the server may hold.
//!
//! Every content is unique, so a stored content names the publish that wrote it. Nacos' history keeps an `I` row
//! with the first content of a key, and for every later publish a `U` row with the content *before* it. The contents
//! of the `U` rows together with the current one are thus all the publishes that took effect, each once, and there
//! are as many history rows as such publishes.
//!
//! Times are ticks of one counter, taken before a request is sent and after its answer was read: if one publish was
//! answered before another was sent, it took effect before it. Nothing else is known about the order of concurrent
//! publishes (a history id is made before the commit, so ids need not stand in the order of commits), except what
//! compare-and-set says: it took effect right after the content that it compared with.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Result, bail};

/// The MD5 of a content; stands for the content and for the publish that wrote it.
pub type Digest = [u8; 16];

/// Which key, as an index.
pub type Key = usize;

/// A counter that every publisher takes ticks from.
#[derive(Clone, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// A tick later than all before it.
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with success, at this tick: it must be found.
    Acknowledged(u64),
    /// Its comparison failed: it must not be found.
    Refused,
    /// Answered that the database is away, and so nothing was written: it must not be found.
    TurnedAway,
    /// Not answered, or answered that nobody knows: it may be found. [`Ledger::judge`] settles which.
    Unanswered,
}

/// One publish, as its publisher saw it.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where to.
    pub key: Key,
    /// What.
    pub content: Digest,
    /// The content that must be stored for it to take effect, if it compares.
    pub compares: Option<Digest>,
    /// The tick before it was sent.
    pub sent: u64,
    /// What it was answered.
    pub outcome: Outcome,
}

/// A row of a key's history.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its id.
    pub nid: i64,
    /// `I` or `U`; anything else was not asked for.
    pub op: char,
    /// The content that it keeps.
    pub content: Digest,
}

/// What the database holds of a key.
#[derive(Debug, Clone, Default)]
pub struct KeyState {
    /// The content now.
    pub current: Option<Digest>,
    /// The history, in any order.
    pub history: Vec<Row>,
}

/// What became of the publishes that were not answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Found in the database.
    pub stored: usize,
    /// Not found; they must never turn up later.
    pub lost: usize,
}

/// All publishes to a data folder.
pub struct Ledger {
    clock: Clock,
    /// DataIds, by key.
    names: Vec<String>,
    keys: Vec<HashMap<Digest, Entry>>,
}

/// A publish in the ledger.
struct Entry {
    sent: u64,
    compares: Option<Digest>,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Took effect at this tick at the latest.
    Stored(u64),
    /// Did not and will not take effect.
    Absent(&'static str),
    Open,
}

impl Ledger {
    /// Nothing published yet to these dataIds.
    pub fn new(names: Vec<String>) -> Self {
        Self { clock: Clock::default(), keys: names.iter().map(|_| HashMap::new()).collect(), names }
    }

    /// The clock that publishers take their ticks from.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The dataIds, by key.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Enters a publish.
    pub fn enter(&mut self, publish: Publish) {
        let fate = match publish.outcome {
            Outcome::Acknowledged(at) => Fate::Stored(at),
            Outcome::Refused => Fate::Absent("refused"),
            Outcome::TurnedAway => Fate::Absent("answered that the database is away"),
            Outcome::Unanswered => Fate::Open,
        };
        let entry = Entry { sent: publish.sent, compares: publish.compares, fate };
        self.keys[publish.key].insert(publish.content, entry);
    }

    /// Compares what is stored (by key) with what was published, and settles what became of unanswered publishes.
    /// Nothing may be in flight: the server is dead, or has answered all.
    ///
    /// # Errors
    /// Every way in which they contradict one another, up to ten.
    pub fn judge(&mut self, stored: &[KeyState]) -> Result<Settled> {
        let mut wrong = Vec::new();
        for ((name, entries), state) in self.names.iter().zip(&self.keys).zip(stored) {
            wrong.extend(contradictions(entries, state).into_iter().map(|what| format!("{name}: {what}")));
        }
        if stored.len() != self.keys.len() {
            wrong.push(format!("{} keys are stored, {} were published", stored.len(), self.keys.len()));
        }
        if !wrong.is_empty() {
            let more = wrong.len().saturating_sub(10);
            wrong.truncate(10);
            bail!("{}{}", wrong.join("; "), if more > 0 { format!("; and {more} more") } else { String::new() });
        }
        let mut settled = Settled::default();
        let now = self.clock.tick();
        for (entries, state) in self.keys.iter_mut().zip(stored) {
            let found = versions(state);
            for (content, entry) in entries.iter_mut().filter(|(_, entry)| entry.fate == Fate::Open) {
                if found.contains_key(content) {
                    entry.fate = Fate::Stored(now);
                    settled.stored += 1;
                } else {
                    entry.fate = Fate::Absent("never answered and not found after the crash");
                    settled.lost += 1;
                }
            }
        }
        Ok(settled)
    }
}

/// Every content that took effect, and how often.
fn versions(state: &KeyState) -> HashMap<Digest, usize> {
    let mut found = HashMap::new();
    let before = state.history.iter().filter(|row| row.op == 'U').map(|row| row.content);
    for content in before.chain(state.current) {
        *found.entry(content).or_default() += 1;
    }
    found
}

/// How the state of one key contradicts what was published to it.
fn contradictions(entries: &HashMap<Digest, Entry>, state: &KeyState) -> Vec<String> {
    let found = versions(state);
    let mut wrong = Vec::new();
    for (content, times) in &found {
        match entries.get(content).map(|entry| entry.fate) {
            None => wrong.push(format!("content {} was never published", hex(content))),
            Some(Fate::Absent(why)) => wrong.push(format!("content {} is stored, though {why}", hex(content))),
            Some(_) if *times > 1 => wrong.push(format!("content {} took effect {times} times", hex(content))),
            Some(_) => {}
        }
    }
    for (content, entry) in entries {
        if matches!(entry.fate, Fate::Stored(_)) && !found.contains_key(content) {
            wrong.push(format!("acknowledged content {} is lost", hex(content)));
        }
    }
    wrong.extend(wrong_history(state, found.len()));
    if wrong.is_empty() {
        // The order can be judged only of contents that are known.
        let applied: HashMap<Digest, &Entry> =
            found.keys().filter_map(|content| Some((*content, entries.get(content)?))).collect();
        wrong.extend(wrong_order(&applied, state));
    }
    wrong
}

/// Rows that do not belong to this many publishes that took effect.
fn wrong_history(state: &KeyState, applied: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    if state.history.len() != applied {
        wrong.push(format!("{} history rows for {applied} publishes that took effect", state.history.len()));
    }
    if let Some(row) = state.history.iter().find(|row| !matches!(row.op, 'I' | 'U')) {
        wrong.push(format!("history row {} says {:?}", row.nid, row.op));
    }
    let inserts = state.history.iter().filter(|row| row.op == 'I').count();
    if inserts != usize::from(state.current.is_some()) {
        wrong.push(format!("{inserts} rows of insertion in the history"));
    }
    wrong
}

/// First and current contents, and comparisons, that no order of the publishes explains.
fn wrong_order(applied: &HashMap<Digest, &Entry>, state: &KeyState) -> Vec<String> {
    let mut wrong = Vec::new();
    let order = Order::of(applied);
    if let Some(current) = state.current
        && let Some(entry) = applied.get(&current)
        && order.latest_sent > entry.ended()
    {
        wrong.push(format!("current content {} was overwritten by an acknowledged publish", hex(&current)));
    }
    for row in state.history.iter().filter(|row| row.op == 'I') {
        match applied.get(&row.content) {
            None => wrong.push(format!("the first content {} never took effect", hex(&row.content))),
            Some(entry) if order.earliest_ended < entry.sent => {
                wrong.push(format!(
                    "the first content {} was published after another was acknowledged",
                    hex(&row.content)
                ));
            }
            Some(_) => {}
        }
    }
    let mut swapped: HashMap<Digest, Digest> = HashMap::new();
    for (content, entry) in applied {
        let Some(compared) = entry.compares else {
            continue;
        };
        if let Some(other) = swapped.insert(compared, *content) {
            wrong.push(format!("{} and {} both replaced {} by CAS", hex(content), hex(&other), hex(&compared)));
        }
        match applied.get(&compared) {
            None => wrong.push(format!("{} replaced {} by CAS, which never took effect", hex(content), hex(&compared))),
            Some(_) if state.current == Some(compared) => {
                wrong.push(format!("{} replaced {} by CAS, which is current", hex(content), hex(&compared)));
            }
            Some(before) if order.between(before.ended(), entry.sent) => {
                wrong.push(format!("{} replaced {} by CAS, though another came between", hex(content), hex(&compared)));
            }
            Some(_) => {}
        }
    }
    wrong
}

impl Entry {
    /// The tick at which it had taken effect for sure; never for one that was not answered and not settled.
    fn ended(&self) -> u64 {
        match self.fate {
            Fate::Stored(at) => at,
            Fate::Absent(_) | Fate::Open => u64::MAX,
        }
    }
}

/// What is known of the order in which publishes took effect.
struct Order {
    latest_sent: u64,
    earliest_ended: u64,
    /// By the tick at which they ended: that tick, and the latest sending among all that ended no later.
    ended: Vec<(u64, u64)>,
}

impl Order {
    fn of(applied: &HashMap<Digest, &Entry>) -> Self {
        let mut ended: Vec<(u64, u64)> = applied.values().map(|entry| (entry.ended(), entry.sent)).collect();
        ended.sort_unstable();
        let latest_sent = ended.iter().map(|(_, sent)| *sent).max().unwrap_or(0);
        let earliest_ended = ended.first().map_or(u64::MAX, |(ended, _)| *ended);
        let mut latest = 0;
        for (_, sent) in &mut ended {
            latest = latest.max(*sent);
            *sent = latest;
        }
        Self { latest_sent, earliest_ended, ended }
    }

    /// Whether some publish was sent after `from` and had taken effect before `to`.
    fn between(&self, from: u64, to: u64) -> bool {
        let before = self.ended.partition_point(|(ended, _)| *ended < to);
        before.checked_sub(1).is_some_and(|last| self.ended[last].1 > from)
    }
}

/// A digest as Nacos writes it.
pub fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
