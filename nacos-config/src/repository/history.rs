//! The history of changes: its pages, its rows, and its end.

use std::sync::Arc;

use nacos_core::{
    key::{ConfigKey, KeyParts},
    storage::{Batch, Query, StorageError, Value},
};

use super::{
    Repository,
    rows::{Reader, first_int},
    statements::HISTORY_CLEAN,
};

/// One row of `his_config_info`.
#[derive(Debug, Clone)]
pub struct HistoryRow {
    /// The row's own number; later rows have greater ones.
    pub nid: i64,
    /// The key.
    pub key: ConfigKey,
    /// The application.
    pub app_name: Option<String>,
    /// The content, in a detail only.
    pub content: Option<Arc<str>>,
    /// Its MD5, in a detail only.
    pub md5: Option<String>,
    /// Who made the change.
    pub src_user: Option<String>,
    /// From where.
    pub src_ip: Option<String>,
    /// `I`, `U` or `D`.
    pub op_type: String,
    /// When, in milliseconds since 1970.
    pub created: i64,
    /// The same.
    pub modified: i64,
    /// The key that the content is encrypted with, in a detail only.
    pub encrypted_data_key: Option<String>,
}

impl Repository {
    /// How many history rows a key has, and those of one page (from 1), newest first, without contents.
    pub async fn history(
        &self,
        key: KeyParts<'_>,
        page: i64,
        size: i64,
    ) -> Result<(i64, Vec<HistoryRow>), StorageError> {
        let args = [key.data_id.into(), key.group.into(), key.namespace.into()];
        let condition = "data_id = ?1 AND group_id = ?2 AND tenant_id = ?3";
        let total = self
            .db
            .query(Query::new(format!("SELECT count(*) FROM his_config_info WHERE {condition}"), args.clone()))
            .await?;
        let total = first_int(&total)?;
        let [a, b, c] = args;
        let sql = format!(
            "SELECT nid, data_id, group_id, tenant_id, app_name, src_user, src_ip, op_type, gmt_create, gmt_modified \
             FROM his_config_info WHERE {condition} ORDER BY nid DESC LIMIT ?4 OFFSET ?5"
        );
        let offset = (page - 1).saturating_mul(size);
        let rows = self.db.query(Query::new(sql, [a, b, c, size.into(), offset.into()])).await?;
        let rows = rows.rows.into_iter().map(|row| read_history(&mut Reader::new(row), false));
        Ok((total, rows.collect::<Result<_, _>>()?))
    }

    /// The history row of this number, with its content.
    pub async fn history_row(&self, nid: i64) -> Result<Option<HistoryRow>, StorageError> {
        self.one_history("nid = ?1", nid).await
    }

    /// The newest history row of a configuration's id, with its content.
    pub async fn previous(&self, id: i64) -> Result<Option<HistoryRow>, StorageError> {
        self.one_history("nid = (SELECT max(nid) FROM his_config_info WHERE id = ?1)", id).await
    }

    async fn one_history(&self, condition: &str, arg: i64) -> Result<Option<HistoryRow>, StorageError> {
        let sql = format!(
            "SELECT nid, data_id, group_id, tenant_id, app_name, src_user, src_ip, op_type, gmt_create, gmt_modified, \
             content, md5, encrypted_data_key FROM his_config_info WHERE {condition}"
        );
        let rows = self.db.query(Query::new(sql, [arg.into()])).await?;
        rows.rows.into_iter().next().map(|row| read_history(&mut Reader::new(row), true)).transpose()
    }

    /// Deletes up to `most` history rows older than a time, and says how many.
    pub async fn clean_history(&self, before: i64, most: i64) -> Result<u64, StorageError> {
        let statement = HISTORY_CLEAN.with([Value::Time(before), most.into()]);
        let committed = self.db.execute(Batch::from(vec![statement])).await?;
        Ok(committed.touched.first().copied().unwrap_or_default())
    }
}

fn read_history(row: &mut Reader, detail: bool) -> Result<HistoryRow, StorageError> {
    let mut history = HistoryRow {
        nid: row.int()?,
        key: ConfigKey::new(&row.shared()?, &row.shared()?, &row.maybe_shared()?.unwrap_or_default()),
        app_name: row.maybe()?,
        src_user: row.maybe()?,
        src_ip: row.maybe()?,
        op_type: row.text()?,
        created: row.int()?,
        modified: row.int()?,
        content: None,
        md5: None,
        encrypted_data_key: None,
    };
    if detail {
        history.content = Some(row.shared()?);
        history.md5 = row.maybe()?;
        history.encrypted_data_key = row.maybe()?;
    }
    Ok(history)
}
