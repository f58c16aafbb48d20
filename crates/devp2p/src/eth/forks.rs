//! Whether two nodes follow one chain, judged by its forks (EIP-2124).
//!
//! ```text
//!   sum after n forks = CRC-32(genesis hash ‖ fork 1 ‖ … ‖ fork n), forks as 8 bytes, big-endian
//!
//!   their sum is ours                    one chain so far: yes
//!             one of our past            they are behind: yes, if the fork they expect is the one that followed
//!             one of our future          we are behind: yes
//!             anything else              another chain: no
//! ```
//! (spec: EIP-2124, "Validation rules") The first rule also asks whether we have passed the fork that they expect. That takes
//! a newest block, which a node that has no blocks does not have: such a peer counts as one of our chain.

use super::ForkId;

/// The forks of a chain, and how many of them are past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forks {
    /// Sums, of no fork first. One more than there are forks.
    sums: Vec<[u8; 4]>,
    /// Block numbers or times.
    at: Vec<u64>,
    past: usize,
}

/// A fork id is not that of a chain with these forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chain of this genesis block and these forks never has the fork id given")]
pub struct OtherForks;

/// The sum after one more piece.
fn sum(before: [u8; 4], piece: &[u8]) -> [u8; 4] {
    // CRC-32 of IEEE 802.3, bit by bit: a chain has some twenty forks.
    let mut sum = !u32::from_be_bytes(before);
    for byte in piece {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    (!sum).to_be_bytes()
}

impl Forks {
    /// What is known of a chain by its fork id alone: where it is, and its next fork.
    #[must_use]
    pub fn ahead(ours: ForkId) -> Self {
        let mut forks = Self { sums: vec![ours.hash], at: Vec::new(), past: 0 };
        if ours.next != 0 {
            forks.push(ours.next);
        }
        forks
    }

    /// All forks of a chain in their order, of which the fork id says how many are past.
    ///
    /// # Errors
    /// [`OtherForks`] when it is none of this chain.
    pub fn of(genesis: &[u8; 32], at: &[u64], ours: ForkId) -> Result<Self, OtherForks> {
        let mut forks = Self { sums: vec![sum([0; 4], genesis)], at: Vec::new(), past: 0 };
        at.iter().for_each(|at| forks.push(*at));
        forks.past = forks.sums.iter().position(|sum| *sum == ours.hash).ok_or(OtherForks)?;
        match forks.at.get(forks.past) {
            Some(next) if ours.next != *next && ours.next != 0 => Err(OtherForks),
            None if ours.next != 0 => {
                forks.push(ours.next);
                Ok(forks)
            }
            _ => Ok(forks),
        }
    }

    fn push(&mut self, at: u64) {
        let last = self.sums.last().copied().unwrap_or_default();
        self.sums.push(sum(last, &at.to_be_bytes()));
        self.at.push(at);
    }

    /// Whether a node that says this may follow the same chain.
    #[must_use]
    pub fn may_be(&self, theirs: ForkId) -> bool {
        match self.sums.iter().position(|sum| *sum == theirs.hash) {
            None => false,
            Some(passed) if passed < self.past => self.at.get(passed) == Some(&theirs.next),
            Some(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENESIS: &str = "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3";
    const MAINNET: [u64; 6] = [1_150_000, 1_920_000, 2_463_000, 2_675_000, 4_370_000, 7_280_000];
    /// The sum after each fork (EIP-2124, test cases).
    const SUMS: [u32; 7] =
        [0xfc64_ec04, 0x97c2_c34c, 0x91d1_f948, 0x7a64_da13, 0x3edd_5b10, 0xa00b_c324, 0x668d_b0af];

    fn id(hash: u32, next: u64) -> ForkId {
        ForkId { hash: hash.to_be_bytes(), next }
    }

    fn mainnet(ours: ForkId) -> Result<Forks, OtherForks> {
        let mut genesis = [0; 32];
        hex::decode_to_slice(GENESIS, &mut genesis).unwrap();
        Forks::of(&genesis, &MAINNET, ours)
    }

    #[test]
    fn sums_are_those_of_the_specification() {
        for (past, hash) in SUMS.into_iter().enumerate() {
            let next = MAINNET.get(past).copied().unwrap_or(0);
            assert_eq!(mainnet(id(hash, next)).unwrap().past, past);
            assert_eq!(
                mainnet(id(hash, 0)).unwrap().past,
                past,
                "who does not say what is next may ask all the same"
            );
            assert_eq!(
                mainnet(id(hash, 77)).is_ok(),
                past == 6,
                "another fork may only follow the last that is named"
            );
        }
        assert_eq!(mainnet(id(0xfc64_ec05, 0)), Err(OtherForks));
    }

    #[test]
    fn peers_are_judged_as_the_specification_judges_them() {
        // Ours, theirs, whether they are of one chain (EIP-2124, test cases that need no newest block).
        let petersburg = id(0x668d_b0af, 0);
        let byzantium = id(0xa00b_c324, 7_280_000);
        for (ours, theirs, fits) in [
            (petersburg, id(0x668d_b0af, 0), true),
            (petersburg, id(0x668d_b0af, u64::MAX), true),
            (byzantium, id(0xa00b_c324, 0), true),
            (byzantium, id(0xa00b_c324, u64::MAX), true),
            (petersburg, id(0xa00b_c324, 7_280_000), true),
            (petersburg, id(0x3edd_5b10, 4_370_000), true),
            (byzantium, id(0x668d_b0af, 0), true),
            (id(0x3edd_5b10, 4_370_000), id(0xa00b_c324, 7_280_000), true),
            (petersburg, id(0xa00b_c324, 0), false),
            (petersburg, id(0x5cdd_c0e1, 0), false),
            (byzantium, id(0x5cdd_c0e1, 0), false),
            (petersburg, id(0xafec_6b27, 0), false),
        ] {
            assert_eq!(mainnet(ours).unwrap().may_be(theirs), fits, "{ours:x?} and {theirs:x?}");
        }
    }

    #[test]
    fn a_fork_id_alone_knows_one_fork_ahead() {
        let byzantium = Forks::ahead(id(0xa00b_c324, 7_280_000));
        assert!(byzantium.may_be(id(0xa00b_c324, 0)) && byzantium.may_be(id(0x668d_b0af, 0)));
        assert!(!byzantium.may_be(id(0x3edd_5b10, 4_370_000)), "the past is not known");
        assert!(!Forks::ahead(id(0xa00b_c324, 0)).may_be(id(0x668d_b0af, 0)));
    }
}
