//! ChaCha20-Poly1305 for eight frames at once, with AVX-512 (spec: RFC 8439).
//!
//! ```text
//!   key stream   a frame's blocks 1 to 16 stand in the 16 lanes of 32 bits: 1,024 bytes; block 0 (the MAC's key) and
//!                block 17 (the last 4 bytes) of all eight frames share one more turn
//!   MAC          a frame in each of 8 lanes of 64 bits: limbs of 44, 44 and 42 bits, multiplied by IFMA
//! ```
//! Frames are short: one at a time, a library spends half of its time on what comes before and after the 1,028 bytes. All
//! eight begin and end together here. Measured reason: sealing and opening took more than half of a core's time on this wire.
//!
//! Nothing branches on, or looks up by, a secret. Which frames are authentic is decided before any of them is opened.
//! With `switchboard_enr` this is the only place with `unsafe`: functions compiled for AVX-512 may be called only after the
//! processor was asked, and vectors are loaded and stored by address.

// Every index here is into an array, below its length.
#![allow(clippy::indexing_slicing)]

use super::FRAME;
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_si512, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_or_si512, _mm512_rol_epi32, _mm512_set1_epi32, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_shuffle_i64x2, _mm512_slli_epi64, _mm512_srli_epi64,
    _mm512_storeu_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};
use zeroize::Zeroizing;

/// Frames at a time.
pub(super) const LANES: usize = 8;
/// Bytes of a frame before its tag.
const PLAIN: usize = super::PLAIN_FRAME;
/// Bytes of those that 16 blocks of key stream cover.
const MOST: usize = 1024;
/// "expand 32-byte k".
const SIGMA: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
const M44: u64 = (1 << 44) - 1;
const M42: u64 = (1 << 42) - 1;
/// The bits of r that count.
const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;

pub(super) type Frames = [[u8; FRAME]; LANES];

/// One direction's key, on a processor that can do this.
pub(super) struct Eight(Zeroizing<[u32; 8]>);

impl Eight {
    /// `None` on other processors.
    pub(super) fn new(key: &[u8; 32]) -> Option<Self> {
        let able = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512ifma");
        let mut words = Zeroizing::new([0; 8]);
        words
            .iter_mut()
            .zip(key.as_chunks::<4>().0)
            .for_each(|(word, bytes)| *word = u32::from_le_bytes(*bytes));
        able.then_some(Self(words))
    }

    /// The key's bytes.
    pub(super) fn key(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.as_chunks_mut::<4>().0.iter_mut().zip(*self.0).for_each(|(to, word)| *to = word.to_le_bytes());
        bytes
    }

    /// Seals eight frames, the first with this counter: their first 1,028 bytes, behind which comes the tag.
    #[allow(unsafe_code)] // sound: a value exists only where the processor said it has AVX-512F and IFMA
    pub(super) fn seal(&self, counter: u64, frames: &mut Frames) {
        let edges = unsafe { edges(&self.0, counter) };
        unsafe { apply(&self.0, counter, frames, &edges, LANES) };
        let tags = unsafe { tags(&edges, frames) };
        for (frame, tag) in frames.iter_mut().zip(tags) {
            if let Some(place) = frame.last_chunk_mut() {
                *place = tag.to_le_bytes();
            }
        }
    }

    /// Opens frames in place, the first with this counter, up to one that is not authentic; how many it opened.
    #[allow(unsafe_code)] // sound: as above
    pub(super) fn open(&self, counter: u64, frames: &mut Frames) -> usize {
        let edges = unsafe { edges(&self.0, counter) };
        let tags = unsafe { tags(&edges, frames) };
        let fits = |(frame, tag): (&[u8; FRAME], u128)| {
            // One comparison of all bits: nothing tells how many of them fit.
            frame.last_chunk().is_some_and(|told| u128::from_le_bytes(*told) ^ tag == 0)
        };
        let good = frames.iter().zip(tags).map(fits).take_while(|fits| *fits).count();
        unsafe { apply(&self.0, counter, frames, &edges, good) };
        good
    }
}

/// Words 0 to 7 of block 0 and word 0 of block 17 of each frame.
struct Edges {
    mac: [[u32; 8]; LANES],
    last: [u32; LANES],
}

impl Drop for Edges {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.mac.iter_mut().for_each(Zeroize::zeroize);
        self.last.zeroize();
    }
}

