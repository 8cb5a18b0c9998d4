//! Writing configurations: what every way of publishing and removing shares.
//!
//! Each write runs in a task of its own: a client that leaves in the middle neither undoes it nor keeps the cache
//! from hearing of it. The order is: rules, quotas, one batch in the store, the cache, then the events. A caller is
//! answered after the commit, and finds what it wrote.

use std::{future::Future, sync::Arc};

use nacos_core::{
    clock,
    event::Topic,
    key::ConfigKey,
    metrics::Metrics,
    storage::{Position, StorageError},
};
use prometheus::{Histogram, IntCounter};

use crate::{
    capacity::{Capacity, GuardError, Over},
    dump::{CHANGES_BEHIND_MAX, Dump},
    model::{Md5, Part, Publish, Stored},
    repository::{Demand, Repository, Row, WriteError, beta_ips},
    switches::Switches,
    trace::{PersistKind, PersistRecord, Trace, TracePart},
};

/// A configuration was written or removed in the store by this server (Nacos `ConfigDataChangeEvent`). Other members
/// are told on its account.
#[derive(Debug, Clone)]
pub struct ConfigDataChange {
    /// The key.
    pub key: ConfigKey,
    /// Which of its contents.
    pub part: Part,
    /// When, in milliseconds since 1970.
    pub last_modified: i64,
}

/// To whom a content is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// To all clients.
    All,
    /// To clients at these addresses, a comma list.
    Beta(String),
    /// To clients with this tag.
    Tag(String),
}

/// Why a publish was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Another content is stored than the one compared with; nothing was written. Read, then decide.
    #[error("Cas publish {0}fail, server md5 may have changed.")]
    Conflict(&'static str),
    /// The dataId is aggregated elsewhere; nothing was written.
    #[error("dataId:{0} is aggr")]
    Aggregated(String),
    /// A quota or a size is over its limit; nothing was written.
    #[error("{}", over_text(*.0, .1))]
    Over(Over, ConfigKey),
    /// The key exists though it must not; nothing was written.
    #[error("config already exists")]
    Exists,
    /// The store failed; its error says whether the write may have happened.
    #[error("write configuration")]
    Storage(#[from] StorageError),
}

fn over_text(over: Over, key: &ConfigKey) -> String {
    let (group, namespace) = (key.group(), key.namespace());
    match over {
        Over::Size => format!("Configuration content size is over limit [group={group}, namespaceId={namespace}]."),
        _ => format!("Configuration limit exceeded [group={group}, namespaceId={namespace}]."),
    }
}

/// Writes configurations. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    repository: Repository,
    dump: Arc<Dump>,
    capacity: Capacity,
    switches: Arc<Switches>,
    changes: Topic<ConfigDataChange>,
    trace: Trace,
    self_ip: String,
    took: Histogram,
    failed: IntCounter,
}

impl Publisher {
    /// A publisher into this repository.
    pub fn new(
        repository: Repository,
        dump: Arc<Dump>,
        capacity: Capacity,
        switches: Arc<Switches>,
        trace: Trace,
        self_ip: String,
        metrics: &Metrics,
    ) -> Self {
        let changes = Topic::new("ConfigDataChange", CHANGES_BEHIND_MAX, metrics.clone());
        let took = metrics.timer("config", "writeConfigRt");
        let failed = metrics.exceptions("config", "db");
        let inner = Inner { repository, dump, capacity, switches, changes, trace, self_ip, took, failed };
        Self { inner: Arc::new(inner) }
    }

    /// Where writes are told.
    pub fn changes(&self) -> &Topic<ConfigDataChange> {
        &self.inner.changes
    }

    /// Writes a content. The caller has checked the parameters' rules. `app` is the caller's application, for the
    /// log.
    ///
    /// # Errors
    /// See [`PublishError`]; only [`StorageError::Unconfirmed`] leaves open what happened.
    pub async fn publish(
        &self,
        publish: Publish,
        audience: Audience,
        demand: Demand,
        app: &str,
    ) -> Result<(), PublishError> {
        let inner = self.inner.clone();
        let app = app.to_owned();
        owned(async move { inner.publish(publish, audience, demand, &app).await }).await
    }

    /// Removes the formal content of a key, or that of a tag. Nothing happens if there is none.
    pub async fn remove(
        &self,
        key: ConfigKey,
        tag: Option<String>,
        user: Option<String>,
        ip: &str,
    ) -> Result<(), StorageError> {
        let inner = self.inner.clone();
        let ip = ip.to_owned();
        owned(async move { inner.remove(key, tag, user, &ip).await }).await
    }

    /// Removes the beta content of a key.
    pub async fn stop_beta(&self, key: ConfigKey, ip: &str, app: &str) -> Result<(), StorageError> {
        let inner = self.inner.clone();
        let (ip, app) = (ip.to_owned(), app.to_owned());
        owned(async move {
            let committed = inner.repository.remove_beta(&key).await?;
            inner.settle(&key, Part::Beta, committed.position, None).await;
            inner.log(&key, &Part::Beta, clock::wall_ms(), &ip, &app, PersistKind::Remove, None);
            Ok(())
        })
        .await
    }

