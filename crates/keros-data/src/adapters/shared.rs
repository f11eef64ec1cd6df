//! Sequences behind pointers are sequences.

use std::sync::Arc;

use crate::{Batch, DataError, Recipe, Sequence};

macro_rules! behind_a_pointer {
    ($($pointer:ty),*) => {$(
        impl<S: Sequence + ?Sized> Sequence for $pointer {
            fn len(&self) -> usize {
                (**self).len()
            }

            fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
                (**self).batch(epoch, index)
            }

            fn on_epoch_end(&self, epoch: u64) {
                (**self).on_epoch_end(epoch);
            }

            fn changes_on_epoch_end(&self) -> bool {
                (**self).changes_on_epoch_end()
            }

            fn recipe(&self) -> Result<Recipe<'_>, DataError> {
                (**self).recipe()
            }

            fn num_samples(&self) -> Option<usize> {
                (**self).num_samples()
            }
        }
    )*};
}

behind_a_pointer!(Arc<S>, Box<S>, &S);
