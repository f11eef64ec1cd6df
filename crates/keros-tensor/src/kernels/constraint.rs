//! Parameters moved back into a set of values, as after an update.

use candle_core::Tensor;

use super::optimizer::{Group, apply, run_each};
use crate::simd::multiversion;
use crate::{TensorError, access};

/// `x = max(x, 0)`, for each of several tensors; NaN stays NaN.
///
/// # Errors
/// See [the module](super).
pub fn non_negative(tensors: &[&Tensor]) -> Result<(), TensorError> {
    const OP: &str = "making non-negative";
    let groups = tensors.iter().map(|&x| Group::new(OP, [x], None));
    let groups = groups.collect::<Result<Vec<_>, _>>()?;
    apply!(OP, groups, non_negative_f32(), |[x], _| raise(x))
}

/// Where norms are moved to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormBounds {
    /// The smallest norm.
    pub min: f64,
    /// The largest norm, not below `min`.
    pub max: f64,
    /// How much of the way is gone at once, in `[0, 1]`; all of it if there is none.
    pub rate: Option<f64>,
}

/// Keras's `backend.epsilon()`.
const EPSILON: f64 = 1e-7;

impl NormBounds {
    fn desired(self, norm: f64) -> f64 {
        let bounded = norm.clamp(self.min, self.max);
        match self.rate {
            None => bounded,
            Some(rate) => rate * bounded + (1.0 - rate) * norm,
        }
    }
}

/// Gives each vector along `axes` of a tensor a norm within the bounds:
/// `x · desired / (norm + 1e-7)` with `desired = rate · clip(norm, min, max) + (1 - rate) · norm`.
///
/// # Errors
/// [`TensorError::Argument`] for an axis that there is not, bounds that are not ordered, and on a GPU
/// more than 8 axes; otherwise see [the module](super).
pub fn bound_norms(x: &Tensor, axes: &[usize], bounds: NormBounds) -> Result<(), TensorError> {
    const OP: &str = "bounding norms";
    if axes.iter().any(|&axis| axis >= x.dims().len()) {
        let expected = format!("all below {}", x.dims().len());
        let found = format!("{axes:?}");
        return Err(TensorError::argument(OP, "axes", expected, found));
    }
    if bounds.min.is_nan() || bounds.max.is_nan() || bounds.min > bounds.max {
        let found = format!("{} and {}", bounds.min, bounds.max);
        let expected = "a minimum that is not above the maximum";
        return Err(TensorError::argument(OP, "bounds", expected, found));
    }
    on_gpu!(x, |gpu| cuda::constraint::bound_norms(
        gpu, OP, x, axes, bounds, EPSILON
    ));
    let groups = Vectors::new(x.dims(), axes);
    access::write(x, |w: &mut [f32]| {
        let mut sums = vec![0.0; groups.count];
        groups.rows(|row, group, step| {
            for (k, w) in w[row].iter().enumerate() {
                sums[group + k * step] += f64::from(*w) * f64::from(*w);
            }
        });
        let mut factors = sums;
        for factor in &mut factors {
            let norm = factor.sqrt();
            *factor = bounds.desired(norm) / (EPSILON + norm);
        }
        groups.rows(|row, group, step| {
            for (k, w) in w[row].iter_mut().enumerate() {
                *w = (f64::from(*w) * factors[group + k * step]) as f32;
            }
        });
    })
}

/// Which vector each element of a tensor belongs to.
struct Vectors {
    shape: Vec<usize>,
    /// How far the number of the vector moves along each axis; 0 along the vectors.
    steps: Vec<usize>,
    count: usize,
}

impl Vectors {
    fn new(shape: &[usize], axes: &[usize]) -> Self {
        let mut steps = vec![0; shape.len()];
        let mut count = 1;
        for axis in (0..shape.len()).rev().filter(|axis| !axes.contains(axis)) {
            steps[axis] = count;
            count *= shape[axis];
        }
        Self {
            shape: shape.to_vec(),
            steps,
            count,
        }
    }

    /// Calls `f` for every row of the last axis with its elements, the vector of the first of them
    /// and the step from one to the next.
    fn rows(&self, mut f: impl FnMut(std::ops::Range<usize>, usize, usize)) {
        let (Some((length, outer)), Some((step, outer_steps))) =
            (self.shape.split_last(), self.steps.split_last())
        else {
            return;
        };
        for row in 0..outer.iter().product() {
            let (mut rest, mut group) = (row, 0);
            for (size, step) in outer.iter().zip(outer_steps).rev() {
                group += rest % size * step;
                rest /= size;
            }
            f(row * length..(row + 1) * length, group, *step);
        }
    }
}

multiversion! {
    fn raise(x: &mut [f32]) {
        for x in x {
            *x = if *x < 0.0 { 0.0 } else { *x };
        }
    }
}
