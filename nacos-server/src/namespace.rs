//! Namespaces: their rows in `tenant_info`, and the rules that their ids and names obey.
//!
//! Owns that table; nobody else writes it, `config_info` is only counted. The public namespace has no row: its
//! id is the empty text, and it always exists. A deleted namespace leaves behind what was stored under it.
//! Used by the console's routes, and by whoever asks whether a namespace exists. Knows no HTTP.
//! Mirrors Nacos 2.4 `NamespaceOperationService` and the rules in its two `NamespaceController`s.

use std::{collections::HashMap, sync::Arc};

use nacos_core::{
    clock,
    id::Ids,
    storage::{DatabaseOperate, Query, Rows, Statement, StatementDef, StorageError, Value},
};
use serde::Serialize;
use uuid::Uuid;

#[cfg(test)]
pub(crate) mod tests;

/// The quota that a namespace shows unless the option `defaultTenantQuota` says otherwise, in configurations.
pub const QUOTA_DEFAULT: i32 = 200;

/// The greatest length of an id, in UTF-16 units (the column's in Nacos' schema).
pub const ID_MAX: usize = 128;
/// The greatest length of a name, in UTF-16 units (the column's in Nacos' schema).
pub const NAME_MAX: usize = 128;
/// The greatest length of a description, in UTF-16 units (the column's in Nacos' schema).
pub const DESCRIPTION_MAX: usize = 256;

// The times of this table are plain integers (milliseconds), in every dialect: `bigint` in Nacos' schemas.

/// Arguments: row id, namespace id, name, description, time. `kp` and `create_source` are Nacos' constants.
static INSERT: StatementDef = StatementDef {
    id: "namespace.insert",
    version: 1,
    sql: "INSERT INTO tenant_info (id, kp, tenant_id, tenant_name, tenant_desc, create_source, gmt_create, gmt_modified) \
          VALUES (?1, '1', ?2, ?3, ?4, 'nacos', ?5, ?5)",
};

/// Arguments: name, description, time, namespace id.
static UPDATE: StatementDef = StatementDef {
    id: "namespace.update",
    version: 1,
    sql: "UPDATE tenant_info SET tenant_name = ?1, tenant_desc = ?2, gmt_modified = ?3 WHERE kp = '1' AND tenant_id = ?4",
};

/// Argument: namespace id.
static DELETE: StatementDef = StatementDef {
    id: "namespace.delete",
    version: 1,
    sql: "DELETE FROM tenant_info WHERE kp = '1' AND tenant_id = ?1",
};

/// The statements of this module, for the registry from which a replicated log is applied.
pub static STATEMENTS: &[&StatementDef] = &[&INSERT, &UPDATE, &DELETE];

/// What kind of namespace it is (Nacos `NamespaceTypeEnum`; its 1 is never given out).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "u8")]
pub enum NamespaceType {
    /// The public namespace: 0.
    Global,
    /// One that somebody created: 2.
    Custom,
}

impl From<NamespaceType> for u8 {
    fn from(kind: NamespaceType) -> Self {
        match kind {
            NamespaceType::Global => 0,
            NamespaceType::Custom => 2,
        }
    }
}

/// A namespace as the console shows it; serialises to Nacos' JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// The id; empty for the public namespace.
    pub namespace: String,
    /// The name for people.
    pub namespace_show_name: String,
    /// What it is for, if anybody said.
    pub namespace_desc: Option<String>,
    /// How many configurations it may hold. Shown only; capacities are enforced elsewhere.
    pub quota: i32,
    /// How many configurations it holds.
    pub config_count: i64,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: NamespaceType,
}

