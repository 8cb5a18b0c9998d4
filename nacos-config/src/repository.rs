//! Configurations in the store: the statements that write them and the queries that read them.
//!
//! Owns the tables `config_info`, `config_info_beta`, `config_info_tag`, `config_tags_relation` and
//! `his_config_info`. Called by `publish`, `dump` and the operator's endpoints; a query by a client never comes
//! here. A write that depends on what is stored (history, compare-and-set, insert if absent) is one batch.
//!
//! History as Nacos keeps it: `I` holds the new content under an id of its own, `U` and `D` hold the content
//! before the change under the configuration's id.

use std::sync::Arc;

use nacos_core::{
    clock,
    id::Ids,
    key::{ConfigKey, KeyParts},
    storage::{
        Batch, Committed, DatabaseOperate, Position, Query, Rows, Statement, StatementDef, StorageError, Value,
    },
};

use crate::model::{ConfigType, Md5, Part, Publish, Stored};

macro_rules! statements {
    ($($name:ident = $id:literal v $version:literal: $sql:expr;)*) => {
        $(static $name: StatementDef = StatementDef { id: $id, version: $version, sql: $sql };)*

        /// Every statement of this module, for the registry of replicated writes.
        pub static STATEMENTS: &[&StatementDef] = &[$(&$name),*];
    };
}

