//! `status`: what a running node says of itself.

use super::{At, bytes, event, span, text};
use crate::fail::Fail;
use crate::output::{Colour, Output};
use serde_json::Value;
use std::fmt::Write;

/// Say how a running node does: role, wires, peers, memory, bans, services, certificates.
///
/// Example: switchboard status --data ./data
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: At,
}

pub(crate) async fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    let told = args.at.get("/v1/node").await?;
    output.event(&event("status", told.clone()), &words(&told, output.colour()));
    Ok(())
}

fn words(told: &Value, colour: Colour) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<12} {value}");
    };
    let ready = if told["ready"] == true { colour.good("ready") } else { colour.bad("not ready") };
    let up = span(told["uptime_seconds"].as_f64().unwrap_or_default());
    line(
        "node",
        &format!("{} {}, {ready}, up {up}, pid {}", text(told, "role"), text(told, "version"), told["pid"]),
    );
    if let Some(data) = told["data"].as_str() {
        line("data", data);
    }
    for place in told["wires"]["listening"].as_array().into_iter().flatten() {
        let wires: Vec<_> =
            place["wires"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        line("listening", &format!("{} ({})", text(place, "address"), wires.join(", ")));
    }
    for (wire, count) in told["peers"].as_object().into_iter().flatten() {
        let of = |name: &str| count[name].to_string();
        let shown = format!(
            "{} of {} inbound, {} of {} outbound",
            of("inbound"),
            of("inbound_slots"),
            of("outbound"),
            of("outbound_slots")
        );
        line(wire, &shown);
    }
    if let (Some(held), Some(most)) = (told["held_bytes"].as_u64(), told["held_bytes_most"].as_u64()) {
        line("held", &format!("{} of {}", bytes(held), bytes(most)));
        line("bans", &told["bans"].to_string());
    }
    for service in told["services"].as_array().into_iter().flatten() {
        let detail = service["detail"].as_str().map(|detail| format!(": {detail}")).unwrap_or_default();
        line("service", &format!("{} {}{detail}", text(service, "name"), text(service, "state")));
    }
    for found in told["certificates"].as_array().into_iter().flatten() {
        let days = found["days_left"].as_i64().unwrap_or_default();
        let left = if days < 0 { "expired".to_owned() } else { format!("{days} days left") };
        let left = if found["warning"] == true { colour.bad(&left) } else { left };
        let shown = format!(
            "{} {}, until {}, {left}",
            text(found, "wire"),
            text(found, "what"),
            text(found, "expires")
        );
        line("certificate", &shown);
    }
    line("log", text(told, "log"));
    out.trim_end().to_owned()
}
