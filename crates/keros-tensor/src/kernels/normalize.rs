//! Normalization within a sample: layer, group and unit normalization.
//!
//! All are one thing: a tensor seen as `[outer, before, kept, after]`, with statistics over `before`
//! and `after`.
//! Sums are taken in double precision, eight at a time, in an order that depends on the shape alone.

use candle_core::{DType, Tensor};

use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Most partial sums of a parameter's gradient.
const PARTIALS: usize = 32;
/// Least squared length that [`unit_normalize`] divides by, as in Keras.
const LEAST_SQUARE: f64 = 1e-12;

/// A tensor as `[outer, before, kept, after]`: each of `outer · kept` sets of values has statistics
/// of its own, over `before` and `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NormLayout {
    /// Samples, and axes before all that are normalized.
    pub outer: usize,
    /// Normalized.
    pub before: usize,
    /// Not normalized.
    pub kept: usize,
    /// Normalized.
    pub after: usize,
}

/// Which elements of a sample share a scale and a shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NormParams {
    /// Parameters for `[before, after]`, as layer normalization has them.
    Normalized,
    /// Parameters for `[kept, after]`, as group normalization has them: its channels.
    Trailing,
}

impl NormLayout {
    fn check(&self, op: &'static str, what: &'static str, x: &Tensor) -> Result<(), TensorError> {
        let sizes = [self.outer, self.before, self.kept, self.after];
        if sizes.iter().product::<usize>() != x.elem_count() || sizes[1..].contains(&0) {
            let expected = format_args!("as many elements as {sizes:?}").to_string();
            return Err(TensorError::shape(op, what, expected, x.dims()));
        }
        Ok(())
    }

    /// Elements of one outer index.
    fn sample(&self) -> usize {
        self.before * self.kept * self.after
    }

    /// Outer indices of one task.
    fn block(&self) -> usize {
        (CHUNK / self.sample()).max(1)
    }

    /// Number of scales or shifts.
    fn params(&self, params: NormParams) -> usize {
        match params {
            NormParams::Normalized => self.before * self.after,
            NormParams::Trailing => self.kept * self.after,
        }
    }

    /// Where the `after` parameters of one row begin.
    #[inline(always)]
    fn param(&self, params: NormParams, before: usize, kept: usize) -> usize {
        match params {
            NormParams::Normalized => before * self.after,
            NormParams::Trailing => kept * self.after,
        }
    }

    /// Where the row of `after` elements begins in its sample.
    #[inline(always)]
    fn row(&self, before: usize, kept: usize) -> usize {
        (before * self.kept + kept) * self.after
    }

    /// Values that a statistic is over.
    fn count(&self) -> f64 {
        (self.before * self.after) as f64
    }
}

fn check_params(
    op: &'static str,
    what: &'static str,
    tensor: Option<&Tensor>,
    len: usize,
) -> Result<(), TensorError> {
    match tensor {
        Some(tensor) if tensor.elem_count() != len => {
            let expected = format_args!("{len} elements").to_string();
            Err(TensorError::shape(op, what, expected, tensor.dims()))
        }
        _ => Ok(()),
    }
}

/// `y = gamma · (x - mean) / √(variance + epsilon) + beta` with the statistics of each set of values.
///
/// Returns `y`, as `x`, and the statistics for [`normalize_backward`]. `gamma` and `beta` have the
/// elements that `params` says, in any shape; without `gamma` it is 1, without `beta` 0.
///
/// # Errors
/// See [the module](super); `x` has the elements of `layout`.
#[allow(clippy::too_many_arguments)]
pub fn normalize(
    ws: &mut Workspace,
    x: &Tensor,
    layout: &NormLayout,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
    params: NormParams,
    epsilon: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "normalize";
    layout.check(OP, "input", x)?;
    check_params(OP, "gamma", gamma, layout.params(params))?;
    check_params(OP, "beta", beta, layout.params(params))?;
    let y = ws.take(x.dims(), DType::F32)?;
    let statistics = ws.take(&[layout.outer, 2 * layout.kept], DType::F32)?;
    {
        let x = access::read::<f32>(x)?;
        let gamma = gamma.map(access::read::<f32>).transpose()?;
        let beta = beta.map(access::read::<f32>).transpose()?;
        let (x, gamma, beta) = (&*x, gamma.as_deref(), beta.as_deref());
        let (sample, block) = (layout.sample(), layout.block());
        access::write2(&y, &statistics, |y: &mut [f32], statistics: &mut [f32]| {
            let parts = (
                chunks_mut(y, block * sample),
                chunks_mut(statistics, block * 2 * layout.kept),
            );
            for_each_part(parts, |i, (y, statistics)| {
                let samples = y
                    .chunks_exact_mut(sample)
                    .zip(statistics.chunks_exact_mut(2 * layout.kept))
                    .zip(x[i * block * sample..].chunks_exact(sample));
                for ((y, statistics), x) in samples {
                    forward(layout, params, x, gamma, beta, epsilon, statistics, y);
                }
            });
        })?;
    }
    Ok((y, statistics))
}

