//! The training loop behind `fit` and `fit_generator`.

use crate::class_weight::ClassWeight;
use crate::error::TrainError;
use crate::options::{FitGeneratorOptions, FitOptions};
use crate::run::{Callbacks, LogsOf, Moment, event};
use crate::source::{Feed, Pull, Source, ValidationData};
use crate::trainer::Trainer;
use keros_callbacks::{Decision, Event, EventKind, History, ProgbarLogger, RunInfo};
use keros_data::{ArraySequence, Arrays, Batch, DataError, LoaderOptions, Shuffle};
use keros_nn::Network;
use std::time::{Duration, Instant};

impl<N: Network> Trainer<N> {
    /// Trains on arrays in memory.
    ///
    /// Rows are shuffled anew in each epoch by the trainer's seed; batches are cut on the training
    /// thread, which takes next to nothing.
    ///
    /// # Errors
    /// Arguments out of range or arrays of different lengths, before anything is changed; or any
    /// failure on the way, with epoch and batch.
    pub fn fit(
        &mut self,
        x: impl Into<Arrays>,
        y: impl Into<Arrays>,
        options: FitOptions<'_>,
    ) -> Result<History, TrainError> {
        let (mut x, mut y, mut weights) = (x.into(), y.into(), options.sample_weight);
        let mut validation_data = options.validation_data;
        let split = options.validation_split;
        if !(0.0..1.0).contains(&split) {
            let expected = "a share in [0, 1)";
            return Err(TrainError::argument(
                "fit",
                "validation_split",
                expected,
                split,
            ));
        }
        // The whole data set is checked before it is cut.
        let mut sequence = ArraySequence::new(x.clone(), y.clone())?;
        if let Some(weights) = &weights {
            sequence = sequence.sample_weight(weights.clone())?;
        }
        if split > 0.0 && validation_data.is_none() {
            let rows = x.rows();
            let kept = (rows as f64 * (1.0 - split)).floor() as usize;
            if kept == 0 || kept == rows {
                let expected = format!("a share that leaves rows on both sides of {rows}");
                return Err(TrainError::argument(
                    "fit",
                    "validation_split",
                    expected,
                    split,
                ));
            }
            validation_data = Some(ValidationData::Arrays {
                x: x.slice(kept..rows)?,
                y: y.slice(kept..rows)?,
                sample_weight: weights.as_ref().map(|w| w.slice(kept..rows)).transpose()?,
            });
            (x, y) = (x.slice(0..kept)?, y.slice(0..kept)?);
            weights = weights.map(|w| w.slice(0..kept)).transpose()?;
            sequence = ArraySequence::new(x, y)?;
            if let Some(weights) = weights {
                sequence = sequence.sample_weight(weights)?;
            }
        }
        let sequence = sequence
            .batch_size(options.batch_size)?
            .shuffle(options.shuffle)
            .seed(self.seed);
        self.run(
            Source::sequence(sequence),
            options.batch_size,
            FitGeneratorOptions {
                steps_per_epoch: options.steps_per_epoch,
                epochs: options.epochs,
                verbose: options.verbose,
                callbacks: options.callbacks,
                validation_data,
                validation_steps: options.validation_steps,
                class_weight: options.class_weight,
                workers: 0,
                shuffle: false,
                initial_epoch: options.initial_epoch,
                ..FitGeneratorOptions::default()
            },
        )
    }

    /// Trains on batches from a source, prepared by worker threads beside the running model. At most
    /// `max_queue_size` batches wait, however long the epoch and however slow the training.
    ///
    /// # Errors
    /// Arguments out of range, before anything is changed; or any failure on the way, with epoch and
    /// batch.
    pub fn fit_generator(
        &mut self,
        source: impl Into<Source>,
        options: FitGeneratorOptions<'_>,
    ) -> Result<History, TrainError> {
        self.run(source.into(), VALIDATION_BATCH, options)
    }

