//! DNS messages, as far as a question for TXT records needs them.
//!
//! ```text
//!   id 2  flags 2  counts 4 × 2  │  question: name, type 2, class 2  │  records: name, type 2, class 2, ttl 4, length 2, data
//!   name: (length 1, label)… 0; a length of 0xC0 and more is the first of two bytes that say where the rest stands
//! ```
//! (spec: RFC 1035 section 4; RFC 6891 for the record that says how long an answer may be)
//!
//! Limits: [`MAX_RECORDS`] records of an answer are read, [`MAX_ALIASES`] aliases followed, [`MAX_TXT`] texts kept; a name
//! has at most 255 bytes, and a pointer in it leads to a place before it, so that names end.

use crate::net::MAX_TXT;

/// The type of text records.
pub const TYPE_TXT: u16 = 16;
/// The type of aliases.
const TYPE_CNAME: u16 = 5;
/// The type of the record that says how long an answer may be.
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
/// How long an answer over UDP may be: what passes any network whole (RFC 9715).
const UDP_SIZE: u16 = 1_232;
/// Records of an answer that are read.
pub const MAX_RECORDS: usize = 64;
/// Aliases that are followed within an answer.
pub const MAX_ALIASES: usize = 8;
/// Longest name on the wire, and longest label.
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;

/// A question for the TXT records of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    id: u16,
    /// On the wire, as given.
    name: Vec<u8>,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The texts; none where the name has none.
    Texts(Vec<String>),
    /// There is no such name.
    NoSuchName,
    /// The answer did not fit: to be asked again over TCP.
    CutShort,
    /// The server does not answer, with its code.
    Refused(u8),
}

/// Why bytes are no answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// They end too early.
    #[error("the message ends too early")]
    Short,
    /// They answer something else, or are no answer.
    #[error("not the answer to this question")]
    Other,
    /// A name is malformed.
    #[error("a malformed name")]
    Name,
    /// More records than are read.
    #[error("more than {MAX_RECORDS} records")]
    TooMany,
}

/// A place in a message.
#[derive(Clone, Copy)]
struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], AnswerError> {
        let end = self.at.checked_add(len).ok_or(AnswerError::Short)?;
        let bytes = self.all.get(self.at..end).ok_or(AnswerError::Short)?;
        self.at = end;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, AnswerError> {
        self.take(1)?.first().copied().ok_or(AnswerError::Short)
    }

    fn u16(&mut self) -> Result<u16, AnswerError> {
        let bytes = self.take(2)?.first_chunk().ok_or(AnswerError::Short)?;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// A name in lower case, as on the wire but without pointers.
    fn name(&mut self) -> Result<Vec<u8>, AnswerError> {
        let mut name = Vec::new();
        let mut from = *self;
        let mut jumped = false;
        loop {
            let start = from.at;
            let len = from.u8()?;
            match len {
                0 => {
                    name.push(0);
                    break;
                }
                1..=63 => {
                    name.push(len);
                    name.extend(from.take(usize::from(len))?.iter().map(u8::to_ascii_lowercase));
                    if name.len() >= MAX_NAME {
                        return Err(AnswerError::Name);
                    }
                }
                0xc0.. => {
                    let to = (usize::from(len & 0x3f) << 8) | usize::from(from.u8()?);
                    if !jumped {
                        self.at = from.at;
                    }
                    jumped = true;
                    // Only backwards: every jump leaves less of the message, so there is a last one.
                    if to >= start {
                        return Err(AnswerError::Name);
                    }
                    from = Reader { all: from.all.get(..start).ok_or(AnswerError::Name)?, at: to };
                }
                _ => return Err(AnswerError::Name),
            }
        }
        if !jumped {
            self.at = from.at;
        }
        Ok(name)
    }
}

/// A name as it stands on the wire; `None` for what cannot be one.
fn wire_name(name: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for label in name.strip_suffix('.').unwrap_or(name).split('.') {
        if label.is_empty() || label.len() > MAX_LABEL || !label.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        out.push(u8::try_from(label.len()).ok()?);
        out.extend(label.bytes());
    }
    out.push(0);
    (out.len() <= MAX_NAME).then_some(out)
}

impl Question {
    /// A question; `None` where the text is no name.
    #[must_use]
    pub fn txt(id: u16, name: &str) -> Option<Self> {
        Some(Self { id, name: wire_name(name)? })
    }

    /// The message that asks it: recursion is wanted, an answer may have 1,232 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |number: u16| out.extend(number.to_be_bytes());
        put(self.id);
        // Recursion is wanted; one question, no answers, no authorities, one more record.
        [0x0100, 1, 0, 0, 1].into_iter().for_each(&mut put);
        out.extend(&self.name);
        for number in [TYPE_TXT, CLASS_IN] {
            out.extend(number.to_be_bytes());
        }
        out.push(0);
        for number in [TYPE_OPT, UDP_SIZE, 0, 0, 0] {
            out.extend(number.to_be_bytes());
        }
        out
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// [`AnswerError`]: not an answer, or not to this.
    pub fn decode(&self, message: &[u8]) -> Result<Answer, AnswerError> {
        let mut reader = Reader { all: message, at: 0 };
        let (id, flags) = (reader.u16()?, reader.u16()?);
        let (questions, answers) = (reader.u16()?, reader.u16()?);
        reader.take(4)?;
        if id != self.id || flags & 0x8000 == 0 || flags & 0x7800 != 0 || questions != 1 {
            return Err(AnswerError::Other);
        }
        let own = self.name.to_ascii_lowercase();
        if reader.name()? != own || reader.u16()? != TYPE_TXT || reader.u16()? != CLASS_IN {
            return Err(AnswerError::Other);
        }
        match flags & 0x000f {
            0 => {}
            3 => return Ok(Answer::NoSuchName),
            code => return Ok(Answer::Refused(u8::try_from(code).unwrap_or(u8::MAX))),
        }
        if flags & 0x0200 != 0 {
            return Ok(Answer::CutShort);
        }
        if usize::from(answers) > MAX_RECORDS {
            return Err(AnswerError::TooMany);
        }
        let mut aliases = Vec::new();
        let mut texts = Vec::new();
        for _ in 0..answers {
            let name = reader.name()?;
            let (kind, class) = (reader.u16()?, reader.u16()?);
            reader.take(4)?;
            let len = usize::from(reader.u16()?);
            let start = reader;
            let data = reader.take(len)?;
            match (kind, class) {
                (TYPE_TXT, CLASS_IN) => texts.push((name, joined(data)?)),
                (TYPE_CNAME, CLASS_IN) => {
                    let mut within = start;
                    aliases.push((name, within.name()?));
                }
                _ => {}
            }
        }
        let mut of = own;
        for _ in 0..MAX_ALIASES {
            match aliases.iter().find(|(name, _)| *name == of) {
                Some((_, to)) => of.clone_from(to),
                None => break,
            }
        }
        let mine = texts.into_iter().filter(|(name, _)| *name == of).filter_map(|(_, text)| text);
        Ok(Answer::Texts(mine.take(MAX_TXT).collect()))
    }
}

/// The strings of a text record as one; `None` where they are no text.
fn joined(data: &[u8]) -> Result<Option<String>, AnswerError> {
    let mut reader = Reader { all: data, at: 0 };
    let mut out = Vec::new();
    while reader.at < data.len() {
        let len = usize::from(reader.u8()?);
        out.extend(reader.take(len)?);
    }
    Ok(String::from_utf8(out).ok())
}
