//! The book's file: CometBFT's `addrbook.json`, read and written.
//!
//! ```text
//! { "key": 24 hex digits,
//!   "addrs": [ { "addr": {"id","ip","port"}, "src": {…}, "buckets": [n, …], "attempts": n,
//!                "bucket_type": 1 new | 2 old, "last_attempt", "last_success", "last_ban_time": RFC 3339 } ],
//!   "banned": [ the same, without buckets ] }        only where there are bans; the Go code reads over it
//! ```
//! (cometbft p2p/pex/file.go; indented by tabs as `json.MarshalIndent` does it)
//!
//! Limits: a file of more than [`MAX_FILE`] bytes is refused by its size, before it is read; more than
//! [`MAX_ENTRIES`] entries are refused. Reading costs the file's bytes and 120 bytes an entry.
//!
//! A file that is not such JSON is corrupt: an error, never a panic (the Go code's). [`open`] puts it aside as
//! `addrbook.json.corrupt-N` and begins a fresh book. A single entry of no use (no ID, no IP address, an ID that
//! stands there twice) is left out and counted in the [`Report`]; one without a bucket, or with one that does not
//! exist, gets the bucket it should be in.
//!
//! Saved as a whole or not at all: written beside, brought to the disk, renamed.

use super::known::{Kind, Known};
use super::table::Book;
use super::{BUCKET_SIZE, MAX_BUCKETS_PER_ADDRESS};
use crate::key::NodeId;
use crate::pex::address::PeerAddress;
use crate::pex::stamp::Stamp;
use rand::Rng;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Longest file read: a full book with as many bans as there may be takes half of it.
pub const MAX_FILE: u64 = 32 << 20;
/// Most entries read.
pub const MAX_ENTRIES: usize = 65_536;
/// Longest key text read.
pub const MAX_KEY: usize = 128;
/// The number behind `corrupt-` goes no higher.
pub const MAX_ASIDE: u32 = 999;

/// Why there is no book: a local fault, for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused to read or write it.
    #[error("address book {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is not an address book.
    #[error("address book {}: {error}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: FormatError,
    },
}

/// What is wrong with a book's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Larger than any book.
    #[error("it has {0} bytes, more than the {MAX_FILE} of any address book")]
    TooLarge(u64),
    /// Not the expected JSON.
    #[error("it is no address book in JSON: {0}")]
    Json(String),
}

/// What was read, and what of it was of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Entries in the file.
    pub entries: usize,
    /// Entries in the book now.
    pub kept: usize,
    /// Left out: no ID, no IP address, no port, or no known kind.
    pub unusable: usize,
    /// Left out: the ID stood there before.
    pub duplicates: usize,
    /// Left out: not reachable from outside, and the book is strict.
    pub not_routable: usize,
    /// Left out: their bucket was full.
    pub no_room: usize,
    /// Kept, in another bucket, as the file gave none that exists.
    pub misplaced: usize,
    /// Bans that still hold.
    pub banned: usize,
}

/// A book that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The book: the file's, or a fresh one.
    pub book: Book,
    /// What was read.
    pub report: Report,
    /// The corrupt file that was put aside, and what was wrong with it.
    pub aside: Option<(PathBuf, FileError)>,
}

/// Opens the book of a file. There is a fresh one when the file is not there, and when it is corrupt; then it is put
/// aside first.
///
/// # Errors
/// [`FileError::Io`] when the file cannot be read, or not be put aside.
pub fn open<R: Rng + ?Sized>(
    path: &Path,
    strict: bool,
    now: Stamp,
    rng: &mut R,
) -> Result<Opened, FileError> {
    match load(path, strict, now) {
        Ok(Some((book, report))) => Ok(Opened { book, report, aside: None }),
        Ok(None) => Ok(Opened { book: Book::new(strict, rng), report: Report::default(), aside: None }),
        Err(error @ FileError::Io { .. }) => Err(error),
        Err(error @ FileError::Corrupt { .. }) => {
            let aside = set_aside(path)?;
            let book = Book::new(strict, rng);
            Ok(Opened { book, report: Report::default(), aside: Some((aside, error)) })
        }
    }
}

/// Reads a book; `None` when there is no such file.
///
/// # Errors
/// When it cannot be read or is corrupt.
pub fn load(path: &Path, strict: bool, now: Stamp) -> Result<Option<(Book, Report)>, FileError> {
    let in_file = |error| FileError::Io { path: path.to_owned(), error };
    let in_text = |error| FileError::Corrupt { path: path.to_owned(), error };
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(in_file)?,
    };
    let size = file.metadata().map_err(in_file)?.len();
    if size > MAX_FILE {
        return Err(in_text(FormatError::TooLarge(size)));
    }
    let mut text = Vec::new();
    // It may grow meanwhile.
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(in_file)?;
    Book::from_json(&text, strict, now).map(Some).map_err(in_text)
}