statements! {
    // The content before the change, if there is one.
    HISTORY_BEFORE = "config.history_before" v 1:
        "INSERT INTO his_config_info (nid, id, data_id, group_id, tenant_id, app_name, content, md5, \
         gmt_create, gmt_modified, src_user, src_ip, op_type, encrypted_data_key) \
         SELECT ?1, id, data_id, group_id, tenant_id, app_name, content, md5, \
         ?2, ?2, ?3, ?4, ?5, encrypted_data_key FROM config_info \
         WHERE data_id = ?6 AND group_id = ?7 AND tenant_id = ?8";
    HISTORY_FIRST = "config.history_first" v 1:
        "INSERT INTO his_config_info (nid, id, data_id, group_id, tenant_id, app_name, content, md5, \
         gmt_create, gmt_modified, src_user, src_ip, op_type, encrypted_data_key) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, 'I', ?12 \
         WHERE NOT EXISTS (SELECT 1 FROM config_info WHERE data_id = ?3 AND group_id = ?4 AND tenant_id = ?5)";
    UPSERT = "config.upsert" v 1:
        "INSERT INTO config_info (id, data_id, group_id, tenant_id, app_name, content, md5, gmt_create, \
         gmt_modified, src_user, src_ip, c_desc, c_use, effect, type, c_schema, encrypted_data_key) \
         VALUES (?1, ?2, ?3, ?4, COALESCE(?5, ''), ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
         ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET \
         app_name = COALESCE(?5, config_info.app_name), content = ?6, md5 = ?7, gmt_modified = ?8, src_user = ?9, \
         src_ip = ?10, c_desc = ?11, c_use = ?12, effect = ?13, type = ?14, c_schema = ?15, \
         encrypted_data_key = ?16";
    UPSERT_CAS = "config.upsert_cas" v 1:
        "INSERT INTO config_info (id, data_id, group_id, tenant_id, app_name, content, md5, gmt_create, \
         gmt_modified, src_user, src_ip, c_desc, c_use, effect, type, c_schema, encrypted_data_key) \
         VALUES (?1, ?2, ?3, ?4, COALESCE(?5, ''), ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
         ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET \
         app_name = COALESCE(?5, config_info.app_name), content = ?6, md5 = ?7, gmt_modified = ?8, src_user = ?9, \
         src_ip = ?10, c_desc = ?11, c_use = ?12, effect = ?13, type = ?14, c_schema = ?15, \
         encrypted_data_key = ?16 \
         WHERE config_info.md5 = ?17 OR config_info.md5 IS NULL OR config_info.md5 = ''";
    INSERT_IF_ABSENT = "config.insert_if_absent" v 1:
        "INSERT INTO config_info (id, data_id, group_id, tenant_id, app_name, content, md5, gmt_create, \
         gmt_modified, src_user, src_ip, c_desc, c_use, effect, type, c_schema, encrypted_data_key) \
         VALUES (?1, ?2, ?3, ?4, COALESCE(?5, ''), ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
         ON CONFLICT (data_id, group_id, tenant_id) DO NOTHING";
    TAGS_CLEAR = "config.tags_clear" v 1:
        "DELETE FROM config_tags_relation WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3";
    TAGS_ADD = "config.tags_add" v 1:
        "INSERT INTO config_tags_relation (nid, id, tag_name, tag_type, data_id, group_id, tenant_id) \
         SELECT ?1, id, ?2, '', data_id, group_id, tenant_id FROM config_info \
         WHERE data_id = ?3 AND group_id = ?4 AND tenant_id = ?5";
    DELETE = "config.delete" v 1:
        "DELETE FROM config_info WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3";
    BETA_UPSERT = "config.beta_upsert" v 1:
        "INSERT INTO config_info_beta (id, data_id, group_id, tenant_id, app_name, content, beta_ips, md5, \
         gmt_create, gmt_modified, src_user, src_ip, encrypted_data_key) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, ?12) \
         ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET app_name = ?5, content = ?6, beta_ips = ?7, \
         md5 = ?8, gmt_modified = ?9, src_user = ?10, src_ip = ?11, encrypted_data_key = ?12";
    BETA_UPSERT_CAS = "config.beta_upsert_cas" v 1:
        "INSERT INTO config_info_beta (id, data_id, group_id, tenant_id, app_name, content, beta_ips, md5, \
         gmt_create, gmt_modified, src_user, src_ip, encrypted_data_key) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11, ?12) \
         ON CONFLICT (data_id, group_id, tenant_id) DO UPDATE SET app_name = ?5, content = ?6, beta_ips = ?7, \
         md5 = ?8, gmt_modified = ?9, src_user = ?10, src_ip = ?11, encrypted_data_key = ?12 \
         WHERE config_info_beta.md5 = ?13 OR config_info_beta.md5 IS NULL OR config_info_beta.md5 = ''";
    BETA_DELETE = "config.beta_delete" v 1:
        "DELETE FROM config_info_beta WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3";
    TAG_UPSERT = "config.tag_upsert" v 1:
        "INSERT INTO config_info_tag (id, data_id, group_id, tenant_id, tag_id, app_name, content, md5, \
         gmt_create, gmt_modified, src_user, src_ip) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11) \
         ON CONFLICT (data_id, group_id, tenant_id, tag_id) DO UPDATE SET app_name = ?6, content = ?7, md5 = ?8, \
         gmt_modified = ?9, src_user = ?10, src_ip = ?11";
    TAG_UPSERT_CAS = "config.tag_upsert_cas" v 1:
        "INSERT INTO config_info_tag (id, data_id, group_id, tenant_id, tag_id, app_name, content, md5, \
         gmt_create, gmt_modified, src_user, src_ip) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11) \
         ON CONFLICT (data_id, group_id, tenant_id, tag_id) DO UPDATE SET app_name = ?6, content = ?7, md5 = ?8, \
         gmt_modified = ?9, src_user = ?10, src_ip = ?11 \
         WHERE config_info_tag.md5 = ?12 OR config_info_tag.md5 IS NULL OR config_info_tag.md5 = ''";
    TAG_DELETE = "config.tag_delete" v 1:
        "DELETE FROM config_info_tag WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3 AND tag_id = ?4";
    HISTORY_CLEAN = "config.history_clean" v 1:
        "DELETE FROM his_config_info WHERE nid IN \
         (SELECT nid FROM his_config_info WHERE gmt_modified < ?1 ORDER BY gmt_modified, nid LIMIT ?2)";
}

/// What a publish demands of what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// Nothing: insert or overwrite.
    None,
    /// If the row exists, its MD5 must be this text; if not, it is inserted (as Nacos does).
    Md5(String),
    /// The row must not exist.
    Absent,
}

