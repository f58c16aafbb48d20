//! Protocols, reactors, sending and what is known of peers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::Bytes;
use common::net::Net;
use common::*;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use switchboard::net::memory::{MEMORY, MemoryWire};
use switchboard::protocol::channel::{ChannelId, ChannelSpec};
use switchboard::protocol::reactor::Adapter;
use switchboard::protocol::{ProtocolError, ProtocolSpec};
use switchboard::session::outgoing::SEND_TIMEOUT;
use switchboard::{BoxFuture, By, Direction, End, Peer, Reactor, Reason, SendError, Switch};
use tokio::time::Instant;

fn net() -> (Net, Arc<dyn switchboard::net::Network>) {
    let net = Net::default();
    let host = net.host([127, 0, 0, 1]);
    (net, host)
}

#[tokio::test(start_paused = true)]
async fn one_call_registers_a_protocol_that_runs_with_each_peer_that_shares_it() {
    let (_, net) = net();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let counting = made("p", vec![ChannelSpec::new(0, 1)], move |peer, _io| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            peer.ended().await;
            Ok(())
        }
    });
    let hub = builder(&net, 9).protocol(counting).protocol(echo("q")).start().await.unwrap();
    let (with, without) = (builder(&net, 1).protocol(echo("p")), builder(&net, 2).protocol(echo("q")));
    let (with, without) = (with.start().await.unwrap(), without.start().await.unwrap());
    let (_, peer) = join(&with, &hub).await;
    assert_eq!(peer.protocols().collect::<Vec<_>>(), [("p", 1)]);
    let (_, peer) = join(&without, &hub).await;
    assert_eq!(peer.protocols().collect::<Vec<_>>(), [("q", 1)]);
    settle().await;
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    finish(&[&hub, &with, &without]).await;
}

#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

struct Noting {
    diary: Diary,
    hangs: bool,
}

impl Noting {
    fn note(&self, line: String) {
        self.diary.0.lock().push(line);
    }
}

impl Reactor for Noting {
    fn spec(&self) -> ProtocolSpec {
        ProtocolSpec::new("echo", 1, vec![ChannelSpec::new(0, 1)])
    }

    fn init_peer(&self, peer: &Peer) {
        peer.set(7_u32);
        self.note("init".into());
    }

    fn add_peer(&self, peer: &Peer) {
        assert_eq!(peer.get::<u32>().as_deref(), Some(&7));
        self.note("add".into());
    }

    fn receive<'a>(
        &'a self,
        _: &'a Peer,
        _: ChannelId,
        message: Bytes,
    ) -> BoxFuture<'a, Result<(), ProtocolError>> {
        Box::pin(async move {
            let text = String::from_utf8_lossy(&message).into_owned();
            self.note(text.clone());
            match text.as_str() {
                "breach" => Err(ProtocolError::Breach("said breach")),
                "panic" => panic!("a callback panics"),
                _ if self.hangs => std::future::pending().await,
                _ => Ok(()),
            }
        })
    }

    fn remove_peer(&self, _: &Peer, end: &End) {
        self.note(format!("remove {} by {}", end.reason, end.by.as_str()));
    }
}

/// A reactor and a peer of it that can say things.
async fn reactor(hangs: bool) -> (Diary, Switch, Switch, Peer) {
    let (_, net) = net();
    let diary = Diary::default();
    let noting = Arc::new(Adapter(Noting { diary: diary.clone(), hangs }));
    let here = builder(&net, 1).protocol(noting).start().await.unwrap();
    let there = builder(&net, 2).protocol(echo("echo")).start().await.unwrap();
    let (peer, _) = join(&there, &here).await;
    (diary, here, there, peer)
}

