//! The server as a process: what it says when it cannot start, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::{fs, path::Path, process::Command, time::Duration};

use support::{
    Request,
    config::{CONFIGS, GROUP, content, get, history, poll, publish, publishing},
    eventually,
    http::Connection,
    left_out,
    process::{Launch, Process},
};
use tokio::time::Instant;

/// Starts, and expects it to end with this code, saying all of this and nothing but it on standard output.
async fn refused(launch: Launch, code: i32, pieces: &[&str]) {
    let (ended, out, err) = launch.end().await;
    assert_eq!(ended, Some(code), "{out}{err}");
    assert_eq!(out, "", "nothing is ready");
    for piece in pieces {
        assert!(err.contains(piece), "{piece:?} is not in {err:?}");
    }
    assert!(!err.contains("panicked"), "{err}");
}

async fn stop(mut process: Process) {
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.err());
}

/// A folder in which a server was started, wrote something, and stopped.
async fn used() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let process = Launch::new(folder.path()).ready().await;
    publish(&mut process.client(), "d", "1").await;
    stop(process).await;
    folder
}

#[tokio::test]
async fn wrong_values_are_told_with_their_source_and_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let launch = || Launch::new(folder.path());
    let cases = [
        (Launch::bare().set("server.port", "x"), ["server.port=x (--set)"].as_slice()),
        (Launch::bare().arg("--port").arg("65536"), &["server.port=65536 (--port)", "65535"]),
        (launch().set("maxContent", "many"), &["maxContent=many", "--set"]),
        (launch().env("NACOS_APPLICATION_PORT", "-1"), &[]),
        (launch().env("NACOS_CONFIG_RETENTION_DAYS", "0"), &["=0 (environment variable NACOS_CONFIG_RETENTION_DAYS)"]),
        (
            launch().set("nacos.config.retention.days", "0").set("dumpChangeOn", "maybe"),
            &["nacos.config.retention.days=0", "dumpChangeOn=maybe"],
        ),
        (launch().set("server.address", "0.0.0.0"), &["server.address=0.0.0.0", "allow-unauthenticated"]),
        (launch().arg("--set").arg("nonsense"), &["--set", "nonsense"]),
        (launch().arg("--nonsense"), &["--nonsense"]),
        (launch().arg("--config").arg(folder.path().join("none")), &["--config", "none"]),
    ];
    for (launch, pieces) in cases {
        // An option on the command line wins over a wrong one in the environment.
        if pieces.is_empty() {
            stop(launch.ready().await).await;
        } else {
            refused(launch, 2, pieces).await;
        }
    }
    let conf = folder.path().join("conf");
    fs::create_dir_all(&conf).unwrap();
    fs::write(conf.join("application.properties"), "# first\n\nmaxContent = ten\n").unwrap();
    refused(launch(), 2, &["maxContent=ten", "application.properties", "3"]).await;
}

#[tokio::test]
async fn unknown_options_warn_and_suggest() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path()).set("nacos.config.retention.day", "3").set("nothing.like.it", "1");
    let process = launch.env("NACOS_AUTH_ENABEL", "false").ready().await;
    let err = process.err();
    assert!(err.contains("unknown option nacos.config.retention.day"), "{err}");
    assert!(err.contains("did you mean nacos.config.retention.days?"), "{err}");
    assert!(err.contains("unknown option nothing.like.it"), "{err}");
    assert!(err.contains("NACOS_AUTH_ENABEL is not known; did you mean NACOS_AUTH_ENABLE?"), "{err}");
    stop(process).await;
}

