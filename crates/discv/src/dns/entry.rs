//! The TXT records of a DNS node list, one by one.
//!
//! ```text
//!   enrtree-root:v1 e=HASH l=HASH seq=NUMBER sig=BASE64     at the list's own name; sig: r ‖ s ‖ v, 65 bytes
//!   enrtree-branch:HASH,HASH…                               at HASH.name; may be empty
//!   enrtree://BASE32KEY@domain                              a link to another list
//!   enr:…                                                   a node record
//! ```
//! (spec: EIP-1459; go-ethereum p2p/dnsdisc/tree.go)
//!
//! HASH is base32 without padding of the first 16 bytes of the text's keccak256; 12 to 32 bytes are taken. The
//! root's signature is over the text before ` sig=`, its v is not looked at.
//!
//! Limits: a text has at most [`MAX_TXT`] bytes. What is parsed is not yet proven: a root is proven by
//! [`Root::verify`], every other entry by [`Hash::fits`].

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;
use switchboard_enr::keccak::keccak256;
use switchboard_enr::{NodeKey, NodePublic, Record};

/// Longest text read: a record has 404 characters, a full branch 366.
pub const MAX_TXT: usize = 1024;
/// Longest DNS name.
const MAX_NAME: usize = 253;
/// Bytes of a hash that tree makers write.
const HASH: usize = 16;
const ROOT: &str = "enrtree-root:v1";
const BRANCH: &str = "enrtree-branch:";
const LINK: &str = "enrtree://";
const RECORD: &str = "enr:";
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Why a text is no entry. The list's publisher is at fault, or somebody between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Over 1024 bytes.
    #[error("TXT record over {MAX_TXT} bytes")]
    TooLarge,
    /// None of the four kinds.
    #[error("unknown kind of entry")]
    Unknown,
    /// A root that is not in its form.
    #[error("malformed root: expected enrtree-root:v1 e=… l=… seq=… sig=…")]
    Syntax,
    /// A hash that is not base32 of 12 to 32 bytes.
    #[error("malformed hash in an entry")]
    Hash,
    /// The root's signature is not 65 bytes, or does not fit.
    #[error("the root's signature does not fit")]
    Signature,
    /// A link without a key.
    #[error("a list's address has the form enrtree://KEY@domain")]
    NoKey,
    /// A link with a malformed key.
    #[error("the key in a list's address is not base32 of a public key")]
    BadKey,
    /// A link with a malformed domain.
    #[error("the domain in a list's address is not a DNS name")]
    Domain,
    /// A malformed node record.
    #[error("malformed node record in an entry")]
    Record,
}

fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut held, mut bits) = (0u32, 0);
    let mut put = |index: u32| {
        let letter = ALPHABET.get((index & 31) as usize).copied().unwrap_or_default();
        out.push(char::from(letter));
    };
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            put(held >> bits);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        put(held << (5 - bits));
    }
    out
}

fn from_base32(text: &str) -> Option<Vec<u8>> {
    // Of a last group, 1, 3 and 6 letters encode no whole number of bytes.
    if matches!(text.len() % 8, 1 | 3 | 6) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => return None,
        };
        held = (held << 5 | u32::from(value)) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xff) as u8);
        }
    }
    Some(out)
}

/// The name of an entry below its list: the start of its text's hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(String);

impl Hash {
    /// The hash that a tree maker writes for a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(base32(keccak256(text.as_bytes()).split_at(HASH).0))
    }

    /// Reads a hash.
    ///
    /// # Errors
    /// [`EntryError::Hash`].
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        // 32 bytes are 52 letters.
        let bytes = if text.len() <= 52 { from_base32(text) } else { None };
        match bytes {
            Some(bytes) if (12..=32).contains(&bytes.len()) => Ok(Self(text.to_owned())),
            _ => Err(EntryError::Hash),
        }
    }

    /// Whether a text has this hash.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        from_base32(&self.0).is_some_and(|start| keccak256(text.as_bytes()).starts_with(&start))
    }

    /// The DNS name of the entry.
    #[must_use]
    pub fn name(&self, domain: &str) -> String {
        format!("{}.{domain}", self.0)
    }

    /// The letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A list's address: its domain, and the key that signs its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    key: NodePublic,
    domain: String,
}

impl Link {
    /// An address from its parts.
    ///
    /// # Errors
    /// [`EntryError::Domain`].
    pub fn new(key: NodePublic, domain: &str) -> Result<Self, EntryError> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if domain.len() > MAX_NAME || !domain.split('.').all(label) {
            return Err(EntryError::Domain);
        }
        Ok(Self { key, domain: domain.to_owned() })
    }

    /// Reads `enrtree://KEY@domain`.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        if text.len() > MAX_TXT {
            return Err(EntryError::TooLarge);
        }
        let rest = text.strip_prefix(LINK).ok_or(EntryError::NoKey)?;
        let (key, domain) = rest.split_once('@').ok_or(EntryError::NoKey)?;
        let key = from_base32(key).and_then(|key| <[u8; 33]>::try_from(key).ok());
        let key = key.and_then(|key| NodePublic::from_compressed(&key).ok()).ok_or(EntryError::BadKey)?;
        Self::new(key, domain)
    }

    /// Who signs the list's root.
    #[must_use]
    pub fn key(&self) -> NodePublic {
        self.key
    }

    /// Where the list stands.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }
}

