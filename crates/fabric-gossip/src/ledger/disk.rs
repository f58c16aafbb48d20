//! A ledger in one redb file a channel.
//!
//! Each commit is one redb transaction with immediate durability: it is on the disk when it returns, and a crash leaves the last
//! commit that returned or a later one. Blocks of a commit share its one flush to the disk, which is what makes catching up
//! fast. Opening after a crash does not walk the whole file: each commit also writes what a repair needs.
//!
//! Limits: [`CACHE`] bytes of pages in memory. One process at a time has a file open.

use super::error::LedgerError;
use super::transient::{Index, Put, Transient};
use super::types::{BlockStore, Commit, Missing, Options, Slot};
use crate::block::Block;
use crate::block::hash::Hash;
use crate::privdata::rwset;
use crate::types::MAX_CHANNEL;
use bytes::Bytes;
use parking_lot::Mutex;
use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Page cache of a ledger, in bytes.
pub const CACHE: usize = 16 << 20;
const SUFFIX: &str = ".ledger";
const FORMAT: u64 = 1;

type Place<'a> = (u64, u64, &'a str, &'a str);
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const NAMES: TableDefinition<'_, &str, &str> = TableDefinition::new("names");
const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
const PRIVATE: TableDefinition<'_, Place<'_>, &[u8]> = TableDefinition::new("private");
const MISSING: TableDefinition<'_, Place<'_>, (&str, &[u8; 32])> = TableDefinition::new("missing");
const EXPIRY: TableDefinition<'_, (u64, u64, u64, &str, &str), ()> = TableDefinition::new("expiry");
const TRANSIENT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("transient");

/// What of the file is known without reading it.
#[derive(Debug, Clone, Copy)]
struct End {
    height: u64,
    tip: Option<Hash>,
}

/// A ledger in a file. Dropping it closes the file.
pub struct DiskLedger {
    path: PathBuf,
    first: u64,
    database: Database,
    end: Mutex<End>,
    /// Held while something is written.
    index: Mutex<Index>,
}

impl std::fmt::Debug for DiskLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DiskLedger({})", self.path.display())
    }
}

/// Whether Fabric takes this as a channel's name.
fn is_channel(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    name.len() <= MAX_CHANNEL
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(allowed)
}

