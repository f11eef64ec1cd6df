//! Random numbers that are a pure function of (seed, stream, index), for initializers, dropout and noise.
//!
//! The generator is Philox4x32-10: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers:
//! as easy as 1, 2, 3", SC 2011.
//! It keeps no state between numbers, so any part of a stream can be made at any time, by any
//! thread, with the same result.

use crate::simd::multiversion;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
/// Blocks computed side by side, one per vector lane.
const LANES: usize = 16;
/// Numbers in a group of [`LANES`] blocks of four words.
pub(crate) const GROUP: usize = 4 * LANES;

/// A stream of random numbers, the `stream`-th of a seed.
///
/// Number `i` of a stream depends on (seed, stream, i) and on nothing else.
/// Two streams that differ in seed or stream number are independent.
/// A stream has 2^66 numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    seed: u64,
    stream: u64,
}

impl Stream {
    /// Stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { seed, stream }
    }

    /// What the stream is a function of: seed and number.
    #[cfg(feature = "cuda")]
    pub(crate) fn key(&self) -> (u64, u64) {
        (self.seed, self.stream)
    }

    /// Numbers `first..first + out.len()`, each uniform over all values of `u32`.
    pub fn fill_u32(&self, first: u64, out: &mut [u32]) {
        fill_u32(self, first, out);
    }

    /// Numbers `first..` as floats, uniform in `[low, high)` (24 random bits each).
    ///
    /// The numbers are `low` throughout if `high <= low` or `high` is NaN, and NaN if `low` is.
    pub fn fill_uniform(&self, first: u64, low: f32, high: f32, out: &mut [f32]) {
        let last = high.next_down().max(low);
        let width = (high - low).max(0.0);
        self.each_group(first, out, |word| {
            let unit = (word >> 8) as f32 * (1.0 / (1u32 << 24) as f32);
            let value = low + width * unit;
            if value > last { last } else { value }
        });
    }

    /// Numbers `first..` as floats from the normal distribution of this mean and standard deviation.
    ///
    /// Made by inversion (Wichura's algorithm AS 241, Applied Statistics 37, 1988) from 32 random
    /// bits each, so none is farther than 6.4 standard deviations from the mean.
    pub fn fill_normal(&self, first: u64, mean: f32, std: f32, out: &mut [f32]) {
        self.each_group(first, out, |word| {
            let p = (f64::from(word) + 0.5) / 2f64.powi(32);
            (f64::from(mean) + f64::from(std) * normal_quantile(p)) as f32
        });
    }

    /// Numbers `first..` as floats from the normal distribution cut off at two standard deviations
    /// on either side, by inversion.
    ///
    /// `std` is that of the normal distribution before the cut; that of the numbers is
    /// 0.87962566 times as large.
    pub fn fill_truncated_normal(&self, first: u64, mean: f32, std: f32, out: &mut [f32]) {
        // Φ(-2), the mass beyond one of the two cuts.
        const TAIL: f64 = 0.022_750_131_948_179_21;
        self.each_group(first, out, |word| {
            let p = TAIL + (1.0 - 2.0 * TAIL) * ((f64::from(word) + 0.5) / 2f64.powi(32));
            (f64::from(mean) + f64::from(std) * normal_quantile(p).clamp(-2.0, 2.0)) as f32
        });
    }

    /// Calls `f` on numbers `first..first + out.len()` and stores the results.
    #[inline(always)]
    fn each_group<T>(&self, first: u64, out: &mut [T], f: impl Fn(u32) -> T) {
        let mut group = first / GROUP as u64;
        let mut skip = (first % GROUP as u64) as usize;
        let mut rest = out;
        while !rest.is_empty() {
            let (part, tail) = rest.split_at_mut(rest.len().min(GROUP - skip));
            let words = self.group(group);
            for (value, &word) in part.iter_mut().zip(&words[skip..]) {
                *value = f(word);
            }
            rest = tail;
            group = group.wrapping_add(1);
            skip = 0;
        }
    }

    /// Numbers `64 * group..64 * group + 64`.
    ///
    /// Number `64 * group + 16 * word + lane` is that word of block `16 * group + lane`: the order
    /// in which vector lanes leave the registers.
    #[inline(always)]
    pub(crate) fn group(&self, group: u64) -> [u32; GROUP] {
        let (seed, stream) = (self.seed, self.stream);
        let first = group.wrapping_mul(LANES as u64);
        let mut c0: [u32; LANES] = std::array::from_fn(|lane| first as u32 + lane as u32);
        let mut c1 = [(first >> 32) as u32; LANES];
        let mut c2 = [stream as u32; LANES];
        let mut c3 = [(stream >> 32) as u32; LANES];
        let mut key = [seed as u32, (seed >> 32) as u32];
        for _ in 0..ROUNDS {
            for lane in 0..LANES {
                let product0 = u64::from(MULTIPLIERS[0]) * u64::from(c0[lane]);
                let product1 = u64::from(MULTIPLIERS[1]) * u64::from(c2[lane]);
                let (next0, next2) = (
                    (product1 >> 32) as u32 ^ c1[lane] ^ key[0],
                    (product0 >> 32) as u32 ^ c3[lane] ^ key[1],
                );
                c1[lane] = product1 as u32;
                c3[lane] = product0 as u32;
                c0[lane] = next0;
                c2[lane] = next2;
            }
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let mut words = [0; GROUP];
        words[..LANES].copy_from_slice(&c0);
        words[LANES..2 * LANES].copy_from_slice(&c1);
        words[2 * LANES..3 * LANES].copy_from_slice(&c2);
        words[3 * LANES..].copy_from_slice(&c3);
        words
    }
}

