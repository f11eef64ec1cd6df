//! Batches kept in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Batch, DataError, Sequence};

/// A sequence whose batches are kept, made by [`SequenceExt::cache`](super::SequenceExt::cache).
///
/// Two workers that ask for the same batch at the same time both prepare it. Failures are not kept.
#[derive(Debug)]
pub struct Cache<S> {
    source: S,
    max_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    batches: BTreeMap<usize, Batch>,
    bytes: usize,
}

impl<S> Cache<S> {
    pub(super) fn new(source: S, max_bytes: usize) -> Self {
        Self {
            source,
            max_bytes,
            kept: Mutex::default(),
        }
    }

    /// Bytes of the batches that are kept now, never more than was allowed.
    pub fn kept_bytes(&self) -> usize {
        self.kept().bytes
    }

    /// Number of batches that are kept now.
    pub fn kept_batches(&self) -> usize {
        self.kept().batches.len()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that can panic runs while the lock is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sequence> Sequence for Cache<S> {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn batch(&self, _: u64, index: usize) -> Result<Batch, DataError> {
        if let Some(batch) = self.kept().batches.get(&index) {
            return Ok(batch.clone());
        }
        let batch = self.source.batch(0, index)?;
        let size = batch.size_bytes();
        let mut kept = self.kept();
        if size <= self.max_bytes - kept.bytes && !kept.batches.contains_key(&index) {
            kept.batches.insert(index, batch.clone());
            kept.bytes += size;
        }
        Ok(batch)
    }

    fn changes_on_epoch_end(&self) -> bool {
        false
    }

    fn num_samples(&self) -> Option<usize> {
        self.source.num_samples()
    }
}
