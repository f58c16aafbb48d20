//! One place to watch every frame of every session: for recording, for counting, for an operator who wants to see.
//!
//! ```text
//!   socket ─▶ decoder ─▶ Tap(In)  ─▶ reassembly          lanes ─▶ scheduler ─▶ Tap(Out) ─▶ encoder ─▶ socket
//! ```
//!
//! A tap sees frames as they are on the wire: a message cut into parts is several frames. It sees received frames before
//! they are checked, and sent frames as they are encoded.
//!
//! Limits: a tap is called by the session's own tasks and must not wait. Its cost is added to every frame. Without a tap
//! there is no cost. A tap that panics ends the session it was called in.

use crate::reason::Reason;
use crate::switch::peer::Peer;
use tokio::time::Instant;

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// From the peer to us.
    In,
    /// From us to the peer.
    Out,
}

/// A frame, as a tap sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen<'a> {
    /// A message, or a part of one.
    Data {
        /// The channel's number on the wire.
        wire_id: u64,
        /// Its bytes.
        data: &'a [u8],
        /// Whether the message ends here.
        last: bool,
    },
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// The end, and its reason.
    Goodbye(&'a Reason),
    /// A frame the wire knows and ignores.
    Skipped,
}

/// Sees every frame.
pub trait Tap: Send + Sync + 'static {
    /// A frame of a session with `peer`. `at` is when it was read from the socket, or handed to the encoder.
    fn frame(&self, peer: &Peer, flow: Flow, at: Instant, frame: Seen<'_>);
}
