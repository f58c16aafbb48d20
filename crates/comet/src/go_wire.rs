//! go-wire: how messages stood on channels before protobuf.
//!
//! ```text
//! uint8, bool      1 byte                      bool: 0 or 1
//! int16 … uint64   2, 4, 8 bytes, big-endian
//! varint           n ‖ n bytes big-endian      n ≤ 8, no leading zero; 0 is `00`; a negative one has f0 + n
//! bytes, string    varint length ‖ bytes
//! slice            varint count ‖ elements
//! struct           its fields, in order
//! pointer          00, or 01 ‖ value
//! interface        type byte ‖ value           00: none
//! ```
//! (tendermint go-wire v0.x, wire.go, int.go, byteslice.go, reflect.go)
//!
//! A user's message is an enum: [`Message::type_byte`] names the variant, as a registered type byte did.
//!
//! ```
//! use switchboard_comet::go_wire::{GoWireError, Message, Reader, Writer, decode, encode};
//!
//! #[derive(Debug, PartialEq)]
//! enum Chat {
//!     Say { text: String, at: i64 },
//!     Bye,
//! }
//!
//! impl Message for Chat {
//!     fn type_byte(&self) -> u8 {
//!         match self {
//!             Self::Say { .. } => 0x01,
//!             Self::Bye => 0x02,
//!         }
//!     }
//!
//!     fn write(&self, out: &mut Writer) {
//!         if let Self::Say { text, at } = self {
//!             out.string(text);
//!             out.i64(*at);
//!         }
//!     }
//!
//!     fn read(type_byte: u8, src: &mut Reader<'_>) -> Result<Self, GoWireError> {
//!         match type_byte {
//!             0x01 => Ok(Self::Say { text: src.string(1_000)?.to_owned(), at: src.i64()? }),
//!             0x02 => Ok(Self::Bye),
//!             other => Err(GoWireError::Type(other)),
//!         }
//!     }
//! }
//!
//! let said = Chat::Say { text: "hi".to_owned(), at: -1 };
//! let bytes = encode(&said);
//! assert_eq!(bytes, b"\x01\x01\x02hi\xff\xff\xff\xff\xff\xff\xff\xff");
//! assert_eq!(decode::<Chat>(&bytes, 4_096)?, said);
//! # Ok::<(), GoWireError>(())
//! ```
//!
//! Two nodes of that era, and a reactor as the founding document has it: channels with priorities, peers that come and go,
//! and a broadcast. What is not of that era is the handshake: both must be nodes of this crate.
//!
//! ```
//! use std::sync::Arc;
//! use switchboard::net::memory::MemoryNetwork;
//! use switchboard::protocol::reactor::{Adapter, Reactor};
//! use switchboard::{
//!     BoxFuture, ChannelId, ChannelSpec, Env, Peer, ProtocolError, ProtocolSpec, Switch, SwitchBuilder,
//! };
//! use switchboard_comet::go_wire::{GoWireError, Message, Reader, Writer, decode, encode};
//! use switchboard_comet::packet::Era;
//! use switchboard_comet::{Comet, CometConfig, NodeKey};
//! use tokio::sync::mpsc;
//!
//! const CHANNEL: ChannelId = ChannelId(0x50);
//! const MAX: usize = 1_024;
//!
//! struct Say(String);
//!
//! impl Message for Say {
//!     fn type_byte(&self) -> u8 {
//!         0x01
//!     }
//!     fn write(&self, out: &mut Writer) {
//!         out.string(&self.0);
//!     }
//!     fn read(type_byte: u8, src: &mut Reader<'_>) -> Result<Self, GoWireError> {
//!         match type_byte {
//!             0x01 => Ok(Self(src.string(MAX)?.to_owned())),
//!             other => Err(GoWireError::Type(other)),
//!         }
//!     }
//! }
//!
//! struct MyReactor {
//!     heard: mpsc::Sender<String>,
//!     added: mpsc::Sender<()>,
//! }
//!
//! impl Reactor for MyReactor {
//!     fn spec(&self) -> ProtocolSpec {
//!         ProtocolSpec::new("my", 1, vec![ChannelSpec::new(CHANNEL.0, 10).recv_limit(MAX)])
//!     }
//!
//!     fn add_peer(&self, _: &Peer) {
//!         let _ = self.added.try_send(());
//!     }
//!
//!     fn receive<'a>(
//!         &'a self,
//!         _: &'a Peer,
//!         _: ChannelId,
//!         bytes: bytes::Bytes,
//!     ) -> BoxFuture<'a, Result<(), ProtocolError>> {
//!         Box::pin(async move {
//!             let Say(text) = decode(&bytes, MAX).map_err(|_| ProtocolError::Breach("go-wire"))?;
//!             let _ = self.heard.send(text).await;
//!             Ok(())
//!         })
//!     }
//! }
//!
//! type Heard = (mpsc::Receiver<String>, mpsc::Receiver<()>);
//!
//! async fn node(net: &MemoryNetwork, n: u8) -> Result<(Switch, Heard), Box<dyn std::error::Error>> {
//!     let mut config = CometConfig::new(Arc::new(NodeKey::from_seed(&[n; 32])?), "old-chain");
//!     config.era = Era::GoWire;
//!     let ((heard, hears), (added, adds)) = (mpsc::channel(8), mpsc::channel(8));
//!     let switch = SwitchBuilder::new(Env::seeded(Arc::new(net.clone()), 1_700_000_000, n.into()))
//!         .wire(Arc::new(Comet::new(config)?))
//!         .protocol(Arc::new(Adapter(MyReactor { heard, added })))
//!         .listen(std::net::SocketAddr::from(([10, 0, 0, n], 46_656)), &[])
//!         .start()
//!         .await?;
//!     Ok((switch, (hears, adds)))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! # runtime.block_on(async {
//! let net = MemoryNetwork::default();
//! let (one, (_, mut added)) = node(&net, 1).await?;
//! let (two, (mut heard, _)) = node(&net, 2).await?;
//! one.connect(&two.own_url("comet").ok_or("not listening")?).await?;
//! added.recv().await;
//! one.broadcast("my", CHANNEL, &encode(&Say("hello".to_owned())).into());
//! assert_eq!(heard.recv().await.as_deref(), Some("hello"));
//! one.stop().await;
//! two.stop().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Limits: the caller's, on the message and on each length and count; a length is compared with the bytes at hand
//! before anything is sliced, and nothing is allocated here. A number has one encoding; any other is an error.
//!
//! The packets of that era are [`crate::packet::GoWire`]; its handshake is not spoken.

