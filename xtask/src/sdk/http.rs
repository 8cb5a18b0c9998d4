//! One plain HTTP request on a connection of its own: what a client program cannot ask through its library.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

const SILENCE: Duration = Duration::from_secs(10);

/// Sends one request to `host:port`, as HTTP/1.0 so that no server answers it in chunks, with an urlencoded form if
/// one is given: status and body.
///
/// # Errors
/// There is no answer within 10 s, or it is not HTTP.
pub fn request(address: &str, method: &str, target: &str, form: Option<&str>) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(SILENCE))?;
    let head = form.map_or_else(String::new, |form| {
        format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", form.len())
    });
    let form = form.unwrap_or_default();
    write!(stream, "{method} {target} HTTP/1.0\r\nHost: {address}\r\n{head}\r\n{form}")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("answer to {method} {target}"))?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("an answer without a head")?;
    let body = answer.split_off(head + 4);
    let status = String::from_utf8_lossy(&answer)
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("an answer without a status")?;
    Ok((status, body))
}

/// Parameters as they stand in an address or a form.
pub fn encoded(parameters: &[(&str, &str)]) -> String {
    let one = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = parameters.iter().map(|(name, value)| format!("{}={}", one(name), one(value)));
    pairs.collect::<Vec<_>>().join("&")
}
