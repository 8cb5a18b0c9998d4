//! Which client libraries are run, and how each is installed and its program of ours made ready.
//!
//! Everything lies under `target/sdk`: libraries, the package managers' caches, what is compiled. A file `installed`
//! beside them says what is there, so that a further run needs no network.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::tools::{Unready, compile, fetch, version};
use crate::{
    bench,
    server::{free_port, root},
};

/// A language whose client is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Language {
    /// CPython.
    Python,
    /// Node.js.
    Node,
    /// The JVM.
    Java,
    /// Go.
    Go,
    /// The JVM with Spring Cloud.
    #[value(skip)]
    Spring,
}

/// What a program drives its library through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Configuration.
    Config,
    /// Service discovery.
    Naming,
}

/// A library, pinned.
pub struct Client {
    /// Whose it is.
    pub language: Language,
    /// Its name in its registry.
    pub package: &'static str,
    /// The registry, by name.
    pub registry: &'static str,
    /// The one version that is run; the library must name it as its own.
    pub version: &'static str,
    /// What must be installed to install and run it.
    pub tools: &'static [&'static str],
}

/// The libraries that are run.
///
/// The Go version stands in `xtask/sdk/go/go.mod` as well, with what it depends on.
pub const CLIENTS: [Client; 4] = [
    Client {
        language: Language::Python,
        package: "nacos-sdk-python",
        registry: "PyPI",
        version: "0.1.16",
        tools: &["python3"],
    },
    Client { language: Language::Node, package: "nacos", registry: "npm", version: "2.6.3", tools: &["node", "npm"] },
    Client {
        language: Language::Java,
        package: "com.alibaba.nacos:nacos-client",
        registry: "Maven Central",
        version: "1.4.7",
        tools: &["java", "javac", "mvn"],
    },
    Client {
        language: Language::Go,
        package: "github.com/nacos-group/nacos-sdk-go",
        registry: "Go modules",
        version: "1.1.6",
        tools: &["go"],
    },
];

/// An application of Spring Cloud Alibaba, of the last line whose client speaks HTTP: it brings `nacos-client` 1.4.2.
pub const SPRING: Client = Client {
    language: Language::Spring,
    package: "com.alibaba.cloud:spring-cloud-starter-alibaba-nacos-discovery",
    registry: "Maven Central",
    version: "2.2.6.RELEASE",
    tools: &["java", "javac", "mvn"],
};

/// What that line of Spring Cloud Alibaba is made for.
const SPRING_BOOT: &str = "2.3.2.RELEASE";
const SPRING_CLOUD: &str = "Hoxton.SR9";

/// The Maven plugin that resolves the class path.
const CLASS_PATH_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:build-classpath";

/// A program that is ready to be started, in whatever folder.
pub struct Program {
    /// What to start.
    pub executable: PathBuf,
    /// What it is told before what all programs are told.
    pub arguments: Vec<OsString>,
    /// Variables that it needs.
    pub variables: Vec<(&'static str, OsString)>,
    /// The version that the library must call its own.
    pub version: &'static str,
}

/// `target/sdk`, absolute, since programs run in folders of their own.
pub fn folder() -> Result<PathBuf> {
    Ok(std::path::absolute(bench::target())?.join("sdk"))
}

impl Language {
    /// As it is printed and named on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Java => "java",
            Self::Go => "go",
            Self::Spring => "spring",
        }
    }
}

impl Area {
    /// As its programs are called.
    fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Naming => "naming",
        }
    }

    /// As its programs in Java are called.
    fn class(self) -> &'static str {
        match self {
            Self::Config => "Config",
            Self::Naming => "Naming",
        }
    }
}

impl Client {
    /// The program of ours that drives this library through an area, with the library installed.
    pub fn prepare(&self, area: Area) -> Result<Program, Unready> {
        for tool in self.tools {
            let argument = match *tool {
                "go" => "version",
                "java" | "javac" => "-version",
                _ => "--version",
            };
            version(tool, argument)?;
        }
        let home = folder()?.join(self.language.name());
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        match self.language {
            Language::Python => self.python(&home, area),
            Language::Node => self.node(&home, area),
            Language::Java => self.java(&home, area),
            Language::Go => self.go(&home, area),
            Language::Spring => self.spring(&home),
        }
    }