/// The gradients of [`normalize`]: fills `dgamma` and `dbeta` (as `gamma` and `beta`), returns `dx`
/// (as `x`) if `need_dx`.
///
/// `statistics` are those of the forward pass, `dy` is the gradient with respect to its output.
///
/// # Errors
/// As [`normalize`]. After an error the gradients are unspecified.
#[allow(clippy::too_many_arguments)]
pub fn normalize_backward(
    ws: &mut Workspace,
    x: &Tensor,
    statistics: &Tensor,
    dy: &Tensor,
    layout: &NormLayout,
    gamma: Option<&Tensor>,
    params: NormParams,
    dgamma: Option<&Tensor>,
    dbeta: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "normalize backward";
    layout.check(OP, "input", x)?;
    expect_dims(OP, "output gradient", dy, x.dims())?;
    expect_dims(
        OP,
        "statistics",
        statistics,
        &[layout.outer, 2 * layout.kept],
    )?;
    let len = layout.params(params);
    check_params(OP, "gamma", gamma, len)?;
    check_params(OP, "gradient of gamma", dgamma, len)?;
    check_params(OP, "gradient of beta", dbeta, len)?;
    let (sample, kept) = (layout.sample(), layout.kept);
    let block = layout.block().max(layout.outer.div_ceil(PARTIALS));
    let sums = ws.take(&[layout.outer.div_ceil(block), 2 * len], DType::F32)?;
    let dx = match need_dx {
        true => Some(ws.take(x.dims(), DType::F32)?),
        false => None,
    };
    {
        let (x, dy) = (access::read::<f32>(x)?, access::read::<f32>(dy)?);
        let statistics = access::read::<f32>(statistics)?;
        let gamma = gamma.map(access::read::<f32>).transpose()?;
        let (x, dy, statistics, gamma) = (&*x, &*dy, &*statistics, gamma.as_deref());
        let run = |sums: &mut [f32], dx: Option<&mut [f32]>| {
            let parts = (
                chunks_mut(sums, 2 * len),
                dx.map(|dx| chunks_mut(dx, block * sample)),
            );
            for_each_part(parts, |i, (sums, mut dx)| {
                sums.fill(0.0);
                for n in i * block..layout.outer.min((i + 1) * block) {
                    let values = n * sample..(n + 1) * sample;
                    let (x, dy) = (&x[values.clone()], &dy[values]);
                    let statistics = &statistics[n * 2 * kept..(n + 1) * 2 * kept];
                    add_param_gradients(layout, params, x, dy, statistics, sums);
                    if let Some(dx) = &mut dx {
                        let dx = &mut dx[(n - i * block) * sample..][..sample];
                        backward(layout, params, x, dy, gamma, statistics, dx);
                    }
                }
            });
        };
        match &dx {
            Some(dx) => access::write2(&sums, dx, |sums, dx| run(sums, Some(dx)))?,
            None => access::write(&sums, |sums| run(sums, None))?,
        }
    }
    {
        let sums = access::read::<f32>(&sums)?;
        for (offset, gradient) in [(0, dgamma), (len, dbeta)] {
            let Some(gradient) = gradient else { continue };
            access::write(gradient, |gradient: &mut [f32]| {
                gradient.fill(0.0);
                for sums in sums.chunks_exact(2 * len) {
                    for (value, sum) in gradient.iter_mut().zip(&sums[offset..]) {
                        *value += sum;
                    }
                }
            })?;
        }
    }
    ws.give(&sums);
    Ok(dx)
}

