//! Active checks of persistent instances: the server connects to them, and so learns whether they are healthy.
//!
//! [`Prober`] owns when which instance is probed; the rules that turn results into health are [`ProbeState`]'s, a
//! pure state machine. What there is to probe, and what becomes of a change, belongs to whoever implements
//! [`ProbeSource`]. The probes know no registry: an address and a [`Checker`] go in, an [`Outcome`] comes out.
//! Every connection is opened by the one [`Dialler`].
//!
//! Used by the part that owns persistent instances, and by the endpoints that read and show checkers.
//!
//! Follows Nacos 2.4 `HealthCheckTaskV2`, `HealthCheckCommonV2` and the processors beside them. What differs:
//!
//! * Each instance has its own pace and its own first probe, also where one address is in several services.
//! * A probe that this server could not try, for want of sockets or threads, says nothing of the instance; Nacos
//!   counts it against it.
//! * MySQL: a time-out counts, as with the others; Nacos meant that, but its driver's time-outs end up with the
//!   errors that count at once.
//! * HTTP: the path stays a path. In Nacos `http://other/…` as a path leads the server to another host.
//! * The switch `autoChangeHealthCheckEnabled` has no meaning; it has none in Nacos 2.4.

mod checker;
mod dialler;
mod http;
mod mysql;
mod schedule;
mod state;

use std::{borrow::Cow, sync::Arc, time::Duration};

use nacos_core::key::ServiceKey;

pub use self::{
    checker::{BadChecker, Checker, checkers_json},
    dialler::{DialError, Dialler, forbidden},
    schedule::{Prober, ProberSettings},
    state::ProbeState,
};

/// How long an instance may take to accept a connection (Nacos `TcpHealthCheckProcessor.CONNECT_TIMEOUT_MS`).
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long it may take for each answer after that: the head of an HTTP answer, a login, a query (Nacos
/// `HttpClientManager.ProcessorHttpClientFactory`, `MysqlHealthCheckProcessor.CONNECT_TIMEOUT_MS`).
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// What is probed: what one client publishes to one service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProbeId {
    /// The service.
    pub service: ServiceKey,
    /// The id of the client, `ip:port#false`.
    pub client: Arc<str>,
}

/// Where and how to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// Its address, or a name.
    pub ip: String,
    /// The port to probe: the instance's own, or its cluster's.
    pub port: u16,
    /// How.
    pub checker: Checker,
}

/// How often one kind of probe is made (Nacos `SwitchDomain.HealthParams`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The longest time from one probe to the next, in milliseconds.
    pub max_ms: u64,
    /// The shortest, in milliseconds; counts if it is above the longest.
    pub min_ms: u64,
    /// How much of the time so far stays when a new response time comes in, 0 to 1.
    pub factor: f32,
}

/// What the switches say of probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeParams {
    /// Whether instances are probed at all (`healthCheckEnabled`). While not, they keep their health, and are looked
    /// at again after their interval.
    pub enabled: bool,
    /// So many like results in a row change an instance's health (`checkTimes`); 0 means 1.
    pub check_times: u32,
    /// Pace of TCP probes (`tcpHealthParams`). The first probe of whatever kind comes 2,000 ms and up to the longest
    /// of these times after an instance was added.
    pub tcp: Pace,
    /// Pace of HTTP probes (`httpHealthParams`).
    pub http: Pace,
    /// Pace of MySQL probes (`mysqlHealthParams`).
    pub mysql: Pace,
}

impl Default for ProbeParams {
    /// The defaults of Nacos' switches.
    fn default() -> Self {
        Self {
            enabled: true,
            check_times: 3,
            tcp: Pace { max_ms: 5000, min_ms: 1000, factor: 0.75 },
            http: Pace { max_ms: 5000, min_ms: 500, factor: 0.85 },
            mysql: Pace { max_ms: 3000, min_ms: 2000, factor: 0.65 },
        }
    }
}

impl ProbeParams {
    fn pace(&self, checker: &Checker) -> Pace {
        match checker {
            Checker::Http { .. } => self.http,
            Checker::Mysql { .. } => self.mysql,
            Checker::Tcp | Checker::None => self.tcp,
        }
    }
}

/// Whose instances are probed. Called by the one task of a [`Prober`], so each call is short and never blocks.
pub trait ProbeSource: Send + Sync + 'static {
    /// Where and how to probe; `None` if it is gone, and is to be forgotten. Asked before each probe, so a changed
    /// checker counts from the next one on.
    fn target(&self, id: &ProbeId) -> Option<ProbeTarget>;

    /// Whether it counts as healthy now, `None` if it is gone. Asked after each probe.
    fn healthy(&self, id: &ProbeId) -> Option<bool>;

    /// What the switches say now.
    fn params(&self) -> ProbeParams;

    /// Whether this server is the one to probe it; in a cluster only one is. Others keep it, and ask again after its
    /// interval.
    fn responsible(&self, _id: &ProbeId) -> bool {
        true
    }

    /// Its health has to change. If nothing comes of it, and [`Self::healthy`] still says otherwise, it is reported
    /// again with the next like result.
    fn report(&self, id: &ProbeId, healthy: bool);
}

/// Why a probe ended as it did, for the log.
pub type Reason = Cow<'static, str>;

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is healthy.
    Up,
    /// Too slow, or busy. Counts against it; it is asked again later than usual.
    Slow(Reason),
    /// Not healthy. Counts against it.
    Down(Reason),
    /// Certainly not healthy: no second probe is needed.
    DownNow(Reason),
    /// It could not be tried. Says nothing.
    Untried(Reason),
}

impl From<DialError> for Outcome {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused => Self::DownNow("connection refused".into()),
            DialError::TimedOut => Self::Slow("no connection in time".into()),
            DialError::Exhausted(source) => Self::Untried(format!("cannot connect now: {source}").into()),
            DialError::Failed(source) => Self::Down(format!("no connection: {source}").into()),
            DialError::Unresolved(source) => Self::Down(format!("name not resolved: {source}").into()),
            forbidden @ DialError::Forbidden(..) => Self::Down(forbidden.to_string().into()),
        }
    }
}

/// Probes once. Ends within [`CONNECT_TIMEOUT`] and at most twice [`ANSWER_TIMEOUT`]; dropping it closes the
/// connection.
pub async fn probe(dialler: &Dialler, target: &ProbeTarget) -> Outcome {
    let connect = dialler.connect(&target.ip, target.port, CONNECT_TIMEOUT);
    match &target.checker {
        Checker::None => Outcome::Untried("not probed".into()),
        Checker::Tcp => connect.await.map_or_else(Outcome::from, |_| Outcome::Up),
        Checker::Http { path, headers, .. } => match connect.await {
            Ok(stream) => http::probe(stream, &http::request(&target.ip, target.port, path, headers)).await,
            Err(error) => error.into(),
        },
        Checker::Mysql { user, pwd, cmd } => match connect.await {
            Ok(stream) => {
                let [user, pwd, cmd] = [user, pwd, cmd].map(|member| member.as_deref().unwrap_or_default());
                mysql::probe(stream, user, pwd, cmd).await
            }
            Err(error) => error.into(),
        },
    }
}

#[cfg(test)]
mod tests;
