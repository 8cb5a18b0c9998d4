//! Makes a request of a recorded call: replaces its variables and encodes its parameters and its body.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    archive,
    http::{Origin, Request},
    scenario::{Base, Body, Call, Part},
    value::Value,
    variables::Names,
};

const AGENT: &str = "Nacos-Golden";

/// What stays as it is in a query or a form.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// Where requests go.
#[derive(Debug, Clone)]
pub struct Servers {
    /// The server with its context path.
    pub main: Origin,
    /// Another server that shares its data, with its context path.
    pub second: Option<Origin>,
    /// The console's port with its context path, where there is one.
    pub console: Option<Origin>,
}

impl Servers {
    /// The same with the second server in the place of the first, if there is one.
    pub fn turned(&self) -> Self {
        Self { main: self.second.clone().unwrap_or_else(|| self.main.clone()), ..self.clone() }
    }

    /// The first alone.
    pub fn alone(&self) -> Self {
        Self { second: None, ..self.clone() }
    }
}

/// The request that a call stands for.
pub fn build(servers: &Servers, call: &Call, names: &Names) -> Result<Request> {
    let origin = match call.base {
        Base::Console => servers.console.as_ref().context("this step needs --console-url")?,
        Base::Context | Base::Root => &servers.main,
    };
    let prefix = if call.base == Base::Root { "" } else { &origin.prefix };
    let mut target = format!("{prefix}{}", names.in_text(&call.path)?);
    if let Some(query) = &call.query {
        target.push(if target.contains('?') { '&' } else { '?' });
        target += &encode(&pairs(&names.in_value(query)?)?, "%20");
    }
    let (kind, mut body) = encoded_body(&call.body, names)?;
    let mut headers: Vec<(String, String)> = vec![
        ("User-Agent".to_owned(), AGENT.to_owned()),
        ("Accept".to_owned(), "*/*".to_owned()),
        ("Connection".to_owned(), "close".to_owned()),
    ];
    headers.extend(kind.map(|kind| ("Content-Type".to_owned(), kind)));
    for (name, value) in names.in_object(&call.headers)?.iter() {
        headers.retain(|(old, _)| !old.eq_ignore_ascii_case(name));
        if *value != Value::Null {
            headers.push((name.to_owned(), value.plain()));
        }
    }
    if body.is_none() && matches!(call.method.as_str(), "POST" | "PUT" | "PATCH") {
        body = Some(Vec::new());
    }
    Ok(Request { origin: origin.clone(), method: call.method.clone(), target, headers, body, timeout: call.timeout })
}

/// Content type, where there is a usual one, and bytes of a body.
fn encoded_body(body: &Body, names: &Names) -> Result<(Option<String>, Option<Vec<u8>>)> {
    Ok(match body {
        Body::None => (None, None),
        Body::Form(form) => {
            let text = encode(&pairs(&names.in_value(form)?)?, "+");
            (Some("application/x-www-form-urlencoded;charset=UTF-8".to_owned()), Some(text.into_bytes()))
        }
        Body::Json(json) => (Some("application/json".to_owned()), Some(names.in_value(json)?.to_string().into_bytes())),
        Body::Raw(text) => (None, Some(names.in_text(text)?.into_bytes())),
        Body::Multipart(parts) => {
            let (kind, bytes) = multipart(parts, names)?;
            (Some(kind), Some(bytes))
        }
    })
}

/// Parameters: the members of an object, or the pairs of a list, which may repeat a name.
fn pairs(value: &Value) -> Result<Vec<(String, String)>> {
    if let Value::Object(object) = value {
        return Ok(object.iter().map(|(name, value)| (name.to_owned(), value.plain())).collect());
    }
    let list = value.as_list().context("parameters are an object or a list of pairs")?;
    let pair = |one: &Value| match one.as_list() {
        Some([name, value]) => Ok((name.plain(), value.plain())),
        _ => anyhow::bail!("not a pair: {one}"),
    };
    list.iter().map(pair).collect()
}

/// Urlencoded parameters, with `space` for each space.
fn encode(pairs: &[(String, String)], space: &str) -> String {
    let one = |text: &str| utf8_percent_encode(text, ESCAPED).to_string().replace("%20", space);
    let parts: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", one(name), one(value))).collect();
    parts.join("&")
}

/// Content type and bytes of a form with files.
fn multipart(parts: &[Part], names: &Names) -> Result<(String, Vec<u8>)> {
    let boundary = format!("golden{:016x}", fastrand::u64(..));
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(head_of(part, &boundary, names)?.as_bytes());
        out.extend_from_slice(&content_of(part, names)?);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((format!("multipart/form-data; boundary={boundary}"), out))
}

fn head_of(part: &Part, boundary: &str, names: &Names) -> Result<String> {
    let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", names.in_text(&part.name)?);
    if let Some(file) = &part.file {
        let kind = part.kind.as_deref().unwrap_or("application/octet-stream");
        head += &format!("; filename=\"{}\"\r\nContent-Type: {}", names.in_text(file)?, names.in_text(kind)?);
    }
    Ok(head + "\r\n\r\n")
}

