//! Datagrams that wait for their answer, or for room to be sent. Pure: no socket, and the clock is told.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use hashbrown::HashMap;
use tokio::time::Instant;

use super::packet::{Packet, Topic};

/// A datagram to one client: where it was sent, and the number that the answer repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The client's port.
    pub(super) target: SocketAddr,
    /// The datagram's number.
    pub(super) number: u64,
}

/// What to do with a datagram that had no answer in time.
#[derive(Debug)]
pub(super) enum Overdue {
    /// Send it once more.
    Again(Key, Arc<Packet>),
    /// It failed.
    GivenUp(Key, Arc<Packet>),
}

/// The table. Each entry is in `due`, at the time of its next step.
#[derive(Debug)]
pub(super) struct Pending {
    timeout: Duration,
    max: usize,
    waiting: HashMap<Key, Waiting>,
    due: BTreeMap<(Instant, u64), Key>,
    sequence: u64,
    /// What there was no room for, first come first. Keys that wait no more are passed over.
    unsent: VecDeque<Key>,
    /// The last datagram about a topic to a client, as long as it waits.
    newest: HashMap<(SocketAddr, Topic), u64>,
}

#[derive(Debug)]
struct Waiting {
    packet: Arc<Packet>,
    due: (Instant, u64),
    /// Whether it has had its second chance.
    repeated: bool,
    /// Whether a newer one tells the same client of the same topic. It is not sent any more.
    overtaken: bool,
    /// Whether it is in `unsent`.
    unsent: bool,
}

impl Pending {
    /// An empty table: answers are waited for so long, for so many datagrams.
    pub(super) fn new(timeout: Duration, max: usize) -> Self {
        Self {
            timeout,
            max,
            waiting: HashMap::new(),
            due: BTreeMap::new(),
            sequence: 0,
            unsent: VecDeque::new(),
            newest: HashMap::new(),
        }
    }

    /// How many datagrams wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Enters a datagram before it is sent, for its answer may be quick. Gives back what had to be given up for it;
    /// `None` if it is in already, and not to be sent again.
    pub(super) fn insert(&mut self, key: Key, packet: Arc<Packet>, now: Instant) -> Option<Vec<(Key, Arc<Packet>)>> {
        if self.waiting.contains_key(&key) {
            return None;
        }
        if let Some(older) = self.newest.insert((key.target, packet.topic().clone()), key.number) {
            self.overtake(Key { number: older, ..key });
        }
        let mut given_up = Vec::new();
        while self.waiting.len() >= self.max
            && let Some((_, oldest)) = self.due.first_key_value()
        {
            let oldest = *oldest;
            given_up.extend(self.remove(&oldest).map(|packet| (oldest, packet)));
        }
        let due = self.put_due(key, now + self.timeout);
        self.waiting.insert(key, Waiting { packet, due, repeated: false, overtaken: false, unsent: false });
        Some(given_up)
    }

    fn overtake(&mut self, key: Key) {
        let Some(waiting) = self.waiting.get_mut(&key) else { return };
        if waiting.unsent && !waiting.repeated {
            // Never sent: the newer one stands for both.
            self.remove(&key);
        } else {
            waiting.overtaken = true;
        }
    }

    /// Takes out what was answered; `None` if nothing waits under this key.
    pub(super) fn acknowledged(&mut self, key: &Key) -> Option<Arc<Packet>> {
        self.remove(key)
    }

    /// Has a datagram wait for room.
    pub(super) fn wait_for_room(&mut self, key: Key) {
        if let Some(waiting) = self.waiting.get_mut(&key)
            && !std::mem::replace(&mut waiting.unsent, true)
        {
            self.unsent.push_back(key);
        }
        // Keys of what is gone would pile up as long as there is no room.
        if self.unsent.len() > 2 * self.waiting.len() + 64 {
            self.unsent.retain(|key| self.waiting.get(key).is_some_and(|waiting| waiting.unsent));
        }
    }

    /// Whether datagrams wait for room; those that come later have to queue up behind them.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The datagram to be sent next, once there is room.
    pub(super) fn first_unsent(&mut self) -> Option<(Key, Arc<Packet>)> {
        while let Some(key) = self.unsent.front() {
            match self.waiting.get(key) {
                Some(waiting) if waiting.unsent && !waiting.overtaken => return Some((*key, waiting.packet.clone())),
                _ => self.pop_unsent(),
            }
        }
        None
    }