/// The channels that have a ledger in a folder, in order of their names.
///
/// # Errors
/// [`LedgerError::Storage`] when the folder cannot be read.
pub fn channels(folder: &Path) -> Result<Vec<String>, LedgerError> {
    let failed =
        |error: std::io::Error| LedgerError::Storage { path: folder.to_owned(), error: error.to_string() };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let channel = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        found.extend(channel.filter(|channel| is_channel(channel)).map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

fn place(slot: &Slot) -> Place<'_> {
    (slot.block, slot.transaction, &slot.namespace, &slot.collection)
}

fn slot((block, transaction, namespace, collection): Place<'_>) -> Slot {
    Slot { block, transaction, namespace: namespace.to_owned(), collection: collection.to_owned() }
}

/// A block or an entry under its number.
type Numbered = (u64, Bytes);
type Redb<T> = Result<T, Box<redb::Error>>;

fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

impl DiskLedger {
    /// Opens the ledger of a channel in a folder, or makes it.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(folder: &Path, channel: &str, options: Options) -> Result<Self, LedgerError> {
        let path = Self::path(folder, channel)?;
        let storage =
            |error: std::io::Error| LedgerError::Storage { path: path.clone(), error: error.to_string() };
        std::fs::create_dir_all(folder).map_err(storage)?;
        let database = Database::builder().set_cache_size(CACHE).create(&path);
        let ledger = Self::begin(path.clone(), channel, database, Some(options))?;
        // The file's name must survive a crash too.
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(storage)?;
        Ok(ledger)
    }

    /// Opens the ledger of a channel, which must be there.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open_existing(folder: &Path, channel: &str) -> Result<Self, LedgerError> {
        let path = Self::path(folder, channel)?;
        let database = Database::builder().set_cache_size(CACHE).open(&path);
        Self::begin(path, channel, database, None)
    }

    fn path(folder: &Path, channel: &str) -> Result<PathBuf, LedgerError> {
        if !is_channel(channel) {
            return Err(LedgerError::Channel(switchboard::text::printable(channel)));
        }
        Ok(folder.join(format!("{channel}{SUFFIX}")))
    }

    fn begin(
        path: PathBuf,
        channel: &str,
        database: Result<Database, DatabaseError>,
        options: Option<Options>,
    ) -> Result<Self, LedgerError> {
        let database = database.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => LedgerError::InUse(path.clone()),
            error => LedgerError::Storage { path: path.clone(), error: error.to_string() },
        })?;
        let end = Mutex::new(End { height: 0, tip: None });
        let mut ledger = Self { path, first: 0, database, end, index: Mutex::default() };
        let label = ledger.label(channel, options);
        let first = label.map_err(|error| ledger.storage(&error))?;
        ledger.first = first.map_err(|what| LedgerError::Foreign { path: ledger.path.clone(), what })?;
        ledger.load()?;
        Ok(ledger)
    }

    fn storage(&self, error: &dyn std::fmt::Display) -> LedgerError {
        LedgerError::Storage { path: self.path.clone(), error: error.to_string() }
    }

    /// Reads what the file says it is, or writes it into a new one. Gives the first number, or what is wrong.
    fn label(&self, channel: &str, options: Option<Options>) -> Redb<Result<u64, String>> {
        let txn = self.write()?;
        let first = {
            let mut numbers = txn.open_table(NUMBERS).map_err(boxed)?;
            let mut names = txn.open_table(NAMES).map_err(boxed)?;
            let format = numbers.get("format").map_err(boxed)?.map(|value| value.value());
            match (format, options) {
                (None, None) => return Ok(Err("holds no ledger".into())),
                (None, Some(options)) => {
                    numbers.insert("format", FORMAT).map_err(boxed)?;
                    numbers.insert("first", options.first).map_err(boxed)?;
                    names.insert("channel", channel).map_err(boxed)?;
                    options.first
                }
                (Some(FORMAT), _) => {
                    let of = names.get("channel").map_err(boxed)?.map(|value| value.value().to_owned());
                    if of.as_deref() != Some(channel) {
                        return Ok(Err(format!("is of channel {of:?}")));
                    }
                    numbers.get("first").map_err(boxed)?.map_or(1, |value| value.value())
                }
                (Some(other), _) => return Ok(Err(format!("has format {other}, known is {FORMAT}"))),
            }
        };
        // The tables are made here, so that readers find them.
        txn.open_table(BLOCKS).map_err(boxed)?;
        txn.open_table(PRIVATE).map_err(boxed)?;
        txn.open_table(MISSING).map_err(boxed)?;
        txn.open_table(EXPIRY).map_err(boxed)?;
        txn.open_table(TRANSIENT).map_err(boxed)?;
        txn.commit().map_err(boxed)?;
        Ok(Ok(first))
    }

    /// Finds the end of the chain and what is in the transient store.
    fn load(&self) -> Result<(), LedgerError> {
        let read = || -> Redb<(Option<Numbered>, Vec<Numbered>)> {
            let txn = self.read()?;
            let blocks = txn.open_table(BLOCKS).map_err(boxed)?;
            let last = blocks.last().map_err(boxed)?;
            let last = last.map(|(number, bytes)| (number.value(), Bytes::copy_from_slice(bytes.value())));
            let mut entries = Vec::new();
            for entry in txn.open_table(TRANSIENT).map_err(boxed)?.iter().map_err(boxed)? {
                let (number, bytes) = entry.map_err(boxed)?;
                entries.push((number.value(), Bytes::copy_from_slice(bytes.value())));
            }
            Ok((last, entries))
        };
        let (last, entries) = read().map_err(|error| self.storage(&error))?;
        let mut end = self.end.lock();
        *end = End { height: self.first, tip: None };
        if let Some((number, bytes)) = last {
            let block =
                Block::decode(bytes).map_err(|fault| self.storage(&format!("block {number}: {fault}")))?;
            *end = End { height: number.saturating_add(1), tip: Some(block.header_hash()) };
        }
        let mut index = self.index.lock();
        for (number, bytes) in entries {
            let entry = Transient::of_stored(&bytes);
            let entry = entry.map_err(|fault| self.storage(&format!("transient entry {number}: {fault}")))?;
            index.load(number, &entry);
        }
        Ok(())
    }

    fn write(&self) -> Redb<WriteTransaction> {
        let mut txn = self.database.begin_write().map_err(boxed)?;
        // A repair after a crash then needs no walk through the whole file.
        txn.set_quick_repair(true);
        Ok(txn)
    }

    fn read(&self) -> Redb<ReadTransaction> {
        self.database.begin_read().map_err(boxed)
    }

    /// Writes commits; the order of their numbers is checked already. Gives the transient entries that went.
    fn store(&self, commits: &[Commit], height: u64, index: &Index) -> Redb<Vec<u64>> {
        let txn = self.write()?;
        let mut served = Vec::new();
        {
            let mut blocks = txn.open_table(BLOCKS).map_err(boxed)?;
            let mut private = txn.open_table(PRIVATE).map_err(boxed)?;
            let mut missing = txn.open_table(MISSING).map_err(boxed)?;
            let mut expiry = txn.open_table(EXPIRY).map_err(boxed)?;
            let mut transient = txn.open_table(TRANSIENT).map_err(boxed)?;
            for commit in commits {
                blocks.insert(commit.block.number(), &commit.block.raw()[..]).map_err(boxed)?;
                for (slot, set) in &commit.private {
                    private.insert(place(slot), &set[..]).map_err(boxed)?;
                }
                for entry in &commit.missing {
                    missing.insert(place(&entry.slot), (&entry.tx_id[..], &entry.hash)).map_err(boxed)?;
                }
                for end in &commit.expiry {
                    let (block, transaction, namespace, collection) = place(&end.slot);
                    expiry.insert((end.at, block, transaction, namespace, collection), ()).map_err(boxed)?;
                }
                served.extend(commit.served.iter().flat_map(|tx_id| index.of_tx(tx_id)));
            }
            for number in &served {
                transient.remove(number).map_err(boxed)?;
            }
            let mut ended = Vec::new();
            for entry in expiry.range(..(height, 0, 0, "", "")).map_err(boxed)? {
                let (at, block, transaction, namespace, collection) = {
                    let (key, ()) = entry.map(|(key, _)| (key, ())).map_err(boxed)?;
                    let (at, block, transaction, namespace, collection) = key.value();
                    (at, block, transaction, namespace.to_owned(), collection.to_owned())
                };
                ended.push((at, Slot { block, transaction, namespace, collection }));
            }
            for (at, slot) in &ended {
                let (block, transaction, namespace, collection) = place(slot);
                expiry.remove((*at, block, transaction, namespace, collection)).map_err(boxed)?;
                private.remove(place(slot)).map_err(boxed)?;
                missing.remove(place(slot)).map_err(boxed)?;
            }
        }
        txn.commit().map_err(boxed)?;
        Ok(served)
    }

    fn read_range(&self, from: u64, to: u64, max_bytes: usize) -> Redb<Vec<(u64, Bytes)>> {
        let txn = self.read()?;
        let blocks = txn.open_table(BLOCKS).map_err(boxed)?;
        let mut bytes = 0;
        let mut out = Vec::new();
        for entry in blocks.range(from..=to).map_err(boxed)? {
            let (number, block) = entry.map_err(boxed)?;
            bytes += block.value().len();
            if bytes > max_bytes && !out.is_empty() {
                break;
            }
            out.push((number.value(), Bytes::copy_from_slice(block.value())));
        }
        Ok(out)
    }

    fn read_missing(&self, below: u64, most: usize) -> Redb<Vec<Missing>> {
        let txn = self.read()?;
        let table = txn.open_table(MISSING).map_err(boxed)?;
        let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
        for entry in table.range(..(below, 0, "", "")).map_err(boxed)?.rev() {
            let (key, value) = entry.map_err(boxed)?;
            let slot = slot(key.value());
            seen.insert(slot.block);
            if seen.len() > most {
                break;
            }
            let (tx_id, hash) = value.value();
            out.push(Missing { slot, tx_id: tx_id.to_owned(), hash: *hash });
        }
        Ok(out)
    }

    fn fill(&self, found: &[(Slot, Bytes)]) -> Redb<Vec<Slot>> {
        let txn = self.write()?;
        let mut filled = Vec::new();
        {
            let mut missing = txn.open_table(MISSING).map_err(boxed)?;
            let mut private = txn.open_table(PRIVATE).map_err(boxed)?;
            for (slot, set) in found {
                let fits = missing.get(place(slot)).map_err(boxed)?;
                if fits.is_some_and(|entry| *entry.value().1 == rwset::hash(set)) {
                    missing.remove(place(slot)).map_err(boxed)?;
                    private.insert(place(slot), &set[..]).map_err(boxed)?;
                    filled.push(slot.clone());
                }
            }
        }
        txn.commit().map_err(boxed)?;
        Ok(filled)
    }

    fn change_transient(&self, put: Option<(u64, Vec<u8>)>, gone: &[u64]) -> Redb<()> {
        let txn = self.write()?;
        {
            let mut transient = txn.open_table(TRANSIENT).map_err(boxed)?;
            for number in gone {
                transient.remove(number).map_err(boxed)?;
            }
            if let Some((number, bytes)) = put {
                transient.insert(number, &bytes[..]).map_err(boxed)?;
            }
        }
        txn.commit().map_err(boxed)
    }
}

