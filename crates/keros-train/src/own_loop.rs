//! Callbacks in a training loop of the user's own: the events of `fit`, sent one by one.

use crate::error::TrainError;
use crate::moments::Control;
use crate::options::{FitGeneratorOptions, LoopOptions};
use crate::plan::{Validation, not_zero};
use crate::run::{Callbacks, LogsOf};
use crate::trackers::Means;
use crate::trainer::Trainer;
use keros_callbacks::{Event, History, Logs, ProgbarLogger, RunInfo};
use keros_data::Batch;
use keros_nn::Network;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The events of a training loop of your own: callbacks are told what `fit` tells them, and what
/// they decide is done as `fit` does it. [`Trainer::on_train_begin`] makes it.
///
/// It borrows no trainer: give the one that it began with to each event, and use it as you like in
/// between. The means of the epoch are the loop's own, which no `evaluate` or `train_on_batch` of the
/// trainer's changes.
///
/// ```
/// use keros_data::{Array, ArraySequence, Sequence};
/// # use keros_nn::{Sequential, layers::Dense};
/// # use keros_tensor::Device;
/// # use keros_train::{LoopOptions, TrainError, Trainer};
/// # let network = Sequential::builder([4]).layer(Dense::new(1)).build(&Device::Cpu, 1)?;
/// # let mut trainer = Trainer::builder(network).optimizer("sgd").loss("mse").compile()?;
/// # let x = Array::from_vec(&[8, 4], vec![0.5_f32; 32])?;
/// # let y = Array::from_vec(&[8, 1], vec![1.0_f32; 8])?;
/// let data = ArraySequence::new(x.clone(), y.clone())?.batch_size(4)?;
/// let mut events = trainer.on_train_begin(LoopOptions {
///     epochs: 3,
///     steps_per_epoch: Some(data.len() as u64),
///     validation_data: Some((x, y).into()),
///     ..LoopOptions::default()
/// })?;
/// while let Some(epoch) = events.on_epoch_begin(&mut trainer)? {
///     while let Some(index) = events.next_batch() {
///         let batch = data.batch(epoch, index as usize)?;
///         events.train_on_batch(&mut trainer, &batch)?;
///     }
///     events.validate(&mut trainer)?;
///     events.on_epoch_end(&mut trainer)?;
/// }
/// let history = events.on_train_end(&mut trainer)?;
/// assert_eq!(history.get("val_loss").len(), 3);
/// # Ok::<(), TrainError>(())
/// ```
///
/// **Order.** Train begin; epochs, each with its begin, its batches, validations if you want them,
/// and its end; train end. A step of your own takes the place of
/// [`train_on_batch`](Self::train_on_batch) between
/// [`on_train_batch_begin`](Self::on_train_batch_begin) and
/// [`on_train_batch_end`](Self::on_train_batch_end). There, [`Trainer::train_on_batch_with`] without
/// `reset_metrics` goes on with the means of the epoch.
///
/// **Decisions.** Learning rates are set, checkpoints written and resumed, batches skipped before
/// the method returns. Stops reach you through [`next_batch`](Self::next_batch) and
/// [`on_epoch_begin`](Self::on_epoch_begin), which then have nothing more to give;
/// [`stop_training`](Self::stop_training) tells the reason. After a resume, both go on where the
/// checkpoint was written.
///
/// **What is left out.** Batches and validations may be: callbacks hear nothing of them. A batch
/// that begins and does not end counts as passed over. A begin or end of an epoch may not be left
/// out: the next event is then refused by [`TrainError::Order`], and nothing has happened. If it is
/// dropped without [`on_train_end`](Self::on_train_end), callbacks hear no more, as of a program
/// that was killed.
///
/// **Failure.** An error of a callback, the network or the data ends the run: callbacks have been
/// told of it ([`EventKind::Error`](keros_callbacks::EventKind::Error)), and every later event is
/// refused. Tell them of an error of your own with [`on_error`](Self::on_error).
pub struct LoopEvents<'c> {
    callbacks: Callbacks<'c>,
    control: Control,
    validation: Option<Validation>,
    moment: Moment,
    /// Its part of the numbers in the trackers.
    means: Means,
    /// Whether they have changed since they were written to the logs.
    unwritten: bool,
    /// [`Trainer::loops`] of the trainer that it began with, which tells it from others.
    trainer: Rc<()>,
}

