//! `up`: the main job. A local network on every wire, a real file through each, and proof.

use crate::fail::Fail;
use crate::node::stop_signal;
use crate::output::Output;
use crate::ring::{Ring, Step, What, is_crowded};
use crate::wires::Kind;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use switchboard_node::data::scratch;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Start a local network on every wire, cast a file through it, and prove that every node got it.
///
/// Example: switchboard up --nodes 4 --cast big.iso
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Nodes of each wire, joined in a ring.
    #[arg(long, default_value_t = 4)]
    nodes: usize,
    /// Wires, separated by commas (default: all).
    #[arg(long, value_delimiter = ',')]
    wire: Vec<Kind>,
    /// The file to cast (default: this program).
    #[arg(long)]
    cast: Option<PathBuf>,
    /// Leave the network running until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// How long all casts together may take, as in 5m.
    #[arg(long, default_value = "300s", value_parser = crate::config::span)]
    timeout: Duration,
}

/// Most nodes of one wire: one process has so many files.
const MAX_NODES: usize = 100;

/// Most steps a node reports of one cast: hundredths, and its end.
const STEPS: usize = 104;

/// One node that has the file.
struct Arrival {
    hops: u8,
    after: Duration,
    path: PathBuf,
}

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    if !(2..=MAX_NODES).contains(&args.nodes) {
        return Err(Fail::usage(format!("--nodes {} is out of range: use 2 to {MAX_NODES}", args.nodes)));
    }
    let file = match args.cast {
        Some(file) => file,
        None => std::env::current_exe()
            .map_err(|e| Fail::job(format!("cannot find this program's own file: {e}: use --cast")))?,
    };
    // Taken before anything starts, so that no signal is missed.
    let stop = stop_signal(false)?;
    tokio::pin!(stop);
    let (sha256, bytes) = tokio::select! {
        hashed = hash(file.clone()) => hashed
            .map_err(|e| Fail::usage(format!("cannot read {}: {e}: give another --cast", file.display())))?,
        () = &mut stop => return Err(Fail::job("interrupted")),
    };
    let wires = Kind::chosen(&args.wire);
    let data = scratch()?;
    let start = async {
        let mut rings = Vec::new();
        for wire in wires {
            rings.push(Ring::start(wire, args.nodes, data.path()).await?);
        }
        Ok::<_, Fail>(rings)
    };
    let rings = tokio::select! {
        rings = start => rings.map_err(|fail| crowded(fail, args.nodes))?,
        () = &mut stop => return Err(Fail::job("interrupted")),
    };
    output.event(
        &json!({"event": "network", "wires": rings.iter().map(|r| r.wire.name()).collect::<Vec<_>>(), "nodes": args.nodes,
            "file": file.display().to_string(), "bytes": bytes, "sha256": hex::encode(sha256)}),
        &format!("{} nodes on each wire are up; casting {} ({bytes} bytes)", args.nodes, file.display()),
    );
    let deadline = Instant::now() + args.timeout;
    let job = work(&rings, args.nodes, &file, (sha256, bytes), deadline, *output);
    let result = tokio::select! {
        result = job => result,
        () = &mut stop => Err(Fail::job("interrupted")),
    };
    if args.keep && result.is_ok() {
        output.event(&json!({"event": "keeping"}), "the network stays up: end it with Ctrl-C");
        stop.await;
    }
    for ring in rings {
        ring.stop().await;
    }
    result
}

/// Says what to change where the system gives no more files, whatever was to be opened.
fn crowded(fail: Fail, nodes: usize) -> Fail {
    if is_crowded(&fail.to_string()) {
        let more = "use fewer --nodes, or allow more with ulimit -n";
        return Fail::usage(format!(
            "{nodes} nodes on each wire need more open files than there may be: {more}"
        ));
    }
    fail
}

