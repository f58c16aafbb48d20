//! What a protocol tells of itself and of a peer, for an operator: names and values, with no format of their own.
//!
//! Limits: the values go where operators look (an API, a command), not over the network. Text that came from a peer is
//! escaped when it is put in ([`Value::from`] a string does that).

use crate::text::printable;

/// A value of an [`Info`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// Text, escaped.
    Text(String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
}

/// Names and values, in the order they are shown.
pub type Info = Vec<(&'static str, Value)>;

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(printable(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(printable(&text))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
