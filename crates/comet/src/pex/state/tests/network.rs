//! A network of states: an event queue, nothing else. Same seed, same run.

use super::*;
use bytes::Bytes;
use std::collections::BTreeSet;

const MAX_OUTBOUND: usize = 10;
const MAX_INBOUND: usize = 40;
const LATENCY: u64 = 50;

#[derive(Debug)]
enum Event {
    Tick(u32),
    Dialled(u32, NetAddress),
    Message { to: u32, from: u32, bytes: Bytes },
    Close(u32, u32),
}

struct Node {
    state: State,
    outbound: BTreeSet<u32>,
    inbound: BTreeSet<u32>,
    dialing: usize,
}

struct Network {
    nodes: Vec<Node>,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    millis: u64,
    start: Now,
    rng: ChaCha20Rng,
    events: u64,
}

fn number(id: &NodeId) -> u32 {
    u32::from_be_bytes(id.0[..4].try_into().unwrap())
}

impl Network {
    /// Node 0 is a seed; the others know it and nobody else. They start within ten seconds.
    fn new(count: u32, seed: u64) -> Self {
        let (start, mut rng) = (Clock::new().0, rng(seed));
        let node = |n: u32, rng: &mut ChaCha20Rng| {
            let seeds = if n == 0 { vec![] } else { vec![at(0).to_net_address()] };
            let config = Config { seed_mode: n == 0, seeds, ..Config::default() };
            let mut state = super::state(config, 0..0, start, rng);
            state.book_mut().set_own_id(id(n));
            Node { state, outbound: BTreeSet::new(), inbound: BTreeSet::new(), dialing: 0 }
        };
        let nodes = (0..count).map(|n| node(n, &mut rng)).collect();
        let mut network =
            Self { nodes, queue: BTreeMap::new(), sequence: 0, millis: 0, start, rng, events: 0 };
        for n in 0..count {
            let at = if n == 0 { 0 } else { crate::pex::below(&mut network.rng, 10_000) as u64 };
            network.post(at, Event::Tick(n));
        }
        network
    }

