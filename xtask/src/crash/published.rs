//! What a restarted server shows over HTTP, against what its database held while it was stopped.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use md5::{Digest as _, Md5};
use serde_json::Value;

use super::{
    ledger::{Digest, KeyState, hex},
    stored::Stored,
};
use crate::bench::wire::{self, Connection, GROUP, encoded};

/// Keys whose history rows are read one by one; of the others, the rows are counted.
const SAMPLED: usize = 4;
/// Rows read of each such key.
const ROWS: usize = 5;

/// Reads every key and the number of its history rows, and some rows whole.
///
/// # Errors
/// Anything differs from what is stored.
pub async fn check(server: SocketAddr, stored: &Stored, rng: &mut Rng) -> Result<()> {
    let mut connection = Connection::open(server, None).await?;
    for (name, state) in stored.named() {
        current(&mut connection, name, state).await?;
        count(&mut connection, name, state).await?;
    }
    let keys: Vec<(&str, &KeyState)> = stored.named().filter(|(_, state)| !state.history.is_empty()).collect();
    for (name, state) in rng.choose_multiple(keys, SAMPLED) {
        for row in rng.choose_multiple(&state.history, ROWS) {
            let found = history(&mut connection, name, &format!("nid={}", row.nid)).await?;
            let content = found["content"].as_str().map(digest);
            let op = found["opType"].as_str().map(str::trim);
            ensure!(
                content == Some(row.content) && op == Some(&row.op.to_string()),
                "history row {} of {name} shows {op:?} of {:?}, stored is {} of {}",
                row.nid,
                content.as_ref().map(hex),
                row.op,
                hex(&row.content)
            );
        }
    }
    Ok(())
}

fn digest(content: &str) -> Digest {
    Md5::digest(content.as_bytes()).into()
}

async fn current(connection: &mut Connection, name: &str, state: &KeyState) -> Result<()> {
    let answer = connection.exchange(&wire::read(name)).await?;
    let Some(stored) = state.current else {
        ensure!(answer.status == 404, "{name} is not stored, and reads {}", answer.summary());
        return Ok(());
    };
    let read: Digest = Md5::digest(answer.body).into();
    ensure!(
        answer.status == 200 && read == stored && answer.header("content-md5") == Some(&hex(&stored)),
        "{name} reads {}; stored is {}",
        answer.summary(),
        hex(&stored)
    );
    Ok(())
}

async fn count(connection: &mut Connection, name: &str, state: &KeyState) -> Result<()> {
    let page = history(connection, name, "search=accurate&pageNo=1&pageSize=1").await?;
    let total = page["totalCount"].as_u64().with_context(|| format!("history of {name} is {page}"))?;
    ensure!(
        total == state.history.len() as u64,
        "{name} shows {total} history rows, {} are stored",
        state.history.len()
    );
    Ok(())
}

async fn history(connection: &mut Connection, name: &str, query: &str) -> Result<Value> {
    let target = format!("/nacos/v1/cs/history?dataId={}&group={GROUP}&tenant=&{query}", encoded(name));
    let answer = connection.exchange(&wire::get(&target)).await?;
    ensure!(answer.status == 200, "GET {target} answered with {}", answer.summary());
    serde_json::from_slice(answer.body).with_context(|| format!("GET {target} answered with {}", answer.summary()))
}
