//! Connectionist temporal classification: the loss of a sequence whose labels are known, but not when each begins.

use candle_core::Tensor;

use super::loss::LossRows;
use super::row_loss::log_sum_exp;
use super::{check_labels, dims};
use crate::{TensorError, Workspace, access};

/// The label that means none, and fills the end of short sequences.
const BLANK: u32 = 0;

/// The CTC loss (Graves et al. 2006): `-log` of the probability that the labels are what is left of the sequence of
/// the most likely classes, when equal neighbours are made one and blanks, of class 0, are taken out.
///
/// `logits`: `[N, T, C]` of a softmax; `labels`: `[N, L]` of type `u32`, from 1 on and below `C`, then zeros;
/// `weights`: `[N]`.
///
/// Returns the losses `[N]`, neither weighted nor scaled, and the gradient of
/// `scale * Σ_n weight_n loss_n`, as `logits`.
/// All is calculated in double precision, as logarithms.
///
/// On a GPU nobody looks at the labels before the kernel runs: those that [`check_ctc_labels`] refuses make loss and
/// gradient of their sample NaN.
///
/// # Errors
/// Those of [`check_ctc_labels`], on the CPU; otherwise see [the module](super).
pub fn ctc_loss(
    ws: &mut Workspace,
    logits: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    scale: f32,
) -> Result<(Tensor, Tensor), TensorError> {
    const OP: &str = "ctc";
    let [samples, steps, classes] = dims(OP, "logits", logits, "[samples, steps, classes]")?;
    // One row a sample, so that a loss is no mean over steps.
    let shape = LossRows {
        samples,
        per_sample: 1,
        width: steps * classes,
    };
    shape.check_weights(OP, weights)?;
    let length = match *labels.dims() {
        [found, length] if found == samples => length,
        _ => {
            let expected = format!("[{samples}, labels]");
            return Err(TensorError::shape(OP, "labels", expected, labels.dims()));
        }
    };
    if shape.width == 0 {
        let expected = "at least one step and class";
        return Err(TensorError::shape(OP, "logits", expected, logits.dims()));
    }
    on_gpu!(logits, |gpu| cuda::ctc_loss::ctc_loss(
        gpu,
        ws,
        OP,
        logits,
        labels,
        (samples, steps, classes, length),
        weights,
        scale
    ));
    let labels = access::read::<u32>(labels)?;
    check_ctc_labels(OP, &labels, length, steps, classes)?;
    let labels = &*labels;
    shape.each_sample(ws, logits, weights, scale, |n, z, grads| {
        let labels = &labels[n * length..(n + 1) * length];
        of_sequence(labels, classes, z, grads)
    })
}

/// Whether there is a way to read each of the sequences of so many labels out of so many steps.
///
/// # Errors
/// [`TensorError::Label`] for the first label out of range, and [`TensorError::Argument`] for labels after a 0, and for
/// more labels than steps, where two equal neighbours need a step more.
pub fn check_ctc_labels(
    op: &'static str,
    labels: &[u32],
    length: usize,
    steps: usize,
    classes: usize,
) -> Result<(), TensorError> {
    check_labels(op, labels, length, classes, None)?;
    for (sample, labels) in labels.chunks_exact(length.max(1)).enumerate() {
        let known = known(labels);
        if let Some(at) = labels[known.len()..]
            .iter()
            .position(|&label| label != BLANK)
        {
            let found = format!("{} after a 0 in sample {sample}", labels[known.len() + at]);
            let expected = "zeros only behind the labels";
            return Err(TensorError::argument(op, "label", expected, found));
        }
        let needed = known.len() + known.windows(2).filter(|pair| pair[0] == pair[1]).count();
        if needed > steps {
            let found = format!("{steps} for sample {sample}");
            let expected = format!("at least {needed}, one for each label and between equal ones");
            return Err(TensorError::argument(
                op,
                "number of steps",
                expected,
                found,
            ));
        }
    }
    Ok(())
}

/// The labels before the first blank.
fn known(labels: &[u32]) -> &[u32] {
    let end = labels.iter().position(|&label| label == BLANK);
    &labels[..end.unwrap_or(labels.len())]
}

/// `log (exp a + exp b)`
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    match low == f64::NEG_INFINITY {
        true => high,
        false => high + (low - high).exp().ln_1p(),
    }
}

/// The loss of a sequence, and the gradient. The states that it goes through are the labels with a blank before, between
/// and behind them; from one it goes on to the next, or over a blank between two labels that differ.
fn of_sequence(labels: &[u32], classes: usize, z: &[f32], grads: &mut [f32]) -> f64 {
    let labels = known(labels);
    let states = 2 * labels.len() + 1;
    let class = |state: usize| match state % 2 {
        0 => BLANK as usize,
        _ => labels[state / 2] as usize,
    };
    let skips = |state: usize| state % 2 == 1 && state > 1 && class(state) != class(state - 2);
    let rows: Vec<&[f32]> = z.chunks_exact(classes).collect();
    let totals: Vec<f64> = rows.iter().map(|row| log_sum_exp(row)).collect();
    let log_p = |step: usize, state: usize| f64::from(rows[step][class(state)]) - totals[step];

    // Of all ways to be in a state after a step.
    let mut before = vec![f64::NEG_INFINITY; rows.len() * states];
    for (state, to) in before[..states.min(2)].iter_mut().enumerate() {
        *to = log_p(0, state);
    }
    for step in 1..rows.len() {
        let (done, open) = before.split_at_mut(step * states);
        let last = &done[(step - 1) * states..];
        for (state, to) in open[..states].iter_mut().enumerate() {
            let mut sum = last[state];
            if state > 0 {
                sum = log_add(sum, last[state - 1]);
            }
            if skips(state) {
                sum = log_add(sum, last[state - 2]);
            }
            *to = sum + log_p(step, state);
        }
    }
    let ends = &before[(rows.len() - 1) * states..];
    let total = match states {
        1 => ends[0],
        _ => log_add(ends[states - 1], ends[states - 2]),
    };

    // Of all ways to go on from a state.
    let mut after = vec![f64::NEG_INFINITY; states];
    after[states - 1] = 0.0;
    if states > 1 {
        after[states - 2] = 0.0;
    }
    let mut share = vec![0.0; classes];
    for step in (0..rows.len()).rev() {
        share.fill(0.0);
        for state in 0..states {
            share[class(state)] += (before[step * states + state] + after[state] - total).exp();
        }
        let of_step = rows[step].iter().zip(&share);
        for (grad, (z, share)) in grads[step * classes..].iter_mut().zip(of_step) {
            *grad = ((f64::from(*z) - totals[step]).exp() - share) as f32;
        }
        let next: Vec<f64> = (0..states)
            .map(|state| after[state] + log_p(step, state))
            .collect();
        for (state, to) in after.iter_mut().enumerate() {
            let mut sum = next[state];
            if state + 1 < states {
                sum = log_add(sum, next[state + 1]);
            }
            if state + 2 < states && skips(state + 2) {
                sum = log_add(sum, next[state + 2]);
            }
            *to = sum;
        }
    }
    -total
}