    fn run(
        &mut self,
        source: Source,
        validation_batch: usize,
        options: FitGeneratorOptions<'_>,
    ) -> Result<History, TrainError> {
        let mut plan = Plan::new(self.seed, source, &options)?;
        let mut validation = match options.validation_data {
            Some(data) => Some(Validation::new(
                data,
                validation_batch,
                options.validation_steps,
                options.workers,
                options.max_queue_size,
                options.epochs.saturating_sub(options.initial_epoch),
            )?),
            None => None,
        };
        let info = RunInfo {
            epochs: options.epochs,
            initial_epoch: options.initial_epoch,
            steps: plan.steps(),
            metrics: self.trackers.names(),
            validation: validation.is_some(),
        };
        let mut history = History::new();
        let mut list = options.callbacks;
        list.push(&mut history);
        if let Some(progress) = ProgbarLogger::new(options.verbose) {
            list.push(progress);
        }
        let mut callbacks = Callbacks::new(list, info);
        let control = Control {
            class_weight: options.class_weight,
            ..Control::default()
        };
        self.epochs(&mut plan, validation.as_mut(), &mut callbacks, control)?;
        drop(callbacks);
        Ok(history)
    }

    fn epochs(
        &mut self,
        plan: &mut Plan,
        mut validation: Option<&mut Validation>,
        callbacks: &mut Callbacks<'_>,
        mut control: Control,
    ) -> Result<(), TrainError> {
        let begin = self.event(EventKind::TrainBegin, 0);
        let decision = callbacks.send(&begin, LogsOf::Nothing, self.moment(Duration::ZERO))?;
        control.take(decision, self)?;

        let (initial_epoch, epochs) = (plan.initial_epoch, plan.epochs);
        let mut epoch = initial_epoch;
        // One pass over the source for the whole run, unless an epoch is cut short.
        'passes: while epoch < epochs {
            let mut steps = plan.steps();
            let sequence = match plan.steps_per_epoch {
                None => plan.feed.sequence(),
                Some(_) => None,
            };
            let mut pull = plan.start(epoch)?;
            while epoch < epochs {
                if let Some(sequence) = &sequence {
                    steps = Some(sequence.len() as u64);
                }
                let ended = self.epoch(epoch, &mut pull, steps, callbacks, &mut control)?;
                if ended == EpochEnd::NoData {
                    if epoch == initial_epoch {
                        let expected = "at least one batch";
                        return Err(TrainError::argument("fit", "data", expected, "none"));
                    }
                    callbacks.warn(format!(
                        "the data ran out after {epoch} of {epochs} epochs; training ends here"
                    ));
                    break 'passes;
                }
                let step = self.optimizer.iterations();
                self.trackers.write("", &mut callbacks.logs);
                if let Some(validation) = &mut validation {
                    // The evaluation's events have logs of their own.
                    let training = std::mem::take(&mut callbacks.logs);
                    control.stop |= validation.run(self, epoch, callbacks)?;
                    callbacks.logs = training;
                    self.trackers.write("val_", &mut callbacks.logs);
                }
                let end = event(EventKind::EpochEnd, epoch, step);
                let decision = callbacks.send(&end, LogsOf::Ready, self.moment(control.wait))?;
                control.take(decision, self)?;
                epoch += 1;
                if control.stop {
                    break 'passes;
                }
                match ended {
                    EpochEnd::Cut => continue 'passes,
                    EpochEnd::RanOut if epoch < epochs => {
                        callbacks.warn(format!(
                            "the data ran out in epoch {epoch} of {epochs}; training ends here"
                        ));
                        break 'passes;
                    }
                    _ => {}
                }
            }
        }
        self.optimizer.finalize(self.network.params())?;
        let last = epoch.saturating_sub(1).max(initial_epoch);
        let end = self.event(EventKind::TrainEnd, last);
        let _ = callbacks.send(&end, LogsOf::Ready, self.moment(Duration::ZERO))?;
        Ok(())
    }

    /// One epoch without its validation; leaves its results in the trackers.
    fn epoch(
        &mut self,
        epoch: u64,
        pull: &mut Pull<'_>,
        steps: Option<u64>,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<EpochEnd, TrainError> {
        control.wait = Duration::ZERO;
        // An epoch begins only if there is a batch for it.
        let mut next = control.timed(pull)?;
        if next.is_none() {
            return Ok(EpochEnd::NoData);
        }
        self.trackers.reset();
        let begin = self.event(EventKind::EpochBegin, epoch);
        let decision = callbacks.send(&begin, LogsOf::Nothing, self.moment(control.wait))?;
        control.take(decision, self)?;

        let mut batch_index = 0;
        while let Some(batch) = next {
            let begin = Event {
                batch: batch_index,
                samples: batch.len() as u64,
                ..self.event(EventKind::TrainBatchBegin, epoch)
            };
            let mut moment = self.moment(control.wait);
            let decision = callbacks.send(&begin, LogsOf::Nothing, moment)?;
            let (skip, mut cut) = (decision.skip_batch, decision.stop_epoch);
            control.take(decision, self)?;
            if !skip {
                self.train_step(&batch, control.class_weight.as_ref())
                    .map_err(|error| error.in_batch(epoch, batch_index))?;
                let end = Event {
                    kind: EventKind::TrainBatchEnd,
                    step: self.optimizer.iterations(),
                    ..begin
                };
                moment.learning_rate = Some(self.optimizer.learning_rate());
                let decision = callbacks.send(&end, LogsOf::Trackers(&self.trackers), moment)?;
                cut |= decision.stop_epoch;
                control.take(decision, self)?;
            }
            batch_index += 1;
            if Some(batch_index) == steps {
                return Ok(EpochEnd::Complete);
            }
            if control.stop || cut {
                return Ok(EpochEnd::Cut);
            }
            next = control.timed(pull)?;
        }
        if let Some(steps) = steps {
            callbacks.warn(format!(
                "epoch {} ended after {batch_index} of {steps} batches because the data ran out",
                epoch + 1
            ));
        }
        Ok(EpochEnd::RanOut)
    }

    fn event(&self, kind: EventKind, epoch: u64) -> Event {
        event(kind, epoch, self.optimizer.iterations())
    }

    fn moment(&self, data_wait: Duration) -> Moment {
        Moment {
            learning_rate: Some(self.optimizer.learning_rate()),
            data_wait,
        }
    }
}

