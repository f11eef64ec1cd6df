//! One sequence after another.

use crate::array_sequence::check_index;
use crate::{Batch, DataError, Sequence};

/// The batches of two sequences, made by [`SequenceExt::chain`](super::SequenceExt::chain).
#[derive(Clone, Debug)]
pub struct Chain<A, B> {
    first: A,
    second: B,
}

impl<A, B> Chain<A, B> {
    pub(super) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Sequence, B: Sequence> Sequence for Chain<A, B> {
    fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        check_index(index, self.len())?;
        let samples = self.first.num_samples();
        let first = self.first.len();
        let mut batch = match index.checked_sub(first) {
            None => self.first.batch(epoch, index)?,
            Some(index) => {
                let mut batch = self.second.batch(epoch, index)?;
                let before = samples.unwrap_or(0);
                batch
                    .indices
                    .iter_mut()
                    .for_each(|sample| *sample += before);
                batch
            }
        };
        if samples.is_none() {
            batch.indices.clear();
        }
        Ok(batch)
    }

    fn on_epoch_end(&self, epoch: u64) {
        self.first.on_epoch_end(epoch);
        self.second.on_epoch_end(epoch);
    }

    fn changes_on_epoch_end(&self) -> bool {
        self.first.changes_on_epoch_end() || self.second.changes_on_epoch_end()
    }

    fn num_samples(&self) -> Option<usize> {
        Some(self.first.num_samples()? + self.second.num_samples()?)
    }
}
