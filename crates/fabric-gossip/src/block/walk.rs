//! A walk over the fields of a protobuf message, without decoding it: borrowed slices, nothing is allocated.
//!
//! What is nested is looked at only where it is needed, so a count in the bytes never decides how much memory
//! is taken.

/// The bytes are no protobuf message; whoever made them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message")]
pub struct Malformed;

/// A field's value. Fixed-width fields occur nowhere in the messages read here, and are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number.
    Varint(u64),
    /// Bytes, a text or a message.
    Bytes(&'a [u8]),
    /// Of fixed width.
    Fixed,
}

/// The fields of a message, in the order they stand in. Ends after the first fault.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            if shift == 63 && *first > 1 {
                return Err(Malformed);
            }
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn one(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = self.varint()?;
        let field = u32::try_from(key >> 3).ok().filter(|field| *field != 0).ok_or(Malformed)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok((field, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let one = self.one();
        if one.is_err() {
            self.rest = &[];
        }
        Some(one)
    }
}

/// The bytes of a field; of several the last, as protobuf has it for what is not repeated.
pub(crate) fn bytes_of(message: &[u8], number: u32) -> Result<Option<&[u8]>, Malformed> {
    let mut found = None;
    for field in Fields::of(message) {
        match field? {
            (field, Value::Bytes(bytes)) if field == number => found = Some(bytes),
            (field, _) if field == number => return Err(Malformed),
            _ => {}
        }
    }
    Ok(found)
}

/// The number in a field; 0 when it is absent.
pub(crate) fn number_of(message: &[u8], number: u32) -> Result<u64, Malformed> {
    let mut found = 0;
    for field in Fields::of(message) {
        match field? {
            (field, Value::Varint(value)) if field == number => found = value,
            (field, _) if field == number => return Err(Malformed),
            _ => {}
        }
    }
    Ok(found)
}

/// Every occurrence of a repeated field of bytes.
pub(crate) fn every(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    Fields::of(message).filter_map(move |field| match field {
        Ok((field, Value::Bytes(bytes))) if field == number => Some(Ok(bytes)),
        Ok((field, _)) if field == number => Some(Err(Malformed)),
        Ok(_) => None,
        Err(fault) => Some(Err(fault)),
    })
}

/// Puts together a message of fields of bytes and numbers; what is empty or 0 is left out, as proto3 has it.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn number(mut self, field: u32, value: u64) -> Self {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
        self
    }

    /// A field that is written even when it is empty: repeated ones, and messages that are there.
    pub(crate) fn message(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn bytes(self, field: u32, value: &[u8]) -> Self {
        if value.is_empty() { self } else { self.message(field, value) }
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}
