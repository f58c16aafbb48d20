//! Many nodes over a virtual network: an event queue, latency and loss from a seed, no runtime.

use super::*;
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};

struct Net {
    nodes: Vec<State>,
    places: BTreeMap<SocketAddr, usize>,
    packets: BTreeMap<(Duration, u64), (usize, SocketAddr, Vec<u8>)>,
    wakes: BTreeSet<(Duration, usize)>,
    wake_of: Vec<Duration>,
    rng: ChaCha8Rng,
    loss: f64,
    count: u64,
    now: Duration,
    done: BTreeMap<(usize, Op), Outcome>,
}

fn place(n: usize) -> SocketAddr {
    SocketAddr::new(
        IpAddr::from([60 + u8::try_from(n / 250).unwrap(), u8::try_from(n % 250).unwrap(), 1, 1]),
        30_303,
    )
}

fn moment(mono: Duration) -> Now {
    Now { mono, unix: 1_800_000_000 + mono.as_secs() }
}

impl Net {
    /// `count` nodes that know only the first.
    fn new(count: usize, seed: u64, loss: f64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let first = Node::new(key(1), place(0).ip(), place(0).port(), 30_303);
        let mut net = Self {
            nodes: Vec::new(),
            places: BTreeMap::new(),
            packets: BTreeMap::new(),
            wakes: BTreeSet::new(),
            wake_of: Vec::new(),
            loss,
            count: 0,
            now: Duration::ZERO,
            done: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed + 1),
        };
        for n in 0..count {
            let start = Duration::from_millis(10 * n as u64);
            let bootstrap = if n == 0 { Vec::new() } else { vec![first.clone()] };
            let config = Config::new(bootstrap, rng.random());
            let identity = Arc::new(HashIdentity(n as u64 + 1));
            let local = Endpoint::new(place(n), 30_303);
            let state = State::new(identity, local, NodeDb::forgetful(1_000), config, moment(start));
            net.nodes.push(state);
            net.places.insert(place(n), n);
            net.wakes.insert((start, n));
            net.wake_of.push(start);
        }
        net
    }

    /// Carries out what a node wants.
    fn settle(&mut self, n: usize) {
        while let Some(action) = self.nodes[n].next_action() {
            match action {
                Action::Send { to, bytes } => {
                    self.count += 1;
                    if self.rng.random::<f64>() >= self.loss
                        && let Some(there) = self.places.get(&to)
                    {
                        let delay = Duration::from_millis(self.rng.random_range(10..60));
                        self.packets.insert((self.now + delay, self.count), (*there, place(n), bytes));
                    }
                }
                Action::Done { op, outcome } => _ = self.done.insert((n, op), outcome),
                _ => {}
            }
        }
        let next = self.nodes[n].next_wake(self.now).max(self.now);
        self.wakes.remove(&(self.wake_of[n], n));
        self.wakes.insert((next, n));
        self.wake_of[n] = next;
    }

    fn step(&mut self) {
        let packet = self.packets.first_key_value().map(|((at, _), _)| *at);
        let wake = self.wakes.first().map(|(at, _)| *at).unwrap();
        if let Some(at) = packet
            && at <= wake
        {
            let (_, (n, from, bytes)) = self.packets.pop_first().unwrap();
            self.now = at;
            self.nodes[n].receive(moment(at), from, &bytes);
            self.settle(n);
        } else {
            let (at, n) = self.wakes.pop_first().unwrap();
            self.now = self.now.max(at);
            self.nodes[n].wake(moment(self.now));
            self.settle(n);
        }
    }

    fn run_until(&mut self, end: Duration) {
        while self.now < end {
            self.step();
        }
    }

    /// How many of `tries` lookups find exactly the 16 nearest.
    fn exact_lookups(&mut self, tries: usize) -> usize {
        let ids: Vec<_> = self.nodes.iter().map(State::id).collect();
        let mut exact = 0;
        for _ in 0..tries {
            let mut target = [0; 64];
            self.rng.fill(&mut target[..]);
            let from = self.rng.random_range(0..self.nodes.len());
            let id = NodeId::of_key(&target);
            let mut want: Vec<_> = ids.iter().filter(|n| **n != ids[from]).copied().collect();
            want.sort_by_key(|n| n.distance(&id));
            let op = self.nodes[from].lookup(target, moment(self.now));
            self.settle(from);
            let limit = self.now + Duration::from_secs(60);
            let got = loop {
                if let Some(outcome) = self.done.remove(&(from, op)) {
                    break outcome;
                }
                assert!(self.now < limit, "a lookup ends");
                self.step();
            };
            let Outcome::Nodes(nodes) = got else { panic!("{got:?}") };
            exact += usize::from(nodes.iter().map(Node::id).eq(want[..16].iter().copied()));
        }
        exact
    }
}

