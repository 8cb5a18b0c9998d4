//! Quotas: how many configurations a namespace, a group and the whole server may hold, and how large each may be.
//!
//! Owns the tables `tenant_capacity` and `group_capacity`; the group of the empty name stands for the whole
//! server, as in Nacos. What is used is counted in the configurations themselves when it is asked for, so it
//! cannot drift. The limits bite only with `isCapacityLimitCheck=true`; then they are guards in the publish's own
//! batch, so two publishes at once cannot both take the last place.

use std::sync::Arc;

use nacos_core::{
    clock,
    id::Ids,
    key::ConfigKey,
    settings::CapacitySettings,
    storage::{Batch, DatabaseOperate, Query, Statement, StatementDef, StorageError, Value},
};

static TENANT_CREATE: StatementDef = StatementDef {
    id: "capacity.tenant_create",
    version: 1,
    sql: "INSERT INTO tenant_capacity (id, tenant_id, quota, usage, max_size, max_aggr_count, max_aggr_size, \
          max_history_count, gmt_create, gmt_modified) VALUES (?1, ?2, 0, 0, 0, 0, 0, 0, ?3, ?3) \
          ON CONFLICT (tenant_id) DO NOTHING",
};
static GROUP_CREATE: StatementDef = StatementDef {
    id: "capacity.group_create",
    version: 1,
    sql: "INSERT INTO group_capacity (id, group_id, quota, usage, max_size, max_aggr_count, max_aggr_size, \
          max_history_count, gmt_create, gmt_modified) VALUES (?1, ?2, 0, 0, 0, 0, 0, 0, ?3, ?3) \
          ON CONFLICT (group_id) DO NOTHING",
};
static TENANT_SET: StatementDef = StatementDef {
    id: "capacity.tenant_set",
    version: 1,
    sql: "UPDATE tenant_capacity SET quota = COALESCE(?2, quota), max_size = COALESCE(?3, max_size), \
          max_aggr_count = COALESCE(?4, max_aggr_count), max_aggr_size = COALESCE(?5, max_aggr_size), \
          gmt_modified = ?6 WHERE tenant_id = ?1",
};
static GROUP_SET: StatementDef = StatementDef {
    id: "capacity.group_set",
    version: 1,
    sql: "UPDATE group_capacity SET quota = COALESCE(?2, quota), max_size = COALESCE(?3, max_size), \
          max_aggr_count = COALESCE(?4, max_aggr_count), max_aggr_size = COALESCE(?5, max_aggr_size), \
          gmt_modified = ?6 WHERE group_id = ?1",
};
// A guard touches its row if the key is there already or a place is left; a quota of 0 means the default.
static TENANT_GUARD: StatementDef = StatementDef {
    id: "capacity.tenant_guard",
    version: 1,
    sql: "UPDATE tenant_capacity SET gmt_modified = ?5 WHERE tenant_id = ?3 AND (\
          EXISTS (SELECT 1 FROM config_info WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3) \
          OR (SELECT count(*) FROM config_info WHERE tenant_id = ?3) < \
          CASE WHEN quota = 0 THEN ?4 ELSE quota END)",
};
static GROUP_GUARD: StatementDef = StatementDef {
    id: "capacity.group_guard",
    version: 1,
    sql: "UPDATE group_capacity SET gmt_modified = ?5 WHERE group_id = ?2 AND (\
          EXISTS (SELECT 1 FROM config_info WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3) \
          OR (SELECT count(*) FROM config_info WHERE group_id = ?2) < \
          CASE WHEN quota = 0 THEN ?4 ELSE quota END)",
};
static CLUSTER_GUARD: StatementDef = StatementDef {
    id: "capacity.cluster_guard",
    version: 1,
    sql: "UPDATE group_capacity SET gmt_modified = ?5 WHERE group_id = '' AND (\
          EXISTS (SELECT 1 FROM config_info WHERE data_id = ?1 AND group_id = ?2 AND tenant_id = ?3) \
          OR (SELECT count(*) FROM config_info) < CASE WHEN quota = 0 THEN ?4 ELSE quota END)",
};

/// Every statement of this module, for the registry of replicated writes.
pub static STATEMENTS: &[&StatementDef] =
    &[&TENANT_CREATE, &GROUP_CREATE, &TENANT_SET, &GROUP_SET, &TENANT_GUARD, &GROUP_GUARD, &CLUSTER_GUARD];

/// Whose capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of<'a> {
    /// A namespace's.
    Tenant(&'a str),
    /// A group's over all namespaces; the empty name is the whole server's.
    Group(&'a str),
}

/// A capacity as it is shown; a limit of 0 was replaced by the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The row's id.
    pub id: i64,
    /// Configurations at most.
    pub quota: i64,
    /// Configurations now.
    pub usage: i64,
    /// Bytes of one content at most.
    pub max_size: i64,
    /// Kept for the shape; nothing aggregates here.
    pub max_aggr_count: i64,
    /// Likewise.
    pub max_aggr_size: i64,
}

/// New limits; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Configurations at most.
    pub quota: Option<i64>,
    /// Bytes of one content at most.
    pub max_size: Option<i64>,
    /// See [`Limits`].
    pub max_aggr_count: Option<i64>,
    /// See [`Limits`].
    pub max_aggr_size: Option<i64>,
}

/// Which limit a publish broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The server's quota.
    Cluster,
    /// The group's quota.
    Group,
    /// The namespace's quota.
    Tenant,
    /// The size of one content.
    Size,
}

