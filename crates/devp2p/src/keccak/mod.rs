//! Keccak-256, the hash of this wire: addresses, key derivation and the running MAC of every frame.
//!
//! ```text
//!   state  25 lanes × 64 bits, absorbed 136 bytes at a time; padding 0x01 … 0x80; digest = the first 32 bytes
//! ```
//!
//! The frame MAC asks a digest of a state that goes on absorbing, so a [`Keccak256`] can be asked at any
//! point without ending. The permutation is chosen once, at the first use: AVX-512 where the processor has it.

#[cfg(target_arch = "x86_64")]
mod avx512;

use std::sync::OnceLock;

/// Bytes absorbed per permutation (spec: FIPS 202 with Keccak's original padding).
const RATE: usize = 136;
const LANES: usize = 25;

type State = [u64; LANES];
type Permutation = fn(&mut State);

fn portable(state: &mut State) {
    keccak::Keccak::new().with_f1600(|f1600| f1600(state));
}

fn permutation() -> Permutation {
    static CHOSEN: OnceLock<Permutation> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        if let Some(fast) = avx512::permutation() {
            return fast;
        }
        portable
    })
}

/// A running Keccak-256.
#[derive(Clone)]
pub struct Keccak256 {
    state: State,
    /// Bytes absorbed into the current block.
    filled: usize,
    permute: Permutation,
}

impl Default for Keccak256 {
    fn default() -> Self {
        Self { state: [0; LANES], filled: 0, permute: permutation() }
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
        if !self.filled.is_multiple_of(8) || data.len() < 8 {
            let head = (8 - self.filled % 8) % 8;
            let head = if data.len() < 8 { data.len() } else { head };
            let (first, rest) = data.split_at(head.min(data.len()));
            first.iter().for_each(|byte| self.absorb_byte(*byte));
            data = rest;
        }
        let mut words = data.chunks_exact(8);
        for word in &mut words {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            self.absorb_word(u64::from_le_bytes(bytes));
        }
        words.remainder().iter().for_each(|byte| self.absorb_byte(*byte));
    }

    fn absorb_word(&mut self, word: u64) {
        if let Some(lane) = self.state.get_mut(self.filled / 8) {
            *lane ^= word;
        }
        self.advance(8);
    }

    fn absorb_byte(&mut self, byte: u8) {
        if let Some(lane) = self.state.get_mut(self.filled / 8) {
            *lane ^= u64::from(byte) << (8 * (self.filled % 8));
        }
        self.advance(1);
    }

    fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
        if self.filled == RATE {
            (self.permute)(&mut self.state);
            self.filled = 0;
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
        (self.permute)(&mut state);
        let mut out = [0; 32];
        for (bytes, lane) in out.chunks_exact_mut(8).zip(state) {
            bytes.copy_from_slice(&lane.to_le_bytes());
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
