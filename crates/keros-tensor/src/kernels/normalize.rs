//! Normalization within a sample: layer, group and unit normalization.
//!
//! All are one thing: a tensor seen as `[outer, before, kept, after]`, with statistics over `before`
//! and `after`.
//! Sums are taken in double precision, eight at a time, in an order that depends on the shape alone; the
//! gradients of parameters are sums of sums of few rows, so that what rounding costs hardly grows with the rows.

use candle_core::{DType, Tensor};

use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::scratch::with_scratch;
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Most partial sums of a parameter's gradient.
const PARTIALS: usize = 32;
/// Rows whose part of a parameter's gradient is added up before it is added to that of others.
const FEW_ROWS: usize = 512;
/// Most columns whose sums are taken side by side.
const TILE: usize = 128;
/// The square of the least length that [`unit_normalize`] divides by, 1e-12 as in Keras.
const LEAST_SQUARE: f64 = 1e-24;

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
    pub(crate) fn params(&self, params: NormParams) -> usize {
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

    /// Whether to walk through whole rows of `kept · after` values, since those of `after` alone are
    /// too short to be fast.
    fn by_columns(&self, params: NormParams) -> bool {
        params == NormParams::Trailing && self.before > 1 && self.after <= TILE
    }

    /// Cuts the `kept · after` columns of a sample into tiles of whole sets.
    fn tiles(&self) -> impl Iterator<Item = Tile> {
        let (after, width) = (self.after, self.kept * self.after);
        let most = TILE / after * after;
        (0..width).step_by(most).map(move |first| {
            let columns = most.min(width - first);
            // Several short rows are as good as a long one.
            let rows = if columns == width { TILE / width } else { 1 };
            Tile {
                first,
                columns,
                rows,
                stride: rows * width,
            }
        })
    }

    /// Values that a statistic is over.
    pub(crate) fn count(&self) -> f64 {
        (self.before * self.after) as f64
    }
}

/// Columns that are walked through together.
struct Tile {
    first: usize,
    columns: usize,
    /// Rows of them that lie side by side and are taken as one; the last may be fewer.
    rows: usize,
    stride: usize,
}

impl Tile {
    fn len(&self) -> usize {
        self.rows * self.columns
    }

