//! Headers of `cast`; a header that is taken keeps its bounds.
#![no_main]

use bytes::Bytes;
use switchboard_cast::Header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::decode(Bytes::copy_from_slice(bytes), 40_000) {
        assert_eq!(&header.raw()[..], bytes);
        assert_eq!(u64::from(header.chunks()), header.size().div_ceil(header.chunk_size().into()));
    }
});