/// Rows per batch of validation arrays in `fit_generator`, where no batch size is given; Keras's
/// default.
const VALIDATION_BATCH: usize = 32;

/// How an epoch ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EpochEnd {
    /// All its batches were trained on.
    Complete,
    /// A callback ended it; the source stands somewhere in the middle of its data.
    Cut,
    /// The source ended in it.
    RanOut,
    /// The source had ended before it.
    NoData,
}

/// What callbacks decided, how long the epoch waited for data, and what goes along with it.
#[derive(Default)]
struct Control {
    class_weight: Option<ClassWeight>,
    stop: bool,
    wait: Duration,
}

impl Control {
    fn take<N: Network>(
        &mut self,
        decision: Decision,
        trainer: &mut Trainer<N>,
    ) -> Result<(), TrainError> {
        self.stop |= decision.stop.is_some();
        if let Some(rate) = decision.learning_rate {
            trainer.optimizer.set_learning_rate(rate)?;
        }
        Ok(())
    }

    fn timed(&mut self, pull: &mut Pull<'_>) -> Result<Option<Batch>, DataError> {
        let asked = Instant::now();
        let next = pull.next();
        self.wait += asked.elapsed();
        next.transpose()
    }
}

/// Which batches belong to which epoch.
struct Plan {
    feed: Feed,
    steps_per_epoch: Option<u64>,
    initial_epoch: u64,
    epochs: u64,
}

