//! Where the clients of a round wait until all of them have come, so that the server is restarted once for all.
//!
//! Everybody who is counted at the start comes as a [`Comer`], who leaves the gate if they end before they pass it.

use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Result, ensure};

/// What happened to the server while one waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It was stopped and started again.
    Done,
    /// It was not, and runs on.
    None,
}

/// One meeting of a fixed number of comers with the one who restarts the server.
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Those who are yet to come.
    expected: usize,
    opened: Option<Restart>,
}

impl Gate {
    /// A gate that so many will come to.
    pub fn new(comers: usize) -> Self {
        let state = State { expected: comers, opened: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// One of those who will come.
    pub fn comer(&self) -> Comer<'_> {
        Comer { gate: self, passed: false }
    }

    fn pass(&self) -> Restart {
        self.leave();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(restart) = state.opened {
                return restart;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn leave(&self) {
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

/// Somebody who is awaited at a gate. When dropped before they passed, the others need not wait for them.
pub struct Comer<'a> {
    gate: &'a Gate,
    passed: bool,
}

impl Comer<'_> {
    /// Waits until all have come and the gate was opened.
    ///
    /// # Errors
    /// They have passed before.
    pub fn pass(&mut self) -> Result<Restart> {
        ensure!(!self.passed, "a second restart was asked for");
        self.passed = true;
        Ok(self.gate.pass())
    }
}

impl Drop for Comer<'_> {
    fn drop(&mut self) {
        if !self.passed {
            self.gate.leave();
        }
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
            let waiting = [(); 2].map(|()| scope.spawn(|| gate.comer().pass().unwrap()));
            scope.spawn(|| drop(gate.comer()));
            gate.await_all();
            assert!(waiting.iter().all(|one| !one.is_finished()));
            gate.open(Restart::Done);
            for one in waiting {
                assert_eq!(one.join().unwrap(), Restart::Done);
            }
        });
    }
}
