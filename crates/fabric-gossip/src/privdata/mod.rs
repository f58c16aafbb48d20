//! Private data: data of a chaincode that only some organisations may have. Blocks name it by hash; it travels beside them.
//!
//! ```text
//!   push       own program ─▶ one peer an organisation, then others, up to maxPeerCount ─▶ requiredPeerCount acks ─▶ Pushed
//!   receive    PrivateDataMessage ─▶ may the sender have it? may we? ─▶ transient store ─▶ ack, or nack with a text
//!   commit     block ─▶ came with it? ─▶ transient store ─▶ peers (who endorsed it first) ─▶ committed, with what is missing
//!   serve      RemotePvtDataRequest ─▶ may the asker have it? ─▶ ledger or transient store ─▶ response
//!   reconcile  every reconcileSleepInterval: what is missing, newest first, of peers ─▶ hash fits ─▶ stored
//! ```
//! (fabric gossip/privdata) [`PrivateData`] is one channel's: no socket, no clock, no randomness of its own; it reads a
//! store that is passed in and writes through actions.
//!
//! Where it differs from Fabric's Go code, within the same bytes: acknowledgements count whoever gives them, and a peer that refuses
//! is replaced (Go asks for them of the peers it happened to choose first: fabric#5502, #716); data that some peers have dropped by
//! block-to-live is asked of those that have not; a push is refused when its sender may not have the collection's data.
//!
//! | Go's `gossip/privdata` | here |
//! |---|---|
//! | `Distributor.Distribute` | [`PrivateData::push`], [`Action::SendWithAck`], [`Action::Pushed`] |
//! | `Coordinator.StoreBlock`, `PvtdataProvider.RetrievePvtdata` | [`Input::Blocks`], [`Action::Commit`], [`Action::Missing`] |
//! | `Coordinator.StorePvtData` | [`Action::Keep`], [`crate::ledger::BlockStore::put_transient`] |
//! | `Coordinator.GetPvtDataAndBlockByNum` | [`crate::state::answer`] with [`PrivateData::may_have`] |
//! | `RetrievedPvtdata.Purge` | [`crate::ledger::Commit::served`], [`Action::Purge`] |
//! | `puller.fetch`, `FetchReconciledItems` | [`Action::Send`], [`Input::Message`] |
//! | `puller.handleRequest`, `DataRetriever.CollectionRWSet` | [`Action::Serve`], [`answer`] |
//! | `Reconciler.Start`, `Stop` | [`Input::Tick`], [`Action::Reconcile`]; drop it |
//! | its metrics | [`Action::Pulled`], [`Action::Reconciled`]; the other phases are timed by [`crate::shell::Durations`] |
//! | `CollectionAccessFactory`, `CollectionStore` | [`Collections`], [`Collection::admits`] |
//!
//! Limits: those of [`collections`], [`policy`], [`rwset`], the transient store's; [`MAX_DIGESTS`] digests of a request,
//! [`MAX_PUSHES`] pushes and [`MAX_REQUESTS`] requests at a time, of one peer a quarter; [`MAX_ANSWER`] bytes of a response.
//! What is asked of peers has deadlines; nothing is believed of an answer but what has the hash that the block names.

pub mod collections;
mod commit;
mod fetch;
pub mod policy;
mod push;
pub mod rwset;
mod serve;
mod service;
mod types;

pub use collections::{Collection, CollectionFault, Collections};
pub use policy::{Policy, PolicyFault, Role, Subject};
pub use rwset::{PrivateSet, TxPrivate};
pub use serve::answer;
pub use service::PrivateData;
pub use types::{
    Action, Figures, Input, MAX_ANSWER, MAX_DIGESTS, MAX_PEERS, MAX_PUSHES, MAX_REQUESTS, Options, PushFault,
    PushId, Refused, Reply, Serve, Source, Unacked, ack,
};

#[cfg(test)]
mod tests;