/// `y = x / √max(Σ x², 1e-12)`, the sum over each set of values.
///
/// Returns `y`, as `x`, and the factors for [`unit_normalize_backward`].
///
/// # Errors
/// As [`normalize`].
pub fn unit_normalize(
    ws: &mut Workspace,
    x: &Tensor,
    layout: &NormLayout,
) -> Result<(Tensor, Tensor), TensorError> {
    layout.check("unit_normalize", "input", x)?;
    let y = ws.take(x.dims(), DType::F32)?;
    let factors = ws.take(&[layout.outer, layout.kept], DType::F32)?;
    {
        let x = access::read::<f32>(x)?;
        let x = &*x;
        let (sample, block) = (layout.sample(), layout.block());
        access::write2(&y, &factors, |y: &mut [f32], factors: &mut [f32]| {
            let parts = (
                chunks_mut(y, block * sample),
                chunks_mut(factors, block * layout.kept),
            );
            for_each_part(parts, |i, (y, factors)| {
                let samples = y
                    .chunks_exact_mut(sample)
                    .zip(factors.chunks_exact_mut(layout.kept))
                    .zip(x[i * block * sample..].chunks_exact(sample));
                for ((y, factors), x) in samples {
                    to_unit(layout, x, factors, y);
                }
            });
        })?;
    }
    Ok((y, factors))
}

/// The gradient of [`unit_normalize`]: `dx = factor · (dy - y · Σ y · dy)`, and `factor · dy` where the
/// length was cut off.
///
/// `y` and `factors` are those of the forward pass, `dy` is the gradient with respect to `y`.
///
/// # Errors
/// As [`normalize`].
pub fn unit_normalize_backward(
    ws: &mut Workspace,
    y: &Tensor,
    factors: &Tensor,
    dy: &Tensor,
    layout: &NormLayout,
) -> Result<Tensor, TensorError> {
    const OP: &str = "unit_normalize backward";
    layout.check(OP, "output", y)?;
    expect_dims(OP, "output gradient", dy, y.dims())?;
    expect_dims(OP, "factors", factors, &[layout.outer, layout.kept])?;
    let dx = ws.take(y.dims(), DType::F32)?;
    let (y, dy) = (access::read::<f32>(y)?, access::read::<f32>(dy)?);
    let factors = access::read::<f32>(factors)?;
    let (y, dy, factors) = (&*y, &*dy, &*factors);
    let (sample, block) = (layout.sample(), layout.block());
    access::write(&dx, |dx| {
        for_each_part(chunks_mut(dx, block * sample), |i, dx| {
            for (n, dx) in (i * block..).zip(dx.chunks_exact_mut(sample)) {
                let values = n * sample..(n + 1) * sample;
                let factors = &factors[n * layout.kept..][..layout.kept];
                from_unit(layout, &y[values.clone()], &dy[values], factors, dx);
            }
        });
    })?;
    Ok(dx)
}

/// `Σ f(i)` of both results in double precision, for indices below `len`.
#[inline(always)]
fn sums(len: usize, f: impl Fn(usize) -> (f64, f64)) -> (f64, f64) {
    const LANES: usize = 8;
    let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
    let whole = len - len % LANES;
    for first in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let (x, y) = f(first + lane);
            a[lane] += x;
            b[lane] += y;
        }
    }
    for i in whole..len {
        let (x, y) = f(i);
        a[i - whole] += x;
        b[i - whole] += y;
    }
    (a.iter().sum(), b.iter().sum())
}

