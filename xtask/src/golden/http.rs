//! A minimal HTTP/1.1 client: one request per connection, sent exactly as it is given.
//!
//! Recordings hold bad input that a proper client refuses to send (raw characters in the target, bodies on GET,
//! headers without their defaults); this one writes it all. Answers may be delimited by length, chunks or the end of
//! the connection.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    time::{Duration, Instant},
};

/// The largest head and the largest body that are read.
const HEAD_BYTES_MAX: u64 = 1 << 20;
const BODY_BYTES_MAX: u64 = 256 << 20;
const HEADERS_MAX: usize = 128;

/// A server, and the path under which it serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The context path, without a slash at its end; may be empty.
    pub prefix: String,
}

impl std::str::FromStr for Origin {
    type Err = anyhow::Error;

    /// Reads `http://HOST[:PORT][/PREFIX]`.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let uri: http::Uri = url.parse()?;
        anyhow::ensure!(uri.scheme_str() == Some("http"), "{url} does not begin with http://");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        anyhow::ensure!(!host.is_empty(), "{url} names no host");
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl Origin {
    /// What the `Host` header says.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }
}

/// A request, as it goes over the wire but for `Host` and `Content-Length`.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where it goes.
    pub origin: Origin,
    /// The method's name.
    pub method: String,
    /// Path and query; sent as UTF-8, not escaped any further.
    pub target: String,
    /// Names and values; values are sent as UTF-8.
    pub headers: Vec<(String, String)>,
    /// The body; `None` sends no `Content-Length` either.
    pub body: Option<Vec<u8>>,
    /// How long the whole exchange may take.
    pub timeout: Duration,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case and values; those of equal names are joined by `, `. Bytes are read as Latin-1.
    headers: Vec<(String, String)>,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
    /// From before the connection was opened until the body was there.
    pub elapsed: Duration,
}

impl Response {
    /// An answer made of its parts; names are in lower case.
    #[cfg(test)]
    pub fn new(status: u16, headers: &[(&str, &str)], body: &[u8], elapsed: Duration) -> Self {
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { status, headers, body: body.to_vec(), elapsed }
    }

    /// The header of that name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The content type in the form in which types are compared.
    pub fn content_type(&self) -> Option<String> {
        self.header("content-type").map(norm_type)
    }

    /// The body as text. Charsets other than Latin-1 are read as UTF-8, with what is invalid replaced.
    pub fn text(&self) -> String {
        let latin1 = self.header("content-type").map(str::to_ascii_lowercase).is_some_and(|kind| {
            let charset = kind.split("charset=").nth(1).unwrap_or_default();
            charset.starts_with("iso-8859-1") || charset.starts_with("latin1") || charset.starts_with("latin-1")
        });
        if latin1 { latin1_text(&self.body) } else { String::from_utf8_lossy(&self.body).into_owned() }
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Result<super::value::Value> {
        serde_json::from_str(&self.text())
    }
}

/// A content type in lower case, without space around its semicolons; JSON without its charset.
pub fn norm_type(value: &str) -> String {
    let parts: Vec<&str> = value.split(';').map(str::trim).collect();
    let value = parts.join(";").to_lowercase();
    if value.starts_with("application/json") { "application/json".to_owned() } else { value }
}

/// Each byte as the character of that number.
fn latin1_text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Sends a request and reads its answer.
///
/// # Errors
/// `ConnectionRefused` if nothing listens there; `TimedOut` after [`Request::timeout`]; `InvalidInput` for a line
/// break where it would end a line of the head; `InvalidData` and `UnexpectedEof` for an answer that is not HTTP.
pub fn exchange(request: &Request) -> io::Result<Response> {
    let head = head_of(request)?;
    let start = Instant::now();
    let mut stream = connect(request, start)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(request.timeout))?;
    stream.write_all(&head)?;
    if let Some(body) = &request.body {
        match stream.write_all(body) {
            // A server may answer, and close, before it has read a body that it refuses.
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            other => other?,
        }
    }
    let mut reader = BufReader::new(Bounded { stream, end: start + request.timeout });
    let (status, headers) = read_head(&mut reader)?;
    let mut response = Response { status, headers, body: Vec::new(), elapsed: Duration::ZERO };
    if request.method != "HEAD" && status != 204 && status != 304 {
        response.body = read_body(&mut reader, &response)?;
    }
    response.elapsed = start.elapsed();
    Ok(response)
}

