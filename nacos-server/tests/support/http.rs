//! A minimal HTTP/1.1 client over one connection, which keeps it alive as long as the server does.

use std::{borrow::Cow, io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::LONG;

/// One request, put together piece by piece. Its path lies below the context path.
#[derive(Clone)]
pub struct Request {
    method: Cow<'static, str>,
    path: String,
    query: Vec<u8>,
    headers: Vec<(Cow<'static, str>, Vec<u8>)>,
    form: Vec<u8>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub fn new(method: impl Into<Cow<'static, str>>, path: &str) -> Self {
        let (method, path) = (method.into(), path.to_owned());
        Self { method, path, query: Vec::new(), headers: Vec::new(), form: Vec::new(), body: None }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// A parameter in the query.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        join(&mut self.query, encode(name).as_bytes(), encode(value).as_bytes());
        self
    }

    /// A parameter in the form.
    pub fn form(mut self, name: &str, value: &str) -> Self {
        join(&mut self.form, encode(name).as_bytes(), encode(value).as_bytes());
        self
    }

    /// A parameter in the query or the form, whose name and value are sent as they are.
    pub fn raw_parameter(mut self, in_form: bool, name: &[u8], value: &[u8]) -> Self {
        join(if in_form { &mut self.form } else { &mut self.query }, name, value);
        self
    }

    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// A body that is no form.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", content_type)
    }

    /// A `multipart/form-data` body with one file.
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.form_data(&[], name, content)
    }

    /// A `multipart/form-data` body with texts before one file.
    pub fn form_data(self, texts: &[(&str, &str)], name: &str, content: &[u8]) -> Self {
        let mut body = Vec::new();
        for (name, text) in texts {
            let part = format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
            body.extend_from_slice(part.as_bytes());
        }
        let head = format!(
            "--cut\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n--cut--\r\n");
        self.body("multipart/form-data; boundary=cut", body)
    }

    /// The bytes to send.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} /nacos{}", self.method, self.path).into_bytes();
        if !self.query.is_empty() {
            out.push(b'?');
            out.extend_from_slice(&self.query);
        }
        out.extend_from_slice(b" HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        let body = self.body.as_ref().unwrap_or(&self.form);
        if self.body.is_none() && !self.form.is_empty() {
            out.extend_from_slice(b"Content-Type: application/x-www-form-urlencoded\r\n");
        }
        if !body.is_empty() || !matches!(&*self.method, "GET" | "HEAD") {
            out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        out
    }

    fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// Shows the bytes that are sent, in brief.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.bytes();
        write!(f, "{:?} ({} bytes)", String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]), bytes.len())
    }
}

fn join(to: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !to.is_empty() {
        to.push(b'&');
    }
    to.extend_from_slice(name);
    to.push(b'=');
    to.extend_from_slice(value);
}

/// Urlencodes a text; only what needs no escape anywhere stays as it is.
pub fn encode(text: &str) -> String {
    encode_bytes(text.as_bytes())
}

/// Urlencodes bytes.
pub fn encode_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'*' => out.push(*byte as char),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// One answer, read whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name, written in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The server closes the connection after this answer, and says so.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The same, if its status is 200.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.status, 200, "{self:?}");
        self
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(2000).collect();
        write!(f, "{} {:?} {text:?} ({} bytes)", self.status, self.headers, self.body.len())
    }
}

/// One connection at a time; opens the next when the server has closed it after an answer that said so.
pub struct Client {
    addr: SocketAddr,
    open: Option<Connection>,
}

impl Client {
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, open: None }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends and waits for the answer. An error means that the server broke the connection without one.
    pub async fn try_ask(&mut self, request: &Request) -> io::Result<Answer> {
        let mut connection = match self.open.take() {
            Some(connection) => connection,
            None => Connection::open(self.addr).await?,
        };
        connection.send(&request.bytes()).await?;
        let answer = connection.receive(request.is_head()).await?;
        if !answer.closes() {
            self.open = Some(connection);
        }
        Ok(answer)
    }

    #[track_caller]
    pub fn ask(&mut self, request: Request) -> impl Future<Output = Answer> + '_ {
        let caller = std::panic::Location::caller();
        async move { self.try_ask(&request).await.unwrap_or_else(|error| panic!("{error} to {request:?} at {caller}")) }
    }
}

/// One connection, on which anything can be sent.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub async fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        tokio::time::timeout(LONG, self.stream.write_all(bytes)).await.unwrap_or_else(|_| Err(late("to be read")))
    }

    /// Ends the sending half.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// The next answer; `to_head` if the request was a HEAD, whose answer has no body.
    pub async fn receive(&mut self, to_head: bool) -> io::Result<Answer> {
        tokio::time::timeout(LONG, self.receive_whole(to_head)).await.unwrap_or_else(|_| Err(late("an answer")))
    }

    /// All that comes until the server closes the connection, well or not.
    pub async fn rest(&mut self) -> Vec<u8> {
        let all = async { while self.more().await.unwrap_or(0) > 0 {} };
        tokio::time::timeout(LONG, all).await.expect("the connection to be closed");
        std::mem::take(&mut self.read)
    }

    async fn receive_whole(&mut self, to_head: bool) -> io::Result<Answer> {
        let (status, headers) = loop {
            let Some(end) = find(&self.read, b"\r\n\r\n") else {
                self.must_have_more().await?;
                continue;
            };
            let head: Vec<u8> = self.read.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).into_owned();
            let mut lines = head.split("\r\n");
            let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
            let status: u16 = status.ok_or_else(|| wrong(&head))?;
            let fields = lines.filter_map(|line| line.split_once(':'));
            let headers: Vec<_> =
                fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
            if status != 100 {
                break (status, headers);
            }
        };
        let named = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        if named("transfer-encoding").is_some() {
            // Every answer of this server is made before it is sent.
            return Err(wrong("a chunked answer"));
        }
        let length = match named("content-length") {
            Some(length) => length.parse().map_err(|_| wrong(length))?,
            None => 0,
        };
        let length = if to_head { 0 } else { length };
        while self.read.len() < length {
            self.must_have_more().await?;
        }
        let body = self.read.drain(..length).collect();
        Ok(Answer { status, headers, body })
    }

    async fn must_have_more(&mut self) -> io::Result<()> {
        match self.more().await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer")),
            _ => Ok(()),
        }
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.read).await
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("waited in vain for {what}"))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no answer of HTTP: {what}"))
}
