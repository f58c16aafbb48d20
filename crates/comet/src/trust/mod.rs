//! How reliable a peer has been: the trust metric of Tendermint 0.34.
//!
//! ```text
//! value = 0.4·R + 0.6·H + D        0.0 to 1.0; score = floor(100·value)
//!   R   good events ÷ all events of this interval; 1 when there are none
//!   H   what the intervals before were worth, the newer the more: Σ h(i)·0.8^(i+1) ÷ Σ 0.8^k
//!   D   R − H where that is negative: a fall counts at once, a rise slowly
//! h(0) is the newest interval, h(i) a blend of those about i ago: log₂(20,160) + 1 numbers tell two weeks.
//! ```
//! (tendermint v0.34 p2p/trust/metric.go, store.go)
//!
//! An interval is a minute. A peer that is away is paused: nothing changes until its next event.
//!
//! Limits: 15 numbers a peer, [`store::MAX_PEERS`] peers; when they are too many, those that are away and worth the most
//! are forgotten, as a forgotten peer is worth 1.0 too.
//!
//! Does not protect from a peer that takes a new ID.

mod metric;
pub mod store;

pub use metric::{Config, History, Metric};
pub use store::{MAX_TEXT, Store};

#[cfg(test)]
mod tests;
