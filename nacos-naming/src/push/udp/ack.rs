//! A client's answer to a datagram.

use serde::{Deserialize, Deserializer, de};

/// An answer is some hundred bytes long; whatever is longer is none.
const LENGTH_MAX: usize = 4096;

/// Of the answer `{"type":"push-ack","lastRefTime":"5","data":""}` the number alone says something; the type is not
/// looked at, as in Nacos 2.4 `UdpConnector.UdpReceiver`.
#[derive(Deserialize)]
struct Ack {
    #[serde(rename = "lastRefTime", deserialize_with = "number_or_text")]
    last_ref_time: u64,
}

/// The number that an answer repeats; `None` if this is no answer.
pub(super) fn number(datagram: &[u8]) -> Option<u64> {
    if datagram.len() > LENGTH_MAX {
        return None;
    }
    // Clients that send their whole buffer fill it up with zeros; Java's `trim` takes them for blanks.
    let blank = |byte: &u8| *byte <= b' ';
    let start = datagram.iter().position(|byte| !blank(byte))?;
    let end = datagram.iter().rposition(|byte| !blank(byte))?;
    serde_json::from_slice::<Ack>(&datagram[start..=end]).ok().map(|ack| ack.last_ref_time)
}

/// Java, Go and C++ clients write the number as a text.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number, or a text of digits")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            text.trim().parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_answers_of_clients_are_read() {
        for text in [
            // Java 1.4 PushReceiver, Go 1.x push_receiver, and one that writes a number
            r#"{"type": "push-ack", "lastRefTime":"1785000000000000", "data":""}"#,
            r#"{"type":"push-ack","lastRefTime":"1785000000000000","data":""}"#,
            r#"{"type":"push-ack","lastRefTime":1785000000000000,"data":""}"#,
            r#"{"lastRefTime":1785000000000000}"#,
            "\t{\"lastRefTime\":1785000000000000}\r\n\0\0\0\0",
        ] {
            assert_eq!(number(text.as_bytes()), Some(1_785_000_000_000_000), "{text}");
        }
    }

    #[test]
    fn the_rest_is_none() {
        let long = format!(r#"{{"lastRefTime":5,"data":"{}"}}"#, "x".repeat(LENGTH_MAX));
        let deep = format!(r#"{{"data":{},"lastRefTime":5}}"#, "[".repeat(2000));
        for text in [
            "",
            "\0\0",
            "{}",
            "5",
            "{\"lastRefTime\":-5}",
            "{\"lastRefTime\":5.5}",
            "{\"lastRefTime\":\"x\"}",
            "{\"lastRefTime\":null}",
            "{\"lastRefTime\":99999999999999999999}",
            "{\"lastRefTime\":5",
            "{\"lastRefTime\":5}x",
            &long,
            &deep,
        ] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_else_it_holds_is_not_looked_at() {
        assert_eq!(number(b"{\"lastRefTime\":5,\"type\":[],\"data\":\"\xff\"}"), Some(5));
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in 0_usize..60) {
            let _ = number(&bytes);
            let near = br#"{"type":"push-ack","lastRefTime":"1785000000000000","data":""}"#;
            let mut near = near[..cut.min(near.len())].to_vec();
            near.extend_from_slice(&bytes);
            let _ = number(&near);
        }
    }
}
