//! The node under attack: a child process, its lines, its end.
//!
//! ```text
//!   [taskset -c 0] [unshare -m sh -c 'mount -t tmpfs …; exec "$@"'] switchboard node --json …
//!   standard output: read, and its events kept; or only the ready line is read and nothing after it
//! ```
//! Each of the programs before it replaces itself by the next, so the process id is the node's.
//!
//! Limits: [`KEPT`] events are kept. A node that is not ready within the caller's time is killed; so is one that is dropped.

use crate::world::{ORG, World};
use anyhow::{Context, bail};
use parking_lot::Mutex;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use switchboard::Candidate;
use switchboard_node::wires::Kits;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// Events kept of a node.
const KEPT: usize = 200_000;
/// How long a ready line may get.
const MAX_LINE: usize = 64 * 1024;

/// How a node is started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// Its data folder.
    pub(crate) data: PathBuf,
    /// Further flags.
    pub(crate) flags: Vec<String>,
    /// Where it listens.
    pub(crate) listen: String,
    /// Whether anybody reads what it prints.
    pub(crate) read: bool,
    /// Whether it has one CPU.
    pub(crate) one_cpu: bool,
    /// The data folder is a file system of its own with so many bytes, of which so many are taken.
    pub(crate) disk: Option<(u64, u64)>,
}

impl Launch {
    /// A node in a new folder.
    pub(crate) fn new(world: &World) -> anyhow::Result<Self> {
        Ok(Self {
            data: world.folder("node")?,
            flags: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            read: true,
            one_cpu: world.one_cpu,
            disk: None,
        })
    }

    /// With a flag and its value.
    pub(crate) fn flag(mut self, name: &str, value: impl Into<String>) -> Self {
        self.flags.extend([name.to_owned(), value.into()]);
        self
    }

    fn command(&self, world: &World) -> Command {
        let mut words: Vec<String> = Vec::new();
        let mut say = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
        if self.one_cpu {
            say(&["taskset", "-c", "0"]);
        }
        let data = self.data.display().to_string();
        if let Some((size, taken)) = self.disk {
            let script = format!(
                "mount -t tmpfs -o size={size} tmpfs '{data}' && head -c {taken} /dev/zero > '{data}/taken'; exec \"$@\""
            );
            say(&["unshare", "-m", "sh", "-c", &script, "sh"]);
        }
        let fabric = format!("fabric={}", world.node_peer().display());
        say(&[&world.binary.display().to_string(), "node", "--json", "--listen", &self.listen]);
        say(&["--data", &data, "--key-file", &fabric, "--org", ORG, "--protocol", "bench,cast"]);
        words.extend(self.flags.iter().cloned());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SWITCHBOARD_") {
                command.env_remove(name);
            }
        }
        command.kill_on_drop(true);
        command
    }
}

/// What a node said.
#[derive(Default)]
struct Said {
    events: Vec<Value>,
    stderr: Vec<String>,
}

/// A running node.
pub(crate) struct Node {
    child: Child,
    pid: u32,
    said: Arc<(Mutex<Said>, Notify)>,
    /// Standard output that nobody reads.
    _unread: Option<(ChildStdout, tokio::process::ChildStderr)>,
    ready: Value,
    /// From the start of the process to its ready line.
    pub(crate) ready_after: Duration,
}

/// How a node ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) after: Duration,
    /// Its exit code; none when it was killed.
    pub(crate) code: Option<i32>,
}

/// A node that did not become ready.
#[derive(Debug)]
pub(crate) struct NotReady {
    pub(crate) why: String,
    /// How it ended: by itself, or after SIGTERM.
    pub(crate) ended: Ended,
}

