//! What operators and the console call: details, search, listeners, quotas and the like.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use axum::response::Response;
use http::{StatusCode, header};
use nacos_core::{
    key::{ConfigKey, DEFAULT_GROUP},
    web::{Call, Fault, Page, json, parse_number, rest_result},
};
use serde_json::{Value, json};

use super::{Endpoints, client, history::page_sane, shapes};
use crate::{
    capacity::{Change, Of},
    model::comma_list,
    repository::Filter,
    validate,
};

/// A sample of the listeners is taken this often.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
const SAMPLES_MAX: u32 = 3;

/// `GET ?show=all`: everything about one configuration, or nothing at all.
pub(super) async fn detail(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let tenant = call.param_or_empty("tenant");
    validate::tenant(&tenant).map_err(|invalid| Fault::Illegal(invalid.0))?;
    let key = client::key_of(&call, &tenant)?;
    validate::key(key.data_id(), key.group())?;
    match endpoints.repository.find(&key).await? {
        Some(row) => Ok(json(&shapes::all_info(&row, &endpoints.repository.tags(&key).await?))),
        None => Ok(empty_json()),
    }
}

/// `GET /catalog`: the descriptive part of one configuration.
pub(super) async fn catalog(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = client::key_of(&call, &call.param_or_empty("tenant"))?;
    let data = match endpoints.repository.find(&key).await? {
        Some(row) => shapes::advance_info(&row, &endpoints.repository.tags(&key).await?),
        None => Value::Null,
    };
    Ok(rest_result(200, None, data))
}

