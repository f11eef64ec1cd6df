//! The one error type of the crate: what was being done with data, what was wrong, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use keros_image::ImageError;
use thiserror::Error;

use crate::DType;

/// Why data could not be prepared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// Two arrays that belong together have different numbers of rows.
    #[error(
        "checking array lengths: {name} has another number of rows than {reference} (expected {expected}, found {found})"
    )]
    LengthMismatch {
        /// The array that does not fit, in words, such as `targets "class"`.
        name: Box<str>,
        /// The array it was compared with.
        reference: Box<str>,
        /// Rows of the reference.
        expected: usize,
        /// Rows of the array.
        found: usize,
    },
    /// Something that must hold at least one row or batch holds none.
    #[error("{doing}: {what} must not be empty (expected at least 1, found 0)")]
    Empty {
        /// What was being done.
        doing: &'static str,
        /// What is empty, in words.
        what: Box<str>,
    },
    /// An array of a set has a name that the set has already.
    #[error("naming arrays: two arrays have the name {name:?} (expected different names)")]
    DuplicateName {
        /// The name.
        name: Box<str>,
    },
    /// Arrays that belong together by their names have other names.
    #[error("{doing}: the arrays have other names ({mismatch})")]
    Names {
        /// What was being done.
        doing: &'static str,
        /// The names of the first and those that differ.
        mismatch: Box<Mismatch>,
    },
    /// Two batches that belong together row by row hold different samples.
    #[error(
        "pairing batches: row {row} is of different samples (expected sample {expected}, as in the first batch, found {found})"
    )]
    SampleMismatch {
        /// The first row that differs.
        row: usize,
        /// Index of the sample in the first batch.
        expected: usize,
        /// Index of the sample in the second batch.
        found: usize,
    },
    /// More bytes than were allowed.
    #[error("{doing}: too many bytes (expected at most {limit}, found {found} or more)")]
    TooManyBytes {
        /// What was being done.
        doing: &'static str,
        /// The limit that was given.
        limit: usize,
        /// Bytes when it was given up.
        found: usize,
    },
    /// An argument is outside of what it may be.
    #[error("{doing}: invalid {argument} ({mismatch})")]
    InvalidArgument {
        /// What was being done.
        doing: &'static str,
        /// The argument, as the setter or field is called.
        argument: &'static str,
        /// What is allowed and what was given.
        mismatch: Box<Mismatch>,
    },
    /// An array does not have the form that is needed.
    #[error("{doing}: {what} has the wrong shape ({mismatch})")]
    Shape {
        /// What was being done.
        doing: &'static str,
        /// The array, in words.
        what: &'static str,
        /// The form that is needed and the shape of the array.
        mismatch: Box<Mismatch>,
    },
    /// An array has elements of a type that cannot be used here.
    #[error("{doing}: {what} has the wrong element type (expected {expected}, found {found})")]
    ElementType {
        /// What was being done.
        doing: &'static str,
        /// The array, in words.
        what: &'static str,
        /// The types that can be used.
        expected: &'static str,
        /// The type of the array.
        found: DType,
    },
    /// An index beyond the end.
    #[error("{doing}: {what} {index} does not exist (expected an index below {len})")]
    OutOfRange {
        /// What was being done.
        doing: &'static str,
        /// What is counted: `row`, `batch`.
        what: &'static str,
        /// The index that was asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// An image could not be transformed.
    #[error("preparing sample {sample}: {source}")]
    Image {
        /// Index of the sample in the dataset.
        sample: usize,
        /// What was wrong with it.
        source: Box<ImageError>,
    },
    /// The file of a sample could not be read as an image.
    #[error("preparing sample {sample} from {}: {source}", path.display())]
    ImageFile {
        /// Index of the sample in the dataset.
        sample: usize,
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: Box<ImageError>,
    },
    /// Image settings or parameters that do not work for any image.
    #[error(transparent)]
    Transform(#[from] ImageError),
    /// A file could not be opened or read.
    #[error("reading {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("reading {}: {what} ({mismatch})", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
        /// What a good file has and what this one has.
        mismatch: Box<Mismatch>,
    },
    /// Code of the data source panicked.
    #[error("preparing data: the source panicked{}: {message}", at(*.sample, .path.as_deref()))]
    Panicked {
        /// The panic's message.
        message: Box<str>,
        /// The sample that it was working on, if it told.
        sample: Option<usize>,
        /// The file of that sample, if it has one.
        path: Option<PathBuf>,
    },
    /// A worker thread could not be started, or ended without delivering its batch.
    #[error("preparing data on worker threads: {what}")]
    Worker {
        /// What happened.
        what: Box<str>,
    },
    /// Worker processes are asked for in a program that cannot be one.
    #[error(
        "starting worker processes: this program does not serve as a worker (expected: it calls \
         keros_data::worker::serve_if_asked first thing in main)"
    )]
    NotServing,
    /// A sequence that cannot be made again in a worker process.
    #[error("starting worker processes: {sequence} cannot be made again in one: {reason}")]
    NotPortable {
        /// The type of the sequence.
        sequence: &'static str,
        /// What it has or lacks.
        reason: &'static str,
    },
    /// The program's registry does not know how a sequence is made.
    #[error(
        "starting worker processes: the program's worker::Registry has no sequence of the name \
         {name:?} (expected: it is added before serve_if_asked)"
    )]
    NotRegistered {
        /// The name in the sequence's recipe.
        name: &'static str,
    },
    /// The description of a sequence for worker processes could not be written or read.
    #[error("describing a sequence to a worker process: {0}")]
    Description(Box<dyn std::error::Error + Send + Sync>),
    /// Memory could not be shared with a worker process.
    #[error("sharing memory with a worker process: {0}")]
    SharedMemory(std::io::Error),
    /// A worker process could not be started.
    #[error("starting a worker process: {what}")]
    WorkerStart {
        /// What happened.
        what: Box<str>,
    },
    /// A worker process died, and so did the one that tried the same batch again.
    #[error("preparing data in a worker process: it {how}, twice{}", at(*.sample, .path.as_deref()))]
    WorkerDied {
        /// How the second one ended.
        how: Box<str>,
        /// The sample that it was working on, if it told.
        sample: Option<usize>,
        /// The file of that sample, if it has one.
        path: Option<PathBuf>,
    },
    /// An error in a worker process, as text; what threads report as the error itself.
    #[error("{message}")]
    InWorker {
        /// The error's message.
        message: Box<str>,
        /// The sample that the worker was working on, if it told.
        sample: Option<usize>,
        /// The file of that sample, if it has one.
        path: Option<PathBuf>,
    },
    /// A batch could not be prepared; `source` says why.
    #[error("preparing batch {index} of epoch {epoch}: {source}")]
    Batch {
        /// Zero-based epoch of the data.
        epoch: u64,
        /// Index of the batch in its [`Sequence`](crate::Sequence), or how many the generator gave
        /// before.
        index: u64,
        /// What was wrong.
        source: Box<DataError>,
    },
    /// An error of a data source outside this crate.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
}

