//! Judges one answer by what a step expects, and takes variables from it.

use anyhow::{Context as _, Result};
use regex::Regex;

use super::{
    archive,
    http::{Response, norm_type},
    matcher::{SHOWN, differences, short, text_holds, text_matches},
    value::{Object, Value},
    variables::{Names, pick},
};

/// How the answer differs from what is expected; empty when it does not.
pub fn check(expect: &Object, response: &Response, names: &Names) -> Result<Vec<String>> {
    let expect = names.in_object(expect)?;
    let text = response.text();
    if let Some(status) = expect.get("status")
        && !status_fits(status, response.status)
    {
        return Ok(vec![format!("status: expected {status}, got {} '{}'", response.status, short(&text, 120))]);
    }
    let mut out = Vec::new();
    if let Some(kind) = expect.get("type") {
        let actual = response.content_type();
        if kind.as_text().map(norm_type) != actual {
            out.push(format!("content-type: expected {}, got {}", kind.plain(), actual.as_deref().unwrap_or("none")));
        }
    }
    if let Some(headers) = expect.get("headers") {
        let headers = headers.as_object().context("expected headers are an object")?;
        out.extend(headers.iter().filter_map(|(name, value)| header_difference(name, value, response)));
    }
    if let Some(json) = expect.get("json") {
        match response.json() {
            Ok(actual) => out.extend(differences(json, &actual, "$")),
            Err(_) => out.push(format!("body: expected JSON, got '{}'", short(&text, SHOWN))),
        }
    }
    if let Some(wanted) = expect.get("text") {
        let wanted = wanted.as_text().context("expected text is a string")?;
        if !text_matches(wanted, &text) {
            out.push(format!("body: expected '{}', got '{}'", short(wanted, SHOWN), short(&text, SHOWN)));
        }
    }
    if let Some(pieces) = expect.get("contains") {
        for piece in pieces.as_list().context("expected pieces are a list")? {
            let piece = piece.as_text().context("an expected piece is a string")?;
            if !text_holds(&text, piece) {
                out.push(format!("body: does not hold '{}'", short(piece, SHOWN)));
            }
        }
    }
    if let Some(files) = expect.get("zip") {
        out.extend(zip_differences(files, response));
    }
    if let Some(range) = expect.get("elapsed") {
        let range = range.as_list().context("expected time is a list")?;
        let [low, high] = range else { anyhow::bail!("expected time has two limits") };
        let (low, high) = (low.as_f64().context("a limit is a number")?, high.as_f64().context("a limit is a number")?);
        let actual = response.elapsed.as_secs_f64() * 1000.0;
        if !(low..=high).contains(&actual) {
            out.push(format!("time: expected {low}..{high} ms, got {actual:.0} ms"));
        }
    }
    Ok(out)
}

fn status_fits(expected: &Value, actual: u16) -> bool {
    let is = |one: &Value| differences(one, &Value::from(actual), "").is_empty();
    expected.as_list().map_or_else(|| is(expected), |any| any.iter().any(is))
}

fn header_difference(name: &str, expected: &Value, response: &Response) -> Option<String> {
    match (expected, response.header(&name.to_ascii_lowercase())) {
        (Value::Null, None) => None,
        (Value::Null, Some(actual)) => Some(format!("header {name}: expected none, got {}", short(actual, SHOWN))),
        (_, None) => Some(format!("header {name}: missing")),
        (_, Some(actual)) => {
            let wanted = expected.plain();
            let differs = !text_matches(&wanted, actual);
            differs.then(|| format!("header {name}: expected {}, got {}", short(&wanted, SHOWN), short(actual, SHOWN)))
        }
    }
}

fn zip_differences(files: &Value, response: &Response) -> Vec<String> {
    match archive::read(&response.body) {
        Ok(entries) => {
            let mut actual = Object::default();
            for (name, content) in entries {
                actual.set(name, Value::Text(content));
            }
            differences(files, &Value::Object(actual), "zip")
        }
        Err(_) => vec![format!("body: expected a zip archive, got '{}'", short(&response.text(), SHOWN))],
    }
}

/// Takes variables from an answer. Gives what could not be taken.
pub fn capture(wanted: &Object, response: &Response, names: &mut Names) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (name, source) in names.in_object(wanted)?.iter() {
        let source = source.plain();
        match captured(&source, response) {
            Ok(value) => names.set(name, value),
            Err(e) => problems.push(format!("capture {name} from {source}: {e:#}")),
        }
    }
    Ok(problems)
}

