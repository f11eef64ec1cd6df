//! The same network, data and seed by each of the three methods, side by side.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use keros::prelude::*;
use keros_examples::fashion::{self, Fashion};
use keros_examples::images_arg::ImagesArg;
use keros_examples::memory::peak_rss_bytes;
use keros_examples::report::{ended, fail};
use keros_examples::table::table;
use keros_examples::training::{Method, Settings, train};
use serde::{Deserialize, Serialize};
use std::env;
use std::process::{Command, ExitCode, Stdio};

/// Trains the same network on the same data with the same seed by each of the three methods.
///
/// Each method runs in a process of its own, so that its peak memory is its own.
#[derive(Parser)]
struct Args {
    /// Passes over the training images.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: u64,
    #[command(flatten)]
    images: ImagesArg,
    /// Run one method only and print its result as JSON.
    #[arg(long, value_enum, hide = true)]
    only: Option<Method>,
}

#[derive(Serialize, Deserialize)]
struct Outcome {
    val_loss: f64,
    val_accuracy: f64,
    images_per_s: f64,
    data_wait_frac: f64,
    peak_rss_bytes: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.images.load() {
        Err(error) => fail(&error, 2),
        Ok(data) => ended(match args.only {
            Some(method) => one(&args, &data, method),
            None => all(),
        }),
    }
}

fn one(args: &Args, data: &Fashion, method: Method) -> Result<()> {
    let settings = Settings {
        method,
        epochs: args.epochs,
        batch_size: 128,
        augment: false,
        workers: 1,
        processes: false,
        max_queue_size: 10,
        seed: args.images.seed,
        verbose: Verbose::Silent,
    };
    let mut trainer = fashion::trainer(&Device::Cpu, args.images.seed)?;
    let (history, meter) = train(&mut trainer, data, &settings, CallbackList::new())?;
    let last = |key| history.last(key).context("the history has no such value");
    let outcome = Outcome {
        val_loss: last("val_loss")?,
        val_accuracy: last("val_accuracy")?,
        images_per_s: meter.images_per_s(),
        data_wait_frac: meter.data_wait_frac(),
        peak_rss_bytes: peak_rss_bytes(),
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn all() -> Result<()> {
    let mut rows = Vec::new();
    for method in Method::value_variants() {
        let outcome = in_own_process(*method)?;
        rows.push(vec![
            method.name().to_owned(),
            format!("{:.4}", outcome.val_accuracy),
            format!("{:.6}", outcome.val_loss),
            format!("{:.0}", outcome.images_per_s),
            match outcome.peak_rss_bytes {
                Some(bytes) => format!("{} MB", bytes / 1_000_000),
                None => "unknown".to_owned(),
            },
            format!("{:.1} %", 100.0 * outcome.data_wait_frac),
        ]);
    }
    let header = [
        "method",
        "val_accuracy",
        "val_loss",
        "images/s",
        "peak memory",
        "data wait",
    ];
    println!("{}", table(&header, &rows));
    println!(
        "train_on_batch: when you want the loop in your own hands, such as for two networks that take turns.\n\
         fit: when the data fit into memory as they are; the shortest way from arrays to a model.\n\
         fit_generator: when batches must be made – read, decoded, augmented – beside the running model, in bounded memory."
    );
    Ok(())
}

/// The same program with the same arguments for one method.
fn in_own_process(method: Method) -> Result<Outcome> {
    let output = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .args(["--only", method.name()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{} did not finish", method.name());
    Ok(serde_json::from_slice(&output.stdout)?)
}
