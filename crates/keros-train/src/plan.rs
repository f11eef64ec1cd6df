//! Which batches belong to which epoch of a fit, and to which validation.

use crate::checkpoint::Position;
use crate::error::TrainError;
use crate::options::{FitGeneratorOptions, ValidationFreq};
use crate::source::{Feed, Pull, Source, ValidationData, shorter};
use keros_data::{ArraySequence, LoaderOptions, Shuffle};
use std::ops::Range;

/// The training data, cut into epochs.
pub(crate) struct Plan {
    pub(crate) feed: Feed,
    pub(crate) steps_per_epoch: Option<u64>,
    /// Batches of an epoch after which it is cut off.
    pub(crate) limit: Option<u64>,
    pub(crate) initial_epoch: u64,
    pub(crate) epochs: u64,
}

impl Plan {
    pub(crate) fn new(
        seed: u64,
        source: Source,
        options: &FitGeneratorOptions<'_>,
    ) -> Result<Plan, TrainError> {
        not_zero("fit", "steps_per_epoch", options.steps_per_epoch)?;
        not_zero("fit", "limit_batches", options.limit_batches)?;
        let epochs = options.epochs.saturating_sub(options.initial_epoch);
        let loader = LoaderOptions {
            shuffle: options.shuffle,
            seed,
            // A sequence that changes tells too late how many batches an epoch has.
            end_epoch: options.steps_per_epoch.is_none().then_some(options.epochs),
            ..options.loader()
        };
        let per_epoch = shorter(options.steps_per_epoch, options.limit_batches);
        let limit = per_epoch.map(|steps| steps.saturating_mul(epochs));
        Ok(Plan {
            feed: Feed::new(source, loader, limit)?,
            steps_per_epoch: options.steps_per_epoch,
            limit: options.limit_batches,
            initial_epoch: options.initial_epoch,
            epochs: options.epochs,
        })
    }

    /// Batches of the next epoch, if known.
    pub(crate) fn steps(&self) -> Option<u64> {
        shorter(self.steps_per_epoch.or(self.feed.len()), self.limit)
    }

    /// Starts a pass at `position`. With `steps_per_epoch`, epochs are cut from one endless sequence of
    /// batches; without, an epoch is an epoch of the data.
    pub(crate) fn start(&mut self, position: &Position) -> Result<Pull<'_>, TrainError> {
        let (epoch, batch) = (position.epoch, position.batch);
        let (first_epoch, start) = match (position.next, self.steps_per_epoch) {
            // The pass of the run that goes on.
            (Some(next), _) => next,
            (None, Some(steps)) => (0, epoch.saturating_mul(steps).saturating_add(batch)),
            (None, None) => (epoch, batch),
        };
        let left = self.epochs - epoch;
        let steps = self.steps_per_epoch.or(self.feed.fixed_len());
        let limit = steps.map(|steps| left.saturating_mul(steps).saturating_sub(batch));
        self.feed.start(first_epoch, start, limit)
    }

    /// Brings the data to where they were in a run that goes on at `position`.
    pub(crate) fn resume(&mut self, position: &Position) -> Result<(), TrainError> {
        let ended = position.ended.iter().copied();
        self.feed.resume(ended, position.taken)
    }
}

pub(crate) fn not_zero(
    doing: &'static str,
    argument: &'static str,
    batches: Option<u64>,
) -> Result<(), TrainError> {
    if batches == Some(0) {
        let expected = "at least 1, or none for all batches";
        return Err(TrainError::argument(doing, argument, expected, 0));
    }
    Ok(())
}

/// Rows of each batch of arrays: those asked for, else as many as make `steps` batches of all rows, else 32.
pub(crate) fn rows_per_batch(batch_size: Option<usize>, rows: usize, steps: Option<u64>) -> usize {
    match (batch_size, steps) {
        (Some(rows), _) => rows,
        (None, Some(steps)) if steps > 0 => {
            usize::try_from(steps).map_or(1, |steps| rows.div_ceil(steps))
        }
        (None, _) => 32,
    }
}

/// The data of the validations, and when they are due.
pub(crate) struct Validation {
    pub(crate) feed: Feed,
    /// `validation_steps`.
    asked: Option<u64>,
    /// Batches after which a validation is cut off.
    limit: Option<u64>,
    pub(crate) freq: ValidationFreq,
}

impl Validation {
    /// `None` without validation data. `epochs`: those after some of which it will be validated, if
    /// they are known, so that a generator is never read beyond.
    pub(crate) fn new(
        data: Option<ValidationData>,
        options: &FitGeneratorOptions<'_>,
        epochs: Option<Range<u64>>,
    ) -> Result<Option<Validation>, TrainError> {
        let freq = options.validation_freq.clone();
        if freq == ValidationFreq::Every(0) {
            let expected = "a number of epochs of at least 1";
            return Err(TrainError::argument("fit", "validation_freq", expected, 0));
        }
        not_zero("fit", "validation_steps", options.validation_steps)?;
        let Some(data) = data else {
            return Ok(None);
        };
        let (source, workers) = match data {
            ValidationData::Arrays {
                x,
                y,
                sample_weight,
            } => {
                let batch_size = rows_per_batch(
                    options.validation_batch_size,
                    x.rows(),
                    options.validation_steps,
                );
                let mut sequence = ArraySequence::new(x, y)?
                    .batch_size(batch_size)?
                    .shuffle(Shuffle::No);
                if let Some(weights) = sample_weight {
                    sequence = sequence.sample_weight(weights)?;
                }
                (Source::sequence(sequence), 0)
            }
            ValidationData::Source(source) => (source, options.workers),
        };
        let steps = shorter(options.validation_steps, options.limit_batches);
        let loader = LoaderOptions {
            workers,
            ..options.loader()
        };
        let loader = match &source {
            Source::Generator(_) if steps.is_none() => {
                let expected = "a number, because validation_data is a generator";
                return Err(TrainError::argument(
                    "fit",
                    "validation_steps",
                    expected,
                    "none",
                ));
            }
            // It is read by a thread here even where processes prepare the training data.
            Source::Generator(_) => LoaderOptions {
                use_multiprocessing: false,
                ..loader
            },
            // What would be found out after an epoch.
            Source::Sequence(sequence) if sequence.is_empty() => {
                let expected = "at least one batch";
                return Err(TrainError::argument(
                    "fit",
                    "validation_data",
                    expected,
                    "none",
                ));
            }
            Source::Sequence(_) => loader,
        };
        let limit = steps
            .zip(epochs)
            .map(|(steps, epochs)| steps.saturating_mul(freq.count_due(epochs)));
        Ok(Some(Validation {
            feed: Feed::new(source, loader, limit)?,
            asked: options.validation_steps,
            limit: options.limit_batches,
            freq,
        }))
    }

    /// Brings the data to where they were in a run that goes on at `position`.
    pub(crate) fn resume(&mut self, position: &Position) -> Result<(), TrainError> {
        // Every validation is the first epoch.
        let ended = (0..position.ended_to_validate).map(|_| 0);
        self.feed.resume(ended, position.taken_to_validate)
    }

    /// Batches that are asked for in the next validation, if it is not all of a generator; there may
    /// be fewer.
    pub(crate) fn steps(&self) -> Option<u64> {
        shorter(self.asked.or(self.feed.len()), self.limit)
    }
}
