//! The answer to "who offers this service": which instances are shown to whom, and its JSON.
//!
//! Owns the finished answers of a service: they are made once for each combination of clusters and health that was
//! asked for, and dropped when anything changes. A list query is then a look-up and a copy of a pointer. Nacos:
//! `ServiceStorage`, `ServiceUtil.selectInstancesWithHealthyProtection`, `ServiceInfo`.

use std::cell::RefCell;

use bytes::Bytes;
use nacos_core::{clock, error::ErrorCode, key::ServiceKey, web::ResultBody};
use serde::Serialize;
use serde_json::json;
use smallvec::SmallVec;

use crate::{
    model::{BEAT_INTERVAL_MS, BEAT_TIMEOUT_MS, DELETE_TIMEOUT_MS, Metadata, preserved},
    registry::{Kind, Shown, State},
    selector::Labels,
};

/// Most finished answers of one service.
const VIEWS_MAX: usize = 8;
/// An answer for longer lists of clusters is not kept.
const CLUSTERS_MAX: usize = 1024;

/// The finished answers of a service.
#[derive(Default)]
pub(crate) struct Views {
    finished: SmallVec<[View; 1]>,
    /// When the newest of them was made, in milliseconds since 1970: clients take a list that claims to be older than
    /// theirs for out of date.
    newest_ms: i64,
}

struct View {
    form: Form,
    healthy_only: bool,
    clusters: Box<str>,
    cache_millis: u64,
    json: Bytes,
}

impl Views {
    /// Drops them all: something changed.
    pub(crate) fn clear(&mut self) {
        self.finished = SmallVec::new();
    }
}

/// For whom an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `GET /v1/ns/instance/list`.
    V1,
    /// `GET /v2/ns/instance/list`: the same in a `Result`.
    V2,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) form: Form,
    /// Cluster names with commas; blank for all.
    pub(crate) clusters: &'a str,
    pub(crate) healthy_only: bool,
    /// The consumer's address, for selectors.
    pub(crate) consumer: &'a str,
    /// How long a client may go without asking again, in milliseconds.
    pub(crate) cache_millis: u64,
    /// What is known of addresses, for selectors.
    pub(crate) labels: Option<&'a dyn Labels>,
}

impl State {
    /// The answer, finished before or now.
    pub(crate) fn answer(&mut self, key: &ServiceKey, asked: Asked<'_>) -> Bytes {
        // What depends on who asks is not kept.
        let personal = asked.labels.is_some()
            && self.metadata.as_deref().is_some_and(|metadata| metadata.selector != Default::default());
        let kept = !personal && asked.clusters.len() <= CLUSTERS_MAX;
        if kept
            && let Some(view) = self.views.finished.iter().find(|view| {
                view.form == asked.form
                    && view.healthy_only == asked.healthy_only
                    && *view.clusters == *asked.clusters
                    && view.cache_millis == asked.cache_millis
            })
        {
            return view.json.clone();
        }
        self.views.newest_ms = self.views.newest_ms.max(clock::wall_ms());
        let json = write_list(key, self, &asked, self.views.newest_ms);
        if kept {
            if self.views.finished.len() >= VIEWS_MAX {
                self.views.finished.remove(0);
            }
            self.views.finished.push(View {
                form: asked.form,
                healthy_only: asked.healthy_only,
                clusters: asked.clusters.into(),
                cache_millis: asked.cache_millis,
                json: json.clone(),
            });
        }
        json
    }
}

