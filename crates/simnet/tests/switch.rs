//! Whole Switches in trouble: simultaneous dials, a day of crashes and cuts, full queues, a protocol that hangs.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests

use bytes::Bytes;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::memory::MemoryWire;
use switchboard::wire::{Liveness, Wire};
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSpec, Direction, Event, Overflow, Peer, Protocol, ProtocolError,
    ProtocolSpec, Switch, SwitchBuilder,
};
use switchboard_comet::{Comet, CometConfig};
use switchboard_devp2p::{Devp2p, Devp2pConfig};
use switchboard_simnet::{Link, SimNet, run};
use tokio::time::{Instant, sleep, timeout};

const PORT: u16 = 9_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

fn url(n: u8) -> String {
    format!("memory://{}:{PORT}", ip(n))
}

/// Stays until the session ends.
struct Idle;

impl Protocol for Idle {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("idle", 1, vec![ChannelSpec::new(0, 1)])
    }

    fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            while io.recv().await.is_some() {}
            Ok(())
        })
    }
}

/// A node of the wire that proves nothing.
async fn node(net: &SimNet, n: u8, dial: &[u8]) -> Switch {
    let liveness = Liveness::default().with(|alive| {
        alive.ping_every = Some(Duration::from_secs(10));
        alive.pong_within = Some(Duration::from_secs(20));
        alive.idle_limit = None;
    });
    let wire = Arc::new(MemoryWire::new(&[n; 8]).liveness(liveness));
    let mut builder = SwitchBuilder::new(net.host(ip(n)).env()).listen((ip(n), PORT).into(), &[]);
    for other in dial {
        builder = builder.static_peer(wire.parse(&url(*other)).unwrap());
    }
    builder.wire(wire).protocol(Arc::new(Idle)).start().await.unwrap()
}

#[test]
fn two_that_dial_each_other_keep_one_session() {
    for seed in 0..60 {
        run::once(seed, |net| async move {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let link = Link::new().latency(ms(random.next_u64() % 120)).jitter(ms(40));
            net.every_link(link);
            let a = node(&net, 1, &[2]).await;
            sleep(ms(random.next_u64() % 150)).await;
            let b = node(&net, 2, &[1]).await;
            sleep(Duration::from_secs(120)).await;
            let (mut of_a, mut of_b) = (a.events(), b.events());
            let (seen_by_a, seen_by_b) = (a.peers().list(), b.peers().list());
            assert_eq!((seen_by_a.len(), seen_by_b.len()), (1, 1));
            let outbound = |peers: &[Peer]| peers[0].direction() == Direction::Outbound;
            assert_ne!(outbound(&seen_by_a), outbound(&seen_by_b), "they keep different sessions");
            // And it lasts, though both go on wanting the other.
            sleep(Duration::from_secs(1_800)).await;
            for events in [&mut of_a, &mut of_b] {
                while let Ok(event) = events.try_recv() {
                    assert!(!matches!(event, Event::PeerDropped { .. }), "{seed}: it did not last");
                }
            }
        });
    }
}

#[test]
fn a_day_of_trouble_leaves_nothing_behind() {
    const NODES: u8 = 6;
    let day = |net: SimNet| async move {
        net.every_link(Link::new().latency(ms(40)).jitter(ms(20)).loss(5_000).bandwidth(500_000));
        let mut nodes = Vec::new();
        for n in 1..=NODES {
            // A ring with chords, some pairs dialling each other.
            let others = [n % NODES + 1, (n + 1) % NODES + 1, (n + 2) % NODES + 1];
            nodes.push(node(&net, n, &others).await);
        }
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut below = |bound: u8| (random.next_u64() % u64::from(bound)) as u8;
        while net.elapsed() < Duration::from_secs(24 * 3_600) {
            match below(3) {
                0 => {
                    let victim = ip(below(NODES) + 1);
                    net.crash(victim);
                    sleep(Duration::from_secs(u64::from(below(200)))).await;
                    net.restart(victim);
                }
                1 => {
                    let border = below(NODES - 1) + 1;
                    let (left, right): (Vec<_>, Vec<_>) = (1..=NODES).map(ip).partition(|i| *i <= ip(border));
                    net.cut(&left, &right);
                    sleep(Duration::from_secs(u64::from(below(250)))).await;
                    net.heal();
                }
                _ => sleep(Duration::from_secs(60 * u64::from(below(30)))).await,
            }
        }
        sleep(Duration::from_secs(600)).await;
        for (node, n) in nodes.iter().zip(1u8..) {
            // Its three, and those that dial it.
            assert!(node.peers().len() >= 4, "node {n} found {} peers again", node.peers().len());
            assert!(node.peers().list().iter().all(|peer| !peer.is_over()));
        }
        for node in &nodes {
            node.stop().await;
            assert_eq!(node.bytes_held(), 0);
        }
        nodes.iter().map(|node| node.peers().len()).sum::<usize>()
    };
    assert_eq!(run::twice(31, day).0, 0);
}

const VOTE: ChannelId = ChannelId(0x21);
const BLOCK: ChannelId = ChannelId(0x22);

/// Sends blocks as fast as they go and a vote ten times a second; notes how long votes take.
#[derive(Default)]
struct Chain {
    talks: bool,
    delays: Mutex<Vec<Duration>>,
    blocks: Mutex<usize>,
}

impl Protocol for Chain {
    fn spec(&self) -> ProtocolSpec {
        let blocks = ChannelSpec::new(BLOCK.0, 1).recv_window(64 << 20);
        ProtocolSpec::new("chain", 1, vec![ChannelSpec::new(VOTE.0, 10), blocks])
    }

    fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            // One clock for both ends: a vote is the time it was sent.
            static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
            let start = *START.get_or_init(Instant::now);
            if self.talks {
                let blocks = io.sender();
                let flood =
                    async { while blocks.send(BLOCK, Bytes::from(vec![1; 100_000])).await.is_ok() {} };
                let votes = async {
                    loop {
                        sleep(ms(100)).await;
                        let now = start.elapsed().as_micros() as u64;
                        if io.send(VOTE, now.to_be_bytes().to_vec()).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::join!(flood, votes);
                return Ok(());
            }
            while let Some((channel, message)) = io.recv().await {
                if channel == VOTE {
                    let sent = u64::from_be_bytes(message[..].try_into().unwrap());
                    self.delays.lock().push(start.elapsed() - Duration::from_micros(sent));
                } else {
                    *self.blocks.lock() += 1;
                }
            }
            Ok(())
        })
    }
}

#[test]
fn a_vote_overtakes_six_megabytes_of_blocks() {
    let (delays, blocks) = run::once(32, |net| async move {
        net.every_link(Link::new().latency(ms(20)).bandwidth(1_000_000).buffer(64 * 1024));
        let comet = |n: u8| {
            let key = switchboard_comet::NodeKey::from_seed(&[n; 32]).unwrap();
            Arc::new(Comet::new(CometConfig::new(Arc::new(key), "votes")).unwrap())
        };
        let (hears, talks) =
            (Arc::new(Chain::default()), Arc::new(Chain { talks: true, ..Chain::default() }));
        let (one, two) = (comet(1), comet(2));
        let to = one.parse(&two.address((ip(2), PORT).into()).to_string()).unwrap();
        let build = |n: u8, wire, protocol| {
            SwitchBuilder::new(net.host(ip(n)).env())
                .wire(wire)
                .protocol(protocol)
                .listen((ip(n), PORT).into(), &[])
        };
        let b = build(2, two, hears.clone()).start().await.unwrap();
        let a = build(1, one, talks).static_peer(to).start().await.unwrap();
        sleep(Duration::from_secs(60)).await;
        a.stop().await;
        b.stop().await;
        let delays = hears.delays.lock().clone();
        (delays, *hears.blocks.lock())
    })
    .0;
    // The link is full all the time: 64 blocks of 100 kB wait in the lane, more than six seconds of it.
    assert!((500..=600).contains(&blocks), "{blocks} blocks");
    assert!(delays.len() > 500, "{} votes", delays.len());
    // A vote waits only for what was already handed to the socket: its buffer and one write, both 64 KiB.
    let worst = delays.iter().max().unwrap();
    assert!(*worst < ms(20 + 66 + 66 + 20), "a vote took {worst:?}");
}

/// Hangs as soon as it gets something, or answers at once.
struct Mood {
    hangs: bool,
    heard: Mutex<u64>,
}

impl Protocol for Mood {
    fn spec(&self) -> ProtocolSpec {
        let name = if self.hangs { "hangs" } else { "answers" };
        let channel = ChannelSpec::new(0, 1).recv_window(50_000).overflow(Overflow::DropNew);
        ProtocolSpec::new(name, 1, vec![channel])
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            let channel = ChannelId(0);
            if peer.direction() == Direction::Outbound {
                // The dialling side floods the one that hangs and plays ball with the one that answers.
                loop {
                    let message = if self.hangs { vec![0; 10_000] } else { vec![0; 100] };
                    io.send(channel, message).await.map_err(|_| ProtocolError::Closed)?;
                    if !self.hangs {
                        io.recv().await.ok_or(ProtocolError::Closed)?;
                        *self.heard.lock() += 1;
                    }
                }
            }
            while io.recv().await.is_some() {
                if self.hangs {
                    return std::future::pending().await;
                }
                io.send(channel, vec![1; 100]).await.map_err(|_| ProtocolError::Closed)?;
            }
            Ok(())
        })
    }
}

#[test]
fn a_protocol_that_hangs_stops_no_other() {
    run::once(33, |net| async move {
        net.every_link(Link::new().latency(ms(10)).bandwidth(100_000).buffer(8 * 1024));
        let node = |n: u8, dial: Option<String>| {
            let key = switchboard_devp2p::NodeKey::from_bytes(&[n; 32]).unwrap();
            let wire = Arc::new(Devp2p::new(Devp2pConfig::new(Arc::new(key))));
            let url = wire.enode((ip(n), PORT).into()).to_string();
            let answers = Arc::new(Mood { hangs: false, heard: Mutex::default() });
            let mut builder = SwitchBuilder::new(net.host(ip(n)).env())
                .protocol(Arc::new(Mood { hangs: true, heard: Mutex::default() }))
                .protocol(Arc::clone(&answers) as Arc<_>)
                .listen((ip(n), PORT).into(), &[]);
            if let Some(dial) = dial {
                builder = builder.static_peer(wire.parse(&dial).unwrap());
            }
            (builder.wire(wire), url, answers)
        };
        let (b, url, _) = node(2, None);
        let b = b.start().await.unwrap();
        let (a, _, answers) = node(1, Some(url));
        let a = a.start().await.unwrap();
        sleep(Duration::from_secs(40)).await;
        assert_eq!(a.peers().len(), 1, "the session did not last");
        let peer = &b.peers().list()[0];
        assert!(peer.stats().dropped > 20, "the flood did not fill the inbox");
        // A round trip takes 20 ms and what of the flood is ahead of it: the socket's 8 KiB, and one write of 64.
        assert!(*answers.heard.lock() > 40, "{} answers", answers.heard.lock());
        assert!(b.bytes_held() < 1_000_000, "{} bytes held", b.bytes_held());
        timeout(Duration::from_secs(10), async { tokio::join!(a.stop(), b.stop()) }).await.unwrap();
    });
}
