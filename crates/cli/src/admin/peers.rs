//! `peers`: who is connected, once or again and again.

use super::{At, bytes, event, span, text};
use crate::fail::Fail;
use crate::output::{Colour, Output, reader_gone};
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

/// List the peers of a running node: direction, wire, address, name, age, round trip, bytes, queue, held bytes.
///
/// Examples: switchboard peers --data ./data; switchboard peers --watch
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: At,
    /// Show them again and again, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// How often, with --watch.
    #[arg(long, default_value = "1s", value_parser = crate::config::some_time, requires = "watch")]
    every: Duration,
    /// One peer with all that is known of it, by its id or the beginning of it.
    #[arg(conflicts_with = "watch")]
    id: Option<String>,
}

/// Clears the screen and goes to its first place.
const CLEAR: &str = "\x1b[H\x1b[J";
/// The shortest time between two looks.
const LEAST: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: &Args, output: &Output) -> Result<(), Fail> {
    if let Some(id) = &args.id {
        if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':') {
            return Err(Fail::usage("an id is made of hex digits, as peers shows it"));
        }
        let peer = args.at.get(&format!("/v1/peers/{id}")).await?;
        let words = serde_json::to_string_pretty(&peer).unwrap_or_default();
        output.event(&event("peer", peer), &words);
        return Ok(());
    }
    let mut before: Option<Value> = None;
    let gone = reader_gone();
    tokio::pin!(gone);
    loop {
        let told = args.at.get("/v1/peers").await?;
        let table =
            table(&told, before.as_ref().map(|was| (was, args.every)), output.width(), output.colour());
        let clear = if args.watch && output.is_screen() { CLEAR } else { "" };
        output.event(&event("peers", told.clone()), &format!("{clear}{table}"));
        if !args.watch {
            return Ok(());
        }
        before = Some(told);
        tokio::select! {
            () = tokio::time::sleep(args.every.max(LEAST)) => {}
            () = &mut gone => return Ok(()),
        }
    }
}

/// Bytes a second since the last look.
fn rate(peer: &Value, before: Option<(&Value, Duration)>, field: &str) -> Option<String> {
    let (before, every) = before?;
    let was = before["peers"]
        .as_array()?
        .iter()
        .find(|was| was["id"] == peer["id"] && was["wire"] == peer["wire"])?;
    let more = peer[field].as_u64()?.checked_sub(was[field].as_u64()?)?;
    Some(format!("{}/s", bytes((more as f64 / every.as_secs_f64()) as u64)))
}

fn table(told: &Value, before: Option<(&Value, Duration)>, width: usize, colour: Colour) -> String {
    let peers = told["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = format!("{} peers\n", peers.len());
    let head = ["WIRE", "DIR", "ID", "ADDRESS", "NAME", "AGE", "RTT", "IN", "OUT", "QUEUED", "HELD", "MARKS"];
    let mut rows: Vec<[String; 12]> = vec![head.map(str::to_owned)];
    for peer in peers {
        let count = |name: &str| peer[name].as_u64().unwrap_or_default();
        let flow = |field: &str| rate(peer, before, field).unwrap_or_else(|| bytes(count(field)));
        let marks = ["static", "trusted", "unconditional"].into_iter().filter(|mark| peer[*mark] == true);
        let rtt = peer["rtt_us"]
            .as_u64()
            .map_or_else(|| "-".to_owned(), |rtt| format!("{:.1} ms", rtt as f64 / 1e3));
        rows.push([
            text(peer, "wire").to_owned(),
            if text(peer, "direction") == "inbound" { "in" } else { "out" }.to_owned(),
            text(peer, "id").chars().take(12).collect(),
            text(peer, "remote").to_owned(),
            text(peer, "name").chars().take(24).collect(),
            span(peer["age_seconds"].as_f64().unwrap_or_default()),
            rtt,
            flow("bytes_in"),
            flow("bytes_out"),
            count("queued").to_string(),
            bytes(count("held_bytes")),
            marks.collect::<Vec<_>>().join(","),
        ]);
    }
    let mut widths = [0; 12];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for (n, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        // What does not fit is left out, so that a narrow terminal keeps one line a peer.
        let line: String = line.trim_end().chars().take(width).collect();
        let _ = writeln!(out, "{}", if n == 0 { colour.strong(&line) } else { line });
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_line_a_peer_whatever_the_width() {
        let peer = json!({"id": "ab".repeat(32), "wire": "devp2p", "direction": "inbound", "remote": "127.0.0.1:1",
            "name": "x".repeat(90), "age_seconds": 90.0, "rtt_us": 1_500, "bytes_in": 4_000, "bytes_out": 10,
            "queued": 1, "held_bytes": 5, "static": true, "trusted": true});
        let told = json!({"peers": [peer]});
        let shown = table(&told, None, 60, Colour::Never);
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 60), "{shown}");
        let shown = table(&told, None, 400, Colour::Never);
        assert!(
            shown.contains("1.5 ms") && shown.contains("4.0 kB") && shown.contains("static,trusted"),
            "{shown}"
        );
        let mut later = told.clone();
        later["peers"][0]["bytes_in"] = json!(6_000);
        let shown = table(&later, Some((&told, Duration::from_secs(2))), 400, Colour::Never);
        assert!(shown.contains("1.0 kB/s"), "{shown}");
    }
}
