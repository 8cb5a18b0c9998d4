//! A composed server: configuration management and one route of its own, without the console.
//!
//! ```text
//! cargo run --example config_only -- 8848 ./data
//! curl 'http://127.0.0.1:8848/nacos/hello?name=you'
//! ```

use http::Method;
use nacos_core::{
    auth::Access,
    settings::{Flag, Settings, SettingsInput},
    web::{Call, Routes, Style, check, text},
};
use nacos_server::{Builder, NacosServer};

/// The server of this example, on this port and folder. The test of the example starts it, too.
pub(crate) fn compose(port: u16, folder: &str) -> anyhow::Result<Builder> {
    let flag = |option: &str, value: String| Flag { flag: "argument".into(), option: option.into(), value };
    let flags = vec![flag("server.port", port.to_string()), flag("nacos.home", folder.to_owned())];
    let settings = Settings::load(SettingsInput { flags, ..SettingsInput::default() })?.settings;

    // Every route says what it needs of its callers; this one greets anybody.
    let mut routes = Routes::new();
    routes.add(Method::GET, "/hello", None, Access::Open, Style::Text, check::none, |call: Call| async move {
        let name = call.required("name")?;
        Ok(text(format!("hello {name}\n")))
    });
    Ok(NacosServer::builder(settings).with_console(false).with_naming(false).routes(routes))
}

#[tokio::main]
#[allow(clippy::print_stdout, dead_code)]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(8848), |text| text.parse())?;
    let folder = arguments.next().unwrap_or_else(|| "./data".to_owned());
    let server = compose(port, &folder)?.start().await?;
    println!("listening on {}", server.local_addr());
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}
