//! The operator's switches: numbers and flags of service discovery that are changed while servers run (Nacos
//! `SwitchManager`, `SwitchDomain`).
//!
//! Owns the current [`SwitchDomain`] and the group `naming_persistent_service`, which keeps it. Everything in this
//! crate may read it; only the operator's endpoints change it, by [`Switches::update`]. What every heartbeat or query
//! asks for is held apart from the domain, so that asking costs one load.
//!
//! An entry of the log and a snapshot are the same text, `{"v":1,"switchDomain":{…}}`, with all switches in it: a
//! later entry takes the place of the earlier. Members may be added to the domain without a new version; a version
//! that is unknown stops the group.

mod agents;
mod domain;
mod entries;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering::Relaxed},
};

use nacos_core::consistency::{ApplyError, CpError, CpProtocol, Entry, RequestProcessor, SnapshotOperation};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

pub use domain::{DomainName, HealthParams, ServerStatus, SwitchDomain};
pub use entries::SwitchError;

/// The group that keeps the switches (Nacos `NAMING_PERSISTENT_SERVICE_GROUP`).
pub const GROUP: &str = "naming_persistent_service";
/// The version of the text that is logged and saved.
const VERSION: u32 = 1;
/// What is answered where the operator's status is no HTTP status for an answer.
const LIMITED_STATUS: u16 = 503;

/// Why an update was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchUpdateError {
    /// The value is not allowed; nothing was changed.
    #[error(transparent)]
    Value(#[from] SwitchError),
    /// It was not stored: v1 and v2 500 with the text. After [`CpError::Unconfirmed`] it may be all the same.
    #[error(transparent)]
    Store(#[from] CpError),
}

/// The switches of a server. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Switches {
    state: Arc<State>,
    protocol: Arc<dyn CpProtocol>,
    /// All switches are written at once, those before an update included: two at a time would undo one another.
    updating: Arc<tokio::sync::Mutex<()>>,
}

