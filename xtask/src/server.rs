//! The server under test as a process: built once, started on a free port of loopback with a data folder of
//! its own, awaited until ready, stopped or killed.
//!
//! Used by every command that needs a running server.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// The workspace's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Builds the server in the release profile and gives the path of its binary. Does it once a process.
pub fn binary() -> Result<PathBuf> {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    if let Some(path) = BUILT.get() {
        return Ok(path.clone());
    }
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--package", "nacos-server", "--bin", "nacos-server"])
        .current_dir(root())
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "cargo build of nacos-server failed: {status}");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(BUILT.get_or_init(|| target.join("release/nacos-server")).clone())
}

/// A port of loopback that was free a moment ago, as are port + 1000, port + 1001 and port − 1000.
pub fn free_port() -> Result<u16> {
    for _ in 0..200 {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        if !(12_000..60_000).contains(&port) {
            continue;
        }
        let free = |p: u16| TcpListener::bind(("127.0.0.1", p)).is_ok();
        if free(port) && free(port + 1000) && free(port + 1001) && free(port - 1000) {
            return Ok(port);
        }
    }
    bail!("no free port found")
}

/// How to start a server.
pub struct Launch {
    /// The data folder; it must exist.
    pub data_dir: PathBuf,
    /// The HTTP port.
    pub port: u16,
    /// `--set name=value` for each.
    pub set: Vec<(String, String)>,
    /// Where what the server prints goes; nowhere if `None`.
    pub log: Option<PathBuf>,
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    port: u16,
}

impl Launch {
    /// A launch on a free port, without further options.
    pub fn new(data_dir: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self { data_dir: data_dir.into(), port: free_port()?, set: Vec::new(), log: None })
    }

    /// Starts the server and waits until it says that it is ready, at most 30 s.
    pub fn start(&self) -> Result<Server> {
        let mut command = Command::new(binary()?);
        command.arg("--port").arg(self.port.to_string()).arg("--data-dir").arg(&self.data_dir);
        for (name, value) in &self.set {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        let out = |path: &PathBuf| std::fs::OpenOptions::new().create(true).append(true).open(path);
        match &self.log {
            Some(path) => command.stdout(out(path)?).stderr(out(path)?),
            None => command.stdout(Stdio::null()).stderr(Stdio::null()),
        };
        let child = command.stdin(Stdio::null()).spawn().context("start nacos-server")?;
        let mut server = Server { child, port: self.port };
        let begun = Instant::now();
        loop {
            if let Some(status) = server.child.try_wait()? {
                bail!("nacos-server ended while starting: {status}");
            }
            if server.get("/nacos/v1/console/health/readiness").is_ok_and(|(status, _)| status == 200) {
                return Ok(server);
            }
            ensure!(begun.elapsed() < Duration::from_secs(30), "nacos-server was not ready within 30 s");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Server {
    /// The HTTP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `http://127.0.0.1:PORT/nacos`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/nacos", self.port)
    }

    /// One GET on a connection of its own: status and body.
    pub fn get(&self, target: &str) -> Result<(u16, Vec<u8>)> {
        self.request("GET", target, None)
    }

    /// One request on a connection of its own, with an urlencoded form if given: status and body.
    pub fn request(&self, method: &str, target: &str, form: Option<&str>) -> Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect_timeout(&self.addr(), Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let form = form.unwrap_or_default();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let split = answer.windows(4).position(|w| w == b"\r\n\r\n").context("answer without a head")?;
        let head = String::from_utf8_lossy(&answer[..split]).into_owned();
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("answer without a status")?;
        let body = answer.split_off(split + 4);
        ensure!(!head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "chunked answer to {target}");
        Ok((status, body))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end, at most 15 s; an exit status other than 0 is an error.
    pub fn stop(mut self) -> Result<()> {
        let status = Command::new("kill").arg(self.pid().to_string()).status()?;
        ensure!(status.success(), "kill failed");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "nacos-server stopped with {status}");
                return Ok(());
            }
            ensure!(begun.elapsed() < Duration::from_secs(15), "nacos-server did not stop within 15 s of SIGTERM");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Resident memory in bytes, from `/proc`.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
