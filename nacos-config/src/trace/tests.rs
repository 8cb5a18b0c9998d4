use std::{fs, net::Ipv4Addr, path::Path, sync::Arc};

use nacos_core::key::ConfigKey;

use super::{file::Log, *};

/// 2019-08-04 13:22:49,443 UTC.
const NOW: i64 = 1_564_924_969_443;
const MD5: [u8; 16] = [0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0, 0xb2, 4, 0xe9, 0x80, 9, 0x98, 0xec, 0xf8, 0x42, 0x7e];
const MD5_TEXT: &str = "d41d8cd98f00b204e9800998ecf8427e";
const DATE: &str = "2019-08-04 13:22:49,443";

fn key() -> ConfigKey {
    ConfigKey::new("app.yaml", "DEFAULT_GROUP", "dev")
}

fn public_key() -> ConfigKey {
    ConfigKey::new("app.yaml", "DEFAULT_GROUP", "")
}

fn lines(event: Event) -> Vec<(Log, String)> {
    let mut lines = Vec::new();
    let mut formatter = Formatter::new("10.0.0.1", TimeZone::UTC);
    formatter.lines(&Entry { at_ms: NOW, event }, |log, line| lines.push((log, line.to_owned())));
    lines
}

#[track_caller]
fn assert_lines(event: Event, expected: &[(Log, &str)]) {
    let lines = lines(event);
    let lines: Vec<(Log, &str)> = lines.iter().map(|(log, line)| (*log, line.as_str())).collect();
    assert_eq!(lines, expected);
}

fn pull() -> PullRecord {
    PullRecord {
        key: key(),
        app: "shop".into(),
        last_modified_ms: Some(NOW - 1000),
        part: TracePart::Formal,
        outcome: PullOutcome::Ok,
        delay_ms: 1000,
        client_ip: "127.0.0.2".into(),
        notify: false,
        md5: Some(MD5),
        cost_ms: 3,
        channel: Channel::Http,
    }
}

fn polling(kind: PollingKind, changed: PollingChange) -> PollingRecord {
    PollingRecord { cost_ms: 29504, kind, client_ip: "127.0.0.1".into(), keys: 1, request_size: 55, changed }
}

#[test]
fn a_pull_makes_three_lines() {
    assert_lines(
        Event::Pull(pull()),
        &[
            (
                Log::Trace,
                &format!(
                    "{DATE}|10.0.0.1|app.yaml|DEFAULT_GROUP|dev|shop|1564924968443|pull|ok|1000|127.0.0.2|false|http\n"
                ),
            ),
            (Log::PullCheck, &format!("app.yaml+DEFAULT_GROUP+dev|127.0.0.2|{MD5_TEXT}|2019-08-04 13:22:49\n")),
            (Log::ClientRequest, &format!("{DATE}|3|null|127.0.0.2|get|app.yaml|DEFAULT_GROUP|dev|{MD5_TEXT}|shop\n")),
        ],
    );
}

#[test]
fn a_pull_of_nothing_has_no_check() {
    let record = PullRecord {
        key: public_key(),
        app: "unknown".into(),
        last_modified_ms: None,
        outcome: PullOutcome::NotFound,
        delay_ms: -1,
        md5: None,
        channel: Channel::Grpc,
        ..pull()
    };
    assert_lines(
        Event::Pull(record),
        &[
            (
                Log::Trace,
                &format!(
                    "{DATE}|10.0.0.1|app.yaml|DEFAULT_GROUP|null|null|-1|pull|not-found|-1|127.0.0.2|false|grpc\n"
                ),
            ),
            (Log::ClientRequest, &format!("{DATE}|3|300|127.0.0.2|get|app.yaml|DEFAULT_GROUP|||null\n")),
        ],
    );
}

