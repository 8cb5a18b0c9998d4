//! The format of MySQL's client protocol, as much of it as a probe needs. Pure: bytes in, bytes out.
//!
//! After MySQL's documentation of the protocol: `Protocol::HandshakeV10`, `HandshakeResponse41`, `AuthSwitchRequest`,
//! `AuthMoreData`, `ERR_Packet`, `COM_QUERY` with text rows; `mysql_native_password` and the fast path of
//! `caching_sha2_password`. Every function takes any bytes.

use sha1::{Digest, Sha1};
use sha2::Sha256;

/// The command that ends a connection.
pub(super) const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;

const LONG_PASSWORD: u32 = 1;
const LONG_FLAG: u32 = 1 << 2;
const PROTOCOL_41: u32 = 1 << 9;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
/// What we can do. Not among it: several statements in one, sending local files, TLS, compression.
const CAPABILITIES: u32 = LONG_PASSWORD | LONG_FLAG | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
/// `utf8mb4_general_ci`, known to servers since 5.5.3.
const UTF8MB4: u8 = 45;
/// What we say the longest packet may be that we take.
const PACKET_MAX: u32 = 1 << 24;

/// The length of the random bytes that a password is mixed with.
const NONCE_LEN: usize = 20;
/// So much of a server's own words is taken into a reason.
const WORDS_MAX: usize = 200;

/// Why a conversation cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// The server says no.
    #[error("error {0}: {1}")]
    Server(u16, String),
    /// These are not the bytes of a MySQL server.
    #[error("{0}")]
    Malformed(&'static str),
    /// The server wants what this client has not.
    #[error("{0}")]
    Unsupported(String),
}

/// How a password is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plugin {
    /// `mysql_native_password`
    Native,
    /// `caching_sha2_password`
    CachingSha2,
    /// Another one, by its name.
    Other(String),
}

impl Plugin {
    fn of(name: &[u8]) -> Self {
        match name {
            b"mysql_native_password" => Self::Native,
            b"caching_sha2_password" => Self::CachingSha2,
            other => Self::Other(words(other)),
        }
    }

    fn name(&self) -> &[u8] {
        match self {
            Self::Native => b"mysql_native_password",
            Self::CachingSha2 => b"caching_sha2_password",
            Self::Other(name) => name.as_bytes(),
        }
    }
}

/// What a server begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// What it can do.
    capabilities: u32,
    /// How it wants a password to be proved, if it does not know the user's own way yet.
    pub(super) plugin: Plugin,
    /// What the password is mixed with.
    pub(super) nonce: [u8; NONCE_LEN],
}

/// An answer while logging in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AuthReply {
    /// Logged in.
    Done,
    /// The password is right; that the login is done follows.
    FastDone,
    /// The password itself is wanted.
    FullWanted,
    /// The user proves the password in another way.
    Switch {
        /// Which.
        plugin: Plugin,
        /// What the password is mixed with there.
        nonce: [u8; NONCE_LEN],
    },
}

/// How an answer to a query begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum QueryReply {
    /// Descriptions of columns follow, then rows.
    Rows,
    /// The query was no question.
    NoRows,
}

/// A whole packet. `payload` is shorter than 16 MiB, which callers see to.
pub(super) fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(payload.len() + 4);
    packet.extend_from_slice(&(payload.len() as u32).to_le_bytes()[..3]);
    packet.push(sequence);
    packet.extend_from_slice(payload);
    packet
}

/// A packet's length and number.
pub(super) fn packet_header(bytes: [u8; 4]) -> (usize, u8) {
    (u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) as usize, bytes[3])
}

/// Reads what a server begins with.
pub(super) fn greeting(payload: &[u8]) -> Result<Greeting, Trouble> {
    error(payload)?;
    read_greeting(payload).ok_or(Trouble::Malformed("not a MySQL server"))
}

