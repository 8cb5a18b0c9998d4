//! The files: buffered, rolled by size, and kept going when the disk is not.
//!
//! `x.log` becomes `x.log.1`, that one `x.log.2`, and so on; the oldest is deleted. A failure loses the lines of one
//! buffer, which are counted; the next buffer tries again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use prometheus::IntCounter;

/// Buffers are written at this size at the latest.
const BUFFER_BYTES: usize = 64 * 1024;

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    Trace,
    PullCheck,
    ClientRequest,
    Dump,
    Notify,
    Memory,
}

impl Log {
    /// All, in the order of their numbers.
    pub(super) const ALL: [Log; 6] =
        [Log::Trace, Log::PullCheck, Log::ClientRequest, Log::Dump, Log::Notify, Log::Memory];

    pub(super) fn file_name(self) -> &'static str {
        match self {
            Log::Trace => "config-trace.log",
            Log::PullCheck => "config-pull-check.log",
            Log::ClientRequest => "config-client-request.log",
            Log::Dump => "config-dump.log",
            Log::Notify => "config-notify.log",
            Log::Memory => "config-memory.log",
        }
    }
}

/// All files.
pub(super) struct Files(Vec<RollingFile>);

impl Files {
    /// Opens all files of a folder.
    pub(super) fn open(folder: &Path, max_bytes: u64, max_files: u32, failed: &IntCounter) -> io::Result<Self> {
        let open = |log: Log| RollingFile::open(folder.join(log.file_name()), max_bytes, max_files, failed.clone());
        Log::ALL.into_iter().map(open).collect::<io::Result<_>>().map(Self)
    }

    /// Appends a line, which ends in a line break.
    pub(super) fn push(&mut self, log: Log, line: &str) {
        self.0[log as usize].push(line);
    }

    /// Writes all buffers.
    pub(super) fn flush(&mut self) {
        self.0.iter_mut().for_each(RollingFile::flush);
    }
}

struct RollingFile {
    path: PathBuf,
    max_bytes: u64,
    max_files: u32,
    /// `None` after a failure, until it can be opened again.
    file: Option<File>,
    /// Bytes in the file.
    size: u64,
    /// The file must be rolled before anything is written.
    full: bool,
    buffer: Vec<u8>,
    /// Lines in the buffer.
    lines: u64,
    failed: IntCounter,
    /// Whether the last attempt failed; only the first of a row is logged.
    failing: bool,
}

impl RollingFile {
    fn open(path: PathBuf, max_bytes: u64, max_files: u32, failed: IntCounter) -> io::Result<Self> {
        let mut file = Self {
            path,
            max_bytes,
            max_files,
            file: None,
            size: 0,
            full: false,
            buffer: Vec::new(),
            lines: 0,
            failed,
            failing: false,
        };
        file.reopen()?;
        Ok(file)
    }

    fn push(&mut self, line: &str) {
        let written = if self.full { 0 } else { self.size };
        let before = written + self.buffer.len() as u64;
        if before > 0 && before + line.len() as u64 > self.max_bytes {
            self.flush();
            self.full = true;
        }
        self.buffer.extend_from_slice(line.as_bytes());
        self.lines += 1;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        match self.write() {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!(file = %self.path.display(), "trace log written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.failed.inc_by(self.lines);
                // It may hold half a line; opening it again mends that.
                self.file = None;
                if !self.failing {
                    self.failing = true;
                    tracing::warn!(file = %self.path.display(), %error, "trace log not written; lines are lost");
                }
            }
        }
        self.buffer.clear();
        self.lines = 0;
    }

