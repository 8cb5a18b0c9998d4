use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    sync::{Arc, Mutex},
};

use super::{super::scenario::load, *};

/// What a server received, one line of method and target per request.
type Log = Arc<Mutex<Vec<String>>>;

/// A server that answers the request of that number (from 0) and line with a status and a body.
fn serve(answer: impl Fn(usize, &str) -> (u16, String) + Send + Sync + 'static) -> (Servers, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let main = format!("http://{}/nacos", listener.local_addr().unwrap()).parse().unwrap();
    let (log, answer) = (Log::default(), Arc::new(answer));
    let seen = Arc::clone(&log);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen, answer) = (stream.unwrap(), Arc::clone(&seen), Arc::clone(&answer));
            thread::spawn(move || {
                let mut received = Vec::new();
                let mut buffer = [0; 4096];
                // The scenarios here have no bodies.
                while !received.ends_with(b"\r\n\r\n") {
                    let n = stream.read(&mut buffer).unwrap();
                    received.extend_from_slice(&buffer[..n]);
                }
                let text = String::from_utf8(received).unwrap();
                let line = text.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(line.clone());
                    seen.len() - 1
                };
                let (status, body) = answer(number, &line);
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}");
                // The other side may be gone: a request in the background that nobody joins.
                let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
            });
        }
    });
    (Servers { main, second: None, console: None }, log)
}

fn scenario(steps: &str) -> Scenario {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = format!("{{\"name\": \"a/b\", \"steps\": [{}]}}", steps.replace('\n', ""));
    std::fs::write(file.path(), line).unwrap();
    load(file.path()).unwrap().remove(0)
}

/// The numbers of the judged steps and, where they failed, their lines.
fn judged(servers: &Servers, steps: &str) -> Vec<(usize, Option<String>)> {
    run(servers, &scenario(steps), &Names::default()).into_iter().map(|one| (one.step, one.failure)).collect()
}

/// The only failing step and its line.
fn failure(servers: &Servers, steps: &str) -> (usize, String) {
    let mut failures: Vec<_> =
        judged(servers, steps).into_iter().filter_map(|(step, line)| Some((step, line?))).collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    failures.remove(0)
}

fn echo() -> (Servers, Log) {
    serve(|_, line| (200, format!("{{\"data\": [{{\"id\": 7}}], \"line\": {line:?}}}")))
}

#[test]
fn what_is_captured_is_there_for_later_steps() {
    let (servers, log) = echo();
    let steps = r#"{"do": "GET /a", "capture": {"i": "data[0].id"}},
        {"do": "GET /b/${i}", "expect": {"json": {"<partial>": {"line": "GET /nacos/b/7"}}}}"#;
    assert_eq!(judged(&servers, steps), [(2, None)]);
    assert_eq!(*log.lock().unwrap(), ["GET /nacos/a", "GET /nacos/b/7"]);
}

#[test]
fn without_its_capture_a_scenario_goes_on_with_its_clean_up() {
    let (servers, log) = echo();
    let steps = r#"{"do": "GET /a", "capture": {"i": "data[1].id"}}, {"do": "GET /b", "expect": {"status": 200}},
        {"do": "DELETE /c", "cleanup": true, "expect": {"status": 404}, "capture": {"x": "none"}}"#;
    let (step, line) = failure(&servers, steps);
    assert_eq!((step, line.as_str()), (1, "FAIL a/b step 1: GET /a: capture i from data[1].id: no element [1]"));
    assert_eq!(*log.lock().unwrap(), ["GET /nacos/a", "DELETE /nacos/c"]);
}

#[test]
fn a_failing_step_does_not_keep_the_next_from_running() {
    let (servers, _) = echo();
    let steps = r#"{"do": "GET /a", "note": "why", "expect": {"json": {"w": 1, "x": 1, "y": 1}}},
        {"do": "GET /b", "expect": {"status": 200}}"#;
    let line = "FAIL a/b step 1: GET /a [why]: $.w: missing; $.x: missing; $.y: missing (+2 more)";
    assert_eq!(judged(&servers, steps), [(1, Some(line.to_owned())), (2, None)]);
}

