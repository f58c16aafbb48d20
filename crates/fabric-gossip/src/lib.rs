//! Fabric gossip as pure state: membership, identities, dissemination, pull, channels, leader election.
//!
//! ```text
//!   shell: sockets, clock, signer ──(input, now)──▶ one state per node ──▶ actions: send, answer, handshake, ping, close, tell
//! ```
//! No socket, clock or global randomness is in here: time and a seed are passed in, so simulations run hundreds of peers
//! in one thread and the same seed gives the same run. Facts are those of Fabric's `gossip` packages.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | every option `peer.gossip.*`, with Fabric's names and defaults |
//! | [`types`] [`signed`] [`host`] [`actions`] | what all modules speak of: names, envelopes as received, what the host supplies, what is to be done |
//! | [`msgstore`] [`identity`] [`pull`] [`throttle`] | stores, the pull engine, limits per peer |
//! | [`membership`] [`dissemination`] [`channel`] [`election`] | who is there, push, channels, leaders |
//! | [`peer`] | [`Gossip`], all of it for one node |
//! | [`block`] | blocks: decoding, hashes, orderers' signatures, JSON |
//! | [`ledger`] | what is kept of a channel: blocks, private data, the transient store |
//! | [`state`] | state transfer: blocks in order, and those that are missing asked for |
//! | [`privdata`] | private data: pushed, pulled, reconciled, told only to who may have it |
//! | [`shell`] | all of it among real peers: sessions, clock, keys, disk |
//!
//! # Go's methods and ours
//! | `gossip.Gossip`, `service.GossipService`, `election` | here |
//! |---|---|
//! | `New`, `Stop` | [`Gossip::new`]; drop it |
//! | `JoinChan`, new anchors by configuration | [`Gossip::join_channel`], again with each configuration |
//! | `LeaveChan` | [`Gossip::leave_channel`] |
//! | `SelfMembershipInfo`, `SelfChannelInfo` | [`Gossip::self_info`], [`Gossip::self_channel_info`] |
//! | `Peers`, `PeersOfChannel` | [`Gossip::peers`], [`Gossip::peers_of_channel`] |
//! | `UpdateMetadata`, `UpdateEndpoint` | [`Gossip::update_metadata`], [`Gossip::update_endpoint`] |
//! | `UpdateLedgerHeight`, `UpdateChaincodes` | [`Gossip::update_ledger_height`], [`Gossip::update_chaincodes`] |
//! | `Gossip` | [`Gossip::gossip_block`]; alive, StateInfo and leadership messages are gossiped by the state itself |
//! | `Send`, `SendByCriteria` | [`Gossip::send`], [`Gossip::send_by_criteria`] and [`Event::Acked`] |
//! | `PeerFilter` | [`Gossip::peer_filter`] |
//! | `Accept` | [`Event::Block`], [`Event::StateInfo`], [`Event::Deliver`]: the shell subscribes by predicate |
//! | `IsInMyOrg` | [`Gossip::org_of`] compared with [`Gossip::org`] |
//! | `IdentityInfo`, `SuspectPeers` | [`Gossip::identities`], [`Gossip::suspect_peers`] |
//! | `IsLeader`, `Yield`, the callback | [`Gossip::leader`], [`Gossip::yield_leadership`], [`Event::Leader`] |
//! | comm's `PresumedDead`, `IdentitySwitch` | [`Input::PresumedDead`], [`Input::IdentitySwitch`] |
//! | comm's `Probe`, `Handshake`, `CloseConn` | [`Action::Ping`], [`Action::Handshake`], [`Action::Close`] |
//! | comm's `Send`, `SendWithAck`, `Accept`, `GetPKIid` | [`Action::Send`], [`Action::SendWithAck`], [`Input::Received`], [`Gossip::pki_id`] |
//! | discovery's `Lookup`, `Self`, `GetMembership` | [`Gossip::member`], [`Gossip::self_info`], [`Gossip::peers`] and [`Gossip::dead_peers`] |
//! | discovery's `Connect`, `InitiateSync` | bootstrap peers of [`Config`], anchors of [`JoinConfig`]; membership asks by itself |
//!
//! The tables of [`election`], [`state`] and [`privdata`] name their methods one by one; this one those that join them to a ledger.
//!
//! | `state`, `privdata`, `service` | here |
//! |---|---|
//! | `GossipService.InitializeChannel`, `NewGossipStateProvider`, `NewCoordinator` | [`shell::Shell::join`] with a [`shell::ChannelSetup`] |
//! | `GossipService.AddPayload`, a block of the orderer | [`shell::ChannelSetup::source`], [`state::Input::Offered`] |
//! | `GossipService.DistributePrivateData`, `Distributor.Distribute` | [`shell::ChannelJob::push`], [`shell::ChannelSetup::private_source`] |
//! | state's `GossipAdapter`: `Send`, `Accept`, `UpdateLedgerHeight`, `PeersOfChannel` | [`state::Action::Send`], [`Event::Deliver`], [`state::Action::Height`], [`state::Input::Peer`] |
//! | state's `MCSAdapter`: `VerifyBlock`, `VerifyByChannel` | [`block::Verifier`], [`ChannelPolicy::is_reader`] |
//! | state's `ledgerResources`: `StoreBlock`, `LedgerHeight`, `GetPvtDataAndBlockByNum`, `StorePvtData`, `Close` | [`ledger::BlockStore`]: `append`, `height`, `range` and `private_of`, `put_transient`; drop it |
//! | privdata's `Committer`: `CommitPvtDataOfOldBlocks`, `GetMissingPvtDataTracker` | [`ledger::BlockStore`]: `reconcile`, `missing` |
//! | privdata's `TransientStore`: `Persist`, `GetTxPvtRWSetByTxid`, `PurgeByTxids`, `PurgeByHeight` | [`ledger::BlockStore`]: `put_transient`, `transient_of`, [`ledger::Commit::served`], `purge_transient` |
//! | `CollectionStore`, `AccessPolicy`, `CollectionAccessFactory` | [`privdata::Collections`], [`privdata::Collection::admits`], [`shell::ChannelJob::define`] |
//! | metrics of the three | [`shell::ChannelJob::figures`] with [`shell::Durations`], [`Event::Leader`], [`Gossip::deaths`], [`shell::Shell::load`] |
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod actions;
pub mod block;
pub mod channel;
pub mod config;
mod cx;
pub mod dissemination;
pub mod election;
pub mod host;
mod id_map;
pub mod identity;
pub mod ledger;
pub mod membership;
pub mod msgstore;
pub mod peer;
pub mod privdata;
pub mod pull;
pub mod shell;
pub mod signed;
pub mod state;
pub mod throttle;
pub mod types;

pub use actions::{Action, Actions, CloseReason, Event};
pub use config::Config;
pub use host::{ChannelPolicy, CryptoService, Host, JoinConfig, Refusal, SecurityAdvisor};
pub use membership::{Deaths, SelfInfo};
pub use peer::{Gossip, Input, Setup};
pub use signed::SignedMessage;
pub use types::{Channel, Endpoint, Member, Now, Org, PkiId, Remote, Stamp, StreamId, Ticket};
#[cfg(test)]
mod sim;