#[tokio::test]
async fn settings_are_printed_without_secrets_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("data");
    let launch = Launch::new(&at).set("db.url.0", "jdbc:mysql://127.0.0.1/n").set("db.password.0", "canary-1");
    let launch = launch.set("nacos.core.auth.server.identity.key", "k");
    let launch = launch.set("nacos.core.auth.server.identity.value", "canary-2").env("NACOS_APPLICATION_PORT", "9");
    let (code, out, err) = launch.arg("--print-settings").end().await;
    assert_eq!(code, Some(0), "{err}");
    for piece in ["server.port", "maxContent", "nacos.config.retention.days", "--port"] {
        assert!(out.contains(piece), "{piece} is not in {out}");
    }
    assert!(!out.contains("canary") && !err.contains("canary"), "{out}{err}");
    assert!(!at.exists());
}

#[tokio::test]
async fn folders_that_cannot_be_used_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let named = file.to_str().unwrap();
    refused(Launch::new(&file), 1, &["data folder", named, "cannot be used"]).await;
    refused(Launch::new(&file.join("below")), 1, &["data folder", named]).await;
    let data = folder.path().join("data");
    fs::create_dir_all(data.join("nacos.db")).unwrap();
    refused(Launch::new(&data), 1, &["cannot read and write the database", "nacos.db"]).await;
    let node = tempfile::tempdir().unwrap();
    fs::write(node.path().join("node-id"), "not a number").unwrap();
    refused(Launch::new(node.path()), 1, &["node id", "is damaged"]).await;
    let copies = tempfile::tempdir().unwrap();
    fs::write(copies.path().join("config-data"), "").unwrap();
    refused(Launch::new(copies.path()), 1, &["open the folder of disk copies", "config-data"]).await;
    let logs = tempfile::tempdir().unwrap();
    fs::write(logs.path().join("logs"), "").unwrap();
    refused(Launch::new(logs.path()), 1, &["write log files in", "logs"]).await;
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_is_told() {
    let folder = used().await;
    let Some(launch) = mounted(Launch::new(folder.path()), "a folder on a disk that is read only", |launch| {
        launch.with_mount(&format!("mount --bind {0} {0} && mount -o remount,ro,bind {0}", folder.path().display()))
    }) else {
        return;
    };
    refused(launch, 1, &["cannot read and write the database", "nacos.db"]).await;
    assert_eq!(served(folder.path()).await, "1");
}

/// The content of `d`, as a server in this folder serves it.
async fn served(folder: &Path) -> String {
    let process = Launch::new(folder).ready().await;
    let content = content(&mut process.client(), "d").await;
    stop(process).await;
    content
}

