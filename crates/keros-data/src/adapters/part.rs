//! The first batches of every epoch, or all but them.

use crate::array_sequence::check_index;
use crate::{Batch, DataError, Sequence};

/// The first batches of every epoch, made by [`SequenceExt::take`](super::SequenceExt::take).
#[derive(Clone, Debug)]
pub struct Take<S> {
    source: S,
    batches: usize,
}

impl<S> Take<S> {
    pub(super) fn new(source: S, batches: usize) -> Self {
        Self { source, batches }
    }
}

impl<S: Sequence> Sequence for Take<S> {
    fn len(&self) -> usize {
        self.source.len().min(self.batches)
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        check_index(index, self.len())?;
        self.source.batch(epoch, index)
    }

    fn on_epoch_end(&self, epoch: u64) {
        self.source.on_epoch_end(epoch);
    }

    fn changes_on_epoch_end(&self) -> bool {
        self.source.changes_on_epoch_end()
    }

    fn num_samples(&self) -> Option<usize> {
        // Otherwise it depends on the sizes of the batches.
        let all = self.batches >= self.source.len();
        self.source.num_samples().filter(|_| all)
    }
}

/// Every epoch without its first batches, made by [`SequenceExt::skip`](super::SequenceExt::skip).
#[derive(Clone, Debug)]
pub struct Skip<S> {
    source: S,
    batches: usize,
}

impl<S> Skip<S> {
    pub(super) fn new(source: S, batches: usize) -> Self {
        Self { source, batches }
    }
}

impl<S: Sequence> Sequence for Skip<S> {
    fn len(&self) -> usize {
        self.source.len().saturating_sub(self.batches)
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        check_index(index, self.len())?;
        self.source.batch(epoch, self.batches + index)
    }

    fn on_epoch_end(&self, epoch: u64) {
        self.source.on_epoch_end(epoch);
    }

    fn changes_on_epoch_end(&self) -> bool {
        self.source.changes_on_epoch_end()
    }

    fn num_samples(&self) -> Option<usize> {
        self.source.num_samples().filter(|_| self.batches == 0)
    }
}
