//! Long polls over HTTP: `POST /v1/cs/configs/listener` (Nacos `LongPollingService` and `ConfigServletInner`).
//!
//! A request is compared at once; if nothing changed it is held. What is held is small: by then headers, form and
//! text are gone, and only the keys with their MD5s are left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, header};
use nacos_core::{
    key::ConfigKey,
    web::{self, Call, Fault},
};
use tokio::time::Instant;

use super::{
    Ended, Registered, Waiter, WatchIndex,
    listening::{Listening, answer_text, form_decode, parse_listening},
};
use crate::{
    cache::ConfigCache,
    switches::Switches,
    trace::{PollingChange, PollingKind, PollingRecord, Trace},
};

/// Clients before this version get their short poll's answer in headers.
const ANSWER_IN_BODY_SINCE: u32 = 204;
/// The version of a client that does not say.
const DEFAULT_VERSION: &str = "2.0.0";
/// A poll beyond the limit is refused after this time and up to two seconds more, so that clients do not come
/// back at once (Nacos does the same).
const REFUSE_AFTER: Duration = Duration::from_secs(1);

/// Answers long polls. Cheap to clone.
#[derive(Clone)]
pub struct LongPolls {
    inner: Arc<Inner>,
}

struct Inner {
    cache: Arc<ConfigCache>,
    index: Arc<WatchIndex>,
    switches: Arc<Switches>,
    trace: Trace,
    held_max: usize,
    refused: AtomicU64,
}

impl LongPolls {
    /// Long polls over this cache and index; at most `held_max` are held at once.
    pub fn new(
        cache: Arc<ConfigCache>,
        index: Arc<WatchIndex>,
        switches: Arc<Switches>,
        trace: Trace,
        held_max: usize,
    ) -> Self {
        Self { inner: Arc::new(Inner { cache, index, switches, trace, held_max, refused: AtomicU64::new(0) }) }
    }

    /// Answers one request, at once or when something changed.
    pub async fn answer(self, call: Call) -> Result<Response, Fault> {
        let inner = self.inner;
        let (poll, wanted) = inner.begin(call)?;
        let wanted = match wanted {
            Begun::Answered(response) => return Ok(response),
            Begun::Refused => {
                // Spread evenly over two seconds, one after another.
                let spread = inner.refused.fetch_add(1, Ordering::Relaxed) * 373 % 2000;
                tokio::time::sleep(REFUSE_AFTER + Duration::from_millis(spread)).await;
                return Ok(refused());
            }
            Begun::Hold(wanted) => wanted,
        };
        // From here on only this is kept.
        let registered = inner.index.register(poll);
        inner.hold(registered, wanted).await
    }
}

/// For how long to hold a poll, and whether changes end it.
struct Wanted {
    time: Duration,
    fixed: bool,
}

enum Begun {
    Answered(Response),
    Refused,
    Hold(Wanted),
}

impl Inner {
    /// Everything that is done at once; the call does not outlive it.
    fn begin(&self, call: Call) -> Result<(Waiter, Begun), Fault> {
        let started = Instant::now();
        let invalid = || Fault::Illegal("invalid probeModify".to_owned());
        let probe =
            call.params.first("Listening-Configs").filter(|text| !text.trim().is_empty()).ok_or_else(invalid)?;
        let probe = form_decode(&probe).map_err(|_| invalid())?;
        let mut watched = parse_listening(&probe).map_err(|_| invalid())?;
        for one in &mut watched {
            // Most keys are in the cache: share its letters instead of keeping our own.
            if let Some(shared) = self.cache.shared_key(one.key.as_parts()) {
                one.key = shared;
            }
        }
        watched.shrink_to_fit();
        let client_ip = call.client_ip();
        let tag = call.header("vipserver-tag").filter(|tag| !tag.is_empty());
        let size = probe.encode_utf16().count();
        let waiter = Waiter::new(watched, &client_ip, tag, size);
        let Some(timeout) = call.header("long-pulling-timeout") else {
            let changed = self.changed(&waiter);
            let version = call.header("client-version").unwrap_or(DEFAULT_VERSION);
            return Ok((waiter, Begun::Answered(short_answer(&changed, version))));
        };
        let fixed = self.switches.fixed_polling();
        if fixed.is_none() {
            let changed = self.changed(&waiter);
            let count = changed.len();
            if count > 0 {
                let response = changed_answer(changed.iter());
                self.log(&waiter, started.elapsed(), PollingKind::Instant, PollingChange::Count(count as u64));
                return Ok((waiter, Begun::Answered(response)));
            }
            if call.header("long-pulling-timeout-no-hangup").is_some_and(|flag| flag.eq_ignore_ascii_case("true")) {
                self.log(&waiter, started.elapsed(), PollingKind::NoHangup, PollingChange::Count(0));
                return Ok((waiter, Begun::Answered(unchanged_answer())));
            }
        }
        if self.index.len() >= self.held_max {
            return Ok((waiter, Begun::Refused));
        }
        let asked: i64 = web::parse_number(timeout)?;
        let time = fixed.unwrap_or_else(|| {
            let asked = Duration::from_millis(u64::try_from(asked).unwrap_or_default());
            // A day is longer than any client waits, and short of what a timer can count.
            asked
                .saturating_sub(self.switches.fixed_delay())
                .max(self.switches.hold_min())
                .min(Duration::from_secs(86_400))
        });
        Ok((waiter, Begun::Hold(Wanted { time, fixed: fixed.is_some() })))
    }

