//! The parameter filter of Nacos 2.3 and later: lengths and alphabets of keys, before any handler sees them.
//!
//! Source: `common/paramcheck/DefaultParamChecker` and `ParamCheckRule`, 2.4.3. Switched off by
//! `nacos.core.param.check.enabled=false`. The domain rules of each endpoint stand beside its handler.

use super::{Call, Fault};

/// The check of a route: which of its parameters are held to which rule.
pub type Check = fn(&Call) -> Result<(), Fault>;

/// No parameter is checked.
pub fn none(_: &Call) -> Result<(), Fault> {
    Ok(())
}

fn within(name: &str, value: &str, max: usize) -> Result<(), Fault> {
    // Java counts UTF-16 units.
    if value.len() > max && value.encode_utf16().count() > max {
        return Err(Fault::Filtered(format!("Param '{name}' is illegal, the param length should not exceed {max}.")));
    }
    Ok(())
}

fn spelt(name: &str, value: &str, good: impl Fn(char) -> bool) -> Result<(), Fault> {
    if value.chars().all(good) {
        return Ok(());
    }
    Err(Fault::Filtered(format!("Param '{name}' is illegal, illegal characters should not appear in the param.")))
}

/// A namespace id: at most 64 letters, digits, `_` and `-`. Blank passes.
pub fn namespace_id(value: &str) -> Result<(), Fault> {
    if value.trim().is_empty() {
        return Ok(());
    }
    within("namespaceId/tenant", value, 64)?;
    spelt("namespaceId/tenant", value, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// A namespace's name: at most 256, none of `@#$%^&*`. Blank passes.
pub fn namespace_name(value: &str) -> Result<(), Fault> {
    if value.trim().is_empty() {
        return Ok(());
    }
    within("namespaceShowName", value, 256)?;
    spelt("namespaceShowName", value, |c| !"@#$%^&*".contains(c))
}

/// A dataId: at most 256 letters, digits, `-_:.`. Blank passes.
pub fn data_id(value: &str) -> Result<(), Fault> {
    key_part("dataId", value, 256)
}

/// A group: at most 128 letters, digits, `-_:.`. Blank passes.
pub fn group(value: &str) -> Result<(), Fault> {
    key_part("group", value, 128)
}

fn key_part(name: &str, value: &str, max: usize) -> Result<(), Fault> {
    if value.trim().is_empty() {
        return Ok(());
    }
    within(name, value, max)?;
    spelt(name, value, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.'))
}

/// An address: at most 128, no Chinese letters, no blanks. Blank passes.
pub fn ip(value: &str) -> Result<(), Fault> {
    if value.trim().is_empty() {
        return Ok(());
    }
    within("ip", value, 128)?;
    spelt("ip", value, |c| !('\u{4e00}'..='\u{9fa5}').contains(&c) && !c.is_whitespace())
}

/// A service's name without its group: at most 512, no Chinese letters, no blanks, no `@` at the beginning and no `@@`.
/// Blank passes.
pub fn service_name(value: &str) -> Result<(), Fault> {
    if value.trim().is_empty() {
        return Ok(());
    }
    within("serviceName", value, 512)?;
    let separated = value.starts_with('@') || value.contains("@@");
    spelt("serviceName", value, |c| !separated && !('\u{4e00}'..='\u{9fa5}').contains(&c) && !c.is_whitespace())
}

/// A cluster's name: at most 64 letters, digits, `-` and `_`. Blank passes.
pub fn cluster(value: &str) -> Result<(), Fault> {
    if value.trim().is_empty() {
        return Ok(());
    }
    within("cluster", value, 64)?;
    spelt("cluster", value, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// Cluster names with commas between them.
pub fn clusters(value: &str) -> Result<(), Fault> {
    value.split(',').try_for_each(cluster)
}

/// A port: 0 to 65535. Blank passes.
pub fn port(value: &str) -> Result<(), Fault> {
    // Java's parseInt takes a sign.
    if value.trim().is_empty() || value.parse::<i32>().is_ok_and(|port| (0..=65_535).contains(&port)) {
        return Ok(());
    }
    Err(Fault::Filtered("Param 'port' is illegal, the value should be between 0 and 65535.".to_owned()))
}
