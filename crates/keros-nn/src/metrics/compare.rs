//! Rows of predictions beside their targets and weights: what every metric runs over.

use crate::activation::Activation;
use crate::error::NnError;
use crate::losses::{Rows, same_but_for_a_last_axis_of_one, squeezed};
use crate::network::Output;
use crate::target::Target;
use keros_tensor::access::read;
use keros_tensor::{Device, Tensor, Workspace};
use std::ops::Range;

/// Values whose order in a row is that of the output's values; softmax and sigmoid keep it, unless `f32` has one number
/// for both.
pub(super) fn ordered(workspace: &mut Workspace, output: &Output) -> Result<Tensor, NnError> {
    match output.activation {
        Activation::Softmax | Activation::Sigmoid => Ok(output.logits.clone()),
        _ => output.values(workspace),
    }
}

/// The class that a number stands for.
pub(super) fn class_index(value: f32) -> Option<usize> {
    // Above 2^24 not every whole number is an f32.
    let valid = value.fract() == 0.0 && (0.0..16_777_216.0).contains(&value);
    valid.then_some(value as usize)
}

/// The first largest value of a row.
pub(super) fn first_largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = index;
        }
    }
    best
}

/// The classes of one-hot rows: the first largest value of each row of the last axis.
pub(super) fn labels_of(name: &str, target: &Target) -> Result<Target, NnError> {
    let Target::Values(values) = target else {
        return Err(NnError::argument(name, "one-hot rows", "labels"));
    };
    let rows = Rows::of(name, values.dims())?;
    let values = read::<f32>(values)?;
    let classes = values.chunks_exact(rows.width).map(first_largest);
    let labels: Vec<u32> = classes.map(|class| class as u32).collect();
    let shape = (rows.samples, rows.per_sample);
    Ok(Target::Labels(Tensor::from_vec(
        labels,
        shape,
        &Device::Cpu,
    )?))
}

/// The targets as numbers, in the predictions' order: values of their shape, or labels where there is
/// one prediction for each.
fn numbers(name: &str, target: &Target, dims: &[usize], rows: Rows) -> Result<Vec<f32>, NnError> {
    match target {
        Target::Values(values) if same_but_for_a_last_axis_of_one(values.dims(), dims) => {
            Ok(read::<f32>(values)?.to_vec())
        }
        Target::Labels(labels) if rows.width == 1 && labels.elem_count() == rows.count() => {
            let labels = read::<u32>(labels)?;
            Ok(labels.iter().map(|label| *label as f32).collect())
        }
        Target::Values(found) | Target::Labels(found) => {
            let expected = format!("the output's, {dims:?}");
            let found = found.dims();
            Err(NnError::shape(format!("{name}: targets"), expected, found))
        }
    }
}

/// The classes that are counted: one of the last axis, or all.
pub(super) fn chosen(
    name: &str,
    class_id: Option<usize>,
    dims: &[usize],
) -> Result<Range<usize>, NnError> {
    let width = match dims {
        [_, .., width] => *width,
        _ => 1,
    };
    match class_id {
        None => Ok(0..width),
        Some(class) if class < width => Ok(class..class + 1),
        Some(class) => {
            let expected = format!("a class below {width}");
            Err(NnError::argument(
                format!("{name}: class_id"),
                expected,
                class,
            ))
        }
    }
}

/// The shape whose last axis [`each_row`] takes the rows of, for an output of shape `dims`.
pub(super) fn dims_of_rows<'a>(dims: &'a [usize], target: &Target) -> &'a [usize] {
    let (Target::Values(target) | Target::Labels(target)) = target;
    squeezed(dims, target.dims())
}

/// Calls `row(targets, predictions, weight)` for every row of the last axis.
pub(super) fn each_row(
    name: &str,
    predictions: &Tensor,
    target: &Target,
    weights: Option<&Tensor>,
    mut row: impl FnMut(&[f32], &[f32], f64),
) -> Result<(), NnError> {
    let dims = predictions.dims();
    let rows = Rows::of(name, dims)?;
    let targets = numbers(name, target, dims, rows)?;
    let rows = Rows::of(name, dims_of_rows(dims, target))?;
    let weights = rows.weights(name, weights)?;
    let predictions = read::<f32>(predictions)?;
    let pairs = targets
        .chunks_exact(rows.width)
        .zip(predictions.chunks_exact(rows.width));
    for (r, (y, p)) in pairs.enumerate() {
        let weight = weights.as_ref().map_or(1.0, |w| w[r / rows.per_sample]);
        row(y, p, f64::from(weight));
    }
    Ok(())
}

/// Calls `row(label, predictions, weight)` for every row of the last axis. Labels are class indices,
/// given as labels or as numbers, one for each row; they may be ones that name no class.
pub(super) fn each_label(
    name: &str,
    predictions: &Tensor,
    target: &Target,
    weights: Option<&Tensor>,
    mut row: impl FnMut(usize, &[f32], f64),
) -> Result<(), NnError> {
    let dims = predictions.dims();
    let rows = Rows::of(name, dims)?;
    let (Target::Values(tensor) | Target::Labels(tensor)) = target;
    let count = tensor.elem_count();
    if count != rows.count() || tensor.dims().first() != Some(&rows.samples) {
        let expected = format!("one label for each of {} rows", rows.count());
        let found = tensor.dims();
        return Err(NnError::shape(format!("{name}: targets"), expected, found));
    }
    let labels: Vec<u32> = match target {
        Target::Labels(labels) => read::<u32>(labels)?.to_vec(),
        Target::Values(values) => {
            let values = read::<f32>(values)?;
            let valid = |value: &f32| class_index(*value).is_some();
            if let Some(at) = values.iter().position(|value| !valid(value)) {
                let what = format!("{name}: label of row {at}");
                return Err(NnError::argument(what, "a whole number from 0", values[at]));
            }
            values.iter().map(|value| *value as u32).collect()
        }
    };
    let weights = rows.weights(name, weights)?;
    let predictions = read::<f32>(predictions)?;
    let pairs = labels.iter().zip(predictions.chunks_exact(rows.width));
    for (r, (label, p)) in pairs.enumerate() {
        let weight = weights.as_ref().map_or(1.0, |w| w[r / rows.per_sample]);
        row(*label as usize, p, f64::from(weight));
    }
    Ok(())
}
