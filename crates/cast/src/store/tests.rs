use super::*;
use crate::manifest::{Manifest, hash};
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
    let first = stores.open(header, 7).unwrap();
    assert_eq!((first.held.ones(), first.hops), (0, 7));
    first.store.write_page(0, &manifest.pages[0]).unwrap();
    put(&*first.store, &manifest, &bytes, (3..900).chain(1024..1026));
    assert!(first.store.path().unwrap().ends_with(format!("{}.part", header.id())));
    drop(first);

    // Chunks beyond the page that is known cannot be checked, so they are not held.
    assert_eq!(stores.resume().unwrap(), std::slice::from_ref(header));
    let again = stores.open(header, 9).unwrap();
    assert_eq!(again.hops, 7, "as it was learnt");
    assert_eq!(again.held.runs().collect::<Vec<_>>(), [(3, 897)]);
    assert!(again.pages[0].is_some() && again.pages[1].is_none());
    again.store.write_page(1, &manifest.pages[1]).unwrap();
    drop(again);

    // A flipped bit in a chunk costs that chunk.
    let part = casts.join(format!("{}.part", header.id()));
    let mut file = fs::read(&part).unwrap();
    file[5 * 1024] ^= 1;
    fs::write(&part, file).unwrap();
    let third = stores.open(header, 0).unwrap();
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

    let whole_again = stores.open(header, 0).unwrap();
    assert!(whole_again.held.all());
    assert_eq!(whole_again.store.path().unwrap(), whole);
    drop(whole_again);

    // The finished file was cut: what is left of it is on its way in again.
    fs::write(&whole, &bytes[..10_000]).unwrap();
    let cut = stores.open(header, 0).unwrap();
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
    let opened = stores.open(header, 1).unwrap();
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
        assert_eq!(stores.open(header, 1).unwrap().held.ones(), 0, "cut to {cut}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x80;
        fs::write(&side, bad).unwrap();
        let held = stores.open(header, 1).unwrap().held.ones();
        assert!(held == 0 || at == 8, "only the hops byte may change unseen, not byte {at}");
    }
    fs::write(&side, &good).unwrap();
    assert!(stores.open(header, 1).unwrap().held.all());
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
    assert!(stores.open(&manifest.header, 0).is_err());
    let stores = MemoryStores::new(2500);
    let opened = stores.open(&manifest.header, 0).unwrap();
    put(&*opened.store, &manifest, &bytes, 0..3);
    assert_eq!(stores.get(manifest.header.id()).unwrap().contents(), bytes);
    let full = MemoryStore::full(bytes.clone(), 1024);
    let mut last = vec![0; 452];
    full.read(2048, &mut last).unwrap();
    assert!(full.read(2048, &mut [0; 451]).is_err() && full.read(1, &mut last).is_err());
}
