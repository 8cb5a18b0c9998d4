//! The settings that a server must have for a recording, and the log-in that goes with them.

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;

use super::{
    http,
    request::{Servers, build},
    scenario::{Base, Body, Call, TIMEOUT},
    value::{Object, Value},
    variables::{Names, pick},
};

/// A set of settings; each scenario belongs to one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// No authentication; all metrics served.
    #[default]
    Open,
    /// Authentication, with an identity for members; metrics for service discovery off.
    Auth,
}

/// The administrator of a server under test, as the recordings have it.
const ADMINISTRATOR: (&str, &str) = ("nacos", "nacos");

impl Profile {
    /// Names and values for a server that is started for this profile.
    pub fn settings(self) -> Vec<(String, String)> {
        let fixed: &[(&str, &str)] = match self {
            Self::Open => &[
                ("nacos.core.auth.enabled", "false"),
                ("nacos.prometheus.metrics.enabled", "true"),
                ("management.endpoints.web.exposure.include", "prometheus,health"),
            ],
            Self::Auth => &[
                ("nacos.core.auth.enabled", "true"),
                ("nacos.core.auth.admin.enabled", "true"),
                ("nacos.core.auth.console.enabled", "true"),
                ("nacos.core.auth.caching.enabled", "false"),
                ("nacos.core.auth.server.identity.key", "goldenKey"),
                ("nacos.core.auth.server.identity.value", "goldenValue"),
                ("nacos.prometheus.metrics.enabled", "false"),
            ],
        };
        let mut settings: Vec<_> = fixed.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        if self == Self::Auth {
            let secret: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
            let name = "nacos.core.auth.plugin.nacos.token.secret.key";
            settings.push((name.to_owned(), BASE64_STANDARD.encode(secret)));
        }
        settings
    }

    /// Makes sure that the administrator exists and logs in where the profile asks for it; the token and the
    /// administrator's name and password become variables.
    pub fn prepare(self, servers: &Servers, names: &mut Names) -> Result<()> {
        if self == Self::Open {
            return Ok(());
        }
        let (user, password) = ADMINISTRATOR;
        names.set("admin", user);
        names.set("admin_password", password);
        // The server has the paths of one generation or of both.
        let token = log_in(servers, names, "/v1/auth/users/admin", "/v1/auth/users/login")
            .or_else(|_| log_in(servers, names, "/v3/auth/user/admin", "/v3/auth/user/login"))
            .context("log in as administrator")?;
        names.set("admin_token", token);
        Ok(())
    }
}

fn log_in(servers: &Servers, names: &Names, make: &str, login: &str) -> Result<Value> {
    // Fails when there is an administrator already.
    post(servers, names, make, &[("password", "${admin_password}")])?;
    let answer = post(servers, names, login, &[("username", "${admin}"), ("password", "${admin_password}")])?;
    pick(&answer.json()?, "accessToken")
}

fn post(servers: &Servers, names: &Names, path: &str, form: &[(&str, &str)]) -> Result<http::Response> {
    let mut members = Object::default();
    for &(name, value) in form {
        members.set(name.to_owned(), Value::from(value));
    }
    let call = Call {
        method: "POST".to_owned(),
        path: path.to_owned(),
        base: Base::Context,
        query: None,
        body: Body::Form(Value::Object(members)),
        headers: Object::default(),
        timeout: TIMEOUT,
    };
    Ok(http::exchange(&build(servers, &call, names)?)?)
}