#[test]
fn a_pull_names_its_part_and_outcome() {
    for (part, outcome, channel, expected, result) in [
        (TracePart::Beta, PullOutcome::Ok, Channel::Grpc, "|pull-beta|ok|", "|200|"),
        (TracePart::Tag("blue".into()), PullOutcome::Conflict, Channel::Grpc, "|pull-tag-blue|conflict|", "|400|"),
        (TracePart::Formal, PullOutcome::Conflict, Channel::Http, "|pull|conflict|", "|null|"),
        (TracePart::Formal, PullOutcome::Error, Channel::Grpc, "|pull|error|", "|500|"),
        (TracePart::Formal, PullOutcome::Error, Channel::Http, "|pull|error|", "|false|"),
    ] {
        let lines = lines(Event::Pull(PullRecord { part, outcome, channel, ..pull() }));
        let checked = lines.iter().any(|(log, _)| *log == Log::PullCheck);
        assert_eq!(checked, outcome == PullOutcome::Ok);
        assert!(lines[0].1.contains(expected), "{expected} not in {}", lines[0].1);
        let request = &lines[lines.len() - 1];
        assert!(request.0 == Log::ClientRequest && request.1.contains(result), "{result} not in {}", request.1);
    }
}

#[test]
fn a_pull_after_a_notice_has_no_negative_delay() {
    let lines = lines(Event::Pull(PullRecord { delay_ms: -1, notify: true, ..pull() }));
    assert!(lines[0].1.ends_with("|pull|ok|0|127.0.0.2|true|http\n"), "{}", lines[0].1);
}

#[test]
fn persist_lines() {
    let publish = PersistRecord {
        key: public_key(),
        app: "shop".into(),
        time_ms: NOW - 5,
        handle_ip: "10.0.0.1".into(),
        part: TracePart::Tag("blue".into()),
        kind: PersistKind::Publish,
        md5: Some(MD5),
    };
    let remove = PersistRecord {
        key: key(),
        app: "".into(),
        handle_ip: "127.0.0.2".into(),
        part: TracePart::Formal,
        kind: PersistKind::Remove,
        md5: None,
        ..publish
    };
    let merge = PersistRecord { part: TracePart::Beta, kind: PersistKind::Merge, ..publish.clone() };
    for (record, expected) in [
        (publish, format!("null|shop|1564924969438|10.0.0.1|persist-tag-blue|pub|-1|{MD5_TEXT}")),
        (remove, "dev|null|1564924969438|127.0.0.2|persist|remove|-1|null".to_owned()),
        (merge, format!("null|shop|1564924969438|10.0.0.1|persist-beta|merge|-1|{MD5_TEXT}")),
    ] {
        let expected = format!("{DATE}|10.0.0.1|app.yaml|DEFAULT_GROUP|{expected}\n");
        assert_lines(Event::Persist(record), &[(Log::Trace, &expected)]);
    }
}

#[test]
fn notify_lines() {
    let record = |outcome, part, delay_ms| NotifyRecord {
        key: key(),
        part,
        outcome,
        last_modified_ms: NOW - 7,
        delay_ms,
        target: "10.0.0.2:8848".into(),
    };
    let trace = |rest: &str| {
        format!("{DATE}|10.0.0.1|app.yaml|DEFAULT_GROUP|dev|null|1564924969436|10.0.0.1|{rest}|10.0.0.2:8848\n")
    };
    let retry = format!(
        "{DATE} ERROR [notify-retry] target:10.0.0.2:8848 dataId:app.yaml group:DEFAULT_GROUP ts:1564924969436\n\n"
    );
    assert_lines(
        Event::Notify(record(NotifyOutcome::Ok, TracePart::Formal, 7)),
        &[(Log::Trace, &trace("notify|ok|7"))],
    );
    assert_lines(
        Event::Notify(record(NotifyOutcome::Unhealthy, TracePart::Beta, -3)),
        &[(Log::Trace, &trace("notify-beta|unhealth|0"))],
    );
    assert_lines(
        Event::Notify(record(NotifyOutcome::Error, TracePart::Tag("blue".into()), 7)),
        &[(Log::Trace, &trace("notify-tag-blue|error|7")), (Log::Notify, &retry)],
    );
    assert_lines(
        Event::Notify(record(NotifyOutcome::Exception, TracePart::Formal, 7)),
        &[(Log::Trace, &trace("notify|exception|7")), (Log::Notify, &retry)],
    );
}

