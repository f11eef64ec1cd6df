//! Batch normalization: statistics of each channel over everything else, and what is done with them.
//!
//! Any axis can hold the channels.
//! Memory is walked through in periods, multiples of the length after which the channels repeat, so
//! that the inner loops are as long for three channels as for a hundred; where that length is large
//! and each channel has a run of neighbours in it, run by run.
//! Sums are taken in double precision: one walk gives mean and variance, and the gradient's sums do
//! not cancel.

use std::ops::Range;

use candle_core::{DType, Tensor};

use super::activation::{Activation, relu, relu_backward};
use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Shortest period, in elements.
const PERIOD: usize = 64;
/// Longest period of channels that come in runs: what is kept for each element of a period stays in
/// the first-level cache.
const LONGEST_PERIOD: usize = 2048;
/// Shortest run of a channel that is worth a loop of its own.
const SHORTEST_RUN: usize = 16;
/// Fewest periods in a sum where a period is longer than that: what is kept for each of its elements takes half the
/// memory of the tensor at most.
const FEWEST_PERIODS: usize = 8;
/// Most partial sums, however large the tensor.
const PARTIALS: usize = 32;

/// Mean and biased variance (divided by the number of values) of each channel.
///
/// `x`: any shape, `axis` holds the channels; the results: `[C]`.
///
/// # Errors
/// See [the module](super); `axis` is one of `x`, of at least one channel.
pub fn channel_statistics(
    ws: &mut Workspace,
    x: &Tensor,
    axis: usize,
) -> Result<(Tensor, Tensor), TensorError> {
    let c = Channels::new("channel_statistics", x.dims(), axis)?;
    on_gpu!(x, |gpu| cuda::batch_norm::channel_statistics(
        gpu,
        ws,
        x,
        c.on_gpu()
    ));
    let sums = c.sums(ws, x, x, None)?;
    let mean = ws.take(&[c.channels], DType::F32)?;
    let variance = ws.take(&[c.channels], DType::F32)?;
    {
        let sums = access::read::<f64>(&sums)?;
        let (sum, squares) = sums.split_at(c.channels);
        access::write2(
            &mean,
            &variance,
            |mean: &mut [f32], variance: &mut [f32]| {
                for i in 0..c.channels {
                    let center = sum[i] / c.count();
                    mean[i] = center as f32;
                    // Rounding can make a variance of zero negative; NaN stays.
                    let spread = squares[i] / c.count() - center * center;
                    variance[i] = if spread < 0.0 { 0.0 } else { spread as f32 };
                }
            },
        )?;
    }
    ws.give(&sums);
    Ok((mean, variance))
}

/// What [`batch_norm`] takes beside its input.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm<'a> {
    /// The axis of the channels.
    pub axis: usize,
    /// `[C]`
    pub mean: &'a Tensor,
    /// `[C]`
    pub variance: &'a Tensor,
    /// `[C]`; 1 without.
    pub gamma: Option<&'a Tensor>,
    /// `[C]`; 0 without.
    pub beta: Option<&'a Tensor>,
    /// What is added to the variance.
    pub epsilon: f32,
    /// What is done to the result.
    pub activation: Activation,
}

impl<'a> BatchNorm<'a> {
    /// One without `gamma`, `beta` and activation.
    #[must_use]
    pub fn new(axis: usize, mean: &'a Tensor, variance: &'a Tensor, epsilon: f32) -> Self {
        Self {
            axis,
            mean,
            variance,
            gamma: None,
            beta: None,
            epsilon,
            activation: Activation::Linear,
        }
    }

    fn check(&self, op: &'static str, c: &Channels) -> Result<(), TensorError> {
        c.check(op, "mean", Some(self.mean))?;
        c.check(op, "variance", Some(self.variance))?;
        c.check(op, "gamma", self.gamma)?;
        c.check(op, "beta", self.beta)
    }