#[target_feature(enable = "avx512f")]
fn quarter(v: &mut [__m512i; 16], a: usize, b: usize, c: usize, d: usize) {
    let (mut va, mut vb, mut vc, mut vd) = (v[a], v[b], v[c], v[d]);
    va = _mm512_add_epi32(va, vb);
    vd = _mm512_rol_epi32::<16>(_mm512_xor_si512(vd, va));
    vc = _mm512_add_epi32(vc, vd);
    vb = _mm512_rol_epi32::<12>(_mm512_xor_si512(vb, vc));
    va = _mm512_add_epi32(va, vb);
    vd = _mm512_rol_epi32::<8>(_mm512_xor_si512(vd, va));
    vc = _mm512_add_epi32(vc, vd);
    vb = _mm512_rol_epi32::<7>(_mm512_xor_si512(vb, vc));
    (v[a], v[b], v[c], v[d]) = (va, vb, vc, vd);
}

/// Sixteen blocks: word w of the block in lane l is in lane l of vector w.
#[target_feature(enable = "avx512f")]
fn blocks(key: &[u32; 8], block: __m512i, low: __m512i, high: __m512i) -> [__m512i; 16] {
    let mut start = [_mm512_setzero_si512(); 16];
    for (vector, word) in start.iter_mut().zip(SIGMA.iter().chain(key)) {
        *vector = _mm512_set1_epi32(*word as i32);
    }
    // The nonce is four zero bytes and the frame's counter.
    (start[12], start[14], start[15]) = (block, low, high);
    let mut v = start;
    for _ in 0..10 {
        quarter(&mut v, 0, 4, 8, 12);
        quarter(&mut v, 1, 5, 9, 13);
        quarter(&mut v, 2, 6, 10, 14);
        quarter(&mut v, 3, 7, 11, 15);
        quarter(&mut v, 0, 5, 10, 15);
        quarter(&mut v, 1, 6, 11, 12);
        quarter(&mut v, 2, 7, 8, 13);
        quarter(&mut v, 3, 4, 9, 14);
    }
    for (vector, start) in v.iter_mut().zip(start) {
        *vector = _mm512_add_epi32(*vector, start);
    }
    v
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn vector(words: &[u32; 16]) -> __m512i {
    // Sound: 16 words of 4 bytes.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn words(vector: __m512i) -> [u32; 16] {
    let mut out = [0; 16];
    // Sound: 16 words of 4 bytes.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), vector) };
    out
}

#[target_feature(enable = "avx512f")]
fn edges(key: &[u32; 8], counter: u64) -> Edges {
    let of = |lane: usize| counter + (lane % LANES) as u64;
    let block = std::array::from_fn(|lane| if lane < LANES { 0 } else { 17 });
    let v = blocks(
        key,
        vector(&block),
        vector(&std::array::from_fn(|lane| of(lane) as u32)),
        vector(&std::array::from_fn(|lane| (of(lane) >> 32) as u32)),
    );
    let mut edges = Edges { mac: [[0; 8]; LANES], last: [0; LANES] };
    for (n, vector) in v.iter().enumerate().take(8) {
        let words = words(*vector);
        edges.mac.iter_mut().zip(words).for_each(|(mac, word)| mac[n] = word);
        if n == 0 {
            edges.last = std::array::from_fn(|lane| words[LANES + lane]);
        }
    }
    edges
}

/// Adds the key stream to the first frames.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn apply(key: &[u32; 8], counter: u64, frames: &mut Frames, edges: &Edges, count: usize) {
    let block = vector(&std::array::from_fn(|lane| lane as u32 + 1));
    for (n, frame) in frames.iter_mut().enumerate().take(count) {
        let nonce = counter + n as u64;
        let low = _mm512_set1_epi32(nonce as u32 as i32);
        let high = _mm512_set1_epi32((nonce >> 32) as u32 as i32);
        let stream = by_block(blocks(key, block, low, high));
        for (bytes, stream) in frame.as_chunks_mut::<64>().0.iter_mut().zip(stream) {
            // Sound: 64 bytes.
            unsafe {
                let plain = _mm512_loadu_si512(bytes.as_ptr().cast());
                _mm512_storeu_si512(bytes.as_mut_ptr().cast(), _mm512_xor_si512(plain, stream));
            }
        }
        if let Some(rest) = frame.get_mut(MOST..).and_then(<[u8]>::first_chunk_mut) {
            *rest = (u32::from_le_bytes(*rest) ^ edges.last[n]).to_le_bytes();
        }
    }
}

