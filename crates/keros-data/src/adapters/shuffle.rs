//! Batches in a new order every epoch.

use crate::array_sequence::check_index;
use crate::epoch_order::EpochOrder;
use crate::rng::Purpose;
use crate::{Batch, DataError, Sequence};

/// The batches of a sequence in a new order every epoch, made by
/// [`SequenceExt::shuffle_batches`](super::SequenceExt::shuffle_batches).
#[derive(Clone, Debug)]
pub struct ShuffleBatches<S> {
    source: S,
    order: EpochOrder,
}

impl<S> ShuffleBatches<S> {
    pub(super) fn new(source: S, seed: u64) -> Self {
        Self {
            source,
            order: EpochOrder::new(seed, Purpose::Batches),
        }
    }
}

impl<S: Sequence> Sequence for ShuffleBatches<S> {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        let len = self.source.len();
        check_index(index, len)?;
        EpochOrder::check_batches(len)?;
        self.source.batch(epoch, self.order.get(epoch, len)[index])
    }

    fn on_epoch_end(&self, epoch: u64) {
        self.source.on_epoch_end(epoch);
    }

    fn changes_on_epoch_end(&self) -> bool {
        self.source.changes_on_epoch_end()
    }

    fn num_samples(&self) -> Option<usize> {
        self.source.num_samples()
    }
}
