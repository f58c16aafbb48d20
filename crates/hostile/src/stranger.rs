//! Hostile peers: an honest handshake, and then frames as an attack wants them.
//!
//! ```text
//!   kit ─▶ Wire::dial ─▶ Established ─▶ Talker (encoder, writing half)    never waits for what comes back
//!                                   └─▶ Listener (decoder, reading half)  drained, or left unread
//! ```
//! [`OldPeer`] is a devp2p peer of version 4, whose messages are not compressed, and so stay slices of what was received.

use crate::node::Node;
use crate::proxy::{connect, connect_with};
use crate::world::{World, kit};
use anyhow::{Context, anyhow, bail};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use switchboard::net::Connection;
use switchboard::wire::{
    Decoder, Encoder, InFrame, Offer, Offered, OpenGate, OutFrame, Read, ReadHalf, SessionChannel, Upgrade,
    WriteHalf,
};
use switchboard::{ChannelId, ProtocolSpec};
use switchboard_cast::{Cast, ChannelMap, Config, MemoryStores};
use switchboard_devp2p::NodeKey;
use switchboard_devp2p::frame::Sealer;
use switchboard_devp2p::handshake::{Initiator, Randomness};
use switchboard_devp2p::message::{BASE_LENGTH, Capability, HELLO, Hello};
use switchboard_node::kit::KeySource;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a hostile peer's own handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Received bytes the system keeps for a peer that does not read.
const ROOM: u32 = 4_096;

/// What a hostile peer offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offering {
    Bench,
    Cast,
}

/// Writes frames.
pub(crate) struct Talker {
    encoder: Box<dyn Encoder>,
    writer: Box<dyn WriteHalf>,
    channels: Vec<SessionChannel>,
    out: BytesMut,
}

/// Reads frames.
pub(crate) struct Listener {
    decoder: Box<dyn Decoder>,
    reader: Box<dyn ReadHalf>,
    leftover: BytesMut,
    channels: Vec<SessionChannel>,
}

fn offered(spec: ProtocolSpec) -> Offer {
    let least = spec.channels.iter().map(|c| u64::from(c.id.0) + 1).max().unwrap_or(0);
    let (name, version, length) = (spec.name, spec.version, spec.length.max(least));
    Offer {
        protocols: vec![Offered {
            index: 0,
            name,
            version,
            length,
            channels: spec.channels,
            placement: Default::default(),
        }],
    }
}

/// Shakes hands as an honest peer would, with an identity of its own where that is free.
pub(crate) async fn dial(
    world: &World,
    node: &Node,
    wire: &str,
    offering: Offering,
    from: Ipv4Addr,
) -> anyhow::Result<(Talker, Listener, ChannelMap)> {
    let stream = connect(from, node.addr()?).await?;
    shake_hands(world, node, (wire, offering), from, stream).await
}

/// The same, with little room in the system for what the node says.
pub(crate) async fn dial_deaf(
    world: &World,
    node: &Node,
    wire: &str,
    offering: Offering,
    from: Ipv4Addr,
) -> anyhow::Result<(Talker, Listener)> {
    let stream = connect_with(from, node.addr()?, Some(ROOM)).await?;
    let (talker, listener, _) = shake_hands(world, node, (wire, offering), from, stream).await?;
    Ok((talker, listener))
}

async fn shake_hands(
    world: &World,
    node: &Node,
    (wire, offering): (&str, Offering),
    from: Ipv4Addr,
    stream: TcpStream,
) -> anyhow::Result<(Talker, Listener, ChannelMap)> {
    let kit = kit(wire)?;
    let key = match kit.has_organisations() {
        true => KeySource::File(world.hostile_peer(0).to_owned()),
        false => KeySource::Throwaway,
    };
    let built = world.build(kit, &key, from)?;
    let offer = match offering {
        Offering::Bench => offered(built.bench.as_ref().context("the wire has no bench")?.spec()),
        Offering::Cast => {
            use switchboard::Protocol;
            let cast = Cast::new(Config::default(), MemoryStores::new(0));
            offered(cast.protocol(built.cast.map()).spec())
        }
    };
    let upgrade =
        Upgrade { env: world.env(from), offer: Arc::new(offer), gate: Arc::new(OpenGate), listen: None };
    let dialled = built.wire.dial(Connection::tcp(stream)?, node.candidate(wire, None)?, upgrade);
    let session = timeout(HANDSHAKE, dialled).await.map_err(|_| anyhow!("no handshake"))??;
    let channels = session.channels;
    let talker = Talker {
        encoder: session.encoder,
        writer: session.writer,
        channels: channels.clone(),
        out: BytesMut::new(),
    };
    let listener =
        Listener { decoder: session.decoder, reader: session.reader, leftover: session.leftover, channels };
    Ok((talker, listener, built.cast.map()))
}

fn number(channels: &[SessionChannel], channel: ChannelId) -> anyhow::Result<u64> {
    let found = channels.iter().find(|shared| shared.channel == channel);
    found.map(|shared| shared.wire_id).with_context(|| format!("channel {} is not shared", channel.0))
}

impl Talker {
    /// Takes a frame with a part of a message; it leaves with the next [`Talker::flush`].
    pub(crate) fn put(&mut self, channel: ChannelId, data: &[u8], last: bool) -> anyhow::Result<()> {
        let wire_id = number(&self.channels, channel)?;
        self.encoder.encode(OutFrame::Data { wire_id, data, last }, &mut self.out)?;
        Ok(())
    }

    /// Takes an answer to a ping.
    fn pong(&mut self) -> anyhow::Result<()> {
        Ok(self.encoder.encode(OutFrame::Pong, &mut self.out)?)
    }

