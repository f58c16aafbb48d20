use super::*;

const LIMIT: usize = 10 << 20;

/// Appends `len` bytes in parts; the message, and what was on the ledger before it was whole.
fn put_together(partial: &mut Partial, ledger: &Ledger, len: usize, part: usize) -> (Incoming, usize) {
    let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
    for chunk in bytes.chunks(part) {
        assert!(partial.append(chunk, LIMIT, ledger, Instant::now()));
        assert!(ledger.held() >= partial.len && ledger.held() == partial.claimed);
        assert!(partial.claimed <= LIMIT && partial.claimed <= 2 * partial.len.max(partial.last) + PIECE);
    }
    let before = ledger.held();
    let whole = partial.finish(ledger, Instant::now());
    assert_eq!(whole.data, bytes);
    assert!((partial.len, partial.claimed, partial.room) == (0, 0, 0) && partial.since.is_none());
    (whole, before)
}

#[tokio::test]
async fn parts_of_any_size_become_the_message_and_the_ledger_follows() {
    let ledger = Ledger::new(usize::MAX);
    for part in [1_000, 1_024, 5_000, PIECE - 1, PIECE, PIECE + 1, LIMIT] {
        for len in [1_024, 65_540, PIECE, PIECE + 1, 3 * PIECE, 1 << 20, LIMIT] {
            let mut partial = Partial::default();
            for _ in 0..2 {
                let (whole, _) = put_together(&mut partial, &ledger, len, part);
                assert_eq!((whole.claimed, whole.holds), (ledger.held(), ledger.held()));
                assert!(whole.claimed >= len, "{len} in parts of {part}");
                ledger.give(whole.claimed);
            }
            assert_eq!(ledger.held(), 0);
        }
    }
}

#[tokio::test]
async fn the_second_message_of_a_size_is_not_copied_while_it_grows() {
    let (ledger, mut partial) = (Ledger::new(usize::MAX), Partial::default());
    let (whole, _) = put_together(&mut partial, &ledger, 65_540, 1_024);
    ledger.give(whole.claimed);
    assert!(partial.append(&[1; 10], LIMIT, &ledger, Instant::now()));
    assert_eq!((partial.room, ledger.held()), (65_540, 65_540));
}

#[tokio::test]
async fn a_full_ledger_takes_what_is_needed_and_then_nothing() {
    let (ledger, mut partial) = (Ledger::new(3 * PIECE + 100), Partial::default());
    assert!(partial.append(&vec![0; 3 * PIECE], LIMIT, &ledger, Instant::now()));
    assert!(partial.append(&[0; 100], LIMIT, &ledger, Instant::now()));
    assert!(!partial.append(&[0; 1], LIMIT, &ledger, Instant::now()));
    assert_eq!((ledger.held(), partial.claimed), (3 * PIECE + 100, 3 * PIECE + 100));
}