    /// The first one in the queue was sent.
    pub(super) fn sent(&mut self, key: &Key) {
        if self.unsent.front() == Some(key) {
            self.pop_unsent();
        }
    }

    fn pop_unsent(&mut self) {
        if let Some(key) = self.unsent.pop_front()
            && let Some(waiting) = self.waiting.get_mut(&key)
        {
            waiting.unsent = false;
        }
    }

    /// When the next datagram has waited long enough.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// One datagram that has waited long enough, and what to do with it.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<Overdue> {
        let (&(at, _), &key) = self.due.first_key_value()?;
        if at > now {
            return None;
        }
        let waiting = self.waiting.get_mut(&key)?;
        if waiting.overtaken || waiting.repeated {
            return self.remove(&key).map(|packet| Overdue::GivenUp(key, packet));
        }
        waiting.repeated = true;
        let (packet, old) = (waiting.packet.clone(), waiting.due);
        self.due.remove(&old);
        let due = self.put_due(key, now + self.timeout);
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.due = due;
        }
        Some(Overdue::Again(key, packet))
    }

    fn put_due(&mut self, key: Key, at: Instant) -> (Instant, u64) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), key);
        (at, self.sequence)
    }

    /// Takes a datagram out of the tables; in `unsent` its key stays behind until it is passed over.
    fn remove(&mut self, key: &Key) -> Option<Arc<Packet>> {
        let waiting = self.waiting.remove(key)?;
        self.due.remove(&waiting.due);
        let topic = (key.target, waiting.packet.topic().clone());
        if self.newest.get(&topic) == Some(&key.number) {
            self.newest.remove(&topic);
        }
        Some(waiting.packet)
    }
}

#[cfg(test)]
mod tests {
    use nacos_core::key::ServiceKey;
    use proptest::prelude::*;

    use super::{super::packet::List, *};

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn packet(number: u64, service: &str) -> Arc<Packet> {
        let service = ServiceKey::new("public", "g", service);
        let list = List { service: &service, clusters: "", json: "{}", empty: false, since: Instant::now() };
        Arc::new(Packet::new(number, &list))
    }

    fn key(port: u16, number: u64) -> Key {
        Key { target: ([127, 0, 0, 1], port).into(), number }
    }

    #[test]
    fn it_is_sent_twice_and_then_given_up() {
        let start = Instant::now();
        let mut pending = Pending::new(TIMEOUT, 10);
        assert!(pending.insert(key(1, 1), packet(1, "s"), start).unwrap().is_empty());
        assert!(pending.insert(key(1, 1), packet(1, "s"), start).is_none(), "once is enough");
        assert_eq!(pending.next_due(), Some(start + TIMEOUT));
        assert!(pending.overdue(start + TIMEOUT - Duration::from_millis(1)).is_none());
        assert!(matches!(pending.overdue(start + TIMEOUT), Some(Overdue::Again(..))));
        assert!(pending.overdue(start + TIMEOUT).is_none());
        assert!(matches!(pending.overdue(start + 2 * TIMEOUT), Some(Overdue::GivenUp(..))));
        assert_eq!((pending.len(), pending.next_due()), (0, None));
    }

    #[test]
    fn an_answer_ends_it() {
        let start = Instant::now();
        let mut pending = Pending::new(TIMEOUT, 10);
        pending.insert(key(1, 1), packet(1, "s"), start);
        assert!(pending.acknowledged(&key(2, 1)).is_none(), "from another port");
        assert!(pending.acknowledged(&key(1, 2)).is_none(), "of another number");
        assert!(pending.acknowledged(&key(1, 1)).is_some());
        assert!(pending.acknowledged(&key(1, 1)).is_none());
        assert_eq!((pending.len(), pending.next_due(), pending.newest.len()), (0, None, 0));
    }

    #[test]
    fn what_was_overtaken_is_not_sent_again() {
        let start = Instant::now();
        let mut pending = Pending::new(TIMEOUT, 10);
        pending.insert(key(1, 1), packet(1, "s"), start);
        pending.insert(key(1, 2), packet(2, "other"), start);
        pending.insert(key(2, 3), packet(3, "s"), start);
        pending.insert(key(1, 4), packet(4, "s"), start);
        // Also if the newer one has its answer long since.
        pending.acknowledged(&key(1, 4));
        let next = |pending: &mut Pending| pending.overdue(start + TIMEOUT);
        assert!(matches!(next(&mut pending), Some(Overdue::GivenUp(gone, _)) if gone == key(1, 1)));
        assert!(matches!(next(&mut pending), Some(Overdue::Again(again, _)) if again == key(1, 2)));
        assert!(matches!(next(&mut pending), Some(Overdue::Again(again, _)) if again == key(2, 3)));
        assert!(next(&mut pending).is_none());
    }

