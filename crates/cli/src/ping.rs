//! `ping`: shake hands, say who they are, measure round trips.

use crate::fail::Fail;
use crate::output::Output;
use crate::wires::{self, Client};
use serde_json::{Value, json};
use std::time::Duration;
use switchboard::Env;
use switchboard::text::printable;
use switchboard_node::config::KeyFile;

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

pub(crate) async fn run(args: Args, output: &Output) -> Result<(), Fail> {
    let (kind, whom) = wires::parse(&args.url)?;
    let env = Env::system().map_err(Fail::job)?;
    let key = wires::client_key(kind, args.key_file.as_ref())?;
    let client = Client::new(key, &[("network", &args.network), ("org", &args.org)]);
    let probe = client.probe(&whom, args.count, &env).await?;
    let mut who = wires::describe(&probe);
    if let Some(fields) = who.as_object_mut() {
        fields.insert("event".into(), "peer".into());
        fields.insert("handshake_us".into(), micros(probe.handshake).into());
    }
    output.event(&who, &describe(&who));
    for (n, round_trip) in probe.round_trips.iter().enumerate() {
        let us = micros(*round_trip);
        output.event(&json!({"event": "ping", "seq": n, "rtt_us": us}), &format!("pong {n}: {us:.0} us"));
    }
    match probe.cut {
        Some(why) => Err(Fail::job(format!("{whom}: no pong: {}", printable(&why.to_string())))),
        None => Ok(()),
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
