//! The parameter filters of this module's routes (Nacos `ConfigDefaultHttpParamExtractor` and its siblings).

use http::StatusCode;
use nacos_core::web::{Call, Fault, check};

use crate::watch::listening::{LINE, WORD, form_decode};

/// Namespace by any of its three names, dataId, group, ip.
pub(super) fn default(call: &Call) -> Result<(), Fault> {
    let first = |name| call.params.first(name);
    let namespace = ["namespaceId", "tenant", "namespace"]
        .into_iter()
        .find_map(|name| first(name).filter(|value| !value.trim().is_empty()));
    check::namespace_id(&namespace.unwrap_or_default())?;
    check::data_id(&first("dataId").unwrap_or_default())?;
    check::group(&first("group").unwrap_or_default())?;
    check::ip(&first("ip").unwrap_or_default())
}

/// As [`default`], but nothing for a request that says `search=blur`, whose values are patterns.
pub(super) fn blur(call: &Call) -> Result<(), Fault> {
    if call.params.first("search").is_some_and(|value| value == "blur") {
        return Ok(());
    }
    let first = |name| call.params.first(name);
    check::namespace_id(&first("tenant").unwrap_or_default())?;
    check::data_id(&first("dataId").unwrap_or_default())?;
    check::group(&first("group").unwrap_or_default())
}

/// The keys of a long poll. What is no line at all is answered with Spring's error, as by the recorded server.
pub(super) fn listener(call: &Call) -> Result<(), Fault> {
    let Some(text) = call.params.first("Listening-Configs").filter(|text| !text.trim().is_empty()) else {
        return Ok(());
    };
    let malformed = || Fault::Outside(StatusCode::INTERNAL_SERVER_ERROR, "invalid probeModify".to_owned());
    let text = form_decode(&text).map_err(|_| malformed())?;
    if text.trim().is_empty() {
        return Ok(());
    }
    for line in java_split(&text, LINE) {
        let words: Vec<&str> = java_split(line, WORD).collect();
        let [data_id, group, rest @ ..] = &words[..] else { return Err(malformed()) };
        if rest.len() > 2 {
            return Err(malformed());
        }
        check::data_id(data_id)?;
        check::group(group)?;
        if let [_, namespace] = rest {
            check::namespace_id(namespace)?;
        }
    }
    Ok(())
}

/// Splits as Java's `String.split` does: empty pieces at the end are left out.
fn java_split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let cut = text.trim_end_matches(separator);
    // A text of separators alone has no pieces; an empty text is one empty piece.
    let none = cut.is_empty() && !text.is_empty();
    cut.split(separator).filter(move |_| !none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_those_of_java() {
        let split = |text| java_split(text, ',').collect::<Vec<_>>();
        assert_eq!(split("a,b,,"), ["a", "b"]);
        assert_eq!(split(",a"), ["", "a"]);
        assert_eq!(split(""), [""]);
        assert!(split(",,").is_empty());
    }
}
