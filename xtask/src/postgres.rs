//! A Postgres of the test run's own: made in a temporary folder, on a free port of loopback, removed afterwards.
//!
//! Its programs are found in `PATH` or where Debian puts them. Postgres refuses to run as root: started by root it
//! runs as the user `postgres`, or as `nobody`. It listens on loopback alone, and has no socket in the file system.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{cargo::succeeds, server::free_port};

/// The variable by which tests are told of a Postgres that they may use: a URL of libpq's form.
pub const VARIABLE: &str = "NACOS_TEST_POSTGRES";
/// The variable by which they are told of the certificate of its authority, a file, if it speaks TLS.
const AUTHORITY_VARIABLE: &str = "NACOS_TEST_POSTGRES_CA";

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
    let programs = Programs::find().context(Programs::MISSING)?;
    let postgres = Postgres::start_encrypted(programs)?;
    let Some((program, arguments)) = args.command.split_first() else {
        postgres.variables().iter().for_each(|(name, value)| println!("{name}='{value}'"));
        println!("db.url.0={}", postgres.jdbc_url());
        println!("db.user.0={USER}");
        println!("db.password.0={PASSWORD}");
        println!("Enter stops and removes it.");
        std::io::stdin().read_line(&mut String::new())?;
        return Ok(());
    };
    let status = Command::new(program).args(arguments).envs(postgres.variables()).status()?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

/// Where the programs of a Postgres are.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// What to say where there is none.
    pub const MISSING: &str = "no Postgres was found (on Debian: apt-get install postgresql)";

    /// The newest that is installed, if there is one.
    pub fn find() -> Option<Self> {
        let needed = ["initdb", "postgres", "pg_isready", "createdb", "psql", "pgbench"];
        let whole = |folder: &PathBuf| needed.iter().all(|name| folder.join(name).exists());
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
    /// How many databases were made here.
    databases: AtomicU32,
    /// Whether it speaks TLS to those who wish.
    encrypted: bool,
}

/// A database of its own within a Postgres.
pub struct Database {
    /// Its name.
    pub name: String,
    /// The options by which a server uses it.
    pub settings: Vec<(String, String)>,
}

impl Postgres {
    /// Makes and starts one.
    ///
    /// # Errors
    /// A program fails, or it is not ready within 30 s.
    pub fn start(programs: Programs) -> Result<Self> {
        Self::new(programs, None, false)
    }

