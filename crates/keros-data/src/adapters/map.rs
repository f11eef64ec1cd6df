//! Batches changed by a function.

use std::fmt;

use crate::{Batch, DataError, Sequence};

/// A sequence whose batches are changed, made by [`SequenceExt::map`](super::SequenceExt::map).
#[derive(Clone)]
pub struct Map<S, F> {
    source: S,
    function: F,
}

impl<S, F> Map<S, F> {
    pub(super) fn new(source: S, function: F) -> Self {
        Self { source, function }
    }
}

/// A sequence whose batches are changed with regard to their place, made by
/// [`SequenceExt::map_indexed`](super::SequenceExt::map_indexed).
#[derive(Clone)]
pub struct MapIndexed<S, F> {
    source: S,
    function: F,
}

impl<S, F> MapIndexed<S, F> {
    pub(super) fn new(source: S, function: F) -> Self {
        Self { source, function }
    }
}

/// Applies the function; samples that it left without an index keep theirs.
pub(super) fn mapped(
    mut batch: Batch,
    function: impl FnOnce(Batch) -> Result<Batch, DataError>,
) -> Result<Batch, DataError> {
    let indices = batch.indices.clone();
    batch = function(batch)?;
    if batch.indices.is_empty() && batch.len() == indices.len() {
        batch.indices = indices;
    }
    Ok(batch)
}

impl<S, F> Sequence for Map<S, F>
where
    S: Sequence,
    F: Fn(Batch) -> Result<Batch, DataError> + Send + Sync,
{
    fn len(&self) -> usize {
        self.source.len()
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        mapped(self.source.batch(epoch, index)?, |batch| {
            (self.function)(batch)
        })
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

impl<S: fmt::Debug, F> fmt::Debug for Map<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl<S, F> Sequence for MapIndexed<S, F>
where
    S: Sequence,
    F: Fn(u64, usize, Batch) -> Result<Batch, DataError> + Send + Sync,
{
    fn len(&self) -> usize {
        self.source.len()
    }

    fn batch(&self, epoch: u64, index: usize) -> Result<Batch, DataError> {
        mapped(self.source.batch(epoch, index)?, |batch| {
            (self.function)(epoch, index, batch)
        })
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

impl<S: fmt::Debug, F> fmt::Debug for MapIndexed<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapIndexed")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
