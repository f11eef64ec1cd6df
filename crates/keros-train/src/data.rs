//! Host arrays of a batch as tensors: names matched, types converted, targets in the loss's form.

use crate::error::TrainError;
use keros_data::{Array, Arrays, DType as HostType};
use keros_nn::{IndexInput, Network, NnError, Port, Target, TargetKind};
use keros_tensor::{Tensor, TensorError, Workspace, kernels, upload};

/// The inputs in the order of `ports`, each f32.
pub(crate) fn input_tensors(
    workspace: &mut Workspace,
    ports: &[Port],
    inputs: &Arrays,
) -> Result<Vec<Tensor>, TrainError> {
    let mut tensors = Vec::with_capacity(ports.len());
    let ports: Vec<&Port> = ports.iter().collect();
    for array in by_port("inputs", &ports, inputs)? {
        tensors.push(float_tensor(workspace, array)?);
    }
    Ok(tensors)
}

/// Looks at the inputs that a network takes for indices, for a device that cannot refuse a value without being waited
/// for.
pub(crate) fn check_indices(network: &impl Network, inputs: &Arrays) -> Result<(), TrainError> {
    let indices = network.index_inputs();
    if indices.is_empty() {
        return Ok(());
    }
    let ports: Vec<&Port> = network.inputs().iter().collect();
    let arrays = by_port("inputs", &ports, inputs)?;
    let mut values = Vec::new();
    for IndexInput { port, layer, count } in indices {
        let array = arrays[port];
        as_f32(array, &mut values)?;
        let per_sample = values.len() / array.len().max(1);
        kernels::check_indices(&values, per_sample, count).map_err(|error| NnError::Layer {
            layer: layer.to_owned(),
            source: Box::new(error.into()),
        })?;
    }
    Ok(())
}

/// The arrays in the order of `ports`. A single array needs no name for a single port.
pub(crate) fn by_port<'a>(
    what: &'static str,
    ports: &[&Port],
    arrays: &'a Arrays,
) -> Result<Vec<&'a Array>, TrainError> {
    if ports.len() == 1 && arrays.is_unnamed() {
        return Ok(vec![arrays.first()]);
    }
    let found: Vec<&Array> = ports
        .iter()
        .filter_map(|port| arrays.get(&port.name))
        .collect();
    if found.len() == ports.len() && arrays.count() == ports.len() {
        return Ok(found);
    }
    Err(TrainError::Names {
        what,
        expected: list(ports.iter().map(|port| port.name.as_str())),
        found: list(arrays.names()),
    })
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    format!("`{}`", names.join("`, `"))
}

/// An array as f32.
fn float_tensor(workspace: &mut Workspace, array: &Array) -> Result<Tensor, TrainError> {
    let array = &array.to_standard_layout();
    let shape = array.shape();
    Ok(match Numbers::of(array)? {
        Numbers::F32(values) => upload::<f32, f32>(workspace, shape, values)?,
        Numbers::U8(values) => upload::<u8, f32>(workspace, shape, values)?,
        Numbers::I64(values) => upload::<i64, f32>(workspace, shape, values)?,
    })
}

/// Writes the elements of an array to `values`, in row-major order.
pub(crate) fn as_f32(array: &Array, values: &mut Vec<f32>) -> Result<(), TrainError> {
    values.clear();
    let array = &array.to_standard_layout();
    match Numbers::of(array)? {
        Numbers::F32(found) => values.extend_from_slice(found),
        Numbers::U8(found) => values.extend(found.iter().map(|value| f32::from(*value))),
        Numbers::I64(found) => values.extend(found.iter().map(|value| *value as f32)),
    }
    Ok(())
}

