//! Addresses from elsewhere, put into a book's file: lines of text, or another book.
//!
//! ```text
//! <40 hex digits>@203.0.113.7:26656          one a line; empty lines and what follows a # are passed over
//! { "key": …, "addrs": […] }                 an addrbook.json: its addresses
//! ```
//! Limits: those of [`super::file`]. Host names are not looked up: such a line is refused and counted.

use super::file::{self, FileError, FormatError, MAX_FILE};
use super::{Added, Book};
use crate::netaddress::NetAddress;
use crate::pex::address::PeerAddress;
use crate::pex::stamp::Stamp;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::path::Path;
use switchboard::Env;

/// What became of the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// New in the book.
    pub added: usize,
    /// Known already.
    pub known: usize,
    /// Not routable, banned, our own, or where the book has no room.
    pub refused: usize,
    /// Lines that are no address.
    pub unreadable: usize,
    /// Addresses in the book now.
    pub size: usize,
}

/// Reads a source, as lines or as a book. The second number counts what is no address.
///
/// # Errors
/// What is wrong with a text that begins like a book and is none.
pub fn read(text: &[u8]) -> Result<(Vec<PeerAddress>, usize), FormatError> {
    if text.len() as u64 > MAX_FILE {
        return Err(FormatError::TooLarge(text.len() as u64));
    }
    if text.trim_ascii_start().first() == Some(&b'{') {
        let (book, report) = Book::from_json(text, false, Stamp::NEVER)?;
        let addresses = book.sorted().iter().map(|known| known.address).collect();
        return Ok((addresses, report.unusable));
    }
    let (mut addresses, mut unreadable) = (Vec::new(), 0);
    for line in text.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let line = line.strip_prefix("comet://").unwrap_or(line);
        match NetAddress::parse(line).ok().and_then(|address| PeerAddress::of(&address)) {
            Some(address) => addresses.push(address),
            None => unreadable += 1,
        }
    }
    Ok((addresses, unreadable))
}

/// Puts a source's addresses into the book of a file, which is made if it is not there.
///
/// # Errors
/// [`FileError`] when either cannot be read, or the book not be saved; then the file is as it was.
pub fn import(path: &Path, source: &[u8], strict: bool, env: &Env) -> Result<Imported, FileError> {
    let in_text = |error| FileError::Corrupt { path: path.to_owned(), error };
    let (addresses, unreadable) = read(source).map_err(in_text)?;
    let now = Stamp::from(env.wall());
    let mut rng = StdRng::from_seed(env.random());
    let mut book = match file::load(path, strict, now)? {
        Some((book, _)) => book,
        None => Book::new(strict, &mut rng),
    };
    let mut imported = Imported { unreadable, ..Imported::default() };
    for address in addresses {
        match book.add(address, address, now, &mut rng) {
            Ok(Added::New) => imported.added += 1,
            Ok(_) => imported.known += 1,
            Err(_) => imported.refused += 1,
        }
    }
    imported.size = book.len();
    file::save(path, &book.to_json())?;
    Ok(imported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use switchboard::net::memory::MemoryNetwork;

    #[tokio::test]
    async fn lines_and_books_come_in_and_real_buckets_go_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addrbook.json");
        let env = Env::seeded(Arc::new(MemoryNetwork::default()), 1_700_000_000, 7);
        let lines = format!(
            "# a list\n{0}@8.8.8.8:1\n\ncomet://{1}@1.1.1.1:2 # two\n{0}@name.example:3\nnonsense\n{1}@10.0.0.1:9\n",
            "01".repeat(20),
            "02".repeat(20)
        );
        let imported = import(&path, lines.as_bytes(), true, &env).unwrap();
        assert_eq!((imported.added, imported.unreadable, imported.size), (2, 2, 2), "{imported:?}");
        assert_eq!(imported.refused, 1, "a private address");
        let (book, _) = file::load(&path, true, Stamp::from(env.wall())).unwrap().unwrap();
        assert!(book.sorted().iter().all(|known| !known.buckets().is_empty()));
        let other = dir.path().join("other.json");
        let text = std::fs::read(&path).unwrap();
        assert_eq!(import(&other, &text, true, &env).unwrap().added, 2);
        assert_eq!(import(&other, &text, true, &env).unwrap().added, 0);
        assert!(matches!(import(&other, b"{ not json", true, &env), Err(FileError::Corrupt { .. })));
    }
}
