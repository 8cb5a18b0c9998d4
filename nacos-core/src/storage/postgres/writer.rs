//! The one task that writes.
//!
//! Owns the writing connection, and makes it anew when it breaks. It takes all batches that wait, runs each in a
//! savepoint within one transaction, tells the other servers, commits, and answers them all.

use std::{sync::Arc, time::Duration};

use sqlx::{Executor as _, Row as _, postgres::PgConnection};
use tokio::sync::mpsc;

use crate::id::{Ids, WORKER_MAX};

use super::{
    super::{
        Batch, Position, StorageError,
        group::{Job, Order, gather, positioned},
    },
    PostgresError, Reach, Shared, answered, bound,
    connect::{self, ConnectError, Failure},
    dialect::{Numbered, translated},
    function::{self, Functions, Kind},
    listen, migrate,
};

/// The lock under which all servers write, one transaction after another: of the schema, since a database may hold
/// several. (The number is the letters "nacos".)
const WRITE_LOCK: &str = "pg_advisory_xact_lock(hashtextextended(current_schema()::text, 474080309107))";
/// Positions that one number of the sequence stands for: more than a group has batches.
const POSITIONS: u64 = 4096;
/// How often one transaction is tried that collides or loses its connection before it was to be committed.
const TRIES: u32 = 5;
/// The tables are analysed after so many batches, and again after eight times as many each.
const ANALYSE_FIRST: u64 = 256;
/// Rest before the database is looked for again, at first and at most.
const REST: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(2);

/// Why the writer cannot write.
pub(super) enum Unready {
    /// No server can be reached now.
    Away,
    /// An operator must act.
    Refused(PostgresError),
}

