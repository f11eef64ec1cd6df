//! One training by any of the three methods.

use crate::fashion::{Fashion, RESCALE, augmentation, to_unit};
use crate::meter::Meter;
use anyhow::Result;
use clap::ValueEnum;
use keros::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Instant;

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

/// The same training written out: every batch is in our hands, and callbacks are told as `fit` tells
/// them.
fn train_on_batch(
    trainer: &mut Trainer<keros::nn::Sequential>,
    data: &Fashion,
    settings: &Settings,
    callbacks: CallbackList<'_>,
) -> Result<History> {
    let flow = training_flow(data, settings)?;
    let mut events = trainer.on_train_begin(LoopOptions {
        epochs: settings.epochs,
        steps_per_epoch: Some(flow.len() as u64),
        verbose: settings.verbose,
        callbacks,
        validation_data: Some(validation_flow(data, settings)?.into()),
        // As the training, the validation makes its batches when they are needed.
        workers: 0,
        ..LoopOptions::default()
    })?;
    while let Some(epoch) = events.on_epoch_begin(trainer)? {
        while let Some(index) = events.next_batch() {
            let asked = Instant::now();
            let batch = flow.batch(epoch, usize::try_from(index)?)?;
            events.add_data_wait(asked.elapsed());
            events.train_on_batch(trainer, &batch)?;
        }
        events.validate(trainer)?;
        events.on_epoch_end(trainer)?;
    }
    Ok(events.on_train_end(trainer)?)
}
