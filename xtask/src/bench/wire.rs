//! The client side of HTTP/1.1, as little of it as a load generator needs: prebuilt request bytes out, an answer
//! with a `Content-Length` in.
//!
//! Used by the benchmarks and by `crash`. Not a general client: no chunked answers, no redirects, one request at a
//! time on a connection.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    ops::Range,
    time::Duration,
};

use memchr::memmem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// The path under which configurations are read and published.
pub const CONFIGS: &str = "/nacos/v1/cs/configs";
/// The path of the long poll.
pub const LISTENER: &str = "/nacos/v1/cs/configs/listener";
/// The group of all configurations made here.
pub const GROUP: &str = "DEFAULT_GROUP";

/// A keep-alive connection. Closed with a reset, so that thousands of them leave no port waiting.
pub struct Connection {
    stream: TcpStream,
    /// What was read: one answer at most.
    buffer: Vec<u8>,
}

/// An answer, borrowed from its connection.
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The status line and the headers.
    pub head: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// The value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        lines(self.head).find_map(|line| value_of(line, name.as_bytes())).and_then(|value| str::from_utf8(value).ok())
    }

    /// Whether it is a 200 with this body.
    pub fn is(&self, body: &[u8]) -> bool {
        self.status == 200 && self.body == body
    }

    /// Status and the begin of the body, for messages.
    pub fn summary(&self) -> String {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]);
        format!("status {}, {} bytes of body: {body:?}", self.status, self.body.len())
    }
}

impl Connection {
    /// Connects, from this address of loopback if one is given.
    pub async fn open(to: SocketAddr, from: Option<Ipv4Addr>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind(SocketAddr::V4(SocketAddrV4::new(from, 0)))?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        stream.set_zero_linger()?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// `UnexpectedEof` or another error of the socket if the server is gone: the request may have taken effect.
    /// `InvalidData` if what came is not an answer that this client understands.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.send(request).await?;
        self.answer().await
    }

    /// Sends a request. Its answer must be read with [`Self::answer`] before the next.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await
    }

    /// Waits for the answer to what was sent. Errors as [`Self::exchange`].
    pub async fn answer(&mut self) -> io::Result<Answer<'_>> {
        self.buffer.clear();
        let parsed = loop {
            if let Some(parsed) = parse(&self.buffer)? {
                break parsed;
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        whole(&self.buffer, parsed)
    }

    /// Fails if anything has come, an answer or the end: a held request must be silent.
    pub fn check_silent(&self) -> io::Result<()> {
        let mut some = [0; 1024];
        match self.stream.try_read(&mut some) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                Err(invalid(&format!("answered while it should be held: {}", String::from_utf8_lossy(&some[..n]))))
            }
        }
    }
}

/// A keep-alive connection whose calls block, for a generator that keeps a pace of its own.
pub struct Blocking {
    stream: std::net::TcpStream,
    /// What was read: one answer at most.
    buffer: Vec<u8>,
}

impl Blocking {
    /// Connects. An answer that takes longer than `patience` is an error.
    pub fn open(to: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request. Its answer must be read with [`Self::answer`] before the next.
    pub fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)
    }

    /// Waits for the answer to what was sent. Errors as [`Connection::exchange`].
    pub fn answer(&mut self) -> io::Result<Answer<'_>> {
        let mut piece = [0; 4096];
        self.buffer.clear();
        let parsed = loop {
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.buffer.extend_from_slice(&piece[..length]),
            }
            if let Some(parsed) = parse(&self.buffer)? {
                break parsed;
            }
        };
        whole(&self.buffer, parsed)
    }
}

/// The answer that these bytes are.
fn whole(bytes: &[u8], parsed: Parsed) -> io::Result<Answer<'_>> {
    if bytes.len() > parsed.body.end {
        return Err(invalid("more bytes than the answer's length"));
    }
    Ok(Answer { status: parsed.status, head: &bytes[..parsed.body.start], body: &bytes[parsed.body] })
}

struct Parsed {
    status: u16,
    body: Range<usize>,
}

