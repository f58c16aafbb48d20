//! Runs the built `switchboard` as a user would. Every wait has a bound; a program that does not end is killed.
#![allow(dead_code, clippy::panic, clippy::unwrap_used, clippy::expect_used)] // a harness; each file uses its part

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long any single wait may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines kept of a program that nobody reads.
const BACKLOG: usize = 65_536;

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The objects it printed.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}"))).collect()
    }

    /// The one object of an event.
    pub(crate) fn event(&self, name: &str) -> Value {
        let found: Vec<_> = self.json().into_iter().filter(|v| v["event"] == name).collect();
        assert_eq!(found.len(), 1, "{name} in {self:#?}");
        found.into_iter().next().unwrap()
    }
}

/// A running `switchboard`.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    stderr: Option<JoinHandle<String>>,
    seen: Vec<Value>,
}

fn command(args: &[&str], vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SWITCHBOARD_") {
            command.env_remove(name);
        }
    }
    command.args(args).envs(vars.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn reader(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = from.read_to_string(&mut text);
        text
    })
}

/// Waits for a program's end, for as long as `PATIENCE`.
fn ended(child: &mut Child, what: &str) -> i32 {
    for _ in 0..PATIENCE.as_millis() / 10 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let _ = child.kill();
    panic!("{what} did not end");
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    run_with(args, &[])
}

/// Runs a command with environment variables.
pub(crate) fn run_with(args: &[&str], vars: &[(&str, &str)]) -> Ended {
    let mut child = command(args, vars).spawn().unwrap();
    drop(child.stdin.take());
    let (stdout, stderr) = (reader(child.stdout.take().unwrap()), reader(child.stderr.take().unwrap()));
    let code = ended(&mut child, &format!("{args:?}"));
    Ended { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Runs a command that must succeed.
pub(crate) fn must(args: &[&str]) -> Ended {
    let ended = run(args);
    assert_eq!(ended.code, 0, "{args:?}: {ended:#?}");
    ended
}

/// The line a bad use must give: code 2, one line, which names `what`.
pub(crate) fn bad(args: &[&str], what: &str) -> String {
    bad_with(args, &[], what)
}

/// The same with environment variables.
pub(crate) fn bad_with(args: &[&str], vars: &[(&str, &str)], what: &str) -> String {
    failed(&run_with(args, vars), args, 2, what)
}

/// A failed command's one line.
pub(crate) fn failed(ended: &Ended, args: &[&str], code: i32, what: &str) -> String {
    assert_eq!(ended.code, code, "{args:?}: {ended:#?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {ended:#?}");
    assert!(ended.stderr.contains(what), "{args:?} does not say {what:?}: {}", ended.stderr);
    ended.stderr.clone()
}

impl Program {
    /// Starts a command that prints JSON.
    pub(crate) fn start(args: &[&str], vars: &[(&str, &str)]) -> Self {
        let mut child = command(args, vars).spawn().unwrap();
        let (tx, lines) = sync_channel(BACKLOG);
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if tx.send(value).is_err() {
                    return;
                }
            }
        });
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take().map(reader));
        Self { child, stdin, lines, stderr, seen: Vec::new() }
    }

    /// Starts a node and waits until it is ready; its first line.
    pub(crate) fn node(args: &[&str]) -> (Self, Value) {
        let mut all = vec!["node", "--json", "--stdin-stop"];
        all.extend(args);
        let mut node = Self::start(&all, &[]);
        let first = node.next("its first line");
        assert_eq!(first["event"], "ready", "{first:#}");
        (node, first)
    }

    fn next(&mut self, what: &str) -> Value {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(value) => {
                self.seen.push(value.clone());
                value
            }
            Err(_) => panic!("no {what}; it said {:#?}", self.seen),
        }
    }

    /// The next line as it stands, of a command that was not asked for JSON.
    pub(crate) fn line(&mut self) -> String {
        match self.next("next line") {
            Value::String(line) => line,
            other => panic!("{other:#}"),
        }
    }

    /// The next line of this event.
    pub(crate) fn wait(&mut self, event: &str) -> Value {
        loop {
            let value = self.next(event);
            if value["event"] == event {
                return value;
            }
        }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Closes its standard input.
    pub(crate) fn close_stdin(&mut self) {
        drop(self.stdin.take());
    }

    /// Closes its standard input and waits for its end.
    pub(crate) fn stop(&mut self) -> i32 {
        self.close_stdin();
        self.exit()
    }

    /// Kills it, as a crash would; what it had printed that nobody read.
    pub(crate) fn kill(&mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub(crate) fn exit(&mut self) -> i32 {
        let code = ended(&mut self.child, "the program");
        while let Ok(value) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(value);
        }
        code
    }

    /// What it logged. It must have ended.
    pub(crate) fn log(&mut self) -> String {
        self.stderr.take().map(|reader| reader.join().unwrap()).unwrap_or_default()
    }

    /// Everything it printed so far.
    pub(crate) fn seen(&self) -> &[Value] {
        &self.seen
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The URL a ready node gives for a wire.
pub(crate) fn url(ready: &Value, wire: &str) -> String {
    let field = |key: &str| ready[wire][key].as_str().unwrap_or_else(|| panic!("{ready:#}")).to_owned();
    match wire {
        "devp2p" => field("enode"),
        "comet" => format!("comet://{}", field("address")),
        _ => format!("fabric://{}", field("endpoint")),
    }
}

/// Bytes that neither repeat nor compress.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// Looks until it is so. The limit is for a crowded machine.
pub(crate) fn until(what: &str, mut look: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(120);
    while !look() {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