#[tokio::test(start_paused = true)]
async fn a_reactor_hears_init_add_receive_remove_in_order() {
    let (diary, here, there, peer) = reactor(false).await;
    for text in ["a", "b"] {
        peer.send("echo", C0, Bytes::from_static(text.as_bytes())).await.unwrap();
    }
    settle().await;
    let mut events = here.events();
    peer.disconnect(Reason::Requested);
    dropped(&mut events).await;
    assert_eq!(*diary.0.lock(), ["init", "add", "a", "b", "remove requested by peer"]);
    finish(&[&here, &there]).await;
}

#[tokio::test(start_paused = true)]
async fn remove_peer_hears_the_true_reason_however_the_session_ends() {
    for (message, reason) in
        [("breach", "breach of protocol: said breach by us"), ("panic", "protocol error by us")]
    {
        let (diary, here, there, peer) = reactor(false).await;
        let mut events = here.events();
        peer.send("echo", C0, Bytes::from_static(message.as_bytes())).await.unwrap();
        let (_, end) = dropped(&mut events).await;
        assert_eq!(diary.0.lock().last().unwrap(), &format!("remove {reason}"));
        assert_eq!(format!("{} by {}", end.reason, end.by.as_str()), reason);
        finish(&[&here, &there]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn remove_peer_is_called_when_receive_hangs_for_ever() {
    let (diary, here, there, peer) = reactor(true).await;
    peer.send("echo", C0, Bytes::from_static(b"stay")).await.unwrap();
    settle().await;
    let (mut events, start) = (here.events(), Instant::now());
    here.disconnect(&id(2), Reason::Useless);
    dropped(&mut events).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(diary.0.lock().last().unwrap(), "remove useless by us");
    assert_eq!(diary.0.lock().iter().filter(|line| line.starts_with("remove")).count(), 1);
    finish(&[&here, &there]).await;
}

/// Two nodes; the first's io, and a far end that does not read its socket at all.
#[tokio::test(start_paused = true)]
async fn send_waits_and_try_send_answers_at_once() {
    let (world, net) = net();
    let channels = vec![ChannelSpec::new(0, 1).send_queue(2), ChannelSpec::new(1, 1)];
    let (protocol, mut handed) = handed("p", channels.clone());
    let here = builder(&net, 1).protocol(protocol).start().await.unwrap();
    let there = builder(&net, 2).protocol(sink("p", channels)).start().await.unwrap();
    world.pipe(64);
    world.gate(true);
    let _ = here.offer(address(&there)).await;
    settle().await;
    let line = world.lines().pop().unwrap();
    line.to_dialler.allow(u64::MAX);
    line.to_listener.allow(64);
    let (peer, io) = handed.recv().await.unwrap();

    let start = Instant::now();
    // The first fills the pipe and stays in the writer; two more fill the lane.
    io.send(C0, vec![0; 1000]).await.unwrap();
    settle().await;
    io.try_send(C0, vec![1; 10]).unwrap();
    io.try_send(C0, vec![2; 10]).unwrap();
    assert_eq!(io.try_send(C0, vec![3; 10]), Err(SendError::Full));
    assert!(start.elapsed() <= Duration::from_millis(1));
    assert_eq!(io.try_send(C1, vec![4; 10]), Ok(()), "another channel has room");
    assert_eq!(io.try_send(ChannelId(9), vec![]), Err(SendError::NotShared));
    assert_eq!(peer.send("q", C0, Bytes::new()).await, Err(SendError::NotShared));
    let limit = 16 << 20;
    assert_eq!(io.send(C0, vec![0; limit + 1]).await, Err(SendError::TooLarge { len: limit + 1, limit }));

    let start = Instant::now();
    assert_eq!(io.send(C0, vec![3; 10]).await, Err(SendError::Timeout));
    assert_eq!(start.elapsed().as_secs(), SEND_TIMEOUT.as_secs());
    // Room that comes is taken.
    let waiting = io.sender();
    let sent = tokio::spawn(async move { waiting.send(C0, vec![5; 10]).await });
    settle().await;
    line.to_listener.allow(u64::MAX);
    assert_eq!(sent.await.unwrap(), Ok(()));
    // And a wait ends with the session, not with the limit.
    peer.disconnect(Reason::Requested);
    peer.ended().await;
    settle().await;
    assert_eq!(io.send(C0, vec![6]).await, Err(SendError::Closed));
    assert_eq!(io.try_send(C0, vec![6]), Err(SendError::Closed));
    finish(&[&here, &there]).await;
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_all_in_one_order() {
    let (_, net) = net();
    let hub = builder(&net, 9).protocol(echo("p")).start().await.unwrap();
    let mut leaves = Vec::new();
    for n in 1..=3 {
        let (protocol, mut handed) = handed("p", vec![ChannelSpec::new(0, 1)]);
        let leaf = builder(&net, n).protocol(protocol).start().await.unwrap();
        join(&leaf, &hub).await;
        leaves.push((leaf, handed.recv().await.unwrap()));
    }
    let tasks = (0..8_u8).map(|n| {
        let hub = hub.clone();
        tokio::spawn(async move { hub.broadcast("p", C0, &Bytes::from(vec![n])) })
    });
    for task in tasks.collect::<Vec<_>>() {
        let sent = task.await.unwrap();
        assert_eq!(sent, [(id(1), Ok(())), (id(2), Ok(())), (id(3), Ok(()))]);
    }
    assert!(hub.broadcast("other", C0, &Bytes::new()).is_empty());
    let mut orders = Vec::new();
    for (_, (_, io)) in &mut leaves {
        let mut order = Vec::new();
        for _ in 0..8 {
            order.push(io.recv().await.unwrap().1);
        }
        orders.push(order);
    }
    assert!(orders.iter().all(|order| *order == orders[0]));
    finish(&[&hub, &leaves[0].0, &leaves[1].0, &leaves[2].0]).await;
}

#[tokio::test(start_paused = true)]
async fn peers_are_listed_looked_up_and_disconnected_with_a_reason() {
    let (_, net) = net();
    let hub = builder(&net, 5).protocol(echo("p")).start().await.unwrap();
    let (a, b) = (builder(&net, 1).protocol(echo("p")), builder(&net, 2).protocol(echo("p")));
    let (a, b) = (a.start().await.unwrap(), b.start().await.unwrap());
    join(&a, &hub).await;
    join(&hub, &b).await;
    let ids = |peers: Vec<Peer>| peers.iter().map(Peer::id).collect::<Vec<_>>();
    assert_eq!(ids(hub.peers().list()), [id(1), id(2)]);
    assert_eq!(ids(hub.peers().directed(Direction::Inbound)), [id(1)]);
    assert_eq!(ids(hub.peers().directed(Direction::Outbound)), [id(2)]);
    assert!(hub.peers().has(&id(1)) && hub.peers().get(&id(3)).is_none());
    assert_eq!(hub.peers().get(&id(2)).unwrap().remote_addr(), b.listening()[0].0);
    let mut far = a.events();
    let mut near = hub.events();
    assert!(hub.disconnect(&id(1), Reason::TooManyPeers));
    assert!(!hub.disconnect(&id(3), Reason::Requested));
    let (_, end) = dropped(&mut far).await;
    assert_eq!((end.reason, end.by), (Reason::TooManyPeers, By::Peer));
    let (_, end) = dropped(&mut near).await;
    assert_eq!((end.reason, end.by), (Reason::TooManyPeers, By::Us));
    assert_eq!(ids(hub.peers().list()), [id(2)]);
    assert_eq!(hub.local_id(MEMORY), Some(id(5)));
    finish(&[&hub, &a, &b]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_goes_out_before_the_goodbye() {
    let (_, net) = net();
    let channels = vec![ChannelSpec::new(0, 1).send_queue(1000)];
    let (from, mut out) = handed("p", channels.clone());
    let got = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&got);
    let to = made("p", channels, move |_, mut io| {
        let into = Arc::clone(&into);
        async move {
            while let Some((_, message)) = io.recv().await {
                into.lock().push(message);
            }
            Ok(())
        }
    });
    let here = builder(&net, 1).protocol(from).start().await.unwrap();
    let there = builder(&net, 2).protocol(to).start().await.unwrap();
    join(&here, &there).await;
    let (peer, io) = out.recv().await.unwrap();
    for n in 0..1000_u16 {
        io.try_send(C0, n.to_be_bytes().to_vec()).unwrap();
    }
    let mut events = there.events();
    peer.disconnect(Reason::Requested);
    dropped(&mut events).await;
    let expected: Vec<_> = (0..1000_u16).map(|n| Bytes::from(n.to_be_bytes().to_vec())).collect();
    assert_eq!(*got.lock(), expected);
    finish(&[&here, &there]).await;
}

#[tokio::test(start_paused = true)]
async fn counters_count() {
    let (_, net) = net();
    let (protocol, mut handed) = handed("p", vec![ChannelSpec::new(0, 1)]);
    let here = builder(&net, 1).protocol(protocol).start().await.unwrap();
    let there = builder(&net, 2).protocol(echo("p")).start().await.unwrap();
    join(&here, &there).await;
    let (peer, mut io) = handed.recv().await.unwrap();
    for _ in 0..5 {
        round_trip(&mut io, b"0123456789").await;
    }
    let stats = peer.stats();
    assert_eq!((stats.messages_out, stats.messages_in, stats.dropped), (5, 5, 0));
    assert_eq!((stats.bytes_out, stats.bytes_in), (5 * 23, 5 * 23));
    assert_eq!(stats.rtt, None);
    finish(&[&here, &there]).await;
}

/// A round trip longer than the time between two pings is measured from the ping that was answered.
#[tokio::test(start_paused = true)]
async fn a_round_trip_may_be_longer_than_the_time_between_pings() {
    let (world, net) = net();
    let every = Duration::from_secs(2);
    let pings = switchboard::wire::Liveness::default().with(|alive| {
        alive.ping_every = Some(every);
        alive.pong_within = None;
        alive.idle_limit = None;
    });
    let here = living(&net, 1, pings).protocol(echo("p")).start().await.unwrap();
    let there = builder(&net, 2).protocol(echo("p")).start().await.unwrap();
    world.gate(true);
    let _ = here.offer(address(&there)).await;
    settle().await;
    let line = world.lines().pop().unwrap();
    // Their hello of 13 bytes passes, their pong waits.
    line.to_listener.allow(u64::MAX);
    line.to_dialler.allow(13);
    tokio::time::sleep(every + Duration::from_millis(2500)).await;
    let peer = here.peers().get(&id(2)).unwrap();
    assert_eq!(peer.stats().rtt, None);
    line.to_dialler.allow(u64::MAX);
    settle().await;
    let rtt = peer.stats().rtt.unwrap();
    assert!((2400..2600).contains(&rtt.as_millis()), "{rtt:?}");
    tokio::time::sleep(every).await;
    assert!(peer.stats().rtt.unwrap() < Duration::from_millis(10), "the next one is quick again");
    finish(&[&here, &there]).await;
}

/// No flush timer: what is sent arrives without the clock moving; many frames are one write.
#[tokio::test(start_paused = true)]
async fn a_message_leaves_at_once_and_many_leave_in_one_write() {
    let (world, net) = net();
    let channels = vec![ChannelSpec::new(0, 1).send_queue(500)];
    let (protocol, mut handed) = handed("p", channels);
    let here = builder(&net, 1).protocol(protocol).start().await.unwrap();
    let there = builder(&net, 2).protocol(echo("p")).start().await.unwrap();
    join(&here, &there).await;
    let (_, mut io) = handed.recv().await.unwrap();
    assert_eq!(round_trip(&mut io, b"now").await, Duration::ZERO);
    let before = world.writes.load(Ordering::Relaxed);
    for _ in 0..500 {
        io.try_send(C0, vec![0; 50]).unwrap();
    }
    for _ in 0..500 {
        io.recv().await.unwrap();
    }
    let writes = world.writes.load(Ordering::Relaxed) - before;
    assert!(writes < 50, "{writes} writes for 1,000 messages");
    finish(&[&here, &there]).await;
}

/// A channel that others leave no room is told of, once, and shown in what the peer's channels have seen.
#[tokio::test(start_paused = true)]
async fn a_channel_that_starves_is_an_event() {
    let (_, net) = net();
    let channels = vec![ChannelSpec::new(0, 10_000), ChannelSpec::new(1, 1)];
    let (protocol, mut handed) = handed("p", channels.clone());
    let limits = open_limits().with(|limits| limits.send_rate = std::num::NonZeroU64::new(100_000));
    let here = builder(&net, 1).limits(limits).protocol(protocol).start().await.unwrap();
    let there = builder(&net, 2).protocol(sink("p", channels)).start().await.unwrap();
    let mut events = here.events();
    let (ours, _) = join(&here, &there).await;
    let (peer, io) = handed.recv().await.unwrap();
    // What was sent of the first counts against the second.
    io.send(ChannelId(1), vec![0; 60_000]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let urgent = io.sender();
    let busy = tokio::spawn(async move { while urgent.send(C0, vec![0; 2_000]).await.is_ok() {} });
    settle().await;
    io.send(ChannelId(1), vec![0; 10]).await.unwrap();
    let (who, channel, waited) = until(&mut events, |event| match event {
        switchboard::Event::ChannelStarved { peer, channel, waited } => {
            Some((peer.clone(), channel.clone(), *waited))
        }
        _ => None,
    })
    .await;
    assert!(who == ours && channel == ("p".to_owned(), ChannelId(1)), "{channel:?}");
    assert!(waited > Duration::from_secs(2), "{waited:?}");
    let stats = peer.channel_stats();
    let of = |id| stats.iter().find(|(name, channel, _)| *name == "p" && channel.0 == id).unwrap().2;
    assert!(of(1).starved > 0 && of(0).starved == 0, "{stats:?}");
    assert!(of(0).delays.below(0.5).is_some(), "{stats:?}");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let again = drain(&mut events).into_iter();
    assert_eq!(
        again.filter(|e| matches!(e, switchboard::Event::ChannelStarved { .. })).count(),
        0,
        "told once"
    );
    busy.abort();
    finish(&[&here, &there]).await;
}

/// Peers named at the start are dialled within the wire's time, not all at once.
#[tokio::test(start_paused = true)]
async fn peers_of_the_start_are_dialled_one_after_another() {
    let (_, net) = net();
    let mut others = Vec::new();
    for n in 2..8 {
        others.push(builder(&net, n).protocol(echo("p")).start().await.unwrap());
    }
    let spread = switchboard::Preset::new().dial(|rules| rules.spread = Duration::from_secs(3));
    let wire = MemoryWire::new(&[1]).preset(spread);
    let mut starting = with_wire(&net, 1, wire).protocol(echo("p"));
    for other in &others {
        starting = starting.static_peer(known(other));
    }
    let (here, start) = (starting.start().await.unwrap(), Instant::now());
    let mut events = here.events();
    let mut after = Vec::new();
    while here.peers().len() < others.len() {
        added(&mut events).await;
        after.push(start.elapsed());
    }
    assert!(*after.last().unwrap() < Duration::from_secs(4), "{after:?}");
    assert!(after.last().unwrap().saturating_sub(after[0]) > Duration::from_millis(300), "{after:?}");
    finish(&[&here]).await;
    finish(&others.iter().collect::<Vec<_>>()).await;
}
