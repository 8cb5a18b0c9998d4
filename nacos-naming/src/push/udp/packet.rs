//! The datagram that a 1.x client is sent.

use std::{io::Write, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use nacos_core::key::ServiceKey;
use serde::Serialize;
use tokio::time::Instant;

/// From this length on a datagram is compressed (Nacos `UdpPushService.compressIfNecessary`); clients look for
/// gzip's first two bytes.
const COMPRESSED_FROM: usize = 1024;
/// No datagram is longer: what IPv4 allows. Clients read 64 KiB.
pub const PAYLOAD_MAX: usize = 65_507;

/// What clients are told of one service.
#[derive(Debug, Clone)]
pub struct List<'a> {
    /// The service.
    pub service: &'a ServiceKey,
    /// The clusters that the client asked for, as it wrote them; empty for all.
    pub clusters: &'a str,
    /// The list in JSON, as `GET /v1/ns/instance/list` gives it to this client: named `group@@name`.
    pub json: &'a str,
    /// Whether no instance in it is healthy and of a weight above 0. Only counted (Nacos `ServiceInfo.validate`).
    pub empty: bool,
    /// When the change came up that is told; a push costs the time from then to the client's answer.
    pub since: Instant,
}

/// A datagram, made once for all clients that see the same list.
#[derive(Debug)]
pub struct Packet {
    number: u64,
    payload: Vec<u8>,
    topic: Topic,
    empty: bool,
    since: Instant,
}

/// What a datagram is about: of two about the same, the later one holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Topic {
    service: ServiceKey,
    clusters: Arc<str>,
}

/// What stands in the datagram.
#[derive(Serialize)]
struct Wire<'a> {
    r#type: &'a str,
    data: &'a str,
    #[serde(rename = "lastRefTime")]
    last_ref_time: u64,
}

impl Packet {
    pub(super) fn new(number: u64, list: &List<'_>) -> Self {
        let wire = Wire { r#type: "dom", data: list.json, last_ref_time: number };
        let plain = serde_json::to_vec(&wire).expect("texts and a number can be written");
        let payload = if plain.len() < COMPRESSED_FROM { plain } else { compressed(&plain) };
        let topic = Topic { service: list.service.clone(), clusters: list.clusters.into() };
        Self { number, payload, topic, empty: list.empty, since: list.since }
    }

    /// The number that the client's answer repeats, `lastRefTime`.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The bytes to send; compressed if they were 1,024 or more. Too long to be sent if above [`PAYLOAD_MAX`].
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The service that it tells of.
    pub fn service(&self) -> &ServiceKey {
        &self.topic.service
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::default());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("a vector takes everything")
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// What a client makes of a datagram (1.4 `PushReceiver`, `IoUtils.tryDecompress`): type, list and number.
    pub(in crate::push::udp) fn decode(datagram: &[u8]) -> (String, String, u64) {
        let mut plain = Vec::new();
        if datagram.starts_with(&[0x1f, 0x8b]) {
            GzDecoder::new(datagram).read_to_end(&mut plain).unwrap();
        } else {
            plain.extend_from_slice(datagram);
        }
        let value: Value = serde_json::from_slice(&plain).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        (text("type"), text("data"), value["lastRefTime"].as_u64().unwrap())
    }

    fn packet(number: u64, json: &str) -> Packet {
        let service = ServiceKey::new("public", "g", "s");
        Packet::new(number, &List { service: &service, clusters: "", json, empty: false, since: Instant::now() })
    }

    #[test]
    fn a_short_datagram_is_plain() {
        let packet = packet(5, r#"{"hosts":[]}"#);
        assert_eq!(packet.payload(), br#"{"type":"dom","data":"{\"hosts\":[]}","lastRefTime":5}"#);
    }

    #[test]
    fn it_is_compressed_from_1024_bytes_on() {
        let frame = packet(5, "").payload().len();
        let below = "x".repeat(COMPRESSED_FROM - frame - 1);
        assert_eq!(packet(5, &below).payload().len(), COMPRESSED_FROM - 1);
        let at = below + "x";
        assert!(packet(5, &at).payload().starts_with(&[0x1f, 0x8b]));
        assert_eq!(decode(packet(5, &at).payload()), ("dom".to_owned(), at, 5));
    }

    proptest! {
        #[test]
        fn a_client_reads_what_was_written(
            number in 0_u64..1 << 53,
            piece in any::<String>(),
            times in 0_usize..300,
        ) {
            let json = piece.repeat(times);
            let packet = packet(number, &json);
            prop_assert_eq!(decode(packet.payload()), ("dom".to_owned(), json, number));
        }
    }
}
