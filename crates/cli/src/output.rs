//! The one place that prints: text for people, or JSON objects one a line.
//!
//! ```text
//!   event ─▶ queue (bounded) ─▶ a thread of its own ─▶ standard output
//!   log   ─▶ queue (bounded) ─▶ a thread of its own ─▶ standard error
//! ```
//! No thread of the runtime ever writes: a terminal that nobody reads stops only the thread that writes to it.
//!
//! Limits: [`QUEUE`] lines wait. When they are all taken, a job waits for its reader; a node that runs until it is told to stop
//! ([`never_wait`]) drops the line, counts it, and says how many were dropped once there is room. At the end
//! what waits is written for up to [`LAST_LINES`] by such a node, to its end by a job.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use crate::fail::Fail;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};
use switchboard_admin::time::rfc3339;
use tokio::sync::oneshot;

/// Lines that may wait for their reader.
const QUEUE: usize = 4_096;
/// Bytes of lines that are written together.
const TOGETHER: usize = 16 * 1024;
/// How long lines are gathered after one was written.
const GATHER: Duration = Duration::from_millis(5);
/// How long a node that stops waits for its last lines to be read, those of both streams together.
pub(crate) const LAST_LINES: Duration = Duration::from_millis(500);

/// The first result that could not be written.
static LOST: OnceLock<std::io::Error> = OnceLock::new();
/// Whether lines are dropped rather than waited for.
static NEVER_WAIT: AtomicBool = AtomicBool::new(false);

static RESULTS: LazyLock<Lines> = LazyLock::new(|| Lines::new(Stream::Results));
static LOGS: LazyLock<Lines> = LazyLock::new(|| Lines::new(Stream::Log));

/// Why a result was lost, if one was. A reader that went away wanted no more: that is no reason to fail.
pub(crate) fn lost() -> Option<&'static std::io::Error> {
    LOST.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// From now on a line that finds no room is dropped and counted.
pub(crate) fn never_wait() {
    NEVER_WAIT.store(true, Ordering::Relaxed);
}

/// Lines dropped for want of room, or of a reader.
pub(crate) fn dropped() -> u64 {
    RESULTS.dropped_in_all.load(Ordering::Relaxed)
}

/// Resolves when whoever read standard output is gone, as after `| head -1`. Never for a file or a terminal.
pub(crate) async fn reader_gone() {
    let (end, ended) = oneshot::channel();
    // A thread of its own that sleeps in the kernel: a file that cannot be polled is none for the runtime's own poller.
    std::thread::spawn(move || {
        let stdout = std::io::stdout();
        let gone = PollFlags::ERR | PollFlags::HUP;
        loop {
            let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut watched, None) {
                Ok(_) if watched.iter().any(|fd| fd.revents().intersects(gone)) => {
                    let _ = end.send(());
                    break;
                }
                Err(Errno::INTR) => {}
                // It is nothing that has an end.
                Ok(_) | Err(_) => break,
            }
        }
    });
    if ended.await.is_err() {
        std::future::pending().await
    }
}

