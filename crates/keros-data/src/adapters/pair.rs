//! Two sequences of the same samples as one.

use std::fmt;

use crate::array_sequence::check_index;
use crate::{Batch, DataError, Sequence};

/// Inputs of one sequence with those of another as targets, made by
/// [`SequenceExt::zip`](super::SequenceExt::zip).
pub type Zip<A, B> = ZipWith<A, B, fn(Batch, Batch) -> Result<Batch, DataError>>;

/// Two sequences whose batches are made one by a function, made by
/// [`SequenceExt::zip_with`](super::SequenceExt::zip_with).
#[derive(Clone)]
pub struct ZipWith<A, B, F> {
    first: A,
    second: B,
    function: F,
}

impl<A: Sequence, B: Sequence, F> ZipWith<A, B, F> {
    pub(super) fn new(first: A, second: B, function: F) -> Result<Self, DataError> {
        let (expected, found) = (first.len(), second.len());
        if expected != found {
            return Err(DataError::LengthMismatch {
                name: "the second list of batches".into(),
                reference: "the first".into(),
                expected,
                found,
            });
        }
        Ok(Self {
            first,
            second,
            function,
        })
    }
}

impl<A, B, F> Sequence for ZipWith<A, B, F>
where
    A: Sequence,
    B: Sequence,
    F: Fn(Batch, Batch) -> Result<Batch, DataError> + Send + Sync,
{
    fn len(&self) -> usize {
        self.first.len().min(self.second.len())
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        check_index(index, self.len())?;
        let first = self.first.batch(epoch, index)?;
        let second = self.second.batch(epoch, index)?;
        first.check_same_samples(&second)?;
        (self.function)(first, second)
    }

    fn on_epoch_end(&self, epoch: u64) {
        self.first.on_epoch_end(epoch);
        self.second.on_epoch_end(epoch);
    }

    fn changes_on_epoch_end(&self) -> bool {
        self.first.changes_on_epoch_end() || self.second.changes_on_epoch_end()
    }

    fn num_samples(&self) -> Option<usize> {
        self.first.num_samples()
    }
}

impl<A: fmt::Debug, B: fmt::Debug, F> fmt::Debug for ZipWith<A, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZipWith")
            .field("first", &self.first)
            .field("second", &self.second)
            .finish_non_exhaustive()
    }
}
