//! Sparse linear maps along one axis: repeating, summing, enlarging, and the gradients of these,
//! which are maps of the same kind.

use candle_core::{DType, Tensor};

use super::CHUNK;
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Which positions of an axis, with which weights, add up to each position of the new axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    inputs: usize,
    /// Where the taps of each output begin, and the end of the last.
    starts: Vec<usize>,
    taps: Vec<(usize, f32)>,
    enlargement: Enlargement,
}

/// What the taps come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Enlargement {
    pub(crate) factor: usize,
    pub(crate) is_linear: bool,
    /// Whether it is the gradient of the enlargement.
    pub(crate) is_transposed: bool,
}

impl Taps {
    /// Each position `factor` times in a row, also called nearest-neighbour enlargement; of an axis
    /// of length 1, broadcasting.
    #[must_use]
    pub fn repeat(inputs: usize, factor: usize) -> Taps {
        let outputs = (0..inputs * factor).map(|i| [(i / factor, 1.0)]);
        Taps::collect(inputs, factor, outputs)
    }

    /// Linear interpolation between the two nearest positions, with half-pixel centers and the
    /// border repeated, as TensorFlow resizes images.
    #[must_use]
    pub fn linear(inputs: usize, factor: usize) -> Taps {
        let outputs = (0..inputs * factor).map(|i| {
            let source = (i as f32 + 0.5) / factor as f32 - 0.5;
            let low = source.floor();
            let above = source - low;
            let clamp = |at: f32| (at.max(0.0) as usize).min(inputs - 1);
            [(clamp(low), 1.0 - above), (clamp(low + 1.0), above)]
        });
        Taps::collect(inputs, factor, outputs)
    }

    fn collect<const N: usize>(
        inputs: usize,
        factor: usize,
        outputs: impl Iterator<Item = [(usize, f32); N]>,
    ) -> Taps {
        let (mut starts, mut taps) = (vec![0], Vec::new());
        for output in outputs {
            taps.extend(output.into_iter().filter(|(_, weight)| *weight != 0.0));
            starts.push(taps.len());
        }
        Taps {
            inputs,
            starts,
            taps,
            enlargement: Enlargement {
                factor,
                // A repetition has one tap for each output.
                is_linear: N > 1,
                is_transposed: false,
            },
        }
    }

    /// The map of the gradient: what weighted `i` into `j` weights `j` into `i`.
    #[must_use]
    pub fn transposed(&self) -> Taps {
        let mut rows = vec![Vec::new(); self.inputs];
        for output in 0..self.outputs() {
            for &(input, weight) in self.of(output) {
                rows[input].push((output, weight));
            }
        }
        let (mut starts, mut taps) = (vec![0], Vec::new());
        for row in rows {
            taps.extend(row);
            starts.push(taps.len());
        }
        Taps {
            inputs: self.outputs(),
            starts,
            taps,
            enlargement: Enlargement {
                is_transposed: !self.enlargement.is_transposed,
                ..self.enlargement
            },
        }
    }

    /// Length of the axis before.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Length of the axis after.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.starts.len() - 1
    }

    fn of(&self, output: usize) -> &[(usize, f32)] {
        &self.taps[self.starts[output]..self.starts[output + 1]]
    }
}

/// `y[…, j, …] = Σ weight · x[…, i, …]` over the taps `(i, weight)` of `j`, along `axis`.
///
/// # Errors
/// The axis is not there or has another length than the taps expect; otherwise see
/// [the module](super).
pub fn resample(
    ws: &mut Workspace,
    x: &Tensor,
    axis: usize,
    taps: &Taps,
) -> Result<Tensor, TensorError> {
    let mut shape = x.dims().to_vec();
    match shape.get_mut(axis) {
        Some(length) if *length == taps.inputs => *length = taps.outputs(),
        _ => {
            let expected = format!("length {} in axis {axis}", taps.inputs);
            return Err(TensorError::shape("resampling", "input", expected, &shape));
        }
    }
    let inner: usize = shape[axis + 1..].iter().product();
    on_gpu!(x, |gpu| cuda::resample::resample(
        gpu,
        ws,
        x,
        &shape,
        axis,
        taps.enlargement
    ));
    let y = ws.take(&shape, DType::F32)?;
    let x = access::read::<f32>(x)?;
    let x = &*x;
    // A task makes whole rows of `inner` elements, or a piece of one.
    let rows = (CHUNK / inner.max(1)).max(1);
    access::write(&y, |y| {
        if inner <= CHUNK {
            for_each_part(chunks_mut(y, rows * inner), |i, y| {
                for (k, y) in y.chunks_exact_mut(inner).enumerate() {
                    let (outer, output) = split(i * rows + k, taps);
                    sum_taps(&x[outer * taps.inputs * inner..], inner, taps.of(output), y);
                }
            });
        } else {
            for (row, y) in y.chunks_exact_mut(inner).enumerate() {
                let (outer, output) = split(row, taps);
                let x = &x[outer * taps.inputs * inner..];
                for_each_part(chunks_mut(y, CHUNK), |i, y| {
                    sum_taps(&x[i * CHUNK..], inner, taps.of(output), y);
                });
            }
        }
    })?;
    Ok(y)
}

fn split(row: usize, taps: &Taps) -> (usize, usize) {
    (row / taps.outputs(), row % taps.outputs())
}

multiversion! {
    /// `y = Σ weight · row i of x` with rows `stride` apart.
    fn sum_taps(x: &[f32], stride: usize, taps: &[(usize, f32)], y: &mut [f32]) {
        let Some((&(first, weight), rest)) = taps.split_first() else {
            y.fill(0.0);
            return;
        };
        for (y, &x) in y.iter_mut().zip(&x[first * stride..]) {
            *y = weight * x;
        }
        for &(input, weight) in rest {
            for (y, &x) in y.iter_mut().zip(&x[input * stride..]) {
                *y += weight * x;
            }
        }
    }
}
