//! A schema of a test's own in the Postgres that `NACOS_TEST_POSTGRES` names, and a gate before it that can be shut.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use sqlx::{Connection as _, Executor as _, postgres::PgConnection};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::left_out;

/// The schema, and the way to it through a gate.
pub struct Postgres {
    url: String,
    name: String,
    gate: SocketAddr,
    open: watch::Sender<bool>,
}

impl Postgres {
    /// `None` where there is no Postgres.
    pub async fn new(what: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let Ok(url) = std::env::var("NACOS_TEST_POSTGRES") else {
            left_out(what, "NACOS_TEST_POSTGRES names no Postgres");
            return None;
        };
        let name = format!("server_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut conn = PgConnection::connect(&url).await.unwrap();
        conn.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {name}")))).await.unwrap();
        let behind = url.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (behind, mut is_open) = (behind.clone(), is_open.clone());
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return;
                    }
                    let mut server = TcpStream::connect(behind).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Some(Self { url, name, gate, open })
    }

    /// Cuts all connections through the gate and lets none in, or lets them in again.
    pub fn shut(&self, shut: bool) {
        self.open.send_replace(!shut);
    }

    /// The first column of the first row of a query.
    pub async fn number(&self, sql: &str) -> i64 {
        let mut conn = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&mut conn).await.unwrap()
    }

    /// The options by which a server uses it.
    pub fn options(&self) -> Vec<(String, String)> {
        self.options_with(&self.gate.ip().to_string(), "")
    }

    /// The same, past the gate.
    pub fn direct_options(&self) -> Vec<(String, String)> {
        let behind = self.url.rsplit_once('@').unwrap().1.split('/').next().unwrap();
        let gate = self.gate.to_string();
        let mut options = self.options();
        options[1].1 = options[1].1.replace(&gate, behind);
        options
    }

    /// The same, with the server under this name and more in its URL.
    pub fn options_with(&self, host: &str, more: &str) -> Vec<(String, String)> {
        let (login, rest) = self.url.strip_prefix("postgresql://").unwrap().rsplit_once('@').unwrap();
        let database = rest.split_once('/').unwrap().1;
        let (user, password) = login.split_once(':').unwrap();
        let password = percent_encoding::percent_decode_str(password).decode_utf8().unwrap().into_owned();
        let port = self.gate.port();
        let url = format!("jdbc:postgresql://{host}:{port}/{database}?currentSchema={}{more}", self.name);
        [
            ("spring.sql.init.platform", "postgresql"),
            ("db.url.0", &url),
            ("db.user.0", user),
            ("db.password.0", &password),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}