#[test]
fn dump_lines() {
    let record = |outcome, part, handle_ip, delay_ms, length| DumpRecord {
        key: key(),
        part,
        outcome,
        handle_ip,
        last_modified_ms: NOW - 7,
        delay_ms,
        length,
    };
    let trace = |rest: &str| format!("{DATE}|10.0.0.1|app.yaml|DEFAULT_GROUP|dev|null|1564924969436|{rest}\n");
    let free = |level: &str, name: &str, tag: &str, length: u64| {
        format!(
            "{DATE} {level} [{name}] groupKey=app.yaml+DEFAULT_GROUP+dev{tag}, lastModified=1564924969436, \
             length={length}\n\n"
        )
    };
    assert_lines(
        Event::Dump(record(DumpOutcome::Ok, TracePart::Formal, Some("10.0.0.9".into()), 7, 12)),
        &[(Log::Trace, &trace("10.0.0.9|dump|ok|7|12")), (Log::Dump, &free("INFO", "dump-ok", "", 12))],
    );
    assert_lines(
        Event::Dump(record(DumpOutcome::RemoveOk, TracePart::Beta, None, -7, 0)),
        &[(Log::Trace, &trace("null|dump-beta|remove-ok|0|0")), (Log::Dump, &free("INFO", "remove-beta-ok", "", 0))],
    );
    assert_lines(
        Event::Dump(record(DumpOutcome::Error, TracePart::Tag("blue".into()), None, 7, 0)),
        &[
            (Log::Trace, &trace("null|dump-tag-blue|error|7|0")),
            (Log::Dump, &free("ERROR", "dump-tag-error", ", tag=blue", 0)),
        ],
    );
}

#[test]
fn request_lines() {
    let publish = RequestRecord {
        cost_ms: 12,
        ok: Some(true),
        client_ip: "127.0.0.2".into(),
        op: RequestOp::Publish,
        key: public_key(),
        md5: Some(MD5),
        app: "shop".into(),
    };
    let remove = RequestRecord {
        ok: Some(false),
        op: RequestOp::Remove,
        key: key(),
        md5: None,
        app: "unknown".into(),
        ..publish.clone()
    };
    let unsaid = RequestRecord { ok: None, ..remove.clone() };
    for (record, expected) in [
        (publish, format!("12|true|127.0.0.2|publish|app.yaml|DEFAULT_GROUP||{MD5_TEXT}|shop")),
        (remove, "12|false|127.0.0.2|remove|app.yaml|DEFAULT_GROUP|dev|null|null".to_owned()),
        (unsaid, "12|null|127.0.0.2|remove|app.yaml|DEFAULT_GROUP|dev|null|null".to_owned()),
    ] {
        assert_lines(Event::Request(record), &[(Log::ClientRequest, &format!("{DATE}|{expected}\n"))]);
    }
}

#[test]
fn polling_lines() {
    for (kind, changed, expected) in [
        // The sample that operators know from Nacos' own files.
        (PollingKind::Timeout, PollingChange::None, "2019-08-04 13:22:49,443|29504|timeout|127.0.0.1|polling|1|55\n"),
        (
            PollingKind::Instant,
            PollingChange::Count(2),
            "2019-08-04 13:22:49,443|29504|instant|127.0.0.1|polling|1|55|2\n",
        ),
        (
            PollingKind::NoHangup,
            PollingChange::Count(0),
            "2019-08-04 13:22:49,443|29504|nohangup|127.0.0.1|polling|1|55|0\n",
        ),
        (
            PollingKind::InAdvance,
            PollingChange::Key(key()),
            "2019-08-04 13:22:49,443|29504|in-advance|127.0.0.1|polling|1|55|app.yaml+DEFAULT_GROUP+dev\n",
        ),
        (PollingKind::Fix, PollingChange::None, "2019-08-04 13:22:49,443|29504|fix|127.0.0.1|polling|1|55\n"),
    ] {
        assert_lines(Event::Polling(polling(kind, changed)), &[(Log::ClientRequest, expected)]);
    }
}