/// Why a namespace was not written. Nothing is changed, but for [`StorageError::Unconfirmed`].
/// The texts are those that Nacos answers with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// The id holds something else than ASCII letters, digits, `_` and `-`.
    #[error("namespaceId [{0}] mismatch the pattern")]
    IllegalId(String),
    /// The id is longer than [`ID_MAX`].
    #[error("too long namespaceId, over {ID_MAX}")]
    IdTooLong,
    /// There is a namespace of this id already, perhaps made at the same time by somebody else.
    #[error("the namespaceId is existed, namespaceId: {0}")]
    Exists(String),
    /// The name is empty or holds one of `@#$%^&*`.
    #[error("namespaceName [{0}] contains illegal char")]
    IllegalName(String),
    /// The name is longer than [`NAME_MAX`], or the description than [`DESCRIPTION_MAX`].
    #[error("namespace {0} over {1} characters")]
    TooLong(&'static str, usize),
    /// The store failed; the source says how, and whether the row may be written all the same.
    #[error("store namespace")]
    Storage(#[from] StorageError),
}

/// All namespaces of a server.
pub struct Namespaces {
    database: Arc<dyn DatabaseOperate>,
    ids: Arc<Ids>,
    quota: i32,
}

impl Namespaces {
    /// The namespaces in this database. `quota` is what each shows ([`QUOTA_DEFAULT`]).
    pub fn new(database: Arc<dyn DatabaseOperate>, ids: Arc<Ids>, quota: i32) -> Self {
        Self { database, ids, quota }
    }

    /// All namespaces: the public one, then the others in the order in which they were created.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self) -> Result<Vec<Namespace>, StorageError> {
        let rows = self
            .query("SELECT tenant_id, tenant_name, tenant_desc FROM tenant_info WHERE kp = '1' ORDER BY id", [])
            .await?;
        let counted = self.query("SELECT tenant_id, count(*) FROM config_info GROUP BY tenant_id", []).await?;
        let counts: HashMap<&str, i64> = counted.rows.iter().map(|row| (text(row, 0), number(row, 1))).collect();
        let count = |id: &str| counts.get(id).copied().unwrap_or(0);

        let mut all = Vec::with_capacity(rows.rows.len() + 1);
        all.push(self.public("", "public", None, count("")));
        all.extend(rows.rows.iter().map(|row| self.custom(row, count(text(row, 0)))));
        Ok(all)
    }

    /// The namespace of this id. Blank is the public one, which bears the id as given, and another name than in
    /// [`list`](Self::list) (both as Nacos has it).
    ///
    /// # Errors
    /// What the store says.
    pub async fn get(&self, id: &str) -> Result<Option<Namespace>, StorageError> {
        if id.trim().is_empty() {
            let count = self.config_count("").await?;
            return Ok(Some(self.public(id, "Public", Some("Public Namespace"), count)));
        }
        let rows = self
            .query(
                "SELECT tenant_id, tenant_name, tenant_desc FROM tenant_info WHERE kp = '1' AND tenant_id = ?1",
                [id.into()],
            )
            .await?;
        let Some(row) = rows.rows.first() else { return Ok(None) };
        let count = self.config_count(id).await?;
        Ok(Some(self.custom(row, count)))
    }

    /// Whether there is a namespace of exactly this id. The public one, of the empty id, always is; `public` is
    /// an id like any other here.
    ///
    /// # Errors
    /// What the store says.
    pub async fn exists(&self, id: &str) -> Result<bool, StorageError> {
        if id.is_empty() {
            return Ok(true);
        }
        let rows = self.query("SELECT 1 FROM tenant_info WHERE kp = '1' AND tenant_id = ?1", [id.into()]).await?;
        Ok(!rows.rows.is_empty())
    }

    /// Creates a namespace and says its id: `id` trimmed, or a random UUID if it is blank.
    ///
    /// Of several at once with one id exactly one succeeds: the unique index decides, nothing is read first.
    ///
    /// # Errors
    /// Any [`NamespaceError`]; of several faults the one that Nacos names.
    pub async fn create(&self, id: &str, name: &str, description: Option<&str>) -> Result<String, NamespaceError> {
        let new_id = if id.trim().is_empty() { Uuid::new_v4().to_string() } else { checked_id(id)?.to_owned() };
        if let Err(refused) = check_texts(name, description) {
            // Nacos looks for the id before it looks at the name.
            let taken = self.exists(&new_id).await?;
            return Err(if taken { NamespaceError::Exists(id.to_owned()) } else { refused });
        }
        let row = INSERT.with([
            self.ids.next().into(),
            new_id.as_str().into(),
            name.into(),
            description.into(),
            clock::wall_ms().into(),
        ]);
        match self.write(row).await {
            Ok(()) => Ok(new_id),
            Err(StorageError::Conflict) => Err(NamespaceError::Exists(id.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a namespace another name and description; without one the old description goes. Of an unknown
    /// namespace nothing is changed, and nothing said (as in Nacos).
    ///
    /// # Errors
    /// [`NamespaceError::IllegalName`], [`NamespaceError::TooLong`], [`NamespaceError::Storage`].
    pub async fn update(&self, id: &str, name: &str, description: Option<&str>) -> Result<(), NamespaceError> {
        check_texts(name, description)?;
        let row = UPDATE.with([name.into(), description.into(), clock::wall_ms().into(), id.into()]);
        Ok(self.write(row).await?)
    }

    /// Deletes a namespace, if there is one of this id. What is stored under it stays.
    ///
    /// # Errors
    /// What the store says.
    pub async fn delete(&self, id: &str) -> Result<(), StorageError> {
        self.write(DELETE.with([id.into()])).await
    }

    async fn write(&self, statement: Statement) -> Result<(), StorageError> {
        self.database.execute(vec![statement].into()).await.map(drop)
    }

    async fn query<const N: usize>(&self, sql: &'static str, args: [Value; N]) -> Result<Rows, StorageError> {
        self.database.query(Query::new(sql, args)).await
    }

    async fn config_count(&self, id: &str) -> Result<i64, StorageError> {
        // Nacos says LIKE, so that the `_` in an id counts its neighbours' too; that is not meant.
        let rows = self.query("SELECT count(*) FROM config_info WHERE tenant_id = ?1", [id.into()]).await?;
        Ok(rows.rows.first().map_or(0, |row| number(row, 0)))
    }

    fn public(&self, id: &str, name: &str, description: Option<&str>, config_count: i64) -> Namespace {
        Namespace {
            namespace: id.to_owned(),
            namespace_show_name: name.to_owned(),
            namespace_desc: description.map(str::to_owned),
            quota: self.quota,
            config_count,
            kind: NamespaceType::Global,
        }
    }

    /// A row of `tenant_id`, `tenant_name`, `tenant_desc`.
    fn custom(&self, row: &[Value], config_count: i64) -> Namespace {
        Namespace {
            namespace: text(row, 0).to_owned(),
            namespace_show_name: text(row, 1).to_owned(),
            namespace_desc: row.get(2).and_then(Value::as_text).map(|text| text.as_ref().to_owned()),
            quota: self.quota,
            config_count,
            kind: NamespaceType::Custom,
        }
    }
}

fn text(row: &[Value], column: usize) -> &str {
    row.get(column).and_then(Value::as_text).map_or("", AsRef::as_ref)
}

fn number(row: &[Value], column: usize) -> i64 {
    row.get(column).and_then(Value::as_int).unwrap_or(0)
}

/// The id without the blanks around it (Java's `trim`).
fn checked_id(id: &str) -> Result<&str, NamespaceError> {
    let id = id.trim_matches(|c| c <= ' ');
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
        return Err(NamespaceError::IllegalId(id.to_owned()));
    }
    if id.len() > ID_MAX {
        return Err(NamespaceError::IdTooLong);
    }
    Ok(id)
}

fn check_texts(name: &str, description: Option<&str>) -> Result<(), NamespaceError> {
    if name.is_empty() || name.contains(['@', '#', '$', '%', '^', '&', '*']) {
        return Err(NamespaceError::IllegalName(name.to_owned()));
    }
    within("name", name, NAME_MAX)?;
    within("description", description.unwrap_or_default(), DESCRIPTION_MAX)
}

fn within(what: &'static str, text: &str, max: usize) -> Result<(), NamespaceError> {
    if text.encode_utf16().count() > max { Err(NamespaceError::TooLong(what, max)) } else { Ok(()) }
}

#[async_trait::async_trait]
impl nacos_core::namespace::NamespaceDirectory for Namespaces {
    async fn exists(&self, id: &str) -> Result<bool, StorageError> {
        Namespaces::exists(self, id).await
    }
}
