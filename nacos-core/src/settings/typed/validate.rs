//! Options that must go together. Each message names both values and where they came from.

use super::{
    super::error::Problem,
    build::{Reader, Typed},
};

/// Adds a problem for each contradiction, and a warning for each that one can live with. Nothing is compared
/// while values are wrong by themselves: what stands in their place would make contradictions up.
pub(super) fn check(typed: &Typed, reader: &mut Reader<'_>, warnings: &mut Vec<String>, wrong: bool) {
    if wrong {
        return;
    }
    let mut clashes = Vec::new();
    open_to_all(typed, reader, &mut clashes);
    bodies(typed, reader, warnings, &mut clashes);
    identity(typed, reader, &mut clashes);
    databases(typed, reader, warnings);
    reader.problems.extend(clashes.into_iter().map(Problem::Clash));
}

/// Nobody is let in from outside by an address alone.
fn open_to_all(typed: &Typed, reader: &Reader<'_>, clashes: &mut Vec<String>) {
    let Some(address) = typed.server.address else { return };
    if !address.is_loopback() && !typed.auth.enabled && !typed.server.allow_unauthenticated {
        clashes.push(format!(
            "{} lets other hosts in while {} lets anyone in: set nacos.server.allow-unauthenticated=true if that is \
             meant",
            reader.shown("server.address"),
            reader.shown("nacos.core.auth.enabled"),
        ));
    }
}

fn bodies(typed: &Typed, reader: &Reader<'_>, warnings: &mut Vec<String>, clashes: &mut Vec<String>) {
    let one = reader.shown("nacos.server.http.max-body-bytes");
    if typed.http.max_bodies_bytes < typed.http.max_body_bytes {
        let all = reader.shown("nacos.server.http.max-bodies-bytes");
        clashes.push(format!("{all} is less than {one}: the largest body could never be read"));
    }
    if u64::try_from(typed.config.max_content).is_ok_and(|content| content > typed.http.max_body_bytes) {
        let content = reader.shown("maxContent");
        warnings.push(format!("{content} is more than {one}: contents of that length do not get in"));
    }
}

fn identity(typed: &Typed, reader: &Reader<'_>, clashes: &mut Vec<String>) {
    const KEY: &str = "nacos.core.auth.server.identity.key";
    const VALUE: &str = "nacos.core.auth.server.identity.value";
    match &typed.auth.peer_identity {
        // HTTP would refuse the header at the first call to a member.
        Some(identity) if http::HeaderName::from_bytes(identity.key.as_bytes()).is_err() => {
            clashes.push(format!("{} cannot be the name of a header", reader.shown(KEY)));
        }
        Some(identity) if http::HeaderValue::from_str(identity.value.expose()).is_err() => {
            clashes.push(format!("{} cannot be the value of a header", reader.shown(VALUE)));
        }
        Some(_) => {}
        None => match (reader.is_set(KEY), reader.is_set(VALUE)) {
            (true, false) => clashes.push(format!("{} is set without {VALUE}", reader.shown(KEY))),
            (false, true) => clashes.push(format!("{} is set without {KEY}", reader.shown(VALUE))),
            _ => {}
        },
    }
}

fn databases(typed: &Typed, reader: &Reader<'_>, warnings: &mut Vec<String>) {
    let (set, used) = (reader.count("db.url"), typed.storage.databases.len());
    if set > used {
        let number = reader.shown("db.num");
        warnings.push(format!("{number}: of {set} values of db.url only the first {used} count"));
    }
}
