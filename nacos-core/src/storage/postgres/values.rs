//! Values on the wire, in Postgres' binary forms.
//!
//! A parameter is encoded by the type that the server inferred for it, since the columns of a database that was taken
//! over may be narrower than ours. Source: `src/backend/utils/adt` of PostgreSQL (the `*_send` and `*_recv`
//! functions); times count microseconds from 2000-01-01.

use std::sync::Arc;

use sqlx::{
    Column as _, Encode, Postgres, Row as _, Type, TypeInfo as _, ValueRef as _,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgRow, PgTypeInfo},
};

use super::super::{StorageError, Value};

/// 2000-01-01 in milliseconds since 1970.
const EPOCH_MS: i64 = 946_684_800_000;

const BOOL: u32 = 16;
const NAME: u32 = 19;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const NUMERIC: u32 = 1700;
const UNKNOWN: u32 = 705;

fn oid(info: &PgTypeInfo) -> u32 {
    info.oid().map_or(0, |oid| oid.0)
}

/// The type of a parameter as a cast names it; `None` for one that no [`Value`] has.
pub(super) fn cast(info: &PgTypeInfo) -> Option<&'static str> {
    Some(match oid(info) {
        INT8 => "bigint",
        INT4 => "integer",
        INT2 => "smallint",
        BOOL => "boolean",
        TEXT | VARCHAR | BPCHAR | NAME | UNKNOWN => "text",
        TIMESTAMP => "timestamp",
        TIMESTAMPTZ => "timestamptz",
        _ => return None,
    })
}

/// A value for a parameter of a known type.
pub(super) struct Bound<'a> {
    value: &'a Value,
    oid: u32,
}

impl<'a> Bound<'a> {
    /// # Errors
    /// [`StorageError::Refused`] where the type has no place for the value.
    pub(super) fn new(value: &'a Value, info: &PgTypeInfo) -> Result<Self, StorageError> {
        let oid = oid(info);
        let fits = match (value, oid) {
            (Value::Null, _) => true,
            (Value::Text(text), TEXT | VARCHAR | BPCHAR | NAME | UNKNOWN) => !text.contains('\0'),
            (Value::Int(_) | Value::Time(_), INT8 | TIMESTAMP | TIMESTAMPTZ) => true,
            (Value::Int(n), INT4) => i32::try_from(*n).is_ok(),
            (Value::Int(n), INT2) => i16::try_from(*n).is_ok(),
            (Value::Int(n), BOOL) => matches!(n, 0 | 1),
            _ => false,
        };
        if fits {
            return Ok(Self { value, oid });
        }
        let what = match value {
            Value::Text(text) if text.contains('\0') => "a text with U+0000".to_owned(),
            Value::Text(_) => "a text".to_owned(),
            Value::Int(n) => format!("the number {n}"),
            Value::Time(_) => "a time".to_owned(),
            Value::Null => "nothing".to_owned(),
        };
        Err(StorageError::Refused(format!("{what} does not fit {}", info.name())))
    }
}

impl Type<Postgres> for Bound<'_> {
    // The statement is prepared already: what stands here is not sent.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("text")
    }
}

impl Encode<'_, Postgres> for Bound<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match (self.value, self.oid) {
            (Value::Null, _) => return Ok(IsNull::Yes),
            (Value::Text(text), _) => buffer.extend_from_slice(text.as_bytes()),
            (Value::Int(n), INT4) => buffer.extend_from_slice(&(*n as i32).to_be_bytes()),
            (Value::Int(n), INT2) => buffer.extend_from_slice(&(*n as i16).to_be_bytes()),
            (Value::Int(n), BOOL) => buffer.push(*n as u8),
            (Value::Int(n) | Value::Time(n), TIMESTAMP | TIMESTAMPTZ) => {
                let micros = n.saturating_sub(EPOCH_MS).saturating_mul(1000);
                buffer.extend_from_slice(&micros.to_be_bytes());
            }
            (Value::Int(n) | Value::Time(n), _) => buffer.extend_from_slice(&n.to_be_bytes()),
        }
        Ok(IsNull::No)
    }
}

/// The values of a row, in the order of its columns.
pub(super) fn read(row: &PgRow) -> Result<Vec<Value>, StorageError> {
    (0..row.len())
        .map(|at| {
            let strange = |what: &dyn std::fmt::Display| {
                StorageError::Refused(format!("column {} is not readable: {what}", row.column(at).name()))
            };
            let raw = row.try_get_raw(at).map_err(|error| strange(&error))?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            let oid = oid(raw.type_info().as_ref());
            let bytes = raw.as_bytes().map_err(|error| strange(&error))?;
            value(oid, bytes).ok_or_else(|| strange(&format!("its type is {oid}")))
        })
        .collect()
}

fn value(oid: u32, bytes: &[u8]) -> Option<Value> {
    Some(match oid {
        INT8 => Value::Int(i64::from_be_bytes(bytes.try_into().ok()?)),
        INT4 => Value::Int(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        INT2 => Value::Int(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        BOOL => Value::Int(i64::from(*bytes.first()? != 0)),
        TEXT | VARCHAR | NAME | UNKNOWN => Value::Text(Arc::from(std::str::from_utf8(bytes).ok()?)),
        // Padded with blanks that mean nothing.
        BPCHAR => Value::Text(Arc::from(std::str::from_utf8(bytes).ok()?.trim_end_matches(' '))),
        TIMESTAMP | TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?);
            Value::Time(micros.div_euclid(1000).checked_add(EPOCH_MS)?)
        }
        NUMERIC => Value::Int(whole_number(bytes)?),
        _ => return None,
    })
}

/// A `numeric` without decimals: the sum of 64-bit integers is one.
fn whole_number(bytes: &[u8]) -> Option<i64> {
    let mut words = bytes.chunks_exact(2).map(|word| i16::from_be_bytes([word[0], word[1]]));
    let (digits, weight, sign, _scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let mut number: i128 = 0;
    for at in 0..=weight {
        let digit = if at < digits { i128::from(words.next()?) } else { 0 };
        number = number.checked_mul(10_000)?.checked_add(digit)?;
    }
    let negative = sign == 0x4000;
    // What is left of the digits stands behind the point.
    if words.any(|digit| digit != 0) {
        return None;
    }
    i64::try_from(if negative { -number } else { number }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_integers() {
        let numeric = |words: &[i16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        for (words, expected) in [
            (&[0, 0, 0, 0][..], Some(0)),
            (&[1, 0, 0, 0, 42], Some(42)),
            (&[1, 1, 0, 0, 7], Some(70_000)),
            (&[2, 1, 0x4000, 0, 1, 2], Some(-10_002)),
            (&[5, 4, 0, 0, 922, 3372, 368, 5477, 5807], Some(i64::MAX)),
            (&[5, 4, 0, 0, 9220, 3372, 368, 5477, 5808], None),
            (&[1, -1, 0, 1, 5000], None),
        ] {
            assert_eq!(whole_number(&numeric(words)), expected, "{words:?}");
        }
    }
}