/// Why a publish wrote nothing, or may have.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The demand was not met; nothing was written.
    #[error("the stored configuration is not the one demanded")]
    DemandUnmet,
    /// A quota is used up; nothing was written. The index counts the guards in their order.
    #[error("guard {0} refused the write")]
    Guarded(usize),
    /// The store failed; its error says whether the write may have happened.
    #[error("write configuration")]
    Storage(#[from] StorageError),
}

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

const ROW: &str = "a.id, a.data_id, a.group_id, a.tenant_id, a.app_name, a.content, a.md5, a.gmt_create, \
                   a.gmt_modified, a.src_user, a.src_ip, a.c_desc, a.c_use, a.effect, a.type, a.c_schema, \
                   a.encrypted_data_key";

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

/// What to look for in `config_info`.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Whether dataId, group and namespace are patterns with `*`; else they must be equal.
    pub blur: bool,
    /// The dataId; `None` for any.
    pub data_id: Option<String>,
    /// The group; `None` for any.
    pub group: Option<String>,
    /// The namespace, always compared.
    pub namespace: String,
    /// The application, compared for equality.
    pub app_name: Option<String>,
    /// Rows that bear any of these tags; empty for all rows.
    pub tags: Vec<String>,
    /// Rows of any of these types; empty for all rows.
    pub types: Vec<String>,
    /// A pattern for the whole content, in which `*` matches anything.
    pub content: Option<String>,
}

/// The configurations in a store.
#[derive(Clone)]
pub struct Repository {
    db: Arc<dyn DatabaseOperate>,
    ids: Arc<Ids>,
}

fn key_args(key: &ConfigKey) -> [Value; 3] {
    [key.data_id().into(), key.group().into(), key.namespace().into()]
}

impl Repository {
    /// The configurations in this store, with ids from there.
    pub fn new(db: Arc<dyn DatabaseOperate>, ids: Arc<Ids>) -> Self {
        Self { db, ids }
    }

    /// The store itself.
    pub fn db(&self) -> &Arc<dyn DatabaseOperate> {
        &self.db
    }

    /// Where new ids come from.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Writes a formal content with its history row, all or nothing, after the guards (see [`Self::guarded`]).
    pub async fn publish(
        &self,
        publish: &Publish,
        md5: Md5,
        now: i64,
        demand: &Demand,
        guards: Vec<Statement>,
    ) -> Result<Committed, WriteError> {
        let key = &publish.key;
        let [data_id, group, namespace] = key_args(key);
        let mut batch = guards;
        let guards = batch.len();
        let md5: Value = md5.to_string().into();
        let user: Value = publish.src_user.clone().into();
        let ip: Value = publish.src_ip.as_str().into();
        let encrypted: Value = publish.encrypted_data_key.as_deref().unwrap_or_default().into();
        batch.push(self.history_before(key, now, &publish.src_user, &publish.src_ip, "U"));
        batch.push(HISTORY_FIRST.with([
            self.ids.next().into(),
            self.ids.next().into(),
            data_id.clone(),
            group.clone(),
            namespace.clone(),
            publish.app_name.as_deref().unwrap_or_default().into(),
            publish.content.clone().into(),
            md5.clone(),
            Value::Time(now),
            user.clone(),
            ip.clone(),
            encrypted.clone(),
        ]));
        let mut args = vec![
            self.ids.next().into(),
            data_id.clone(),
            group.clone(),
            namespace.clone(),
            publish.app_name.clone().into(),
            publish.content.clone().into(),
            md5,
            Value::Time(now),
            user,
            ip,
            publish.desc.clone().into(),
            publish.usage.clone().into(),
            publish.effect.clone().into(),
            publish.config_type.as_str().into(),
            publish.schema.clone().into(),
            encrypted,
        ];
        let write = batch.len();
        batch.push(match demand {
            Demand::None => UPSERT.with(args),
            Demand::Md5(expected) => {
                args.push(expected.as_str().into());
                UPSERT_CAS.with(args).must_touch()
            }
            Demand::Absent => INSERT_IF_ABSENT.with(args).must_touch(),
        });
        if let Some(tags) = &publish.config_tags {
            batch.push(TAGS_CLEAR.with([data_id.clone(), group.clone(), namespace.clone()]));
            for tag in tags {
                batch.push(TAGS_ADD.with([
                    self.ids.next().into(),
                    tag.as_str().into(),
                    data_id.clone(),
                    group.clone(),
                    namespace.clone(),
                ]));
            }
        }
        self.guarded(batch, guards, write).await
    }

