//! The exchange as a protocol of a Switch.

use super::{MAX_STATUS, NAME, Status, VERSIONS, WITHIN};
use bytes::Bytes;
use std::sync::Arc;
use switchboard::protocol::Info;
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSpec, Overflow, Peer, PeerId, Protocol, ProtocolError,
    ProtocolSpec,
};
use switchboard_enr::rlp;
use tokio::sync::mpsc;
use tokio::time::timeout;

const STATUS: ChannelId = ChannelId(0);
/// Requests and their answers: headers, bodies, pooled transactions, receipts (spec: caps/eth.md).
const REQUESTS: [(u16, u16); 4] = [(3, 4), (5, 6), (9, 10), (15, 16)];
/// Largest message (go-ethereum eth/protocols/eth/protocol.go, maxMessageSize).
const MAX_MESSAGE: usize = 10 << 20;
/// Statuses that wait for who reads them.
const WAITING: usize = 64;

/// Where the statuses of peers come out.
pub type Statuses = mpsc::Receiver<(PeerId, Status)>;

/// What we say of ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ours {
    /// What the peer said, at its first block: we want to know, and follow no chain.
    Echo,
    /// This; peers of another network, genesis or version are of no use.
    Fixed(Box<Status>),
}

/// Exchanges statuses with every peer that speaks one version of `eth`, and tells them. What peers ask for is answered with
/// nothing; what they announce is dropped.
///
/// Register one for each version: of those that are shared the highest is used. The status of a peer is also kept on it
/// (`peer.get::<Status>()`).
#[derive(Debug)]
pub struct Exchange {
    version: u32,
    codes: u64,
    ours: Ours,
    tell: mpsc::Sender<(PeerId, Status)>,
}

impl Exchange {
    /// An exchange for a version, and where the statuses of peers come out; `None` for a version that is not known. One
    /// that finds 64 others waiting there is dropped.
    #[must_use]
    pub fn new(version: u32, ours: Ours) -> Option<(Arc<Self>, Statuses)> {
        let (_, codes) = VERSIONS.iter().copied().find(|(known, _)| *known == version)?;
        let (tell, told) = mpsc::channel(WAITING);
        Some((Arc::new(Self { version, codes, ours, tell }), told))
    }

    /// Reads the peer's status; whether it is of our chain is looked at.
    fn judge(&self, payload: &[u8]) -> Result<Status, ProtocolError> {
        let theirs = Status::decode(self.version, payload);
        let theirs = theirs.map_err(|_| ProtocolError::Breach("malformed status"))?;
        match &self.ours {
            Ours::Fixed(ours) if (ours.network, ours.genesis) != (theirs.network, theirs.genesis) => {
                Err(ProtocolError::Useless)
            }
            _ => Ok(theirs),
        }
    }
}

/// An answer without content to a request: its number, and an empty list.
fn nothing(request: &[u8]) -> Option<Bytes> {
    let mut whole = request;
    let mut items = rlp::list(&mut whole).ok()?;
    let mut answer = Vec::new();
    rlp::put_number(rlp::number(&mut items).ok()?, &mut answer);
    rlp::put_list(&[], &mut answer);
    let mut out = Vec::new();
    rlp::put_list(&answer, &mut out);
    Some(out.into())
}

impl Protocol for Exchange {
    fn spec(&self) -> ProtocolSpec {
        let channel = |code: u64| {
            let spec = ChannelSpec::new(u16::try_from(code).unwrap_or(u16::MAX), 1).send_queue(4);
            match code {
                0 => spec.recv_limit(MAX_STATUS),
                // Announcements come in any number, and nobody reads them.
                _ => spec.recv_limit(MAX_MESSAGE).overflow(Overflow::DropNew),
            }
        };
        ProtocolSpec::new(NAME, self.version, (0..self.codes).map(channel).collect()).length(self.codes)
    }

    fn peer_info(&self, peer: &Peer) -> Option<Info> {
        let status = peer.get::<Status>()?;
        Some(status.fields().into_iter().map(|(name, value)| (name, value.into())).collect())
    }

    fn run(self: Arc<Self>, peer: Peer, mut io: ChannelIo) -> BoxFuture<'static, Result<(), ProtocolError>> {
        Box::pin(async move {
            if let Ours::Fixed(ours) = &self.ours {
                io.send(STATUS, ours.encode()).await?;
            }
            let first = timeout(WITHIN, io.recv()).await.map_err(|_| ProtocolError::Useless)?;
            let theirs = match first.ok_or(ProtocolError::Closed)? {
                (STATUS, payload) => self.judge(&payload)?,
                _ => return Err(ProtocolError::Breach("another message before the status")),
            };
            if self.ours == Ours::Echo {
                io.send(STATUS, theirs.echo().encode()).await?;
            }
            peer.set(theirs.clone());
            let _ = self.tell.try_send((peer.id(), theirs));
            while let Some((code, message)) = io.recv().await {
                if code == STATUS {
                    return Err(ProtocolError::Breach("a second status"));
                }
                let Some((_, answer)) = REQUESTS.iter().find(|(asked, _)| *asked == code.0) else { continue };
                let nothing = nothing(&message).ok_or(ProtocolError::Breach("malformed request"))?;
                io.send(ChannelId(*answer), nothing).await?;
            }
            Ok(())
        })
    }
}