/// The instances to show, whether they are all to be shown as healthy, and whether the protection threshold acts.
fn select<'a>(state: &'a State, asked: &Asked<'_>) -> (Vec<Shown<'a>>, bool) {
    let wanted: SmallVec<[&str; 4]> =
        if asked.clusters.trim().is_empty() { SmallVec::new() } else { asked.clusters.split(',').collect() };
    let mut healthy = 0_usize;
    let mut hosts: Vec<Shown<'a>> = Vec::with_capacity(state.publishers.len());
    for shown in state.instances() {
        if !shown.enabled || !(wanted.is_empty() || wanted.contains(&&*shown.instance.cluster)) {
            continue;
        }
        healthy += usize::from(shown.instance.healthy);
        if shown.instance.healthy || !asked.healthy_only {
            hosts.push(shown);
        }
    }
    let Some(metadata) = state.metadata.as_deref() else { return (hosts, false) };
    if let Some(labels) = asked.labels {
        let before = hosts.len();
        hosts = metadata.selector.select(labels, asked.consumer, hosts, |shown: &Shown<'_>| &shown.instance.ip);
        if hosts.len() != before {
            healthy = hosts.iter().filter(|shown| shown.instance.healthy).count();
        }
    }
    // Of an empty list no part is healthy, nor less than a threshold.
    let reached = !hosts.is_empty() && healthy as f32 / hosts.len() as f32 <= metadata.protect_threshold.max(0.0);
    (hosts, reached)
}

fn write_list(key: &ServiceKey, state: &State, asked: &Asked<'_>, now_ms: i64) -> Bytes {
    let (hosts, reached) = select(state, asked);
    let ephemeral = state.kind != Some(Kind::Persistent);
    let list = ServiceJson {
        name: key.grouped(),
        group_name: key.group(),
        clusters: asked.clusters,
        cache_millis: asked.cache_millis,
        hosts: hosts
            .iter()
            .map(|shown| {
                let mut json = InstanceJson::of(key, shown, ephemeral);
                json.healthy |= reached;
                json
            })
            .collect(),
        last_ref_time: now_ms,
        checksum: "",
        all_ips: false,
        reach_protection_threshold: reached,
        valid: true,
    };
    // Written aside and copied: an answer is kept for long, and takes no more than its own length.
    SCRATCH.with_borrow_mut(|out| {
        out.clear();
        // Writing into a `Vec` does not fail.
        let _ = match asked.form {
            Form::V2 => {
                let success = ErrorCode::Success;
                let body = ResultBody { code: success.code(), message: Some(success.text()), data: list };
                serde_json::to_writer(&mut *out, &body)
            }
            Form::V1 => serde_json::to_writer(&mut *out, &list),
        };
        let json = Bytes::copy_from_slice(out);
        if out.capacity() > SCRATCH_MAX {
            *out = Vec::new();
        }
        json
    })
}

/// What each thread keeps to write answers in, at most.
const SCRATCH_MAX: usize = 256 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The data of a push over UDP, from the list of v1 that its client would be answered: Nacos leaves the group out, and
/// loses the mark of the protection threshold on the way.
pub(crate) fn push_data(key: &ServiceKey, list: &str) -> String {
    let named = format!("{{\"name\":{}", json!(key.grouped()));
    let group = format!(",\"groupName\":{}", json!(key.group()));
    let rest = list.strip_prefix(named.as_str()).and_then(|rest| rest.strip_prefix(group.as_str()));
    const REACHED: &str = "\"reachProtectionThreshold\":true,\"valid\":true}";
    const NOT_REACHED: &str = "\"reachProtectionThreshold\":false,\"valid\":true}";
    match rest.map(|rest| (rest, rest.strip_suffix(REACHED))) {
        None => list.to_owned(),
        Some((_, Some(rest))) => named + rest + NOT_REACHED,
        Some((rest, None)) => named + rest,
    }
}

/// A service's list as clients read it (Nacos `ServiceInfo`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceJson<'a> {
    name: &'a str,
    group_name: &'a str,
    clusters: &'a str,
    cache_millis: u64,
    hosts: Vec<InstanceJson<'a>>,
    last_ref_time: i64,
    checksum: &'a str,
    #[serde(rename = "allIPs")]
    all_ips: bool,
    reach_protection_threshold: bool,
    valid: bool,
}

/// An instance as clients read it (Nacos `Instance`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstanceJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    ip: &'a str,
    port: u16,
    weight: f64,
    healthy: bool,
    enabled: bool,
    ephemeral: bool,
    cluster_name: &'a str,
    service_name: &'a str,
    metadata: &'a Metadata,
    instance_heart_beat_interval: u64,
    instance_heart_beat_time_out: u64,
    ip_delete_timeout: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id_generator: Option<&'a str>,
}

impl<'a> InstanceJson<'a> {
    /// What to write of an instance in this service.
    pub(crate) fn of(key: &'a ServiceKey, shown: &'a Shown<'_>, ephemeral: bool) -> Self {
        let (instance, metadata) = (shown.instance, &shown.metadata);
        let millis = |name, default| metadata.millis(name).unwrap_or(default);
        Self {
            instance_id: instance.id_text(key.grouped()),
            ip: &instance.ip,
            port: instance.port,
            weight: shown.weight,
            healthy: instance.healthy,
            enabled: shown.enabled,
            ephemeral,
            cluster_name: &instance.cluster,
            service_name: key.grouped(),
            metadata,
            instance_heart_beat_interval: millis(preserved::BEAT_INTERVAL, BEAT_INTERVAL_MS),
            instance_heart_beat_time_out: millis(preserved::BEAT_TIMEOUT, BEAT_TIMEOUT_MS),
            ip_delete_timeout: millis(preserved::DELETE_TIMEOUT, DELETE_TIMEOUT_MS),
            instance_id_generator: match metadata.is_empty() {
                true => Some("simple"),
                false => metadata.get(preserved::ID_GENERATOR),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_push_is_the_list_without_group_and_mark() {
        for (group, reached) in [("g", true), ("g", false), ("\"\\", true), ("群", false)] {
            let key = ServiceKey::new("public", group, "s");
            let mut list = json!({
                "name": key.grouped(), "groupName": group, "clusters": "a,b", "cacheMillis": 1, "hosts": [],
                "lastRefTime": 1, "checksum": "", "allIPs": false, "reachProtectionThreshold": reached, "valid": true,
            });
            let written = ServiceJson {
                name: key.grouped(),
                group_name: group,
                clusters: "a,b",
                cache_millis: 1,
                hosts: Vec::new(),
                last_ref_time: 1,
                checksum: "",
                all_ips: false,
                reach_protection_threshold: reached,
                valid: true,
            };
            let data = push_data(&key, &serde_json::to_string(&written).unwrap());
            list.as_object_mut().unwrap().remove("groupName");
            list["reachProtectionThreshold"] = json!(false);
            assert_eq!(serde_json::from_str::<Value>(&data).unwrap(), list);
        }
    }
}
