//! The routes below `/v1/cs`.

use http::Method;
use nacos_core::{
    auth::{Access, Action, Resource},
    key::{ConfigKey, NamespaceId},
    web::{Call, Fault, Routes, Style, check, json, text},
};
use serde_json::json;

use super::{Endpoints, access, admin, bulk, client, history, shapes};
use crate::validate;

const READ: Access = Access::Needs(Action::Read, Resource::Config);
const WRITE: Access = Access::Needs(Action::Write, Resource::Config);
const READ_LISTENER: Access = Access::Needs(Action::Read, Resource::Named("/v1/cs/listener"));
const READ_METRICS: Access = Access::Needs(Action::Read, Resource::Named("/v1/cs/metrics"));
const WRITE_OPS: Access = Access::Needs(Action::Write, Resource::Named("/v1/cs/ops"));
const ADMIN_READ: Access = Access::Needs(Action::Read, Resource::Named("nacos/admin"));
const ADMIN_WRITE: Access = Access::Needs(Action::Write, Resource::Named("nacos/admin"));
// Nacos leaves these open even with auth on; they show who listens where, and change quotas.
const READ_WATCHERS: Access = Access::Needs(Action::Read, Resource::Named("/v1/cs/communication"));
const READ_CAPACITY: Access = Access::Needs(Action::Read, Resource::Named("/v1/cs/capacity"));
const WRITE_CAPACITY: Access = Access::Needs(Action::Write, Resource::Named("/v1/cs/capacity"));
const OPEN: Access = Access::Open;

/// The tenant of a v1 call, checked but taken literally: only some calls fold `public` into the empty text.
fn tenant(call: &Call) -> Result<String, Fault> {
    let raw = call.param_or_empty("tenant");
    validate::tenant(&raw).map_err(|invalid| Fault::Illegal(invalid.0))?;
    Ok(NamespaceId::literal(&raw).as_str().to_owned())
}

fn local_key(call: &Call) -> Result<ConfigKey, Fault> {
    client::key_of(call, &call.param_or_empty("tenant"))
}

