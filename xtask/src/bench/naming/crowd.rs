//! Many instances at a server: registering them, asking for their lists, what the server says of how many there are.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use serde_json::Value;
use tokio::task::JoinSet;

use super::requests::{Size, request};
use crate::bench::{
    loops::{self, CONNECTIONS, target},
    process::Subject,
    wire::Connection,
};

/// Registers these instances over 64 connections, and waits for all answers.
pub async fn register(subject: Subject, size: Size, numbers: Range<u32>) -> Result<()> {
    let next = Arc::new(AtomicU32::new(numbers.start));
    let mut loops = JoinSet::new();
    for mut connection in loops::open(subject, CONNECTIONS).await? {
        let next = Arc::clone(&next);
        let end = numbers.end;
        loops.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return anyhow::Ok(());
                }
                let answer = connection.exchange(&size.register(number)).await?;
                ensure!(answer.is(b"ok"), "instance {number} was answered with {}", answer.summary());
            }
        });
    }
    while let Some(done) = loops.join_next().await {
        done??;
    }
    Ok(())
}

/// Asks for the list of each of these services, all of whose instances must be there and healthy.
pub async fn lists(subject: Subject, size: Size, services: impl IntoIterator<Item = u32>) -> Result<Vec<Vec<u8>>> {
    let mut connection = Connection::open(subject.addr, None).await.context("connect")?;
    let mut lists = Vec::new();
    for service in services {
        let request = size.list(service, None);
        let answer = connection.exchange(&request).await?;
        ensure!(answer.status == 200, "{} was answered with {}", target(&request), answer.summary());
        let count = |text: &str| memmem::find_iter(answer.body, text).count();
        let (hosts, healthy) = (count(r#""ip":"#), count(r#""healthy":true"#));
        ensure!(
            (hosts, healthy) == (size.0 as usize, size.0 as usize),
            "{} has {hosts} instances, {healthy} of them healthy",
            size.service(service)
        );
        lists.push(answer.body.to_vec());
    }
    Ok(lists)
}

/// Fails unless the server has so many instances.
pub async fn check_count(subject: Subject, expected: u32) -> Result<()> {
    let metrics = json(subject, "/nacos/v1/ns/operator/metrics?onlyStatus=false").await?;
    ensure!(
        metrics["instanceCount"] == expected,
        "{expected} instances were registered, and the server tells of {}",
        metrics["instanceCount"]
    );
    Ok(())
}

/// The answer to a GET.
pub async fn json(subject: Subject, target: &str) -> Result<Value> {
    let mut connection = Connection::open(subject.addr, None).await.context("connect")?;
    let answer = connection.exchange(&request("GET", target, None)).await?;
    ensure!(answer.status == 200, "{target} was answered with {}", answer.summary());
    Ok(serde_json::from_slice(answer.body)?)
}

/// Has the server watch no heartbeats, so that instances stay as they are without any.
pub async fn watch_no_beats(subject: Subject) -> Result<()> {
    put(subject, "/nacos/v1/ns/operator/switches?entry=check&value=false&debug=true", "").await
}

/// A PUT with this body, which must be answered with `ok`.
pub async fn put(subject: Subject, target: &str, body: impl AsRef<[u8]>) -> Result<()> {
    let mut connection = Connection::open(subject.addr, None).await.context("connect")?;
    let body = body.as_ref();
    let mut request = format!(
        "PUT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let answer = connection.exchange(&request).await?;
    ensure!(answer.is(b"ok"), "{target} was answered with {}", answer.summary());
    Ok(())
}
