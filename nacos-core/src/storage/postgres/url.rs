//! Where a database is: `db.url.N` as Nacos users write it.
//!
//! JDBC's form (`jdbc:postgresql://host:port,host:port/database?name=value`) and libpq's (`postgresql://…`) differ in
//! little more than their first word; both may name several hosts. Sources: the documentation of pgjdbc ("Connecting
//! to the Database") and of PostgreSQL, section 34.1.1.

use std::{fmt, time::Duration};

use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// One server of an external database, with everything that a connection to it needs.
#[derive(Clone)]
pub struct Server {
    pub(super) options: PgConnectOptions,
    /// Longest time for a connection to it, where the URL says so.
    pub(super) connect_timeout: Option<Duration>,
    shown: String,
}

/// Shows where it is, and never its password.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.shown)
    }
}

/// Why a URL names no database. Does not repeat the URL, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Of another database.
    #[error("it is no URL of PostgreSQL: it must begin with jdbc:postgresql:// or postgresql://")]
    OtherDatabase,
    /// A part is not what it must be.
    #[error("{0}")]
    Malformed(String),
}

fn malformed(what: impl Into<String>) -> UrlError {
    UrlError::Malformed(what.into())
}

/// pgjdbc knows these, and they mean nothing here.
const WITHOUT_MEANING: &[&str] = &[
    "adaptiveFetch",
    "allowEncodingChanges",
    "assumeMinServerVersion",
    "autosave",
    "binaryTransfer",
    "characterEncoding",
    "cleanupSavepoints",
    "defaultRowFetchSize",
    "disableColumnSanitiser",
    "gssEncMode",
    "hostRecheckSeconds",
    "loadBalanceHosts",
    "load_balance_hosts",
    "logUnclosedConnections",
    "loginTimeout",
    "preferQueryMode",
    "prepareThreshold",
    "preparedStatementCacheQueries",
    "preparedStatementCacheSizeMiB",
    "reWriteBatchedInserts",
    "receiveBufferSize",
    "sendBufferSize",
    "serverTimezone",
    "socketTimeout",
    "stringtype",
    "target_session_attrs",
    "targetServerType",
    "tcpKeepAlive",
    "tcpNoDelay",
    "useSSL",
    "useUnicode",
    "autoReconnect",
    "keepalives",
];

/// The servers that a URL names, in its order. `user` and `password` win over those in the URL unless they are empty.
///
/// # Errors
/// [`UrlError`]. What the URL says besides and is not known here is logged and left out.
pub fn servers(url: &str, user: &str, password: &str) -> Result<Vec<Server>, UrlError> {
    let text = url.trim();
    let text = text.strip_prefix("jdbc:").unwrap_or(text);
    let rest = ["postgresql:", "postgres:"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .ok_or(UrlError::OtherDatabase)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => ("", rest),
    };
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (url_user, url_password) = login.split_once(':').unwrap_or((login, ""));

    // All that tells one database from another is set below; certificates may come from libpq's variables (PGSSL…).
    let mut options = PgConnectOptions::new_without_pgpass().ssl_mode(PgSslMode::Prefer).application_name("nacos");
    let mut names = (decoded(url_user)?, decoded(url_password)?, decoded(database)?);
    let mut host_override = None;
    let mut connect_timeout = None;
    let mut ssl_mode_said = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name)?, decoded(value)?);
        match name.as_str() {
            "user" => names.0 = value,
            "password" => names.1 = value,
            "dbname" | "PGDBNAME" => names.2 = value,
            "host" => host_override = Some(value),
            "ssl" if !ssl_mode_said && !value.eq_ignore_ascii_case("false") => {
                options = options.ssl_mode(PgSslMode::VerifyFull);
            }
            "ssl" => {}
            "sslmode" => {
                let mode = value.parse().map_err(|_| malformed(format!("sslmode={value} is not known")))?;
                (options, ssl_mode_said) = (options.ssl_mode(mode), true);
            }
            "sslrootcert" => options = options.ssl_root_cert(value),
            "sslcert" => options = options.ssl_client_cert(value),
            "sslkey" => options = options.ssl_client_key(value),
            "ApplicationName" | "application_name" => options = options.application_name(&value),
            "currentSchema" | "search_path" => options = options.options([("search_path", value)]),
            "options" => {
                for (name, value) in session_options(&value)? {
                    options = options.options([(name, value)]);
                }
            }
            "connectTimeout" | "connect_timeout" => {
                let seconds: u64 =
                    value.parse().map_err(|_| malformed(format!("{name}={value} is no number of seconds")))?;
                connect_timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            known if WITHOUT_MEANING.contains(&known) => {}
            _ => tracing::warn!(option = name, "an option of the database's URL is not known, and left out"),
        }
    }
    let (mut login, mut secret, mut database) = names;
    if !user.is_empty() {
        user.clone_into(&mut login);
    }
    if !password.is_empty() {
        password.clone_into(&mut secret);
    }
    if login.is_empty() {
        return Err(malformed("it names no user, and db.user is not set"));
    }
    if database.is_empty() {
        database.clone_from(&login);
    }
    options = options.username(&login).password(&secret).database(&database);

    let hosts = host_override.as_deref().unwrap_or(hosts);
    let hosts = if hosts.is_empty() { "localhost" } else { hosts };
    hosts.split(',').map(|host| server(&options, host, &database, connect_timeout)).collect()
}

