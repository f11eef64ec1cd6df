//! The training loop behind `fit` and `fit_generator`.

use crate::class_weight::ClassWeight;
use crate::error::TrainError;
use crate::moments::Control;
use crate::options::{FitGeneratorOptions, FitOptions};
use crate::plan::{Plan, Validation, rows_per_batch};
use crate::run::Callbacks;
use crate::source::{Pull, Source, ValidationData, shorter};
use crate::trainer::Trainer;
use keros_callbacks::{History, ProgbarLogger, RunInfo};
use keros_data::{ArraySequence, Arrays, Batch, DataError, Recycling, Verdict};
use keros_nn::Network;
use std::time::{Duration, Instant};

impl<N: Network> Trainer<N> {
    /// Trains on arrays in memory.
    ///
    /// Rows are shuffled anew in each epoch by the trainer's seed; batches are cut on the training
    /// thread, which takes next to nothing.
    ///
    /// A second call goes on with weights and optimizer, but begins at epoch 0 again, whose order of
    /// rows is a function of seed and epoch: unlike in Keras it is that of the first call, unless
    /// [`initial_epoch`](FitOptions::initial_epoch) says where that one ended.
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
        self.check_validation_data(validation_data.as_ref())?;
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
            sequence = ArraySequence::new(x.clone(), y)?;
            if let Some(weights) = weights {
                sequence = sequence.sample_weight(weights)?;
            }
        }
        let batch_size = rows_per_batch(options.batch_size, x.rows(), options.steps_per_epoch);
        let sequence = sequence
            .batch_size(batch_size)?
            .shuffle(options.shuffle)
            .seed(self.seed);
        self.run(
            Source::sequence(sequence),
            FitGeneratorOptions {
                steps_per_epoch: options.steps_per_epoch,
                epochs: options.epochs,
                verbose: options.verbose,
                callbacks: options.callbacks,
                validation_data,
                validation_steps: options.validation_steps,
                validation_batch_size: options.validation_batch_size.or(options.batch_size),
                validation_freq: options.validation_freq,
                class_weight: options.class_weight,
                workers: 0,
                shuffle: false,
                initial_epoch: options.initial_epoch,
                limit_batches: options.limit_batches,
                ..FitGeneratorOptions::default()
            },
        )
    }

    /// Trains on batches from a source, prepared by worker threads or processes beside the running model. At most
    /// `max_queue_size` batches wait, however long the epoch and however slow the training.
    ///
    /// A second call goes on with weights and optimizer, but begins at epoch 0 of a sequence again,
    /// whose batches are a function of seed, epoch and index: unlike in Keras their order and
    /// augmentations are those of the first call, unless
    /// [`initial_epoch`](FitGeneratorOptions::initial_epoch) says where that one ended. A generator
    /// gives what comes next in it.
    ///
    /// # Errors
    /// Arguments out of range, before anything is changed; or any failure on the way, with epoch and
    /// batch.
    pub fn fit_generator(
        &mut self,
        source: impl Into<Source>,
        options: FitGeneratorOptions<'_>,
    ) -> Result<History, TrainError> {
        self.check_validation_data(options.validation_data.as_ref())?;
        self.run(source.into(), options)
    }

    fn run(
        &mut self,
        source: Source,
        mut options: FitGeneratorOptions<'_>,
    ) -> Result<History, TrainError> {
        self.check_class_weight(options.class_weight.as_ref())?;
        let mut plan = Plan::new(self.seed, source, &options)?;
        let epochs = options.initial_epoch..options.epochs;
        let data = options.validation_data.take();
        let mut validation = Validation::new(data, &options, Some(epochs))?;
        self.put_weights_back()?;
        self.trackers.give_to_trainer()?;
        let info = RunInfo {
            epochs: options.epochs,
            initial_epoch: options.initial_epoch,
            steps: plan.steps(),
            metrics: self.trackers.names(),
            validation: validation.is_some(),
        };
        let mut list = options.callbacks;
        if let Some(progress) = ProgbarLogger::new(options.verbose) {
            list.push(progress);
        }
        let messages = self.new_messages();
        let mut callbacks = Callbacks::new(list, info, self.network.params(), messages);
        let mut control = Control::new(self, &callbacks.info, options.class_weight);
        control.changing = plan.feed.is_changing();
        let result = self.epochs(&mut plan, validation.as_mut(), &mut callbacks, &mut control);
        let epoch = control.epoch(&callbacks.info);
        self.tell_error(&mut callbacks, epoch, result)?;
        Ok(callbacks.history)
    }

    /// Classes can be weighted in a network of one output.
    pub(crate) fn check_class_weight(
        &self,
        class_weight: Option<&ClassWeight>,
    ) -> Result<(), TrainError> {
        if class_weight.is_some() && self.heads.len() > 1 {
            let expected = "none, because the network has several outputs";
            let found = "weights of classes";
            return Err(TrainError::argument("fit", "class_weight", expected, found));
        }
        Ok(())
    }

    fn epochs(
        &mut self,
        plan: &mut Plan,
        mut validation: Option<&mut Validation>,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<(), TrainError> {
        let resumed = self.begin(callbacks, control)?;
        if resumed {
            plan.resume(&control.position)?;
            if let Some(validation) = validation.as_deref_mut() {
                validation.resume(&control.position)?;
            }
        }
        let over = resumed && control.stops() && control.position.batch == 0;
        // From one epoch to the next, and for validations between them.
        let _recycling = Recycling::start();

        let (initial_epoch, epochs) = (plan.initial_epoch, plan.epochs);
        let (mut has_passed, mut broken_files) = (false, 0);
        // One pass over the source for the whole run, unless an epoch is cut short.
        'passes: while control.position.epoch < epochs && !over {
            let (steps, sequence) = (plan.steps_per_epoch, plan.feed.sequence());
            let limit = plan.limit;
            let mut pull = plan.start(&control.position)?;
            has_passed = true;
            self.loader = Some(pull.stats());
            callbacks.queue = pull.meter();
            while control.position.epoch < epochs {
                let epoch = control.position.epoch;
                let len = || sequence.as_ref().map(|sequence| sequence.len() as u64);
                let steps = control.position.steps.or(steps).or_else(len);
                control.position.steps = steps;
                callbacks.info.steps = shorter(steps, limit);
                let ended = self.epoch(&mut pull, steps, limit, callbacks, control)?;
                if ended == EpochEnd::Cut {
                    control.position.next = None;
                }
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
                self.trackers.write("", &mut callbacks.logs)?;
                if let Some(validation) = &mut validation
                    && validation.freq.is_due(epoch)
                {
                    self.validate(validation, callbacks, control)?;
                    callbacks.queue = pull.meter();
                }
                self.end_epoch(callbacks, control)?;
                if control.stops() {
                    break 'passes;
                }
                match ended {
                    EpochEnd::Cut => {
                        if let Pull::Owned(loader) = &pull
                            && control.position.epoch < epochs
                        {
                            broken_files += loader.stats().broken_files;
                        }
                        continue 'passes;
                    }
                    EpochEnd::RanOut if epoch + 1 < epochs => {
                        callbacks.warn(format!(
                            "the data ran out in epoch {} of {epochs}; training ends here",
                            epoch + 1
                        ));
                        break 'passes;
                    }
                    _ => {}
                }
            }
        }
        if has_passed {
            self.tell_of_broken_files(callbacks, broken_files);
            self.tell_who_waited(callbacks);
        }
        self.end(callbacks, control)
    }

    /// Tells the user of a training that was long enough to be worth it if it waited for its data.
    fn tell_who_waited(&self, callbacks: &mut Callbacks<'_>) {
        const WORTH_A_WORD: Duration = Duration::from_secs(10);
        let Some(stats) = self.loader_stats() else {
            return;
        };
        let verdict = stats.verdict();
        if stats.elapsed >= WORTH_A_WORD && matches!(verdict, Verdict::ModelWaits { .. }) {
            callbacks.inform(verdict.to_string());
        }
    }

    /// The rest of the epoch at the control's position, without its validation; leaves its results
    /// in the trackers.
    fn epoch(
        &mut self,
        pull: &mut Pull<'_>,
        steps: Option<u64>,
        limit: Option<u64>,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<EpochEnd, TrainError> {
        let epoch = control.position.epoch;
        control.wait = Duration::ZERO;
        let mut next;
        if control.position.batch == 0 {
            // An epoch begins only if there is a batch for it.
            next = control.timed(pull)?;
            if next.is_none() {
                return Ok(EpochEnd::NoData);
            }
            self.begin_epoch(callbacks, control)?;
        } else {
            if let Some(end) = control.ends_epoch(steps, limit) {
                return Ok(end);
            }
            next = control.timed(pull)?;
        }
        let recycling = Recycling::start();
        while let Some(batch) = next {
            self.batch(&batch, callbacks, control)?;
            recycling.give(batch);
            if let Some(end) = control.ends_epoch(steps, limit) {
                return Ok(end);
            }
            next = control.timed(pull)?;
        }
        if let Some(steps) = steps {
            callbacks.warn(format!(
                "epoch {} ended after {} of {steps} batches because the data ran out",
                epoch + 1,
                control.position.batch
            ));
        }
        Ok(EpochEnd::RanOut)
    }
}

/// How an epoch ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EpochEnd {
    /// All its batches were trained on.
    Complete,
    /// It was cut short; the source stands somewhere in the middle of its data.
    Cut,
    /// The source ended in it.
    RanOut,
    /// The source had ended before it.
    NoData,
}

impl Control {
    /// Whether the epoch is over after the batches it has had.
    fn ends_epoch(&self, steps: Option<u64>, limit: Option<u64>) -> Option<EpochEnd> {
        let done = Some(self.position.batch);
        if done == steps {
            return Some(EpochEnd::Complete);
        }
        let cut = self.stops() || self.position.cut || done == limit;
        cut.then_some(EpochEnd::Cut)
    }

    fn timed(&mut self, pull: &mut Pull<'_>) -> Result<Option<Batch>, DataError> {
        let asked = Instant::now();
        let next = pull.next();
        self.wait += asked.elapsed();
        let Some(loaded) = next.transpose()? else {
            return Ok(None);
        };
        self.position.take(&loaded, self.changing);
        Ok(Some(loaded.batch))
    }
}
