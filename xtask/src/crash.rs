//! Kills the server while it is written to, and looks for acknowledged writes afterwards.
//!
//! Each round: concurrent publishers, some of them by compare-and-set, on a server whose data folder has lived
//! through all rounds before; kill -9 at a random moment; the database is read while nobody has it open, and over
//! HTTP by a restarted server; then the files are put back as the kill left them, the write-ahead log gets a torn
//! tail behind what it has committed, and a server restarted on that must show the same. [`ledger`] decides what may
//! be found. A folder in which a round failed is kept for a look and named.

mod ledger;
mod published;
mod publishers;
mod stored;
mod wal;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::Instant};

use crate::{
    bench,
    server::{self, Launch, Server},
};
use ledger::{Ledger, Settled};
use publishers::Written;
use stored::Stored;

/// Options of the command.
#[derive(clap::Args)]
pub struct Args {
    /// How often the server is killed.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Concurrent publishers.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// What decides keys, contents, moments and tears; random if not given. Threads and disks decide the rest, so
    /// a seed gives a similar run, not the same.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// Any round failed.
pub fn run(args: Args) -> Result<()> {
    ensure!(args.rounds > 0 && args.clients > 0, "rounds and clients must be at least 1");
    server::binary()?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}: {} rounds, {} clients", args.rounds, args.clients);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut rng = Rng::with_seed(seed);
    let mut place = None;
    let (mut passed, mut failed) = (0, 0);
    let mut sums = Sums::default();
    for round in 1..=args.rounds {
        let mut here = match place.take() {
            Some(here) => here,
            None => Place::new(&runtime, args.clients)?,
        };
        match here.round(&runtime, &mut rng, round) {
            Ok(told) => {
                println!("round {round:>3}: {told}: passed");
                passed += 1;
                sums.add(&told);
                place = Some(here);
            }
            Err(error) => {
                println!("round {round:>3}: FAILED: {error:#}");
                println!("           kept in {}", here.keep().display());
                failed += 1;
            }
        }
    }
    if let Some(place) = place {
        place.server.map_or(Ok(()), Server::stop)?;
    }
    println!("{sums}");
    println!("{passed} passed, {failed} failed");
    ensure!(failed == 0, "{failed} rounds failed");
    ensure!(
        sums.swapped > 0 || args.clients < publishers::PLAIN_PER_SWAPPER,
        "no publish with casMd5 succeeded: nothing is proved about them"
    );
    Ok(())
}

/// The short form of `crash`, for the `test` command: five rounds.
pub fn run_short() -> Result<()> {
    run(Args { rounds: 5, clients: 32, seed: None })
}

/// A data folder, the server on it, and all that was ever published there.
struct Place {
    folder: TempDir,
    launch: Launch,
    server: Option<Server>,
    ledger: Ledger,
    history: stored::Known,
    clients: usize,
}

/// What a round that passed did.
struct Told {
    written: Written,
    settled: Settled,
    rows: usize,
    killed_after: Duration,
    ready: Duration,
    tear: String,
    ready_torn: Duration,
}

impl Place {
    fn new(runtime: &Runtime, clients: usize) -> Result<Self> {
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

    fn round(&mut self, runtime: &Runtime, rng: &mut Rng, round: usize) -> Result<Told> {
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
        Ok(Told { written, settled, rows, killed_after, ready, tear, ready_torn })
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
    fn keep(self) -> PathBuf {
        drop(self.server);
        self.folder.keep()
    }
}

/// What all rounds that passed did.
#[derive(Default)]
struct Sums {
    acknowledged: usize,
    swapped: usize,
    stored: usize,
    lost: usize,
}

impl Sums {
    fn add(&mut self, told: &Told) {
        self.acknowledged += told.written.acknowledged;
        self.swapped += told.written.swapped;
        self.stored += told.settled.stored;
        self.lost += told.settled.lost;
    }
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "in the rounds that passed: {} acknowledged publishes, {} of them by CAS, all found with their history rows; \
             of {} in flight {} took effect, the others never turned up",
            self.acknowledged,
            self.swapped,
            self.stored + self.lost,
            self.stored,
        )
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

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { written, settled, rows, killed_after, ready, tear, ready_torn } = self;
        write!(
            f,
            "killed after {} ms; {} acknowledged ({} by CAS), {} CAS refused, {} in flight ({} of them stored); \
             {rows} history rows; ready again in {} ms; log torn by {tear}: ready in {} ms",
            killed_after.as_millis(),
            written.acknowledged,
            written.swapped,
            written.refused,
            written.unanswered,
            settled.stored,
            ready.as_millis(),
            ready_torn.as_millis(),
        )
    }
}
