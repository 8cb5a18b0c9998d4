//! The server as a process: what it prints, how it ends, and signals.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use tempfile::TempDir;
use tokio::time::Instant;

use super::{Client, LONG, eventually};

/// How to start a server. Nothing of this process' environment reaches it.
pub struct Launch {
    words: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Launch {
    /// On any free port, in this folder.
    pub fn new(folder: &Path) -> Self {
        Self::bare().arg("--port").arg("0").arg("--data-dir").arg(folder)
    }

    /// Without any arguments.
    pub fn bare() -> Self {
        Self { words: vec![env!("CARGO_BIN_EXE_nacos-server").into()], env: Vec::new() }
    }

    pub fn arg(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    pub fn set(self, name: &str, value: &str) -> Self {
        self.arg("--set").arg(format!("{name}={value}"))
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs this shell command first, with mounts that nobody but this process sees and that go with it.
    pub fn with_mount(mut self, command: &str) -> Self {
        let script = format!("{command} && exec \"$0\" \"$@\"");
        let before: [OsString; 5] = ["unshare".into(), "-m".into(), "sh".into(), "-c".into(), script.into()];
        self.words.splice(0..0, before);
        self
    }

    pub fn spawn(&self) -> Process {
        let output = tempfile::tempdir().unwrap();
        let file = |name| std::fs::File::create(output.path().join(name)).unwrap();
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).env_clear().envs(self.env.iter().cloned());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        Process { child: command.spawn().unwrap(), output }
    }

    /// Starts, and waits until the server says where it listens.
    pub async fn ready(&self) -> Process {
        let mut process = self.spawn();
        eventually("the banner", async || {
            assert!(process.child.try_wait().unwrap().is_none(), "ended: {}{}", process.out(), process.err());
            process.is_ready().then_some(())
        })
        .await;
        process
    }

    /// Starts, and waits for the end: the exit code, what was printed, and what was logged. A server that is ready
    /// instead is killed, and has no exit code.
    pub async fn end(&self) -> (Option<i32>, String, String) {
        let mut process = self.spawn();
        let code = eventually("the end", async || match process.child.try_wait().unwrap() {
            Some(status) => Some(status.code()),
            None => process.is_ready().then_some(None),
        })
        .await;
        (code, process.out(), process.err())
    }
}

/// A process. Killed when dropped.
pub struct Process {
    child: Child,
    output: TempDir,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.output.path().join(name)).unwrap()).into_owned()
    }

    /// What it printed.
    pub fn out(&self) -> String {
        self.read("out")
    }

    /// What it logged.
    pub fn err(&self) -> String {
        self.read("err")
    }

    /// Whether it says that it is ready.
    fn is_ready(&self) -> bool {
        self.out().contains("Ctrl-C stops")
    }

    /// Where it listens, as its banner says.
    pub fn addr(&self) -> SocketAddr {
        let out = self.out();
        let (_, rest) = out.split_once("(listening on ").unwrap_or_else(|| panic!("{out}"));
        rest.split_once(')').unwrap().0.parse().unwrap()
    }

    pub fn client(&self) -> Client {
        Client::new(SocketAddr::from(([127, 0, 0, 1], self.addr().port())))
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LONG, "did not end: {}{}", self.out(), self.err());
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// A path as the process sees it, whatever is mounted for it alone.
    pub fn path(&self, path: &Path) -> PathBuf {
        Path::new("/proc").join(self.pid().to_string()).join("root").join(path.strip_prefix("/").unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
