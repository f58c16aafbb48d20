//! What a finished handshake hands over: who they are, the shared channels, the codec, the halves and the rules.
//!
//! ```text
//!   Wire::accept, Wire::dial ─▶ Established ─▶ admitted by the Switch: a session
//!                                          └─▶ refused: Established::refuse says why and closes
//! ```
//!
//! [`Rules`] carries what networks do differently in a running session. Its defaults are neutral; a wire's preset sets
//! what its network expects. The peer is not judged here: the handshake did that, and the Switch does.

use super::halves::{self, Broken, Read, ReadHalf, WriteHalf};
use super::{Decoder, EncodeError, Encoder, Fault, HandshakeError, InFrame, OutFrame, RemoteInfo, Stage};
use crate::id::PeerId;
use crate::protocol::channel::ChannelId;
use crate::reason::Reason;
use bytes::BytesMut;
use std::future::poll_fn;
use std::time::Duration;
use tokio::time::Instant;

/// A channel both sides share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionChannel {
    /// Index of the protocol, from [`super::Offered::index`].
    pub protocol: usize,
    /// The channel within the protocol.
    pub channel: ChannelId,
    /// Its number on this session's wire.
    pub wire_id: u64,
}

/// How a session shows it is alive. Any received byte counts as life for `idle_limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Liveness {
    /// Send a ping at this interval.
    pub ping_every: Option<Duration>,
    /// A ping must be answered, or any other byte arrive, within this time.
    pub pong_within: Option<Duration>,
    /// Longest silence.
    pub idle_limit: Option<Duration>,
}

impl Liveness {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// A ping at this interval, which must be answered within this time.
    #[must_use]
    pub fn ping(every: Duration, pong_within: Duration) -> Self {
        Self { ping_every: Some(every), pong_within: Some(pong_within), idle_limit: None }
    }

    /// Sets the longest silence.
    #[must_use]
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.idle_limit = Some(limit);
        self
    }
}

/// When a session ends because its protocols are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenDone {
    /// When the last of them has returned.
    #[default]
    Last,
    /// When the first of them has returned (`go-ethereum p2p/peer.go`, Peer.run).
    First,
}

/// How long a message or frame may stay incomplete: `base`, and the time its bytes take at `rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incomplete {
    /// Time every message has.
    pub base: Duration,
    /// Bytes a second that give it more; 0 gives none.
    pub rate: u64,
}

impl Default for Incomplete {
    /// 30 s, and a second for each 16 KiB that have come.
    fn default() -> Self {
        Self { base: Duration::from_secs(30), rate: 16 * 1024 }
    }
}

impl Incomplete {
    /// `base`, and the time that the bytes take at `rate` a second (0 gives none).
    #[must_use]
    pub const fn new(base: Duration, rate: u64) -> Self {
        Self { base, rate }
    }

    /// How long something may take of which `bytes` have come.
    #[must_use]
    pub fn allowed(&self, bytes: usize) -> Duration {
        let more = (bytes as u64).saturating_mul(1_000).checked_div(self.rate).unwrap_or(0);
        self.base.saturating_add(Duration::from_millis(more))
    }
}

/// What a running session keeps to. Each wire sets what its network expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rules {
    /// How liveness is shown.
    pub liveness: Liveness,
    /// How long a write may make no progress.
    pub write_within: Duration,
    /// How long the goodbye, with what is queued before it, may take.
    pub goodbye_within: Duration,
    /// How long we read on after our goodbye, so that the peer has it before the connection is reset.
    pub linger: Duration,
    /// How long protocols may take to finish once their inboxes are closed.
    pub finish_within: Duration,
    /// How long a send waits for room.
    pub send_within: Duration,
    /// How often what a lane sent recently fades by a fifth.
    pub fade_every: Duration,
    /// A message that waits longer than this while others are sent is counted as starved.
    pub starved_after: Duration,
    /// How long a received message may stay incomplete.
    pub incomplete: Incomplete,
    /// Which protocol's return ends the session.
    pub when_done: WhenDone,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            liveness: Liveness::default(),
            write_within: Duration::from_secs(20),
            goodbye_within: Duration::from_secs(1),
            linger: Duration::from_millis(500),
            finish_within: Duration::from_secs(3),
            send_within: crate::session::outgoing::SEND_TIMEOUT,
            fade_every: crate::session::scheduler::DECAY_EVERY,
            starved_after: Duration::from_secs(2),
            incomplete: Incomplete::default(),
            when_done: WhenDone::Last,
        }
    }
}

impl Rules {
    /// Neutral rules with this liveness.
    #[must_use]
    pub fn living(liveness: Liveness) -> Self {
        Self { liveness, ..Self::default() }
    }

    /// Sets how long a write may make no progress.
    #[must_use]
    pub fn write_within(mut self, limit: Duration) -> Self {
        self.write_within = limit;
        self
    }

    /// Sets how long the goodbye, with what is queued before it, may take.
    #[must_use]
    pub fn goodbye_within(mut self, limit: Duration) -> Self {
        self.goodbye_within = limit;
        self
    }

    /// Sets how long we read on after our goodbye.
    #[must_use]
    pub fn linger(mut self, limit: Duration) -> Self {
        self.linger = limit;
        self
    }

    /// Sets how long protocols may take to finish.
    #[must_use]
    pub fn finish_within(mut self, limit: Duration) -> Self {
        self.finish_within = limit;
        self
    }

    /// Sets how long a send waits for room.
    #[must_use]
    pub fn send_within(mut self, limit: Duration) -> Self {
        self.send_within = limit;
        self
    }

    /// Sets how often what a lane sent recently fades by a fifth.
    #[must_use]
    pub fn fade_every(mut self, every: Duration) -> Self {
        self.fade_every = every;
        self
    }

