use super::*;
use crate::manifest::{Manifest, hash};
use bytes::Bytes;
use std::fs;
use std::path::Path;

fn source(dir: &Path, size: usize) -> (Arc<dyn Store>, Manifest, Vec<u8>) {
    let bytes: Vec<u8> = (0..size).map(|n| ((n * 31) >> 7) as u8).collect();
    let path = dir.join("..a b\u{202e}\u{e9}.txt");
    fs::write(&path, &bytes).unwrap();
    let (store, manifest) = SourceStore::open(&path, 1024).unwrap();
    assert_eq!(manifest.header.name(), "..a b\u{202e}\u{e9}.txt");
    assert_eq!(manifest.sha256, hash(&bytes));
    (Arc::new(store), manifest, bytes)
}

fn put(store: &dyn Store, manifest: &Manifest, bytes: &[u8], indexes: impl Iterator<Item = u32>) {
    for index in indexes {
        let at = index as usize * 1024;
        let end = (at + 1024).min(bytes.len());
        store.write(manifest.header.offset(index), &bytes[at..end]).unwrap();
    }
}

#[test]
fn a_restart_finds_what_was_kept_and_believes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, manifest, bytes) = source(dir.path(), 1025 * 1024 + 5);
    let header = &manifest.header;
    let casts = dir.path().join("casts");
    let stores = FileStores::new(&casts).unwrap();
    let first = stores.open(header, 7, &Stop::default()).unwrap();
    assert_eq!((first.held.ones(), first.hops), (0, 7));
    first.store.write_page(0, &manifest.pages[0]).unwrap();
    put(&*first.store, &manifest, &bytes, (3..900).chain(1024..1026));
    assert!(first.store.path().unwrap().ends_with(format!("{}.part", header.id())));
    drop(first);

    // Chunks beyond the page that is known cannot be checked, so they are not held.
    assert_eq!(stores.resume().unwrap(), std::slice::from_ref(header));
    let again = stores.open(header, 9, &Stop::default()).unwrap();
    assert_eq!(again.hops, 7, "as it was learnt");
    assert_eq!(again.held.runs().collect::<Vec<_>>(), [(3, 897)]);
    assert!(again.pages.has(0) && !again.pages.has(1));
    again.store.write_page(1, &manifest.pages[1]).unwrap();
    drop(again);

    // A flipped bit in a chunk costs that chunk.
    let part = casts.join(format!("{}.part", header.id()));
    let mut file = fs::read(&part).unwrap();
    file[5 * 1024] ^= 1;
    fs::write(&part, file).unwrap();
    let third = stores.open(header, 0, &Stop::default()).unwrap();
    assert_eq!(third.held.runs().collect::<Vec<_>>(), [(3, 2), (6, 894), (1024, 2)]);

    put(&*third.store, &manifest, &bytes, 0..1026);
    third.store.finish().unwrap();
    third.store.finish().unwrap();
    let whole = third.store.path().unwrap();
    let name = whole.file_name().unwrap().to_str().unwrap();
    let id = header.id().to_string();
    assert_eq!(name, format!("{}-..a_b__.txt", &id[..32]));
    assert_eq!(fs::read(&whole).unwrap(), bytes);
    assert!(!part.exists());
    drop(third);

    let whole_again = stores.open(header, 0, &Stop::default()).unwrap();
    assert!(whole_again.held.all());
    assert_eq!(whole_again.store.path().unwrap(), whole);
    drop(whole_again);

    // The finished file was cut: what is left of it is on its way in again.
    fs::write(&whole, &bytes[..10_000]).unwrap();
    let cut = stores.open(header, 0, &Stop::default()).unwrap();
    assert_eq!(cut.held.runs().collect::<Vec<_>>(), [(0, 9)]);
    assert!(part.exists() && !whole.exists());
    put(&*cut.store, &manifest, &bytes, 9..1026);
    cut.store.finish().unwrap();
    assert_eq!(fs::read(&whole).unwrap(), bytes);
}

