//! A torn tail for SQLite's write-ahead log: what a machine leaves that stopped in the middle of writing a frame.
//!
//! The log is a header and frames; a frame is good if it bears the header's salts and a checksum over all before it,
//! and a transaction is committed if its last frame says so. The tear goes right behind the last committed frame,
//! over whatever lies there (frames of a transaction that never finished, or stale ones of an earlier turn of the
//! log): nothing that was ever acknowledged. Cutting committed frames off would lose writes on any system.

use std::{fs::OpenOptions, os::unix::fs::FileExt, path::Path};

use anyhow::{Context, Result};
use fastrand::Rng;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Tears the log, in a way that chance picks, and says how.
pub fn tear(log: &Path, rng: &mut Rng) -> Result<String> {
    let bytes = std::fs::read(log).with_context(|| format!("read {}", log.display()))?;
    let file = OpenOptions::new().write(true).open(log)?;
    let Some(tail) = Tail::find(&bytes) else {
        // A log without a good header holds nothing; so does one with half of one.
        let length = rng.usize(1..HEADER);
        file.write_all_at(&noise(rng, length), 0)?;
        return Ok(format!("{length} bytes of noise for a header"));
    };
    let (what, torn) = match rng.u8(0..4) {
        0 => {
            let length = rng.usize(1..2 * tail.frame());
            (format!("{length} bytes of noise"), noise(rng, length))
        }
        1 => {
            let mut frame = tail.next_frame(rng, true);
            frame.truncate(rng.usize(1..frame.len()));
            (format!("a frame cut after {} bytes", frame.len()), frame)
        }
        2 => {
            let mut frame = tail.next_frame(rng, true);
            let sector = FRAME_HEADER + 512 * rng.usize(0..tail.page / 512);
            frame[sector..sector + 512].fill(0);
            ("a frame with a sector that was not written".to_owned(), frame)
        }
        _ => ("a whole frame of a transaction without its end".to_owned(), tail.next_frame(rng, false)),
    };
    file.write_all_at(&torn, tail.committed as u64)?;
    // The file ends there if the log was growing, and goes on with stale frames if it was in a later turn.
    if rng.bool() {
        file.set_len((tail.committed + torn.len()) as u64)?;
    }
    Ok(what)
}

fn noise(rng: &mut Rng, length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

/// Where the log's committed part ends, and what the next frame would need to be good.
struct Tail {
    /// Bytes up to the end of the last committed frame.
    committed: usize,
    /// The checksum up to there.
    sum: Sum,
    salts: [u8; 8],
    /// The size of a page.
    page: usize,
    /// The size of the database in pages after the last commit; 1 before the first.
    pages: u32,
}

impl Tail {
    /// `None` if the header is not good.
    fn find(log: &[u8]) -> Option<Self> {
        let header = log.get(..HEADER)?;
        let big_endian = match word(header, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return None,
        };
        let page = word(header, 8) as usize;
        let mut sum = Sum { big_endian, first: 0, second: 0 };
        sum.add(&header[..24]);
        if !sum.is(&header[24..]) || !page.is_power_of_two() || page < 512 {
            return None;
        }
        let salts = header[16..24].try_into().ok()?;
        let mut tail = Self { committed: HEADER, sum, salts, page, pages: 1 };
        let mut at = HEADER;
        while let Some(frame) = log.get(at..at + tail.frame()) {
            sum.add(&frame[..8]);
            sum.add(&frame[FRAME_HEADER..]);
            if frame[8..16] != salts || !sum.is(&frame[16..24]) {
                break;
            }
            at += frame.len();
            let pages = word(frame, 4);
            if pages > 0 {
                (tail.committed, tail.sum, tail.pages) = (at, sum, pages);
            }
        }
        Some(tail)
    }

    /// The size of a frame.
    fn frame(&self) -> usize {
        FRAME_HEADER + self.page
    }

    /// A good frame that overwrites some page with noise.
    fn next_frame(&self, rng: &mut Rng, commits: bool) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.frame());
        frame.extend(rng.u32(1..=self.pages).to_be_bytes());
        frame.extend(if commits { self.pages } else { 0 }.to_be_bytes());
        frame.extend(self.salts);
        let content = noise(rng, self.page);
        let mut sum = self.sum;
        sum.add(&frame[..8]);
        sum.add(&content);
        frame.extend(sum.first.to_be_bytes());
        frame.extend(sum.second.to_be_bytes());
        frame.extend(content);
        frame
    }
}