impl Switches {
    /// The switches as they are stored, which may be changed from then on.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub async fn start(protocol: Arc<dyn CpProtocol>) -> Result<Self, CpError> {
        let switches = Self::new(protocol);
        switches.protocol.add_processor(switches.state.clone()).await?;
        Ok(switches)
    }

    fn new(protocol: Arc<dyn CpProtocol>) -> Self {
        Self { state: Arc::default(), protocol, updating: Arc::default() }
    }

    /// Sets an entry, as [`SwitchDomain::with`] does: with `debug` on this server alone and until it stops, else on
    /// all of them and for good. As in Nacos the latter stores the switches as *this* server has them, with whatever
    /// was changed for debugging.
    ///
    /// # Errors
    /// [`SwitchUpdateError`].
    ///
    /// # Cancel safety
    /// Once polled, the update goes on in a task of its own.
    pub async fn update(&self, entry: &str, value: &str, debug: bool) -> Result<(), SwitchUpdateError> {
        let (switches, entry, value) = (self.clone(), entry.to_owned(), value.to_owned());
        // An operator who leaves in the middle must not let the next update begin before this one is applied.
        let update = tokio::spawn(async move { switches.update_in_turn(&entry, &value, !debug).await });
        update.await.unwrap_or_else(|error| Err(CpError::Unconfirmed(GROUP.to_owned(), error.to_string()).into()))
    }

    async fn update_in_turn(&self, entry: &str, value: &str, stored: bool) -> Result<(), SwitchUpdateError> {
        let _one_at_a_time = self.updating.lock().await;
        let next = self.get().with(entry, value)?;
        if stored {
            let text = write(&next).map_err(SwitchError::Broken)?;
            self.protocol.write(GROUP, Entry::from(text)).await?;
        } else {
            self.state.set(Arc::new(next));
        }
        tracing::info!(?entry, ?value, stored, "switch set");
        Ok(())
    }

    /// All switches as they stand, to be shown or read several at once.
    pub fn get(&self) -> Arc<SwitchDomain> {
        self.state.domain.read().clone()
    }

    /// Whether subscribers are pushed to.
    pub fn push_enabled(&self) -> bool {
        self.state.hot.push_enabled.load(Relaxed)
    }

    /// Whether health is watched: whether instances without heartbeats become unhealthy.
    pub fn health_check_enabled(&self) -> bool {
        self.state.hot.health_check_enabled.load(Relaxed)
    }

    /// Whether this service's persistent instances are probed: as [`health_check_enabled`](Self::health_check_enabled)
    /// says, or because the service (`group@@name`) is on the white list.
    pub fn probe_enabled(&self, grouped_service: &str) -> bool {
        self.health_check_enabled()
            || self.state.hot.white_list.load(Relaxed) && self.get().health_check_white_list.contains(grouped_service)
    }

    /// How often clients are told to beat, in milliseconds; whatever the operator set.
    pub fn client_beat_interval(&self) -> i64 {
        self.state.hot.client_beat_interval.load(Relaxed)
    }

    /// How long an instance list is good for, in milliseconds.
    pub fn push_cache_millis(&self) -> u64 {
        self.state.hot.push_cache_millis.load(Relaxed).max(0).unsigned_abs()
    }

    /// Whether clients are told that a heartbeat may leave the instance out.
    pub fn light_beat_enabled(&self) -> bool {
        self.state.hot.light_beat_enabled.load(Relaxed)
    }

    /// Whether an instance is ephemeral if its registration does not say.
    pub fn default_instance_ephemeral(&self) -> bool {
        self.state.hot.default_instance_ephemeral.load(Relaxed)
    }

    /// Kept for the operator; nothing of Nacos 2.4.3 asks for it.
    pub fn auto_change_health_check_enabled(&self) -> bool {
        self.state.hot.auto_change_health_check_enabled.load(Relaxed)
    }

    /// The state that the operator put the server into, whatever its own.
    pub fn overridden_status(&self) -> Option<ServerStatus> {
        ServerStatus::ALL.get(usize::from(self.state.hot.status.load(Relaxed))).copied()
    }

    /// The state of a server that is up for its own part.
    pub fn status(&self) -> ServerStatus {
        self.overridden_status().unwrap_or(ServerStatus::Up)
    }

    /// The status that a request is answered with, and no body, because its address begins with a limited one: the
    /// longest of those (in Nacos, some one of them). `address` is the path as it came, context path included, then
    /// `?` and the query, `null` where there is none (Nacos `TrafficReviseFilter`, which guards `/v1/ns` alone).
    pub fn limited(&self, address: &str) -> Option<u16> {
        if !self.state.hot.limited.load(Relaxed) {
            return None;
        }
        let domain = self.get();
        // Of two that both fit, the longer one is the greater.
        let (_, status) = domain.limited_url_map.iter().rev().find(|(begin, _)| address.starts_with(begin.as_str()))?;
        Some(u16::try_from(*status).ok().filter(|status| (200..=999).contains(status)).unwrap_or(LIMITED_STATUS))
    }

    /// Whether a subscriber that calls itself this (`User-Agent`, else `Client-Version`) is pushed to by UDP.
    pub fn can_push(&self, user_agent: &str) -> bool {
        self.push_enabled() && agents::can_push(&self.get(), user_agent)
    }
}

/// What [`Switches`] and the group's processor share. The protocol holds the processor, so this must not hold it.
#[derive(Default)]
struct State {
    /// As they stand on this server.
    domain: RwLock<Arc<SwitchDomain>>,
    /// As the log has them: without what was changed for debugging, so that every member saves the same.
    stored: Mutex<Arc<SwitchDomain>>,
    /// Parts of `domain`, written while that is locked.
    hot: Hot,
}

impl State {
    fn set(&self, next: Arc<SwitchDomain>) {
        if let Some(name) = next.overridden_server_status.as_deref()
            && next.overridden().is_none()
            && !name.trim().is_empty()
        {
            tracing::warn!(?name, "overriddenServerStatus is no status, and overrides nothing");
        }
        let mut domain = self.domain.write();
        self.hot.set(&next);
        *domain = next;
    }

    fn set_stored(&self, next: SwitchDomain) {
        let next = Arc::new(next);
        *self.stored.lock() = next.clone();
        self.set(next);
    }

    fn stored_text(&self) -> Result<String, String> {
        let stored = self.stored.lock().clone();
        write(&stored)
    }
}

