//! A look at the top of a gossip message, without decoding it: enough to know where it goes.
//!
//! ```text
//!   field 1 nonce · field 2 channel · field 3 tag · fields 5 … 25 the content's number
//! ```
//! Passes over what it does not know. As in any protobuf the last of a repeated field counts, so the content is the one that a full
//! decode would give. Costs one pass over the top level, whatever the size of the content.

/// What a scan finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scanned<'a> {
    /// The message's nonce.
    pub nonce: u64,
    /// The channel's name.
    pub channel: &'a [u8],
    /// The tag's number.
    pub tag: u64,
    /// The content's field number.
    pub content: Option<u32>,
}

/// The bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a gossip message")]
pub struct NotAMessage;

/// Field numbers of contents.
pub const CONTENTS: std::ops::RangeInclusive<u32> = 5..=25;

fn varint(input: &mut &[u8]) -> Result<u64, NotAMessage> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = input.split_first().ok_or(NotAMessage)?;
        *input = rest;
        if shift == 63 && *first > 1 {
            return Err(NotAMessage);
        }
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(NotAMessage)
}

fn take<'a>(input: &mut &'a [u8], len: u64) -> Result<&'a [u8], NotAMessage> {
    let len = usize::try_from(len).map_err(|_| NotAMessage)?;
    let (first, rest) = input.split_at_checked(len).ok_or(NotAMessage)?;
    *input = rest;
    Ok(first)
}

/// Looks at an encoded gossip message.
///
/// # Errors
/// [`NotAMessage`] for malformed fields, and for a content that is not a message.
pub fn scan(mut input: &[u8]) -> Result<Scanned<'_>, NotAMessage> {
    let mut found = Scanned::default();
    while !input.is_empty() {
        let key = varint(&mut input)?;
        let field = u32::try_from(key >> 3).map_err(|_| NotAMessage)?;
        match (field, key & 7) {
            (0, _) => return Err(NotAMessage),
            (1, 0) => found.nonce = varint(&mut input)?,
            (3, 0) => found.tag = varint(&mut input)?,
            (2, 2) => {
                let len = varint(&mut input)?;
                found.channel = take(&mut input, len)?;
            }
            (field, 2) => {
                let len = varint(&mut input)?;
                take(&mut input, len)?;
                if CONTENTS.contains(&field) {
                    found.content = Some(field);
                }
            }
            (1..=3, _) => return Err(NotAMessage),
            (field, _) if CONTENTS.contains(&field) => return Err(NotAMessage),
            (_, 0) => drop(varint(&mut input)?),
            (_, 1) => drop(take(&mut input, 8)?),
            (_, 5) => drop(take(&mut input, 4)?),
            _ => return Err(NotAMessage),
        }
    }
    Ok(found)
}

/// The payload field of an encoded envelope, borrowed; the last one counts.
///
/// # Errors
/// [`NotAMessage`].
pub fn payload(mut input: &[u8]) -> Result<&[u8], NotAMessage> {
    let mut found: &[u8] = &[];
    while !input.is_empty() {
        let key = varint(&mut input)?;
        match (key >> 3, key & 7) {
            (1, 2) => {
                let len = varint(&mut input)?;
                found = take(&mut input, len)?;
            }
            (0, _) => return Err(NotAMessage),
            (_, 2) => {
                let len = varint(&mut input)?;
                take(&mut input, len)?;
            }
            (_, 0) => drop(varint(&mut input)?),
            (_, 1) => drop(take(&mut input, 8)?),
            (_, 5) => drop(take(&mut input, 4)?),
            _ => return Err(NotAMessage),
        }
    }
    Ok(found)
}
