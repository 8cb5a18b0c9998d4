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
