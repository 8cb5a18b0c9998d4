//! Many batches in one trip: batches of the same statements run as one function of the session.
//!
//! A publish is four statements; sent one by one, most of its time is trips between here and the server. The first
//! batch of a kind makes a function (in `pg_temp`, so it goes with the session) that runs any number of such batches,
//! each in a savepoint of its own, and tells what became of each. Arguments travel as one array of texts and are cast
//! to the types that the server infers for them.

use std::{collections::HashMap, fmt::Write as _};

use sqlx::{Executor as _, Statement as _, postgres::PgConnection};

use super::{
    super::{Batch, StatementDef, StorageError, Value},
    connect::{Failure, meaning_of},
    dialect::{Mark, Numbered, translated},
    values,
};

/// A batch of more statements is sent one by one.
const STATEMENTS_MAX: usize = 24;
/// Kinds of batches that have a function; further ones are sent statement by statement.
const FUNCTIONS_MAX: usize = 64;
/// Times that are computed exactly: up to the year 2255.
const TIMES: std::ops::Range<i64> = -9_000_000_000_000..9_000_000_000_000;
/// SQLSTATE of a demand that was not met; the message is the statement's number.
const UNMET: &str = "NC001";

/// The statements of a batch, which of them must touch a row, and how many arguments each has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind(Vec<(&'static str, u16, bool, usize)>);

impl Kind {
    /// `None` for a batch that is better sent one by one.
    pub(super) fn of(batch: &Batch) -> Option<Self> {
        let statements = &batch.statements;
        let fits = statements.len() <= STATEMENTS_MAX
            && statements.iter().any(|statement| !statement.args.is_empty())
            && statements.iter().flat_map(|statement| &statement.args).all(is_sendable);
        let kind =
            || statements.iter().map(|one| (one.def.id, one.def.version, one.must_touch, one.args.len())).collect();
        fits.then(|| Self(kind()))
    }
}

/// What Postgres has no place for is refused with the words of the other way.
fn is_sendable(value: &Value) -> bool {
    match value {
        Value::Text(text) => !text.contains('\0'),
        Value::Time(time) => TIMES.contains(time),
        Value::Null | Value::Int(_) => true,
    }
}

/// The functions of one session.
#[derive(Default)]
pub(super) struct Functions(HashMap<Kind, Option<String>>);

impl Functions {
    /// Makes the function for batches of this kind unless it is there. Not within a transaction, which could take it
    /// away again. Where none can be made the batches go the other way.
    pub(super) async fn prepare(&mut self, conn: &mut PgConnection, kind: &Kind, batch: &Batch) -> Result<(), Failure> {
        if self.0.contains_key(kind) || self.0.len() >= FUNCTIONS_MAX {
            return Ok(());
        }
        let name = format!("pg_temp.nacos_batch_{}", self.0.len());
        let made = async {
            let body = body(conn, batch).await?;
            let sql = format!(
                "CREATE FUNCTION {name} (nacos_rows text[]) RETURNS text[] LANGUAGE plpgsql AS $nacos${body}$nacos$"
            );
            Ok(conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.map(drop)?)
        };
        match made.await {
            Ok(()) => self.0.insert(kind.clone(), Some(name)),
            Err(Failure::Statement(error)) => {
                tracing::debug!(%error, ?kind, "no function for batches of this kind");
                self.0.insert(kind.clone(), None)
            }
            Err(failure) => return Err(failure),
        };
        Ok(())
    }

    /// The function for batches of this kind, if there is one.
    pub(super) fn name(&self, kind: &Kind) -> Option<&str> {
        self.0.get(kind)?.as_deref()
    }
}

/// Runs batches of one kind by their function.
pub(super) async fn run(
    conn: &mut PgConnection,
    name: &str,
    batches: &[&Batch],
) -> Result<Vec<Result<Vec<u64>, StorageError>>, Failure> {
    let sql = format!("SELECT {name}($1::text[])");
    let call = sqlx::query_scalar::<_, Vec<String>>(sqlx::AssertSqlSafe(sql)).bind(rows(batches));
    let answers = call.fetch_one(conn).await?;
    if answers.len() != batches.len() {
        return Err(Failure::Session("fewer answers than batches".to_owned()));
    }
    Ok(answers.iter().map(|one| outcome(one)).collect())
}

