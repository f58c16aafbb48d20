//! Texts of DNS lists: what is read is written again as the same text.
#![no_main]

use switchboard_discv::dns::{Entry, Hash, Link, Root};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(root) = Root::parse(text) {
        assert_eq!(Root::parse(&root.to_string()).as_ref(), Ok(&root));
    }
    if let Ok(entry) = Entry::parse(text) {
        assert_eq!(Entry::parse(&entry.to_string()).as_ref(), Ok(&entry));
    }
    if let Ok(link) = Link::parse(text) {
        assert_eq!(Link::parse(&link.to_string()).as_ref(), Ok(&link));
    }
    if let Ok(hash) = Hash::parse(text) {
        assert!(!hash.fits("") || hash == Hash::of(""));
    }
});
