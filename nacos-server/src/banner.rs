//! The one screen that a server prints when it is ready.

use std::fmt::Write as _;

use nacos_core::settings::Settings;

use crate::{NACOS_VERSION, NacosServer};

/// What is printed: version, addresses, data folder, whether auth is on, what to try first.
pub fn banner(server: &NacosServer, settings: &Settings) -> String {
    let addr = server.local_addr();
    let host = if addr.ip().is_unspecified() { "127.0.0.1".to_owned() } else { addr.ip().to_string() };
    let base = format!("http://{host}:{}{}", addr.port(), settings.server.context_path);
    let home = std::path::absolute(&settings.server.home).unwrap_or_else(|_| settings.server.home.clone());
    let auth = if settings.auth.enabled {
        "on".to_owned()
    } else if addr.ip().is_loopback() {
        "off: only this machine can reach the server".to_owned()
    } else {
        "OFF, and the server listens beyond this machine: anyone who reaches it can read and write".to_owned()
    };
    let mut tries = String::new();
    if server.naming().is_some() {
        let instance = "serviceName=hello&ip=127.0.0.1&port=9000";
        let _ = write!(tries, "curl -X POST '{base}/v1/ns/instance?{instance}'\n         ");
        let _ = write!(tries, "curl '{base}/v1/ns/instance/list?serviceName=hello'\n         ");
    }
    if server.config().is_some() {
        let config = "dataId=hello&group=DEFAULT_GROUP";
        let _ = write!(tries, "curl -d '{config}&content=world' {base}/v1/cs/configs\n         ");
        let _ = write!(tries, "curl '{base}/v1/cs/configs?{config}'\n         ");
    }
    let mut out = String::new();
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(
        out,
        "\n  nacos-server {version}, serving clients of Nacos {NACOS_VERSION}\n\n  \
         HTTP   {base}  (listening on {addr})\n  \
         Data   {}\n  \
         Mode   standalone, {}\n  \
         Auth   {auth}\n\n  \
         Try:   {tries}curl {base}/actuator/prometheus\n\n  \
         Ctrl-C stops the server.\n\n",
        home.display(),
        server.storage(),
    );
    out
}
