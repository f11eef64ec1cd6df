//! Convolution kernels that keep a tile of results in vector registers.
//!
//! A tile is a few output pixels (or kernel cells) by a few vectors of output channels.
//! Each step broadcasts one input value per row of the tile and multiplies it with a row of
//! vectors, so that one load serves many multiplications.
//! The tile sizes fill the registers: 32 of AVX-512 and NEON, 16 of AVX2, whose halves serve groups of four
//! channels.
//! A tile of 26 sums would fit as well, but the compiler unrolls no more than about 24 and would
//! keep it in memory.

use crate::simd::Level;

/// A tile of [`Isa::forward`]: `P` neighbouring pixels of one output row by `V` vectors of channels.
pub(super) struct ForwardTile {
    /// The first input that the first pixel sees.
    pub(super) x: *const f32,
    /// From one pixel to the next.
    pub(super) pixel_step: usize,
    /// From one kernel row to the next.
    pub(super) row_step: usize,
    /// From one run of a kernel row to the next.
    pub(super) run_step: usize,
    /// Kernel rows, runs in a row and contiguous inputs in a run.
    pub(super) runs: (usize, usize, usize),
    /// Weights: `V` vectors for each input that a pixel sees, one after the other.
    pub(super) w: *const f32,
    /// `V` vectors, or null.
    pub(super) bias: *const f32,
    pub(super) relu: bool,
    /// The first output of the first pixel.
    pub(super) y: *mut f32,
    /// From one pixel to the next.
    pub(super) y_step: usize,
}

/// A tile of [`Isa::weights`]: `K` kernel rows of `L` neighbouring cells each by `V` vectors of
/// output channels.
pub(super) struct WeightTile {
    /// The input that the first cell of the tile sees for the first output pixel.
    pub(super) x: *const f32,
    /// From one output row or pixel to the next.
    pub(super) x_steps: (usize, usize),
    /// From one kernel row to the next.
    pub(super) x_kernel_step: usize,
    /// The first channel of the tile at the first output pixel.
    pub(super) dz: *const f32,
    /// From one output row or pixel to the next.
    pub(super) dz_steps: (usize, usize),
    /// Output rows and columns.
    pub(super) outputs: (usize, usize),
    /// The first element of the tile in the gradient.
    pub(super) dw: *mut f32,
    /// From one kernel row or cell to the next.
    pub(super) dw_steps: (usize, usize),
}

type Forward = unsafe fn(&ForwardTile);
type Weights = unsafe fn(&WeightTile);

/// The kernels of one instruction set.
pub(super) struct Isa {
    /// Floats in a vector.
    pub(super) lanes: usize,
    /// Most vectors in a tile.
    pub(super) max_vectors: usize,
    /// Inputs of one output above which matrix products with their own blocking are faster: each tile
    /// reads its part of the whole kernel.
    pub(super) max_inputs: usize,
    /// Output channels above which matrix products are faster, if there is but one group.
    max_channels: usize,
    /// `forward_kernels[vectors - 1][pixels - 1]`.
    ///
    /// # Safety
    /// All that the tile describes is inside live memory, and the processor has the instructions.
    pub(super) forward: &'static [&'static [Forward]],
    /// `weights[vectors - 1][cells - 1]` for one kernel row; adds to the gradient.
    ///
    /// # Safety
    /// As `forward`.
    pub(super) weights: &'static [&'static [Weights]],
    /// `weights3[vectors - 1][cells - 1]` for three kernel rows.
    ///
    /// # Safety
    /// As `forward`.
    pub(super) weights3: &'static [&'static [Weights]],
}

impl Isa {
    /// Whether no other has wider vectors.
    pub(super) fn is_widest(&self) -> bool {
        available().iter().all(|isa| isa.lanes <= self.lanes)
    }
}

/// The widest kernels that this processor has for `channels` output channels in each group.
pub(super) fn isa(channels: usize, groups: usize) -> Option<&'static Isa> {
    available().iter().copied().find(|isa| {
        channels.is_multiple_of(isa.lanes) && (groups > 1 || channels <= isa.max_channels)
    })
}