impl BlockStore for DiskLedger {
    fn height(&self) -> u64 {
        self.end.lock().height
    }

    fn first(&self) -> u64 {
        self.first
    }

    fn tip(&self) -> Option<Hash> {
        self.end.lock().tip
    }

    fn append(&self, commits: &[Commit]) -> Result<(), LedgerError> {
        // One writer at a time: the end does not move while this is held.
        let mut index = self.index.lock();
        let height = self.height();
        for (expected, commit) in (height..).zip(commits) {
            let found = commit.block.number();
            if found != expected {
                return Err(LedgerError::Order { expected, found });
            }
        }
        let Some(last) = commits.last() else { return Ok(()) };
        let end = End { height: height + commits.len() as u64, tip: Some(last.block.header_hash()) };
        let served = self.store(commits, end.height, &index).map_err(|error| self.storage(&error))?;
        for number in served {
            index.remove(number);
        }
        *self.end.lock() = end;
        Ok(())
    }

    fn block(&self, number: u64) -> Result<Option<Bytes>, LedgerError> {
        let read = || -> Redb<Option<Bytes>> {
            let blocks = self.read()?.open_table(BLOCKS).map_err(boxed)?;
            Ok(blocks.get(number).map_err(boxed)?.map(|block| Bytes::copy_from_slice(block.value())))
        };
        read().map_err(|error| self.storage(&error))
    }

