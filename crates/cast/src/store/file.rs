//! A cast in a directory: its chunks at their place in a sparse file, its header and pages beside it.
//!
//! ```text
//!   <id>.part               the file on its way in; a chunk not yet here is a hole
//!   <id, 32 digits>-<label> the whole file; the label with every character but A-Z a-z 0-9 . - _ made _
//!   <id>.cast               "swcast1\n" ‖ hops u8 ‖ header length u32 ‖ header ‖ pages, 32,768 bytes each
//!   <id>.held               which chunks were written (`record`)
//! ```
//!
//! Nothing is made before the first chunk that was checked: until then pages are kept in memory. An empty file is
//! never made.
//!
//! After a restart nothing is believed: the header must give the id, each page must fit the header and
//! each chunk its page. Only chunks that the record names are looked at. What fails is fetched again. The whole file
//! appears under its final name only after it was synced.
//!
//! Limits: 64 bytes of label; the bytes of all casts of a directory (`disk`); a record for each 64 MiB
//! of chunks, or each 16th part of the file: what came after it is fetched again when the node is killed. Two
//! nodes must not share a directory.

use super::disk::{BASE, Disk, is_plain, open_plain, write_new};
use super::{Opened, Pages, Stop, Store, StoreFactory, record};
use crate::bits::Bits;
use crate::manifest::{CastId, Header, MAX_HEADER, PAGE_CHUNKS, hash, hash_in_page, page_of};
use crate::state::{MAX_CASTS, MAX_LOADED};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"swcast1\n";
const HEAD: usize = MAGIC.len() + 1 + 4;
const PAGE_BYTES: u64 = PAGE_CHUNKS as u64 * 32;
const MAX_LABEL: usize = 64;
/// The ending of the file that holds header and pages.
const SIDE: &str = "cast";
/// Bytes of chunks between two records.
const RECORD_BYTES: u64 = 64 << 20;
/// Smaller files are recorded not more often than this.
const RECORD_LEAST: u64 = 1 << 20;

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
    disk: Arc<Disk>,
}

impl FileStores {
    /// Uses this directory, which is made if it is not there, and as many bytes as it takes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<Arc<Self>> {
        Self::with_quota(dir, u64::MAX)
    }

    /// Uses this directory, which is made if it is not there, and at most so many bytes for all casts together,
    /// those of earlier runs too.
    ///
    /// # Errors
    /// What the file system says.
    pub fn with_quota(dir: impl Into<PathBuf>, bytes: u64) -> io::Result<Arc<Self>> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Arc::new(Self { disk: Arc::new(Disk::new(dir, bytes)) }))
    }
}

#[cfg(test)]
impl FileStores {
    pub(super) fn used(&self) -> u64 {
        self.disk.used()
    }
}

/// The names of a cast's files.
pub(super) mod names {
    use super::{CastId, Header, MAX_LABEL, Path, PathBuf, SIDE};

    pub(in crate::store) fn side(id: CastId) -> String {
        format!("{id}.{SIDE}")
    }

    /// The id a side file's name gives.
    pub(in crate::store) fn of_side(path: &Path) -> Option<CastId> {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_suffix(SIDE)?.strip_suffix('.')?;
        let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
        let mut id = [0; 32];
        if pairs.len() != id.len() || !odd.is_empty() {
            return None;
        }
        for (byte, pair) in id.iter_mut().zip(pairs) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(CastId(id)).filter(|id| side(*id) == name)
    }

    pub(super) fn part(id: CastId) -> String {
        format!("{id}.part")
    }

    pub(super) fn record(id: CastId) -> String {
        format!("{id}.held")
    }

    /// The final name of a cast's file.
    pub(super) fn whole(header: &Header) -> String {
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

    /// All of them; the side file last, as it names the others.
    pub(in crate::store) fn all(dir: &Path, header: &Header) -> [PathBuf; 4] {
        let id = header.id();
        [part(id), whole(header), record(id), side(id)].map(|name| dir.join(name))
    }
}

fn head_of(file: &mut File) -> io::Result<(u8, Header)> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "not the side file of a cast");
    let mut head = [0; HEAD];
    file.read_exact(&mut head)?;
    let [magic @ .., hops, a, b, c, d] = head;
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if &magic != MAGIC || len > MAX_HEADER {
        return Err(broken());
    }
    let mut raw = vec![0; len];
    file.read_exact(&mut raw)?;
    Ok((hops, Header::decode(raw.into(), MAX_HEADER).map_err(|_| broken())?))
}

/// What a side file says: hops and header.
pub(super) fn read_header(path: &Path) -> io::Result<(u8, Header)> {
    head_of(&mut open_plain(path, false)?)
}

fn page_offset(header: &Header, page: u16) -> u64 {
    (HEAD + header.raw().len()) as u64 + u64::from(page) * PAGE_BYTES
}

