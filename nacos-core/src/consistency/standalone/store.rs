//! One group's rows: its log, its snapshot, and every statement on them.
//!
//! Owns the tables of [`schema::CONSISTENCY`](crate::storage::schema::CONSISTENCY). Used by the group's task alone, and
//! by whoever reads the rows before that task begins; nothing here runs at the same time as another call for the same
//! group. It knows no processor: entries and snapshots are texts.

use std::sync::Arc;

use super::{super::Entry, checksum::Checksum};
use crate::storage::{Batch, DatabaseOperate, Query, StatementDef, StorageError, Value};

// Small in tests, so that a few entries make several pages, parts and steps.

/// Entries and bytes of them that are read at once; a lone entry is read whatever its size.
const PAGE_ENTRIES: i64 = if cfg!(test) { 7 } else { 512 };
const PAGE_BYTES: i64 = if cfg!(test) { 512 } else { 16 << 20 };
/// Bytes of a snapshot's part. A row may have a gigabyte, but is held in memory several times on its way.
pub(super) const PART_BYTES: usize = if cfg!(test) { 64 } else { 4 << 20 };
/// Entries that one batch deletes.
const TRIM_ENTRIES: i64 = if cfg!(test) { 3 } else { 1000 };

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $id:literal v $version:literal: $sql:expr;)*) => {
        $($(#[$doc])* pub(super) static $name: StatementDef = StatementDef { id: $id, version: $version, sql: $sql };)*

        /// Every statement that writes to the tables of [`StandaloneProtocol`](crate::consistency::StandaloneProtocol).
        pub static STATEMENTS: &[&StatementDef] = &[$(&$name),*];
    };
}

statements! {
    /// Refused with a conflict where the index is taken: another process writes to the same log.
    APPEND = "cp.append" v 1:
        "INSERT INTO cp_log (group_id, log_index, checksum, entry) VALUES (?1, ?2, ?3, ?4)";
    /// Touches nothing. Once it is committed, so is every batch before it, or it never will be.
    SETTLE = "cp.settle" v 1:
        "DELETE FROM cp_log WHERE group_id = ?1 AND log_index < 0";
    ADD_PART = "cp.add_part" v 1:
        "INSERT INTO cp_snapshot_part (group_id, generation, part, content) VALUES (?1, ?2, ?3, ?4)";
    /// Never back to an earlier snapshot: the entries after that one may be gone.
    SWITCH = "cp.switch" v 1:
        "INSERT INTO cp_snapshot (group_id, generation, log_index, parts, checksum) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (group_id) DO UPDATE SET generation = ?2, log_index = ?3, parts = ?4, checksum = ?5 \
         WHERE cp_snapshot.generation < ?2 AND cp_snapshot.log_index <= ?3";
    TRIM_PARTS = "cp.trim_parts" v 1:
        "DELETE FROM cp_snapshot_part WHERE group_id = ?1 AND generation < ?2";
    TRIM_LOG = "cp.trim_log" v 1:
        "DELETE FROM cp_log WHERE group_id = ?1 AND log_index <= ?2";
}

pub(super) const EXTENT: &str = "SELECT (SELECT MIN(log_index) FROM cp_log WHERE group_id = ?1), \
                                 (SELECT MAX(generation) FROM cp_snapshot_part WHERE group_id = ?1)";
pub(super) const HEAD: &str = "SELECT generation, log_index, parts, checksum FROM cp_snapshot WHERE group_id = ?1";
pub(super) const PART: &str =
    "SELECT content FROM cp_snapshot_part WHERE group_id = ?1 AND generation = ?2 AND part = ?3";
pub(super) const SIZES: &str = "SELECT log_index, octet_length(entry) FROM cp_log \
                                WHERE group_id = ?1 AND log_index > ?2 ORDER BY log_index LIMIT ?3";
pub(super) const ENTRIES: &str = "SELECT log_index, checksum, entry FROM cp_log \
                                  WHERE group_id = ?1 AND log_index > ?2 AND log_index <= ?3 ORDER BY log_index";

/// Why rows were not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StorageError),
    /// It did, and what it holds is not what was written.
    #[error("{0}")]
    Damaged(String),
}

/// Where the rows of a group begin and end.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// The first entry that is there; it may be older than the snapshot.
    pub(super) oldest: Option<i64>,
    /// The last generation that a snapshot was tried under; 0 for none.
    pub(super) generation: i64,
}

/// The snapshot that counts.
#[derive(Debug)]
pub(super) struct Head {
    generation: i64,
    /// The last entry that is in it.
    pub(super) index: i64,
    parts: i64,
    checksum: i64,
}

/// The rows of one group.
pub(super) struct Store {
    db: Arc<dyn DatabaseOperate>,
    group: &'static str,
}

impl Store {
    pub(super) fn new(db: Arc<dyn DatabaseOperate>, group: &'static str) -> Self {
        Self { db, group }
    }