fn read_greeting(payload: &[u8]) -> Option<Greeting> {
    let mut bytes = Bytes(payload);
    if bytes.byte()? != 10 {
        return None;
    }
    bytes.text()?; // version
    bytes.take(4)?; // number of the connection
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(bytes.take(8)?);
    bytes.byte()?;
    let low = bytes.u16()?;
    bytes.byte()?; // character set
    bytes.u16()?; // status
    let capabilities = u32::from(low) | u32::from(bytes.u16()?) << 16;
    let needed = PROTOCOL_41 | SECURE_CONNECTION;
    if capabilities & needed != needed {
        return None;
    }
    // Its length tells less than it says: the second part is 13 bytes where there are but two parts.
    bytes.byte()?;
    bytes.take(10)?;
    nonce[8..].copy_from_slice(bytes.take(NONCE_LEN - 8)?);
    let plugin = if capabilities & PLUGIN_AUTH == 0 {
        Plugin::Native
    } else {
        bytes.byte()?; // the zero after the random bytes
        // Some servers leave out the zero at the end.
        Plugin::of(bytes.0.split(|byte| *byte == 0).next().unwrap_or_default())
    };
    Some(Greeting { capabilities, plugin, nonce })
}

/// The login of a user. A way of proving that we do not know is answered with one we do: the server may know the
/// user by that.
pub(super) fn login(greeting: &Greeting, user: &str, pwd: &str) -> Result<Vec<u8>, Trouble> {
    let plugin = match &greeting.plugin {
        Plugin::Other(_) => &Plugin::Native,
        known => known,
    };
    let proof = scramble(plugin, pwd, &greeting.nonce)?;
    let capabilities = CAPABILITIES & (greeting.capabilities | LONG_PASSWORD);
    let mut out = Vec::with_capacity(128 + user.len());
    out.extend_from_slice(&capabilities.to_le_bytes());
    out.extend_from_slice(&PACKET_MAX.to_le_bytes());
    out.push(UTF8MB4);
    out.extend_from_slice(&[0; 23]);
    out.extend_from_slice(user.as_bytes());
    out.push(0);
    out.push(proof.len() as u8);
    out.extend_from_slice(&proof);
    if capabilities & PLUGIN_AUTH != 0 {
        out.extend_from_slice(plugin.name());
        out.push(0);
    }
    Ok(out)
}

/// The proof of a password: 20 or 32 bytes, none for an empty password.
pub(super) fn scramble(plugin: &Plugin, pwd: &str, nonce: &[u8; NONCE_LEN]) -> Result<Vec<u8>, Trouble> {
    if let Plugin::Other(name) = plugin {
        return Err(Trouble::Unsupported(format!("authentication by {name} is not supported")));
    }
    if pwd.is_empty() {
        return Ok(Vec::new());
    }
    let pwd = pwd.as_bytes();
    Ok(if *plugin == Plugin::Native {
        let once = Sha1::digest(pwd);
        let mixed = Sha1::new().chain_update(nonce).chain_update(Sha1::digest(once)).finalize();
        once.iter().zip(mixed).map(|(left, right)| left ^ right).collect()
    } else {
        let once = Sha256::digest(pwd);
        let mixed = Sha256::new().chain_update(Sha256::digest(once)).chain_update(nonce).finalize();
        once.iter().zip(mixed).map(|(left, right)| left ^ right).collect()
    })
}

/// Reads an answer while logging in.
pub(super) fn auth_reply(payload: &[u8]) -> Result<AuthReply, Trouble> {
    error(payload)?;
    match payload {
        [0x00, ..] => Ok(AuthReply::Done),
        [0x01, 0x03] => Ok(AuthReply::FastDone),
        [0x01, 0x04] => Ok(AuthReply::FullWanted),
        [0xfe] => Err(Trouble::Unsupported("authentication by mysql_old_password is not supported".to_owned())),
        [0xfe, rest @ ..] => {
            let mut bytes = Bytes(rest);
            let malformed = Trouble::Malformed("unknown switch of authentication");
            let Some(name) = bytes.text() else { return Err(malformed) };
            match Plugin::of(name) {
                // Its random bytes, if it has any, are its own affair.
                Plugin::Other(name) => Err(Trouble::Unsupported(format!("authentication by {name} is not supported"))),
                plugin => match bytes.take(NONCE_LEN).and_then(|nonce| nonce.try_into().ok()) {
                    Some(nonce) => Ok(AuthReply::Switch { plugin, nonce }),
                    None => Err(malformed),
                },
            }
        }
        _ => Err(Trouble::Malformed("unknown answer to the login")),
    }
}

/// A query.
pub(super) fn query(cmd: &str) -> Vec<u8> {
    let mut payload = Vec::with_capacity(cmd.len() + 1);
    payload.push(COM_QUERY);
    payload.extend_from_slice(cmd.as_bytes());
    payload
}