/// Turns vectors of one word of each block into vectors of one block each.
#[target_feature(enable = "avx512f")]
fn by_block(v: [__m512i; 16]) -> [__m512i; 16] {
    const EVEN: i32 = 0x88;
    const ODD: i32 = 0xdd;
    let mut out = v;
    // In each quarter k of a vector: four words of block 4k + j, for j from 0 to 3.
    let quad = |at: usize| {
        let (low, high) = (_mm512_unpacklo_epi32(v[at], v[at + 1]), _mm512_unpackhi_epi32(v[at], v[at + 1]));
        let (low2, high2) =
            (_mm512_unpacklo_epi32(v[at + 2], v[at + 3]), _mm512_unpackhi_epi32(v[at + 2], v[at + 3]));
        [
            _mm512_unpacklo_epi64(low, low2),
            _mm512_unpackhi_epi64(low, low2),
            _mm512_unpacklo_epi64(high, high2),
            _mm512_unpackhi_epi64(high, high2),
        ]
    };
    let (a, b, c, d) = (quad(0), quad(4), quad(8), quad(12));
    for j in 0..4 {
        let (front, back) =
            (_mm512_shuffle_i32x4::<EVEN>(a[j], b[j]), _mm512_shuffle_i32x4::<EVEN>(c[j], d[j]));
        let (front2, back2) =
            (_mm512_shuffle_i32x4::<ODD>(a[j], b[j]), _mm512_shuffle_i32x4::<ODD>(c[j], d[j]));
        out[j] = _mm512_shuffle_i32x4::<EVEN>(front, back);
        out[4 + j] = _mm512_shuffle_i32x4::<EVEN>(front2, back2);
        out[8 + j] = _mm512_shuffle_i32x4::<ODD>(front, back);
        out[12 + j] = _mm512_shuffle_i32x4::<ODD>(front2, back2);
    }
    out
}

/// Numbers below 2^130, a frame in each lane: limbs of 44, 44 and 42 bits, of which the first may be one bit longer once
/// a block was added.
type Limbs = [__m512i; 3];

/// What is multiplied by.
#[derive(Clone, Copy)]
struct Factor {
    r: Limbs,
    /// r1 and r2, 20 times: what passes 2^130 comes back 5 times, and 2 bits of the limbs are beyond it.
    s: [__m512i; 2],
}

impl Factor {
    #[target_feature(enable = "avx512f")]
    fn new(r: Limbs) -> Self {
        let twenty = |r: __m512i| _mm512_add_epi64(_mm512_slli_epi64::<4>(r), _mm512_slli_epi64::<2>(r));
        Self { r, s: [twenty(r[1]), twenty(r[2])] }
    }
}

/// A sum of products before it is reduced: of each limb the low 52 bits of all products, and what is above them.
struct Products {
    low: Limbs,
    high: Limbs,
}

impl Products {
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn none() -> Self {
        Self { low: [_mm512_setzero_si512(); 3], high: [_mm512_setzero_si512(); 3] }
    }

    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn add(&mut self, [h0, h1, h2]: Limbs, factor: &Factor) {
        let [r0, r1, r2] = factor.r;
        let [s1, s2] = factor.s;
        for (limb, terms) in
            [[(h0, r0), (h1, s2), (h2, s1)], [(h0, r1), (h1, r0), (h2, s2)], [(h0, r2), (h1, r1), (h2, r0)]]
                .into_iter()
                .enumerate()
        {
            for (h, r) in terms {
                self.low[limb] = _mm512_madd52lo_epu64(self.low[limb], h, r);
                self.high[limb] = _mm512_madd52hi_epu64(self.high[limb], h, r);
            }
        }
    }

    /// The high halves weigh 2^52: 8 bits above the next limb, 10 above the end of the last.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn reduced(self) -> Limbs {
        let (m44, m42) = (_mm512_set1_epi64(M44 as i64), _mm512_set1_epi64(M42 as i64));
        let Self { low: [low0, low1, low2], high: [high0, high1, high2] } = self;
        let carry = _mm512_add_epi64(_mm512_slli_epi64::<8>(high0), _mm512_srli_epi64::<44>(low0));
        let h0 = _mm512_and_si512(low0, m44);
        let low1 = _mm512_add_epi64(low1, carry);
        let carry = _mm512_add_epi64(_mm512_slli_epi64::<8>(high1), _mm512_srli_epi64::<44>(low1));
        let h1 = _mm512_and_si512(low1, m44);
        let low2 = _mm512_add_epi64(low2, carry);
        let carry = _mm512_add_epi64(_mm512_slli_epi64::<10>(high2), _mm512_srli_epi64::<42>(low2));
        let h2 = _mm512_and_si512(low2, m42);
        // Five times.
        let h0 = _mm512_add_epi64(h0, _mm512_add_epi64(carry, _mm512_slli_epi64::<2>(carry)));
        let h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<44>(h0));
        [_mm512_and_si512(h0, m44), h1, h2]
    }
}

