//! The loss of how far two masks overlap, with its gradient: a quotient of sums over whole groups of values.

use candle_core::{DType, Tensor};

use super::CHUNK;
use super::loss::LossRows;
use crate::parallel::{chunks_mut, for_each_part};
use crate::{TensorError, Workspace, access};

/// `1 - I / (I + missed · Σ y·(1-p) + excess · Σ p·(1-y) + fuzz)` with `I = Σ y·p`, for masks `y` and `p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    /// Weight of what is in the target and not in the prediction.
    pub missed: f64,
    /// Weight of what is in the prediction and not in the target.
    pub excess: f64,
    /// Keeps the quotient defined for two empty masks.
    pub fuzz: f64,
    /// Whether each sample has a loss of its own; otherwise all of the batch is one group, and every
    /// sample has its loss.
    pub each_sample: bool,
}

/// What is summed up in each group: `y·p`, `y·(1-p)` and `p·(1-y)`.
type Sums = [f64; 3];

/// The loss of each sample and the gradient.
///
/// `predictions`: `[N, …]`, at least one element for each sample; `targets`: as many elements, in any
/// shape; `weights`: `[N]`.
///
/// Returns the losses `[N]`, neither weighted nor scaled, and the gradient of
/// `scale * Σ_n weight_n loss_n`, as `predictions`.
/// All is calculated in double precision.
///
/// # Errors
/// See [the module](super).
pub fn overlap_loss(
    ws: &mut Workspace,
    overlap: Overlap,
    predictions: &Tensor,
    targets: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "loss of overlap";
    let shape = LossRows::beside(OP, predictions, targets, weights)?;
    let samples = match overlap.each_sample {
        true => 1,
        false => shape.samples.max(1),
    };
    on_gpu!(predictions, |gpu| cuda::overlap_loss::overlap_loss(
        gpu,
        ws,
        overlap,
        predictions,
        targets,
        (shape.samples, samples),
        weights,
        scale
    ));
    let losses = ws.take(&[shape.samples], DType::F32)?;
    let grads = ws.take(predictions.dims(), DType::F32)?;
    let size = samples * shape.per_sample * shape.width;
    let chunks = size.div_ceil(CHUNK);
    let (p, y) = (
        access::read::<f32>(predictions)?,
        access::read::<f32>(targets)?,
    );
    let weights = weights.map(access::read::<f32>).transpose()?;
    let (p, y, weights) = (&*p, &*y, weights.as_deref());
    access::write2(&losses, &grads, |losses: &mut [f32], grads: &mut [f32]| {
        let groups = losses.chunks_mut(samples).zip(grads.chunks_mut(size));
        for (g, (losses, grads)) in groups.enumerate() {
            let (y, p) = (&y[g * size..][..size], &p[g * size..][..size]);
            let mut partial = vec![[0.0; 3]; chunks];
            for_each_part(chunks_mut(&mut partial, 1), |i, partial| {
                let range = i * CHUNK..size.min((i + 1) * CHUNK);
                partial.fill(sums(&y[range.clone()], &p[range]));
            });
            let [common, missed, excess] = partial
                .into_iter()
                .fold([0.0; 3], |a, b| [a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
            let total = common + overlap.missed * missed + overlap.excess * excess + overlap.fuzz;
            let group = g * samples..(g + 1) * samples;
            let weight: f32 = match weights {
                Some(weights) => weights[group].iter().sum(),
                None => samples as f32,
            };
            for_each_part(chunks_mut(grads, CHUNK), |i, grads: &mut [f32]| {
                for (grad, y) in grads.iter_mut().zip(&y[i * CHUNK..]) {
                    let y = f64::from(*y);
                    let slope = y - overlap.missed * y + overlap.excess * (1.0 - y);
                    *grad = ((common * slope - y * total) / (total * total)) as f32;
                    *grad *= scale * weight;
                }
            });
            losses.fill((1.0 - common / total) as f32);
        }
    })?;
    Ok((losses, grads))
}

fn sums(y: &[f32], p: &[f32]) -> Sums {
    let mut sums = [0.0; 3];
    for (y, p) in y.iter().zip(p) {
        let (y, p) = (f64::from(*y), f64::from(*p));
        sums[0] += y * p;
        sums[1] += y * (1.0 - p);
        sums[2] += p * (1.0 - y);
    }
    sums
}