/// An array of arrays of texts, as Postgres reads it: sqlx has arrays of one dimension alone.
fn rows(batches: &[&Batch]) -> String {
    let bytes = |batch: &&Batch| -> usize {
        let args = batch.statements.iter().flat_map(|statement| &statement.args);
        args.map(|value| value.as_text().map_or(24, |text| text.len() + 8)).sum()
    };
    let mut out = String::with_capacity(batches.iter().map(bytes).sum());
    out.push('{');
    for (at, batch) in batches.iter().enumerate() {
        out.push_str(if at == 0 { "{" } else { ",{" });
        let mut first = true;
        for value in batch.statements.iter().flat_map(|statement| &statement.args) {
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            match value {
                Value::Null => out.push_str("NULL"),
                Value::Int(number) | Value::Time(number) => {
                    let _ = write!(out, "{number}");
                }
                Value::Text(text) => {
                    out.push('"');
                    let mut rest: &str = text;
                    while let Some(at) = rest.find(['"', '\\']) {
                        out.push_str(&rest[..at]);
                        out.push('\\');
                        out.push_str(&rest[at..=at]);
                        rest = &rest[at + 1..];
                    }
                    out.push_str(rest);
                    out.push('"');
                }
            }
        }
        out.push('}');
    }
    out.push('}');
    out
}

/// A parameter as an element of the array, cast.
struct Element<'a> {
    /// Arguments of the statements before.
    before: usize,
    casts: &'a [&'static str],
}

impl Mark for Element<'_> {
    fn write(&self, number: usize, out: &mut String) {
        let at = self.before + number;
        // A statement's parameters were counted when it was prepared.
        let cast = self.casts.get(number - 1).copied().unwrap_or("text");
        let element = format!("nacos_row[{at}]");
        // Times from the year 1 to 2255: so far a double, as which Postgres multiplies intervals, counts microseconds.
        let span =
            || format!("least(greatest({element}::bigint, -62135596800000), 9007199254740) * interval '1 millisecond'");
        let _ = match cast {
            "timestamp" => write!(out, "(timestamp '1970-01-01' + {})", span()),
            "timestamptz" => write!(out, "(timestamptz '1970-01-01 00:00:00+00' + {})", span()),
            "boolean" => write!(out, "({element}::bigint <> 0)"),
            cast => write!(out, "{element}::{cast}"),
        };
    }
}

async fn body(conn: &mut PgConnection, batch: &Batch) -> Result<String, Failure> {
    let mut statements = String::new();
    let mut before = 0;
    for (index, statement) in batch.statements.iter().enumerate() {
        let casts = casts(conn, statement.def).await?;
        if casts.len() != statement.args.len() {
            let told = "more or fewer arguments than parameters".to_owned();
            return Err(Failure::Statement(StorageError::Refused(told)));
        }
        let sql = translated(statement.def.sql, &Element { before, casts: &casts });
        before += casts.len();
        let _ = writeln!(statements, "{sql};\nGET DIAGNOSTICS nacos_count = ROW_COUNT;");
        if statement.must_touch {
            let _ = writeln!(
                statements,
                "IF nacos_count = 0 THEN RAISE EXCEPTION '{index}' USING ERRCODE = '{UNMET}'; END IF;"
            );
        }
        statements.push_str("nacos_done := nacos_done || ' ' || nacos_count;\n");
    }
    Ok(format!(
        "
#variable_conflict use_column
DECLARE nacos_row text[]; nacos_count bigint; nacos_done text; nacos_answers text[] := '{{}}';
BEGIN
FOREACH nacos_row SLICE 1 IN ARRAY nacos_rows LOOP
BEGIN
nacos_done := '';
{statements}nacos_answers := array_append(nacos_answers, nacos_done);
EXCEPTION
WHEN serialization_failure OR deadlock_detected THEN RAISE;
WHEN OTHERS THEN nacos_answers := array_append(nacos_answers, 'E' || SQLSTATE || SQLERRM);
END;
END LOOP;
RETURN nacos_answers;
END
"
    ))
}

