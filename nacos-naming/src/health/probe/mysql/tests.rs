//! Conversations with a made-up server. It checks a password in the way a real one does, from the hash that it
//! stores, so a proof that is wrong cannot pass.

use sha1::{Digest, Sha1};
use sha2::Sha256;
use tokio::{
    io::{DuplexStream, duplex},
    task::JoinHandle,
};

use super::*;

/// How MySQL 5.5.2 begins; from MySQL's documentation of the protocol.
const GREETING_5_5: &[u8] = b"\x36\x00\x00\x00\x0a\x35\x2e\x35\x2e\x32\x2d\x6d\x32\x00\x0b\x00\x00\x00\x64\x76\x48\x40\
\x49\x2d\x43\x4a\x00\xff\xf7\x08\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2a\x34\x64\x7c\x63\x5a\
\x77\x6b\x34\x5e\x5d\x3a\x00";
/// How MySQL 5.6.4 begins; from the same place.
const GREETING_5_6: &[u8] = b"\x50\x00\x00\x00\x0a\x35\x2e\x36\x2e\x34\x2d\x6d\x37\x2d\x6c\x6f\x67\x00\x56\x0a\x00\x00\
\x52\x42\x33\x76\x7a\x26\x47\x72\x00\xff\xff\x08\x02\x00\x0f\xc0\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2b\x79\
\x44\x26\x2f\x5a\x5a\x33\x30\x35\x5a\x47\x00\x6d\x79\x73\x71\x6c\x5f\x6e\x61\x74\x69\x76\x65\x5f\x70\x61\x73\x73\x77\
\x6f\x72\x64\x00";

/// What MySQL 9.7.4 sent when it was asked whether it is read-only, and it is; `sha` with the password `sécret` had
/// logged in over another connection before. Recorded, as is the proof that it took.
const MYSQL_9_7: &str = "4b0000000a392e372e342d3200340000001e380b435a407c1a00ffffff0200ffdf1500000000000000000000356d5f27667d\
     491846424f210063616368696e675f736861325f70617373776f726400020000020103070000030000000200000001000001\
     02620000020364656612706572666f726d616e63655f736368656d6110676c6f62616c5f7661726961626c657310676c6f62\
     616c5f7661726961626c65730d5661726961626c655f6e616d650d5661726961626c655f6e616d650c2d0000010000fd0110\
     000000520000030364656612706572666f726d616e63655f736368656d6110676c6f62616c5f7661726961626c657310676c\
     6f62616c5f7661726961626c65730556616c75650556616c75650c2d0000100000fd000000000005000004fe000002000d00\
     000509726561645f6f6e6c79024f4e05000006fe00000200";
const MYSQL_9_7_PROOF: &str = "0a20da5dce5b415e3e6903bb353afede8319ff1bd063122bb126b3d982876ab3";
/// What MariaDB 10.11.19 sent for `select 1` to `nat` with the same password.
const MARIADB_10_11: &str = "640000000a352e352e352d31302e31312e31392d4d6172696144422d302b646562313275310011000000724a5d714339353b\
     00fef7080200ff81150000000000001d000000677846326427305953757055006d7973716c5f6e61746976655f7061737377\
     6f7264000700000200000002000000010000010117000002036465660000000131000c3f0001000000038100000000050000\
     03fe0000020002000004013105000005fe00000200";
const MARIADB_10_11_PROOF: &str = "5eafe2e9e9cc21f331cb384d6e92061f92e5635f";

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const END: &[u8] = &[0xfe, 0, 0, 2, 0];
const WITHIN: Duration = Duration::from_millis(500);

/// A greeting of MySQL 8 with this way of proving and these random bytes.
fn greeting_8(plugin: &str, nonce: &[u8; 20]) -> Vec<u8> {
    let mut out = b"\x0a8.0.36\0\x08\0\0\0".to_vec();
    out.extend_from_slice(&nonce[..8]);
    out.extend_from_slice(b"\0\xff\xff\xff\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\0");
    out.extend_from_slice(&nonce[8..]);
    out.push(0);
    out.extend_from_slice(plugin.as_bytes());
    out.push(0);
    packet(0, &out)
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_le_bytes().to_vec();
    out[3] = sequence;
    out.extend_from_slice(payload);
    out
}

