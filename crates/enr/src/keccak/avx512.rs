//! Keccak-f[1600] with AVX-512: each of the five rows in one 512-bit register (three lanes unused).
//!
//! ```text
//!   row y = [ a(0,y) a(1,y) a(2,y) a(3,y) a(4,y) · · · ]
//!   θ  column parities are a three-way XOR of rows; neighbours are a rotation of lanes
//!   ρ  one variable rotate per row            π  two-source permutes gather each new row
//!   χ  one ternary logic per row              ι  XOR into lane 0
//! ```
//!
//! Lanes are little-endian in memory on every processor that has AVX-512, so blocks are loaded as they are.
//!
//! This, `bmi2.rs`, `crate::key` and `eight.rs` of `switchboard-comet` are the places in the workspace with `unsafe`: a function compiled for AVX-512 may be called
//! only after the processor was asked for it, which the compiler cannot see, and rows are loaded by address. Measured reason: the frame MAC hashes every
//! byte of this wire, and sealing 64 KiB frames goes from about 155 to 540 MB/s on one core.

use super::{RATE, ROUND, State};
use std::arch::x86_64::{
    __m512i, _mm512_mask_storeu_epi64, _mm512_maskz_loadu_epi64, _mm512_permutex2var_epi64,
    _mm512_permutexvar_epi64, _mm512_rol_epi64, _mm512_rolv_epi64, _mm512_set_epi64,
    _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

/// The absorbing function, if this processor can run it.
pub(super) fn absorber() -> Option<super::Absorb> {
    std::arch::is_x86_feature_detected!("avx512f").then_some(checked as super::Absorb)
}

#[allow(unsafe_code)] // sound: only handed out by `absorber`, after the processor said it has AVX-512F
fn checked(state: &mut State, blocks: &[[u8; RATE]]) {
    unsafe { absorb(state, blocks) }
}

const XOR3: i32 = 0x96;
/// a ^ (!b & c)
const CHI: i32 = 0xd2;
/// The five lanes of a row, and the two lanes of the fourth row that a block reaches.
const ROW: u8 = 0x1f;
const TAIL: u8 = 0x03;

#[target_feature(enable = "avx512f")]
fn row(a: u64, b: u64, c: u64, d: u64, e: u64) -> __m512i {
    _mm512_set_epi64(0, 0, 0, e as i64, d as i64, c as i64, b as i64, a as i64)
}

/// Absorbs whole blocks, permuting after each; without blocks it permutes once. The state stays in registers.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)] // masked loads and stores below
fn absorb(state: &mut State, blocks: &[[u8; RATE]]) {
    let lanes = state.as_mut_ptr().cast::<i64>();
    // Sound: the state has 25 lanes; row y is lanes 5y to 5y + 4, and the mask keeps the other three untouched.
    let mut rows = unsafe {
        [
            _mm512_maskz_loadu_epi64(ROW, lanes),
            _mm512_maskz_loadu_epi64(ROW, lanes.add(5)),
            _mm512_maskz_loadu_epi64(ROW, lanes.add(10)),
            _mm512_maskz_loadu_epi64(ROW, lanes.add(15)),
            _mm512_maskz_loadu_epi64(ROW, lanes.add(20)),
        ]
    };
    if blocks.is_empty() {
        rows = permute(rows);
    }
    for block in blocks {
        let words = block.as_ptr().cast::<i64>();
        let [r0, r1, r2, r3, r4] = rows;
        // Sound: a block is 17 lanes: three rows of five and two more; masked lanes are not read.
        let (w0, w1, w2, w3) = unsafe {
            (
                _mm512_maskz_loadu_epi64(ROW, words),
                _mm512_maskz_loadu_epi64(ROW, words.add(5)),
                _mm512_maskz_loadu_epi64(ROW, words.add(10)),
                _mm512_maskz_loadu_epi64(TAIL, words.add(15)),
            )
        };
        rows = permute([
            _mm512_xor_si512(r0, w0),
            _mm512_xor_si512(r1, w1),
            _mm512_xor_si512(r2, w2),
            _mm512_xor_si512(r3, w3),
            r4,
        ]);
    }
    let [r0, r1, r2, r3, r4] = rows;
    // Sound: as the loads.
    unsafe {
        _mm512_mask_storeu_epi64(lanes, ROW, r0);
        _mm512_mask_storeu_epi64(lanes.add(5), ROW, r1);
        _mm512_mask_storeu_epi64(lanes.add(10), ROW, r2);
        _mm512_mask_storeu_epi64(lanes.add(15), ROW, r3);
        _mm512_mask_storeu_epi64(lanes.add(20), ROW, r4);
    }
}

#[target_feature(enable = "avx512f")]
fn permute(rows: [__m512i; 5]) -> [__m512i; 5] {
    let [mut a0, mut a1, mut a2, mut a3, mut a4] = rows;
    // Lane rotations: what stands at x comes from x-1, x+1, x+2 (mod 5).
    let prev = row(4, 0, 1, 2, 3);
    let next = row(1, 2, 3, 4, 0);
    let next2 = row(2, 3, 4, 0, 1);
    // ρ offsets by row (spec: FIPS 202, table 2).
    let r0 = row(0, 1, 62, 28, 27);
    let r1 = row(36, 44, 6, 55, 20);
    let r2 = row(3, 10, 43, 25, 39);
    let r3 = row(41, 45, 15, 21, 8);
    let r4 = row(18, 2, 61, 56, 14);
    // π: new row y holds, at x, the old lane of column (x + 3y) mod 5 and row x. Each new row takes
    // one lane of every old row: the first permute joins old rows 0 and 1, the second 2 and 3, the third adds row 4.
    // An index of 8 or more in a two-source permute names the second source.
    let g0 = [row(0, 9, 0, 0, 0), row(0, 0, 2, 11, 0), row(0, 1, 2, 3, 12)];
    let g1 = [row(3, 12, 0, 0, 0), row(0, 0, 0, 9, 0), row(0, 1, 2, 3, 10)];
    let g2 = [row(1, 10, 0, 0, 0), row(0, 0, 3, 12, 0), row(0, 1, 2, 3, 8)];
    let g3 = [row(4, 8, 0, 0, 0), row(0, 0, 1, 10, 0), row(0, 1, 2, 3, 11)];
    let g4 = [row(2, 11, 0, 0, 0), row(0, 0, 4, 8, 0), row(0, 1, 2, 3, 9)];
    // Joins the two pairs: lanes 0, 1 of the first, 2, 3 of the second.
    let join = row(0, 1, 10, 11, 0);

    for constant in ROUND {
        // θ
        let c = _mm512_ternarylogic_epi64::<XOR3>(_mm512_ternarylogic_epi64::<XOR3>(a0, a1, a2), a3, a4);
        let d_prev = _mm512_permutexvar_epi64(prev, c);
        let d_next = _mm512_rol_epi64::<1>(_mm512_permutexvar_epi64(next, c));
        // ρ
        let b0 = _mm512_rolv_epi64(_mm512_ternarylogic_epi64::<XOR3>(a0, d_prev, d_next), r0);
        let b1 = _mm512_rolv_epi64(_mm512_ternarylogic_epi64::<XOR3>(a1, d_prev, d_next), r1);
        let b2 = _mm512_rolv_epi64(_mm512_ternarylogic_epi64::<XOR3>(a2, d_prev, d_next), r2);
        let b3 = _mm512_rolv_epi64(_mm512_ternarylogic_epi64::<XOR3>(a3, d_prev, d_next), r3);
        let b4 = _mm512_rolv_epi64(_mm512_ternarylogic_epi64::<XOR3>(a4, d_prev, d_next), r4);
        // π
        let gather = |[p01, p23, p4]: [__m512i; 3]| {
            let first = _mm512_permutex2var_epi64(b0, p01, b1);
            let second = _mm512_permutex2var_epi64(b2, p23, b3);
            _mm512_permutex2var_epi64(_mm512_permutex2var_epi64(first, join, second), p4, b4)
        };
        let (e0, e1, e2, e3, e4) = (gather(g0), gather(g1), gather(g2), gather(g3), gather(g4));
        // χ
        let chi = |e: __m512i| {
            let (n1, n2) = (_mm512_permutexvar_epi64(next, e), _mm512_permutexvar_epi64(next2, e));
            _mm512_ternarylogic_epi64::<CHI>(e, n1, n2)
        };
        // ι
        a0 = _mm512_xor_si512(chi(e0), row(constant, 0, 0, 0, 0));
        a1 = chi(e1);
        a2 = chi(e2);
        a3 = chi(e3);
        a4 = chi(e4);
    }
    [a0, a1, a2, a3, a4]
}
