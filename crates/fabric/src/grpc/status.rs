//! How a call ends: a number and a sentence, in the trailers.
//!
//! ```text
//!   grpc-status: 7
//!   grpc-message: refused%3A too many peers      printable ASCII but '%' as it is, everything else as %XX
//! ```
//! A Go peer puts the sentence into its log, so every refusal carries one. Limits: [`MAX_MESSAGE_TEXT`] bytes of a
//! sentence are sent; one that is received is made printable and cut by `switchboard::text`.

use http::{HeaderMap, HeaderValue};

/// Done, well.
pub const STATUS_OK: u32 = 0;
/// An error without a code of its own: what a Go service's plain error becomes.
pub const STATUS_UNKNOWN: u32 = 2;
/// The caller is known, and may not.
pub const STATUS_PERMISSION_DENIED: u32 = 7;
/// There is no such method.
pub const STATUS_UNIMPLEMENTED: u32 = 12;
/// Not now: the service is going away, or has no room.
pub const STATUS_UNAVAILABLE: u32 = 14;
/// The caller did not prove who it is.
pub const STATUS_UNAUTHENTICATED: u32 = 16;
/// Most bytes of a sentence before it is encoded.
pub const MAX_MESSAGE_TEXT: usize = 512;

/// The trailers that end a call; an empty `message` is left out.
#[must_use]
pub fn trailers(status: u32, message: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", HeaderValue::from(status));
    if let Some(value) = encoded(message) {
        map.insert("grpc-message", value);
    }
    map
}

/// The sentence as gRPC percent-encodes it (gRPC PROTOCOL-HTTP2.md, Percent-Encoded).
fn encoded(message: &str) -> Option<HeaderValue> {
    let mut text = String::new();
    for byte in message.bytes().take(MAX_MESSAGE_TEXT) {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::from_str(&text).ok().filter(|_| !text.is_empty())
}

/// The sentence of a received `grpc-message`, printable. A `%` that begins no byte stays as it is.
#[must_use]
pub fn decoded(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        let byte = match after.split_first_chunk::<2>() {
            Some((hex, later)) if *first == b'%' => unhex(*hex).map(|byte| (byte, later)),
            _ => None,
        };
        let (byte, after) = byte.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    switchboard::text::printable_bytes(&bytes)
}

fn unhex(digits: [u8; 2]) -> Option<u8> {
    let mut byte = [0];
    hex::decode_to_slice(digits, &mut byte).ok()?;
    Some(byte[0])
}

#[cfg(test)]
mod tests;
