use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

proptest! {
    #[test]
    fn like_a_set(len in 0u32..300, ops in proptest::collection::vec((0u8..3, 0u32..310, 0u32..200), 0..60)) {
        let (mut bits, mut set) = (Bits::new(len), BTreeSet::new());
        for (op, at, count) in ops {
            match op {
                0 => prop_assert_eq!(bits.set(at), at < len && set.insert(at)),
                1 => {
                    bits.clear(at);
                    set.remove(&at);
                }
                _ => {
                    bits.set_range(at, count);
                    set.extend((at..at + count).filter(|i| *i < len));
                }
            }
            prop_assert_eq!(bits.ones() as usize, set.len());
        }
        for i in 0..310 {
            prop_assert_eq!(bits.has(i), set.contains(&i));
            prop_assert_eq!(bits.next_clear(i), (i..len).find(|i| !set.contains(i)));
        }
        let listed: Vec<u32> = bits.runs().flat_map(|(first, count)| first..first + count).collect();
        prop_assert!(listed.iter().eq(set.iter()));
        prop_assert!(Bits::full(len).all());
    }
}