/// Where a loop is.
enum Moment {
    /// Before its first epoch, which is trained even if a callback has stopped the run already.
    Begun,
    /// Between epochs, or to go on in one.
    BetweenEpochs,
    /// In an epoch.
    Epoch,
    /// In a batch, with the event of its begin.
    Batch(Event),
    /// The run has ended by an error.
    Failed,
}

impl Moment {
    fn name(&self) -> &'static str {
        match self {
            Moment::Begun | Moment::BetweenEpochs => "no epoch",
            Moment::Epoch => "an epoch between batches",
            Moment::Batch(_) => "a batch",
            Moment::Failed => "a run that has ended by an error",
        }
    }
}

impl<N: Network> Trainer<N> {
    /// Begins a training loop of your own whose callbacks are told as `fit` tells them; see
    /// [`LoopEvents`].
    ///
    /// # Errors
    /// Arguments out of range, before anything is changed; a callback that fails; a checkpoint that
    /// a callback asks to go on from and that is not of this run.
    pub fn on_train_begin<'c>(
        &mut self,
        options: LoopOptions<'c>,
    ) -> Result<LoopEvents<'c>, TrainError> {
        not_zero("fit", "steps_per_epoch", options.steps_per_epoch)?;
        self.check_class_weight(options.class_weight.as_ref())?;
        self.check_validation_data(options.validation_data.as_ref())?;
        let of_validation = FitGeneratorOptions {
            validation_steps: options.validation_steps,
            validation_batch_size: options.validation_batch_size,
            workers: options.workers,
            ..FitGeneratorOptions::default()
        };
        let validation = Validation::new(options.validation_data, &of_validation, None)?;
        self.put_weights_back()?;
        let info = RunInfo {
            epochs: options.epochs,
            initial_epoch: options.initial_epoch,
            steps: options.steps_per_epoch,
            metrics: self.trackers.names(),
            validation: validation.is_some(),
        };
        let mut list = options.callbacks;
        if let Some(progress) = ProgbarLogger::new(options.verbose) {
            list.push(progress);
        }
        let messages = self.new_messages();
        let callbacks = Callbacks::new(list, info, self.network.params(), messages);
        let control = Control::new(self, &callbacks.info, options.class_weight);
        let mut events = LoopEvents {
            callbacks,
            control,
            validation,
            moment: Moment::Begun,
            means: Means::default(),
            unwritten: false,
            trainer: Rc::clone(&self.loops),
        };
        events.send(self, LoopEvents::begin)?;
        Ok(events)
    }
}

