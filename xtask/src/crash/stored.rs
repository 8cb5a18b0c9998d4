//! What the database holds: of a stopped server read from a copy of its files, and of Postgres asked.

use std::{collections::HashMap, ops::Deref, path::Path};

use anyhow::{Context, Result, bail, ensure};
use md5::{Digest as _, Md5};
use rusqlite::Connection;

use super::ledger::{Digest, KeyState, Row, hex};
use crate::{bench::wire::GROUP, postgres::Postgres};

/// The database in a data folder.
pub const DATABASE: &str = "nacos.db";
/// Its write-ahead log.
pub const LOG: &str = "nacos.db-wal";
/// The index of that, which SQLite shares between processes.
pub const LOG_INDEX: &str = "nacos.db-shm";

/// History rows whose contents were read and compared with their MD5 already; rows never change.
#[derive(Default)]
pub struct Known(HashMap<i64, Digest>);

/// The database, by key.
pub struct Stored {
    names: Vec<String>,
    keys: Vec<KeyState>,
}

impl Deref for Stored {
    type Target = [KeyState];

    fn deref(&self) -> &[KeyState] {
        &self.keys
    }
}

impl Stored {
    /// Each key's dataId and state.
    pub fn named(&self) -> impl Iterator<Item = (&str, &KeyState)> {
        self.names.iter().map(String::as_str).zip(&self.keys)
    }

    /// All history rows.
    pub fn rows(&self) -> usize {
        self.keys.iter().map(|key| key.history.len()).sum()
    }
}

/// Reads the configurations and the history of these dataIds out of a copy of the database and its write-ahead log.
///
/// `data` is the server's folder; the server must be dead. `copy` is a folder of the reader's own.
///
/// # Errors
/// SQLite finds the file damaged, a content does not have the MD5 beside it, or a row belongs to no such dataId.
pub fn read(data: &Path, copy: &Path, names: &[String], known: &mut Known) -> Result<Stored> {
    if copy.exists() {
        std::fs::remove_dir_all(copy)?;
    }
    std::fs::create_dir(copy)?;
    for file in [DATABASE, LOG] {
        std::fs::copy(data.join(file), copy.join(file)).with_context(|| format!("copy {file}"))?;
    }
    let database = Connection::open(copy.join(DATABASE))?;
    let verdict: String = database.query_row("PRAGMA quick_check", [], |row| row.get(0))?;
    ensure!(verdict == "ok", "the database is damaged: {verdict}");
    let index: HashMap<&str, usize> = names.iter().enumerate().map(|(key, name)| (name.as_str(), key)).collect();
    let key_of = |data_id: &str| index.get(data_id).copied().with_context(|| format!("a row of {data_id:?}"));
    let mut keys = vec![KeyState::default(); names.len()];

    let mut currents = database.prepare("SELECT data_id, content, md5 FROM config_info WHERE group_id = ?1")?;
    let mut rows = currents.query([GROUP])?;
    while let Some(row) = rows.next()? {
        let data_id: String = row.get(0)?;
        let content = checked(row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?).with_context(|| data_id.clone())?;
        let state = &mut keys[key_of(&data_id)?];
        ensure!(state.current.replace(content).is_none(), "two rows of {data_id}");
    }

    let mut history =
        database.prepare("SELECT nid, data_id, op_type, md5, content FROM his_config_info WHERE group_id = ?1")?;
    let mut rows = history.query([GROUP])?;
    while let Some(row) = rows.next()? {
        let nid: i64 = row.get(0)?;
        let data_id = row.get_ref(1)?.as_str()?;
        let op = row.get_ref(2)?.as_str()?.trim();
        let md5 = row.get_ref(3)?.as_str()?;
        let content = match known.0.get(&nid) {
            Some(content) if hex(content) == md5 => *content,
            _ => checked(row.get_ref(4)?.as_str()?, md5).with_context(|| format!("history row {nid} of {data_id}"))?,
        };
        known.0.insert(nid, content);
        let op = op.chars().next().filter(|_| op.len() == 1).unwrap_or('?');
        keys[key_of(data_id)?].history.push(Row { nid, op, content });
    }
    Ok(Stored { names: names.to_vec(), keys })
}

