//! A Postgres of the test run's own: made in a temporary folder, on a free port of loopback, removed afterwards.
//!
//! Its programs are found in `PATH` or where Debian puts them. Postgres refuses to run as root: started by root it
//! runs as the user `postgres`, or as `nobody`.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::server::free_port;

/// The variable by which tests are told of a Postgres that they may use: a URL of libpq's form.
pub const VARIABLE: &str = "NACOS_TEST_POSTGRES";

/// Its user, and that user's password.
const USER: &str = "nacos";
const PASSWORD: &str = "p%w/ord";
const DATABASE: &str = "nacos";

/// Options of the command.
#[derive(clap::Args)]
pub struct Args {
    /// A command to run beside it, with its URL in `NACOS_TEST_POSTGRES`; without one it runs until it is stopped.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Starts a Postgres, runs a command beside it, and removes it again.
///
/// # Errors
/// There is none on this machine, it does not start, or the command fails.
pub fn run(args: Args) -> Result<()> {
    let programs = Programs::find().context("no Postgres was found (on Debian: apt-get install postgresql)")?;
    let postgres = Postgres::start(programs)?;
    let Some((program, arguments)) = args.command.split_first() else {
        println!("{VARIABLE}='{}'", postgres.url());
        println!("db.url.0={}", postgres.jdbc_url());
        println!("db.user.0={USER}");
        println!("db.password.0={PASSWORD}");
        println!("Enter stops and removes it.");
        std::io::stdin().read_line(&mut String::new())?;
        return Ok(());
    };
    let status = Command::new(program).args(arguments).env(VARIABLE, postgres.url()).status()?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

/// Where the programs of a Postgres are.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The newest that is installed, if there is one.
    pub fn find() -> Option<Self> {
        let whole =
            |folder: &PathBuf| ["initdb", "postgres", "pg_isready"].iter().all(|name| folder.join(name).exists());
        let in_path =
            std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
        let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
            })
            .collect();
        installed.sort_unstable_by(|a, b| b.cmp(a));
        let folder = in_path.chain(installed.into_iter().map(|(_, folder)| folder)).find(whole)?;
        Some(Self { folder })
    }

    /// One of its programs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// A running Postgres. Killed and removed when dropped.
pub struct Postgres {
    programs: Programs,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    /// User and group to run as, where this process is root.
    runs_as: Option<(u32, u32)>,
}

impl Postgres {
    /// Makes and starts one.
    ///
    /// # Errors
    /// A program fails, or it is not ready within 30 s.
    pub fn start(programs: Programs) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("nacos-postgres-").tempdir()?;
        let runs_as = unprivileged()?;
        let mut postgres = Self { programs, folder, port: free_port()?, child: None, runs_as };
        let password = postgres.folder.path().join("password");
        fs::write(&password, PASSWORD)?;
        if let Some((user, group)) = runs_as {
            for path in [postgres.folder.path(), &password] {
                std::os::unix::fs::chown(path, Some(user), Some(group))?;
            }
        }
        let mut initdb = postgres.command("initdb");
        initdb.arg("--pgdata").arg(postgres.data()).args(["--username", USER, "--auth=scram-sha-256"]);
        initdb.args(["--encoding=UTF8", "--locale=C.UTF-8", "--pwfile"]).arg(&password);
        let output = initdb.output().context("run initdb")?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        postgres.run()?;
        let mut createdb = postgres.command("createdb");
        createdb.args(["-h", "127.0.0.1", "-p", &postgres.port.to_string(), "-U", USER, DATABASE]);
        let output = createdb.env("PGPASSWORD", PASSWORD).output().context("run createdb")?;
        ensure!(output.status.success(), "createdb: {}", String::from_utf8_lossy(&output.stderr));
        Ok(postgres)
    }

    /// Starts it again after it was killed or stopped.
    ///
    /// # Errors
    /// It is not ready within 30 s.
    pub fn run(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"]);
        // Killed in the midst of something it leaves its shared memory behind; files go with the folder.
        command.arg(self.folder.path()).args(["-c", "max_connections=200", "-c", "dynamic_shared_memory_type=mmap"]);
        command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null());
        self.child = Some(command.spawn().context("start postgres")?);
        let begun = Instant::now();
        while !self.is_ready()? {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                bail!("postgres ended while starting: {}: {}", status?, fs::read_to_string(self.log())?);
            }
            ensure!(begun.elapsed() < Duration::from_secs(30), "postgres was not ready within 30 s");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn is_ready(&self) -> Result<bool> {
        let mut command = self.command("pg_isready");
        command.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        Ok(command.status().context("run pg_isready")?.success())
    }

    /// SIGKILL to it and all its processes, and waits for the end.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // Its children see that it is gone and end by themselves; the next start waits for them.
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// In libpq's form.
    pub fn url(&self) -> String {
        let encoded = percent_encoding::utf8_percent_encode(PASSWORD, percent_encoding::NON_ALPHANUMERIC);
        format!("postgresql://{USER}:{encoded}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// In JDBC's form, without user and password.
    pub fn jdbc_url(&self) -> String {
        format!("jdbc:postgresql://127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// The options by which a server uses it.
    pub fn settings(&self) -> Vec<(String, String)> {
        [
            ("spring.sql.init.platform", "postgresql"),
            ("db.url.0", &self.jdbc_url()),
            ("db.user.0", USER),
            ("db.password.0", PASSWORD),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// One of its programs as a command, with what it needs to log in.
    pub fn client(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", USER]).env("PGPASSWORD", PASSWORD);
        command
    }

    /// The database's name.
    pub fn database(&self) -> &'static str {
        DATABASE
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.path(name));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some((user, group)) = self.runs_as {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // "Immediate": it ends its processes, and recovers at a next start that there is not.
        let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Whom to run as instead of root.
fn unprivileged() -> Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt as _;
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut parts = line.split(':').skip(2);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    Ok(Some(find("postgres").or_else(|| find("nobody")).context("neither a user postgres nor nobody")?))
}
