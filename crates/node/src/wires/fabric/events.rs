//! Events of a member, as JSON and as text. Remote text is escaped.

use serde_json::{Value, json};
use switchboard::text::printable;
use switchboard_fabric_gossip::shell::{ShellEvent, StateSaid};
use switchboard_fabric_gossip::{Event, Member};

/// A member that is alive, or dead.
pub fn member(event: &str, member: &Member) -> Option<(Value, String)> {
    let endpoint = member.preferred().map(|at| printable(at.as_str()));
    let sign = if event == "member_alive" { "+" } else { "-" };
    let text =
        format!("{sign} {} {} {}", member.org, endpoint.as_deref().unwrap_or("nowhere"), member.pki_id);
    let value = json!({"event": event, "pki_id": member.pki_id.to_string(), "endpoint": endpoint,
        "org": member.org.to_string()});
    Some((value, text))
}

/// What the shell tells.
pub fn shell_event(event: &ShellEvent) -> Option<(Value, String)> {
    Some(match event {
        ShellEvent::Gossip(event) => return gossip_event(event),
        ShellEvent::Block { channel, number, sha256 } => (
            json!({"event": "block", "channel": channel.to_string(), "number": number, "sha256": hex::encode(sha256)}),
            format!("{channel} block {number}"),
        ),
        ShellEvent::State { channel, said } => state(&channel.to_string(), said),
        ShellEvent::PrivateData { channel, tx_id, namespace, collection, block, source } => {
            let (tx_id, namespace, collection) =
                (printable(tx_id), printable(namespace), printable(collection));
            let source = format!("{source:?}").to_lowercase();
            let text = format!("{channel} private data of {namespace}/{collection} ({source})");
            let value = json!({"event": "private_data", "channel": channel.to_string(), "tx_id": tx_id,
                "namespace": namespace, "collection": collection, "block": block, "source": source});
            (value, text)
        }
        ShellEvent::PrivatePushed { channel, tx_id, result } => {
            let (channel, tx_id) = (channel.to_string(), printable(tx_id));
            let reason = result.as_ref().err().map(|why| printable(why));
            let text = match &reason {
                None => format!("{channel} private data of {tx_id} pushed"),
                Some(why) => format!("{channel} private data of {tx_id} is not pushed: {why}"),
            };
            let value = json!({"event": "private_pushed", "channel": channel, "tx_id": tx_id, "ok": result.is_ok(),
                "acks": result.as_ref().ok(), "reason": reason});
            (value, text)
        }
        // The operator's own folder: what is to be done about it stands at the end.
        ShellEvent::Source { channel, why } => (
            json!({"event": "block_source", "channel": channel.to_string(), "reason": why}),
            format!("{channel} blocks cannot be read: {why}"),
        ),
        _ => return None,
    })
}

fn state(channel: &str, said: &StateSaid) -> (Value, String) {
    match said {
        StateSaid::Straggler { height, seen } => (
            json!({"event": "straggler", "channel": channel, "height": height, "seen": seen}),
            format!("{channel} falls behind at {height}, block {seen} was gossiped: turn on --state.enabled"),
        ),
        StateSaid::Stalled { next } => (
            json!({"event": "stalled", "channel": channel, "next": next}),
            format!("{channel} block {next} cannot be had"),
        ),
        StateSaid::Refused { from, why } => (
            json!({"event": "refused", "channel": channel, "pki_id": from.map(|id| id.to_string()),
                "reason": printable(why)}),
            format!("{channel} refused: {}", printable(why)),
        ),
        StateSaid::Ledger(why) => (
            json!({"event": "ledger_failed", "channel": channel, "reason": printable(why)}),
            format!("{channel} ledger: {}", printable(why)),
        ),
        StateSaid::Missing { block, count } => (
            json!({"event": "private_missing", "channel": channel, "block": block, "count": count}),
            format!("{channel} block {block} lacks {count} private sets"),
        ),
        _ => (json!({"event": "state", "channel": channel}), String::new()),
    }
}

fn gossip_event(event: &Event) -> Option<(Value, String)> {
    Some(match event {
        Event::MemberAlive(alive) => return member("member_alive", alive),
        Event::MemberDead(dead) => return member("member_dead", dead),
        Event::MemberForgotten(id) => {
            (json!({"event": "member_forgotten", "pki_id": id.to_string()}), format!("{id} is forgotten"))
        }
        Event::SamePkiId { endpoint } => {
            let endpoint = endpoint.as_ref().map(|at| printable(at.as_str()));
            let text =
                format!("our own PKI-ID is used at {}", endpoint.as_deref().unwrap_or("an unknown place"));
            (json!({"event": "same_pki_id", "endpoint": endpoint}), text)
        }
        Event::StateInfo { channel, pki_id, height, left, chaincodes, .. } => {
            let chaincodes: Vec<_> = chaincodes
                .iter()
                .map(|c| json!({"name": printable(&c.name), "version": printable(&c.version)}))
                .collect();
            let what = if *left { "left".to_owned() } else { format!("height {height}") };
            let value = json!({"event": "state_info", "channel": channel.to_string(), "pki_id": pki_id.to_string(),
                "height": height, "left": left, "chaincodes": chaincodes});
            (value, format!("{channel} {pki_id} {what}"))
        }
        Event::Leader { channel, pki_id, us } => {
            let id = pki_id.map(|id| id.to_string());
            let text = format!("{channel} is led by {}", id.as_deref().unwrap_or("nobody"));
            (json!({"event": "leader", "channel": channel.to_string(), "pki_id": id, "us": us}), text)
        }
        Event::Refused { from, why, count } => (
            json!({"event": "refused", "pki_id": from.to_string(), "reason": why, "count": count}),
            format!("refused {count} of {from}: {why}"),
        ),
        Event::IdentityPurged { pki_id, why } => (
            json!({"event": "identity_purged", "pki_id": pki_id.to_string(), "reason": why}),
            format!("{pki_id} is no member any more: {why}"),
        ),
        Event::ConnectFailed { endpoint, why } => {
            let (endpoint, why) = (printable(endpoint.as_str()), printable(why));
            let text = format!("cannot connect to {endpoint}: {why}");
            (json!({"event": "connect_failed", "endpoint": endpoint, "reason": why}), text)
        }
        Event::SigningFailed(why) => (
            json!({"event": "signing_failed", "reason": printable(why)}),
            format!("cannot sign: {}", printable(why)),
        ),
        // Told by the channel's ledger, when it is stored.
        _ => return None,
    })
}
