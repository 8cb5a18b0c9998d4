//! Many configurations at once: export, import, clone.

use std::{borrow::Cow, sync::Arc};

use axum::response::Response;
use http::{HeaderValue, header};
use nacos_core::{
    clock::{civil, wall_ms},
    key::{ConfigKey, NamespaceId},
    web::{Call, Fault, parse_number, rest_result, text},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Endpoints, client};
use crate::{
    model::{ConfigType, Publish, comma_list},
    publish::{Audience, PublishError},
    repository::{Demand, Filter, Row},
    transfer::{self, ExportItem, Limits},
    validate,
};

/// Rows read at once for an export.
const PAGE: i64 = 200;

/// The two layouts of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Applications in `.meta.yml`.
    Old,
    /// Everything in `.metadata.yml`.
    V2,
}

/// What to do with a key that exists (Nacos `SameConfigPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Abort,
    Skip,
    Overwrite,
}

impl Policy {
    fn of(name: Option<&str>) -> Result<Self, Fault> {
        match name.filter(|name| !name.trim().is_empty()) {
            None | Some("ABORT") => Ok(Policy::Abort),
            Some("SKIP") => Ok(Policy::Skip),
            Some("OVERWRITE") => Ok(Policy::Overwrite),
            Some(other) => Err(Fault::NotReadable(format!("No enum constant SameConfigPolicy.{other}"))),
        }
    }
}

/// `GET ?export=true` and `?exportV2=true`.
pub(super) async fn export(endpoints: Endpoints, call: Call, layout: Layout) -> Result<Response, Fault> {
    let ids = call.required("ids")?;
    let ids = comma_list(&ids).map(parse_number).collect::<Result<Vec<i64>, _>>()?;
    let namespace = NamespaceId::normalised(&call.param_or_empty("tenant"));
    let filled = |name: &str| call.param_not_blank(name).map(Cow::into_owned);
    let rows = if ids.is_empty() {
        let filter = Filter {
            blur_data_id: true,
            data_id: filled("dataId"),
            group: filled("group"),
            namespace: namespace.as_str().to_owned(),
            app_name: filled("appName"),
            ..Filter::default()
        };
        filter.check().map_err(Fault::Illegal)?;
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let last = rows.last().map_or(i64::MIN, |row| row.id);
            let page = endpoints.repository.export_page(&filter, last, PAGE).await?;
            if page.is_empty() {
                break rows;
            }
            rows.extend(page);
        }
    } else {
        endpoints.repository.find_by_ids(&ids).await?
    };
    let items: Vec<ExportItem> = rows.into_iter().map(exported).collect();
    let packed = tokio::task::spawn_blocking(move || match layout {
        Layout::Old => transfer::export_v1(&items),
        Layout::V2 => transfer::export_v2(&items),
    });
    let broken = || Fault::Broken("export not packed".to_owned());
    let archive = packed.await.map_err(|_| broken())?.map_err(|error| {
        tracing::error!(%error, "export not packed");
        broken()
    })?;
    let mut response = text(archive);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream;charset=UTF-8"));
    let name = format!("attachment;filename=nacos_config_export_{}.zip", stamp(wall_ms()));
    if let Ok(value) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

fn exported(row: Row) -> ExportItem {
    ExportItem {
        group: row.key.group().to_owned(),
        data_id: row.key.data_id().to_owned(),
        content: row.content,
        app_name: Some(row.app_name).filter(|name| !name.trim().is_empty()),
        config_type: row.config_type,
        desc: row.desc,
    }
}