    /// Writes the beta content of a key.
    pub async fn publish_beta(
        &self,
        publish: &Publish,
        md5: Md5,
        now: i64,
        ips: &str,
        expected: Option<&str>,
    ) -> Result<Committed, WriteError> {
        let [data_id, group, namespace] = key_args(&publish.key);
        let mut args = vec![
            self.ids.next().into(),
            data_id,
            group,
            namespace,
            publish.app_name.as_deref().unwrap_or_default().into(),
            publish.content.clone().into(),
            ips.into(),
            md5.to_string().into(),
            Value::Time(now),
            publish.src_user.clone().into(),
            publish.src_ip.as_str().into(),
            publish.encrypted_data_key.as_deref().unwrap_or_default().into(),
        ];
        let statement = match expected {
            None => BETA_UPSERT.with(args),
            Some(expected) => {
                args.push(expected.into());
                BETA_UPSERT_CAS.with(args).must_touch()
            }
        };
        self.guarded(vec![statement], 0, 0).await
    }

    /// Writes the content of a tag of a key.
    pub async fn publish_tag(
        &self,
        publish: &Publish,
        md5: Md5,
        now: i64,
        tag: &str,
        expected: Option<&str>,
    ) -> Result<Committed, WriteError> {
        let [data_id, group, namespace] = key_args(&publish.key);
        let mut args = vec![
            self.ids.next().into(),
            data_id,
            group,
            namespace,
            tag.into(),
            publish.app_name.as_deref().unwrap_or_default().into(),
            publish.content.clone().into(),
            md5.to_string().into(),
            Value::Time(now),
            publish.src_user.clone().into(),
            publish.src_ip.as_str().into(),
        ];
        let statement = match expected {
            None => TAG_UPSERT.with(args),
            Some(expected) => {
                args.push(expected.into());
                TAG_UPSERT_CAS.with(args).must_touch()
            }
        };
        self.guarded(vec![statement], 0, 0).await
    }

    /// Removes a formal content, its tags for search with it, and writes its history row. Nothing happens if
    /// there is none.
    pub async fn remove(
        &self,
        key: &ConfigKey,
        src_user: Option<String>,
        src_ip: &str,
    ) -> Result<Committed, StorageError> {
        let history = self.history_before(key, clock::wall_ms(), &src_user, src_ip, "D");
        self.db
            .execute(Batch::from(vec![history, TAGS_CLEAR.with(key_args(key)), DELETE.with(key_args(key))]))
            .await
    }

    /// Removes the beta content of a key.
    pub async fn remove_beta(&self, key: &ConfigKey) -> Result<Committed, StorageError> {
        self.db.execute(Batch::from(vec![BETA_DELETE.with(key_args(key))])).await
    }

    /// Removes the content of a tag of a key.
    pub async fn remove_tag(&self, key: &ConfigKey, tag: &str) -> Result<Committed, StorageError> {
        let [data_id, group, namespace] = key_args(key);
        self.db.execute(Batch::from(vec![TAG_DELETE.with([data_id, group, namespace, tag.into()])])).await
    }

    /// Deletes up to `most` history rows older than a time, and says how many.
    pub async fn clean_history(&self, before: i64, most: i64) -> Result<u64, StorageError> {
        let statement = HISTORY_CLEAN.with([Value::Time(before), most.into()]);
        let committed = self.db.execute(Batch::from(vec![statement])).await?;
        Ok(committed.touched.first().copied().unwrap_or_default())
    }

