//! Rows of `config_info` and its beta table as values, and how they are found by key or id.

use std::sync::Arc;

use nacos_core::{
    key::ConfigKey,
    storage::{Query, Rows, StorageError, Value},
};

use super::{Repository, key_args};

/// One row of `config_info` with all its columns.
#[derive(Debug, Clone)]
pub struct Row {
    /// The row's id.
    pub id: i64,
    /// The key.
    pub key: ConfigKey,
    /// The application, empty if none.
    pub app_name: String,
    /// The content.
    pub content: Arc<str>,
    /// The stored MD5; empty if none is stored.
    pub md5: String,
    /// When the key was first published, in milliseconds since 1970.
    pub created: i64,
    /// When it was last published.
    pub modified: i64,
    /// Who last published it.
    pub src_user: Option<String>,
    /// From where.
    pub src_ip: Option<String>,
    /// The description.
    pub desc: Option<String>,
    /// What for.
    pub usage: Option<String>,
    /// To what effect.
    pub effect: Option<String>,
    /// The type's name.
    pub config_type: Option<String>,
    /// The schema.
    pub schema: Option<String>,
    /// The key that the content is encrypted with.
    pub encrypted_data_key: Option<String>,
}

/// The columns of a [`Row`], in the order in which [`read_row`] takes them, of a table called `a`.
pub(super) const ROW: &str = "a.id, a.data_id, a.group_id, a.tenant_id, a.app_name, a.content, a.md5, a.gmt_create, \
                   a.gmt_modified, a.src_user, a.src_ip, a.c_desc, a.c_use, a.effect, a.type, a.c_schema, \
                   a.encrypted_data_key";

/// A row of the beta table, for the endpoint that shows it.
#[derive(Debug, Clone)]
pub struct BetaRow {
    /// The row's id.
    pub id: i64,
    /// The content.
    pub content: Arc<str>,
    /// The application.
    pub app_name: Option<String>,
    /// The addresses as they were given.
    pub beta_ips: String,
    /// When it was last written.
    pub modified: i64,
    /// The key that the content is encrypted with.
    pub encrypted_data_key: Option<String>,
}

impl Repository {
    /// The row of a key.
    pub async fn find(&self, key: &ConfigKey) -> Result<Option<Row>, StorageError> {
        let sql = format!("SELECT {ROW} FROM config_info a WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3");
        let rows = self.db.query(Query::new(sql, key_args(key))).await?;
        rows.rows.into_iter().next().map(read_row).transpose()
    }

    /// The rows of these ids, in their order of id; missing ones are left out.
    pub async fn find_by_ids(&self, ids: &[i64]) -> Result<Vec<Row>, StorageError> {
        let mut found = Vec::new();
        // SQLite binds at most 32,766 values; far smaller steps keep the statement cache useful as well.
        for ids in ids.chunks(500) {
            let marks = marks(1, ids.len());
            let sql = format!("SELECT {ROW} FROM config_info a WHERE id IN ({marks}) ORDER BY id");
            let args: Vec<Value> = ids.iter().map(|id| (*id).into()).collect();
            for row in self.db.query(Query::new(sql, args)).await?.rows {
                found.push(read_row(row)?);
            }
        }
        found.sort_by_key(|row| row.id);
        Ok(found)
    }

    /// The tags for search of a key, in the order in which they were given.
    pub async fn tags(&self, key: &ConfigKey) -> Result<Vec<String>, StorageError> {
        let sql = "SELECT tag_name FROM config_tags_relation \
                   WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3 ORDER BY nid";
        let rows = self.db.query(Query::new(sql, key_args(key))).await?;
        rows.rows.into_iter().map(|row| Reader::new(row).text()).collect()
    }

    /// The beta row of a key.
    pub async fn find_beta(&self, key: &ConfigKey) -> Result<Option<BetaRow>, StorageError> {
        let sql = "SELECT id, content, app_name, beta_ips, gmt_modified, encrypted_data_key FROM config_info_beta \
                   WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3";
        let rows = self.db.query(Query::new(sql, key_args(key))).await?;
        let Some(row) = rows.rows.into_iter().next() else { return Ok(None) };
        let mut row = Reader::new(row);
        Ok(Some(BetaRow {
            id: row.int()?,
            content: row.shared()?,
            app_name: row.maybe()?,
            beta_ips: row.maybe()?.unwrap_or_default(),
            modified: row.int()?,
            encrypted_data_key: row.maybe()?,
        }))
    }
}

/// `?3, ?4, ?5` for three values from 3 on.
pub(super) fn marks(from: usize, count: usize) -> String {
    (from..from + count).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ")
}

/// The number that a count answers with.
pub(super) fn first_int(rows: &Rows) -> Result<i64, StorageError> {
    rows.rows
        .first()
        .and_then(|row| row.first())
        .and_then(Value::as_int)
        .ok_or_else(|| StorageError::Corrupt("a count is no number".to_owned()))
}

/// Takes the values of a row one after another, by the order of the selected columns.
pub(super) struct Reader(std::vec::IntoIter<Value>);

impl Reader {
    pub(super) fn new(row: Vec<Value>) -> Self {
        Self(row.into_iter())
    }

    pub(super) fn next(&mut self) -> Result<Value, StorageError> {
        self.0.next().ok_or_else(|| StorageError::Corrupt("a row is too short".to_owned()))
    }

    pub(super) fn int(&mut self) -> Result<i64, StorageError> {
        let value = self.next()?;
        value.as_int().ok_or_else(|| StorageError::Corrupt(format!("{value:?} where a number should be")))
    }

    pub(super) fn maybe_shared(&mut self) -> Result<Option<Arc<str>>, StorageError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            other => Err(StorageError::Corrupt(format!("{other:?} where text should be"))),
        }
    }

    pub(super) fn shared(&mut self) -> Result<Arc<str>, StorageError> {
        Ok(self.maybe_shared()?.unwrap_or_default())
    }

    pub(super) fn maybe(&mut self) -> Result<Option<String>, StorageError> {
        Ok(self.maybe_shared()?.map(|text| text.to_string()))
    }

    pub(super) fn text(&mut self) -> Result<String, StorageError> {
        Ok(self.maybe()?.unwrap_or_default())
    }
}

pub(super) fn read_row(row: Vec<Value>) -> Result<Row, StorageError> {
    let mut row = Reader::new(row);
    Ok(Row {
        id: row.int()?,
        key: ConfigKey::new(&row.shared()?, &row.shared()?, &row.maybe_shared()?.unwrap_or_default()),
        app_name: row.text()?,
        content: row.shared()?,
        md5: row.text()?,
        created: row.int()?,
        modified: row.int()?,
        src_user: row.maybe()?,
        src_ip: row.maybe()?,
        desc: row.maybe()?,
        usage: row.maybe()?,
        effect: row.maybe()?,
        config_type: row.maybe()?,
        schema: row.maybe()?,
        encrypted_data_key: row.maybe()?,
    })
}
