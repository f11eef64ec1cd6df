//! Prediction over many batches.

use crate::error::TrainError;
use crate::options::{GeneratorOptions, PredictOptions};
use crate::plan::rows_per_batch;
use crate::run::{Callbacks, Telling};
use crate::source::{Pull, Source};
use crate::trainer::Trainer;
use keros_callbacks::{Event, EventKind};
use keros_data::{Array, ArraySequence, Arrays, DataError, LoadedBatch, Recycling};
use keros_nn::Network;
use keros_tensor::access::read;
use keros_tensor::{Readback, Tensor};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

impl<N: Network> Trainer<N> {
    /// The outputs for arrays in memory, in inference mode, in order: one array per output of the
    /// network.
    ///
    /// # Errors
    /// Arguments out of range, or any failure on the way.
    pub fn predict(
        &mut self,
        x: impl Into<Arrays>,
        options: PredictOptions<'_>,
    ) -> Result<Vec<Array>, TrainError> {
        let x = x.into();
        let batch_size = rows_per_batch(options.batch_size, x.rows(), options.steps);
        let sequence = ArraySequence::inputs_only(x)?.batch_size(batch_size)?;
        let generator = GeneratorOptions {
            steps: options.steps,
            callbacks: options.callbacks,
            workers: 0,
            verbose: options.verbose,
            ..GeneratorOptions::default()
        };
        self.predict_generator(Source::sequence(sequence), generator)
    }

    /// The outputs for batches from a source, in the order of the batches; targets are not looked
    /// at.
    ///
    /// # Errors
    /// Arguments out of range, or any failure on the way.
    pub fn predict_generator(
        &mut self,
        source: impl Into<Source>,
        options: GeneratorOptions<'_>,
    ) -> Result<Vec<Array>, TrainError> {
        let outputs =
            self.lone_pass(DOING, source.into(), options, Vec::new(), Self::predict_all)?;
        outputs.into_arrays()
    }

    fn predict_all(
        &mut self,
        pull: &mut Pull<'_>,
        steps: Option<u64>,
        callbacks: &mut Callbacks<'_>,
    ) -> Result<Outputs, TrainError> {
        let begin = self.event(EventKind::PredictBegin, 0);
        let mut wait = Duration::ZERO;
        let mut stop = self.tell(callbacks, &begin, Telling::nothing(wait))?.stop;
        let mut outputs = Outputs::default();
        let mut pending = VecDeque::new();
        let mut batch_index = 0;
        let recycling = Recycling::start();
        // A stop before the first batch ends the prediction after it, as in Keras.
        while steps.is_none_or(|steps| batch_index < steps) && (stop.is_none() || batch_index == 0)
        {
            let asked = Instant::now();
            let next = pull.next();
            wait += asked.elapsed();
            let Some(LoadedBatch { batch, .. }) = next.transpose()? else {
                break;
            };
            let begin = Event {
                kind: EventKind::PredictBatchBegin,
                batch: batch_index,
                samples: batch.len() as u64,
                ..begin.clone()
            };
            let nothing = Telling::nothing(wait).about(&batch);
            let decision = self.tell(callbacks, &begin, nothing)?;
            stop = stop.or(decision.stop);
            let predicted = self
                .predict_step(&batch)
                .map_err(|error| error.in_batch(0, batch_index))?;
            pending.push_back((batch_index, predicted));
            while let Some((_, oldest)) = pending.front()
                && (pending.len() > MOST_PENDING || oldest.is_ready().unwrap_or(true))
            {
                outputs.extend_with(pending.pop_front())?;
            }
            let end = Event {
                kind: EventKind::PredictBatchEnd,
                ..begin
            };
            let mut decision = self.tell(callbacks, &end, nothing)?;
            decision.merge(callbacks.asked_outside_of_training());
            stop = stop.or(decision.stop);
            batch_index += 1;
            recycling.give(batch);
        }
        for batch in pending {
            outputs.extend_with(Some(batch))?;
        }
        if batch_index == 0 {
            let expected = "at least one batch";
            return Err(TrainError::argument(DOING, "data", expected, "none"));
        }
        if stop.is_none() {
            callbacks.warn_of_missing("prediction", batch_index, steps);
        }
        let end = Event {
            kind: EventKind::PredictEnd,
            ..begin
        };
        let _ = self.tell(callbacks, &end, Telling::nothing(wait))?;
        Ok(outputs)
    }
}

const DOING: &str = "predicting";

/// Batches whose outputs may be on their way from the device.
const MOST_PENDING: usize = 4;

/// The outputs of the batches so far, on the host.
#[derive(Default)]
pub(crate) struct Outputs(Vec<HostOutput>);

/// The values of one output.
struct HostOutput {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Outputs {
    /// Adds those of a batch when they have arrived.
    fn extend_with(&mut self, batch: Option<(u64, Readback)>) -> Result<(), TrainError> {
        let Some((index, readback)) = batch else {
            return Ok(());
        };
        let tensors = readback.wait().map_err(TrainError::from);
        self.extend(&tensors.map_err(|error| error.in_batch(0, index))?)
    }

    /// Adds those of a batch.
    pub(crate) fn extend(&mut self, tensors: &[Tensor]) -> Result<(), TrainError> {
        if self.0.is_empty() {
            let empty = tensors.iter().map(|tensor| {
                let mut shape = tensor.dims().to_vec();
                shape[0] = 0;
                HostOutput {
                    shape,
                    values: Vec::new(),
                }
            });
            self.0 = empty.collect();
        }
        for (all, new) in self.0.iter_mut().zip(tensors) {
            all.shape[0] += new.dims()[0];
            all.values.extend_from_slice(&read::<f32>(new)?);
        }
        Ok(())
    }

    pub(crate) fn into_arrays(self) -> Result<Vec<Array>, TrainError> {
        let arrays = self.0.into_iter();
        let arrays = arrays.map(|output| Array::from_vec(&output.shape, output.values));
        Ok(arrays.collect::<Result<Vec<Array>, DataError>>()?)
    }
}
