//! What is measured: one function per side gives one number.

use crate::catch_up;
use switchboard_interop::{Program, line, must, text};

/// The field of a case that is a network of its own.
const CATCH_UP: &str = "catch-up";
/// The same, with the time until the first block.
const CATCH_UP_WHOLE: &str = "whole catch-up";

/// One comparison.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) lower_is_better: bool,
    /// The ratio aimed at.
    pub(crate) target: Option<f64>,
    wire: Wire,
    job: Vec<String>,
    field: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Wire {
    Devp2p,
    Comet,
    Fabric,
}

impl Wire {
    fn name(self) -> &'static str {
        match self {
            Self::Devp2p => "devp2p",
            Self::Comet => "comet",
            Self::Fabric => "fabric",
        }
    }

    fn go(self) -> &'static str {
        match self {
            Self::Devp2p => "gethpeer",
            Self::Comet => "cometpeer",
            Self::Fabric => "fabricpeer",
        }
    }
}

fn case(
    wire: Wire,
    what: &str,
    unit: &'static str,
    field: &'static str,
    target: Option<f64>,
    job: &str,
) -> Case {
    Case {
        name: format!("{} {what}", wire.name()),
        unit,
        lower_is_better: unit == "us",
        target,
        wire,
        job: job.split_whitespace().map(str::to_owned).collect(),
        field,
    }
}

/// The cases; a tenth of the work each when `quick`.
pub(crate) fn all_cases(quick: bool) -> Vec<Case> {
    let n = |full: usize| if quick { full / 10 } else { full };
    let handshakes = |count, parallel| format!("handshakes --count {} --parallel {parallel}", n(count));
    let echo = |count, size, flight| format!("echo --count {} --size {size} --in-flight {flight}", n(count));
    let bulk = |mb: usize, size, payload| {
        format!("bulk --bytes {} --size {size} --payload {payload}", n(mb * 10) * 100_000)
    };
    use Wire::{Comet, Devp2p, Fabric};
    vec![
        case(Devp2p, "handshakes x1", "/s", "rate", Some(1.2), &handshakes(1_000, 1)),
        case(Devp2p, "handshakes x4", "/s", "rate", Some(1.2), &handshakes(2_000, 4)),
        case(Devp2p, "echo 1 KiB, 1 in flight", "/s", "rate", Some(1.5), &echo(30_000, 1_024, 1)),
        case(Devp2p, "echo 1 KiB, 64 in flight", "/s", "rate", Some(1.5), &echo(100_000, 1_024, 64)),
        case(Devp2p, "bulk 64 KiB random", "MB/s", "mb_per_s", Some(1.3), &bulk(400, 65_536, "random")),
        case(Devp2p, "bulk 64 KiB zeros", "MB/s", "mb_per_s", None, &bulk(400, 65_536, "zeros")),
        case(Comet, "handshakes x4", "/s", "rate", None, &handshakes(2_000, 4)),
        case(Comet, "idle round trip 32 B", "us", "p50_us", None, &echo(100, 32, 1)),
        case(Comet, "echo 1 KiB, 64 in flight", "/s", "rate", None, &echo(3_000, 1_024, 64)),
        case(Comet, "bulk 64 KiB random", "MB/s", "mb_per_s", Some(1.5), &bulk(400, 65_536, "random")),
        // One peer has one session, and there is one peer to dial with: side by side they would refuse each other.
        case(Fabric, "handshakes x1, one identity", "/s", "rate", None, &handshakes(400, 1)),
        case(Fabric, "echo 1 KiB, 1 in flight", "/s", "rate", Some(1.5), &echo(10_000, 1_024, 1)),
        case(Fabric, "echo 1 KiB, 64 in flight", "/s", "rate", Some(1.5), &echo(50_000, 1_024, 64)),
        case(Fabric, "bulk 64 KiB random", "MB/s", "mb_per_s", None, &bulk(400, 65_536, "random")),
        case(
            Fabric,
            "catch-up, from the start",
            "blocks/s",
            CATCH_UP_WHOLE,
            Some(3.0),
            &n(5_000).to_string(),
        ),
        case(Fabric, "catch-up, first to last block", "blocks/s", CATCH_UP, Some(3.0), &n(5_000).to_string()),
    ]
}

