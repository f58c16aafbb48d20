//! `bench`: measure a node that serves the protocol `bench`.

use crate::fail::Fail;
use crate::output::Output;
use crate::wires::{self, Client, Kind};
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use switchboard::text::printable;
use switchboard::wire::{Established, HandshakeError, connect};
use switchboard::{Candidate, Env, Protocol, Reason, SendError, Switch, SwitchBuilder};
use switchboard_bench::{BenchError, BulkPlan, EchoPlan, Payload, UrgentPlan};
use switchboard_node::config::KeyFile;
use switchboard_node::kit::{BenchDriver, Built};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Sessions whose goodbyes are under way beside the next handshake of a series.
const GOODBYES: usize = 64;
/// How long a node that is full is asked again: it may not have seen our last sessions go yet.
const FULL_FOR: Duration = Duration::from_secs(1);
/// The pause before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// Measure a node that serves the protocol `bench` (`switchboard node --protocol bench`).
///
/// Example: switchboard bench echo enode://KEY@127.0.0.1:30303 --count 10000 --size 1024 --in-flight 64
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Serve the protocol: a node with `--protocol bench`, and its flags.
    #[command(
        after_help = "Example:\n  switchboard bench serve --wire comet --listen 127.0.0.1:26656 --max-peers 1000"
    )]
    Serve(Box<crate::config::Args>),
    /// Messages there and back, each compared byte by byte.
    #[command(after_help = "Example:\n  switchboard bench echo URL --count 10000 --size 1024 --in-flight 64")]
    Echo {
        #[command(flatten)]
        to: To,
        /// Messages in all.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
        /// Bytes of each.
        #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(..=MAX_SIZE))]
        size: u64,
        /// Messages under way at once.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=65_536))]
        in_flight: u64,
    },
    /// One way, counted by the other side.
    #[command(
        after_help = "Example:\n  switchboard bench bulk URL --bytes 1000000000 --size 65536 --payload zeros"
    )]
    Bulk {
        #[command(flatten)]
        to: To,
        /// Bytes in all.
        #[arg(long, default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1..))]
        bytes: u64,
        /// Bytes of a message.
        #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u64).range(1..=MAX_SIZE))]
        size: u64,
        /// What the bytes are.
        #[arg(long, value_enum, default_value_t = Content::Random)]
        payload: Content,
    },
    /// Echoes at fixed times on a channel of priority 10, beside one of priority 1 that is kept full (comet).
    #[command(after_help = "Example:\n  switchboard bench urgent URL --count 500 --size 256 --every-ms 10")]
    Urgent {
        #[command(flatten)]
        to: To,
        /// Echoes in all.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
        /// Bytes of each.
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(..=MAX_SIZE))]
        size: u64,
        /// Milliseconds from one to the next.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60_000))]
        every_ms: u64,
        /// Bytes of a message of the flow beside them.
        #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u64).range(1..=MAX_SIZE))]
        beside: u64,
    },
    /// Whole handshakes, a new identity each. With --key-file all have that one, and the node may refuse those that
    /// come before it has seen the last one go; they are counted, as the handshake itself was whole. A node that says it is full is
    /// asked again for a second, in case it has not seen our last sessions go; those that it refused are told apart.
    #[command(after_help = "Example:\n  switchboard bench handshakes URL --count 1000 --parallel 4")]
    Handshakes {
        #[command(flatten)]
        to: To,
        /// Handshakes in all.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        count: u64,
        /// At once.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4096))]
        parallel: u64,
    },
}

#[derive(clap::Args)]
struct To {
    /// The node.
    url: String,
    /// Our key file, as WIRE=PATH (default: a key for this once).
    #[arg(long)]
    key_file: Option<KeyFile>,
    /// Network name, on wires that have one.
    #[arg(long, default_value = crate::config::DEFAULT_NETWORK)]
    network: String,
    /// MSP id of our organisation (fabric).
    #[arg(long, default_value = crate::config::DEFAULT_ORG)]
    org: String,
    /// How long all of it may take, as in 2m (default: no limit, but 15s for the session).
    #[arg(long, value_parser = crate::config::span)]
    timeout: Option<Duration>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Content {
    Random,
    Zeros,
}

/// Largest message that can be asked for: more than any wire carries.
const MAX_SIZE: u64 = 128 << 20;
/// How long until the session must be there.
const SESSION_LIMIT: Duration = Duration::from_secs(15);

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let limit = match &args.job {
        Job::Serve(_) => None,
        Job::Echo { to, .. } | Job::Bulk { to, .. } | Job::Urgent { to, .. } | Job::Handshakes { to, .. } => {
            to.timeout
        }
    };
    match limit {
        Some(limit) => {
            let late = |_| Fail::job(format!("not done within {limit:?}: give it more with --timeout"));
            timeout(limit, work(args.job, output)).await.map_err(late)?
        }
        None => work(args.job, output).await,
    }
}