fn content_of(part: &Part, names: &Names) -> Result<Vec<u8>> {
    let given = [part.zip.is_some(), part.base64.is_some(), part.text.is_some()];
    ensure!(given.iter().filter(|one| **one).count() <= 1, "more than one content in part {}", part.name);
    if let Some(entries) = &part.zip {
        return archive::make(&pairs(&names.in_value(entries)?)?);
    }
    if let Some(text) = &part.base64 {
        return Ok(BASE64_STANDARD.decode(names.in_text(text)?)?);
    }
    Ok(names.in_text(part.text.as_deref().unwrap_or_default())?.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Action, load};
    use super::*;

    /// The request of a step, against `http://127.0.0.1:1/nacos`.
    fn request(step: &str) -> Result<Request> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), format!("{{\"name\": \"a/b\", \"steps\": [{}]}}", step.replace('\n', "")))?;
        let scenarios = load(file.path())?;
        let Action::Call(call) = &scenarios[0].steps[0].action else { anyhow::bail!("not a call") };
        let mut names = Names::default();
        names.set("ns", "g 1");
        names.set("port", 8848);
        build(&Servers { main: "http://127.0.0.1:1/nacos".parse()?, second: None, console: None }, call, &names)
    }

    fn header<'r>(request: &'r Request, name: &str) -> Vec<&'r str> {
        let hits = request.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        hits.map(|(_, value)| value.as_str()).collect()
    }

    fn body(request: &Request) -> &str {
        std::str::from_utf8(request.body.as_deref().unwrap_or(b"(none)")).unwrap()
    }

    #[test]
    fn queries() {
        let target = |step: &str| request(step).unwrap().target;
        assert_eq!(
            target(
                r#"{"do": "GET /a", "query": {"t": "${ns}", "é": "a+b/_.-~", "n": 2.5, "b": true, "p": "${port}"}}"#
            ),
            "/nacos/a?t=g%201&%C3%A9=a%2Bb%2F_.-~&n=2.5&b=true&p=8848"
        );
        assert_eq!(target(r#"{"do": "GET /a?x=${ns}", "query": {"y": ""}}"#), "/nacos/a?x=g 1&y=");
        assert_eq!(target(r#"{"do": "GET /a", "base": "root"}"#), "/a");
        assert!(request(r#"{"do": "GET /a", "base": "console"}"#).is_err());
    }

    #[test]
    fn forms() {
        let form = request(r#"{"do": "DELETE /a", "form": [["d", "1"], ["d", "${ns}"], ["e", {"a": [1]}]]}"#).unwrap();
        assert_eq!(body(&form), "d=1&d=g+1&e=%7B%22a%22%3A+%5B1%5D%7D");
        assert_eq!(header(&form, "content-type"), ["application/x-www-form-urlencoded;charset=UTF-8"]);
        assert!(request(r#"{"do": "POST /a", "form": [["d"]]}"#).is_err());
    }

    #[test]
    fn other_bodies() {
        let json = request(r#"{"do": "POST /a", "json": {"z": "${port}", "a": null}}"#).unwrap();
        assert_eq!(
            (body(&json), header(&json, "content-type")),
            (r#"{"z": 8848, "a": null}"#, vec!["application/json"])
        );
        let raw = request(r#"{"do": "POST /a", "body": "x=${ns}"}"#).unwrap();
        assert_eq!((body(&raw), header(&raw, "content-type")), ("x=g 1", vec![]));
        assert_eq!(request(r#"{"do": "PUT /a"}"#).unwrap().body, Some(Vec::new()));
        assert_eq!(request(r#"{"do": "DELETE /a"}"#).unwrap().body, None);
    }

    #[test]
    fn headers_replace_defaults_or_take_them_away() {
        let step = r#"{"do": "GET /a", "headers": {"user-agent": "x-${ns}", "Accept": null, "N": 1}}"#;
        let request = request(step).unwrap();
        assert_eq!(header(&request, "User-Agent"), ["x-g 1"]);
        assert_eq!(header(&request, "accept"), Vec::<&str>::new());
        assert_eq!(header(&request, "n"), ["1"]);
        assert_eq!(header(&request, "connection"), ["close"]);
    }

    #[test]
    fn parts_of_a_form_with_files() {
        let request = request(
            r#"{"do": "POST /a", "multipart": [{"name": "p", "text": "${ns}"}, {"name": "f", "file": "a.bin", "base64": "AP8="},
                {"name": "z", "file": "a.zip", "type": "application/zip", "zip": {"${ns}/b": "c${port}", "a": ""}}]}"#,
        )
        .unwrap();
        let kind = header(&request, "content-type")[0];
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let bytes = request.body.as_deref().unwrap();
        let part = |head: &str| format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").into_bytes();
        let mut start = part("name=\"p\"");
        start.extend_from_slice(b"g 1\r\n");
        start.extend(part("name=\"f\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream"));
        start.extend_from_slice(b"\x00\xff\r\n");
        start.extend(part("name=\"z\"; filename=\"a.zip\"\r\nContent-Type: application/zip"));
        let zip = bytes.strip_prefix(start.as_slice()).unwrap();
        let zip = zip.strip_suffix(format!("\r\n--{boundary}--\r\n").as_bytes()).unwrap();
        let files = archive::read(zip).unwrap();
        assert_eq!(files.into_iter().collect::<Vec<_>>(), [("a".into(), "".into()), ("g 1/b".into(), "c8848".into())]);
    }

    #[test]
    fn a_part_has_one_content() {
        assert!(request(r#"{"do": "POST /a", "multipart": [{"name": "p", "text": "", "base64": ""}]}"#).is_err());
    }
}
