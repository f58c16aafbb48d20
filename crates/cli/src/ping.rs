//! `ping`: shake hands, say who they are, measure round trips.

use crate::fail::Fail;
use crate::output::Output;
use crate::wires::{self, Client};
use serde_json::{Value, json};
use std::time::Duration;
use switchboard::Env;
use switchboard::text::printable;
use switchboard_node::config::KeyFile;
use tokio::time::timeout;

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
    /// How long the handshake and all answers may take together, as in 500ms.
    #[arg(long, default_value = "10s", value_parser = crate::config::span)]
    timeout: Duration,
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
    let asked = timeout(args.timeout, client.probe(&whom, args.count, &env)).await;
    let late =
        |_| Fail::job(format!("{whom}: no answer within {:?}: give it more with --timeout", args.timeout));
    let probe = asked.map_err(late)??;
    let mut who = wires::describe(&probe);
    if let Some(fields) = who.as_object_mut() {
        fields.insert("event".into(), "peer".into());
        fields.insert("handshake_us".into(), micros(probe.handshake).into());
    }
    output.event(&who, &describe(&who));
    let mut trips = Vec::new();
    for (n, round_trip) in probe.round_trips.iter().enumerate() {
        let us = micros(*round_trip);
        let text = format!("answer {} of {} after {}", n + 1, args.count, people(us));
        output.event(&json!({"event": "ping", "seq": n, "rtt_us": us}), &text);
        trips.push(us);
    }
    let sent = args.count.min(trips.len() as u32 + u32::from(probe.cut.is_some()));
    summary(sent, &trips, *output);
    match probe.cut {
        Some(why) => Err(Fail::job(format!("{whom}: no pong: {}", printable(&why.to_string())))),
        None => Ok(()),
    }
}

/// Microseconds as people read them.
fn people(us: f64) -> String {
    if us < 1_000.0 { format!("{us:.0} us") } else { format!("{:.2} ms", us / 1e3) }
}

/// What ping says at its end.
fn summary(sent: u32, trips: &[f64], output: Output) {
    let answered = trips.len();
    let lost = if sent == 0 { 0.0 } else { 100.0 * (1.0 - answered as f64 / f64::from(sent)) };
    let (least, most) = trips.iter().fold((f64::MAX, 0.0), |(least, most), us| (us.min(least), us.max(most)));
    let mean = trips.iter().sum::<f64>() / answered.max(1) as f64;
    let spread = trips.iter().map(|us| (us - mean).powi(2)).sum::<f64>() / answered.max(1) as f64;
    let mut value =
        json!({"event": "ping_summary", "sent": sent, "answered": answered, "loss_percent": lost});
    let mut text = format!("{sent} sent, {answered} answered, {lost:.0} % lost");
    if answered > 0 {
        let spread = spread.sqrt();
        if let Some(fields) = value.as_object_mut() {
            let told = [("min_us", least), ("mean_us", mean), ("max_us", most), ("deviation_us", spread)];
            fields.extend(told.map(|(name, us)| (name.to_owned(), us.into())));
        }
        let shown = [least, mean, most, spread].map(people);
        text = format!(
            "{text}; least {}, mean {}, most {}, deviation {}",
            shown[0], shown[1], shown[2], shown[3]
        );
    }
    output.event(&value, &text);
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn describe(who: &Value) -> String {
    let Some(fields) = who.as_object() else { return String::new() };
    let word = |name: &str| match name {
        "handshake_us" => "handshake".to_owned(),
        "id" => "identity".to_owned(),
        "expires_unix" => "expires (unix)".to_owned(),
        other => other.replace('_', " "),
    };
    let line = |(name, value): (&String, &Value)| match value {
        Value::Number(us) if name == "handshake_us" => {
            format!("{:<13} {}", word(name), people(us.as_f64().unwrap_or_default()))
        }
        Value::String(text) => format!("{:<13} {text}", word(name)),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            format!("{:<13} {}", word(name), items.join(", "))
        }
        other => format!("{:<13} {other}", word(name)),
    };
    fields.iter().filter(|(name, _)| *name != "event").map(line).collect::<Vec<_>>().join("\n")
}
