//! One training by any of the three methods.

use crate::fashion::{Fashion, RESCALE, augmentation, to_unit};
use crate::meter::Meter;
use anyhow::Result;
use clap::ValueEnum;
use keros::callbacks::{BoxError, Event, ProgbarLogger, Run, RunInfo};
use keros::nn::WeightedMean;
use keros::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A method of the trainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A loop of your own over single batches.
    TrainOnBatch,
    /// Arrays in memory.
    Fit,
    /// Batches made by worker threads beside the running model.
    FitGenerator,
}

impl Method {
    /// The name of the method in code.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Method::TrainOnBatch => "train_on_batch",
            Method::Fit => "fit",
            Method::FitGenerator => "fit_generator",
        }
    }
}

/// How to train.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The method.
    pub method: Method,
    /// Passes over the data.
    pub epochs: u64,
    /// Images per update.
    pub batch_size: usize,
    /// Whether training images are augmented; not possible with `fit`.
    pub augment: bool,
    /// Threads that prepare batches, for `fit_generator`.
    pub workers: usize,
    /// Whether these are processes.
    pub processes: bool,
    /// Batches that may wait, for `fit_generator`.
    pub max_queue_size: usize,
    /// Seed of the order of the images and of their augmentation.
    pub seed: u64,
    /// What is shown.
    pub verbose: Verbose,
}

/// Trains, validating on the test images after each epoch.
///
/// # Errors
/// Any failure of the training, the data or a callback.
pub fn train(
    trainer: &mut Trainer<keros::nn::Sequential>,
    data: &Fashion,
    settings: &Settings,
    callbacks: CallbackList<'_>,
) -> Result<(History, Meter)> {
    let mut meter = Meter::default();
    let mut callbacks = callbacks;
    callbacks.push(&mut meter);
    let history = match settings.method {
        Method::TrainOnBatch => train_on_batch(trainer, data, settings, callbacks)?,
        Method::Fit => trainer.fit(
            to_unit(&data.train_x)?,
            data.train_y.clone(),
            FitOptions {
                batch_size: Some(settings.batch_size),
                epochs: settings.epochs,
                verbose: settings.verbose,
                callbacks,
                validation_data: Some((to_unit(&data.test_x)?, data.test_y.clone()).into()),
                ..FitOptions::default()
            },
        )?,
        Method::FitGenerator => trainer.fit_generator(
            training_flow(data, settings)?,
            FitGeneratorOptions {
                epochs: settings.epochs,
                verbose: settings.verbose,
                callbacks,
                validation_data: Some(validation_flow(data, settings)?.into()),
                max_queue_size: settings.max_queue_size,
                workers: settings.workers,
                use_multiprocessing: settings.processes,
                // The flow shuffles single images, so there is no need to permute its batches.
                shuffle: false,
                ..FitGeneratorOptions::default()
            },
        )?,
    };
    Ok((history, meter))
}

/// Batches of training images: bytes in memory, floats made batch by batch.
fn training_flow(data: &Fashion, settings: &Settings) -> Result<ImageFlow> {
    let generator = match settings.augment {
        true => augmentation(),
        false => ImageDataGenerator::new().rescale(RESCALE),
    };
    let options = FlowOptions {
        batch_size: settings.batch_size,
        seed: settings.seed,
        ..FlowOptions::default()
    };
    Ok(generator.flow(data.train_x.clone(), Some(data.train_y.clone()), options)?)
}

/// Batches of test images, in order and never augmented.
fn validation_flow(data: &Fashion, settings: &Settings) -> Result<ImageFlow> {
    let options = FlowOptions {
        batch_size: settings.batch_size,
        shuffle: false,
        ..FlowOptions::default()
    };
    let generator = ImageDataGenerator::new().rescale(RESCALE);
    Ok(generator.flow(data.test_x.clone(), Some(data.test_y.clone()), options)?)
}

/// What callbacks see of the loop below.
struct OwnLoop {
    info: RunInfo,
    logs: Logs,
    learning_rate: f64,
    wait: Duration,
}

impl Run for OwnLoop {
    fn info(&self) -> &RunInfo {
        &self.info
    }

    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }

    fn learning_rate(&self) -> Option<f64> {
        Some(self.learning_rate)
    }

    fn data_wait(&self) -> Duration {
        self.wait
    }
}