/// Casts on one wire after the other, so that each has the machine to itself, and shows the table.
async fn work(
    rings: &[Ring],
    nodes: usize,
    file: &Path,
    cast: ([u8; 32], u64),
    deadline: Instant,
    output: Output,
) -> Result<(), Fail> {
    let bytes = cast.1;
    let mut table = format!(
        "{:<8} {:>5} {:>12} {:>9} {:>9} {:>5}  result",
        "wire", "nodes", "bytes", "seconds", "MB/s", "hops"
    );
    let mut failures = Vec::new();
    for ring in rings {
        let view = View::new(ring.wire, nodes, output);
        let (arrived, late) = collect(ring, nodes, file, deadline, &view).await?;
        view.close();
        let mut wrong = nodes - 1 - arrived.len();
        for (node, arrival) in &arrived {
            let found = hash(arrival.path.clone()).await;
            let ok = found.as_ref().is_ok_and(|found| *found == cast);
            wrong += usize::from(!ok);
            output.event(
                &json!({"event": "verified", "wire": ring.wire.name(), "node": node, "ok": ok, "hops": arrival.hops,
                    "file": arrival.path.display().to_string(), "sha256": found.ok().map(|(sha, _)| hex::encode(sha))}),
                "",
            );
        }
        // Where a node lacks the file there is no time in which all had it.
        let whole = (wrong == 0).then(|| {
            let seconds = arrived.values().map(|a| a.after.as_secs_f64()).fold(0.0, f64::max);
            // The file over the time until the last node had it.
            let rate = bytes as f64 / 1e6 / seconds.max(1e-9);
            (seconds, rate, arrived.values().map(|a| a.hops).max().unwrap_or(0))
        });
        let verdict = match (wrong, late) {
            (0, _) => "every node has the exact bytes".to_owned(),
            (_, true) => format!("{wrong} of {nodes} nodes lack the file: time was up, raise --timeout"),
            (_, false) => format!("{wrong} of {nodes} nodes lack the file"),
        };
        output.event(
            &json!({"event": "result", "wire": ring.wire.name(), "nodes": nodes, "bytes": bytes,
                "seconds": whole.map(|w| w.0), "mb_per_s": whole.map(|w| w.1), "hops": whole.map(|w| w.2),
                "ok": wrong == 0, "wrong": wrong}),
            "",
        );
        let name = ring.wire.name();
        let figures = match whole {
            Some((seconds, rate, hops)) => format!("{seconds:>9.3} {rate:>9.1} {hops:>5}"),
            None => format!("{:>9} {:>9} {:>5}", "-", "-", "-"),
        };
        table.push_str(&format!("\n{name:<8} {nodes:>5} {bytes:>12} {figures}  {verdict}"));
        if wrong > 0 {
            failures.push(format!("{name}: {verdict}"));
        }
    }
    if !output.is_json() {
        output.event(&json!(null), &table);
    }
    if failures.is_empty() { Ok(()) } else { Err(Fail::job(failures.join("; "))) }
}

/// Waits until every node has the file, or time is up; who has it, and whether time was up.
async fn collect(
    ring: &Ring,
    nodes: usize,
    file: &Path,
    deadline: Instant,
    view: &View,
) -> Result<(BTreeMap<usize, Arrival>, bool), Fail> {
    // Room for all there will be: nobody waits for the terminal.
    let (tx, mut steps) = mpsc::channel(nodes * STEPS);
    let mut arrived = BTreeMap::new();
    let waiting = async {
        ring.cast(file, &tx).await?;
        drop(tx);
        while arrived.len() < nodes - 1 {
            let Some(Step { wire, node, what }) = steps.recv().await else { break };
            view.show(wire, node, &what);
            match what {
                What::Done { hops, path, after } => drop(arrived.insert(node, Arrival { hops, after, path })),
                What::Failed(_) => break,
                What::Progress { .. } => {}
            }
        }
        Ok::<(), Fail>(())
    };
    // Whoever is late is told in the table.
    let in_time = timeout_at(deadline, waiting).await;
    let late = in_time.is_err();
    in_time.unwrap_or(Ok(()))?;
    Ok((arrived, late))
}

/// Live progress: bars on a terminal, JSON, or a line per node.
struct View {
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    output: Output,
}

/// A bar for each node that receives, as wide as the terminal.
fn bars(all: &MultiProgress, wire: Kind, nodes: usize) -> Vec<ProgressBar> {
    let style = ProgressStyle::with_template("{prefix:>14} [{wide_bar}] {pos}/{len} {elapsed}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = |n: usize| {
        let bar = all.add(ProgressBar::new(1).with_style(style.clone()));
        bar.set_prefix(format!("{wire} node {n}"));
        bar
    };
    (1..nodes).map(bar).collect()
}

