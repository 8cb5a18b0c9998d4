//! What a server that was started again shows of everything that was written.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{COMING, LAID, STAYING, Target, ip, ledger::Version, service, threshold, weight};
use crate::bench::wire::{self, Connection};

/// The version of each target, by its index.
pub type Found = Vec<Version>;

/// Reads all targets.
///
/// # Errors
/// Anything is shown that no write wrote, in half or at all.
pub async fn read(server: SocketAddr, targets: &[Target]) -> Result<Found> {
    let mut connection = Connection::open(server, None).await?;
    let list = |name: &str| format!("/nacos/v1/ns/instance/list?serviceName={name}");
    let coming = hosts(&mut connection, &list(COMING)).await?;
    let staying = hosts(&mut connection, &list(STAYING)).await?;
    ensure!(staying.len() == LAID + 1, "{} of {} instances that stay are shown", staying.len(), LAID + 1);
    let mut known = 0;
    let mut found = Vec::with_capacity(targets.len());
    for target in targets {
        let version = match *target {
            Target::Instance(n) => match of_ip(&coming, n) {
                Some(host) => {
                    known += 1;
                    Some(version_of(host, "v").with_context(|| format!("{target}: {host}"))?)
                }
                None => None,
            },
            Target::Laid(n) => {
                let host = of_ip(&staying, n).with_context(|| format!("{} is not shown", ip(n)))?;
                match &host["metadata"]["v"] {
                    Value::Null => None,
                    _ => Some(version_of(host, "v").with_context(|| format!("{target}: {host}"))?),
                }
            }
            Target::Cell(n, writer) => {
                let host = of_ip(&staying, n).with_context(|| format!("{} is not shown", ip(n)))?;
                match &host["metadata"][format!("c{writer}")] {
                    Value::Null => None,
                    text => Some(number(text).with_context(|| format!("{target}: {host}"))?),
                }
            }
            Target::Service(n) => said(&mut connection, n).await?,
            Target::Switch => {
                let (status, switches) = ask(&mut connection, "/nacos/v1/ns/operator/switches").await?;
                ensure!(status == 200, "the switches are answered with {status}: {switches}");
                Some(switches["distroServerExpiredMillis"].as_u64().context("the switch is not shown")?)
            }
        };
        found.push(version);
    }
    ensure!(known == coming.len(), "{} instances are shown, of which {known} were ever registered", coming.len());
    Ok(found)
}

/// The version of an instance, with which all else of it must agree.
fn version_of(host: &Value, name: &str) -> Result<u64> {
    let version = number(&host["metadata"][name])?;
    ensure!(host["weight"].as_f64() == Some(weight(version)), "the weight is of another version");
    Ok(version)
}

fn number(text: &Value) -> Result<u64> {
    text.as_str().and_then(|text| text.parse().ok()).with_context(|| format!("{text} is no version"))
}

fn of_ip(hosts: &[Value], number: usize) -> Option<&Value> {
    let ip = ip(number);
    hosts.iter().find(|host| host["ip"] == *ip)
}

async fn hosts(connection: &mut Connection, target: &str) -> Result<Vec<Value>> {
    let (status, list) = ask(connection, target).await?;
    ensure!(status == 200, "GET {target} is answered with {status}: {list}");
    let hosts = list["hosts"].as_array().with_context(|| format!("GET {target} is answered with {list}"))?.clone();
    ensure!(hosts.iter().all(|host| host["ephemeral"] == false), "not all are persistent: {list}");
    Ok(hosts)
}

/// What is said of a service; `None` if it does not exist.
async fn said(connection: &mut Connection, number: usize) -> Result<Version> {
    let target = format!("/nacos/v1/ns/service?serviceName={}", service(number));
    let (status, detail) = ask(connection, &target).await?;
    if status == 400 && detail.as_str().is_some_and(|text| text.contains("not found")) {
        return Ok(None);
    }
    ensure!(status == 200, "GET {target} is answered with {status}: {detail}");
    let version = self::number(&detail["metadata"]["v"]).with_context(|| format!("GET {target}: {detail}"))?;
    let shown = detail["protectThreshold"].as_f64().unwrap_or(-1.0);
    ensure!((shown - threshold(version)).abs() < 1e-6, "{detail} is of two versions");
    Ok(Some(version))
}

/// Status and body, which is text where it is no JSON.
async fn ask(connection: &mut Connection, target: &str) -> Result<(u16, Value)> {
    let answer = connection.exchange(&wire::get(target)).await?;
    let body = serde_json::from_slice(answer.body);
    Ok((answer.status, body.unwrap_or_else(|_| String::from_utf8_lossy(answer.body).into())))
}
