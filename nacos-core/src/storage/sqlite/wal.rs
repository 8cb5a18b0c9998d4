//! Tells a log that a power cut left unfinished from one that was damaged later.
//!
//! SQLite takes the first frame of its write-ahead log that fails its checksum for the end. That is right for a
//! commit that was cut short, but a flipped bit in the middle would silently undo all commits behind it, though
//! they were acknowledged. Here is the difference: every commit is synced before the next one begins, so no
//! frame that was written *after* a commit can stand behind the first bad frame, unless that went bad later.
//!
//! Pure but for reading; called once, before SQLite sees the file. Format:
//! <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::io::{self, Read};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC: u32 = 0x377f_0682;

/// What a log holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No byte: the database was closed properly, or never written.
    Empty,
    /// What SQLite will read from it is all that was acknowledged; at most an unfinished commit is cut off.
    Sound,
    /// Acknowledged commits would be lost.
    Damaged {
        /// The first bad frame, counted from 1; 0 for the header.
        frame: u64,
    },
}

type Sum = (u32, u32);

/// The byte order of a log's checksums, from its header.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn sum(self, start: Sum, bytes: &[u8]) -> Sum {
        bytes.chunks_exact(8).fold(start, |(a, b), pair| {
            let (x, y) = (self.word(&pair[..4]), self.word(&pair[4..]));
            let a = a.wrapping_add(x).wrapping_add(b);
            (a, b.wrapping_add(y).wrapping_add(a))
        })
    }

    fn word(self, bytes: &[u8]) -> u32 {
        if self.big { big(bytes) } else { big(bytes).swap_bytes() }
    }
}

fn big(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Reads a log from its beginning to its end.
pub(super) fn judge(mut log: impl Read) -> io::Result<Verdict> {
    let mut header = [0; HEADER_BYTES];
    match fill(&mut log, &mut header)? {
        0 => return Ok(Verdict::Empty),
        HEADER_BYTES => {}
        _ => return Ok(Verdict::Sound),
    }
    let magic = big(&header);
    let order = Order { big: magic & 1 == 1 };
    let page_bytes = big(&header[8..]) as usize;
    let mut sum = order.sum((0, 0), &header[..24]);
    let readable = magic & !1 == MAGIC
        && page_bytes.is_power_of_two()
        && (512..=65_536).contains(&page_bytes)
        && sum == (big(&header[24..]), big(&header[28..]));
    if !readable {
        // The header is synced before the first frame is written, so behind a bad one only emptiness is innocent.
        let more = fill(&mut log, &mut [0])? > 0;
        return Ok(if more { Verdict::Damaged { frame: 0 } } else { Verdict::Sound });
    }
    let salts = &header[16..24];

    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let mut first_bad = 0;
    // Checksums of the frame just read from which the next one goes on if that frame ended a commit.
    let mut commits: Vec<Sum> = Vec::with_capacity(2);
    for number in 1.. {
        if fill(&mut log, &mut frame)? < frame.len() {
            break;
        }
        let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
        let goes_on_from = |before| order.sum(order.sum(before, &head[..8]), page);
        let ours = &head[8..16] == salts;
        let stored = (big(&head[16..]), big(&head[20..]));
        let is_commit = big(&head[4..]) != 0;
        if first_bad == 0 {
            let reached = goes_on_from(sum);
            if ours && reached == stored {
                sum = stored;
                continue;
            }
            first_bad = number;
            // Either the checksum or what it covers is as it was written; the next frame tells.
            commits.extend(is_commit.then_some([stored, reached]).into_iter().flatten());
            continue;
        }
        if ours && commits.iter().any(|before| goes_on_from(*before) == stored) {
            return Ok(Verdict::Damaged { frame: first_bad });
        }
        commits.clear();
        commits.extend((ours && is_commit).then_some(stored));
    }
    Ok(Verdict::Sound)
}

/// Fills `buffer` as far as the file goes; answers how far.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
