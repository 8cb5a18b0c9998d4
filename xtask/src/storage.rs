//! Where the servers under test keep their data: the choice of the command line, and the Postgres that goes with it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::postgres::{Database, Postgres, Programs};

/// What `--storage` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Storage {
    /// The embedded database, in the data folder of each server.
    #[default]
    Sqlite,
    /// A Postgres started for the run.
    Postgres,
}

/// The options about storage of commands that start servers.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Choice {
    /// Where the server keeps its data
    #[arg(long, value_enum, default_value = "sqlite")]
    pub storage: Storage,
    /// How many servers share the data: 2 needs --storage postgres
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub servers: u8,
}

impl Choice {
    /// One server with its embedded database.
    pub const EMBEDDED: Self = Self { storage: Storage::Sqlite, servers: 1 };
    /// One server on Postgres.
    pub const POSTGRES: Self = Self { storage: Storage::Postgres, servers: 1 };
    /// Two servers on one Postgres.
    pub const SHARED: Self = Self { storage: Storage::Postgres, servers: 2 };

    /// Whether nothing was asked for.
    pub fn is_default(self) -> bool {
        self.storage == Storage::default() && !self.is_shared()
    }

    /// Whether two servers share the data.
    pub fn is_shared(self) -> bool {
        self.servers > 1
    }

    /// Starts what the servers need.
    ///
    /// # Errors
    /// Two servers cannot share a data folder; there is no Postgres on this machine, or it does not start.
    pub fn prepare(self) -> Result<Prepared> {
        ensure!(!self.is_shared() || self.storage == Storage::Postgres, "two servers share no data folder");
        Ok(Prepared(self.storage.start(None)?))
    }
}

impl Storage {
    /// Starts the Postgres, if that is the choice; in this folder if one is given.
    ///
    /// # Errors
    /// There is none on this machine, or it does not start.
    pub fn start(self, parent: Option<&Path>) -> Result<Option<Postgres>> {
        if self == Self::Sqlite {
            return Ok(None);
        }
        let programs = Programs::find().context(Programs::MISSING)?;
        Postgres::start_in(programs, parent).map(Some)
    }
}

/// What servers need beside their data folders.
pub struct Prepared(Option<Postgres>);

impl Prepared {
    /// The settings of servers that begin with nothing stored, and share what they store from then on.
    ///
    /// # Errors
    /// The database cannot be made.
    pub fn fresh(&self) -> Result<Vec<(String, String)>> {
        let database = self.0.as_ref().map(Postgres::create_database).transpose()?;
        Ok(database.map(|database: Database| database.settings).unwrap_or_default())
    }
}
