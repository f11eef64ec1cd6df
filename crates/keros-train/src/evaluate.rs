//! Evaluation, alone or as the validation inside `fit`.

use crate::data::{by_port, weights_by_port};
use crate::error::TrainError;
use crate::options::{EvaluateOptions, GeneratorOptions};
use crate::plan::rows_per_batch;
use crate::run::{Callbacks, LogsOf, Telling};
use crate::source::{Pull, Source, ValidationData};
use crate::trainer::Trainer;
use keros_callbacks::{Event, EventKind, Logs};
use keros_data::{ArraySequence, Arrays, DataError, LoadedBatch, Recycling, Shuffle};
use keros_nn::{Network, Port};
use std::time::{Duration, Instant};

impl<N: Network> Trainer<N> {
    /// The loss and metrics over arrays in memory, in inference mode, in order.
    ///
    /// # Errors
    /// Arguments out of range, or any failure on the way.
    pub fn evaluate(
        &mut self,
        x: impl Into<Arrays>,
        y: impl Into<Arrays>,
        options: EvaluateOptions<'_>,
    ) -> Result<Logs, TrainError> {
        let x = x.into();
        let batch_size = rows_per_batch(options.batch_size, x.rows(), options.steps);
        let mut sequence = ArraySequence::new(x, y)?
            .batch_size(batch_size)?
            .shuffle(Shuffle::No);
        if let Some(weights) = options.sample_weight {
            sequence = sequence.sample_weight(weights)?;
        }
        let generator = GeneratorOptions {
            steps: options.steps,
            callbacks: options.callbacks,
            workers: 0,
            verbose: options.verbose,
            ..GeneratorOptions::default()
        };
        self.evaluate_generator(Source::sequence(sequence), generator)
    }

    /// The loss and metrics over batches from a source, in inference mode.
    ///
    /// # Errors
    /// Arguments out of range, or any failure on the way.
    pub fn evaluate_generator(
        &mut self,
        source: impl Into<Source>,
        options: GeneratorOptions<'_>,
    ) -> Result<Logs, TrainError> {
        let names = self.trackers.names();
        self.lone_pass(
            DOING,
            source.into(),
            options,
            names,
            |trainer, pull, steps, callbacks| trainer.test(pull, steps, None, callbacks),
        )?;
        self.logs()
    }

    /// Refuses arrays to validate on that the network cannot take, which would be found out after an
    /// epoch.
    pub(crate) fn check_validation_data(
        &self,
        data: Option<&ValidationData>,
    ) -> Result<(), TrainError> {
        let Some(ValidationData::Arrays {
            x,
            y,
            sample_weight,
        }) = data
        else {
            return Ok(());
        };
        let refused = |expected: String, found: String| {
            TrainError::argument("fit", "validation_data", expected, found)
        };
        let names = |error| match error {
            TrainError::Names {
                what,
                expected,
                found,
            } => refused(format!("{what} named {expected}"), found),
            other => other,
        };
        let inputs: Vec<&Port> = self.network.inputs().iter().collect();
        let arrays = by_port("inputs", &inputs, x).map_err(names)?;
        for (port, array) in inputs.iter().zip(arrays) {
            if array.shape().get(1..) != Some(port.shape.as_slice()) {
                let dims = port.shape.iter().map(|dim| format!(", {dim}"));
                let dims = dims.collect::<String>();
                let expected = format!("input `{}` of shape [N{dims}]", port.name);
                return Err(refused(expected, format!("{:?}", array.shape())));
            }
        }
        let outputs = self.network.outputs().iter().zip(&self.heads);
        let trained = outputs.filter(|(_, head)| head.loss.is_some());
        let trained: Vec<&Port> = trained.map(|(port, _)| port).collect();
        by_port("targets", &trained, y).map_err(names)?;
        weights_by_port(&trained, sample_weight.as_ref()).map_err(names)?;
        Ok(())
    }

