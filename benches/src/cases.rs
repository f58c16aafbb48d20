//! What is measured: one run of one side gives one number for each figure of a case.

use crate::catch_up;
use crate::idle::{self, Place};
use std::process::Command;
use switchboard_interop::{Program, line, must, text};

/// One number of a case.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    /// After the case's name, where a case has several.
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    /// Its name in the line the program prints.
    field: &'static str,
    pub(crate) goal: Goal,
}

/// What is aimed at.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// To be told.
    None,
    /// So many times better than the Go original.
    Ratio(f64),
    /// No more than this, whatever the other has.
    AtMost(f64),
}

impl Figure {
    pub(crate) fn lower_is_better(&self) -> bool {
        !matches!(self.unit, "/s" | "MB/s" | "blocks/s")
    }
}

/// One comparison.
pub(crate) struct Case {
    pub(crate) name: String,
    wire: Wire,
    go: &'static str,
    job: Job,
    pub(crate) figures: Vec<Figure>,
}

enum Job {
    /// Of a server and who dials it.
    Sessions(Sessions),
    /// A network of its own, with so many blocks, and whether the time before the first counts.
    CatchUp(usize, bool),
}

enum Sessions {
    /// A job of the programs, with its options.
    Run(Vec<String>),
    /// Those that say nothing.
    Idle { sessions: usize, wait: u64 },
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

    /// The Go peer: CometBFT in its faster line.
    fn go(self) -> &'static str {
        match self {
            Self::Devp2p => "gethpeer",
            Self::Comet => "cometpeer040",
            Self::Fabric => "fabricpeer",
        }
    }
}

fn case(
    wire: Wire,
    what: &str,
    unit: &'static str,
    field: &'static str,
    goal: Option<f64>,
    job: &str,
) -> Case {
    let goal = goal.map_or(Goal::None, Goal::Ratio);
    run(wire, what, vec![Figure { what: "", unit, field, goal }], job)
}

/// A job of the programs that gives several figures.
fn run(wire: Wire, what: &str, figures: Vec<Figure>, job: &str) -> Case {
    Case {
        name: format!("{} {what}", wire.name()),
        wire,
        go: wire.go(),
        job: Job::Sessions(Sessions::Run(job.split_whitespace().map(str::to_owned).collect())),
        figures,
    }
}

/// What an idle session costs, and how much of that is still there when the peers are gone.
fn idle(wire: Wire, kib: f64, quick: bool) -> Case {
    let figure = |what, unit, most| Figure { what, unit, field: "", goal: Goal::AtMost(most) };
    let (sessions, wait) = if quick { (40, 3) } else { (400, 30) };
    Case {
        name: format!("{} idle session", wire.name()),
        wire,
        go: wire.go(),
        job: Job::Sessions(Sessions::Idle { sessions, wait }),
        figures: vec![figure("", "KiB", kib), figure(", left 30 s after the end", "%", 20.0)],
    }
}

/// How fast a late peer gets blocks, with or without the time until the first.
fn catch_up(what: &str, blocks: usize, whole: bool, goal: Goal) -> Case {
    let figure = Figure { what: "", unit: "blocks/s", field: "", goal };
    let (wire, name) = (Wire::Fabric, format!("fabric catch-up, {what}"));
    Case { name, wire, go: wire.go(), job: Job::CatchUp(blocks, whole), figures: vec![figure] }
}

