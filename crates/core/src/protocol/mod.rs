//! What a program adds to the network: protocols, their channels, and the two styles to write them in.
//!
//! ```text
//!   Protocol  run(peer, io): one async task a peer             ─┐
//!   Reactor   init_peer, add_peer, receive, remove_peer        ─┴─▶ ChannelIo: send, recv on the protocol's channels
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`channel`] | a channel's number, priority, queue and limits |
//! | `spec` | [`Protocol`], its [`ProtocolSpec`] and [`ProtocolError`] |
//! | [`reactor`] | [`Reactor`], callbacks over the same channels |
//! | [`typed`] | [`typed::Typed`]: a protocol's own messages instead of bytes |
//! | [`pair`] | two ends without a session, and a made-up peer, for tests |
//! | [`info`] | what a protocol tells an operator |
//! | [`io`] | [`ChannelIo`] and [`ChannelSender`]: what a running protocol holds |
//!
//! Limits: those of [`ChannelSpec`], per channel and peer. When one is reached, its [`Overflow`] or
//! [`crate::SendError`] says what happens. What a message means is the protocol's to check.

pub mod channel;
pub mod info;
pub mod io;
pub mod pair;
pub mod reactor;
mod spec;
pub mod typed;

pub use channel::{ChannelId, ChannelSpec, Overflow};
pub use info::{Info, Value};
pub use io::{ChannelIo, ChannelSender};
pub use reactor::Reactor;
pub use spec::{Protocol, ProtocolError, ProtocolSpec};
pub use typed::{Codec, Malformed, Typed, TypedSender};
