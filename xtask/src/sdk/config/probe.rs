//! What a client program cannot ask through its library, asked of the server over plain HTTP.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::super::http::{encoded, request};

/// How long a client may take until its long poll is held: one that has just been answered comes back at once, but
/// the Go client looks for new listeners only every half second, and takes them along only with its next poll.
const PARKED_WITHIN: Duration = Duration::from_secs(15);

/// A configuration's key as a client program says it.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Empty for the public namespace.
    pub namespace: String,
    /// The group.
    pub group: String,
    /// The dataId.
    pub data_id: String,
}

/// Asks the server at one address.
#[derive(Clone)]
pub struct Probe {
    address: String,
}

impl Probe {
    /// Asks the server at `host:port`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into() }
    }

    /// Where it asks.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The HTTP status of a plain read of the configuration.
    pub fn status(&self, key: &Key) -> Result<u16> {
        Ok(self.get("", key, "")?.0)
    }

    /// The type that the configuration is stored with.
    pub fn kind(&self, key: &Key) -> Result<String> {
        #[derive(serde::Deserialize)]
        struct Detail {
            r#type: Option<String>,
        }
        let (status, body) = self.get("", key, "&show=all")?;
        ensure!(status == 200, "show=all was answered {status}");
        let detail: Detail = serde_json::from_slice(&body).context("answer to show=all")?;
        Ok(detail.r#type.unwrap_or_default())
    }

    /// Waits until the server holds a long poll for the configuration with this MD5, empty for "there is none".
    /// False if there was none in time.
    pub fn listened(&self, key: &Key, md5: &str) -> Result<bool> {
        let begun = Instant::now();
        while begun.elapsed() < PARKED_WITHIN {
            if self.listeners(key)?.iter().any(|held| held == md5) {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(false)
    }

    /// The MD5s that waiting clients hold.
    fn listeners(&self, key: &Key) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Listeners {
            // Misspelt so by Nacos.
            #[serde(rename = "lisentersGroupkeyStatus", default)]
            md5_by_ip: Option<std::collections::HashMap<String, Option<String>>>,
        }
        let (status, body) = self.get("/listener", key, "&sampleTime=1")?;
        ensure!(status == 200, "the listeners' list was answered {status}");
        let listeners: Listeners = serde_json::from_slice(&body).context("answer with the listeners")?;
        let held = listeners.md5_by_ip.unwrap_or_default().into_values();
        Ok(held.map(Option::unwrap_or_default).collect())
    }

    /// One GET under `/nacos/v1/cs/configs`.
    fn get(&self, path: &str, key: &Key, more: &str) -> Result<(u16, Vec<u8>)> {
        let key = encoded(&[("tenant", &key.namespace), ("group", &key.group), ("dataId", &key.data_id)]);
        request(&self.address, "GET", &format!("/nacos/v1/cs/configs{path}?{key}{more}"), None)
    }
}
