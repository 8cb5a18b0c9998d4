//! The server's instances over plain HTTP.

use std::{collections::BTreeMap, fmt, str::from_utf8};

use anyhow::{Context as _, Result, bail, ensure};

use super::super::{
    conversation::unless_dash,
    http::{encoded, request},
};

/// A service as client programs name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Empty for the public namespace.
    pub namespace: String,
    /// The group.
    pub group: String,
    /// The name without its group.
    pub name: String,
}

/// An instance of a list, as far as it is looked at here.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    ip: String,
    port: u16,
    cluster_name: String,
    weight: f64,
    /// Whether it beats, or answers.
    pub healthy: bool,
    ephemeral: bool,
    // Sorted, for one text of each.
    metadata: BTreeMap<String, String>,
}

/// The instances of one server.
pub struct Registry {
    server: String,
}

impl Service {
    /// Three words: namespace or `-`, group, name.
    pub fn new(namespace: &str, group: &str, name: &str) -> Self {
        Self { namespace: unless_dash(namespace), group: group.to_owned(), name: name.to_owned() }
    }

    fn parameters(&self) -> Vec<(&str, &str)> {
        let mut all = vec![("groupName", self.group.as_str()), ("serviceName", &self.name)];
        if !self.namespace.is_empty() {
            all.push(("namespaceId", &self.namespace));
        }
        all
    }
}

impl Instance {
    /// `ip:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }
}

/// As client programs are told of it: cluster, weight, health, kind, metadata with sorted keys.
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let health = if self.healthy { "healthy" } else { "unhealthy" };
        let kind = if self.ephemeral { "ephemeral" } else { "persistent" };
        let metadata = serde_json::to_string(&self.metadata).map_err(|_| fmt::Error)?;
        write!(f, "{} {} {health} {kind} {metadata}", self.cluster_name, self.weight)
    }
}

impl Registry {
    /// Of the server at `host:port`.
    pub fn new(server: &str) -> Self {
        Self { server: server.to_owned() }
    }

    /// Where it listens.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Registers an instance, with further parameters.
    pub fn register(&self, service: &Service, ip: &str, port: &str, more: &[(&str, &str)]) -> Result<()> {
        let mut parameters = service.parameters();
        parameters.extend([("ip", ip), ("port", port)]);
        parameters.extend(more);
        self.done(request(&self.server, "POST", "/nacos/v1/ns/instance", Some(&encoded(&parameters)))?)
    }

    /// Deregisters an ephemeral instance.
    pub fn deregister(&self, service: &Service, ip: &str, port: &str) -> Result<()> {
        let mut parameters = service.parameters();
        parameters.extend([("ip", ip), ("port", port)]);
        let target = format!("/nacos/v1/ns/instance?{}", encoded(&parameters));
        self.done(request(&self.server, "DELETE", &target, None)?)
    }

    fn done(&self, (status, body): (u16, Vec<u8>)) -> Result<()> {
        match (status, body.as_slice()) {
            (200, b"ok") => Ok(()),
            _ => bail!("answered {status} {:?} instead of ok", String::from_utf8_lossy(&body)),
        }
    }

    /// All instances of a service.
    pub fn instances(&self, service: &Service) -> Result<Vec<Instance>> {
        #[derive(serde::Deserialize)]
        struct List {
            hosts: Vec<Instance>,
        }
        let list: List = self.read("instance/list", service, "")?;
        Ok(list.hosts)
    }

    /// The `ip:port` of those who are told of the service's changes.
    pub fn subscribers(&self, service: &Service) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Subscribers {
            subscribers: Vec<Subscriber>,
        }
        #[derive(serde::Deserialize)]
        struct Subscriber {
            ip: String,
            port: u16,
        }
        let all: Subscribers = self.read("service/subscribers", service, "&pageNo=1&pageSize=100")?;
        Ok(all.subscribers.iter().map(|one| format!("{}:{}", one.ip, one.port)).collect())
    }

    fn read<T: serde::de::DeserializeOwned>(&self, path: &str, service: &Service, more: &str) -> Result<T> {
        let target = format!("/nacos/v1/ns/{path}?{}{more}", encoded(&service.parameters()));
        let (status, body) = request(&self.server, "GET", &target, None)?;
        let text = from_utf8(&body).with_context(|| format!("{path} is not UTF-8"))?;
        ensure!(status == 200, "{path} was answered {status} {text}");
        serde_json::from_str(text).with_context(|| format!("{path} was answered {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_one_text() {
        let instance: Instance = serde_json::from_str(
            r#"{"ip":"127.0.3.1","port":8001,"clusterName":"DEFAULT","weight":2.0,"healthy":true,"enabled":true,
                "ephemeral":true,"metadata":{"区域":"华东","a":"1"}}"#,
        )
        .unwrap();
        assert_eq!(instance.address(), "127.0.3.1:8001");
        assert_eq!(instance.to_string(), r#"DEFAULT 2 healthy ephemeral {"a":"1","区域":"华东"}"#);
    }
}
