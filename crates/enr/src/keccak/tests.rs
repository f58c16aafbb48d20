use super::*;
use proptest::prelude::*;

#[test]
fn known_digests() {
    assert_eq!(
        hex::encode(keccak256(b"")),
        "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    );
    assert_eq!(
        hex::encode(keccak256(b"abc")),
        "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    );
}

fn absorbed(mut state: State, blocks: &[[u8; RATE]], by: Absorb) -> State {
    by(&mut state, blocks);
    state
}

proptest! {
    /// Each fast function does what the portable one does, where the processor has it.
    #[test]
    fn all_ways_agree(seed: [u64; 25], words in proptest::collection::vec(any::<[u64; 17]>(), 0..4)) {
        let block = |words: &[u64; 17]| {
            let mut block = [0; RATE];
            block.chunks_exact_mut(8).zip(words).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
            block
        };
        let blocks: Vec<_> = words.iter().map(block).collect();
        let portable = absorbed(seed, &blocks, portable);
        prop_assert_eq!(absorbed(seed, &blocks, absorber()), portable);
        #[cfg(target_arch = "x86_64")]
        for fast in [avx512::absorber(), bmi2::absorber()].into_iter().flatten() {
            prop_assert_eq!(absorbed(seed, &blocks, fast), portable);
        }
    }

    /// However the input is cut, the digest is the same, and asking for one changes nothing.
    #[test]
    fn cuts_do_not_matter(data in proptest::collection::vec(any::<u8>(), 0..700), cuts in proptest::collection::vec(0usize..700, 0..6)) {
        let whole = keccak256(&data);
        let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(data.len())).collect();
        cuts.sort_unstable();
        let mut hash = Keccak256::new();
        let mut from = 0;
        for cut in cuts {
            hash.update(&data[from..cut]);
            let _ = hash.digest();
            from = cut;
        }
        hash.update(&data[from..]);
        prop_assert_eq!(hash.digest(), whole);
    }
}
