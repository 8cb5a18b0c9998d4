//! An address of ours in front of servers: each request goes where it is sent, and can be noted on its way.
//!
//! For two servers that share their data, changes go to the first and all else to the second: so a client that
//! publishes, reads and listens as ever is told by the second server of what the first was told. Each connection
//! serves one request: the servers are asked to close after their answer.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// The largest head that is passed on; a server refuses it before.
const HEAD_MAX: u64 = 4 << 20;
/// Longer than any answer takes, a held poll too.
const SILENCE: Duration = Duration::from_secs(120);

/// One address for two servers: what asks for a change goes to the first, all else to the second.
///
/// # Errors
/// As [`forward`].
pub fn open(changes: SocketAddr, rest: SocketAddr) -> Result<SocketAddr> {
    forward(move |head| if head.changes() { changes } else { rest }, |_| ())
}

/// Listens on a free port of loopback until this process ends, and gives the address. Each request goes to the server
/// that `to` names; once its answer was passed on, `answered` is told.
///
/// # Errors
/// There is no port.
pub fn forward(
    to: impl Fn(&Head) -> SocketAddr + Send + Sync + 'static,
    answered: impl Fn(&Head) + Send + Sync + 'static,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("bind the gateway")?;
    let address = listener.local_addr()?;
    let both = Arc::new((to, answered));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let both = both.clone();
            // A client or a server that is gone is the other one's to notice.
            thread::spawn(move || pass(client, &both.0, &both.1));
        }
    });
    Ok(address)
}

fn pass(mut client: TcpStream, to: &impl Fn(&Head) -> SocketAddr, answered: &impl Fn(&Head)) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let Some(head) = Head::read(&mut reader)? else { return Ok(()) };
    let server = TcpStream::connect(to(&head))?;
    server.set_read_timeout(Some(SILENCE))?;
    let mut sending = server.try_clone()?;
    let (bytes, body) = (head.bytes.clone(), head.body);
    // A server may answer, and close, before it has read the whole.
    let sent = thread::spawn(move || -> io::Result<()> {
        sending.write_all(&bytes)?;
        io::copy(&mut reader.take(body), &mut sending).map(drop)
    });
    io::copy(&mut &server, &mut client)?;
    answered(&head);
    // Whoever still sends is to stop.
    client.shutdown(std::net::Shutdown::Both)?;
    sent.join().unwrap_or(Ok(()))
}

/// The head of a request.
pub struct Head {
    /// Its method.
    pub method: String,
    /// What it asks for, without parameters.
    pub path: String,
    /// As it goes to the server.
    bytes: Vec<u8>,
    /// Bytes of body behind it.
    body: u64,
}

impl Head {
    /// Whether it asks for a change.
    fn changes(&self) -> bool {
        self.method != "GET" && !self.path.ends_with("/listener")
    }

    /// Reads one; `None` where there is none.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut reader = reader.take(HEAD_MAX);
        let mut head = Self { method: String::new(), path: String::new(), bytes: Vec::new(), body: 0 };
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if head.bytes.is_empty() {
                let mut words = text.split(' ');
                head.method = words.next().unwrap_or_default().to_owned();
                let target = words.next().unwrap_or_default();
                head.path = target.split('?').next().unwrap_or_default().to_owned();
            } else if text.is_empty() {
                head.bytes.extend_from_slice(b"Connection: close\r\n\r\n");
                return Ok(Some(head));
            } else if let Some((name, value)) = text.split_once(':') {
                if name.eq_ignore_ascii_case("connection") {
                    continue;
                }
                if name.eq_ignore_ascii_case("content-length") {
                    head.body = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
                }
            }
            head.bytes.extend_from_slice(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every request with its name and what it was sent.
    fn serve(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let head = Head::read(&mut reader).unwrap().unwrap();
                let mut body = vec![0; head.body as usize];
                reader.read_exact(&mut body).unwrap();
                let line = String::from_utf8_lossy(&head.bytes).lines().next().unwrap_or_default().to_owned();
                let answer = format!("{name}: {line} {}", String::from_utf8_lossy(&body));
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn changes_go_to_the_first_and_all_else_to_the_second() {
        let gateway = open(serve("first"), serve("second")).unwrap();
        let ask = |request: &str| {
            let mut stream = TcpStream::connect(gateway).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let with_body = |line: &str| ask(&format!("{line}\r\nConnection: keep-alive\r\ncontent-length: 3\r\n\r\na=b"));
        assert_eq!(with_body("POST /configs HTTP/1.1"), "first: POST /configs HTTP/1.1 a=b");
        assert_eq!(with_body("POST /configs/listener?a HTTP/1.1"), "second: POST /configs/listener?a HTTP/1.1 a=b");
        assert_eq!(ask("DELETE /configs?a HTTP/1.1\r\n\r\n"), "first: DELETE /configs?a HTTP/1.1 ");
        assert_eq!(ask("GET /configs HTTP/1.1\r\nConnection: x\r\n\r\n"), "second: GET /configs HTTP/1.1 ");
    }
}
