//! Configurations in the store: the statements that write them and the queries that read them.
//!
//! Owns the tables `config_info`, `config_info_beta`, `config_info_tag`, `config_tags_relation` and
//! `his_config_info`. Called by `publish`, `dump` and the operator's endpoints; a query by a client never comes
//! here. A write that depends on what is stored (history, compare-and-set, insert if absent) is one batch.
//!
//! History as Nacos keeps it: `I` holds the new content under an id of its own, `U` and `D` hold the content
//! before the change under the configuration's id.

mod contents;
mod history;
mod rows;
mod search;
mod statements;

use std::sync::Arc;

use nacos_core::{
    clock,
    id::Ids,
    key::ConfigKey,
    storage::{Batch, Committed, DatabaseOperate, Statement, StorageError, Value},
};

pub use contents::{DumpPage, Table, beta_ips};
pub use history::HistoryRow;
pub use rows::{BetaRow, Row};
pub use search::{Filter, NamespaceRow};
pub use statements::STATEMENTS;
use statements::{
    BETA_DELETE, BETA_UPSERT, BETA_UPSERT_CAS, DELETE, HISTORY_BEFORE, HISTORY_FIRST, INSERT_IF_ABSENT, TAG_DELETE,
    TAG_UPSERT, TAG_UPSERT_CAS, TAGS_ADD, TAGS_CLEAR, UPSERT, UPSERT_CAS,
};

use crate::model::{Md5, Publish};

/// What servers that share a store tell one another of a key that they changed begins with this; its group key
/// follows.
const CHANGED: &str = "config ";

/// The key that another server changed, if it is of a configuration that it tells.
pub fn changed_key(told: &str) -> Option<ConfigKey> {
    ConfigKey::parse_group_key(told.strip_prefix(CHANGED)?)
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

    /// Writes a formal content with its history row, all or nothing, after its guards, each of which must touch a row.
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
        self.guarded(key, batch, guards, write).await
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
        self.guarded(&publish.key, vec![statement], 0, 0).await
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
        self.guarded(&publish.key, vec![statement], 0, 0).await
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
        self.write(key, vec![history, TAGS_CLEAR.with(key_args(key)), DELETE.with(key_args(key))]).await
    }

    /// Removes the beta content of a key.
    pub async fn remove_beta(&self, key: &ConfigKey) -> Result<Committed, StorageError> {
        self.write(key, vec![BETA_DELETE.with(key_args(key))]).await
    }

    /// Removes the content of a tag of a key.
    pub async fn remove_tag(&self, key: &ConfigKey, tag: &str) -> Result<Committed, StorageError> {
        let [data_id, group, namespace] = key_args(key);
        self.write(key, vec![TAG_DELETE.with([data_id, group, namespace, tag.into()])]).await
    }

    /// Runs a batch that changes a key, of which other servers on the same store are told.
    async fn write(&self, key: &ConfigKey, statements: Vec<Statement>) -> Result<Committed, StorageError> {
        self.db.execute(Batch { statements, changed: vec![format!("{CHANGED}{}", key.group_key())] }).await
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
    async fn guarded(
        &self,
        key: &ConfigKey,
        batch: Vec<Statement>,
        guards: usize,
        write: usize,
    ) -> Result<Committed, WriteError> {
        match self.write(key, batch).await {
            Ok(committed) => Ok(committed),
            Err(StorageError::DemandUnmet(at)) if at < guards => Err(WriteError::Guarded(at)),
            Err(StorageError::DemandUnmet(at)) if at == write => Err(WriteError::DemandUnmet),
            Err(error) => Err(error.into()),
        }
    }
}
