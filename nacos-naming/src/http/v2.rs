//! The routes below `/v2/ns`.

use http::Method;
use nacos_core::{
    auth::{Access, Action, Resource},
    web::{Call, Fault, Routes, Style, check},
};

use super::{Endpoints, catalog, client, instance, operator, read, service, v1::READ};
use crate::instances::BatchChange;

const WRITE: Access = Access::Needs(Action::Write, Resource::Naming);
const WRITE_SWITCHES: Access = Access::Needs(Action::Write, Resource::Named("naming/switches"));
const ADMIN_READ: Access = Access::Needs(Action::Read, Resource::Named("nacos/admin"));
const OPEN: Access = Access::Open;
const RESULT: Style = Style::Result;
/// The catalog of v2 fails in the words of v1.
const BARE: Style = Style::Bare;

/// Adds the routes.
pub(super) fn add(routes: &mut Routes, endpoints: &Endpoints) {
    macro_rules! route {
        ($($method:ident)+, $($path:literal)+, $style:ident $access:ident $check:path,
         |$e:ident, $call:ident| $body:expr) => {
            for method in [$(Method::$method),+] {
                for path in [$($path),+] {
                    let shared = endpoints.clone();
                    routes.add(method.clone(), path, None, $access, $style, $check, move |$call: Call| {
                        let $e = shared.clone();
                        async move {
                            instance::check_metadata(&$e, &$call)?;
                            $body
                        }
                    });
                }
            }
        };
    }
    route!(POST, "/v2/ns/instance", RESULT WRITE read::check_default, |e, call| instance::register_v2(e, call).await);
    route!(DELETE, "/v2/ns/instance", RESULT WRITE read::check_default, |e, call| {
        instance::deregister_v2(e, call).await
    });
    route!(PUT, "/v2/ns/instance", RESULT WRITE read::check_default, |e, call| instance::update_v2(e, call).await);
    route!(PATCH, "/v2/ns/instance", RESULT WRITE read::check_default, |e, call| instance::patch_v2(e, call).await);
    route!(GET, "/v2/ns/instance", RESULT READ read::check_default, |e, call| instance::detail_v2(e, call).await);
    route!(GET, "/v2/ns/instance/list", RESULT READ read::check_list, |e, call| instance::list_v2(e, call).await);
    route!(PUT, "/v2/ns/instance/beat", RESULT WRITE read::check_beat, |e, call| instance::beat_v2(e, call).await);
    route!(PUT, "/v2/ns/instance/metadata/batch", RESULT WRITE read::check_batch, |e, call| {
        instance::batch_v2(e, call, BatchChange::Set).await
    });
    route!(DELETE, "/v2/ns/instance/metadata/batch", RESULT WRITE read::check_batch, |e, call| {
        instance::batch_v2(e, call, BatchChange::Remove).await
    });
    route!(GET POST PUT DELETE PATCH, "/v2/ns/instance/statuses/{key}", RESULT READ read::check_default, |e, call| {
        instance::statuses(&e, call.path_value("key"))
    });

    route!(POST, "/v2/ns/service", RESULT WRITE read::check_default, |e, call| service::create_v2(e, call).await);
    route!(DELETE, "/v2/ns/service", RESULT WRITE read::check_default, |e, call| service::remove_v2(e, call).await);
    route!(PUT, "/v2/ns/service", RESULT WRITE read::check_default, |e, call| service::update_v2(e, call).await);
    route!(GET, "/v2/ns/service", RESULT READ read::check_default, |e, call| service::detail_v2(e, call).await);
    route!(GET, "/v2/ns/service/list", RESULT READ read::check_default, |e, call| service::list_v2(e, call).await);

    route!(PUT, "/v2/ns/health" "/v2/ns/health/instance", RESULT WRITE read::check_default, |e, call| {
        instance::health_v2(e, call).await
    });
    route!(GET POST PUT DELETE PATCH, "/v2/ns/catalog/instances", BARE READ read::check_default, |e, call| {
        catalog::instances_v2(e, call).await
    });

    route!(GET, "/v2/ns/client/list", RESULT ADMIN_READ check::none, |e, _call| Ok::<_, Fault>(client::list(&e)));
    route!(GET, "/v2/ns/client", RESULT ADMIN_READ check::none, |e, call| client::detail(&e, &call));
    route!(GET, "/v2/ns/client/publish/list", RESULT ADMIN_READ check::none, |e, call| client::published(&e, &call));
    route!(GET, "/v2/ns/client/subscribe/list", RESULT ADMIN_READ check::none, |e, call| client::subscribed(&e, &call));
    route!(GET, "/v2/ns/client/service/publisher/list", RESULT ADMIN_READ read::check_default, |e, call| {
        client::publishers(&e, &call)
    });
    route!(GET, "/v2/ns/client/service/subscriber/list", RESULT ADMIN_READ read::check_default, |e, call| {
        client::subscribers(&e, &call)
    });

    route!(GET, "/v2/ns/operator/switches" "/v2/ns/ops/switches", RESULT ADMIN_READ check::none, |e, _call| {
        Ok::<_, Fault>(operator::switches_v2(&e))
    });
    route!(PUT, "/v2/ns/operator/switches" "/v2/ns/ops/switches", RESULT WRITE_SWITCHES check::none, |e, call| {
        operator::set_switch_v2(e, call).await
    });
    route!(GET, "/v2/ns/operator/metrics" "/v2/ns/ops/metrics", RESULT OPEN check::none, |e, call| {
        operator::metrics_v2(&e, &call)
    });
}