impl Case {
    /// Against CometBFT v0.38 in place of v0.40.
    fn older(mut self) -> Self {
        self.go = "cometpeer";
        self.name.push_str(" (v0.38)");
        self
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
    let urgent = |count| format!("urgent --count {} --size 256 --every-ms 10 --beside 65536", n(count));
    let latency = |what, field, goal| Figure { what, unit: "us", field, goal };
    let both_ways = vec![
        latency(", one way", "one_way_p99_us", Goal::AtMost(5_000.0)),
        latency(", there and back", "p99_us", Goal::None),
    ];
    use Wire::{Comet, Devp2p, Fabric};
    const MIB: usize = 1 << 20;
    vec![
        case(Devp2p, "handshakes x1", "/s", "rate", Some(1.2), &handshakes(1_000, 1)),
        case(Devp2p, "handshakes x8", "/s", "rate", Some(1.6), &handshakes(2_000, 8)),
        case(Devp2p, "echo 1 KiB, 1 in flight", "/s", "rate", None, &echo(30_000, 1_024, 1)),
        case(Devp2p, "echo 1 KiB, 64 in flight", "/s", "rate", Some(1.5), &echo(100_000, 1_024, 64)),
        case(Devp2p, "bulk 64 KiB random", "MB/s", "mb_per_s", Some(1.7), &bulk(400, 65_536, "random")),
        case(Devp2p, "bulk 64 KiB zeros", "MB/s", "mb_per_s", None, &bulk(400, 65_536, "zeros")),
        case(Devp2p, "bulk 1 MiB random", "MB/s", "mb_per_s", None, &bulk(400, MIB, "random")),
        case(Comet, "handshakes x4", "/s", "rate", None, &handshakes(2_000, 4)),
        case(Comet, "idle round trip 32 B", "us", "p50_us", None, &echo(100, 32, 1)),
        case(Comet, "echo 1 KiB, 64 in flight", "/s", "rate", None, &echo(3_000, 1_024, 64)),
        case(Comet, "bulk 64 KiB random", "MB/s", "mb_per_s", Some(1.5), &bulk(400, 65_536, "random")),
        case(Comet, "bulk 1 MiB random", "MB/s", "mb_per_s", Some(2.2), &bulk(400, MIB, "random")),
        case(Comet, "bulk 1 MiB random", "MB/s", "mb_per_s", None, &bulk(400, MIB, "random")).older(),
        run(Comet, "urgent 256 B p99", both_ways, &urgent(500)),
        // One peer has one session, and there is one peer to dial with: side by side they would refuse each other.
        case(Fabric, "handshakes x1, one identity", "/s", "rate", None, &handshakes(400, 1)),
        case(Fabric, "echo 1 KiB, 1 in flight", "/s", "rate", None, &echo(10_000, 1_024, 1)),
        case(Fabric, "echo 1 KiB, 64 in flight", "/s", "rate", Some(1.5), &echo(50_000, 1_024, 64)),
        case(Fabric, "bulk 64 KiB random", "MB/s", "mb_per_s", None, &bulk(400, 65_536, "random")),
        case(Fabric, "bulk 1 MiB random", "MB/s", "mb_per_s", Some(2.5), &bulk(400, MIB, "random")),
        catch_up("from the start", n(5_000), true, Goal::Ratio(3.0)),
        catch_up("first to last block", n(5_000), false, Goal::Ratio(3.0)),
        idle(Devp2p, 12.0, quick),
        idle(Comet, 12.0, quick),
        idle(Fabric, 48.0, quick),
    ]
}

/// Peer folders of one organisation, for fabric.
struct Keys {
    #[allow(dead_code)] // removed when dropped
    dir: tempfile::TempDir,
    peers: Vec<String>,
}

fn keys(peers: usize) -> Keys {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
    let out = dir.path().join("org1");
    let path = out.display().to_string();
    let _ = must(
        "switchboard",
        &[
            "keygen",
            "--json",
            "--wire",
            "fabric",
            "--out",
            &path,
            "--org",
            "Org1MSP",
            "--peers",
            &peers.to_string(),
        ],
    );
    let peers = (0..peers).map(|n| out.join(format!("peer{n}")).display().to_string()).collect();
    Keys { dir, peers }
}

impl Case {
    /// What a job's line says.
    fn numbers(&self, job: &str, lines: &[serde_json::Value]) -> Vec<f64> {
        let line = line(lines, job);
        let number =
            |f: &Figure| line[f.field].as_f64().unwrap_or_else(|| panic!("no {} in {line:#}", f.field));
        self.figures.iter().map(number).collect()
    }

    fn keys(&self) -> Option<Keys> {
        let peers = match self.job {
            Job::Sessions(Sessions::Idle { sessions, .. }) => 1 + idle::WARM + sessions,
            Job::Sessions(Sessions::Run(_)) | Job::CatchUp(..) => 2,
        };
        (self.wire == Wire::Fabric).then(|| keys(peers))
    }

    /// Both ends ours.
    pub(crate) fn ours(&self) -> Vec<f64> {
        self.of("switchboard")
    }