/// The types that the server infers for a statement's parameters, as casts.
async fn casts(conn: &mut PgConnection, def: &StatementDef) -> Result<Vec<&'static str>, Failure> {
    let sql = translated(def.sql, &Numbered);
    let prepared = conn.prepare(sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(sql))).await?;
    let types = prepared.parameters().and_then(|either| either.left()).unwrap_or_default();
    let unknown = |info| Failure::Statement(StorageError::Refused(format!("no cast to {info}")));
    types.iter().map(|info| values::cast(info).ok_or_else(|| unknown(info))).collect()
}

/// What became of a batch: the rows of each statement, or an error.
fn outcome(answer: &str) -> Result<Vec<u64>, StorageError> {
    let strange = || StorageError::Refused(format!("a strange answer: {answer}"));
    if let Some(error) = answer.strip_prefix('E') {
        let (code, told) = error.split_at_checked(5).ok_or_else(strange)?;
        if code == UNMET {
            return Err(told.parse().map_or_else(|_| strange(), StorageError::DemandUnmet));
        }
        return Err(match meaning_of(code, told.to_owned()) {
            Failure::Statement(error) => error,
            Failure::Collision(told) | Failure::Session(told) => StorageError::Unavailable(told),
        });
    }
    answer.split_whitespace().map(|count| count.parse().map_err(|_| strange())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static WRITE: StatementDef = StatementDef { id: "test.write", version: 1, sql: "UPDATE t SET a = ?1, b = ?2" };

    #[test]
    fn arguments_are_written_as_postgres_reads_arrays() {
        let batch = |a: &str, b: Option<i64>| {
            Batch::from(vec![WRITE.with([a.into(), b.into()]), WRITE.with([Value::Time(5), "NULL".into()])])
        };
        let batches = [batch("it's \"a\\b\" {,}", Some(-1)), batch("", None)];
        assert_eq!(
            rows(&batches.iter().collect::<Vec<_>>()),
            r#"{{"it's \"a\\b\" {,}",-1,5,"NULL"},{"",NULL,5,"NULL"}}"#
        );
    }

    #[test]
    fn parameters_become_elements() {
        let sql = translated("a = ?1 AND t < ?2 AND f = ?1", &Element { before: 3, casts: &["bigint", "timestamp"] });
        assert_eq!(
            sql,
            "a = nacos_row[4]::bigint AND t < (timestamp '1970-01-01' + least(greatest(nacos_row[5]::bigint, \
             -62135596800000), 9007199254740) * interval '1 millisecond') AND f = nacos_row[4]::bigint"
        );
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(outcome(" 1 0 12").ok(), Some(vec![1, 0, 12]));
        assert!(matches!(outcome("ENC0013"), Err(StorageError::DemandUnmet(3))));
        assert!(matches!(outcome("E23505duplicate key"), Err(StorageError::Conflict)));
        assert!(matches!(outcome("E53100could not extend"), Err(StorageError::Full)));
        assert!(matches!(outcome("E23502null"), Err(StorageError::Refused(_))));
        assert!(matches!(outcome("what"), Err(StorageError::Refused(_))));
    }

    #[test]
    fn what_postgres_cannot_hold_goes_the_other_way() {
        assert_eq!(Kind::of(&Batch::from(vec![WRITE.with(["a\0".into(), 1.into()])])), None);
        assert_eq!(Kind::of(&Batch::from(vec![WRITE.with(["a".into(), Value::Time(i64::MAX)])])), None);
        let kind = Kind::of(&Batch::from(vec![WRITE.with(["a".into(), 1.into()])]));
        assert!(kind.is_some());
        assert_ne!(kind, Kind::of(&Batch::from(vec![WRITE.with(["a".into()])])));
    }
}