/// The kernels of the current level, widest first.
fn available() -> &'static [&'static Isa] {
    #[cfg(target_arch = "x86_64")]
    static AVX512: [&Isa; 3] = [&avx512::ISA, &avx2::ISA, &narrow::ISA];
    #[cfg(target_arch = "aarch64")]
    static NEON: [&Isa; 1] = [&neon::ISA];
    match Level::current() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => &AVX512,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => &AVX512[1..],
        #[cfg(target_arch = "aarch64")]
        Level::Neon => &NEON,
        _ => &[],
    }
}

/// The kernels of one instruction set, from its vector type and operations: `$fused(a, b, c)` is
/// `a * b + c`, and `$max` keeps NaN in its second argument.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! kernels {
    (
        $module:ident, $arch:ident, $features:literal, $lanes:literal, $vector:ident,
        $zero:ident, $broadcast:ident, $load:ident, $store:ident, $fused:ident, $max:ident,
        max_vectors: $max_vectors:literal, max_inputs: $max_inputs:literal,
        max_channels: $max_channels:expr,
        forward: [$([$forward_v:literal: $($forward_p:literal)*])*],
        weights: [$([$weights_v:literal: $($weights_l:literal)*])*],
        weights3: [$([$weights3_v:literal: $($weights3_l:literal)*])*],
    ) => {
        mod $module {
            use std::arch::$arch::*;

            use super::*;

            pub(super) static ISA: Isa = Isa {
                lanes: $lanes,
                max_vectors: $max_vectors,
                max_inputs: $max_inputs,
                max_channels: $max_channels,
                forward: &[$(&[$(forward::<$forward_p, $forward_v>),*]),*],
                weights: &[$(&[$(weights::<1, $weights_l, $weights_v>),*]),*],
                weights3: &[$(&[$(weights::<3, $weights3_l, $weights3_v>),*]),*],
            };

            #[target_feature(enable = $features)]
            unsafe fn forward<const P: usize, const V: usize>(tile: &ForwardTile) {
                let mut sums = [[$zero(); V]; P];
                // SAFETY: all addresses are in the memory that the tile describes.
                unsafe {
                    if !tile.bias.is_null() {
                        for v in 0..V {
                            let bias = $load(tile.bias.add($lanes * v));
                            for sums in &mut sums {
                                sums[v] = bias;
                            }
                        }
                    }
                    let step = tile.pixel_step;
                    let (rows, runs, run) = tile.runs;
                    let mut w = tile.w;
                    for row in 0..rows {
                        for part in 0..runs {
                            let x = tile.x.add(row * tile.row_step + part * tile.run_step);
                            // Every third pixel has a pointer: the two after it are one and two
                            // steps away, which an address holds.
                            let mut x: [*const f32; 8] =
                                std::array::from_fn(|i| x.wrapping_add(3 * i * step));
                            for _ in 0..run {
                                let row: [$vector; V] =
                                    std::array::from_fn(|v| $load(w.add($lanes * v)));
                                for p in 0..P {
                                    let value = $broadcast(*x[p / 3].add(p % 3 * step));
                                    for v in 0..V {
                                        sums[p][v] = $fused(value, row[v], sums[p][v]);
                                    }
                                }
                                w = w.add($lanes * V);
                                for x in &mut x {
                                    *x = x.wrapping_add(1);
                                }
                            }
                        }
                    }
                    for p in 0..P {
                        for v in 0..V {
                            let sum = sums[p][v];
                            let y = if tile.relu { $max($zero(), sum) } else { sum };
                            $store(tile.y.add(p * tile.y_step + $lanes * v), y);
                        }
                    }
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn weights<const K: usize, const L: usize, const V: usize>(tile: &WeightTile) {
                // SAFETY: all addresses are in the memory that the tile describes.
                unsafe {
                    let address = |k: usize, l: usize, v: usize| {
                        tile.dw.add(k * tile.dw_steps.0 + l * tile.dw_steps.1 + $lanes * v)
                    };
                    let mut sums: [[[$vector; V]; L]; K] = std::array::from_fn(|k| {
                        std::array::from_fn(|l| std::array::from_fn(|v| $load(address(k, l, v))))
                    });
                    for row in 0..tile.outputs.0 {
                        let mut x = tile.x.add(row * tile.x_steps.0);
                        let mut dz = tile.dz.add(row * tile.dz_steps.0);
                        for _ in 0..tile.outputs.1 {
                            let vectors: [$vector; V] =
                                std::array::from_fn(|v| $load(dz.add($lanes * v)));
                            for k in 0..K {
                                for l in 0..L {
                                    let value = $broadcast(*x.add(k * tile.x_kernel_step + l));
                                    for v in 0..V {
                                        sums[k][l][v] = $fused(value, vectors[v], sums[k][l][v]);
                                    }
                                }
                            }
                            x = x.wrapping_add(tile.x_steps.1);
                            dz = dz.wrapping_add(tile.dz_steps.1);
                        }
                    }
                    for k in 0..K {
                        for l in 0..L {
                            for v in 0..V {
                                $store(address(k, l, v), sums[k][l][v]);
                            }
                        }
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernels! {
    avx512, x86_64, "avx512f", 16, __m512,
    _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps,
    _mm512_max_ps,
    max_vectors: 4, max_inputs: 8192, max_channels: usize::MAX,
    forward: [
        [1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]
        [2: 1 2 3 4 5 6 7 8 9 10 11 12]
        [3: 1 2 3 4 5 6 7 8]
        [4: 1 2 3 4 5 6]
    ],
    weights: [
        [1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]
        [2: 1 2 3 4 5 6 7 8 9 10 11 12]
        [3: 1 2 3 4 5 6 7 8]
        [4: 1 2 3 4 5 6]
    ],
    weights3: [
        [1: 1 2 3 4 5]
        [2: 1 2 3 4]
    ],
}

#[cfg(target_arch = "x86_64")]
kernels! {
    avx2, x86_64, "avx2,fma", 8, __m256,
    _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps,
    _mm256_max_ps,
    max_vectors: 2, max_inputs: 2048, max_channels: usize::MAX,
    forward: [
        [1: 1 2 3 4 5 6 7 8 9 10]
        [2: 1 2 3 4 5 6]
    ],
    weights: [
        [1: 1 2 3 4 5 6 7 8 9 10]
        [2: 1 2 3 4 5 6]
    ],
    weights3: [
        [1: 1 2 3]
        [2: 1 2]
    ],
}

#[cfg(target_arch = "x86_64")]
kernels! {
    narrow, x86_64, "avx2,fma", 4, __m128,
    _mm_setzero_ps, _mm_set1_ps, _mm_loadu_ps, _mm_storeu_ps, _mm_fmadd_ps, _mm_max_ps,
    max_vectors: 2, max_inputs: 2048, max_channels: 4,
    forward: [
        [1: 1 2 3 4 5 6 7 8 9 10]
        [2: 1 2 3 4 5 6]
    ],
    weights: [
        [1: 1 2 3 4 5 6 7 8 9 10]
        [2: 1 2 3 4 5 6]
    ],
    weights3: [
        [1: 1 2 3]
        [2: 1 2]
    ],
}

#[cfg(target_arch = "aarch64")]
kernels! {
    neon, aarch64, "neon", 4, float32x4_t,
    neon_zero, vdupq_n_f32, vld1q_f32, vst1q_f32, neon_fused, vmaxq_f32,
    max_vectors: 4, max_inputs: 2048, max_channels: usize::MAX,
    forward: [
        [1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]
        [2: 1 2 3 4 5 6 7 8 9 10 11 12]
        [3: 1 2 3 4 5 6 7 8]
        [4: 1 2 3 4 5 6]
    ],
    weights: [
        [1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16]
        [2: 1 2 3 4 5 6 7 8 9 10 11 12]
        [3: 1 2 3 4 5 6 7 8]
        [4: 1 2 3 4 5 6]
    ],
    weights3: [
        [1: 1 2 3 4 5]
        [2: 1 2 3 4]
    ],
}

#[cfg(target_arch = "aarch64")]
#[inline]
#[target_feature(enable = "neon")]
fn neon_zero() -> std::arch::aarch64::float32x4_t {
    std::arch::aarch64::vdupq_n_f32(0.0)
}

#[cfg(target_arch = "aarch64")]
#[inline]
#[target_feature(enable = "neon")]
fn neon_fused(
    a: std::arch::aarch64::float32x4_t,
    b: std::arch::aarch64::float32x4_t,
    sum: std::arch::aarch64::float32x4_t,
) -> std::arch::aarch64::float32x4_t {
    std::arch::aarch64::vfmaq_f32(sum, a, b)
}