#[test]
fn side_files_that_lie_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let (_, manifest, bytes) = source(dir.path(), 3 * 1024);
    let header = &manifest.header;
    let stores = FileStores::new(dir.path().join("casts")).unwrap();
    let opened = stores.open(header, 1, &Stop::default()).unwrap();
    opened.store.write_page(0, &manifest.pages[0]).unwrap();
    put(&*opened.store, &manifest, &bytes, 0..3);
    drop(opened);
    let side = dir.path().join("casts").join(format!("{}.cast", header.id()));
    let good = fs::read(&side).unwrap();
    for cut in 0..good.len() {
        fs::write(&side, &good[..cut]).unwrap();
        for found in stores.resume().unwrap() {
            assert_eq!(&found, header);
        }
        // Every cut loses the page at least; whatever was lost, the store opens.
        assert_eq!(stores.open(header, 1, &Stop::default()).unwrap().held.ones(), 0, "cut to {cut}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        fs::write(&side, bad).unwrap();
        let held = stores.open(header, 1, &Stop::default()).unwrap().held.ones();
        assert!(held == 0 || at == 8, "only the hops byte may change unseen, not byte {at}");
    }
    fs::write(&side, &good).unwrap();
    assert!(stores.open(header, 1, &Stop::default()).unwrap().held.all());
    fs::rename(&side, dir.path().join("casts").join("ff.cast")).unwrap();
    assert!(stores.resume().unwrap().is_empty(), "a header under another id's name");
}

#[test]
fn a_source_that_changes_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let (store, manifest, bytes) = source(dir.path(), 5000);
    let mut chunk = vec![0; 1024];
    store.read(1024, &mut chunk).unwrap();
    assert_eq!(chunk, bytes[1024..2048]);
    assert!(store.write(0, &chunk).is_err());
    let path = store.path().unwrap();
    fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
    assert_eq!(store.read(0, &mut chunk).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(manifest.header.size(), 5000);
    assert!(SourceStore::open(dir.path(), 1024).is_err(), "a directory is no file");
}

#[test]
fn memory_keeps_what_fits() {
    let bytes = Bytes::from(vec![5; 2500]);
    let manifest = Manifest::build(bytes.as_ref(), 1024, "").unwrap();
    let stores = MemoryStores::new(2499);
    assert!(stores.open(&manifest.header, 0, &Stop::default()).is_err());
    let stores = MemoryStores::new(2500);
    let opened = stores.open(&manifest.header, 0, &Stop::default()).unwrap();
    put(&*opened.store, &manifest, &bytes, 0..3);
    assert_eq!(stores.get(manifest.header.id()).unwrap().contents(), bytes);
    let full = MemoryStore::full(bytes.clone(), 1024);
    let mut last = vec![0; 452];
    full.read(2048, &mut last).unwrap();
    assert!(full.read(2048, &mut [0; 451]).is_err() && full.read(1, &mut last).is_err());
}

