//! `ping`: shake hands, say who they are, measure round trips.

use crate::fail::Fail;
use crate::output::Output;
use crate::wires::{self, Client};
use serde_json::{Value, json};
use std::time::Duration;
use switchboard::Env;
use switchboard::text::printable;
use switchboard::wire::{Established, InFrame, OutFrame, Read};
use switchboard_node::config::KeyFile;
use switchboard_node::kit::Probe;
use tokio::time::{Instant, timeout};

/// Shake hands with a node, say who it is, and measure round trips. Answers with what the node itself offers, so
/// that a node of any network keeps the session for a while.
///
/// Example: switchboard ping enode://KEY@203.0.113.7:30303 --count 5
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node: enode://…, enr:…, comet://ID@HOST:PORT or fabric://HOST:PORT (with --key-file fabric=PEER-FOLDER).
    url: String,
    /// Round trips to measure.
    #[arg(long, default_value_t = 3)]
    count: u32,
    /// Our key file, as WIRE=PATH (default: a key for this once).
    #[arg(long)]
    key_file: Option<KeyFile>,
    /// MSP id of our organisation (fabric).
    #[arg(long, default_value = crate::config::DEFAULT_ORG)]
    org: String,
    /// Network name; the answer mirrors the node's own where it can.
    #[arg(long, default_value = crate::config::DEFAULT_NETWORK)]
    network: String,
}

impl Args {
    /// Whom.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// Longest wait for one answer.
const PONG_LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let (kind, whom) = wires::parse(&args.url)?;
    let env = Env::system().map_err(Fail::job)?;
    let key = wires::client_key(kind, args.key_file.as_ref())?;
    let client = Client::new(key, &[("network", &args.network), ("org", &args.org)]);
    let began = Instant::now();
    let probe = kind.0.probe(&whom, &client.request(&env)).await?;
    let mut probe = probe.map_err(|error| Fail::job(format!("{whom}: {}", printable(&error.to_string()))))?;
    let handshake_us = micros(began.elapsed());
    let mut who = wires::describe(&probe);
    if let Some(fields) = who.as_object_mut() {
        fields.insert("event".into(), "peer".into());
        fields.insert("handshake_us".into(), handshake_us.into());
    }
    output.event(&who, &describe(&who));
    for n in 0..args.count {
        let rtt = timeout(PONG_LIMIT, measure(&mut probe)).await;
        let rtt = rtt.map_err(|_| Fail::job(format!("no pong for {} s", PONG_LIMIT.as_secs())))??;
        let us = micros(rtt);
        output.event(&json!({"event": "ping", "seq": n, "rtt_us": us}), &format!("pong {n}: {us:.0} us"));
    }
    if let Probe::Session(session) = probe {
        goodbye(*session).await;
    }
    Ok(())
}

async fn measure(probe: &mut Probe) -> Result<Duration, Fail> {
    match probe {
        Probe::Session(session) => round_trip(session).await,
        Probe::Gossip(probed) => probed.ping().await.map_err(|e| Fail::job(printable(&e.to_string()))),
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn describe(who: &Value) -> String {
    let Some(fields) = who.as_object() else { return String::new() };
    let line = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name:<13} {text}"),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            format!("{name:<13} {}", items.join(", "))
        }
        other => format!("{name:<13} {other}"),
    };
    fields.iter().filter(|(name, _)| *name != "event").map(line).collect::<Vec<_>>().join("\n")
}

/// Sends a ping of the wire and waits for its pong, answering pings on the way.
async fn round_trip(session: &mut Established) -> Result<Duration, Fail> {
    // Before it is sent: the pong may be there when the write returns.
    let began = Instant::now();
    send(session, OutFrame::Ping).await?;
    loop {
        let frame = session.decoder.decode(&mut session.leftover);
        match frame
            .map_err(|fault| Fail::job(format!("the peer broke a rule: {}", printable(&fault.to_string()))))?
        {
            Some(InFrame::Pong) => return Ok(began.elapsed()),
            Some(InFrame::Ping) => send(session, OutFrame::Pong).await?,
            Some(InFrame::Goodbye(reason)) => {
                return Err(Fail::job(format!("the peer ended the session: {reason}")));
            }
            Some(_) => {}
            None => {
                let read = session.read().await;
                match read.map_err(|fault| Fail::job(format!("the peer broke a rule: {fault}")))? {
                    Read::Bytes(_) => {}
                    Read::Pong => return Ok(began.elapsed()),
                    Read::Over(end) => {
                        let words = end.detail.unwrap_or_else(|| end.reason.to_string());
                        return Err(Fail::job(format!("the connection is over: {words}")));
                    }
                }
            }
        }
    }
}

async fn send(session: &mut Established, frame: OutFrame<'_>) -> Result<(), Fail> {
    session.say(frame).await.map_err(Fail::job)
}

/// Says goodbye as a node that is done; whether it arrives is the peer's matter.
pub(crate) async fn goodbye(session: Established) {
    session.refuse(&switchboard::Reason::Quitting).await;
}
