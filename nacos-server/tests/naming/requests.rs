//! What nobody should send, to every endpoint of service discovery: an answer always comes, it is never a fault of
//! this server, what is answered with an error has changed nothing, and whatever was taken is brought back by a
//! restart.

use std::collections::HashMap;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::{
    allowed::{is_allowed, is_refusal},
    junk::{Case, case},
    support::{Client, Request, panics},
    world::World,
};

fn check(world: &mut World, case: &Case, seen: &mut HashMap<u16, u32>) -> Result<(), TestCaseError> {
    let request = case.request();
    let (writes, state, switches) = (world.writes(), world.state(), world.switches());
    let answer = match world.ask(&request) {
        Ok(answer) => answer,
        Err(error) => return Err(TestCaseError::fail(format!("no answer: {error}"))),
    };
    *seen.entry(answer.status).or_default() += 1;
    // The connection goes on, or was closed with a word.
    if matches!(answer.status, 413 | 414 | 431) {
        world.client = Client::new(world.client.addr());
    }
    // The answer to a HEAD does not say what is wrong; that to the same GET does.
    let told = match case.method {
        Some("HEAD") if answer.status >= 500 => world.ask(&Case { method: Some("GET"), ..case.clone() }.request()),
        _ => Ok(answer.clone()),
    };
    prop_assert!(told.as_ref().is_ok_and(is_allowed), "{told:?}");
    let reading = matches!(case.method.unwrap_or(case.target.method), "GET" | "HEAD" | "OPTIONS");
    if is_refusal(&answer) || reading && !case.target.may_change() {
        prop_assert_eq!(world.writes(), writes, "written by {:?}", answer);
        prop_assert!(world.state() == state, "changed by {answer:?}: {state} -> {}", world.state());
        prop_assert_eq!(world.switches(), switches, "changed by {:?}", answer);
    } else if case.target.sets_switches() {
        world.open();
    }
    for path in ["/v1/ns/instance/list?serviceName=s1", "/v1/ns/health/server"] {
        let next = world.ask(&Request::get(path));
        prop_assert!(next.as_ref().is_ok_and(|next| next.status == 200), "{next:?} after {answer:?}");
    }
    prop_assert_eq!(panics::seen(), Vec::<String>::new());
    Ok(())
}

/// As many cases as are asked for by `PROPTEST_CASES`, or enough to come by every route several dozen times.
fn runner(cases: u32) -> TestRunner {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    TestRunner::new(Config {
        cases: asked.unwrap_or(cases),
        // What is there changes from case to case, so a smaller one is found only now and then.
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    })
}

/// Sends so many requests to a server with the parameter filter, or without, and gives how often each status came.
fn send(cases: u32, checks: bool) -> HashMap<u16, u32> {
    let mut world = World::new(checks);
    let routes = world.routes.clone();
    let mut seen = HashMap::new();
    let shared = std::cell::RefCell::new((&mut world, &mut seen));
    let outcome = runner(cases).run(&case(routes), |case| {
        let (world, seen) = &mut *shared.borrow_mut();
        check(world, &case, seen)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    world.close();
    seen
}

#[test]
fn no_request_breaks_service_discovery_and_no_refusal_changes_it() {
    let seen = send(4000, true);
    assert!(seen.get(&200).is_some_and(|count| *count > 200), "the requests are too bad to reach a handler: {seen:?}");
    assert!(seen.get(&400).is_some_and(|count| *count > 200), "the requests are too good: {seen:?}");
}

/// Names of any length, of any letters and of none get further then.
#[test]
fn nor_does_any_without_the_parameter_filter() {
    let seen = send(1000, false);
    assert!(seen.get(&200).is_some_and(|count| *count > 200), "the requests are too bad to reach a handler: {seen:?}");
}