/// Writes what waits.
pub(crate) fn finish() {
    // Both are told first, so that a reader of one that stalls costs the other nothing.
    let marks = [RESULTS.mark(), LOGS.mark()];
    #[allow(clippy::disallowed_methods)] // no runtime is left here whose clock could be asked
    let until = Instant::now() + LAST_LINES;
    for done in marks.into_iter().flatten() {
        if NEVER_WAIT.load(Ordering::Relaxed) {
            #[allow(clippy::disallowed_methods)]
            let left = until.saturating_duration_since(Instant::now());
            let _ = done.recv_timeout(left);
        } else {
            let _ = done.recv();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Results,
    Log,
}

enum Item {
    Line(Vec<u8>),
    /// All lines before this one are written: tell whoever waits.
    Mark(SyncSender<()>),
}

/// A stream with its queue and its thread.
struct Lines {
    queue: SyncSender<Item>,
    /// Dropped since the last line that went through.
    dropped: AtomicU64,
    dropped_in_all: AtomicU64,
}

impl Lines {
    fn new(stream: Stream) -> Self {
        let (queue, lines) = sync_channel(QUEUE);
        std::thread::spawn(move || write_lines(stream, &lines));
        Self { queue, dropped: AtomicU64::new(0), dropped_in_all: AtomicU64::new(0) }
    }

    /// Queues a line; `missed` makes the line that tells how many were dropped before it.
    fn line(&self, line: Vec<u8>, missed: impl FnOnce(u64) -> Vec<u8>) {
        if !NEVER_WAIT.load(Ordering::Relaxed) {
            let _ = self.queue.send(Item::Line(line));
            return;
        }
        let gone = self.dropped.load(Ordering::Relaxed);
        let line = if gone == 0 { line } else { [missed(gone), line].concat() };
        match self.queue.try_send(Item::Line(line)) {
            Ok(()) => drop(self.dropped.fetch_sub(gone, Ordering::Relaxed)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                self.dropped_in_all.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Resolves once all lines before it are written; none where the queue is full or gone.
    fn mark(&self) -> Option<Receiver<()>> {
        let (told, done) = sync_channel(1);
        let queued = if NEVER_WAIT.load(Ordering::Relaxed) {
            self.queue.try_send(Item::Mark(told)).is_ok()
        } else {
            self.queue.send(Item::Mark(told)).is_ok()
        };
        queued.then_some(done)
    }
}

/// Writes a line at once, and those that come soon after it together: a node with many peers wakes this thread less often.
fn write_lines(stream: Stream, lines: &Receiver<Item>) {
    let mut together = Vec::new();
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Line(line) => together.extend_from_slice(&line),
                Item::Mark(told) => {
                    write(stream, &mut together);
                    let _ = told.send(());
                }
            }
            if together.len() >= TOGETHER {
                write(stream, &mut together);
            }
            next = lines.try_recv().ok();
        }
        write(stream, &mut together);
        std::thread::sleep(GATHER);
    }
}

fn write(stream: Stream, lines: &mut Vec<u8>) {
    if lines.is_empty() {
        return;
    }
    let written = match stream {
        Stream::Results => {
            let mut out = std::io::stdout().lock();
            out.write_all(lines).and_then(|()| out.flush())
        }
        Stream::Log => std::io::stderr().lock().write_all(lines),
    };
    if let (Err(error), Stream::Results) = (written, stream) {
        let _ = LOST.set(error);
    }
    lines.clear();
}

/// Where log lines go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        LOGS.line(line.to_vec(), |gone| format!("{gone} log lines were dropped: nobody read them\n").into());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// What the clock shows.
#[allow(clippy::disallowed_methods)] // the place where a program's output meets the system's clock
fn now() -> String {
    rfc3339(std::time::SystemTime::now())
}

/// An event with its time, where it has none.
struct Stamped<'a>(&'a Value);

impl Serialize for Stamped<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let Some(fields) = self.0.as_object().filter(|fields| !fields.contains_key(TIME)) else {
            return self.0.serialize(out);
        };
        let mut time = Some(now());
        let mut map = out.serialize_map(Some(fields.len() + 1))?;
        // In its place among the others, which are in order.
        for (name, value) in fields {
            if name.as_str() > TIME
                && let Some(time) = time.take()
            {
                map.serialize_entry(TIME, &time)?;
            }
            map.serialize_entry(name, value)?;
        }
        if let Some(time) = time {
            map.serialize_entry(TIME, &time)?;
        }
        map.end()
    }
}

/// The field that tells when.
const TIME: &str = "time";

/// An event as a line.
fn json_line(value: &Value) -> Vec<u8> {
    // A value is made of what JSON has, so it can always be written.
    let mut line = serde_json::to_vec(&Stamped(value)).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Whether text on a stream may be coloured: a terminal whose user does not mind (<https://no-color.org>).
pub(crate) fn coloured(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

/// Colours of words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// On a terminal.
    Always,
    /// Elsewhere, or where nobody wants them.
    Never,
}

impl Colour {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Always => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Never => text.to_owned(),
        }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// Where results go, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether live progress can be drawn.
    pub(crate) fn is_live(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// Whether results go to a terminal that can be drawn on.
    pub(crate) fn is_screen(self) -> bool {
        !self.json && std::io::stdout().is_terminal()
    }

    /// Columns of the terminal that results go to; elsewhere there is no end.
    pub(crate) fn width(self) -> usize {
        let size = console::Term::stdout().size_checked();
        size.filter(|_| self.is_screen()).map_or(usize::MAX, |(_, columns)| usize::from(columns))
    }

    /// Whether words may be coloured.
    pub(crate) fn colour(self) -> Colour {
        if !self.json && coloured(&std::io::stdout()) { Colour::Always } else { Colour::Never }
    }

    /// An event of a role that runs: as [`Output::event`], its text with its time, too.
    pub(crate) fn told(self, value: &Value, text: &str) {
        if self.json || text.is_empty() {
            self.event(value, text);
        } else {
            self.event(value, &format!("{} {text}", now()));
        }
    }

    /// An event: its JSON with its time, or its text where it has one.
    pub(crate) fn event(self, value: &Value, text: &str) {
        let line = match (self.json, text.is_empty()) {
            (true, _) => json_line(value),
            (false, true) => return,
            (false, false) => format!("{text}\n").into(),
        };
        let missed = |gone: u64| match self.json {
            true => json_line(&json!({"event": "missed", "count": gone, "why": "output"})),
            false => format!("{gone} lines were dropped: nobody read them\n").into(),
        };
        RESULTS.line(line, missed);
    }

    /// Says why a command failed; gives its exit code.
    pub(crate) fn failed(self, fail: &Fail) -> ExitCode {
        if self.json {
            self.event(&json!({"event": "failed", "reason": fail.to_string()}), "");
            finish();
        }
        let _ = writeln!(std::io::stderr(), "switchboard: {fail}");
        fail.code()
    }
}