/// What is asked for at every heartbeat or query. Each is right by itself; two of them may be of different updates.
struct Hot {
    push_enabled: AtomicBool,
    health_check_enabled: AtomicBool,
    client_beat_interval: AtomicI64,
    push_cache_millis: AtomicI64,
    light_beat_enabled: AtomicBool,
    default_instance_ephemeral: AtomicBool,
    auto_change_health_check_enabled: AtomicBool,
    /// The place of the overridden status in `ServerStatus::ALL`; past its end for none.
    status: AtomicU8,
    /// Whether there are limited addresses.
    limited: AtomicBool,
    /// Whether there is a white list of health checks.
    white_list: AtomicBool,
}

impl Hot {
    fn set(&self, domain: &SwitchDomain) {
        self.push_enabled.store(domain.push_enabled, Relaxed);
        self.health_check_enabled.store(domain.health_check_enabled, Relaxed);
        self.client_beat_interval.store(domain.client_beat_interval, Relaxed);
        self.push_cache_millis.store(domain.default_push_cache_millis, Relaxed);
        self.light_beat_enabled.store(domain.light_beat_enabled, Relaxed);
        self.default_instance_ephemeral.store(domain.default_instance_ephemeral, Relaxed);
        self.auto_change_health_check_enabled.store(domain.auto_change_health_check_enabled, Relaxed);
        self.status.store(domain.overridden().map_or(u8::MAX, |status| status as u8), Relaxed);
        self.limited.store(!domain.limited_url_map.is_empty(), Relaxed);
        self.white_list.store(!domain.health_check_white_list.is_empty(), Relaxed);
    }
}

impl Default for Hot {
    fn default() -> Self {
        let hot = Self {
            push_enabled: AtomicBool::default(),
            health_check_enabled: AtomicBool::default(),
            client_beat_interval: AtomicI64::default(),
            push_cache_millis: AtomicI64::default(),
            light_beat_enabled: AtomicBool::default(),
            default_instance_ephemeral: AtomicBool::default(),
            auto_change_health_check_enabled: AtomicBool::default(),
            status: AtomicU8::default(),
            limited: AtomicBool::default(),
            white_list: AtomicBool::default(),
        };
        hot.set(&SwitchDomain::default());
        hot
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    v: u32,
    switch_domain: &'a SwitchDomain,
}

fn write(domain: &SwitchDomain) -> Result<String, String> {
    serde_json::to_string(&Written { v: VERSION, switch_domain: domain }).map_err(|error| error.to_string())
}

/// Why a text of the log was not read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("no switches: {0}")]
    Text(#[from] serde_json::Error),
    #[error("switches of version {0}, which this server does not know")]
    Version(u32),
}

fn read(text: &str) -> Result<SwitchDomain, ReadError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Read {
        switch_domain: SwitchDomain,
    }
    // First of all the version: another one may have other members.
    let Version { v } = serde_json::from_str(text)?;
    if v != VERSION {
        return Err(ReadError::Version(v));
    }
    Ok(serde_json::from_str::<Read>(text)?.switch_domain)
}

impl RequestProcessor for State {
    fn group(&self) -> &'static str {
        GROUP
    }

    fn apply(&self, entry: &str) -> Result<String, ApplyError> {
        match read(entry) {
            Ok(domain) => {
                self.set_stored(domain);
                Ok(String::new())
            }
            // Newer members apply it, so that this one would go another way.
            Err(error @ ReadError::Version(_)) => Err(ApplyError::Critical(error.to_string())),
            Err(error @ ReadError::Text(_)) => Err(ApplyError::Refused(error.to_string())),
        }
    }

    /// Whatever is asked, the answer is all switches as they are stored.
    fn read(&self, _: &str) -> Result<String, ApplyError> {
        self.stored_text().map_err(ApplyError::Refused)
    }

    fn snapshot(&self) -> Option<&dyn SnapshotOperation> {
        Some(self)
    }
}

impl SnapshotOperation for State {
    fn save(&self) -> Result<String, String> {
        self.stored_text()
    }

    fn load(&self, snapshot: &str) -> Result<(), String> {
        self.set_stored(read(snapshot).map_err(|error| error.to_string())?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
