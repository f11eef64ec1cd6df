//! Parameters and other named tensors in safetensors files.
//!
//! The same tensors give the same bytes.
//! The format sorts tensors by type and name; the metadata entry `keros.order` keeps the order in
//! which they were given, one name a line.
//! Reading checks everything before it changes anything.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};

use crate::file::{replace_file, unreadable};
use crate::params::check_name;
use crate::{Params, TensorDifference, TensorError, WeightsMismatch, access};

const ORDER: &str = "keros.order";

/// Writes the values of all parameters to a safetensors file.
///
/// # Errors
/// [`TensorError::Io`] with the file; the file that was there, if any, is unchanged.
pub fn save_params(params: &Params, path: impl AsRef<Path>) -> Result<(), TensorError> {
    let tensors: Vec<_> = params
        .iter()
        .map(|(_, param)| (param.name(), param.value().as_tensor()))
        .collect();
    save_tensors(&tensors, path)
}

/// Reads the values of all parameters from a safetensors file.
///
/// The file holds one tensor for each parameter, with its name, shape and type, and no others.
///
/// # Errors
/// [`TensorError::Weights`] with every difference, [`TensorError::Io`] or [`TensorError::Format`]
/// with the file.
/// After an error no parameter has changed.
pub fn load_params(params: &Params, path: impl AsRef<Path>) -> Result<(), TensorError> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|source| unreadable(path, source))?;
    let file = parse(path, &bytes)?;
    let mut views = Vec::with_capacity(file.names.len());
    for name in &file.names {
        views.push((name.as_str(), view(path, &file, name)?));
    }
    let found = views
        .iter()
        .map(|(name, view)| (*name, from_file_dtype(view.dtype()), view.shape()));
    compare(params, found, |i| views[i].1.dtype().to_string(), path)?;
    let tensors = views
        .iter()
        .map(|(name, view)| Ok(((*name).to_owned(), to_tensor(path, view)?)))
        .collect::<Result<Vec<_>, TensorError>>()?;
    set_params(params, &tensors, path)
}

/// Sets all parameters to tensors that were read from the file `path`, on any device.
///
/// # Errors
/// [`TensorError::Weights`] with every difference in names, shapes and types; no parameter has
/// changed then.
pub fn set_params(
    params: &Params,
    tensors: &[(String, Tensor)],
    path: &Path,
) -> Result<(), TensorError> {
    check_params(params, tensors, path)?;
    let pairs = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((params.by_name(name)?, tensor)));
    let values = pairs
        .map(|(param, tensor)| Ok((param, tensor.to_device(param.value().device())?)))
        .collect::<Result<Vec<_>, TensorError>>()?;
    for (param, value) in values {
        param.set(&value)?;
    }
    Ok(())
}

/// Whether [`set_params`] could set the parameters to these tensors.
///
/// # Errors
/// [`TensorError::Weights`] with every difference in names, shapes and types.
pub fn check_params(
    params: &Params,
    tensors: &[(String, Tensor)],
    path: &Path,
) -> Result<(), TensorError> {
    let found = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), Some(tensor.dtype()), tensor.dims()));
    compare(
        params,
        found,
        |i| tensors[i].1.dtype().as_str().to_owned(),
        path,
    )
}

/// Compares parameters with what a file holds: names, element types and shapes. `dtype` spells the
/// type of the i-th.
pub(crate) fn compare<'a>(
    params: &Params,
    found: impl Iterator<Item = (&'a str, Option<DType>, &'a [usize])>,
    dtype: impl Fn(usize) -> String,
    path: &Path,
) -> Result<(), TensorError> {
    let mut mismatch = WeightsMismatch {
        path: path.to_owned(),
        missing: Vec::new(),
        unexpected: Vec::new(),
        different: Vec::new(),
    };
    let found: Vec<_> = found.collect();
    let places: HashMap<&str, usize> = found
        .iter()
        .enumerate()
        .map(|(i, (name, ..))| (*name, i))
        .collect();
    for (_, param) in params.iter() {
        let value = param.value();
        match places.get(param.name()) {
            None => mismatch.missing.push(param.name().to_owned()),
            Some(&i) if found[i].1 != Some(value.dtype()) || found[i].2 != value.dims() => {
                mismatch.different.push(TensorDifference {
                    name: param.name().to_owned(),
                    expected: (value.dtype(), value.dims().to_vec()),
                    found: (dtype(i), found[i].2.to_vec()),
                });
            }
            Some(_) => {}
        }
    }
    mismatch.unexpected = found
        .iter()
        .filter(|(name, ..)| params.by_name(name).is_none())
        .map(|(name, ..)| (*name).to_owned())
        .collect();
    let differences = mismatch.missing.len() + mismatch.unexpected.len() + mismatch.different.len();
    match differences {
        0 => Ok(()),
        _ => Err(TensorError::Weights(Box::new(mismatch))),
    }
}

