//! Reading parameters as Nacos does in v1 (`WebUtils.required`, `optional`, `ServiceNameFilter`), and the parameter
//! filters of this module's routes (`NamingDefaultHttpParamExtractor` and its siblings).

use std::{borrow::Cow, str::FromStr};

use http::StatusCode;
use nacos_core::{
    key::{DEFAULT_GROUP, DEFAULT_NAMESPACE, GROUP_SPLITTER, ServiceKey},
    web::{Call, Fault, check, parse_number},
};
use serde::Deserialize;

use crate::{
    health::heartbeat::java_true,
    model::{DEFAULT_CLUSTER, Metadata},
};

/// The parameter, without blanks around it, if there is more in it than blanks.
pub(super) fn optional<'a>(call: &'a Call, name: &str) -> Option<Cow<'a, str>> {
    call.params.first(name).and_then(trimmed).filter(|value| !value.is_empty())
}

fn trimmed(value: Cow<'_, str>) -> Option<Cow<'_, str>> {
    Some(match value.trim().len() == value.len() {
        true => value,
        false => value.trim().to_owned().into(),
    })
}

/// The parameter, which must be there and not empty.
pub(super) fn required<'a>(call: &'a Call, name: &str) -> Result<Cow<'a, str>, Fault> {
    let value = call.params.first(name).filter(|value| !value.is_empty()).and_then(trimmed);
    value.ok_or_else(|| Fault::Illegal(format!("Param '{name}' is required.")))
}

/// The namespace, `public` unless one is named.
pub(super) fn namespace(call: &Call) -> Cow<'_, str> {
    optional(call, "namespaceId").unwrap_or(DEFAULT_NAMESPACE.into())
}

/// The service that a v1 call names: by `group@@name`, or by name and group.
pub(super) fn service_key(call: &Call) -> Result<ServiceKey, Fault> {
    let grouped = grouped_name(call)?.ok_or_else(|| Fault::Illegal("Param 'serviceName' is required.".to_owned()))?;
    Ok(ServiceKey::of_grouped(&namespace(call), &grouped))
}

/// As [`service_key`], where Spring misses the parameter in other words.
pub(super) fn bound_service_key(call: &Call) -> Result<ServiceKey, Fault> {
    let grouped = grouped_name(call)?.ok_or(Fault::Missing("serviceName", "String"))?;
    Ok(ServiceKey::of_grouped(&namespace(call), &grouped))
}

/// `group@@name` of a v1 call; `None` if no service is named.
pub(super) fn grouped_name(call: &Call) -> Result<Option<String>, Fault> {
    let Some(name) = optional(call, "serviceName") else { return Ok(None) };
    let grouped = if name.contains(GROUP_SPLITTER) {
        name.into_owned()
    } else {
        let group = call.params.first("groupName").filter(|group| !group.trim().is_empty());
        format!("{}{GROUP_SPLITTER}{name}", group.unwrap_or(DEFAULT_GROUP.into()))
    };
    check_grouped(&grouped).map_err(|text| {
        Fault::Outside(StatusCode::BAD_REQUEST, format!("Service name filter error,caused: {text};"))
    })?;
    Ok(Some(grouped))
}

/// Checks that a name has the form `group@@name`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_grouped(grouped: &str) -> Result<(), &'static str> {
    // Java's split leaves out empty pieces at the end.
    match grouped.split_once(GROUP_SPLITTER) {
        Some((_, name)) if name.is_empty() || name == GROUP_SPLITTER => {}
        Some(("", _)) => return Err("Param 'serviceName' is illegal, groupName can't be empty"),
        Some(_) => return Ok(()),
        None => {}
    }
    Err("Param 'serviceName' is illegal, it should be format as 'groupName@@serviceName'")
}

/// A number as Java's parsers read it.
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, Fault> {
    parse_number(text)
}

/// A port that must be there.
pub(super) fn port(call: &Call) -> Result<u16, Fault> {
    number(&required(call, "port")?)
}

/// A floating-point number as Java reads it.
pub(super) fn float(text: &str) -> Result<f64, Fault> {
    parse_number(text)
}

