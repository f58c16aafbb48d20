//! Faults of our own: a codec that panics ends its session, holds nothing afterwards, and the node serves on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::{Bytes, BytesMut};
use common::net::Net;
use common::*;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use switchboard::net::memory::MemoryWire;
use switchboard::net::{Connection, Listener, Network};
use switchboard::wire::{
    AddressError, Decoder, EncodeError, Encoder, Established, Fault, HandshakeError, InFrame, OutFrame,
    Sniff, Upgrade, Wire,
};
use switchboard::{
    BoxFuture, By, Candidate, ChannelSpec, Env, Event, PeerId, Reason, SwitchBuilder, WireName,
};

/// The wire in memory with a flaw: its codec panics at a message that begins so.
struct Flawed(MemoryWire, &'static [u8]);

struct FlawedEncoder(Box<dyn Encoder>, &'static [u8]);

struct FlawedDecoder(Box<dyn Decoder>, &'static [u8]);

impl Encoder for FlawedEncoder {
    fn slice(&self, wire_id: u64, remaining: usize) -> usize {
        self.0.slice(wire_id, remaining)
    }

    fn cost(&self, wire_id: u64, len: usize, last: bool) -> usize {
        self.0.cost(wire_id, len, last)
    }

    fn max_message(&self, wire_id: u64) -> usize {
        self.0.max_message(wire_id)
    }

    fn encode(&mut self, frame: OutFrame<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        if let OutFrame::Data { data, .. } = &frame {
            assert!(!data.starts_with(self.1), "the encoder panics");
        }
        self.0.encode(frame, out)
    }
}

impl Decoder for FlawedDecoder {
    fn decode<'a>(&'a mut self, src: &'a mut BytesMut) -> Result<Option<InFrame<'a>>, Fault> {
        let frame = self.0.decode(src)?;
        match &frame {
            Some(InFrame::Part { data, .. }) => assert!(!data.starts_with(self.1), "the decoder panics"),
            Some(InFrame::Message { data, .. }) => assert!(!data.starts_with(self.1), "the decoder panics"),
            _ => {}
        }
        Ok(frame)
    }
}

impl Flawed {
    fn flaw(&self, session: Established) -> Established {
        let Established { encoder, decoder, .. } = session;
        let (encoder, decoder) = (FlawedEncoder(encoder, self.1), FlawedDecoder(decoder, self.1));
        Established { encoder: Box::new(encoder), decoder: Box::new(decoder), ..session }
    }
}

impl Wire for Flawed {
    fn name(&self) -> WireName {
        self.0.name()
    }

    fn local_id(&self) -> PeerId {
        self.0.local_id()
    }

    fn sniff(&self, first: &[u8]) -> Sniff {
        self.0.sniff(first)
    }

    fn accept(
        &self,
        connection: Connection,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(async { self.0.accept(connection, upgrade).await.map(|session| self.flaw(session)) })
    }

    fn dial(
        &self,
        connection: Connection,
        whom: Candidate,
        upgrade: Upgrade,
    ) -> BoxFuture<'_, Result<Established, HandshakeError>> {
        Box::pin(async { self.0.dial(connection, whom, upgrade).await.map(|session| self.flaw(session)) })
    }

    fn parse(&self, url: &str) -> Result<Candidate, AddressError> {
        self.0.parse(url)
    }
}

fn flawed(net: &Arc<dyn switchboard::net::Network>, id: u8, flaw: &'static [u8]) -> SwitchBuilder {
    SwitchBuilder::new(Env::seeded(Arc::clone(net), 1_800_000_000, u64::from(id)))
        .wire(Arc::new(Flawed(MemoryWire::new(&[id]), flaw)))
        .limits(open_limits())
        .listen(([127, 0, 0, 1], 0).into(), &[])
}

#[tokio::test(start_paused = true)]
async fn an_encoder_that_panics_ends_one_session_and_leaves_nothing() {
    let net = Net::default().host([127, 0, 0, 1]);
    let hub = flawed(&net, 9, b"out").protocol(echo("echo")).start().await.unwrap();
    let bad = builder(&net, 1).protocol(sink("echo", vec![ChannelSpec::new(0, 1)])).start().await.unwrap();
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 1)]);
    let good = builder(&net, 2).protocol(asks).start().await.unwrap();
    let (_, peer) = join(&bad, &hub).await;
    join(&good, &hub).await;
    let mut events = hub.events();
    // Those around it are in the same batch.
    for message in [&b"one"[..], b"two", b"out of order", b"three", b"four"] {
        peer.try_send("echo", C0, Bytes::copy_from_slice(message)).unwrap();
    }
    let (dead, end) = dropped(&mut events).await;
    assert_eq!((dead.id(), end.reason, end.by), (id(1), Reason::LocalFault, By::Us));
    assert_eq!(hub.bytes_held(), 0, "what was to be sent stays on the ledger");
    round_trip(&mut handed.recv().await.unwrap().1, b"still here").await;
    finish(&[&hub, &bad, &good]).await;
}

