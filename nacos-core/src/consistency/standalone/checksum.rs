//! CRC-32 as zip and Ethernet have it (IEEE 802.3, reflected), for texts that a disk or an operator may have changed.

/// One step for each value of a byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut value = at as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
};

/// The checksum of what it was given so far.
#[derive(Clone, Copy)]
pub(super) struct Checksum(u32);

impl Default for Checksum {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Checksum {
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let step = |sum: u32, byte: &u8| (sum >> 8) ^ TABLE[usize::from(sum as u8 ^ byte)];
        Self(bytes.iter().fold(self.0, step))
    }

    /// The sum with this text at its end, as a column holds it.
    pub(super) fn text(self, text: &str) -> i64 {
        i64::from(!self.bytes(text.as_bytes()).0)
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
