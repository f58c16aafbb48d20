//! An attacker with all the addresses of one /16 against a comet node, on a paused clock: whole Switches, real handshakes.
//!
//! ```text
//! attackers ── dial the victim, answer each of its questions with 250 of their own addresses ──▶ victim
//! honest    ── each in a /16 of its own; one seed knows them; they come and go                ──▶ victim
//! ```
//!
//! Every half minute one honest peer that the victim dialled leaves, and is back two minutes later. The attackers always
//! stay. So each free slot of the victim is a chance for them, and what they once hold they keep.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::{
    BoxFuture, Candidate, ChannelId, ChannelIo, ChannelSpec, Direction, Limits, Peer, PeerId, Protocol,
    ProtocolError, ProtocolSpec, Switch, SwitchBuilder,
};
use switchboard_comet::pex::book::Book;
use switchboard_comet::pex::message::MAX_MESSAGE;
use switchboard_comet::pex::{Message, Options, PeerAddress, Pex};
use switchboard_comet::{COMET, Comet, CometConfig, NodeKey};
use switchboard_simnet::{Link, SimNet, run};
use tokio::time::sleep;

const PORT: u16 = 26_656;
/// Outbound slots of an honest node.
const OUTBOUND: usize = 10;
const SEED: u16 = 0;
const VICTIM: u16 = 1;
const HONEST: std::ops::Range<u16> = 2..32;
/// Attackers that are really there. Addresses that only stand in answers come on top.
const EVIL: std::ops::Range<u16> = 1_000..1_060;
/// Those of them that dial the victim themselves; the others wait to be dialled.
const DIALLING: u16 = 20;

fn key(n: u16) -> NodeKey {
    let mut seed = [9; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    NodeKey::from_seed(&seed).unwrap()
}

/// The attackers share 66.66.0.0/16, each in a /24 of its own, of which few would be let in; everybody else has a /16.
fn ip(n: u16) -> IpAddr {
    match n.checked_sub(EVIL.start) {
        Some(n) => Ipv4Addr::new(66, 66, n as u8, 1).into(),
        None => Ipv4Addr::new(20, n as u8, 0, 1).into(),
    }
}

fn is_evil(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[..2] == [66, 66])
}

fn address(n: u16) -> PeerAddress {
    PeerAddress::new(key(n).id(), ip(n), PORT)
}

fn candidate(n: u16) -> Candidate {
    Candidate::new(COMET, ip(n).to_string(), PORT).id(PeerId::new(COMET, &key(n).id().0).unwrap())
}

/// Answers every question with as many of the attackers' addresses as an answer holds.
struct Liar;

impl Protocol for Liar {
    fn spec(&self) -> ProtocolSpec {
        let channel = ChannelSpec::new(0, 1).send_queue(10).recv_limit(MAX_MESSAGE);
        ProtocolSpec::new("pex", 1, vec![channel])
    }

    fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            while let Some((_, message)) = io.recv().await {
                if message == Message::request() {
                    let lies: Vec<_> = (EVIL.start..EVIL.start + 250).map(address).collect();
                    io.send(ChannelId(0), Message::answer(&lies)).await?;
                }
            }
            Ok(())
        })
    }
}

fn started(net: &SimNet, n: u16, slots: (usize, usize)) -> SwitchBuilder {
    let mut config = CometConfig::new(Arc::new(key(n)), "sim-net");
    // The attacker's hosts may be many behind one address, too.
    config.allow_duplicate_ip = n >= EVIL.start;
    SwitchBuilder::new(net.host(ip(n)).env())
        .wire(Arc::new(Comet::new(config).unwrap()))
        .limits(Limits::default().with(|limits| limits.wires = BTreeMap::from([(COMET, slots)])))
        .listen(SocketAddr::new(ip(n), PORT), &[])
}

async fn honest(net: &SimNet, n: u16) -> (Switch, Pex) {
    let env = net.host(ip(n)).env();
    let mut options = Options::new(key(n).id());
    options.outbound = OUTBOUND;
    options.state.seed_mode = n == SEED;
    if n != SEED {
        options.state.seeds = vec![address(SEED).to_net_address()];
    }
    let pex = Pex::new(Book::with_key(format!("{n:024x}"), true), options, env);
    let slots = if n == SEED { (256, 32) } else { (40, OUTBOUND) };
    (started(net, n, slots).service(Arc::new(pex.clone())).start().await.unwrap(), pex)
}