/// The other side of a connection.
struct Server(DuplexStream);

impl Server {
    async fn send(&mut self, bytes: &[u8]) {
        // The probe may have left already.
        let _ = self.0.write_all(bytes).await;
    }

    async fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).await.unwrap();
        let len = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        let mut payload = vec![0; len];
        self.0.read_exact(&mut payload).await.unwrap();
        (header[3], payload)
    }

    /// Takes a login and gives back its number, user, proof and plugin.
    async fn login(&mut self) -> (u8, String, Vec<u8>, String) {
        let (sequence, payload) = self.receive().await;
        let capabilities = u32::from_le_bytes(payload[..4].try_into().unwrap());
        assert_eq!(capabilities & (1 << 7 | 1 << 11 | 1 << 16), 0, "no local files, no TLS, no several statements");
        let rest = &payload[32..];
        let user_end = rest.iter().position(|byte| *byte == 0).unwrap();
        let user = String::from_utf8(rest[..user_end].to_vec()).unwrap();
        let rest = &rest[user_end + 1..];
        let proof = rest[1..1 + usize::from(rest[0])].to_vec();
        let plugin = String::from_utf8(rest[1 + proof.len()..].to_vec()).unwrap();
        (sequence, user, proof, plugin.trim_end_matches('\0').to_owned())
    }

    /// Takes a query and answers with rows of two columns.
    async fn rows(&mut self, query: &str, rows: &[(&str, &str)]) {
        let (sequence, payload) = self.receive().await;
        assert_eq!((sequence, payload[0], &payload[1..]), (0, 3, query.as_bytes()));
        let column = b"\x03def\0\0\0\x01a\0\x0c\x21\0\x40\0\0\0\xfd\0\0\x1f\0\0";
        let mut payloads = vec![vec![2], column.to_vec(), column.to_vec(), END.to_vec()];
        for (name, value) in rows {
            let row = [&[name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat();
            payloads.push(row);
        }
        payloads.push(END.to_vec());
        for (index, payload) in payloads.iter().enumerate() {
            self.send(&packet(index as u8 + 1, payload)).await;
        }
    }

    async fn error(&mut self, sequence: u8, code: u16, text: &str) {
        let payload = [&b"\xff"[..], &code.to_le_bytes(), b"#28000", text.as_bytes()].concat();
        self.send(&packet(sequence, &payload)).await;
    }

    /// Has the probe ended its connection as it should?
    async fn quit(&mut self) {
        assert_eq!(self.receive().await, (0, vec![1]));
    }
}

/// Probes a server that does as `script` says.
async fn probe_against<F, Fut>(user: &str, pwd: &str, cmd: &str, script: F) -> Outcome
where
    F: FnOnce(Server) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (client, server) = duplex(16 * 1024);
    let server: JoinHandle<()> = tokio::spawn(script(Server(server)));
    let outcome = probe_within(client, user, pwd, cmd, WITHIN).await;
    if server.is_finished() || matches!(outcome, Outcome::Up) {
        server.await.unwrap();
    } else {
        server.abort();
    }
    outcome
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_real_servers_sent_is_understood() {
    for (sent, proof, user, cmd, outcome) in [
        (MYSQL_9_7, MYSQL_9_7_PROOF, "sha", READ_ONLY_QUERY, Outcome::Down("current node is slave".into())),
        (MARIADB_10_11, MARIADB_10_11_PROOF, "nat", "select 1", Outcome::Up),
    ] {
        let (client, mut server) = duplex(16 * 1024);
        server.write_all(&unhex(sent)).await.unwrap();
        assert_eq!(probe_within(client, user, "s\u{e9}cret", cmd, WITHIN).await, outcome);
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        let proof = unhex(proof);
        assert!(received.windows(proof.len()).any(|window| window == proof), "{received:02x?}");
        assert!(received.ends_with(&[1, 0, 0, 0, 1]), "it takes its leave");
    }
}

/// Whether `proof` shows the password whose double hash a server stores (`mysql_native_password`).
fn native_fits(proof: &[u8], nonce: &[u8], stored: &[u8]) -> bool {
    let mask = Sha1::new().chain_update(nonce).chain_update(stored).finalize();
    let once: Vec<u8> = proof.iter().zip(mask).map(|(left, right)| left ^ right).collect();
    proof.len() == 20 && Sha1::digest(once)[..] == *stored
}

/// The same for `caching_sha2_password`.
fn sha2_fits(proof: &[u8], nonce: &[u8], stored: &[u8]) -> bool {
    let mask = Sha256::new().chain_update(stored).chain_update(nonce).finalize();
    let once: Vec<u8> = proof.iter().zip(mask).map(|(left, right)| left ^ right).collect();
    proof.len() == 32 && Sha256::digest(once)[..] == *stored
}

#[tokio::test(start_paused = true)]
async fn a_native_password_is_proved_to_old_servers() {
    // The random bytes lie in two parts of the greeting.
    for (greeting, parts, says_plugin) in
        [(GREETING_5_5, [18..26, 45..57], false), (GREETING_5_6, [22..30, 49..61], true)]
    {
        let nonce: Vec<u8> = parts.into_iter().flat_map(|part| greeting[part].to_vec()).collect();
        let outcome = probe_against("root", "p\u{e4}ss", "select 1", async move |mut server| {
            server.send(greeting).await;
            let (sequence, user, proof, plugin) = server.login().await;
            assert_eq!((sequence, user.as_str()), (1, "root"));
            assert_eq!(plugin, if says_plugin { "mysql_native_password" } else { "" });
            let stored = Sha1::digest(Sha1::digest("p\u{e4}ss".as_bytes()));
            assert!(native_fits(&proof, &nonce, &stored));
            server.send(&packet(2, OK)).await;
            server.rows("select 1", &[("1", "1")]).await;
            server.quit().await;
        })
        .await;
        assert_eq!(outcome, Outcome::Up);
    }
}

const NONCE: [u8; 20] = *b"0123456789abcdefghij";

#[tokio::test(start_paused = true)]
async fn a_cached_sha2_password_is_proved() {
    let outcome = probe_against("u", "secret", "select 1", async |mut server| {
        server.send(&greeting_8("caching_sha2_password", &NONCE)).await;
        let (_, _, proof, plugin) = server.login().await;
        assert_eq!(plugin, "caching_sha2_password");
        assert!(sha2_fits(&proof, &NONCE, &Sha256::digest(Sha256::digest("secret"))));
        server.send(&packet(2, &[1, 3])).await;
        server.send(&packet(3, OK)).await;
        // No row at all is fine for any query but one.
        server.rows("select 1", &[]).await;
        server.quit().await;
    })
    .await;
    assert_eq!(outcome, Outcome::Up);
}

#[tokio::test(start_paused = true)]
async fn a_server_may_switch_to_what_the_user_has() {
    for (first, then) in [
        ("caching_sha2_password", "mysql_native_password"),
        ("mysql_native_password", "caching_sha2_password"),
        ("dialog", "caching_sha2_password"),
    ] {
        let outcome = probe_against("u", "secret", "select 1", async move |mut server| {
            server.send(&greeting_8(first, &[b'x'; 20])).await;
            server.login().await;
            let switch = [b"\xfe", then.as_bytes(), b"\0", &NONCE, b"\0"].concat();
            server.send(&packet(2, &switch)).await;
            let (sequence, proof) = server.receive().await;
            assert_eq!(sequence, 3);
            if then == "mysql_native_password" {
                assert!(native_fits(&proof, &NONCE, &Sha1::digest(Sha1::digest("secret"))));
            } else {
                assert!(sha2_fits(&proof, &NONCE, &Sha256::digest(Sha256::digest("secret"))));
                server.send(&packet(4, &[1, 3])).await;
            }
            server.send(&packet(5, OK)).await;
            server.rows("select 1", &[("1", "1")]).await;
            server.quit().await;
        })
        .await;
        assert_eq!(outcome, Outcome::Up, "{first} to {then}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_password_sends_no_proof() {
    let outcome = probe_against("u", "", "select 1", async |mut server| {
        server.send(&greeting_8("caching_sha2_password", &NONCE)).await;
        let (_, _, proof, _) = server.login().await;
        assert!(proof.is_empty());
        server.send(&packet(2, OK)).await;
        server.rows("select 1", &[("1", "1")]).await;
        server.quit().await;
    })
    .await;
    assert_eq!(outcome, Outcome::Up);
}

#[tokio::test(start_paused = true)]
async fn the_password_itself_is_never_sent() {
    for wanted in [&[1, 4][..], b"\xfemysql_clear_password\0", &[0xfe]] {
        let wanted = wanted.to_vec();
        let outcome = probe_against("u", "canary", "select 1", async move |mut server| {
            server.send(&greeting_8("caching_sha2_password", &NONCE)).await;
            server.login().await;
            server.send(&packet(2, &wanted)).await;
            let mut rest = Vec::new();
            server.0.read_to_end(&mut rest).await.unwrap();
            assert!(!rest.windows(6).any(|window| window == b"canary"));
        })
        .await;
        let Outcome::Down(reason) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("caching_sha2") || reason.contains("not supported"), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_a_failure_at_once() {
    let outcome = probe_against("u", "wrong", "select 1", async |mut server| {
        server.send(&greeting_8("mysql_native_password", &NONCE)).await;
        let (_, _, proof, _) = server.login().await;
        assert!(!native_fits(&proof, &NONCE, &Sha1::digest(Sha1::digest("right"))));
        server.error(2, 1045, "Access denied for user 'u'").await;
    })
    .await;
    assert_eq!(outcome, Outcome::DownNow("error 1045: Access denied for user 'u'".into()));
}

#[tokio::test(start_paused = true)]
async fn a_server_may_refuse_in_its_greeting() {
    // Before capabilities are known there is no state in the packet.
    let outcome = probe_against("u", "p", "select 1", async |mut server| {
        server.send(&packet(0, b"\xff\x6a\x04Host is blocked")).await;
    })
    .await;
    assert_eq!(outcome, Outcome::DownNow("error 1130: Host is blocked".into()));
}

/// A server that lets everyone in, and goes on as `script` says.
async fn after_login<F, Fut>(cmd: &str, script: F) -> Outcome
where
    F: FnOnce(Server) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (client, server) = duplex(16 * 1024);
    let server = tokio::spawn(async move {
        let mut server = Server(server);
        server.send(&greeting_8("mysql_native_password", &NONCE)).await;
        server.login().await;
        server.send(&packet(2, OK)).await;
        script(server).await;
    });
    let outcome = probe_within(client, "u", "p", cmd, WITHIN).await;
    server.abort();
    outcome
}

#[tokio::test(start_paused = true)]
async fn a_read_only_server_counts_as_failed() {
    for (value, healthy) in [("ON", false), ("OFF", true), ("on", true)] {
        let outcome = after_login(READ_ONLY_QUERY, async move |mut server| {
            server.rows(READ_ONLY_QUERY, &[("read_only", value)]).await;
            server.quit().await;
        })
        .await;
        assert_eq!(outcome == Outcome::Up, healthy, "{value}: {outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Down(_)), !healthy, "{value}: {outcome:?}");
    }
    let outcome = after_login(READ_ONLY_QUERY, async |mut server| server.rows(READ_ONLY_QUERY, &[]).await).await;
    assert!(matches!(outcome, Outcome::DownNow(_)), "{outcome:?}");
    let outcome = after_login("select 'a','ON'", async |mut server| {
        server.rows("select 'a','ON'", &[("a", "ON")]).await;
    })
    .await;
    assert_eq!(outcome, Outcome::Up, "only that one query is looked into");
}

#[tokio::test(start_paused = true)]
async fn a_query_that_fails_is_a_failure_at_once() {
    let outcome = after_login("selekt", async |mut server| {
        server.receive().await;
        server.error(1, 1064, "You have an error in your SQL syntax").await;
    })
    .await;
    assert_eq!(outcome, Outcome::DownNow("error 1064: You have an error in your SQL syntax".into()));
    let outcome = after_login("set @a = 1", async |mut server| {
        server.receive().await;
        server.send(&packet(1, OK)).await;
    })
    .await;
    assert!(matches!(outcome, Outcome::DownNow(_)), "{outcome:?}");
    // The failure may come in place of the first row.
    let outcome = after_login("select sleep(9)", async |mut server| {
        server.receive().await;
        server.send(&packet(1, &[1])).await;
        server.send(&packet(2, b"\x03def")).await;
        server.send(&packet(3, END)).await;
        server.error(4, 1317, "Query execution was interrupted").await;
    })
    .await;
    assert!(matches!(outcome, Outcome::DownNow(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_cannot_ask_for_a_file() {
    let outcome = after_login("select 1", async |mut server| {
        server.receive().await;
        server.send(&packet(1, b"\xfb/etc/passwd")).await;
    })
    .await;
    assert_eq!(outcome, Outcome::DownNow("the server wants a local file".into()));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_in_time_at_each_step() {
    let began = tokio::time::Instant::now();
    let outcome = probe_against("u", "p", "select 1", async |server| {
        let _held = server;
        std::future::pending().await
    })
    .await;
    assert!(matches!(outcome, Outcome::Slow(_)), "{outcome:?}");
    assert_eq!(began.elapsed(), WITHIN);

    let began = tokio::time::Instant::now();
    let outcome = after_login("select 1", async |mut server| {
        server.receive().await;
        // One byte after another does not help.
        for byte in packet(1, &[1]).into_iter().cycle() {
            server.send(&[byte]).await;
            tokio::time::sleep(WITHIN / 3).await;
        }
    })
    .await;
    assert!(matches!(outcome, Outcome::Slow(_)), "{outcome:?}");
    assert_eq!(began.elapsed(), WITHIN);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_without_end_is_left() {
    // A flood of columns, and packets as long as can be announced.
    let flood = packet(2, &[b'x'; 10_000]);
    let outcome = after_login("select 1", async move |mut server| {
        server.receive().await;
        server.send(&packet(1, &[1])).await;
        loop {
            server.send(&flood).await;
        }
    })
    .await;
    assert_eq!(outcome, Outcome::Down("connection lost: the server sends too much".into()));
    let outcome = probe_against("u", "p", "select 1", async |mut server| {
        server.send(b"\xff\xff\xff\0").await;
        std::future::pending().await
    })
    .await;
    assert_eq!(outcome, Outcome::Down("connection lost: the server sends too much".into()));
    // Switching for ever is no way either.
    let switch = [b"\xfemysql_native_password\0".as_slice(), &NONCE, b"\0"].concat();
    let outcome = probe_against("u", "p", "select 1", async move |mut server| {
        server.send(&greeting_8("caching_sha2_password", &NONCE)).await;
        server.login().await;
        loop {
            server.send(&packet(2, &switch)).await;
            server.receive().await;
        }
    })
    .await;
    assert!(matches!(outcome, Outcome::DownNow(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_mysql_is_told() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.6\r\n", b""] {
        let bytes = bytes.to_vec();
        let outcome = probe_against("u", "p", "select 1", async move |mut server| server.send(&bytes).await).await;
        assert!(matches!(outcome, Outcome::Down(_) | Outcome::DownNow(_)), "{outcome:?}");
    }
    let outcome = probe_against("a\0b", "p", "select 1", async |_| ()).await;
    assert!(matches!(outcome, Outcome::Down(_)), "{outcome:?}");
}

proptest::proptest! {
    /// Whatever a server sends, the probe ends in its time, and finds it healthy only if it said so.
    #[test]
    fn no_bytes_hang_or_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), greet in proptest::prelude::any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let began = tokio::time::Instant::now();
            probe_against("u", "p", "select 1", async move |mut server| {
                if greet {
                    server.send(&greeting_8("mysql_native_password", &NONCE)).await;
                }
                server.send(&bytes).await;
                std::future::pending().await
            })
            .await;
            assert!(began.elapsed() <= 2 * WITHIN);
        });
    }
}