    /// `[3, period]`: mean, factor and shift of the channel of each element.
    fn terms(&self, ws: &mut Workspace, c: &Channels) -> Result<Tensor, TensorError> {
        let terms = ws.take(&[3, c.period], DType::F32)?;
        let mean = access::read::<f32>(self.mean)?;
        let variance = access::read::<f32>(self.variance)?;
        let gamma = self.gamma.map(access::read::<f32>).transpose()?;
        let beta = self.beta.map(access::read::<f32>).transpose()?;
        access::write(&terms, |terms: &mut [f32]| {
            c.expand(terms, |i| {
                let scale = gamma.as_ref().map_or(1.0, |gamma| gamma[i]);
                let shift = beta.as_ref().map_or(0.0, |beta| beta[i]);
                [
                    mean[i],
                    scale * inverse_root(variance[i], self.epsilon),
                    shift,
                ]
            });
        })?;
        Ok(terms)
    }
}

/// `y = activation(gamma · (x - mean) / √(variance + epsilon) + beta)` for each channel.
///
/// `x` and `y`: any shape.
///
/// # Errors
/// As [`channel_statistics`].
pub fn batch_norm(
    ws: &mut Workspace,
    x: &Tensor,
    norm: &BatchNorm<'_>,
) -> Result<Tensor, TensorError> {
    const OP: &str = "batch_norm";
    let c = Channels::new(OP, x.dims(), norm.axis)?;
    norm.check(OP, &c)?;
    on_gpu!(x, |gpu| cuda::batch_norm::batch_norm(
        gpu,
        ws,
        x,
        c.on_gpu(),
        norm
    ));
    let y = ws.take(x.dims(), DType::F32)?;
    let terms = norm.terms(ws, &c)?;
    {
        let (x, terms) = (access::read::<f32>(x)?, access::read::<f32>(&terms)?);
        let (x, terms) = (&*x, &*terms);
        let chunk = c.chunk();
        access::write(&y, |y| {
            for_each_part(chunks_mut(y, chunk), |i, y| {
                let first = i * chunk;
                let x = &x[first..];
                match norm.activation {
                    activation if c.in_runs => scale_runs(x, terms, activation, &c, first, y),
                    Activation::Linear => scale(x, terms, c.period, y),
                    Activation::Relu => scale_relu(x, terms, c.period, y),
                }
            });
        })?;
    }
    ws.give(&terms);
    Ok(y)
}

