//! Probing by HTTP: one GET over a fresh connection, of whose answer the head is read.
//!
//! Follows Nacos 2.4 `HttpHealthCheckProcessor`: 200 is healthy, 503 and 302 mean busy, everything else is a failure
//! at once. No redirect is followed, and no body is read.

use std::{io, time::Duration};

use ::http::{HeaderName, HeaderValue};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{ANSWER_TIMEOUT, Outcome};

/// The head of an answer, with all that came before it, may be so long.
const HEAD_MAX: usize = 8 * 1024;
/// Under this name Nacos asks; operators tell probes from users by it (`HttpClientManager`).
const USER_AGENT: &str = "VIPServer";
/// Headers that would change what this connection is used for; a user's are left out.
const NOT_FOR_USERS: [&str; 8] =
    ["connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// The request for a path with a user's headers. Whatever they hold, it is one request for this host: what cannot
/// stand in a path is percent-encoded, a header that is none is left out (as one without exactly one colon is, see
/// `Http.getCustomHeaders`).
pub(super) fn request(host: &str, port: u16, path: &str, headers: &str) -> Vec<u8> {
    let mut out = String::from("GET ");
    if !path.starts_with('/') {
        out.push('/');
    }
    let path = path.split('#').next().unwrap_or_default();
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.push_str(" HTTP/1.1\r\n");
    let mut out = out.into_bytes();
    let mut header = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    let given = custom(headers);
    let has = |name: &str| given.iter().any(|(given, _)| given == name);
    if !has("host") {
        let host = host.trim_matches(['[', ']']);
        let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        header("Host", host.as_bytes());
    }
    if !has("user-agent") {
        header("User-Agent", USER_AGENT.as_bytes());
    }
    if !has("accept") {
        header("Accept", b"*/*");
    }
    header("Connection", b"close");
    for (name, value) in &given {
        header(name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// A user's headers, of each name the last one.
fn custom(headers: &str) -> Vec<(HeaderName, HeaderValue)> {
    let mut found: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for one in headers.split('|') {
        let mut parts = one.trim_end_matches(':').split(':');
        let (Some(name), Some(value), None) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (Ok(name), Ok(value)) = (name.trim().parse::<HeaderName>(), value.trim().parse::<HeaderValue>()) else {
            continue;
        };
        if NOT_FOR_USERS.contains(&name.as_str()) {
            continue;
        }
        found.retain(|(other, _)| *other != name);
        found.push((name, value));
    }
    found
}

/// Sends a request and judges its answer. Ends within [`ANSWER_TIMEOUT`].
pub(super) async fn probe<S: AsyncRead + AsyncWrite + Unpin>(stream: S, request: &[u8]) -> Outcome {
    probe_within(stream, request, ANSWER_TIMEOUT).await
}

async fn probe_within<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8], within: Duration) -> Outcome {
    let asked = async {
        stream.write_all(request).await?;
        let mut head = Vec::with_capacity(1024);
        loop {
            match parse(&head) {
                Head::Part if head.len() >= HEAD_MAX => return io::Result::Ok(Head::Wrong),
                Head::Part => {}
                whole => return Ok(whole),
            }
            // What has come so far is all that is kept, and is below the bound: a read adds to it up to the bound.
            let room = HEAD_MAX - head.len();
            if (&mut stream).take(room as u64).read_buf(&mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    match timeout(within, asked).await {
        Err(_) => Outcome::Slow("no answer in time".into()),
        Ok(Err(error)) => Outcome::Down(format!("no answer: {error}").into()),
        Ok(Ok(Head::Status(200))) => Outcome::Up,
        Ok(Ok(Head::Status(busy @ (302 | 503)))) => Outcome::Slow(format!("answered {busy}").into()),
        Ok(Ok(Head::Status(other))) => Outcome::DownNow(format!("answered {other}").into()),
        Ok(Ok(Head::Part | Head::Wrong)) => Outcome::Down("not an HTTP answer".into()),
    }
}

/// What the bytes so far say.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// More is needed.
    Part,
    /// The head is whole, and this is its status.
    Status(u16),
    /// This is not HTTP/1.
    Wrong,
}

/// Reads the head of an answer; interim answers (1xx) before it are passed over.
fn parse(mut bytes: &[u8]) -> Head {
    loop {
        let status = match status(bytes) {
            Head::Status(status) => status,
            other => return other,
        };
        let Some(end) = end(bytes) else { return Head::Part };
        if !(100..200).contains(&status) {
            return Head::Status(status);
        }
        bytes = &bytes[end..];
    }
}

/// What a status line begins with; a zero stands for any digit.
const STATUS_LINE: &[u8] = b"HTTP/1.0 000";

fn status(bytes: &[u8]) -> Head {
    let fits = |(byte, model): (&u8, &u8)| byte == model || *model == b'0' && byte.is_ascii_digit();
    if !bytes.iter().zip(STATUS_LINE).all(fits) {
        return Head::Wrong;
    }
    match bytes.get(STATUS_LINE.len() - 3..STATUS_LINE.len()) {
        Some(code) => Head::Status(code.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))),
        None => Head::Part,
    }
}

/// Where the head ends: after an empty line, its lines ending in CR LF or in LF alone.
fn end(bytes: &[u8]) -> Option<usize> {
    let mut line_start = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' {
            if matches!(&bytes[line_start..index], b"" | b"\r") {
                return Some(index + 1);
            }
            line_start = index + 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;

    fn text(host: &str, path: &str, headers: &str) -> String {
        String::from_utf8(request(host, 8080, path, headers)).unwrap()
    }

    #[test]
    fn a_request_is_built() {
        assert_eq!(
            text("10.0.0.1", "/health?deep=1#x", "X-Key:abc| Y : d e |bad|too:many:colons|Empty:|:v"),
            "GET /health?deep=1 HTTP/1.1\r\nHost: 10.0.0.1:8080\r\nUser-Agent: VIPServer\r\nAccept: */*\r\n\
             Connection: close\r\nx-key: abc\r\ny: d e\r\n\r\n"
        );
        assert!(text("::1", "", "").starts_with("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n"));
        assert!(text("[::1]", "x", "").starts_with("GET /x HTTP/1.1\r\nHost: [::1]:8080\r\n"));
    }

    #[test]
    fn a_path_stays_a_path() {
        for (path, line) in [
            ("http://169.254.169.254/latest", "GET /http://169.254.169.254/latest HTTP/1.1\r\n"),
            ("//other/x", "GET //other/x HTTP/1.1\r\n"),
            ("/a b\r\nX: y", "GET /a%20b%0D%0AX:%20y HTTP/1.1\r\n"),
            ("/\u{e4}", "GET /%C3%A4 HTTP/1.1\r\n"),
        ] {
            assert!(text("10.0.0.1", path, "").starts_with(line), "{path}: {}", text("10.0.0.1", path, ""));
        }
    }

    #[test]
    fn a_user_may_say_the_host_but_not_the_framing() {
        let request = text("10.0.0.1", "/", "Host:shop.example|Content-Length:5|Connection:keep-alive|TE:x|A:1|a:2");
        assert!(request.contains("\r\nhost: shop.example\r\n"), "{request}");
        assert!(!request.contains("10.0.0.1"), "{request}");
        assert!(!request.to_lowercase().contains("content-length"), "{request}");
        assert!(!request.contains("keep-alive"), "{request}");
        assert!(request.ends_with("a: 2\r\n\r\n") && !request.contains("a: 1"), "{request}");
    }

    #[test]
    fn heads_are_read() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"), Head::Status(200));
        assert_eq!(parse(b"HTTP/1.0 404\n\n"), Head::Status(404));
        assert_eq!(
            parse(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\nHTTP/1.1 503 x\r\n\r\n"),
            Head::Status(503)
        );
        assert_eq!(parse(b"HTTP/1.1 100 Continue\r\n\r\n"), Head::Part);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nA: b\r\n"), Head::Part);
        for wrong in
            [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 2x0\r\n\r\n", b"\r\n\r\n", b"J\0\0\0\n8.0"]
        {
            assert_eq!(parse(wrong), Head::Wrong, "{wrong:?}");
        }
    }

    proptest! {
        /// Whatever the path and the headers are, there is one request line, and one empty line at the end.
        #[test]
        fn nothing_breaks_out_of_the_request(path in any::<String>(), headers in "(?s).{0,80}") {
            let bytes = request("10.0.0.1", 80, &path, &headers);
            let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            prop_assert_eq!(lines.pop(), Some(&b""[..]));
            prop_assert_eq!(lines.pop(), Some(&b"\r"[..]));
            prop_assert!(lines.iter().all(|line| line.ends_with(b"\r") && line.len() > 1));
            prop_assert!(lines.iter().all(|line| line.iter().filter(|byte| **byte == b'\r').count() == 1));
            prop_assert_eq!(lines[0].split(|byte| *byte == b' ').count(), 3);
        }

        /// A head is understood in the same way whether it comes at once or byte by byte.
        #[test]
        fn a_head_may_come_in_pieces(status in 200_u16..600, interim in 0_usize..3, minor in 0..2, filler in "[a-z: ]{0,40}") {
            let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(interim);
            let head = format!("{interim}HTTP/1.{minor} {status} x\r\n{filler}y: z\r\n\r\n");
            for cut in 0..head.len() {
                prop_assert_eq!(parse(&head.as_bytes()[..cut]), Head::Part);
            }
            prop_assert_eq!(parse(head.as_bytes()), Head::Status(status));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..20) {
            let _ = parse(&bytes);
            let mut near = b"HTTP/1.1 200 OK\r\n"[..cut.min(17)].to_vec();
            near.extend(bytes);
            let _ = parse(&near);
        }
    }

    async fn answered(answer: &[u8], close: bool) -> Outcome {
        let (client, mut server) = duplex(64 * 1024);
        server.write_all(answer).await.unwrap();
        if close {
            // Only the sending side: the request can still be written.
            server.shutdown().await.unwrap();
        }
        let outcome = probe_within(client, b"GET / HTTP/1.1\r\n\r\n", Duration::from_millis(200)).await;
        drop(server);
        outcome
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_judged() {
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\n\r\n", false).await, Outcome::Up);
        for busy in [302, 503] {
            let answer = format!("HTTP/1.1 {busy} x\r\nLocation: http://elsewhere/\r\n\r\n");
            assert_eq!(answered(answer.as_bytes(), false).await, Outcome::Slow(format!("answered {busy}").into()));
        }
        for failed in [201, 204, 301, 400, 404, 500] {
            let answer = format!("HTTP/1.1 {failed} x\r\n\r\n");
            assert_eq!(answered(answer.as_bytes(), false).await, Outcome::DownNow(format!("answered {failed}").into()));
        }
        assert!(matches!(answered(b"", true).await, Outcome::Down(_)));
        assert!(matches!(answered(b"HTTP/1.1 200 OK\r\n", true).await, Outcome::Down(_)));
        assert!(matches!(answered(b"HTTP/1.1 200 OK\r\n", false).await, Outcome::Slow(_)));
        assert!(matches!(answered(b"+OK ready\r\n", false).await, Outcome::Down(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_without_end_is_cut() {
        let mut endless = b"HTTP/1.1 200 OK\r\n".to_vec();
        endless.resize(HEAD_MAX + 1000, b'x');
        let interims = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
        for bytes in [&endless, &interims] {
            assert_eq!(answered(bytes, false).await, Outcome::Down("not an HTTP answer".into()));
        }
    }
}