    pub(super) fn group(&self) -> &'static str {
        self.group
    }

    /// Writes entries, the first under this index, all or none.
    pub(super) async fn append(&self, first: i64, entries: &[Entry]) -> Result<(), StorageError> {
        let rows = (first..).zip(entries).map(|(index, entry)| {
            let checksum = self.checksum(index).text(entry);
            APPEND.with([self.key(), index.into(), checksum.into(), Arc::clone(entry).into()])
        });
        self.db.execute(Batch::from(rows.collect::<Vec<_>>())).await.map(drop)
    }

    /// Once answered, nothing that was sent before is under way any more: what a read does not show now, will never
    /// be there.
    pub(super) async fn settle(&self) -> Result<(), StorageError> {
        self.db.execute(vec![SETTLE.with([self.key()])].into()).await.map(drop)
    }

    /// The entries after this index, as many as are read at once; none if it is the last.
    pub(super) async fn after(&self, index: i64) -> Result<Vec<Entry>, ReadError> {
        let sizes = self.query(SIZES, [self.key(), index.into(), PAGE_ENTRIES.into()]).await?;
        let (mut up_to, mut bytes) = (None, 0_i64);
        for row in &sizes {
            let [Value::Int(at), Value::Int(size)] = row.as_slice() else {
                return Err(strange("the sizes of entries"));
            };
            bytes = bytes.saturating_add(*size);
            if up_to.is_some() && bytes > PAGE_BYTES {
                break;
            }
            up_to = Some(*at);
        }
        let Some(up_to) = up_to else { return Ok(Vec::new()) };
        let rows = self.query(ENTRIES, [self.key(), index.into(), up_to.into()]).await?;
        let mut entries = Vec::with_capacity(rows.len());
        for (expected, row) in (index + 1..).zip(&rows) {
            let [Value::Int(at), Value::Int(checksum), Value::Text(entry)] = row.as_slice() else {
                return Err(strange("entries"));
            };
            if *at != expected {
                return Err(ReadError::Damaged(format!("the log has no entry {expected}, but an entry {at}")));
            }
            if *checksum != self.checksum(expected).text(entry) {
                return Err(ReadError::Damaged(format!("entry {at} is damaged: its checksum does not fit")));
            }
            entries.push(Arc::clone(entry));
        }
        // What was counted must be there, or the end of the log would seem to be here.
        if index + entries.len() as i64 != up_to {
            return Err(strange("entries"));
        }
        Ok(entries)
    }

    pub(super) async fn extent(&self) -> Result<Extent, ReadError> {
        let rows = self.query(EXTENT, [self.key()]).await?;
        match rows.first().map(Vec::as_slice) {
            Some([oldest, generation]) => {
                Ok(Extent { oldest: oldest.as_int(), generation: generation.as_int().unwrap_or(0) })
            }
            _ => Err(strange("the extent of the log")),
        }
    }

    pub(super) async fn head(&self) -> Result<Option<Head>, ReadError> {
        let rows = self.query(HEAD, [self.key()]).await?;
        match rows.first().map(Vec::as_slice) {
            None => Ok(None),
            Some(&[Value::Int(generation), Value::Int(index), Value::Int(parts), Value::Int(checksum)]) => {
                Ok(Some(Head { generation, index, parts, checksum }))
            }
            Some(_) => Err(strange("the snapshot")),
        }
    }

    /// The snapshot's text.
    pub(super) async fn snapshot(&self, head: &Head) -> Result<String, ReadError> {
        let damaged = |what: &str| ReadError::Damaged(format!("the snapshot at entry {} {what}", head.index));
        let mut text = String::new();
        for part in 0..head.parts {
            let rows = self.query(PART, [self.key(), head.generation.into(), part.into()]).await?;
            match rows.first().map(Vec::as_slice) {
                Some([Value::Text(content)]) => text.push_str(content),
                _ => return Err(damaged(&format!("lacks part {part} of {}", head.parts))),
            }
        }
        if head.checksum != self.checksum(head.index).text(&text) {
            return Err(damaged("is damaged: its checksum does not fit"));
        }
        Ok(text)
    }

    /// Writes the state after the entry `index`. Its parts count for nothing until the last batch makes them the
    /// snapshot. A generation must never be used twice: it may be the one that counts, whatever became of its batch.
    pub(super) async fn put_snapshot(&self, generation: i64, index: i64, text: &str) -> Result<(), StorageError> {
        let checksum = self.checksum(index).text(text);
        let (mut rest, mut part) = (text, 0_i64);
        loop {
            let (content, after) = rest.split_at(rest.floor_char_boundary(PART_BYTES));
            let mut batch =
                Batch::from(vec![ADD_PART.with([self.key(), generation.into(), part.into(), content.into()])]);
            (rest, part) = (after, part + 1);
            if rest.is_empty() {
                let head = [self.key(), generation.into(), index.into(), part.into(), checksum.into()];
                batch.push(SWITCH.with(head).must_touch());
                return self.db.execute(batch).await.map(drop);
            }
            self.db.execute(batch).await?;
        }
    }

    /// Deletes the parts of earlier generations, and the entries up to `up_to`; `oldest` moves on with them.
    pub(super) async fn trim(&self, generation: i64, oldest: &mut i64, up_to: i64) -> Result<(), StorageError> {
        self.db.execute(vec![TRIM_PARTS.with([self.key(), generation.into()])].into()).await?;
        while *oldest <= up_to {
            let step = up_to.min(oldest.saturating_add(TRIM_ENTRIES - 1));
            self.db.execute(vec![TRIM_LOG.with([self.key(), step.into()])].into()).await?;
            *oldest = step + 1;
        }
        Ok(())
    }

    async fn query(&self, sql: &'static str, args: impl Into<Vec<Value>>) -> Result<Vec<Vec<Value>>, StorageError> {
        Ok(self.db.query(Query::new(sql, args)).await?.rows)
    }

    fn key(&self) -> Value {
        self.group.into()
    }

    /// Of a text that belongs to this index of this group: a row in another's place is damage as well.
    fn checksum(&self, index: i64) -> Checksum {
        Checksum::default().bytes(self.group.as_bytes()).bytes(&index.to_be_bytes())
    }
}

fn strange(what: &str) -> ReadError {
    ReadError::Damaged(format!("the rows that hold {what} have strange values"))
}
