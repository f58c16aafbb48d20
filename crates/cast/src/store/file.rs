//! A cast in a directory: its chunks at their place in a sparse file, its header and pages beside it.
//!
//! ```text
//!   <id>.part               the file on its way in; a chunk not yet here is a hole
//!   <id, 32 digits>-<label> the whole file; the label with every character but A-Z a-z 0-9 . - _ made _
//!   <id>.cast               "swcast1\n" ‖ hops u8 ‖ header length u32 ‖ header ‖ pages, 32,768 bytes each
//! ```
//!
//! After a restart nothing is believed: the header must give the id, each page must fit the header and
//! each chunk its page. What fails is fetched again. The whole file appears under its final name only
//! after it was synced.
//!
//! Limits: 64 bytes of label. Two nodes must not share a directory.

use super::{Opened, Store, StoreFactory};
use crate::bits::Bits;
use crate::manifest::{CastId, Hash, Header, MAX_HEADER, PAGE_CHUNKS, hash, hash_in_page, page_of};
use bytes::Bytes;
use parking_lot::Mutex;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"swcast1\n";
const HEAD: usize = MAGIC.len() + 1 + 4;
const PAGE_BYTES: u64 = PAGE_CHUNKS as u64 * 32;
const MAX_LABEL: usize = 64;
/// The ending of the file that holds header and pages.
const SIDE: &str = "cast";

/// A file read and written at offsets, by several threads at once where the system can.
#[derive(Debug)]
pub(super) struct PositionedFile {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: Mutex<File>,
}

#[cfg(unix)]
impl PositionedFile {
    pub(super) fn new(file: File) -> Self {
        Self { file }
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&File) -> T) -> T {
        f(&self.file)
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, out, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, data, offset)
    }
}

#[cfg(not(unix))]
impl PositionedFile {
    pub(super) fn new(file: File) -> Self {
        Self { file: Mutex::new(file) }
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&File) -> T) -> T {
        f(&self.file.lock())
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut file = self.file.lock();
        io::Seek::seek(&mut *file, io::SeekFrom::Start(offset))?;
        file.read_exact(out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock();
        io::Seek::seek(&mut *file, io::SeekFrom::Start(offset))?;
        file.write_all(data)
    }
}

/// Keeps casts in a directory and finds them again after a restart.
#[derive(Debug, Clone)]
pub struct FileStores {
    dir: PathBuf,
}

impl FileStores {
    /// Uses this directory, which is made if it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<Arc<Self>> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Arc::new(Self { dir }))
    }
}

/// The final name of a cast's file.
fn final_name(header: &Header) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let label: String = header.name().chars().take(MAX_LABEL).map(safe).collect();
    let mut name = header.id().to_string();
    name.truncate(32);
    if !label.is_empty() {
        name.push('-');
        name.push_str(&label);
    }
    name
}

/// What a side file says: hops, header, and the pages that fit it.
fn read_side(path: &Path) -> io::Result<(u8, Header, Vec<Option<Bytes>>)> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "not the side file of a cast");
    let mut file = File::open(path)?;
    let mut head = [0; HEAD];
    file.read_exact(&mut head)?;
    let [magic @ .., hops, a, b, c, d] = head;
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if &magic != MAGIC || len > MAX_HEADER {
        return Err(broken());
    }
    let mut raw = vec![0; len];
    file.read_exact(&mut raw)?;
    let header = Header::decode(raw.into(), MAX_HEADER).map_err(|_| broken())?;
    let file = PositionedFile::new(file);
    let mut pages = Vec::with_capacity(header.pages().len());
    for page in 0..header.pages().len() as u16 {
        let mut bytes = vec![0; header.page_chunks(page) as usize * 32];
        let at = page_offset(&header, page);
        let found = file.read(at, &mut bytes).is_ok() && header.page_fits(page, &bytes);
        pages.push(found.then(|| Bytes::from(bytes)));
    }
    Ok((hops, header, pages))
}

fn page_offset(header: &Header, page: u16) -> u64 {
    (HEAD + header.raw().len()) as u64 + u64::from(page) * PAGE_BYTES
}