/// 16 bytes of each frame, as two words. Every block has the bit above its 128.
#[target_feature(enable = "avx512f")]
#[inline]
fn block([low, high]: [__m512i; 2]) -> Limbs {
    let m44 = _mm512_set1_epi64(M44 as i64);
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    let top = _mm512_or_si512(_mm512_srli_epi64::<24>(high), _mm512_set1_epi64(1 << 40));
    [_mm512_and_si512(low, m44), _mm512_and_si512(middle, m44), top]
}

/// The running MACs of eight frames. Two blocks at a time, (h + one) r² + other r, so that one reduction serves both and the
/// products of the second do not wait for it.
struct Macs {
    h: Limbs,
    once: Factor,
    twice: Factor,
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn wide(words: [u64; LANES]) -> __m512i {
    // Sound: 8 words of 8 bytes.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn narrow(vector: __m512i) -> [u64; LANES] {
    let mut out = [0; LANES];
    // Sound: 8 words of 8 bytes.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), vector) };
    out
}

impl Macs {
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(r: [u128; LANES]) -> Self {
        let limb = |n: usize| wide(r.map(|r| (r >> (44 * n)) as u64 & M44));
        let once = Factor::new([limb(0), limb(1), limb(2)]);
        let mut square = Products::none();
        square.add(once.r, &once);
        Self { h: [_mm512_setzero_si512(); 3], once, twice: Factor::new(square.reduced()) }
    }

    /// Takes two blocks of each frame.
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    fn take(&mut self, one: [__m512i; 2], other: [__m512i; 2]) {
        let mut sum = Products::none();
        sum.add(block(other), &self.once);
        let [one0, one1, one2] = block(one);
        let [h0, h1, h2] = self.h;
        let h = [_mm512_add_epi64(h0, one0), _mm512_add_epi64(h1, one1), _mm512_add_epi64(h2, one2)];
        sum.add(h, &self.twice);
        self.h = sum.reduced();
    }

    /// The MACs, before the second half of their keys is added.
    #[target_feature(enable = "avx512f")]
    fn finish(&self) -> [u128; LANES] {
        let [h0, h1, h2] = self.h.map(|h| narrow(h));
        std::array::from_fn(|lane| reduced(h0[lane], h1[lane], h2[lane]))
    }
}

/// A number of three limbs, below 2^130 - 5, cut to 128 bits.
fn reduced(mut h0: u64, mut h1: u64, mut h2: u64) -> u128 {
    for _ in 0..2 {
        h2 += h1 >> 44;
        h1 &= M44;
        h0 += (h2 >> 42) * 5;
        h2 &= M42;
        h1 += h0 >> 44;
        h0 &= M44;
    }
    h2 += h1 >> 44;
    h1 &= M44;
    // h + 5 passes 2^130 where h is too large; then that, without its top, is the number.
    let g0 = h0 + 5;
    let g1 = h1 + (g0 >> 44);
    let g2 = (h2 + (g1 >> 44)).wrapping_sub(1 << 42);
    let keep = (g2 >> 63).wrapping_neg();
    let pick = |h: u64, g: u64| u128::from((h & keep) | (g & !keep));
    let top = pick(h2, g2) << 88;
    top.wrapping_add(pick(h1, g1 & M44) << 44).wrapping_add(pick(h0, g0 & M44))
}

/// The tags of eight sealed frames.
#[target_feature(enable = "avx512f,avx512ifma")]
#[allow(unsafe_code)]
fn tags(edges: &Edges, frames: &Frames) -> [u128; LANES] {
    let half = |mac: &[u32; 8], from: usize| {
        let words = mac.iter().skip(from).take(4).rev();
        words.fold(0, |all, word| all << 32 | u128::from(*word))
    };
    let mut macs = Macs::new(std::array::from_fn(|lane| half(&edges.mac[lane], 0) & CLAMP));
    for at in (0..MOST).step_by(64) {
        // Sound: 64 bytes from a place that is at most 960 in 1,044.
        let row = |lane: usize| unsafe { _mm512_loadu_si512(frames[lane].as_ptr().add(at).cast()) };
        let [a, b, c, d] = by_word([row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)]);
        macs.take(a, b);
        macs.take(c, d);
    }
    let last = |frame: &[u8; FRAME]| frame.get(MOST..PLAIN).and_then(|b| b.first_chunk()).copied();
    let last = std::array::from_fn(|lane| last(&frames[lane]).map_or(0, u32::from_le_bytes).into());
    // Behind the last bytes: how many are authenticated only, and how many are sealed.
    macs.take(
        [wide(last), _mm512_setzero_si512()],
        [_mm512_setzero_si512(), _mm512_set1_epi64(PLAIN as i64)],
    );
    let sums = macs.finish();
    std::array::from_fn(|lane| sums[lane].wrapping_add(half(&edges.mac[lane], 4)))
}