/// The answer in these bytes, or `None` if it is not whole yet.
fn parse(bytes: &[u8]) -> io::Result<Option<Parsed>> {
    let Some(head) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let status = bytes
        .get(9..12)
        .filter(|_| bytes.starts_with(b"HTTP/1.1 "))
        .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok())
        .ok_or_else(|| invalid("no status line"))?;
    let length: usize = lines(&bytes[..head])
        .find_map(|line| value_of(line, b"content-length"))
        .and_then(|value| str::from_utf8(value).ok()?.parse().ok())
        .ok_or_else(|| invalid("no Content-Length"))?;
    let start = head + 4;
    Ok((bytes.len() >= start + length).then(|| Parsed { status, body: start..start + length }))
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":").filter(|_| found.eq_ignore_ascii_case(name))?;
    Some(value.trim_ascii())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// What Java's `URLEncoder` encodes; a blank would become `%20` instead of `+`, which readers take alike.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*');

/// The text as a value of a query or form.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A GET of a target.
pub fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Nacos-Java-Client:v1.4.7\r\n\r\n").into_bytes()
}

/// A GET of the configuration with this dataId.
pub fn read(data_id: &str) -> Vec<u8> {
    get(&format!("{CONFIGS}?dataId={}&group={GROUP}&tenant=", encoded(data_id)))
}

/// A publish; `cas_md5` makes it conditional. The content stands at the end of the request.
pub fn publish(data_id: &str, content: &str, cas_md5: Option<&str>) -> Vec<u8> {
    let form = format!("dataId={}&group={GROUP}&tenant=&content={}", encoded(data_id), encoded(content));
    let cas = cas_md5.map_or_else(String::new, |md5| format!("casMd5: {md5}\r\n"));
    post(CONFIGS, &cas, &form)
}

/// One key of a long poll.
pub struct Watched<'a> {
    /// The dataId.
    pub data_id: &'a str,
    /// What the client holds; empty for nothing.
    pub md5: &'a str,
}

/// A long poll on these keys that may be held for two minutes, with the headers that a Java client sends.
pub fn long_poll<'a>(keys: impl IntoIterator<Item = Watched<'a>>) -> Vec<u8> {
    let mut form = String::from("Listening-Configs=");
    for key in keys {
        form.push_str(&format!("{}%02{GROUP}%02{}%01", encoded(key.data_id), key.md5));
    }
    let headers = "Long-Pulling-Timeout: 120000\r\nClient-Version: 1.4.7\r\nClient-AppName: unknown\r\n\
                   Client-RequestTS: 1795244570550\r\nClient-RequestToken: 0123456789abcdef0123456789abcdef\r\n\
                   exConfigInfo: true\r\nAccept-Charset: UTF-8\r\n";
    post(LISTENER, headers, &form)
}

/// What a long poll on this key is answered with when the key changes.
pub fn changed(data_id: &str) -> Vec<u8> {
    format!("{}%02{GROUP}%01\n", encoded(data_id)).into_bytes()
}

fn post(path: &str, headers: &str, form: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Nacos-Java-Client:v1.4.7\r\n{headers}\
         Content-Type: application/x-www-form-urlencoded;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nX-Length: 9\r\ncontent-length: 4\r\nContent-MD5:  ab \r\n\r\ntrue";

    #[test]
    fn answer_is_whole_only_with_its_last_byte() -> io::Result<()> {
        for cut in 0..ANSWER.len() {
            assert!(parse(&ANSWER[..cut])?.is_none(), "cut at {cut}");
        }
        let parsed = parse(ANSWER)?.expect("whole");
        assert_eq!((parsed.status, &ANSWER[parsed.body.clone()]), (200, &b"true"[..]));
        let answer = Answer { status: 200, head: &ANSWER[..parsed.body.start], body: b"true" };
        assert_eq!(answer.header("content-md5"), Some("ab"));
        assert_eq!(answer.header("length"), None);
        Ok(())
    }

    #[test]
    fn answer_without_length_is_refused() {
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").is_err());
    }

    #[test]
    fn long_poll_has_the_reference_form() {
        let request = long_poll([Watched { data_id: "a.yaml", md5: "e10a" }, Watched { data_id: "b", md5: "" }]);
        let text = String::from_utf8_lossy(&request);
        let (head, body) = text.split_once("\r\n\r\n").expect("head");
        assert_eq!(body, "Listening-Configs=a.yaml%02DEFAULT_GROUP%02e10a%01b%02DEFAULT_GROUP%02%01");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    }
}
