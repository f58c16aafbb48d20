//! Many nodes over a virtual network: latency and loss from a seed, no runtime, the same run each time.
//!
//! ```text
//!   window of 10 ms ─▶ each part: its nodes' packets and timers in the order of time ─▶ packets for later windows
//! ```
//! No packet arrives within 10 ms, so what happens in one window concerns nobody else in it: threads take the parts of a
//! window in turn, and the run is still the same. A part takes its packets when it begins a window; those sent in the same one
//! by others are for later windows, whether they are there already or not.

use super::*;
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The least time that a packet takes.
const WINDOW: Duration = Duration::from_millis(10);
/// Windows that packets may wait for: the most that one takes, and one more.
const AHEAD: usize = 8;
/// Parts for each thread: some have more to do than others.
const PARTS: usize = 8;
/// Windows of a run that are worth more than one thread.
const MANY: usize = 100;
/// How often a thread that waits for the others looks before it lets them run.
const LOOKS: usize = 10_000;

fn place(n: usize) -> SocketAddr {
    SocketAddr::new(
        IpAddr::from([60 + u8::try_from(n / 250).unwrap(), u8::try_from(n % 250).unwrap(), 1, 1]),
        30_303,
    )
}

/// Whose place it is, of so many nodes.
fn whose(place: SocketAddr, count: usize) -> Option<usize> {
    let IpAddr::V4(ip) = place.ip() else { return None };
    let [a, b, ..] = ip.octets();
    let n = usize::from(a.checked_sub(60)?) * 250 + usize::from(b);
    (n < count && self::place(n) == place).then_some(n)
}

fn moment(mono: Duration) -> Now {
    Now { mono, unix: 1_800_000_000 + mono.as_secs() }
}

fn window_of(at: Duration) -> usize {
    usize::try_from(at.as_micros() / WINDOW.as_micros()).unwrap()
}

/// A packet under way, by whom it is for, when it arrives, and its place among those of its sender.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Parcel {
    to: usize,
    at: Duration,
    from: usize,
    serial: u64,
    bytes: Vec<u8>,
}

/// A node, with its luck.
struct Peer {
    state: State,
    rng: ChaCha8Rng,
    sent: u64,
}

/// Every so-many-th node, with the packets that are under way to them.
struct Part {
    number: usize,
    parts: usize,
    of: usize,
    peers: Vec<Peer>,
    wakes: Vec<Duration>,
    waiting: [Vec<Parcel>; AHEAD],
    /// What this part sends, for all parts.
    out: Vec<Parcel>,
    loss: f64,
    /// Nobody else is reached.
    only: Option<usize>,
    done: BTreeMap<(usize, Op), Outcome>,
}

impl Part {
    /// The number in the network of one of this part's nodes.
    fn name(&self, n: usize) -> usize {
        n * self.parts + self.number
    }

    /// Carries out what a node wants.
    fn settle(&mut self, n: usize, now: Duration) {
        let from = self.name(n);
        let Peer { state, rng, sent } = &mut self.peers[n];
        while let Some(action) = state.next_action() {
            match action {
                Action::Send { to, bytes } => {
                    *sent += 1;
                    let lost = rng.random::<f64>() < self.loss;
                    let delay = Duration::from_millis(rng.random_range(10..60));
                    if let Some(to) = whose(to, self.of).filter(|_| !lost) {
                        self.out.push(Parcel { to, at: now + delay, from, serial: *sent, bytes });
                    }
                }
                Action::Done { op, outcome } => _ = self.done.insert((from, op), outcome),
                _ => {}
            }
        }
        self.wakes[n] = state.next_wake().max(now);
    }

    fn run(&mut self, window: usize) {
        let start = WINDOW * u32::try_from(window).unwrap();
        let end = start + WINDOW;
        let mut parcels = std::mem::take(&mut self.waiting[window % AHEAD]);
        parcels.sort_unstable();
        let mut parcels = parcels.into_iter().peekable();
        for n in 0..self.peers.len() {
            let to = self.name(n);
            loop {
                let wake = self.wakes[n].max(start);
                if let Some(parcel) = parcels.next_if(|parcel| parcel.to == to && parcel.at <= wake) {
                    if self.only.is_none_or(|only| only == to) {
                        self.peers[n].state.receive(moment(parcel.at), place(parcel.from), &parcel.bytes);
                        self.settle(n, parcel.at);
                    }
                } else if wake < end {
                    self.peers[n].state.wake(moment(wake));
                    self.settle(n, wake);
                } else if parcels.peek().is_none_or(|parcel| parcel.to != to) {
                    break;
                }
            }
        }
    }

    fn take(&mut self, parcels: impl Iterator<Item = Parcel>) {
        for parcel in parcels {
            self.waiting[window_of(parcel.at) % AHEAD].push(parcel);
        }
    }
}

/// Where threads wait for each other. One that has nothing to do looks for a while: to sleep and be woken takes longer than
/// most windows.
struct Meeting {
    of: usize,
    came: AtomicUsize,
}