async fn work(job: Job, output: &Output) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    match job {
        Job::Serve(args) => crate::node::run(args.only("bench"), output).await?,
        Job::Echo { to, count, size, in_flight } => {
            let (switch, mut driver) = session(&to, &env).await?;
            let plan = EchoPlan::new(count, size as usize, in_flight as usize);
            let r = driver.echo(plan).await.map_err(series)?;
            switch.stop().await;
            let value = json!({"event": "echo", "size": r.size, "count": r.count, "ok": true, "seconds": r.seconds,
                "rate": r.rate, "p50_us": r.p50_us, "p99_us": r.p99_us, "max_us": r.max_us});
            let text = format!(
                "{count} x {size} bytes: {:.0}/s, p50 {:.1} us, p99 {:.1} us, most {:.1} us",
                r.rate, r.p50_us, r.p99_us, r.max_us
            );
            output.event(&value, &text);
        }
        Job::Bulk { to, bytes, size, payload } => {
            let payload = match payload {
                Content::Random => Payload::Random,
                Content::Zeros => Payload::Zeros,
            };
            let (switch, mut driver) = session(&to, &env).await?;
            let plan = BulkPlan::new(bytes, size as usize, payload);
            let r = driver.bulk(plan).await.map_err(series)?;
            switch.stop().await;
            let mut value = json!({"event": "bulk", "sent_bytes": r.sent_bytes, "sent_msgs": r.sent_msgs,
                "seconds": r.seconds, "mb_per_s": r.mb_per_s});
            match r.report {
                Some(report) => {
                    value["report_bytes"] = report.bytes.into();
                    value["report_msgs"] = report.messages.into();
                    value["report_ns"] = report.nanos.into();
                }
                None => value["acked"] = true.into(),
            }
            let text = format!("{} bytes in {} messages: {:.1} MB/s", r.sent_bytes, r.sent_msgs, r.mb_per_s);
            output.event(&value, &text);
            let sent = (r.sent_bytes, r.sent_msgs);
            if let Some(r) = r.report.filter(|r| (r.bytes, r.messages) != sent) {
                let (bytes, messages) = (r.bytes, r.messages);
                return Err(Fail::job(format!("the peer counted {bytes} bytes in {messages} messages")));
            }
        }
        Job::Urgent { to, count, size, every_ms, beside } => {
            let (switch, mut driver) = session(&to, &env).await?;
            let every = Duration::from_millis(every_ms);
            let plan = UrgentPlan::new(count, size as usize, every, beside as usize);
            let r = driver.urgent(plan).await.map_err(series)?;
            switch.stop().await;
            let mut value = json!({"event": "urgent", "size": r.size, "count": r.count, "beside": beside,
                "p50_us": r.p50_us, "p99_us": r.p99_us, "max_us": r.max_us});
            let mut text = format!(
                "{count} x {size} bytes there and back, beside messages of {beside}: p50 {:.0} us, p99 {:.0} us, most {:.0} us",
                r.p50_us, r.p99_us, r.max_us
            );
            // The other side's clock is ours only on one host.
            if let Some((p50, p99)) = r.one_way_us {
                value["one_way_p50_us"] = p50.into();
                value["one_way_p99_us"] = p99.into();
                text.push_str(&format!("; there, on one host: p50 {p50:.0} us, p99 {p99:.0} us"));
            }
            output.event(&value, &text);
        }
        Job::Handshakes { to, count, parallel } => {
            let (seconds, full) = handshakes(&to, count, parallel, &env).await?;
            let rate = count as f64 / seconds;
            let value = json!({"event": "handshakes", "count": count, "seconds": seconds, "rate": rate,
                "refused_as_full": full});
            let told =
                if full > 0 { format!(", {full} tries while the node was full") } else { String::new() };
            output.event(&value, &format!("{count} handshakes: {rate:.0}/s{told}"));
        }
    }
    Ok(())
}

/// Why a series gave no result, and whether that is the operator's to change.
fn series(error: BenchError) -> Fail {
    match error {
        BenchError::Send(SendError::TooLarge { .. }) => {
            Fail::usage(format!("{error}: choose a smaller --size"))
        }
        other => Fail::job(other),
    }
}

