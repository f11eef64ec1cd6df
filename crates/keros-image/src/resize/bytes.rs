//! The two passes for bytes: Pillow's sums in fixed point, with 22 bits behind the point.
//!
//! A byte times a weight of 23 bits and its sign is a product for 32-bit registers. Along the rows,
//! where neighbours in a register belong to different channels, the weight is split into two halves of 16 bits
//! instead, so that one instruction multiplies and adds two pixels; the two sums are put
//! together at the end and are the same to the bit.

use super::passes::Value;
use super::weights::Weights;

/// Bits behind the point of a fixed-point weight.
const PRECISION: u32 = 22;

/// What rounds a sum that is then cut.
const HALF: i32 = 1 << (PRECISION - 1);

/// Values of a row that are summed down the columns together: they stay in registers.
const CHUNK: usize = 32;

/// The weights in fixed point.
fn fixed(weights: &Weights) -> Vec<i32> {
    let one = f64::from(1_u32 << PRECISION);
    let round = |weight: &f64| (weight * one + 0.5_f64.copysign(*weight)) as i32;
    weights.weights.iter().map(round).collect()
}

#[inline(always)]
fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

impl Value for u8 {
    fn rows(source: &[u8], width: usize, channels: usize, weights: &Weights) -> Vec<u8> {
        let fixed = fixed(weights);
        let new_len = source.len() / width * weights.starts.len();
        let mut out = vec![0; new_len];
        #[cfg(target_arch = "x86_64")]
        if matches!(channels, 1 | 3 | 4) && std::arch::is_x86_feature_detected!("avx2") {
            let taps = avx2::Taps::new(weights, &fixed);
            let rows = avx2::Rows {
                width,
                weights,
                fixed: &fixed,
                taps: &taps,
            };
            // SAFETY: the processor has what the functions are compiled for.
            unsafe {
                match channels {
                    1 => rows.all::<1>(source, &mut out),
                    3 => rows.all::<3>(source, &mut out),
                    _ => rows.all::<4>(source, &mut out),
                }
            }
            return out;
        }
        rows(source, width, channels, weights, &fixed, &mut out);
        out
    }

    fn columns(source: &[u8], row_len: usize, first: usize, weights: &Weights) -> Vec<u8> {
        let fixed = fixed(weights);
        let mut out = vec![0; weights.starts.len() * row_len];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            unsafe { columns_avx2(source, row_len, first, weights, &fixed, &mut out) };
            return out;
        }
        columns(source, row_len, first, weights, &fixed, &mut out);
        out
    }
}