fn create_side(path: &Path, header: &Header, hops: u8) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut head = MAGIC.to_vec();
    head.push(hops);
    head.extend((header.raw().len() as u32).to_be_bytes());
    head.extend_from_slice(header.raw());
    file.write_all(&head)?;
    Ok(file)
}

/// Which chunks of a file fit their pages.
fn check_chunks(file: &PositionedFile, header: &Header, pages: &[Option<Bytes>]) -> io::Result<Bits> {
    let mut held = Bits::new(header.chunks());
    let len = file.with(File::metadata)?.len();
    let mut buffer = vec![0; header.chunk_size() as usize];
    for index in 0..header.chunks() {
        let (offset, size) = (header.offset(index), header.chunk_len(index));
        let page = pages.get(usize::from(page_of(index))).and_then(Option::as_ref);
        let want: Option<Hash> = page.and_then(|page| hash_in_page(page, index));
        let (Some(want), Some(buffer)) = (want, buffer.get_mut(..size)) else { continue };
        if offset + size as u64 > len {
            break;
        }
        file.read(offset, buffer)?;
        if hash(buffer) == want {
            held.set(index);
        }
    }
    Ok(held)
}

impl StoreFactory for FileStores {
    fn open(&self, header: &Header, hops: u8) -> io::Result<Opened> {
        let id = header.id().to_string();
        let side_path = self.dir.join(&id).with_extension(SIDE);
        let part = self.dir.join(&id).with_extension("part");
        let whole = self.dir.join(final_name(header));
        let known = read_side(&side_path).ok().filter(|(_, found, _)| found.id() == header.id());
        let (hops, pages, side) = match known {
            Some((hops, _, pages)) => {
                (hops, pages, OpenOptions::new().read(true).write(true).open(&side_path)?)
            }
            None => (hops, vec![None; header.pages().len()], create_side(&side_path, header, hops)?),
        };
        let finished = whole.is_file();
        let path = if finished { whole.clone() } else { part.clone() };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let file = PositionedFile::new(file);
        let held = check_chunks(&file, header, &pages)?;
        let mut at = path;
        if finished && !held.all() {
            // Damaged since: back to what is on its way in.
            fs::rename(&whole, &part)?;
            at = part;
        }
        let store = FileStore {
            file,
            side: PositionedFile::new(side),
            header: header.clone(),
            whole,
            path: Mutex::new(at),
        };
        Ok(Opened { store: Arc::new(store), pages, held, hops })
    }

    fn resume(&self) -> io::Result<Vec<Header>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != SIDE) {
                continue;
            }
            let named = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            match read_side(&path) {
                Ok((_, header, _)) if named == Some(header.id().to_string()) => found.push(header),
                _ => tracing::warn!(target: "switchboard_cast", path = %path.display(),
                    "ignoring what is not the side file of a cast"),
            }
        }
        found.sort_by_key(Header::id);
        Ok(found)
    }
}

/// One cast's files.
#[derive(Debug)]
pub struct FileStore {
    file: PositionedFile,
    side: PositionedFile,
    header: Header,
    whole: PathBuf,
    path: Mutex<PathBuf>,
}

impl FileStore {
    /// The cast's id.
    #[must_use]
    pub fn id(&self) -> CastId {
        self.header.id()
    }
}

impl Store for FileStore {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn write(&self, offset: u64, chunk: &[u8]) -> io::Result<()> {
        self.file.write(offset, chunk)
    }

    fn write_page(&self, page: u16, hashes: &[u8]) -> io::Result<()> {
        self.side.write(page_offset(&self.header, page), hashes)
    }

    fn finish(&self) -> io::Result<()> {
        let mut path = self.path.lock();
        if *path == self.whole {
            return Ok(());
        }
        self.file.with(File::sync_data)?;
        self.side.with(File::sync_data)?;
        fs::rename(&*path, &self.whole)?;
        path.clone_from(&self.whole);
        // The rename itself lasts once the directory is synced; systems that cannot do that are fine too.
        if let Some(dir) = self.whole.parent().and_then(|dir| File::open(dir).ok()) {
            let _ = dir.sync_all();
        }
        Ok(())
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.path.lock().clone())
    }
}