/// Bytes that are not the go-wire they should be: the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GoWireError {
    /// The bytes end inside a value.
    #[error("go-wire: the message ends inside a value")]
    Truncated,
    /// More bytes than the message has.
    #[error("go-wire: {0} bytes are left behind the message")]
    Trailing(usize),
    /// A varint that is too long, has a leading zero or is a negative zero.
    #[error("go-wire: a varint in a form that no encoder writes")]
    Varint,
    /// Neither 0 nor 1.
    #[error("go-wire: {0} is neither true nor false, there nor absent")]
    Flag(u8),
    /// A length or count beyond the limit.
    #[error("go-wire: a length of {len}; the limit is {limit}")]
    TooLong {
        /// What was declared.
        len: u64,
        /// The limit.
        limit: usize,
    },
    /// A length below zero.
    #[error("go-wire: a length below zero")]
    Negative,
    /// A string that is not UTF-8.
    #[error("go-wire: a string is not UTF-8")]
    NotText,
    /// A type nobody registered.
    #[error("go-wire: no message has type byte {0:#04x}")]
    Type(u8),
}

/// A channel's message: an interface in go-wire's words.
pub trait Message: Sized {
    /// The type byte of this value; never 0, which says that there is none.
    fn type_byte(&self) -> u8;

    /// Writes the fields.
    fn write(&self, out: &mut Writer);

    /// Reads the fields of a type.
    ///
    /// # Errors
    /// [`GoWireError::Type`] for a type byte that is not known, and what is wrong with the fields.
    fn read(type_byte: u8, src: &mut Reader<'_>) -> Result<Self, GoWireError>;
}

/// A message's bytes.
#[must_use]
pub fn encode<M: Message>(message: &M) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(message.type_byte());
    message.write(&mut out);
    out.into_bytes()
}

/// Reads a whole message of at most `limit` bytes.
///
/// # Errors
/// What is wrong with it.
pub fn decode<M: Message>(bytes: &[u8], limit: usize) -> Result<M, GoWireError> {
    if bytes.len() > limit {
        return Err(GoWireError::TooLong { len: bytes.len() as u64, limit });
    }
    let mut src = Reader::new(bytes);
    let message = match src.u8()? {
        0 => return Err(GoWireError::Type(0)),
        type_byte => M::read(type_byte, &mut src)?,
    };
    src.finish()?;
    Ok(message)
}