    fn write(&mut self) -> io::Result<()> {
        if self.full {
            self.roll()?;
            self.full = false;
        }
        if !self.is_in_place() {
            self.reopen()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer)?;
            self.size += self.buffer.len() as u64;
        }
        Ok(())
    }

    /// Whether the open file is the one of this name still: nobody removed it, or moved it away to rotate it.
    fn is_in_place(&self) -> bool {
        let Some(file) = &self.file else { return false };
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let (Ok(open), Ok(there)) = (file.metadata(), fs::metadata(&self.path)) else { return false };
            (open.dev(), open.ino()) == (there.dev(), there.ino())
        }
        #[cfg(not(unix))]
        return self.path.exists();
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        self.size = file.metadata()?.len();
        if self.size > 0 {
            // A crash or a full disk may have left half a line, which must not run into the next.
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                self.size += 1;
            }
        }
        self.file = Some(file);
        Ok(())
    }

    /// Moves every file one number up. Stopped half-way, it can be done again.
    fn roll(&mut self) -> io::Result<()> {
        self.file = None;
        if self.max_files == 0 {
            absent_is_fine(fs::remove_file(&self.path))?;
        } else {
            for number in (1..self.max_files).rev() {
                absent_is_fine(fs::rename(self.rolled(number), self.rolled(number + 1)))?;
            }
            absent_is_fine(fs::rename(&self.path, self.rolled(1)))?;
        }
        Ok(())
    }

    fn rolled(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> IntCounter {
        IntCounter::new("failed", "lines").expect("a valid name")
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("folder")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn text(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).expect("file")
    }

    #[test]
    fn a_full_file_is_rolled_and_the_oldest_deleted() {
        let folder = tempfile::tempdir().expect("folder");
        let failed = failed();
        let mut log = RollingFile::open(folder.path().join("x.log"), 12, 2, failed.clone()).expect("open");
        for number in 0..9 {
            log.push(&format!("line{number}\n"));
        }
        log.flush();
        assert_eq!(names(folder.path()), ["x.log", "x.log.1", "x.log.2"]);
        assert_eq!(text(folder.path(), "x.log"), "line8\n");
        assert_eq!(text(folder.path(), "x.log.1"), "line6\nline7\n");
        assert_eq!(text(folder.path(), "x.log.2"), "line4\nline5\n");
        assert_eq!(failed.get(), 0);
    }

    #[test]
    fn no_file_exceeds_its_size_however_lines_are_buffered() {
        let folder = tempfile::tempdir().expect("folder");
        let max_bytes = 3 * BUFFER_BYTES as u64 / 2;
        let mut log = RollingFile::open(folder.path().join("x.log"), max_bytes, 100, failed()).expect("open");
        let line = format!("{}\n", "x".repeat(99));
        for _ in 0..5000 {
            log.push(&line);
        }
        log.flush();
        let sizes: Vec<u64> = names(folder.path())
            .iter()
            .map(|name| fs::metadata(folder.path().join(name)).expect("metadata").len())
            .collect();
        assert!(sizes.iter().all(|size| *size <= max_bytes), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<u64>(), 500_000);
    }

    #[test]
    fn a_line_longer_than_a_file_is_written_all_the_same() {
        let folder = tempfile::tempdir().expect("folder");
        let mut log = RollingFile::open(folder.path().join("x.log"), 4, 1, failed()).expect("open");
        log.push("longer\n");
        log.push("than that\n");
        log.flush();
        assert_eq!(text(folder.path(), "x.log.1"), "longer\n");
        assert_eq!(text(folder.path(), "x.log"), "than that\n");
    }

    #[test]
    fn without_rolled_files_the_full_one_is_deleted() {
        let folder = tempfile::tempdir().expect("folder");
        let mut log = RollingFile::open(folder.path().join("x.log"), 4, 0, failed()).expect("open");
        log.push("one\n");
        log.push("two\n");
        log.flush();
        assert_eq!(names(folder.path()), ["x.log"]);
        assert_eq!(text(folder.path(), "x.log"), "two\n");
    }

    #[test]
    fn a_restart_appends_mends_half_a_line_and_keeps_to_the_size() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("x.log"), "whole\nha").expect("write");
        let mut log = RollingFile::open(folder.path().join("x.log"), 16, 3, failed()).expect("open");
        log.push("next\n");
        log.push("rolled\n");
        log.flush();
        assert_eq!(text(folder.path(), "x.log.1"), "whole\nha\nnext\n");
        assert_eq!(text(folder.path(), "x.log"), "rolled\n");
    }

    #[test]
    fn a_failure_loses_its_lines_is_counted_and_is_got_over() {
        let folder = tempfile::tempdir().expect("folder");
        let failed = failed();
        let mut log = RollingFile::open(folder.path().join("x.log"), 12, 1, failed.clone()).expect("open");
        // Rolling cannot replace a folder that is not empty.
        let obstacle = folder.path().join("x.log.1");
        fs::create_dir_all(obstacle.join("inside")).expect("obstacle");
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            log.push(line);
        }
        log.flush();
        assert_eq!(text(folder.path(), "x.log"), "one\ntwo\n", "the full file does not grow");
        assert_eq!(failed.get(), 2);

        fs::remove_dir_all(obstacle).expect("removed");
        log.push("five\n");
        log.flush();
        assert_eq!(text(folder.path(), "x.log.1"), "one\ntwo\n");
        assert_eq!(text(folder.path(), "x.log"), "five\n");
        assert_eq!(failed.get(), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_counted_and_does_not_stop_the_log() {
        let folder = tempfile::tempdir().expect("folder");
        let failed = failed();
        let mut log = RollingFile::open(folder.path().join("x.log"), 1000, 1, failed.clone()).expect("open");
        // Every write to this device fails with "no space left".
        fs::remove_file(&log.path).expect("removed");
        std::os::unix::fs::symlink("/dev/full", &log.path).expect("link");
        log.file = Some(OpenOptions::new().write(true).open("/dev/full").expect("the device"));
        log.push("lost\n");
        log.push("as well\n");
        log.flush();
        assert_eq!(failed.get(), 2);
        fs::remove_file(&log.path).expect("removed");
        log.push("written\n");
        log.flush();
        assert_eq!(text(folder.path(), "x.log"), "written\n");
        assert_eq!(failed.get(), 2);
    }

    #[test]
    fn a_folder_that_vanished_is_made_again_and_a_file_that_was_moved_away_too() {
        let folder = tempfile::tempdir().expect("folder");
        let logs = folder.path().join("logs");
        let failed = failed();
        let mut log = RollingFile::open(logs.join("x.log"), 1000, 1, failed.clone()).expect("open");
        log.push("before\n");
        log.flush();
        fs::remove_dir_all(&logs).expect("removed");
        log.push("after\n");
        log.flush();
        assert_eq!(text(&logs, "x.log"), "after\n");
        fs::rename(logs.join("x.log"), logs.join("rotated")).expect("moved");
        log.push("anew\n");
        log.flush();
        assert_eq!(text(&logs, "x.log"), "anew\n");
        assert_eq!(text(&logs, "rotated"), "after\n");
        assert_eq!(failed.get(), 0);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_at_once() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("logs"), "a file").expect("write");
        assert!(Files::open(&folder.path().join("logs"), 1, 1, &failed()).is_err());
    }
}
