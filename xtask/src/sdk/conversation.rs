//! One client program as a process, and the words it is spoken with.
//!
//! A program is started in a folder of its own with three arguments: the server's `host:port`, the round that it is to
//! do, and a seed that its ids and contents hold. It says, each on a line of its standard output:
//!
//! | it says | it hears on its standard input |
//! |---|---|
//! | `client VERSION`: the library's own version | |
//! | `step NAME ok [MILLISECONDS]`, `step NAME FAILED reason` | |
//! | `ask QUESTION`, one that the area's `questions` know | the answer, or why there is none |
//! | `restart-please` | `restarted` or `not-restarted` |
//! | `done`, and it ends with status 0 | |
//!
//! Every other line is the library's, and is kept with its standard error in `output.log`. A program whose standard
//! input ends must end.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    clients::Program,
    gate::{Comer, Restart},
    steps::{END, VERSION},
    tools::kill_group,
};

/// A program that says nothing for so long is ended. The longest it waits for anything is 36 s.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a program may take to end after its last word.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How one step went: its time in milliseconds if it has one, or why it failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// The step's name.
    pub step: String,
    /// How it went.
    pub result: Result<Option<u64>, String>,
}

/// Runs one program to its end and passes on what it reports, the version and the end as steps of their own.
///
/// Comes to the gate once, or leaves it.
///
/// # Errors
/// The program could not be started, broke the rules of speech, fell silent or ended badly. What it reported until
/// then was passed on.
pub fn converse(
    program: &Program,
    arguments: [&str; 3],
    folder: &Path,
    mut comer: Comer<'_>,
    answer: &dyn Fn(&[&str]) -> Result<String>,
    report: &dyn Fn(Report),
) -> Result<()> {
    let mut partner = Partner::start(program, arguments, folder)?;
    while let Some(line) = partner.next_line(SILENCE)? {
        match Said::parse(&line) {
            Ok(Said::Client(version)) => {
                report(Report { step: VERSION.to_owned(), result: at_pinned(&version, program) });
            }
            Ok(Said::Step(one)) => report(one),
            Ok(Said::Ask(question)) => {
                let answer = answer(&question).unwrap_or_else(|error| format!("{error:#}"));
                partner.say(&answer)?;
            }
            Ok(Said::RestartPlease) => partner.say(match comer.pass()? {
                Restart::Done => "restarted",
                Restart::None => "not-restarted",
            })?,
            Ok(Said::Done) => {
                partner.end()?;
                report(Report { step: END.to_owned(), result: Ok(None) });
                return Ok(());
            }
            Ok(Said::Else) => partner.keep(&line)?,
            Err(error) => return Err(error.context(format!("it said `{line}`"))),
        }
    }
    let status = partner.child.wait()?;
    bail!("ended with {status} before it was done");
}

fn at_pinned(version: &str, program: &Program) -> Result<Option<u64>, String> {
    match version == program.version {
        true => Ok(None),
        false => Err(format!("the library calls itself {version}, {} is wanted", program.version)),
    }
}

/// The process, spoken with by lines. Killed with all that it started when dropped.
pub struct Partner {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: File,
}

impl Partner {
    /// Starts a program in a folder, which is made if need be, with these arguments after its own.
    pub fn start(program: &Program, arguments: [&str; 3], folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join("output.log");
        let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let mut command = Command::new(&program.executable);
        command.args(&program.arguments);
        command.args(arguments);
        command.envs(program.variables.iter().map(|(name, value)| (name, value)));
        // The server is on loopback: no proxy stands in between.
        for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        let mut child = command
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .with_context(|| format!("start {}", program.executable.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Self { child, stdin, lines: lines(stdout), log })
    }

    /// The next line, or `None` when the program, and all that it started, has closed its output.
    pub fn next_line(&self, patience: Duration) -> Result<Option<String>> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("said nothing for {patience:?}"),
        }
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("no standard input")?;
        writeln!(stdin, "{line}").context("it does not listen")?;
        Ok(())
    }

    /// Keeps a line that was the library's.
    pub fn keep(&mut self, line: &str) -> Result<()> {
        writeln!(self.log, "{line}").context("write output.log")
    }

    /// After its last word: its input ends, and so must it.
    fn end(&mut self) -> Result<()> {
        self.stdin = None;
        while let Some(line) = self.next_line(END_WITHIN).context("it was done, but did not end")? {
            self.keep(&line)?;
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "it was done, but ended with {status}");
        Ok(())
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        // Not reaped yet, if it runs at all, so the number is still its own.
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_group(&mut self.child);
            let _ = self.child.wait();
        }
    }
}

