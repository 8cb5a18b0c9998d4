//! Typed publish and subscribe inside one process.
//!
//! A [`Topic`] has one kind of event and any number of subscribers, each with a bounded view of the last
//! events. A subscriber that falls behind is told how many it missed ([`Received::Missed`]) and must look at
//! the state itself; what it missed is counted, never silent.

use std::sync::Arc;

use prometheus::IntCounter;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::metrics::Metrics;

/// Where events of one kind are published. Clones publish to the same subscribers.
#[derive(Clone)]
pub struct Topic<E> {
    sender: broadcast::Sender<Arc<E>>,
    name: &'static str,
    metrics: Metrics,
}

impl<E: Send + Sync + 'static> Topic<E> {
    /// A topic that keeps the last `capacity` events for those who are behind. `name` labels its metrics.
    pub fn new(name: &'static str, capacity: usize, metrics: Metrics) -> Self {
        Self { sender: broadcast::channel(capacity.max(1)).0, name, metrics }
    }

    /// Publishes to all subscribers of this moment. Never waits.
    pub fn publish(&self, event: E) {
        // An error means that nobody subscribes, which is no fault.
        let _ = self.sender.send(Arc::new(event));
    }

    /// Subscribes from this moment on. `who` labels the count of missed events.
    pub fn subscribe(&self, who: &str) -> Subscription<E> {
        Subscription { receiver: self.sender.subscribe(), missed: self.metrics.events_missed(self.name, who) }
    }
}

/// What a subscriber is handed.
pub enum Received<E> {
    /// The next event.
    Event(Arc<E>),
    /// So many events were missed: look at the state itself.
    Missed(u64),
    /// The topic is gone; nothing will come.
    Closed,
}

/// One subscriber's view of a topic.
pub struct Subscription<E> {
    receiver: broadcast::Receiver<Arc<E>>,
    missed: IntCounter,
}

impl<E: Send + Sync + 'static> Subscription<E> {
    /// Waits for the next event.
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Received<E> {
        match self.receiver.recv().await {
            Ok(event) => Received::Event(event),
            Err(RecvError::Lagged(count)) => {
                self.missed.inc_by(count);
                Received::Missed(count)
            }
            Err(RecvError::Closed) => Received::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_is_told_and_counted() {
        let metrics = Metrics::new();
        let topic = Topic::new("numbers", 2, metrics.clone());
        let mut slow = topic.subscribe("slow");
        for n in 0..5 {
            topic.publish(n);
        }
        assert!(matches!(slow.next().await, Received::Missed(3)));
        assert!(matches!(slow.next().await, Received::Event(n) if *n == 3));
        let text = metrics.render();
        assert!(text.contains("nacos_events_missed_total{subscriber=\"slow\",topic=\"numbers\"} 3"), "{text}");
    }

    #[tokio::test]
    async fn publishing_to_nobody_is_no_fault() {
        let topic = Topic::new("numbers", 2, Metrics::new());
        topic.publish(1);
        let mut late = topic.subscribe("late");
        topic.publish(2);
        assert!(matches!(late.next().await, Received::Event(n) if *n == 2));
        drop(topic);
        assert!(matches!(late.next().await, Received::Closed));
    }
}
