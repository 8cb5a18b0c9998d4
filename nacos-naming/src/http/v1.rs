//! The routes below `/v1/ns`.

use http::Method;
use nacos_core::{
    auth::{Access, Action, Resource},
    web::{Call, Fault, Routes, Style, check, json},
};

use super::{Endpoints, catalog, instance, operator, read, service};
use crate::{health::probe, instances::BatchChange};

pub(super) const READ: Access = Access::Needs(Action::Read, Resource::Naming);
const WRITE: Access = Access::Needs(Action::Write, Resource::Naming);
const WRITE_SWITCHES: Access = Access::Needs(Action::Write, Resource::Named("naming/switches"));
// Nacos leaves these open even with auth on; they change how the server works, or show its clients.
const ADMIN_READ: Access = Access::Needs(Action::Read, Resource::Named("nacos/admin"));
const ADMIN_WRITE: Access = Access::Needs(Action::Write, Resource::Named("nacos/admin"));
/// What SDKs ask for before they have logged in.
const OPEN: Access = Access::Open;

/// Adds the routes.
pub(super) fn add(routes: &mut Routes, endpoints: &Endpoints) {
    macro_rules! route {
        ($($method:ident)+, $($path:literal)+, $access:ident $check:path, |$e:ident, $call:ident| $body:expr) => {
            for method in [$(Method::$method),+] {
                for path in [$($path),+] {
                    let shared = endpoints.clone();
                    routes.add(method.clone(), path, None, $access, Style::Bare, $check, move |$call: Call| {
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
    /// A route that takes every method.
    macro_rules! any {
        ($($rest:tt)+) => {
            route!(GET POST PUT DELETE PATCH, $($rest)+)
        };
    }
    route!(POST, "/v1/ns/instance", WRITE read::check_default, |e, call| instance::register(e, call).await);
    route!(DELETE, "/v1/ns/instance", WRITE read::check_default, |e, call| instance::deregister(e, call).await);
    route!(PUT, "/v1/ns/instance", WRITE read::check_default, |e, call| instance::update(e, call).await);
    route!(PATCH, "/v1/ns/instance", WRITE read::check_default, |e, call| instance::patch(e, call).await);
    route!(GET, "/v1/ns/instance", READ read::check_default, |e, call| instance::detail(e, call).await);
    route!(GET, "/v1/ns/instance/list", READ read::check_list, |e, call| instance::list(e, call).await);
    route!(PUT, "/v1/ns/instance/beat", WRITE read::check_beat, |e, call| instance::beat(e, call).await);
    route!(PUT, "/v1/ns/instance/metadata/batch", WRITE read::check_batch, |e, call| {
        instance::batch(e, call, BatchChange::Set).await
    });
    route!(DELETE, "/v1/ns/instance/metadata/batch", WRITE read::check_batch, |e, call| {
        instance::batch(e, call, BatchChange::Remove).await
    });
    any!("/v1/ns/instance/statuses", READ read::check_default, |e, call| {
        instance::statuses(&e, &call.required("key")?)
    });

    route!(POST, "/v1/ns/service", WRITE read::check_default, |e, call| service::create(e, call).await);
    route!(DELETE, "/v1/ns/service", WRITE read::check_default, |e, call| service::remove(e, call).await);
    route!(PUT, "/v1/ns/service", WRITE read::check_default, |e, call| service::update(e, call).await);
    route!(GET, "/v1/ns/service", READ read::check_default, |e, call| service::detail(e, call).await);
    route!(GET, "/v1/ns/service/list", READ read::check_default, |e, call| service::list(e, call).await);
    any!("/v1/ns/service/names", READ read::check_default, |e, call| {
        service::names(e, call).await
    });
    route!(GET, "/v1/ns/service/subscribers", READ read::check_default, |e, call| service::subscribers(e, call).await);
    route!(PUT, "/v1/ns/service/checksum", READ read::check_default, |e, call| service::checksum(&e, &call));
    route!(GET, "/v1/ns/service/selector/types", OPEN check::none, |_e, _call| Ok::<_, Fault>(service::selector_types()));
    route!(PUT, "/v1/ns/cluster", WRITE read::check_default, |e, call| service::put_cluster(e, call).await);

    route!(PUT, "/v1/ns/health", WRITE read::check_default, |e, call| instance::health(e, call).await);
    route!(PUT, "/v1/ns/health/instance", WRITE read::check_default, |e, call| instance::health(e, call).await);
    any!("/v1/ns/health/server", OPEN check::none, |e, _call| {
        Ok::<_, Fault>(operator::health(&e))
    });
    route!(GET, "/v1/ns/health/checkers", OPEN check::none, |_e, _call| {
        Ok::<_, Fault>(json(&probe::checkers_json()))
    });

    route!(GET, "/v1/ns/catalog/services", READ read::check_default, |e, call| catalog::services(e, call).await);
    route!(GET, "/v1/ns/catalog/service", READ read::check_default, |e, call| catalog::service(e, call).await);
    any!("/v1/ns/catalog/instances", READ read::check_default, |e, call| {
        catalog::instances(e, call).await
    });

    any!("/v1/ns/operator/push/state" "/v1/ns/ops/push/state", ADMIN_READ check::none, |e, call| {
        Ok::<_, Fault>(operator::push_state(&e, &call))
    });
    route!(GET, "/v1/ns/operator/switches" "/v1/ns/ops/switches", ADMIN_READ check::none, |e, _call| {
        Ok::<_, Fault>(operator::switches(&e))
    });
    route!(PUT, "/v1/ns/operator/switches" "/v1/ns/ops/switches", WRITE_SWITCHES check::none, |e, call| {
        operator::set_switch(e, call).await
    });
    route!(GET, "/v1/ns/operator/metrics" "/v1/ns/ops/metrics", OPEN check::none, |e, call| {
        Ok::<_, Fault>(operator::metrics(&e, &call))
    });
    route!(GET, "/v1/ns/operator/distro/client" "/v1/ns/ops/distro/client", ADMIN_READ check::none, |e, call| {
        operator::responsible(&e, &call)
    });
    route!(GET, "/v1/ns/operator/distro/server" "/v1/ns/ops/distro/server", ADMIN_READ read::check_default, |e, call| {
        operator::responsible_for_service(&e, &call)
    });
    route!(GET, "/v1/ns/operator/distro/status" "/v1/ns/ops/distro/status", ADMIN_READ check::none, |e, _call| {
        Ok::<_, Fault>(operator::members(&e, "status"))
    });
    route!(GET, "/v1/ns/operator/servers" "/v1/ns/ops/servers", ADMIN_READ check::none, |e, _call| {
        Ok::<_, Fault>(operator::members(&e, "servers"))
    });
    route!(GET, "/v1/ns/operator/cluster/state" "/v1/ns/ops/cluster/state", ADMIN_READ check::none, |e, _call| {
        Ok::<_, Fault>(operator::cluster_state(&e))
    });
    route!(PUT, "/v1/ns/operator/log" "/v1/ns/ops/log", ADMIN_WRITE check::none, |e, call| {
        operator::log_level(&e, &call)
    });
}