#[tokio::test]
async fn damaged_databases_are_told_and_left_as_they_are() {
    let folder = used().await;
    let path = folder.path().join("nacos.db");
    let good = fs::read(&path).unwrap();
    let mut garbage = good.clone();
    garbage[..100].fill(b'#');
    let mut zeros = good.clone();
    zeros[..4096].fill(0);
    let mut unreadable = good.clone();
    for page in unreadable.chunks_mut(4096).skip(1) {
        page.fill(0x5a);
    }
    for (name, bytes) in [
        ("garbage for a header", &garbage[..]),
        ("zeros for a page", &zeros),
        ("half of it", &good[..good.len() / 2]),
        ("a page less", &good[..good.len() - 4096]),
        ("a few bytes less", &good[..good.len() - 7]),
        ("the header alone", &good[..100]),
        ("garbage for pages", &unreadable),
        ("a text", b"this is no database"),
    ] {
        fs::write(&path, bytes).unwrap();
        let (code, out, err) = Launch::new(folder.path()).end().await;
        assert_eq!((code, &*out), (Some(1), ""), "{name}: {err}");
        assert!(err.contains("damaged") && err.contains("nacos.db") && !err.contains("panicked"), "{name}: {err}");
        assert!(fs::read(&path).unwrap() == bytes, "{name}: the file was touched");
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(served(folder.path()).await, "1");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_told_and_left_as_it_is() {
    let folder = used().await;
    let path = folder.path().join("nacos.db");
    let mut bytes = fs::read(&path).unwrap();
    // Where SQLite keeps `user_version`, the number of the last migration.
    bytes[60..64].copy_from_slice(&9999_u32.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    refused(Launch::new(folder.path()), 1, &["newer version", "9999", "nacos.db"]).await;
    assert!(fs::read(&path).unwrap() == bytes);
}

#[tokio::test]
async fn a_folder_and_a_port_belong_to_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let first = Launch::new(folder.path()).ready().await;
    publish(&mut first.client(), "d", "1").await;
    let pid = format!("pid {}", first.pid());
    refused(Launch::new(folder.path()), 1, &["in use by another process", &pid, "data folder of its own"]).await;
    let port = first.addr().port().to_string();
    let other = tempfile::tempdir().unwrap();
    let launch = Launch::bare().arg("--port").arg(&port).arg("--data-dir").arg(other.path());
    refused(launch, 1, &[&format!("listen on 127.0.0.1:{port}"), "in use"]).await;
    assert_eq!(content(&mut first.client(), "d").await, "1", "the first goes on");
    // Not even a kill leaves the folder locked.
    first.signal("KILL");
    drop(first);
    assert_eq!(served(folder.path()).await, "1");
}

#[tokio::test]
async fn what_this_version_cannot_do_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let launch = || Launch::new(folder.path());
    refused(launch().set("nacos.core.auth.enabled", "true"), 1, &["nacos.core.auth.enabled", "let everybody"]).await;
    refused(launch().env("NACOS_AUTH_ENABLE", "true"), 1, &["nacos.core.auth.enabled"]).await;
    refused(launch().set("spring.sql.init.platform", "mysql"), 1, &["platform is mysql (--set)", "postgresql alone"])
        .await;
    let external = || launch().set("spring.sql.init.platform", "postgresql");
    refused(external(), 1, &["db.url.0 names no database"]).await;
    let url = "jdbc:mysql://127.0.0.1/n?password=canary";
    let (_, _, err) = external().set("db.url.0", url).end().await;
    assert!(err.contains("db.url.0 (--set) cannot be used: it is no URL of PostgreSQL"), "{err}");
    assert!(!err.contains("canary"), "{err}");
    refused(launch().set("nacos.member.list", "127.0.0.1:1"), 1, &["nacos.member.list", "nacos.standalone=true"]).await;
    refused(launch().env("MODE", "cluster"), 1, &["nacos.standalone asks for a cluster (environment variable MODE)"])
        .await;
    refused(launch().set("nacos.core.member.lookup.type", "address-server"), 1, &["nacos.core.member.lookup.type"])
        .await;
    fs::create_dir_all(folder.path().join("conf")).unwrap();
    fs::write(folder.path().join("conf/cluster.conf"), "127.0.0.1:8848\n127.0.0.1:8858\n").unwrap();
    refused(launch(), 1, &["conf/cluster.conf", "nacos.standalone=true"]).await;
    stop(launch().set("nacos.standalone", "true").ready().await).await;
    fs::write(folder.path().join("conf/cluster.conf"), "# none yet\n\n").unwrap();
    let launch = launch().set("nacos.core.member.lookup.type", "file").set("db.url.0", "jdbc:mysql://127.0.0.1/n");
    let process = launch.ready().await;
    assert!(process.err().contains("db.url.0 has no effect"), "{}", process.err());
    stop(process).await;
}

/// The sockets of this process that listen: addresses as the system writes them, IPv4 in the order of its bytes.
fn listening(process: &Process) -> Vec<String> {
    let table = |name: &str| fs::read_to_string(format!("/proc/{}/net/{name}", process.pid())).unwrap_or_default();
    let own: Vec<String> = fs::read_dir(format!("/proc/{}/fd", process.pid()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let lines = format!("{}{}", table("tcp"), table("tcp6"));
    let fields = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listens =
        |fields: &Vec<&str>| fields.len() > 9 && fields[3] == "0A" && own.contains(&format!("socket:[{}]", fields[9]));
    fields.filter(listens).map(|fields| fields[1].to_owned()).collect()
}

#[tokio::test]
async fn it_listens_on_loopback_alone_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let process = Launch::new(folder.path()).ready().await;
    let addr = process.addr();
    assert!(addr.ip().is_loopback(), "{addr}");
    let out = process.out();
    for piece in [
        &*format!("http://{addr}/nacos  (listening on {addr})"),
        "Auth   off: only this machine can reach the server",
        folder.path().to_str().unwrap(),
        "serving clients of Nacos 2.4.3",
        &format!("curl 'http://{addr}/nacos/v1/cs/configs?dataId=hello&group=DEFAULT_GROUP'"),
    ] {
        assert!(out.contains(piece), "{piece:?} is not in {out}");
    }
    assert_eq!(listening(&process), [format!("0100007F:{:04X}", addr.port())]);
    process.client().ask(Request::get("/v1/cs/health")).await.good();
    stop(process).await;

    let process = Launch::new(folder.path()).arg("--allow-unauthenticated").ready().await;
    assert_eq!(listening(&process), [format!("00000000:{:04X}", process.addr().port())]);
    assert!(process.out().contains("anyone who reaches it can read and write"), "{}", process.out());
    process.client().ask(Request::get("/v1/cs/health")).await.good();
    stop(process).await;
}

/// How many long polls a server holds, by its own metrics.
async fn held(process: &Process, count: u32) {
    let mut client = process.client();
    let line = format!("nacos_monitor{{module=\"config\",name=\"longPolling\"}} {count}\n");
    eventually(&line, async || {
        client.ask(Request::get("/actuator/prometheus")).await.text().contains(&line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_signal_answers_held_polls_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Launch::new(folder.path()).ready().await;
        publish(&mut process.client(), "d", "1").await;
        let mut waiting = process.client();
        let waiting = tokio::spawn(async move { waiting.ask(poll(&[("other", "")], 60_000)).await });
        held(&process, 1).await;
        let begun = Instant::now();
        process.signal(signal);
        let answer = waiting.await.unwrap().good();
        assert!(answer.body.is_empty(), "{answer:?}");
        assert_eq!(process.ended().await.code(), Some(0), "{}", process.err());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // A clean stop leaves an empty log behind.
        let log = fs::metadata(folder.path().join("nacos.db-wal")).map_or(0, |log| log.len());
        assert_eq!(log, 0);
        assert_eq!(served(folder.path()).await, "1");
    }
}

/// Begins a request whose body does not come; a stop waits for it.
async fn dawdle(process: &Process) -> Connection {
    let mut dawdling = Connection::open(process.client().addr()).await.unwrap();
    let head = format!("POST /nacos{CONFIGS} HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n");
    dawdling.send(head.as_bytes()).await.unwrap();
    // Connections are accepted in their order: once another is served, this one is being read.
    process.client().ask(Request::get("/v1/cs/health")).await.good();
    dawdling
}

#[tokio::test]
async fn a_stop_waits_for_requests_as_long_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path()).set("nacos.server.shutdown-timeout-ms", "1000");
    let mut process = launch.ready().await;
    let dawdling = dawdle(&process).await;
    let begun = Instant::now();
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.err());
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(995) && took < Duration::from_secs(10), "{took:?}");
    drop(dawdling);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path()).set("nacos.server.shutdown-timeout-ms", "60000");
    let mut process = launch.ready().await;
    let dawdling = dawdle(&process).await;
    process.signal("TERM");
    eventually("the stop to begin", async || process.err().contains("a second signal ends at once").then_some(()))
        .await;
    assert!(process.is_running());
    let begun = Instant::now();
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(130), "{}", process.err());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(dawdling);
}

