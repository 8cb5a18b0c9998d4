//! Each contradiction is found, and what may happen is let pass.

use super::*;

fn content(n: u8) -> Digest {
    [n; 16]
}

fn row(op: char, n: u8) -> Row {
    Row { nid: 0, op, content: content(n) }
}

/// Contents in the order in which they took effect, as Nacos keeps them.
fn state(order: &[u8]) -> KeyState {
    let mut history: Vec<Row> = order.first().map(|first| row('I', *first)).into_iter().collect();
    history.extend(order.iter().take(order.len().saturating_sub(1)).map(|n| row('U', *n)));
    KeyState { current: order.last().map(|n| content(*n)), history }
}

/// A publish of `n`, sent and acknowledged at these ticks.
fn acknowledged(n: u8, sent: u64, at: u64) -> Publish {
    Publish { key: 0, content: content(n), compares: None, sent, outcome: Outcome::Acknowledged(at) }
}

fn unanswered(n: u8, sent: u64) -> Publish {
    Publish { outcome: Outcome::Unanswered, ..acknowledged(n, sent, 0) }
}

fn swap(publish: Publish, compared: u8) -> Publish {
    Publish { compares: Some(content(compared)), ..publish }
}

fn ledger(publishes: &[Publish]) -> Ledger {
    let mut ledger = Ledger::new(vec!["key".to_owned()]);
    // Settling takes a tick that must be later than those written here.
    ledger.clock.0.store(1_000, Ordering::SeqCst);
    for publish in publishes {
        ledger.enter(publish.clone());
    }
    ledger
}

#[track_caller]
fn passes(publishes: &[Publish], state: KeyState) {
    if let Err(error) = ledger(publishes).judge(&[state]) {
        panic!("{error}");
    }
}

#[track_caller]
fn fails(publishes: &[Publish], state: KeyState, with: &str) {
    match ledger(publishes).judge(&[state]) {
        Ok(_) => panic!("passed, and should fail with {with}"),
        Err(error) => assert!(error.to_string().contains(with), "{error}"),
    }
}

#[test]
fn acknowledged_in_order() {
    passes(&[acknowledged(1, 0, 1), acknowledged(2, 2, 3), acknowledged(3, 4, 5)], state(&[1, 2, 3]));
    passes(&[], state(&[]));
}

#[test]
fn concurrent_publishes_in_any_order() {
    let both = [acknowledged(1, 0, 3), acknowledged(2, 1, 2)];
    passes(&both, state(&[1, 2]));
    passes(&both, state(&[2, 1]));
}

#[test]
fn current_content_that_was_overwritten() {
    fails(&[acknowledged(1, 0, 1), acknowledged(2, 2, 3)], state(&[2, 1]), "was overwritten");
    // An unanswered publish that is stored took effect after what was acknowledged before it was sent.
    fails(&[acknowledged(1, 0, 1), unanswered(2, 2)], state(&[2, 1]), "was overwritten");
}

#[test]
fn unanswered_publish_may_be_anywhere_after_its_sending() {
    let publishes = [acknowledged(1, 0, 1), unanswered(2, 2), acknowledged(3, 3, 4)];
    passes(&publishes, state(&[1, 2, 3]));
    passes(&publishes, state(&[1, 3, 2]));
    passes(&publishes, state(&[1, 3]));
    fails(&publishes, state(&[2, 1, 3]), "the first content");
}

#[test]
fn acknowledged_publish_lost() {
    let publishes = [acknowledged(1, 0, 1), acknowledged(2, 2, 3)];
    fails(&publishes, state(&[1]), "is lost");
    fails(&publishes, state(&[]), "is lost");
}

#[test]
fn history_row_missing_or_too_many() {
    let publishes = [acknowledged(1, 0, 1), acknowledged(2, 2, 3)];
    let mut without_insert = state(&[1, 2]);
    without_insert.history.remove(0);
    fails(&publishes, without_insert, "1 history rows for 2");
    let mut without_update = state(&[1, 2]);
    without_update.history.remove(1);
    fails(&publishes, without_update, "is lost");
    let mut doubled = state(&[1, 2]);
    doubled.history.push(row('U', 1));
    fails(&publishes, doubled, "took effect 2 times");
    let mut deleted = state(&[1, 2]);
    deleted.history.push(row('D', 2));
    fails(&publishes, deleted, "says 'D'");
}

#[test]
fn content_nobody_published_or_that_was_refused() {
    fails(&[acknowledged(1, 0, 1)], state(&[1, 9]), "never published");
    let refused = Publish { outcome: Outcome::Refused, ..swap(acknowledged(2, 2, 3), 9) };
    passes(&[acknowledged(1, 0, 1), refused.clone()], state(&[1]));
    fails(&[acknowledged(1, 0, 1), refused], state(&[1, 2]), "though refused");
}

#[test]
fn swaps() {
    let first = acknowledged(1, 0, 1);
    let second = swap(acknowledged(2, 2, 5), 1);
    passes(&[first.clone(), second.clone()], state(&[1, 2]));
    let twice = [first.clone(), second.clone(), swap(acknowledged(3, 3, 6), 1)];
    fails(&twice, state(&[1, 2, 3]), "both replaced");
    let over_nothing = [first.clone(), swap(acknowledged(2, 2, 3), 9)];
    fails(&over_nothing, state(&[1, 2]), "never took effect");
    // 2 was acknowledged before 3 was sent, so it stood between 1 and 3.
    let blind = [first.clone(), acknowledged(2, 2, 3), swap(acknowledged(3, 4, 5), 1)];
    fails(&blind, state(&[1, 2, 3]), "came between");
    let concurrent = [first.clone(), acknowledged(2, 2, 6), swap(acknowledged(3, 4, 5), 1)];
    passes(&concurrent, state(&[1, 3, 2]));
    let undone = [acknowledged(1, 0, 9), swap(acknowledged(2, 2, 8), 1)];
    fails(&undone, state(&[2, 1]), "which is current");
}

#[test]
fn unanswered_publish_is_settled_for_good() {
    let mut ledger = ledger(&[acknowledged(1, 0, 1), unanswered(2, 2), unanswered(3, 3)]);
    assert_eq!(ledger.judge(&[state(&[1, 2])]).ok(), Some(Settled { stored: 1, lost: 1 }));
    assert!(ledger.judge(&[state(&[1])]).is_err_and(|error| error.to_string().contains("is lost")));
    assert!(
        ledger.judge(&[state(&[1, 2, 3])]).is_err_and(|error| error.to_string().contains("not found after the crash"))
    );
    // What is published in the next round comes after it.
    let at = ledger.clock.tick();
    ledger.enter(acknowledged(4, at, at + 1));
    assert!(ledger.judge(&[state(&[1, 4, 2])]).is_err_and(|error| error.to_string().contains("was overwritten")));
    assert!(ledger.judge(&[state(&[1, 2, 4])]).is_ok());
}
