//! gRPC on an HTTP/2 stream, as little as gossip needs.
//!
//! ```text
//!   compressed u8 (0) ‖ length u32 ‖ message          any number of times in a stream's data
//!   request:  POST /gossip.Gossip/GossipStream, content-type application/grpc, te trailers
//!   response: 200 with content-type application/grpc; the end is told in trailers: grpc-status, grpc-message
//! ```
//! Limits: the length is judged against a limit before the message is waited for. Compressed messages are
//! refused: none was negotiated.

pub(crate) mod call;
pub mod status;

pub use status::{
    STATUS_OK, STATUS_PERMISSION_DENIED, STATUS_UNAUTHENTICATED, STATUS_UNAVAILABLE, STATUS_UNIMPLEMENTED,
    STATUS_UNKNOWN, trailers,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before each message.
pub const PREFIX: usize = 5;
/// The stream of envelopes (fabric-protos gossip/message_grpc.pb.go).
pub const STREAM_PATH: &str = "/gossip.Gossip/GossipStream";
/// The unary call that says nothing.
pub const PING_PATH: &str = "/gossip.Gossip/Ping";
/// A message of up to this many bytes is copied out of the buffer it is in.
pub(crate) const SMALL: usize = 4 * 1024;
/// What both sides call the body.
pub const CONTENT_TYPE: &str = "application/grpc";
/// A message that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrpcFault {
    /// The compressed flag is not 0.
    #[error("a compressed gRPC message, though no compression was agreed")]
    Compressed,
    /// Longer than allowed.
    #[error("gRPC message of {len} bytes: at most {limit} are allowed")]
    TooLarge {
        /// The stated length.
        len: usize,
        /// The limit.
        limit: usize,
    },
}

/// Takes a message off the front of `src`; `None` when more bytes are needed.
///
/// # Errors
/// [`GrpcFault`], from the prefix alone.
pub fn take_message(src: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, GrpcFault> {
    let Some(([flag, length @ ..], _)) = src.split_first_chunk::<PREFIX>() else { return Ok(None) };
    if *flag != 0 {
        return Err(GrpcFault::Compressed);
    }
    let len = u32::from_be_bytes(*length) as usize;
    if len > limit {
        return Err(GrpcFault::TooLarge { len, limit });
    }
    if src.len() < PREFIX + len {
        // Not more than a step ahead: a stated length alone must not cost memory.
        src.reserve((PREFIX + len - src.len()).min(1 << 20));
        return Ok(None);
    }
    src.advance(PREFIX);
    Ok(Some(take_front(src, len)))
}

/// Takes bytes off the front of a buffer. Few are copied, so that the buffer can serve again; many are a part of it.
pub(crate) fn take_front(buffer: &mut BytesMut, len: usize) -> Bytes {
    if len > SMALL {
        return buffer.split_to(len).freeze();
    }
    let copied = Bytes::copy_from_slice(buffer.get(..len).unwrap_or_default());
    buffer.advance(len);
    copied
}

/// Appends a gRPC message whose bytes are in two parts, without compression.
pub fn put_parts(front: &[u8], back: &[u8], out: &mut BytesMut) {
    let len = front.len() + back.len();
    out.reserve(PREFIX + len);
    out.put_u8(0);
    // At most 100 MiB and a short front: far below 2^32.
    out.put_u32(len as u32);
    out.put_slice(front);
    out.put_slice(back);
}

/// Appends a message.
pub fn put_message(message: &[u8], out: &mut BytesMut) {
    put_parts(&[], message, out);
}

#[cfg(test)]
mod tests;
