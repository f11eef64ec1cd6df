//! A training loop of your own, in which callbacks are told as `fit` tells them: of each batch the
//! network trains on the images that it finds hardest.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context as _, Result};
use clap::Parser;
use keros::prelude::*;
use keros_examples::fashion::{self, CLASSES, Fashion, predict, to_unit};
use keros_examples::files::{make_folder, write_whole};
use keros_examples::images_arg::ImagesArg;
use keros_examples::pictures::predictions_svg;
use keros_examples::report::{ended, fail};
use keros_examples::table::table;
use std::path::PathBuf;
use std::process::ExitCode;

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

    let (history, chosen) = train(&mut trainer, callbacks, args, data)?;

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

/// The loop. Returns its history, and how often each training image was trained on.
fn train(
    trainer: &mut Trainer<Sequential>,
    callbacks: CallbackList<'_>,
    args: &Args,
    data: &Fashion,
) -> Result<(History, Vec<u64>)> {
    let images = ArraySequence::new(to_unit(&data.train_x)?, data.train_y.clone())?
        .batch_size(args.batch_size.into())?
        .seed(args.images.seed);
    let mut chosen = vec![0; data.train_x.len()];
    let mut events = trainer.on_train_begin(LoopOptions {
        epochs: args.epochs,
        steps_per_epoch: Some(images.len() as u64),
        callbacks,
        validation_data: Some((to_unit(&data.test_x)?, data.test_y.clone()).into()),
        ..LoopOptions::default()
    })?;
    while let Some(epoch) = events.on_epoch_begin(trainer)? {
        while let Some(index) = events.next_batch() {
            let all = images.batch(epoch, usize::try_from(index)?)?;
            let batch = hardest(trainer, &all, args.hardest.into())?;
            events.train_on_batch(trainer, &batch)?;
            for image in &batch.indices {
                chosen[*image] += 1;
            }
        }
        events.validate(trainer)?;
        events.on_epoch_end(trainer)?;
    }
    Ok((events.on_train_end(trainer)?, chosen))
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