fn server(
    options: &PgConnectOptions,
    text: &str,
    database: &str,
    connect_timeout: Option<Duration>,
) -> Result<Server, UrlError> {
    let text = decoded(text.trim())?;
    // A folder of Unix sockets.
    if text.starts_with('/') {
        let options = options.clone().port(5432).socket(&text);
        return Ok(Server { options, connect_timeout, shown: format!("{text}/{database}") });
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| malformed(format!("{text} is no host")))?;
            (host, rest.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((&*text, None), |(host, port)| (host, Some(port))),
    };
    let port: u16 = match port {
        None | Some("") => 5432,
        Some(port) => port.parse().map_err(|_| malformed(format!("{port} is no port")))?,
    };
    let host = if host.is_empty() { "localhost" } else { host };
    let options = options.clone().host(host).port(port);
    Ok(Server { options, connect_timeout, shown: format!("{host}:{port}/{database}") })
}

/// `-c name=value -c name=value`, as libpq hands it to the server.
fn session_options(text: &str) -> Result<Vec<(String, String)>, UrlError> {
    let mut words = text.split_whitespace();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c").or_else(|| word.strip_prefix("--")) {
            Some("") => words.next(),
            other => other,
        };
        let pair = setting.and_then(|setting| setting.split_once('='));
        let (name, value) =
            pair.ok_or_else(|| malformed(format!("options={text} is not of the form -c name=value")))?;
        found.push((name.to_owned(), value.to_owned()));
    }
    Ok(found)
}

fn decoded(text: &str) -> Result<String, UrlError> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| malformed("a part is not UTF-8"))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> Vec<String> {
        servers(url, "u", "p").expect(url).iter().map(Server::to_string).collect()
    }

    #[test]
    fn both_forms_name_their_hosts() {
        for (url, expected) in [
            (
                "jdbc:postgresql://127.0.0.1:5433/nacos?tcpKeepAlive=true&reWriteBatchedInserts=true",
                vec!["127.0.0.1:5433/nacos"],
            ),
            ("jdbc:postgresql://db/nacos", vec!["db:5432/nacos"]),
            ("jdbc:postgresql://a:1,b:2,[::1]:3,[fe80::1]/n", vec!["a:1/n", "b:2/n", "::1:3/n", "fe80::1:5432/n"]),
            ("jdbc:postgresql:nacos", vec!["localhost:5432/nacos"]),
            ("jdbc:postgresql://db/", vec!["db:5432/u"]),
            ("postgresql://x:y%40z@db:7/n%20s?sslmode=disable", vec!["db:7/n s"]),
            ("postgres://x@/n?host=/run/pg", vec!["/run/pg/n"]),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn options_are_understood_in_both_dialects() {
        let one = |url: &str| servers(url, "", "").expect(url).remove(0);
        let jdbc = one(
            "jdbc:postgresql://h/n?user=u%2B&password=p&ssl=true&currentSchema=a,b&ApplicationName=x&connectTimeout=3",
        );
        assert_eq!(jdbc.options.get_username(), "u+");
        assert!(matches!(jdbc.options.get_ssl_mode(), PgSslMode::VerifyFull));
        assert_eq!(jdbc.options.get_options(), Some("-c search_path=a,b"));
        assert_eq!(jdbc.options.get_application_name(), Some("x"));
        assert_eq!(jdbc.connect_timeout, Some(Duration::from_secs(3)));
        let both = one("jdbc:postgresql://h/n?user=u&sslmode=require&ssl=true");
        assert!(matches!(both.options.get_ssl_mode(), PgSslMode::Require));
        let libpq = one("postgresql://u:p@h/n?options=-c%20geqo%3Doff%20-cjit=off&sslmode=verify-ca");
        assert_eq!(libpq.options.get_options(), Some("-c geqo=off -c jit=off"));
        let user = servers("postgresql://u:p@h/n", "other", "").expect("a URL").remove(0);
        assert_eq!(user.options.get_username(), "other");
    }

    #[test]
    fn what_names_no_postgres_is_refused_without_a_secret() {
        assert_eq!(servers("jdbc:mysql://h/n", "u", "p").unwrap_err(), UrlError::OtherDatabase);
        for url in [
            "jdbc:postgresql://h:x/n?password=canary",
            "jdbc:postgresql://h:99999/n?password=canary",
            "jdbc:postgresql://[::1/n?password=canary",
            "postgresql://u:canary@h/n?sslmode=maybe",
            "postgresql://u:canary@h/n?connect_timeout=soon",
            "postgresql://u:canary@h/n?options=nonsense",
        ] {
            let error = servers(url, "u", "").expect_err(url).to_string();
            assert!(!error.contains("canary"), "{error}");
        }
        assert!(servers("jdbc:postgresql://h/n", "", "").unwrap_err().to_string().contains("db.user"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let server = servers("postgresql://u:canary@h/n", "", "canary").expect("a URL").remove(0);
        assert!(!format!("{server} {server:?}").contains("canary"));
    }
}
