//! Buffers that sessions share: an idle session holds none.
//!
//! ```text
//!   something to read or write ─▶ lend ─▶ 64 KiB ─▶ read, or encode and write ─▶ take_back
//! ```
//!
//! Queues are lent in the same way ([`Spares`]): one that is emptied again and again would else be made anew each time.
//!
//! Limits: [`KEPT`] buffers wait to be lent again, 256 KiB in all. More are made when they are needed and freed after use. A
//! buffer that has grown above [`MAX_KEPT_BUFFER`], or that a message still holds, is freed, too.

use bytes::BytesMut;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// A read's room, and where a write's begins.
pub(crate) const BUFFER: usize = 64 * 1024;
/// What a task moves without a pause before others have their turn, where some messages are more urgent than others. Such a turn wakes
/// another thread, so what one burst of small messages holds is moved without it.
pub(crate) const TURN: usize = 2 * BUFFER;
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

/// Room of a queue that is kept; one that has grown larger is freed.
const MOST_ROOM: usize = 256;

/// Emptied queues, which wait to be filled again.
pub(crate) struct Spares<Q>(Mutex<Vec<Q>>);

/// What can be lent: it has room, and nothing in it.
pub(crate) trait Queue: Default {
    /// How many it has room for.
    fn room(&self) -> usize;
}

impl<T> Queue for Vec<T> {
    fn room(&self) -> usize {
        self.capacity()
    }
}

impl<T> Queue for VecDeque<T> {
    fn room(&self) -> usize {
        self.capacity()
    }
}

impl<Q: Queue> Spares<Q> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Gives `queue` room, if it has none.
    pub(crate) fn fill(&self, queue: &mut Q) {
        if queue.room() == 0
            && let Some(spare) = self.0.lock().pop()
        {
            *queue = spare;
        }
    }

    /// Takes the room of an emptied queue.
    pub(crate) fn drain(&self, queue: &mut Q) {
        if queue.room() == 0 {
            return;
        }
        let queue = std::mem::take(queue);
        let mut spares = self.0.lock();
        if spares.len() < KEPT && queue.room() <= MOST_ROOM {
            spares.push(queue);
        }
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

    #[test]
    fn queues_are_used_again_and_few_are_kept() {
        let spares = Spares::<Vec<u8>>::new();
        let mut queue = Vec::new();
        spares.fill(&mut queue);
        assert_eq!(queue.capacity(), 0);
        let mut queue = Vec::with_capacity(10);
        spares.drain(&mut queue);
        assert_eq!(queue.capacity(), 0);
        spares.fill(&mut queue);
        assert_eq!(queue.capacity(), 10);
        spares.fill(&mut queue);
        for room in [0, MOST_ROOM + 1, 1, 2, 3, 4, 5, 6] {
            spares.drain(&mut Vec::with_capacity(room));
        }
        assert_eq!(spares.0.lock().iter().map(Vec::capacity).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
