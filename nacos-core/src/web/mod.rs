//! The web layer: requests read as a servlet reads them, answers and errors written as Nacos writes them, and the
//! table of routes, each of which declares what it needs.
//!
//! Used by the `http` modules of the domain crates, which write handlers, and by the server, which serves a
//! [`Dispatcher`]. Knows no domain.

mod answer;
mod call;
pub mod check;
mod fault;
mod params;
mod routes;

pub use answer::{Page, ResultBody, json, json_bytes, rest_result, result, text};
pub use call::{BodyLimits, Call, FilePart, parse_number};
pub use fault::{Fault, Style};
pub use params::{PARAMS_MAX, Params};
pub use routes::{Area, Dispatcher, DispatcherOptions, Gate, Route, Routes};

/// `Content-Type` of Nacos' JSON answers.
pub const JSON: &str = "application/json;charset=UTF-8";
/// `Content-Type` of Nacos' text answers.
pub const TEXT: &str = "text/plain;charset=UTF-8";