/// Which of these chunks of a file fit their pages, and which pages that were looked at fit the header.
fn check_chunks(
    file: &PositionedFile,
    side: &PositionedFile,
    header: &Header,
    named: &Bits,
    stop: &Stop,
) -> io::Result<(Pages, Bits)> {
    let (mut pages, mut held) = (Pages::default(), Bits::new(header.chunks()));
    let len = file.with(File::metadata)?.len();
    let mut buffer = vec![0; header.chunk_size() as usize];
    let (mut page, mut at) = (Vec::new(), None);
    for index in named.runs().flat_map(|(first, count)| first..first + count) {
        stop.check()?;
        let number = page_of(index);
        if at != Some(number) {
            at = Some(number);
            page.resize(header.page_chunks(number) as usize * 32, 0);
            let found = side.read(page_offset(header, number), &mut page).is_ok();
            match found && header.page_fits(number, &page) {
                true => pages.set(number),
                false => page.clear(),
            }
        }
        let (offset, size) = (header.offset(index), header.chunk_len(index));
        let (Some(want), Some(buffer)) = (hash_in_page(&page, index), buffer.get_mut(..size)) else {
            continue;
        };
        if offset + size as u64 > len {
            break;
        }
        file.read(offset, buffer)?;
        if hash(buffer) == want {
            held.set(index);
        }
    }
    Ok((pages, held))
}

impl FileStores {
    /// What an earlier run left of a cast, if there is anything.
    fn find(&self, header: &Header, stop: &Stop) -> io::Result<Option<Opened>> {
        let [part, whole, record, side_path] = names::all(&self.disk.dir, header);
        let Ok(mut side) = open_plain(&side_path, true) else { return Ok(None) };
        let Some((hops, _)) = head_of(&mut side).ok().filter(|(_, found)| found.id() == header.id()) else {
            return Ok(None);
        };
        let finished = is_plain(&whole);
        let mut at = if finished { whole.clone() } else { part.clone() };
        if !is_plain(&at) {
            return Ok(None);
        }
        let file = PositionedFile::new(open_plain(&at, true)?);
        let named = match record::load(&record, header) {
            // Killed between giving the final name and the record, perhaps.
            _ if finished => Bits::full(header.chunks()),
            Some(named) => named,
            None => Bits::new(header.chunks()),
        };
        let side = PositionedFile::new(side);
        let (pages, held) = check_chunks(&file, &side, header, &named, stop)?;
        if finished && !held.all() {
            // Damaged since: back to what is on its way in.
            fs::rename(&whole, &part)?;
            at = part;
        }
        self.disk.grow(header.id(), 0)?;
        let written = Mutex::new(Written { held: held.clone(), unsaved: 0 });
        let files = Files { file, side, path: Mutex::new(at), written };
        let store = self.store(header, hops, Place::Made(Arc::new(files)));
        Ok(Some(Opened { store, pages, held, hops }))
    }

    fn store(&self, header: &Header, hops: u8, place: Place) -> Arc<dyn Store> {
        let (disk, header) = (Arc::clone(&self.disk), header.clone());
        Arc::new(FileStore { disk, header, hops, place: Mutex::new(place) })
    }
}

impl StoreFactory for FileStores {
    fn open(&self, header: &Header, hops: u8, stop: &Stop) -> io::Result<Opened> {
        if let Some(found) = self.find(header, stop)? {
            return Ok(found);
        }
        Ok(Opened::empty(self.store(header, hops, Place::Memory(BTreeMap::new())), header, hops))
    }

    fn resume(&self) -> io::Result<Vec<Header>> {
        let mut found = Vec::new();
        for id in self.disk.list()?.into_iter().take(MAX_CASTS) {
            found.extend(read_header(&self.disk.dir.join(names::side(id))).map(|(_, header)| header));
        }
        Ok(found)
    }
}

/// What was written since the store was opened, and before.
#[derive(Debug)]
struct Written {
    held: Bits,
    unsaved: u64,
}

#[derive(Debug)]
struct Files {
    file: PositionedFile,
    side: PositionedFile,
    path: Mutex<PathBuf>,
    written: Mutex<Written>,
}

#[derive(Debug)]
enum Place {
    /// No chunk was written yet: pages only.
    Memory(BTreeMap<u16, Bytes>),
    Made(Arc<Files>),
    Removed,
}

/// One cast's files.
#[derive(Debug)]
pub struct FileStore {
    disk: Arc<Disk>,
    header: Header,
    hops: u8,
    place: Mutex<Place>,
}

impl FileStore {
    /// The cast's id.
    #[must_use]
    pub fn id(&self) -> CastId {
        self.header.id()
    }

