//! A training loop of your own, in which callbacks are told as `fit` tells them: of each batch the
//! network trains on the images that it finds hardest.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use keros::callbacks::{BoxError, Event, ParamInfo, ProgbarLogger, Run, RunInfo};
use keros::prelude::*;
use keros::tensor::{Param, Tensor};
use keros::train::TrainOnBatchOptions;
use keros_examples::fashion::{self, CLASSES, Fashion, predict, to_unit};
use keros_examples::files::{make_folder, write_whole};
use keros_examples::images_arg::ImagesArg;
use keros_examples::pictures::predictions_svg;
use keros_examples::report::{ended, fail};
use keros_examples::table::table;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Trains on the hardest images of each batch, in a loop of its own with Keras's callbacks.
#[derive(Parser)]
struct Args {
    /// Passes over the training images at most; the training ends when the validation has not
    /// improved for three.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: u64,
    /// Images that the network looks at together.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// Images of these that it trains on.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    hardest: u16,
    /// Folder for the best model, the history and the pictures.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    images: ImagesArg,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.images.load() {
        Err(error) => fail(&error, 2),
        Ok(data) => ended(run(&args, &data)),
    }
}

fn run(args: &Args, data: &Fashion) -> Result<()> {
    let mut trainer = fashion::trainer(&Device::Cpu, args.images.seed)?;
    let mut history = History::new();
    let stopping = EarlyStopping::new("val_loss")
        .patience(3)
        .restore_best_weights(true)
        .verbose(true);
    let slower = ReduceLrOnPlateau::new("val_loss").patience(2).verbose(true);
    let mut callbacks = CallbackList::new().with(stopping).with(slower);
    if let Some(out) = &args.out {
        make_folder(out)?;
        let best = ModelCheckpoint::new(out.join("best.safetensors"))?;
        callbacks.push(best.save_best_only(true));
    }
    // These come last: they show what the others have added to the logs.
    callbacks.push(&mut history);
    if let Some(progress) = ProgbarLogger::new(Verbose::Auto) {
        callbacks.push(progress);
    }

    let chosen = train(&mut trainer, callbacks, args, data)?;

    println!("\n{}", by_class(data, &chosen)?);
    let options = EvaluateOptions {
        verbose: Verbose::Silent,
        ..EvaluateOptions::default()
    };
    let tested = trainer.evaluate(to_unit(&data.test_x)?, data.test_y.clone(), options)?;
    if let Some(out) = &args.out {
        history.write_csv(out.join("history.csv"))?;
        history.write_svg(out.join("curves.svg"))?;
        let picture = hardest_of_all(&mut trainer, data, &chosen)?;
        write_whole(&out.join("hardest.svg"), picture.as_bytes())?;
        println!("model, history and pictures are in {}", out.display());
    }
    let accuracy = tested.number("accuracy").context("accuracy is a metric")?;
    println!("val_accuracy {accuracy:.3}");
    Ok(())
}

/// The loop. Returns how often each training image was trained on.
fn train(
    trainer: &mut Trainer<Sequential>,
    mut callbacks: CallbackList<'_>,
    args: &Args,
    data: &Fashion,
) -> Result<Vec<u64>> {
    let images = ArraySequence::new(to_unit(&data.train_x)?, data.train_y.clone())?
        .batch_size(args.batch_size.into())?
        .seed(args.images.seed);
    let test_images = to_unit(&data.test_x)?;
    let mut chosen = vec![0; data.train_x.len()];

    let mut run = OwnRun::new(trainer, args.epochs, images.len() as u64);
    let mut place = Place::default();
    run.tell(&mut callbacks, EventKind::TrainBegin, place)?;
    while place.epoch < args.epochs && !run.stop {
        run.logs.clear();
        run.tell(&mut callbacks, EventKind::EpochBegin, place)?;
        for index in 0..images.len() {
            let all = images.batch(place.epoch, index)?;
            let batch = hardest(run.trainer, &all, args.hardest.into())?;
            for image in &batch.indices {
                chosen[*image] += 1;
            }
            let place = Place {
                batch: index as u64,
                samples: batch.len() as u64,
                ..place
            };
            run.tell(&mut callbacks, EventKind::TrainBatchBegin, place)?;
            // Running means over the epoch, as `fit` logs them.
            let options = TrainOnBatchOptions {
                reset_metrics: index == 0,
                ..TrainOnBatchOptions::default()
            };
            run.logs = run.trainer.train_on_batch_with(&batch, &options)?;
            run.tell(&mut callbacks, EventKind::TrainBatchEnd, place)?;
            if run.stop {
                break;
            }
        }
        let options = EvaluateOptions {
            verbose: Verbose::Silent,
            ..EvaluateOptions::default()
        };
        let tested = run
            .trainer
            .evaluate(test_images.clone(), data.test_y.clone(), options)?;
        for (key, value) in tested.iter() {
            run.logs.set(&format!("val_{key}"), value.clone());
        }
        run.tell(&mut callbacks, EventKind::EpochEnd, place)?;
        place.epoch += 1;
    }
    place.epoch = place.epoch.saturating_sub(1);
    run.tell(&mut callbacks, EventKind::TrainEnd, place)?;
    Ok(chosen)
}

