//! Keccak-256, the hash of this wire: addresses, key derivation and the running MAC of every frame.
//!
//! ```text
//!   state  25 lanes × 64 bits, absorbed 136 bytes at a time; padding 0x01 … 0x80; digest = the first 32 bytes
//! ```
//!
//! The frame MAC asks a digest of a state that goes on absorbing, so a [`Keccak256`] can be asked at any
//! point without ending. The permutation is chosen once, at the first use: AVX-512 where the processor has it, else
//! BMI2, else portable.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bmi2;

use std::sync::OnceLock;

/// Bytes absorbed per permutation (spec: FIPS 202 with Keccak's original padding).
const RATE: usize = 136;
const LANES: usize = 25;

type State = [u64; LANES];
/// Absorbs whole blocks, permuting after each; with no block it permutes once.
type Absorb = fn(&mut State, &[[u8; RATE]]);

/// Round constants (spec: FIPS 202, 3.2.5).
#[cfg(target_arch = "x86_64")]
const ROUND: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

fn portable(state: &mut State, blocks: &[[u8; RATE]]) {
    keccak::Keccak::new().with_f1600(|f1600| {
        if blocks.is_empty() {
            f1600(state);
        }
        for block in blocks {
            for (lane, word) in state.iter_mut().zip(block.as_chunks::<8>().0) {
                *lane ^= u64::from_le_bytes(*word);
            }
            f1600(state);
        }
    });
}

fn absorber() -> Absorb {
    static CHOSEN: OnceLock<Absorb> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        if let Some(fast) = avx512::absorber().or_else(bmi2::absorber) {
            return fast;
        }
        portable
    })
}

/// A running Keccak-256.
#[derive(Clone)]
pub struct Keccak256 {
    state: State,
    /// Bytes of the current block that are XORed into the state already.
    filled: usize,
    absorb: Absorb,
}

impl Default for Keccak256 {
    fn default() -> Self {
        Self { state: [0; LANES], filled: 0, absorb: absorber() }
    }
}

impl Keccak256 {
    /// A state that has absorbed nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Absorbs bytes.
    pub fn update(&mut self, mut data: &[u8]) {
        if self.filled > 0 {
            let (first, rest) = data.split_at(data.len().min(RATE - self.filled));
            self.mix(first);
            data = rest;
            if self.filled < RATE {
                return;
            }
            (self.absorb)(&mut self.state, &[]);
            self.filled = 0;
        }
        let (blocks, rest) = data.as_chunks::<RATE>();
        if !blocks.is_empty() {
            (self.absorb)(&mut self.state, blocks);
        }
        self.mix(rest);
    }

    /// XORs part of a block into the state.
    fn mix(&mut self, mut part: &[u8]) {
        while let Some((first, rest)) = part.split_first() {
            if let (true, Some((word, rest))) = (self.filled.is_multiple_of(8), part.split_first_chunk::<8>())
            {
                self.xor(u64::from_le_bytes(*word));
                (self.filled, part) = (self.filled + 8, rest);
            } else {
                self.xor(u64::from(*first) << (8 * (self.filled % 8)));
                (self.filled, part) = (self.filled + 1, rest);
            }
        }
    }

    fn xor(&mut self, word: u64) {
        if let Some(lane) = self.state.get_mut(self.filled / 8) {
            *lane ^= word;
        }
    }

    /// The digest of what was absorbed so far; the state goes on unchanged.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut state = self.state;
        if let Some(lane) = state.get_mut(self.filled / 8) {
            *lane ^= 1 << (8 * (self.filled % 8));
        }
        if let Some(last) = state.get_mut(RATE / 8 - 1) {
            *last ^= 0x80 << 56;
        }
        (self.absorb)(&mut state, &[]);
        let mut out = [0; 32];
        for (bytes, lane) in out.as_chunks_mut::<8>().0.iter_mut().zip(state) {
            *bytes = lane.to_le_bytes();
        }
        out
    }
}

impl std::fmt::Debug for Keccak256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The state of a MAC is secret.
        f.write_str("Keccak256")
    }
}

/// The digest of some bytes.
#[must_use]
pub fn keccak256(data: &[u8]) -> [u8; 32] {
    keccak256_of(&[data])
}

/// The digest of several byte strings, one after the other.
#[must_use]
pub fn keccak256_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.digest()
}

#[cfg(test)]
mod tests;
