use super::*;
use proptest::prelude::*;

fn header_of(size: u64, chunk: u32, name: &str) -> Header {
    let pages = chunk_count(size, chunk).unwrap().div_ceil(PAGE_CHUNKS);
    let pages: Vec<Hash> = (0..pages).map(|n| [n as u8; 32]).collect();
    Header::new(size, chunk, name, &pages).unwrap()
}

#[test]
fn header_bytes_are_those_of_the_document() {
    let header = Header::new(3, 1024, "ab", &[[7; 32]]).unwrap();
    let mut want = vec![0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 4, 0, 2, b'a', b'b', 0, 1];
    want.extend([7; 32]);
    assert_eq!(header.raw(), &want);
    let id: Hash = Sha256::digest([b"switchboard cast 1".as_slice(), &want].concat()).into();
    assert_eq!(header.id(), CastId(id));
    assert_eq!(Header::decode(want.into(), MAX_HEADER).unwrap(), header);
}

#[test]
fn every_other_length_is_refused() {
    let header = header_of(3_000_000, 1024, "name");
    let raw = header.raw();
    for cut in 0..raw.len() {
        assert!(Header::decode(raw.slice(..cut), MAX_HEADER).is_err(), "{cut} bytes");
    }
    let longer = [raw.as_ref(), &[0]].concat();
    assert!(Header::decode(longer.into(), MAX_HEADER).is_err());
    assert!(Header::decode(raw.clone(), raw.len() - 1).is_err(), "the limit counts");
}

#[test]
fn limits() {
    assert!(Header::new(MAX_SIZE + 1, MAX_CHUNK, "", &[]).is_err());
    assert_eq!(header_of(MAX_SIZE, MAX_CHUNK, "").chunks(), 1 << 20);
    assert!(chunk_count(MAX_SIZE, MAX_CHUNK / 2).is_err(), "more than 1,024 pages");
    assert!(chunk_count(u64::MAX, MIN_CHUNK).is_err());
    for chunk in [0, 1023, MAX_CHUNK + 1, u32::MAX] {
        assert!(Header::new(0, chunk, "", &[]).is_err(), "{chunk}");
    }
    for name in ["a/b", "a\\b", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(256)] {
        assert!(Header::new(0, 1024, name, &[]).is_err(), "{name:?}");
    }
    assert!(Header::new(0, 1024, &"x".repeat(255), &[]).is_ok());
    assert!(Header::new(0, 1024, "", &[[0; 32]]).is_err(), "a page too many");
    assert!(Header::new(1, 1024, "", &[]).is_err(), "a page too few");
    let mut raw = header_of(0, 1024, "ab").raw().to_vec();
    raw[13] = 0xff;
    assert_eq!(Header::decode(raw.into(), MAX_HEADER), Err(Malformed("name is not UTF-8")));
}

#[test]
fn chunks_and_pages_of_edge_sizes() {
    // (size, chunks, pages, last chunk)
    let cases = [
        (0, 0, 0, 0),
        (1, 1, 1, 1),
        (1024, 1, 1, 1024),
        (1025, 2, 1, 1),
        (1024 * 1024, 1024, 1, 1024),
        (1024 * 1025, 1025, 2, 1024),
        (1024 * 1024 + 5, 1025, 2, 5),
    ];
    for (size, chunks, pages, last) in cases {
        let bytes: Vec<u8> = (0..size).map(|n| (n / 1024 + n) as u8).collect();
        let manifest = Manifest::build(bytes.as_slice(), 1024, "n").unwrap();
        let header = &manifest.header;
        assert_eq!((header.size(), header.chunks()), (size as u64, chunks), "{size}");
        assert_eq!(header.pages().len(), pages, "{size}");
        assert_eq!(header.chunk_len(chunks.saturating_sub(1)), last, "{size}");
        assert_eq!(header.chunk_len(chunks), 0);
        assert_eq!(manifest.sha256, hash(&bytes));
        for (n, page) in manifest.pages.iter().enumerate() {
            assert!(header.page_fits(n as u16, page));
            assert!(!header.page_fits(n as u16, &page[1..]));
            assert!(!header.page_fits(n as u16 + 1, page));
        }
        for (n, chunk) in bytes.chunks(1024).enumerate() {
            let page = &manifest.pages[n / 1024];
            assert_eq!(hash_in_page(page, n as u32), Some(hash(chunk)));
        }
    }
}

#[test]
fn a_reader_in_small_bites_gives_the_same() {
    struct Bites<'a>(&'a [u8]);
    impl Read for Bites<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = out.len().min(100);
            self.0.read(&mut out[..n])
        }
    }
    let bytes = vec![9; 5000];
    let whole = Manifest::build(bytes.as_slice(), 1024, "").unwrap();
    assert_eq!(Manifest::build(Bites(&bytes), 1024, "").unwrap().header, whole.header);
    assert!(Manifest::build(bytes.as_slice(), 1000, "").is_err());
}

proptest! {
    #[test]
    fn decode_never_panics(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Header::decode(raw.into(), MAX_HEADER);
    }

    #[test]
    fn round_trip(size in 0u64..4 << 20, chunk in MIN_CHUNK..=4096, name in "[^/\\\\\\pC]{0,40}") {
        let header = header_of(size, chunk, &name);
        let again = Header::decode(header.raw().clone(), MAX_HEADER).unwrap();
        prop_assert_eq!(&again, &header);
        prop_assert_eq!(again.name(), name);
        let total: u64 = (0..header.chunks()).map(|i| header.chunk_len(i) as u64).sum();
        prop_assert_eq!(total, size);
    }
}