/// `yyyyMMddHHmmss`.
fn stamp(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

fn failed(code: i32, text: &str) -> Response {
    rest_result(code, Some(text), json!({ "succCount": 0 }))
}

/// Whether configurations may be put into a namespace: the public one, or one that was created.
async fn is_target(endpoints: &Endpoints, namespace: &NamespaceId) -> Result<bool, Fault> {
    Ok(namespace.is_public() || endpoints.namespaces.exists(namespace.as_str()).await?)
}

const NO_NAMESPACE: (i32, &str) = (100_001, "目标 namespace 不存在");
const NO_DATA: (i32, &str) = (100_005, "导入的文件数据为空");
const NOTHING_SELECTED: (i32, &str) = (100_006, "没有选择任何配置");

/// `POST ?import=true`.
pub(super) async fn import(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    // Nacos' console sends these as parts of the form.
    let policy = Policy::of(call.param("policy").as_deref())?;
    let namespace = NamespaceId::normalised(&call.param_or_empty("namespace"));
    let user = call.param_not_blank("src_user").map(Cow::into_owned);
    let Some(file) = call.files.iter().find(|part| part.name == "file").cloned() else {
        return Ok(rest_result(NO_DATA.0, Some(NO_DATA.1), json!({})));
    };
    if !is_target(&endpoints, &namespace).await? {
        return Ok(failed(NO_NAMESPACE.0, NO_NAMESPACE.1));
    }
    let writer = Writer::of(&call, user);
    let app = call.app_name().to_owned();
    drop(call);
    // Unpacking takes the time that the archive takes: not on a thread that serves others.
    let parsed = tokio::task::spawn_blocking(move || transfer::parse(&file.content, &Limits::default()));
    let imported = match parsed.await.map_err(|_| Fault::Broken("import not unpacked".to_owned()))? {
        Ok(imported) => imported,
        Err(error) => {
            tracing::info!(error = %nacos_core::error::Report(&error), "import refused");
            return Ok(failed(error.code(), error.message()));
        }
    };
    let items = imported.items.into_iter().map(|item| {
        writer.publish(
            ConfigKey::new(&item.data_id, &item.group, namespace.as_str()),
            item.content,
            item.app_name,
            ConfigType::parse(&item.config_type),
            item.desc,
            String::new(),
        )
    });
    let mut data = save(&endpoints, items.collect(), policy, &app).await?;
    if !imported.unrecognised.is_empty() {
        data.insert("unrecognizedCount".to_owned(), imported.unrecognised.len().into());
        let items: Vec<Value> = imported.unrecognised.iter().map(|name| json!({ "itemName": name })).collect();
        data.insert("unrecognizedData".to_owned(), items.into());
    }
    Ok(rest_result(200, Some("导入成功"), data))
}

/// One line of a clone's body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selected {
    #[serde(default)]
    cfg_id: Option<Id>,
    #[serde(default)]
    data_id: Option<String>,
    #[serde(default)]
    group: Option<String>,
}

/// Consoles send ids as texts, older ones as numbers.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Text(String),
}

impl Selected {
    fn id(&self) -> Option<i64> {
        match self.cfg_id.as_ref()? {
            Id::Number(id) => Some(*id),
            Id::Text(text) => text.trim().parse().ok(),
        }
    }
}