impl View {
    fn new(wire: Kind, nodes: usize, output: Output) -> Self {
        let bars = output.is_live().then(|| {
            let all = MultiProgress::new();
            let bars = bars(&all, wire, nodes);
            (all, bars)
        });
        Self { bars, output }
    }

    fn show(&self, wire: Kind, node: usize, what: &What) {
        let bar = self.bars.as_ref().and_then(|(_, bars)| bars.get(node - 1));
        let (value, text) = match what {
            What::Progress { held, total } => {
                if let Some(bar) = bar {
                    bar.set_length(u64::from(*total));
                    bar.set_position(u64::from(*held));
                }
                (
                    json!({"event": "progress", "wire": wire.name(), "node": node, "held": held, "chunks": total}),
                    String::new(),
                )
            }
            What::Done { hops, after, .. } => {
                if let Some(bar) = bar {
                    bar.finish();
                }
                let (seconds, hop) = (after.as_secs_f64(), if *hops == 1 { "hop" } else { "hops" });
                let text = format!("{wire} node {node}: complete after {seconds:.3} s, {hops} {hop}");
                (
                    json!({"event": "complete", "wire": wire.name(), "node": node, "hops": hops, "seconds": after.as_secs_f64()}),
                    text,
                )
            }
            What::Failed(error) => (
                json!({"event": "node_failed", "wire": wire.name(), "node": node, "error": error}),
                format!("{wire} node {node}: {error}"),
            ),
        };
        let text = if bar.is_some() { "" } else { &text };
        self.output.event(&value, text);
    }

    fn close(&self) {
        if let Some((_, bars)) = &self.bars {
            bars.iter().for_each(ProgressBar::abandon);
        }
    }
}

/// SHA-256 and length of a file, read beside the tasks that must go on.
async fn hash(path: PathBuf) -> std::io::Result<([u8; 32], u64)> {
    tokio::task::spawn_blocking(move || hash_now(&path)).await.map_err(std::io::Error::other)?
}

fn hash_now(path: &Path) -> std::io::Result<([u8; 32], u64)> {
    if path.as_os_str().is_empty() {
        // An empty file that was received leaves none on disk.
        return Ok((Sha256::new().finalize().into(), 0));
    }
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut total, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hash.finalize().into(), total));
        }
        hash.update(buffer.get(..n).unwrap_or_default());
        total += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{ProgressDrawTarget, TermLike};
    use parking_lot::Mutex;
    use std::io;
    use std::sync::Arc;

    /// A terminal of so many columns that keeps what is written.
    #[derive(Debug, Clone)]
    struct Narrow(u16, Arc<Mutex<String>>);

    impl TermLike for Narrow {
        fn width(&self) -> u16 {
            self.0
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            self.write_line("")
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            self.write_line("")
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.write_str("\n")
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.1.lock().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.write_str("\r")
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bars_keep_to_one_line_each_on_60_columns() {
        let wire = Kind::chosen(&[]).into_iter().next_back().unwrap();
        let terminal = Narrow(60, Arc::default());
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 255);
        let all = MultiProgress::with_draw_target(target);
        for (n, bar) in bars(&all, wire, 12).iter().enumerate() {
            bar.set_length(1_000_000_000);
            bar.set_position(123_456_789 * (n as u64 % 8));
            bar.tick();
            bar.abandon();
        }
        let shown = terminal.1.lock().clone();
        let lines: Vec<_> =
            shown.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty()).collect();
        assert!(lines.iter().any(|line| line.contains("node 11") && line.contains("/1000000000")), "{shown}");
        for line in lines {
            // What goes on without a line's end the terminal breaks itself, after each 60th character.
            let all: Vec<char> = line.chars().collect();
            for row in all.chunks(60).map(|row| row.iter().collect::<String>()) {
                let whole = row.matches("node").count() == 1 && row.trim_end().ends_with('s');
                assert!(whole, "{row:?} is not one bar: {line:?}");
            }
        }
    }
}
