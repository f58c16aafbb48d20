//! What the end-to-end tests share: protocols made of closures, nodes on a network in memory, waits on events,
//! and a network that counts, places hosts at addresses and holds bytes back.
#![allow(dead_code, unreachable_pub)]

pub mod net;

use std::sync::Arc;
use std::time::Duration;
use switchboard::candidate::Candidate;
use switchboard::net::Network;
use switchboard::net::memory::{MEMORY, MemoryWire};
use switchboard::protocol::channel::{ChannelId, ChannelSpec};
use switchboard::protocol::io::ChannelIo;
use switchboard::protocol::{Protocol, ProtocolError, ProtocolSpec};
use switchboard::wire::Liveness;
use switchboard::{BoxFuture, End, Env, Event, Limits, Peer, PeerId, Switch, SwitchBuilder};
use tokio::time::{Instant, timeout};

pub const C0: ChannelId = ChannelId(0);
pub const C1: ChannelId = ChannelId(1);
/// More virtual time than any test may take to see one event.
pub const PATIENCE: Duration = Duration::from_secs(600);

type Run = dyn Fn(Peer, ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> + Send + Sync;

/// A protocol whose `run` is a closure.
pub struct Made {
    pub spec: ProtocolSpec,
    pub run: Box<Run>,
}

impl Protocol for Made {
    fn spec(&self) -> ProtocolSpec {
        self.spec.clone()
    }

    fn run(self: Arc<Self>, peer: Peer, io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        (self.run)(peer, io)
    }
}

pub fn made<F>(
    name: &str,
    channels: Vec<ChannelSpec>,
    run: impl Fn(Peer, ChannelIo) -> F + Send + Sync + 'static,
) -> Arc<dyn Protocol>
where
    F: Future<Output = Result<(), ProtocolError>> + Send + 'static,
{
    let spec = ProtocolSpec::new(name, 1, channels);
    Arc::new(Made { spec, run: Box::new(move |peer, io| Box::pin(run(peer, io))) })
}

/// Sends back what comes, on the channel it came on.
pub fn echo(name: &str) -> Arc<dyn Protocol> {
    made(name, vec![ChannelSpec::new(0, 5)], |_, mut io| async move {
        while let Some((channel, message)) = io.recv().await {
            if io.send(channel, message).await.is_err() {
                break;
            }
        }
        Ok(())
    })
}

/// Reads and forgets.
pub fn sink(name: &str, channels: Vec<ChannelSpec>) -> Arc<dyn Protocol> {
    made(name, channels, |_, mut io| async move {
        while io.recv().await.is_some() {}
        Ok(())
    })
}

/// Never reads.
pub fn stuck(name: &str, channels: Vec<ChannelSpec>) -> Arc<dyn Protocol> {
    made(name, channels, |_, io| async move {
        std::future::pending::<()>().await;
        drop(io);
        Ok(())
    })
}

/// Passes the io of each peer to the test.
pub fn handed(
    name: &str,
    channels: Vec<ChannelSpec>,
) -> (Arc<dyn Protocol>, tokio::sync::mpsc::Receiver<(Peer, ChannelIo)>) {
    let (tx, rx) = tokio::sync::mpsc::channel(64);
    let protocol = made(name, channels, move |peer, io| {
        let tx = tx.clone();
        async move {
            let _ = tx.send((peer.clone(), io)).await;
            peer.ended().await;
            Ok(())
        }
    });
    (protocol, rx)
}

pub fn env(net: Arc<dyn Network>, seed: u64) -> Env {
    Env::seeded(net, 1_800_000_000, seed)
}

pub fn open_limits() -> Limits {
    Limits::default()
}

/// A node with a one-byte identity that listens on its own loopback address.
pub fn builder(net: &Arc<dyn Network>, id: u8) -> SwitchBuilder {
    with_wire(net, id, MemoryWire::new(&[id]))
}

pub fn living(net: &Arc<dyn Network>, id: u8, liveness: Liveness) -> SwitchBuilder {
    with_wire(net, id, MemoryWire::new(&[id]).liveness(liveness))
}

pub fn with_wire(net: &Arc<dyn Network>, id: u8, wire: MemoryWire) -> SwitchBuilder {
    SwitchBuilder::new(env(Arc::clone(net), u64::from(id)))
        .wire(Arc::new(wire))
        .limits(open_limits())
        .listen(([127, 0, 0, 1], 0).into(), &[])
}

pub fn id(byte: u8) -> PeerId {
    PeerId::new(MEMORY, &[byte]).unwrap()
}

/// Where a node listens, as a candidate without and with its identity.
pub fn address(switch: &Switch) -> Candidate {
    let addr = switch.listening()[0].0;
    at(addr.ip().to_string(), addr.port(), None)
}

pub fn known(switch: &Switch) -> Candidate {
    address(switch).maybe_id(switch.local_id(MEMORY))
}

pub fn at(host: String, port: u16, id: Option<PeerId>) -> Candidate {
    Candidate::new(MEMORY, host, port).maybe_id(id)
}

/// The first event that `pick` takes; others are passed over.
pub async fn until<T>(events: &mut switchboard::Events, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = pick(&events.recv().await.expect("events")) {
                return found;
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("the event never came")
}

pub async fn added(events: &mut switchboard::Events) -> Peer {
    until(events, |e| match e {
        Event::PeerAdded(peer) => Some(peer.clone()),
        _ => None,
    })
    .await
}

pub async fn dropped(events: &mut switchboard::Events) -> (Peer, End) {
    until(events, |e| match e {
        Event::PeerDropped { peer, end } => Some((peer.clone(), end.clone())),
        _ => None,
    })
    .await
}

/// Connects `from` to `to` once and waits until both have the peer.
pub async fn join(from: &Switch, to: &Switch) -> (Peer, Peer) {
    let (mut here, mut there) = (from.events(), to.events());
    from.offer(address(to)).await.unwrap();
    (added(&mut here).await, added(&mut there).await)
}

/// Lets everything that can run, run: with a paused clock the sleep ends when nothing else moves.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Every event that has come so far.
pub fn drain(events: &mut switchboard::Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

/// How many things the events tell, sums included.
pub fn counted(events: &[Event]) -> u64 {
    let count = |event: &Event| if let Event::Summed { count, .. } = event { *count } else { 1 };
    events.iter().map(count).sum()
}

/// Stops all; nothing is held afterwards.
pub async fn finish(switches: &[&Switch]) {
    for switch in switches {
        switch.stop().await;
        assert_eq!(switch.bytes_held(), 0, "bytes stay on the ledger");
        assert!(switch.peers().is_empty());
    }
}

/// Sends one message and waits for its echo; gives the time it took.
pub async fn round_trip(io: &mut ChannelIo, message: &'static [u8]) -> Duration {
    let start = Instant::now();
    io.send(C0, message).await.unwrap();
    let (_, back) = timeout(PATIENCE, io.recv()).await.expect("no echo").expect("closed");
    assert_eq!(back, message);
    start.elapsed()
}