    fn python(&self, home: &Path, area: Area) -> Result<Program, Unready> {
        let venv = home.join("venv");
        let python = venv.join("bin/python");
        let log = home.join("install.log");
        // A virtual environment serves the interpreter it was made with alone.
        let wanted = format!("{}=={}, {}", self.package, self.version, version("python3", "--version")?);
        Installation::new(home).ensure(&wanted, || {
            remove(&venv)?;
            fetch(Command::new("python3").args(["-m", "venv"]).arg(&venv), &log)?;
            let pip = ["-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check"];
            let package = format!("{}=={}", self.package, self.version);
            fetch(Command::new(&python).args(pip).arg(package), &log)
        })?;
        Ok(Program {
            executable: python,
            arguments: vec![source(&format!("python/{}.py", area.name())).into()],
            // What is imported from beside it is not to be kept there compiled.
            variables: vec![("PYTHONDONTWRITEBYTECODE", "1".into())],
            version: self.version,
        })
    }

    fn node(&self, home: &Path, area: Area) -> Result<Program, Unready> {
        // Its own parts are named in it by a range: they are held at the same version.
        let versions = [self.package, "nacos-config", "nacos-naming"].map(|name| (name, self.version));
        let wanted = serde_json::json!({
            "private": true,
            "dependencies": versions.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        });
        let wanted = wanted.to_string();
        Installation::new(home).ensure(&wanted, || {
            remove(&home.join("node_modules"))?;
            write(&home.join("package.json"), &wanted)?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]);
            // Its own pauses between attempts would make a machine without the network wait for minutes.
            npm.args(["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]);
            npm.arg("--cache").arg(home.join("cache")).current_dir(home);
            fetch(&mut npm, &home.join("install.log"))
        })?;
        Ok(Program {
            executable: "node".into(),
            arguments: vec![source(&format!("node/{}.js", area.name())).into()],
            variables: vec![
                ("NODE_PATH", home.join("node_modules").into()),
                // It talks to itself over a port, 7777 if not told otherwise, which may be somebody else's.
                ("NODE_CLUSTER_CLIENT_PORT", free_port()?.to_string().into()),
            ],
            version: self.version,
        })
    }

    fn java(&self, home: &Path, area: Area) -> Result<Program, Unready> {
        let pom = format!("<dependencies>{}</dependencies>", dependency(self.package, self.version, ""));
        let class_path = class_path(home, &pom)?;
        let sources = ["java/Speech.java", &format!("java/{}.java", area.class())].map(source);
        self.jvm(home, &class_path, &sources, &[], &format!("sdk.{}", area.class()))
    }

    fn spring(&self, home: &Path) -> Result<Program, Unready> {
        let managed = [
            ("org.springframework.boot:spring-boot-dependencies", SPRING_BOOT),
            ("org.springframework.cloud:spring-cloud-dependencies", SPRING_CLOUD),
        ];
        let managed = managed.map(|(name, version)| dependency(name, version, "<type>pom</type><scope>import</scope>"));
        let pom = format!(
            "<dependencyManagement><dependencies>{}</dependencies></dependencyManagement>\
             <dependencies>{}{}</dependencies>",
            managed.concat(),
            dependency(self.package, self.version, ""),
            dependency("org.springframework.boot:spring-boot-starter-web", SPRING_BOOT, ""),
        );
        let class_path = class_path(home, &pom)?;
        let sources = ["java/Speech.java", "spring/Pair.java"].map(source);
        // It is older than the modules of the JVM.
        let opened = ["--add-opens", "java.base/java.lang=ALL-UNNAMED"];
        self.jvm(home, &class_path, &sources, &opened, "sdk.Pair")
    }

    /// Compiles a program for the JVM.
    fn jvm(
        &self,
        home: &Path,
        class_path: &str,
        sources: &[PathBuf],
        options: &[&str],
        class: &str,
    ) -> Result<Program, Unready> {
        let classes = home.join("classes");
        let mut javac = Command::new("javac");
        // Names of parameters are what Spring binds by.
        javac.args(["-encoding", "UTF-8", "--release", "11", "-parameters", "-cp", class_path, "-d"]);
        compile(javac.arg(&classes).args(sources), &home.join("compile.log"))?;
        let class_path = format!("{}:{class_path}", classes.display());
        let fixed = [
            "-Xmx128m",
            // A short life: the optimising compiler would take time from the others.
            "-XX:TieredStopAtLevel=1",
            "-Dfile.encoding=UTF-8",
            // It keeps copies, logs and settings where it is started, not in the user's folder.
            "-Duser.home=.",
            "-DJM.SNAPSHOT.PATH=.",
            "-DJM.LOG.PATH=logs",
            // Where it wants to be told of changes: what it finds by itself is the machine's address.
            "-Dcom.alibaba.nacos.client.naming.local.ip=127.0.0.1",
        ];
        let last = ["-cp", &class_path, class];
        let arguments = fixed.iter().chain(options).chain(&last).map(OsString::from);
        Ok(Program {
            executable: "java".into(),
            arguments: arguments.collect(),
            variables: Vec::new(),
            version: self.version,
        })
    }