    fn files(&self) -> io::Result<Arc<Files>> {
        match &*self.place.lock() {
            Place::Made(files) => Ok(Arc::clone(files)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The files, which are made now if they are not there.
    fn made(&self) -> io::Result<Arc<Files>> {
        let mut place = self.place.lock();
        let pages = match &mut *place {
            Place::Made(files) => return Ok(Arc::clone(files)),
            Place::Removed => return Err(io::ErrorKind::NotFound.into()),
            Place::Memory(pages) => pages,
        };
        let header = &self.header;
        let [part, _, _, side_path] = names::all(&self.disk.dir, header);
        let page_bytes: usize = pages.values().map(Bytes::len).sum();
        let bytes = BASE + (HEAD + header.raw().len() + page_bytes + record::len(header)) as u64;
        self.disk.grow(header.id(), bytes)?;
        let mut head = MAGIC.to_vec();
        head.push(self.hops);
        head.extend((header.raw().len() as u32).to_be_bytes());
        head.extend_from_slice(header.raw());
        let made = || {
            let side = PositionedFile::new(write_new(&side_path, &head)?);
            for (page, hashes) in pages.iter() {
                side.write(page_offset(header, *page), hashes)?;
            }
            // Whatever has that name is not ours to write into.
            match fs::remove_file(&part) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(&part)?;
            Ok((side, PositionedFile::new(file)))
        };
        let (side, file) = made().inspect_err(|_| self.disk.remove(header.id()))?;
        let written = Mutex::new(Written { held: Bits::new(header.chunks()), unsaved: 0 });
        let files = Arc::new(Files { file, side, path: Mutex::new(part), written });
        *place = Place::Made(Arc::clone(&files));
        Ok(files)
    }

    fn record(&self, written: &mut Written) -> io::Result<()> {
        record::save(&self.disk.dir.join(names::record(self.id())), &self.header, &written.held)?;
        written.unsaved = 0;
        Ok(())
    }
}

impl Store for FileStore {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.files()?.file.read(offset, out)
    }

    fn write(&self, offset: u64, chunk: &[u8]) -> io::Result<()> {
        let files = self.made()?;
        let index = u32::try_from(offset / u64::from(self.header.chunk_size())).unwrap_or(u32::MAX);
        if files.written.lock().held.has(index) {
            return Ok(());
        }
        self.disk.grow(self.id(), chunk.len() as u64)?;
        files.file.write(offset, chunk)?;
        let mut written = files.written.lock();
        written.held.set(index);
        written.unsaved += chunk.len() as u64;
        if written.unsaved >= (self.header.size() / 16).clamp(RECORD_LEAST, RECORD_BYTES) {
            // Without it a restart fetches more again, no worse.
            if let Err(error) = self.record(&mut written) {
                tracing::warn!(target: "switchboard_cast", id = %self.id(), %error, "cannot record what is held");
                written.unsaved = 0;
            }
        }
        Ok(())
    }

    fn write_page(&self, page: u16, hashes: &[u8]) -> io::Result<()> {
        let files = match &mut *self.place.lock() {
            Place::Removed => return Err(io::ErrorKind::NotFound.into()),
            Place::Memory(pages) => {
                if pages.len() >= MAX_LOADED {
                    pages.pop_first();
                }
                pages.insert(page, Bytes::copy_from_slice(hashes));
                return Ok(());
            }
            Place::Made(files) => Arc::clone(files),
        };
        self.disk.grow(self.id(), hashes.len() as u64)?;
        files.side.write(page_offset(&self.header, page), hashes)
    }

    fn read_page(&self, page: u16, out: &mut [u8]) -> io::Result<()> {
        if let Place::Memory(pages) = &*self.place.lock() {
            let found = pages.get(&page).filter(|found| found.len() == out.len());
            out.copy_from_slice(found.ok_or(io::ErrorKind::NotFound)?);
            return Ok(());
        }
        self.files()?.side.read(page_offset(&self.header, page), out)
    }

    fn remove(&self) -> io::Result<()> {
        let before = std::mem::replace(&mut *self.place.lock(), Place::Removed);
        if matches!(before, Place::Made(_)) {
            self.disk.remove(self.id());
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let Ok(files) = self.files() else { return Ok(()) };
        let mut written = files.written.lock();
        if written.unsaved > 0 { self.record(&mut written) } else { Ok(()) }
    }

    fn finish(&self) -> io::Result<()> {
        if self.header.chunks() == 0 {
            return Ok(());
        }
        let files = self.files()?;
        let whole = self.disk.dir.join(names::whole(&self.header));
        let mut path = files.path.lock();
        if *path == whole {
            return Ok(());
        }
        files.file.with(File::sync_data)?;
        files.side.with(File::sync_data)?;
        self.record(&mut files.written.lock())?;
        fs::rename(&*path, &whole)?;
        path.clone_from(&whole);
        // The rename itself lasts once the directory is synced; systems that cannot do that are fine too.
        if let Ok(dir) = File::open(&self.disk.dir) {
            let _ = dir.sync_all();
        }
        Ok(())
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.files().ok()?.path.lock().clone())
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!(target: "switchboard_cast", id = %self.id(), %error, "cannot record what is held");
        }
        if self.files().is_ok() {
            self.disk.live(self.id(), false);
        }
    }
}
