//! Exponentials and what follows from them, in a form that the compiler turns into vector
//! instructions: no branches, no tables, no calls.
//!
//! Each function is a reduction of its argument and a polynomial. The bounds are in units of the
//! last place of the true result, over all `f32`; `tests/it/function.rs` holds the kernels to them.
//! No multiplication and addition are fused: the portable kernels could not do that fast, and all
//! levels give the same bits.
//!
//! The coefficients are minimax ones, calculated for these reductions by Remez's algorithm in 30
//! digits and rounded to `f32`.

use std::f32::consts::LOG2_E;

/// `1.5 · 2^23`: added to a small number, it leaves the nearest integer in the last bits.
const ROUND: f32 = 12_582_912.0;
/// `ln 2` in 9 bits, whose products with an exponent are exact, and the rest.
const LN_2: (f32, f32) = (355.0 / 512.0, -2.121_944_4e-4);

// Polynomials take their coefficients from the constant one on. They are joined in pairs and pairs of
// pairs, so that the processor can calculate them side by side, and written out, since a loop over
// the coefficients keeps the compiler from making vectors of the elements.

#[inline(always)]
fn linear(x: f32, c: [f32; 2]) -> f32 {
    c[0] + c[1] * x
}

#[inline(always)]
fn cubic(x: f32, square: f32, c: [f32; 4]) -> f32 {
    linear(x, [c[0], c[1]]) + linear(x, [c[2], c[3]]) * square
}

/// `x`, or the bound that it is beyond; NaN stays.
#[inline(always)]
pub(super) fn between(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `x`, or the bound that it is below; NaN stays, which [`f64::max`] would drop.
#[inline(always)]
pub(super) fn at_least(x: f64, low: f64) -> f64 {
    if x < low { low } else { x }
}

/// `n` and `exp(r) - 1`, where `high + low = n · ln 2 + r`; `high` is within ±110 and `low` is small.
#[inline(always)]
fn split_exp(high: f32, low: f32) -> (i32, f32) {
    let shifted = high * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (high - n * LN_2.0) - n * LN_2.1 + low;
    // For |r| up to 0.38.
    let square = r * r;
    let p = cubic(r, square, [0.5, 0.166_666_67, 0.041_666_232, 0.008_333_248])
        + linear(r, [0.001_395_074_5, 0.000_199_282_9]) * (square * square);
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    (exponent, r + square * p)
}

/// `2^n` for exponents of normal numbers.
#[inline(always)]
fn power_of_2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `exp(high + low)` for a small `low`.
#[inline(always)]
fn exp_of_sum(high: f32, low: f32) -> f32 {
    // Beyond these the result is 0 and infinity.
    let (n, rest) = split_exp(between(high, -104.5, 89.0), low);
    // In two steps, since neither 2^128 nor 2^-150 is a normal number.
    let half = n >> 1;
    (1.0 + rest) * power_of_2(half) * power_of_2(n.wrapping_sub(half))
}

/// `exp(x)`, within 1 unit.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    exp_of_sum(x, 0.0)
}

/// `exp(x) - 1` for `x` below 0, within 1 unit; any number for others.
#[inline(always)]
pub(super) fn exp_m1_below_0(x: f32) -> f32 {
    // Beyond this the result is -1.
    let (n, rest) = split_exp(between(x, -20.0, 0.0), 0.0);
    let scale = power_of_2(n);
    scale * rest + (scale - 1.0)
}

/// `tanh(x)`, within 2 units.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let square = size * size;
    // For |x| up to 0.625.
    let fourth = square * square;
    let low = [-0.333_332_9, 0.133_316_04, -0.053_751_16, 0.020_671_848];
    let p = cubic(square, fourth, low) - 0.005_737_788 * (fourth * fourth);
    let near = size + size * square * p;
    let far = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    (if size < 0.625 { near } else { far }).copysign(x)
}

/// `exp(-|x|)`, within 1 unit, from which the next functions are made without overflow.
#[inline(always)]
pub(super) fn decay(x: f32) -> f32 {
    exp(-x.abs())
}

