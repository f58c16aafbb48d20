//! Buffers that sessions share: an idle session holds none.
//!
//! ```text
//!   something to read or write ─▶ lend ─▶ 64 KiB ─▶ read, or encode and write ─▶ take_back
//! ```
//!
//! Limits: [`KEPT`] buffers wait to be lent again, 256 KiB in all. More are made when they are needed and freed after use. A
//! buffer that has grown above [`MAX_KEPT_BUFFER`], or that a message still holds, is freed, too.

use bytes::BytesMut;
use parking_lot::Mutex;

/// A read's room, and where a write's begins.
pub(crate) const BUFFER: usize = 64 * 1024;
/// Buffers that wait to be lent.
const KEPT: usize = 4;
/// A buffer that has grown larger is freed after use.
const MAX_KEPT_BUFFER: usize = 256 * 1024;

static FREE: Mutex<Vec<BytesMut>> = Mutex::new(Vec::new());

/// An empty buffer with room for [`BUFFER`] bytes.
pub(crate) fn lend() -> BytesMut {
    let free = FREE.lock().pop();
    free.unwrap_or_else(|| BytesMut::with_capacity(BUFFER))
}

/// Takes a buffer back, whatever is in it.
pub(crate) fn take_back(mut buffer: BytesMut) {
    buffer.clear();
    if !buffer.try_reclaim(BUFFER) || buffer.capacity() > MAX_KEPT_BUFFER {
        return;
    }
    let mut free = FREE.lock();
    if free.len() < KEPT {
        free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_is_empty_and_has_room() {
        let mut first = lend();
        first.extend_from_slice(&[1; 100]);
        take_back(first);
        for _ in 0..2 * KEPT {
            let lent = lend();
            assert!(lent.is_empty() && lent.capacity() >= BUFFER);
        }
    }

    #[test]
    fn what_a_message_holds_or_what_has_grown_is_not_kept() {
        let mut held = BytesMut::with_capacity(BUFFER);
        held.extend_from_slice(&[7; 10]);
        let message = held.split().freeze();
        assert!(!held.try_reclaim(BUFFER));
        take_back(held);
        take_back(BytesMut::with_capacity(2 * MAX_KEPT_BUFFER));
        take_back(BytesMut::new());
        (0..4 * KEPT).for_each(|_| take_back(BytesMut::with_capacity(BUFFER)));
        let free = FREE.lock();
        assert!(free.len() <= KEPT);
        assert!(free.iter().all(|b| (BUFFER..=MAX_KEPT_BUFFER).contains(&b.capacity())));
        assert_eq!(&message[..], [7; 10]);
    }
}
