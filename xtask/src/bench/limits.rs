//! How many connections this machine allows one process, and from which addresses of loopback they come.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

/// Kept free of connections in the server and here: database, logs, listeners, the runtime's own.
const RESERVED: u64 = 300;

/// Connections from one address; a fraction of the ports that the kernel hands out to it.
const PER_ADDRESS: usize = 10_000;

/// Raises the limit of open files as far as the system allows; the servers started later inherit it.
/// Gives the limit.
pub fn raise_open_files() -> Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX).context("raise the limit of open files")
}

/// How many connections fit, of these wanted.
pub fn connections(wanted: usize, open_files: u64) -> usize {
    let fit = usize::try_from(open_files.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
    wanted.min(fit)
}

/// The address that this connection should come from: none in particular for the first few thousand, then
/// 127.0.0.2 and on, since one address has too few ports.
pub fn source(connection: usize) -> Option<Ipv4Addr> {
    let nth = connection / PER_ADDRESS;
    (nth > 0).then(|| Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + u32::try_from(nth).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_change_before_ports_run_out() {
        assert_eq!(source(9_999), None);
        assert_eq!(source(10_000), Some(Ipv4Addr::new(127, 0, 0, 2)));
        assert_eq!(source(29_999), Some(Ipv4Addr::new(127, 0, 0, 3)));
    }

    #[test]
    fn connections_leave_room_for_other_files() {
        assert_eq!(connections(10_000, 20_000), 10_000);
        assert_eq!(connections(30_000, 20_000), 19_700);
        assert_eq!(connections(10, 100), 0);
    }
}
