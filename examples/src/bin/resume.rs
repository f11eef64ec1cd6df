//! A training that dies in the middle and is started again: it goes on from its last checkpoint, and
//! ends with the history and the weights of one that was left alone, to the bit.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use keros::prelude::*;
use keros_examples::fashion::{self, Fashion, augmentation, to_unit};
use keros_examples::images_arg::ImagesArg;
use keros_examples::report::{ended, fail};
use keros_examples::table::table;
use std::path::PathBuf;
use std::process::ExitCode;

/// Trains once undisturbed and once with a death in the middle, and compares.
#[derive(Parser)]
struct Args {
    /// Passes over the training images.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: u64,
    /// Images per update.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// Batches from one checkpoint to the next.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// The batch of the whole training after which it dies; in the middle of an epoch unless given.
    #[arg(long, value_name = "N")]
    dies_after: Option<u64>,
    /// Folder for the checkpoints; one of the system's temporary ones unless given.
    #[arg(long, value_name = "DIR")]
    checkpoints: Option<PathBuf>,
    #[command(flatten)]
    images: ImagesArg,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match prepare(&args) {
        Err(error) => fail(&error, 2),
        Ok(prepared) => ended(run(&args, &prepared)),
    }
}

struct Prepared {
    data: Fashion,
    checkpoints: PathBuf,
    dies_after: u64,
}

fn prepare(args: &Args) -> Result<Prepared> {
    let data = args.images.load()?;
    let batches = args.epochs * data.train_x.len().div_ceil(args.batch_size.into()) as u64;
    let dies_after = args.dies_after.unwrap_or(batches * 5 / 8);
    ensure!(
        (1..batches).contains(&dies_after),
        "--dies-after is out of range (expected 1 to {}, found {dies_after})",
        batches - 1
    );
    let temporary = || std::env::temp_dir().join(format!("keros-resume-{}", std::process::id()));
    let checkpoints = args.checkpoints.clone().unwrap_or_else(temporary);
    if let Some(file) = BackupAndRestore::new(&checkpoints).newest()? {
        bail!("{} is of another training; delete it first", file.display());
    }
    Ok(Prepared {
        data,
        checkpoints,
        dies_after,
    })
}

/// One start of the program: a new network, and whatever callbacks are added.
fn train(
    args: &Args,
    data: &Fashion,
    callbacks: CallbackList<'_>,
) -> Result<(Trainer<Sequential>, History)> {
    let seed = args.images.seed;
    let mut trainer = fashion::trainer(&Device::Cpu, seed)?;
    let options = FlowOptions {
        batch_size: args.batch_size.into(),
        seed,
        ..FlowOptions::default()
    };
    let images = augmentation().flow(data.train_x.clone(), Some(data.train_y.clone()), options)?;
    let history = trainer.fit_generator(
        images,
        FitGeneratorOptions {
            epochs: args.epochs,
            validation_data: Some((to_unit(&data.test_x)?, data.test_y.clone()).into()),
            callbacks,
            ..FitGeneratorOptions::default()
        },
    )?;
    Ok((trainer, history))
}

fn run(args: &Args, prepared: &Prepared) -> Result<()> {
    let data = &prepared.data;
    println!("A training that is left alone:");
    let (alone, expected) = train(args, data, CallbackList::new())?;

    // The one line that makes a training able to go on: start it again, and it does.
    let backup = || {
        BackupAndRestore::new(&prepared.checkpoints)
            .save_freq(SaveFreq::Batches(args.checkpoint_every))
    };

    println!("\nThe same with checkpoints, until the power fails:");
    let mut batches = 0;
    let power = LambdaCallback::new().on(EventKind::TrainBatchEnd, |_| {
        batches += 1;
        match batches == prepared.dies_after {
            true => Err("the power has failed".into()),
            false => Ok(Decision::CONTINUE),
        }
    });
    let callbacks = CallbackList::new().with(backup()?).with(power);
    match train(args, data, callbacks) {
        Err(error) => println!("{error}"),
        Ok(_) => bail!("the training came to its end before it died"),
    }
    let left = match backup()?.newest()? {
        Some(file) => file.file_name().unwrap_or_default().display().to_string(),
        None => "no checkpoint".to_owned(),
    };
    println!("It has left {left}.");

    println!("\nThe same started again:");
    let (resumed, history) = train(args, data, CallbackList::new().with(backup()?))?;

    println!("\n{}", compare_epochs(&expected, &history));
    ensure!(
        history.epochs() == expected.epochs(),
        "the histories differ"
    );
    println!("The histories are the same to the last digit.");
    let values = compare_weights(&alone, &resumed)?;
    println!("The {values} weights are the same to the last bit.");
    if args.checkpoints.is_none() {
        let folder = &prepared.checkpoints;
        std::fs::remove_dir(folder).with_context(|| format!("deleting {}", folder.display()))?;
    }
    Ok(())
}

fn compare_epochs(expected: &History, found: &History) -> String {
    let epochs = expected
        .get("val_loss")
        .into_iter()
        .zip(found.get("val_loss"));
    let row = |(epoch, (alone, resumed)): (usize, (f64, f64))| {
        vec![
            (epoch + 1).to_string(),
            alone.to_string(),
            resumed.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = epochs.enumerate().map(row).collect();
    table(&["epoch", "val_loss left alone", "val_loss resumed"], &rows)
}

/// The number of values that are equal, which is all of them.
fn compare_weights(expected: &Trainer<Sequential>, found: &Trainer<Sequential>) -> Result<usize> {
    let mut count = 0;
    let found = found.network().params().iter();
    for ((_, expected), (_, found)) in expected.network().params().iter().zip(found) {
        let expected_values: Vec<f32> = expected.value().flatten_all()?.to_vec1()?;
        let values: Vec<f32> = found.value().flatten_all()?.to_vec1()?;
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
        ensure!(
            bits(&values) == bits(&expected_values),
            "{} differs from that of the training that was left alone",
            expected.name()
        );
        count += values.len();
    }
    Ok(count)
}