    fn history_before(
        &self,
        key: &ConfigKey,
        now: i64,
        user: &Option<String>,
        ip: &str,
        op: &'static str,
    ) -> Statement {
        let [data_id, group, namespace] = key_args(key);
        HISTORY_BEFORE.with([
            self.ids.next().into(),
            Value::Time(now),
            user.clone().into(),
            ip.into(),
            op.into(),
            data_id,
            group,
            namespace,
        ])
    }

    /// Runs a batch whose first `guards` statements are guards, each of which must touch a row, and whose
    /// statement `write` may bear a demand.
    async fn guarded(&self, batch: Vec<Statement>, guards: usize, write: usize) -> Result<Committed, WriteError> {
        match self.db.execute(Batch::from(batch)).await {
            Ok(committed) => Ok(committed),
            Err(StorageError::DemandUnmet(at)) if at < guards => Err(WriteError::Guarded(at)),
            Err(StorageError::DemandUnmet(at)) if at == write => Err(WriteError::DemandUnmet),
            Err(error) => Err(error.into()),
        }
    }

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

    /// How many rows a filter finds, and those of one page (from 1). With tags a row comes once for each of them
    /// that it bears, as in Nacos.
    pub async fn search(&self, filter: &Filter, page: i64, size: i64) -> Result<(i64, Vec<Row>), StorageError> {
        let (source, condition, args) = filter.sql();
        let total =
            self.db.query(Query::new(format!("SELECT count(*) FROM {source} WHERE {condition}"), args.clone())).await?;
        let total = first_int(&total)?;
        let offset = (page - 1).saturating_mul(size);
        if offset >= total {
            return Ok((total, Vec::new()));
        }
        let next = args.len() + 1;
        // Nacos names no order; the recorded server's came from the indexes that its database chose.
        let order = match (filter.blur, filter.tags.is_empty()) {
            (true, true) => "a.group_id, a.data_id, a.tenant_id",
            (_, true) => "a.id",
            (_, false) => "a.id, b.nid",
        };
        let sql = format!(
            "SELECT {ROW} FROM {source} WHERE {condition} ORDER BY {order} LIMIT ?{next} OFFSET ?{}",
            next + 1
        );
        let mut args = args;
        args.push(size.into());
        args.push(offset.into());
        let rows = self.db.query(Query::new(sql, args)).await?;
        let rows = rows.rows.into_iter().map(read_row).collect::<Result<_, _>>()?;
        Ok((total, rows))
    }

    /// Rows for an export: what the filter finds after `last_id`, at most `most`, in the order of their ids.
    pub async fn export_page(&self, filter: &Filter, last_id: i64, most: i64) -> Result<Vec<Row>, StorageError> {
        let (source, condition, mut args) = filter.sql();
        let next = args.len() + 1;
        let sql = format!(
            "SELECT {ROW} FROM {source} WHERE {condition} AND a.id > ?{next} ORDER BY a.id LIMIT ?{}",
            next + 1
        );
        args.push(last_id.into());
        args.push(most.into());
        self.db.query(Query::new(sql, args)).await?.rows.into_iter().map(read_row).collect()
    }

    /// Id, key, application, type and time of every configuration of a namespace.
    pub async fn of_namespace(&self, namespace: &str) -> Result<Vec<NamespaceRow>, StorageError> {
        let sql = "SELECT id, data_id, group_id, tenant_id, app_name, type, gmt_modified FROM config_info \
                   WHERE tenant_id = ?1 ORDER BY id";
        let rows = self.db.query(Query::new(sql, [namespace.into()])).await?;
        rows.rows
            .into_iter()
            .map(|row| {
                let mut row = Reader::new(row);
                Ok(NamespaceRow {
                    id: row.int()?,
                    key: ConfigKey::new(&row.shared()?, &row.shared()?, &row.maybe_shared()?.unwrap_or_default()),
                    app_name: row.maybe()?,
                    config_type: row.maybe()?,
                    modified: row.int()?,
                })
            })
            .collect()
    }

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
}

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

