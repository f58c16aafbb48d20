use super::*;
use crate::bits::Bits;
use proptest::prelude::*;

fn held(claims: &Claims) -> Vec<u32> {
    (0..claims.chunks)
        .filter(|i| claims.word(page_of(*i), i % PAGE_CHUNKS / 64) >> (i % 64) & 1 == 1)
        .collect()
}

#[test]
fn sets_of_pages() {
    for (from, upto) in [(0, 0), (0, 1), (1, 64), (63, 65), (64, 128), (5, 1024), (0, 1024)] {
        let set = PageSet::range(from, upto);
        assert!((0..1024).all(|page| set.has(page) == (from..upto).contains(&page)), "{from} {upto}");
        assert_eq!(set.first(), (from < upto).then_some(from));
        assert_eq!(set.is_empty(), from >= upto);
    }
    assert!(!PageSet::range(0, 1024).has(u16::MAX));
}

#[test]
fn partial_pages_come_out_of_one_allowance() {
    let (mut claims, mut used) = (Claims::new(1 << 20), MAX_PARTIAL - 1);
    claims.add(5, 1, &mut used);
    claims.add(PAGE_CHUNKS + 5, 1, &mut used);
    assert_eq!((held(&claims), used), (vec![5], MAX_PARTIAL), "the second page has no room");
    claims.add(0, 3 * PAGE_CHUNKS, &mut used);
    assert_eq!(
        (held(&claims).len(), used),
        (3 * PAGE_CHUNKS as usize, MAX_PARTIAL - 1),
        "whole pages need none"
    );
}

proptest! {
    #[test]
    fn as_a_row_of_bits(ops in proptest::collection::vec((0u8..8, 0u32..3000, 0u32..3000), 1..40)) {
        let (mut claims, mut bits, mut used) = (Claims::new(2500), Bits::new(2500), 0);
        for (what, first, count) in ops {
            match what {
                0 => (claims.remove(first.min(2499), &mut used), bits.clear(first.min(2499))).1,
                1 => {
                    let page = (first / PAGE_CHUNKS) as u16;
                    claims.remove_page(page, &mut used);
                    (0..PAGE_CHUNKS).for_each(|i| bits.clear(u32::from(page) * PAGE_CHUNKS + i));
                }
                _ => {
                    claims.add(first, count, &mut used);
                    bits.set_range(first, count);
                }
            }
            let want: Vec<u32> = (0..2500).filter(|i| bits.has(*i)).collect();
            prop_assert_eq!(held(&claims), want);
            prop_assert_eq!(used, claims.partial());
        }
    }
}