/// The images to whose classes the network gives the least probability.
fn hardest(trainer: &mut Trainer<Sequential>, batch: &Batch, count: usize) -> Result<Batch> {
    let outputs = trainer.predict_on_batch(batch.inputs.clone())?;
    let probabilities = outputs[0]
        .as_slice::<f32>()
        .context("predictions are floats")?;
    let targets = batch.targets.as_ref().context("images have labels")?;
    let labels = targets
        .first()
        .as_slice::<u8>()
        .context("labels are bytes")?;
    let of_truth = |row: &usize| probabilities[row * CLASSES.len() + usize::from(labels[*row])];
    let mut rows: Vec<usize> = (0..batch.len()).collect();
    rows.sort_by(|a, b| of_truth(a).total_cmp(&of_truth(b)));
    rows.truncate(count);
    Ok(batch.select(&rows)?)
}

/// Where the loop stands.
#[derive(Clone, Copy, Default)]
struct Place {
    epoch: u64,
    batch: u64,
    samples: u64,
}

/// The run as callbacks see it: they read and change the training through this alone.
struct OwnRun<'t> {
    trainer: &'t mut Trainer<Sequential>,
    info: RunInfo,
    params: Vec<ParamInfo>,
    logs: Logs,
    stop: bool,
}

impl OwnRun<'_> {
    fn new(trainer: &mut Trainer<Sequential>, epochs: u64, steps: u64) -> OwnRun<'_> {
        let info = RunInfo {
            epochs,
            initial_epoch: 0,
            steps: Some(steps),
            metrics: trainer.metrics_names(),
            validation: true,
        };
        let params = trainer.network().params().iter();
        let params = params.map(|(_, param)| ParamInfo {
            name: param.name().to_owned(),
            shape: param.value().dims().to_vec(),
            trainable: param.trainable(),
        });
        OwnRun {
            info,
            params: params.collect(),
            logs: Logs::new(),
            stop: false,
            trainer,
        }
    }

    /// Tells the callbacks what happens, and does what they ask for.
    fn tell(
        &mut self,
        callbacks: &mut CallbackList<'_>,
        kind: EventKind,
        place: Place,
    ) -> Result<()> {
        let event = Event {
            kind,
            epoch: place.epoch,
            batch: place.batch,
            step: self.trainer.optimizer().iterations(),
            samples: place.samples,
            nested: false,
        };
        let asked = callbacks.dispatch(&event, self)?;
        if let Some(rate) = asked.learning_rate {
            self.trainer.optimizer_mut().set_learning_rate(rate)?;
        }
        self.stop |= asked.stop.is_some();
        let rest = Decision {
            stop: None,
            learning_rate: None,
            ..asked
        };
        ensure!(
            rest.is_continue(),
            "a callback asked at {kind} for what this loop does not do: {rest:?}"
        );
        Ok(())
    }

    fn param(&self, index: usize) -> Result<&Param, BoxError> {
        let mut params = self.trainer.network().params().iter();
        let (_, param) = params.nth(index).ok_or("no such parameter")?;
        Ok(param)
    }
}

impl Run for OwnRun<'_> {
    fn info(&self) -> &RunInfo {
        &self.info
    }

    fn logs(&mut self) -> Result<&mut Logs, BoxError> {
        Ok(&mut self.logs)
    }

    fn learning_rate(&self) -> Option<f64> {
        Some(self.trainer.optimizer().learning_rate())
    }

    fn data_wait(&self) -> Duration {
        Duration::ZERO
    }

    fn params(&self) -> &[ParamInfo] {
        &self.params
    }

    fn read_param(&mut self, index: usize, values: &mut Vec<f32>) -> Result<(), BoxError> {
        *values = self.param(index)?.value().flatten_all()?.to_vec1()?;
        Ok(())
    }

    fn write_param(&mut self, index: usize, values: &[f32]) -> Result<(), BoxError> {
        let param = self.param(index)?;
        let (shape, device) = (param.value().shape(), param.value().device());
        Ok(param.set(&Tensor::from_slice(values, shape, device)?)?)
    }

    fn save_model(&mut self, path: &Path) -> Result<(), BoxError> {
        Ok(self.trainer.save(path)?)
    }
}

/// How often the images of each class were trained on.
fn by_class(data: &Fashion, chosen: &[u64]) -> Result<String> {
    let labels = data.train_y.as_slice::<u8>().context("labels are bytes")?;
    let mut counts = [(0_u64, 0_u64); CLASSES.len()];
    for (label, times) in labels.iter().zip(chosen) {
        let (images, trained) = &mut counts[usize::from(*label)];
        *images += 1;
        *trained += times;
    }
    let row = |(name, (images, trained)): (&&str, (u64, u64))| {
        let each = trained as f64 / images.max(1) as f64;
        vec![(*name).to_owned(), images.to_string(), format!("{each:.1}")]
    };
    let rows: Vec<Vec<String>> = CLASSES.iter().zip(counts).map(row).collect();
    Ok(table(&["class", "images", "times trained on each"], &rows))
}

/// A picture of the images that were trained on most often.
fn hardest_of_all(
    trainer: &mut Trainer<Sequential>,
    data: &Fashion,
    chosen: &[u64],
) -> Result<String> {
    let mut order: Vec<usize> = (0..chosen.len()).collect();
    order.sort_by_key(|image| std::cmp::Reverse(chosen[*image]));
    order.truncate(16);
    let images = data.train_x.select(&order)?;
    let labels = data.train_y.select(&order)?;
    let labels = labels.as_slice::<u8>().context("labels are bytes")?;
    let predicted = predict(trainer, &images)?;
    predictions_svg(&images, labels, &predicted, &CLASSES)
}
