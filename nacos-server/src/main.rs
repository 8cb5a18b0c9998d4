//! The default server: reads the settings, starts, waits for a signal, stops.

mod cli;

use std::{fmt::Write as _, io::Write as _, process::ExitCode};

use anyhow::Context;
use nacos_core::{error::Report, settings::Loaded, storage::DatabaseOperate};
use nacos_server::{LogControl, NacosServer, banner, init_logging};

fn main() -> ExitCode {
    let outcome = match cli::read() {
        Ok(cli::Asked::Run(loaded)) => run(*loaded),
        Ok(cli::Asked::Migrate(loaded, to)) => migrate(*loaded, to),
        Ok(cli::Asked::Print(text)) => {
            print(&text);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            report(&format!("{error}"));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("nacos-server: {}", Report(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

fn run(loaded: Loaded) -> anyhow::Result<()> {
    let Loaded { settings, warnings, no_effect } = loaded;
    let (control, _log) = init_logging(settings.logs.level).unzip();
    let control = control.unwrap_or_else(LogControl::none);
    for line in warnings {
        tracing::warn!("{line}");
    }
    if !no_effect.is_empty() {
        tracing::info!(options = no_effect.len(), "options that change nothing here; nacos.log.level=debug names them");
    }
    for line in no_effect {
        tracing::debug!("{line}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new().context("listen for signals")?;
        let starting = NacosServer::builder(settings.clone())
            .log_control(control)
            .progress(cli::progress("reading configurations"))
            .start();
        let server = tokio::select! {
            server = starting => server?,
            () = signals.next() => return Ok(()),
        };
        print(&banner(&server, &settings));
        let failed = tokio::select! {
            () = signals.next() => None,
            reason = server.failed() => Some(reason),
        };
        if failed.is_none() {
            tracing::info!("stopping; a second signal ends at once");
        }
        tokio::select! {
            () = server.stop() => {}
            () = signals.next() => std::process::exit(130),
        }
        match failed {
            None => Ok(()),
            // After a failed fsync the disk's word counts for nothing; what was answered is safe, no more may be.
            Some(reason) => anyhow::bail!("the database failed, so the server stopped: {reason}"),
        }
    });
    // A read that is still at work must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ended
}

/// Moves all data, and shows what was moved.
fn migrate(loaded: Loaded, to: cli::Target) -> anyhow::Result<()> {
    let settings = loaded.settings;
    let (_, _log) = init_logging(settings.logs.level).unzip();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let moved = runtime.block_on(async {
        let embedded = nacos_server::open_embedded(&settings).await?;
        let postgres = nacos_server::open_postgres(&settings).await?;
        let (source, target): (&dyn DatabaseOperate, &dyn DatabaseOperate) = match to {
            cli::Target::Postgres => (&*embedded, &*postgres),
            cli::Target::Embedded => (&*postgres, &*embedded),
        };
        let moved = nacos_server::migrate::migrate(source, target, cli::steps()).await;
        postgres.close().await;
        embedded.close().await?;
        anyhow::Ok(moved?)
    })?;
    let mut table =
        String::from("table                       rows   written  MD5 of all rows, the same on both sides\n");
    for one in moved {
        let _ = writeln!(table, "{:<22} {:>9} {:>9}  {}", one.table, one.rows, one.written, one.md5);
    }
    print(&table);
    Ok(())
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn print(text: &str) {
    // Whoever does not want to read it does not keep the server from serving.
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

// There is no log yet, or no more.
fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