/// What a transaction did.
enum Ended {
    /// What each batch did; what was done is committed.
    Committed(Vec<Result<Vec<u64>, StorageError>>, u64),
    /// The connection is gone and nothing was written.
    Lost(String),
    /// Nothing was written; the same may succeed now.
    Collided(String),
    /// No batch could be begun, and the session goes on.
    NotBegun(StorageError),
    /// Nobody can say what is written.
    Unknown(Vec<Result<Vec<u64>, StorageError>>, String),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    conn: Option<(PgConnection, Functions)>,
    /// Batches committed by this process.
    committed: u64,
    /// The tables are analysed when there are so many.
    analyse_at: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, conn: None, committed: 0, analyse_at: ANALYSE_FIRST }
    }

    /// Connects, brings the schema up to date, and learns what is committed.
    pub(super) async fn connect(&mut self) -> Result<(), Unready> {
        self.conn = None;
        let (mut conn, at) = match self.shared.connect().await {
            Ok(found) => found,
            Err(ConnectError::Away(why)) => {
                self.shared.lost(&why);
                return Err(Unready::Away);
            }
            Err(ConnectError::Refused(why)) => {
                self.shared.lost(&why);
                return Err(Unready::Refused(PostgresError::Refused(why)));
            }
        };
        let ready = async {
            migrate::run(&mut conn).await?;
            if let Some(ids) = &self.shared.options.ids {
                let claimed = claim(&mut conn, ids).await;
                claimed.map_err(|failure| migrate::Error::Failed(format!("{failure:?}")))?;
            }
            committed(&mut conn).await.map_err(|failure| migrate::Error::Failed(format!("{failure:?}")))
        };
        match ready.await {
            Ok(position) => {
                self.shared.reached(position);
                self.conn = Some((conn, Functions::default()));
                self.shared.found(at);
                Ok(())
            }
            Err(migrate::Error::Refused(error)) => {
                self.shared.lost(&error.to_string());
                Err(Unready::Refused(error))
            }
            Err(migrate::Error::Failed(why)) => {
                self.shared.lost(&why);
                Err(Unready::Away)
            }
        }
    }

    /// Asks whether the connection is there, and connects anew if it is not.
    async fn check(&mut self) {
        let Some((conn, _)) = &mut self.conn else { return };
        let asked = conn.execute(sqlx::raw_sql("SELECT 1"));
        let told = match tokio::time::timeout(self.shared.options.connect_timeout, asked).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => connect::text(&error),
            Err(_) => "no answer".to_owned(),
        };
        tracing::warn!(why = told, "the connection to the database broke");
        let _ = self.connect().await;
    }

    /// Serves the queue until it is closed and empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        let mut rest = REST;
        loop {
            let order = if self.conn.is_some() {
                tokio::select! {
                    order = queue.recv() => order,
                    () = self.shared.doubt.notified() => {
                        self.check().await;
                        continue;
                    }
                }
            } else {
                tokio::select! {
                    order = queue.recv() => order,
                    () = tokio::time::sleep(rest) => {
                        rest = if self.connect().await.is_ok() { REST } else { (rest * 2).min(REST_MAX) };
                        continue;
                    }
                }
            };
            let Some(order) = order else { break };
            self.serve(gather(order, &mut queue)).await;
        }
        if let Some((conn, _)) = self.conn {
            let _ = sqlx::Connection::close(conn).await;
        }
    }

    async fn serve(&mut self, group: Vec<Job>) {
        if group.is_empty() {
            return;
        }
        let mut told = String::new();
        for _ in 0..TRIES {
            let Some((conn, functions)) = &mut self.conn else {
                // Those who waited when it broke; whoever comes later is told before he waits.
                if let Reach::Away(why) = &*self.shared.reach.borrow() {
                    told.clone_from(why);
                }
                break;
            };
            match transact(conn, functions, &group, &self.shared).await {
                Ended::Committed(outcomes, first) => {
                    self.answer(group, outcomes, first);
                    return self.analyse_if_due().await;
                }
                Ended::NotBegun(error) => return group.into_iter().for_each(|job| job.answer(Err(error.clone()))),
                Ended::Unknown(outcomes, why) => {
                    tracing::error!(why, "the database was lost while it committed");
                    for (job, outcome) in group.into_iter().zip(outcomes) {
                        job.answer(outcome.and(Err(StorageError::Unconfirmed(why.clone()))));
                    }
                    let _ = self.connect().await;
                    return;
                }
                Ended::Collided(why) => told = why,
                Ended::Lost(why) => {
                    tracing::warn!(why, "the connection to the database broke; the transaction is tried again");
                    told = why;
                    let _ = self.connect().await;
                }
            }
        }
        group.into_iter().for_each(|job| job.answer(Err(StorageError::Unavailable(told.clone()))));
    }

    /// Has Postgres look at the tables after the first writes, and each time that they may have grown much. Its own
    /// daemon comes a minute later; meanwhile it would look up a key by an index that hardly narrows the search.
    async fn analyse_if_due(&mut self) {
        if self.committed < self.analyse_at {
            return;
        }
        let Some((conn, _)) = &mut self.conn else { return };
        self.analyse_at = self.committed.saturating_mul(8);
        let done = answered(async {
            let sql = "ANALYZE config_info, config_info_beta, config_info_tag, config_tags_relation, his_config_info";
            Ok(conn.execute(sqlx::raw_sql(sql)).await.map(drop)?)
        });
        match done.await {
            Ok(()) => {}
            Err(Failure::Session(why)) => {
                tracing::warn!(why, "the connection to the database broke");
                let _ = self.connect().await;
            }
            Err(failure) => tracing::debug!(?failure, "tables not analysed"),
        }
    }

    fn answer(&mut self, group: Vec<Job>, outcomes: Vec<Result<Vec<u64>, StorageError>>, first: u64) {
        let (outcomes, last) = positioned(outcomes, first);
        // Before the answers: who has one must find its position reached.
        if last > first {
            self.shared.reached(Position(last));
            self.committed += last - first;
        }
        for (job, outcome) in group.into_iter().zip(outcomes) {
            job.answer(outcome);
        }
    }
}

