//! Random requests to all routes.

use std::collections::HashMap;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::{
    allowed::{is_allowed, is_refusal},
    junk::{Case, case},
    support::{Request, config::CONFIGS, panics},
    world::World,
};

fn check(world: &mut World, case: &Case, seen: &mut HashMap<u16, u32>) -> Result<(), TestCaseError> {
    let request = case.request();
    let (position, digest) = (world.position(), world.digest());
    let answer = match world.ask(&request) {
        Ok(answer) => answer,
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
    if matches!(answer.status, 413 | 431) {
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
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&answer.body) {
        let page = if value.get("pagesAvailable").is_some() { &value } else { &value["data"] };
        let number = |name: &str| page[name].as_i64();
        if let (Some(total), Some(pages)) = (number("totalCount"), number("pagesAvailable")) {
            prop_assert_eq!(pages > 0, total > 0, "{:?}", answer);
        }
    }
    Ok(())
}

/// As many cases as are asked for by `PROPTEST_CASES`, or enough to come by every route several dozen times.
fn runner(cases: u32) -> TestRunner {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    TestRunner::new(Config {
        cases: asked.unwrap_or(cases),
        // What is stored changes from case to case, so a smaller one is found only now and then.
        max_shrink_iters: 400,
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
    assert!(seen.get(&200).is_some_and(|count| *count > 200), "the requests are too bad to reach a handler: {seen:?}");
    assert!(seen.get(&400).is_some_and(|count| *count > 200), "the requests are too good: {seen:?}");
    world.close();
}

/// Requests that were once answered wrongly.
#[test]
fn what_was_found_stays_mended() {
    let mut world = World::new(&[]);
    let form = |path: &str, name: &str, value: &str| {
        Request::new("GET", path)
            .form("dataId", "")
            .form("group", "")
            .form("pageNo", "1")
            .form("pageSize", "2")
            .form(name, value)
    };
    let search = |how: &str| Request::new("GET", CONFIGS).query("search", how).query("group", "").query("pageNo", "1");
    for (request, statuses) in [
        // A pattern longer than the database takes.
        (form(CONFIGS, "dataId", &"x".repeat(60_000)).query("search", "blur"), 200..=400),
        (form(CONFIGS, "dataId", &"*".repeat(60_000)).query("search", "blur"), 200..=400),
        (form(CONFIGS, "tenant", &"x".repeat(60_000)).query("search", "blur"), 200..=400),
        (form("/v2/cs/config/searchDetail", "config_detail", &"x".repeat(60_000)), 200..=400),
        (
            form(CONFIGS, "appName", "").form("ids", "").form("dataId", &"x".repeat(60_000)).query("export", "true"),
            200..=400,
        ),
        // More values than a statement can bind.
        (form(CONFIGS, "types", &"a,".repeat(40_000)).query("search", "blur"), 200..=400),
        (form(CONFIGS, "config_tags", &"a,".repeat(40_000)).query("search", "accurate"), 200..=400),
        // Java's `int`: what is greater is no number.
        (search("accurate").query("dataId", "").query("pageSize", "9223372036854775807"), 400..=400),
        (search("blur").query("dataId", "").query("pageSize", "2147483648"), 400..=400),
        (search("blur").query("dataId", "").query("pageSize", "2147483647"), 200..=200),
    ] {
        let answer = world.ask(&request).unwrap();
        assert!(statuses.contains(&answer.status), "{request:?}: {answer:?}");
    }
    world.close();
}
