//! The only way Reeve runs a program: an argument vector, never a shell; a deadline, always; the C locale.
//!
//! Standard output is captured up to a bound, standard error up to another; what a program said when it failed is
//! part of the error. A program that outlives its deadline is killed with its whole process group.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const OUTPUT_LIMIT: usize = 256 << 20;
const ERROR_LIMIT: usize = 1 << 20;

/// Where a program is found: on the PATH, or where administrators' programs are.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A program to run with its arguments.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    input: Input,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    deadline: Duration,
    ok: Vec<i32>,
}

/// What a program reads on its standard input.
#[derive(Debug, Clone, Default)]
enum Input {
    #[default]
    Nothing,
    Bytes(Vec<u8>),
    File(std::sync::Arc<std::fs::File>),
}

/// What a program printed, and how it ended.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The exit status.
    pub status: i32,
}

impl Output {
    /// Standard output as text, bad UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The program is not installed.
    #[error("{program} is not installed or not on the PATH")]
    Missing {
        /// The program's name.
        program: String,
    },
    /// It could not be started or talked to.
    #[error("cannot run {command}: {source}")]
    Start {
        /// The command line, for people.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended with a status that means failure.
    #[error("{command} failed with status {status}: {stderr}")]
    Failed {
        /// The command line, for people.
        command: String,
        /// The exit status; 128 and the signal's number when a signal ended it.
        status: i32,
        /// The last lines of what it said.
        stderr: String,
    },
    /// It took too long and was killed.
    #[error("{command} did not finish within {seconds} s and was killed")]
    Deadline {
        /// The command line, for people.
        command: String,
        /// The deadline.
        seconds: u64,
    },
}

impl ExecError {
    /// The exit status, when the program ran to its end.
    pub fn status(&self) -> Option<i32> {
        if let Self::Failed { status, .. } = self { Some(*status) } else { None }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Deadline { .. })
    }
}

impl Command {
    /// A call of `program` with a deadline of one minute.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            input: Input::Nothing,
            env: Vec::new(),
            dir: None,
            deadline: Duration::from_secs(60),
            ok: vec![0],
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Gives the program these bytes on standard input; secrets go here, never into arguments.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Gives the program this open file on standard input, so that it needs no right to open it.
    #[must_use]
    pub fn input_file(mut self, file: std::fs::File) -> Self {
        self.input = Input::File(std::sync::Arc::new(file));
        self
    }

    /// Sets a variable of the program's environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs in this directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Kills the program after this long.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Takes these exit statuses for success, not only 0.
    #[must_use]
    pub fn ok(mut self, statuses: &[i32]) -> Self {
        self.ok = statuses.to_vec();
        self
    }

    /// The command line for people: quoted where a shell would need it.
    pub fn line(&self) -> String {
        let quote = |text: &OsString| {
            let text = text.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
            if !text.is_empty() && text.chars().all(plain) { text.into_owned() } else { format!("{text:?}") }
        };
        std::iter::once(&self.program).chain(&self.args).map(quote).collect::<Vec<_>>().join(" ")
    }

    /// Runs the program to its end.
    pub async fn run(self) -> Result<Output, ExecError> {
        self.run_watched(&|_| {}).await
    }

    /// Runs the program to its end, and hands out what it prints while it prints it.
    pub async fn run_watched(self, watch: Watch<'_>) -> Result<Output, ExecError> {
        let line = self.line();
        let start = |source| ExecError::Start { command: line.clone(), source };
        tracing::debug!(command = %line, "run");
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).env("LC_ALL", "C.UTF-8").envs(self.env).kill_on_drop(true).process_group(0);
        command.stdin(match &self.input {
            Input::Nothing => Stdio::null(),
            Input::Bytes(_) => Stdio::piped(),
            Input::File(file) => file.try_clone().map_err(start)?.into(),
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let mut child = command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ExecError::Missing { program: self.program.to_string_lossy().into_owned() },
            _ => start(source),
        })?;
        let group = child.id();
        let work = async {
            let (stdin, input) = (child.stdin.take(), self.input);
            let feed = async {
                if let (Some(mut pipe), Input::Bytes(input)) = (stdin, input) {
                    // A program may stop reading early; how it ended tells whether that was right.
                    let _ = pipe.write_all(&input).await;
                }
            };
            let (out, err) = (child.stdout.take(), child.stderr.take());
            let ((), stdout, stderr) =
                tokio::join!(feed, read(out, OUTPUT_LIMIT, watch), read(err, ERROR_LIMIT, &|_| {}));
            let status = child.wait().await?;
            std::io::Result::Ok((stdout?, stderr?, status))
        };
        let Ok(done) = tokio::time::timeout(self.deadline, work).await else {
            kill_group(group);
            return Err(ExecError::Deadline { command: line, seconds: self.deadline.as_secs() });
        };
        let (stdout, stderr, status) = done.map_err(start)?;
        let status = code(status);
        if self.ok.contains(&status) {
            return Ok(Output { stdout, stderr, status });
        }
        Err(ExecError::Failed { command: line, status, stderr: tail(&stderr) })
    }
}