impl Plan {
    fn new(
        seed: u64,
        source: Source,
        options: &FitGeneratorOptions<'_>,
    ) -> Result<Plan, TrainError> {
        if options.steps_per_epoch == Some(0) {
            let expected = "at least 1, or none for all batches";
            return Err(TrainError::argument("fit", "steps_per_epoch", expected, 0));
        }
        let epochs = options.epochs.saturating_sub(options.initial_epoch);
        let loader = LoaderOptions {
            workers: options.workers,
            max_queue_size: options.max_queue_size,
            shuffle: options.shuffle,
            seed,
            ..LoaderOptions::default()
        };
        let limit = options
            .steps_per_epoch
            .map(|steps| steps.saturating_mul(epochs));
        Ok(Plan {
            feed: Feed::new(source, loader, limit)?,
            steps_per_epoch: options.steps_per_epoch,
            initial_epoch: options.initial_epoch,
            epochs: options.epochs,
        })
    }

    /// Batches of the next epoch, if known.
    fn steps(&self) -> Option<u64> {
        self.steps_per_epoch.or(self.feed.len())
    }

    /// Starts a pass at the first batch of `epoch`. With `steps_per_epoch`, epochs are cut from one
    /// endless sequence of batches; without, an epoch is an epoch of the data.
    fn start(&mut self, epoch: u64) -> Result<Pull<'_>, TrainError> {
        let left = self.epochs - epoch;
        match (self.steps_per_epoch, self.feed.fixed_len()) {
            (Some(steps), _) => self.feed.start(
                0,
                epoch.saturating_mul(steps),
                Some(left.saturating_mul(steps)),
            ),
            (None, Some(len)) => self.feed.start(epoch, 0, Some(left.saturating_mul(len))),
            (None, None) => self.feed.start(epoch, 0, None),
        }
    }
}

/// The data of the validation after each epoch.
struct Validation {
    feed: Feed,
    steps: Option<u64>,
}

impl Validation {
    fn new(
        data: ValidationData,
        batch_size: usize,
        steps: Option<u64>,
        workers: usize,
        max_queue_size: usize,
        runs: u64,
    ) -> Result<Validation, TrainError> {
        if steps == Some(0) {
            let expected = "at least 1, or none for all batches";
            return Err(TrainError::argument("fit", "validation_steps", expected, 0));
        }
        let (source, workers) = match data {
            ValidationData::Arrays {
                x,
                y,
                sample_weight,
            } => {
                let mut sequence = ArraySequence::new(x, y)?
                    .batch_size(batch_size)?
                    .shuffle(Shuffle::No);
                if let Some(weights) = sample_weight {
                    sequence = sequence.sample_weight(weights)?;
                }
                (Source::sequence(sequence), 0)
            }
            ValidationData::Source(source) => (source, workers),
        };
        if let (Source::Generator(_), None) = (&source, steps) {
            let expected = "a number, because validation_data is a generator";
            return Err(TrainError::argument(
                "fit",
                "validation_steps",
                expected,
                "none",
            ));
        }
        let loader = LoaderOptions {
            workers,
            max_queue_size,
            ..LoaderOptions::default()
        };
        let limit = steps.map(|steps| steps.saturating_mul(runs));
        Ok(Validation {
            feed: Feed::new(source, loader, limit)?,
            steps,
        })
    }

    /// Evaluates; the results are in the trackers. Returns whether a callback asked to stop.
    fn run<N: Network>(
        &mut self,
        trainer: &mut Trainer<N>,
        epoch: u64,
        callbacks: &mut Callbacks<'_>,
    ) -> Result<bool, TrainError> {
        let steps = self.steps.or(self.feed.len());
        let mut pull = self.feed.start(0, 0, steps)?;
        let stop = trainer.test(&mut pull, steps, Some(epoch), callbacks)?;
        Ok(stop.is_some())
    }
}
