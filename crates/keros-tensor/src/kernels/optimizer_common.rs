//! What optimizers of every kind do around an update: gradients accumulated and clipped, parameters
//! decayed and averaged.

use candle_core::{DType, Tensor};

use super::CHUNK;
use super::optimizer::{Group, apply, run_each, single};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// `sum += factor x`, element by element, for pairs of a sum and an `x`.
///
/// # Errors
/// See [the module](super).
pub fn accumulate(pairs: &[(&Tensor, &Tensor)], factor: f64) -> Result<(), TensorError> {
    const OP: &str = "accumulating";
    let factor = factor as f32;
    apply!(
        OP,
        pairs_of(OP, pairs)?,
        accumulate_f32(factor),
        |[sum], x| {
            add_slice(sum, x, factor);
        }
    )
}

/// The means of `count` gradients, the last of which is `grad` and the others are added up in `sum`:
/// `grad = (grad + sum) / count`, element by element, and `sum = 0`, for pairs of a gradient and a
/// sum.
///
/// # Errors
/// See [the module](super).
pub fn mean_of_accumulated(pairs: &[(&Tensor, &Tensor)], count: u64) -> Result<(), TensorError> {
    const OP: &str = "averaging gradients";
    let count = count as f32;
    let groups = pairs
        .iter()
        .map(|&(grad, sum)| Group::new(OP, [grad, sum], None));
    let groups = groups.collect::<Result<Vec<_>, _>>()?;
    apply!(
        OP,
        groups,
        mean_of_accumulated_f32(count),
        |[grad, sum], _| {
            mean_slice(grad, sum, count);
        }
    )
}

/// `average = momentum average + rate x`, element by element, for pairs of an average and an `x`: one
/// step of moving averages, whose `rate` is `1 - momentum` unless `x` needs a correction.
///
/// # Errors
/// See [the module](super).
pub fn moving_average(
    pairs: &[(&Tensor, &Tensor)],
    momentum: f64,
    rate: f64,
) -> Result<(), TensorError> {
    const OP: &str = "moving average";
    let (momentum, rate) = (momentum as f32, rate as f32);
    apply!(
        OP,
        pairs_of(OP, pairs)?,
        moving_average_f32(momentum, rate),
        |[average], x| average_slice(average, x, momentum, rate)
    )
}

/// Decoupled weight decay (I. Loshchilov, F. Hutter, 2019) of parameters: `w -= rate w`, where `rate`
/// is the decay times the learning rate.
///
/// # Errors
/// See [the module](super).
pub fn weight_decay(params: &[&Tensor], rate: f64) -> Result<(), TensorError> {
    const OP: &str = "weight decay";
    let rate = rate as f32;
    apply!(OP, single(params), weight_decay_f32(rate), |[w], _| {
        decay_slice(w, rate);
    })
}

/// `x = factor x`, for each of several tensors.
///
/// # Errors
/// See [the module](super).
pub fn scale(tensors: &[&Tensor], factor: f64) -> Result<(), TensorError> {
    const OP: &str = "scaling";
    let factor = factor as f32;
    apply!(OP, single(tensors), scale_f32(factor), |[x], _| {
        scale_slice(x, factor);
    })
}

/// Every element of several tensors into `[-limit, limit]`; NaN stays NaN.
///
/// # Errors
/// [`TensorError::Argument`] if `limit` is negative or NaN; otherwise see [the module](super).
pub fn clamp(tensors: &[&Tensor], limit: f64) -> Result<(), TensorError> {
    const OP: &str = "clipping";
    let limit = limit as f32;
    if limit.is_nan() || limit < 0.0 {
        let expected = "a number that is not negative";
        return Err(TensorError::argument(OP, "limit", expected, limit));
    }
    apply!(OP, single(tensors), clamp_f32(limit), |[x], _| {
        clamp_slice(x, limit);
    })
}

/// Scales each gradient down to the norm `limit` if it is longer. What is not finite stays so.
///
/// # Errors
/// See [the module](super).
pub fn clip_norms(ws: &mut Workspace, grads: &[&Tensor], limit: f64) -> Result<(), TensorError> {
    if grads.is_empty() {
        return Ok(());
    }
    on_gpu!(grads[0], |gpu| {
        cuda::optimizer::clip(gpu, "clipping norms", ws, &single(grads), limit, false)
    });
    // Only a GPU needs memory for it.
    let _ = ws;
    for grad in grads {
        let norm = sum(grad, square)?.sqrt();
        if norm > limit {
            scale(&[grad], limit / norm)?;
        }
    }
    Ok(())
}

