//! What can go wrong in a training.

use keros_callbacks::{BoxError, CallbackError, Event, EventKind};
use keros_data::DataError;
use keros_nn::NnError;
use keros_tensor::TensorError;
use std::path::PathBuf;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An argument that cannot be used, found before anything was changed.
    #[error("{doing}: invalid {argument} (expected {expected}, found {found})")]
    Argument {
        /// The method, such as `fit`.
        doing: &'static str,
        /// The argument.
        argument: &'static str,
        /// What it can be.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A batch whose arrays are not the ones the network has.
    #[error(
        "giving the {what} of a batch to the network: wrong names (expected {expected}, found {found})"
    )]
    Names {
        /// `inputs` or `targets`.
        what: &'static str,
        /// The names the network has.
        expected: String,
        /// The names of the arrays.
        found: String,
    },
    /// Arrays of a batch that the network or the loss cannot take.
    #[error("reading the arrays of a batch: {what} (expected {expected}, found {found})")]
    Array {
        /// What is wrong, with the row it is in.
        what: String,
        /// What can be taken.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A batch without targets where they are needed.
    #[error("training or evaluating: the batch has no targets")]
    NoTargets,
    /// A batch failed.
    #[error("epoch {}, batch {batch}: {source}", epoch + 1)]
    Batch {
        /// Zero-based epoch.
        epoch: u64,
        /// Zero-based batch.
        batch: u64,
        /// What went wrong.
        source: Box<TrainError>,
    },
    /// What belongs to an epoch and to none of its batches failed.
    #[error("epoch {}: {source}", epoch + 1)]
    Epoch {
        /// Zero-based epoch.
        epoch: u64,
        /// What went wrong.
        source: Box<TrainError>,
    },
    /// The validation inside of a training failed.
    #[error(
        "validation after epoch {}{}: {source}",
        epoch + 1,
        batch.map_or_else(String::new, |batch| format!(", batch {batch}"))
    )]
    Validation {
        /// Zero-based epoch of the training.
        epoch: u64,
        /// Zero-based batch of the validation, if it is that of one.
        batch: Option<u64>,
        /// What went wrong.
        source: Box<TrainError>,
    },
    /// The memory of a GPU does not hold a batch. The trainer can go on with a smaller one.
    #[error(
        "a batch of {rows} samples does not fit into the memory of the GPU: {source} (at most about {fits} samples would fit)"
    )]
    OutOfMemory {
        /// Samples of the batch.
        rows: usize,
        /// An estimate from above: the memory of the GPU over what a sample needed until then.
        fits: usize,
        /// What asked for the memory.
        source: NnError,
    },
    /// An event of a loop of the user's own that is not its turn, found before anything was changed.
    #[error("telling callbacks of {event}: out of order (expected {expected}, found {found})")]
    Order {
        /// The event.
        event: &'static str,
        /// What has to be before it.
        expected: &'static str,
        /// Where the loop is.
        found: &'static str,
    },
    /// A checkpoint could not be written or continued.
    #[error("checkpoint {}: {source}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: BoxError,
    },
    /// The source of the data failed.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network, a loss, a metric or the optimizer failed.
    #[error(transparent)]
    Network(#[from] NnError),
    /// A callback failed.
    #[error(transparent)]
    Callback(#[from] CallbackError),
}

impl TrainError {
    pub(crate) fn argument(
        doing: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> TrainError {
        TrainError::Argument {
            doing,
            argument,
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    /// The error of a batch, unless it is already known to be that of another one.
    pub(crate) fn in_batch(self, epoch: u64, batch: u64) -> TrainError {
        match self {
            TrainError::Batch { .. } => self,
            _ => TrainError::Batch {
                epoch,
                batch,
                source: Box::new(self),
            },
        }
    }

    /// The error of a validation, of a batch of it if it has been said to be of one.
    pub(crate) fn in_validation(self, epoch: u64) -> TrainError {
        let (batch, source) = match self {
            TrainError::Batch { batch, source, .. } => (Some(batch), *source),
            TrainError::Epoch { source, .. } => (None, *source),
            other => (None, other),
        };
        let source = match source {
            // Epoch 0 of the data, whatever that of the training.
            TrainError::Data(DataError::Batch { source, .. }) => TrainError::Data(*source),
            other => other,
        };
        TrainError::Validation {
            epoch,
            batch,
            source: Box::new(source),
        }
    }

    /// The error of what was done at an event, with the epoch and batch that the event is of.
    pub(crate) fn at(self, event: &Event) -> TrainError {
        use EventKind::{
            AfterBackward, BeforeStep, EpochBegin, EpochEnd, PredictBatchBegin, PredictBatchEnd,
            TestBatchBegin, TestBatchEnd, TestBegin, TestEnd, TrainBatchBegin, TrainBatchEnd,
        };
        match event.kind {
            TrainBatchBegin | AfterBackward | BeforeStep | TrainBatchEnd | TestBatchBegin
            | TestBatchEnd | PredictBatchBegin | PredictBatchEnd => {
                self.in_batch(event.epoch, event.batch)
            }
            EpochBegin | EpochEnd => self.in_epoch(event.epoch),
            TestBegin | TestEnd if event.nested => self.in_epoch(event.epoch),
            _ => self,
        }
    }

    fn in_epoch(self, epoch: u64) -> TrainError {
        match self {
            TrainError::Batch { .. } | TrainError::Epoch { .. } => self,
            _ => TrainError::Epoch {
                epoch,
                source: Box::new(self),
            },
        }
    }

    /// The zero-based epoch that it names.
    pub(crate) fn epoch(&self) -> Option<u64> {
        match self {
            TrainError::Batch { epoch, .. }
            | TrainError::Epoch { epoch, .. }
            | TrainError::Validation { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }
}

impl From<TensorError> for TrainError {
    fn from(error: TensorError) -> Self {
        TrainError::Network(error.into())
    }
}
