//! Weights of the positions of a sample, such as the pixels of a mask: each row of the output then counts as a sample.

use crate::error::TrainError;
use keros_data::Array;
use keros_nn::losses::Loss;
use keros_nn::{Output, Port, Target};
use keros_tensor::{Tensor, TensorError};

/// What a loss takes, once where the network is and once, as far as it is read there, on the host.
pub(crate) struct Terms {
    pub(crate) output: Output,
    pub(crate) target: Target,
    pub(crate) host_target: Target,
    pub(crate) weights: Option<Tensor>,
    pub(crate) host_weights: Option<Tensor>,
}

impl Terms {
    /// The same with a weight for each sample: where there is one for each row of the output, the rows are the
    /// samples.
    ///
    /// # Errors
    /// Weights of another shape; a loss that has no value for each row.
    pub(crate) fn by_weight(self, loss: &dyn Loss) -> Result<Terms, TrainError> {
        let weights = self.weights.as_ref();
        let Some(weights) = weights.filter(|weights| weights.rank() > 1) else {
            return Ok(self);
        };
        let dims = self.output.logits.dims();
        let rows = check(loss, dims, weights.dims())?;
        Ok(Terms {
            output: output_by_row(&self.output, rows)?,
            target: target_by_row(&self.target, rows)?,
            host_target: target_by_row(&self.host_target, rows)?,
            weights: self.weights.as_ref().map(flat).transpose()?,
            host_weights: self.host_weights.as_ref().map(flat).transpose()?,
        })
    }
}

/// Refuses weights that are neither those of samples nor of the positions of an output, before it is there.
///
/// # Errors
/// As [`Terms::by_weight`].
pub(crate) fn check_weights(
    loss: &dyn Loss,
    samples: usize,
    port: &Port,
    weights: &Array,
) -> Result<(), TrainError> {
    if let [_] | [_, 1] = weights.shape() {
        return Ok(());
    }
    let dims = [&[samples], port.shape.as_slice()].concat();
    check(loss, &dims, weights.shape()).map(drop)
}

/// The number of rows of an output of these sizes, if weights of those sizes are theirs.
fn check(loss: &dyn Loss, dims: &[usize], weights: &[usize]) -> Result<usize, TrainError> {
    let (samples, rows) = (
        dims.get(..1),
        dims.split_last().map_or(dims, |(_, rows)| rows),
    );
    let samples = samples.unwrap_or_default();
    let count = rows.iter().product();
    let expected = match loss.values(dims) == count {
        true if same(weights, rows) => return Ok(count),
        true if rows.len() > 1 => format!("{samples:?}, or {rows:?} for those of positions"),
        true => format!("{samples:?}"),
        false => format!(
            "{samples:?}: `{}` has no value for each position",
            loss.name()
        ),
    };
    Err(TrainError::Array {
        what: "sample weights have the wrong shape".to_owned(),
        expected,
        found: format!("{weights:?}"),
    })
}

/// Whether the shapes are the same, but for a last axis of 1 in one of them.
fn same(a: &[usize], b: &[usize]) -> bool {
    a == b || a.strip_suffix(&[1]) == Some(b) || b.strip_suffix(&[1]) == Some(a)
}

/// What a metric takes with that many weights, if they are those of rows and not of samples.
pub(crate) fn by_row(
    output: &Output,
    target: &Target,
    weights: usize,
) -> Result<Option<(Output, Target)>, TensorError> {
    if output.logits.dims().first() == Some(&weights) {
        return Ok(None);
    }
    Ok(Some((
        output_by_row(output, weights)?,
        target_by_row(target, weights)?,
    )))
}

fn output_by_row(output: &Output, rows: usize) -> Result<Output, TensorError> {
    Ok(Output {
        logits: rows_of(&output.logits, rows)?,
        activation: output.activation,
    })
}

fn target_by_row(target: &Target, rows: usize) -> Result<Target, TensorError> {
    Ok(match target {
        Target::Labels(labels) => Target::Labels(flat(labels)?),
        Target::Values(values) => Target::Values(rows_of(values, rows)?),
    })
}

fn rows_of(tensor: &Tensor, rows: usize) -> Result<Tensor, TensorError> {
    Ok(tensor.reshape((rows, tensor.elem_count() / rows.max(1)))?)
}

fn flat(tensor: &Tensor) -> Result<Tensor, TensorError> {
    Ok(tensor.flatten_all()?)
}
