//! The network as a node sees it: streams, listeners and names behind traits, so that the same code runs on
//! the operating system, in one process and in a simulator.
//!
//! | file | holds |
//! |---|---|
//! | `streams` | [`Connection`], [`Listener`], [`Network`] and the system's [`TcpNetwork`] |
//! | `ahead` | [`ReadAhead`]: fewer system calls below what reads little at a time |
//! | [`datagrams`] | [`Datagrams`]: UDP, many datagrams a wake-up |
//! | [`names`] | TXT records of DNS names, asked of name servers |
//! | `fed` | a listener for networks inside this process, such as the next and simnet |
//! | [`memory`] | a network inside one process, and a wire that proves nothing, for tests |
//!
//! Limits: at most 16 addresses for a host name. The caller bounds the wait. What comes from the network is not checked here.

mod ahead;
pub mod datagrams;
mod fed;
pub mod memory;
pub mod names;
mod streams;

pub use ahead::ReadAhead;
pub use datagrams::{Datagram, Datagrams};
pub use fed::fed_listener;
pub use streams::{
    BoxRead, BoxWrite, Connection, Listener, MAX_TXT, Network, TcpNetwork, UNREAD, UNSENT, connect_any,
    connect_host,
};