fn head_of(request: &Request) -> io::Result<Vec<u8>> {
    let mut head =
        format!("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.target, request.origin.authority());
    let mut texts = vec![&request.method, &request.target];
    for (name, value) in &request.headers {
        texts.extend([name, value]);
        head += &format!("{name}: {value}\r\n");
    }
    if texts.iter().any(|text| text.contains(['\r', '\n'])) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "a line break in the head of a request"));
    }
    if let Some(body) = &request.body {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    Ok(head.into_bytes())
}

fn connect(request: &Request, start: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (request.origin.host.as_str(), request.origin.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, remaining(start + request.timeout)?) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn remaining(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::Error::new(ErrorKind::TimedOut, "no answer in time")) } else { Ok(left) }
}

/// A stream whose reading ends at a point in time, however many reads it takes.
struct Bounded {
    stream: TcpStream,
    end: Instant,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(remaining(self.end)?))?;
        self.stream.read(buffer).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "no answer in time"),
            _ => e,
        })
    }
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// Status and headers of the final answer; interim ones are passed over.
fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    loop {
        let mut head = Vec::new();
        let mut limited = reader.by_ref().take(HEAD_BYTES_MAX);
        while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
            if limited.read_until(b'\n', &mut head)? == 0 {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the answer ends within its head"));
            }
        }
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut slots);
        parsed.parse(&head).map_err(invalid)?;
        let status = parsed.code.ok_or_else(|| invalid("an answer without a status"))?;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for header in parsed.headers.iter() {
            let (name, value) = (header.name.to_ascii_lowercase(), latin1_text(header.value));
            match headers.iter_mut().find(|(key, _)| *key == name) {
                Some((_, before)) => *before += &format!(", {value}"),
                None => headers.push((name, value)),
            }
        }
        return Ok((status, headers));
    }
}

fn read_body(reader: &mut impl BufRead, head: &Response) -> io::Result<Vec<u8>> {
    if head.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return read_chunks(reader);
    }
    let mut body = Vec::new();
    if let Some(length) = head.header("content-length") {
        let length: u64 = length.parse().map_err(invalid)?;
        check_size(length)?;
        if (reader.take(length).read_to_end(&mut body)? as u64) < length {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the answer ends within its body"));
        }
        return Ok(body);
    }
    reader.take(BODY_BYTES_MAX + 1).read_to_end(&mut body)?;
    check_size(body.len() as u64)?;
    Ok(body)
}

fn check_size(bytes: u64) -> io::Result<()> {
    if bytes > BODY_BYTES_MAX { Err(invalid("an answer over the size limit")) } else { Ok(()) }
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(invalid)?;
        check_size(size.saturating_add(body.len() as u64))?;
        if size == 0 {
            while !read_line(reader)?.is_empty() {}
            return Ok(body);
        }
        let read = reader.by_ref().take(size).read_to_end(&mut body)?;
        if (read as u64) < size || !read_line(reader)?.is_empty() {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "a chunk of the answer is not whole"));
        }
    }
}

/// A line of the chunked coding, without its end.
fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.by_ref().take(HEAD_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the answer ends within a chunk"));
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
}

#[cfg(test)]
mod tests {
    use std::{io::Cursor, net::TcpListener, thread};

    use super::*;