    async fn hold(&self, registered: Registered<'_>, wanted: Wanted) -> Result<Response, Fault> {
        if !wanted.fixed {
            // Only now is it certain that a change will be noticed: what came before the registration is seen here.
            let changed = self.changed(registered.waiter());
            if !changed.is_empty() {
                let waiter = registered.waiter();
                let count = PollingChange::Count(changed.len() as u64);
                self.log(waiter, waiter.since.elapsed(), PollingKind::Instant, count);
                return Ok(changed_answer(changed.iter()));
            }
        }
        let deadline = registered.waiter().since + wanted.time;
        let ended = if wanted.fixed {
            // Whatever changes, the time is waited out; only a stop of the server ends it.
            match tokio::time::timeout_at(deadline, self.index.stopped()).await {
                Ok(()) => Ended::Stopped,
                Err(_) => Ended::TimedOut,
            }
        } else {
            match tokio::time::timeout_at(deadline, registered.ended()).await {
                Ok(ended) => ended,
                Err(_) => registered.time_out(),
            }
        };
        let waiter = registered.waiter();
        self.index.retain(&waiter.client_ip);
        match ended {
            Ended::Changed(index) => {
                let key = &waiter.watched[index].key;
                // As in Nacos, what it cost is the time since the change, not since the request.
                self.log(waiter, waiter.since_end(), PollingKind::InAdvance, PollingChange::Key(key.clone()));
                Ok(changed_answer(std::iter::once(key)))
            }
            Ended::TimedOut if wanted.fixed => {
                let changed = self.changed(waiter);
                self.log(waiter, waiter.since.elapsed(), PollingKind::Fix, PollingChange::None);
                Ok(if changed.is_empty() { unchanged_answer() } else { changed_answer(changed.iter()) })
            }
            Ended::TimedOut | Ended::Stopped => {
                self.log(waiter, waiter.since.elapsed(), PollingKind::Timeout, PollingChange::None);
                Ok(unchanged_answer())
            }
        }
    }

    fn changed(&self, waiter: &Waiter) -> Vec<ConfigKey> {
        let differs = |one: &&Listening| {
            let current = self.cache.md5_for(one.key.as_parts(), &waiter.client_ip, waiter.tag.as_deref());
            !one.held.equals(current)
        };
        waiter.watched.iter().filter(differs).map(|one| one.key.clone()).collect()
    }

    fn log(&self, waiter: &Waiter, cost: Duration, kind: PollingKind, changed: PollingChange) {
        self.trace.polling(PollingRecord {
            cost_ms: cost.as_millis() as u64,
            kind,
            client_ip: (&*waiter.client_ip).into(),
            keys: waiter.watched.len() as u64,
            request_size: u64::from(waiter.request_size),
            changed,
        });
    }
}

fn uncached(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache,no-store"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(web::JSON));
    response
}

fn changed_answer<'a>(keys: impl Iterator<Item = &'a ConfigKey>) -> Response {
    let mut text = answer_text(keys);
    text.push('\n');
    uncached(Response::new(Body::from(text)))
}

fn unchanged_answer() -> Response {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(web::JSON));
    response
}

fn refused() -> Response {
    let mut response = uncached(Response::new(Body::from("too many long polls are held by this server\n")));
    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    response
}

fn short_answer(changed: &[ConfigKey], version: &str) -> Response {
    let mut response = uncached(Response::new(Body::empty()));
    if version_number(version) < ANSWER_IN_BODY_SINCE {
        let old: String = changed.iter().map(|key| format!("{}:{};", key.data_id(), key.group())).collect();
        for (name, value) in
            [("probe-modify-response", old), ("probe-modify-response-new", answer_text(changed.iter()))]
        {
            // A key with letters that a header cannot bear is told by the second header alone, which is encoded.
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
    }
    response
}

/// `2.0.4` → 204, as Nacos' `Protocol.getVersionNumber` counts: one digit after another, what is no number left out.
fn version_number(version: &str) -> u32 {
    let parts = version.split('.').filter_map(|part| part.parse::<u32>().ok());
    parts.fold(0, |sum: u32, part| sum.saturating_mul(10).saturating_add(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_counted_as_nacos_counts() {
        assert_eq!(version_number("2.0.4"), 204);
        assert_eq!(version_number("1.4.7"), 147);
        assert_eq!(version_number("nodejs-diamond-client/2.6.3"), 63);
        assert_eq!(version_number(""), 0);
    }

    #[test]
    fn old_clients_get_the_answer_in_headers() {
        let keys = [ConfigKey::new("d1", "g", "n")];
        let response = short_answer(&keys, "2.0.0");
        assert_eq!(response.headers()["probe-modify-response"], "d1:g;");
        assert_eq!(response.headers()["probe-modify-response-new"], "d1%02g%02n%01");
        assert!(short_answer(&keys, "2.0.4").headers().get("probe-modify-response").is_none());
    }
}
