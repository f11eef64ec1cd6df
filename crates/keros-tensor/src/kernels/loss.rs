//! Cross-entropy of a softmax with its gradient in one pass, and the count of correct predictions.

use candle_core::{DType, Tensor};

use super::softmax::{exponentials, rows_chunk, sum, sum_of_pairs};
use super::{CHUNK, dims, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Softmax cross-entropy with integer labels: the loss of each sample and the gradient.
///
/// `logits`: `[N, …, C]`; `labels`: `[N, …]` of type `u32`, one for each row of `C` and below it;
/// `weights`: `[N]`.
///
/// Returns the losses `[N]`, neither weighted nor scaled, and the gradient of
/// `scale * Σ_n weight_n loss_n`, as `logits`.
/// For `[N, C]`, `loss_n = log Σ_c exp(logits_nc) - logits_n[label_n]`, and the gradient is
/// `scale * weight_n * (softmax(logits_n) - onehot(label_n))`; of several rows a sample has the mean.
///
/// On a GPU nobody looks at the labels before the kernel runs: one that is out of range makes the loss
/// of its sample and the gradient of its row NaN. [`check_labels`] finds it while the labels are on
/// the host.
///
/// # Errors
/// [`TensorError::Label`] for the first label out of range, on the CPU; otherwise see
/// [the module](super).
pub fn softmax_cross_entropy(
    ws: &mut Workspace,
    logits: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "softmax cross-entropy";
    let shape = LossRows::of_classes(OP, logits, weights)?;
    let first = labels.dims().first();
    if labels.elem_count() != shape.rows() || first != Some(&shape.samples) {
        let LossRows {
            samples,
            per_sample,
            ..
        } = shape;
        let expected = format!("{per_sample} for each of {samples} samples");
        return Err(TensorError::shape(OP, "labels", expected, labels.dims()));
    }
    on_gpu!(logits, |gpu| {
        let truth = cuda::loss::Truth::Labels(labels);
        cuda::loss::cross_entropy(gpu, ws, OP, logits, truth, shape, weights, scale)
    });
    let labels = access::read::<u32>(labels)?;
    let labels = &*labels;
    check_labels(OP, labels, shape.per_sample, shape.width, None)?;
    cross_entropy(
        ws,
        logits,
        shape,
        weights,
        scale,
        |first, logits, factors, losses, grads| {
            of_labels(logits, &labels[first..], factors, losses, grads);
        },
    )
}

/// Softmax cross-entropy with a distribution as target: as [`softmax_cross_entropy`], with `targets`
/// of the shape of `logits` in place of labels.
///
/// For `[N, C]`, `loss_n = -Σ_c target_nc * log softmax(logits_n)_c`.
/// Targets need not add up to one; the gradient is that of the formula.
///
/// # Errors
/// See [the module](super).
pub fn categorical_cross_entropy(
    ws: &mut Workspace,
    logits: &Tensor,
    targets: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "categorical cross-entropy";
    let shape = LossRows::of_classes(OP, logits, weights)?;
    expect_dims(OP, "targets", targets, logits.dims())?;
    on_gpu!(logits, |gpu| {
        let truth = cuda::loss::Truth::Distributions(targets);
        cuda::loss::cross_entropy(gpu, ws, OP, logits, truth, shape, weights, scale)
    });
    let targets = access::read::<f32>(targets)?;
    let targets = &*targets;
    cross_entropy(
        ws,
        logits,
        shape,
        weights,
        scale,
        |first, logits, factors, losses, grads| {
            let targets = &targets[first * shape.width..];
            of_targets(logits, targets, factors, losses, grads);
        },
    )
}

/// How predictions fall into rows: their last axis, `per_sample` rows for each sample.
#[derive(Clone, Copy)]
pub(crate) struct LossRows {
    pub(crate) samples: usize,
    pub(crate) per_sample: usize,
    pub(crate) width: usize,
}

impl LossRows {
    /// The rows of `[N, …]`, of at least one value for each sample; `[N]` has rows of one value.
    pub(super) fn of(
        op: &'static str,
        what: &'static str,
        tensor: &Tensor,
    ) -> Result<Self, TensorError> {
        let (samples, inner, width) = match tensor.dims() {
            [] => (0, &[][..], 0),
            [samples] => (*samples, &[][..], 1),
            [samples, inner @ .., width] => (*samples, inner, *width),
        };
        let per_sample = inner.iter().product();
        if per_sample == 0 || width == 0 {
            let expected = "samples of at least one value";
            return Err(TensorError::shape(op, what, expected, tensor.dims()));
        }
        Ok(Self {
            samples,
            per_sample,
            width,
        })
    }

    /// The rows of predictions; checks that there are as many targets, and the weights.
    pub(super) fn beside(
        op: &'static str,
        predictions: &Tensor,
        targets: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Self, TensorError> {
        let shape = Self::of(op, "predictions", predictions)?;
        if targets.elem_count() != predictions.elem_count() {
            let expected = format!("{} elements", predictions.elem_count());
            return Err(TensorError::shape(op, "targets", expected, targets.dims()));
        }
        shape.check_weights(op, weights)?;
        Ok(shape)
    }

    /// That there is a weight for each sample.
    pub(super) fn check_weights(
        &self,
        op: &'static str,
        weights: Option<&Tensor>,
    ) -> Result<(), TensorError> {
        weights.map_or(Ok(()), |weights| {
            expect_dims(op, "weights", weights, &[self.samples])
        })
    }

    /// The losses and gradients of all samples: `sample(number, predictions, gradients)` returns the sum
    /// of the losses of its rows and leaves their gradients.
    pub(super) fn each_sample(
        &self,
        ws: &mut Workspace,
        predictions: &Tensor,
        weights: Option<&Tensor>,
        scale: f32,
        sample: impl Fn(usize, &[f32], &mut [f32]) -> f64 + Sync,
    ) -> Result<(Tensor, Tensor), TensorError> {
        let losses = ws.take(&[self.samples], DType::F32)?;
        let grads = ws.take(predictions.dims(), DType::F32)?;
        let p = access::read::<f32>(predictions)?;
        let weights = weights.map(access::read::<f32>).transpose()?;
        let (p, weights) = (&*p, weights.as_deref());
        let size = self.per_sample * self.width;
        // These cost more than other elements.
        let chunk = (CHUNK / 8 / size).max(1);
        access::write2(&losses, &grads, |losses: &mut [f32], grads: &mut [f32]| {
            let parts = (chunks_mut(losses, chunk), chunks_mut(grads, chunk * size));
            for_each_part(parts, |i, (losses, grads): (&mut [f32], &mut [f32])| {
                let samples = losses.iter_mut().zip(grads.chunks_exact_mut(size));
                for (n, (out, grads)) in (i * chunk..).zip(samples) {
                    let sum = sample(n, &p[n * size..(n + 1) * size], grads);
                    let weight = weights.map_or(1.0, |weights| weights[n]);
                    let factor = scale * weight / self.per_sample as f32;
                    grads.iter_mut().for_each(|grad| *grad *= factor);
                    *out = (sum / self.per_sample as f64) as f32;
                }
            });
        })?;
        Ok((losses, grads))
    }

    /// The rows of logits `[N, …, C]`; checks the weights too.
    fn of_classes(
        op: &'static str,
        logits: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Self, TensorError> {
        let shape = Self::of(op, "logits", logits)?;
        if logits.dims().len() < 2 {
            let expected = "[samples, …, classes]";
            return Err(TensorError::shape(op, "logits", expected, logits.dims()));
        }
        shape.check_weights(op, weights)?;
        Ok(shape)
    }

    pub(crate) fn rows(&self) -> usize {
        self.samples * self.per_sample
    }
}

/// The factor of each row's gradient.
#[derive(Clone, Copy)]
struct Factors<'a> {
    weights: Option<&'a [f32]>,
    scale: f32,
    /// Number of the first row.
    first: usize,
    per_sample: usize,
}

impl Factors<'_> {
    #[inline(always)]
    fn of(&self, row: usize) -> f32 {
        let sample = (self.first + row) / self.per_sample;
        self.scale * self.weights.map_or(1.0, |weights| weights[sample])
    }
}

multiversion! {
    fn of_labels(
        logits: &[f32],
        labels: &[u32],
        factors: Factors<'_>,
        losses: &mut [f32],
        grads: &mut [f32],
    ) {
        let classes = grads.len() / losses.len();
        exponentials(logits, classes, grads, |n, max| losses[n] = max);
        let rows = logits.chunks_exact(classes).zip(grads.chunks_exact_mut(classes));
        for (n, ((logits, grad), loss)) in rows.zip(losses).enumerate() {
            let label = labels[n] as usize;
            let factor = factors.of(n);
            let (max, sum) = (*loss, sum(grad));
            *loss = sum.ln() - (logits[label] - max);
            let of_label = (grad[label] / sum - 1.0) * factor;
            let scale = factor / sum;
            grad.iter_mut().for_each(|grad| *grad *= scale);
            grad[label] = of_label;
        }
    }

    fn of_targets(
        logits: &[f32],
        targets: &[f32],
        factors: Factors<'_>,
        losses: &mut [f32],
        grads: &mut [f32],
    ) {
        let classes = grads.len() / losses.len();
        exponentials(logits, classes, grads, |n, max| losses[n] = max);
        let inputs = logits.chunks_exact(classes).zip(targets.chunks_exact(classes));
        let rows = inputs.zip(grads.chunks_exact_mut(classes));
        for (n, (((logits, targets), grad), loss)) in rows.zip(losses).enumerate() {
            let factor = factors.of(n);
            let (max, sum_of_row, total) = (*loss, sum(grad), sum(targets));
            let log_sum = sum_of_row.ln();
            *loss = sum_of_pairs(targets, logits, |target, logit| {
                let part = target * (log_sum - (logit - max));
                if target == 0.0 { 0.0 } else { part }
            });
            let scale = total / sum_of_row;
            for (grad, &target) in grad.iter_mut().zip(targets) {
                *grad = (*grad * scale - target) * factor;
            }
        }
    }
}

/// The frame of both losses.
///
/// `of_rows(first, logits, factors, losses, grads)` handles the rows from number `first` on that have
/// a place in `losses`.
fn cross_entropy(
    ws: &mut Workspace,
    logits: &Tensor,
    shape: LossRows,
    weights: Option<&Tensor>,
    scale: f32,
    of_rows: impl Fn(usize, &[f32], Factors<'_>, &mut [f32], &mut [f32]) + Sync,
) -> Result<(Tensor, Tensor), TensorError> {
    let LossRows {
        samples,
        per_sample,
        width,
    } = shape;
    let losses = ws.take(&[shape.rows()], DType::F32)?;
    let grads = ws.take(logits.dims(), DType::F32)?;
    let logits = access::read::<f32>(logits)?;
    let weights = weights.map(access::read::<f32>).transpose()?;
    let (logits, weights) = (&*logits, weights.as_deref());
    let scale = scale / per_sample as f32;
    let chunk = rows_chunk(width);
    access::write2(&losses, &grads, |losses, grads| {
        let parts = (chunks_mut(losses, chunk), chunks_mut(grads, chunk * width));
        for_each_part(parts, |i, (losses, grads): (&mut [f32], &mut [f32])| {
            let first = i * chunk;
            let factors = Factors {
                weights,
                scale,
                first,
                per_sample,
            };
            of_rows(first, &logits[first * width..], factors, losses, grads);
        });
    })?;
    if per_sample == 1 {
        return Ok((losses, grads));
    }
    let means = ws.take(&[samples], DType::F32)?;
    {
        let losses = access::read::<f32>(&losses)?;
        access::write(&means, |means: &mut [f32]| {
            for (mean, losses) in means.iter_mut().zip(losses.chunks_exact(per_sample)) {
                let sum: f64 = losses.iter().copied().map(f64::from).sum();
                *mean = (sum / per_sample as f64) as f32;
            }
        })?;
    }
    ws.give(&losses);
    Ok((means, grads))
}

/// Whether each prediction is right: `[N]` of 1 and 0, to be weighted and averaged.
///
/// `logits` (or probabilities): `[N, C]`; `labels`: `[N]` of type `u32`.
/// The prediction is the class with the largest value, the first of equals.
/// On a GPU a label out of range makes NaN of its number.
///
/// # Errors
/// [`TensorError::Label`] for the first label out of range, on the CPU; otherwise see
/// [the module](super).
pub fn correct(
    ws: &mut Workspace,
    logits: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "finding correct predictions";
    let [samples, classes] = dims(OP, "logits", logits, "[samples, classes]")?;
    expect_dims(OP, "labels", labels, &[samples])?;
    on_gpu!(logits, |gpu| cuda::loss::correct(
        gpu, ws, logits, labels, classes
    ));
    let hits = ws.take(labels.dims(), DType::F32)?;
    let labels = access::read::<u32>(labels)?;
    check_labels(OP, &labels, 1, classes, None)?;
    let logits = access::read::<f32>(logits)?;
    access::write(&hits, |hits: &mut [f32]| {
        let rows = logits.chunks_exact(classes.max(1)).zip(labels.iter());
        for (hit, (logits, &label)) in hits.iter_mut().zip(rows) {
            let mut best = 0;
            for (class, &logit) in logits.iter().enumerate() {
                if logit > logits[best] {
                    best = class;
                }
            }
            *hit = f32::from(best == label as usize);
        }
    })?;
    Ok(hits)
}

/// Each label names one of `classes` classes or is the one to ignore; a sample has `per_sample` of
/// them, and `op` is what they are for.
///
/// # Errors
/// [`TensorError::Label`] for the first that does not.
pub fn check_labels(
    op: &'static str,
    labels: &[u32],
    per_sample: usize,
    classes: usize,
    ignored: Option<u32>,
) -> Result<(), TensorError> {
    let wrong = |label: &u32| *label as usize >= classes && ignored != Some(*label);
    match labels.iter().position(wrong) {
        Some(at) => Err(TensorError::Label {
            op,
            sample: at / per_sample.max(1),
            label: labels[at],
            classes,
        }),
        None => Ok(()),
    }
}
