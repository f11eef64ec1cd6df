//! keros's side: the layers of the public interface and `Trainer::fit`.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use keros::callbacks::EventSet;
use keros::prelude::*;

use crate::data::{CLASSES, Data};
use crate::model::Model;

/// A trainer and its data.
pub(crate) struct Training {
    trainer: Trainer<Sequential>,
    x: Array,
    y: Array,
    batch_size: usize,
    pub(crate) progress: Progress,
}

impl Training {
    pub(crate) fn new(model: Model, batch_size: usize, data: Data) -> Result<Training> {
        let (rows, shape) = (data.labels.len(), model.sample_shape());
        let labels = data.labels.into_iter().map(i64::from).collect();
        let network = match model {
            Model::MnistConvnet => Sequential::builder(shape.to_vec())
                .layer(Conv2D::new(32, 3).activation(Activation::Relu))
                .layer(MaxPooling2D::new(2))
                .layer(Conv2D::new(64, 3).activation(Activation::Relu))
                .layer(MaxPooling2D::new(2))
                .layer(Flatten::new())
                .layer(Dropout::new(0.5))
                .layer(Dense::new(CLASSES).activation(Activation::Softmax)),
            Model::Cifar10Cnn => Sequential::builder(shape.to_vec())
                .layer(
                    Conv2D::new(32, 3)
                        .padding(Padding::Same)
                        .activation(Activation::Relu),
                )
                .layer(Conv2D::new(32, 3).activation(Activation::Relu))
                .layer(MaxPooling2D::new(2))
                .layer(Dropout::new(0.25))
                .layer(
                    Conv2D::new(64, 3)
                        .padding(Padding::Same)
                        .activation(Activation::Relu),
                )
                .layer(Conv2D::new(64, 3).activation(Activation::Relu))
                .layer(MaxPooling2D::new(2))
                .layer(Dropout::new(0.25))
                .layer(Flatten::new())
                .layer(Dense::new(512).activation(Activation::Relu))
                .layer(Dropout::new(0.5))
                .layer(Dense::new(CLASSES).activation(Activation::Softmax)),
            Model::Mlp => Sequential::builder(shape.to_vec())
                .layer(Dense::new(512).activation(Activation::Relu))
                .layer(Dense::new(512).activation(Activation::Relu))
                .layer(Dense::new(CLASSES).activation(Activation::Softmax)),
        };
        let trainer = Trainer::builder(network.build(&Device::Cpu, 1)?)
            .optimizer("adam")
            .loss("sparse_categorical_crossentropy")
            .metric("accuracy")
            .seed(1)
            .compile()?;
        Ok(Training {
            trainer,
            x: Array::from_vec(&[&[rows], shape].concat(), data.pixels)?,
            y: Array::from_vec(&[rows], labels)?,
            batch_size,
            progress: Progress::default(),
        })
    }

    /// Trains on all data so many times, in one call of `fit`.
    pub(crate) fn epochs(&mut self, epochs: u64) -> Result<()> {
        self.progress.batches = 0;
        let options = FitOptions {
            batch_size: Some(self.batch_size),
            epochs,
            verbose: Verbose::Silent,
            callbacks: CallbackList::new().with(&mut self.progress),
            ..FitOptions::default()
        };
        self.trainer.fit(self.x.clone(), self.y.clone(), options)?;
        let batches = epochs * self.y.len().div_ceil(self.batch_size) as u64;
        let Progress { batches: seen, .. } = self.progress;
        ensure!(seen == batches, "expected {batches} batches, saw {seen}");
        let [loss, accuracy] = self.progress.last;
        let learned = loss.is_finite() && (0.0..=1.0).contains(&accuracy);
        ensure!(learned, "the loss is {loss} and the accuracy {accuracy}");
        Ok(())
    }
}

/// Counts batches and reads their logs, as a progress bar does.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// When the first batch was done.
    pub(crate) first: Option<SystemTime>,
    /// How long each epoch took.
    pub(crate) epochs: Vec<Duration>,
    /// When this epoch began.
    begin: Option<Instant>,
    batches: u64,
    /// Loss and accuracy.
    last: [f64; 2],
}

impl Callback for Progress {
    fn events(&self) -> EventSet {
        EventSet::of(&[
            EventKind::EpochBegin,
            EventKind::TrainBatchEnd,
            EventKind::EpochEnd,
        ])
    }

    fn on_epoch_begin(&mut self, _cx: &mut Context<'_>) -> CallbackResult {
        self.begin = Some(Instant::now());
        Ok(Decision::CONTINUE)
    }

    fn on_epoch_end(&mut self, _cx: &mut Context<'_>) -> CallbackResult {
        self.epochs
            .extend(self.begin.take().map(|begin| begin.elapsed()));
        Ok(Decision::CONTINUE)
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        let logs = cx.logs()?;
        for (last, key) in self.last.iter_mut().zip(["loss", "accuracy"]) {
            *last = logs
                .number(key)
                .ok_or_else(|| format!("expected the log `{key}`, found none"))?;
        }
        self.batches += 1;
        self.first.get_or_insert_with(SystemTime::now);
        Ok(Decision::CONTINUE)
    }
}
