//! A training that is made up: gradient descent on a parabola, which diverges above a rate of 0.25.

use keros_callbacks::{
    BoxError, Callback, CallbackError, CallbackList, Event, EventKind, Level, Logs, Message,
    ParamInfo, Run, RunInfo,
};
use std::time::Duration;

pub(crate) struct Training {
    info: RunInfo,
    logs: Logs,
    params: Vec<ParamInfo>,
    /// The values of the one parameter.
    pub(crate) weights: Vec<f32>,
    pub(crate) rate: f64,
    pub(crate) scheduled: bool,
    /// Batches of each update.
    pub(crate) accumulated: u64,
    step: u64,
    /// Batches of the first epoch that were trained on before the run goes on inside of it.
    pub(crate) batches_before: u64,
    /// The losses of every batch of this run.
    pub(crate) losses: Vec<f64>,
}

/// How a training ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) stop: Option<String>,
    /// The logs of each epoch.
    pub(crate) epochs: Vec<Logs>,
}

impl Training {
    pub(crate) fn new() -> Training {
        Training {
            info: RunInfo::default(),
            logs: Logs::new(),
            params: vec![ParamInfo {
                name: "weights".to_owned(),
                shape: vec![3],
                trainable: true,
            }],
            weights: vec![1.0, -2.0, 3.0],
            rate: 0.125,
            scheduled: false,
            accumulated: 1,
            step: 0,
            batches_before: 0,
            losses: Vec::new(),
        }
    }

    /// A training that does not show its parameters.
    pub(crate) fn without_params() -> Training {
        let mut training = Training::new();
        training.params.clear();
        training
    }

    fn loss(&self) -> f64 {
        let squares = self.weights.iter().map(|value| f64::from(*value).powi(2));
        4.0 * squares.sum::<f64>() + 1.0
    }

    fn send(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        kind: EventKind,
        [epoch, batch, samples]: [u64; 3],
        logs: Option<f64>,
    ) -> Result<Option<String>, CallbackError> {
        self.logs = logs.map(|loss| ("loss", loss)).into_iter().collect();
        let event = Event {
            kind,
            epoch,
            batch,
            step: self.step,
            samples,
            nested: false,
        };
        let decision = callbacks.dispatch(&event, self)?;
        if let Some(rate) = decision.learning_rate {
            self.rate = rate;
        }
        Ok(decision.stop)
    }

    /// Trains for so many epochs of so many batches, of 4 and 2 samples in turn.
    pub(crate) fn fit(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        epochs: u64,
        batches: u64,
    ) -> Result<Ended, CallbackError> {
        let mut ended = Ended {
            stop: None,
            epochs: Vec::new(),
        };
        self.send(callbacks, EventKind::TrainBegin, [0; 3], None)?;
        for epoch in 0..epochs {
            let before = if epoch == 0 { self.batches_before } else { 0 };
            if before == 0 {
                self.send(callbacks, EventKind::EpochBegin, [epoch, 0, 0], None)?;
            }
            let (mut sum, mut count) = (0.0, 0);
            for batch in 0..batches {
                let samples = 4 - batch % 2 * 2;
                if batch < before {
                    sum += 1e3 * samples as f64;
                    count += samples;
                    continue;
                }
                let at = [epoch, batch, samples];
                self.send(callbacks, EventKind::TrainBatchBegin, at, None)?;
                let loss = self.loss();
                self.losses.push(loss);
                sum += loss * samples as f64;
                count += samples;
                if (batch + 1) % self.accumulated == 0 {
                    let factor = 1.0 - 8.0 * self.rate as f32;
                    self.weights.iter_mut().for_each(|value| *value *= factor);
                    self.step += 1;
                }
                let mean = Some(sum / count as f64);
                ended.stop = self.send(callbacks, EventKind::TrainBatchEnd, at, mean)?;
                if ended.stop.is_some() {
                    break;
                }
            }
            let mean = Some(sum / count as f64);
            self.send(callbacks, EventKind::EpochEnd, [epoch, 0, 0], mean)?;
            ended.epochs.push(self.logs.clone());
            if ended.stop.is_some() {
                break;
            }
        }
        self.send(callbacks, EventKind::TrainEnd, [0; 3], None)?;
        Ok(ended)
    }
}

impl Run for Training {
    fn info(&self) -> &RunInfo {
        &self.info
    }

    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }

    fn learning_rate(&self) -> Option<f64> {
        Some(self.rate)
    }

    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }

    fn is_scheduled(&self) -> bool {
        self.scheduled
    }

    fn params(&self) -> &[ParamInfo] {
        &self.params
    }

    fn read_param(&mut self, _: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        values.clone_from(&self.weights);
        Ok(())
    }

    fn write_param(&mut self, _: usize, values: &[f32]) -> Result<(), BoxError> {
        self.weights.copy_from_slice(values);
        Ok(())
    }
}

/// A callback that keeps what the user is told.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Vec<(Level, String)>);

impl Callback for Told {
    fn on_message(&mut self, message: &Message) {
        self.0.push((message.level, message.text.clone()));
    }
}