/// Makes these the ids of a worker that no other session is: it is locked as long as this session lives.
async fn claim(conn: &mut PgConnection, ids: &Ids) -> Result<(), Failure> {
    let sql = "SELECT worker FROM (SELECT ($1 + step) % $2 AS worker FROM generate_series(0, $2 - 1) AS step) AS workers \
               WHERE pg_try_advisory_lock(hashtext('nacos worker of ' || current_schema()), worker) LIMIT 1";
    let count = i32::from(WORKER_MAX) + 1;
    let free = sqlx::query_scalar::<_, i32>(sql).bind(i32::from(ids.worker())).bind(count);
    match answered(async { Ok(free.fetch_optional(conn).await?) }).await? {
        Some(worker) => ids.set_worker(worker as u16),
        None => tracing::warn!("more servers than worker ids on one database: ids may come twice"),
    }
    Ok(())
}

/// The last position that is committed: under the lock nobody is between drawing one and committing.
async fn committed(conn: &mut PgConnection) -> Result<Position, Failure> {
    let sql = format!("BEGIN; SELECT {WRITE_LOCK}; SELECT last_value FROM nacos_position; COMMIT");
    let number = answered(number(conn, sql)).await?;
    Ok(Position(number.saturating_mul(POSITIONS) + POSITIONS - 1))
}