impl FromStr for Link {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        Self::parse(text)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LINK}{}@{}", base32(&self.key.compressed()), self.domain)
    }
}

/// The root of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where the records begin.
    pub records: Hash,
    /// Where the links begin.
    pub links: Hash,
    /// Grows with each change of the list.
    pub seq: u64,
    /// r ‖ s ‖ v.
    pub signature: [u8; 65],
}

fn signed_text(records: &Hash, links: &Hash, seq: u64) -> String {
    format!("{ROOT} e={} l={} seq={seq}", records.0, links.0)
}

impl Root {
    /// Makes and signs a root.
    #[must_use]
    pub fn signed(key: &NodeKey, records: Hash, links: Hash, seq: u64) -> Self {
        let digest = keccak256(signed_text(&records, &links, seq).as_bytes());
        Self { records, links, seq, signature: key.sign_recoverable(digest) }
    }

    /// The signature as the text has it, for a file beside the list's contents.
    #[must_use]
    pub fn signature_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.signature)
    }

    /// A root with a signature that was made elsewhere, as [`Root::signature_text`] writes it.
    ///
    /// # Errors
    /// [`EntryError::Signature`]: it is none, or not over this.
    pub fn signed_by(
        key: &NodePublic,
        records: Hash,
        links: Hash,
        seq: u64,
        signature: &str,
    ) -> Result<Self, EntryError> {
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| EntryError::Signature)?;
        let signature = signature.try_into().map_err(|_| EntryError::Signature)?;
        let root = Self { records, links, seq, signature };
        root.verify(key).map(|()| root)
    }

    /// Reads a root; its signature is not checked yet.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        if text.len() > MAX_TXT {
            return Err(EntryError::TooLarge);
        }
        let rest = text.strip_prefix(ROOT).ok_or(EntryError::Unknown)?;
        let mut fields = rest.split_ascii_whitespace();
        let mut field = |name| fields.next().and_then(|f| f.strip_prefix(name)).ok_or(EntryError::Syntax);
        let (records, links, seq, signature) = (field("e=")?, field("l=")?, field("seq=")?, field("sig=")?);
        if fields.next().is_some() || seq.is_empty() || !seq.bytes().all(|b| b.is_ascii_digit()) {
            return Err(EntryError::Syntax);
        }
        let seq = seq.parse().map_err(|_| EntryError::Syntax)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| EntryError::Signature)?;
        let signature = signature.try_into().map_err(|_| EntryError::Signature)?;
        Ok(Self { records: Hash::parse(records)?, links: Hash::parse(links)?, seq, signature })
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`EntryError::Signature`].
    pub fn verify(&self, key: &NodePublic) -> Result<(), EntryError> {
        let digest = keccak256(signed_text(&self.records, &self.links, self.seq).as_bytes());
        let [rs @ .., _] = &self.signature;
        if key.verifies(digest, rs) { Ok(()) } else { Err(EntryError::Signature) }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = signed_text(&self.records, &self.links, self.seq);
        write!(f, "{text} sig={}", URL_SAFE_NO_PAD.encode(self.signature))
    }
}

/// An entry below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// More entries.
    Branch(Vec<Hash>),
    /// Another list.
    Link(Link),
    /// A node; its signature was checked.
    Record(Box<Record>),
}

impl Entry {
    /// Reads an entry. That it belongs to a name is checked with [`Hash::fits`].
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn parse(text: &str) -> Result<Self, EntryError> {
        if text.len() > MAX_TXT {
            return Err(EntryError::TooLarge);
        }
        if let Some(list) = text.strip_prefix(BRANCH) {
            if list.is_empty() {
                return Ok(Self::Branch(Vec::new()));
            }
            return Ok(Self::Branch(list.split(',').map(Hash::parse).collect::<Result<_, _>>()?));
        }
        if text.starts_with(LINK) {
            return Link::parse(text).map(Self::Link);
        }
        if text.starts_with(RECORD) {
            return Record::parse(text)
                .map(|record| Self::Record(Box::new(record)))
                .map_err(|_| EntryError::Record);
        }
        Err(EntryError::Unknown)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(hashes) => {
                let hashes: Vec<_> = hashes.iter().map(Hash::as_str).collect();
                write!(f, "{BRANCH}{}", hashes.join(","))
            }
            Self::Link(link) => link.fmt(f),
            Self::Record(record) => record.fmt(f),
        }
    }
}