    /// Sets after which wait a message counts as starved.
    #[must_use]
    pub fn starved_after(mut self, wait: Duration) -> Self {
        self.starved_after = wait;
        self
    }

    /// Sets how long a received message may stay incomplete.
    #[must_use]
    pub fn incomplete(mut self, incomplete: Incomplete) -> Self {
        self.incomplete = incomplete;
        self
    }

    /// Sets which protocol's return ends the session.
    #[must_use]
    pub fn when_done(mut self, when: WhenDone) -> Self {
        self.when_done = when;
        self
    }
}

/// A finished handshake: everything needed to run the session.
pub struct Established {
    /// The proven identity.
    pub peer: PeerId,
    /// By whom slots, scores and bans are counted: the identity itself, or what all identities of one holder share on a wire
    /// that lets somebody prove several at no cost.
    pub holder: PeerId,
    /// What they said of themselves.
    pub info: RemoteInfo,
    /// The shared channels, in the order the scheduler breaks ties by.
    pub channels: Vec<SessionChannel>,
    /// Frames to bytes.
    pub encoder: Box<dyn Encoder>,
    /// Bytes to frames.
    pub decoder: Box<dyn Decoder>,
    /// The reading half.
    pub reader: Box<dyn ReadHalf>,
    /// The writing half.
    pub writer: Box<dyn WriteHalf>,
    /// Bytes that were read with the handshake and belong to the first frames.
    pub leftover: BytesMut,
    /// What the session keeps to.
    pub rules: Rules,
}

impl std::fmt::Debug for Established {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Established")
            .field("peer", &self.peer)
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// A frame that could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SayError {
    /// The wire cannot carry it.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The connection is over.
    #[error("the connection is over: {0}")]
    Broken(Broken),
}

impl Established {
    /// Sends one frame. For tools and refusals; a session has a writer of its own.
    ///
    /// # Errors
    /// [`SayError`] when it cannot be encoded or written. The caller bounds the wait.
    pub async fn say(&mut self, frame: OutFrame<'_>) -> Result<(), SayError> {
        let mut out = BytesMut::new();
        let ping = matches!(frame, OutFrame::Ping);
        self.encoder.encode(frame, &mut out)?;
        self.encoder.finish(&mut out)?;
        if ping {
            self.writer.ping();
        }
        halves::write_all(&mut *self.writer, &out).await.map_err(SayError::Broken)
    }

    /// Reads more into `leftover`. The caller bounds the wait.
    ///
    /// # Errors
    /// [`Fault`] when the peer broke a rule of the transport.
    pub async fn read(&mut self) -> Result<Read, Fault> {
        self.leftover.reserve(4096);
        let Self { reader, leftover, .. } = self;
        poll_fn(|cx| reader.poll_read(cx, leftover, usize::MAX)).await
    }

    /// Measures round trips, says goodbye, and gives what a probe tells. `began` is when its handshake did.
    pub async fn into_probe(mut self, began: Instant, pings: u32) -> super::Probe {
        let mut probe = super::Probe::new(self.peer, self.info.clone(), began.elapsed());
        for _ in 0..pings {
            let measured = tokio::time::timeout(super::PROBE_PONG_WITHIN, self.round_trip()).await;
            if !probe.add(measured.unwrap_or(Err(HandshakeError::Timeout(Stage::Protocol)))) {
                break;
            }
        }
        self.refuse(&Reason::Quitting).await;
        probe
    }

    /// Measures a round trip with the wire's own ping, outside any Switch; what else comes is skipped. The caller
    /// bounds it in time.
    ///
    /// # Errors
    /// When the peer breaks a rule, ends the session, or the connection breaks.
    pub async fn round_trip(&mut self) -> Result<Duration, HandshakeError> {
        let stage = Stage::Protocol;
        let fault = |fault| HandshakeError::Peer { stage, fault };
        // Before it is sent: the pong may be there when the write returns.
        let began = Instant::now();
        self.say(OutFrame::Ping).await.map_err(|_| HandshakeError::Closed(stage))?;
        loop {
            let ping = match self.decoder.decode(&mut self.leftover).map_err(fault)? {
                Some(InFrame::Pong) => return Ok(began.elapsed()),
                Some(InFrame::Ping) => true,
                Some(InFrame::Goodbye(reason)) => return Err(HandshakeError::refused_by_peer(reason)),
                Some(_) => continue,
                None => false,
            };
            if ping {
                self.say(OutFrame::Pong).await.map_err(|_| HandshakeError::Closed(stage))?;
                continue;
            }
            match self.read().await.map_err(fault)? {
                Read::Bytes(_) => {}
                Read::Pong => return Ok(began.elapsed()),
                Read::Over(_) => return Err(HandshakeError::Closed(stage)),
            }
        }
    }

    /// Says why there will be no session, within its rules' time, and closes.
    pub async fn refuse(mut self, reason: &Reason) {
        let limit = self.rules.goodbye_within;
        let say = async {
            if self.say(OutFrame::Goodbye(reason)).await.is_err() {
                return;
            }
            let Self { reader, writer, .. } = &mut self;
            if poll_fn(|cx| writer.poll_close(cx, reason)).await.is_err() {
                return;
            }
            // Reading on until they close keeps the kernel from resetting the connection under our goodbye.
            let mut rest = BytesMut::with_capacity(4096);
            while let Ok(Read::Bytes(_) | Read::Pong) =
                poll_fn(|cx| reader.poll_read(cx, &mut rest, 4096)).await
            {
                rest.clear();
            }
        };
        let _ = tokio::time::timeout(limit, say).await;
    }
}
