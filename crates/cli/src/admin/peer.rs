//! `peer`: changes whom a running node keeps, trusts and bans.

use super::{At, event, text};
use crate::fail::Fail;
use crate::output::Output;
use serde_json::json;
use std::time::Duration;

/// Change whom a running node keeps connected, trusts and bans. What is changed so lasts until the node stops, bans until
/// they are over: what shall last stands in the configuration.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Keep a peer connected from now on.
    #[command(after_help = "Example: switchboard peer add enode://KEY@203.0.113.7:30303 --data ./data")]
    Add {
        /// Its address, in its wire's form.
        peer: String,
        /// Let it in beyond the slots, too, and never ban it.
        #[arg(long)]
        trust: bool,
        #[command(flatten)]
        at: At,
    },
    /// Keep a peer connected no longer, and end its session.
    #[command(after_help = "Example: switchboard peer remove 5ac6dfb8b80d --data ./data")]
    Remove {
        /// Its address, its id or the beginning of it.
        peer: String,
        /// Let the session go on.
        #[arg(long)]
        keep_session: bool,
        #[command(flatten)]
        at: At,
    },
    /// Let a peer in beyond the slots, and never ban it.
    #[command(after_help = "Example: switchboard peer trust 5ac6dfb8b80d --data ./data")]
    Trust {
        /// Its address, its id or the beginning of it, or WIRE:ID.
        peer: String,
        /// Trust it no longer.
        #[arg(long)]
        not: bool,
        #[command(flatten)]
        at: At,
    },
    /// Keep a peer, an address or a network out for a while, and end its sessions.
    #[command(after_help = "Example: switchboard peer ban 203.0.113.0/24 --for 7d --why spam --data ./data")]
    Ban {
        /// Its id or the beginning of it, WIRE:ID, an IP address or a network.
        peer: String,
        /// For how long.
        #[arg(long = "for", default_value = "1d", value_parser = crate::config::some_time)]
        time: Duration,
        /// Why, for whoever looks later.
        #[arg(long, default_value = "by the operator")]
        why: String,
        #[command(flatten)]
        at: At,
    },
    /// Lift a ban.
    #[command(after_help = "Example: switchboard peer unban 203.0.113.0/24 --data ./data")]
    Unban {
        /// As it was banned.
        peer: String,
        #[command(flatten)]
        at: At,
    },
    /// List the bans.
    #[command(after_help = "Example: switchboard peer bans --data ./data")]
    Bans {
        #[command(flatten)]
        at: At,
    },
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Fail> {
    match command {
        Command::Add { peer, trust, at } => {
            let told = at.post("/v1/peers/add", &json!({"peer": peer, "trusted": trust})).await?;
            let words = format!("{} is kept connected", text(&told, "added"));
            output.event(&event("peer_kept", told), &words);
        }
        Command::Remove { peer, keep_session, at } => {
            let body = json!({"peer": peer, "keep_session": keep_session});
            let told = at.post("/v1/peers/remove", &body).await?;
            let session = if told["session_ended"] == true { ", its session ends" } else { "" };
            let words = format!("{} is not kept connected{session}", text(&told, "removed"));
            output.event(&event("peer_removed", told), &words);
        }
        Command::Trust { peer, not, at } => {
            let told = at.post("/v1/peers/trust", &json!({"peer": peer, "trusted": !not})).await?;
            let words =
                format!("{} is {}", text(&told, "peer"), if not { "trusted no longer" } else { "trusted" });
            output.event(&event("peer_trusted", told), &words);
        }
        Command::Ban { peer, time, why, at } => {
            let body = json!({"peer": peer, "seconds": time.as_secs(), "why": why});
            let told = at.post("/v1/peers/ban", &body).await?;
            let words = format!(
                "{} is banned until {}",
                text(&told["banned"], "who"),
                text(&told["banned"], "until")
            );
            output.event(&event("peer_banned", told), &words);
        }
        Command::Unban { peer, at } => {
            let told = at.post("/v1/peers/unban", &json!({"peer": peer})).await?;
            let words = format!("{} is not banned any more", text(&told, "unbanned"));
            output.event(&event("peer_unbanned", told), &words);
        }
        Command::Bans { at } => {
            let told = at.get("/v1/bans").await?;
            let bans = told["bans"].as_array().map(Vec::as_slice).unwrap_or_default();
            let line = |ban: &serde_json::Value| {
                format!("{} until {}: {}", text(ban, "who"), text(ban, "until"), text(ban, "why"))
            };
            let words: Vec<_> = bans.iter().map(line).collect();
            let words = if words.is_empty() { "nobody is banned".to_owned() } else { words.join("\n") };
            output.event(&event("bans", told), &words);
        }
    }
    Ok(())
}