/// The running checksum of a log.
#[derive(Clone, Copy)]
struct Sum {
    big_endian: bool,
    first: u32,
    second: u32,
}

impl Sum {
    /// Goes on over these bytes, a multiple of 8.
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            self.first = self.first.wrapping_add(self.read(pair, 0)).wrapping_add(self.second);
            self.second = self.second.wrapping_add(self.read(pair, 4)).wrapping_add(self.first);
        }
    }

    fn read(&self, bytes: &[u8], at: usize) -> u32 {
        if self.big_endian { word(bytes, at) } else { word(bytes, at).swap_bytes() }
    }

    fn is(&self, stored: &[u8]) -> bool {
        word(stored, 0) == self.first && word(stored, 4) == self.second
    }
}

/// The big-endian number at this place, which must lie within the bytes.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// The files of a database with this many rows, as a crash would leave them; with stale frames behind the
    /// committed ones if asked.
    fn crashed(rows: u32, stale: bool) -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir()?;
        let database = Connection::open(folder.path().join("live.db"))?;
        database.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER, text TEXT)")?;
        let insert = |n: u32| database.execute("INSERT INTO t VALUES (?1, ?2)", (n, "x".repeat(700)));
        if stale {
            for n in 0..50 {
                insert(n)?;
            }
            database.execute_batch("DELETE FROM t; PRAGMA wal_checkpoint(FULL)")?;
        }
        for n in 0..rows {
            insert(n)?;
        }
        std::fs::copy(folder.path().join("live.db"), folder.path().join("t.db"))?;
        std::fs::copy(folder.path().join("live.db-wal"), folder.path().join("t.db-wal"))?;
        Ok(folder)
    }

    fn count(folder: &Path) -> Result<u32> {
        let database = Connection::open(folder.join("t.db"))?;
        let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        assert_eq!(verdict, "ok");
        Ok(database.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
    }

    #[test]
    fn tear_loses_nothing() -> Result<()> {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..60 {
            let folder = crashed(5, seed % 2 == 0)?;
            let what = tear(&folder.path().join("t.db-wal"), &mut Rng::with_seed(seed))?;
            assert_eq!(count(folder.path())?, 5, "seed {seed}: {what}");
            seen.insert(what.chars().filter(|c| !c.is_ascii_digit()).collect::<String>());
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
        Ok(())
    }

    #[test]
    fn tail_is_where_the_last_commit_ends() -> Result<()> {
        for stale in [false, true] {
            let folder = crashed(5, stale)?;
            let log = folder.path().join("t.db-wal");
            let bytes = std::fs::read(&log)?;
            let tail = Tail::find(&bytes).expect("a good header");
            assert_eq!(stale, tail.committed < bytes.len());
            // One byte less, and the last row is gone.
            OpenOptions::new().write(true).open(&log)?.set_len(tail.committed as u64 - 1)?;
            assert_eq!(count(folder.path())?, 4);
        }
        Ok(())
    }

    #[test]
    fn next_frame_is_good() -> Result<()> {
        let folder = crashed(5, false)?;
        let log = folder.path().join("t.db-wal");
        let mut bytes = std::fs::read(&log)?;
        let tail = Tail::find(&bytes).expect("a good header");
        bytes.truncate(tail.committed);
        bytes.extend(tail.next_frame(&mut Rng::with_seed(1), true));
        assert_eq!(Tail::find(&bytes).map(|longer| longer.committed), Some(bytes.len()));
        Ok(())
    }
}
