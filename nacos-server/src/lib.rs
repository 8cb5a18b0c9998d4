//! The server: composes the crates, serves their routes, starts and stops everything in order.
//!
//! [`NacosServer::builder`] is the way in, for the default binary and for composed servers alike.

pub mod console;
pub mod migrate;
pub mod namespace;

mod actuator;
mod banner;
mod builder;
mod connection;
mod data_dir;
mod database;
mod logging;
mod serve;

pub use banner::banner;
pub use builder::{Builder, NacosServer, Progress, StartError};
pub use data_dir::{DataDir, DataDirError};
pub use database::{open_embedded, open_postgres};
pub use logging::{LogControl, init as init_logging};
/// The version that clients are told; what the protocol spoken here is that of.
pub const NACOS_VERSION: &str = "2.4.3";
