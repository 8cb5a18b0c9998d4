//! Time to ready of a second start, and memory when idle; and the ways in which the other measurements start their
//! servers.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::Instant};

use super::{
    median,
    process::Subject,
    report::{Report, Row, Target, bytes, milliseconds},
    wire::{self, Connection},
};
use crate::server::{Launch, Server};

/// A data folder on the disk of the target folder.
pub fn data_folder() -> Result<TempDir> {
    let parent = super::target();
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("folder in {}", parent.display()))
}

/// A server on a data folder of its own.
pub fn fresh() -> Result<(TempDir, Server)> {
    let data = data_folder()?;
    let server = Launch::new(data.path())?.start()?;
    Ok((data, server))
}

/// Publishes one configuration, and gives its MD5 once reads show it.
pub async fn publish(subject: Subject, data_id: &str, content: &str) -> Result<String> {
    let mut connection = Connection::open(subject.addr, None).await?;
    let answer = connection.exchange(&wire::publish(data_id, content, None)).await?;
    ensure!(answer.is(b"true"), "publish of {data_id} answered with {}", answer.summary());
    visible(&mut connection, data_id, content).await
}

/// Waits until a read gives this content, at most 5 s, and gives the `Content-MD5` beside it.
async fn visible(connection: &mut Connection, data_id: &str, content: &str) -> Result<String> {
    let begun = Instant::now();
    loop {
        let answer = connection.exchange(&wire::read(data_id)).await?;
        if answer.is(content.as_bytes()) {
            let md5 = answer.header("content-md5").context("a read without Content-MD5")?;
            ensure!(md5 == md5_hex(content), "Content-MD5 of {data_id} is {md5}, not that of its content");
            return Ok(md5.to_owned());
        }
        ensure!(begun.elapsed().as_secs() < 5, "{data_id} does not show what was published: {}", answer.summary());
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// The MD5 of a content as Nacos writes it.
pub fn md5_hex(content: &str) -> String {
    use md5::{Digest, Md5};
    Md5::digest(content.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Publishes these configurations (dataId and content), and checks each by a read.
pub async fn publish_all(subject: Subject, configs: &[(String, String)]) -> Result<()> {
    let mut connection = Connection::open(subject.addr, None).await?;
    for (data_id, content) in configs {
        let answer = connection.exchange(&wire::publish(data_id, content, None)).await?;
        ensure!(answer.is(b"true"), "publish of {data_id} answered with {}", answer.summary());
    }
    for (data_id, content) in configs {
        visible(&mut connection, data_id, content).await?;
    }
    Ok(())
}

/// Starts the server this many times on a folder with these configurations, adds the figures to the report, and
/// leaves the last one running.
pub fn measure(
    report: &mut Report,
    runtime: &Runtime,
    starts: usize,
    folder: &Path,
    configs: &[(String, String)],
) -> Result<Server> {
    let launch = Launch::new(folder)?;
    let mut server = launch.start()?;
    runtime.block_on(publish_all(Subject::from(&server), configs))?;
    let mut times = Vec::new();
    for _ in 0..starts.max(1) {
        server.stop()?;
        let begun = Instant::now();
        server = launch.start()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let idle = runtime.block_on(Subject::from(&server).settle())?;
    report.row(
        Row::new(format!("start with {} configs, until ready", configs.len()), milliseconds(median(&times)))
            .target(Target::AtMost(milliseconds(100.0))),
    );
    report.row(
        Row::new("resident memory, idle after start", bytes(idle as f64))
            .target(Target::AtMost(bytes(15.0 * 1024.0 * 1024.0))),
    );
    report.note(format!("start: median of {} starts after the first, each until readiness answers 200", times.len()));
    Ok(server)
}
