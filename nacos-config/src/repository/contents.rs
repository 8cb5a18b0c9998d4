//! All stored contents, for the dump: of one key, of everything page by page, and what changed since a time.

use std::{collections::HashSet, sync::Arc};

use nacos_core::{
    key::ConfigKey,
    storage::{Position, Query, StorageError, Value},
};

use super::{
    Repository, key_args,
    rows::{Reader, first_int},
};
use crate::model::{ConfigType, Md5, Part, Stored, comma_list};

/// The three tables that hold contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// `config_info`.
    Formal,
    /// `config_info_beta`.
    Beta,
    /// `config_info_tag`.
    Tag,
}

impl Table {
    /// All of them, in the order of a full dump.
    pub const ALL: [Table; 3] = [Table::Formal, Table::Beta, Table::Tag];

    /// The table's name.
    pub fn name(self) -> &'static str {
        match self {
            Table::Formal => "config_info",
            Table::Beta => "config_info_beta",
            Table::Tag => "config_info_tag",
        }
    }
}

/// A page of a full dump.
pub struct DumpPage {
    /// Where the next page begins.
    pub last_id: i64,
    /// Up to which position this is so.
    pub position: Position,
    /// What is stored.
    pub contents: Vec<(ConfigKey, Part, Stored)>,
}

impl Repository {
    /// Every stored content of a key, and up to which position that is so.
    pub async fn parts(&self, key: &ConfigKey) -> Result<(Position, Vec<(Part, Stored)>), StorageError> {
        let mut parts = Vec::new();
        let formal = self
            .db
            .query(Query::new(
                "SELECT content, gmt_modified, encrypted_data_key, type FROM config_info \
                 WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3",
                key_args(key),
            ))
            .await?;
        for row in formal.rows {
            parts.push((Part::Formal, read_formal(&mut Reader::new(row))?));
        }
        let beta = self
            .db
            .query(Query::new(
                "SELECT content, gmt_modified, encrypted_data_key, beta_ips FROM config_info_beta \
                 WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3",
                key_args(key),
            ))
            .await?;
        for row in beta.rows {
            parts.push((Part::Beta, read_beta(&mut Reader::new(row))?));
        }
        let tags = self
            .db
            .query(Query::new(
                "SELECT content, gmt_modified, tag_id FROM config_info_tag \
                 WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3",
                key_args(key),
            ))
            .await?;
        for row in tags.rows {
            parts.push(read_tag(&mut Reader::new(row))?);
        }
        // The first read's position holds for all: the later ones saw at least as much.
        Ok((formal.position, parts))
    }

    /// A page of all contents of one table, for the full dump: those after `last_id`, at most `most`, with the
    /// greatest id seen. Empty when there are no more.
    pub async fn dump_page(&self, table: Table, last_id: i64, most: i64) -> Result<DumpPage, StorageError> {
        let columns = match table {
            Table::Formal => "content, gmt_modified, encrypted_data_key, type",
            Table::Beta => "content, gmt_modified, encrypted_data_key, beta_ips",
            Table::Tag => "content, gmt_modified, tag_id",
        };
        let table_name = table.name();
        let sql = format!(
            "SELECT id, data_id, group_id, tenant_id, {columns} FROM {table_name} WHERE id > ?1 ORDER BY id LIMIT ?2"
        );
        let rows = self.db.query(Query::new(sql, [last_id.into(), most.into()])).await?;
        let mut page = DumpPage { last_id, position: rows.position, contents: Vec::new() };
        for row in rows.rows {
            let mut row = Reader::new(row);
            page.last_id = row.int()?;
            let key = ConfigKey::new(&row.shared()?, &row.shared()?, &row.maybe_shared()?.unwrap_or_default());
            let (part, stored) = match table {
                Table::Formal => (Part::Formal, read_formal(&mut row)?),
                Table::Beta => (Part::Beta, read_beta(&mut row)?),
                Table::Tag => read_tag(&mut row)?,
            };
            page.contents.push((key, part, stored));
        }
        Ok(page)
    }

