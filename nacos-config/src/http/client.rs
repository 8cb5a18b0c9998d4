//! What clients call: query, publish, remove. Shared by v1 and v2, which differ in the names of parameters and in the
//! envelope.

use std::{
    borrow::Cow,
    time::{Duration, UNIX_EPOCH},
};

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use nacos_core::{
    clock,
    error::ErrorCode,
    key::{ConfigKey, KeyParts},
    web::{Call, Fault, JSON, ResultBody, Style},
};
use tokio::time::Instant;

use super::Endpoints;
use crate::{
    model::{ConfigType, Md5, Part, Publish, comma_list},
    publish::Audience,
    query::{Asked, Found},
    repository::Demand,
    trace::{Channel, PullOutcome, PullRecord, RequestOp, RequestRecord, TracePart},
    validate::{self, Described},
    watch::listening::form_encode,
};

/// The headers of an answer to a query, by name.
mod name {
    use http::HeaderName;

    pub(super) static CONFIG_TYPE: HeaderName = HeaderName::from_static("config-type");
    pub(super) static CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
    pub(super) static ENCRYPTED_DATA_KEY: HeaderName = HeaderName::from_static("encrypted-data-key");
    pub(super) static IS_BETA: HeaderName = HeaderName::from_static("isbeta");
    pub(super) static VIPSERVER_TAG: HeaderName = HeaderName::from_static("vipserver-tag");
}

/// The name of the user behind a request: the parameter `username`, while no identity is known.
pub(super) fn user_name(call: &Call) -> Option<String> {
    call.params.first("username").map(Cow::into_owned)
}

/// Answers a query for a key whose parameters are checked.
pub(super) async fn query(
    endpoints: Endpoints,
    call: Call,
    key: ConfigKey,
    tag: Option<String>,
    style: Style,
) -> Result<Response, Fault> {
    let started = Instant::now();
    endpoints.gets.inc();
    let client_ip = call.client_ip();
    let own_tag = call.header("vipserver-tag");
    let asked = Asked { key: key.as_parts(), client_ip: &client_ip, tag: tag.as_deref(), own_tag };
    let found = match endpoints.reader.read_now(asked) {
        Some(found) => found,
        None => endpoints.reader.read(asked).await,
    };
    let notify = call.header("notify").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let mut record = PullRecord {
        key: key.clone(),
        app: call.app_name().into(),
        last_modified_ms: None,
        part: TracePart::Formal,
        outcome: PullOutcome::NotFound,
        delay_ms: -1,
        client_ip: (&*client_ip).into(),
        notify,
        md5: None,
        cost_ms: 0,
        channel: Channel::Http,
    };
    let result = match found {
        Found::Nothing => Ok(missing(style, None)),
        Found::NoContent(config_type) => Ok(missing(style, Some(config_type))),
        Found::Content { config_type, part, variant, content } => {
            let now = clock::wall_ms();
            record.last_modified_ms = Some(variant.last_modified);
            record.outcome = PullOutcome::Ok;
            record.delay_ms = if notify { -1 } else { now - variant.last_modified };
            record.md5 = Some(variant.md5.bytes());
            record.part = TracePart::from(&part);
            let (kind, body) = match style {
                Style::Text | Style::Bare => (config_type.content_type(), Body::from(content)),
                Style::Result => (JSON, result_body(&content)?),
            };
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            // With what the dispatcher adds, without growing.
            headers.reserve(14);
            headers.insert(name::CONFIG_TYPE.clone(), HeaderValue::from_static(config_type.as_str()));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            put(headers, &name::CONTENT_MD5, &variant.md5.hex());
            headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
            headers.insert(header::EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache,no-store"));
            let modified = UNIX_EPOCH + Duration::from_millis(u64::try_from(variant.last_modified).unwrap_or(0));
            put(headers, &header::LAST_MODIFIED, httpdate::fmt_http_date(modified).as_bytes());
            if let Some(key) = &variant.encrypted_data_key {
                put(headers, &name::ENCRYPTED_DATA_KEY, key.as_bytes());
            }
            match &part {
                Part::Beta => {
                    headers.insert(name::IS_BETA.clone(), HeaderValue::from_static("true"));
                }
                Part::Tag(tag) if asked.tag.is_none() => {
                    let mut encoded = String::new();
                    form_encode(tag, &mut encoded);
                    put(headers, &name::VIPSERVER_TAG, encoded.as_bytes());
                }
                _ => {}
            }
            Ok(response)
        }
        Found::Unreadable(error) => {
            record.outcome = PullOutcome::Error;
            Err(error.into())
        }
    };
    record.cost_ms = started.elapsed().as_millis() as u64;
    endpoints.trace.pull(record);
    result
}

fn put(headers: &mut http::HeaderMap, name: &HeaderName, value: &[u8]) {
    // Stored texts may hold what a header cannot bear; then it is left out rather than the answer.
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name.clone(), value);
    }
}

fn result_body(content: &[u8]) -> Result<Body, Fault> {
    let content = String::from_utf8_lossy(content);
    let body = ResultBody { code: ErrorCode::Success.code(), message: Some(ErrorCode::Success.text()), data: content };
    serde_json::to_vec(&body).map(Body::from).map_err(|_| Fault::Broken("content not encoded".to_owned()))
}