/// Writes values one after the other.
#[derive(Debug, Clone, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// A byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// True or false.
    pub fn bool(&mut self, value: bool) {
        self.0.push(value.into());
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.0.extend(value.to_be_bytes());
    }

    /// Two bytes.
    pub fn i16(&mut self, value: i16) {
        self.0.extend(value.to_be_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.0.extend(value.to_be_bytes());
    }

    /// Four bytes.
    pub fn i32(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.0.extend(value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn i64(&mut self, value: i64) {
        self.0.extend(value.to_be_bytes());
    }

    /// A number that takes as many bytes as it needs (Go's `uint`).
    pub fn uvarint(&mut self, value: u64) {
        self.sized(0, value);
    }

    /// The same with a sign (Go's `int`).
    pub fn varint(&mut self, value: i64) {
        self.sized(if value < 0 { 0xf0 } else { 0 }, value.unsigned_abs());
    }

    fn sized(&mut self, sign: u8, value: u64) {
        let bytes = value.to_be_bytes();
        let zeros = value.leading_zeros() as usize / 8;
        self.0.push(sign | (8 - zeros) as u8);
        self.0.extend(bytes.iter().skip(zeros));
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.0.extend(value);
    }

    /// Text behind its length.
    pub fn string(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// How many elements follow.
    pub fn count(&mut self, count: usize) {
        self.uvarint(count as u64);
    }

    /// Whether a value follows (a pointer).
    pub fn present(&mut self, present: bool) {
        self.bool(present);
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads values one after the other, borrowing.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], GoWireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(GoWireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GoWireError> {
        self.take(N)?.try_into().map_err(|_| GoWireError::Truncated)
    }

    /// A byte.
    ///
    /// # Errors
    /// [`GoWireError::Truncated`], as for all numbers of a fixed size.
    pub fn u8(&mut self) -> Result<u8, GoWireError> {
        self.array().map(u8::from_be_bytes)
    }

    /// True or false.
    ///
    /// # Errors
    /// [`GoWireError::Flag`].
    pub fn bool(&mut self) -> Result<bool, GoWireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(GoWireError::Flag(other)),
        }
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`GoWireError::Truncated`].
    pub fn u16(&mut self) -> Result<u16, GoWireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`GoWireError::Truncated`].
    pub fn i16(&mut self) -> Result<i16, GoWireError> {
        self.array().map(i16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`GoWireError::Truncated`].
    pub fn u32(&mut self) -> Result<u32, GoWireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`GoWireError::Truncated`].
    pub fn i32(&mut self) -> Result<i32, GoWireError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`GoWireError::Truncated`].
    pub fn u64(&mut self) -> Result<u64, GoWireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`GoWireError::Truncated`].
    pub fn i64(&mut self) -> Result<i64, GoWireError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A number of any size.
    ///
    /// # Errors
    /// [`GoWireError::Varint`], also for one below zero.
    pub fn uvarint(&mut self) -> Result<u64, GoWireError> {
        match self.sized()? {
            (false, value) => Ok(value),
            (true, _) => Err(GoWireError::Varint),
        }
    }

    /// The same with a sign.
    ///
    /// # Errors
    /// [`GoWireError::Varint`].
    pub fn varint(&mut self) -> Result<i64, GoWireError> {
        let (negative, value) = self.sized()?;
        let value = if negative { -i128::from(value) } else { i128::from(value) };
        i64::try_from(value).map_err(|_| GoWireError::Varint)
    }

    fn sized(&mut self) -> Result<(bool, u64), GoWireError> {
        let head = self.u8()?;
        let (negative, size) = match head {
            0..=8 => (false, head),
            0xf1..=0xf8 => (true, head & 0xf),
            _ => return Err(GoWireError::Varint),
        };
        let bytes = self.take(size.into())?;
        if bytes.first() == Some(&0) {
            return Err(GoWireError::Varint);
        }
        Ok((negative, bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))))
    }

    /// Bytes behind their length.
    ///
    /// # Errors
    /// [`GoWireError::TooLong`] as soon as the length is known.
    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8], GoWireError> {
        let len = self.count(limit)?;
        self.take(len)
    }

    /// Text behind its length.
    ///
    /// # Errors
    /// As [`Reader::bytes`], and [`GoWireError::NotText`].
    pub fn string(&mut self, limit: usize) -> Result<&'a str, GoWireError> {
        std::str::from_utf8(self.bytes(limit)?).map_err(|_| GoWireError::NotText)
    }

    /// How many elements follow. Elements may take no byte at all, so the limit is the only bound.
    ///
    /// # Errors
    /// [`GoWireError::TooLong`], [`GoWireError::Negative`].
    pub fn count(&mut self, limit: usize) -> Result<usize, GoWireError> {
        let (negative, len) = self.sized()?;
        if negative {
            return Err(GoWireError::Negative);
        }
        usize::try_from(len).ok().filter(|len| *len <= limit).ok_or(GoWireError::TooLong { len, limit })
    }

    /// Whether a value follows (a pointer).
    ///
    /// # Errors
    /// [`GoWireError::Flag`].
    pub fn present(&mut self) -> Result<bool, GoWireError> {
        self.bool()
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`GoWireError::Trailing`].
    pub fn finish(self) -> Result<(), GoWireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(GoWireError::Trailing(self.rest.len())) }
    }
}

#[cfg(test)]
mod tests;
