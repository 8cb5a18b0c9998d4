//! The one way by which this crate opens a connection to an address that a user named.
//!
//! Whoever registers an instance has the server connect to it, so some addresses are never dialled: those of the
//! link, where clouds answer with credentials, what they keep at other places, and those that are not one host.
//! Loopback and private addresses are dialled: instances live there. It is the address dialled that is looked at,
//! not the name: a name that leads elsewhere a moment later gains nothing.
//!
//! Called by the probes alone; [`forbidden`] also by the UDP push, which sends where a client says.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout_at},
};

/// Names looked up at once. Each takes a thread for as long as the system's resolver likes to take.
const LOOKUPS_MAX: usize = 16;
/// Of the addresses of a name, so many are tried.
const ADDRESSES_MAX: usize = 4;

/// Where clouds hand out credentials, beside the addresses of the link.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(168, 63, 129, 16),   // Azure
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS, for pods
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google
];

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is one of those that are never dialled.
    #[error("{0} is not dialled: {1}")]
    Forbidden(IpAddr, &'static str),
    /// The name leads to no address.
    #[error("name not resolved")]
    Unresolved(#[source] io::Error),
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// Neither connected nor refused in time.
    #[error("no connection in time")]
    TimedOut,
    /// The network said no in another way.
    #[error("no connection")]
    Failed(#[source] io::Error),
    /// This server has no socket, port or thread left. Says nothing about the other side.
    #[error("this server cannot connect now")]
    Exhausted(#[source] io::Error),
}

/// Opens connections. Cheap to clone; clones share the bound on lookups.
#[derive(Debug, Clone)]
pub struct Dialler {
    lookups: Arc<Semaphore>,
}

impl Dialler {
    /// A dialler with a bound of its own on lookups.
    pub fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }

    /// Connects to `host`, an address or a name, within a time that includes looking the name up. Of several
    /// addresses the first that answers is taken, in the resolver's order.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn connect(&self, host: &str, port: u16, within: Duration) -> Result<TcpStream, DialError> {
        if port == 0 {
            // Some systems say here that they have no port left.
            return Err(DialError::Failed(io::Error::other("port 0")));
        }
        let deadline = Instant::now() + within;
        let addresses = self.addresses(host, port, deadline).await?;
        let mut outcome = DialError::Unresolved(io::ErrorKind::NotFound.into());
        let mut tried = false;
        for address in addresses {
            if let Some(reason) = forbidden(address.ip()) {
                if !tried {
                    outcome = DialError::Forbidden(address.ip(), reason);
                }
                continue;
            }
            tried = true;
            outcome = match timeout_at(deadline, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure(error),
                Err(_) => return Err(DialError::TimedOut),
            };
        }
        Err(outcome)
    }

    async fn addresses(&self, host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, DialError> {
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let busy = || DialError::Exhausted(io::Error::other("too many names are being looked up"));
        let permit = timeout_at(deadline, self.lookups.clone().acquire_owned())
            .await
            .map_err(|_| busy())?
            .map_err(|_| busy())?;
        let host = host.to_owned();
        // Not tokio's `lookup_host`: there the bound would be given up with the wait, while the thread goes on.
        let lookup = tokio::task::spawn_blocking(move || {
            let found = (host.as_str(), port).to_socket_addrs();
            drop(permit);
            found.map(|found| found.take(ADDRESSES_MAX).collect())
        });
        match timeout_at(deadline, lookup).await {
            Ok(Ok(found)) => found.map_err(DialError::Unresolved),
            Ok(Err(_)) => Err(busy()),
            Err(_) => Err(DialError::TimedOut),
        }
    }
}

impl Default for Dialler {
    fn default() -> Self {
        Self::new()
    }
}

/// Why nothing is ever sent to this address; `None` if it may be.
pub fn forbidden(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => forbidden_v4(ip),
        IpAddr::V6(ip) => forbidden_v6(ip),
    }
}

fn forbidden_v4(ip: Ipv4Addr) -> Option<&'static str> {
    if ip.octets()[0] == 0 {
        Some("unspecified")
    } else if ip.is_link_local() {
        Some("link-local")
    } else if METADATA_V4.contains(&ip) {
        Some("cloud metadata")
    } else if ip.is_multicast() {
        Some("multicast")
    } else if ip.is_broadcast() {
        Some("broadcast")
    } else {
        None
    }
}