    /// Whether another build of our program, named by its path, can be asked for this case.
    pub(crate) fn known_to(&self, program: &str) -> bool {
        match &self.job {
            Job::Sessions(Sessions::Run(job)) => {
                let job = job.first().map_or("", String::as_str);
                let help = Command::new(program).args(["bench", job, "--help"]).output();
                help.is_ok_and(|said| said.status.success())
            }
            Job::Sessions(Sessions::Idle { .. }) => true,
            // Its peers run inside this program.
            Job::CatchUp(..) => false,
        }
    }

    /// Both ends one build of our program: a name, or a path.
    pub(crate) fn of(&self, program: &str) -> Vec<f64> {
        let sessions = match &self.job {
            Job::Sessions(sessions) => sessions,
            Job::CatchUp(blocks, whole) => return vec![catch_up::rate(false, *blocks, *whole)],
        };
        let keys = self.keys();
        let key = |n: usize| keys.as_ref().map(|k| format!("fabric={}", k.peers[n]));
        let mut args: Vec<String> =
            ["node", "--json", "--stdin-stop", "--wire", self.wire.name(), "--listen", "127.0.0.1:0"]
                .into_iter()
                .chain(["--protocol", "bench", "--max-peers", "2000"])
                .map(str::to_owned)
                .collect();
        args.extend(key(0).into_iter().flat_map(|k| ["--key-file".to_owned(), k]));
        let mut server = Program::start(program, &refs(&args));
        let ready = server.wait("ready");
        let url = match self.wire {
            Wire::Devp2p => text(&ready, "devp2p.enode").to_owned(),
            Wire::Comet => format!("comet://{}", text(&ready, "comet.address")),
            Wire::Fabric => format!("fabric://{}", text(&ready, "fabric.endpoint")),
        };
        let numbers = match sessions {
            Sessions::Idle { sessions, wait } => self.idle(&server, &url, keys.as_ref(), *sessions, *wait),
            Sessions::Run(job) => {
                let (job, options) = job.split_first().unwrap_or_else(|| panic!("a job has a name"));
                let mut args: Vec<String> = vec!["bench".into(), "--json".into(), job.clone(), url];
                args.extend_from_slice(options);
                args.extend(key(1).into_iter().flat_map(|k| ["--key-file".to_owned(), k]));
                self.numbers(job, &must(program, &refs(&args)))
            }
        };
        server.stop();
        numbers
    }

    /// Both ends Go; sessions that say nothing come from us.
    pub(crate) fn theirs(&self) -> Vec<f64> {
        let sessions = match &self.job {
            Job::Sessions(sessions) => sessions,
            Job::CatchUp(blocks, whole) => return vec![catch_up::rate(true, *blocks, *whole)],
        };
        let keys = self.keys();
        let key = |n: usize| keys.as_ref().map(|k| k.peers[n].clone());
        let credentials = |n| {
            key(n).into_iter().flat_map(|k| ["--key".to_owned(), k, "--org".to_owned(), "Org1MSP".to_owned()])
        };
        let mut args: Vec<String> =
            ["serve", "--protocols", "bench", "--max-peers", "2000"].map(str::to_owned).to_vec();
        args.extend(credentials(0));
        let mut server = Program::start(self.go, &refs(&args));
        let ready = server.wait("ready");
        let url = match self.wire {
            Wire::Devp2p => text(&ready, "enode").to_owned(),
            Wire::Comet => format!("comet://{}", text(&ready, "address")),
            Wire::Fabric => format!("fabric://{}", text(&ready, "endpoint")),
        };
        let numbers = match sessions {
            Sessions::Idle { sessions, wait } => self.idle(&server, &url, keys.as_ref(), *sessions, *wait),
            Sessions::Run(job) => {
                let (job, options) = job.split_first().unwrap_or_else(|| panic!("a job has a name"));
                let mut args: Vec<String> = vec!["dial".into(), url, "--do".into(), job.clone()];
                args.extend_from_slice(options);
                args.extend(credentials(1));
                self.numbers(job, &must(self.go, &refs(&args)))
            }
        };
        server.stop();
        numbers
    }

    fn idle(&self, server: &Program, url: &str, keys: Option<&Keys>, sessions: usize, wait: u64) -> Vec<f64> {
        let folders = keys.map_or(&[][..], |keys| &keys.peers[1..]);
        let place = Place { wire: self.wire.name(), url, folders, pid: server.id() };
        idle::measure(&place, sessions, wait)
    }
}

fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}
