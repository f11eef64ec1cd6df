//! The moments of a training, each with its event and what callbacks decide at it: what `fit` and a
//! loop of the user's own have in common.

use crate::checkpoint::{Identity, NotResumed, Position};
use crate::class_weight::ClassWeight;
use crate::error::TrainError;
use crate::evaluate::{OfFit, timed};
use crate::plan::Validation;
use crate::run::{Callbacks, LogsOf, Telling};
use crate::trainer::Trainer;
use keros_callbacks::{CallbackError, Decision, Event, EventKind, RunInfo};
use keros_data::Batch;
use keros_nn::Network;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl<N: Network> Trainer<N> {
    /// The beginning of a run. Returns whether it goes on from a checkpoint.
    pub(crate) fn begin(
        &mut self,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<bool, TrainError> {
        let begin = self.event(EventKind::TrainBegin, 0);
        let decision = self.tell(callbacks, &begin, Telling::nothing(Duration::ZERO))?;
        let Some(mut path) = control.take(decision, self)?.resume else {
            return Ok(false);
        };
        let mut first = None;
        loop {
            let error = match self.resume(&path, callbacks, control) {
                Ok(()) => return Ok(true),
                Err(NotResumed::Refused(error)) => return Err(error),
                Err(NotResumed::Damaged(error)) => error,
            };
            let Some(other) = callbacks.list.damaged_checkpoint(&path) else {
                return Err(first.unwrap_or(error));
            };
            callbacks.warn(format!(
                "a damaged checkpoint is passed over for {}: {error}",
                other.display()
            ));
            first.get_or_insert(error);
            path = other;
        }
    }

    /// The beginning of an epoch that no batch has been trained on.
    pub(crate) fn begin_epoch(
        &mut self,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<(), TrainError> {
        self.trackers.reset();
        let begin = self.event(EventKind::EpochBegin, control.position.epoch);
        let decision = self.tell(callbacks, &begin, Telling::nothing(control.wait))?;
        control.take(decision, self)?;
        Ok(())
    }

    /// The end of an epoch, with the logs that the callbacks hold.
    pub(crate) fn end_epoch(
        &mut self,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<(), TrainError> {
        let epoch = control.position.epoch;
        let end = self.event(EventKind::EpochEnd, epoch);
        let telling = Telling::of(LogsOf::Ready, control.wait);
        let decision = self.tell(callbacks, &end, telling)?;
        let checkpoints = control.take_with(callbacks.requests.take(), decision, self)?;
        let position = &mut control.position;
        (position.epoch, position.batch) = (epoch + 1, 0);
        (position.cut, position.steps) = (false, None);
        self.checkpoint(checkpoints, &end, LogsOf::Ready, callbacks, control)
    }

    /// The end of a run.
    pub(crate) fn end(
        &mut self,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<(), TrainError> {
        let last = control.position.epoch.saturating_sub(1);
        let last = last.max(control.identity.initial_epoch);
        // Of what fails from here on.
        control.position.epoch = last;
        self.optimizer.finalize(self.network.params())?;
        let end = self.event(EventKind::TrainEnd, last);
        let telling = Telling::of(LogsOf::Ready, Duration::ZERO);
        let decision = self.tell(callbacks, &end, telling)?;
        // What was swept or decayed in this run may be set back for the next one.
        control.take(decision, self)?;
        Ok(())
    }

    /// One batch with its events. Returns whether the weights were updated by it or will be.
    pub(crate) fn batch(
        &mut self,
        batch: &Batch,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<bool, TrainError> {
        let Some(begin) = self.begin_batch(batch, callbacks, control)? else {
            return Ok(false);
        };
        let (epoch, index) = (begin.epoch, begin.batch);
        self.gradients(batch, control.class_weight.as_ref(), Some((epoch, index)))
            .map_err(|error| error.in_batch(epoch, index))?;
        let nothing = Telling::nothing(control.wait).about(batch);
        let mut skip = false;
        for kind in [EventKind::AfterBackward, EventKind::BeforeStep] {
            if skip || (kind == EventKind::BeforeStep && !self.optimizer.will_update()) {
                break;
            }
            let event = Event {
                kind,
                ..begin.clone()
            };
            let decision = self.tell(callbacks, &event, nothing)?;
            skip = control.take(decision, self)?.skip;
        }
        let done = match skip {
            // Its gradients may have overflowed, and the next ones would too if nobody lowered their scale.
            true => self
                .optimizer
                .skip_step(self.network.params())
                .map_err(TrainError::from),
            false => self.update(batch),
        };
        done.map_err(|error| error.in_batch(epoch, index))?;
        self.end_batch(begin, batch, LogsOf::Trackers, callbacks, control)?;
        Ok(!skip)
    }

    /// The beginning of a batch: its event, or none if a callback has it skipped.
    pub(crate) fn begin_batch(
        &mut self,
        batch: &Batch,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<Option<Event>, TrainError> {
        let begin = Event {
            batch: control.position.batch,
            samples: batch.len() as u64,
            ..self.event(EventKind::TrainBatchBegin, control.position.epoch)
        };
        let nothing = Telling::nothing(control.wait).about(batch);
        let decision = self.tell(callbacks, &begin, nothing)?;
        let skip = control.take(decision, self)?.skip;
        control.position.batch += 1;
        Ok((!skip).then_some(begin))
    }

    /// The end of the batch that `begin` was the beginning of.
    pub(crate) fn end_batch(
        &mut self,
        begin: Event,
        batch: &Batch,
        logs_of: LogsOf,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<(), TrainError> {
        let end = Event {
            kind: EventKind::TrainBatchEnd,
            step: self.optimizer.iterations(),
            ..begin
        };
        let telling = Telling::of(logs_of, control.wait).about(batch);
        let decision = self.tell(callbacks, &end, telling)?;
        let checkpoints = control.take_with(callbacks.requests.take(), decision, self)?;
        self.checkpoint(checkpoints, &end, logs_of, callbacks, control)
    }

    /// A full evaluation; its results are added to the logs, and stay in the trackers. A generator that has
    /// ended is told, and adds nothing.
    pub(crate) fn validate(
        &mut self,
        validation: &mut Validation,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<(), TrainError> {
        let epoch = control.position.epoch;
        let done = self.validate_after(epoch, validation, callbacks, control);
        done.map_err(|error| error.in_validation(epoch))
    }

    fn validate_after(
        &mut self,
        epoch: u64,
        validation: &mut Validation,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<(), TrainError> {
        let steps = validation.steps();
        let mut pull = validation.feed.start_once(steps)?;
        callbacks.queue = pull.meter();
        let first = timed(&mut pull);
        let first = first.map_err(|error| TrainError::from(error).in_batch(epoch, 0));
        let (Some(first), waited) = first? else {
            callbacks.warn(format!(
                "epoch {} is not validated: validation_data has no batches left (a generator goes on where it \
                 stopped)",
                epoch + 1
            ));
            return Ok(());
        };
        let of_fit = OfFit {
            epoch,
            first: (first, waited),
        };
        // Its events have logs of their own.
        let logs = std::mem::take(&mut callbacks.logs);
        let tested = self.test(&mut pull, steps, Some(of_fit), callbacks);
        callbacks.logs = logs;
        let tested = tested?;
        self.trackers.write("val_", &mut callbacks.logs)?;
        control.stop(tested.stop);
        control.position.taken_to_validate += tested.batches;
        control.position.ended_to_validate += u64::from(tested.at_end);
        Ok(())
    }

    /// Writes the checkpoints that callbacks asked for at `event`, and tells of each.
    fn checkpoint(
        &mut self,
        paths: Vec<PathBuf>,
        event: &Event,
        logs_of: LogsOf,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<(), TrainError> {
        let of_event = |error: CallbackError| TrainError::from(error).at(event);
        for path in paths {
            // An error of a step is not one of whoever asked for the checkpoint.
            self.trackers.settle()?;
            let logs = callbacks.logs.iter();
            let logs = logs.map(|(key, value)| (key.to_owned(), value.clone()));
            let written = self.write_checkpoint(
                &path,
                &control.identity,
                callbacks.info.epochs,
                control.position.clone(),
                logs.collect(),
                callbacks.states().map_err(of_event)?,
            );
            if let Err(error) = written {
                let failed = callbacks
                    .list
                    .checkpoint_failed(event.kind, &path, error.into());
                failed.map_err(of_event)?;
                continue;
            }
            let saved = Event {
                kind: EventKind::CheckpointSaved,
                ..event.clone()
            };
            let text = path.display().to_string();
            let telling = Telling {
                detail: Some(&text),
                ..Telling::of(logs_of, control.wait)
            };
            let decision = self
                .tell(callbacks, &saved, telling)
                .map_err(|error| error.at(event))?;
            control.take(decision, self)?;
        }
        Ok(())
    }

    /// Goes to where a checkpoint was written. After an error network and optimizer are as they were.
    fn resume(
        &mut self,
        path: &Path,
        callbacks: &mut Callbacks<'_>,
        control: &mut Control,
    ) -> Result<(), NotResumed> {
        let (file, run) = self.read_checkpoint(path, &control.identity)?;
        let unknown = callbacks.load_states(run.callbacks);
        let unknown = unknown.map_err(TrainError::from)?;
        self.apply_checkpoint(&file, &run.frozen, &run.trackers)?;
        callbacks.tell_params(self.network.params());
        for name in unknown {
            callbacks.warn(format!(
                "the checkpoint {} has the state of a callback `{name}`, which this run lacks",
                path.display()
            ));
        }
        let stop = run.position.stop && callbacks.info.epochs <= run.epochs;
        if stop && run.position.epoch < callbacks.info.epochs {
            callbacks.warn(format!(
                "a callback ended the run of the checkpoint {}, so that it trains no more; \
                 with more epochs than {} it goes on",
                path.display(),
                run.epochs
            ));
        }
        control.position = Position {
            // A callback may have ended the run just now.
            stop: stop || control.position.stop,
            ..run.position
        };
        callbacks.logs.clear();
        for (key, value) in run.logs {
            callbacks.logs.set(&key, value);
        }
        Ok(())
    }
}

/// Where a fit stands, and what goes along with it.
pub(crate) struct Control {
    pub(crate) class_weight: Option<ClassWeight>,
    pub(crate) identity: Identity,
    pub(crate) position: Position,
    /// Another thread asked the run to end, which is no part of the run that goes on from a checkpoint.
    asked_to_stop: bool,
    /// Why a callback or another thread ended the run, if one did since it began.
    pub(crate) stopped: Option<String>,
    /// How long the epoch has waited for data.
    pub(crate) wait: Duration,
    /// Whether the training data change when an epoch of them has ended.
    pub(crate) changing: bool,
}

/// What is left of a decision when its stops and its learning rate have been taken.
struct Rest {
    skip: bool,
    checkpoints: Vec<PathBuf>,
    resume: Option<PathBuf>,
}

impl Control {
    pub(crate) fn new<N: Network>(
        trainer: &Trainer<N>,
        info: &RunInfo,
        class_weight: Option<ClassWeight>,
    ) -> Control {
        Control {
            class_weight,
            identity: Identity {
                optimizer: trainer.optimizer.name().to_owned(),
                seed: trainer.seed,
                initial_epoch: info.initial_epoch,
                steps: info.steps,
                metrics: info.metrics.clone(),
            },
            position: Position {
                epoch: info.initial_epoch,
                ..Position::default()
            },
            asked_to_stop: false,
            stopped: None,
            wait: Duration::ZERO,
            changing: false,
        }
    }

    /// The zero-based epoch that the run is in, or was in last.
    pub(crate) fn epoch(&self, info: &RunInfo) -> u64 {
        let last = info.epochs.saturating_sub(1).max(info.initial_epoch);
        self.position.epoch.min(last)
    }

    /// Whether the run ends.
    pub(crate) fn stops(&self) -> bool {
        self.position.stop || self.asked_to_stop
    }

    fn stop(&mut self, reason: Option<String>) {
        self.position.stop |= reason.is_some();
        self.stopped = self.stopped.take().or(reason);
    }

    /// As [`take`](Self::take), with what other threads ask; returns the checkpoints.
    fn take_with<N: Network>(
        &mut self,
        mut asked: Decision,
        mut decision: Decision,
        trainer: &mut Trainer<N>,
    ) -> Result<Vec<PathBuf>, TrainError> {
        let stop = asked.stop.take();
        decision.merge(asked);
        let rest = self.take(decision, trainer)?;
        self.asked_to_stop |= stop.is_some();
        self.stopped = self.stopped.take().or(stop);
        Ok(rest.checkpoints)
    }

    fn take<N: Network>(
        &mut self,
        decision: Decision,
        trainer: &mut Trainer<N>,
    ) -> Result<Rest, TrainError> {
        self.stop(decision.stop);
        self.position.cut |= decision.stop_epoch;
        if let Some(rate) = decision.learning_rate {
            trainer.optimizer.set_learning_rate(rate)?;
        }
        Ok(Rest {
            skip: decision.skip_batch,
            checkpoints: decision.checkpoints,
            resume: decision.resume,
        })
    }
}