/// The same training written out: every batch is in our hands, and callbacks are told as `fit` tells
/// them.
fn train_on_batch(
    trainer: &mut Trainer<keros::nn::Sequential>,
    data: &Fashion,
    settings: &Settings,
    callbacks: CallbackList<'_>,
) -> Result<History> {
    let flow = training_flow(data, settings)?;
    let validation = std::sync::Arc::new(validation_flow(data, settings)?);
    let mut run = OwnLoop {
        info: RunInfo {
            epochs: settings.epochs,
            initial_epoch: 0,
            steps: Some(flow.len() as u64),
            metrics: vec!["loss".to_owned(), "accuracy".to_owned()],
            validation: true,
        },
        logs: Logs::new(),
        learning_rate: trainer.optimizer().learning_rate(),
        wait: Duration::ZERO,
    };
    let mut history = History::new();
    let mut callbacks = callbacks;
    callbacks.push(&mut history);
    if let Some(progress) = ProgbarLogger::new(settings.verbose) {
        callbacks.push(progress);
    }
    let mut stop = false;
    let mut tell = |run: &mut OwnLoop, event: Event| -> Result<Decision> {
        Ok(callbacks.dispatch(&event, run)?)
    };
    let event = |kind, epoch, step| Event {
        kind,
        epoch,
        batch: 0,
        step,
        samples: 0,
        nested: false,
    };
    let decision = tell(&mut run, event(EventKind::TrainBegin, 0, 0))?;
    stop |= decision.stop.is_some();
    let mut epoch = 0;
    while epoch < settings.epochs {
        run.logs.clear();
        run.wait = Duration::ZERO;
        let step = trainer.optimizer().iterations();
        stop |= tell(&mut run, event(EventKind::EpochBegin, epoch, step))?
            .stop
            .is_some();
        let mut means = [
            ("loss", WeightedMean::default()),
            ("accuracy", WeightedMean::default()),
        ];
        for index in 0..flow.len() {
            let asked = Instant::now();
            let batch = flow.batch(epoch, index)?;
            run.wait += asked.elapsed();
            let samples = batch.len() as u64;
            let batch_event = |kind, step| Event {
                batch: index as u64,
                samples,
                ..event(kind, epoch, step)
            };
            let step = trainer.optimizer().iterations();
            let before = tell(&mut run, batch_event(EventKind::TrainBatchBegin, step))?;
            apply(&before, trainer, &mut run)?;
            stop |= before.stop.is_some();
            let mut cut = before.stop_epoch;
            if !before.skip_batch {
                let logs = trainer.train_on_batch(&batch)?;
                for (key, mean) in &mut means {
                    mean.add(logs.number(key).unwrap_or(f64::NAN), samples as f64);
                    run.logs.set(key, mean.result());
                }
                let step = trainer.optimizer().iterations();
                let after = tell(&mut run, batch_event(EventKind::TrainBatchEnd, step))?;
                apply(&after, trainer, &mut run)?;
                stop |= after.stop.is_some();
                cut |= after.stop_epoch;
            }
            if stop || cut {
                break;
            }
        }
        let tested = trainer.evaluate_generator(
            std::sync::Arc::clone(&validation),
            GeneratorOptions {
                workers: 0,
                ..GeneratorOptions::default()
            },
        )?;
        for (key, value) in tested.iter() {
            run.logs.set(&format!("val_{key}"), value.clone());
        }
        let step = trainer.optimizer().iterations();
        let decision = tell(&mut run, event(EventKind::EpochEnd, epoch, step))?;
        apply(&decision, trainer, &mut run)?;
        stop |= decision.stop.is_some();
        epoch += 1;
        if stop {
            break;
        }
    }
    let step = trainer.optimizer().iterations();
    let _ = tell(
        &mut run,
        event(EventKind::TrainEnd, epoch.saturating_sub(1), step),
    )?;
    drop(callbacks);
    Ok(history)
}

/// Carries out what a decision asks of the optimizer.
fn apply(
    decision: &Decision,
    trainer: &mut Trainer<keros::nn::Sequential>,
    run: &mut OwnLoop,
) -> Result<()> {
    if let Some(rate) = decision.learning_rate {
        trainer.optimizer_mut().set_learning_rate(rate)?;
        run.learning_rate = rate;
    }
    Ok(())
}