/// Renames a file to the first free `NAME.corrupt-N`; the new name.
///
/// # Errors
/// When the system refuses, or [`MAX_ASIDE`] names are taken.
pub fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
    let in_file = |error| FileError::Io { path: path.to_owned(), error };
    for n in 1..=MAX_ASIDE {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{n}"));
        let aside = PathBuf::from(name);
        match std::fs::symlink_metadata(&aside) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::rename(path, &aside).map_err(in_file)?;
                return Ok(aside);
            }
            Err(error) => return Err(in_file(error)),
        }
    }
    Err(in_file(io::Error::other(format!("{MAX_ASIDE} corrupt files were put aside already: remove some"))))
}

/// Saves the text of a book: the file holds the old text or the new one, never a part.
///
/// # Errors
/// When the system refuses.
pub fn save(path: &Path, text: &[u8]) -> Result<(), FileError> {
    let write = || {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut beside = tempfile::NamedTempFile::new_in(folder)?;
        beside.write_all(text)?;
        // Its permissions are those of the Go code: everybody may read it.
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            beside.as_file().set_permissions(mode)?;
        }
        beside.as_file().sync_all()?;
        beside.persist(path).map_err(|error| error.error)?;
        // The new name is safe when the folder is on the disk.
        #[cfg(unix)]
        std::fs::File::open(folder)?.sync_all()?;
        Ok(())
    };
    write().map_err(|error| FileError::Io { path: path.to_owned(), error })
}

impl Book {
    /// Reads the text of a book.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(text: &[u8], strict: bool, now: Stamp) -> Result<(Self, Report), FormatError> {
        if text.len() as u64 > MAX_FILE {
            return Err(FormatError::TooLarge(text.len() as u64));
        }
        let file: FileIn<'_> = serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            FormatError::Json(format!("{:?} error at line {line} column {column}", error.classify()))
        })?;
        let mut book = Self::with_key(file.key.into_owned(), strict);
        let Entries { items, seen } = file.addrs;
        let mut report = Report { entries: seen, unusable: seen - items.len(), ..Report::default() };
        for item in items {
            book.restore_item(item, now, &mut report);
        }
        for item in file.banned.items.into_iter().filter(|item| item.known.last_ban > now) {
            let known = item.known;
            book.remove(&known.address.id);
            book.restore_ban(known.address.id, known.last_ban, known.address.dialable().then_some(known));
        }
        report.kept = book.len();
        report.banned = book.banned.len();
        book.take_changed();
        Ok((book, report))
    }

    fn restore_item(&mut self, mut item: Item, now: Stamp, report: &mut Report) {
        let address = item.known.address;
        if !address.dialable() {
            report.unusable += 1;
        } else if self.strict() && !address.routable() {
            report.not_routable += 1;
        } else if self.get(&address.id).is_some() {
            report.duplicates += 1;
        } else {
            // An attempt in the future would keep a dead address for ever.
            item.known.last_attempt = item.known.last_attempt.min(now);
            item.known.last_success = item.known.last_success.min(now);
            // The Go code lets a bucket grow by one too many.
            if !self.restore(item.known, &item.buckets, BUCKET_SIZE + 1) {
                report.no_room += 1;
            } else if item.buckets.is_empty() {
                report.misplaced += 1;
            }
        }
    }

    /// The text of the book's file, sorted by ID.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let entry = |known: &Known, until: Stamp| EntryOut {
            addr: AddressOut::of(&known.address),
            src: AddressOut::of(&known.source),
            buckets: known.buckets().to_vec(),
            attempts: known.attempts,
            bucket_type: if known.kind == Kind::New { 1 } else { 2 },
            last_attempt: known.last_attempt.to_rfc3339(),
            last_success: known.last_success.to_rfc3339(),
            last_ban_time: until.to_rfc3339(),
        };
        let banned = self.banned.iter().map(|(id, banned)| match &banned.known {
            Some(known) => {
                let mut out = entry(known, banned.until);
                out.buckets.clear();
                out
            }
            // Nobody can be there: only the ID is of use.
            None => {
                let nowhere = PeerAddress::new(*id, [0, 0, 0, 0].into(), 0);
                entry(&Known::new(nowhere, nowhere, Stamp::NEVER), banned.until)
            }
        });
        let file = FileOut {
            key: &self.key,
            addrs: Walk(|| self.sorted().into_iter().map(|known| entry(known, known.last_ban))),
            banned: (!self.banned.is_empty()).then_some(Walk(|| banned.clone())),
        };
        let mut text = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
        // A vector takes everything that is written, and the types above have nothing that JSON lacks.
        let _ = file.serialize(&mut serializer);
        text
    }
}