/// Peer folders of one organisation, for fabric.
struct Keys {
    #[allow(dead_code)] // removed when dropped
    dir: tempfile::TempDir,
    peers: [String; 2],
}

fn keys() -> Keys {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
    let out = dir.path().join("org1");
    let path = out.display().to_string();
    let _ = must(
        "switchboard",
        &["keygen", "--json", "--wire", "fabric", "--out", &path, "--org", "Org1MSP", "--peers", "2"],
    );
    let peers = [0, 1].map(|n| out.join(format!("peer{n}")).display().to_string());
    Keys { dir, peers }
}

impl Case {
    /// How many blocks a catch-up has, where it is one, and whether the time before the first counts.
    fn catch_up(&self) -> Option<(usize, bool)> {
        let whole = self.field == CATCH_UP_WHOLE;
        let count = self.job.first().filter(|_| whole || self.field == CATCH_UP)?;
        Some((count.parse().ok()?, whole))
    }

    fn number(&self, lines: &[serde_json::Value]) -> f64 {
        let (event, _) = self.job.split_first().unwrap_or_else(|| panic!("a job has a name"));
        let line = line(lines, event);
        line[self.field].as_f64().unwrap_or_else(|| panic!("no {} in {line:#}", self.field))
    }

    /// Both ends ours.
    pub(crate) fn ours(&self) -> f64 {
        if let Some((count, whole)) = self.catch_up() {
            return catch_up::rate(false, count, whole);
        }
        let keys = (self.wire == Wire::Fabric).then(keys);
        let key = |n: usize| keys.as_ref().map(|k| format!("fabric={}", k.peers[n]));
        let mut args: Vec<String> =
            ["node", "--json", "--stdin-stop", "--wire", self.wire.name(), "--listen", "127.0.0.1:0"]
                .into_iter()
                .chain(["--protocol", "bench", "--max-peers", "2000"])
                .map(str::to_owned)
                .collect();
        args.extend(key(0).into_iter().flat_map(|k| ["--key-file".to_owned(), k]));
        let mut server = Program::start("switchboard", &refs(&args));
        let ready = server.wait("ready");
        let url = match self.wire {
            Wire::Devp2p => text(&ready, "devp2p.enode").to_owned(),
            Wire::Comet => format!("comet://{}", text(&ready, "comet.address")),
            Wire::Fabric => format!("fabric://{}", text(&ready, "fabric.endpoint")),
        };
        let (job, options) = self.job.split_first().unwrap_or_else(|| panic!("a job has a name"));
        let mut args: Vec<String> = vec!["bench".into(), "--json".into(), job.clone(), url];
        args.extend_from_slice(options);
        args.extend(key(1).into_iter().flat_map(|k| ["--key-file".to_owned(), k]));
        let lines = must("switchboard", &refs(&args));
        server.stop();
        self.number(&lines)
    }

    /// Both ends Go.
    pub(crate) fn theirs(&self) -> f64 {
        if let Some((count, whole)) = self.catch_up() {
            return catch_up::rate(true, count, whole);
        }
        let keys = (self.wire == Wire::Fabric).then(keys);
        let key = |n: usize| keys.as_ref().map(|k| k.peers[n].clone());
        let credentials = |n| {
            key(n).into_iter().flat_map(|k| ["--key".to_owned(), k, "--org".to_owned(), "Org1MSP".to_owned()])
        };
        let mut args: Vec<String> =
            ["serve", "--protocols", "bench", "--max-peers", "2000"].map(str::to_owned).to_vec();
        args.extend(credentials(0));
        let mut server = Program::start(self.wire.go(), &refs(&args));
        let ready = server.wait("ready");
        let url = match self.wire {
            Wire::Devp2p => text(&ready, "enode").to_owned(),
            Wire::Comet => format!("comet://{}", text(&ready, "address")),
            Wire::Fabric => format!("fabric://{}", text(&ready, "endpoint")),
        };
        let (job, options) = self.job.split_first().unwrap_or_else(|| panic!("a job has a name"));
        let mut args: Vec<String> = vec!["dial".into(), url, "--do".into(), job.clone()];
        args.extend_from_slice(options);
        args.extend(credentials(1));
        let lines = must(self.wire.go(), &refs(&args));
        server.stop();
        self.number(&lines)
    }
}

fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}
