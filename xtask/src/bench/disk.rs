//! The ceiling of publishes: what this disk gives to one who commits alone, measured in the folder of the server.

use std::{fs::OpenOptions, os::unix::fs::FileExt, path::Path, time::Duration};

use anyhow::Result;
use rusqlite::{Connection, params};
use tokio::time::Instant;

const KEYS: u64 = 1_000;

/// Transactions a second of one writer that commits each row by itself: SQLite with the write-ahead log and
/// `synchronous=FULL`, as the server has it, one upsert of 1 KiB over 1,000 keys a transaction.
pub fn lone_transactions(folder: &Path, duration: Duration) -> Result<f64> {
    let folder = tempfile::tempdir_in(folder)?;
    let database = Connection::open(folder.path().join("lone.db"))?;
    database.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE config (data_id TEXT PRIMARY KEY, content TEXT NOT NULL, modified INTEGER NOT NULL)",
    )?;
    let mut upsert = database.prepare(
        "INSERT INTO config (data_id, content, modified) VALUES (?1, ?2, ?3)
         ON CONFLICT (data_id) DO UPDATE SET content = excluded.content, modified = excluded.modified",
    )?;
    let content = "x".repeat(1024);
    let begun = Instant::now();
    let mut done = 0;
    while begun.elapsed() < duration {
        upsert.execute(params![format!("key-{}", done % KEYS), content, i64::try_from(done)?])?;
        done += 1;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// Writes of 4 KiB with `fdatasync` a second, over a file that is on disk already: what the device gives at most.
pub fn synced_writes(folder: &Path, duration: Duration) -> Result<f64> {
    const BLOCK: usize = 4096;
    const BLOCKS: u64 = 1024;
    let folder = tempfile::tempdir_in(folder)?;
    let file = OpenOptions::new().create_new(true).write(true).open(folder.path().join("synced"))?;
    file.write_all_at(&vec![0; BLOCK * BLOCKS as usize], 0)?;
    file.sync_all()?;
    let mut block = [0; BLOCK];
    let begun = Instant::now();
    let mut done: u64 = 0;
    while begun.elapsed() < duration {
        block[..8].copy_from_slice(&done.to_le_bytes());
        file.write_all_at(&block, done % BLOCKS * BLOCK as u64)?;
        file.sync_data()?;
        done += 1;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}
