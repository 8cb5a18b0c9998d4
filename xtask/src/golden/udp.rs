//! A port for the pushes that 1.x clients receive over UDP; acknowledges each as they do.

use std::{
    io::{self, Read as _},
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::value::{Object, Value};

/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// The largest packet after decompression.
const PACKET_BYTES_MAX: u64 = 16 << 20;

/// An open port of 127.0.0.1.
pub struct Receiver {
    socket: UdpSocket,
    /// Its number.
    pub port: u16,
}

impl Receiver {
    /// Opens a port that is free.
    pub fn open() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let port = socket.local_addr()?.port();
        Ok(Self { socket, port })
    }

    /// The next packet, acknowledged; `None` if none came before `end`.
    pub fn receive(&self, end: Instant) -> Result<Option<Value>> {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(10));
        self.socket.set_read_timeout(Some(left))?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let (size, peer) = match self.socket.recv_from(&mut buffer) {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            other => other?,
        };
        let packet = unpack(&buffer[..size])?;
        let time = packet.as_object().and_then(|packet| packet.get("lastRefTime")).unwrap_or(&Value::Null);
        let mut answer = Object::default();
        answer.set("type".to_owned(), Value::from("push-ack"));
        answer.set("lastRefTime".to_owned(), time.clone());
        answer.set("data".to_owned(), Value::from(""));
        self.socket.send_to(Value::Object(answer).to_string().as_bytes(), peer)?;
        Ok(Some(packet))
    }
}

/// The JSON of a datagram, which may be compressed.
fn unpack(datagram: &[u8]) -> Result<Value> {
    if datagram.starts_with(b"\x1f\x8b") {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(datagram).take(PACKET_BYTES_MAX).read_to_end(&mut bytes).context("datagram")?;
        return serde_json::from_slice(&bytes).context("compressed datagram");
    }
    serde_json::from_slice(datagram).context("datagram")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// What the receiver makes of a datagram, and what it answers.
    fn push(datagram: &[u8]) -> (Result<Option<Value>>, Option<String>) {
        let receiver = Receiver::open().unwrap();
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        server.send_to(datagram, ("127.0.0.1", receiver.port)).unwrap();
        let packet = receiver.receive(Instant::now() + Duration::from_secs(5));
        let mut buffer = [0; 1024];
        let answer = packet.is_ok().then(|| server.recv(&mut buffer).unwrap());
        (packet, answer.map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned()))
    }

    #[test]
    fn acknowledges_what_it_receives() {
        let json = b"{\"type\": \"dom\", \"lastRefTime\": 17, \"data\": \"{}\"}";
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(json).unwrap();
        for datagram in [json.to_vec(), encoder.finish().unwrap()] {
            let (packet, answer) = push(&datagram);
            assert_eq!(packet.unwrap().unwrap().to_string(), String::from_utf8_lossy(json));
            assert_eq!(answer.unwrap(), "{\"type\": \"push-ack\", \"lastRefTime\": 17, \"data\": \"\"}");
        }
        assert_eq!(push(b"{}").1.unwrap(), "{\"type\": \"push-ack\", \"lastRefTime\": null, \"data\": \"\"}");
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        assert!(push(b"\x1f\x8bnot gzip").0.is_err());
        assert!(push(b"text").0.is_err());
    }

    #[test]
    fn silence_is_nothing() {
        let receiver = Receiver::open().unwrap();
        assert!(receiver.receive(Instant::now()).unwrap().is_none());
    }
}
