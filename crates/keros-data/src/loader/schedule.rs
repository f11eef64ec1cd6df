//! Which batch of a sequence comes next, over all epochs.

use super::{DOING, LoadedBatch, LoaderOptions};
use crate::epoch_order::EpochOrder;
use crate::rng::Purpose;
use crate::{Batch, DataError, Sequence};

/// One batch in its place.
pub(super) struct Task {
    pub(super) position: u64,
    pub(super) epoch: u64,
    pub(super) step: usize,
    pub(super) index: usize,
    pub(super) epoch_len: usize,
}

impl Task {
    pub(super) fn loaded(self, batch: Batch) -> LoadedBatch {
        LoadedBatch {
            batch,
            position: self.position,
            epoch: self.epoch,
            step: self.step as u64,
            index: self.index as u64,
            epoch_len: Some(self.epoch_len as u64),
        }
    }
}

/// The batches to come.
pub(super) struct Schedule {
    order: Option<EpochOrder>,
    position: u64,
    remaining: Option<u64>,
    epoch: u64,
    end_epoch: Option<u64>,
    /// Batches of the current epoch that were scheduled.
    step: usize,
    /// Batches in the current epoch; `None` until its first batch is scheduled.
    len: Option<usize>,
    /// Whether epochs must not overlap, because the sequence changes between them.
    sequential: bool,
    /// Whether an epoch was scheduled completely whose end is still to come.
    awaits_end: bool,
    /// Why the schedule ended early.
    pub(super) failure: Option<DataError>,
}

impl Schedule {
    pub(super) fn new(sequence: &dyn Sequence, options: &LoaderOptions) -> Result<Self, DataError> {
        let len = sequence.len();
        check_epoch(len, options.shuffle)?;
        let skipped_epochs = options.start / len as u64;
        let Some(epoch) = options.first_epoch.checked_add(skipped_epochs) else {
            return Err(DataError::invalid(
                DOING,
                "start",
                "an epoch below 2^64",
                options.start,
            ));
        };
        Ok(Self {
            order: options
                .shuffle
                .then(|| EpochOrder::new(options.seed, Purpose::Batches)),
            position: options.start,
            remaining: options.limit,
            epoch,
            end_epoch: options.end_epoch,
            step: (options.start % len as u64) as usize,
            len: Some(len),
            sequential: sequence.changes_on_epoch_end(),
            awaits_end: false,
            failure: None,
        })
    }

    pub(super) fn next(&mut self, sequence: &dyn Sequence) -> Option<Task> {
        let is_over =
            self.remaining == Some(0) || self.end_epoch.is_some_and(|end| self.epoch >= end);
        if is_over || self.awaits_end || self.failure.is_some() {
            return None;
        }
        let len = match self.len {
            Some(len) => len,
            None => *self.len.insert(sequence.len()),
        };
        if let Err(error) = check_epoch(len, self.order.is_some()) {
            self.failure = Some(error.in_batch(self.epoch, 0));
            return None;
        }
        let index = match &self.order {
            Some(order) => order.get(self.epoch, len)[self.step],
            None => self.step,
        };
        let task = Task {
            position: self.position,
            epoch: self.epoch,
            step: self.step,
            index,
            epoch_len: len,
        };
        self.position = self.position.saturating_add(1);
        self.remaining = self.remaining.map(|remaining| remaining - 1);
        self.step += 1;
        if self.step == len {
            self.epoch = self.epoch.saturating_add(1);
            self.step = 0;
            self.len = None;
            self.awaits_end = self.sequential;
        }
        Some(task)
    }

    /// The epoch of the next batch.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn epoch_ended(&mut self) {
        self.awaits_end = false;
    }
}

/// Whether an epoch may have so many batches.
fn check_epoch(len: usize, shuffles: bool) -> Result<(), DataError> {
    match (len, shuffles) {
        (0, _) => Err(DataError::Empty {
            doing: "reading a sequence",
            what: "an epoch".into(),
        }),
        (_, true) => EpochOrder::check_batches(len),
        (_, false) => Ok(()),
    }
}