impl To {
    fn client(&self, kind: Kind) -> Result<Client, Fail> {
        let key = wires::client_key(kind, self.key_file.as_ref())?;
        Ok(Client::new(key, &[("network", &self.network), ("org", &self.org)]))
    }
}

/// A session with the node, through a Switch of our own.
async fn session(to: &To, env: &Env) -> Result<(Switch, Box<dyn BenchDriver>), Fail> {
    let (kind, whom) = wires::parse(&to.url)?;
    let built = to.client(kind)?.build(kind, env)?;
    let (protocol, mut drivers) = kind.0.bench_client().ok_or_else(|| no_bench(kind))?;
    let builder = SwitchBuilder::new(env.clone()).wire(built.wire).protocol(protocol);
    let switch = builder.start().await.map_err(Fail::usage)?;
    let failed = |why: &str| Fail::job(format!("{whom}: {}", printable(why)));
    let driver = async {
        let peer = switch.connect_to(whom.clone()).await.map_err(|error| failed(&error.to_string()))?;
        tokio::select! {
            biased;
            Some(driver) = drivers.recv() => Ok(driver),
            end = peer.ended() => Err(failed(&format!("the session ended: {end}"))),
        }
    };
    let driver = timeout(SESSION_LIMIT, driver).await;
    let driver = driver
        .unwrap_or_else(|_| Err(failed(&format!("no session within {} s", SESSION_LIMIT.as_secs()))))?;
    Ok((switch, driver))
}

fn no_bench(kind: Kind) -> Fail {
    Fail::usage(format!("wire {kind} has no protocol bench"))
}

/// Runs handshakes; gives the seconds they took, and how often the node said that it is full. Keys are made before the clock starts.
async fn handshakes(to: &To, count: u64, parallel: u64, env: &Env) -> Result<(f64, u64), Fail> {
    let (kind, whom) = wires::parse(&to.url)?;
    let client = to.client(kind)?;
    // A key of the operator's own is used throughout; otherwise each handshake has a new one.
    let identities = if to.key_file.is_some() { 1 } else { count };
    let built: Result<Vec<_>, _> = (0..identities).map(|_| client.build(kind, env)).collect();
    let built = Arc::new(built?);
    let (next, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut workers = JoinSet::<Result<u64, Fail>>::new();
    for _ in 0..parallel {
        let (built, next, env, whom) = (Arc::clone(&built), Arc::clone(&next), env.clone(), whom.clone());
        workers.spawn(async move {
            let (mut goodbyes, mut full) = (JoinSet::new(), 0);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let one = built.get((n % identities) as usize);
                let Some(built) = one.filter(|_| n < count) else { break };
                let bench = built.bench.as_deref().ok_or_else(|| no_bench(kind))?;
                if let Some(session) = one_handshake(built, bench, &whom, &env, &mut full).await? {
                    // The node's own goodbye is no part of the next handshake.
                    goodbyes.spawn(async move { session.refuse(&Reason::Quitting).await });
                }
                while goodbyes.len() > GOODBYES {
                    goodbyes.join_next().await;
                }
            }
            while goodbyes.join_next().await.is_some() {}
            Ok(full)
        });
    }
    let mut full = 0;
    while let Some(done) = workers.join_next().await {
        full += done.map_err(Fail::job)??;
    }
    Ok((began.elapsed().as_secs_f64(), full))
}

/// One whole handshake; gives the session that begins with it. Counts how often the node said that it is full.
async fn one_handshake(
    built: &Built,
    bench: &dyn Protocol,
    whom: &Candidate,
    env: &Env,
    full: &mut u64,
) -> Result<Option<Established>, Fail> {
    let failed = |e| Fail::job(format!("{whom}: {}", printable(&format!("{e}"))));
    let began = Instant::now();
    loop {
        let connection = connect(env, whom).await.map_err(failed)?;
        let upgrade = wires::upgrade(env, bench);
        match built.wire.dial(connection, whom.clone(), upgrade).await {
            Ok(session) => return Ok(Some(session)),
            // The handshake was whole: the node has not seen the last session of this identity go yet.
            Err(error) if refused_as(&error, &Reason::AlreadyConnected) => return Ok(None),
            Err(error) if refused_as(&error, &Reason::TooManyPeers) && began.elapsed() < FULL_FOR => {
                *full += 1;
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Whether the peer refused us for this reason, told as such or in words.
fn refused_as(error: &HandshakeError, why: &Reason) -> bool {
    let HandshakeError::RefusedByPeer { reason, words } = error else { return false };
    let said = words.as_deref().unwrap_or_default();
    reason == why || said.ends_with(&why.to_string())
}
