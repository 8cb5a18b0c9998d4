//! The rounds on Postgres: in turn the server is killed, and Postgres while the server stays up.

use std::{
    net::SocketAddr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{
    Crowd, Told,
    ledger::Ledger,
    naming, published,
    publishers::{self, Ending, Outage, Plan},
    stored::{self, Stored},
};
use crate::{
    bench,
    postgres::{Database, Postgres, Programs},
    server::{Launch, Server},
};

/// How long the sessions of a dead server may take to end.
const SESSIONS_END: Duration = Duration::from_secs(10);
/// How long a server may take to show what became of writes that it could not confirm.
const CATCH_UP: Duration = Duration::from_secs(10);

/// A Postgres, a server on it, and all that was ever published there.
pub struct Place {
    // Before Postgres, so that it is dropped first.
    server: Option<Server>,
    postgres: Postgres,
    database: Database,
    folder: TempDir,
    launch: Launch,
    ledger: Ledger,
    naming: naming::Ledger,
    crowd: Crowd,
}

impl Place {
    /// A fresh database, and a server with a data folder of its own.
    pub fn new(runtime: &Runtime, crowd: Crowd) -> Result<Self> {
        let postgres = Postgres::start(Programs::find().context(Programs::MISSING)?)?;
        let database = postgres.create_database()?;
        let folder = tempfile::Builder::new().prefix("crash-").tempdir_in(bench::target())?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let mut launch = Launch::new(data)?;
        launch.log = Some(folder.path().join("server.log"));
        launch.set = naming::settings();
        launch.set.extend(database.settings.iter().cloned());
        let server = launch.start()?;
        let mut ledger = Ledger::new(publishers::keys(crowd.clients));
        runtime.block_on(publishers::create_swapped(&mut ledger, server.addr()))?;
        let naming = runtime.block_on(naming::prepare(server.addr(), crowd.writers))?;
        Ok(Self { server: Some(server), postgres, database, folder, launch, ledger, naming, crowd })
    }

    /// Writes, kills, and judges what is left.
    pub fn round(&mut self, runtime: &Runtime, rng: &mut Rng, round: usize) -> Result<Told> {
        let wait = Duration::from_millis(rng.u64(50..=800));
        if round % 2 == 1 {
            self.server_killed(runtime, rng, round, wait)
        } else {
            self.outage(runtime, rng, round, wait)
        }
    }

    fn server_killed(&mut self, runtime: &Runtime, rng: &mut Rng, round: usize, wait: Duration) -> Result<Told> {
        let server = self.server.take().context("no server runs")?;
        let Crowd { clients, writers } = self.crowd;
        let plan = Plan { clients, round, wait, ending: Ending::default() };
        let (addr, namers) = (server.addr(), rng.fork());
        let (written, killed_after, named) = runtime.block_on(async {
            let writers = naming::Writers::start(&self.naming, addr, writers, namers, plan.ending.clone()).await?;
            let killed = publishers::until_killed(&mut self.ledger, server, &plan, rng.fork()).await;
            plan.ending.end();
            let named = writers.enter(&mut self.naming).await;
            let (written, killed_after) = killed?;
            anyhow::Ok((written, killed_after, named?))
        })?;
        let stored = self.stored()?;
        let settled = self.ledger.judge(&stored)?;
        let begun = Instant::now();
        let server = self.launch.start().context("start after the kill")?;
        let ready = begun.elapsed();
        runtime.block_on(published::check(server.addr(), &stored, rng)).context("over HTTP after the restart")?;
        let settled_named = self.found(runtime, server.addr())?;
        self.server = Some(server);
        Ok(Told {
            written,
            settled,
            named,
            settled_named,
            rows: stored.rows(),
            end: format!("server killed after {} ms", killed_after.as_millis()),
            recovery: format!("ready again in {} ms", ready.as_millis()),
        })
    }

    fn outage(&mut self, runtime: &Runtime, rng: &mut Rng, round: usize, wait: Duration) -> Result<Told> {
        let server = self.server.as_ref().context("no server runs")?.addr();
        let Crowd { clients, writers } = self.crowd;
        let plan = Plan { clients, round, wait, ending: Ending::default() };
        let namers = rng.fork();
        let (written, outage, named) = runtime.block_on(async {
            // They have a log of their own, and meet nothing of the outage.
            let writers = naming::Writers::start(&self.naming, server, writers, namers, plan.ending.clone()).await?;
            let (ledger, postgres) = (&mut self.ledger, &mut self.postgres);
            let outage = publishers::across_outage(ledger, server, postgres, &plan, rng.fork()).await;
            plan.ending.end();
            let named = writers.enter(&mut self.naming).await;
            let (written, outage) = outage?;
            anyhow::Ok((written, outage, named?))
        })?;
        let Outage { wrote, away, recovery } = outage;
        let stored = self.stored()?;
        let settled = self.ledger.judge(&stored)?;
        let begun = Instant::now();
        // Of a write that it could not confirm it learns by reading, in a moment.
        while let Err(error) = runtime.block_on(published::check(server, &stored, rng)) {
            ensure!(begun.elapsed() < CATCH_UP, "over HTTP {CATCH_UP:?} after the outage: {error:#}");
            thread::sleep(Duration::from_millis(20));
        }
        let settled_named = self.found(runtime, server)?;
        Ok(Told {
            written,
            settled,
            named,
            settled_named,
            rows: stored.rows(),
            end: format!("Postgres killed after {} ms, away for {} ms", wrote.as_millis(), away.as_millis()),
            recovery: format!(
                "written again {} ms after it was back, shown {} ms after the last",
                recovery.as_millis(),
                begun.elapsed().as_millis()
            ),
        })
    }

    /// Judges what the server shows of service discovery.
    fn found(&mut self, runtime: &Runtime, server: SocketAddr) -> Result<naming::Settled> {
        let found = runtime.block_on(naming::read(server, self.naming.targets())).context("service discovery")?;
        self.naming.judge(&found).context("service discovery")
    }

    /// What is stored, once no session writes any more.
    fn stored(&self) -> Result<Stored> {
        let begun = Instant::now();
        let at_work = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND pid <> pg_backend_pid() AND state <> 'idle'";
        while self.postgres.query(&self.database.name, at_work)?.trim() != "0" {
            ensure!(begun.elapsed() < SESSIONS_END, "a session in Postgres does not come to rest");
            thread::sleep(Duration::from_millis(10));
        }
        stored::read_postgres(&self.postgres, &self.database.name, self.ledger.names())
    }

    /// Keeps the folders of the server and of Postgres, and gives their paths.
    pub fn keep(self) -> Vec<PathBuf> {
        drop(self.server);
        vec![self.folder.keep(), self.postgres.keep()]
    }

    /// Stops the server.
    pub fn stop(self) -> Result<()> {
        self.server.map_or(Ok(()), Server::stop)
    }
}