/// The gradients of [`batch_norm`]: fills `dgamma` and `dbeta` (`[C]`), returns `dx` (as `x`) if
/// `need_dx`.
///
/// `dy` is the gradient with respect to the output. `of_batch` says that mean and variance are
/// those of `x`, so that its gradient goes through them as well; otherwise they are constants.
///
/// # Errors
/// As [`channel_statistics`]. After an error the gradients are unspecified.
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_backward(
    ws: &mut Workspace,
    x: &Tensor,
    dy: &Tensor,
    norm: &BatchNorm<'_>,
    of_batch: bool,
    dgamma: Option<&Tensor>,
    dbeta: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "batch_norm backward";
    let c = Channels::new(OP, x.dims(), norm.axis)?;
    expect_dims(OP, "output gradient", dy, x.dims())?;
    norm.check(OP, &c)?;
    c.check(OP, "gradient of gamma", dgamma)?;
    c.check(OP, "gradient of beta", dbeta)?;
    on_gpu!(x, |gpu| cuda::batch_norm::batch_norm_backward(
        gpu,
        ws,
        x,
        dy,
        c.on_gpu(),
        norm,
        of_batch,
        dgamma,
        dbeta,
        need_dx
    ));
    // Where a ReLU follows, its gradient needs the values that it was given.
    let of_relu = match norm.activation {
        Activation::Linear => None,
        Activation::Relu => Some(norm.terms(ws, &c)?),
    };
    let sums = c.sums(ws, dy, x, of_relu.as_ref())?;
    let terms = ws.take(&[4, c.period], DType::F32)?;
    {
        let sums = access::read::<f64>(&sums)?;
        let mean = access::read::<f32>(norm.mean)?;
        let variance = access::read::<f32>(norm.variance)?;
        // Σ dy and Σ dy · (x - mean) / √(variance + epsilon).
        let sum = |i: usize| sums[i];
        let product = |i: usize| {
            let centered = sums[c.channels + i] - f64::from(mean[i]) * sums[i];
            centered * f64::from(inverse_root(variance[i], norm.epsilon))
        };
        if let Some(dgamma) = dgamma {
            access::write(dgamma, |dgamma: &mut [f32]| {
                let values = dgamma.iter_mut().enumerate();
                values.for_each(|(i, value)| *value = product(i) as f32);
            })?;
        }
        if let Some(dbeta) = dbeta {
            access::write(dbeta, |dbeta: &mut [f32]| {
                let values = dbeta.iter_mut().enumerate();
                values.for_each(|(i, value)| *value = sum(i) as f32);
            })?;
        }
        let gamma = norm.gamma.map(access::read::<f32>).transpose()?;
        access::write(&terms, |terms: &mut [f32]| {
            c.expand(terms, |i| {
                let root = inverse_root(variance[i], norm.epsilon);
                let scale = gamma.as_ref().map_or(1.0, |gamma| gamma[i]) * root;
                let (by_mean, by_variance) = match of_batch {
                    true => (sum(i) / c.count(), product(i) / c.count()),
                    false => (0.0, 0.0),
                };
                let slope = (by_variance * f64::from(root)) as f32;
                [mean[i], scale, by_mean as f32, slope]
            });
        })?;
    }
    ws.give(&sums);
    let dx = match need_dx {
        false => None,
        true => {
            let dx = ws.take(x.dims(), DType::F32)?;
            let (x, dy) = (access::read::<f32>(x)?, access::read::<f32>(dy)?);
            let terms = access::read::<f32>(&terms)?;
            let of_relu = of_relu.as_ref().map(access::read::<f32>).transpose()?;
            let (x, dy, terms, of_relu) = (&*x, &*dy, &*terms, of_relu.as_deref());
            let chunk = c.chunk();
            access::write(&dx, |dx| {
                for_each_part(chunks_mut(dx, chunk), |i, dx| {
                    let first = i * chunk;
                    let (x, dy) = (&x[first..], &dy[first..]);
                    match of_relu {
                        of_relu if c.in_runs => {
                            unscale_runs(x, dy, terms, of_relu, &c, first, dx);
                        }
                        None => unscale(x, dy, terms, c.period, dx),
                        Some(of_relu) => unscale_relu(x, dy, terms, of_relu, c.period, dx),
                    }
                });
            })?;
            Some(dx)
        }
    };
    ws.give(&terms);
    of_relu.iter().for_each(|terms| ws.give(terms));
    Ok(dx)
}

fn inverse_root(variance: f32, epsilon: f32) -> f32 {
    1.0 / (variance + epsilon).sqrt()
}

/// A tensor as `[…, channels, inner]`.
struct Channels {
    channels: usize,
    inner: usize,
    elements: usize,
    /// Elements after which what is known of a channel comes again; the number of channels if that is
    /// kept for each once.
    period: usize,
    /// Whether memory is walked through run by run: `inner` elements of one channel.
    in_runs: bool,
}

impl Channels {
    fn new(op: &'static str, shape: &[usize], axis: usize) -> Result<Self, TensorError> {
        match shape.get(axis) {
            Some(&channels) if channels > 0 && !shape[axis + 1..].contains(&0) => {
                let inner = shape[axis + 1..].iter().product();
                let length: usize = channels * inner;
                let elements: usize = shape.iter().product();
                let is_run = inner >= SHORTEST_RUN || elements < 2 * FEWEST_PERIODS * length;
                let in_runs = inner > 1 && is_run && length > LONGEST_PERIOD;
                Ok(Self {
                    channels,
                    inner,
                    elements,
                    period: match in_runs {
                        true => channels,
                        false => length * PERIOD.div_ceil(length),
                    },
                    in_runs,
                })
            }
            _ => {
                let expected = format_args!("channels on axis {axis}").to_string();
                Err(TensorError::shape(op, "input", expected, shape))
            }
        }
    }

    fn check(
        &self,
        op: &'static str,
        what: &'static str,
        tensor: Option<&Tensor>,
    ) -> Result<(), TensorError> {
        match tensor {
            Some(tensor) => expect_dims(op, what, tensor, &[self.channels]),
            None => Ok(()),
        }
    }

