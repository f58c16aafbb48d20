//! The wire of CometBFT and Tendermint (0.34 to 0.40): SecretConnection, NodeInfo, MConnection packets.
//!
//! ```text
//! TCP ─ SecretConnection frames (1044 bytes) ─ a byte stream ─ delimited NodeInfo, then delimited packets
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`proto`] [`key`] [`netaddress`] [`secret_connection`] [`node_info`] [`packet`] | codecs: bytes in, bytes out; the caller gives randomness and time |
//! | [`session`] | frames and packets of a running session, for the core's encoder and decoder |
//! | [`wire`] | [`Comet`], the handshake over a connection; [`probe`], which any network's node accepts |
//! | [`redial`] | when persistent peers are dialled again |
//! | [`pex`] [`trust`] | peer exchange: messages, address book, who is asked and dialled; how reliable peers are |
//! | [`channels`] [`monitor`] | the channels of CometBFT's own reactors; a protocol that counts what flows there |
//! | [`go_wire`] | messages of the era before protobuf |
//! | [`fuzz_conn`] | a connection that misbehaves on purpose |
//! | [`mod@bench`] | a protocol to measure with |
//! | [`decoders`] | every decoder as a plain function, for fuzzing |
//!
//! ```no_run
//! use std::sync::Arc;
//! use switchboard::{Env, SwitchBuilder};
//! use switchboard_comet::{Comet, CometConfig, NodeKey, bench::Bench};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let env = Env::system()?;
//! let key = NodeKey::load_or_create("node_key.json".as_ref(), || env.random())?;
//! let comet = Comet::new(CometConfig::new(Arc::new(key), "my-chain"))?;
//! let switch = SwitchBuilder::new(env)
//!     .wire(Arc::new(comet))
//!     .protocol(Bench::server())
//!     .listen("0.0.0.0:26656".parse()?, &[])
//!     .start()
//!     .await?;
//! # switch.stop().await;
//! # Ok(())
//! # }
//! ```
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod bench;
pub mod channels;
pub mod decoders;
pub mod fuzz_conn;
pub mod go_wire;
pub mod key;
pub mod monitor;
pub mod netaddress;
pub mod node_info;
pub mod packet;
pub mod pex;
pub mod proto;
pub mod redial;
pub mod secret_connection;
pub mod session;
pub mod trust;
pub mod wire;

pub use key::{NodeId, NodeKey};
pub use wire::{COMET, Comet, CometConfig, probe};