#[test]
fn memory_line() {
    let expected = "2019-08-04 13:22:49,443 INFO [long-pulling] client count 17\n\n";
    assert_lines(Event::Memory { client_count: 17 }, &[(Log::Memory, expected)]);
}

#[test]
fn no_value_breaks_out_of_its_field() {
    let hostile = "a|b\r\nc\\n\t\u{0}\u{85}\u{2028}é中";
    let escaped = "a\\u007cb\\r\\nc\\\\n\\t\\u0000\\u0085\\u2028é中";
    let key = ConfigKey::new(hostile, hostile, hostile);
    let record = PullRecord {
        key: key.clone(),
        app: hostile.into(),
        client_ip: hostile.into(),
        part: TracePart::Tag(hostile.into()),
        ..pull()
    };
    assert_lines(
        Event::Pull(record),
        &[
            (
                Log::Trace,
                &format!(
                    "{DATE}|10.0.0.1|{escaped}|{escaped}|{escaped}|{escaped}|1564924968443|pull-tag-{escaped}|ok|1000|\
                     {escaped}|false|http\n"
                ),
            ),
            (Log::PullCheck, &format!("{escaped}+{escaped}+{escaped}|{escaped}|{MD5_TEXT}|2019-08-04 13:22:49\n")),
            (
                Log::ClientRequest,
                &format!("{DATE}|3|null|{escaped}|get|{escaped}|{escaped}|{escaped}|{MD5_TEXT}|{escaped}\n"),
            ),
        ],
    );

    let tag = TracePart::Tag(hostile.into());
    let events = [
        Event::Persist(PersistRecord {
            key: key.clone(),
            app: hostile.into(),
            time_ms: 0,
            handle_ip: hostile.into(),
            part: tag.clone(),
            kind: PersistKind::Publish,
            md5: None,
        }),
        Event::Notify(NotifyRecord {
            key: key.clone(),
            part: tag.clone(),
            outcome: NotifyOutcome::Error,
            last_modified_ms: 0,
            delay_ms: 0,
            target: hostile.into(),
        }),
        Event::Dump(DumpRecord {
            key: key.clone(),
            part: tag,
            outcome: DumpOutcome::Ok,
            handle_ip: Some(hostile.into()),
            last_modified_ms: 0,
            delay_ms: 0,
            length: 0,
        }),
        Event::Request(RequestRecord {
            cost_ms: 0,
            ok: None,
            client_ip: hostile.into(),
            op: RequestOp::Publish,
            key: key.clone(),
            md5: None,
            app: hostile.into(),
        }),
        Event::Polling(PollingRecord {
            client_ip: hostile.into(),
            ..polling(PollingKind::InAdvance, PollingChange::Key(key))
        }),
    ];
    for event in events {
        let what = format!("{event:?}");
        for (_, line) in lines(event) {
            let text = line.trim_end_matches('\n');
            assert!(text.contains(escaped), "{line}");
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{2028}'), "{what}: {line}");
        }
    }
}

#[test]
fn texts_from_headers_are_cut_between_characters() {
    let long = "中".repeat(1000);
    assert_eq!(App::from(long.as_str()).name().map(str::len), Some(255));
    assert_eq!(Address::from(long.as_str()), Address::Text("中".repeat(85).into()));
    assert_eq!(Address::from("127.0.0.1"), Address::V4(Ipv4Addr::LOCALHOST));
    // Kept as it came, not as it would be printed.
    assert_eq!(Address::from("0:0:0:0:0:0:0:1"), Address::Text("0:0:0:0:0:0:0:1".into()));
}

fn options(folder: &Path, queue_max: usize) -> TraceOptions {
    TraceOptions {
        folder: folder.to_owned(),
        max_file_bytes: 1 << 30,
        max_files: 2,
        queue_max,
        self_ip: "10.0.0.1".to_owned(),
    }
}

fn read(folder: &Path, log: Log) -> String {
    fs::read_to_string(folder.join(log.file_name())).expect("the file")
}

