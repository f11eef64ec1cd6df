//! Trains a small convolutional network on Fashion-MNIST by any of the three methods, with
//! augmentation, a progress line and loaded plugins.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context, Result, bail};
use clap::Parser;
use keros::plugin_host::{self, IsolateOptions};
use keros::prelude::*;
use keros::tensor::save_params;
use keros_examples::fashion::{self, CLASSES, Fashion, predict};
use keros_examples::files::{make_folder, write_whole};
use keros_examples::images_arg::ImagesArg;
use keros_examples::memory::peak_rss_bytes;
use keros_examples::meter::Meter;
use keros_examples::pictures::predictions_svg;
use keros_examples::plugin_arg::PluginArg;
use keros_examples::report::fail;
use keros_examples::table::table;
use keros_examples::training::{Method, Settings, train};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Trains a small convolutional network on Fashion-MNIST.
#[derive(Parser)]
struct Args {
    /// The method of the trainer. `fit` takes arrays as they are and does not augment.
    #[arg(long, value_enum, default_value_t = Method::FitGenerator)]
    method: Method,
    /// Passes over the training images.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: u64,
    /// Images per update.
    #[arg(long, default_value_t = 32, value_parser = in_range::<1, 65_536>)]
    batch_size: usize,
    #[command(flatten)]
    images: ImagesArg,
    /// Train on the images as they are.
    #[arg(long)]
    no_augment: bool,
    /// Threads that prepare batches for fit_generator; 0 prepares them on the training thread.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = in_range::<0, 1024>)]
    workers: usize,
    /// Take processes instead of threads for fit_generator.
    #[arg(long)]
    processes: bool,
    /// Batches that may wait for the model in fit_generator.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = in_range::<1, 65_536>)]
    max_queue_size: usize,
    /// Where to train: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = parse_device)]
    device: Device,
    /// A callback plugin to load, with its configuration; may be given several times.
    #[arg(long, value_name = "PATH[={JSON}]")]
    plugin: Vec<PluginArg>,
    /// Run each plugin in a process of its own, whose crash or hang does not end the training.
    #[arg(long, requires = "plugin")]
    isolate: bool,
    /// Folder for the weights, the history and the pictures.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Keep a checkpoint of the whole run in OUT/checkpoints after every N batches.
    #[arg(long, value_name = "N", requires = "out", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Go on from the checkpoint in OUT/checkpoints, if there is one.
    #[arg(long, requires = "checkpoint_every")]
    resume: bool,
    /// File for the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn in_range<const LOW: usize, const HIGH: usize>(text: &str) -> Result<usize, String> {
    let expected = || format!("expected a whole number from {LOW} to {HIGH}");
    let number: usize = text.parse().map_err(|_| expected())?;
    match (LOW..=HIGH).contains(&number) {
        true => Ok(number),
        false => Err(expected()),
    }
}

/// The results as `--json` writes them.
#[derive(Serialize)]
struct Results {
    method: Method,
    epochs: u64,
    seed: u64,
    loss: Option<f64>,
    accuracy: Option<f64>,
    val_loss: Option<f64>,
    val_accuracy: Option<f64>,
    images_per_s: f64,
    data_wait_frac: f64,
    peak_rss_bytes: Option<u64>,
}