    /// Resets the trackers and evaluates `steps` batches, or as many as there are. `validation`: the
    /// fit whose validation this is.
    pub(crate) fn test(
        &mut self,
        pull: &mut Pull<'_>,
        steps: Option<u64>,
        validation: Option<OfFit>,
        callbacks: &mut Callbacks<'_>,
    ) -> Result<Tested, TrainError> {
        let nested = validation.is_some();
        let (epoch, mut first) = match validation {
            Some(OfFit { epoch, first }) => (epoch, Some(first)),
            None => (0, None),
        };
        let begin = Event {
            nested,
            ..self.event(EventKind::TestBegin, epoch)
        };
        self.trackers.reset();
        let nothing = Telling::nothing(Duration::ZERO);
        let mut stop = self.tell(callbacks, &begin, nothing)?.stop;
        let mut wait = Duration::ZERO;
        let mut batch_index = 0;
        let mut at_end = false;
        let recycling = Recycling::start();
        // A stop before the first batch ends an evaluation after it, as in Keras; a validation is
        // never cut short.
        while steps.is_none_or(|steps| batch_index < steps)
            && (nested || stop.is_none() || batch_index == 0)
        {
            let (next, waited) = match first.take() {
                Some((first, waited)) => (Some(first), waited),
                None => timed(pull).map_err(|error| match nested {
                    true => TrainError::from(error).in_batch(epoch, batch_index),
                    false => error.into(),
                })?,
            };
            wait += waited;
            let Some(loaded) = next else {
                break;
            };
            at_end = loaded.ends_epoch();
            let batch = loaded.batch;
            let begin = Event {
                kind: EventKind::TestBatchBegin,
                batch: batch_index,
                samples: batch.len() as u64,
                ..begin.clone()
            };
            let nothing = Telling::nothing(wait).about(&batch);
            let decision = self.tell(callbacks, &begin, nothing)?;
            stop = stop.or(decision.stop);
            self.test_step(&batch, Some((epoch, batch_index)))
                .map_err(|error| error.in_batch(epoch, batch_index))?;
            let end = Event {
                kind: EventKind::TestBatchEnd,
                ..begin
            };
            let telling = Telling::of(LogsOf::Trackers, wait).about(&batch);
            let mut decision = self.tell(callbacks, &end, telling)?;
            if !nested {
                decision.merge(callbacks.asked_outside_of_training());
            }
            stop = stop.or(decision.stop);
            batch_index += 1;
            recycling.give(batch);
        }
        if batch_index == 0 {
            let expected = "at least one batch";
            return Err(TrainError::argument(DOING, "data", expected, "none"));
        }
        if stop.is_none() {
            callbacks.warn_of_missing("evaluation", batch_index, steps);
        }
        let end = Event {
            kind: EventKind::TestEnd,
            ..begin
        };
        let decision = self.tell(callbacks, &end, Telling::of(LogsOf::Trackers, wait))?;
        Ok(Tested {
            stop: stop.or(decision.stop),
            batches: batch_index,
            at_end,
        })
    }
}

const DOING: &str = "evaluating";

/// The fit of a validation.
pub(crate) struct OfFit {
    pub(crate) epoch: u64,
    /// The first batch, and how long it was waited for.
    pub(crate) first: (LoadedBatch, Duration),
}

/// The next batch, and how long it was waited for.
pub(crate) fn timed(pull: &mut Pull<'_>) -> Result<(Option<LoadedBatch>, Duration), DataError> {
    let asked = Instant::now();
    let next = pull.next();
    let waited = asked.elapsed();
    Ok((next.transpose()?, waited))
}

/// How an evaluation went; the numbers are in the trackers.
pub(crate) struct Tested {
    /// Why a callback asked to stop, if one did.
    pub(crate) stop: Option<String>,
    pub(crate) batches: u64,
    /// Whether a sequence came to the end of its epoch.
    pub(crate) at_end: bool,
}
