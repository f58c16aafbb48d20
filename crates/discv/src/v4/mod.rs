//! Node discovery, version 4 (spec: discv4.md).
//!
//! | module | holds |
//! |---|---|
//! | [`packet`] | the bytes |
//! | [`state`] | [`State`]: what is answered, asked and remembered |

pub mod packet;
pub mod state;

pub use state::{Action, Config, Op, Outcome, State};
