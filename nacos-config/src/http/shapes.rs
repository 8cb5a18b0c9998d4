//! The JSON shapes of answers, with Java's field names: ids are texts, absent values are null.

use nacos_core::clock::iso_time;
use serde_json::{Value, json};

use crate::{
    capacity::{Limits, Of},
    repository::{BetaRow, HistoryRow, NamespaceRow, Row},
};

/// Which members a search fills; the others are null, as Nacos does not select them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    /// `encryptedDataKey`.
    pub(super) key: bool,
    /// `type`.
    pub(super) kind: bool,
}

/// One item of a search (Nacos `ConfigInfo`).
pub(super) fn info(row: &Row, columns: Columns) -> Value {
    json!({
        "id": row.id.to_string(),
        "dataId": row.key.data_id(),
        "group": row.key.group(),
        "content": &*row.content,
        "md5": null,
        "encryptedDataKey": columns.key.then_some(row.encrypted_data_key.as_deref()).flatten(),
        "tenant": row.key.namespace(),
        "appName": row.app_name,
        "type": columns.kind.then_some(row.config_type.as_deref()).flatten(),
    })
}

/// Everything about a configuration (Nacos `ConfigAllInfo`).
pub(super) fn all_info(row: &Row, tags: &[String]) -> Value {
    json!({
        "id": row.id.to_string(),
        "dataId": row.key.data_id(),
        "group": row.key.group(),
        "content": &*row.content,
        "md5": row.md5,
        "encryptedDataKey": row.encrypted_data_key,
        "tenant": row.key.namespace(),
        "appName": row.app_name,
        "type": row.config_type,
        "createTime": row.created,
        "modifyTime": row.modified,
        "createUser": row.src_user,
        "createIp": row.src_ip,
        "desc": row.desc,
        "use": row.usage,
        "effect": row.effect,
        "schema": row.schema,
        "configTags": tags_text(tags),
    })
}

/// The descriptive part of a configuration (Nacos `ConfigAdvanceInfo`).
pub(super) fn advance_info(row: &Row, tags: &[String]) -> Value {
    json!({
        "createTime": row.created,
        "modifyTime": row.modified,
        "createUser": row.src_user,
        "createIp": row.src_ip,
        "desc": row.desc,
        "use": row.usage,
        "effect": row.effect,
        "type": row.config_type,
        "schema": row.schema,
        "configTags": tags_text(tags),
    })
}

fn tags_text(tags: &[String]) -> Option<String> {
    (!tags.is_empty()).then(|| tags.join(","))
}

/// A beta content (Nacos `ConfigInfo4Beta`).
pub(super) fn beta(data_id: &str, group: &str, namespace: &str, row: &BetaRow) -> Value {
    json!({
        "id": row.id.to_string(),
        "dataId": data_id,
        "group": group,
        "content": &*row.content,
        "md5": null,
        "encryptedDataKey": row.encrypted_data_key,
        "tenant": namespace,
        "appName": row.app_name,
        "type": null,
        "betaIps": row.beta_ips,
        "lastModified": row.modified,
    })
}

/// A history row, in a list or in detail (Nacos `ConfigHistoryInfo`). The operation is padded to the ten letters of
/// its column, as the recorded server shows it.
pub(super) fn history(row: &HistoryRow) -> Value {
    json!({
        "id": row.nid.to_string(),
        "lastId": -1,
        "dataId": row.key.data_id(),
        "group": row.key.group(),
        "tenant": row.key.namespace(),
        "appName": row.app_name,
        "md5": row.md5,
        "content": row.content.as_deref(),
        "srcIp": row.src_ip,
        "srcUser": row.src_user,
        "opType": format!("{:<10}", row.op_type.trim()),
        "createdTime": iso_time(row.created),
        "lastModifiedTime": iso_time(row.modified),
        "encryptedDataKey": row.encrypted_data_key,
    })
}

/// A configuration of a namespace, in brief (Nacos `ConfigInfoWrapper`).
pub(super) fn wrapper(row: &NamespaceRow) -> Value {
    json!({
        "id": row.id.to_string(),
        "dataId": row.key.data_id(),
        "group": row.key.group(),
        "content": null,
        "md5": null,
        "encryptedDataKey": null,
        "tenant": row.key.namespace(),
        "appName": row.app_name,
        "type": row.config_type,
        "lastModified": row.modified,
    })
}

/// A capacity (Nacos `TenantCapacity` and `GroupCapacity`).
pub(super) fn capacity(of: Of<'_>, limits: &Limits) -> Value {
    let mut shape = json!({
        "id": limits.id.to_string(),
        "quota": limits.quota,
        "usage": limits.usage,
        "maxSize": limits.max_size,
        "maxAggrCount": limits.max_aggr_count,
        "maxAggrSize": limits.max_aggr_size,
        "gmtCreate": null,
        "gmtModified": null,
    });
    match of {
        Of::Tenant(name) => shape["tenant"] = name.into(),
        Of::Group(name) => shape["groupName"] = name.into(),
    }
    shape
}