/// The launch with mounts of its own, if this user may make such.
fn mounted(launch: Launch, what: &str, mount: impl FnOnce(Launch) -> Launch) -> Option<Launch> {
    let allowed = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if allowed.is_ok_and(|output| output.status.success()) {
        return Some(mount(launch));
    }
    left_out(what, "mounting is for root alone");
    None
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_loses_nothing() {
    const DISK: u64 = 12 << 20;
    let folder = tempfile::tempdir().unwrap();
    let Some(launch) = mounted(Launch::new(folder.path()), "a full disk", |launch| {
        launch.with_mount(&format!("mount -t tmpfs -o size={DISK} none {}", folder.path().display()))
    }) else {
        return;
    };
    let process = launch.ready().await;
    let mut client = process.client();
    let old = "o".repeat(100_000);
    publish(&mut client, "large", &old).await;
    publish(&mut client, "small", "old").await;

    let filler = process.path(&folder.path().join("filler"));
    let filled = fs::write(&filler, vec![0; DISK as usize]);
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let told = "caused: No space left for the database;";
    let new = "n".repeat(400_000);
    for request in [publishing("large", &new), publishing("new", &new)] {
        let answer = client.ask(request).await;
        assert_eq!((answer.status, &*answer.text()), (500, told));
    }
    let v2 = Request::post("/v2/cs/config").form("dataId", "large").form("group", GROUP).form("content", &new);
    let answer = client.ask(v2).await;
    assert_eq!((answer.status, answer.json()["data"].as_str()), (500, Some("No space left for the database")));
    // Reads and long polls go on, and see nothing of what was refused.
    assert_eq!(content(&mut client, "large").await, old);
    assert_eq!(content(&mut client, "small").await, "old");
    assert_eq!(get(&mut client, "new").await.status, 404);
    assert_eq!(history(&mut client, "large").await.0, 1);
    assert_eq!(history(&mut client, "new").await.0, 0);
    client.ask(Request::get("/v1/console/health/readiness")).await.good();

    fs::remove_file(&filler).unwrap();
    publish(&mut client, "large", &new).await;
    publish(&mut client, "new", &new).await;
    assert_eq!(content(&mut client, "large").await, new);
    assert_eq!(history(&mut client, "large").await.0, 2);
    stop(process).await;
}

/// Whoever starts a server and reads nothing of what it says must not stop it by that.
#[tokio::test]
async fn output_that_nobody_takes_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = Command::new(env!("CARGO_BIN_EXE_nacos-server"))
        .args(["--port", &port.to_string(), "--set", "nacos.log.level=trace", "--data-dir"])
        .arg(folder.path())
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        // A pipe that is never read, and soon full.
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut client = support::Client::new(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    eventually("an answer", async || client.try_ask(&Request::get("/v1/cs/health")).await.ok()).await;
    for number in 0..300 {
        publish(&mut client, &format!("d{number}"), "1").await;
        let bad = Request::post(CONFIGS).query("import", "true").file("file", b"junk");
        client.ask(bad).await.good();
    }
    assert_eq!(content(&mut client, "d299").await, "1");
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let ended = eventually("the end", async || child.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_database_that_fails_under_way_ends_the_server_with_1() {
    let folder = used().await;
    let mut process = Launch::new(folder.path()).ready().await;
    let mut client = process.client();
    fs::remove_file(folder.path().join("nacos.db-wal")).unwrap();
    let answer = client.ask(publishing("d", "2")).await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("was not confirmed in time; it may have happened"), "{answer:?}");
    assert_eq!(process.ended().await.code(), Some(1));
    let err = process.err();
    assert!(err.contains("the database failed, so the server stopped") && err.contains("nacos.db-wal"), "{err}");
    // What was acknowledged before is there.
    assert_eq!(served(folder.path()).await, "1");
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let Some(launch) = mounted(Launch::new(folder.path()), "a disk that is full at the start", |launch| {
        let at = folder.path().display();
        launch.with_mount(&format!(
            "mount -t tmpfs -o size=65536 none {at} && (head -c 1000000 /dev/zero >{at}/filler 2>/dev/null; true)"
        ))
    }) else {
        return;
    };
    refused(launch, 1, &["o space left"]).await;
}
