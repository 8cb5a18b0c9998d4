//! The history endpoints, shared by v1 and v2.

use http::StatusCode;
use nacos_core::{
    error::ErrorCode,
    key::ConfigKey,
    web::{Call, Fault, Page},
};
use serde_json::Value;

use super::{Endpoints, shapes};
use crate::repository::HistoryRow;

/// A page of a key's history.
pub(super) async fn list(endpoints: &Endpoints, call: &Call, namespace: &str) -> Result<Page<Value>, Fault> {
    let data_id = call.required("dataId")?;
    let group = call.required("group")?;
    let number = i64::from(call.number::<i32>("pageNo")?.unwrap_or(1));
    let size = i64::from(call.number::<i32>("pageSize")?.unwrap_or(100).min(500));
    page_sane(number, size)?;
    let key = ConfigKey::new(&data_id, &group, namespace);
    let (total, rows) = endpoints.repository.history(key.as_parts(), number, size).await?;
    Ok(Page::new(total, number, size, rows.iter().map(shapes::history).collect()))
}

/// One row by its number; null if there is none.
pub(super) async fn detail(endpoints: &Endpoints, call: &Call, namespace: &str) -> Result<Option<Value>, Fault> {
    let data_id = call.required("dataId")?;
    let group = call.required("group")?;
    let nid: i64 = call.required_number("nid", "Long")?;
    let row = endpoints.repository.history_row(nid).await?;
    shown(row, &ConfigKey::new(&data_id, &group, namespace))
}

/// The newest row of a configuration's id; null if there is none.
pub(super) async fn previous(endpoints: &Endpoints, call: &Call, namespace: &str) -> Result<Option<Value>, Fault> {
    let data_id = call.required("dataId")?;
    let group = call.required("group")?;
    let id: i64 = call.required_number("id", "Long")?;
    let row = endpoints.repository.previous(id).await?;
    shown(row, &ConfigKey::new(&data_id, &group, namespace))
}

/// A row may be seen only by whoever names its key: permissions are given by key.
fn shown(row: Option<HistoryRow>, key: &ConfigKey) -> Result<Option<Value>, Fault> {
    match row {
        None => Ok(None),
        Some(row) if row.key == *key => Ok(Some(shapes::history(&row))),
        Some(_) => Err(Fault::Coded(
            StatusCode::FORBIDDEN,
            ErrorCode::AccessDenied,
            "Please check dataId, group or namespaceId.".to_owned(),
        )),
    }
}

/// Pages are counted from 1 (Nacos' pagination helper refuses others).
pub(super) fn page_sane(number: i64, size: i64) -> Result<(), Fault> {
    if number <= 0 || size <= 0 {
        return Err(Fault::Illegal("pageNo and pageSize must be greater than zero".to_owned()));
    }
    Ok(())
}
