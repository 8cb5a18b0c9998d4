//! The rounds on the embedded database, which lives and dies with its server.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use fastrand::Rng;
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::Instant};

use super::{
    Told,
    ledger::Ledger,
    published, publishers,
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
    clients: usize,
}

impl Place {
    /// A fresh folder and a server on it.
    pub fn new(runtime: &Runtime, clients: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("crash-").tempdir_in(bench::target())?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let mut launch = Launch::new(data)?;
        launch.log = Some(folder.path().join("server.log"));
        let server = launch.start()?;
        let mut ledger = Ledger::new(publishers::keys(clients));
        runtime.block_on(publishers::create_swapped(&mut ledger, server.addr()))?;
        Ok(Self { folder, launch, server: Some(server), ledger, history: stored::Known::default(), clients })
    }

    /// Writes, kills the server, and judges what is left.
    pub fn round(&mut self, runtime: &Runtime, rng: &mut Rng, round: usize) -> Result<Told> {
        let server = self.server.take().context("no server runs")?;
        let wait = Duration::from_millis(rng.u64(50..=800));
        let (written, killed_after) = runtime.block_on(publishers::until_killed(
            &mut self.ledger,
            server,
            self.clients,
            rng.fork(),
            round,
            wait,
        ))?;
        let data = self.launch.data_dir.clone();
        let image = Image::take(&data, &self.folder.path().join("image"))?;
        let copy = self.folder.path().join("copy");
        let stored = stored::read(&data, &copy, self.ledger.names(), &mut self.history)?;
        let settled = self.ledger.judge(&stored)?;
        // The same crash twice: with the log as the kill left it, and with a torn one.
        let (server, ready) = self.restart(runtime, &stored, rng).context("with the log as it was")?;
        server.kill()?;
        image.put_back()?;
        let tear = wal::tear(&data.join(stored::LOG), rng)?;
        let (server, ready_torn) =
            self.restart(runtime, &stored, rng).with_context(|| format!("with a log torn by {tear}"))?;
        self.server = Some(server);
        let rows = stored.rows();
        Ok(Told {
            written,
            settled,
            rows,
            end: format!("killed after {} ms", killed_after.as_millis()),
            recovery: format!(
                "ready again in {} ms; log torn by {tear}: ready in {} ms",
                ready.as_millis(),
                ready_torn.as_millis()
            ),
        })
    }

    /// Starts the server after a crash, and compares what it shows with what is stored.
    fn restart(&self, runtime: &Runtime, stored: &Stored, rng: &mut Rng) -> Result<(Server, Duration)> {
        let begun = Instant::now();
        let server = self.launch.start().context("start after the kill")?;
        let ready = begun.elapsed();
        runtime.block_on(published::check(server.addr(), stored, rng)).context("over HTTP after the restart")?;
        Ok((server, ready))
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

/// The database's files as a crash left them, to crash the same way once more.
struct Image {
    data: PathBuf,
    files: PathBuf,
}

impl Image {
    fn take(data: &Path, files: &Path) -> Result<Self> {
        std::fs::create_dir_all(files)?;
        for file in [stored::DATABASE, stored::LOG] {
            std::fs::copy(data.join(file), files.join(file)).with_context(|| format!("copy {file}"))?;
        }
        Ok(Self { data: data.to_owned(), files: files.to_owned() })
    }

    /// Puts the files back. The server must be dead.
    fn put_back(self) -> Result<()> {
        for file in [stored::DATABASE, stored::LOG] {
            std::fs::rename(self.files.join(file), self.data.join(file))?;
        }
        // An index of the log that was there since; SQLite makes it anew.
        match std::fs::remove_file(self.data.join(stored::LOG_INDEX)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
