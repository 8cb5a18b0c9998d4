//! Probing by MySQL: log in, ask a query, look at the first row.
//!
//! A client of some hundred lines in place of a library: it speaks to servers that users name, so it takes what it
//! reads for hostile. It keeps 4 KiB of a packet, reads 1 MiB at most, never sends a file, and ends in time. [`wire`]
//! is the format, without I/O; here is the conversation.
//!
//! The password itself is never sent, neither in clear nor under a key that the server offers: whoever may register
//! an instance in the cluster could ask for it. So a user of `caching_sha2_password` can log in only while the server
//! has him in its cache, which one login over TLS, by whatever client, sees to until the server restarts. Else the
//! probe counts as failed, and its reason says so. `mysql_native_password` knows no such cache.
//!
//! Follows Nacos 2.4 `MysqlHealthCheckProcessor`, where connections are kept and the driver uses TLS if it can; here
//! each probe has a plain one of its own. Tried against MySQL 9.7 and MariaDB 10.11.

mod wire;

use std::{io, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    time::timeout,
};

use self::wire::{AuthReply, QueryReply, Trouble};
use super::{ANSWER_TIMEOUT, Outcome};

/// The query that asks whether a server takes writes; `ON` makes it a failure
/// (`MysqlHealthCheckProcessor.CHECK_MYSQL_MASTER_SQL`).
const READ_ONLY_QUERY: &str = "show global variables where variable_name='read_only'";
/// So much of a packet is kept; none that matters is longer.
const KEPT_MAX: usize = 4 * 1024;
/// So much is read of one server.
const READ_MAX: usize = 1024 * 1024;
/// A user's name, password or query longer than this is not sent.
const SENT_MAX: usize = 64 * 1024;
/// A server may ask for another way to log in so many times.
const SWITCHES_MAX: usize = 2;

/// Probes over a fresh connection. Ends within twice [`ANSWER_TIMEOUT`]: one for the login, one for the query.
pub(super) async fn probe<S: AsyncRead + AsyncWrite + Unpin>(stream: S, user: &str, pwd: &str, cmd: &str) -> Outcome {
    probe_within(stream, user, pwd, cmd, ANSWER_TIMEOUT).await
}

async fn probe_within<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    user: &str,
    pwd: &str,
    cmd: &str,
    within: Duration,
) -> Outcome {
    if [user, pwd, cmd].iter().any(|text| text.len() > SENT_MAX) || user.contains('\0') {
        return Outcome::Down("user, password or query cannot be sent".into());
    }
    let mut connection = Connection { stream: BufReader::with_capacity(KEPT_MAX, stream), sequence: 0, read: 0 };
    if let Err(failed) = in_time(within, connection.log_in(user, pwd)).await {
        return failed;
    }
    let outcome = in_time(within, connection.ask(cmd)).await.map_or_else(|failed| failed, |()| Outcome::Up);
    // Else the server would count a broken connection. It may be gone; nobody waits for it.
    let _ = timeout(Duration::ZERO, connection.quit()).await;
    outcome
}

async fn in_time(within: Duration, step: impl Future<Output = Result<(), Failure>>) -> Result<(), Outcome> {
    match timeout(within, step).await {
        Err(_) => Err(Outcome::Slow("no answer in time".into())),
        Ok(Ok(())) => Ok(()),
        Ok(Err(Failure::Io(error))) => Err(Outcome::Down(format!("connection lost: {error}").into())),
        Ok(Err(Failure::ReadOnly)) => Err(Outcome::Down("current node is slave".into())),
        Ok(Err(Failure::Trouble(trouble @ Trouble::Unsupported(_)))) => Err(Outcome::Down(trouble.to_string().into())),
        Ok(Err(Failure::Trouble(trouble))) => Err(Outcome::DownNow(trouble.to_string().into())),
    }
}

enum Failure {
    Io(io::Error),
    Trouble(Trouble),
    ReadOnly,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// A packet as far as it was kept.
struct Packet {
    /// Its first bytes, at most [`KEPT_MAX`].
    head: Vec<u8>,
    /// Its whole length.
    len: usize,
}

struct Connection<S> {
    stream: BufReader<S>,
    /// The number of the next packet in the present exchange.
    sequence: u8,
    read: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn log_in(&mut self, user: &str, pwd: &str) -> Result<(), Failure> {
        let result = self.authenticate(user, pwd).await;
        if let Err(Failure::Trouble(Trouble::Unsupported(_))) = result {
            // Let the server refuse: it counts logins that are broken off, and in the end blocks their host.
            self.send(&[0]).await?;
        }
        result
    }

    async fn authenticate(&mut self, user: &str, pwd: &str) -> Result<(), Failure> {
        let greeting = wire::greeting(&self.receive().await?.head)?;
        let login = wire::login(&greeting, user, pwd)?;
        self.send(&login).await?;
        let mut switches = 0;
        loop {
            match wire::auth_reply(&self.receive().await?.head)? {
                AuthReply::Done => return Ok(()),
                // The answer itself follows.
                AuthReply::FastDone => {}
                AuthReply::Switch { plugin, nonce } => {
                    switches += 1;
                    if switches > SWITCHES_MAX {
                        return Err(Trouble::Malformed("too many switches of authentication").into());
                    }
                    let answer = wire::scramble(&plugin, pwd, &nonce)?;
                    self.send(&answer).await?;
                }
                AuthReply::FullWanted => {
                    let reason = "password wrong, or not in the server's cache (caching_sha2_password)";
                    return Err(Trouble::Unsupported(reason.to_owned()).into());
                }
            }
        }
    }

    async fn ask(&mut self, cmd: &str) -> Result<(), Failure> {
        self.sequence = 0;
        self.send(&wire::query(cmd)).await?;
        match wire::query_reply(&self.receive().await?.head)? {
            QueryReply::Rows => {}
            QueryReply::NoRows => return Err(Trouble::Malformed("the query gives no rows").into()),
        }
        // Descriptions of columns, to their end.
        loop {
            let packet = self.receive().await?;
            wire::error(&packet.head)?;
            if wire::is_end(&packet.head, packet.len) {
                break;
            }
        }
        // A failure after the first row would not be seen. Nor would one of a query that gives thousands.
        let row = self.receive().await?;
        wire::error(&row.head)?;
        if cmd != READ_ONLY_QUERY {
            return Ok(());
        }
        if wire::is_end(&row.head, row.len) {
            return Err(Trouble::Malformed("read_only is not known").into());
        }
        match wire::second_column(&row.head)? {
            Some(b"ON") => Err(Failure::ReadOnly),
            _ => Ok(()),
        }
    }

    async fn quit(&mut self) -> io::Result<()> {
        self.sequence = 0;
        self.send(&[wire::COM_QUIT]).await
    }

    async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let packet = wire::packet(self.sequence, payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&packet).await?;
        self.stream.flush().await
    }

    async fn receive(&mut self) -> io::Result<Packet> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await?;
        let (len, sequence) = wire::packet_header(header);
        self.sequence = sequence.wrapping_add(1);
        self.read = self.read.saturating_add(header.len() + len);
        if self.read > READ_MAX {
            return Err(io::Error::other("the server sends too much"));
        }
        let mut head = vec![0; len.min(KEPT_MAX)];
        self.stream.read_exact(&mut head).await?;
        let mut left = len - head.len();
        while left > 0 {
            let buffered = self.stream.fill_buf().await?.len();
            if buffered == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let passed = buffered.min(left);
            self.stream.consume(passed);
            left -= passed;
        }
        Ok(Packet { head, len })
    }
}

#[cfg(test)]
mod tests;