#[tokio::test(start_paused = true)]
async fn a_decoder_that_panics_ends_one_session_and_leaves_nothing() {
    let net = Net::default().host([127, 0, 0, 1]);
    let hub = flawed(&net, 9, b"in").protocol(echo("echo")).start().await.unwrap();
    let bad = builder(&net, 1).protocol(sink("echo", vec![ChannelSpec::new(0, 1)])).start().await.unwrap();
    let (asks, mut handed) = handed("echo", vec![ChannelSpec::new(0, 1)]);
    let good = builder(&net, 2).protocol(asks).start().await.unwrap();
    let (peer, _) = join(&bad, &hub).await;
    join(&good, &hub).await;
    let mut events = hub.events();
    for message in [&b"one"[..], b"two", b"in disorder", b"three"] {
        peer.try_send("echo", C0, Bytes::copy_from_slice(message)).unwrap();
    }
    let (dead, end) = dropped(&mut events).await;
    assert_eq!((dead.id(), end.reason, end.by), (id(1), Reason::LocalFault, By::Us));
    assert_eq!(hub.bytes_held(), 0);
    round_trip(&mut handed.recv().await.unwrap().1, b"still here").await;
    finish(&[&hub, &bad, &good]).await;
}

/// A network whose listeners have no files to give, now and then.
struct Starved {
    inner: Arc<dyn Network>,
    failures: Arc<AtomicUsize>,
}

struct StarvedListener {
    inner: Arc<dyn Listener>,
    failures: Arc<AtomicUsize>,
}

impl Listener for StarvedListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async {
            let take = |left: usize| left.checked_sub(1);
            if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                return Err(io::Error::other("no files"));
            }
            self.inner.accept().await
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }
}

impl Network for Starved {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            let inner = self.inner.listen(addr).await?;
            let listener = StarvedListener { inner, failures: Arc::clone(&self.failures) };
            Ok(Arc::new(listener) as Arc<dyn Listener>)
        })
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Connection>> {
        self.inner.connect(addr)
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.inner.resolve(host, port)
    }
}

/// However often accepting fails, it is told once until it works again; then whoever waited is served.
#[tokio::test(start_paused = true)]
async fn a_listener_without_files_is_told_once_and_tries_again() {
    let (net, failures) = (Net::default(), Arc::new(AtomicUsize::new(0)));
    let host: Arc<dyn Network> =
        Arc::new(Starved { inner: net.host([10, 0, 0, 1]), failures: Arc::clone(&failures) });
    let a = builder(&host, 1).protocol(echo("echo")).start().await.unwrap();
    let mut events = a.events();
    for n in 2..5 {
        // The accept under way is the inner one; the next fail.
        failures.store(5, Ordering::Relaxed);
        let b = builder(&net.host([10, 0, 0, n]), n).protocol(echo("echo")).start().await.unwrap();
        join(&b, &a).await;
        let c = builder(&net.host([10, 0, 1, n]), n + 10).protocol(echo("echo")).start().await.unwrap();
        join(&c, &a).await;
        let told = drain(&mut events);
        let failed = |e: &&Event| matches!(e, Event::AcceptFailed { listening, detail } if *listening == a.listening()[0].0 && detail == "no files");
        assert_eq!(told.iter().filter(failed).count(), 1, "{told:?}");
        finish(&[&b, &c]).await;
        settle().await;
        drain(&mut events);
    }
    finish(&[&a]).await;
}