async fn attackers(net: &SimNet) -> Vec<Switch> {
    let mut all = Vec::new();
    for n in EVIL {
        let mut liar = started(net, n, (100, 100)).protocol_on(COMET, Arc::new(Liar));
        if n < EVIL.start + DIALLING {
            liar = liar.static_peer(candidate(VICTIM));
        }
        all.push(liar.start().await.unwrap());
    }
    all
}

/// Outbound peers of the victim, and how many of them the attacker has.
fn held(victim: &Switch) -> (usize, usize) {
    let outbound = victim.peers().directed(Direction::Outbound);
    let evil = outbound.iter().filter(|peer| is_evil(peer.remote_addr().ip())).count();
    (outbound.len(), evil)
}

/// The honest nodes, some of which are away.
struct Network {
    net: SimNet,
    there: BTreeMap<u16, Switch>,
    /// Who is away, and for how many rounds yet.
    away: BTreeMap<u16, u32>,
}

impl Network {
    /// One round of half a minute: an honest peer of the victim leaves, and whoever was away long enough is back.
    async fn churn(&mut self, victim: &Switch) {
        let dialled = victim.peers().directed(Direction::Outbound);
        let leaves = self.there.iter().find(|(_, switch)| {
            let id = switch.local_id(COMET).unwrap();
            dialled.iter().any(|peer| peer.id() == id)
        });
        if let Some(n) = leaves.map(|(n, _)| *n) {
            self.there.remove(&n).unwrap().stop().await;
            self.away.insert(n, 4);
        }
        for rounds in self.away.values_mut() {
            *rounds -= 1;
        }
        let back: Vec<u16> = self.away.iter().filter(|(_, rounds)| **rounds == 0).map(|(n, _)| *n).collect();
        for n in back {
            self.away.remove(&n);
            let (switch, _) = honest(&self.net, n).await;
            self.there.insert(n, switch);
        }
    }
}

#[test]
fn one_subnet_gets_a_tenth_of_the_outbound_slots() {
    let (told, _) = run::once(11, |net| async move {
        net.every_link(Link::new().latency(Duration::from_millis(40)));
        let (victim, pex) = honest(&net, VICTIM).await;
        let seed = honest(&net, SEED).await.0;
        let mut network = Network { net: net.clone(), there: BTreeMap::new(), away: BTreeMap::new() };
        for n in HONEST {
            network.there.insert(n, honest(&net, n).await.0);
        }
        sleep(Duration::from_secs(120)).await;
        let attackers = attackers(&net).await;
        let (mut worst, mut rounds_held, mut least) = (0, 0, OUTBOUND);
        for _ in 0..60 {
            network.churn(&victim).await;
            let mut here = 0;
            for _ in 0..6 {
                sleep(Duration::from_secs(5)).await;
                here = held(&victim).1.max(here);
            }
            worst = worst.max(here);
            rounds_held += u32::from(here > 0);
            least = least.min(held(&victim).0);
        }
        let honest = victim.peers().list().iter().filter(|peer| !is_evil(peer.remote_addr().ip())).count();
        let known =
            pex.look(|state| state.book().sorted().iter().filter(|known| is_evil(known.address.ip)).count());
        for switch in network.there.values().chain(&attackers).chain([&seed, &victim]) {
            switch.stop().await;
        }
        assert!(known > 20, "the victim heard the lies: {known}");
        // Some who come back dial the victim before it dials them.
        assert!(honest > OUTBOUND, "{honest} honest peers");
        assert!(rounds_held > 0, "the attacker never got a slot, so the test shows nothing");
        assert!(worst <= OUTBOUND / 10, "{worst} of {OUTBOUND} slots at some time");
        format!(
            "at most {worst} of {OUTBOUND} outbound slots, in {rounds_held} of 60 half minutes; {known} of its addresses in the \
             book; the victim had at least {least} outbound peers at any time, and has {honest} honest ones at the end"
        )
    });
    eprintln!("{told}");
}
