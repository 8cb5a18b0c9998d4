//! The rounds on the embedded database, which lives and dies with its server.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::Instant};

use super::{
    Crowd, Told,
    ledger::Ledger,
    naming, published,
    publishers::{self, Ending, Plan},
    stored::{self, Stored},
    wal,
};
use crate::{
    bench,
    server::{Launch, Server},
};

/// A data folder, the server on it, and all that was ever published there.
pub struct Place {
    folder: TempDir,
    launch: Launch,
    server: Option<Server>,
    ledger: Ledger,
    history: stored::Known,
    naming: naming::Ledger,
    crowd: Crowd,
}

impl Place {
    /// A fresh folder and a server on it.
    pub fn new(runtime: &Runtime, crowd: Crowd) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("crash-").tempdir_in(bench::target())?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let mut launch = Launch::new(data)?;
        launch.log = Some(folder.path().join("server.log"));
        launch.set = naming::settings();
        let server = launch.start()?;
        let mut ledger = Ledger::new(publishers::keys(crowd.clients));
        runtime.block_on(publishers::create_swapped(&mut ledger, server.addr()))?;
        let naming = runtime.block_on(naming::prepare(server.addr(), crowd.writers))?;
        Ok(Self { folder, launch, server: Some(server), ledger, history: stored::Known::default(), naming, crowd })
    }

    /// Writes, kills the server, and judges what is left.
    pub fn round(&mut self, runtime: &Runtime, rng: &mut Rng, round: usize) -> Result<Told> {
        let server = self.server.take().context("no server runs")?;
        let wait = Duration::from_millis(rng.u64(50..=800));
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
        let data = self.launch.data_dir.clone();
        let image = Image::take(&data, &self.folder.path().join("image"))?;
        let copy = self.folder.path().join("copy");
        let stored = stored::read(&data, &copy, self.ledger.names(), &mut self.history)?;
        let settled = self.ledger.judge(&stored)?;
        // The same crash twice: with the log as the kill left it, and with a torn one.
        let (server, found, ready) = self.restart(runtime, &stored, rng).context("with the logs as they were")?;
        let settled_named = self.naming.judge(&found).context("service discovery")?;
        server.kill()?;
        image.put_back()?;
        let tear = wal::tear(&data.join(stored::LOG), rng)?;
        let tear_named = wal::tear(&data.join(naming::LOG), rng)?;
        let torn = || format!("with a log torn by {tear}, that of service discovery by {tear_named}");
        let (server, found_torn, ready_torn) = self.restart(runtime, &stored, rng).with_context(torn)?;
        ensure!(found_torn == found, "service discovery shows something else {}", torn());
        self.server = Some(server);
        let rows = stored.rows();
        Ok(Told {
            written,
            settled,
            rows,
            named,
            settled_named,
            end: format!("killed after {} ms", killed_after.as_millis()),
            recovery: format!(
                "ready again in {} ms; logs torn by {tear}, {tear_named}: ready in {} ms",
                ready.as_millis(),
                ready_torn.as_millis()
            ),
        })
    }

    /// Starts the server after a crash, and compares what it shows with what is stored. Gives what it shows of service
    /// discovery as well.
    fn restart(&self, runtime: &Runtime, stored: &Stored, rng: &mut Rng) -> Result<(Server, naming::Found, Duration)> {
        let begun = Instant::now();
        let server = self.launch.start().context("start after the kill")?;
        let ready = begun.elapsed();
        runtime.block_on(published::check(server.addr(), stored, rng)).context("over HTTP after the restart")?;
        let found = runtime.block_on(naming::read(server.addr(), self.naming.targets()));
        Ok((server, found.context("service discovery after the restart")?, ready))
    }

    /// Keeps the folder, and gives its path.
    pub fn keep(self) -> Vec<PathBuf> {
        drop(self.server);
        vec![self.folder.keep()]
    }

    /// Stops the server.
    pub fn stop(self) -> Result<()> {
        self.server.map_or(Ok(()), Server::stop)
    }
}

/// What a crash leaves of the databases: each with its log. Their indices SQLite makes anew.
const FILES: [&str; 4] = [stored::DATABASE, stored::LOG, naming::DATABASE, naming::LOG];

/// The databases' files as a crash left them, to crash the same way once more.
struct Image {
    data: PathBuf,
    files: PathBuf,
}

impl Image {
    fn take(data: &Path, files: &Path) -> Result<Self> {
        for file in FILES {
            let to = files.join(file);
            std::fs::create_dir_all(to.parent().context("a folder")?)?;
            std::fs::copy(data.join(file), to).with_context(|| format!("copy {file}"))?;
        }
        Ok(Self { data: data.to_owned(), files: files.to_owned() })
    }

    /// Puts the files back. The server must be dead.
    fn put_back(self) -> Result<()> {
        for file in FILES {
            std::fs::rename(self.files.join(file), self.data.join(file))?;
        }
        for index in [stored::LOG_INDEX, naming::LOG_INDEX] {
            match std::fs::remove_file(self.data.join(index)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}
