//! Keccak-f[1600] with AVX-512: five lanes in a 512-bit register (three unused), by row and by column in turn.
//!
//! ```text
//!   a pair of rounds begins by row               its second round begins by column
//!   row y = [ a(0,y) a(1,y) … a(4,y) ]           column x = [ a(x,0) a(x,1) … a(x,4) ]
//!   θ  two permutes of the column parities       take diagonals: diagonal k = [ a(k,0) a(k+1,1) … a(k+4,4) ], by blends
//!   ρ  one variable rotate a row                 θ  diagonals turned to one order, and what is added turned back
//!   π  one permute a row makes it a column       ρ  one variable rotate a diagonal
//!   χ  between registers: no permute             π  nothing: diagonal k is row 2k
//!   ι  XOR into lane 0                           χ  two permutes a row;   ι  XOR into lane 0
//! ```
//!
//! Permutes are what this processor family has one port for, and by rows alone a round takes 32; here a pair of rounds takes 27, and a
//! block two thirds of the time.
//!
//! Lanes are little-endian in memory on every processor that has AVX-512, so blocks are loaded as they are.
//!
//! This, `bmi2.rs`, `crate::key` and `eight.rs` of `switchboard-comet` are the places in the workspace with `unsafe`: a function compiled for AVX-512 may be called
//! only after the processor was asked for it, which the compiler cannot see, and rows are loaded by address. Measured reason: the frame MAC hashes every
//! byte of this wire, which takes most of its time: 720 MB/s on one core, where the portable permutation makes 430.

use super::{RATE, ROUND, State};
use std::arch::x86_64::{
    __m512i, _mm512_mask_blend_epi64, _mm512_mask_storeu_epi64, _mm512_maskz_loadu_epi64,
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
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<XOR3>(a, b, c)
}

#[target_feature(enable = "avx512f")]
fn xor5([a, b, c, d, e]: [__m512i; 5]) -> __m512i {
    xor3(xor3(a, b, c), d, e)
}

#[target_feature(enable = "avx512f")]
fn chi(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<CHI>(a, b, c)
}

#[target_feature(enable = "avx512f")]
fn permute(mut rows: [__m512i; 5]) -> [__m512i; 5] {
    // Turns by one to four lanes: what stands at x comes from x + n (mod 5).
    let (turn1, turn2) = (row(1, 2, 3, 4, 0), row(2, 3, 4, 0, 1));
    let (turn3, turn4) = (row(3, 4, 0, 1, 2), row(4, 0, 1, 2, 3));
    // ρ offsets by row (spec: FIPS 202, table 2), and by diagonal: at y what row y has at y + k.
    let by_row = [
        row(0, 1, 62, 28, 27),
        row(36, 44, 6, 55, 20),
        row(3, 10, 43, 25, 39),
        row(41, 45, 15, 21, 8),
        row(18, 2, 61, 56, 14),
    ];
    let by_diagonal = [
        row(0, 44, 43, 21, 14),
        row(1, 6, 25, 8, 18),
        row(62, 55, 39, 41, 2),
        row(28, 20, 3, 45, 61),
        row(27, 36, 10, 15, 56),
    ];
    // π: (x, y) moves to (y, 2x + 3y), so row y becomes column y, with at y' what was at y + 3y'.
    let pi =
        [row(0, 3, 1, 4, 2), row(1, 4, 2, 0, 3), row(2, 0, 3, 1, 4), row(3, 1, 4, 2, 0), row(4, 2, 0, 3, 1)];

    for [first, second] in ROUND.as_chunks::<2>().0 {
        // By row: θ, ρ, π.
        let parities = xor5(rows);
        let before = _mm512_permutexvar_epi64(turn4, parities);
        let after = _mm512_permutexvar_epi64(turn1, _mm512_rol_epi64::<1>(parities));
        let column = |row, offsets, pi| {
            _mm512_permutexvar_epi64(pi, _mm512_rolv_epi64(xor3(row, before, after), offsets))
        };
        let [r0, r1, r2, r3, r4] = rows;
        let ([o0, o1, o2, o3, o4], [p0, p1, p2, p3, p4]) = (by_row, pi);
        let (b0, b1, b2) = (column(r0, o0, p0), column(r1, o1, p1), column(r2, o2, p2));
        let (b3, b4) = (column(r3, o3, p3), column(r4, o4, p4));
        // χ, ι: the constant first, which changes nothing and keeps nobody waiting.
        let a0 = chi(_mm512_xor_si512(b0, row(*first, 0, 0, 0, 0)), b1, b2);
        let (a1, a2, a3, a4) = (chi(b1, b2, b3), chi(b2, b3, b4), chi(b3, b4, b0), chi(b4, b0, b1));

        // By column. Diagonals: lane y comes from y columns on, which is 1, 2 or 1 + 2 on, or one back.
        let by1 = |a, next| _mm512_mask_blend_epi64(0b01010, a, next);
        let by2 = |b, next| _mm512_mask_blend_epi64(0b01100, b, next);
        let back = |b, last| _mm512_mask_blend_epi64(0b10000, b, last);
        let (b0, b1, b2, b3, b4) = (by1(a0, a1), by1(a1, a2), by1(a2, a3), by1(a3, a4), by1(a4, a0));
        let (d0, d1, d2) = (back(by2(b0, b2), a4), back(by2(b1, b3), a0), back(by2(b2, b4), a1));
        let (d3, d4) = (back(by2(b3, b0), a2), back(by2(b4, b1), a3));
        // θ: column x stands in diagonal k at x - k.
        let parities = xor5([
            d0,
            _mm512_permutexvar_epi64(turn4, d1),
            _mm512_permutexvar_epi64(turn3, d2),
            _mm512_permutexvar_epi64(turn2, d3),
            _mm512_permutexvar_epi64(turn1, d4),
        ]);
        let before = _mm512_permutexvar_epi64(turn4, parities);
        let after = _mm512_permutexvar_epi64(turn1, _mm512_rol_epi64::<1>(parities));
        let t0 = _mm512_xor_si512(before, after);
        let (t1, t2) = (_mm512_permutexvar_epi64(turn1, t0), _mm512_permutexvar_epi64(turn2, t0));
        let (t3, t4) = (_mm512_permutexvar_epi64(turn3, t0), _mm512_permutexvar_epi64(turn4, t0));
        // ρ; π leaves diagonal k as row 2k.
        let moved = |d, t, offsets| _mm512_rolv_epi64(_mm512_xor_si512(d, t), offsets);
        let [o0, o1, o2, o3, o4] = by_diagonal;
        let (e0, e2, e4) = (moved(d0, t0, o0), moved(d1, t1, o1), moved(d2, t2, o2));
        let (e1, e3) = (moved(d3, t3, o3), moved(d4, t4, o4));
        // χ, ι.
        let turned = |e| [_mm512_permutexvar_epi64(turn1, e), _mm512_permutexvar_epi64(turn2, e)];
        let next = |e| {
            let [one_on, two_on] = turned(e);
            chi(e, one_on, two_on)
        };
        let [one_on, two_on] = turned(e0);
        let e0 = _mm512_xor_si512(e0, row(*second, 0, 0, 0, 0));
        rows = [chi(e0, one_on, two_on), next(e1), next(e2), next(e3), next(e4)];
    }
    rows
}