impl LoopEvents<'_> {
    fn begin<N: Network>(&mut self, trainer: &mut Trainer<N>) -> Result<(), TrainError> {
        if !trainer.begin(&mut self.callbacks, &mut self.control)? {
            return Ok(());
        }
        self.moment = Moment::BetweenEpochs;
        // The loop has its own way through the data, and no pass of `fit` goes on in it.
        self.control.position.next = None;
        if let Some(validation) = &mut self.validation {
            validation.resume(&self.control.position)?;
        }
        if self.callbacks.logs.is_empty() {
            // No callback had asked for those of the last batch.
            trainer.trackers.write("", &mut self.callbacks.logs)?;
        }
        Ok(())
    }

    /// Begins the next epoch and returns its zero-based index; `None`, and no event, if the last
    /// epoch is over or a callback has ended the run.
    ///
    /// As in `fit`, the means of loss and metrics begin anew. In an epoch that goes on from a checkpoint
    /// they do not, and its begin is not told again.
    ///
    /// # Errors
    /// An epoch that is not over, or a callback that fails.
    pub fn on_epoch_begin<N: Network>(
        &mut self,
        trainer: &mut Trainer<N>,
    ) -> Result<Option<u64>, TrainError> {
        let first = matches!(self.moment, Moment::Begun);
        let in_order = first || matches!(self.moment, Moment::BetweenEpochs);
        self.check(trainer, "epoch_begin", in_order, "epoch_end before it")?;
        let position = &self.control.position;
        let (epoch, resumes) = (position.epoch, position.batch > 0);
        let stopped = self.control.stops() && !first && !resumes;
        if epoch >= self.callbacks.info.epochs || stopped {
            return Ok(None);
        }
        self.moment = Moment::Epoch;
        self.unwritten = false;
        self.control.wait = Duration::ZERO;
        self.callbacks.tell_params(trainer.network.params());
        if !resumes {
            self.send(trainer, |events, trainer| {
                trainer.begin_epoch(&mut events.callbacks, &mut events.control)
            })?;
        }
        Ok(Some(epoch))
    }

    /// The zero-based index of the next batch of the epoch; `None` if the epoch has had
    /// `steps_per_epoch` batches, a callback has ended it or the run, or no epoch has begun.
    #[must_use]
    pub fn next_batch(&self) -> Option<u64> {
        let position = &self.control.position;
        let begun = matches!(self.moment, Moment::Epoch | Moment::Batch(_));
        let cut = position.batch > 0 && (self.control.stops() || position.cut);
        let complete = Some(position.batch) == self.callbacks.info.steps;
        (begun && !cut && !complete).then_some(position.batch)
    }

    /// Adds the time that the loop has waited for a batch to that of the epoch, which callbacks see as
    /// [`Context::data_wait`](keros_callbacks::Context::data_wait) and the progress line shows. Each
    /// epoch begins at zero; only the loop knows how it comes by its batches, so nothing else adds
    /// to it.
    pub fn add_data_wait(&mut self, wait: Duration) {
        self.control.wait = self.control.wait.saturating_add(wait);
    }

    /// Trains on `batch` as `fit` does: train batch begin, after backward, before step, train batch
    /// end, and the logs are running means over the epoch. Returns whether a callback let the batch
    /// be trained on.
    ///
    /// # Errors
    /// An epoch that has not begun or has no [`next_batch`](Self::next_batch), arrays that are not
    /// the network's, or any failure on the way.
    pub fn train_on_batch<N: Network>(
        &mut self,
        trainer: &mut Trainer<N>,
        batch: &Batch,
    ) -> Result<bool, TrainError> {
        self.check_batch(trainer, batch)?;
        self.moment = Moment::Epoch;
        self.control.position.taken += 1;
        self.send(trainer, |events, trainer| {
            let trained = trainer.batch(batch, &mut events.callbacks, &mut events.control)?;
            events.unwritten = true;
            Ok(trained)
        })
    }

    /// Tells that a step of your own is about to be made on `batch`. Returns whether to make it: if
    /// a callback has the batch skipped, it has no end.
    ///
    /// After backward and before step, which lie inside of a step, are told by
    /// [`train_on_batch`](Self::train_on_batch) alone.
    ///
    /// # Errors
    /// As [`train_on_batch`](Self::train_on_batch).
    pub fn on_train_batch_begin<N: Network>(
        &mut self,
        trainer: &mut Trainer<N>,
        batch: &Batch,
    ) -> Result<bool, TrainError> {
        self.check_batch(trainer, batch)?;
        self.control.position.taken += 1;
        let before = std::mem::take(&mut self.callbacks.logs);
        let begun = self.send(trainer, |events, trainer| {
            trainer.begin_batch(batch, &mut events.callbacks, &mut events.control)
        })?;
        // Those of the epoch, if this batch is skipped or does not end.
        self.callbacks.logs = before;
        let trains = begun.is_some();
        trainer.trackers.begin_step(trains.then_some(&self.means));
        self.moment = begun.map_or(Moment::Epoch, Moment::Batch);
        Ok(trains)
    }

    /// Tells that the step on the batch that has begun is made, with these logs. They stay those of
    /// the epoch until its next batch.
    ///
    /// # Errors
    /// A batch that has not begun or was skipped, or a callback that fails.
    pub fn on_train_batch_end<N: Network>(
        &mut self,
        trainer: &mut Trainer<N>,
        batch: &Batch,
        logs: Logs,
    ) -> Result<(), TrainError> {
        let in_order = matches!(self.moment, Moment::Batch(_));
        self.check(
            trainer,
            "train_batch_end",
            in_order,
            "train_batch_begin before it",
        )?;
        let Moment::Batch(begin) = std::mem::replace(&mut self.moment, Moment::Epoch) else {
            return Ok(());
        };
        self.callbacks.logs = logs;
        self.unwritten = false;
        self.send(trainer, |events, trainer| {
            let (callbacks, control) = (&mut events.callbacks, &mut events.control);
            trainer.end_batch(begin, batch, LogsOf::Ready, callbacks, control)
        })
    }

    /// Evaluates on the validation data, wherever in the epoch it is, with the test events of a
    /// validation inside of `fit`, and adds the results to [`logs`](Self::logs) with `val_` before
    /// their names. The running means of the epoch go on afterwards.
    ///
    /// # Errors
    /// No validation data, an epoch that has not begun, or any failure on the way.
    pub fn validate<N: Network>(&mut self, trainer: &mut Trainer<N>) -> Result<(), TrainError> {
        self.check_in_epoch(trainer, "the test events")?;
        if self.validation.is_none() {
            let expected = "data in the options of the loop";
            let found = "none";
            return Err(TrainError::argument(
                "validating",
                "validation_data",
                expected,
                found,
            ));
        }
        self.send(trainer, |events, trainer| {
            events.write_logs(trainer)?;
            let Some(validation) = &mut events.validation else {
                return Ok(());
            };
            trainer.trackers.give_to(&Means::default())?;
            trainer.validate(validation, &mut events.callbacks, &mut events.control)?;
            events.callbacks.queue = None;
            Ok(())
        })
    }

    /// The logs of the epoch so far: those of its last batch, then what [`validate`](Self::validate)
    /// and callbacks have added. They are computed when they are asked for, which on a GPU waits for
    /// the batches until then.
    ///
    /// # Errors
    /// Another trainer than the one that the loop began with, or a batch that turns out to have failed.
    pub fn logs<N: Network>(&mut self, trainer: &mut Trainer<N>) -> Result<&Logs, TrainError> {
        self.logs_mut(trainer).map(|logs| &*logs)
    }

    /// The [`logs`](Self::logs), to add to before [`on_epoch_end`](Self::on_epoch_end) tells them. The
    /// next batch begins them anew.
    ///
    /// # Errors
    /// As [`logs`](Self::logs).
    pub fn logs_mut<N: Network>(
        &mut self,
        trainer: &mut Trainer<N>,
    ) -> Result<&mut Logs, TrainError> {
        self.check_trainer(trainer)?;
        if self.unwritten {
            self.send(trainer, Self::write_logs)?;
        }
        Ok(&mut self.callbacks.logs)
    }

    fn write_logs<N: Network>(&mut self, trainer: &mut Trainer<N>) -> Result<(), TrainError> {
        if std::mem::take(&mut self.unwritten) {
            trainer.trackers.write("", &mut self.callbacks.logs)?;
        }
        Ok(())
    }

    /// Ends the epoch, with the [`logs`](Self::logs) as they are.
    ///
    /// # Errors
    /// An epoch that has not begun, or a callback that fails.
    pub fn on_epoch_end<N: Network>(&mut self, trainer: &mut Trainer<N>) -> Result<(), TrainError> {
        self.check_in_epoch(trainer, "epoch_end")?;
        self.moment = Moment::BetweenEpochs;
        self.send(trainer, |events, trainer| {
            events.write_logs(trainer)?;
            trainer.end_epoch(&mut events.callbacks, &mut events.control)
        })
    }

    /// Why a callback has ended the run, if one has: Keras's `model.stop_training`.
    #[must_use]
    pub fn stop_training(&self) -> Option<&str> {
        let before = "a callback ended the run before its checkpoint";
        let known = self.control.stopped.as_deref();
        known.or(self.control.position.stop.then_some(before))
    }

    /// Ends the run and returns its record, which callbacks have added to.
    ///
    /// As in `fit`, an optimizer that keeps moving averages puts them in place if it was told to.
    ///
    /// # Errors
    /// An epoch that is not over, or a callback that fails.
    pub fn on_train_end<N: Network>(
        mut self,
        trainer: &mut Trainer<N>,
    ) -> Result<History, TrainError> {
        let in_order = matches!(self.moment, Moment::Begun | Moment::BetweenEpochs);
        self.check(trainer, "train_end", in_order, "epoch_end before it")?;
        self.send(trainer, |events, trainer| {
            trainer.end(&mut events.callbacks, &mut events.control)
        })?;
        Ok(self.callbacks.history)
    }

    /// Tells callbacks that the run ends by an error of your own. What they do about it cannot fail,
    /// and an error of these methods, which they know of, is not told again.
    ///
    /// # Errors
    /// Another trainer than the one that the loop began with.
    pub fn on_error<N: Network>(
        mut self,
        trainer: &mut Trainer<N>,
        error: &dyn fmt::Display,
    ) -> Result<(), TrainError> {
        self.check_trainer(trainer)?;
        if !matches!(self.moment, Moment::Failed) {
            let epoch = self.control.epoch(&self.callbacks.info);
            trainer.tell_failure(&mut self.callbacks, epoch, &error.to_string());
        }
        Ok(())
    }

    /// Does what belongs to an event; an error is told and ends the run.
    fn send<N: Network, T>(
        &mut self,
        trainer: &mut Trainer<N>,
        event: impl FnOnce(&mut Self, &mut Trainer<N>) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        trainer.trackers.begin_step(None);
        let mine = trainer.trackers.give_to(&self.means);
        let result = mine.and_then(|()| event(self, trainer));
        if result.is_err() {
            self.moment = Moment::Failed;
            self.unwritten = false;
        }
        let epoch = self.control.epoch(&self.callbacks.info);
        trainer.tell_error(&mut self.callbacks, epoch, result)
    }

    fn check_trainer<N>(&self, trainer: &Trainer<N>) -> Result<(), TrainError> {
        if Rc::ptr_eq(&trainer.loops, &self.trainer) {
            return Ok(());
        }
        let expected = "the one that the loop began with";
        Err(TrainError::argument(
            "telling callbacks",
            "trainer",
            expected,
            "another",
        ))
    }

    fn check<N>(
        &self,
        trainer: &Trainer<N>,
        event: &'static str,
        in_order: bool,
        expected: &'static str,
    ) -> Result<(), TrainError> {
        self.check_trainer(trainer)?;
        if in_order {
            return Ok(());
        }
        Err(TrainError::Order {
            event,
            expected,
            found: self.moment.name(),
        })
    }

    fn check_in_epoch<N>(
        &self,
        trainer: &Trainer<N>,
        event: &'static str,
    ) -> Result<(), TrainError> {
        let in_order = matches!(self.moment, Moment::Epoch | Moment::Batch(_));
        self.check(trainer, event, in_order, "epoch_begin before it")
    }

    fn check_batch<N>(&self, trainer: &Trainer<N>, batch: &Batch) -> Result<(), TrainError> {
        const EVENT: &str = "train_batch_begin";
        self.check_in_epoch(trainer, EVENT)?;
        if self.next_batch().is_none() {
            return Err(TrainError::Order {
                event: EVENT,
                expected: "an epoch with a next batch",
                found: "one that is complete, or that a callback has ended",
            });
        }
        Ok(batch.check()?)
    }
}
