//! Batch normalization: statistics of each channel over everything else, and what is done with them.
//!
//! Any axis can hold the channels.
//! Memory is walked through in periods, multiples of the length after which the channels repeat, so
//! that the inner loops are as long for three channels as for a hundred.
//! Sums are taken in double precision: one walk gives mean and variance, and the gradient's sums do
//! not cancel.

use candle_core::{DType, Tensor};

use super::{CHUNK, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Shortest period, in elements.
const PERIOD: usize = 64;
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
    let sums = c.sums(ws, x, x)?;
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

/// `y = gamma · (x - mean) / √(variance + epsilon) + beta` for each channel.
///
/// `x` and `y`: any shape, `axis` holds the channels; all others: `[C]`. Without `gamma` it is 1,
/// without `beta` 0.
///
/// # Errors
/// As [`channel_statistics`].
#[allow(clippy::too_many_arguments)]
pub fn batch_norm(
    ws: &mut Workspace,
    x: &Tensor,
    axis: usize,
    mean: &Tensor,
    variance: &Tensor,
    gamma: Option<&Tensor>,
    beta: Option<&Tensor>,
    epsilon: f32,
) -> Result<Tensor, TensorError> {
    const OP: &str = "batch_norm";
    let c = Channels::new(OP, x.dims(), axis)?;
    c.check(OP, "mean", Some(mean))?;
    c.check(OP, "variance", Some(variance))?;
    c.check(OP, "gamma", gamma)?;
    c.check(OP, "beta", beta)?;
    on_gpu!(x, |gpu| cuda::batch_norm::batch_norm(
        gpu,
        ws,
        x,
        c.on_gpu(),
        mean,
        variance,
        gamma,
        beta,
        epsilon
    ));
    let y = ws.take(x.dims(), DType::F32)?;
    let terms = ws.take(&[3, c.period], DType::F32)?;
    {
        let (mean, variance) = (access::read::<f32>(mean)?, access::read::<f32>(variance)?);
        let gamma = gamma.map(access::read::<f32>).transpose()?;
        let beta = beta.map(access::read::<f32>).transpose()?;
        access::write(&terms, |terms: &mut [f32]| {
            c.expand(terms, |i| {
                let scale = gamma.as_ref().map_or(1.0, |gamma| gamma[i]);
                let shift = beta.as_ref().map_or(0.0, |beta| beta[i]);
                [mean[i], scale * inverse_root(variance[i], epsilon), shift]
            });
        })?;
    }
    {
        let (x, terms) = (access::read::<f32>(x)?, access::read::<f32>(&terms)?);
        let (x, terms) = (&*x, &*terms);
        let chunk = c.chunk();
        access::write(&y, |y| {
            for_each_part(chunks_mut(y, chunk), |i, y| {
                scale(&x[i * chunk..], terms, c.period, y);
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
    axis: usize,
    mean: &Tensor,
    variance: &Tensor,
    gamma: Option<&Tensor>,
    epsilon: f32,
    of_batch: bool,
    dgamma: Option<&Tensor>,
    dbeta: Option<&Tensor>,
    need_dx: bool,
) -> Result<Option<Tensor>, TensorError> {
    const OP: &str = "batch_norm backward";
    let c = Channels::new(OP, x.dims(), axis)?;
    expect_dims(OP, "output gradient", dy, x.dims())?;
    c.check(OP, "mean", Some(mean))?;
    c.check(OP, "variance", Some(variance))?;
    c.check(OP, "gamma", gamma)?;
    c.check(OP, "gradient of gamma", dgamma)?;
    c.check(OP, "gradient of beta", dbeta)?;
    on_gpu!(x, |gpu| cuda::batch_norm::batch_norm_backward(
        gpu,
        ws,
        x,
        dy,
        c.on_gpu(),
        mean,
        variance,
        gamma,
        epsilon,
        of_batch,
        dgamma,
        dbeta,
        need_dx
    ));
    let sums = c.sums(ws, dy, x)?;
    let terms = ws.take(&[4, c.period], DType::F32)?;
    {
        let sums = access::read::<f64>(&sums)?;
        let (mean, variance) = (access::read::<f32>(mean)?, access::read::<f32>(variance)?);
        // Σ dy and Σ dy · (x - mean) / √(variance + epsilon).
        let sum = |i: usize| sums[i];
        let product = |i: usize| {
            let centered = sums[c.channels + i] - f64::from(mean[i]) * sums[i];
            centered * f64::from(inverse_root(variance[i], epsilon))
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
        let gamma = gamma.map(access::read::<f32>).transpose()?;
        access::write(&terms, |terms: &mut [f32]| {
            c.expand(terms, |i| {
                let root = inverse_root(variance[i], epsilon);
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
            let (x, dy, terms) = (&*x, &*dy, &*terms);
            let chunk = c.chunk();
            access::write(&dx, |dx| {
                for_each_part(chunks_mut(dx, chunk), |i, dx| {
                    unscale(&x[i * chunk..], &dy[i * chunk..], terms, c.period, dx);
                });
            })?;
            Some(dx)
        }
    };
    ws.give(&terms);
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
    period: usize,
}

impl Channels {
    fn new(op: &'static str, shape: &[usize], axis: usize) -> Result<Self, TensorError> {
        match shape.get(axis) {
            Some(&channels) if channels > 0 && !shape[axis + 1..].contains(&0) => {
                let inner = shape[axis + 1..].iter().product();
                let length: usize = channels * inner;
                Ok(Self {
                    channels,
                    inner,
                    elements: shape.iter().product(),
                    period: length * PERIOD.div_ceil(length),
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

    /// The channel of an element.
    fn channel(&self, element: usize) -> usize {
        element % (self.channels * self.inner) / self.inner
    }

    /// Writes `values` of the channel of each element of a period to as many vectors as it has.
    fn expand<const N: usize>(&self, terms: &mut [f32], values: impl Fn(usize) -> [f32; N]) {
        for at in 0..self.period {
            for (k, value) in values(self.channel(at)).into_iter().enumerate() {
                terms[k * self.period + at] = value;
            }
        }
    }

    /// `[2, C]` in f64: `Σ a` and `Σ a · b` of each channel.
    fn sums(&self, ws: &mut Workspace, a: &Tensor, b: &Tensor) -> Result<Tensor, TensorError> {
        let periods = self.elements.div_ceil(self.period);
        let chunk = self.chunk().max(periods.div_ceil(PARTIALS) * self.period);
        let chunks = self.elements.div_ceil(chunk);
        let partials = ws.take(&[chunks, 2, self.period], DType::F64)?;
        {
            let (a, b) = (access::read::<f32>(a)?, access::read::<f32>(b)?);
            let (a, b) = (&*a, &*b);
            access::write(&partials, |partials: &mut [f64]| {
                for_each_part(chunks_mut(partials, 2 * self.period), |i, partial| {
                    let range = i * chunk..self.elements.min((i + 1) * chunk);
                    let (sums, products) = partial.split_at_mut(self.period);
                    add_products(&a[range.clone()], &b[range], sums, products);
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
}