/// Reads the same out of Postgres, which makes the MD5 of each content itself.
///
/// # Errors
/// Postgres is away, a content does not have the MD5 beside it, or a row belongs to no such dataId.
pub fn read_postgres(postgres: &Postgres, database: &str, names: &[String]) -> Result<Stored> {
    let index: HashMap<&str, usize> = names.iter().enumerate().map(|(key, name)| (name.as_str(), key)).collect();
    let mut keys = vec![KeyState::default(); names.len()];
    let sql = format!(
        "SELECT data_id, 0, '', md5, md5(content) FROM config_info WHERE group_id = '{GROUP}' UNION ALL \
         SELECT data_id, nid, trim(op_type), md5, md5(content) FROM his_config_info WHERE group_id = '{GROUP}'"
    );
    for line in postgres.query(database, &sql)?.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [data_id, nid, op, stored, made] = columns.as_slice() else { bail!("a row of other columns: {line}") };
        ensure!(stored == made, "a content of {data_id} has MD5 {made}, and {stored:?} is stored with it: {line}");
        let content = from_hex(made).with_context(|| format!("no MD5: {line}"))?;
        let key = index.get(data_id).copied().with_context(|| format!("a row of {data_id:?}"))?;
        let state = &mut keys[key];
        if op.is_empty() {
            ensure!(state.current.replace(content).is_none(), "two rows of {data_id}");
        } else {
            let op = op.chars().next().filter(|_| op.len() == 1).unwrap_or('?');
            state.history.push(Row { nid: nid.parse().context("an id")?, op, content });
        }
    }
    Ok(Stored { names: names.to_vec(), keys })
}

/// What [`hex`] writes.
fn from_hex(text: &str) -> Result<Digest> {
    Ok(u128::from_str_radix(text, 16)?.to_be_bytes())
}

/// The MD5 of a content, if the one stored beside it is the same.
fn checked(content: &str, md5: &str) -> Result<Digest> {
    let digest: Digest = Md5::digest(content.as_bytes()).into();
    ensure!(
        hex(&digest) == md5,
        "a content of {} bytes has MD5 {}, and {md5:?} is stored with it",
        content.len(),
        hex(&digest)
    );
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = "PRAGMA journal_mode = WAL;
        CREATE TABLE config_info (data_id TEXT, group_id TEXT, content TEXT, md5 TEXT);
        CREATE TABLE his_config_info (nid INTEGER PRIMARY KEY, data_id TEXT, group_id TEXT, op_type TEXT, content TEXT, md5 TEXT);";

    fn read_after(rows: &str) -> Result<Stored> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let database = Connection::open(data.join(DATABASE))?;
        database.execute_batch(TABLES)?;
        database.execute_batch(rows)?;
        // Still open, as after a kill: what is committed lies in the log alone.
        read(&data, &folder.path().join("copy"), &["a".to_owned(), "b".to_owned()], &mut Known::default())
    }

    #[test]
    fn rows_are_found_by_key() -> Result<()> {
        let stored = read_after(
            "INSERT INTO his_config_info VALUES (7, 'b', 'DEFAULT_GROUP', 'I         ', 'one', 'f97c5d29941bfb1b2fdab0874906ab82');
             INSERT INTO his_config_info VALUES (8, 'b', 'DEFAULT_GROUP', 'U', 'one', 'f97c5d29941bfb1b2fdab0874906ab82');
             INSERT INTO config_info VALUES ('b', 'DEFAULT_GROUP', 'two', 'b8a9f715dbb64fd5c56e7783c6820a61');",
        )?;
        assert!(stored[0].current.is_none() && stored[0].history.is_empty());
        assert_eq!(stored[1].current.map(|md5| hex(&md5)).as_deref(), Some("b8a9f715dbb64fd5c56e7783c6820a61"));
        let rows: Vec<(i64, char)> = stored[1].history.iter().map(|row| (row.nid, row.op)).collect();
        assert_eq!((rows, stored.rows()), (vec![(7, 'I'), (8, 'U')], 2));
        Ok(())
    }

    #[test]
    fn content_that_is_not_its_md5_is_refused() {
        let wrong = read_after(
            "INSERT INTO config_info VALUES ('a', 'DEFAULT_GROUP', 'two', 'f97c5d29941bfb1b2fdab0874906ab82')",
        );
        assert!(wrong.is_err_and(|error| format!("{error:#}").contains("a content of 3 bytes")));
        let foreign = read_after(
            "INSERT INTO config_info VALUES ('c', 'DEFAULT_GROUP', 'two', 'b8a9f715dbb64fd5c56e7783c6820a61')",
        );
        assert!(foreign.is_err_and(|error| format!("{error:#}").contains("a row of \"c\"")));
    }
}