impl Meeting {
    /// Waits until everybody has come as often as this thread, for the `time`th time.
    fn wait(&self, time: usize) {
        self.came.fetch_add(1, Ordering::AcqRel);
        let mut looks = 0;
        while self.came.load(Ordering::Acquire) < self.of * time {
            looks += 1;
            if looks % LOOKS == 0 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

struct Net {
    threads: usize,
    parts: Vec<Part>,
    rng: ChaCha8Rng,
    now: Duration,
}

impl Net {
    /// `count` nodes that know only the first.
    fn new(count: usize, seed: u64, loss: f64) -> Self {
        Self::parted(count, seed, loss, 1)
    }

    /// The same, with so many threads.
    fn parted(count: usize, seed: u64, loss: f64, threads: usize) -> Self {
        let parts = if threads == 1 { 1 } else { threads * PARTS };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bootnode = Node::new(key(1), place(0).ip(), place(0).port(), 30_303);
        let part = |number: usize| Part {
            number,
            parts,
            of: count,
            peers: Vec::new(),
            wakes: Vec::new(),
            waiting: Default::default(),
            out: Vec::new(),
            loss,
            only: None,
            done: BTreeMap::new(),
        };
        let mut parts: Vec<_> = (0..parts).map(part).collect();
        for n in 0..count {
            let start = Duration::from_millis(10 * n as u64);
            let bootstrap = if n == 0 { Vec::new() } else { vec![bootnode.clone()] };
            let config = Config::new(bootstrap, rng.random());
            let identity = Arc::new(HashIdentity(n as u64 + 1));
            let local = Endpoint::new(place(n), 30_303);
            let state = State::new(identity, local, NodeDb::forgetful(1_000), config, moment(start));
            let at = n % parts.len();
            let part = &mut parts[at];
            part.peers.push(Peer { state, rng: ChaCha8Rng::from_seed(rng.random()), sent: 0 });
            part.wakes.push(start);
        }
        Self { threads, parts, rng: ChaCha8Rng::seed_from_u64(seed + 1), now: Duration::ZERO }
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.peers.len()).sum()
    }

    fn part(&mut self, n: usize) -> &mut Part {
        let at = n % self.parts.len();
        &mut self.parts[at]
    }

    /// Lets a node do something now.
    fn with<T>(&mut self, n: usize, act: impl FnOnce(&mut State, Now) -> T) -> T {
        let now = self.now;
        let part = self.part(n);
        let at = n / part.parts;
        let done = act(&mut part.peers[at].state, moment(now));
        part.settle(at, now);
        self.exchange();
        done
    }

    fn states(&self) -> impl Iterator<Item = &State> {
        let count = self.parts.len();
        (0..self.len()).map(move |n| &self.parts[n % count].peers[n / count].state)
    }

    fn sent(&self) -> u64 {
        self.parts.iter().flat_map(|part| &part.peers).map(|peer| peer.sent).sum()
    }

    fn exchange(&mut self) {
        let sent: Vec<_> = self.parts.iter_mut().flat_map(|part| std::mem::take(&mut part.out)).collect();
        for parcel in sent {
            self.part(parcel.to).take(std::iter::once(parcel));
        }
    }

    fn run_until(&mut self, end: Duration) {
        let windows = window_of(self.now)..window_of(end + WINDOW - Duration::from_micros(1));
        self.now = WINDOW * u32::try_from(windows.end).unwrap();
        if self.threads == 1 || windows.len() < MANY {
            for window in windows {
                self.parts.iter_mut().for_each(|part| part.run(window));
                self.exchange();
            }
            return;
        }
        let (count, threads) = (self.parts.len(), self.threads);
        let mail: Vec<_> = self.parts.iter().map(|_| Mutex::new(Vec::new())).collect();
        let parts: Vec<_> = self.parts.iter_mut().map(Mutex::new).collect();
        let (next, meeting) = (AtomicUsize::new(0), Meeting { of: threads, came: AtomicUsize::new(0) });
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let (windows, parts, mail, next, meeting) = (windows.clone(), &parts, &mail, &next, &meeting);
                scope.spawn(move || {
                    let mut sorted: Vec<Vec<Parcel>> = mail.iter().map(|_| Vec::new()).collect();
                    for (time, window) in windows.enumerate() {
                        // Of the numbers of a window the last ones, one for each thread, are nobody's part.
                        let first = time * (count + threads);
                        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed) - first) {
                            let mut part = part.lock().unwrap();
                            let come = std::mem::take(&mut *mail[part.number].lock().unwrap());
                            part.take(come.into_iter());
                            part.run(window);
                            part.out.drain(..).for_each(|parcel| sorted[parcel.to % count].push(parcel));
                            for (mine, theirs) in
                                sorted.iter_mut().zip(mail).filter(|(mine, _)| !mine.is_empty())
                            {
                                theirs.lock().unwrap().append(mine);
                            }
                        }
                        meeting.wait(time + 1);
                    }
                });
            }
        });
        drop(parts);
        for (part, mail) in self.parts.iter_mut().zip(mail) {
            part.take(mail.into_inner().unwrap().into_iter());
        }
    }

    /// How many of `tries` lookups find exactly the 16 nearest.
    fn exact_lookups(&mut self, tries: usize) -> usize {
        let ids: Vec<_> = self.states().map(State::id).collect();
        let mut exact = 0;
        for _ in 0..tries {
            let mut target = [0; 64];
            self.rng.fill(&mut target[..]);
            let from = self.rng.random_range(0..self.len());
            let id = NodeId::of_key(&target);
            let mut want: Vec<_> = ids.iter().filter(|n| **n != ids[from]).copied().collect();
            want.sort_by_key(|n| n.distance(&id));
            let op = self.with(from, |state, now| state.lookup(target, now));
            let limit = self.now + Duration::from_secs(60);
            let got = loop {
                if let Some(outcome) = self.part(from).done.remove(&(from, op)) {
                    break outcome;
                }
                assert!(self.now < limit, "a lookup ends");
                self.run_until(self.now + WINDOW);
            };
            let Outcome::Nodes(nodes) = got else { panic!("{got:?}") };
            exact += usize::from(nodes.iter().map(Node::id).eq(want[..16].iter().copied()));
        }
        exact
    }
}

