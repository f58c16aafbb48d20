//! The exchange as a protocol of a Switch.

use super::{ForkId, MAX_STATUS, NAME, Status, VERSIONS, WITHIN};
use crate::requests::{Answered, Limits, Requests};
use bytes::Bytes;
use std::sync::Arc;
use switchboard::protocol::Info;
use switchboard::{
    BoxFuture, ChannelId, ChannelIo, ChannelSpec, Overflow, Peer, PeerId, Protocol, ProtocolError,
    ProtocolSpec,
};
use switchboard_enr::keccak::keccak256;
use switchboard_enr::record::Entries;
use switchboard_enr::rlp::{self, RlpError};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

const STATUS: ChannelId = ChannelId(0);
/// Requests and their answers: headers, bodies, pooled transactions, receipts (spec: caps/eth.md).
const REQUESTS: [(u16, u16); 4] = [(3, 4), (5, 6), (9, 10), (15, 16)];
/// Largest message (go-ethereum eth/protocols/eth/protocol.go, maxMessageSize).
const MAX_MESSAGE: usize = 10 << 20;
/// The request for headers, and its answer.
const HEADERS: (u16, u16) = REQUESTS[0];
/// Blocks that a peer may be required to have.
pub const MAX_REQUIRED: usize = 16;
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
    required: Vec<(u64, [u8; 32])>,
    tell: mpsc::Sender<(PeerId, Status)>,
}

impl Exchange {
    /// An exchange for a version, and where the statuses of peers come out; `None` for a version that is not known. One
    /// that finds 64 others waiting there is dropped.
    #[must_use]
    pub fn new(version: u32, ours: Ours) -> Option<(Arc<Self>, Statuses)> {
        let (_, codes) = VERSIONS.iter().copied().find(|(known, _)| *known == version)?;
        let (tell, told) = mpsc::channel(WAITING);
        Some((Arc::new(Self { version, codes, ours, required: Vec::new(), tell }), told))
    }

    /// The same, and peers are asked for the header of each of these blocks: one that answers with another header, or not
    /// within 15 s, is of no use; one that has none is still catching up (go-ethereum eth/handler.go, `requiredBlocks`).
    /// Of more than [`MAX_REQUIRED`] the rest is passed over.
    #[must_use]
    pub fn requiring(self: Arc<Self>, blocks: &[(u64, [u8; 32])]) -> Arc<Self> {
        let required = blocks.iter().copied().take(MAX_REQUIRED).collect();
        let Self { version, codes, ours, tell, .. } = &*self;
        Arc::new(Self { version: *version, codes: *codes, ours: ours.clone(), required, tell: tell.clone() })
    }

    /// Asks for the required headers.
    async fn ask(&self, io: &ChannelIo, requests: &mut Requests<[u8; 32]>) -> Result<(), ProtocolError> {
        for (block, hash) in &self.required {
            let (asked, answer) = HEADERS;
            let number = requests.begin(answer.into(), *hash, Instant::now());
            let number = number.map_err(ProtocolError::failed)?;
            io.send(ChannelId(asked), header_request(number, *block)).await?;
        }
        Ok(())
    }

    /// Judges an answer to what we asked.
    fn judge_header(message: &[u8], requests: &mut Requests<[u8; 32]>) -> Result<(), ProtocolError> {
        let (number, header) =
            read_headers(message).map_err(|_| ProtocolError::Breach("malformed block headers"))?;
        match requests.answered(number, HEADERS.1.into(), Instant::now()) {
            Answered::Answer { about, .. } if header.is_none_or(|header| keccak256(header) == about) => {
                Ok(())
            }
            Answered::Answer { .. } => Err(ProtocolError::Useless),
            Answered::Late => Ok(()),
            Answered::Unasked => Err(ProtocolError::Breach("block headers that nobody asked for")),
        }
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

/// Asks for one header: [number, [block, 1, 0, 0]].
fn header_request(number: u64, block: u64) -> Bytes {
    let (mut query, mut items, mut out) = (Vec::new(), Vec::new(), Vec::new());
    [block, 1, 0, 0].into_iter().for_each(|part| rlp::put_number(part, &mut query));
    rlp::put_number(number, &mut items);
    rlp::put_list(&query, &mut items);
    rlp::put_list(&items, &mut out);
    out.into()
}

/// The number of an answer with at most one header, and that header's bytes.
fn read_headers(mut message: &[u8]) -> Result<(u64, Option<&[u8]>), RlpError> {
    let mut items = rlp::list(&mut message)?;
    let number = rlp::number(&mut items)?;
    let mut headers = rlp::list(&mut items)?;
    if headers.is_empty() {
        return Ok((number, None));
    }
    let all = headers;
    rlp::list(&mut headers)?;
    if headers.is_empty() {
        Ok((number, Some(all)))
    } else {
        Err(RlpError("more headers than were asked for"))
    }
}

/// The entry `eth` of a node's record, as one RLP item.
#[must_use]
pub fn record_entry(fork: ForkId) -> Vec<u8> {
    let mut entries = Entries::default();
    entries.set_eth(switchboard_enr::record::ForkId { hash: fork.hash, next: fork.next });
    entries.get_raw(NAME).unwrap_or_default().to_vec()
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

    /// The fork we follow, so that others need not dial to find out.
    fn attributes(&self) -> Vec<(&'static str, Vec<u8>)> {
        match &self.ours {
            Ours::Echo => Vec::new(),
            Ours::Fixed(ours) => vec![(NAME, record_entry(ours.fork))],
        }
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
            let limits = Limits::default().with(|limits| limits.open = MAX_REQUIRED);
            let mut requests = Requests::new(limits);
            self.ask(&io, &mut requests).await?;
            loop {
                let next = match requests.next_deadline() {
                    // Whoever does not show a required block in time is of no use.
                    Some(deadline) => {
                        timeout_at(deadline, io.recv()).await.map_err(|_| ProtocolError::Useless)?
                    }
                    None => io.recv().await,
                };
                let Some((code, message)) = next else { return Ok(()) };
                if code == STATUS {
                    return Err(ProtocolError::Breach("a second status"));
                }
                if code.0 == HEADERS.1 {
                    Self::judge_header(&message, &mut requests)?;
                    continue;
                }
                let Some((_, answer)) = REQUESTS.iter().find(|(asked, _)| *asked == code.0) else { continue };
                let nothing = nothing(&message).ok_or(ProtocolError::Breach("malformed request"))?;
                io.send(ChannelId(*answer), nothing).await?;
            }
        })
    }
}
