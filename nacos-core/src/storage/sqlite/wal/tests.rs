use std::{fs, path::Path};

use rusqlite::Connection;

use super::{FRAME_HEADER_BYTES, HEADER_BYTES, Verdict, judge};

const PAGE_BYTES: usize = 512;
const FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAGE_BYTES;

fn database(folder: &Path) -> Connection {
    let conn = Connection::open(folder.join("t.db")).unwrap();
    conn.execute_batch(
        "PRAGMA page_size = 512; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 10;
         CREATE TABLE t (id INTEGER PRIMARY KEY, content TEXT);",
    )
    .unwrap();
    conn
}

fn insert(conn: &Connection, content: &str) {
    conn.execute("INSERT INTO t (content) VALUES (?1)", [content]).unwrap();
}

fn log(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("t.db-wal")).unwrap()
}

fn verdict(log: &[u8]) -> Verdict {
    judge(log).unwrap()
}

/// A log of some commits of one to three frames, and where the frames of the last one begin.
fn some_commits() -> (Vec<u8>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let conn = database(folder.path());
    let mut before = 0;
    for n in 0..7 {
        before = log(folder.path()).len();
        insert(&conn, &"content".repeat(1 + n % 4 * 40));
    }
    (log(folder.path()), before)
}

#[test]
fn a_log_cut_anywhere_is_sound() {
    let (log, _) = some_commits();
    assert_eq!((log.len() - HEADER_BYTES) % FRAME_BYTES, 0, "the layout is as assumed");
    assert_eq!(verdict(&log), Verdict::Sound);
    assert_eq!(verdict(&[]), Verdict::Empty);
    for end in 1..log.len() {
        assert_eq!(verdict(&log[..end]), Verdict::Sound, "cut at {end} of {}", log.len());
    }
}

/// Whether this byte tells how great the database is after a commit, in which case its frame ends one. Nothing
/// but damage can set it in the midst of a commit, and it may be told as such.
fn marks_a_commit(at: usize) -> bool {
    (4..8).contains(&((at - HEADER_BYTES) % FRAME_BYTES))
}

#[test]
fn a_log_whose_last_commit_is_torn_is_sound() {
    let (log, last) = some_commits();
    for at in last..log.len() {
        let mut torn = log.clone();
        torn[at] ^= 0x55;
        assert!(marks_a_commit(at) || verdict(&torn) == Verdict::Sound, "flipped at {at}");
        // Sectors that did not reach the disk, while those behind them did.
        let sector = at..log.len().min(at.next_multiple_of(512));
        torn[sector.clone()].fill(0);
        assert_eq!(verdict(&torn), Verdict::Sound, "zero in {sector:?}");
        torn[sector.clone()].copy_from_slice(&log[sector.start - last..][..sector.len()]);
        assert_eq!(verdict(&torn), Verdict::Sound, "older bytes in {sector:?}");
        torn[at..].fill(0);
        assert_eq!(verdict(&torn), Verdict::Sound, "zero from {at}");
    }
}

#[test]
fn a_flipped_bit_before_the_last_commit_is_damage() {
    let (log, last) = some_commits();
    let mut missed = Vec::new();
    for at in 0..last {
        let mut flipped = log.clone();
        flipped[at] ^= 1 << (at % 8);
        let frame = at.checked_sub(HEADER_BYTES).map_or(0, |at| at / FRAME_BYTES + 1) as u64;
        if verdict(&flipped) != (Verdict::Damaged { frame }) {
            missed.push(at);
        }
    }
    assert_eq!(missed, [0_usize; 0], "of {last} bytes");
}

#[test]
fn frames_of_an_earlier_round_are_not_taken_for_damage() {
    let folder = tempfile::tempdir().unwrap();
    let conn = database(folder.path());
    for _ in 0..20 {
        insert(&conn, &"first round".repeat(50));
    }
    let long = log(folder.path()).len();
    conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
    insert(&conn, "second round");
    let log = log(folder.path());
    assert_eq!(log.len(), long, "frames of the first round stand behind");
    assert_eq!(verdict(&log), Verdict::Sound);
    for at in HEADER_BYTES..HEADER_BYTES + FRAME_BYTES {
        let mut torn = log.clone();
        torn[at] ^= 0x10;
        assert!(marks_a_commit(at) || verdict(&torn) == Verdict::Sound, "flipped at {at}");
    }
}

#[test]
fn frames_of_a_batch_rolled_back_are_not_taken_for_damage() {
    let folder = tempfile::tempdir().unwrap();
    let conn = database(folder.path());
    insert(&conn, "kept");
    let kept = log(folder.path()).len();
    // Greater than the page cache, so its pages go to the log before it is undone.
    conn.execute_batch("BEGIN; SAVEPOINT batch").unwrap();
    for _ in 0..200 {
        insert(&conn, &"rolled back".repeat(30));
    }
    assert!(log(folder.path()).len() > kept + 50 * FRAME_BYTES, "pages were spilled");
    conn.execute_batch("ROLLBACK TO batch; RELEASE batch").unwrap();
    insert(&conn, &"committed".repeat(200));
    conn.execute_batch("COMMIT").unwrap();

    let log = log(folder.path());
    assert_eq!(verdict(&log), Verdict::Sound);
    for at in (kept..kept + 12 * FRAME_BYTES).step_by(7) {
        let mut torn = log.clone();
        torn[at] ^= 0x10;
        assert!(marks_a_commit(at) || verdict(&torn) == Verdict::Sound, "flipped at {at}");
    }
}