    /// Takes a ping.
    pub(crate) fn ping(&mut self) -> anyhow::Result<()> {
        Ok(self.encoder.encode(OutFrame::Ping, &mut self.out)?)
    }

    /// How much of a message fits into one frame.
    pub(crate) fn slice(&self, channel: ChannelId, remaining: usize) -> anyhow::Result<usize> {
        Ok(self.encoder.slice(number(&self.channels, channel)?, remaining))
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Writes what was taken.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        self.encoder.finish(&mut self.out)?;
        let Self { writer, out, .. } = self;
        while !out.is_empty() {
            let n = poll_fn(|cx| writer.poll_write(cx, out)).await.map_err(|e| anyhow!("{e}"))?;
            let _ = out.split_to(n.min(out.len()));
        }
        poll_fn(|cx| writer.poll_flush(cx)).await.map_err(|e| anyhow!("{e}"))
    }
}

/// What a hostile peer hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Ping,
    Message(ChannelId, Bytes),
    Nothing,
}

impl Listener {
    /// The next frame; an error at the end of the session.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Heard> {
        loop {
            match self.decoder.decode(&mut self.leftover)? {
                Some(InFrame::Ping) => return Ok(Heard::Ping),
                Some(InFrame::Message { wire_id, data }) => {
                    let shared = self.channels.iter().find(|shared| shared.wire_id == wire_id);
                    return Ok(shared.map_or(Heard::Nothing, |shared| Heard::Message(shared.channel, data)));
                }
                Some(InFrame::Goodbye(reason)) => bail!("the node ends it: {reason}"),
                Some(_) => return Ok(Heard::Nothing),
                None => {
                    self.leftover.reserve(16 * 1024);
                    let Self { reader, leftover, .. } = self;
                    if let Read::Over(end) = poll_fn(|cx| reader.poll_read(cx, leftover, usize::MAX)).await? {
                        bail!("the connection is over: {}", end.reason);
                    }
                }
            }
        }
    }

    /// Reads to the end of the session; says how it ended.
    pub(crate) async fn drain(mut self) -> anyhow::Error {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }
}

/// Keeps a session as an idle peer does: answers pings, and says nothing else. Ends with the session.
pub(crate) async fn linger(mut talker: Talker, mut listener: Listener) -> anyhow::Error {
    loop {
        let heard = match listener.next().await {
            Ok(heard) => heard,
            Err(end) => return end,
        };
        if let Heard::Ping = heard
            && let Err(end) = async { talker.pong().and(talker.flush().await) }.await
        {
            return end;
        }
    }
}

/// A devp2p peer of version 4 with the capability `bench`, which never reads after its handshake.
pub(crate) struct OldPeer {
    stream: TcpStream,
    sealer: Sealer,
    out: BytesMut,
}

impl OldPeer {
    pub(crate) async fn dial(world: &World, node: &Node, from: Ipv4Addr) -> anyhow::Result<Self> {
        let remote: [u8; 64] = node.candidate("devp2p", None)?.key.as_ref().try_into()?;
        let remote = switchboard_devp2p::NodePublic::from_bytes(&remote)?;
        let key = NodeKey::generate(|| world.random());
        let randomness = Randomness {
            ephemeral: world.random(),
            nonce: world.random(),
            sealing: world.random(),
            iv: world.random(),
            padding: 120,
        };
        let initiator = Initiator::start(&key, &remote, &randomness)?;
        let addr: SocketAddr = node.addr()?;
        // What the node sends soon waits there.
        let mut stream = connect_with(from, addr, Some(ROOM)).await?;
        stream.write_all(initiator.auth()).await?;
        let mut ack = vec![0; 2];
        stream.read_exact(&mut ack).await?;
        let size = u16::from_be_bytes([ack[0], ack[1]]);
        ack.resize(2 + usize::from(size), 0);
        stream.read_exact(&mut ack[2..]).await?;
        let (sealer, _) = initiator.finish(&ack)?.split();
        let mut peer = Self { stream, sealer, out: BytesMut::new() };
        let capabilities = vec![Capability { name: "bench".to_owned(), version: 1 }];
        let (name, key) = ("old".to_owned(), key.public().to_bytes());
        let hello = Hello { version: 4, name, capabilities, port: 0, key };
        peer.put(HELLO, &hello.encode())?;
        peer.flush().await?;
        Ok(peer)
    }

    /// Takes a frame with a code of the base protocol.
    pub(crate) fn put(&mut self, code: u64, payload: &[u8]) -> anyhow::Result<()> {
        Ok(self.sealer.seal(code, payload, None, &mut self.out)?)
    }

    /// Takes a message of `bench`.
    pub(crate) fn put_bench(&mut self, channel: ChannelId, payload: &[u8]) -> anyhow::Result<()> {
        self.put(BASE_LENGTH + u64::from(channel.0), payload)
    }

    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        self.flush_but(0).await
    }

    /// Writes what was taken, but for its last bytes. May be dropped and called again.
    pub(crate) async fn flush_but(&mut self, kept: usize) -> anyhow::Result<()> {
        while self.out.len() > kept {
            let most = self.out.len() - kept;
            let n = self.stream.write(&self.out[..most]).await?;
            let _ = self.out.split_to(n);
        }
        Ok(())
    }

    /// Reads so many bytes, whatever they are.
    pub(crate) async fn read(&mut self, bytes: usize) -> anyhow::Result<()> {
        let mut read = vec![0; bytes];
        self.stream.read_exact(&mut read).await?;
        Ok(())
    }
}