    /// As [`Self::start`], with a certificate for 127.0.0.1 if there is openssl to make one.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_encrypted(programs: Programs) -> Result<Self> {
        Self::new(programs, None, succeeds(Command::new("openssl").arg("version")))
    }

    /// As [`Self::start`], with its data below this folder if one is given and the user that it runs as gets there.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_in(programs: Programs, parent: Option<&Path>) -> Result<Self> {
        Self::new(programs, parent, false)
    }

    fn new(programs: Programs, parent: Option<&Path>, encrypted: bool) -> Result<Self> {
        let runs_as = unprivileged()?;
        let mut builder = tempfile::Builder::new();
        builder.prefix("nacos-postgres-");
        let folder = match parent {
            Some(parent) if runs_as.is_none() || is_open(parent)? => builder.tempdir_in(parent)?,
            _ => builder.tempdir()?,
        };
        let databases = AtomicU32::new(0);
        let mut postgres = Self { programs, folder, port: free_port()?, child: None, runs_as, databases, encrypted };
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
        if encrypted {
            postgres.certify()?;
        }
        postgres.run()?;
        output_of(postgres.client("createdb").arg(DATABASE))?;
        Ok(postgres)
    }

    /// Makes an empty database. It is there until the whole is removed.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create_database(&self) -> Result<Database> {
        let name = format!("{DATABASE}_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        output_of(self.client("createdb").arg(&name))?;
        let settings = self.settings_of(&name);
        Ok(Database { name, settings })
    }

    /// The rows that a statement answers, their columns parted by tabs.
    ///
    /// # Errors
    /// The statement is refused, or Postgres is away.
    pub fn query(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = self.client("psql");
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--field-separator=\t"]);
        let output = output_of(psql.args(["--set=ON_ERROR_STOP=1", "--dbname", database, "--command", sql]))?;
        String::from_utf8(output.stdout).context("psql answers no UTF-8")
    }

    /// Starts it again after it was killed or stopped.
    ///
    /// # Errors
    /// It is not ready within 30 s.
    pub fn run(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        // Killed in the midst of something it leaves its shared memory behind; files go with the folder.
        command.args(["-c", "max_connections=200", "-c", "dynamic_shared_memory_type=mmap"]);
        if self.encrypted {
            command.args(["-c", "ssl=on", "-c", "ssl_cert_file=server.crt", "-c", "ssl_key_file=server.key"]);
        }
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

    /// Makes a certificate, and an authority that has signed it: many clients take none that has signed itself.
    fn certify(&self) -> Result<()> {
        let make = |name: &str, subject: &str| {
            let mut openssl = self.command_at(Path::new("openssl"));
            openssl.current_dir(self.data()).args(["req", "-x509", "-nodes", "-days", "30", "-newkey", "ec"]);
            openssl.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", subject]);
            openssl.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
            openssl
        };
        output_of(&mut make("authority", "/CN=authority of a test run"))?;
        let mut server = make("server", "/CN=127.0.0.1");
        server.args(["-CA", "authority.crt", "-CAkey", "authority.key", "-addext", "subjectAltName=IP:127.0.0.1"]);
        output_of(server.args(["-addext", "basicConstraints=critical,CA:FALSE"]))?;
        // The data folder is open to its owner alone.
        fs::copy(self.data().join("authority.crt"), self.authority())?;
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
        let processes = children_of(child.id())?;
        child.kill()?;
        child.wait()?;
        // Each is the leader of a group of its own, and would finish what it does.
        let named: Vec<String> = processes.iter().map(u32::to_string).collect();
        // One that ended by itself meanwhile is no error.
        let _ = Command::new("kill").arg("-KILL").args(&named).stderr(Stdio::null()).status()?;
        let begun = Instant::now();
        while processes.iter().any(|process| parent_of(*process).is_some()) {
            ensure!(begun.elapsed() < Duration::from_secs(10), "a process of Postgres does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Stops it, and keeps its folder for a look.
    pub fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// What it calls itself: `PostgreSQL 15.14`.
    ///
    /// # Errors
    /// It is away.
    pub fn version(&self) -> Result<String> {
        let version = self.query(DATABASE, "SHOW server_version")?;
        Ok(format!("PostgreSQL {}", version.split_whitespace().next().unwrap_or_default()))
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What tests are told of it by, names and values.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let authority = self.encrypted.then(|| (AUTHORITY_VARIABLE, self.authority().display().to_string()));
        std::iter::once((VARIABLE, self.url())).chain(authority).collect()
    }

    /// In libpq's form.
    fn url(&self) -> String {
        let encoded = percent_encoding::utf8_percent_encode(PASSWORD, percent_encoding::NON_ALPHANUMERIC);
        format!("postgresql://{USER}:{encoded}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// In JDBC's form, without user and password.
    fn jdbc_url(&self) -> String {
        format!("jdbc:postgresql://127.0.0.1:{}/{DATABASE}", self.port)
    }

    fn settings_of(&self, database: &str) -> Vec<(String, String)> {
        [
            ("spring.sql.init.platform", "postgresql"),
            ("db.url.0", &format!("jdbc:postgresql://127.0.0.1:{}/{database}", self.port)),
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

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The certificate of the authority.
    fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.crt")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn command(&self, name: &str) -> Command {
        self.command_at(&self.programs.path(name))
    }

    fn command_at(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
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

/// Runs a program to its end.
///
/// # Errors
/// It fails; with what it said.
pub fn output_of(command: &mut Command) -> Result<Output> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {name}"))?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output)
}

/// Whether every user may go into this folder.
fn is_open(folder: &Path) -> Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder.canonicalize()?;
    for part in folder.ancestors() {
        if fs::metadata(part)?.permissions().mode() & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The processes that this one has started and not waited for.
fn children_of(parent: u32) -> Result<Vec<u32>> {
    let processes = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(processes.filter(|process| parent_of(*process) == Some(parent)).collect())
}

/// The parent of a process that runs; `None` if there is none, or it has ended and nobody has waited for it.
fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold blanks.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.next()?.parse().ok()
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
