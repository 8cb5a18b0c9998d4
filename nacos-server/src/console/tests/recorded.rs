//! The exchanges recorded from Nacos 2.4.3 for these endpoints, replayed in process. Only what these three files
//! use of their format is read here; `cargo xtask golden` replays all files against a running server.

use serde_json::Value;

use super::*;

const FILES: [&str; 3] = [
    include_str!("../../../tests/golden/2.4.3/v1-console-namespace.jsonl"),
    include_str!("../../../tests/golden/2.4.3/v2-console-namespace.jsonl"),
    include_str!("../../../tests/golden/2.4.3/console-health-state.jsonl"),
];

/// Publishes configurations, which is no business of the console; counting has a test of its own.
const ELSEWHERE: &str = "v1-console-namespace/config-count";

#[tokio::test]
async fn recorded_exchanges_are_answered_alike() {
    let console = Console::new();
    let scenarios: Vec<Value> = FILES
        .iter()
        .flat_map(|file| file.lines().skip(1))
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|scenario: &Value| scenario["name"] != ELSEWHERE)
        .collect();
    assert_eq!(scenarios.len(), 31);
    for (number, scenario) in scenarios.iter().enumerate() {
        for step in scenario["steps"].as_array().unwrap() {
            replay(&console, number, step).await.unwrap_or_else(|wrong| panic!("{}: {wrong}", scenario["name"]));
        }
    }
}

async fn replay(console: &Console, number: usize, step: &Value) -> Result<(), String> {
    let step: Value = serde_json::from_str(&filled_in(&step.to_string(), number)).unwrap();
    let line = step["do"].as_str().unwrap();
    let pairs: Vec<(&str, &str)> = ["query", "form"]
        .iter()
        .filter_map(|part| step[part].as_object())
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let said = console.ask(line, &pairs).await;
    let Some(expected) = step["expect"].as_object() else { return Ok(()) };
    let fits = expected.iter().all(|(part, wanted)| match part.as_str() {
        "status" => *wanted == said.status,
        "type" => said.kind.to_lowercase().starts_with(wanted.as_str().unwrap()),
        "text" => text_fits(wanted.as_str().unwrap(), &said.body),
        "json" => serde_json::from_str(&said.body).is_ok_and(|body| fits(wanted, &body)),
        other => panic!("{other} is not read here"),
    });
    if fits { Ok(()) } else { Err(format!("{line} {pairs:?}: wanted {expected:?}, got {said:?}")) }
}

fn filled_in(step: &str, number: usize) -> String {
    let mut step = step.replace("${ns}", &format!("ns-{number}")).replace("${run}", &format!("{number:08x}"));
    while let Some((before, rest)) = step.split_once("${repeat:n:") {
        let (times, after) = rest.split_once('}').unwrap();
        step = format!("{before}{}{after}", "n".repeat(times.parse().unwrap()));
    }
    step
}

fn fits(wanted: &Value, body: &Value) -> bool {
    match (wanted, body) {
        (Value::String(wanted), _) if wanted == "<any>" => true,
        (Value::String(wanted), _) if wanted == "<any-int>" => body.is_i64(),
        (Value::String(wanted), Value::String(body)) => text_fits(wanted, body),
        (Value::Object(wanted), Value::Array(body)) if wanted.contains_key("<contains>") => {
            wanted["<contains>"].as_array().unwrap().iter().all(|one| body.iter().any(|other| fits(one, other)))
        }
        (Value::Object(wanted), Value::Object(body)) => {
            wanted.len() == body.len()
                && wanted.iter().all(|(name, one)| body.get(name).is_some_and(|other| fits(one, other)))
        }
        _ => wanted == body,
    }
}

fn text_fits(wanted: &str, body: &str) -> bool {
    let mut pieces = wanted.split("<any-text>");
    let Some(mut rest) = body.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    true
}