/// The cluster by either of its names.
pub(super) fn cluster(call: &Call) -> Cow<'_, str> {
    optional(call, "clusterName").or_else(|| optional(call, "cluster")).unwrap_or(DEFAULT_CLUSTER.into())
}

/// Whether a parameter says yes; `default` if it is not there.
pub(super) fn flag(call: &Call, name: &str, default: bool) -> bool {
    optional(call, name).map_or(default, |value| java_true(&value))
}

/// Whether a parameter is the word `true`.
pub(super) fn is_true(call: &Call, name: &str) -> bool {
    optional(call, name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The parameter `metadata`; none if it is not there.
pub(super) fn metadata(call: &Call) -> Result<Metadata, Fault> {
    match call.params.first("metadata") {
        None => Ok(Metadata::none()),
        Some(text) => Metadata::parse(&text).ok_or_else(|| broken_metadata(&text)),
    }
}

/// As Nacos' parameter filter fails: with Spring's error.
fn broken_metadata(text: &str) -> Fault {
    Fault::Outside(StatusCode::INTERNAL_SERVER_ERROR, format!("ErrCode:400, ErrMsg:metadata format incorrect:{text}"))
}

/// Number and size of a page, where anything that is no number is 0 (`NumberUtils.toInt`).
pub(super) fn page_of(number: &str, size: &str) -> (i64, i64) {
    let read = |text: &str| text.trim().parse::<i32>().map_or(0, i64::from);
    (read(number), read(size))
}

/// The items of a page as Nacos cuts them out of a list: from 1, and before that from the beginning.
pub(super) fn page<T>(items: &[T], number: i64, size: i64) -> &[T] {
    let length = items.len() as i64;
    let start = ((number - 1).saturating_mul(size)).clamp(0, length);
    let end = start.saturating_add(size.max(0)).min(length);
    &items[start as usize..end as usize]
}

/// The names that every route of this module may have.
pub(super) fn check_default(call: &Call) -> Result<(), Fault> {
    let first = |name| call.params.first(name).filter(|value| !value.trim().is_empty()).unwrap_or_default();
    let either = |one, other| match first(one) {
        value if value.is_empty() => first(other),
        value => value,
    };
    check_service(call, &either("serviceName", "serviceNameParam"), &either("groupName", "groupNameParam"))?;
    check::cluster(&either("clusterName", "cluster"))?;
    check::ip(&first("ip"))?;
    check::port(&either("port", "checkPort"))
}

/// Namespace, service and group.
fn check_service(call: &Call, service: &str, group: &str) -> Result<(), Fault> {
    check::namespace_id(&call.params.first("namespaceId").unwrap_or_default())?;
    match service.split_once(GROUP_SPLITTER) {
        Some((group, name)) => {
            check::service_name(name)?;
            check::group(group)
        }
        None => {
            check::service_name(service)?;
            check::group(group)
        }
    }
}

/// The names of a list query.
pub(super) fn check_list(call: &Call) -> Result<(), Fault> {
    let first = |name| call.params.first(name).unwrap_or_default();
    check_service(call, &first("serviceName"), &first("groupName"))?;
    check::clusters(&first("clusters"))
}

/// The names of a heartbeat, those in the JSON of a full one too.
pub(super) fn check_beat(call: &Call) -> Result<(), Fault> {
    let first = |name| call.params.first(name).unwrap_or_default();
    check_service(call, &first("serviceName"), &first("groupName"))?;
    check::ip(&first("ip"))?;
    check::port(&first("port"))?;
    if let Some(beat) = full_beat(call)? {
        check::cluster(beat.cluster.as_deref().unwrap_or_default())?;
        check::ip(beat.ip.as_deref().unwrap_or_default())?;
        check::port(&beat.port.to_string())?;
    }
    Ok(())
}

/// The names of a batch, those in its JSON too.
pub(super) fn check_batch(call: &Call) -> Result<(), Fault> {
    let first = |name| call.params.first(name).unwrap_or_default();
    check_service(call, &first("serviceName"), &first("groupName"))?;
    for target in batch(call)? {
        check::cluster(target.cluster_name.as_deref().unwrap_or_default())?;
        check::ip(target.ip.as_deref().unwrap_or_default())?;
        check::port(&target.port.to_string())?;
    }
    Ok(())
}

/// What a full heartbeat tells (Nacos `RsInfo`).
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct FullBeat {
    pub(super) ip: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) port: i64,
    pub(super) cluster: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) weight: f64,
    pub(super) metadata: Metadata,
}