/// Reads how an answer to a query begins.
pub(super) fn query_reply(payload: &[u8]) -> Result<QueryReply, Trouble> {
    error(payload)?;
    match payload {
        [0x00, ..] => Ok(QueryReply::NoRows),
        [0xfb, ..] => Err(Trouble::Malformed("the server wants a local file")),
        [0x01..=0xfa | 0xfc..=0xfe, ..] => Ok(QueryReply::Rows),
        _ => Err(Trouble::Malformed("unknown answer to the query")),
    }
}

/// Whether a packet ends descriptions or rows; `len` is its whole length.
pub(super) fn is_end(payload: &[u8], len: usize) -> bool {
    // A row or a longer packet may begin with the same byte, which then announces a long text.
    payload.first() == Some(&0xfe) && len < 9
}

/// The second column of a row as text, `None` if it is NULL.
pub(super) fn second_column(row: &[u8]) -> Result<Option<&[u8]>, Trouble> {
    let mut bytes = Bytes(row);
    bytes.column().and_then(|_| bytes.column()).ok_or(Trouble::Malformed("a row without a second column"))
}

/// Fails if a packet is an error.
pub(super) fn error(payload: &[u8]) -> Result<(), Trouble> {
    let [0xff, rest @ ..] = payload else { return Ok(()) };
    let mut bytes = Bytes(rest);
    let code = bytes.u16().unwrap_or_default();
    let text = match bytes.0 {
        [b'#', state @ ..] => state.get(5..).unwrap_or_default(),
        text => text,
    };
    Err(Trouble::Server(code, words(text)))
}