/// A program that runs while this is kept: it ends when its standard input is closed, so also when Reeve is killed.
#[derive(Debug)]
pub struct Held {
    id: u32,
    line: String,
    child: tokio::process::Child,
    input: Option<tokio::process::ChildStdin>,
}

impl Command {
    /// Starts a program that echoes its standard input, such as `cat`, and waits until it does.
    pub async fn hold(self) -> Result<Held, ExecError> {
        let line = self.line();
        let start = |source| ExecError::Start { command: line.clone(), source };
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).env("LC_ALL", "C.UTF-8").envs(self.env).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ExecError::Missing { program: self.program.to_string_lossy().into_owned() },
            _ => start(source),
        })?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let echo = async {
            let (Some(mut input), Some(mut output)) = (input, output) else { return Ok(None) };
            // A program that ended already is found by the empty answer.
            let _ = input.write_all(b"\n").await;
            let answered = output.read(&mut [0]).await? == 1;
            std::io::Result::Ok(answered.then_some(input))
        };
        let Ok(echoed) = tokio::time::timeout(self.deadline, echo).await else {
            return Err(ExecError::Deadline { command: line, seconds: self.deadline.as_secs() });
        };
        let input = echoed.map_err(start)?;
        if let (Some(id), Some(_)) = (child.id(), &input) {
            return Ok(Held { id, line, child, input });
        }
        let stderr = read(errors, ERROR_LIMIT, &|_| {}).await.unwrap_or_default();
        let status = child.wait().await.map_or(0, code);
        Err(ExecError::Failed { command: line, status, stderr: tail(&stderr) })
    }
}

impl Held {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Lets it end, and waits until it has.
    pub async fn end(mut self) -> Result<(), ExecError> {
        drop(self.input.take());
        let wait = tokio::time::timeout(Duration::from_secs(10), self.child.wait());
        match wait.await {
            Ok(_) => Ok(()),
            Err(_) => Err(ExecError::Deadline { command: self.line.clone(), seconds: 10 }),
        }
    }
}

/// Called with each piece of a program's standard output.
pub type Watch<'a> = &'a (dyn Fn(&[u8]) + Send + Sync);

async fn read(
    pipe: Option<impl tokio::io::AsyncRead + Unpin>,
    limit: usize,
    watch: Watch<'_>,
) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut piece = vec![0; 8 << 10];
        loop {
            let length = pipe.read(&mut piece).await?;
            if length == 0 {
                break;
            }
            watch(&piece[..length]);
            let room = limit.saturating_sub(bytes.len());
            bytes.extend_from_slice(&piece[..length.min(room)]);
        }
    }
    Ok(bytes)
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn kill_group(id: Option<u32>) {
    if let Some(pid) = id.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
        // The group may be gone already, which is what is wanted.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(6)..].join("; ");
    if last.is_empty() { "it printed nothing".into() } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_gets_its_arguments_and_input_verbatim() {
        let out = Command::new("cat").arg("-").input("a $HOME `b`\n").run().await.unwrap();
        assert_eq!(out.text(), "a $HOME `b`\n");
    }

    #[tokio::test]
    async fn output_is_seen_while_it_comes() {
        let seen = std::sync::Mutex::new(Vec::new());
        let note = |piece: &[u8]| seen.lock().unwrap().extend_from_slice(piece);
        let out = Command::new("seq").arg("5000").run_watched(&note).await.unwrap();
        assert_eq!(out.stdout, *seen.lock().unwrap());
        assert!(out.text().ends_with("5000\n"));
    }

    #[tokio::test]
    async fn failures_say_what_was_run_and_what_was_said() {
        let error = Command::new("ls").arg("/no such").run().await.unwrap_err();
        assert_eq!(error.status(), Some(2));
        assert!(error.to_string().contains("ls \"/no such\" failed with status 2: ls: cannot access"), "{error}");
        let error = Command::new("no-such-program").run().await.unwrap_err();
        assert_eq!(error.to_string(), "no-such-program is not installed or not on the PATH");
    }

    #[tokio::test]
    async fn a_deadline_is_kept() {
        let error = Command::new("sleep").arg("30").deadline(Duration::from_millis(50)).run().await.unwrap_err();
        assert!(matches!(error, ExecError::Deadline { .. }), "{error}");
    }
}
