//! What a program adds to the network: a task per peer that shares it.
//!
//! ```text
//!   spec ─▶ offered to peers ─▶ shared ─▶ prepare(peer), for all protocols ─▶ run(peer, io) ─▶ Ok │ ProtocolError
//! ```
//!
//! Limits: those of its channels. A protocol that panics, or returns an error, ends the session with that peer and no
//! other.

use crate::BoxFuture;
use crate::protocol::channel::ChannelSpec;
use crate::protocol::info::Info;
use crate::protocol::io::ChannelIo;
use crate::session::outgoing::SendError;
use crate::switch::peer::Peer;
use std::sync::Arc;

/// A protocol as it is registered and offered to peers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProtocolSpec {
    /// Name; shared when name and version are equal on both sides, where the wire announces them.
    pub name: String,
    /// Version; of several shared versions of one name the highest is used.
    pub version: u32,
    /// How many message codes it takes on wires that number messages; 0 means highest channel id + 1.
    pub length: u64,
    /// Its channels.
    pub channels: Vec<ChannelSpec>,
}

impl ProtocolSpec {
    /// A protocol with its channels.
    #[must_use]
    pub fn new(name: &str, version: u32, channels: Vec<ChannelSpec>) -> Self {
        Self { name: name.to_owned(), version, length: 0, channels }
    }

    /// Sets the number of message codes.
    #[must_use]
    pub fn length(mut self, length: u64) -> Self {
        self.length = length;
        self
    }
}

/// A protocol: runs once per peer that shares it.
///
/// ```
/// use std::sync::Arc;
/// use switchboard::{BoxFuture, ChannelIo, ChannelSpec, Peer, Protocol, ProtocolError, ProtocolSpec};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn spec(&self) -> ProtocolSpec {
///         ProtocolSpec::new("echo", 1, vec![ChannelSpec::new(0, 1).recv_limit(1_000)])
///     }
///
///     fn run(self: Arc<Self>, _: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
///         Box::pin(async move {
///             while let Some((channel, message)) = io.recv().await {
///                 io.send(channel, message).await?;
///             }
///             Ok(())
///         })
///     }
/// }
/// # assert_eq!(Echo.spec().channels[0].recv_limit, 1_000);
/// ```
///
/// [`ChannelIo::pair`] tests it without a network.
pub trait Protocol: Send + Sync + 'static {
    /// Name, version and channels.
    fn spec(&self) -> ProtocolSpec;

    /// Called for a new peer before any of its protocols runs: a place to put typed data on it. Must not
    /// wait. A panic here ends the session before it begins.
    fn prepare(&self, peer: &Peer) {
        let _ = peer;
    }

    /// What there is to tell of this protocol on this node; `None` when there is nothing.
    fn node_info(&self) -> Option<Info> {
        None
    }

    /// What the node's record tells of this protocol, on wires whose nodes have one: names, and values in the wire's own
    /// encoding (devp2p: entries of the ENR, one RLP item each). Asked once, when the node starts.
    fn attributes(&self) -> Vec<(&'static str, Vec<u8>)> {
        Vec::new()
    }

    /// What there is to tell of a peer; `None` while they still shake hands, or when there is nothing.
    fn peer_info(&self, peer: &Peer) -> Option<Info> {
        let _ = peer;
        None
    }

    /// Speaks with one peer until done, or until `io` says the session is over.
    ///
    /// `Ok` means this protocol is done with this peer: the session ends with
    /// [`crate::Reason::Quitting`] when its last protocol is done, or its first where the wire's
    /// [`crate::wire::Rules::when_done`] says so. An error ends the session at once.
    fn run(self: Arc<Self>, peer: Peer, io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>>;
}

/// Why a protocol ends a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The peer broke a rule of the protocol; the text names it.
    #[error("breach of protocol: {0}")]
    Breach(&'static str),
    /// The peer is fine but of no use.
    #[error("of no use to this protocol")]
    Useless,
    /// The session ended under the protocol's hands.
    #[error("the session is over")]
    Closed,
    /// The protocol failed for a reason of its own.
    #[error("{0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ProtocolError {
    /// The protocol failed for this reason of its own.
    pub fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}

/// A message that cannot be sent ends the protocol; that the session is over is no failure.
impl From<SendError> for ProtocolError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Closed => Self::Closed,
            other => Self::Failed(other.into()),
        }
    }
}