/// The quotas of one server.
#[derive(Clone)]
pub struct Capacity {
    db: Arc<dyn DatabaseOperate>,
    ids: Arc<Ids>,
    settings: CapacitySettings,
}

impl Capacity {
    /// Quotas in this store with these defaults.
    pub fn new(db: Arc<dyn DatabaseOperate>, ids: Arc<Ids>, settings: CapacitySettings) -> Self {
        Self { db, ids, settings }
    }

    fn default_quota(&self, of: Of<'_>) -> i64 {
        match of {
            Of::Tenant(_) => i64::from(self.settings.tenant_quota),
            Of::Group("") => i64::from(self.settings.cluster_quota),
            Of::Group(_) => i64::from(self.settings.group_quota),
        }
    }

    fn create(&self, of: Of<'_>) -> Statement {
        let (def, name) = match of {
            Of::Tenant(name) => (&TENANT_CREATE, name),
            Of::Group(name) => (&GROUP_CREATE, name),
        };
        def.with([self.ids.next().into(), name.into(), Value::Time(clock::wall_ms())])
    }

    /// The limits in force; the row is created if it is not there, as Nacos does.
    pub async fn get(&self, of: Of<'_>) -> Result<Limits, StorageError> {
        let (table, column, name, count) = match of {
            Of::Tenant(name) => {
                ("tenant_capacity", "tenant_id", name, "SELECT count(*) FROM config_info WHERE tenant_id = ?1")
            }
            Of::Group("") => ("group_capacity", "group_id", "", "SELECT count(*) FROM config_info WHERE ?1 = ''"),
            Of::Group(name) => {
                ("group_capacity", "group_id", name, "SELECT count(*) FROM config_info WHERE group_id = ?1")
            }
        };
        let sql = format!(
            "SELECT id, quota, max_size, max_aggr_count, max_aggr_size, ({count}) FROM {table} WHERE {column} = ?1"
        );
        let read = || self.db.query(Query::new(sql.clone(), [name.into()]));
        let mut rows = read().await?;
        if rows.rows.is_empty() {
            self.db.execute(Batch::from(vec![self.create(of)])).await?;
            rows = read().await?;
        }
        let row = rows.rows.first().ok_or_else(|| StorageError::Corrupt("a capacity is gone".to_owned()))?;
        let number = |at: usize| row.get(at).and_then(Value::as_int).unwrap_or_default();
        let or = |value: i64, default: i64| if value == 0 { default } else { value };
        Ok(Limits {
            id: number(0),
            quota: or(number(1), self.default_quota(of)),
            max_size: or(number(2), i64::from(self.settings.max_size)),
            max_aggr_count: or(number(3), i64::from(self.settings.max_aggr_count)),
            max_aggr_size: or(number(4), i64::from(self.settings.max_aggr_size)),
            usage: number(5),
        })
    }

    /// Sets limits; the row is created if it is not there.
    pub async fn set(&self, of: Of<'_>, change: Change) -> Result<(), StorageError> {
        let (def, name) = match of {
            Of::Tenant(name) => (&TENANT_SET, name),
            Of::Group(name) => (&GROUP_SET, name),
        };
        let set = def
            .with([
                name.into(),
                change.quota.into(),
                change.max_size.into(),
                change.max_aggr_count.into(),
                change.max_aggr_size.into(),
                Value::Time(clock::wall_ms()),
            ])
            .must_touch();
        self.db.execute(Batch::from(vec![self.create(of), set])).await.map(drop)
    }

    /// The guards that go before a publish of this key, each of which must touch a row, and what an unmet one
    /// means. Empty while limits are not checked.
    pub async fn guards(&self, key: &ConfigKey, content_bytes: usize) -> Result<Guards, GuardError> {
        if !self.settings.manage || !self.settings.limit_check {
            return Ok(Guards::default());
        }
        let scope = if key.namespace().is_empty() { Of::Group(key.group()) } else { Of::Tenant(key.namespace()) };
        let limits = self.get(scope).await.map_err(GuardError::Storage)?;
        if content_bytes as i64 > limits.max_size {
            return Err(GuardError::Over(Over::Size));
        }
        // The server's row is made before it is needed as a guard, in a batch of its own.
        self.get(Of::Group("")).await.map_err(GuardError::Storage)?;
        let guard = |def: &'static StatementDef, default: i64| {
            def.with([
                key.data_id().into(),
                key.group().into(),
                key.namespace().into(),
                default.into(),
                Value::Time(clock::wall_ms()),
            ])
            .must_touch()
        };
        let (scoped, over) = match scope {
            Of::Tenant(_) => (guard(&TENANT_GUARD, i64::from(self.settings.tenant_quota)), Over::Tenant),
            Of::Group(_) => (guard(&GROUP_GUARD, i64::from(self.settings.group_quota)), Over::Group),
        };
        let cluster = guard(&CLUSTER_GUARD, i64::from(self.settings.cluster_quota));
        Ok(Guards { statements: vec![cluster, scoped], meaning: vec![Over::Cluster, over] })
    }
}

/// Guards and what each means when it is unmet.
#[derive(Debug, Default)]
pub struct Guards {
    /// The statements.
    pub statements: Vec<Statement>,
    /// What they guard, in the same order.
    pub meaning: Vec<Over>,
}

/// Why there are no guards.
#[derive(Debug)]
pub enum GuardError {
    /// A limit is broken already.
    Over(Over),
    /// The limits could not be read.
    Storage(StorageError),
}
