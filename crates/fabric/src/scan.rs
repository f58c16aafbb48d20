//! A look at a gossip message without decoding it: where it goes ([`scan`]), and how much a decode would make of it
//! ([`entries`]).
//!
//! ```text
//!   field 1 nonce · field 2 channel · field 3 tag · fields 5 … 25 the content's number
//!   content ─▶ lists of messages and byte strings, at most three levels below it
//! ```
//! Passes over what it does not know. As in any protobuf the last of a repeated field counts, so the content is the one that a full
//! decode would give. A scan costs one pass over the top level, whatever the size of the content; a count one pass over
//! the levels that hold lists.
//!
//! Limits: [`MAX_ENTRIES`] entries. An entry is 2 bytes or more on the wire and about 130 once decoded, so that a message of
//! 100 MiB would otherwise become several GiB.

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

/// Most entries of all lists of a message together: several times what the largest networks and blocks hold.
pub const MAX_ENTRIES: usize = 64 * 1024;

/// Which fields of a message are lists, and which are messages with lists in them.
struct Shape {
    lists: &'static [u32],
    inner: &'static [(u32, Shape)],
}

/// A message with these lists and none below.
const fn flat(lists: &'static [u32]) -> Shape {
    Shape { lists, inner: &[] }
}

/// The contents that hold lists.
const SHAPE: Shape = Shape {
    lists: &[],
    inner: &[
        (6, flat(&[2])),
        (7, flat(&[1, 2])),
        (8, Shape { lists: &[], inner: &[(1, flat(&[3]))] }),
        (10, flat(&[2])),
        (11, flat(&[2])),
        (12, flat(&[2])),
        (15, Shape { lists: &[], inner: &[(5, flat(&[3]))] }),
        (16, flat(&[1])),
        (19, Shape { lists: &[1], inner: &[(1, flat(&[3]))] }),
        (23, flat(&[1])),
        (24, Shape { lists: &[1], inner: &[(1, flat(&[2]))] }),
    ],
};

/// Counts the entries of all lists of an encoded gossip message, up to one above `limit`.
///
/// # Errors
/// [`NotAMessage`] where a level that holds lists is no message.
pub fn entries(input: &[u8], limit: usize) -> Result<usize, NotAMessage> {
    count(input, &SHAPE, limit)
}

fn count(mut input: &[u8], shape: &Shape, limit: usize) -> Result<usize, NotAMessage> {
    let mut found = 0usize;
    while !input.is_empty() && found <= limit {
        let (field, value) = field(&mut input)?;
        let Value::Bytes(bytes) = value else { continue };
        found += usize::from(shape.lists.contains(&field));
        if let Some((_, inner)) = shape.inner.iter().find(|(number, _)| *number == field) {
            found += count(bytes, inner, limit.saturating_sub(found))?;
        }
    }
    Ok(found)
}

/// The value of a field.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// Takes the next field; groups are no part of these messages.
fn field<'a>(input: &mut &'a [u8]) -> Result<(u32, Value<'a>), NotAMessage> {
    let key = varint(input)?;
    let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0).ok_or(NotAMessage)?;
    let value = match key & 7 {
        0 => Value::Number(varint(input)?),
        1 => take(input, 8).map(|_| Value::Fixed)?,
        2 => {
            let len = varint(input)?;
            Value::Bytes(take(input, len)?)
        }
        5 => take(input, 4).map(|_| Value::Fixed)?,
        _ => return Err(NotAMessage),
    };
    Ok((number, value))
}

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
        match field(&mut input)? {
            (1, Value::Number(nonce)) => found.nonce = nonce,
            (2, Value::Bytes(channel)) => found.channel = channel,
            (3, Value::Number(tag)) => found.tag = tag,
            (number, Value::Bytes(_)) if CONTENTS.contains(&number) => found.content = Some(number),
            (1..=3 | 5..=25, _) => return Err(NotAMessage),
            _ => {}
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
        if let (1, Value::Bytes(payload)) = field(&mut input)? {
            found = payload;
        }
    }
    Ok(found)
}
