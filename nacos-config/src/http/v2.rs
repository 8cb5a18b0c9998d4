//! The routes below `/v2/cs`.

use http::Method;
use nacos_core::{
    auth::{Access, Action, Resource},
    error::ErrorCode,
    key::NamespaceId,
    web::{Call, Fault, Routes, Style, result},
};

use super::{Endpoints, access, admin, client, history, shapes};
use crate::validate;

const READ: Access = Access::Needs(Action::Read, Resource::Config);
const WRITE: Access = Access::Needs(Action::Write, Resource::Config);

/// The namespace of a v2 call, checked and folded.
fn namespace(call: &Call) -> Result<NamespaceId, Fault> {
    let raw = call.param_or_empty("namespaceId");
    validate::namespace_id(&raw)?;
    Ok(NamespaceId::normalised(&raw))
}

/// Adds the routes.
pub(super) fn add(routes: &mut Routes, endpoints: &Endpoints) {
    macro_rules! route {
        ($method:ident $path:literal $access:ident $check:path, |$e:ident, $call:ident| $body:expr) => {
            let shared = endpoints.clone();
            routes.add(Method::$method, $path, None, $access, Style::Result, $check, move |$call: Call| {
                let $e = shared.clone();
                async move { $body }
            });
        };
    }
    route!(GET "/v2/cs/config" READ access::default, |e, call| {
        let data_id_and_group = (call.required("dataId")?, call.required("group")?);
        let namespace = namespace(&call)?;
        validate::key(&data_id_and_group.0, &data_id_and_group.1)?;
        drop(data_id_and_group);
        let tag = call.param_not_blank("tag").map(|tag| tag.into_owned());
        validate::tag(tag.as_deref())?;
        let key = client::key_of(&call, namespace.as_str())?;
        client::query(e, call, key, tag, Style::Result).await
    });
    route!(POST "/v2/cs/config" WRITE access::default, |e, call| {
        for name in ["dataId", "group", "content"] {
            if call.param_not_blank(name).is_none() {
                let text = format!("Required parameter '{name}' type String is not present");
                return Err(Fault::Coded(http::StatusCode::BAD_REQUEST, ErrorCode::ParameterMissing, text));
            }
        }
        let namespace = namespace(&call)?;
        let key = client::key_of(&call, namespace.as_str())?;
        let content = call.required("content")?.into_owned();
        let names = client::Names { src_user: "srcUser", config_tags: "configTags" };
        client::publish(e, call, key, content, names).await?;
        Ok(result(true))
    });
    route!(DELETE "/v2/cs/config" WRITE access::default, |e, call| {
        let namespace = namespace(&call)?;
        let key = client::key_of(&call, namespace.as_str())?;
        client::remove(e, call, key).await?;
        Ok(result(true))
    });
    route!(GET "/v2/cs/config/searchDetail" READ access::blur, |e, call| {
        let blur = call.param("search").is_none_or(|search| search != "accurate");
        admin::search(e, call, blur, true).await
    });
    route!(GET "/v2/cs/history/list" READ access::default, |e, call| {
        let namespace = NamespaceId::normalised(&call.param_or_empty("namespaceId"));
        Ok(result(history::list(&e, &call, namespace.as_str()).await?))
    });
    route!(GET "/v2/cs/history" READ access::default, |e, call| {
        let namespace = NamespaceId::normalised(&call.param_or_empty("namespaceId"));
        Ok(result(history::detail(&e, &call, namespace.as_str()).await?))
    });
    route!(GET "/v2/cs/history/previous" READ access::default, |e, call| {
        let namespace = NamespaceId::normalised(&call.param_or_empty("namespaceId"));
        Ok(result(history::previous(&e, &call, namespace.as_str()).await?))
    });
    route!(GET "/v2/cs/history/configs" READ access::default, |e, call| {
        call.required("namespaceId")?;
        let namespace = namespace(&call)?;
        let rows = e.repository.of_namespace(namespace.as_str()).await?;
        Ok(result(rows.iter().map(shapes::wrapper).collect::<Vec<_>>()))
    });
}