    fn post(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.millis + after, self.sequence), event);
    }

    fn now(&self) -> Now {
        let span = Duration::from_millis(self.millis);
        Now { at: self.start.at + span, wall: self.start.wall.plus(span) }
    }

    fn slots(&self, n: u32) -> Slots {
        let node = &self.nodes[n as usize];
        Slots { outbound: node.outbound.len(), dialing: node.dialing, max_outbound: MAX_OUTBOUND }
    }

    fn run_until(&mut self, millis: u64) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > millis {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.millis = at;
            self.events += 1;
            self.handle(event);
        }
        self.millis = millis;
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Tick(n) => {
                let slots = self.slots(n);
                let state = &mut self.nodes[n as usize].state;
                let actions = state.tick(slots, now, &mut self.rng);
                let wait = state.wake_at().saturating_duration_since(now.at).as_millis() as u64;
                self.post(wait.max(1), Event::Tick(n));
                self.act(n, actions);
            }
            Event::Dialled(n, address) => self.dialled(n, &address),
            Event::Message { to, from, bytes } => {
                let state = &mut self.nodes[to as usize].state;
                let actions = state.received(&id(from), &bytes, now, &mut self.rng);
                self.act(to, actions);
            }
            Event::Close(a, b) => {
                for (here, there) in [(a, b), (b, a)] {
                    let node = &mut self.nodes[here as usize];
                    if node.outbound.remove(&there) | node.inbound.remove(&there) {
                        node.state.disconnected(&id(there), now);
                        self.pump(here);
                    }
                }
            }
        }
    }

    fn dialled(&mut self, n: u32, address: &NetAddress) {
        let (now, to) = (self.now(), number(&address.id().unwrap()));
        let busy = |node: &Node, other| node.outbound.contains(&other) || node.inbound.contains(&other);
        let target = &self.nodes[to as usize];
        let full = to != 0 && target.inbound.len() >= MAX_INBOUND;
        let result = if busy(target, n) {
            DialResult::Busy
        } else if full || at(to).to_net_address() != *address {
            DialResult::Failed
        } else {
            DialResult::Connected
        };
        let node = &mut self.nodes[n as usize];
        node.dialing -= 1;
        node.state.outcome(address, result, now);
        if result == DialResult::Connected {
            node.outbound.insert(to);
            let actions = node.state.connected(peer(at(to), Direction::Outbound), now, &mut self.rng);
            self.nodes[to as usize].inbound.insert(n);
            let other = &mut self.nodes[to as usize].state;
            let theirs = other.connected(peer(at(n), Direction::Inbound), now, &mut self.rng);
            self.act(to, theirs);
            self.act(n, actions);
        }
        self.pump(n);
    }

    fn act(&mut self, n: u32, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Ask(to) => {
                    let event = Event::Message { to: number(&to), from: n, bytes: Message::request() };
                    self.post(LATENCY, event);
                }
                Action::Answer { peer, addresses } => {
                    let bytes = Message::answer(&addresses);
                    self.post(LATENCY, Event::Message { to: number(&peer), from: n, bytes });
                }
                Action::HangUp { peer, .. } => self.post(LATENCY + 1, Event::Close(n, number(&peer))),
                Action::Breach { peer, rule, .. } => {
                    panic!("{n} says {} broke a rule: {rule}", number(&peer))
                }
                Action::Wake | Action::Save => {}
            }
        }
        self.pump(n);
    }

    fn pump(&mut self, n: u32) {
        let now = self.now();
        loop {
            let slots = self.slots(n);
            let node = &mut self.nodes[n as usize];
            let Some(dial) = node.state.next(slots, now, &mut self.rng) else { return };
            node.dialing += 1;
            self.post(2 * LATENCY, Event::Dialled(n, dial.address));
        }
    }

    /// Nodes that can reach each other without the seed.
    fn largest_part(&self) -> usize {
        let mut seen = BTreeSet::new();
        let mut largest = 0;
        for first in 1..self.nodes.len() as u32 {
            let (mut part, mut todo) = (0, vec![first]);
            while let Some(n) = todo.pop() {
                if n != 0 && seen.insert(n) {
                    part += 1;
                    let node = &self.nodes[n as usize];
                    todo.extend(node.outbound.iter().chain(&node.inbound));
                }
            }
            largest = largest.max(part);
        }
        largest
    }

    /// What can be seen of the run, for comparing two.
    fn fingerprint(&self) -> Vec<(usize, usize, Counters)> {
        let of = |node: &Node| (node.outbound.len(), node.state.book().len(), node.state.counters());
        self.nodes.iter().map(of).collect()
    }
}

#[test]
fn a_thousand_nodes_find_each_other_through_one_seed() {
    let real = Instant::now();
    let mut network = Network::new(1_000, 42);
    let mut connected_at = None;
    for second in 1..=60 {
        network.run_until(second * 1_000);
        if connected_at.is_none() && network.largest_part() == 999 {
            connected_at = Some(second);
        }
    }
    let outbound: Vec<usize> = network.nodes[1..].iter().map(|node| node.outbound.len()).collect();
    let (least, all) = (outbound.iter().min().unwrap(), outbound.iter().sum::<usize>());
    let memory: usize = network.nodes.iter().map(|node| node.state.book().memory()).sum();
    println!(
        "1,000 nodes are one network after {connected_at:?} s; after a minute each has at least {least} outbound \
         peers ({} on average), books of {} addresses on average take {} kB each; {} events in {:?}",
        all / outbound.len(),
        network.nodes.iter().map(|node| node.state.book().len()).sum::<usize>() / 1_000,
        memory / 1_000 / 1_000,
        network.events,
        real.elapsed()
    );
    assert!(connected_at.is_some_and(|second| second <= 60), "{connected_at:?}: {}", network.largest_part());
    assert!(*least >= 3 && all >= 8 * outbound.len(), "least {least}, all {all}");
    assert!(
        network.nodes[0].state.book().len() > 900,
        "the seed knows them: {}",
        network.nodes[0].state.book().len()
    );
    let seed = &network.nodes[0];
    assert!(seed.inbound.len() + seed.outbound.len() < 100, "and keeps few");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut network = Network::new(100, seed);
        network.run_until(60_000);
        (network.events, network.fingerprint())
    };
    let (first, second) = (run(7), run(7));
    assert!(first == second);
    assert!(run(8) != first);
}
