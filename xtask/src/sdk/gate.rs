//! Where the clients of a round wait until all of them have come, so that the server is restarted once for all.
//!
//! Everybody who is counted at the start must either [`Gate::pass`] or [`Gate::leave`], or the others wait for ever.

use std::sync::{Condvar, Mutex, PoisonError};

/// What happened to the server while one waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It was stopped and started again.
    Done,
    /// It was not, and runs on.
    None,
}

/// One meeting of a fixed number of clients with the one who restarts the server.
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Clients that are yet to come.
    expected: usize,
    opened: Option<Restart>,
}

impl Gate {
    /// A gate that `clients` will come to.
    pub fn new(clients: usize) -> Self {
        let state = State { expected: clients, opened: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// For a client: waits until all have come and the gate was opened.
    pub fn pass(&self) -> Restart {
        self.leave();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(restart) = state.opened {
                return restart;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For a client that ended before it came to the gate: the others need not wait for it.
    pub fn leave(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).expected -= 1;
        self.changed.notify_all();
    }

    /// For the one who restarts: waits until everybody has come or left.
    pub fn await_all(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.expected > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For the one who restarts: lets all through, with this news.
    pub fn open(&self, restart: Restart) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).opened = Some(restart);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_pass_with_the_news_once_the_last_has_left() {
        let gate = Gate::new(3);
        thread::scope(|scope| {
            let waiting = [(); 2].map(|()| scope.spawn(|| gate.pass()));
            scope.spawn(|| gate.leave());
            gate.await_all();
            assert!(waiting.iter().all(|one| !one.is_finished()));
            gate.open(Restart::Done);
            for one in waiting {
                assert_eq!(one.join().unwrap(), Restart::Done);
            }
        });
    }
}