fn main() -> ExitCode {
    // Isolated plugins run in this program, started again.
    plugin_host::run_if_asked();
    keros::data::worker::serve_if_asked();
    let args = Args::parse();
    // Everything the user gave is checked before anything is written.
    let prepared = match prepare(&args) {
        Ok(prepared) => prepared,
        Err(error) => return fail(&error, 2),
    };
    match run(&args, prepared) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

struct Prepared {
    data: Fashion,
    trainer: Trainer<Sequential>,
    callbacks: CallbackList<'static>,
}

fn prepare(args: &Args) -> Result<Prepared> {
    let data = args.images.load()?;
    let mut callbacks = CallbackList::new();
    for plugin in &args.plugin {
        if args.isolate {
            let options = IsolateOptions::default();
            let isolated = plugin_host::isolate(&plugin.path, &plugin.config, &options)?;
            callbacks.push_with(isolated, FailurePolicy::Disable);
        } else {
            callbacks.push(plugin_host::load(&plugin.path, &plugin.config)?);
        }
    }
    if let (Some(out), Some(batches)) = (&args.out, args.checkpoint_every) {
        callbacks.push(checkpoints(out, batches, args)?);
    }
    let trainer = fashion::trainer(&args.device, args.images.seed)?;
    println!(
        "{} training and {} test images from {}; {} parameters",
        data.train_x.len(),
        data.test_x.len(),
        args.images.folder().display(),
        trainer.network().params().num_elements(true),
    );
    Ok(Prepared {
        data,
        trainer,
        callbacks,
    })
}

/// The callback that keeps checkpoints and goes on from the last one.
fn checkpoints(out: &Path, batches: u64, args: &Args) -> Result<BackupAndRestore> {
    let folder = out.join("checkpoints");
    let backup = BackupAndRestore::new(&folder).save_freq(SaveFreq::Batches(batches))?;
    if !args.resume && backup.newest()?.is_some() {
        bail!(
            "{} holds the checkpoint of a run that has not ended; go on with --resume, or delete it",
            folder.display()
        );
    }
    Ok(backup)
}

fn run(args: &Args, prepared: Prepared) -> Result<()> {
    let Prepared {
        data,
        mut trainer,
        callbacks,
    } = prepared;
    if let Some(out) = &args.out {
        make_folder(out)?;
    }
    let settings = Settings {
        method: args.method,
        epochs: args.epochs,
        batch_size: args.batch_size,
        augment: !args.no_augment && args.method != Method::Fit,
        workers: args.workers,
        processes: args.processes,
        max_queue_size: args.max_queue_size,
        seed: args.images.seed,
        verbose: Verbose::Auto,
    };
    let images = if settings.augment {
        "augmented images"
    } else {
        "images as they are"
    };
    println!(
        "{} on {images}, seed {}",
        settings.method.name(),
        settings.seed
    );
    let (history, meter) = train(&mut trainer, &data, &settings, callbacks)?;
    let peak_rss_bytes = peak_rss_bytes();
    let verdict = trainer.loader_stats().map(|stats| stats.verdict());

    let predicted = predict(&mut trainer, &data.test_x)?;
    let labels = data.test_y.as_slice::<u8>().context("labels are bytes")?;
    println!("\n{}", per_class(labels, &predicted));
    println!(
        "{:.0} images/s, waited for data {:.1} % of the time",
        meter.images_per_s(),
        100.0 * meter.data_wait_frac(),
    );
    if let (Method::FitGenerator, Some(verdict)) = (args.method, verdict) {
        println!("{verdict}");
    }
    if let Some(out) = &args.out {
        save(out, &trainer, &history, &data, labels, &predicted)?;
        println!("weights, history and pictures are in {}", out.display());
    }
    if let Some(file) = &args.json {
        let results = results(args, &history, &meter, peak_rss_bytes);
        let text = serde_json::to_string_pretty(&results)? + "\n";
        write_whole(file, text.as_bytes())?;
    }
    Ok(())
}

fn per_class(labels: &[u8], predicted: &[(usize, f32)]) -> String {
    let line = |name: &str, counts: (usize, usize)| {
        vec![
            name.to_owned(),
            counts.1.to_string(),
            counts.0.to_string(),
            format!("{:.3}", counts.0 as f64 / counts.1.max(1) as f64),
        ]
    };
    let mut counts = [(0, 0); CLASSES.len()];
    for (label, (class, _)) in labels.iter().zip(predicted) {
        let (right, all) = &mut counts[usize::from(*label)];
        *all += 1;
        *right += usize::from(*class == usize::from(*label));
    }
    let mut rows: Vec<_> = CLASSES
        .iter()
        .zip(counts)
        .map(|(name, counts)| line(name, counts))
        .collect();
    let total = counts
        .iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    rows.push(line("all", total));
    table(&["class", "images", "right", "accuracy"], &rows)
}

fn save(
    out: &Path,
    trainer: &Trainer<Sequential>,
    history: &History,
    data: &Fashion,
    labels: &[u8],
    predicted: &[(usize, f32)],
) -> Result<()> {
    save_params(trainer.network().params(), out.join("weights.safetensors"))?;
    history.write_csv(out.join("history.csv"))?;
    history.write_svg(out.join("curves.svg"))?;
    let shown = labels.len().min(40);
    let picture = predictions_svg(&data.test_x.slice(0..shown)?, labels, predicted, &CLASSES)?;
    write_whole(&out.join("predictions.svg"), picture.as_bytes())
}

fn results(args: &Args, history: &History, meter: &Meter, peak_rss_bytes: Option<u64>) -> Results {
    Results {
        method: args.method,
        epochs: args.epochs,
        seed: args.images.seed,
        loss: history.last("loss"),
        accuracy: history.last("accuracy"),
        val_loss: history.last("val_loss"),
        val_accuracy: history.last("val_accuracy"),
        images_per_s: meter.images_per_s(),
        data_wait_frac: meter.data_wait_frac(),
        peak_rss_bytes,
    }
}
