//! A disk that is full, and a log of what must not be lost that breaks.

use std::{fs, path::Path, process::Command, sync::Arc};

use nacos_server::NacosServer;
use serde_json::json;

use crate::{
    calls::{
        addresses, at, beat, cluster, done, full_beat, light_beat, listed, listing, of_service, persistent, refused,
        registering, switch, switches, switching,
    },
    support::{
        Client, Request, Server,
        config::{content, publish},
        left_out,
        process::{Launch, Process},
        server::settings,
    },
    world::Counting,
};

async fn stop(mut process: Process) {
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.err());
}

/// Whether this user may mount, in a place of the process' own.
fn may_mount() -> bool {
    let tried = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    tried.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn on_a_full_disk_persistent_instances_are_refused_and_ephemeral_ones_go_on() {
    const DISK: u64 = 12 << 20;
    if !may_mount() {
        return left_out("a full disk", "mounting is for root alone");
    }
    let folder = tempfile::tempdir().unwrap();
    let at_folder = folder.path().display();
    let launch = Launch::new(folder.path()).with_mount(&format!("mount -t tmpfs -o size={DISK} none {at_folder}"));
    let process = launch.ready().await;
    let mut client = process.client();
    switch(&mut client, "check", "false").await;
    publish(&mut client, "d", "1").await;
    done(&mut client, persistent("p", "127.8.0.1:80")).await;

    let filler = process.path(&folder.path().join("filler"));
    let filled = fs::write(&filler, vec![0; DISK as usize]);
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    // What the log has room for still gets in.
    let mut taken = vec!["127.8.0.1:80".to_owned()];
    let refusal = loop {
        let address = format!("127.8.1.{}:80", taken.len());
        let answer = client.ask(persistent("p", &address).query("metadata", &format!("a={}", "x".repeat(1000)))).await;
        if answer.status != 200 {
            break answer;
        }
        taken.push(address);
        assert!(taken.len() < 250, "the disk is not full");
    };
    assert_eq!(refusal.status, 500, "{refusal:?}");
    assert!(refusal.text().contains("could not be stored"), "{refusal:?}");
    let over = at("PUT", "p", "127.8.0.1:80").query("weight", "2");
    for request in [of_service("POST", "new"), over, switching("healthCheckTimes", "9")] {
        let answer = client.ask(request.clone()).await;
        assert!(matches!(answer.status, 200 | 500), "{request:?}: {answer:?}");
    }
    let mut sorted = taken.clone();
    sorted.sort();
    assert_eq!(addresses(&mut client, "p").await, sorted);

    // All that is not stored goes on.
    done(&mut client, registering("e", "127.8.2.1:80")).await;
    assert_eq!(beat(&mut client, light_beat("e", "127.8.2.1:80")).await, 10_200);
    assert_eq!(beat(&mut client, full_beat("e", "127.8.2.2:80", json!({}))).await, 10_200);
    done(&mut client, at("DELETE", "e", "127.8.2.1:80")).await;
    assert_eq!(addresses(&mut client, "e").await, ["127.8.2.2:80"]);
    assert_eq!(content(&mut client, "d").await, "1");
    client.ask(Request::get("/v1/console/health/readiness")).await.good();

    fs::remove_file(&filler).unwrap();
    done(&mut client, persistent("p", "127.8.3.1:80")).await;
    done(&mut client, at("DELETE", "p", "127.8.0.1:80").query("ephemeral", "false")).await;
    taken.push("127.8.3.1:80".to_owned());
    taken.retain(|address| address != "127.8.0.1:80");
    taken.sort();
    assert_eq!(addresses(&mut client, "p").await, taken);
    // What was refused does not turn up later. (The disk goes with its process, so its files are copied.)
    let kept = tempfile::tempdir().unwrap();
    copy(&process.path(folder.path()), kept.path());
    stop(process).await;
    let process = Launch::new(kept.path()).ready().await;
    assert_eq!(addresses(&mut process.client(), "p").await, taken);
    stop(process).await;
}

/// Copies the log of a server that does not write now.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("naming")).unwrap();
    for file in ["naming/naming.db", "naming/naming.db-wal"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// While the log takes no writes, what is refused is as if it had never been asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_take_leaves_nothing_behind() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let log = Counting::open(folder.path());
    let builder = NacosServer::builder(settings(folder.path(), &[])).cp_protocol(log.clone());
    let server = Server { inner: builder.start().await.unwrap(), folder };
    let mut client = server.client();
    switch(&mut client, "check", "false").await;
    done(&mut client, persistent("p", "127.8.6.1:80")).await;
    done(&mut client, registering("e", "127.8.6.1:80")).await;
    done(&mut client, of_service("POST", "described").query("metadata", "a=b")).await;
    let seen = async |client: &mut Client| {
        let mut all = vec![switches(client).await];
        for name in ["p", "e"] {
            let hosts = listed(client, name).await;
            all.push(json!(hosts));
        }
        for request in [
            Request::get("/v1/ns/service/list").query("pageNo", "1").query("pageSize", "9"),
            Request::get("/v1/ns/catalog/services").query("pageNo", "1").query("pageSize", "9"),
            of_service("GET", "described"),
            Request::get("/v2/ns/client/list"),
        ] {
            all.push(client.ask(request).await.good().json());
        }
        all
    };
    let before = seen(&mut client).await;
    log.take_away(true);
    for request in [
        persistent("p", "127.8.6.2:80"),
        persistent("p", "127.8.6.1:80").query("weight", "2"),
        persistent("fresh", "127.8.6.3:80"),
        at("DELETE", "p", "127.8.6.1:80").query("ephemeral", "false"),
        at("PUT", "e", "127.8.6.1:80").query("weight", "2"),
        at("PATCH", "e", "127.8.6.1:80").query("enabled", "false"),
        of_service("POST", "fresh-too"),
        of_service("PUT", "described").query("protectThreshold", "1"),
        of_service("DELETE", "described"),
        cluster("p", "DEFAULT", r#"{"type":"NONE"}"#),
        switching("healthCheckTimes", "9"),
    ] {
        let text = refused(&mut client, request, 500).await;
        assert!(text.contains("could not be stored"), "{text}");
    }
    for (before, after) in before.iter().zip(seen(&mut client).await) {
        assert_eq!(*before, after);
    }
    // Whoever comes next finds the names free, of either kind.
    done(&mut client, registering("fresh", "127.8.6.3:80")).await;
    log.take_away(false);
    done(&mut client, of_service("POST", "fresh-too")).await;
    server.stop().await;
}

/// What was begun before is ended in order, and waits for nothing that will not come.
#[tokio::test]
async fn a_start_that_fails_at_the_log_is_not_held_up_by_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path());
    let process = launch.ready().await;
    done(&mut process.client(), persistent("p", "127.8.7.7:80")).await;
    stop(process).await;
    let path = folder.path().join("naming/naming.db");
    fs::write(&path, changed(&fs::read(&path).unwrap(), b"127.8.7.7", b"127.8.7.6")).unwrap();
    let (code, _, err) = launch.end().await;
    assert_eq!(code, Some(1), "{err}");
    assert!(!err.contains("did not end in time"), "{err}");
}