#[test]
fn polls_until_it_matches() {
    let (servers, log) = serve(|n, _| (200, format!("{}", n >= 2)));
    assert_eq!(judged(&servers, r#"{"do": "GET /a", "poll": true, "expect": {"json": true}}"#), [(1, None)]);
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[test]
fn polls_no_longer_than_it_may() {
    let (servers, log) = serve(|n, _| (200, n.to_string()));
    let (step, line) = failure(&servers, r#"{"do": "GET /a", "poll": 0.2, "expect": {"json": true}}"#);
    let asked = log.lock().unwrap().len();
    assert!(asked >= 2, "{asked}");
    assert_eq!((step, line), (1, format!("FAIL a/b step 1: GET /a: $: expected true, got {}", asked - 1)));
    let (servers, log) = serve(|_, _| (200, "1".to_owned()));
    failure(&servers, r#"{"do": "GET /a", "expect": {"json": true}}"#);
    assert_eq!(log.lock().unwrap().len(), 1, "a step that does not poll asks once");
}

#[test]
fn a_request_in_the_background_is_joined() {
    let released = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
    let gate = Arc::clone(&released);
    let (servers, _) = serve(move |_, line| {
        let mut open = gate.0.lock().unwrap();
        if line.ends_with("/held") {
            while !*open {
                open = gate.1.wait(open).unwrap();
            }
        } else {
            *open = true;
            gate.1.notify_all();
        }
        (200, format!("{line:?}"))
    });
    let steps = r#"{"do": "GET /held", "background": "lp", "lead": 0.05},
        {"do": "GET /release", "expect": {"json": "GET /nacos/release"}},
        {"join": "lp", "expect": {"json": "GET /nacos/held", "elapsed": [40, 20000]}},
        {"join": "lp", "expect": {"status": 200}}"#;
    let (step, line) = failure(&servers, steps);
    assert_eq!((step, line.as_str()), (4, "FAIL a/b step 4: join lp: no request lp is under way"));
}

#[test]
fn nothing_more_is_tried_where_nothing_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let servers = Servers { main: format!("http://127.0.0.1:{port}").parse().unwrap(), second: None, console: None };
    let steps = r#"{"do": "GET /a", "expect": {"status": 200}}, {"do": "GET /b", "expect": {"status": 200}}"#;
    let (step, line) = failure(&servers, steps);
    assert_eq!(step, 1);
    assert!(line.contains("refused"), "{line}");
}

#[test]
fn a_push_is_waited_for() {
    let (servers, _) = serve(|_, line| {
        let port: u16 = line.rsplit('=').next().unwrap().parse().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for data in [1, 2] {
            socket.send_to(format!("{{\"data\": {data}}}").as_bytes(), ("127.0.0.1", port)).unwrap();
        }
        (200, "true".to_owned())
    });
    let steps = r#"{"udp_open": "udp"}, {"do": "GET /a?port=${udp}", "expect": {"json": true}},
        {"udp_recv": "udp", "within": 5, "expect": {"json": {"data": 2}}},
        {"udp_recv": "udp", "within": 0.05, "expect": {"json": {"data": 3}}}"#;
    let (step, line) = failure(&servers, steps);
    assert_eq!((step, line.as_str()), (4, "FAIL a/b step 4: udp_recv udp: no datagram within 0.05 s"));
}

#[test]
fn each_run_has_values_of_its_own() {
    let (first, second) = (own(&Names::default()), own(&Names::default()));
    let values = |names: &Names| names.in_text("${ns} ${run} ${ip} ${ip2} ${ip3}").unwrap();
    assert_ne!(values(&first), values(&second));
    let pattern = r"^g-[0-9a-f]{10} [0-9a-f]{8}( 127\.[12]\d\d\.[12]\d\d\.[12]\d\d){3}$";
    assert!(regex::Regex::new(pattern).unwrap().is_match(&values(&first)), "{}", values(&first));
}

#[test]
fn a_recorded_servers_lock_fault_is_asked_again() {
    let (servers, log) =
        serve(|n, _| if n == 0 { (500, "x PreparedStatementCallback".into()) } else { (200, "1".into()) });
    assert_eq!(judged(&servers, r#"{"do": "GET /a", "expect": {"json": 1}}"#), [(1, None)]);
    assert_eq!(log.lock().unwrap().len(), 2);
}
