//! Kills the server while it is written to, and looks for acknowledged writes afterwards.
//!
//! Each round: concurrent publishers, some of them by compare-and-set, on a server whose data folder has lived
//! through all rounds before; kill -9 at a random moment; the database is read while nobody has it open, and over
//! HTTP by a restarted server; then the files are put back as the kill left them, the write-ahead log gets a torn
//! tail behind what it has committed, and a server restarted on that must show the same. [`ledger`] decides what may
//! be found. Beside the publishers others write to service discovery what must not be lost ([`naming`]), under the same
//! kill. A folder in which a round failed is kept for a look and named.
//!
//! On Postgres the rounds take turns: one kills the server, the next Postgres with all its processes while the server
//! stays up, answers that its database is away, and must take writes again by itself.

mod embedded;
mod external;
mod ledger;
mod naming;
mod published;
mod publishers;
mod stored;
mod wal;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use fastrand::Rng;
use tokio::runtime::Runtime;

use crate::{server, storage::Storage};
use ledger::Settled;
use publishers::Written;

/// Options of the command.
#[derive(clap::Args)]
pub struct Args {
    /// How often the server, or its Postgres, is killed.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Concurrent publishers.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Concurrent writers to service discovery; 0 for none.
    #[arg(long, default_value_t = 8)]
    writers: usize,
    /// What decides keys, contents, moments and tears; random if not given. Threads and disks decide the rest, so
    /// a seed gives a similar run, not the same.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the server keeps its data.
    #[arg(long, value_enum, default_value = "sqlite")]
    storage: Storage,
}

/// Runs the command.
///
/// # Errors
/// Any round failed.
pub fn run(args: Args) -> Result<()> {
    ensure!(args.rounds > 0 && args.clients > 0, "rounds and clients must be at least 1");
    server::binary()?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}: {} rounds, {} clients, {} writers", args.rounds, args.clients, args.writers);
    let crowd = Crowd { clients: args.clients, writers: args.writers };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut rng = Rng::with_seed(seed);
    let mut place = None;
    let (mut passed, mut failed) = (0, 0);
    let mut sums = Sums::default();
    for round in 1..=args.rounds {
        let mut here = match place.take() {
            Some(here) => here,
            None => Place::new(&runtime, crowd, args.storage)?,
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
                here.keep().iter().for_each(|folder| println!("           kept in {}", folder.display()));
                failed += 1;
            }
        }
    }
    if let Some(place) = place {
        place.stop()?;
    }
    println!("{sums}");
    println!("{passed} passed, {failed} failed");
    ensure!(failed == 0, "{failed} rounds failed");
    ensure!(sums.named > 0 || args.writers == 0, "no write to service discovery was acknowledged");
    ensure!(
        sums.swapped > 0 || args.clients < publishers::PLAIN_PER_SWAPPER,
        "no publish with casMd5 succeeded: nothing is proved about them"
    );
    Ok(())
}

/// The short form of `crash`, for the `test` command: so many rounds.
pub fn run_short(storage: Storage, rounds: usize) -> Result<()> {
    run(Args { rounds, clients: 32, writers: 8, seed: None, storage })
}

/// Who writes.
#[derive(Clone, Copy)]
struct Crowd {
    /// Publishers of configurations.
    clients: usize,
    /// Writers to service discovery.
    writers: usize,
}

/// A server, what it stores its data in, and all that was ever published there.
enum Place {
    Embedded(Box<embedded::Place>),
    External(Box<external::Place>),
}

impl Place {
    fn new(runtime: &Runtime, crowd: Crowd, storage: Storage) -> Result<Self> {
        Ok(match storage {
            Storage::Sqlite => Self::Embedded(Box::new(embedded::Place::new(runtime, crowd)?)),
            Storage::Postgres => Self::External(Box::new(external::Place::new(runtime, crowd)?)),
        })
    }

    fn round(&mut self, runtime: &Runtime, rng: &mut Rng, round: usize) -> Result<Told> {
        match self {
            Self::Embedded(place) => place.round(runtime, rng, round),
            Self::External(place) => place.round(runtime, rng, round),
        }
    }

    /// Keeps what is there for a look, and says where.
    fn keep(self) -> Vec<PathBuf> {
        match self {
            Self::Embedded(place) => place.keep(),
            Self::External(place) => place.keep(),
        }
    }

    fn stop(self) -> Result<()> {
        match self {
            Self::Embedded(place) => place.stop(),
            Self::External(place) => place.stop(),
        }
    }
}

/// What a round that passed did.
struct Told {
    written: Written,
    settled: Settled,
    rows: usize,
    named: naming::Written,
    settled_named: naming::Settled,
    /// What was killed, and when.
    end: String,
    /// How long what took.
    recovery: String,
}

/// What all rounds that passed did.
#[derive(Default)]
struct Sums {
    acknowledged: usize,
    swapped: usize,
    stored: usize,
    lost: usize,
    named: usize,
}

impl Sums {
    fn add(&mut self, told: &Told) {
        self.acknowledged += told.written.acknowledged;
        self.swapped += told.written.swapped;
        self.stored += told.settled.stored;
        self.lost += told.settled.lost;
        self.named += told.named.acknowledged;
    }
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "in the rounds that passed: {} acknowledged publishes, {} of them by CAS, all found with their history \
             rows; of {} in flight {} took effect, the others never turned up; {} acknowledged writes to service \
             discovery, all found or overwritten",
            self.acknowledged,
            self.swapped,
            self.stored + self.lost,
            self.stored,
            self.named,
        )
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { written, settled, rows, named, settled_named, end, recovery } = self;
        write!(
            f,
            "{end}; {} acknowledged ({} by CAS), {} CAS refused, ",
            written.acknowledged, written.swapped, written.refused
        )?;
        if written.turned_away > 0 {
            write!(f, "{} turned away, ", written.turned_away)?;
        }
        write!(f, "{} in flight ({} of them stored); {rows} history rows; ", written.unanswered, settled.stored)?;
        write!(
            f,
            "services: {} acknowledged ({} removals), {} refused, {} in flight ({} of them found); {recovery}",
            named.acknowledged, named.removals, named.refused, named.unanswered, settled_named.stored
        )
    }
}