#[test]
fn the_same_seed_gives_the_same_run_however_many_threads_there_are() {
    let run = |parts| {
        let mut net = Net::parted(60, 9, 0.05, parts);
        net.run_until(Duration::from_secs(20));
        let nodes =
            |state: &State| state.table().nodes().map(|(node, live)| (node.id(), live)).collect::<Vec<_>>();
        let tables: Vec<_> = net.states().map(nodes).collect();
        (net.sent(), tables)
    };
    let once = run(1);
    assert_eq!(run(1), once);
    assert_eq!(run(2), once);
    assert_eq!(run(3), once);
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
    let mut found = BTreeSet::new();
    let before = net.with(5, |state, now| state.next_candidate(now));
    assert!(before.is_none(), "nobody has asked before");
    for _ in 0..30 {
        net.run_until(net.now + Duration::from_secs(1));
        while let Some(node) = net.with(5, |state, now| state.next_candidate(now)) {
            found.insert(node.id());
        }
    }
    assert!(found.len() >= 35, "{} of 39", found.len());
    assert!(!found.contains(&net.with(5, |state, _| state.id())));
}

#[test]
fn a_node_that_moved_is_resolved() {
    // Nobody in this network has a record, so that a node is found, and has none to give.
    let mut net = Net::new(30, 4, 0.0);
    net.run_until(Duration::from_secs(30));
    let gone = Node::new(key(12), IpAddr::from([99, 9, 9, 9]), 30_303, 0);
    let op = net.with(3, |state, now| state.resolve(gone, now));
    net.run_until(net.now + Duration::from_secs(20));
    assert_eq!(net.part(3).done.remove(&(3, op)), Some(Outcome::Failed));
}

#[test]
fn a_restarted_network_comes_back() {
    let mut net = Net::new(30, 5, 0.0);
    net.run_until(Duration::from_secs(30));
    // All but the first vanish: the table empties. They come back: it fills.
    net.part(0).only = Some(0);
    net.run_until(net.now + Duration::from_secs(1_200));
    let known = net.with(0, |state, _| state.table().len());
    assert!(known <= 2, "{known}");
    net.part(0).only = None;
    net.run_until(net.now + Duration::from_secs(2_400));
    let live = net.with(0, |state, _| state.table().live_len());
    assert!(live >= 15, "{live}");
}

/// Peak memory of this process, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// Ten thousand nodes that know only one, for ten virtual minutes; signatures are keyed hashes. Another number of nodes can be
/// given in `SIM_NODES`, of seconds in `SIM_SECONDS`, of threads in `SIM_THREADS`.
#[test]
#[ignore = "takes minutes: by hand, on a quiet machine"]
#[allow(clippy::disallowed_methods, clippy::print_stdout)] // measures real time
fn ten_thousand_nodes_for_ten_minutes() {
    let given = |name, number| std::env::var(name).map_or(number, |text| text.parse().unwrap());
    let (count, seconds) = (given("SIM_NODES", 10_000), given("SIM_SECONDS", 600));
    let start = std::time::Instant::now();
    let threads = given("SIM_THREADS", 2);
    let mut net = Net::parted(count, 6, 0.01, threads);
    net.run_until(Duration::from_secs(seconds as u64));
    let (took, peak) = (start.elapsed(), peak());
    let mut sizes: Vec<_> = net.states().map(|state| state.table().len()).collect();
    sizes.sort_unstable();
    let packets = net.sent();
    println!(
        "{count} nodes, {seconds} virtual seconds in {took:.1?} on {threads} threads: {packets} packets, {:.0} MiB, {} KiB a node; \
         tables {} to {} entries, median {}",
        peak as f64 / 1_048_576.0,
        peak / 1_024 / count as u64,
        sizes[0],
        sizes[count - 1],
        sizes[count / 2],
    );
    let exact = net.exact_lookups(50);
    println!("{exact} of 50 lookups exact");
    assert!(took < Duration::from_secs(600), "{took:?}");
    assert!(sizes[count / 2] >= 100, "{}", sizes[count / 2]);
    assert!(exact >= 45, "{exact} of 50");
}
