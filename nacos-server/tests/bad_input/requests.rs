//! Random requests to all routes.

use std::collections::HashMap;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::{
    allowed::{is_allowed, is_refusal},
    junk::{Case, case},
    support::{Request, panics},
    world::World,
};

fn check(world: &mut World, case: &Case, seen: &mut HashMap<u16, u32>) -> Result<(), TestCaseError> {
    let request = case.request();
    let (position, digest) = (world.position(), world.digest());
    let answer = match world.ask(&request) {
        Ok(answer) => answer,
        Err(_) if std::env::var("LAX").is_ok() && request.bytes().len() > 8_000 => {
            world.client = world.server.as_ref().unwrap().client();
            return Ok(());
        }
        Err(error) => return Err(TestCaseError::fail(format!("no answer: {error}"))),
    };
    *seen.entry(answer.status).or_default() += 1;
    // The answer to a HEAD does not say what is wrong; that to the same GET does.
    let told = match case.method {
        Some("HEAD") if answer.status >= 500 => world.ask(&Case { method: Some("GET"), ..case.clone() }.request()),
        _ => Ok(answer.clone()),
    };
    prop_assert!(told.as_ref().is_ok_and(is_allowed), "{told:?}");
    // The connection goes on, or was closed with a word.
    if std::env::var("LAX").is_ok() && request.bytes().len() > 8_000 {
        world.client = world.server.as_ref().unwrap().client();
    }
    let next = world.ask(&Request::get("/v1/cs/health"));
    prop_assert!(next.as_ref().is_ok_and(|next| next.status == 200), "{next:?} after {answer:?}");
    prop_assert_eq!(world.panics(), 0.0);
    prop_assert_eq!(panics::seen(), Vec::<String>::new());
    let is_reading = matches!(case.method.unwrap_or(case.target.method), "GET" | "HEAD" | "OPTIONS");
    if is_refusal(&answer) || is_reading && !case.target.may_write() {
        prop_assert!(world.position() == position || world.digest() == digest, "changed by {answer:?}");
    }
    if let Ok(page) = serde_json::from_slice::<serde_json::Value>(&answer.body) {
        let pages = page.get("pagesAvailable").or(page["data"].get("pagesAvailable"));
        prop_assert!(pages.is_none_or(|pages| pages.as_i64().is_some_and(|pages| pages >= 0)), "{answer:?}");
    }
    Ok(())
}

/// As many cases as are asked for by `PROPTEST_CASES`, or enough to come by every route several dozen times.
fn runner(cases: u32) -> TestRunner {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    TestRunner::new(Config {
        cases: asked.unwrap_or(cases),
        // What is stored changes from case to case, so a smaller one is found only now and then.
        max_shrink_iters: std::env::var("SHRINK").map_or(400, |n| n.parse().unwrap()),
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn no_request_breaks_the_server_and_no_refusal_changes_it() {
    let mut world = World::new(&[("nacos.server.http.max-body-bytes", "1048576"), ("maxContent", "262144")]);
    let (routes, ids) = (world.routes.clone(), world.ids.clone());
    let mut seen = HashMap::new();
    let shared = std::cell::RefCell::new((&mut world, &mut seen));
    let outcome = runner(2500).run(&case(routes, ids), |case| {
        let (world, seen) = &mut *shared.borrow_mut();
        check(world, &case, seen)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    if std::env::var("LAX").is_ok() {
        eprintln!("{seen:?}");
    }
    assert!(seen.get(&200).is_some_and(|count| *count > 200), "the requests are too bad to reach a handler: {seen:?}");
    assert!(seen.get(&400).is_some_and(|count| *count > 200), "the requests are too good: {seen:?}");
    world.close();
}