/// A server's own words, cut, and without what could spoil a log.
fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(WORDS_MAX)]).replace(char::is_control, " ")
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// Up to a zero, which goes with it.
    fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.byte()?;
        Some(text)
    }

    /// A column of a text row; the inner `None` is NULL.
    fn column(&mut self) -> Option<Option<&'a [u8]>> {
        let len = match self.byte()? {
            0xfb => return Some(None),
            short @ 0..=0xfa => usize::from(short),
            0xfc => usize::from(self.u16()?),
            // A longer one would not be whole here.
            _ => return None,
        };
        self.take(len).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The greeting of a MySQL 8.0 server.
    fn greeting_of(plugin: &str, nonce: &[u8; 20]) -> Vec<u8> {
        let mut out = vec![10];
        out.extend_from_slice(b"8.0.36\0");
        out.extend_from_slice(&[8, 0, 0, 0]);
        out.extend_from_slice(&nonce[..8]);
        out.extend_from_slice(&[0, 0xff, 0xff, 0xff, 0x02, 0x00, 0xff, 0xdf, 21]);
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(&nonce[8..]);
        out.push(0);
        out.extend_from_slice(plugin.as_bytes());
        out.push(0);
        out
    }

    const NONCE: [u8; 20] = *b"abcdefghijklmnopqrst";

    #[test]
    fn a_greeting_is_read() {
        for (name, plugin) in [
            ("mysql_native_password", Plugin::Native),
            ("caching_sha2_password", Plugin::CachingSha2),
            ("dialog", Plugin::Other("dialog".to_owned())),
        ] {
            let read = greeting(&greeting_of(name, &NONCE)).unwrap();
            assert_eq!(read, Greeting { capabilities: 0xdfff_ffff, plugin, nonce: NONCE });
        }
    }

    #[test]
    fn a_cut_greeting_is_none() {
        let whole = greeting_of("mysql_native_password", &NONCE);
        // The name of the plugin may be cut: it is then another plugin.
        for cut in 0..whole.len() - "mysql_native_password\0".len() {
            assert!(greeting(&whole[..cut]).is_err(), "{cut}");
        }
        assert_eq!(greeting(b"SSH-2.0-OpenSSH_9.6\r\n"), Err(Trouble::Malformed("not a MySQL server")));
    }

    #[test]
    fn passwords_are_proved() {
        // Taken from MySQL's own: with these nonces and the password `secret`, computed with Python's hashlib.
        let native = scramble(&Plugin::Native, "secret", &NONCE).unwrap();
        let sha2 = scramble(&Plugin::CachingSha2, "secret", &NONCE).unwrap();
        assert_eq!(hex(&native), NATIVE);
        assert_eq!(hex(&sha2), SHA2);
        assert!(scramble(&Plugin::Native, "", &NONCE).unwrap().is_empty());
        assert!(scramble(&Plugin::CachingSha2, "", &NONCE).unwrap().is_empty());
        assert!(scramble(&Plugin::Other("mysql_clear_password".into()), "secret", &NONCE).is_err());
    }

    const NATIVE: &str = "8817c50fa779daef010ee7577825b0847df9842e";
    const SHA2: &str = "c76e2898612a4cf042c77fa8c4702c4c64c0c2c557c53c4d75595aaa6abae809";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_login_holds_user_and_proof() {
        let greeting = greeting(&greeting_of("dialog", &NONCE)).unwrap();
        let login = login(&greeting, "u", "secret").unwrap();
        assert_eq!(login[..4], CAPABILITIES.to_le_bytes());
        assert_eq!(&login[32..34], b"u\0");
        assert_eq!(login[34], 20);
        assert_eq!(hex(&login[35..55]), NATIVE);
        assert_eq!(&login[55..], b"mysql_native_password\0");
    }

    #[test]
    fn answers_to_a_login_are_read() {
        assert_eq!(auth_reply(&[0, 0, 0, 2, 0, 0, 0]), Ok(AuthReply::Done));
        assert_eq!(auth_reply(&[1, 3]), Ok(AuthReply::FastDone));
        assert_eq!(auth_reply(&[1, 4]), Ok(AuthReply::FullWanted));
        let switch = [b"\xfemysql_native_password\0".as_slice(), &NONCE, b"\0"].concat();
        assert_eq!(auth_reply(&switch), Ok(AuthReply::Switch { plugin: Plugin::Native, nonce: NONCE }));
        assert!(matches!(auth_reply(b"\xfemysql_clear_password\0"), Err(Trouble::Unsupported(_))));
        assert!(matches!(auth_reply(&[0xfe]), Err(Trouble::Unsupported(_))));
        assert!(matches!(auth_reply(b"\xfemysql_native_password\0short"), Err(Trouble::Malformed(_))));
        assert_eq!(
            auth_reply(b"\xff\x15\x04#28000Access denied\nfor user"),
            Err(Trouble::Server(1045, "Access denied for user".to_owned()))
        );
        assert!(matches!(auth_reply(&[]), Err(Trouble::Malformed(_))));
    }

    #[test]
    fn answers_to_a_query_are_read() {
        assert_eq!(query("select 1"), b"\x03select 1");
        assert_eq!(query_reply(&[1]), Ok(QueryReply::Rows));
        assert_eq!(query_reply(&[0xfc, 0, 4]), Ok(QueryReply::Rows));
        assert_eq!(query_reply(&[0, 0, 0, 2, 0, 0, 0]), Ok(QueryReply::NoRows));
        assert!(matches!(query_reply(b"\xfb/etc/passwd"), Err(Trouble::Malformed(_))));
        assert!(is_end(&[0xfe, 0, 0, 2, 0], 5));
        assert!(!is_end(&[0xfe, 0, 0, 2, 0, 0, 0, 0, 0], 20_000_000));
        assert_eq!(second_column(b"\x09read_only\x02ON"), Ok(Some(&b"ON"[..])));
        assert_eq!(second_column(b"\xfb\xfb"), Ok(None));
        assert!(second_column(b"\x09read_only").is_err());
        assert!(second_column(b"\x09read_only\x03ON").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = greeting(&bytes);
            let _ = auth_reply(&bytes);
            let _ = query_reply(&bytes);
            let _ = second_column(&bytes);
            let _ = error(&bytes);
            // Near ones go deeper.
            let mut near = greeting_of("caching_sha2_password", &NONCE);
            near.truncate(bytes.first().map_or(40, |byte| usize::from(*byte)));
            near.extend_from_slice(&bytes);
            let _ = greeting(&near);
        }

        #[test]
        fn a_packet_is_read_as_it_was_written(sequence in any::<u8>(), payload in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let packet = packet(sequence, &payload);
            let header = packet[..4].try_into().unwrap();
            prop_assert_eq!(packet_header(header), (payload.len(), sequence));
            prop_assert_eq!(&packet[4..], &payload[..]);
        }

        #[test]
        fn words_are_short_and_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let words = words(&bytes);
            prop_assert!(words.chars().count() <= WORDS_MAX && !words.contains(char::is_control));
        }
    }
}
