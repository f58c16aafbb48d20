//! The front door: a node with its wires, keys, data folder and protocols, in a few lines.
//!
//! ```no_run
//! use switchboard_node::Node;
//!
//! # async fn f() -> Result<(), switchboard_node::NodeError> {
//! let node = Node::builder().listen("0.0.0.0:30303").data("./data").start().await?;
//! println!("{}", node.ready_text());
//! node.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`builder`] | [`NodeBuilder`] and [`Node`] |
//! | [`config`] | what a node is told, decided |
//! | [`settings`] | each setting once: flag, variable and key of the file |
//! | [`kit`] | what the front door needs of a wire |
//! | [`wires`] | the wires, one folder each |
//! | [`nat`] | ports mapped at a router before the start |
//! | `operate` | a node that an operator can ask and tell (feature `admin`) |
//! | [`events`] | events as JSON and as text |
//! | [`data`], [`store`] | the data folder, its lock, what survives a restart |
//!
//! What the command `switchboard` uses is what an embedding program uses. No protocol logic lives here.

pub mod builder;
pub mod config;
pub mod data;
pub mod error;
pub mod events;
pub mod kit;
pub mod nat;
#[cfg(feature = "admin")]
pub mod operate;
pub mod settings;
mod slots;
pub mod store;
pub mod wires;

pub use builder::{Node, NodeBuilder};
pub use config::{NodeConfig, ProtocolName};
pub use error::NodeError;
pub use kit::{KeySource, Kit};
pub use settings::{Setting, Values};
