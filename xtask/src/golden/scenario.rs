//! The recordings as files: finds them, reads them, and says what each step does.
//!
//! The format is described in the README beside the recordings. Unknown members are refused, so that nothing a
//! recording asks for is passed over in silence.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::{
    profile::Profile,
    value::{Object, Value},
};

/// How long a step with `"poll": true` is repeated.
const POLL: Duration = Duration::from_secs(5);
/// How long one request may take.
pub const TIMEOUT: Duration = Duration::from_secs(45);

/// A recorded conversation.
#[derive(Debug)]
pub struct Scenario {
    /// Unique among all recordings: `FILE/WHAT`.
    pub name: String,
    /// What it is about, if that needs words.
    pub about: String,
    /// Which settings the server must have.
    pub profile: Profile,
    /// Changes what others see: runs alone.
    pub exclusive: bool,
    /// Holds what looks like a defect of the recorded server.
    pub quirk: bool,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// One step of a scenario.
#[derive(Debug)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// What the answer is compared with.
    pub expect: Option<Object>,
    /// For how long the request is repeated while its answer does not match.
    pub poll: Option<Duration>,
    /// Variables to take from the answer: names and where they are found.
    pub capture: Object,
    /// Runs always and is not judged.
    pub cleanup: bool,
    /// Printed when the step fails.
    pub note: Option<String>,
}

/// What a step does.
#[derive(Debug)]
pub enum Action {
    /// Waits.
    Sleep(Duration),
    /// Opens a port for pushes under a name.
    UdpOpen(String),
    /// Waits for a push on the port of that name.
    UdpReceive {
        /// The name given when the port was opened.
        name: String,
        /// For how long.
        within: Duration,
    },
    /// Starts a request under a name, gives it a lead, and goes on.
    Background {
        /// The name for `join`.
        name: String,
        /// What is sent.
        call: Call,
        /// How long the next step waits.
        lead: Duration,
    },
    /// Waits for the answer to the request started under that name.
    Join(String),
    /// Sends a request and waits for its answer.
    Call(Call),
}

/// A request as recorded, variables not yet replaced.
#[derive(Debug)]
pub struct Call {
    /// The method's name.
    pub method: String,
    /// Path under the base, perhaps with a query.
    pub path: String,
    /// Where the path begins.
    pub base: Base,
    /// Added to the path's query.
    pub query: Option<Value>,
    /// What is sent as the body.
    pub body: Body,
    /// Over the defaults; `null` takes a default away.
    pub headers: Object,
    /// How long the exchange may take.
    pub timeout: Duration,
}

/// Where a path begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// At the context path.
    #[default]
    Context,
    /// At the server's root.
    Root,
    /// At the context path of the console's port.
    Console,
}

/// The body of a request.
#[derive(Debug)]
pub enum Body {
    /// None given.
    None,
    /// Parameters, urlencoded.
    Form(Value),
    /// JSON.
    Json(Value),
    /// Text as it stands.
    Raw(String),
    /// Parts of a form with files.
    Multipart(Vec<Part>),
}