/// `1 / (1 + exp(-x))`, within 3 units.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    let e = decay(x);
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// `ln(1 + e)` for `e` from 0 to 1, within 2 units.
#[inline(always)]
fn ln_1p(e: f32) -> f32 {
    // By s = e / (2 + e): it is 2s + s · rest.
    let s = e / (2.0 + e);
    let square = s * s;
    // For s up to 1/3.
    let c = [0.666_664_24, 0.400_210_98, 0.280_075_82, 0.279_875_64];
    let p = cubic(square, square * square, c);
    let half = 0.5 * e * e;
    e - (half - s * (half + square * p))
}

/// `ln(1 + exp(x))`, within 3 units.
#[inline(always)]
pub(super) fn softplus(x: f32) -> f32 {
    (if x > 0.0 { x } else { 0.0 }) + ln_1p(decay(x))
}

/// `(q, e)`, where `q · e` is the part of the standard normal distribution beyond `|x|`, within 7
/// units, and `e` is `exp(-x² / 2)`, within 2.
#[inline(always)]
pub(super) fn normal_tail(x: f32) -> (f32, f32) {
    // Beyond this `e` is 0.
    let size = between(x.abs(), 0.0, 15.0);
    // The square in two parts, of which the first is exact: its error would grow in the exponential.
    let rough = f32::from_bits(size.to_bits().wrapping_add(0x800) & !0xfff);
    let e = exp_of_sum(-0.5 * rough * rough, -0.5 * (size - rough) * (size + rough));
    let inverse = 1.0 / (size + 2.0);
    let place = size * inverse;
    let square = place * place;
    let fourth = square * square;
    let low = [1.0, -0.595_765_53, -0.191_718_09, 0.088_113_61];
    let middle = [0.079_663_776, 0.169_895_38, -0.380_656_57, 0.642_230_63];
    let high = linear(place, [-0.725_907_86, 0.387_079_5]) - 0.073_972_95 * square;
    let p = cubic(place, square, low)
        + cubic(place, square, middle) * fourth
        + high * (fourth * fourth);
    (p * inverse, e)
}

/// The number below which the part `(word + 0.5) / 2^32` of the standard normal distribution lies, within 2e-6 of its
/// size: what makes a normal number of a random word, none farther from 0 than 6.4.
#[inline(always)]
pub(super) fn normal(word: u32) -> f32 {
    const UNIT: f32 = 1.0 / (1_u32 << 31) as f32;
    let below = word >> 31 == 0;
    let steps = if below { word } else { !word } as i32;
    // Twice the part beyond, and 1 without it: neither is a difference of larger numbers.
    let outside = (steps as f32 + 0.5) * UNIT;
    let inside = (i32::MAX.wrapping_sub(steps) as f32 + 0.5) * UNIT;
    // By the logarithm of 1 - inside², as M. Giles does ("Approximating the erfinv function", GPU Computing Gems, 2011).
    let left = outside * (1.0 + inside);
    let bits = left.to_bits() as i32;
    let mantissa = f32::from_bits((bits & 0x7f_ffff | 0x3f80_0000) as u32);
    let log =
        (bits >> 23).wrapping_sub(127) as f32 * std::f32::consts::LN_2 + ln_1p(mantissa - 1.0);
    let w = -log;
    let middle = {
        let (x, square) = (w - 2.5, (w - 2.5) * (w - 2.5));
        let low = [2.123_313_2, 0.348_803_64, -0.005_906_122, -0.001_774_316_9];
        let high = [
            0.000_307_359_56,
            -5.790_058e-6,
            -4.505_518e-6,
            4.463_717_6e-7,
        ];
        cubic(x, square, low) + cubic(x, square, high) * (square * square)
    };
    let tail = {
        let x = w.sqrt() - 3.5;
        let square = x * x;
        let low = [4.717_087_7, 1.424_626_5, 0.004_669_775_7, -0.002_850_410_8];
        let high = [
            0.001_409_985_4,
            -0.001_096_828_3,
            0.000_799_953_2,
            -0.000_238_823_7,
        ];
        cubic(x, square, low) + cubic(x, square, high) * (square * square)
    };
    let size = inside * if w < 5.0 { middle } else { tail };
    if below { -size } else { size }
}
