//! `nacos_core::web::Params`: the parameters of a request. The input's first line is the query, the rest the form.

use bytes::Bytes;
use http::uri::PathAndQuery;
use nacos_core::web::Params;

/// As many names are asked for, since each costs a pass over all parameters.
const NAMES_ASKED: usize = 16;

/// Compares the parser with a naive one, on all names and values and on each way of asking for them.
pub fn run(data: &[u8]) {
    let (query, form) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (&b""[..], data),
    };
    let target = PathAndQuery::try_from([b"/path?", query].concat()).ok();
    let query = target.as_ref().and_then(PathAndQuery::query).unwrap_or_default();
    let expected: Vec<(String, String)> = naive(query.as_bytes()).into_iter().chain(naive(form)).collect();

    let params = Params::new(target.clone(), Bytes::copy_from_slice(form));
    let pairs: Vec<(String, String)> =
        params.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    assert_eq!(pairs, expected[..expected.len().min(nacos_core::web::PARAMS_MAX)]);

    // A name that is no UTF-8 is listed, but nobody can ask for it.
    let names = pairs.iter().map(|(name, _)| &**name).filter(|name| !name.contains('\u{fffd}'));
    for name in names.take(NAMES_ASKED).chain(["absent \u{0} name"]) {
        let values: Vec<&str> = pairs.iter().filter(|pair| pair.0 == name).map(|pair| &*pair.1).collect();
        assert!(params.values(name).eq(values.iter().copied()), "values of {name:?}");
        assert_eq!(params.first(name).as_deref(), values.first().copied(), "first of {name:?}");
        let joined = (!values.is_empty()).then(|| values.join(","));
        assert_eq!(params.joined(name).as_deref(), joined.as_deref(), "joined of {name:?}");
    }
}

/// Names and values of one part, read a byte at a time.
fn naive(part: &[u8]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for piece in part.split(|byte| *byte == b'&') {
        let mut halves = piece.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default();
        let value = halves.next().unwrap_or_default();
        if !name.is_empty() {
            pairs.push((decoded(name), decoded(value)));
        }
    }
    pairs
}

fn decoded(raw: &[u8]) -> String {
    let hex = |byte: &u8| (*byte as char).to_digit(16).map(|digit| digit as u8);
    let mut bytes = Vec::new();
    let mut rest = raw;
    while let [first, after @ ..] = rest {
        (bytes, rest) = match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                bytes.push(hex(high).unwrap_or(0) << 4 | hex(low).unwrap_or(0));
                (bytes, after)
            }
            (b'+', _) => {
                bytes.push(b' ');
                (bytes, after)
            }
            _ => {
                bytes.push(*first);
                (bytes, after)
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