/// Scales all gradients down by one factor if their common norm is longer than `limit`. If it is not
/// finite, all of them become NaN.
///
/// # Errors
/// See [the module](super).
pub fn clip_global_norm(
    ws: &mut Workspace,
    grads: &[&Tensor],
    limit: f64,
) -> Result<(), TensorError> {
    if grads.is_empty() {
        return Ok(());
    }
    on_gpu!(grads[0], |gpu| {
        cuda::optimizer::clip(gpu, "clipping norm", ws, &single(grads), limit, true)
    });
    // Only a GPU needs memory for it.
    let _ = ws;
    let mut total = 0.0;
    for grad in grads {
        total += sum(grad, square)?;
    }
    let norm = total.sqrt();
    let factor = if norm.is_finite() {
        limit / norm
    } else {
        f64::NAN
    };
    if norm > limit || factor.is_nan() {
        scale(grads, factor)?;
    }
    Ok(())
}

fn square(x: f32) -> f64 {
    f64::from(x) * f64::from(x)
}

/// A tensor and the strengths of two penalties on it.
#[derive(Debug, Clone, Copy)]
pub struct L1L2<'a> {
    /// The tensor.
    pub tensor: &'a Tensor,
    /// Of the sum of `|x|`.
    pub l1: f64,
    /// Of the sum of `x²`.
    pub l2: f64,
}

/// `Σ (l1 |x| + l2 x²)` of each of several tensors on one device, added up in f64 in an order that
/// depends on the shape alone.
///
/// On a GPU it is one wait for all of them.
///
/// # Errors
/// See [the module](super).
pub fn l1_l2_penalties(penalties: &[L1L2<'_>]) -> Result<Vec<f64>, TensorError> {
    let Some(first) = penalties.first() else {
        return Ok(Vec::new());
    };
    if !first.tensor.device().is_cpu() {
        let mut totals = vec![0.0; penalties.len()];
        for sums in l1_l2_sums(&mut Workspace::new(first.tensor.device()), penalties)? {
            let values = access::read::<f64>(&sums.sums)?;
            for ((&of, strength), value) in sums.of.iter().zip(&sums.strengths).zip(&*values) {
                totals[of] += strength * value;
            }
        }
        return Ok(totals);
    }
    let penalties = penalties.iter().map(|&L1L2 { tensor, l1, l2 }| {
        // A strength of 0 makes 0 of what is not finite too.
        let times = |strength: f64, x: f64| if strength == 0.0 { 0.0 } else { strength * x };
        sum(tensor, |x| {
            let x = f64::from(x);
            times(l1, x.abs()) + times(l2, x * x)
        })
    });
    penalties.collect()
}

/// Parts of penalties: each is a strength times a sum.
#[derive(Debug, Clone)]
pub struct PenaltySums {
    /// Which penalties these are parts of.
    pub of: Vec<usize>,
    /// Their `l1` or `l2`.
    pub strengths: Vec<f64>,
    /// `[N]` f64: of each the sum of `|x|` or `x²`.
    pub sums: Tensor,
}

impl PenaltySums {
    /// The sum of all parts, from the values of [`sums`](Self::sums).
    pub fn total(&self, sums: &[f64]) -> f64 {
        self.strengths.iter().zip(sums).map(|(a, b)| a * b).sum()
    }
}

/// The sums behind [`l1_l2_penalties`], without waiting for a GPU.
///
/// # Errors
/// See [the module](super).
pub fn l1_l2_sums(
    ws: &mut Workspace,
    penalties: &[L1L2<'_>],
) -> Result<Vec<PenaltySums>, TensorError> {
    let mut parts = Vec::with_capacity(2);
    for squares in [false, true] {
        let strength = |penalty: &L1L2<'_>| if squares { penalty.l2 } else { penalty.l1 };
        // A strength of 0 makes 0 of what is not finite too.
        let of: Vec<usize> = (0..penalties.len())
            .filter(|&i| strength(&penalties[i]) != 0.0 && penalties[i].tensor.elem_count() > 0)
            .collect();
        if of.is_empty() {
            continue;
        }
        let tensors: Vec<&Tensor> = of.iter().map(|&i| penalties[i].tensor).collect();
        parts.push(PenaltySums {
            strengths: of.iter().map(|&i| strength(&penalties[i])).collect(),
            of,
            sums: sums_of(ws, &tensors, squares)?,
        });
    }
    Ok(parts)
}

/// `[N]` f64: the sum of `x²` of each tensor that has elements, which is finite if all of them are.
/// Without waiting for a GPU.
///
/// # Errors
/// See [the module](super).
pub fn sums_of_squares(ws: &mut Workspace, tensors: &[&Tensor]) -> Result<Tensor, TensorError> {
    let with_elements = |tensor: &&Tensor| tensor.elem_count() > 0;
    let tensors: Vec<&Tensor> = tensors.iter().copied().filter(with_elements).collect();
    match tensors.is_empty() {
        true => ws.take(&[0], DType::F64),
        false => sums_of(ws, &tensors, true),
    }
}

/// `[N]` f64: the sum of `|x|` or `x²` of each tensor.
fn sums_of(ws: &mut Workspace, tensors: &[&Tensor], squares: bool) -> Result<Tensor, TensorError> {
    on_gpu!(tensors[0], |gpu| cuda::optimizer::sums_of(
        gpu, ws, tensors, squares
    ));
    let term = |x: f32| {
        let x = f64::from(x);
        if squares { x * x } else { x.abs() }
    };
    let values = tensors.iter().map(|tensor| sum(tensor, term));
    let values = values.collect::<Result<Vec<f64>, _>>()?;
    let out = ws.take(&[tensors.len()], DType::F64)?;
    access::write(&out, |out: &mut [f64]| out.copy_from_slice(&values))?;
    Ok(out)
}

/// Adds the gradient of [`l1_l2_penalties`] to `grad`: `l1 sign(x) + 2 l2 x`, where the sign of 0 is 0.
///
/// # Errors
/// See [the module](super).
pub fn add_l1_l2_gradient(
    grad: &Tensor,
    L1L2 { tensor, l1, l2 }: L1L2<'_>,
) -> Result<(), TensorError> {
    const OP: &str = "gradient of a penalty";
    let (l1, l2) = (l1 as f32, 2.0 * l2 as f32);
    let groups = pairs_of(OP, &[(grad, tensor)])?;
    apply!(OP, groups, l1_l2_gradient_f32(l1, l2), |[grad], x| {
        penalty_slice(grad, x, l1, l2);
    })
}

fn pairs_of<'a>(
    op: &'static str,
    pairs: &[(&'a Tensor, &'a Tensor)],
) -> Result<Vec<Group<'a, 1>>, TensorError> {
    let groups = pairs
        .iter()
        .map(|&(changed, read)| Group::new(op, [changed], Some(read)));
    groups.collect()
}

