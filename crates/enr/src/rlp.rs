//! The little RLP this wire needs, with bounds: reading lists and byte strings, writing them.
//!
//! ```text
//!   00..7f  one byte     80..b7  string of 0..55     b8..bf  longer string (length of length)
//!   c0..f7  list of 0..55 bytes of content           f8..ff  longer list
//! ```
//! (spec: Ethereum yellow paper, appendix B)
//!
//! A declared length beyond the input is an error before anything is taken. Encodings that are not the shortest
//! are refused, as the Go code does.

use alloy_rlp::{Decodable, Encodable, Header};
use bytes::BufMut;

/// The bytes are not the RLP they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed RLP: {0}")]
pub struct RlpError(pub &'static str);

impl From<alloy_rlp::Error> for RlpError {
    fn from(error: alloy_rlp::Error) -> Self {
        Self(match error {
            alloy_rlp::Error::Overflow => "number too large",
            alloy_rlp::Error::LeadingZero => "number with a leading zero",
            alloy_rlp::Error::InputTooShort => "shorter than it says",
            alloy_rlp::Error::NonCanonicalSingleByte | alloy_rlp::Error::NonCanonicalSize => {
                "not the shortest form"
            }
            alloy_rlp::Error::UnexpectedString => "a string where a list should be",
            alloy_rlp::Error::UnexpectedList => "a list where a string should be",
            _ => "unreadable",
        })
    }
}

/// Takes a list's content off the front.
pub fn list<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RlpError> {
    Ok(Header::decode_bytes(input, true)?)
}

/// Takes a byte string off the front.
pub fn string<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RlpError> {
    Ok(Header::decode_bytes(input, false)?)
}

/// Takes a byte string of a fixed length off the front.
pub fn array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], RlpError> {
    string(input)?.try_into().map_err(|_| RlpError("string of the wrong length"))
}

/// Takes a number off the front.
pub fn number(input: &mut &[u8]) -> Result<u64, RlpError> {
    Ok(u64::decode(input)?)
}

/// Passes over one item of either kind.
pub fn skip(input: &mut &[u8]) -> Result<(), RlpError> {
    let header = Header::decode(input)?;
    *input = input.get(header.payload_length..).ok_or(RlpError("shorter than it says"))?;
    Ok(())
}

/// Appends a list around content that is encoded already.
pub fn put_list(content: &[u8], out: &mut dyn BufMut) {
    Header { list: true, payload_length: content.len() }.encode(out);
    out.put_slice(content);
}

/// Appends a byte string.
pub fn put_string(bytes: &[u8], out: &mut dyn BufMut) {
    bytes.encode(out);
}

/// Appends a number.
pub fn put_number(number: u64, out: &mut dyn BufMut) {
    number.encode(out);
}

/// Bytes a number takes.
pub fn number_len(number: u64) -> usize {
    number.length()
}