fn files_in(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// A cast of so many KiB, all zeros but the first byte.
fn small(kib: usize, first: u8) -> (Manifest, Vec<u8>) {
    let mut bytes = vec![0; kib * 1024];
    bytes[0] = first;
    (Manifest::build(bytes.as_slice(), 1024, "small").unwrap(), bytes)
}

fn fill(stores: &FileStores, manifest: &Manifest, bytes: &[u8]) -> io::Result<Arc<dyn Store>> {
    let store = stores.open(&manifest.header, 1, &Stop::default())?.store;
    store.write_page(0, &manifest.pages[0])?;
    for (at, chunk) in bytes.chunks(1024).enumerate() {
        store.write(at as u64 * 1024, chunk)?;
    }
    store.finish()?;
    Ok(store)
}

#[test]
fn nothing_is_on_disk_before_the_first_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let stores = FileStores::new(dir.path()).unwrap();
    for n in 0..64 {
        let header = Header::new(0, 1024 + n, "", &[]).unwrap();
        let opened = stores.open(&header, 1, &Stop::default()).unwrap();
        opened.store.finish().unwrap();
        assert!(opened.held.all() && opened.store.path().is_none());
    }
    let (manifest, bytes) = small(2, 1);
    let store = stores.open(&manifest.header, 1, &Stop::default()).unwrap().store;
    store.write_page(0, &manifest.pages[0]).unwrap();
    let mut page = vec![0; 64];
    store.read_page(0, &mut page).unwrap();
    assert_eq!(page, manifest.pages[0]);
    assert!(files_in(dir.path()).is_empty());
    store.write(0, &bytes[..1024]).unwrap();
    let id = manifest.header.id();
    assert_eq!(files_in(dir.path()), [format!("{id}.cast"), format!("{id}.part")]);
    store.read_page(0, &mut page).unwrap();
    assert_eq!(page, manifest.pages[0]);
    store.remove().unwrap();
    assert!(files_in(dir.path()).is_empty());
    assert!(store.write(1024, &bytes[1024..]).is_err(), "what was removed stays away");
}

/// 1 TiB by its header, of which the last chunk is here: only that one is looked at.
#[test]
fn holes_are_not_looked_at_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let chunk = vec![7; 1 << 20];
    let page: Bytes = hash(&chunk).repeat(1024).into();
    let header = Header::new(1 << 40, 1 << 20, "", &vec![hash(&page); 1024]).unwrap();
    let stores = FileStores::new(dir.path()).unwrap();
    let opened = stores.open(&header, 1, &Stop::default()).unwrap();
    opened.store.write_page(1023, &page).unwrap();
    opened.store.write(header.offset((1 << 20) - 1), &chunk).unwrap();
    drop(opened);
    let again = FileStores::new(dir.path()).unwrap();
    assert_eq!(again.resume().unwrap(), std::slice::from_ref(&header));
    let begin = tokio::time::Instant::now();
    let opened = again.open(&header, 1, &Stop::default()).unwrap();
    assert_eq!(opened.held.runs().collect::<Vec<_>>(), [((1 << 20) - 1, 1)]);
    assert!(begin.elapsed().as_secs() < 10, "a tebibyte was read");
    drop(opened);

    // A record that was cut, or says something else, counts as none; whatever it says, hashes decide.
    let path = dir.path().join(format!("{}.held", header.id()));
    let good = fs::read(&path).unwrap();
    assert_eq!(good.len(), (128 << 10) + 76);
    for bad in [&good[..0], &good[..75], &good[..good.len() - 1], &[&good[..], &[0]].concat(), &[0; 4096]] {
        fs::write(&path, bad).unwrap();
        assert_eq!(again.open(&header, 1, &Stop::default()).unwrap().held.ones(), 0);
    }
    for at in [0, 9, 43, 44, 1000, good.len() - 33, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert_eq!(again.open(&header, 1, &Stop::default()).unwrap().held.ones(), 0, "byte {at}");
    }
    fs::write(&path, &good).unwrap();
    let stop = Stop::default();
    stop.stop();
    assert!(again.open(&header, 1, &stop).is_err(), "it ends between two chunks");
    assert_eq!(again.open(&header, 1, &Stop::default()).unwrap().held.ones(), 1, "and nothing is lost");
}