fn captured(source: &str, response: &Response) -> Result<Value> {
    if let Some(name) = source.strip_prefix("header:") {
        return response.header(&name.to_ascii_lowercase()).map(Value::from).context("no such header");
    }
    if let Some(pattern) = source.strip_prefix("regex:") {
        let text = response.text();
        let found = Regex::new(pattern)?.captures(&text).context("not found")?;
        return found.get(1).map(|group| Value::from(group.as_str())).context("no group");
    }
    if source == "text" {
        return Ok(Value::Text(response.text()));
    }
    pick(&response.json().context("no JSON")?, source)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Response {
        Response::new(status, headers, body, Duration::from_millis(500))
    }

    fn json_response(body: &str) -> Response {
        response(200, &[("content-type", "application/json;charset=UTF-8")], body.as_bytes())
    }

    fn differences_of(expect: &str, response: &Response) -> Vec<String> {
        let mut names = Names::default();
        names.set("ns", "g-1");
        names.set("code", 404);
        check(&serde_json::from_str(expect).unwrap(), response, &names).unwrap()
    }

    #[track_caller]
    fn fits(expect: &str, response: &Response) {
        assert_eq!(differences_of(expect, response), Vec::<String>::new());
    }

    #[track_caller]
    fn differs(expect: &str, response: &Response, how: &str) {
        let found = differences_of(expect, response);
        assert!(found.len() == 1 && found[0].contains(how), "{found:?}");
    }

    #[test]
    fn statuses() {
        let answer = response(404, &[], b"text");
        fits(r#"{"status": 404}"#, &answer);
        fits(r#"{"status": [400, 404]}"#, &answer);
        fits(r#"{"status": "${code}"}"#, &answer);
        differs(r#"{"status": [400, 500]}"#, &answer, "status: expected [400, 500], got 404 'text'");
        differs(r#"{"status": 200, "text": "other"}"#, &answer, "status");
    }

    #[test]
    fn types() {
        fits(r#"{"type": "application/json"}"#, &json_response("1"));
        differs(r#"{"type": "text/plain"}"#, &json_response("1"), "expected text/plain, got application/json");
        fits(r#"{"type": null}"#, &response(200, &[], b""));
        differs(r#"{"type": null}"#, &json_response("1"), "content-type");
        differs(r#"{"type": "text/plain"}"#, &response(200, &[], b""), "got none");
        fits("{}", &json_response("1"));
    }

    #[test]
    fn headers() {
        let answer = response(200, &[("content-md5", "abc"), ("last-modified", "Tue, 02 Jan 2024 03:04:05 GMT")], b"");
        fits(r#"{"headers": {"Content-MD5": "abc", "last-modified": "<http-date>", "isbeta": null}}"#, &answer);
        differs(r#"{"headers": {"content-md5": "abd"}}"#, &answer, "expected abd, got abc");
        differs(r#"{"headers": {"isbeta": "true"}}"#, &answer, "header isbeta: missing");
        differs(r#"{"headers": {"content-md5": null}}"#, &answer, "expected none, got abc");
    }

    #[test]
    fn bodies() {
        fits(r#"{"json": {"a": "${ns}"}}"#, &json_response("{\"a\": \"g-1\"}"));
        differs(r#"{"json": {"a": "${ns}"}}"#, &json_response("{\"a\": null}"), "$.a: expected \"g-1\", got null");
        differs(r#"{"json": null}"#, &json_response(""), "expected JSON");
        differs(r#"{"json": null}"#, &json_response("1"), "expected null, got 1");
        fits(r#"{"text": "${ns}<any-int>"}"#, &json_response("g-17"));
        differs(r#"{"text": ""}"#, &json_response("x"), "body");
        fits(r#"{"contains": ["b<any-int>", "a"]}"#, &json_response("a b1"));
        differs(r#"{"contains": ["c", "a"]}"#, &json_response("a b1"), "does not hold 'c'");
    }

    #[test]
    fn archives() {
        let bytes = archive::make(&[("g/d".to_owned(), "text 1".to_owned())]).unwrap();
        let answer = response(200, &[], &bytes);
        fits(r#"{"zip": {"g/d": "text <any-int>"}}"#, &answer);
        differs(r#"{"zip": {"g/d": "text <any-int>", "g/e": ""}}"#, &answer, "zip.g/e: missing");
        differs(r#"{"zip": {}}"#, &answer, "zip.g/d: unexpected");
        differs(r#"{"zip": {}}"#, &json_response("{}"), "expected a zip archive");
    }

    #[test]
    fn times() {
        fits(r#"{"elapsed": [500, 500.0]}"#, &json_response(""));
        differs(r#"{"elapsed": [501, 600]}"#, &json_response(""), "expected 501..600 ms, got 500 ms");
        differs(r#"{"elapsed": [0, 499]}"#, &json_response(""), "time");
    }

    #[test]
    fn captures() {
        let answer = response(200, &[("x-id", "7")], b"{\"data\": [{\"id\": 12}]}");
        let wanted =
            r#"{"a": "data[0].id", "b": "header:X-Id", "c": "regex:\"(d\\w+)\"", "d": "text", "e": "data.id"}"#;
        let mut names = Names::default();
        let problems = capture(&serde_json::from_str(wanted).unwrap(), &answer, &mut names).unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("capture e from data.id: "), "{problems:?}");
        let text = names.in_text("${a} ${b} ${c} ${d} ${e}").unwrap();
        assert_eq!(text, "12 7 data {\"data\": [{\"id\": 12}]} ${e}");
        assert_eq!(names.in_value(&Value::from("${a}")).unwrap(), Value::from(12));
    }
}
