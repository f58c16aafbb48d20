//! Drives programs that print one JSON object a line: our `switchboard` and the Go peers.
//!
//! The tests live in `tests/`; they are ignored unless `interop/run.sh` runs them, as they need the Go
//! peers to be built. Every wait has a bound; a program is ended by closing its standard input, and
//! killed (by its own id) only when it does not go.

#![allow(clippy::panic)] // a harness of tests: a failed expectation is a panic

pub mod fabric;

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

/// How long any single wait may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Lines kept of a program that nobody reads.
const BACKLOG: usize = 65_536;

/// The sizes every wire must echo.
pub const ECHO_SIZES: [usize; 7] = [0, 1, 1023, 1024, 1025, 65_536, 1_000_000];

/// Where the programs are: ours, a Go peer by its name, or any other by its absolute path.
///
/// # Panics
/// When `interop/run.sh` did not say.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let (var, file) = match name {
        "switchboard" => ("SWITCHBOARD_BIN", None),
        go => ("SWITCHBOARD_GO_BIN", Some(go)),
    };
    let base = PathBuf::from(
        std::env::var_os(var).unwrap_or_else(|| panic!("{var} is not set: use interop/run.sh")),
    );
    file.map_or(base.clone(), |file| base.join(file))
}

/// A running program and what it printed.
pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    reader: Option<JoinHandle<()>>,
    /// Everything read so far, for messages of failed tests.
    pub seen: Vec<Value>,
}

impl Program {
    /// Starts a program with arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program(name));
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let stdout = child.stdout.take().unwrap_or_else(|| panic!("{name} has no standard output"));
        let (tx, lines) = sync_channel(BACKLOG);
        let label = name.to_owned();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(value) => {
                        if tx.send(value).is_err() {
                            return;
                        }
                    }
                    Err(_) => eprintln!("{label}: not JSON: {line}"),
                }
            }
        });
        let stdin = child.stdin.take();
        Self { name: name.to_owned(), child, stdin, lines, reader: Some(reader), seen: Vec::new() }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next line with this `event`, passing over others.
    ///
    /// # Panics
    /// When it does not come in time, with everything the program said.
    pub fn wait(&mut self, event: &str) -> Value {
        self.wait_where(event, |v| v["event"] == event)
    }

    /// Waits for the next line that satisfies `wanted`.
    ///
    /// # Panics
    /// When it does not come in time, with everything the program said.
    pub fn wait_where(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.try_wait(PATIENCE, wanted).unwrap_or_else(|| {
            panic!("{}: no {what} within {PATIENCE:?}; it said {:#?}", self.name, self.seen)
        })
    }

    /// Waits up to `limit` for a line that satisfies `wanted`.
    pub fn try_wait(&mut self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        // As counted by the system's clock: a program that keeps talking does not prolong the wait.
        let elapsed = || UNIX_EPOCH.elapsed().unwrap_or_default();
        let end = elapsed() + limit;
        loop {
            match self.lines.recv_timeout(end.saturating_sub(elapsed())) {
                Ok(value) => {
                    self.seen.push(value.clone());
                    if wanted(&value) {
                        return Some(value);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Closes its standard input, and leaves its lines to be read.
    pub fn close_stdin(&mut self) {
        drop(self.stdin.take());
    }

    /// Kills it, as a crash would.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn kill(mut self) {
        self.child.kill().unwrap_or_else(|e| panic!("cannot kill {}: {e}", self.name));
        let _ = self.child.wait();
    }

    /// Closes its standard input and waits for its end; gives the exit code.
    ///
    /// # Panics
    /// When it has to be killed.
    pub fn stop(mut self) -> i32 {
        drop(self.stdin.take());
        self.exit_code()
    }

    /// Stops it in the middle of whatever it does: its sockets stay open, and nobody answers on them.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn hold(&self) {
        let id = self.child.id().to_string();
        let held = Command::new("kill").args(["-STOP", &id]).status();
        assert!(held.is_ok_and(|status| status.success()), "{} cannot be held", self.name);
    }

    /// Waits for its end; gives the exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn exit_code(&mut self) -> i32 {
        for _ in 0..PATIENCE.as_millis() / 20 {
            if let Ok(Some(status)) = self.child.try_wait() {
                if let Some(reader) = self.reader.take() {
                    let _ = reader.join();
                }
                self.seen.extend(self.lines.try_iter());
                return status.code().unwrap_or(-1);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        panic!("{} did not end; it said {:#?}", self.name, self.seen);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end; gives its lines and exit code.
#[must_use]
pub fn run(name: &str, args: &[&str]) -> (Vec<Value>, i32) {
    let mut program = Program::start(name, args);
    let code = program.exit_code();
    (std::mem::take(&mut program.seen), code)
}

/// Runs a program that must succeed.
///
/// # Panics
/// When it does not exit with 0.
#[must_use]
pub fn must(name: &str, args: &[&str]) -> Vec<Value> {
    let (lines, code) = run(name, args);
    assert_eq!(code, 0, "{name} {args:?} ended with {code}: {lines:#?}");
    lines
}

/// The line of an event among lines.
///
/// # Panics
/// When there is none.
pub fn line<'a>(lines: &'a [Value], event: &str) -> &'a Value {
    lines.iter().find(|v| v["event"] == event).unwrap_or_else(|| panic!("no {event} in {lines:#?}"))
}

/// Text of a JSON field.
///
/// # Panics
/// When the field is not text.
#[must_use]
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    let found = path.split('.').fold(value, |v, key| &v[key]);
    found.as_str().unwrap_or_else(|| panic!("{path} is not text in {value:#}"))
}

/// A whole number of a JSON field.
///
/// # Panics
/// When the field is not one.
#[must_use]
pub fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is not a whole number in {value:#}"))
}
