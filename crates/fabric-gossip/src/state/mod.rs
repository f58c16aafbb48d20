//! State transfer: blocks put in order, those that are missing asked of peers, those that peers miss given to them.
//!
//! ```text
//!   gossip, source ─▶ checked by itself ─▶ buffer ─▶ in order, chained ─▶ Commit ─▶ Committed ─▶ Height told
//!   StateInfo ─▶ a peer is ahead ─▶ batches to several peers at once ─▶ Response ─▶ checked ─▶ buffer
//!   Request ─▶ checked ─▶ queue ─▶ Serve, one at a time ─▶ Served
//! ```
//! (fabric gossip/state) [`StateTransfer`] is one channel's: no socket, no clock, no randomness of its own. The shell passes in what
//! happened and does what it is asked to: [`Input`], [`Action`].
//!
//! Where it differs from Fabric's Go code, within the same bytes: Go asks one peer for one batch at a time and looks for a lag every
//! 10 s; here [`PER_PEER`] batches are asked of each of several peers, at once when more than a batch is missing. Blocks are committed
//! in groups. A batch that is late is asked of another peer, and taken all the same when it comes after all.
//!
//! | Go's `gossip/state` | here |
//! |---|---|
//! | `NewGossipStateProvider`, `Stop` | [`StateTransfer::new`]; drop it |
//! | `AddPayload` | [`Input::Offered`], with [`StateTransfer::has_room`] and [`Action::Room`] for the blocking mode |
//! | `PayloadsBuffer`: `Push`, `Pop`, `Next`, `Size`, `Ready` | [`Buffer`] and [`StateTransfer::height`], [`StateTransfer::waiting`], [`Action::Commit`] |
//! | `queueDataMsg`, `directMessage` | [`Input::Gossiped`], [`Input::Message`] |
//! | `handleStateRequest`, `requestValidator` | [`Action::Serve`], [`answer`]; [`Refused::Backwards`], [`Refused::TooMany`] |
//! | `handleStateResponse`, `antiEntropy`, `requestBlocksInRange` | [`Input::Peer`], [`Input::Tick`], [`Input::Message`] |
//! | `commitBlock`, `UpdateLedgerHeight` | [`Action::Commit`], [`Input::Committed`], [`Action::Height`] |
//! | `straggler` | [`Action::Straggler`] |
//! | `privateDataMessage` | [`crate::privdata::Input::Message`] |
//!
//! Limits: gossiped blocks up to `blockBufferSize` ahead; [`WINDOW`] blocks and [`MEMORY`] bytes held or asked for (the
//! block that comes next is always taken); [`MAX_PEERS`] peers; `channelSize` requests, of one peer a quarter. What is over a limit
//! is dropped, counted, and asked for again when there is room.
//!
//! Does not protect from a peer that states a height it does not have: it costs a timeout, then it is left alone for longer each time.

mod ask;
mod buffer;
mod serve;
mod transfer;
mod types;

pub use buffer::{Buffer, Held};
pub use serve::{MAX_ANSWER, answer};
pub use transfer::StateTransfer;
pub use types::{
    Action, COMMIT_BYTES, COMMIT_GROUP, Figures, Input, MAX_LATE, MAX_PEERS, MEMORY, Options, PER_PEER,
    Ready, Refused, STRAGGLER, Serve, WINDOW,
};

#[cfg(test)]
mod tests;
