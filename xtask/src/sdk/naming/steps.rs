//! What every client program has to report of service discovery.

use super::super::{
    clients::Language::{self, Go, Java, Node, Python, Spring},
    steps::{END, Step, VERSION, expected},
};

/// The steps of one client, with or without a restart of the server among them.
pub fn steps(language: Language, restart: bool) -> Vec<Step> {
    expected(STEPS, language, "", restart)
}

/// Steps of the [`Victim`](super::victim::Victim), which xtask reports by what plain HTTP shows.
pub mod seen {
    /// A heartbeat of the client came through.
    pub const BEATS: &str = "victim-beats";
    /// Its instance turned unhealthy.
    pub const UNHEALTHY: &str = "killed-unhealthy-http";
    /// Its instance left.
    pub const GONE: &str = "killed-gone-http";
    /// What lives stayed healthy all the while.
    pub const LIVES: &str = "beats-on";
}

/// All who are told by UDP; the Python client asks again and again.
const TOLD: &[Language] = &[Node, Java, Go];
const LANGUAGES: &[Language] = &[Python, Node, Java, Go];
const EVERYBODY: &[Language] = &[Python, Node, Java, Go, Spring];

/// A server looks every 5 s for what has been silent for over 15 s.
const UNHEALTHY_MS: (u64, u64) = (14_500, 21_000);
/// And for over 30 s.
const GONE_MS: (u64, u64) = (29_500, 36_000);
/// Who is told, or asks every so often, knows a second later at most.
const KNOWN_MS: u64 = 1_000;

/// All steps, in the order in which they are done; what is seen of the victim comes in between.
const STEPS: &[Step] = &[
    everybody(VERSION),
    // The Python client has no call for it.
    step("server-status").only(TOLD),
    step("register"),
    step("query"),
    step("query-cluster"),
    step("query-healthy"),
    // The Python client says cluster `None` at first, and none with its heartbeats.
    step("no-cluster").only(&[Python]),
    everybody("subscribed").only(&[Node, Java, Go, Spring]),
    everybody("told-of-instance").within(KNOWN_MS),
    // Of more than 1024 bytes, so that it is packed.
    step("told-of-much").within(KNOWN_MS),
    everybody("told-of-departure").within(KNOWN_MS),
    step("told-of-update").within(KNOWN_MS),
    step("other-group"),
    step("other-namespace"),
    everybody("service-list").only(&[Node, Java, Go, Spring]),
    step("persistent-register"),
    step("deregister").within(KNOWN_MS),
    Step::new("discovered", &[Spring]),
    Step::new("called", &[Spring]),
    everybody(seen::BEATS),
    everybody(seen::UNHEALTHY).between(UNHEALTHY_MS.0, UNHEALTHY_MS.1),
    everybody(seen::GONE).between(GONE_MS.0, GONE_MS.1),
    everybody(seen::LIVES).between(20_000, 60_000),
    everybody("killed-unhealthy").between(UNHEALTHY_MS.0, UNHEALTHY_MS.1 + KNOWN_MS),
    // Spring Cloud shows none but healthy instances.
    step("killed-gone").between(GONE_MS.0, GONE_MS.1 + KNOWN_MS),
    step("stays-away"),
    step("persistent-stays"),
    // The longest pause between two heartbeats is 5 s, and one may have met no server.
    everybody("after-restart-back").within(11_000).after_restart(),
    step("after-restart-persistent").after_restart(),
    // The Python client's asking ends with the first answer that fails.
    everybody("after-restart-told").within(KNOWN_MS).only(&[Node, Java, Go, Spring]).after_restart(),
    step("persistent-deregister"),
    Step::new("deregister", &[Spring]),
    everybody(END),
];

const fn step(name: &'static str) -> Step {
    Step::new(name, LANGUAGES)
}

const fn everybody(name: &'static str) -> Step {
    Step::new(name, EVERYBODY)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_client_is_killed_and_none_has_a_step_twice() {
        for language in EVERYBODY {
            for restart in [true, false] {
                let steps = steps(*language, restart);
                let names: HashSet<_> = steps.iter().map(|step| step.name).collect();
                assert_eq!(names.len(), steps.len(), "{language:?}");
                assert!(names.contains(seen::GONE));
                assert_eq!(names.contains("after-restart-back"), restart);
            }
        }
    }
}
