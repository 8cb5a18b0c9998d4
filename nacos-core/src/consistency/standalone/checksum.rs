//! CRC-32 as zip and Ethernet have it (IEEE 802.3, reflected), for texts that a disk or an operator may have changed.

use crc32fast::Hasher;

/// The checksum of what it was given so far.
#[derive(Clone, Default)]
pub(super) struct Checksum(Hasher);

impl Checksum {
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    /// The sum with this text at its end, as a column holds it.
    pub(super) fn text(self, text: &str) -> i64 {
        i64::from(self.bytes(text.as_bytes()).0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(Checksum::default().text("123456789"), 0xcbf4_3926);
        assert_eq!(Checksum::default().bytes(b"1234").text("56789"), 0xcbf4_3926);
        assert_eq!(Checksum::default().text(""), 0);
    }
}
