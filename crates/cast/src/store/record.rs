//! Which chunks of a file were written: a small file beside it, so that a restart looks at those only.
//!
//! ```text
//!   <id>.held   "swheld1\n" ‖ id 32 ‖ chunks u32 ‖ one bit a chunk, 64 to a word, words big-endian ‖ SHA-256 of all before
//! ```
//!
//! It is written whole under an unguessable name and renamed, so that there is always an old or a new one. It is
//! believed only so far that chunks it does not name are not looked at: those it names are hashed again.
//!
//! Limits: 128 KiB and 76 bytes. One that is longer, shorter or differs from its hash counts as none.

use super::disk::{open_plain, write_new};
use crate::bits::Bits;
use crate::manifest::{Header, hash};
use std::io::{self, Read};
use std::path::Path;

const MAGIC: &[u8; 8] = b"swheld1\n";

fn encode(header: &Header, held: &Bits) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(header.id().0);
    out.extend(header.chunks().to_be_bytes());
    (0..header.chunks().div_ceil(64)).for_each(|at| out.extend(held.word(at).to_be_bytes()));
    let sum = hash(&out);
    out.extend(sum);
    out
}

/// Bytes of a cast's record.
pub(super) fn len(header: &Header) -> usize {
    MAGIC.len() + 32 + 4 + header.chunks().div_ceil(64) as usize * 8 + 32
}

/// Replaces the record of a cast.
pub(super) fn save(path: &Path, header: &Header, held: &Bits) -> io::Result<()> {
    write_new(path, &encode(header, held)).map(|_| ())
}

/// Reads the record of a cast; none when there is none that can be believed.
pub(super) fn load(path: &Path, header: &Header) -> Option<Bits> {
    let (file, want) = (open_plain(path, false).ok()?, len(header));
    let mut bytes = Vec::with_capacity(want + 1);
    file.take(want as u64 + 1).read_to_end(&mut bytes).ok()?;
    let (body, sum) = bytes.split_last_chunk::<32>()?;
    let (head, words) = body.split_at_checked(MAGIC.len() + 36)?;
    let mut expected = MAGIC.to_vec();
    expected.extend(header.id().0);
    expected.extend(header.chunks().to_be_bytes());
    if bytes.len() != want || head != expected || hash(body) != *sum {
        return None;
    }
    let mut held = Bits::new(header.chunks());
    for (at, word) in words.as_chunks::<8>().0.iter().enumerate() {
        let mut left = u64::from_be_bytes(*word);
        while left != 0 {
            held.set(at as u32 * 64 + left.trailing_zeros());
            left &= left - 1;
        }
    }
    Some(held)
}