/// Turns 64 bytes of each of eight frames into four pairs of words, a frame in each lane.
#[target_feature(enable = "avx512f")]
#[inline]
fn by_word(rows: [__m512i; LANES]) -> [[__m512i; 2]; 4] {
    const EVEN: i32 = 0x88;
    const ODD: i32 = 0xdd;
    let turn = |a: __m512i, b: __m512i, c: __m512i, d: __m512i| {
        let (front, back) = (_mm512_shuffle_i64x2::<EVEN>(a, b), _mm512_shuffle_i64x2::<EVEN>(c, d));
        let (front2, back2) = (_mm512_shuffle_i64x2::<ODD>(a, b), _mm512_shuffle_i64x2::<ODD>(c, d));
        // The words of places 0, 2, 4 and 6 (or 1, 3, 5 and 7).
        [
            _mm512_shuffle_i64x2::<EVEN>(front, back),
            _mm512_shuffle_i64x2::<EVEN>(front2, back2),
            _mm512_shuffle_i64x2::<ODD>(front, back),
            _mm512_shuffle_i64x2::<ODD>(front2, back2),
        ]
    };
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    let [l0, l2, l4, l6] = turn(
        _mm512_unpacklo_epi64(r0, r1),
        _mm512_unpacklo_epi64(r2, r3),
        _mm512_unpacklo_epi64(r4, r5),
        _mm512_unpacklo_epi64(r6, r7),
    );
    let [l1, l3, l5, l7] = turn(
        _mm512_unpackhi_epi64(r0, r1),
        _mm512_unpackhi_epi64(r2, r3),
        _mm512_unpackhi_epi64(r4, r5),
        _mm512_unpackhi_epi64(r6, r7),
    );
    [[l0, l1], [l2, l3], [l4, l5], [l6, l7]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha20Rng;

    fn by_library(key: &[u8; 32], counter: u64, frame: &mut [u8; FRAME]) {
        let sealing = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap());
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        let (plain, tag) = frame.split_at_mut(PLAIN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let made = sealing.seal_in_place_separate_tag(nonce, Aad::empty(), plain).unwrap();
        tag.copy_from_slice(made.as_ref());
    }

    #[test]
    fn eight_frames_are_what_the_library_makes_of_each() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for round in 0..200 {
            let mut key = [0; 32];
            rng.fill_bytes(&mut key);
            let Some(eight) = Eight::new(&key) else { return };
            let counter = [0, 1, u64::from(u32::MAX) - 3, u64::MAX - 20][round % 4];
            let mut ours = [[0; FRAME]; LANES];
            for frame in &mut ours {
                match round % 3 {
                    0 => rng.fill_bytes(frame),
                    1 => frame.fill(0xff),
                    _ => {}
                }
            }
            let plain = ours;
            let mut theirs = ours;
            for (n, frame) in theirs.iter_mut().enumerate() {
                by_library(&key, counter + n as u64, frame);
            }
            eight.seal(counter, &mut ours);
            assert_eq!(ours, theirs, "round {round}");
            assert_eq!(eight.open(counter, &mut ours), LANES);
            for (opened, plain) in ours.iter().zip(&plain) {
                assert_eq!(opened[..PLAIN], plain[..PLAIN]);
            }
        }
    }

    #[test]
    fn no_frame_is_opened_from_the_first_that_is_not_authentic() {
        let Some(eight) = Eight::new(&[7; 32]) else { return };
        for bad in 0..LANES {
            for at in [0, 3, 500, 1023, 1024, 1027, 1028, 1043] {
                let mut frames = [[1; FRAME]; LANES];
                eight.seal(5, &mut frames);
                frames[bad][at] ^= 0x10;
                let sealed = frames;
                assert_eq!(eight.open(5, &mut frames), bad);
                assert_eq!(frames[bad..], sealed[bad..]);
                assert!(frames[..bad].iter().all(|frame| frame[..PLAIN] == [1; PLAIN]));
            }
        }
        let mut frames = [[1; FRAME]; LANES];
        eight.seal(5, &mut frames);
        assert_eq!(eight.open(6, &mut frames), 0, "frames of another place");
    }

    /// Poly1305 by limbs of 26 bits, one block at a time.
    fn mac(r: u128, pad: u128, message: &[u8]) -> u128 {
        const M26: u64 = (1 << 26) - 1;
        let limbs = |n: u128| std::array::from_fn::<u64, 5, _>(|i| (n >> (26 * i)) as u64 & M26);
        let r = limbs(r);
        let mut h = [0_u64; 5];
        for block in message.as_chunks::<16>().0 {
            h.iter_mut().zip(limbs(u128::from_le_bytes(*block))).for_each(|(h, m)| *h += m);
            h[4] += 1 << 24;
            let mut sums = [0_u64; 5];
            for (i, h) in h.iter().enumerate() {
                for (j, r) in r.iter().enumerate() {
                    sums[(i + j) % 5] += h * r * if i + j > 4 { 5 } else { 1 };
                }
            }
            let mut carry = 0;
            for _ in 0..2 {
                for sum in &mut sums {
                    *sum += carry;
                    carry = *sum >> 26;
                    *sum &= M26;
                }
                carry *= 5;
            }
            sums[0] += carry;
            h = sums;
        }
        let [h0, h1, h2, h3, h4] = h;
        let limb = |n: u64, shift: u32| u128::from(n) << shift;
        let low = limb(h0, 0) + limb(h1, 26) + limb(h2, 52) + limb(h3, 78);
        let (h0, h1, h2) = (low as u64 & M44, (low >> 44) as u64 & M44, (low >> 88) as u64 + (h4 << 16));
        reduced(h0, h1, h2).wrapping_add(pad)
    }

    #[test]
    #[allow(unsafe_code)] // sound: the processor was asked
    fn macs_of_the_largest_numbers_do_not_overflow() {
        if Eight::new(&[0; 32]).is_none() {
            return;
        }
        for fill in [0xff, 0, 0x80, 0x01] {
            let frames = [[fill; FRAME]; LANES];
            // Both halves of the key: as large as they get, and smaller in each further frame.
            let mac = std::array::from_fn(|lane| [u32::MAX >> (4 * lane); 8]);
            let tags = unsafe { tags(&Edges { mac, last: [0; LANES] }, &frames) };
            for (lane, tag) in tags.into_iter().enumerate() {
                let word = u128::from(u32::MAX >> (4 * lane));
                let half = word | word << 32 | word << 64 | word << 96;
                let mut message = frames[lane][..PLAIN].to_vec();
                message.resize(PLAIN + 12, 0);
                message.extend_from_slice(&0_u64.to_le_bytes());
                message.extend_from_slice(&(PLAIN as u64).to_le_bytes());
                assert_eq!(tag, self::mac(half & CLAMP, half, &message), "{fill:#x}, frame {lane}");
            }
        }
    }

    /// Sums at the edges of the field, which random frames do not meet.
    #[test]
    fn numbers_are_reduced_at_the_edges_of_the_field() {
        let number = |h: u128| (h as u64 & M44, (h >> 44) as u64 & M44, (h >> 88) as u64);
        // 2^130 - 5 is 0, and what is around it.
        for below in 0..10_u64 {
            let reduced_to = reduced(M44 - below, M44, M42);
            let expected = if below < 5 { u128::from(4 - below) } else { u128::MAX - u128::from(below) };
            assert_eq!(reduced_to, expected, "2^130 - 1 - {below}");
        }
        for h in [0, 1, u128::MAX, 1 << 127] {
            let (h0, h1, h2) = number(h);
            assert_eq!(reduced(h0, h1, h2), h);
        }
        // Limbs with carries of their own.
        assert_eq!(reduced(1 << 50, 0, 0), 1 << 50);
        assert_eq!(reduced(0, 1 << 50, 0), 1 << 94);
        assert_eq!(reduced(0, 0, 1 << 42), 5);
    }
}