#[test]
fn three_hundred_nodes_find_the_nearest() {
    let mut net = Net::new(300, 1, 0.0);
    net.run_until(Duration::from_secs(60));
    let exact = net.exact_lookups(200);
    assert!(exact >= 198, "{exact} of 200");
}

#[test]
fn three_hundred_nodes_find_the_nearest_though_every_tenth_packet_is_lost() {
    let mut net = Net::new(300, 2, 0.1);
    net.run_until(Duration::from_secs(60));
    let exact = net.exact_lookups(200);
    assert!(exact >= 194, "{exact} of 200");
}

#[test]
fn candidates_come_while_they_are_wanted_and_only_then() {
    let mut net = Net::new(40, 3, 0.0);
    net.run_until(Duration::from_secs(30));
    let now = moment(net.now);
    let mut found = BTreeSet::new();
    let before = net.nodes[5].next_candidate(now);
    assert!(before.is_none(), "nobody has asked before");
    net.settle(5);
    for _ in 0..30 {
        net.run_until(net.now + Duration::from_secs(1));
        let now = moment(net.now);
        while let Some(node) = net.nodes[5].next_candidate(now) {
            found.insert(node.id());
        }
        net.settle(5);
    }
    assert!(found.len() >= 35, "{} of 39", found.len());
    assert!(!found.contains(&net.nodes[5].id()));
}

#[test]
fn a_node_that_moved_is_resolved() {
    // Nobody in this network has a record, so that a node is found, and has none to give.
    let mut net = Net::new(30, 4, 0.0);
    net.run_until(Duration::from_secs(30));
    let now = moment(net.now);
    let gone = Node::new(key(12), IpAddr::from([99, 9, 9, 9]), 30_303, 0);
    let op = net.nodes[3].resolve(gone, now);
    net.settle(3);
    net.run_until(net.now + Duration::from_secs(20));
    assert_eq!(net.done.remove(&(3, op)), Some(Outcome::Failed));
}

#[test]
fn a_restarted_network_comes_back() {
    let mut net = Net::new(30, 5, 0.0);
    net.run_until(Duration::from_secs(30));
    // All but the first vanish: the table empties. They come back: it fills.
    let places = std::mem::take(&mut net.places);
    net.places.insert(place(0), 0);
    net.run_until(net.now + Duration::from_secs(1_200));
    assert!(net.nodes[0].table().len() <= 2, "{}", net.nodes[0].table().len());
    net.places = places;
    net.run_until(net.now + Duration::from_secs(2_400));
    assert!(net.nodes[0].table().live_len() >= 15, "{}", net.nodes[0].table().live_len());
}

/// Peak memory of this process, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// Ten thousand nodes that know only one, for ten virtual minutes; signatures are keyed hashes.
#[test]
#[ignore = "takes minutes: by hand, on a quiet machine"]
#[allow(clippy::disallowed_methods, clippy::print_stdout)] // measures real time
fn ten_thousand_nodes_for_ten_minutes() {
    const COUNT: usize = 10_000;
    let start = std::time::Instant::now();
    let mut net = Net::new(COUNT, 6, 0.01);
    net.run_until(Duration::from_secs(600));
    let (took, peak) = (start.elapsed(), peak());
    let mut sizes: Vec<_> = net.nodes.iter().map(|node| node.table().len()).collect();
    sizes.sort_unstable();
    let packets = net.count;
    let exact = net.exact_lookups(50);
    println!(
        "{COUNT} nodes, 600 virtual seconds in {took:.1?}: {packets} packets, {:.0} MiB, {} KiB a node; tables {} to {} \
         entries, median {}; {exact} of 50 lookups exact",
        peak as f64 / 1_048_576.0,
        peak / 1_024 / COUNT as u64,
        sizes[0],
        sizes[COUNT - 1],
        sizes[COUNT / 2],
    );
    assert!(took < Duration::from_secs(600), "{took:?}");
    assert!(sizes[COUNT / 2] >= 100, "{}", sizes[COUNT / 2]);
    assert!(exact >= 45, "{exact} of 50");
}