#[test]
fn the_guard_writes_what_was_recorded_and_ends_the_trace() {
    let folder = tempfile::tempdir().expect("folder");
    let logs = folder.path().join("made/logs");
    let metrics = Metrics::new();
    let (trace, guard) = Trace::start_with(options(&logs, 100), &metrics, || NOW, TimeZone::UTC).expect("started");
    for log in Log::ALL {
        assert_eq!(read(&logs, log), "", "the files are there from the start");
    }
    trace.pull(pull());
    trace.polling(polling(PollingKind::Timeout, PollingChange::None));
    trace.memory(1);
    drop(guard);

    assert!(read(&logs, Log::Trace).starts_with("2019-08-04 13:22:49,443|10.0.0.1|app.yaml|"));
    assert!(read(&logs, Log::PullCheck).starts_with("app.yaml+DEFAULT_GROUP+dev|"));
    let requests = read(&logs, Log::ClientRequest);
    assert_eq!(requests.lines().nth(1), Some("2019-08-04 13:22:49,443|29504|timeout|127.0.0.1|polling|1|55"));
    assert_eq!(read(&logs, Log::Memory), "2019-08-04 13:22:49,443 INFO [long-pulling] client count 1\n\n");

    trace.memory(2);
    assert!(metrics.render().contains("nacos_config_trace_dropped_total 1"));
    assert!(metrics.render().contains("nacos_config_trace_failed_total 0"));
    assert!(!read(&logs, Log::Memory).contains("count 2"));
}

#[test]
fn a_second_start_appends() {
    let folder = tempfile::tempdir().expect("folder");
    for count in 1..=2 {
        let (trace, _guard) =
            Trace::start_with(options(folder.path(), 100), &Metrics::new(), || NOW, TimeZone::UTC).expect("started");
        trace.memory(count);
    }
    assert_eq!(read(folder.path(), Log::Memory).matches("client count").count(), 2);
}

#[test]
fn a_full_queue_drops_and_counts() {
    let queue = Arc::new(Queue::new(2));
    let dropped = IntCounter::new("dropped", "records").expect("a valid name");
    let shared = Shared { queue: queue.clone(), dropped: dropped.clone(), clock: || NOW };
    let trace = Trace { shared: Some(Arc::new(shared)) };
    for count in 0..5 {
        trace.memory(count);
    }
    assert_eq!(dropped.get(), 3);
    let mut kept = Vec::new();
    queue.take(&mut kept);
    assert_eq!(kept.len(), 2);
}

#[test]
fn a_disabled_trace_takes_everything() {
    let trace = Trace::disabled();
    trace.pull(pull());
    trace.memory(1);
}

/// Prints what a pull costs its caller; in a release build that is to be below some 200 ns.
#[test]
fn every_record_of_many_threads_is_written_or_counted() {
    const THREADS: usize = 2;
    const EACH: usize = 50_000;
    let folder = tempfile::tempdir().expect("folder");
    let (trace, guard) = Trace::start(options(folder.path(), 20_000), &Metrics::new()).expect("started");
    let dropped = trace.shared.as_ref().expect("enabled").dropped.clone();
    let key = key();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let started = tokio::time::Instant::now();
                for _ in 0..EACH {
                    trace.pull(PullRecord {
                        key: key.clone(),
                        app: std::hint::black_box("unknown").into(),
                        last_modified_ms: Some(NOW),
                        part: TracePart::Formal,
                        outcome: PullOutcome::Ok,
                        delay_ms: 1000,
                        client_ip: std::hint::black_box("127.0.0.2").into(),
                        notify: false,
                        md5: Some(MD5),
                        cost_ms: 0,
                        channel: Channel::Http,
                    });
                }
                println!("{} ns a pull", started.elapsed().as_nanos() / EACH as u128);
            });
        }
    });
    drop(guard);
    let written = read(folder.path(), Log::Trace).lines().count();
    println!("{written} written, {} dropped", dropped.get());
    assert_eq!(written as u64 + dropped.get(), (THREADS * EACH) as u64);
    assert_eq!(read(folder.path(), Log::PullCheck).lines().count(), written);
    assert_eq!(read(folder.path(), Log::ClientRequest).lines().count(), written);
}
