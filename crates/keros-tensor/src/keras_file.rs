//! Reading the weights of Keras 3: `.weights.h5` files, and the one inside a `.keras` archive.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use candle_core::{Device, Tensor};
use hdf5_reader::group::Group;
use hdf5_reader::{Hdf5File, OpenOptions};

use crate::file::unreadable;
use crate::{ParamId, Params, TensorDifference, TensorError, WeightsMismatch};

/// Name of the weights inside a `.keras` archive.
const ARCHIVE_MEMBER: &str = "model.weights.h5";
/// Name of the configuration beside them.
const CONFIG_MEMBER: &str = "config.json";
/// Deflate cannot expand further than this.
const MAX_EXPANSION: usize = 1032;

/// Fills parameters from a `.weights.h5` or `.keras` file of Keras 3: either all of them, or none.
///
/// `layers`: for each layer the path under which Keras keeps it below `layers`, and its parameters in
/// the order in which the layer of Keras made its variables. Keras counts the layers of a class
/// there, whatever their names are: `conv2d`, `conv2d_1`, …
///
/// # Errors
/// A file that cannot be read, that is neither HDF5 nor a `.keras` archive, that is damaged, or whose
/// variables are not of type float32; layers that are missing, left over, or have variables of
/// another number or shape, all listed by name.
pub fn load_keras_params(
    params: &Params,
    layers: &[(String, &[ParamId])],
    path: impl AsRef<Path>,
) -> Result<(), TensorError> {
    let path = path.as_ref();
    let mut in_file = read_layers(path)?;
    let mut mismatch = WeightsMismatch {
        path: path.to_owned(),
        missing: Vec::new(),
        unexpected: Vec::new(),
        different: Vec::new(),
    };
    let mut values = Vec::new();
    for (key, ids) in layers {
        let variables = match in_file.iter().position(|layer| layer.path == *key) {
            Some(place) => in_file.remove(place).variables,
            None => Vec::new(),
        };
        let extra = (ids.len()..variables.len()).map(|i| format!("{key}/vars/{i}"));
        mismatch.unexpected.extend(extra);
        let mut variables = variables.into_iter();
        for param in ids.iter().map(|id| &params[*id]) {
            let expected = param.value();
            match variables.next() {
                None => mismatch.missing.push(param.name().to_owned()),
                Some(value) if value.dims() == expected.dims() => values.push((param, value)),
                Some(value) => mismatch.different.push(TensorDifference {
                    name: param.name().to_owned(),
                    expected: (expected.dtype(), expected.dims().to_vec()),
                    found: ("F32".to_owned(), value.dims().to_vec()),
                }),
            }
        }
    }
    mismatch
        .unexpected
        .extend(in_file.into_iter().map(|layer| layer.path));
    if mismatch.missing.len() + mismatch.unexpected.len() + mismatch.different.len() > 0 {
        return Err(TensorError::Weights(Box::new(mismatch)));
    }
    for (param, value) in values {
        param.set(&value.to_device(param.value().device())?)?;
    }
    Ok(())
}

/// The variables of one layer of a file.
struct Layer {
    path: String,
    variables: Vec<Tensor>,
}

/// All layers that have variables, in the order of their paths.
fn read_layers(path: &Path) -> Result<Vec<Layer>, TensorError> {
    let bad = |what: &dyn fmt::Display| bad_file(path, what);
    let mut bytes = std::fs::read(path).map_err(|source| unreadable(path, source))?;
    if bytes.starts_with(b"PK") {
        bytes = unpack(path, ARCHIVE_MEMBER)?;
    }
    let size = bytes.len() as u64;
    let limit = bytes.len().saturating_mul(MAX_EXPANSION);
    let options = OpenOptions::default().with_max_read_bytes(limit);
    let file = Hdf5File::from_vec_with_options(bytes, options).map_err(|error| bad(&error))?;
    let expected = file.superblock().eof_address;
    if size < expected {
        return Err(bad(&format_args!(
            "it is cut off: expected {expected} bytes, found {size}"
        )));
    }
    let layers = file.group("layers").map_err(|error| bad(&error))?;
    let mut found = Vec::new();
    walk(&layers, "", &mut found).map_err(|what| bad(&what))?;
    Ok(found)
}

fn bad_file(path: &Path, what: &dyn fmt::Display) -> TensorError {
    TensorError::KerasFile {
        path: path.into(),
        reason: what.to_string().into(),
    }
}

/// The configuration of the network in a `.keras` archive of Keras 3: JSON.
///
/// # Errors
/// A file that cannot be read or is no such archive.
pub fn read_keras_config(path: impl AsRef<Path>) -> Result<String, TensorError> {
    let path = path.as_ref();
    let bytes = unpack(path, CONFIG_MEMBER)?;
    String::from_utf8(bytes).map_err(|error| bad_file(path, &error))
}

/// A member of a `.keras` archive.
fn unpack(path: &Path, member: &str) -> Result<Vec<u8>, TensorError> {
    let bad = |what: &dyn fmt::Display| bad_file(path, what);
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    let size = file.metadata().map_or(0, |data| data.len());
    let mut archive = zip::ZipArchive::new(file).map_err(|error| bad(&error))?;
    let member = archive.by_name(member).map_err(|error| bad(&error))?;
    let mut bytes = Vec::new();
    member
        .take(size.saturating_mul(MAX_EXPANSION as u64))
        .read_to_end(&mut bytes)
        .map_err(|error| bad(&error))?;
    Ok(bytes)
}

/// Adds the layers of a group of layers; those of an inner model stand in a group of their own.
fn walk(group: &Group, path: &str, found: &mut Vec<Layer>) -> Result<(), String> {
    let mut groups = group
        .groups()
        .map_err(|error| format!("layers/{path}: {error}"))?;
    groups.sort_by(|a, b| a.name().cmp(b.name()));
    for inner in &groups {
        match inner.name() {
            "vars" => {
                let variables = variables(inner, path)?;
                if !variables.is_empty() {
                    found.push(Layer {
                        path: path.to_owned(),
                        variables,
                    });
                }
            }
            name if path.is_empty() => walk(inner, name, found)?,
            name => walk(inner, &format!("{path}/{name}"), found)?,
        }
    }
    Ok(())
}

/// The datasets `0`, `1`, … of a group.
fn variables(group: &Group, path: &str) -> Result<Vec<Tensor>, String> {
    let count = group
        .datasets()
        .map_err(|error| format!("layers/{path}/vars: {error}"))?
        .len();
    let variable = |index: usize| {
        let values = group.dataset(&index.to_string())?.read_array::<f32>()?;
        let flat: Vec<f32> = values.iter().copied().collect();
        Ok(Tensor::from_vec(flat, values.shape(), &Device::Cpu))
    };
    (0..count)
        .map(|index| {
            let named = |what: &dyn fmt::Display| format!("layers/{path}/vars/{index}: {what}");
            let tensor =
                variable(index).map_err(|error: hdf5_reader::error::Error| named(&error))?;
            tensor.map_err(|error| named(&error))
        })
        .collect()
}
