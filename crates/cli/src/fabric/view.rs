//! What an observer sees of each channel: who leads it, how high its peers are and how far behind.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use switchboard::text::printable;
use switchboard_fabric_gossip::{Channel, Gossip};

/// Channels as they were told last.
#[derive(Default)]
pub(super) struct Views {
    told: BTreeMap<Channel, Value>,
}

impl Views {
    /// The channels that look different from what was told last.
    pub(super) fn changed(&mut self, gossip: &Gossip) -> Vec<(Value, String)> {
        let names: Vec<Channel> = gossip.channels().map(|(name, _)| name.clone()).collect();
        self.told.retain(|name, _| names.contains(name));
        let mut changed = Vec::new();
        for name in names {
            let (value, text) = view(gossip, &name);
            if self.told.get(&name) != Some(&value) {
                self.told.insert(name, value.clone());
                changed.push((value, text));
            }
        }
        changed
    }
}

fn view(gossip: &Gossip, name: &Channel) -> (Value, String) {
    let views = gossip.peers_of_channel(name);
    let height = views.iter().map(|view| view.height).max().unwrap_or(0);
    let mut furthest = None;
    let mut peers = Vec::new();
    for view in &views {
        let lag = height - view.height;
        let member = gossip.member(&view.pki_id);
        let endpoint = member.and_then(|member| member.preferred()).map(|at| printable(at.as_str()));
        if lag > 0 && furthest.as_ref().is_none_or(|(most, _)| lag > *most) {
            furthest = Some((lag, endpoint.clone().unwrap_or_else(|| view.pki_id.to_string())));
        }
        peers.push(json!({"pki_id": view.pki_id.to_string(), "endpoint": endpoint,
            "org": member.map(|member| member.org.to_string()), "height": view.height, "lag": lag}));
    }
    let behind = views.iter().filter(|view| view.height < height).count();
    let leader = gossip.leader(name).map(|id| id.to_string());
    let mut text = format!(
        "{name} height {height}, led by {}, {} peers, {behind} behind",
        leader.as_deref().unwrap_or("nobody known"),
        views.len()
    );
    if let Some((lag, who)) = furthest {
        text.push_str(&format!(", furthest {who} by {lag}"));
    }
    let value = json!({"event": "channel", "channel": name.to_string(), "leader": leader, "height": height, "peers": peers});
    (value, text)
}