// What is written.

#[derive(Serialize)]
struct FileOut<'a, A: Serialize, B: Serialize> {
    key: &'a str,
    addrs: A,
    #[serde(skip_serializing_if = "Option::is_none")]
    banned: Option<B>,
}

#[derive(Serialize)]
struct EntryOut {
    addr: AddressOut,
    src: AddressOut,
    buckets: Vec<u8>,
    attempts: u32,
    bucket_type: u8,
    last_attempt: String,
    last_success: String,
    last_ban_time: String,
}

#[derive(Serialize)]
struct AddressOut {
    id: String,
    ip: String,
    port: u16,
}

impl AddressOut {
    fn of(address: &PeerAddress) -> Self {
        Self { id: address.id.to_string(), ip: address.ip.to_string(), port: address.port }
    }
}

/// A list that is made while it is written.
struct Walk<F>(F);

impl<I: Iterator<Item = EntryOut>, F: Fn() -> I> Serialize for Walk<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        for entry in (self.0)() {
            seq.serialize_element(&entry)?;
        }
        seq.end()
    }
}

// What is read.

#[derive(Deserialize)]
struct FileIn<'a> {
    #[serde(borrow, deserialize_with = "short_key")]
    key: Cow<'a, str>,
    addrs: Entries,
    #[serde(default)]
    banned: Entries,
}

#[derive(Deserialize)]
struct EntryIn<'a> {
    #[serde(borrow)]
    addr: Option<AddressIn<'a>>,
    #[serde(borrow)]
    src: Option<AddressIn<'a>>,
    #[serde(default)]
    buckets: Indices,
    #[serde(default)]
    attempts: i64,
    bucket_type: u8,
    #[serde(borrow, default)]
    last_attempt: Cow<'a, str>,
    #[serde(borrow, default)]
    last_success: Cow<'a, str>,
    #[serde(borrow, default)]
    last_ban_time: Cow<'a, str>,
}

#[derive(Deserialize)]
struct AddressIn<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    ip: Cow<'a, str>,
    port: u16,
}

impl AddressIn<'_> {
    fn address(&self) -> Option<PeerAddress> {
        Some(PeerAddress::new(NodeId::parse(&self.id)?, self.ip.parse().ok()?, self.port))
    }
}

/// An entry that names somebody.
struct Item {
    known: Known,
    /// Those that exist.
    buckets: Vec<u8>,
}

impl EntryIn<'_> {
    fn item(self) -> Option<Item> {
        let address = self.addr?.address()?;
        let source = self.src.and_then(|src| src.address()).unwrap_or(address);
        let stamp = |text: &str| Stamp::parse(text).unwrap_or(Stamp::NEVER);
        let mut known = Known::new(address, source, stamp(&self.last_attempt));
        known.last_success = stamp(&self.last_success);
        known.last_ban = stamp(&self.last_ban_time);
        known.attempts = u32::try_from(self.attempts.max(0)).unwrap_or(u32::MAX);
        let count = match self.bucket_type {
            1 => super::NEW_BUCKETS,
            2 => {
                known.kind = Kind::Old;
                super::OLD_BUCKETS
            }
            _ => return None,
        };
        let exists = |n: i64| u8::try_from(n).ok().filter(|n| usize::from(*n) < count);
        Some(Item { known, buckets: self.buckets.0.into_iter().filter_map(exists).collect() })
    }
}

fn short_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let Text(key) = Text::deserialize(deserializer)?;
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(D::Error::custom("a key of no legal length"));
    }
    Ok(key)
}

/// The entries of a list, the useless ones only counted.
#[derive(Default)]
struct Entries {
    items: Vec<Item>,
    seen: usize,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of addresses")
            }

            fn visit_unit<E>(self) -> Result<Entries, E> {
                Ok(Entries::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                while let Some(entry) = seq.next_element::<EntryIn<'de>>()? {
                    entries.seen += 1;
                    if entries.seen > MAX_ENTRIES {
                        return Err(A::Error::custom("too many addresses"));
                    }
                    entries.items.extend(entry.item());
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_any(List)
    }
}

/// The first few different numbers of a list, however long it is.
#[derive(Default)]
struct Indices(Vec<i64>);

impl<'de> Deserialize<'de> for Indices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Indices;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of buckets")
            }

            fn visit_unit<E>(self) -> Result<Indices, E> {
                Ok(Indices::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Indices, A::Error> {
                let mut found = Vec::new();
                while found.len() < MAX_BUCKETS_PER_ADDRESS {
                    match seq.next_element()? {
                        None => return Ok(Indices(found)),
                        Some(bucket) if !found.contains(&bucket) => found.push(bucket),
                        Some(_) => {}
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Indices(found))
            }
        }
        deserializer.deserialize_any(List)
    }
}