    /// Which keys have beta contents, and contents of which tags. There are few of them.
    pub async fn beta_and_tags(&self) -> Result<HashSet<(ConfigKey, Part)>, StorageError> {
        let mut found = HashSet::new();
        let beta = "SELECT data_id, group_id, tenant_id, NULL FROM config_info_beta";
        let tags = "SELECT data_id, group_id, tenant_id, tag_id FROM config_info_tag";
        for sql in [beta, tags] {
            for row in self.db.query(Query::new(sql, [])).await?.rows {
                let mut row = Reader::new(row);
                let key = ConfigKey::new(&row.shared()?, &row.shared()?, &row.maybe_shared()?.unwrap_or_default());
                found.insert((key, row.maybe_shared()?.map_or(Part::Beta, Part::Tag)));
            }
        }
        Ok(found)
    }

    /// How many rows a table has.
    pub async fn count(&self, table: Table) -> Result<i64, StorageError> {
        let rows = self.db.query(Query::new(format!("SELECT count(*) FROM {}", table.name()), [])).await?;
        first_int(&rows)
    }

    /// What was written at or after a time: key, part (`None` for a removed formal content) and when. At most
    /// 10,000 of each kind; a caller that is further behind reads everything.
    pub async fn changed_since(&self, since: i64) -> Result<Vec<(ConfigKey, Option<Part>, i64)>, StorageError> {
        let mut changed = Vec::new();
        for (columns, source) in [
            ("", "config_info WHERE gmt_modified >= ?1"),
            ("", "config_info_beta WHERE gmt_modified >= ?1"),
            (", tag_id", "config_info_tag WHERE gmt_modified >= ?1"),
            ("", "his_config_info WHERE op_type = 'D' AND gmt_modified >= ?1"),
        ] {
            let sql = format!(
                "SELECT data_id, group_id, tenant_id, gmt_modified{columns} FROM {source} \
                 ORDER BY gmt_modified LIMIT 10000"
            );
            for row in self.db.query(Query::new(sql, [Value::Time(since)])).await?.rows {
                let mut row = Reader::new(row);
                let key = ConfigKey::new(&row.shared()?, &row.shared()?, &row.maybe_shared()?.unwrap_or_default());
                let modified = row.int()?;
                let part = match source.split_once(' ').map(|(table, _)| table) {
                    Some("config_info") => Some(Part::Formal),
                    Some("config_info_beta") => Some(Part::Beta),
                    Some("config_info_tag") => Some(Part::Tag(row.shared()?)),
                    _ => None,
                };
                changed.push((key, part, modified));
            }
        }
        Ok(changed)
    }
}

// The MD5 is taken of the content and not from its column, as Nacos' dump does: rows edited by hand are served as
// they stand.
fn read_formal(row: &mut Reader) -> Result<Stored, StorageError> {
    let content = row.shared()?;
    Ok(Stored {
        md5: Md5::of(content.as_bytes()),
        content,
        last_modified: row.int()?,
        encrypted_data_key: row.maybe_shared()?,
        config_type: row.maybe()?.map_or(ConfigType::Text, |name| ConfigType::parse(&name)),
        beta_ips: Arc::new([]),
    })
}

fn read_beta(row: &mut Reader) -> Result<Stored, StorageError> {
    let content = row.shared()?;
    Ok(Stored {
        md5: Md5::of(content.as_bytes()),
        content,
        last_modified: row.int()?,
        encrypted_data_key: row.maybe_shared()?,
        config_type: ConfigType::Text,
        beta_ips: beta_ips(&row.text()?),
    })
}

fn read_tag(row: &mut Reader) -> Result<(Part, Stored), StorageError> {
    let content = row.shared()?;
    let stored = Stored {
        md5: Md5::of(content.as_bytes()),
        content,
        last_modified: row.int()?,
        encrypted_data_key: None,
        config_type: ConfigType::Text,
        beta_ips: Arc::new([]),
    };
    Ok((Part::Tag(row.shared()?), stored))
}

/// The addresses of a beta list.
pub fn beta_ips(text: &str) -> Arc<[Box<str>]> {
    comma_list(text).map(Box::from).collect()
}
