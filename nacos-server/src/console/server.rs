//! The server's state, the texts that the console shows, and the probes (`ServerStateController`,
//! `HealthController`, `HealthControllerV2`).

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::Path,
    sync::Arc,
};

use http::StatusCode;
use nacos_core::web::{self, Call, Fault};

use super::{Answer, ConsoleState};
use crate::NACOS_VERSION;

/// The greatest text that is read for the console, in bytes.
const TEXT_BYTES_MAX: u64 = 64 * 1024;
/// The greatest number of languages in which there may be an announcement.
const LANGUAGES_MAX: usize = 64;

/// The HTML texts that an operator may put before the users of the console.
///
/// Nacos reads them from its `conf` folder at each request. Here they are read once, at start: no request reaches
/// the file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsoleTexts {
    /// By language (`en-US`), what the console shows on top while authentication is off.
    pub announcements: HashMap<String, String>,
    /// What the console shows in its own place when its pages are switched off.
    pub guide: Option<String>,
}

impl ConsoleTexts {
    /// Reads `announcement_LANGUAGE.conf` and `console-guide.conf` in this folder, each where it is there.
    ///
    /// A text that cannot be read, or is larger than 64 KiB, is left out with a warning: a server without its
    /// greeting is better than none. Blocks; for the start only.
    pub fn load(conf: &Path) -> Self {
        let mut texts = Self::default();
        let entries = match fs::read_dir(conf) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return texts,
            Err(error) => {
                tracing::warn!(%error, folder = %conf.display(), "console texts not read");
                return texts;
            }
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let language = name.strip_prefix("announcement_").and_then(|rest| rest.strip_suffix(".conf"));
            if language.is_none() && name != "console-guide.conf" {
                continue;
            }
            match read_text(&entry.path()) {
                Err(error) => tracing::warn!(%error, file = name, "console text not read"),
                Ok(text) => match language {
                    None => texts.guide = Some(text),
                    Some(_) if texts.announcements.len() == LANGUAGES_MAX => {
                        tracing::warn!(file = name, "console text left out: there are {LANGUAGES_MAX} already");
                    }
                    Some(language) => drop(texts.announcements.insert(language.to_owned(), text)),
                },
            }
        }
        texts
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let about = fs::metadata(path)?;
    if !about.is_file() || about.len() > TEXT_BYTES_MAX {
        return Err(io::Error::other(format!("not a file of at most {TEXT_BYTES_MAX} bytes")));
    }
    fs::read_to_string(path)
}

pub(super) async fn state(state: Arc<ConsoleState>, _: Call) -> Answer {
    let mut all = BTreeMap::from([("version", Some(NACOS_VERSION.to_owned()))]);
    all.extend((state.state)());
    Ok(web::json(&all))
}

pub(super) async fn announcement(state: Arc<ConsoleState>, call: Call) -> Answer {
    let language = call.param("language").filter(|language| !language.is_empty()).unwrap_or("zh-CN".into());
    // Nothing is opened by this name; Nacos refuses it all the same.
    if language.contains("..") || language.contains(['/', '\\']) {
        return Err(Fault::Illegal("Invalid filename".to_owned()));
    }
    Ok(web::rest_result(200, None, state.texts.announcements.get(language.as_ref())))
}

pub(super) async fn guide(state: Arc<ConsoleState>, _: Call) -> Answer {
    Ok(web::rest_result(200, None, &state.texts.guide))
}

pub(super) async fn v1_liveness(_: Arc<ConsoleState>, _: Call) -> Answer {
    Ok(web::text("OK"))
}

pub(super) async fn v1_readiness(state: Arc<ConsoleState>, _: Call) -> Answer {
    match (state.readiness)() {
        Ok(()) => Ok(web::text("OK")),
        Err(modules) => {
            // A bare line: this is an answer, not an exception, so there is no `caused:`.
            let mut answer = web::text(not_ready(&modules));
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok(answer)
        }
    }
}

pub(super) async fn v2_liveness(_: Arc<ConsoleState>, _: Call) -> Answer {
    Ok(web::result("ok"))
}

pub(super) async fn v2_readiness(state: Arc<ConsoleState>, _: Call) -> Answer {
    match (state.readiness)() {
        Ok(()) => Ok(web::result("ok")),
        // Nacos' code says 30000 under status 200, its documentation 500; a probe looks at the status alone.
        Err(modules) => Err(Fault::Broken(not_ready(&modules))),
    }
}

fn not_ready(modules: &str) -> String {
    format!("{modules} not in readiness")
}
