//! The command line, and the settings that it, the environment and the properties file make.

use std::{
    io::{ErrorKind, IsTerminal, Write as _},
    path::{Path, PathBuf},
};

use clap::Parser;
use nacos_core::settings::{Flag, Loaded, Settings, SettingsFile, SettingsInput, split_set};
use nacos_server::DataDir;

/// A server for clients of Nacos.
///
/// Every option of Nacos can be given by its own name with --set, in the environment, or in
/// conf/application.properties below the data folder; --print-settings lists them.
#[derive(Parser)]
#[command(name = "nacos-server", version)]
struct Cli {
    /// The HTTP port [default: 8848].
    #[arg(long, global = true)]
    port: Option<String>,
    /// The data folder [default: $NACOS_HOME, else ./data].
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<String>,
    /// The properties file [default: conf/application.properties below the data folder, if it is there].
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Sets any option by its Nacos name; may be repeated. Wins over environment and file.
    #[arg(long = "set", value_name = "NAME=VALUE", global = true)]
    set: Vec<String>,
    /// Listens beyond this machine though anyone may then read and write.
    #[arg(long)]
    allow_unauthenticated: bool,
    /// Prints every option with its value and where that comes from, and ends.
    #[arg(long)]
    print_settings: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Moves all data between the embedded database of the data folder and the Postgres that db.url names.
    ///
    /// No server may run on either. It can be interrupted and run again; at the end both are compared, row by row.
    Migrate {
        /// Where to.
        #[arg(long, value_enum)]
        to: Target,
    },
}

/// Where data is moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Target {
    /// From the embedded database to Postgres.
    Postgres,
    /// From Postgres to the embedded database.
    Embedded,
}

/// What the command line asks for.
pub(crate) enum Asked {
    /// Run with these settings.
    Run(Box<Loaded>),
    /// Move all data.
    Migrate(Box<Loaded>, Target),
    /// Print this.
    Print(String),
}

/// Reads command line, environment and file.
pub(crate) fn read() -> anyhow::Result<Asked> {
    let cli = Cli::parse();
    let flag = |flag: &str, option: &str, value: String| Flag { flag: flag.into(), option: option.into(), value };
    let mut flags = Vec::new();
    flags.extend(cli.port.map(|port| flag("--port", "server.port", port)));
    flags.extend(cli.data_dir.map(|dir| flag("--data-dir", "nacos.home", dir)));
    if cli.allow_unauthenticated {
        flags.push(flag("--allow-unauthenticated", "nacos.server.allow-unauthenticated", "true".to_owned()));
    }
    let set = cli.set.iter().map(|pair| split_set(pair).map_err(|text| anyhow::anyhow!("--set: {text}")));
    let mut input = SettingsInput {
        env: SettingsInput::process_env(),
        set: set.collect::<Result<_, _>>()?,
        flags,
        ..SettingsInput::default()
    };
    input.file = match cli.config {
        Some(path) => {
            Some(read_file(&path)?.ok_or_else(|| anyhow::anyhow!("--config: {} is not there", path.display()))?)
        }
        None => read_file(&DataDir::properties(&Settings::home_before_file(&input)?))?,
    };
    let loaded = Settings::load(input)?;
    if cli.print_settings {
        return Ok(Asked::Print(loaded.settings.print()));
    }
    Ok(match cli.command {
        None => Asked::Run(Box::new(loaded)),
        Some(Command::Migrate { to }) => Asked::Migrate(Box::new(loaded), to),
    })
}

fn read_file(path: &Path) -> anyhow::Result<Option<SettingsFile>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(SettingsFile { name: path.display().to_string(), bytes })),
        // A data folder that is a file is the server's to complain of.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(anyhow::anyhow!("read {}: {error}", path.display())),
    }
}

/// Shows work of several steps, each as [`progress`] does.
pub(crate) fn steps() -> impl FnMut(&'static str, u64, u64) + Send {
    type Show = Box<dyn FnMut(u64, u64) + Send>;
    let mut at: Option<(&str, Show)> = None;
    move |what, done, total| {
        if at.as_ref().is_none_or(|(step, _)| *step != what) {
            at = Some((what, Box::new(progress(what))));
        }
        if let Some((_, show)) = &mut at {
            show(done, total);
        }
    }
}

/// Shows long work: a bar on a terminal, a line of log now and then elsewhere. Short work shows nothing.
pub(crate) fn progress(what: &'static str) -> impl FnMut(u64, u64) + Send {
    /// Less than this is done before anyone could look.
    const WORTH_SHOWING: u64 = 2_000;
    let terminal = std::io::stderr().is_terminal();
    let mut shown = 0;
    move |done, total| {
        let percent = done * 100 / total.max(1);
        if total < WORTH_SHOWING || (percent == shown && done != total) {
            return;
        }
        if terminal {
            shown = percent;
            bar(what, percent, done == total);
        } else if percent >= shown + 10 || done == total {
            shown = percent;
            tracing::info!(done, total, "{what}");
        }
    }
}

fn bar(what: &str, percent: u64, last: bool) {
    let filled = (percent / 4) as usize;
    let end = if last { "\n" } else { "" };
    let _ =
        write!(std::io::stderr(), "\r{what} [{}{}] {percent:3} %{end}", "#".repeat(filled), " ".repeat(25 - filled));
}
