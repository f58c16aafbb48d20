//! The toy wire: keys, protocols and messages in lines of text. It shows what adding a wire takes; no network speaks it.
//!
//! ```text
//!   initiator                               responder
//!   TOY/1 KEY NONCE              ─▶
//!                               ◀─          TOY/1 KEY NONCE
//!   PROOF SIGNATURE              ─▶                              Ed25519, over the other's nonce and both keys
//!                               ◀─          PROOF SIGNATURE      or BYE reason
//!   HAVE greet/1 cast/1          ─▶◀─       HAVE greet/1
//!   M CHANNEL LENGTH ‖ bytes     PING     PONG     BYE reason     in both directions, until the end
//! ```
//! Every line ends with a line feed; keys, nonces and signatures are hexadecimal. An identity is the public key.
//!
//! Limits: a line of the handshake has at most [`MAX_LINE`] bytes, a frame's at most 64; a message is at most
//! [`MAX_MESSAGE`] bytes and what its channel takes; each step of the handshake takes at most [`STEP_WITHIN`]. Over a limit
//! the session ends with a breach. Nothing is encrypted: whoever sits between can read and change what is said after
//! the proof.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod frames;
mod key;
mod wire;

pub use frames::{MAX_MESSAGE, ToyDecoder, ToyEncoder};
pub use key::{KeyError, ToyKey};
pub use wire::{MAX_LINE, STEP_WITHIN, TOY, Toy, parse};

#[cfg(test)]
mod tests;