    fn go(&self, home: &Path, area: Area) -> Result<Program, Unready> {
        let sources = source("go");
        let binary = home.join(area.name());
        let go = |arguments: &[&str]| {
            let mut go = Command::new("go");
            go.args(arguments).current_dir(&sources);
            go.env("GOMODCACHE", home.join("modules")).env("GOCACHE", home.join("cache"));
            // No other compiler than the one here, and modules that can be removed with the target folder.
            go.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-modcacherw").env("GOWORK", "off");
            go
        };
        let read = |name: &str| {
            let path = sources.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let wanted = format!("{}\n{}", read("go.mod")?, read("go.sum")?);
        Installation::new(home).ensure(&wanted, || fetch(&mut go(&["mod", "download"]), &home.join("install.log")))?;
        let mut build = go(&["build", "-buildvcs=false", "-o"]);
        compile(build.arg(&binary).arg(format!("./{}", area.name())), &home.join("compile.log"))?;
        Ok(Program { executable: binary, arguments: Vec::new(), variables: Vec::new(), version: self.version })
    }
}

/// The class path of what a project with these elements depends on, resolved by Maven into `home`.
fn class_path(home: &Path, elements: &str) -> Result<String, Unready> {
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion>\
         <groupId>sdk</groupId><artifactId>sdk</artifactId><version>1</version>{elements}</project>\n"
    );
    let class_path = home.join("class-path");
    // The class path holds absolute paths: a moved target folder is another installation.
    let wanted = format!("{}\n{pom}", home.display());
    Installation::new(home).ensure(&wanted, || {
        write(&home.join("pom.xml"), &pom)?;
        let mut mvn = Command::new("mvn");
        mvn.args(["--batch-mode", CLASS_PATH_GOAL]).current_dir(home);
        mvn.arg(format!("-Dmaven.repo.local={}", home.join("repository").display()));
        mvn.arg(format!("-Dmdep.outputFile={}", class_path.display()));
        fetch(&mut mvn, &home.join("install.log"))
    })?;
    Ok(fs::read_to_string(class_path).context("read the class path")?.trim().to_owned())
}

/// A dependency of a Maven project, its name with a colon.
fn dependency(name: &str, version: &str, more: &str) -> String {
    let (group, artifact) = name.split_once(':').unwrap_or((name, name));
    format!(
        "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
         <version>{version}</version>{more}</dependency>"
    )
}

/// The note of what is installed in a folder.
struct Installation {
    note: PathBuf,
}

impl Installation {
    fn new(home: &Path) -> Self {
        Self { note: home.join("installed") }
    }

    /// Installs unless `wanted` is what the note says. The note is taken away first, so that half an installation
    /// is none.
    fn ensure(&self, wanted: &str, install: impl FnOnce() -> Result<(), Unready>) -> Result<(), Unready> {
        if fs::read_to_string(&self.note).is_ok_and(|noted| noted == wanted) {
            return Ok(());
        }
        remove(&self.note)?;
        install()?;
        write(&self.note, wanted)?;
        Ok(())
    }
}

fn source(path: &str) -> PathBuf {
    root().join("xtask/sdk").join(path)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Removes a file or a folder with what is in it; none there is fine.
fn remove(path: &Path) -> Result<()> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_module_is_pinned_where_the_table_says() {
        let pinned = CLIENTS.iter().find(|client| client.language == Language::Go).unwrap();
        let module = fs::read_to_string(source("go/go.mod")).unwrap();
        let line = format!("require {} v{}\n", pinned.package, pinned.version);
        assert!(module.contains(&line), "go.mod lacks {line}");
    }

    #[test]
    fn what_was_not_installed_to_the_end_is_installed_again() {
        let home = tempfile::tempdir().unwrap();
        let installation = Installation::new(home.path());
        let runs = std::cell::Cell::new(0);
        let count = || runs.set(runs.get() + 1);
        let ok = || {
            count();
            Ok(())
        };
        assert!(installation.ensure("1", ok).is_ok());
        assert!(installation.ensure("1", ok).is_ok());
        assert_eq!(runs.get(), 1);
        let broken = installation.ensure("2", || Err(Unready::LeftOut("no network".into())));
        assert!(broken.is_err());
        assert!(installation.ensure("1", ok).is_ok());
        assert_eq!(runs.get(), 2);
    }
}
