//! The contract of an indexable data source.

use crate::{Batch, DataError, Recipe};

/// A data source whose batches can be asked for by number, from several threads at once (Keras's
/// `Sequence`, `PyDataset`).
///
/// # Determinism
/// [`Sequence::batch`] must be a pure function of its arguments, of the seed the sequence was made
/// with and of the epochs whose end it was told: the loader calls it from any thread, in any order,
/// for the current epoch and the next one. [`rng::stream`](crate::rng::stream) gives random numbers
/// that obey.
pub trait Sequence: Send + Sync {
    /// Number of batches per epoch. Read again for every epoch, when its first batch is scheduled.
    fn len(&self) -> usize;

    /// The batch `index` (below [`Sequence::len`]) of the zero-based `epoch`.
    ///
    /// # Errors
    /// Whatever the source cannot do. [`DataError::source`] wraps errors of other crates.
    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError>;

    /// Called exactly once per epoch of the data, on the thread that consumes the batches, when the
    /// last batch of the epoch is handed out. A sequence may change itself here, as those of Keras do
    /// to shuffle; [`Sequence::changes_on_epoch_end`] says whether it does.
    fn on_epoch_end(&self, epoch: u64) {
        let _ = epoch;
    }

    /// Whether [`Sequence::on_epoch_end`] changes what [`Sequence::len`] or [`Sequence::batch`]
    /// return.
    ///
    /// If so (the default), no batch of an epoch is prepared before the epoch before it has ended, and
    /// worker processes start anew for each epoch. Return false where nothing changes: then the first
    /// batches of the next epoch are prepared while the last ones of this epoch are consumed.
    fn changes_on_epoch_end(&self) -> bool {
        true
    }

    /// How worker processes make this sequence again, in its present state; see
    /// [`worker`](crate::worker). Only needed for them, and refused by default.
    ///
    /// # Errors
    /// The sequence has something that cannot be described, such as a function.
    fn recipe(&self) -> Result<Recipe<'_>, DataError> {
        Err(DataError::NotPortable {
            sequence: std::any::type_name::<Self>(),
            reason: "it has no `recipe`",
        })
    }

    /// Number of samples per epoch, when known.
    fn num_samples(&self) -> Option<usize> {
        None
    }

    /// Whether an epoch has no batch.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
