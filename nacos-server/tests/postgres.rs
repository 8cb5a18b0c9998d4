#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
//! Whole servers whose data is in Postgres: several on one database, a database that is away, and data moved there and
//! back. Left out where `NACOS_TEST_POSTGRES` names none (`cargo xtask pg cargo test …` starts one).

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use support::{
    Client, Request, Server,
    config::{changed, content, get, history, md5, of, poll, publish, publishing, remove},
    eventually,
    postgres::Postgres,
    process::Launch,
};
use tokio::time::Instant;

fn borrowed(options: &[(String, String)]) -> Vec<(&str, &str)> {
    options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

async fn start(postgres: &Postgres) -> Server {
    Server::start(&borrowed(&postgres.options())).await
}

/// Waits until a server serves this content of a key; `None` for none.
async fn serves(client: &mut Client, data_id: &str, expected: Option<&str>) {
    eventually(&format!("{data_id} to be {expected:?}"), async || {
        let answer = get(client, data_id).await;
        let content = (answer.status == 200).then(|| answer.text().into_owned());
        (content.as_deref() == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_server_writes_clients_of_the_other_are_told_within_a_second() {
    let Some(postgres) = Postgres::new("two servers on one Postgres").await else { return };
    let (one, other) = (start(&postgres).await, start(&postgres).await);
    let (mut here, mut there) = (one.client(), other.client());
    publish(&mut here, "d", "0").await;
    serves(&mut there, "d", Some("0")).await;
    for round in 1..=20 {
        let mut waiting = other.client();
        let held = md5((round - 1).to_string());
        let waiting = tokio::spawn(async move { waiting.ask(poll(&[("d", &held)], 60_000)).await.good() });
        eventually("the poll to be held", async || (other.held() == 1).then_some(())).await;
        let begun = Instant::now();
        publish(&mut here, "d", &round.to_string()).await;
        assert_eq!(waiting.await.unwrap().text(), changed("d"));
        assert!(begun.elapsed() < Duration::from_secs(1), "told after {:?}", begun.elapsed());
        assert_eq!(content(&mut there, "d").await, round.to_string());
    }
    // Everything else that clients can see, in both directions.
    there.ask(publishing("d", "beta").header("betaIps", "1.1.1.1")).await.good();
    there.ask(publishing("d", "tagged").form("tag", "t")).await.good();
    eventually("beta and tag", async || {
        let beta = here.ask(of("GET", "d").header("X-Forwarded-For", "1.1.1.1")).await.text() == "beta";
        (beta && here.ask(of("GET", "d").query("tag", "t")).await.text() == "tagged").then_some(())
    })
    .await;
    assert_eq!(history(&mut here, "d").await.0, 21);
    remove(&mut there, "d").await;
    serves(&mut here, "d", None).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn compare_and_set_holds_across_servers() {
    let Some(postgres) = Postgres::new("compare-and-set on two servers").await else { return };
    let servers = [start(&postgres).await, start(&postgres).await];
    publish(&mut servers[0].client(), "d", "0").await;
    for round in 0..10 {
        let held = md5(round.to_string());
        let mut tries = Vec::new();
        for number in 0..16 {
            let mut client = servers[number % 2].client();
            let request = publishing("d", &(round + 1).to_string()).header("casMd5", held.clone());
            tries.push(tokio::spawn(async move { client.ask(request).await.status }));
        }
        let mut won = 0;
        for one in tries {
            won += usize::from(one.await.unwrap() == 200);
        }
        assert_eq!(won, 1, "round {round}");
        for server in &servers {
            serves(&mut server.client(), "d", Some(&(round + 1).to_string())).await;
        }
    }
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_goes_away_and_comes_back() {
    let Some(postgres) = Postgres::new("a Postgres that goes away").await else { return };
    let server = start(&postgres).await;
    let mut client = server.client();
    for number in 0..20 {
        publish(&mut client, &format!("d{number}"), "old").await;
    }
    postgres.shut(true);
    // The first to write may find out that it is away, or have its transaction cut: it is told of either.
    let answer = client.ask(publishing("d0", "first")).await;
    assert_eq!(answer.status, 500, "{answer:?}");
    eventually("writes to be refused at once", async || {
        let begun = Instant::now();
        let answer = client.ask(publishing("d1", "new")).await;
        assert_eq!(answer.status, 500, "{answer:?}");
        let told = answer.text() == "caused: The database is not available at this time;";
        (told && begun.elapsed() < Duration::from_millis(100)).then_some(())
    })
    .await;
    assert_eq!(server.metric("nacos_monitor{module=\"core\",name=\"databaseAway\"}"), 1.0);
    for number in 1..20 {
        assert_eq!(content(&mut client, &format!("d{number}")).await, "old");
    }
    client.ask(Request::get("/v1/console/health/readiness")).await.good();
    assert_eq!(client.ask(poll(&[("d2", "outdated")], 60_000)).await.good().text(), changed("d2"));
    postgres.shut(false);
    eventually("writes to be taken again", async || {
        (client.ask(publishing("d1", "new")).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(content(&mut client, "d1").await, "new");
    assert_eq!(history(&mut client, "d1").await.0, 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_starts_while_it_is_away_serves_its_disk_copies() {
    let Some(postgres) = Postgres::new("a start while Postgres is away").await else { return };
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let options = postgres.options();
    let server = Server::start_in(folder.clone(), &borrowed(&options)).await;
    publish(&mut server.client(), "kept", "old").await;
    publish(&mut server.client(), "removed", "old").await;
    server.stop().await;
    // Meanwhile somebody else changes what is stored.
    let other = start(&postgres).await;
    publish(&mut other.client(), "kept", "new").await;
    publish(&mut other.client(), "added", "new").await;
    remove(&mut other.client(), "removed").await;
    other.stop().await;

    postgres.shut(true);
    let server = Server::start_in(folder.clone(), &borrowed(&options)).await;
    assert!(server.inner.storage().contains("AWAY: 2 configurations are served from disk copies"));
    let mut client = server.client();
    assert_eq!(content(&mut client, "kept").await, "old");
    assert_eq!(content(&mut client, "removed").await, "old");
    assert_eq!(client.ask(publishing("kept", "no")).await.status, 500);
    let mut waiting = server.client();
    let waiting = tokio::spawn(async move { waiting.ask(poll(&[("kept", &md5("old"))], 60_000)).await.good() });
    eventually("the poll to be held", async || (server.held() == 1).then_some(())).await;
    postgres.shut(false);
    assert_eq!(waiting.await.unwrap().text(), changed("kept"));
    serves(&mut client, "kept", Some("new")).await;
    serves(&mut client, "added", Some("new")).await;
    serves(&mut client, "removed", None).await;
    publish(&mut client, "kept", "newer").await;
    server.stop().await;
}

/// Fills a stopped server's folder through a server; answers what is to be found elsewhere.
async fn fill(folder: &Path) -> Vec<(String, String)> {
    let process = Launch::new(folder).ready().await;
    let mut client = process.client();
    let mut all = Vec::new();
    for number in 0..150 {
        let (data_id, text) = (format!("d{number}"), format!("content {number} 中文\n").repeat(number + 1));
        publish(&mut client, &data_id, "first").await;
        publish(&mut client, &data_id, &text).await;
        all.push((data_id, text));
    }
    client.ask(publishing("d0", "beta").header("betaIps", "1.1.1.1")).await.good();
    client.ask(publishing("d0", "tagged").form("tag", "t")).await.good();
    let namespace = Request::post("/v1/console/namespaces").form("customNamespaceId", "ns").form("namespaceName", "n");
    client.ask(namespace).await.good();
    stop(process).await;
    all
}

async fn stop(mut process: support::process::Process) {
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.err());
}

async fn holds(launch: Launch, all: &[(String, String)]) {
    let process = launch.ready().await;
    let mut client = process.client();
    for (data_id, text) in all {
        assert_eq!(content(&mut client, data_id).await, *text);
        assert_eq!(history(&mut client, data_id).await.0, 2);
    }
    let beta = client.ask(of("GET", "d0").header("X-Forwarded-For", "1.1.1.1")).await;
    assert_eq!(beta.text(), "beta");
    assert_eq!(client.ask(of("GET", "d0").query("tag", "t")).await.text(), "tagged");
    let namespaces = client.ask(Request::get("/v1/console/namespaces")).await.good().text().into_owned();
    assert!(namespaces.contains("\"namespace\":\"ns\""), "{namespaces}");
    // What is written next has ids behind all that were moved.
    publish(&mut client, "d0", "after").await;
    assert_eq!(history(&mut client, "d0").await.0, 3);
    publish(&mut client, "d0", &all[0].1).await;
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_moved_to_postgres_and_back() {
    let Some(postgres) = Postgres::new("moving data to Postgres and back").await else { return };
    let (from, back) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut all = fill(from.path()).await;
    let with = |mut launch: Launch| {
        for (name, value) in postgres.options() {
            launch = launch.set(&name, &value);
        }
        launch
    };
    let migrate = |folder: &Path, to: &str| with(Launch::new(folder)).arg("migrate").arg("--to").arg(to);

    // Interrupted at any moment, it can be run again.
    for wait_ms in [0, 30, 60, 90] {
        let process = migrate(from.path(), "postgres").spawn();
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        process.signal("KILL");
        drop(process);
    }
    let (code, out, err) = migrate(from.path(), "postgres").end().await;
    assert_eq!(code, Some(0), "{out}{err}");
    let line = out.lines().find(|line| line.starts_with("config_info ")).unwrap_or_else(|| panic!("{out}"));
    assert_eq!(line.split_whitespace().nth(1), Some("150"), "{line}");
    let data = tempfile::tempdir().unwrap();
    holds(with(Launch::new(data.path())), &all).await;

    let (code, out, err) = migrate(back.path(), "embedded").end().await;
    assert_eq!(code, Some(0), "{out}{err}");
    // The first configuration was written to twice meanwhile.
    all.remove(0);
    let process = Launch::new(back.path()).ready().await;
    for (data_id, text) in &all {
        assert_eq!(content(&mut process.client(), data_id).await, *text);
    }
    stop(process).await;

    // What was written to since is not overwritten.
    let (code, _, err) = migrate(from.path(), "postgres").end().await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("holds rows that the source does not have"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_encrypted_and_the_servers_name_checked_where_the_url_says_so() {
    let Some(postgres) = Postgres::new("TLS to Postgres").await else { return };
    let ca = std::env::var("NACOS_TEST_POSTGRES_CA").expect("whoever starts a Postgres says by what it is known");
    let name = format!("tls_{}", std::process::id());
    let more = format!("&sslmode=verify-full&sslrootcert={ca}&ApplicationName={name}");
    let server = Server::start(&borrowed(&postgres.options_with("127.0.0.1", &more))).await;
    publish(&mut server.client(), "d", "1").await;
    let of = |condition: &str| {
        format!(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = '{name}' \
             AND {condition}"
        )
    };
    assert!(postgres.number(&of("ssl")).await > 0);
    assert_eq!(postgres.number(&of("NOT ssl")).await, 0);
    server.stop().await;

    // The certificate is for another name; and one that nobody vouches for.
    let folder = tempfile::tempdir().unwrap();
    let plain = more.replace(&format!("&sslrootcert={ca}"), "");
    for options in [postgres.options_with("localhost", &more), postgres.options_with("127.0.0.1", &plain)] {
        let mut launch = Launch::new(folder.path());
        for (name, value) in options {
            launch = launch.set(&name, &value);
        }
        let (code, _, err) = launch.end().await;
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("the database refused the connection") && err.contains("certificate"), "{err}");
    }
}

/// Removing a beta content leaves no row that tells of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_removed_while_nobody_could_be_told_is_noticed() {
    let Some(postgres) = Postgres::new("removals while a server is cut off").await else { return };
    let (here, cut_off) = (Server::start(&borrowed(&postgres.direct_options())).await, start(&postgres).await);
    let (mut client, mut other) = (here.client(), cut_off.client());
    publish(&mut client, "d", "formal").await;
    client.ask(publishing("d", "beta").header("betaIps", "1.1.1.1")).await.good();
    client.ask(publishing("d", "tagged").form("tag", "t")).await.good();
    let beta = || of("GET", "d").header("X-Forwarded-For", "1.1.1.1");
    let tag = || of("GET", "d").query("tag", "t");
    eventually("beta and tag", async || {
        (other.ask(beta()).await.text() == "beta" && other.ask(tag()).await.text() == "tagged").then_some(())
    })
    .await;
    postgres.shut(true);
    client.ask(of("DELETE", "d").query("beta", "true")).await.good();
    client.ask(of("DELETE", "d").query("tag", "t")).await.good();
    postgres.shut(false);
    eventually("beta and tag to be gone", async || {
        (other.ask(beta()).await.text() == "formal" && other.ask(tag()).await.status == 404).then_some(())
    })
    .await;
    here.stop().await;
    cut_off.stop().await;
}