    /// Sends a request to a server that answers with `answer`, and gives what it received and what was made of it.
    fn against(answer: &'static [u8], change: impl FnOnce(&mut Request)) -> (String, io::Result<Response>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}/nacos/", listener.local_addr().unwrap()).parse().unwrap();
        let mut request = Request {
            origin,
            method: "GET".to_owned(),
            target: "/".to_owned(),
            headers: Vec::new(),
            body: None,
            timeout: Duration::from_secs(10),
        };
        change(&mut request);
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
            loop {
                let text = String::from_utf8_lossy(&received).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.lines().next());
                    if body.len() >= length.map_or(0, |n| n.parse().unwrap()) {
                        stream.write_all(answer).unwrap();
                        return text;
                    }
                }
                let n = stream.read(&mut buffer).unwrap();
                assert_ne!(n, 0, "the request ended early: {text}");
                received.extend_from_slice(&buffer[..n]);
            }
        });
        let response = exchange(&request);
        (server.join().unwrap(), response)
    }

    fn answer(answer: &'static [u8]) -> io::Result<Response> {
        against(answer, |_| ()).1
    }

    #[test]
    fn sends_what_it_is_given() {
        let (sent, response) = against(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", |request| {
            request.method = "DELETE".to_owned();
            request.target = format!("{}/a?b=\u{e4}%zz", request.origin.prefix);
            request.headers = vec![("betaIps".to_owned(), "中".to_owned()), ("X".to_owned(), String::new())];
            request.body = Some(b"x=1".to_vec());
        });
        response.unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("DELETE /nacos/a?b=\u{e4}%zz HTTP/1.1\r\nHost: 127.0.0.1:"), "{head}");
        assert!(head.ends_with("\r\nbetaIps: 中\r\nX: \r\nContent-Length: 3"), "{head}");
        assert_eq!(body, "x=1");
        let (sent, _) = against(b"HTTP/1.1 204 \r\n\r\n", |_| ());
        assert!(!sent.contains("Content-Length"), "{sent}");
    }

    #[test]
    fn refuses_a_line_break_in_the_head() {
        let request = |value: &str| Request {
            origin: "http://127.0.0.1:1".parse().unwrap(),
            method: "GET".to_owned(),
            target: "/".to_owned(),
            headers: vec![("A".to_owned(), value.to_owned())],
            body: None,
            timeout: Duration::from_secs(1),
        };
        assert_eq!(exchange(&request("a\r\nB: c")).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(exchange(&request("a")).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn reads_each_kind_of_body() {
        let length = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd").unwrap();
        assert_eq!(length.body, b"abc");
        let chunks = answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
        );
        assert_eq!(chunks.unwrap().body, b"abc0123456789");
        assert_eq!(answer(b"HTTP/1.1 404 Not Found\r\n\r\nto the end").unwrap().body, b"to the end");
        let continued =
            answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx").unwrap();
        assert_eq!((continued.status, continued.body.as_slice()), (201, b"x".as_slice()));
        let (_, head) = against(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", |r| r.method = "HEAD".to_owned());
        assert_eq!(head.unwrap().body, b"");
    }

    #[test]
    fn a_cut_or_odd_answer_is_an_error() {
        for cut in [
            b"".as_slice(),
            b"HTTP/1.1 200 OK\r\nContent-",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ] {
            assert_eq!(answer(cut).unwrap_err().kind(), ErrorKind::UnexpectedEof, "{}", String::from_utf8_lossy(cut));
        }
        assert_eq!(answer(b"SSH-2.0\r\n\r\n").unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn an_answer_that_does_not_come_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let request = Request {
            origin: format!("http://{}", listener.local_addr().unwrap()).parse().unwrap(),
            method: "GET".to_owned(),
            target: "/".to_owned(),
            headers: Vec::new(),
            body: None,
            timeout: Duration::from_millis(50),
        };
        assert_eq!(exchange(&request).unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn headers_are_joined_and_read_as_latin1() {
        let response = answer(b"HTTP/1.1 200 OK\r\nA: 1\r\nB: \xe4\r\na: 2\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!((response.header("a"), response.header("b"), response.header("c")), (Some("1, 2"), Some("ä"), None));
    }

    #[test]
    fn types_are_compared_in_one_form() {
        assert_eq!(norm_type(" Text/Plain ;  Charset=UTF-8 "), "text/plain;charset=utf-8");
        assert_eq!(norm_type("application/json;charset=UTF-8"), "application/json");
        assert_eq!(norm_type("application/JSON"), "application/json");
        assert_eq!(norm_type("application/octet-stream"), "application/octet-stream");
        assert_ne!(norm_type("text/plain"), norm_type("text/plain;charset=utf-8"));
        assert_eq!(norm_type("a;b ;c; d"), "a;b;c;d");
    }

    #[test]
    fn text_follows_the_charset() {
        let response = |kind: &str, body: &[u8]| Response::new(200, &[("content-type", kind)], body, Duration::ZERO);
        assert_eq!(response("text/plain;charset=UTF-8", "ä".as_bytes()).text(), "ä");
        assert_eq!(response("text/plain", "ä".as_bytes()).text(), "ä");
        assert_eq!(response("text/plain; Charset=ISO-8859-1", b"\xe4").text(), "ä");
        assert_eq!(response("text/plain;charset=UTF-8", b"a\xff").text(), "a\u{fffd}");
    }

    #[test]
    fn addresses() {
        let origin: Origin = "http://127.0.0.1:8848/nacos/".parse().unwrap();
        assert_eq!(origin, Origin { host: "127.0.0.1".to_owned(), port: 8848, prefix: "/nacos".to_owned() });
        let plain: Origin = "http://[::1]".parse().unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.prefix.as_str()), ("::1", 80, ""));
        assert_eq!(plain.authority(), "[::1]");
        assert!("https://a".parse::<Origin>().is_err() && "a:1".parse::<Origin>().is_err());
    }

    #[test]
    fn a_head_without_an_end_is_not_read_for_ever() {
        let endless = vec![b'a'; HEAD_BYTES_MAX as usize + 10];
        assert!(read_head(&mut Cursor::new(endless)).is_err());
    }
}