    #[cfg(feature = "cuda")]
    fn on_gpu(&self) -> crate::cuda::batch_norm::Channels {
        crate::cuda::batch_norm::Channels {
            rows: self.elements / (self.channels * self.inner),
            channels: self.channels,
            inner: self.inner,
        }
    }

    /// Values of one channel; 1 if there are none, which keeps an empty batch free of NaN.
    fn count(&self) -> f64 {
        (self.elements / self.channels).max(1) as f64
    }

    /// Elements of one task: whole periods.
    fn chunk(&self) -> usize {
        (CHUNK / self.period).max(1) * self.period
    }

    /// The channel of a place in a period.
    fn channel(&self, at: usize) -> usize {
        match self.in_runs {
            true => at,
            false => at % (self.channels * self.inner) / self.inner,
        }
    }

    /// Visits the runs that `len` elements from `first` on fall into: the channel of each, and its
    /// place among these elements.
    #[inline(always)]
    fn for_each_run(&self, first: usize, len: usize, mut visit: impl FnMut(usize, Range<usize>)) {
        let mut start = 0;
        while start < len {
            let run = (first + start) / self.inner;
            let end = len.min((run + 1) * self.inner - first);
            visit(run % self.channels, start..end);
            start = end;
        }
    }

    /// The terms of one channel, of those that [`expand`](Self::expand) wrote for channels in runs.
    #[inline(always)]
    fn of<const N: usize>(&self, terms: &[f32], channel: usize) -> [f32; N] {
        std::array::from_fn(|k| terms[k * self.channels + channel])
    }

    /// Writes `values` of the channel of each place in a period to as many vectors as it has.
    fn expand<const N: usize>(&self, terms: &mut [f32], values: impl Fn(usize) -> [f32; N]) {
        for at in 0..self.period {
            for (k, value) in values(self.channel(at)).into_iter().enumerate() {
                terms[k * self.period + at] = value;
            }
        }
    }

    /// `[2, C]` in f64: `Σ a` and `Σ a · b` of each channel; with the terms of a normalization of `b`
    /// that a ReLU follows, over those places where it passes the gradient `a` on.
    fn sums(
        &self,
        ws: &mut Workspace,
        a: &Tensor,
        b: &Tensor,
        of_relu: Option<&Tensor>,
    ) -> Result<Tensor, TensorError> {
        let periods = self.elements.div_ceil(self.period);
        let mut fewest = periods.div_ceil(PARTIALS);
        if self.period > LONGEST_PERIOD && !self.in_runs {
            fewest = fewest.max(FEWEST_PERIODS);
        }
        let chunk = self.chunk().max(fewest * self.period);
        let chunks = self.elements.div_ceil(chunk);
        let partials = ws.take(&[chunks, 2, self.period], DType::F64)?;
        {
            let (a, b) = (access::read::<f32>(a)?, access::read::<f32>(b)?);
            let of_relu = of_relu.map(access::read::<f32>).transpose()?;
            let (a, b, of_relu) = (&*a, &*b, of_relu.as_deref());
            access::write(&partials, |partials: &mut [f64]| {
                for_each_part(chunks_mut(partials, 2 * self.period), |i, partial| {
                    let range = i * chunk..self.elements.min((i + 1) * chunk);
                    let (sums, products) = partial.split_at_mut(self.period);
                    let first = range.start;
                    let (a, b) = (&a[range.clone()], &b[range]);
                    match of_relu {
                        of_relu if self.in_runs => {
                            add_products_runs(a, b, of_relu, self, first, sums, products);
                        }
                        None => add_products(a, b, sums, products),
                        Some(terms) => add_products_relu(a, b, terms, sums, products),
                    }
                });
            })?;
        }
        let sums = ws.take(&[2, self.channels], DType::F64)?;
        {
            let partials = access::read::<f64>(&partials)?;
            access::write(&sums, |sums: &mut [f64]| {
                sums.fill(0.0);
                let (sum, product) = sums.split_at_mut(self.channels);
                for partial in partials.chunks_exact(2 * self.period) {
                    for at in 0..self.period {
                        let channel = self.channel(at);
                        sum[channel] += partial[at];
                        product[channel] += partial[self.period + at];
                    }
                }
            })?;
        }
        ws.give(&partials);
        Ok(sums)
    }
}