/// One part of a form with files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The parameter's name.
    pub name: String,
    /// The file's name, which makes it a file.
    pub file: Option<String>,
    /// The file's content type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The content as text.
    pub text: Option<String>,
    /// The content in base64.
    pub base64: Option<String>,
    /// The content is an archive of these entries.
    pub zip: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHead {
    file: RawFile,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawFile {
    profile: Option<Profile>,
    #[serde(rename = "about")]
    _about: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScenario {
    name: String,
    #[serde(default)]
    about: String,
    profile: Option<Profile>,
    #[serde(default)]
    exclusive: bool,
    quirk: Option<Value>,
    steps: Vec<RawStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    #[serde(rename = "do")]
    request: Option<String>,
    #[serde(default)]
    base: Base,
    query: Option<Value>,
    form: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    json: Option<Value>,
    body: Option<String>,
    multipart: Option<Vec<Part>>,
    #[serde(default)]
    headers: Object,
    timeout: Option<f64>,
    sleep: Option<f64>,
    udp_open: Option<String>,
    udp_recv: Option<String>,
    within: Option<f64>,
    background: Option<String>,
    lead: Option<f64>,
    join: Option<String>,
    expect: Option<Object>,
    poll: Option<Poll>,
    #[serde(default)]
    capture: Object,
    #[serde(default)]
    cleanup: bool,
    note: Option<String>,
    // These matter only when recording.
    #[serde(rename = "hint")]
    _hint: Option<IgnoredAny>,
    #[serde(rename = "until")]
    _until: Option<IgnoredAny>,
    #[serde(rename = "check")]
    _check: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Poll {
    Whether(bool),
    Seconds(f64),
}

/// A member that is there, be it `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn seconds(given: Option<f64>, otherwise: Duration) -> Result<Duration> {
    given.map_or(Ok(otherwise), |seconds| Ok(Duration::try_from_secs_f64(seconds)?))
}

/// What `expect` may hold.
const EXPECTED: [&str; 8] = ["status", "type", "headers", "json", "text", "contains", "zip", "elapsed"];

impl RawStep {
    fn step(self) -> Result<Step> {
        for (name, _) in self.expect.iter().flat_map(Object::iter) {
            ensure!(EXPECTED.contains(&name), "unknown expectation {name:?}");
        }
        let poll = match self.poll {
            None | Some(Poll::Whether(false)) => None,
            Some(Poll::Whether(true)) => Some(POLL),
            Some(Poll::Seconds(limit)) => Some(Duration::try_from_secs_f64(limit)?),
        };
        let call = match &self.request {
            None => None,
            Some(line) => {
                let (method, path) = line.split_once(' ').with_context(|| format!("no path in {line:?}"))?;
                let body = match (self.form, self.json, self.multipart, self.body) {
                    (None, None, None, None) => Body::None,
                    (Some(form), None, None, None) => Body::Form(form),
                    (None, Some(json), None, None) => Body::Json(json),
                    (None, None, Some(parts), None) => Body::Multipart(parts),
                    (None, None, None, Some(text)) => Body::Raw(text),
                    _ => bail!("more than one body"),
                };
                Some(Call {
                    method: method.to_owned(),
                    path: path.to_owned(),
                    base: self.base,
                    query: self.query,
                    body,
                    headers: self.headers,
                    timeout: seconds(self.timeout, TIMEOUT)?,
                })
            }
        };
        let action = match (self.sleep, self.udp_open, self.udp_recv, self.join, call, self.background) {
            (Some(length), None, None, None, None, None) => Action::Sleep(Duration::try_from_secs_f64(length)?),
            (None, Some(name), None, None, None, None) => Action::UdpOpen(name),
            (None, None, Some(name), None, None, None) => {
                let within = seconds(self.within, Duration::from_secs(10))?;
                ensure!(self.expect.as_ref().is_some_and(|e| e.get("json").is_some()), "udp_recv expects no json");
                Action::UdpReceive { name, within }
            }
            (None, None, None, Some(name), None, None) => Action::Join(name),
            (None, None, None, None, Some(call), None) => Action::Call(call),
            (None, None, None, None, Some(call), Some(name)) => {
                Action::Background { name, call, lead: seconds(self.lead, Duration::from_millis(400))? }
            }
            _ => bail!("it must do one thing"),
        };
        Ok(Step { action, expect: self.expect, poll, capture: self.capture, cleanup: self.cleanup, note: self.note })
    }
}

impl Step {
    /// What the step does, for people.
    pub fn title(&self) -> String {
        match &self.action {
            Action::Sleep(length) => format!("sleep {}", length.as_secs_f64()),
            Action::UdpOpen(name) => format!("udp_open {name}"),
            Action::UdpReceive { name, .. } => format!("udp_recv {name}"),
            Action::Join(name) => format!("join {name}"),
            Action::Background { call, .. } | Action::Call(call) => {
                format!("{} {}", call.method, call.path)
            }
        }
    }

    /// The path of the request that the step sends, without its query.
    pub fn path(&self) -> Option<&str> {
        match &self.action {
            Action::Background { call, .. } | Action::Call(call) => call.path.split('?').next(),
            _ => None,
        }
    }
}

/// The recordings at a path: the file itself, or the files `*.jsonl` of a folder but for those of gRPC, by name.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("read folder {}", path.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".jsonl") && !name.starts_with("grpc") {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The scenarios of a file.
pub fn load(path: &Path) -> Result<Vec<Scenario>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("recording {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Scenario>> {
    let mut lines = text.split('\n').filter(|line| !line.trim().is_empty()).peekable();
    let mut file = RawFile::default();
    if let Some(Ok(head)) = lines.peek().map(|line| serde_json::from_str::<RawHead>(line)) {
        file = head.file;
        lines.next();
    }
    lines.map(|line| scenario(line, &file)).collect()
}

fn scenario(line: &str, file: &RawFile) -> Result<Scenario> {
    let raw: RawScenario = serde_json::from_str(line).with_context(|| super::matcher::short(line, 60))?;
    let name = raw.name;
    let steps = raw.steps.into_iter().enumerate();
    Ok(Scenario {
        steps: steps
            .map(|(i, step)| step.step().with_context(|| format!("{name} step {}", i + 1)))
            .collect::<Result<_>>()?,
        about: raw.about,
        profile: raw.profile.or(file.profile).unwrap_or_default(),
        exclusive: raw.exclusive,
        quirk: raw.quirk.is_some_and(|quirk| !matches!(quirk, Value::Bool(false))),
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<Step> {
        let mut scenarios = parse(&format!("{{\"name\": \"a/b\", \"steps\": [{line}]}}"))?;
        Ok(scenarios.remove(0).steps.remove(0))
    }

    #[test]
    fn the_head_of_a_file_gives_the_profile() {
        let text = "{\"file\": {\"profile\": \"auth\", \"about\": \"x\"}}\n\n{\"name\": \"a/1\", \"steps\": []}\n\
                    {\"name\": \"a/2\", \"profile\": \"open\", \"exclusive\": true, \"quirk\": \"why\", \"steps\": []}\n";
        let scenarios = parse(text).unwrap();
        assert_eq!(scenarios.iter().map(|s| s.profile).collect::<Vec<_>>(), [Profile::Auth, Profile::Open]);
        assert_eq!(
            scenarios.iter().map(|s| (s.exclusive, s.quirk)).collect::<Vec<_>>(),
            [(false, false), (true, true)]
        );
        assert_eq!(parse("{\"name\": \"a/1\", \"steps\": []}").unwrap()[0].profile, Profile::Open);
    }

    #[test]
    fn polls() {
        let poll = |value: &str| one(&format!("{{\"do\": \"GET /\", \"poll\": {value}}}")).unwrap().poll;
        assert_eq!(poll("true"), Some(Duration::from_secs(5)));
        assert_eq!(poll("false"), None);
        assert_eq!(poll("2.5"), Some(Duration::from_millis(2500)));
    }

    #[test]
    fn a_body_of_json_may_be_null() {
        let step = one("{\"do\": \"POST /\", \"json\": null}").unwrap();
        assert!(matches!(step.action, Action::Call(Call { body: Body::Json(Value::Null), .. })));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for step in [
            "{}",
            "{\"do\": \"GET\"}",
            "{\"do\": \"GET /\", \"sleep\": 1}",
            "{\"do\": \"GET /\", \"form\": {}, \"body\": \"\"}",
            "{\"do\": \"GET /\", \"misspelt\": 1}",
            "{\"do\": \"GET /\", \"expect\": {\"misspelt\": 1}}",
            "{\"udp_recv\": \"udp\"}",
            "{\"sleep\": -1}",
        ] {
            assert!(one(step).is_err(), "{step}");
        }
    }

    #[test]
    fn all_copied_recordings_are_understood() {
        let mut names = std::collections::BTreeSet::new();
        for file in files(&super::super::recordings()).unwrap() {
            for scenario in load(&file).unwrap() {
                assert!(!scenario.steps.is_empty(), "{}", scenario.name);
                assert!(names.insert(scenario.name.clone()), "{} stands twice", scenario.name);
            }
        }
        assert!(names.len() >= 200, "only {} scenarios", names.len());
    }
}
