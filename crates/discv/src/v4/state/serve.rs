//! What others ask of us.

use super::ask::{Goal, Why};
use super::{AMPLIFICATION, Endpoint, State};
use crate::addr::may_relay;
use crate::node::{Node, NodeId};
use crate::table::BUCKET_SIZE;
use crate::time::Now;
use crate::v4::packet::{Hash, MAX_PACKET, Packet};
use std::net::SocketAddr;

impl State {
    /// A ping: answered to everybody within the budget; a node that has not proven its address is pinged back.
    pub(super) fn on_ping(&mut self, node: Node, hash: Hash, len: usize, now: Now) {
        let (id, at) = (node.id(), node.udp());
        let proven = self.db.is_proven(&id, at.ip(), now);
        if !proven {
            let allowance = self.allowance.touch(at.ip(), || 0);
            *allowance = (*allowance + len * AMPLIFICATION).min(MAX_PACKET * AMPLIFICATION);
            if !self.stranger_answers.take(self.config.rates.stranger_answers, now.mono) {
                self.counters.over_budget += 1;
                return;
            }
        }
        let to = Endpoint::new(at, node.tcp().map_or(0, |tcp| tcp.port()));
        let pong = Packet::Pong { to, ping: hash, expiration: Self::expiration(now), seq: self.seq() };
        let bytes = pong.encode(&*self.identity).0;
        if !proven && !self.spend(at, bytes.len()) {
            return;
        }
        self.send(at, bytes);
        if proven {
            self.db.pinged(&id, at.ip(), now);
            // Its proof may be of another port: it counts in the table once a check was answered.
            self.table.heard(node);
        } else {
            *self.pinged.touch((id, at.ip()), || now.unix) = now.unix;
            // A ping of ours that is under way proves as well.
            if !self.asks.is_pinging(&id, at.ip()) {
                self.ask(node, Goal::Ping, Why::Back, now);
            }
        }
        self.they_pinged(&id, at.ip(), now);
    }

    /// Takes bytes from what may go to an address that proved nothing.
    pub(super) fn spend(&mut self, to: SocketAddr, bytes: usize) -> bool {
        let allowance = self.allowance.touch(to.ip(), || 0);
        let enough = *allowance >= bytes;
        if enough {
            *allowance -= bytes;
        } else {
            self.counters.over_budget += 1;
        }
        enough
    }

    pub(super) fn on_find_node(&mut self, id: NodeId, from: SocketAddr, target: &[u8; 64], now: Now) {
        if !self.db.is_proven(&id, from.ip(), now) {
            self.counters.unproven += 1;
            return;
        }
        let mut near = self.table.closest_to_tell(&NodeId::of_key(target), BUCKET_SIZE);
        near.retain(|node| may_relay(from.ip(), node.ip()));
        let packets = self.told.packets(near, &*self.identity, now);
        packets.iter().for_each(|packet| self.send(from, packet.clone()));
    }

    pub(super) fn on_enr_request(&mut self, id: NodeId, from: SocketAddr, hash: Hash, now: Now) {
        if !self.db.is_proven(&id, from.ip(), now) {
            self.counters.unproven += 1;
            return;
        }
        if let Some(record) = &self.record {
            let packet = Packet::EnrResponse { request: hash, record: record.encode() };
            let bytes = packet.encode(&*self.identity).0;
            self.send(from, bytes);
        }
    }
}
