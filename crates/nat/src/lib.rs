//! How a node behind a router is reached: asks the router for a port, and asks for the address others see.
//!
//! ```text
//!   NatSpec ─▶ Mapper (a task) ─▶ gateway: NAT-PMP, PCP, UPnP; or a fixed address; or STUN (address only)
//!                 │ external IP: a watch channel           │ port of each mapping: a watch channel
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`spec`] | [`NatSpec`]: what the operator writes |
//! | [`pmp`] [`pcp`] [`stun`] | packets: bytes in, bytes out |
//! | [`exchange`] | when a request is sent again |
//! | [`plan`] | what is to be mapped, refreshed, asked next: pure, time is passed in |
//! | [`gateway`] | finds a router and talks to it |
//! | [`mapper`] | [`Mapper`]: the task around all that |
//!
//! Nothing here runs unless a [`NatSpec`] other than `none` is given. A router is trusted in what it says about
//! its ports and its address: whoever controls the local network can make a node announce a wrong address.
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

pub mod exchange;
pub mod gateway;
pub mod mapper;
pub mod pcp;
pub mod plan;
pub mod pmp;
pub mod spec;
pub mod stun;
#[cfg(feature = "upnp")]
mod upnp;

pub use mapper::{Mapper, Mapping, NatConfig};
pub use spec::{NatSpec, SpecError};

/// Transport of a mapped port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// Why a router or a server was of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatError {
    /// No router was found that speaks the protocol.
    #[error("no router answered {what}")]
    NotFound {
        /// What was tried.
        what: &'static str,
    },
    /// It did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// It refused.
    #[error("the router refused: {0}")]
    Refused(String),
    /// It answered with nonsense.
    #[error("malformed answer: {0}")]
    Malformed(&'static str),
    /// It cannot do that.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The network.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