/// `POST ?clone=true`.
pub(super) async fn clone(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let target = call.required("tenant")?;
    let policy = Policy::of(call.param("policy").as_deref())?;
    let selected: Vec<Option<Selected>> = serde_json::from_slice(&call.body)
        .map_err(|_| Fault::Broken("JSON parse error: a list of configurations is expected".to_owned()))?;
    if selected.is_empty() {
        return Ok(failed(NOTHING_SELECTED.0, NOTHING_SELECTED.1));
    }
    let selected: Vec<Selected> = selected.into_iter().flatten().collect();
    let namespace = NamespaceId::normalised(&target);
    if !is_target(&endpoints, &namespace).await? {
        return Ok(failed(NO_NAMESPACE.0, NO_NAMESPACE.1));
    }
    let ids: Vec<i64> = selected.iter().filter_map(Selected::id).collect();
    let rows = endpoints.repository.find_by_ids(&ids).await?;
    if rows.is_empty() {
        return Ok(failed(NO_DATA.0, NO_DATA.1));
    }
    let writer = Writer::of(&call, call.param_not_blank("src_user").map(Cow::into_owned));
    let items = rows.into_iter().map(|row| {
        let wanted = selected.iter().find(|one| one.id() == Some(row.id));
        let renamed = |name: Option<&String>, old: &str| match name {
            Some(name) if !name.trim().is_empty() => name.clone(),
            _ => old.to_owned(),
        };
        let data_id = renamed(wanted.and_then(|one| one.data_id.as_ref()), row.key.data_id());
        let group = renamed(wanted.and_then(|one| one.group.as_ref()), row.key.group());
        writer.publish(
            ConfigKey::new(&data_id, &group, namespace.as_str()),
            row.content,
            Some(row.app_name).filter(|name| !name.trim().is_empty()),
            row.config_type.as_deref().map(ConfigType::parse).unwrap_or_default(),
            row.desc,
            row.encrypted_data_key.unwrap_or_default(),
        )
    });
    let data = save(&endpoints, items.collect(), policy, call.app_name()).await?;
    Ok(rest_result(200, Some("Clone Completed Successfully"), data))
}

/// Who writes, for all rows of one request.
struct Writer {
    user: Option<String>,
    ip: String,
}

impl Writer {
    fn of(call: &Call, user: Option<String>) -> Self {
        Self { user: user.or_else(|| client::user_name(call)), ip: call.client_ip().into_owned() }
    }

    fn publish(
        &self,
        key: ConfigKey,
        content: Arc<str>,
        app_name: Option<String>,
        config_type: ConfigType,
        desc: Option<String>,
        encrypted_data_key: String,
    ) -> Publish {
        Publish {
            key,
            content,
            app_name,
            src_user: self.user.clone(),
            src_ip: self.ip.clone(),
            config_tags: None,
            desc,
            usage: None,
            effect: None,
            config_type,
            schema: None,
            encrypted_data_key: Some(encrypted_data_key),
        }
    }
}

/// Writes one after another (Nacos `batchInsertOrUpdate`): a key that breaks a rule ends it with an error, one that
/// exists is dealt with by the policy. What was written before stays.
async fn save(
    endpoints: &Endpoints,
    items: Vec<Publish>,
    policy: Policy,
    app: &str,
) -> Result<Map<String, Value>, Fault> {
    // All rules first: a bad row refuses the request before anything is written. Nacos stops in the middle.
    for item in &items {
        validate::key(item.key.data_id(), item.key.group())?;
        validate::content(&item.content, endpoints.settings.max_content)?;
        validate::described(validate::Described { desc: item.desc.as_deref(), ..validate::Described::default() })?;
    }
    let named = |key: &ConfigKey| json!({ "dataId": key.data_id(), "group": key.group() });
    let (mut succeeded, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
    let demand = if policy == Policy::Overwrite { Demand::None } else { Demand::Absent };
    let mut items = items.into_iter();
    while let Some(item) = items.next() {
        let key = item.key.clone();
        match endpoints.publisher.publish(item, Audience::All, demand.clone(), app).await {
            Ok(()) => succeeded += 1,
            Err(PublishError::Exists) if policy == Policy::Skip => skipped.push(named(&key)),
            Err(PublishError::Exists) => {
                failed.push(named(&key));
                skipped.extend(items.by_ref().map(|item| named(&item.key)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut data = Map::new();
    data.insert("succCount".to_owned(), succeeded.into());
    data.insert("skipCount".to_owned(), skipped.len().into());
    if !failed.is_empty() {
        data.insert("failData".to_owned(), failed.into());
    }
    if !skipped.is_empty() {
        data.insert("skipData".to_owned(), skipped.into());
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_archives_bear_the_time() {
        assert_eq!(stamp(1_795_244_570_550), "20261121070250");
    }
}