/// The elements of an array in standard layout, if they are numbers.
enum Numbers<'a> {
    F32(&'a [f32]),
    U8(&'a [u8]),
    I64(&'a [i64]),
}

impl Numbers<'_> {
    fn of(array: &Array) -> Result<Numbers<'_>, TrainError> {
        let floats = array.as_slice::<f32>().map(Numbers::F32);
        let bytes = || array.as_slice::<u8>().map(Numbers::U8);
        let integers = || array.as_slice::<i64>().map(Numbers::I64);
        floats
            .or_else(bytes)
            .or_else(integers)
            .ok_or_else(|| TrainError::Array {
                what: "an array cannot be read as numbers".to_owned(),
                expected: "elements of type u8, f32 or i64".to_owned(),
                found: array.dtype().name().to_owned(),
            })
    }
}

/// The targets of an output, in the form its loss takes.
pub(crate) fn target_tensor(
    workspace: &mut Workspace,
    kind: TargetKind,
    array: &Array,
) -> Result<Target, TrainError> {
    match kind {
        TargetKind::Values => Ok(Target::Values(float_tensor(workspace, array)?)),
        TargetKind::Labels => Ok(Target::Labels(label_tensor(workspace, array)?)),
    }
}

/// Labels, one for each row of an output; a last axis of 1 is no axis of rows.
fn label_tensor(workspace: &mut Workspace, array: &Array) -> Result<Tensor, TrainError> {
    let array = &array.to_standard_layout();
    let shape = match array.shape() {
        [rows @ .., 1] if !rows.is_empty() => rows,
        rows => rows,
    };
    match array.dtype() {
        HostType::U8 => {
            let labels = array.as_slice::<u8>().unwrap_or_default();
            Ok(upload::<u8, u32>(workspace, shape, labels)?)
        }
        HostType::I64 => {
            let labels = array.as_slice::<i64>().unwrap_or_default();
            let valid = |label: &i64| u32::try_from(*label).is_ok();
            check_labels(shape, labels, valid)?;
            Ok(upload::<i64, u32>(workspace, shape, labels)?)
        }
        _ => {
            let labels = array.as_slice::<f32>().unwrap_or_default();
            let valid = |label: &f32| label.fract() == 0.0 && (0.0..16_777_216.0).contains(label);
            check_labels(shape, labels, valid)?;
            Ok(upload::<f32, u32>(workspace, shape, labels)?)
        }
    }
}

fn check_labels<T: ToString>(
    shape: &[usize],
    labels: &[T],
    valid: impl Fn(&T) -> bool,
) -> Result<(), TrainError> {
    let Some(at) = labels.iter().position(|label| !valid(label)) else {
        return Ok(());
    };
    let per_sample = shape.iter().skip(1).product::<usize>().max(1);
    let place = match per_sample {
        1 => String::new(),
        _ => format!(", position {}", at % per_sample),
    };
    Err(TrainError::Array {
        what: format!(
            "the label of row {}{place} is no class index",
            at / per_sample
        ),
        expected: "a whole number from 0".to_owned(),
        found: labels[at].to_string(),
    })
}

/// The sample weights of each port: a single array is for all of them, named ones for those they are
/// named after.
pub(crate) fn weights_by_port<'a>(
    ports: &[&Port],
    weights: Option<&'a Arrays>,
) -> Result<Vec<Option<&'a Array>>, TrainError> {
    let Some(weights) = weights else {
        return Ok(vec![None; ports.len()]);
    };
    if weights.is_unnamed() {
        return Ok(vec![Some(weights.first()); ports.len()]);
    }
    let known = |name: &str| ports.iter().any(|port| port.name == name);
    if let Some(unknown) = weights.names().find(|name| !known(name)) {
        return Err(TrainError::Names {
            what: "sample weights",
            expected: list(ports.iter().map(|port| port.name.as_str())),
            found: list([unknown]),
        });
    }
    Ok(ports.iter().map(|port| weights.get(&port.name)).collect())
}

/// Sample weights as f32, `[N]` or one for each position.
pub(crate) fn weight_tensor(
    workspace: &mut Workspace,
    weights: &Array,
) -> Result<Tensor, TrainError> {
    let tensor = float_tensor(workspace, weights)?;
    Ok(match tensor.dims() {
        [_, 1] => tensor.squeeze(1).map_err(TensorError::from)?,
        _ => tensor,
    })
}