/// `Σ f(a, b)` and `Σ f(a, b) · b` in double precision.
#[inline(always)]
fn sums_of_run(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> (f64, f64) {
    const LANES: usize = 16;
    let (mut sums, mut products) = ([0.0; LANES], [0.0; LANES]);
    let mut add = |a: &[f32], b: &[f32]| {
        let lanes = sums.iter_mut().zip(&mut products);
        for ((sum, product), (&a, &b)) in lanes.zip(a.iter().zip(b)) {
            let value = f64::from(f(a, b));
            *sum += value;
            *product += value * f64::from(b);
        }
    };
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        add(a, b);
    }
    add(a_rest, b_rest);
    for lanes in [8, 4, 2, 1] {
        for lane in 0..lanes {
            sums[lane] += sums[lane + lanes];
            products[lane] += products[lane + lanes];
        }
    }
    (sums[0], products[0])
}

multiversion! {
    /// Overwrites `sums` and `products` with those over all periods.
    fn add_products(a: &[f32], b: &[f32], sums: &mut [f64], products: &mut [f64]) {
        sums.fill(0.0);
        products.fill(0.0);
        let period = sums.len();
        for (a, b) in a.chunks(period).zip(b.chunks(period)) {
            let pairs = a.iter().zip(b);
            for ((sum, product), (&a, &b)) in sums.iter_mut().zip(products.iter_mut()).zip(pairs) {
                *sum += f64::from(a);
                *product += f64::from(a) * f64::from(b);
            }
        }
    }

    /// The same where the ReLU of `scale_relu`, which was given `b`, passes `a` on.
    fn add_products_relu(a: &[f32], b: &[f32], terms: &[f32], sums: &mut [f64], products: &mut [f64]) {
        sums.fill(0.0);
        products.fill(0.0);
        let period = sums.len();
        let (mean, rest) = terms.split_at(period);
        let (scale, shift) = rest.split_at(period);
        for (a, b) in a.chunks(period).zip(b.chunks(period)) {
            let terms = mean.iter().zip(scale).zip(shift);
            let sums = sums.iter_mut().zip(products.iter_mut());
            for (((sum, product), (&a, &b)), ((mean, scale), shift)) in
                sums.zip(a.iter().zip(b)).zip(terms)
            {
                let a = f64::from(relu_backward((b - mean) * scale + shift, a));
                *sum += a;
                *product += a * f64::from(b);
            }
        }
    }

    /// The same for channels in runs, for the elements from `first` on.
    fn add_products_runs(
        a: &[f32],
        b: &[f32],
        of_relu: Option<&[f32]>,
        c: &Channels,
        first: usize,
        sums: &mut [f64],
        products: &mut [f64],
    ) {
        sums.fill(0.0);
        products.fill(0.0);
        c.for_each_run(first, a.len(), |channel, run| {
            let (a, b) = (&a[run.clone()], &b[run]);
            let (sum, product) = match of_relu {
                None => sums_of_run(a, b, |a, _| a),
                Some(terms) => {
                    let [mean, scale, shift] = c.of(terms, channel);
                    sums_of_run(a, b, |a, b| relu_backward((b - mean) * scale + shift, a))
                }
            };
            sums[channel] += sum;
            products[channel] += product;
        });
    }

    fn scale(x: &[f32], terms: &[f32], period: usize, y: &mut [f32]) {
        let (mean, rest) = terms.split_at(period);
        let (scale, shift) = rest.split_at(period);
        for (y, x) in y.chunks_mut(period).zip(x.chunks(period)) {
            let terms = mean.iter().zip(scale).zip(shift);
            for ((y, &x), ((mean, scale), shift)) in y.iter_mut().zip(x).zip(terms) {
                *y = (x - mean) * scale + shift;
            }
        }
    }

    /// As `scale`, and a ReLU after it.
    fn scale_relu(x: &[f32], terms: &[f32], period: usize, y: &mut [f32]) {
        let (mean, rest) = terms.split_at(period);
        let (scale, shift) = rest.split_at(period);
        for (y, x) in y.chunks_mut(period).zip(x.chunks(period)) {
            let terms = mean.iter().zip(scale).zip(shift);
            for ((y, &x), ((mean, scale), shift)) in y.iter_mut().zip(x).zip(terms) {
                *y = relu((x - mean) * scale + shift);
            }
        }
    }

    /// As `scale` or `scale_relu`, for channels in runs and the elements from `first` on.
    fn scale_runs(
        x: &[f32],
        terms: &[f32],
        activation: Activation,
        c: &Channels,
        first: usize,
        y: &mut [f32],
    ) {
        c.for_each_run(first, y.len(), |channel, run| {
            let [mean, scale, shift] = c.of(terms, channel);
            let pairs = y[run.clone()].iter_mut().zip(&x[run]);
            match activation {
                Activation::Linear => pairs.for_each(|(y, x)| *y = (x - mean) * scale + shift),
                Activation::Relu => pairs.for_each(|(y, x)| *y = relu((x - mean) * scale + shift)),
            }
        });
    }

    fn unscale(x: &[f32], dy: &[f32], terms: &[f32], period: usize, dx: &mut [f32]) {
        let (mean, rest) = terms.split_at(period);
        let (scale, rest) = rest.split_at(period);
        let (by_mean, slope) = rest.split_at(period);
        let inputs = x.chunks(period).zip(dy.chunks(period));
        for (dx, (x, dy)) in dx.chunks_mut(period).zip(inputs) {
            let terms = mean.iter().zip(scale).zip(by_mean.iter().zip(slope));
            let inputs = x.iter().zip(dy);
            for ((dx, (x, dy)), ((mean, scale), (by_mean, slope))) in
                dx.iter_mut().zip(inputs).zip(terms)
            {
                *dx = scale * (dy - by_mean - (x - mean) * slope);
            }
        }
    }

    /// The gradient of `scale_relu`, whose terms are `of_relu`.
    fn unscale_relu(
        x: &[f32],
        dy: &[f32],
        terms: &[f32],
        of_relu: &[f32],
        period: usize,
        dx: &mut [f32]
    ) {
        let (mean, rest) = terms.split_at(period);
        let (scale, rest) = rest.split_at(period);
        let (by_mean, slope) = rest.split_at(period);
        let shift = &of_relu[2 * period..];
        let inputs = x.chunks(period).zip(dy.chunks(period));
        for (dx, (x, dy)) in dx.chunks_mut(period).zip(inputs) {
            let terms = mean.iter().zip(scale).zip(by_mean.iter().zip(slope)).zip(shift);
            let inputs = x.iter().zip(dy);
            for ((dx, (x, &dy)), (((mean, scale), (by_mean, slope)), shift)) in
                dx.iter_mut().zip(inputs).zip(terms)
            {
                let dy = relu_backward((x - mean) * scale + shift, dy);
                *dx = scale * (dy - by_mean - (x - mean) * slope);
            }
        }
    }

    /// As `unscale` or `unscale_relu`, for channels in runs and the elements from `first` on.
    fn unscale_runs(
        x: &[f32],
        dy: &[f32],
        terms: &[f32],
        of_relu: Option<&[f32]>,
        c: &Channels,
        first: usize,
        dx: &mut [f32],
    ) {
        c.for_each_run(first, dx.len(), |channel, run| {
            let [mean, scale, by_mean, slope] = c.of(terms, channel);
            let inputs = x[run.clone()].iter().zip(&dy[run.clone()]);
            let values = dx[run].iter_mut().zip(inputs);
            match of_relu {
                None => values.for_each(|(dx, (x, dy))| {
                    *dx = scale * (dy - by_mean - (x - mean) * slope);
                }),
                Some(of_relu) => {
                    let [_, _, shift] = c.of(of_relu, channel);
                    values.for_each(|(dx, (x, &dy))| {
                        let dy = relu_backward((x - mean) * scale + shift, dy);
                        *dx = scale * (dy - by_mean - (x - mean) * slope);
                    });
                }
            }
        });
    }
}
