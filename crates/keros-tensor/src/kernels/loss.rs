//! Cross-entropy of a softmax with its gradient in one pass, and the count of correct predictions.

use candle_core::{DType, Tensor};

use super::softmax::{exponentials, rows_chunk, sum, sum_of_pairs};
use super::{dims, expect_dims};
use crate::parallel::{chunks_mut, for_each_part};
use crate::simd::multiversion;
use crate::{TensorError, Workspace, access};

/// Softmax cross-entropy with integer labels: the loss of each sample and the gradient.
///
/// `logits`: `[N, C]`; `labels`: `[N]` of type `u32`, each below `C`; `weights`: `[N]`.
///
/// Returns the losses `[N]`, `loss_n = log Σ_c exp(logits_nc) - logits_n[label_n]`, neither weighted
/// nor scaled, and the gradient `[N, C]` of `scale * Σ_n weight_n loss_n`, which is
/// `scale * weight_n * (softmax(logits_n) - onehot(label_n))`.
///
/// # Errors
/// [`TensorError::Label`] for the first label out of range; otherwise see [the module](super).
pub fn softmax_cross_entropy(
    ws: &mut Workspace,
    logits: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "softmax cross-entropy";
    let [samples, classes] = dims(OP, "logits", logits, "[samples, classes]")?;
    expect_dims(OP, "labels", labels, &[samples])?;
    let labels = access::read::<u32>(labels)?;
    let labels = &*labels;
    check_labels(OP, labels, classes)?;
    cross_entropy(
        OP,
        ws,
        logits,
        weights,
        scale,
        |first, logits, factors, losses, grads| {
            of_labels(logits, &labels[first..], factors, losses, grads);
        },
    )
}

/// Softmax cross-entropy with a distribution as target: as [`softmax_cross_entropy`], with `targets`
/// of shape `[N, C]` in place of labels.
///
/// `loss_n = -Σ_c target_nc * log softmax(logits_n)_c`.
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
    let [samples, classes] = dims(OP, "logits", logits, "[samples, classes]")?;
    expect_dims(OP, "targets", targets, &[samples, classes])?;
    let targets = access::read::<f32>(targets)?;
    let targets = &*targets;
    cross_entropy(
        OP,
        ws,
        logits,
        weights,
        scale,
        |first, logits, factors, losses, grads| {
            of_targets(logits, &targets[first * classes..], factors, losses, grads);
        },
    )
}

/// The factor of each sample's gradient.
#[derive(Clone, Copy)]
struct Factors<'a> {
    weights: Option<&'a [f32]>,
    scale: f32,
}

impl Factors<'_> {
    #[inline(always)]
    fn of(&self, sample: usize) -> f32 {
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
/// `rows(first, logits, factors, losses, grads)` handles the samples from number `first` on that have
/// a place in `losses`.
fn cross_entropy(
    op: &'static str,
    ws: &mut Workspace,
    logits: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
    rows: impl Fn(usize, &[f32], Factors<'_>, &mut [f32], &mut [f32]) + Sync,
) -> Result<(Tensor, Tensor), TensorError> {
    let [samples, classes] = dims(op, "logits", logits, "[samples, classes]")?;
    if classes == 0 {
        return Err(TensorError::shape(
            op,
            "logits",
            "at least one class",
            logits.dims(),
        ));
    }
    if let Some(weights) = weights {
        expect_dims(op, "weights", weights, &[samples])?;
    }
    let losses = ws.take(&[samples], DType::F32)?;
    let grads = ws.take(&[samples, classes], DType::F32)?;
    let logits = access::read::<f32>(logits)?;
    let weights = weights.map(access::read::<f32>).transpose()?;
    let (logits, weights) = (&*logits, weights.as_deref());
    let chunk = rows_chunk(classes);
    access::write2(&losses, &grads, |losses, grads| {
        let parts = (
            chunks_mut(losses, chunk),
            chunks_mut(grads, chunk * classes),
        );
        for_each_part(parts, |i, (losses, grads): (&mut [f32], &mut [f32])| {
            let first = i * chunk;
            let weights = weights.map(|weights| &weights[first..]);
            let factors = Factors { weights, scale };
            rows(first, &logits[first * classes..], factors, losses, grads);
        });
    })?;
    Ok((losses, grads))
}

/// Whether each prediction is right: `[N]` of 1 and 0, to be weighted and averaged.
///
/// `logits` (or probabilities): `[N, C]`; `labels`: `[N]` of type `u32`.
/// The prediction is the class with the largest value, the first of equals.
///
/// # Errors
/// [`TensorError::Label`] for the first label out of range; otherwise see [the module](super).
pub fn correct(
    ws: &mut Workspace,
    logits: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TensorError> {
    const OP: &str = "finding correct predictions";
    let classes = check_predictions(OP, logits, labels)?;
    let hits = ws.take(labels.dims(), DType::F32)?;
    let labels = access::read::<u32>(labels)?;
    check_labels(OP, &labels, classes)?;
    let logits = access::read::<f32>(logits)?;
    access::write(&hits, |hits: &mut [f32]| {
        for (hit, right) in hits.iter_mut().zip(predictions(&logits, &labels, classes)) {
            *hit = f32::from(right);
        }
    })?;
    Ok(hits)
}

/// Number of right predictions; shapes and rules as [`correct`].
///
/// # Errors
/// As [`correct`].
pub fn count_correct(logits: &Tensor, labels: &Tensor) -> Result<usize, TensorError> {
    const OP: &str = "counting correct predictions";
    let classes = check_predictions(OP, logits, labels)?;
    let labels = access::read::<u32>(labels)?;
    check_labels(OP, &labels, classes)?;
    let logits = access::read::<f32>(logits)?;
    Ok(predictions(&logits, &labels, classes)
        .filter(|&right| right)
        .count())
}

/// Checks the shapes and returns the number of classes.
fn check_predictions(
    op: &'static str,
    logits: &Tensor,
    labels: &Tensor,
) -> Result<usize, TensorError> {
    let [samples, classes] = dims(op, "logits", logits, "[samples, classes]")?;
    expect_dims(op, "labels", labels, &[samples])?;
    Ok(classes)
}

/// Whether each sample's first largest logit is that of its label.
fn predictions<'a>(
    logits: &'a [f32],
    labels: &'a [u32],
    classes: usize,
) -> impl Iterator<Item = bool> + 'a {
    let logits = logits.chunks_exact(classes.max(1));
    labels.iter().zip(logits).map(|(&label, logits)| {
        let mut best = 0;
        for (class, &logit) in logits.iter().enumerate() {
            if logit > logits[best] {
                best = class;
            }
        }
        best == label as usize
    })
}

fn check_labels(op: &'static str, labels: &[u32], classes: usize) -> Result<(), TensorError> {
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(sample) => Err(TensorError::Label {
            op,
            sample,
            label: labels[sample],
            classes,
        }),
        None => Ok(()),
    }
}
