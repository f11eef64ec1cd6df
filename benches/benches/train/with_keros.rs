//! keros's side: the layers of the public interface and `Trainer::fit`.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use keros::callbacks::EventSet;
use keros::nn::DtypePolicy;
use keros::prelude::*;
use keros::tensor::{set_cuda_graphs, set_cudnn_benchmark, set_tf32};

use crate::data::{Data, Pixels};
use crate::how::{How, Precision};
use crate::model::Model;
use crate::network::network;

/// A trainer and its data.
pub(crate) struct Training {
    trainer: Trainer<Graph>,
    x: Array,
    y: Array,
    batch_size: usize,
    augment: bool,
    pub(crate) progress: Progress,
}

impl Training {
    pub(crate) fn new(model: Model, batch_size: usize, how: &How, data: Data) -> Result<Training> {
        let (rows, shape) = (data.labels.len(), model.sample_shape());
        let labels = data.labels.into_iter().map(i64::from).collect();
        let device = parse_device(&how.device)?;
        set_tf32(how.precision != Precision::Float32);
        set_cuda_graphs(how.graphs);
        set_cudnn_benchmark(how.measured);
        let scaled = matches!(data.pixels, Pixels::Bytes(_));
        let network = network(model, scaled, &device)?;
        let policy = match how.precision {
            Precision::Float32 | Precision::Tf32 => DtypePolicy::Float32,
            Precision::MixedBfloat16 => DtypePolicy::MixedBfloat16,
            Precision::MixedFloat16 => DtypePolicy::MixedFloat16,
        };
        let trainer = Trainer::builder(network)
            .dtype_policy(policy)
            .optimizer("adam")
            .loss("sparse_categorical_crossentropy")
            .metric("accuracy")
            .seed(1)
            .compile()?;
        Ok(Training {
            trainer,
            x: data.pixels.into_array(&[&[rows], shape].concat())?,
            y: Array::from_vec(&[rows], labels)?,
            batch_size,
            augment: how.augment,
            progress: Progress {
                reads_batches: !how.is_on_gpu(),
                ..Progress::default()
            },
        })
    }

    /// How much of the last run of workers the training waited for them, in percent.
    pub(crate) fn waited(&self) -> Option<f64> {
        let stats = self.trainer.loader_stats()?;
        let share = stats.consumer_wait.as_secs_f64() / stats.elapsed.as_secs_f64();
        (stats.workers > 0).then_some((share * 1000.0).round() / 10.0)
    }

    /// Trains on all data so many times, in one call of `fit` or `fit_generator`.
    pub(crate) fn epochs(&mut self, epochs: u64) -> Result<()> {
        self.progress.batches = 0;
        let callbacks = CallbackList::new().with(&mut self.progress);
        if self.augment {
            let flow = FlowOptions {
                batch_size: self.batch_size,
                ..FlowOptions::default()
            };
            let images = ImageDataGenerator::new()
                .rotation_range(10.0)
                .width_shift_range(0.1)
                .height_shift_range(0.1)
                .horizontal_flip(true)
                .flow(self.x.clone(), Some(self.y.clone()), flow)?;
            let options = FitGeneratorOptions {
                epochs,
                verbose: Verbose::Silent,
                callbacks,
                workers: thread::available_parallelism()?
                    .get()
                    .saturating_sub(2)
                    .max(1),
                max_queue_size: 32,
                ..FitGeneratorOptions::default()
            };
            self.trainer.fit_generator(images, options)?;
        } else {
            let options = FitOptions {
                batch_size: Some(self.batch_size),
                epochs,
                verbose: Verbose::Silent,
                callbacks,
                ..FitOptions::default()
            };
            self.trainer.fit(self.x.clone(), self.y.clone(), options)?;
        }
        let batches = epochs * self.y.len().div_ceil(self.batch_size) as u64;
        let Progress { batches: seen, .. } = self.progress;
        ensure!(seen == batches, "expected {batches} batches, saw {seen}");
        let [loss, accuracy] = self.progress.last;
        let learned = loss.is_finite() && (0.0..=1.0).contains(&accuracy);
        ensure!(learned, "the loss is {loss} and the accuracy {accuracy}");
        Ok(())
    }
}

/// Counts batches and reads their logs, as a progress bar does, or those of epochs, where reading those of a batch
/// would wait for it.
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
    reads_batches: bool,
}

impl Progress {
    fn read(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let logs = cx.logs()?;
        for (last, key) in self.last.iter_mut().zip(["loss", "accuracy"]) {
            *last = logs
                .number(key)
                .ok_or_else(|| format!("expected the log `{key}`, found none"))?;
        }
        Ok(())
    }
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

    fn on_epoch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        self.read(cx)?;
        self.epochs
            .extend(self.begin.take().map(|begin| begin.elapsed()));
        Ok(Decision::CONTINUE)
    }

    fn on_train_batch_end(&mut self, cx: &mut Context<'_>) -> CallbackResult {
        // The first step is done when its logs are there.
        if self.reads_batches || self.first.is_none() {
            self.read(cx)?;
        }
        self.batches += 1;
        self.first.get_or_insert_with(SystemTime::now);
        Ok(Decision::CONTINUE)
    }
}