/// A search by `search=accurate`, `search=blur`, or in contents.
pub(super) async fn search(endpoints: Endpoints, call: Call, blur: bool, detailed: bool) -> Result<Response, Fault> {
    let data_id = call.required("dataId")?;
    let group = call.required("group")?;
    let filled = |name: &str| call.param_not_blank(name).map(Cow::into_owned);
    let list = |name: &str| {
        call.param(name).map(|text| comma_list(&text).map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
    };
    let content = if detailed { Some(call.required("config_detail")?.into_owned()) } else { None };
    let number = i64::from(call.required_number::<i32>("pageNo", "int")?);
    let size = i64::from(call.required_number::<i32>("pageSize", "int")?);
    if blur {
        endpoints.fuzzy_searches.inc();
    }
    let filter = Filter {
        blur,
        blur_data_id: false,
        data_id: Some(data_id.clone().into_owned()).filter(|text| !text.trim().is_empty()),
        group: Some(group.clone().into_owned()).filter(|text| !text.trim().is_empty()),
        namespace: call.param_not_blank("tenant").map(Cow::into_owned).unwrap_or_default(),
        app_name: filled("appName"),
        tags: list("config_tags"),
        types: if blur { list("types") } else { Vec::new() },
        content: content.filter(|text| !text.trim().is_empty()),
    };
    filter.check().map_err(Fault::Illegal)?;
    if let Err(Fault::Illegal(text)) = page_sane(number, size) {
        // A v1 search words its errors around the key.
        let wrapped = || format!("serialize page error, dataId={data_id}, group={group};caused: {text}");
        return Err(Fault::Illegal(if detailed { text } else { wrapped() }));
    }
    let found = endpoints.repository.search(&filter, number, size);
    let (total, rows) = if detailed { endpoints.searches.run(found).await? } else { found.await? };
    // Which columns Nacos selects depends on the search.
    let columns = shapes::Columns { key: blur && filter.tags.is_empty(), kind: blur || filter.tags.is_empty() };
    let items = rows.iter().map(|row| shapes::info(row, columns)).collect();
    Ok(json(&Page::new(total, number, size, items)))
}

/// `DELETE ?delType=ids`.
pub(super) async fn remove_ids(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let ids = call.required("ids")?;
    let ids = comma_list(&ids).map(parse_number).collect::<Result<Vec<i64>, _>>()?;
    endpoints.publisher.remove_ids(&ids, client::user_name(&call), &call.client_ip()).await?;
    Ok(rest_result(200, None, true))
}

/// `GET ?beta=true`.
pub(super) async fn beta(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = client::key_of(&call, &call.param_or_empty("tenant"))?;
    let data = match endpoints.repository.find_beta(&key).await? {
        Some(row) => shapes::beta(key.data_id(), key.group(), key.namespace(), &row),
        None => Value::Null,
    };
    Ok(rest_result(200, Some("query beta ok"), data))
}

/// `DELETE ?beta=true`.
pub(super) async fn stop_beta(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let key = client::key_of(&call, &call.param_or_empty("tenant"))?;
    match endpoints.publisher.stop_beta(key, &call.client_ip(), call.app_name()).await {
        Ok(()) => Ok(rest_result(200, Some("stop beta ok"), true)),
        Err(error) => {
            tracing::warn!(%error, "beta not stopped");
            Ok(rest_result(500, Some("remove beta data error"), false))
        }
    }
}

/// `GET /v1/cs/configs/listener`: who waits for a configuration.
pub(super) async fn listeners(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let data_id = call.required("dataId")?;
    let group = call.required("group")?;
    let group = if group.trim().is_empty() { DEFAULT_GROUP.into() } else { group };
    let key = ConfigKey::new(&data_id, &group, &call.param_or_empty("tenant"));
    let index = endpoints.index.clone();
    sampled(&call, || index.clients_of(&key).into_iter().map(|(ip, held)| (ip.into_string(), held)).collect()).await
}

/// `GET /v1/cs/listener`: what an address waits for.
pub(super) async fn listeners_of_ip(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let ip = call.required("ip")?.into_owned();
    let all = call.param("all").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let tenant = call.param_or_empty("tenant").into_owned();
    let index = endpoints.index.clone();
    sampled(&call, || {
        let keys = index.keys_of(&ip).into_iter();
        keys.filter(|(key, _)| all || key.namespace() == tenant).map(|(key, held)| (key.group_key(), held)).collect()
    })
    .await
}

/// Looks once, or up to three times a tenth of a second apart if the request says so (`sampleTime`), and joins what
/// was seen: a client between two polls waits for nothing in that moment.
async fn sampled(call: &Call, look: impl Fn() -> BTreeMap<String, String>) -> Result<Response, Fault> {
    let times = call.number::<u32>("sampleTime")?.unwrap_or(1).clamp(1, SAMPLES_MAX);
    let mut seen = look();
    for _ in 1..times {
        tokio::time::sleep(SAMPLE_EVERY).await;
        seen.extend(look());
    }
    Ok(json(&json!({ "collectStatus": 200, "lisentersGroupkeyStatus": seen })))
}

const NEITHER: &str = "The parameter group and tenant cannot be empty at the same time";

fn bad_capacity(text: &str, data: Value) -> Fault {
    Fault::Envelope(StatusCode::BAD_REQUEST, text.to_owned(), data)
}

/// `GET /v1/cs/capacity`.
pub(super) async fn capacity(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let (group, tenant) = (call.param("group"), call.param("tenant"));
    let named = tenant.as_deref().filter(|tenant| !tenant.trim().is_empty());
    let of = match (named, group.as_deref()) {
        (Some(tenant), _) => Of::Tenant(tenant),
        (None, Some(group)) => Of::Group(group),
        (None, None) if tenant.is_some() => return Err(bad_capacity("tenant cannot be an empty string", Value::Null)),
        (None, None) => return Err(bad_capacity(NEITHER, Value::Null)),
    };
    let limits = endpoints.capacity.get(of).await?;
    Ok(rest_result(200, None, shapes::capacity(of, &limits)))
}

/// `POST /v1/cs/capacity`.
pub(super) async fn set_capacity(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let (group, tenant) = (call.param("group"), call.param("tenant"));
    let change = Change {
        quota: limit(&call, "quota")?,
        max_size: limit(&call, "maxSize")?,
        max_aggr_count: limit(&call, "maxAggrCount")?,
        max_aggr_size: limit(&call, "maxAggrSize")?,
    };
    let blank = |text: &Option<Cow<'_, str>>| text.as_ref().is_none_or(|text| text.trim().is_empty());
    if blank(&group) && blank(&tenant) {
        return Err(bad_capacity(NEITHER, false.into()));
    }
    if change == Change::default() {
        return Err(bad_capacity(
            "The parameters quota, maxSize, maxAggrCount, maxAggrSize cannot be empty at the same time",
            false.into(),
        ));
    }
    let (kind, name, of) = match (&tenant, &group) {
        (Some(tenant), _) if tenant.trim().is_empty() => {
            return Err(bad_capacity("parameter tenant is empty.", false.into()));
        }
        (Some(tenant), _) => ("tenant", tenant, Of::Tenant(tenant)),
        (None, Some(group)) => ("group", group, Of::Group(group)),
        (None, None) => return Err(bad_capacity(NEITHER, false.into())),
    };
    endpoints.capacity.set(of, change).await?;
    let text = format!("successfully updated the capacity information configuration of {kind} to {name}");
    Ok(rest_result(200, Some(&text), true))
}

fn limit(call: &Call, name: &str) -> Result<Option<i64>, Fault> {
    match call.number::<i32>(name)? {
        Some(value) if value < 0 => Err(Fault::Illegal(format!("{name} must not be negative"))),
        value => Ok(value.map(i64::from)),
    }
}

/// `POST /v1/cs/ops/localCache`: everything is read again from the store.
pub(super) async fn local_cache(endpoints: Endpoints) -> Result<Response, Fault> {
    endpoints.dump.all(|_, _| {}).await?;
    Ok(nacos_core::web::text("200"))
}

/// `PUT /v1/cs/ops/log`.
pub(super) async fn log_level(endpoints: Endpoints, call: Call) -> Result<Response, Fault> {
    let name = call.required("logName")?;
    let level = call.required("logLevel")?;
    let set = (endpoints.set_log_level)(&name, &level);
    Ok(nacos_core::web::text(if set { "200" } else { "500" }))
}

/// `GET /v1/cs/ops/derby`: refused, whatever it asks. No endpoint runs SQL.
pub(super) async fn derby(call: Call) -> Result<Response, Fault> {
    call.required("sql")?;
    Ok(rest_result(500, Some("The current storage mode is not Derby"), ()))
}

/// `POST /v1/cs/ops/data/removal`: refused likewise.
pub(super) async fn removal() -> Result<Response, Fault> {
    Ok(rest_result(500, Some("Limited to embedded storage mode"), ()))
}

/// `GET /v1/cs/metrics/current` and `/cluster`: what clients on long-lived connections tell of themselves; none is
/// connected here.
pub(super) async fn client_metrics(call: Call) -> Result<Response, Fault> {
    call.required("ip")?;
    let tenant = call.param_or_empty("tenant");
    validate::tenant(&tenant).map_err(|invalid| Fault::Illegal(invalid.0))?;
    let of = |name| call.param(name).unwrap_or_else(|| "null".into());
    if call.param_not_blank("dataId").is_none() {
        return Err(Fault::bad(format!("invalid dataId : {}", of("dataId"))));
    }
    validate::key(&of("dataId"), &of("group"))?;
    Ok(json(&json!({})))
}

/// A bare answer without a body, typed as JSON.
pub(super) fn empty_json() -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(nacos_core::web::JSON));
    response
}