/// The sum of `f(x)` over all elements, added up in f64 in an order that depends on the shape alone.
///
/// # Errors
/// See [the module](super).
pub fn sum(x: &Tensor, f: impl Fn(f32) -> f64 + Sync) -> Result<f64, TensorError> {
    let x = access::read::<f32>(x)?;
    let x = &*x;
    if x.len() <= CHUNK {
        return Ok(sum_slice(x, &f));
    }
    let mut sums = vec![0.0; x.len().div_ceil(CHUNK)];
    for_each_part(chunks_mut(&mut sums, 1), |i, sum| {
        let end = x.len().min((i + 1) * CHUNK);
        sum.fill(sum_slice(&x[i * CHUNK..end], &f));
    });
    Ok(sums.iter().sum())
}

/// Sums that run beside each other in [`sum_slice`].
pub(super) const LANES: usize = 16;

multiversion! {
    pub(super) fn sum_slice<F: Fn(f32) -> f64>(x: &[f32], f: F) -> f64 {
        let mut sums = [0.0; LANES];
        let (blocks, rest) = x.as_chunks::<LANES>();
        for block in blocks {
            for (sum, &x) in sums.iter_mut().zip(block) {
                *sum += f(x);
            }
        }
        let rest: f64 = rest.iter().map(|&x| f(x)).sum();
        sums.iter().sum::<f64>() + rest
    }

    fn add_slice(sum: &mut [f32], x: &[f32], factor: f32) {
        for (sum, &x) in sum.iter_mut().zip(x) {
            *sum += factor * x;
        }
    }

    fn penalty_slice(grad: &mut [f32], x: &[f32], l1: f32, l2: f32) {
        for (grad, &x) in grad.iter_mut().zip(x) {
            let sign = if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x };
            *grad += l1 * sign + l2 * x;
        }
    }

    fn mean_slice(grad: &mut [f32], sum: &mut [f32], count: f32) {
        for (grad, sum) in grad.iter_mut().zip(sum) {
            *grad = (*grad + *sum) / count;
            *sum = 0.0;
        }
    }

    fn average_slice(average: &mut [f32], x: &[f32], momentum: f32, rest: f32) {
        for (average, &x) in average.iter_mut().zip(x) {
            *average = momentum * *average + rest * x;
        }
    }

    fn decay_slice(param: &mut [f32], rate: f32) {
        for w in param {
            *w -= rate * *w;
        }
    }

    fn scale_slice(x: &mut [f32], factor: f32) {
        for x in x {
            *x *= factor;
        }
    }

    fn clamp_slice(x: &mut [f32], limit: f32) {
        for x in x {
            *x = x.clamp(-limit, limit);
        }
    }
}
