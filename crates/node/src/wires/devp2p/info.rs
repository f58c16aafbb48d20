//! What a node and its peers are, in the shape of go-ethereum's `admin_nodeInfo` and `admin_peers`.
//!
//! ```text
//!   node_info   { id, name, enode, enr, ip, ports: {discovery, listener}, listenAddr, protocols: {NAME: …} }
//!   peer_info   { enode, id, name, caps: [NAME/VERSION …], network: {localAddress, remoteAddress, inbound, trusted, static},
//!                 protocols: {NAME: … or "handshake"} }
//! ```
//! (go-ethereum p2p/server.go `NodeInfo`, p2p/peer.go `PeerInfo`)
//!
//! Limits: text of a peer is escaped. `enr` of a peer is left out: the wire does not carry it.

use crate::builder::Node;
use serde_json::{Map, Value, json};
use switchboard::protocol::{Info, Value as InfoValue};
use switchboard::text::printable;
use switchboard::{Direction, Peer};
use switchboard_devp2p::{DEVP2P, Devp2pConfig};
use switchboard_enr::{Enode, Record};

fn value(info: Info) -> Value {
    let value = |value| match value {
        InfoValue::Text(text) => Value::from(text),
        InfoValue::Number(number) => number.into(),
        InfoValue::Flag(flag) => flag.into(),
        _ => Value::Null,
    };
    Value::Object(info.into_iter().map(|(name, of)| (name.to_owned(), value(of))).collect())
}

/// The node itself; `None` where it does not serve this wire.
#[must_use]
pub fn node_info(node: &Node) -> Option<Value> {
    let ready = node.ready();
    let own = ready.get(DEVP2P)?;
    let text = |name: &str| own.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (enode, enr) = (text("enode"), text("enr"));
    let at = Enode::parse(&enode).ok().and_then(|enode| enode.endpoint);
    let record = Record::parse(&enr).ok();
    let ip = record.and_then(|record| record.entries().ip()).map(|ip| ip.to_string());
    let ip = ip.or_else(|| at.as_ref().map(|at| at.host.clone())).unwrap_or_default();
    let mut listening = node.switch().listening().iter().filter(|(_, wires)| wires.contains(&DEVP2P));
    let listen = listening.next().map(|(addr, _)| addr.to_string()).unwrap_or_default();
    let config = node.config();
    // What the protocols of this node tell of themselves, each peer's session tells; without one there is their name.
    let protocols: Map<_, _> =
        config.protocols.iter().map(|name| (name.as_str().to_owned(), Value::from("unknown"))).collect();
    Some(json!({
        "id": text("id"),
        "name": Devp2pConfig::CLIENT_NAME,
        "enode": enode,
        "enr": enr,
        "ip": ip,
        "ports": {
            "discovery": at.as_ref().map_or(0, |at| at.udp),
            "listener": at.as_ref().map_or(0, |at| at.tcp),
        },
        "listenAddr": listen,
        "protocols": protocols,
    }))
}

/// One peer; `None` for a peer of another wire.
#[must_use]
pub fn peer_info(peer: &Peer) -> Option<Value> {
    if peer.id().wire() != DEVP2P {
        return None;
    }
    let info = peer.info();
    let key = info.fields.iter().find(|(name, _)| *name == "public_key").map(|(_, key)| printable(key));
    let (id, remote) = (hex::encode(peer.id().as_bytes()), peer.remote_addr());
    let protocols: Map<_, _> = peer
        .protocol_infos()
        .into_iter()
        .map(|(name, info)| (name.to_owned(), info.map_or_else(|| "handshake".into(), value)))
        .collect();
    Some(json!({
        "enode": format!("enode://{}@{remote}", key.unwrap_or_default()),
        "id": id,
        "name": printable(&info.name),
        "caps": info.capabilities.iter().map(|cap| printable(cap)).collect::<Vec<_>>(),
        "network": {
            "localAddress": peer.local_addr().map(|at| at.to_string()).unwrap_or_default(),
            "remoteAddress": remote.to_string(),
            "inbound": peer.direction() == Direction::Inbound,
            "trusted": peer.is_trusted(),
            "static": peer.is_static(),
        },
        "protocols": protocols,
    }))
}