fn forbidden_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_unspecified() {
        Some("unspecified")
    } else if ip.is_unicast_link_local() {
        Some("link-local")
    } else if METADATA_V6.contains(&ip) {
        Some("cloud metadata")
    } else if ip.is_multicast() {
        Some("multicast")
    } else {
        embedded(ip).and_then(forbidden_v4)
    }
}

/// The IPv4 address that a packet to this one may end up at: mapped, compatible, translated, NAT64, 6to4.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => return None,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => (high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => (high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => (high, low),
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

fn failure(error: io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        io::ErrorKind::TimedOut => DialError::TimedOut,
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => DialError::Exhausted(error),
        // Too many open files, here and in the system, and no buffer space; Windows' numbers follow.
        _ if matches!(error.raw_os_error(), Some(24 | 23 | 105 | 10024 | 10055)) => DialError::Exhausted(error),
        _ => DialError::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);

    #[test]
    fn some_addresses_are_never_dialled() {
        for text in [
            "169.254.0.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "::ffff:100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "239.255.255.255",
            "ff02::1",
            "255.255.255.255",
            "::ffff:255.255.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
        ] {
            assert!(forbidden(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in [
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "::ffff:127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "169.253.255.255",
            "169.255.0.0",
            "100.100.100.201",
            "8.8.8.8",
            "fec0::1",
            "fd00:ec2::253",
            "2001:db8::1",
        ] {
            assert_eq!(forbidden(text.parse().unwrap()), None, "{text}");
        }
    }

    proptest! {
        /// However an IPv4 address is dressed up, it is judged alike.
        #[test]
        fn dress_does_not_matter(bits in any::<u32>()) {
            let ip = Ipv4Addr::from_bits(bits);
            prop_assume!(bits > 1);
            prop_assert_eq!(forbidden(IpAddr::V6(ip.to_ipv6_mapped())), forbidden(IpAddr::V4(ip)));
            prop_assert_eq!(forbidden(IpAddr::V6(ip.to_ipv6_compatible())), forbidden(IpAddr::V4(ip)));
        }
    }

    #[tokio::test]
    async fn an_address_and_a_name_are_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            // The name may lead to ::1 first, where nothing listens.
            let stream = Dialler::new().connect(host, port, WITHIN).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap().port(), port);
        }
    }

    #[tokio::test]
    async fn a_closed_port_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = Dialler::new().connect("127.0.0.1", port, WITHIN).await.unwrap_err();
        assert!(matches!(error, DialError::Refused), "{error:?}");
    }

    #[tokio::test]
    async fn no_port_is_a_failure() {
        let error = Dialler::new().connect("127.0.0.1", 0, WITHIN).await.unwrap_err();
        assert!(matches!(error, DialError::Failed(_)), "{error:?}");
    }

    #[tokio::test]
    async fn what_the_resolver_makes_of_a_name_is_looked_at() {
        // Old spellings of addresses that are not addresses to Rust, but are to the system's resolver.
        for host in ["169.254.169.254", "[fe80::1]", "0", "0xa9fea9fe", "2852039166"] {
            let error = Dialler::new().connect(host, 80, WITHIN).await.unwrap_err();
            assert!(matches!(error, DialError::Forbidden(..) | DialError::Unresolved(_)), "{host}: {error:?}");
        }
        let error = Dialler::new().connect("169.254.169.254", 80, WITHIN).await.unwrap_err();
        assert!(matches!(error, DialError::Forbidden(_, "link-local")), "{error:?}");
    }

    #[tokio::test]
    async fn without_room_for_a_lookup_nothing_is_said_of_the_other_side() {
        let dialler = Dialler::new();
        let _all = dialler.lookups.clone().acquire_many_owned(LOOKUPS_MAX as u32).await.unwrap();
        let error = dialler.connect("name.invalid", 80, Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(error, DialError::Exhausted(_)), "{error:?}");
    }

    #[test]
    fn want_of_our_own_is_told_from_a_failure() {
        assert!(matches!(failure(io::ErrorKind::AddrNotAvailable.into()), DialError::Exhausted(_)));
        assert!(matches!(failure(io::Error::from_raw_os_error(24)), DialError::Exhausted(_)));
        assert!(matches!(failure(io::ErrorKind::HostUnreachable.into()), DialError::Failed(_)));
        assert!(matches!(failure(io::ErrorKind::ConnectionRefused.into()), DialError::Refused));
    }
}
