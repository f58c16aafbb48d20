//! Packets of discv4 that a node answers, a second of its processor's time: ours and go-ethereum's in one run.
#![allow(clippy::disallowed_methods)] // real programs, in real time
#![cfg(test)]

use serde_json::json;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use switchboard_discv::v4::packet::{Endpoint, Packet};
use switchboard_enr::keccak::keccak256;
use switchboard_enr::{Enode, NodeKey};
use switchboard_interop::{Program, text};

/// Nodes that the one that is asked knows: its far buckets are full, as in the network.
const KNOWN: u8 = 200;
const PINGS: usize = 20_000;
const QUERIES: usize = 10_000;
/// Packets under way at once: fewer than a socket's buffer holds.
const WINDOW: usize = 32;
/// Kinds of packets, and where a packet says which it is (spec: discv4.md).
const PING: u8 = 1;
const PONG: u8 = 2;
const NEIGHBOURS: u8 = 4;
const KIND_AT: usize = 97;

fn expiration() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600
}

/// Somebody who asks.
struct Asker {
    socket: UdpSocket,
    key: NodeKey,
    whom: SocketAddr,
}

impl Asker {
    /// Proves its address, and lets the other prove its own.
    fn bonded(seed: u8, whom: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let asker = Self { socket, key: NodeKey::from_bytes(&[seed; 32]).unwrap(), whom };
        let (mut answered, mut asked) = (false, false);
        for _ in 0..10 {
            if !answered {
                asker.socket.send_to(&asker.ping(0), whom).unwrap();
            }
            while let Some(packet) = asker.receive() {
                answered |= packet[KIND_AT] == PONG;
                asked |= asker.answers(&packet);
                if answered && asked {
                    return asker;
                }
            }
        }
        panic!("no proof of addresses: answered {answered}, asked {asked}");
    }

    fn ping(&self, n: u64) -> Vec<u8> {
        let (from, to) = (Endpoint::new(self.socket.local_addr().unwrap(), 0), Endpoint::new(self.whom, 0));
        Packet::Ping { from, to, expiration: expiration() + n, seq: None }.encode(&self.key).0
    }

    fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2_048];
        let (len, _) = self.socket.recv_from(&mut buffer).ok()?;
        Some(buffer[..len].to_vec())
    }

    /// Answers a ping; whether it was one.
    fn answers(&self, packet: &[u8]) -> bool {
        if packet[KIND_AT] != PING {
            return false;
        }
        let (to, ping) = (Endpoint::new(self.whom, 0), packet[..32].try_into().unwrap());
        let pong = Packet::Pong { to, ping, expiration: expiration(), seq: None };
        self.socket.send_to(&pong.encode(&self.key).0, self.whom).unwrap();
        true
    }

    /// Sends packets and counts the answers of a kind; pings in between are answered.
    fn flood(&self, packets: &[Vec<u8>], kind: u8, each: usize) -> usize {
        let (mut sent, mut got, count) = (0, 0, packets.len());
        let start = Instant::now();
        while got < count * each && start.elapsed() < Duration::from_secs(60) {
            while sent < count && sent < got / each + WINDOW {
                self.socket.send_to(&packets[sent], self.whom).unwrap();
                sent += 1;
            }
            match self.receive() {
                Some(packet) if packet[KIND_AT] == kind => got += 1,
                Some(packet) => _ = self.answers(&packet),
                // Some were lost: what was sent is all that will be answered.
                None if sent == count => break,
                None => got = (got / each + WINDOW) * each,
            }
        }
        got.min(count * each) / each
    }
}

/// Time of the processor that a program has used.
fn used(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // Linux counts in hundredths of a second for programs.
    Duration::from_millis(ticks * 10)
}

/// Answers a second of processor time, to pings and to findnode.
fn rates(node: &Program, enode: &str) -> [f64; 2] {
    let enode = Enode::parse(enode).unwrap();
    let at = enode.endpoint.unwrap();
    let whom = SocketAddr::new(at.host.parse().unwrap(), at.udp);
    let askers: Vec<_> = (1..=KNOWN).map(|seed| Asker::bonded(seed, whom)).collect();
    let asker = &askers[0];
    let pings: Vec<_> = (0..PINGS as u64).map(|n| asker.ping(n)).collect();
    let query = |n: usize| {
        // No two are alike.
        let mut target = [0; 64];
        target[..32].copy_from_slice(&keccak256(&n.to_be_bytes()));
        Packet::FindNode { target, expiration: expiration() }.encode(&asker.key).0
    };
    let queries: Vec<_> = (0..QUERIES).map(query).collect();
    let measure = |packets: &[Vec<u8>], kind, each| {
        let (before, count) = (used(node.id()), packets.len());
        let answered = asker.flood(packets, kind, each);
        let took = used(node.id()).checked_sub(before).unwrap();
        assert!(answered * 10 >= count * 9, "{answered} of {count} were answered");
        answered as f64 / took.as_secs_f64()
    };
    // An answer to findnode with 16 nodes comes in two packets.
    [measure(&pings, PONG, 1), measure(&queries, NEIGHBOURS, 2)]
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn packets_a_second_and_core_beside_go_ethereum() {
    let mut ours =
        Program::start("switchboard", &["bootnode", "--json", "--stdin-stop", "--listen", "127.0.0.1:0"]);
    let url = text(&ours.wait("ready"), "devp2p.enode").to_owned();
    let our_rates = rates(&ours, &url);
    assert_eq!(ours.stop(), 0);
    let mut theirs = Program::start("gethpeer", &["serve", "--protocols", "bench", "--discovery", "v4"]);
    let url = text(&theirs.wait("ready"), "enode").to_owned();
    let their_rates = rates(&theirs, &url);
    assert_eq!(theirs.stop(), 0);
    let times: Vec<_> = our_rates.iter().zip(&their_rates).map(|(ours, theirs)| ours / theirs).collect();
    println!(
        "{}",
        json!({
            "answers a second and core": {"ping": {"ours": our_rates[0], "geth": their_rates[0], "times": times[0]},
                "findnode": {"ours": our_rates[1], "geth": their_rates[1], "times": times[1]}},
        })
    );
    // Far below what is measured on a quiet machine: this fails when something went badly wrong.
    assert!(times.iter().all(|times| *times > 1.0), "{times:?}");
}