/// The same bytes, but for these.
fn changed(bytes: &[u8], from: &[u8; 9], to: &[u8; 9]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| changed[at..at + 9].copy_from_slice(to));
    changed
}

#[tokio::test]
async fn a_log_that_fails_under_way_ends_the_server_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path());
    let process = launch.ready().await;
    done(&mut process.client(), persistent("p", "127.8.4.1:80")).await;
    stop(process).await;
    let mut process = launch.ready().await;
    let mut client = process.client();
    fs::remove_file(folder.path().join("naming/naming.db-wal")).unwrap();
    let answer = client.ask(persistent("p", "127.8.4.2:80")).await;
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(answer.text().contains("was not confirmed in time; it may have happened"), "{answer:?}");
    assert_eq!(process.ended().await.code(), Some(1));
    let err = process.err();
    assert!(err.contains("the database failed, so the server stopped") && err.contains("naming.db-wal"), "{err}");
    // What was acknowledged before is there.
    let process = launch.ready().await;
    assert_eq!(addresses(&mut process.client(), "p").await, ["127.8.4.1:80"]);
    stop(process).await;
}

#[tokio::test]
async fn a_damaged_log_is_told_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path());
    let process = launch.ready().await;
    switch(&mut process.client(), "healthCheckTimes", "4").await;
    for n in 0..50 {
        done(&mut process.client(), persistent("p", &format!("127.8.5.{n}:80"))).await;
    }
    stop(process).await;
    let path = folder.path().join("naming/naming.db");
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[..16].copy_from_slice(b"nothing like it ");
    fs::write(&path, &bad).unwrap();
    let (code, out, err) = launch.end().await;
    assert_eq!((code, &*out), (Some(1), ""), "{err}");
    assert!(err.contains("naming.db") && !err.contains("panicked"), "{err}");
    assert_eq!(fs::read(&path).unwrap(), bad);
    // A letter of what was written is another one: SQLite does not notice, the log's own sums do.
    let bad = changed(&good, b"127.8.5.7", b"127.8.5.6");
    fs::write(&path, &bad).unwrap();
    let (code, out, err) = launch.end().await;
    assert_eq!((code, &*out), (Some(1), ""), "{err}");
    assert!(err.contains("naming_persistent_service_v2"), "{err}");
    fs::write(&path, &good).unwrap();
    let process = launch.ready().await;
    assert_eq!(addresses(&mut process.client(), "p").await.len(), 50);
    assert_eq!(switches(&mut process.client()).await["checkTimes"], 4);
    process.client().ask(listing("p")).await.good();
    stop(process).await;
}
