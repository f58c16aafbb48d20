//! A network and a wire without sockets or keys, for tests of protocols and of the Switch itself.
//!
//! [`MemoryNetwork`] connects addresses inside one process; [`MemoryWire`] proves nothing: it believes
//! whatever identity the other side states. Never use it where anybody else can connect.

mod net;
mod wire;

pub use net::MemoryNetwork;
pub use wire::{MEMORY, MemoryWire};