impl Default for FullBeat {
    fn default() -> Self {
        Self { ip: None, port: 0, cluster: None, weight: 0.0, metadata: Metadata::none() }
    }
}

/// An instance in a batch (Nacos `Instance`).
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BatchTarget {
    pub(super) ip: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) port: i64,
    pub(super) cluster_name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) ephemeral: bool,
}

impl Default for BatchTarget {
    fn default() -> Self {
        Self { ip: None, port: 0, cluster_name: None, ephemeral: true }
    }
}

/// A number or truth value, which Jackson takes from a text as well.
fn lenient<'de, D: serde::Deserializer<'de>, T: FromStr + Default>(deserializer: D) -> Result<T, D::Error> {
    let text = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => return Ok(T::default()),
        serde_json::Value::String(text) => text,
        value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => value.to_string(),
        _ => return Err(serde::de::Error::custom("neither text nor number")),
    };
    text.trim().parse().map_err(|_| serde::de::Error::custom(format!("not readable: {text}")))
}

/// The parameter `beat`, if the heartbeat is a full one.
pub(super) fn full_beat(call: &Call) -> Result<Option<FullBeat>, Fault> {
    let Some(text) = optional(call, "beat") else { return Ok(None) };
    // `null` is no full heartbeat either.
    serde_json::from_str(&text).map_err(|_| deserialize_failed())
}

/// The parameter `instances`; none if it is not there.
pub(super) fn batch(call: &Call) -> Result<Vec<BatchTarget>, Fault> {
    let Some(text) = optional(call, "instances") else { return Ok(Vec::new()) };
    serde_json::from_str::<Option<Vec<BatchTarget>>>(&text)
        .map(Option::unwrap_or_default)
        .map_err(|_| deserialize_failed())
}

fn deserialize_failed() -> Fault {
    Fault::Outside(StatusCode::INTERNAL_SERVER_ERROR, "errCode: 101, errMsg: Nacos deserialize failed. ".to_owned())
}

/// The parts of `namespace##group@@name`, where the namespace may be left out.
pub(super) fn status_key(key: &str) -> Result<ServiceKey, Fault> {
    let (namespace, grouped) = key.split_once("##").unwrap_or((DEFAULT_NAMESPACE, key));
    check_grouped(grouped).map_err(|text| Fault::Illegal(text.to_owned()))?;
    Ok(ServiceKey::of_grouped(namespace, grouped))
}

/// Group and name as the catalog reads them: blank is blank.
pub(super) fn catalog_key(namespace: &str, grouped: Option<&str>) -> ServiceKey {
    match grouped {
        Some(grouped) => ServiceKey::of_grouped(namespace, grouped),
        None => ServiceKey::new(namespace, "", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grouped_name_has_both_parts() {
        for good in ["g@@s", "g@@s@@t", "g@@s@@"] {
            assert_eq!(check_grouped(good), Ok(()), "{good}");
        }
        for wrong in ["s", "g@@", "@@", "@@@@", "", "@@s"] {
            assert!(check_grouped(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_are_cut_as_nacos_does() {
        let items = [1, 2, 3, 4, 5];
        assert_eq!(page(&items, 1, 2), [1, 2]);
        assert_eq!(page(&items, 3, 2), [5]);
        assert_eq!(page(&items, 0, 2), [1, 2]);
        assert_eq!(page(&items, 4, 2), [0; 0]);
        assert_eq!(page(&items, 1, 0), [0; 0]);
        assert_eq!(page(&items, -3, -2), [0; 0]);
        assert_eq!(page(&items, i64::MAX, i64::MAX), [0; 0]);
    }
}