    #[test]
    fn what_was_overtaken_before_it_was_sent_is_dropped() {
        let start = Instant::now();
        let mut pending = Pending::new(TIMEOUT, 10);
        for number in 1..=3 {
            pending.insert(key(1, number), packet(number, "s"), start);
            pending.wait_for_room(key(1, number));
        }
        assert_eq!(pending.len(), 1);
        assert_eq!(pending.first_unsent().map(|(key, _)| key), Some(key(1, 3)));
        pending.sent(&key(1, 3));
        assert!(!pending.has_unsent() && pending.first_unsent().is_none());
        assert_eq!(pending.len(), 1, "it waits for its answer");
    }

    #[test]
    fn the_queue_for_room_stays_small() {
        let mut pending = Pending::new(TIMEOUT, 10);
        for number in 0..10_000 {
            pending.insert(key(1, number), packet(number, "s"), Instant::now());
            pending.wait_for_room(key(1, number));
            assert!(pending.unsent.len() < 100);
        }
        assert_eq!(pending.first_unsent().map(|(key, _)| key), Some(key(1, 9999)));
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let start = Instant::now();
        let mut pending = Pending::new(TIMEOUT, 3);
        for port in 1..=3 {
            assert!(pending.insert(key(port, 1), packet(1, "s"), start).unwrap().is_empty());
        }
        let given_up = pending.insert(key(4, 1), packet(1, "s"), start).unwrap();
        assert_eq!(given_up.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [key(1, 1)]);
        assert_eq!(pending.len(), 3);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u16, u8),
        Answer(u16, u64),
        NoRoom(u16, u64),
        Flush,
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u16..4, 0_u8..3).prop_map(|(port, service)| Step::Insert(port, service)),
            (0_u16..4, 0_u64..40).prop_map(|(port, number)| Step::Answer(port, number)),
            (0_u16..4, 0_u64..40).prop_map(|(port, number)| Step::NoRoom(port, number)),
            Just(Step::Flush),
            (0_u64..12).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Whatever happens: the tables agree, their size is bounded, each datagram ends once, and all end.
        #[test]
        fn the_tables_agree(steps in proptest::collection::vec(step(), 0..120)) {
            let mut now = Instant::now();
            let mut pending = Pending::new(TIMEOUT, 8);
            let (mut number, mut entered, mut ended) = (0, 0, 0);
            for step in steps {
                match step {
                    Step::Insert(port, service) => {
                        number += 1;
                        let before = pending.len();
                        let given_up = pending.insert(key(port, number), packet(number, &service.to_string()), now);
                        entered += 1;
                        // Given up, or dropped before it was sent: gone either way.
                        let _ = given_up;
                        ended += before + 1 - pending.len();
                    }
                    Step::Answer(port, number) => ended += usize::from(pending.acknowledged(&key(port, number)).is_some()),
                    Step::NoRoom(port, number) => pending.wait_for_room(key(port, number)),
                    Step::Flush => while let Some((key, _)) = pending.first_unsent() { pending.sent(&key) },
                    Step::Wait(seconds) => {
                        now += Duration::from_secs(seconds);
                        while let Some(overdue) = pending.overdue(now) {
                            ended += usize::from(matches!(overdue, Overdue::GivenUp(..)));
                        }
                    }
                }
                prop_assert!(pending.len() <= 8);
                prop_assert_eq!(pending.due.len(), pending.len());
                prop_assert!(pending.newest.len() <= pending.len());
                prop_assert_eq!(entered - ended, pending.len());
                for (entry, waiting) in &pending.waiting {
                    prop_assert_eq!(pending.due.get(&waiting.due), Some(entry));
                    let newest = pending.newest.get(&(entry.target, waiting.packet.topic().clone()));
                    prop_assert_eq!(newest == Some(&entry.number), !waiting.overtaken);
                    prop_assert_eq!(pending.unsent.contains(entry), waiting.unsent);
                }
            }
            now += TIMEOUT;
            while pending.overdue(now).is_some() {}
            now += TIMEOUT;
            while pending.overdue(now).is_some() {}
            prop_assert_eq!(pending.len(), 0);
            prop_assert!(pending.newest.is_empty() && pending.due.is_empty());
            prop_assert!(pending.first_unsent().is_none() && !pending.has_unsent());
        }
    }
}
