//! What may be answered to bad input.

use crate::support::Answer;

/// Every answer of status 500 and above that bad input may have, by a piece of its text, and why: Nacos 2.4.3 answers
/// so. Any other is a fault of this server.
const NACOS_FAULTS: &[(u16, &str, &str)] = &[
    (501, "no such api:", "recorded v1-naming-operator/unknown-path: a path or method that /v1/ns does not have"),
    (500, "ErrMsg:metadata format incorrect:", "recorded v1-naming-bad-input/register-metadata-not-json"),
    (
        500,
        "Nacos deserialize failed",
        "recorded v1-naming-beat/beat-not-json, v1-naming-metadata-batch/instances-not-json",
    ),
    (500, "Selector parses failed: ", "recorded v1-naming-service/create-label-selector-bad-expression"),
    (
        500,
        "caused: For input string: ",
        "v1: numbers that Spring binds; recorded v1-naming-catalog/services-page-not-a-number",
    ),
    (500, "caused: health checker not understood: ", "v1: JSON of a checker that Jackson does not read"),
    (500, "caused: Index ", "v1: a switch whose value has too few parts, where Nacos reads past their end"),
    (500, "\"code\":30000,\"message\":\"For input string: ", "v2: a number that is none; recorded v2-naming-instance"),
    (
        500,
        "\"code\":30000,\"message\":\"Invalid boolean value ",
        "v2: a truth value that is none; recorded v2-naming-instance",
    ),
    (500, "\"code\":30000,\"message\":\"Index ", "v2: as in v1, a switch whose value has too few parts"),
    (500, "\"code\":30000,\"message\":\"server error\"", "v2: a switch's value; recorded v2-naming-client-operator"),
    (500, "caused: Request method &#39;", "v2 and Prometheus: a method that the path does not have"),
    (500, "Failed to parse multipart servlet request", "a body that says it is multipart, and is not"),
];

pub(crate) fn is_allowed(answer: &Answer) -> bool {
    let text = answer.text();
    answer.status < 500
        || NACOS_FAULTS.iter().any(|(status, piece, _)| answer.status == *status && text.contains(piece))
}

/// Whether the answer says that nothing was done. v2 says so in an envelope; a heartbeat that was not known has a code
/// of its own.
pub(crate) fn is_refusal(answer: &Answer) -> bool {
    if answer.status >= 400 {
        return true;
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&answer.body) else { return false };
    value["code"].as_i64().is_some_and(|code| !matches!(code, 0 | 200 | 10_200))
}