multiversion! {
    fn fill_u32(stream: &Stream, first: u64, out: &mut [u32]) {
        stream.each_group(first, out, |word| word);
    }
}

/// The quantile function of the standard normal distribution for `0 < p < 1`, to about 1e-16:
/// PPND16 of algorithm AS 241.
#[allow(clippy::excessive_precision, reason = "coefficients as published")]
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 8] = [
        3.387_132_872_796_366_608,
        133.141_667_891_784_377_45,
        1_971.590_950_306_551_442_7,
        13_731.693_765_509_461_125,
        45_921.953_931_549_871_457,
        67_265.770_927_008_700_853,
        33_430.575_583_588_128_105,
        2_509.080_928_730_122_672_7,
    ];
    const B: [f64; 8] = [
        1.0,
        42.313_330_701_600_911_252,
        687.187_007_492_057_908_3,
        5_394.196_021_424_751_107_7,
        21_213.794_301_586_595_867,
        39_307.895_800_092_710_61,
        28_729.085_735_721_942_674,
        5_226.495_278_852_854_561,
    ];
    const C: [f64; 8] = [
        1.423_437_110_749_683_577_34,
        4.630_337_846_156_545_295_9,
        5.769_497_221_460_691_405_5,
        3.647_848_324_763_204_605_04,
        1.270_458_252_452_368_382_58,
        0.241_780_725_177_450_611_77,
        0.022_723_844_989_269_184_583_3,
        7.745_450_142_783_414_076_4e-4,
    ];
    const D: [f64; 8] = [
        1.0,
        2.053_191_626_637_758_821_87,
        1.676_384_830_183_803_849_4,
        0.689_767_334_985_100_004_55,
        0.148_103_976_427_480_074_59,
        0.015_198_666_563_616_457_196_6,
        5.475_938_084_995_344_946e-4,
        1.050_750_071_644_416_843_24e-9,
    ];
    const E: [f64; 8] = [
        6.657_904_643_501_103_777_2,
        5.463_784_911_164_114_369_9,
        1.784_826_539_917_291_335_8,
        0.296_560_571_828_504_891_23,
        0.026_532_189_526_576_123_093,
        1.242_660_947_388_078_438_6e-3,
        2.711_555_568_743_487_578_15e-5,
        2.010_334_399_292_288_132_65e-7,
    ];
    const F: [f64; 8] = [
        1.0,
        0.599_832_206_555_887_937_69,
        0.136_929_880_922_735_805_31,
        0.014_875_361_290_850_614_852_5,
        7.868_691_311_456_132_591e-4,
        1.846_318_317_510_054_681_8e-5,
        1.421_511_758_316_445_888_7e-7,
        2.044_263_103_389_939_785_64e-15,
    ];
    let ratio = |numerator: &[f64; 8], denominator: &[f64; 8], x: f64| {
        let horner = |c: &[f64; 8]| c.iter().rev().fold(0.0, |sum, &term| sum * x + term);
        horner(numerator) / horner(denominator)
    };
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&A, &B, 0.180_625 - q * q);
    }
    let r = (-p.min(1.0 - p).ln()).sqrt();
    let tail = if r <= 5.0 {
        ratio(&C, &D, r - 1.6)
    } else {
        ratio(&E, &F, r - 5.0)
    };
    tail.copysign(q)
}

#[cfg(test)]
mod tests {
    use super::{GROUP, LANES, Stream, normal_quantile};

    /// Known answers of Random123's `kat_vectors` for philox4x32-10.
    #[test]
    fn philox_known_answers() {
        let block = |counter: [u32; 4], key: [u32; 2]| {
            let seed = u64::from(key[0]) | u64::from(key[1]) << 32;
            let stream = u64::from(counter[2]) | u64::from(counter[3]) << 32;
            let block = u64::from(counter[0]) | u64::from(counter[1]) << 32;
            let words = Stream::new(seed, stream).group(block / LANES as u64);
            let lane = (block % LANES as u64) as usize;
            std::array::from_fn::<u32, 4, _>(|word| words[word * LANES + lane])
        };
        assert_eq!(
            block([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            block([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            block(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn quantile_inverts_the_distribution() {
        // Simpson's rule on the density gives the distribution function independently.
        let cdf = |x: f64| {
            let steps = 4000;
            let h = x / f64::from(steps);
            let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let inner: f64 = (1..steps)
                .map(|i| density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 })
                .sum();
            0.5 + h / 3.0 * (density(0.0) + inner + density(x))
        };
        for p in [
            1e-6,
            1e-3,
            0.02,
            0.07,
            0.074,
            0.076,
            0.3,
            0.5,
            0.9,
            0.926,
            0.999,
            1.0 - 1e-6,
        ] {
            let back = cdf(normal_quantile(p));
            assert!((back - p).abs() < 1e-12, "{p}: {back}");
        }
        // Beyond r = 5 the third rational function serves: Φ(-8) = 6.22096057427178e-16.
        assert!((normal_quantile(6.220_960_574_271_78e-16) + 8.0).abs() < 1e-12);
    }

    #[test]
    fn any_part_of_a_stream_is_the_same() {
        let stream = Stream::new(7, 9);
        let mut whole = vec![0; 3 * GROUP];
        stream.fill_u32(0, &mut whole);
        for (first, len) in [(0, 1), (1, 63), (63, 2), (70, 100), (128, 64)] {
            let mut part = vec![0; len];
            stream.fill_u32(first, &mut part);
            assert_eq!(part, whole[first as usize..first as usize + len]);
        }
    }
}