/// A configuration of a namespace, in brief.
#[derive(Debug, Clone)]
pub struct NamespaceRow {
    /// The row's id.
    pub id: i64,
    /// The key.
    pub key: ConfigKey,
    /// The application.
    pub app_name: Option<String>,
    /// The type's name.
    pub config_type: Option<String>,
    /// When it was last published.
    pub modified: i64,
}

impl Filter {
    /// The tables, the condition over them, and its arguments.
    fn sql(&self) -> (&'static str, String, Vec<Value>) {
        let mut args: Vec<Value> = Vec::new();
        let mut conditions = Vec::new();
        let mut add = |text: &str, values: Vec<Value>| {
            let mut text = text.to_owned();
            if let Some(at) = text.find("??") {
                text.replace_range(at..at + 2, &marks(args.len() + 1, values.len()));
            } else {
                text = text.replace('?', &format!("?{}", args.len() + 1));
            }
            args.extend(values);
            conditions.push(text);
        };
        let pattern = |text: &str| Value::from(text.replace('*', "%"));
        let compare = if self.blur { "LIKE" } else { "=" };
        let value = |text: &str| if self.blur { pattern(text) } else { text.into() };
        add(&format!("a.tenant_id {compare} ?"), vec![value(&self.namespace)]);
        if let Some(data_id) = &self.data_id {
            add(&format!("a.data_id {compare} ?"), vec![value(data_id)]);
        }
        if let Some(group) = &self.group {
            add(&format!("a.group_id {compare} ?"), vec![value(group)]);
        }
        if let Some(app_name) = &self.app_name {
            add("a.app_name = ?", vec![app_name.as_str().into()]);
        }
        if let Some(content) = &self.content {
            add("a.content LIKE ?", vec![pattern(content)]);
        }
        if !self.types.is_empty() {
            add("a.type IN (??)", self.types.iter().map(|name| name.as_str().into()).collect());
        }
        if !self.tags.is_empty() {
            add("b.tag_name IN (??)", self.tags.iter().map(|name| name.as_str().into()).collect());
        }
        let source = if self.tags.is_empty() {
            "config_info a"
        } else {
            "config_info a JOIN config_tags_relation b ON b.id = a.id"
        };
        (source, conditions.join(" AND "), args)
    }
}

/// `?3, ?4, ?5` for three values from 3 on.
fn marks(from: usize, count: usize) -> String {
    (from..from + count).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ")
}

fn first_int(rows: &Rows) -> Result<i64, StorageError> {
    rows.rows
        .first()
        .and_then(|row| row.first())
        .and_then(Value::as_int)
        .ok_or_else(|| StorageError::Corrupt("a count is no number".to_owned()))
}

/// Takes the values of a row one after another, by the order of the selected columns.
struct Reader(std::vec::IntoIter<Value>);

impl Reader {
    fn new(row: Vec<Value>) -> Self {
        Self(row.into_iter())
    }

    fn next(&mut self) -> Result<Value, StorageError> {
        self.0.next().ok_or_else(|| StorageError::Corrupt("a row is too short".to_owned()))
    }

    fn int(&mut self) -> Result<i64, StorageError> {
        let value = self.next()?;
        value.as_int().ok_or_else(|| StorageError::Corrupt(format!("{value:?} where a number should be")))
    }

    fn maybe_shared(&mut self) -> Result<Option<Arc<str>>, StorageError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            other => Err(StorageError::Corrupt(format!("{other:?} where text should be"))),
        }
    }

    fn shared(&mut self) -> Result<Arc<str>, StorageError> {
        Ok(self.maybe_shared()?.unwrap_or_default())
    }

    fn maybe(&mut self) -> Result<Option<String>, StorageError> {
        Ok(self.maybe_shared()?.map(|text| text.to_string()))
    }

    fn text(&mut self) -> Result<String, StorageError> {
        Ok(self.maybe()?.unwrap_or_default())
    }
}

fn read_row(row: Vec<Value>) -> Result<Row, StorageError> {
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
    crate::model::comma_list(text).map(Box::from).collect()
}
