//! Protobuf as this wire uses it: bounded, borrowing, without generated code.
//!
//! ```text
//! field     = tag uvarint (number << 3 | type) ‖ value
//! type 0    uvarint, at most 10 bytes, 7 bits each, low bits first
//! type 1, 5 8 or 4 bytes
//! type 2    uvarint length ‖ that many bytes
//! delimited = uvarint length ‖ message        (how every message stands on a stream here)
//! BytesValue = 0a ‖ uvarint length ‖ bytes    (empty when the bytes are)
//! ```
//!
//! Limits: a declared length is compared with the bytes at hand, or with the caller's limit, before
//! anything is sliced; nothing is allocated while reading. A varint of more than 64 bits, a field
//! number of 0, and the long-gone group types 3 and 4 are errors. Unknown fields are skipped, so a message may
//! be padded with them up to its size limit: the caller's limit on the whole message is the bound.
//! Not checked here: UTF-8, duplicates (the last one of a field wins in every reader of this crate).

use bytes::{BufMut, Bytes, BytesMut};

/// Longest encoding of a 64-bit varint.
pub const MAX_UVARINT: usize = 10;

/// Bytes that are not the protobuf they should be. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtoError {
    /// The bytes end inside a value.
    #[error("the message ends inside a field")]
    Truncated,
    /// More than 64 bits.
    #[error("a varint has more than 64 bits")]
    VarintOverflow,
    /// Field number 0 or beyond 29 bits.
    #[error("{0} is no field number")]
    FieldNumber(u64),
    /// A wire type nobody writes any more, or none at all.
    #[error("wire type {0} is not in use")]
    WireType(u8),
    /// A known field with the wrong type.
    #[error("a field has another type than its number calls for")]
    WrongType,
    /// The declared length passes the limit.
    #[error("a message declares {len} bytes; the limit is {limit}")]
    TooLong {
        /// The declared length.
        len: u64,
        /// The limit.
        limit: usize,
    },
}

/// Reads a varint from the front of `src`: its value and its length, or `None` when it is not complete yet.
///
/// # Errors
/// [`ProtoError::VarintOverflow`].
pub fn uvarint(src: &[u8]) -> Result<Option<(u64, usize)>, ProtoError> {
    let mut value = 0_u64;
    for (n, &byte) in src.iter().take(MAX_UVARINT).enumerate() {
        if n == MAX_UVARINT - 1 && byte > 1 {
            return Err(ProtoError::VarintOverflow);
        }
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte < 0x80 {
            return Ok(Some((value, n + 1)));
        }
    }
    // Ten bytes never get here: the tenth is 0, 1 or an overflow.
    Ok(None)
}

/// How many bytes [`put_uvarint`] writes.
#[must_use]
pub const fn uvarint_len(value: u64) -> usize {
    // ceil(significant bits / 7), and 1 for zero.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a varint.
pub fn put_uvarint(mut value: u64, out: &mut impl BufMut) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Takes a delimited message from the front of `src`: the message and the bytes it took with its
/// delimiter, or `None` when it is not complete yet.
///
/// # Errors
/// [`ProtoError::TooLong`] as soon as the delimiter is known, [`ProtoError::VarintOverflow`].
pub fn delimited(src: &[u8], limit: usize) -> Result<Option<(&[u8], usize)>, ProtoError> {
    let Some((len, head)) = uvarint(src)? else { return Ok(None) };
    let body = usize::try_from(len).ok().filter(|&len| len <= limit);
    let Some(body) = body else { return Err(ProtoError::TooLong { len, limit }) };
    Ok(src.get(head..head + body).map(|message| (message, head + body)))
}

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Type 0.
    Varint(u64),
    /// Type 1 or 5: read over, as this wire has none.
    Fixed,
    /// Type 2.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The value of a bytes, string or message field.
    ///
    /// # Errors
    /// [`ProtoError::WrongType`].
    pub fn bytes(self) -> Result<&'a [u8], ProtoError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtoError::WrongType),
        }
    }

    /// The value of an integer or bool field.
    ///
    /// # Errors
    /// [`ProtoError::WrongType`].
    pub fn varint(self) -> Result<u64, ProtoError> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(ProtoError::WrongType),
        }
    }
}

/// Walks the fields of one message.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; `None` at the end.
    ///
    /// # Errors
    /// When the rest is no protobuf.
    #[allow(clippy::should_implement_trait)] // an iterator of results would hide the end behind two layers
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, ProtoError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.uvarint()?;
        let number = tag >> 3;
        let field = u32::try_from(number).ok().filter(|&n| n != 0 && n < 1 << 29);
        let Some(field) = field else { return Err(ProtoError::FieldNumber(number)) };
        let value = match tag & 7 {
            0 => Value::Varint(self.uvarint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.uvarint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            other => return Err(ProtoError::WireType(other as u8)),
        };
        Ok(Some((field, value)))
    }

    fn uvarint(&mut self) -> Result<u64, ProtoError> {
        let (value, len) = uvarint(self.rest)?.ok_or(ProtoError::Truncated)?;
        self.take(len as u64)?;
        Ok(value)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], ProtoError> {
        let len = usize::try_from(len).map_err(|_| ProtoError::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ProtoError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Appends an integer field, unless it is 0 (proto3 leaves defaults out).
pub fn put_varint_field(field: u32, value: u64, out: &mut impl BufMut) {
    if value != 0 {
        put_uvarint(u64::from(field) << 3, out);
        put_uvarint(value, out);
    }
}

/// Appends a bytes or string field, unless it is empty.
pub fn put_bytes_field(field: u32, value: &[u8], out: &mut impl BufMut) {
    if !value.is_empty() {
        put_message_field(field, value, out);
    }
}

/// Appends a nested message, empty or not.
pub fn put_message_field(field: u32, value: &[u8], out: &mut impl BufMut) {
    put_uvarint(u64::from(field) << 3 | 2, out);
    put_uvarint(value.len() as u64, out);
    out.put_slice(value);
}

/// Puts a message behind its length.
#[must_use]
pub fn delimit(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(uvarint_len(message.len() as u64) + message.len());
    put_uvarint(message.len() as u64, &mut out);
    out.extend_from_slice(message);
    out
}

/// A `BytesValue` around `bytes`: what a protocol with messages of its own sends on this wire, where
/// every message is a protobuf.
#[must_use]
pub fn wrap(bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + MAX_UVARINT + bytes.len());
    put_bytes_field(1, bytes, &mut out);
    out.freeze()
}

/// The bytes of a `BytesValue`, sharing the message's memory.
///
/// # Errors
/// When `message` is no `BytesValue`.
pub fn unwrap(message: &Bytes) -> Result<Bytes, ProtoError> {
    Ok(message.slice_ref(unwrap_slice(message)?))
}

/// [`unwrap`] for borrowed bytes.
///
/// # Errors
/// When `message` is no `BytesValue`.
pub fn unwrap_slice(message: &[u8]) -> Result<&[u8], ProtoError> {
    let mut fields = Fields::new(message);
    let mut value: &[u8] = &[];
    while let Some((field, found)) = fields.next()? {
        if field == 1 {
            value = found.bytes()?;
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