/// The lines of a program's output, read by a thread that ends with it.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = sync_channel(64);
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while let Ok(1..) = stdout.read_until(b'\n', &mut line) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                break;
            }
            line.clear();
        }
    });
    receiver
}

/// A line of a program.
#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    Client(String),
    Step(Report),
    Ask(Vec<&'a str>),
    RestartPlease,
    Done,
    /// What a library printed on its own.
    Else,
}

impl<'a> Said<'a> {
    fn parse(line: &'a str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Ok(match words.as_slice() {
            ["client", version] => Self::Client((*version).to_owned()),
            ["step", step, "ok", took @ ..] => Self::Step(Report {
                step: (*step).to_owned(),
                result: Ok(match took {
                    [] => None,
                    [ms] => Some(ms.parse().context("a time in milliseconds")?),
                    _ => bail!("more than one time"),
                }),
            }),
            ["step", step, "FAILED", reason @ ..] => {
                Self::Step(Report { step: (*step).to_owned(), result: Err(reason.join(" ")) })
            }
            ["ask", question @ ..] if !question.is_empty() => Self::Ask(question.to_vec()),
            ["restart-please"] => Self::RestartPlease,
            ["done"] => Self::Done,
            ["step" | "ask", ..] => bail!("half a sentence"),
            _ => Self::Else,
        })
    }
}

/// A word that may be empty is said as `-`.
pub fn unless_dash(word: &str) -> String {
    if word == "-" { "" } else { word }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::gate::Gate, *};

    /// What a shell script that speaks as a client program reports, and how it ended, with a restart at the gate.
    fn spoken(script: &str) -> (Vec<Report>, Result<()>) {
        let program = Program {
            executable: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            variables: Vec::new(),
            version: "1.0",
        };
        let folder = tempfile::tempdir().unwrap();
        let gate = Gate::new(1);
        let reports = std::sync::Mutex::new(Vec::new());
        let report = |one| reports.lock().unwrap().push(one);
        let answer = |words: &[&str]| Ok(words.join("+"));
        let ended = thread::scope(|scope| {
            scope.spawn(|| {
                gate.await_all();
                gate.open(Restart::Done);
            });
            converse(&program, ["127.0.0.1:1", "ascii", "7"], folder.path(), gate.comer(), &answer, &report)
        });
        (reports.into_inner().unwrap(), ended)
    }

    #[test]
    fn a_program_is_told_of_the_restart_and_ends_by_itself() {
        let (reports, ended) =
            spoken("echo client 1.0; echo noise; echo restart-please; read news; echo step $news ok 5; echo done");
        ended.unwrap();
        let told: Vec<_> = reports.iter().map(|one| (one.step.as_str(), &one.result)).collect();
        let wanted = [(VERSION, &Ok(None)), ("restarted", &Ok(Some(5))), (END, &Ok(None))];
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_library_of_another_version_and_a_bad_end_are_seen() {
        let (reports, ended) = spoken("echo client 1.1; echo done; exit 3");
        assert!(reports[0].result.is_err());
        assert!(ended.is_err());
        let (reports, ended) = spoken("echo step publish ok; exit 0");
        assert_eq!(reports.len(), 1);
        assert!(ended.is_err());
    }

    #[test]
    fn a_step_is_read_with_its_time_or_its_reason() {
        let step = |step: &str, result| Said::Step(Report { step: step.to_owned(), result });
        assert_eq!(Said::parse("step read ok").unwrap(), step("read", Ok(None)));
        assert_eq!(Said::parse("step read ok 12 ").unwrap(), step("read", Ok(Some(12))));
        assert_eq!(Said::parse("step read FAILED not at all").unwrap(), step("read", Err("not at all".to_owned())));
        assert!(Said::parse("step read").is_err());
        assert!(Said::parse("step read ok soon").is_err());
    }

    #[test]
    fn a_question_is_answered_on_its_standard_input() {
        let (reports, ended) = spoken("echo ask colour - G; read answer; echo step $answer ok; echo done");
        ended.unwrap();
        assert_eq!(reports[0].step, "colour+-+G");
        assert!(Said::parse("ask").is_err());
    }

    #[test]
    fn what_a_library_prints_is_no_word_of_ours() {
        assert_eq!(Said::parse("warning: deprecated").unwrap(), Said::Else);
        assert_eq!(Said::parse("").unwrap(), Said::Else);
    }
}