#[test]
fn all_casts_share_the_bytes_of_a_folder_and_the_oldest_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let casts: Vec<_> = (1..=4).map(|n| small(64, n)).collect();
    let names = |n: usize| casts[n].0.header.id().to_string()[..32].to_owned();
    let there = |n: usize| files_in(dir.path()).iter().any(|name| name.starts_with(&names(n)));
    let stores = FileStores::with_quota(dir.path(), 200 * 1024).unwrap();
    let first = fill(&stores, &casts[0].0, &casts[0].1).unwrap();
    let second = fill(&stores, &casts[1].0, &casts[1].1).unwrap();
    let full = fill(&stores, &casts[2].0, &casts[2].1).err().unwrap();
    assert_eq!(full.kind(), io::ErrorKind::QuotaExceeded, "both are in use");
    drop(second);
    let third = fill(&stores, &casts[2].0, &casts[2].1).unwrap();
    assert!(there(0) && !there(1) && there(2));
    drop((first, third));
    assert!(stores.used() <= 200 * 1024);

    // What an earlier run left counts, too.
    let later = FileStores::with_quota(dir.path(), 200 * 1024).unwrap();
    assert_eq!(later.resume().unwrap().len(), 2);
    fill(&later, &casts[3].0, &casts[3].1).unwrap();
    assert!(there(3) && u8::from(there(0)) + u8::from(there(2)) == 1);
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    use std::os::unix::fs::symlink;
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (manifest, bytes) = small(4, 1);
    let (id, stores) = (manifest.header.id(), FileStores::new(dir.path()).unwrap());
    let target = outside.path().join("target");
    for ending in ["cast", "part", "held"] {
        fs::write(&target, b"precious").unwrap();
        symlink(&target, dir.path().join(format!("{id}.{ending}"))).unwrap();
        let store = fill(&stores, &manifest, &bytes).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious", "{ending}");
        assert_eq!(fs::read(store.path().unwrap()).unwrap(), bytes);
        assert!(
            files_in(dir.path())
                .iter()
                .all(|name| !fs::symlink_metadata(dir.path().join(name)).unwrap().is_symlink())
        );
        store.remove().unwrap();
        assert!(files_in(dir.path()).is_empty());
    }
    // A side file elsewhere that would be believed is not even read.
    drop(fill(&stores, &manifest, &bytes).unwrap());
    let side = dir.path().join(format!("{id}.cast"));
    fs::rename(&side, outside.path().join("side")).unwrap();
    symlink(outside.path().join("side"), &side).unwrap();
    assert!(FileStores::new(dir.path()).unwrap().resume().unwrap().is_empty());
}

#[test]
fn what_is_written_has_an_unguessable_name_first_and_leftovers_go() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("cast-0123456789abcdef0123456789abcdef.tmp");
    fs::write(&left, b"half").unwrap();
    fs::write(dir.path().join("mine.tmp"), b"stays").unwrap();
    FileStores::new(dir.path()).unwrap().resume().unwrap();
    assert_eq!(files_in(dir.path()), ["mine.tmp"]);
    // A name that cannot be taken in the end leaves nothing behind.
    fs::create_dir_all(dir.path().join("taken").join("full")).unwrap();
    assert!(disk::write_new(&dir.path().join("taken"), b"x").is_err());
    assert_eq!(files_in(dir.path()), ["mine.tmp", "taken"]);
}

#[test]
fn casts_in_memory_share_their_bytes() {
    let stores = MemoryStores::new(5 * 1024);
    let open = |n: u8| {
        let (manifest, bytes) = small(2, n);
        (stores.open(&manifest.header, 0, &Stop::default()).unwrap().store, manifest, bytes)
    };
    let write = |(store, _, bytes): &(Arc<dyn Store>, Manifest, Vec<u8>)| {
        store.write(0, &bytes[..1024]).and_then(|()| store.write(1024, &bytes[1024..]))
    };
    let (first, second, third) = (open(1), open(2), open(3));
    write(&first).and_then(|()| write(&second)).unwrap();
    assert_eq!(write(&third).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    let id = first.1.header.id();
    drop(first);
    assert!(stores.get(id).is_some(), "kept until its bytes are needed");
    write(&third).unwrap();
    assert!(stores.get(id).is_none() && stores.get(second.1.header.id()).is_some());
    second.0.remove().unwrap();
    assert!(stores.get(second.1.header.id()).is_none());
}