/// Adds the routes.
pub(super) fn add(routes: &mut Routes, endpoints: &Endpoints) {
    macro_rules! route {
        ($method:ident $path:literal $($name:literal = $value:literal)? $access:ident $check:path,
         |$e:ident, $call:ident| $body:expr) => {
            let shared = endpoints.clone();
            #[allow(unused_mut, unused_assignments)]
            let mut when = None;
            $(when = Some(($name, $value));)?
            routes.add(Method::$method, $path, when, $access, Style::Text, $check, move |$call: Call| {
                let $e = shared.clone();
                async move { $body }
            });
        };
    }
    route!(GET "/v1/cs/configs" READ access::default, |e, call| {
        let (data_id, group) = (call.required("dataId")?, call.required("group")?);
        let namespace = NamespaceId::normalised(&tenant(&call)?);
        validate::key(&data_id, &group)?;
        let tag = call.param_not_blank("tag").map(|tag| tag.into_owned());
        validate::tag(tag.as_deref())?;
        let key = ConfigKey::new(&data_id, &group, namespace.as_str());
        drop((data_id, group));
        client::query(e, call, key, tag, Style::Text).await
    });
    route!(POST "/v1/cs/configs" WRITE access::default, |e, call| {
        let key = {
            call.required("dataId")?;
            call.required("group")?;
            call.required("content")?;
            client::key_of(&call, &tenant(&call)?)?
        };
        let content = call.required("content")?.into_owned();
        let names = client::Names { src_user: "src_user", config_tags: "config_tags" };
        client::publish(e, call, key, content, names).await?;
        Ok(json(&true))
    });
    route!(DELETE "/v1/cs/configs" WRITE access::default, |e, call| {
        client::key_of(&call, "")?;
        let key = client::key_of(&call, &tenant(&call)?)?;
        client::remove(e, call, key).await?;
        Ok(json(&true))
    });
    route!(GET "/v1/cs/configs" "show" = "all" READ access::default, |e, call| admin::detail(e, call).await);
    route!(GET "/v1/cs/configs" "search" = "accurate" READ access::blur, |e, call| {
        admin::search(e, call, false, false).await
    });
    route!(GET "/v1/cs/configs" "search" = "blur" READ access::blur, |e, call| {
        admin::search(e, call, true, false).await
    });
    route!(GET "/v1/cs/configs" "beta" = "true" READ access::default, |e, call| admin::beta(e, call).await);
    route!(DELETE "/v1/cs/configs" "beta" = "true" WRITE access::default, |e, call| {
        admin::stop_beta(e, call).await
    });
    route!(DELETE "/v1/cs/configs" "delType" = "ids" WRITE access::default, |e, call| {
        admin::remove_ids(e, call).await
    });
    route!(GET "/v1/cs/configs" "export" = "true" READ access::default, |e, call| {
        bulk::export(e, call, bulk::Layout::Old).await
    });
    route!(GET "/v1/cs/configs" "exportV2" = "true" READ access::default, |e, call| {
        bulk::export(e, call, bulk::Layout::V2).await
    });
    route!(POST "/v1/cs/configs" "import" = "true" WRITE access::default, |e, call| bulk::import(e, call).await);
    route!(POST "/v1/cs/configs" "clone" = "true" WRITE access::default, |e, call| bulk::clone(e, call).await);
    route!(GET "/v1/cs/configs/catalog" READ access::default, |e, call| admin::catalog(e, call).await);
    route!(POST "/v1/cs/configs/listener" READ access::listener, |e, call| e.polls.clone().answer(call).await);
    route!(GET "/v1/cs/configs/listener" READ access::default, |e, call| admin::listeners(e, call).await);
    route!(GET "/v1/cs/listener" READ_LISTENER access::default, |e, call| admin::listeners_of_ip(e, call).await);

    route!(GET "/v1/cs/history" "search" = "accurate" READ access::default, |e, call| {
        Ok(json(&history::list(&e, &call, &call.param_or_empty("tenant")).await?))
    });
    route!(GET "/v1/cs/history" READ access::default, |e, call| {
        let row = history::detail(&e, &call, &call.param_or_empty("tenant")).await?;
        Ok(row.map_or_else(admin::empty_json, |row| json(&row)))
    });
    route!(GET "/v1/cs/history/previous" READ access::default, |e, call| {
        let row = history::previous(&e, &call, &call.param_or_empty("tenant")).await?;
        Ok(row.map_or_else(admin::empty_json, |row| json(&row)))
    });
    route!(GET "/v1/cs/history/configs" READ access::default, |e, call| {
        call.required("tenant")?;
        let namespace = NamespaceId::normalised(&tenant(&call)?);
        let rows = e.repository.of_namespace(namespace.as_str()).await?;
        Ok(json(&rows.iter().map(shapes::wrapper).collect::<Vec<_>>()))
    });

    route!(GET "/v1/cs/communication/configWatchers" READ_WATCHERS access::default, |e, call| {
        let seen = e.index.clients_of(&local_key(&call)?);
        let seen: std::collections::BTreeMap<_, _> = seen.into_iter().collect();
        Ok(json(&json!({ "lisentersGroupkeyStatus": seen })))
    });
    route!(GET "/v1/cs/communication/watcherConfigs" READ_WATCHERS access::default, |e, call| {
        let seen = e.index.keys_of(&call.required("ip")?);
        let seen: std::collections::BTreeMap<_, _> =
            seen.into_iter().map(|(key, held)| (key.group_key(), held)).collect();
        Ok(json(&json!({ "lisentersGroupkeyStatus": seen })))
    });

    route!(GET "/v1/cs/capacity" READ_CAPACITY access::default, |e, call| admin::capacity(e, call).await);
    route!(POST "/v1/cs/capacity" WRITE_CAPACITY access::default, |e, call| admin::set_capacity(e, call).await);
    route!(GET "/v1/cs/health" OPEN check::none, |_e, _call| Ok::<_, Fault>(text("UP")));
    route!(POST "/v1/cs/ops/localCache" WRITE_OPS check::none, |e, _call| admin::local_cache(e).await);
    route!(PUT "/v1/cs/ops/log" WRITE_OPS check::none, |e, call| admin::log_level(e, call).await);
    route!(GET "/v1/cs/ops/derby" ADMIN_READ check::none, |_e, call| admin::derby(call).await);
    route!(POST "/v1/cs/ops/data/removal" ADMIN_WRITE check::none, |_e, _call| admin::removal().await);
    route!(GET "/v1/cs/metrics/current" READ_METRICS check::none, |_e, call| admin::client_metrics(call).await);
    route!(GET "/v1/cs/metrics/cluster" READ_METRICS check::none, |_e, call| admin::client_metrics(call).await);
}
