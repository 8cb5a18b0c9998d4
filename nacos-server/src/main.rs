//! The default server.
fn main() {}