/// Any number of channels on any processor.
fn rows(
    source: &[u8],
    width: usize,
    channels: usize,
    weights: &Weights,
    fixed: &[i32],
    out: &mut [u8],
) {
    let rows = source.chunks_exact(width * channels);
    for (row, out) in rows.zip(out.chunks_exact_mut(weights.starts.len() * channels)) {
        for (i, pixel) in out.chunks_exact_mut(channels).enumerate() {
            let taps = weights.taps_of(fixed, i);
            for (channel, out) in pixel.iter_mut().enumerate() {
                let values = row[weights.starts[i] * channels + channel..]
                    .iter()
                    .step_by(channels);
                let products = taps.iter().zip(values).map(|(w, v)| i32::from(*v) * w);
                *out = byte(HALF + products.sum::<i32>());
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn columns_avx2(
    source: &[u8],
    row_len: usize,
    first: usize,
    weights: &Weights,
    fixed: &[i32],
    out: &mut [u8],
) {
    columns(source, row_len, first, weights, fixed, out);
}

#[inline(always)]
fn columns(
    source: &[u8],
    row_len: usize,
    first: usize,
    weights: &Weights,
    fixed: &[i32],
    out: &mut [u8],
) {
    for (i, out) in out.chunks_exact_mut(row_len).enumerate() {
        let source = &source[(weights.starts[i] - first) * row_len..];
        let taps = weights.taps_of(fixed, i);
        let (chunks, rest) = out.as_chunks_mut::<CHUNK>();
        let rest_at = chunks.len() * CHUNK;
        for (chunk, out) in chunks.iter_mut().enumerate() {
            let mut sums = [HALF; CHUNK];
            for (weight, row) in taps.iter().zip(source.chunks_exact(row_len)) {
                let values = &row[chunk * CHUNK..][..CHUNK];
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += i32::from(*value) * weight;
                }
            }
            *out = sums.map(byte);
        }
        for (column, out) in rest.iter_mut().enumerate() {
            let rows = source.chunks_exact(row_len);
            let products = taps
                .iter()
                .zip(rows)
                .map(|(w, row)| i32::from(row[rest_at + column]) * w);
            *out = byte(HALF + products.sum::<i32>());
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! Along the rows, one new pixel at a time with all its channels.

    use std::arch::x86_64::*;

    use super::{HALF, PRECISION};
    use crate::resize::weights::Weights;

    /// Bits of a weight that are in its lower half.
    const LOW_BITS: u32 = 11;
    /// Original pixels that are multiplied together.
    const TAPS: usize = 4;

    /// Weights of four original pixels in the places in which they are multiplied: those of the
    /// first two four times, those of the last two four times.
    #[repr(C, align(32))]
    #[derive(Clone, Copy, Default)]
    struct Group {
        high: [i16; 16],
        low: [i16; 16],
    }

    /// The weights of all new pixels, as many groups for each.
    pub(super) struct Taps {
        groups: Vec<Group>,
        of_pixel: usize,
    }

    impl Taps {
        pub(super) fn new(weights: &Weights, fixed: &[i32]) -> Self {
            let longest = weights.lengths.iter().copied().max().unwrap_or(0);
            let of_pixel = longest.div_ceil(TAPS);
            let mut groups = vec![Group::default(); of_pixel * weights.starts.len()];
            for (pixel, groups) in groups.chunks_exact_mut(of_pixel.max(1)).enumerate() {
                for (tap, weight) in weights.taps_of(fixed, pixel).iter().enumerate() {
                    let group = &mut groups[tap / TAPS];
                    let place = tap % TAPS / 2 * 8 + tap % 2;
                    for copy in 0..4 {
                        group.high[place + 2 * copy] = (weight >> LOW_BITS) as i16;
                        group.low[place + 2 * copy] = (weight & ((1 << LOW_BITS) - 1)) as i16;
                    }
                }
            }
            Self { groups, of_pixel }
        }
    }

    /// Rows that are summed together, so that weights are read once for all of them.
    const BLOCK: usize = 4;

    pub(super) struct Rows<'w> {
        pub(super) width: usize,
        pub(super) weights: &'w Weights,
        pub(super) fixed: &'w [i32],
        pub(super) taps: &'w Taps,
    }

    impl Rows<'_> {
        /// All rows, of `C` channels: 1, 3 or 4.
        #[target_feature(enable = "avx2")]
        pub(super) fn all<const C: usize>(&self, source: &[u8], out: &mut [u8]) {
            let (row_len, new_len) = (self.width * C, self.weights.starts.len() * C);
            // A group reads 16 bytes, what is behind the last pixel times zero: the last rows have
            // nothing behind them.
            let behind = (self.taps.of_pixel * TAPS * C + 16).next_multiple_of(row_len);
            let whole = (source.len().saturating_sub(behind) / row_len) / BLOCK * BLOCK;
            let (blocks, rest) = out.split_at_mut(whole * new_len);
            for (block, out) in blocks.chunks_exact_mut(BLOCK * new_len).enumerate() {
                let source = &source[block * BLOCK * row_len..][..BLOCK * row_len + behind];
                // SAFETY: the processor has AVX2, because this function runs; there are so many
                // bytes behind the rows.
                unsafe { self.block::<C>(source, out) };
            }
            let source = &source[whole * row_len..];
            super::rows(source, self.width, C, self.weights, self.fixed, rest);
        }

        /// Four rows.
        ///
        /// # Safety
        /// Behind the rows `source` has as many bytes as the longest sum reads, and 16 more.
        #[target_feature(enable = "avx2")]
        unsafe fn block<const C: usize>(&self, source: &[u8], out: &mut [u8]) {
            let Taps { groups, of_pixel } = self.taps;
            let (row_len, pixels) = (self.width * C, self.weights.starts.len());
            let shuffle = shuffle::<C>();
            let groups = groups.chunks_exact((*of_pixel).max(1));
            for (i, (groups, start)) in groups.zip(&self.weights.starts).enumerate() {
                let (mut high, mut low) = (
                    [_mm256_setzero_si256(); BLOCK],
                    [_mm256_setzero_si256(); BLOCK],
                );
                let mut at = start * C;
                for group in groups {
                    // SAFETY: both arrays have 32 bytes and begin at a multiple of 32.
                    let [high_weights, low_weights] = unsafe {
                        [
                            _mm256_load_si256(group.high.as_ptr().cast()),
                            _mm256_load_si256(group.low.as_ptr().cast()),
                        ]
                    };
                    for row in 0..BLOCK {
                        // SAFETY: `at` is within the row, or behind it by no more than a sum reads.
                        let bytes = unsafe {
                            _mm_loadu_si128(source.as_ptr().add(row * row_len + at).cast())
                        };
                        let values =
                            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), shuffle);
                        high[row] =
                            _mm256_add_epi32(high[row], _mm256_madd_epi16(values, high_weights));
                        low[row] =
                            _mm256_add_epi32(low[row], _mm256_madd_epi16(values, low_weights));
                    }
                    at += TAPS * C;
                }
                let mut sums = [_mm_setzero_si128(); BLOCK];
                for ((sum, high), low) in sums.iter_mut().zip(high).zip(low) {
                    let both =
                        _mm256_add_epi32(_mm256_slli_epi32::<{ LOW_BITS as i32 }>(high), low);
                    let both = _mm_add_epi32(
                        _mm256_castsi256_si128(both),
                        _mm256_extracti128_si256::<1>(both),
                    );
                    let both = _mm_add_epi32(both, _mm_set1_epi32(HALF));
                    *sum = _mm_srai_epi32::<{ PRECISION as i32 }>(both);
                }
                let [a, b, c, d] = sums;
                let bytes = _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
                let mut of_rows = [0_u8; 16];
                // SAFETY: the array has 16 bytes.
                unsafe { _mm_storeu_si128(of_rows.as_mut_ptr().cast(), bytes) };
                for row in 0..BLOCK {
                    let place = (row * pixels + i) * C;
                    out[place..place + C].copy_from_slice(&of_rows[4 * row..][..C]);
                }
            }
        }
    }

    /// Where in the 16 bytes the values are that are multiplied: of two pixels the first channel,
    /// then the second, …, each followed by a zero byte, which makes 16 bits of it. The upper half
    /// of the register takes the next two pixels.
    #[target_feature(enable = "avx2")]
    fn shuffle<const C: usize>() -> __m256i {
        let mut places = [-1_i8; 32];
        for (half, places) in places.chunks_exact_mut(16).enumerate() {
            for channel in 0..C {
                for tap in 0..2 {
                    places[4 * channel + 2 * tap] = ((2 * half + tap) * C + channel) as i8;
                }
            }
        }
        // SAFETY: the array has 32 bytes.
        unsafe { _mm256_loadu_si256(places.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpolation;
    use crate::resize::Span;

    #[test]
    fn wider_registers_give_the_same_bytes() {
        let kinds = [
            Interpolation::Bilinear,
            Interpolation::Bicubic,
            Interpolation::Lanczos,
            Interpolation::Box,
        ];
        let sizes = [(1, 7), (7, 1), (9, 4), (37, 13), (37, 80), (100, 33)];
        for kind in kinds {
            for (from, to) in sizes {
                for channels in 1..=5 {
                    let whole = Span {
                        start: 0,
                        length: from,
                    };
                    let weights = Weights::new(kind, from, whole, to).unwrap();
                    let values = from * channels * 23;
                    // Extremes, so that sums overshoot.
                    let source: Vec<u8> = (0..values)
                        .map(|i| [0, 255, (i * 7919 % 251) as u8][i * 31 % 97 % 3])
                        .collect();
                    let fixed = fixed(&weights);
                    let mut plain = vec![0; to * channels * 23];
                    rows(&source, from, channels, &weights, &fixed, &mut plain);
                    let found = <u8 as Value>::rows(&source, from, channels, &weights);
                    assert_eq!(
                        found, plain,
                        "{kind:?} rows {from} to {to}, {channels} channels"
                    );

                    let row_len = channels * 11;
                    let source: Vec<u8> = source
                        .iter()
                        .cycle()
                        .take(from * row_len)
                        .copied()
                        .collect();
                    let mut plain = vec![0; to * row_len];
                    columns(&source, row_len, 0, &weights, &fixed, &mut plain);
                    let found = <u8 as Value>::columns(&source, row_len, 0, &weights);
                    assert_eq!(
                        found, plain,
                        "{kind:?} columns {from} to {to}, {channels} channels"
                    );
                }
            }
        }
    }
}