    fn range(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<(u64, Bytes)>, LedgerError> {
        if from > to {
            return Ok(Vec::new());
        }
        self.read_range(from, to, max_bytes).map_err(|error| self.storage(&error))
    }

    fn private_of(&self, block: u64) -> Result<Vec<(Slot, Bytes)>, LedgerError> {
        let read = || -> Redb<Vec<(Slot, Bytes)>> {
            let private = self.read()?.open_table(PRIVATE).map_err(boxed)?;
            let mut out = Vec::new();
            let end = block.saturating_add(1);
            for entry in private.range((block, 0, "", "")..(end, 0, "", "")).map_err(boxed)? {
                let (key, set) = entry.map_err(boxed)?;
                out.push((slot(key.value()), Bytes::copy_from_slice(set.value())));
            }
            Ok(out)
        };
        read().map_err(|error| self.storage(&error))
    }

    fn has_private(&self, from: u64, to: u64) -> Result<bool, LedgerError> {
        let read = || -> Redb<bool> {
            let private = self.read()?.open_table(PRIVATE).map_err(boxed)?;
            let mut of =
                private.range((from, 0, "", "")..(to.saturating_add(1), 0, "", "")).map_err(boxed)?;
            Ok(of.next().is_some())
        };
        read().map_err(|error| self.storage(&error))
    }

    fn missing(&self, below: u64, blocks: usize) -> Result<Vec<Missing>, LedgerError> {
        self.read_missing(below, blocks).map_err(|error| self.storage(&error))
    }

    fn reconcile(&self, found: &[(Slot, Bytes)]) -> Result<Vec<Slot>, LedgerError> {
        let _writing = self.index.lock();
        self.fill(found).map_err(|error| self.storage(&error))
    }

    fn put_transient(&self, entry: &Transient) -> Result<(), LedgerError> {
        let mut index = self.index.lock();
        let Put::Keep { number, evicted } = index.put(entry)? else { return Ok(()) };
        let gone: Vec<_> = evicted.into_iter().map(|(_, number)| number).collect();
        let changed = self.change_transient(Some((number, entry.encode())), &gone);
        changed.map_err(|error| {
            // What was evicted from the index only comes back with the next start; what was not written is not known.
            index.remove(number);
            self.storage(&error)
        })
    }

    fn transient_of(&self, tx_id: &str) -> Result<Vec<Transient>, LedgerError> {
        let numbers = self.index.lock().of_tx(tx_id);
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let read = || -> Redb<Vec<Bytes>> {
            let table = self.read()?.open_table(TRANSIENT).map_err(boxed)?;
            let mut out = Vec::new();
            for number in numbers {
                let entry = table.get(number).map_err(boxed)?;
                out.extend(entry.map(|bytes| Bytes::copy_from_slice(bytes.value())));
            }
            Ok(out)
        };
        let entries = read().map_err(|error| self.storage(&error))?;
        let decoded: Result<Vec<_>, _> = entries.iter().map(Transient::of_stored).collect();
        decoded.map_err(|fault| self.storage(&fault))
    }

    fn purge_transient(&self, below: u64) -> Result<usize, LedgerError> {
        let mut index = self.index.lock();
        let old = index.below(below);
        if !old.is_empty() {
            self.change_transient(None, &old).map_err(|error| self.storage(&error))?;
        }
        Ok(old.into_iter().filter_map(|number| index.remove(number)).count())
    }

    fn transient_len(&self) -> usize {
        self.index.lock().len()
    }
}