async fn first_line(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < MAX_LINE && from.read(&mut byte).await? == 1 && byte != *b"\n" {
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

impl Node {
    /// Starts a node that must become ready.
    pub(crate) async fn start(world: &World, launch: &Launch) -> anyhow::Result<Self> {
        match Self::try_start(world, launch, Duration::from_secs(60)).await? {
            Ok(node) => Ok(node),
            Err(not) => bail!("the node did not start ({:?}): {}", not.ended, not.why),
        }
    }

    /// Starts a node; one that is not ready in time gets SIGTERM.
    pub(crate) async fn try_start(
        world: &World,
        launch: &Launch,
        within: Duration,
    ) -> anyhow::Result<Result<Self, NotReady>> {
        let began = Instant::now();
        let mut child = launch.command(world).spawn().context("cannot start the node")?;
        let pid = child.id().context("the node has no process id")?;
        let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("the node has no output");
        };
        let line = timeout(within, first_line(&mut stdout)).await;
        let late = line.is_err();
        let line = line.unwrap_or_else(|_| Ok(String::new()))?;
        let ready = serde_json::from_str::<Value>(&line).unwrap_or_default();
        if ready["event"] != "ready" {
            let ended = stop(&mut child, late).await?;
            let mut why = String::new();
            let _ = timeout(Duration::from_secs(1), stderr.read_to_string(&mut why)).await;
            let why = match why.lines().find(|line| line.starts_with("switchboard:")) {
                _ if late => format!("not ready within {within:?}"),
                Some(said) => said.to_owned(),
                None => format!("{line} {why}"),
            };
            return Ok(Err(NotReady { why, ended }));
        }
        let ready_after = began.elapsed();
        let said = Arc::new((Mutex::new(Said::default()), Notify::new()));
        let unread = if launch.read {
            let (for_out, for_err) = (Arc::clone(&said), Arc::clone(&said));
            tokio::spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let Ok(value) = serde_json::from_str(&line) else { continue };
                    let mut said = for_out.0.lock();
                    if said.events.len() < KEPT {
                        said.events.push(value);
                    }
                    drop(said);
                    for_out.1.notify_waiters();
                }
            });
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let mut said = for_err.0.lock();
                    if said.stderr.len() < KEPT {
                        said.stderr.push(line);
                    }
                }
            });
            None
        } else {
            Some((stdout, stderr))
        };
        Ok(Ok(Self { child, pid, said, _unread: unread, ready, ready_after }))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> anyhow::Result<SocketAddr> {
        let addr = self.ready["listening"][0]["address"].as_str().context("the node does not listen")?;
        Ok(addr.parse()?)
    }

    /// Its address on a wire, as a peer dials it; by way of `via` where given.
    pub(crate) fn candidate(&self, wire: &str, via: Option<SocketAddr>) -> anyhow::Result<Candidate> {
        let field = |key: &str| {
            let text = self.ready[wire][key].as_str();
            text.map(str::to_owned).with_context(|| format!("no {wire} in {}", self.ready))
        };
        let url = match wire {
            "devp2p" => field("enode")?,
            "comet" => format!("comet://{}", field("address")?),
            _ => format!("fabric://{}", field("endpoint")?),
        };
        let (_, mut candidate) = Kits::builtin().parse(&url)?;
        if let Some(via) = via {
            candidate.port = via.port();
        }
        Ok(candidate)
    }

    /// How many events satisfy `wanted`.
    pub(crate) fn count(&self, wanted: impl Fn(&Value) -> bool) -> usize {
        self.said.0.lock().events.iter().filter(|event| wanted(event)).count()
    }

    /// Waits for an event, also one of the past.
    pub(crate) async fn wait(&self, within: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let deadline = Instant::now() + within;
        loop {
            let heard = self.said.1.notified();
            tokio::pin!(heard);
            // Counts from here on, so that nothing said while we look is missed.
            heard.as_mut().enable();
            if let Some(found) = self.said.0.lock().events.iter().find(|event| wanted(event)) {
                return Some(found.clone());
            }
            timeout_at(deadline, heard).await.ok()?;
        }
    }

    /// The first line that tells of a panic.
    pub(crate) fn panicked(&self) -> Option<String> {
        self.said.0.lock().stderr.iter().find(|line| line.contains("panicked")).cloned()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGTERM and waits for its end; after [`STOP_LIMIT`] it is killed.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<Ended> {
        stop(&mut self.child, true).await
    }

    /// Kills it.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot kill the node")
    }
}

/// How long a node may take to end before it is killed.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(20);

async fn stop(child: &mut Child, ask: bool) -> anyhow::Result<Ended> {
    let began = Instant::now();
    if let Some(pid) = child.id().filter(|_| ask) {
        Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status().await?;
    }
    match timeout(STOP_LIMIT, child.wait()).await {
        Ok(status) => Ok(Ended { after: began.elapsed(), code: status?.code() }),
        Err(_) => {
            child.kill().await?;
            Ok(Ended { after: began.elapsed(), code: None })
        }
    }
}