impl DataError {
    /// Wraps an error of your own [`Sequence`](crate::Sequence) or [`Generator`](crate::Generator).
    pub fn source(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Source(error.into())
    }

    pub(crate) fn description(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Description(error.into())
    }

    pub(crate) fn shared_memory(error: std::io::Error) -> Self {
        Self::SharedMemory(error)
    }

    /// The error of an image with the index of its sample.
    pub(crate) fn in_sample(self, sample: usize) -> Self {
        match self {
            Self::Transform(source) => Self::Image {
                sample,
                source: Box::new(source),
            },
            other => other,
        }
    }

    /// The error with the place of its batch.
    pub(crate) fn in_batch(self, epoch: u64, index: u64) -> Self {
        Self::Batch {
            epoch,
            index,
            source: Box::new(self),
        }
    }

    pub(crate) fn invalid(
        doing: &'static str,
        argument: &'static str,
        expected: &'static str,
        found: impl ToString,
    ) -> Self {
        Self::InvalidArgument {
            doing,
            argument,
            mismatch: Mismatch::boxed(expected, found),
        }
    }

    pub(crate) fn names<'n>(
        doing: &'static str,
        expected: impl Iterator<Item = &'n str>,
        found: impl Iterator<Item = &'n str>,
    ) -> Self {
        let list = |names: &mut dyn Iterator<Item = &'n str>| {
            names
                .map(|name| format!("{name:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (mut expected, mut found) = (expected, found);
        Self::Names {
            doing,
            mismatch: Mismatch::boxed(list(&mut expected), list(&mut found)),
        }
    }

    pub(crate) fn shape(
        doing: &'static str,
        what: &'static str,
        expected: impl ToString,
        found: &[usize],
    ) -> Self {
        Self::Shape {
            doing,
            what,
            mismatch: Mismatch::boxed(expected, format_args!("{found:?}")),
        }
    }
}

/// Where a worker was.
fn at(sample: Option<usize>, path: Option<&Path>) -> String {
    match (sample, path) {
        (Some(sample), Some(path)) => format!(", at sample {sample}, {}", path.display()),
        (Some(sample), None) => format!(", at sample {sample}"),
        (None, _) => String::new(),
    }
}

/// What was expected and what was found, in words. Displays as `expected …, found …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was expected.
    pub expected: Box<str>,
    /// What was found.
    pub found: Box<str>,
}

impl Mismatch {
    pub(crate) fn boxed(expected: impl ToString, found: impl ToString) -> Box<Self> {
        Box::new(Self {
            expected: expected.to_string().into(),
            found: found.to_string().into(),
        })
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}