multiversion! {
    fn forward(
        layout: &NormLayout,
        params: NormParams,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        epsilon: f32,
        statistics: &mut [f32],
        y: &mut [f32],
    ) {
        let after = layout.after;
        for k in 0..layout.kept {
            let (mut sum, mut squares) = (0.0, 0.0);
            for b in 0..layout.before {
                let x = &x[layout.row(b, k)..][..after];
                let (s, q) = sums(after, |i| (f64::from(x[i]), f64::from(x[i]) * f64::from(x[i])));
                sum += s;
                squares += q;
            }
            let mean = sum / layout.count();
            let spread = squares / layout.count() - mean * mean;
            // Rounding can make a variance of zero negative; NaN stays.
            let variance = if spread < 0.0 { 0.0 } else { spread };
            let (mean, root) = (mean as f32, (1.0 / (variance + f64::from(epsilon)).sqrt()) as f32);
            statistics[2 * k] = mean;
            statistics[2 * k + 1] = root;
            for b in 0..layout.before {
                let row = layout.row(b, k);
                let (x, y) = (&x[row..][..after], &mut y[row..][..after]);
                for (y, x) in y.iter_mut().zip(x) {
                    *y = (x - mean) * root;
                }
                let param = layout.param(params, b, k);
                if let Some(gamma) = gamma {
                    for (y, gamma) in y.iter_mut().zip(&gamma[param..]) {
                        *y *= gamma;
                    }
                }
                if let Some(beta) = beta {
                    for (y, beta) in y.iter_mut().zip(&beta[param..]) {
                        *y += beta;
                    }
                }
            }
        }
    }

    fn add_param_gradients(
        layout: &NormLayout,
        params: NormParams,
        x: &[f32],
        dy: &[f32],
        statistics: &[f32],
        sums: &mut [f32],
    ) {
        let (dgamma, dbeta) = sums.split_at_mut(layout.params(params));
        let after = layout.after;
        for b in 0..layout.before {
            for k in 0..layout.kept {
                let (mean, root) = (statistics[2 * k], statistics[2 * k + 1]);
                let row = layout.row(b, k);
                let param = layout.param(params, b, k);
                let inputs = x[row..][..after].iter().zip(&dy[row..][..after]);
                let sums = dgamma[param..][..after].iter_mut().zip(&mut dbeta[param..][..after]);
                for ((dgamma, dbeta), (x, dy)) in sums.zip(inputs) {
                    *dgamma += dy * ((x - mean) * root);
                    *dbeta += dy;
                }
            }
        }
    }

    fn backward(
        layout: &NormLayout,
        params: NormParams,
        x: &[f32],
        dy: &[f32],
        gamma: Option<&[f32]>,
        statistics: &[f32],
        dx: &mut [f32],
    ) {
        let after = layout.after;
        for k in 0..layout.kept {
            let (mean, root) = (statistics[2 * k], statistics[2 * k + 1]);
            let (mut sum, mut product) = (0.0, 0.0);
            for b in 0..layout.before {
                let row = layout.row(b, k);
                let (x, dx) = (&x[row..][..after], &mut dx[row..][..after]);
                dx.copy_from_slice(&dy[row..][..after]);
                if let Some(gamma) = gamma {
                    let gamma = &gamma[layout.param(params, b, k)..];
                    for (dx, gamma) in dx.iter_mut().zip(gamma) {
                        *dx *= gamma;
                    }
                }
                let dx = &*dx;
                let (s, p) = sums(after, |i| {
                    let d = f64::from(dx[i]);
                    (d, d * f64::from(x[i] - mean))
                });
                sum += s;
                product += p;
            }
            let by_mean = (sum / layout.count()) as f32;
            let slope = (product / layout.count() * f64::from(root) * f64::from(root)) as f32;
            for b in 0..layout.before {
                let row = layout.row(b, k);
                let (x, dx) = (&x[row..][..after], &mut dx[row..][..after]);
                for (dx, x) in dx.iter_mut().zip(x) {
                    *dx = root * (*dx - by_mean - (x - mean) * slope);
                }
            }
        }
    }

    fn to_unit(layout: &NormLayout, x: &[f32], factors: &mut [f32], y: &mut [f32]) {
        let after = layout.after;
        for (k, factor) in factors.iter_mut().enumerate() {
            let mut squares = 0.0;
            for b in 0..layout.before {
                let x = &x[layout.row(b, k)..][..after];
                squares += sums(after, |i| (f64::from(x[i]) * f64::from(x[i]), 0.0)).0;
            }
            let square = if squares < LEAST_SQUARE { LEAST_SQUARE } else { squares };
            *factor = (1.0 / square.sqrt()) as f32;
            for b in 0..layout.before {
                let row = layout.row(b, k);
                for (y, x) in y[row..][..after].iter_mut().zip(&x[row..]) {
                    *y = x * *factor;
                }
            }
        }
    }

    fn from_unit(layout: &NormLayout, y: &[f32], dy: &[f32], factors: &[f32], dx: &mut [f32]) {
        let after = layout.after;
        for (k, &factor) in factors.iter().enumerate() {
            let (mut product, mut squares) = (0.0, 0.0);
            for b in 0..layout.before {
                let row = layout.row(b, k);
                let (y, dy) = (&y[row..][..after], &dy[row..][..after]);
                let (p, s) = sums(after, |i| {
                    let y = f64::from(y[i]);
                    (y * f64::from(dy[i]), y * y)
                });
                product += p;
                squares += s;
            }
            // An output shorter than 1 was divided by the least length, which is a constant.
            let slope = if squares < 0.99 { 0.0 } else { product as f32 };
            for b in 0..layout.before {
                let row = layout.row(b, k);
                let inputs = y[row..].iter().zip(&dy[row..]);
                for (dx, (y, dy)) in dx[row..][..after].iter_mut().zip(inputs) {
                    *dx = factor * (dy - y * slope);
                }
            }
        }
    }
}