    /// Removes the formal contents of these rows; says which there were.
    pub async fn remove_ids(
        &self,
        ids: &[i64],
        user: Option<String>,
        ip: &str,
    ) -> Result<Vec<ConfigKey>, StorageError> {
        let rows: Vec<Row> = self.inner.repository.find_by_ids(ids).await?;
        let mut removed = Vec::with_capacity(rows.len());
        for row in rows {
            self.remove(row.key.clone(), None, user.clone(), ip).await?;
            removed.push(row.key);
        }
        Ok(removed)
    }
}

/// Runs a write in a task of its own and waits for it.
async fn owned<T: Send + 'static, E: From<StorageError> + Send + 'static>(
    write: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    match tokio::spawn(write).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a write's task broke");
            Err(StorageError::Unconfirmed("its task broke".to_owned()).into())
        }
    }
}

impl Inner {
    async fn publish(
        &self,
        publish: Publish,
        audience: Audience,
        demand: Demand,
        app: &str,
    ) -> Result<(), PublishError> {
        let _timer = self.took.start_timer();
        if self.switches.is_aggregated(publish.key.data_id()) {
            return Err(PublishError::Aggregated(publish.key.data_id().to_owned()));
        }
        let md5 = Md5::of(publish.content.as_bytes());
        let now = clock::wall_ms();
        let expected = match &demand {
            Demand::Md5(md5) => Some(md5.as_str()),
            _ => None,
        };
        let (part, written, what) = match &audience {
            Audience::All => {
                let guards = match self.capacity.guards(&publish.key, publish.content.len()).await {
                    Ok(guards) => guards,
                    Err(GuardError::Over(over)) => return Err(PublishError::Over(over, publish.key)),
                    Err(GuardError::Storage(error)) => return Err(error.into()),
                };
                let written = self.repository.publish(&publish, md5, now, &demand, guards.statements).await;
                if let Err(WriteError::Guarded(at)) = &written {
                    let over = guards.meaning.get(*at).copied().unwrap_or(Over::Cluster);
                    return Err(PublishError::Over(over, publish.key));
                }
                (Part::Formal, written, "")
            }
            Audience::Beta(ips) => {
                let written = self.repository.publish_beta(&publish, md5, now, ips, expected).await;
                (Part::Beta, written, "beta config ")
            }
            Audience::Tag(tag) => {
                let written = self.repository.publish_tag(&publish, md5, now, tag, expected).await;
                (Part::Tag(tag.as_str().into()), written, "tag config ")
            }
        };
        let committed = match written {
            Ok(committed) => committed,
            Err(WriteError::DemandUnmet) if demand == Demand::Absent => return Err(PublishError::Exists),
            Err(WriteError::DemandUnmet | WriteError::Guarded(_)) => return Err(PublishError::Conflict(what)),
            Err(WriteError::Storage(error)) => {
                self.failed.inc();
                return Err(error.into());
            }
        };
        let stored = Stored {
            content: publish.content.clone(),
            md5,
            last_modified: now,
            encrypted_data_key: match part {
                Part::Tag(_) => None,
                _ => Some(publish.encrypted_data_key.as_deref().unwrap_or_default().into()),
            },
            config_type: publish.config_type,
            beta_ips: match &audience {
                Audience::Beta(ips) => beta_ips(ips),
                _ => Arc::new([]),
            },
        };
        self.settle(&publish.key, part.clone(), committed.position, Some(&stored)).await;
        self.log(&publish.key, &part, now, &publish.src_ip, app, PersistKind::Publish, Some(md5));
        Ok(())
    }

    async fn remove(
        &self,
        key: ConfigKey,
        tag: Option<String>,
        user: Option<String>,
        ip: &str,
    ) -> Result<(), StorageError> {
        let (part, committed) = match tag {
            None => (Part::Formal, self.repository.remove(&key, user, ip).await?),
            Some(tag) => {
                let committed = self.repository.remove_tag(&key, &tag).await?;
                (Part::Tag(tag.into()), committed)
            }
        };
        self.settle(&key, part.clone(), committed.position, None).await;
        self.log(&key, &part, clock::wall_ms(), ip, "", PersistKind::Remove, None);
        Ok(())
    }

    /// Brings a committed write into the cache and tells of it.
    async fn settle(&self, key: &ConfigKey, part: Part, position: Position, stored: Option<&Stored>) {
        if position == Position::UNKNOWN {
            // The store does not say which of two writes came later: what it holds now is right.
            if let Err(error) = self.dump.refresh(key).await {
                tracing::warn!(%key, %error, "written, but not read back; the periodic check will");
            }
        } else {
            self.dump.apply(key, &part, position, stored);
        }
        let last_modified = stored.map_or_else(clock::wall_ms, |stored| stored.last_modified);
        self.changes.publish(ConfigDataChange { key: key.clone(), part, last_modified });
    }

    #[expect(clippy::too_many_arguments, reason = "a line of a log")]
    fn log(&self, key: &ConfigKey, part: &Part, time: i64, ip: &str, app: &str, kind: PersistKind, md5: Option<Md5>) {
        self.trace.persist(PersistRecord {
            key: key.clone(),
            app: app.into(),
            time_ms: time,
            handle_ip: if kind == PersistKind::Remove { ip.into() } else { self.self_ip.as_str().into() },
            part: TracePart::from(part),
            kind,
            md5: md5.map(Md5::bytes),
        });
    }
}