/// Runs several statements in one trip, and answers the integer of the last row.
async fn number(conn: &mut PgConnection, sql: String) -> Result<u64, Failure> {
    let rows = conn.fetch_all(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await?;
    let last = rows.last().ok_or_else(|| Failure::Session("no row".to_owned()))?;
    let number: i64 = last.try_get(0)?;
    Ok(number.unsigned_abs())
}

async fn control(conn: &mut PgConnection, sql: &'static str) -> Result<(), Failure> {
    answered(async { Ok(conn.execute(sqlx::raw_sql(sql)).await.map(drop)?) }).await
}

/// Runs the group in one transaction.
async fn transact(conn: &mut PgConnection, functions: &mut Functions, group: &[Job], shared: &Shared) -> Ended {
    let kinds: Vec<Option<Kind>> = group.iter().map(|job| Kind::of(&job.batch)).collect();
    for (job, kind) in group.iter().zip(&kinds) {
        let Some(kind) = kind else { continue };
        match answered(functions.prepare(conn, kind, &job.batch)).await {
            Ok(()) => {}
            Err(Failure::Collision(why)) => return Ended::Collided(why),
            Err(Failure::Session(why)) => return Ended::Lost(why),
            Err(Failure::Statement(error)) => return Ended::NotBegun(error),
        }
    }
    let least = shared.known.load(std::sync::atomic::Ordering::Acquire) / POSITIONS + 1;
    // A server that takes the place of another may lag behind it; positions never go back.
    let sql = format!(
        "BEGIN; SELECT {WRITE_LOCK}; SELECT CASE WHEN n < {least} THEN \
         setval('nacos_position', {least}) ELSE n END FROM nextval('nacos_position') AS n"
    );
    let number = match answered(number(conn, sql)).await {
        Ok(number) => number,
        Err(Failure::Session(why)) => return Ended::Lost(why),
        Err(Failure::Collision(why)) => return rolled_back(conn, Ended::Collided(why)).await,
        Err(Failure::Statement(error)) => return rolled_back(conn, Ended::NotBegun(error)).await,
    };
    let mut outcomes = Vec::with_capacity(group.len());
    while let Some(job) = group.get(outcomes.len()) {
        match run(conn, functions, &group[outcomes.len()..], &kinds[outcomes.len()..]).await {
            Some(Ok(done)) => {
                outcomes.extend(done);
                continue;
            }
            Some(Err(Failure::Collision(why))) => return rolled_back(conn, Ended::Collided(why)).await,
            Some(Err(Failure::Session(why))) => return Ended::Lost(why),
            Some(Err(Failure::Statement(error))) => return rolled_back(conn, Ended::NotBegun(error)).await,
            None => {}
        }
        match apply(conn, &job.batch, group.len() > 1).await {
            Ok(touched) => outcomes.push(Ok(touched)),
            Err(Failure::Statement(error)) => outcomes.push(Err(error)),
            Err(Failure::Collision(why)) => return rolled_back(conn, Ended::Collided(why)).await,
            Err(Failure::Session(why)) => return Ended::Lost(why),
        }
    }
    let first = number.saturating_mul(POSITIONS);
    if outcomes.iter().all(Result::is_err) {
        return rolled_back(conn, Ended::Committed(outcomes, first)).await;
    }
    let changed = group.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
    let changed = changed.flat_map(|(job, _)| &job.batch.changed);
    let payloads = listen::payloads(&shared.node, first + outcomes.len() as u64, changed);
    if !payloads.is_empty() {
        let sql = format!("SELECT pg_notify({}, payload) FROM unnest($1::text[]) AS payload", listen::CHANNEL);
        let told = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(payloads);
        match answered(async { Ok(conn.execute(told).await.map(drop)?) }).await {
            Ok(()) => {}
            Err(Failure::Session(why)) => return Ended::Lost(why),
            Err(Failure::Collision(why)) => return rolled_back(conn, Ended::Collided(why)).await,
            Err(Failure::Statement(error)) => return rolled_back(conn, Ended::NotBegun(error)).await,
        }
    }
    match control(conn, "COMMIT").await {
        Ok(()) => Ended::Committed(outcomes, first),
        Err(Failure::Collision(why)) => Ended::Collided(why),
        Err(Failure::Session(why)) => Ended::Unknown(outcomes, why),
        Err(Failure::Statement(error)) => Ended::Unknown(outcomes, error.to_string()),
    }
}

/// Runs as many batches as come one after another and are of one kind, in one trip. `None` if the first must be run
/// statement by statement.
async fn run(
    conn: &mut PgConnection,
    functions: &Functions,
    group: &[Job],
    kinds: &[Option<Kind>],
) -> Option<Result<Vec<Result<Vec<u64>, StorageError>>, Failure>> {
    let kind = kinds.first()?.as_ref()?;
    let alike = kinds.iter().take_while(|other| other.as_ref() == Some(kind)).count();
    let batches: Vec<&Batch> = group[..alike].iter().map(|job| &job.batch).collect();
    let name = functions.name(kind)?;
    Some(answered(function::run(conn, name, &batches)).await)
}

/// Ends the transaction without a trace.
async fn rolled_back(conn: &mut PgConnection, ended: Ended) -> Ended {
    match (control(conn, "ROLLBACK").await, ended) {
        (Ok(()), ended) => ended,
        // It ends by itself, with the session.
        (Err(_), Ended::Collided(why)) => Ended::Lost(why),
        (Err(_), ended @ (Ended::Lost(_) | Ended::Unknown(..))) => ended,
        (Err(failure), Ended::NotBegun(_) | Ended::Committed(..)) => Ended::Lost(format!("{failure:?}")),
    }
}

/// Runs a batch; among others in a savepoint, so that it can fail alone.
async fn apply(conn: &mut PgConnection, batch: &Batch, among_others: bool) -> Result<Vec<u64>, Failure> {
    // One that fails leaves the transaction in nobody knows what state: all of it must be done again.
    let again = |failure| match failure {
        Failure::Statement(error) => Failure::Collision(error.to_string()),
        failure => failure,
    };
    if among_others {
        control(conn, "SAVEPOINT batch").await.map_err(again)?;
    }
    match statements(conn, batch).await {
        Ok(touched) => {
            if among_others {
                control(conn, "RELEASE batch").await.map_err(again)?;
            }
            Ok(touched)
        }
        Err(Failure::Statement(error)) if among_others => {
            control(conn, "ROLLBACK TO batch; RELEASE batch").await.map_err(again)?;
            Err(Failure::Statement(error))
        }
        Err(failure) => Err(failure),
    }
}

async fn statements(conn: &mut PgConnection, batch: &Batch) -> Result<Vec<u64>, Failure> {
    let mut touched = Vec::with_capacity(batch.statements.len());
    for (index, statement) in batch.statements.iter().enumerate() {
        let sql = translated(statement.def.sql, &Numbered);
        let rows = answered(async {
            let (bound, _) = bound(conn, &sql, &statement.args).await?;
            Ok(bound.execute(&mut *conn).await?.rows_affected())
        })
        .await?;
        if statement.must_touch && rows == 0 {
            return Err(Failure::Statement(StorageError::DemandUnmet(index)));
        }
        touched.push(rows);
    }
    Ok(touched)
}