/// The answer for a key without a content; the type is there if the key is known.
fn missing(style: Style, known: Option<ConfigType>) -> Response {
    const TEXT: &str = "config data not exist";
    let body = match style {
        Style::Text | Style::Bare => format!("{TEXT}\n"),
        Style::Result => {
            let code = ErrorCode::ResourceNotFound;
            let body = ResultBody { code: code.code(), message: Some(code.text()), data: TEXT };
            serde_json::to_string(&body).unwrap_or_default() + "\n"
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let kind = match (style, known) {
        (Style::Text, Some(config_type)) => config_type.content_type(),
        _ => JSON,
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(config_type) = known {
        response.headers_mut().insert(name::CONFIG_TYPE.clone(), HeaderValue::from_static(config_type.as_str()));
    }
    response
}

/// The names of a publish's parameters where v1 and v2 differ.
pub(super) struct Names {
    pub(super) src_user: &'static str,
    pub(super) config_tags: &'static str,
}

/// Publishes. The namespace is settled and checked by the caller.
pub(super) async fn publish(
    endpoints: Endpoints,
    call: Call,
    key: ConfigKey,
    content: String,
    names: Names,
) -> Result<(), Fault> {
    let started = Instant::now();
    endpoints.publishes.inc();
    let tag = call.param_not_blank("tag");
    validate::key(key.data_id(), key.group())?;
    validate::content(&content, endpoints.settings.max_content)?;
    validate::tag(tag.as_deref())?;
    let owned = |name: &str| call.param(name).map(Cow::into_owned);
    let config_tags = owned(names.config_tags);
    let (desc, usage, effect, schema) = (owned("desc"), owned("use"), owned("effect"), owned("schema"));
    // An unknown type becomes text before its length is looked at, as in Nacos.
    let config_type = ConfigType::parse(&call.param_or_empty("type"));
    validate::described(Described {
        config_tags: config_tags.as_deref(),
        desc: desc.as_deref(),
        usage: usage.as_deref(),
        effect: effect.as_deref(),
        config_type: Some(config_type.as_str()),
        schema: schema.as_deref(),
    })?;
    let client_ip = call.client_ip().into_owned();
    let src_user = call.param_not_blank(names.src_user).map(Cow::into_owned).or_else(|| user_name(&call));
    let not_blank = |name| call.header(name).filter(|value| !value.trim().is_empty()).map(str::to_owned);
    let audience = match (not_blank("betaips"), &tag) {
        (Some(ips), _) => Audience::Beta(ips),
        (None, Some(tag)) => Audience::Tag(tag.trim().to_owned()),
        (None, None) => Audience::All,
    };
    let demand = not_blank("casmd5").map_or(Demand::None, Demand::Md5);
    let md5 = Md5::of(content.as_bytes());
    let publish = Publish {
        key: key.clone(),
        content: content.into(),
        app_name: owned("appName"),
        src_user,
        src_ip: client_ip.clone(),
        config_tags: config_tags.map(|tags| distinct(&tags)),
        desc,
        usage,
        effect,
        config_type,
        schema,
        encrypted_data_key: call.param_not_blank("encryptedDataKey").map(Cow::into_owned),
    };
    let app = call.app_name().to_owned();
    // The form, which holds the content once more, is not kept while the store works.
    drop(call);
    let result = endpoints.publisher.publish(publish, audience, demand, &app).await;
    endpoints.trace.request(RequestRecord {
        cost_ms: started.elapsed().as_millis() as u64,
        ok: Some(result.is_ok()),
        client_ip: client_ip.as_str().into(),
        op: RequestOp::Publish,
        key,
        md5: Some(md5.bytes()),
        app: app.as_str().into(),
    });
    Ok(result?)
}

/// The tags of a comma list, each once.
fn distinct(tags: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for tag in comma_list(tags) {
        if !found.iter().any(|known| known == tag) {
            found.push(tag.to_owned());
        }
    }
    found
}

/// Removes. The namespace is settled and checked by the caller.
pub(super) async fn remove(endpoints: Endpoints, call: Call, key: ConfigKey) -> Result<(), Fault> {
    let started = Instant::now();
    let tag = call.param_not_blank("tag").map(|tag| tag.trim().to_owned());
    validate::key(key.data_id(), key.group())?;
    validate::tag(tag.as_deref())?;
    let client_ip = call.client_ip().into_owned();
    let result = endpoints.publisher.remove(key.clone(), tag, user_name(&call), &client_ip).await;
    endpoints.trace.request(RequestRecord {
        cost_ms: started.elapsed().as_millis() as u64,
        ok: Some(result.is_ok()),
        client_ip: client_ip.as_str().into(),
        op: RequestOp::Remove,
        key,
        md5: None,
        app: call.app_name().into(),
    });
    Ok(result?)
}

/// The parts of a key from a request's dataId and group and a settled namespace.
pub(super) fn key_of(call: &Call, namespace: &str) -> Result<ConfigKey, Fault> {
    let data_id = call.required("dataId")?;
    let group = call.required("group")?;
    Ok(KeyParts { data_id: &data_id, group: &group, namespace }.to_key())
}
