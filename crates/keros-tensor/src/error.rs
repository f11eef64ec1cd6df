//! The one error type of this crate: what was being done, what was wrong, what was expected.

use std::fmt;
use std::path::{Path, PathBuf};

use candle_core::DType;

/// Everything that can go wrong in this crate.
///
/// Messages read "what was being done: what was wrong (expected …, found …)".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// A device name that this crate does not know.
    #[error("parsing device: unknown name {name:?} (expected \"cpu\", \"cuda\" or \"cuda:N\")")]
    UnknownDevice {
        /// The name as given.
        name: Box<str>,
    },
    /// A device that this build cannot open.
    #[error(
        "opening device {name:?}: this build has no CUDA support (expected \"cpu\", or a build with the feature \"cuda\")"
    )]
    DeviceUnavailable {
        /// The name as given.
        name: Box<str>,
    },
    /// A GPU that this machine does not have, or cannot use.
    #[error("opening device {name:?}: {reason}")]
    NoGpu {
        /// The name as given.
        name: Box<str>,
        /// What was expected and found, or what the driver says.
        reason: Box<str>,
    },
    /// The memory of a GPU is used up.
    #[error(
        "{op}: the memory of the GPU is used up (expected {}, found {free} of {total} bytes free)",
        bytes.map_or_else(|| "more".to_owned(), |bytes| format!("{bytes} bytes"))
    )]
    OutOfMemory {
        /// The operation.
        op: &'static str,
        /// Bytes that it asked for, if that is known.
        bytes: Option<usize>,
        /// Bytes that were free.
        free: usize,
        /// Bytes that the GPU has.
        total: usize,
    },
    /// A GPU or one of its libraries refused an operation.
    #[error("{op}: {reason}")]
    Gpu {
        /// The operation.
        op: &'static str,
        /// What the driver or the library says.
        reason: Box<str>,
    },
    /// A tensor that lives where the operation cannot reach it.
    #[error("{op}: tensor is on another device (expected {expected}, found {found})")]
    Device {
        /// The operation.
        op: &'static str,
        /// Where the operation runs.
        expected: &'static str,
        /// Where the tensor is.
        found: &'static str,
    },
    /// A tensor of the wrong element type.
    #[error("{op}: wrong element type (expected {expected:?}, found {found:?})")]
    DType {
        /// The operation.
        op: &'static str,
        /// The type that the operation takes.
        expected: DType,
        /// The type of the tensor.
        found: DType,
    },
    /// A tensor of the wrong shape.
    #[error("{op}: {what} has the wrong shape (expected {expected}, found {found:?})")]
    Shape {
        /// The operation.
        op: &'static str,
        /// Which of its tensors.
        what: &'static str,
        /// The shape that the operation takes, in words or numbers.
        expected: Box<str>,
        /// The shape of the tensor.
        found: Box<[usize]>,
    },
    /// A tensor that is a strided view where a dense block of memory is needed.
    #[error("{op}: tensor of shape {found:?} is not contiguous (call `contiguous()` first)")]
    NotContiguous {
        /// The operation.
        op: &'static str,
        /// The shape of the tensor.
        found: Box<[usize]>,
    },
    /// An output that shares its memory with another tensor of the same operation.
    #[error("{op}: the tensor to write shares its storage with one in use (expected its own)")]
    Aliased {
        /// The operation.
        op: &'static str,
    },
    /// A number or choice outside its range.
    #[error("{op}: bad {what} (expected {expected}, found {found})")]
    Argument {
        /// The operation.
        op: &'static str,
        /// Which argument.
        what: &'static str,
        /// Its range.
        expected: Box<str>,
        /// The value given.
        found: Box<str>,
    },
    /// A class label that names no class.
    #[error(
        "{op}: label of sample {sample} is out of range (expected 0..{classes}, found {label})"
    )]
    Label {
        /// The operation.
        op: &'static str,
        /// Index of the sample in its batch.
        sample: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// Two parameters of one name.
    #[error("adding parameter: name {name:?} is taken (expected a new name)")]
    DuplicateParam {
        /// The name.
        name: Box<str>,
    },
    /// A name that cannot be stored.
    #[error(
        "naming tensor: bad name {name:?} (expected at least one character, no control characters, not \"__metadata__\")"
    )]
    BadName {
        /// The name.
        name: Box<str>,
    },
    /// A file that cannot be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// "reading" or "writing".
        action: &'static str,
        /// The file.
        path: Box<Path>,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("reading {}: not a usable {format} file ({reason})", path.display())]
    Format {
        /// The file.
        path: Box<Path>,
        /// What it should be: "safetensors" or "npz".
        format: &'static str,
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// A file that should hold weights of Keras.
    #[cfg(feature = "keras-files")]
    #[error("reading {}: not a usable weights file of Keras ({reason})", path.display())]
    KerasFile {
        /// The file.
        path: Box<Path>,
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// Tensors of a file that do not match the parameters they should fill.
    #[error(transparent)]
    Weights(Box<WeightsMismatch>),
    /// An error of candle.
    #[error("candle: {0}")]
    Candle(Box<candle_core::Error>),
}

impl From<candle_core::Error> for TensorError {
    fn from(error: candle_core::Error) -> Self {
        #[cfg(feature = "cuda")]
        if crate::cuda::is_out_of_memory(&error) {
            return crate::cuda::out_of_memory("running an operation of candle", None);
        }
        Self::Candle(Box::new(error))
    }
}

impl TensorError {
    pub(crate) fn shape(
        op: &'static str,
        what: &'static str,
        expected: impl fmt::Display,
        found: &[usize],
    ) -> Self {
        Self::Shape {
            op,
            what,
            expected: expected.to_string().into(),
            found: found.into(),
        }
    }

    pub(crate) fn argument(
        op: &'static str,
        what: &'static str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::Argument {
            op,
            what,
            expected: expected.to_string().into(),
            found: found.to_string().into(),
        }
    }
}

/// Every difference between the tensors of a file and the parameters they should fill.
#[derive(Debug)]
#[non_exhaustive]
pub struct WeightsMismatch {
    /// The file.
    pub path: PathBuf,
    /// Parameters that the file lacks, in parameter order.
    pub missing: Vec<String>,
    /// Tensors of the file that no parameter is named after, in file order.
    pub unexpected: Vec<String>,
    /// Tensors of another shape or element type, in parameter order.
    pub different: Vec<TensorDifference>,
}

/// One tensor whose shape or element type is not that of its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorDifference {
    /// Name of the parameter.
    pub name: String,
    /// Element type and shape of the parameter.
    pub expected: (DType, Vec<usize>),
    /// Element type and shape in the file, as the file spells them.
    pub found: (String, Vec<usize>),
}

impl fmt::Display for WeightsMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "loading {}: tensors do not match the parameters",
            self.path.display()
        )?;
        for name in &self.missing {
            write!(f, "; missing {name:?}")?;
        }
        for name in &self.unexpected {
            write!(f, "; unexpected {name:?}")?;
        }
        for difference in &self.different {
            let (dtype, shape) = &difference.expected;
            let (found_dtype, found_shape) = &difference.found;
            write!(
                f,
                "; {:?} differs (expected {dtype:?} {shape:?}, found {found_dtype} {found_shape:?})",
                difference.name
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for WeightsMismatch {}

#[cfg(test)]
mod tests {
    use super::TensorError;

    #[test]
    fn is_small_and_crosses_threads() {
        fn check<T: Send + Sync + 'static>() {}
        check::<TensorError>();
        assert!(size_of::<TensorError>() <= 72);
    }
}