/// Writes named tensors to a safetensors file, to be read back in the same order.
///
/// Types: `f32`, `f64`, `u8`, `u32`, `i64`.
///
/// # Errors
/// [`TensorError::BadName`] or [`TensorError::DuplicateParam`] for the names, [`TensorError::DType`]
/// for another type, [`TensorError::Io`] with the file; the file that was there, if any, is
/// unchanged.
pub fn save_tensors(
    tensors: &[(&str, &Tensor)],
    path: impl AsRef<Path>,
) -> Result<(), TensorError> {
    let path = path.as_ref();
    let mut contents = Vec::with_capacity(tensors.len());
    let mut names = std::collections::HashSet::with_capacity(tensors.len());
    for &(name, tensor) in tensors {
        check_name(name)?;
        if !names.insert(name) {
            return Err(TensorError::DuplicateParam { name: name.into() });
        }
        let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
        let (dtype, bytes) = to_bytes(&tensor)?;
        contents.push((name, dtype, tensor.dims().to_vec(), bytes));
    }
    let mut views = Vec::with_capacity(contents.len());
    for (name, dtype, shape, bytes) in &contents {
        let view =
            TensorView::new(*dtype, shape.clone(), bytes).map_err(|error| invalid(path, error))?;
        views.push((*name, view));
    }
    let order: Vec<&str> = tensors.iter().map(|&(name, _)| name).collect();
    let metadata = HashMap::from([(ORDER.to_owned(), order.join("\n"))]);
    let bytes =
        safetensors::serialize(views, Some(metadata)).map_err(|error| invalid(path, error))?;
    replace_file(path, |file| file.write_all(&bytes))
}

/// Reads all tensors of a safetensors file onto `device`.
///
/// They come in the order in which [`save_tensors`] was given them, or, from another writer, in
/// file order.
///
/// # Errors
/// [`TensorError::Io`] or [`TensorError::Format`] with the file, the latter also for a tensor of a
/// type that [`save_tensors`] does not take.
pub fn load_tensors(
    path: impl AsRef<Path>,
    device: &Device,
) -> Result<Vec<(String, Tensor)>, TensorError> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|source| unreadable(path, source))?;
    let file = parse(path, &bytes)?;
    let read = |name: String| {
        let tensor = to_tensor(path, &view(path, &file, &name)?)?.to_device(device)?;
        Ok((name, tensor))
    };
    file.names.iter().cloned().map(read).collect()
}

struct File<'a> {
    tensors: SafeTensors<'a>,
    /// Names in the order that the metadata tell, or else in file order.
    names: Vec<String>,
}

fn view<'a>(path: &Path, file: &File<'a>, name: &str) -> Result<TensorView<'a>, TensorError> {
    file.tensors
        .tensor(name)
        .map_err(|error| format_error(path, error))
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<File<'a>, TensorError> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| format_error(path, error))?;
    let (_, metadata): (usize, Metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| format_error(path, error))?;
    let names = metadata.offset_keys();
    let order: Option<Vec<String>> = metadata
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(ORDER))
        .map(|order| order.lines().map(str::to_owned).collect());
    let names = match order {
        Some(order) => {
            let (mut sorted, mut sorted_names) = (order.clone(), names);
            sorted.sort_unstable();
            sorted_names.sort_unstable();
            if sorted != sorted_names {
                let reason = "metadata entry keros.order does not name the tensors of the file";
                return Err(format_error(path, reason));
            }
            order
        }
        None => names,
    };
    Ok(File { tensors, names })
}

fn format_error(path: &Path, reason: impl std::fmt::Display) -> TensorError {
    TensorError::Format {
        path: path.into(),
        format: "safetensors",
        reason: reason.to_string().into(),
    }
}

fn invalid(path: &Path, reason: impl Into<Box<dyn Error + Send + Sync>>) -> TensorError {
    TensorError::Io {
        action: "writing",
        path: path.into(),
        source: io::Error::other(reason),
    }
}

macro_rules! dtypes {
    ($($type:ty, $dtype:ident;)*) => {
        fn from_file_dtype(dtype: Dtype) -> Option<DType> {
            match dtype {
                $(Dtype::$dtype => Some(DType::$dtype),)*
                _ => None,
            }
        }

        /// The type and little-endian bytes of a contiguous tensor on the CPU.
        fn to_bytes(tensor: &Tensor) -> Result<(Dtype, Vec<u8>), TensorError> {
            match tensor.dtype() {
                $(DType::$dtype => {
                    let values = access::read::<$type>(tensor)?;
                    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    Ok((Dtype::$dtype, bytes))
                })*
                found => Err(TensorError::DType {
                    op: "writing tensor file",
                    expected: DType::F32,
                    found,
                }),
            }
        }

        /// The tensor of a view, on the CPU.
        fn to_tensor(path: &Path, view: &TensorView<'_>) -> Result<Tensor, TensorError> {
            match view.dtype() {
                $(Dtype::$dtype => {
                    let (values, _) = view.data().as_chunks();
                    let values: Vec<$type> =
                        values.iter().map(|&bytes| <$type>::from_le_bytes(bytes)).collect();
                    Ok(Tensor::from_vec(values, view.shape(), &Device::Cpu)?)
                })*
                other => Err(format_error(path, format_args!("unsupported element type {other}"))),
            }
        }
    };
}

dtypes! {
    f32, F32;
    f64, F64;
    u8, U8;
    u32, U32;
    i64, I64;
}
