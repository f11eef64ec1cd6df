//! Parameters in numpy's `.npz` files: a zip archive with one `.npy` array for each.
//!
//! `numpy.load(path)[name]` gives the parameter; `numpy.savez(path, **{name: array})` and
//! `savez_compressed` make a file for [`load_npz`].
//! The same parameters give the same bytes.
//! What a file may make us read is bounded by the parameters: headers are compared with them before
//! any element is read.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::file::{replace_file, unreadable};
use crate::npy::{self, Header};
use crate::weights::{compare, set_params};
use crate::{Params, TensorError, memory};

const SUFFIX: &str = ".npy";
/// From here on sizes in a zip archive need 64 bits, headers included.
const LARGE: usize = 1 << 31;

/// Writes the values of all parameters to an uncompressed `.npz` file of numpy.
///
/// Types: `u8`, `u32`, `i16`, `i32`, `i64`, `f16`, `f32`, `f64`.
///
/// # Errors
/// [`TensorError::Argument`] for a parameter of another type or rank than numpy has,
/// [`TensorError::Io`] with the file; the file that was there, if any, is unchanged.
pub fn save_npz(params: &Params, path: impl AsRef<Path>) -> Result<(), TensorError> {
    const OP: &str = "writing npz file";
    let mut arrays = Vec::with_capacity(params.len());
    for (_, param) in params.iter() {
        let tensor = param.value().to_device(&Device::Cpu)?.contiguous()?;
        let header = npy::code(tensor.dtype()).and_then(|code| npy::header(code, tensor.dims()));
        let Some(header) = header else {
            let found = format!("{:?} in {:?}", tensor.dtype(), param.name());
            let what = "element type";
            return Err(TensorError::argument(OP, what, npy::SUPPORTED, found));
        };
        arrays.push((param.name(), header, tensor));
    }
    let mut values = Vec::with_capacity(arrays.len());
    for (_, _, tensor) in &arrays {
        values.push(memory::open(OP, tensor)?);
    }
    replace_file(path.as_ref(), |file| {
        let mut zip = ZipWriter::new(BufWriter::new(file));
        for ((name, header, _), values) in arrays.iter().zip(&values) {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(values.len() >= LARGE);
            zip.start_file(format!("{name}{SUFFIX}"), options)?;
            zip.write_all(header)?;
            zip.write_all(values)?;
        }
        zip.finish()?.flush()
    })
}

/// Reads the values of all parameters from a `.npz` file of numpy, stored or deflated.
///
/// The file holds one array for each parameter, with its name, shape and type, and no others; order
/// of the arrays, of their dimensions (C or Fortran) and of the bytes are as they may be.
///
/// # Errors
/// [`TensorError::Weights`] with every difference, [`TensorError::Io`] with the file or
/// [`TensorError::Format`] with file and entry.
/// After an error no parameter has changed.
pub fn load_npz(params: &Params, path: impl AsRef<Path>) -> Result<(), TensorError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| bad_file(path, e))?;
    if archive.has_duplicate_names() {
        return Err(bad_file(path, "it holds two entries of one name"));
    }
    let mut headers = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let mut entry = archive
            .by_index(index)
            .map_err(|error| bad_file(path, format_args!("entry {index}: {error}")))?;
        let name = entry
            .name()
            .map_err(|error| bad_file(path, format_args!("entry {index}: {error}")))?
            .into_owned();
        let array = name
            .strip_suffix(SUFFIX)
            .ok_or_else(|| bad_entry(path, &name, "its name does not end in .npy"))?;
        let header = Header::read(&mut entry).map_err(|what| bad_entry(path, array, what))?;
        headers.push((array.to_owned(), header));
    }
    let found = headers
        .iter()
        .map(|(name, header)| (name.as_str(), header.dtype(), header.shape.as_slice()));
    compare(params, found, |i| headers[i].1.descr.clone(), path)?;
    let mut tensors = Vec::with_capacity(headers.len());
    for (index, (name, header)) in headers.into_iter().enumerate() {
        let entry = archive
            .by_index(index)
            .map_err(|error| bad_entry(path, &name, error))?;
        if let Some(dtype) = header.dtype() {
            let tensor = read(entry, &header, dtype);
            let tensor = tensor.map_err(|error| bad_entry(path, &name, error))?;
            tensors.push((name, tensor));
        }
    }
    set_params(params, &tensors, path)
}

fn bad_file(path: &Path, reason: impl fmt::Display) -> TensorError {
    TensorError::Format {
        path: path.into(),
        format: "npz",
        reason: reason.to_string().into(),
    }
}

fn bad_entry(path: &Path, name: &str, reason: impl fmt::Display) -> TensorError {
    bad_file(path, format_args!("entry {name:?}: {reason}"))
}

/// Reads the array of an entry whose header, read before, is that of a parameter.
fn read(mut entry: impl Read, header: &Header, dtype: DType) -> io::Result<Tensor> {
    io::copy(&mut entry.by_ref().take(header.len), &mut io::sink())?;
    let size = dtype.size_in_bytes();
    let mut bytes = vec![0; size * header.shape.iter().product::<usize>()];
    entry.read_exact(&mut bytes)?;
    // The end is where the archive's checksum is compared.
    if entry.read(&mut [0])? != 0 {
        return Err(io::Error::other("it is longer than its header says"));
    }
    if header.is_swapped() {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    let tensor = |shape: &[usize]| Tensor::from_raw_buffer(&bytes, dtype, shape, &Device::Cpu);
    let read = match header.fortran_order {
        false => tensor(&header.shape),
        true => {
            let reversed: Vec<usize> = header.shape.iter().rev().copied().collect();
            let axes: Vec<usize> = (0..reversed.len()).rev().collect();
            tensor(&reversed).and_then(|tensor| tensor.permute(axes)?.contiguous())
        }
    };
    read.map_err(io::Error::other)
}