    #[inline(always)]
    fn of<'a>(&self, sample: &'a [f32]) -> impl Iterator<Item = &'a [f32]> {
        let (first, len) = (self.first, self.len());
        let rows = sample.chunks(self.stride);
        rows.map(move |row| &row[first..row.len().min(first + len)])
    }

    #[inline(always)]
    fn of_mut<'a>(&self, sample: &'a mut [f32]) -> impl Iterator<Item = &'a mut [f32]> {
        let (first, len) = (self.first, self.len());
        let rows = sample.chunks_mut(self.stride);
        rows.map(move |row| {
            let end = row.len().min(first + len);
            &mut row[first..end]
        })
    }

    /// Adds the sums of rows that were taken as one to those of the first.
    #[inline(always)]
    fn join(&self, sums: &mut [f64; TILE]) {
        let (first, others) = sums[..self.len()].split_at_mut(self.columns);
        for other in others.chunks_exact(self.columns) {
            for (sum, other) in first.iter_mut().zip(other) {
                *sum += other;
            }
        }
    }

    /// Repeats the terms of the first row for those that are taken with it.
    #[inline(always)]
    fn repeat(&self, terms: &mut [f32; TILE]) {
        for row in 1..self.rows {
            terms.copy_within(..self.columns, row * self.columns);
        }
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
    on_gpu!(x, |gpu| cuda::normalize::normalize(
        gpu, ws, x, layout, gamma, beta, params, epsilon
    ));
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
                    if layout.by_columns(params) {
                        forward_by_columns(layout, x, gamma, beta, epsilon, statistics, y);
                    } else {
                        forward(layout, params, x, gamma, beta, epsilon, statistics, y);
                    }
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
    on_gpu!(x, |gpu| cuda::normalize::normalize_backward(
        gpu, ws, x, statistics, dy, layout, gamma, params, dgamma, dbeta, need_dx
    ));
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
            let by_columns = layout.by_columns(params);
            let many = block.min(layout.outer) * (sample / len) > FEW_ROWS;
            for_each_part(parts, |i, (sums, mut dx)| {
                sums.fill(0.0);
                with_scratch(if many { 2 * len } else { 0 }, |few| {
                    few.fill(0.0);
                    let (few, all) = if many { (few, sums) } else { (sums, few) };
                    for n in i * block..layout.outer.min((i + 1) * block) {
                        let values = n * sample..(n + 1) * sample;
                        let (x, dy) = (&x[values.clone()], &dy[values]);
                        let statistics = &statistics[n * 2 * kept..(n + 1) * 2 * kept];
                        let at = n - i * block;
                        let dx = dx.as_mut().map(|dx| &mut dx[at * sample..][..sample]);
                        if by_columns {
                            backward_by_columns(layout, x, dy, gamma, statistics, few, dx);
                            if at % FEW_ROWS == FEW_ROWS - 1 {
                                add_few(few, all);
                            }
                            continue;
                        }
                        add_param_gradients(layout, params, at, x, dy, statistics, few, all);
                        if let Some(dx) = dx {
                            backward(layout, params, x, dy, gamma, statistics, dx);
                        }
                    }
                    add_few(few, all);
                });
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

/// `y = x / max(√(Σ x²), 1e-12)`, the sum over each set of values.
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
    on_gpu!(x, |gpu| cuda::normalize::unit_normalize(gpu, ws, x, layout));
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
    on_gpu!(y, |gpu| cuda::normalize::unit_normalize_backward(
        gpu, ws, y, factors, dy, layout
    ));
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

/// The mean, and the inverse root of the variance, from the sums over `count` values.
#[inline(always)]
fn mean_and_root(sum: f64, squares: f64, count: f64, epsilon: f32) -> (f32, f32) {
    let mean = sum / count;
    let spread = squares / count - mean * mean;
    // Rounding can make a variance of zero negative; NaN stays.
    let variance = if spread < 0.0 { 0.0 } else { spread };
    let root = 1.0 / (variance + f64::from(epsilon)).sqrt();
    (mean as f32, root as f32)
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
            let (mean, root) = mean_and_root(sum, squares, layout.count(), epsilon);
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

    fn forward_by_columns(
        layout: &NormLayout,
        x: &[f32],
        gamma: Option<&[f32]>,
        beta: Option<&[f32]>,
        epsilon: f32,
        statistics: &mut [f32],
        y: &mut [f32],
    ) {
        let after = layout.after;
        for tile in layout.tiles() {
            let (mut sums, mut squares) = ([0.0; TILE], [0.0; TILE]);
            for x in tile.of(x) {
                for ((sum, square), &x) in sums.iter_mut().zip(&mut squares).zip(x) {
                    let x = f64::from(x);
                    *sum += x;
                    *square += x * x;
                }
            }
            tile.join(&mut sums);
            tile.join(&mut squares);
            let (mut means, mut scales, mut shifts) = ([0.0; TILE], [1.0; TILE], [0.0; TILE]);
            for first in (0..tile.columns).step_by(after) {
                let set = first..first + after;
                let sum: f64 = sums[set.clone()].iter().sum();
                let squares: f64 = squares[set.clone()].iter().sum();
                let (mean, root) = mean_and_root(sum, squares, layout.count(), epsilon);
                let kept = (tile.first + first) / after;
                statistics[2 * kept] = mean;
                statistics[2 * kept + 1] = root;
                means[set.clone()].fill(mean);
                scales[set].fill(root);
            }
            let columns = tile.first..tile.first + tile.columns;
            if let Some(gamma) = gamma {
                for (scale, gamma) in scales.iter_mut().zip(&gamma[columns.clone()]) {
                    *scale *= gamma;
                }
            }
            if let Some(beta) = beta {
                shifts[..tile.columns].copy_from_slice(&beta[columns]);
            }
            for terms in [&mut means, &mut scales, &mut shifts] {
                tile.repeat(terms);
            }
            for (y, x) in tile.of_mut(y).zip(tile.of(x)) {
                let terms = means.iter().zip(&scales).zip(&shifts);
                for ((y, &x), ((mean, scale), shift)) in y.iter_mut().zip(x).zip(terms) {
                    *y = (x - mean) * scale + shift;
                }
            }
        }
    }

    /// Adds to the sums of the parameters' gradients, and fills `dx`.
    fn backward_by_columns(
        layout: &NormLayout,
        x: &[f32],
        dy: &[f32],
        gamma: Option<&[f32]>,
        statistics: &[f32],
        param_sums: &mut [f32],
        dx: Option<&mut [f32]>,
    ) {
        let after = layout.after;
        let (dgamma, dbeta) = param_sums.split_at_mut(layout.kept * after);
        let mut dx = dx;
        for tile in layout.tiles() {
            let columns = tile.first..tile.first + tile.columns;
            let statistics = &statistics[2 * (tile.first / after)..];
            let mut means = [0.0; TILE];
            for (means, pair) in means[..tile.columns].chunks_exact_mut(after).zip(statistics.chunks_exact(2)) {
                means.fill(pair[0]);
            }
            tile.repeat(&mut means);
            let (mut sums, mut products) = ([0.0; TILE], [0.0; TILE]);
            for (x, dy) in tile.of(x).zip(tile.of(dy)) {
                let inputs = x.iter().zip(dy).zip(&means);
                for ((sum, product), ((x, &dy), mean)) in
                    sums.iter_mut().zip(&mut products).zip(inputs)
                {
                    let dy = f64::from(dy);
                    *sum += dy;
                    *product += dy * f64::from(x - mean);
                }
            }
            tile.join(&mut sums);
            tile.join(&mut products);

            let (mut scales, mut shifts, mut slopes) = ([1.0; TILE], [0.0; TILE], [0.0; TILE]);
            if let Some(gamma) = gamma {
                scales[..tile.columns].copy_from_slice(&gamma[columns.clone()]);
            }
            for (first, pair) in (0..tile.columns).step_by(after).zip(statistics.chunks_exact(2)) {
                let root = pair[1];
                let (mut sum, mut product) = (0.0, 0.0);
                for at in first..first + after {
                    dbeta[tile.first + at] += sums[at] as f32;
                    dgamma[tile.first + at] += (products[at] * f64::from(root)) as f32;
                    sum += f64::from(scales[at]) * sums[at];
                    product += f64::from(scales[at]) * products[at];
                    scales[at] *= root;
                }
                let root = f64::from(root);
                let set = first..first + after;
                shifts[set.clone()].fill((sum / layout.count() * root) as f32);
                slopes[set].fill((product / layout.count() * root * root * root) as f32);
            }
            let Some(dx) = &mut dx else { continue };
            for terms in [&mut scales, &mut shifts, &mut slopes] {
                tile.repeat(terms);
            }
            let inputs = tile.of(x).zip(tile.of(dy));
            for (dx, (x, dy)) in tile.of_mut(dx).zip(inputs) {
                let terms = means.iter().zip(&scales).zip(shifts.iter().zip(&slopes));
                let inputs = x.iter().zip(dy);
                for ((dx, (x, dy)), ((mean, scale), (shift, slope))) in
                    dx.iter_mut().zip(inputs).zip(terms)
                {
                    *dx = scale * dy - shift - (x - mean) * slope;
                }
            }
        }
    }

    /// Adds those of sample `n` to the sums of few rows, and these in time to those of all, where there are any.
    fn add_param_gradients(
        layout: &NormLayout,
        params: NormParams,
        n: usize,
        x: &[f32],
        dy: &[f32],
        statistics: &[f32],
        few: &mut [f32],
        all: &mut [f32],
    ) {
        let len = layout.params(params);
        let (dgamma, dbeta) = few.split_at_mut(len);
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
                let nth = match params {
                    NormParams::Normalized => n * layout.kept + k,
                    NormParams::Trailing => n * layout.before + b,
                };
                if nth % FEW_ROWS == FEW_ROWS - 1 && !all.is_empty() {
                    add_few(&mut dgamma[param..][..after], &mut all[param..][..after]);
                    add_few(&mut dbeta[param..][..after], &mut all[len + param..][..after]);
                }
            }
        }
    }

    /// Moves sums to others, where there are any.
    fn add_few(few: &mut [f32], all: &mut [f32]) {
        for (few, all) in few.iter_mut().zip(all) {
            *all += *few;
            *few = 0.0;
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
