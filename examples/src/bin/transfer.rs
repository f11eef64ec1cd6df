//! A network that Keras has trained becomes another one: all but its head is taken from a Keras file
//! and frozen, and a new head learns other classes from a few images.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use keros::nn::load_keras_model;
use keros::prelude::*;
use keros_examples::fashion::{Fashion, predict, to_unit};
use keros_examples::files::{make_folder, write_whole};
use keros_examples::images_arg::ImagesArg;
use keros_examples::pictures::predictions_svg;
use keros_examples::report::{ended, fail};
use keros_examples::table::table;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Trains a new head on a network that Keras has trained, from a few images of each department.
#[derive(Parser)]
struct Args {
    /// The network that Keras has trained, a `.keras` file.
    #[arg(long, value_name = "FILE", default_value_os_t = shipped())]
    base: PathBuf,
    /// Images of each department to learn from.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    images_of_each: u16,
    /// Passes over these images.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: u64,
    /// Folder for the model and a picture.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    images: ImagesArg,
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ten_garments/ten_garments.keras")
}

/// The new classes.
const DEPARTMENTS: [&str; 5] = ["tops", "trousers", "dresses", "shoes", "bags"];

/// The department of each class of Fashion-MNIST.
const DEPARTMENT_OF: [u8; 10] = [0, 1, 0, 2, 0, 3, 0, 3, 4, 3];

fn main() -> ExitCode {
    let args = Args::parse();
    let data = args.images.load();
    match data.and_then(|data| Ok((data, load_keras_model(&args.base, &Device::Cpu)?))) {
        Err(error) => fail(&error, 2),
        Ok((data, base)) => ended(run(&args, &data, &base)),
    }
}

/// The network without its head, and with one for the departments.
fn with_new_head(base: &Graph, seed: u64) -> Result<Graph> {
    let layers = base.layers();
    let [.., features, _] = layers.as_slice() else {
        bail!("the network has no layer before its head");
    };
    let mut graph = Graph::builder();
    let [features] = graph.include(base, [features.name])?;
    let head = Dense::new(DEPARTMENTS.len())
        .activation("softmax")
        .name("departments");
    let head = graph.layer(head, features);
    Ok(graph.build(&[("departments", head)], &Device::Cpu, seed)?)
}

fn run(args: &Args, data: &Fashion, base: &Graph) -> Result<()> {
    let mut transferred = with_new_head(base, args.images.seed)?;
    // The same layers with parameters of their own.
    let fresh = Graph::from_json(&transferred.to_json()?, &Device::Cpu, args.images.seed)?;
    let taken = base.layers();
    for layer in &taken[..taken.len() - 1] {
        transferred.set_trainable(layer.name, false)?;
    }
    println!("{}", summary(&transferred));
    let train_y = departments(&data.train_y)?;
    let few = few_of_each(&train_y, args.images_of_each.into())?;
    let lesson = Lesson {
        train_x: to_unit(&data.train_x.select(&few)?)?,
        train_y: train_y.select(&few)?,
        test_x: to_unit(&data.test_x)?,
        test_y: departments(&data.test_y)?,
    };
    println!(
        "learned from {} images, tested on {}:\n",
        few.len(),
        data.test_x.len()
    );
    let (mut trainer, with) = learn(args, transferred, &lesson)?;
    let (_, without) = learn(args, fresh, &lesson)?;
    let row = |name: &str, [trained, accuracy]: [String; 2]| vec![name.into(), trained, accuracy];
    let rows = [
        row("with what Keras has learned", with),
        row("from scratch", without),
    ];
    let header = ["network", "trained parameters", "accuracy"];
    println!("{}", table(&header, &rows));

    if let Some(out) = &args.out {
        make_folder(out)?;
        trainer.save(out.join("model.safetensors"))?;
        let images = data.test_x.slice(0..data.test_x.len().min(16))?;
        let labels = lesson.test_y.as_slice::<u8>().context("labels are bytes")?;
        let predicted = predict(&mut trainer, &images)?;
        let picture = predictions_svg(&images, labels, &predicted, &DEPARTMENTS)?;
        write_whole(&out.join("predictions.svg"), picture.as_bytes())?;
        println!("model and picture are in {}", out.display());
    }
    Ok(())
}

/// What is learned, and what it is tested on.
struct Lesson {
    train_x: Array,
    train_y: Array,
    test_x: Array,
    test_y: Array,
}

/// Trains what is not frozen. Returns the number of trained parameters and the accuracy too.
fn learn(args: &Args, network: Graph, lesson: &Lesson) -> Result<(Trainer<Graph>, [String; 2])> {
    let trained = network.params().num_elements(true);
    let mut trainer = Trainer::builder(network)
        .optimizer("adam")
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .seed(args.images.seed)
        .compile()?;
    let options = FitOptions {
        batch_size: Some(8),
        epochs: args.epochs,
        verbose: Verbose::Silent,
        ..FitOptions::default()
    };
    trainer.fit(lesson.train_x.clone(), lesson.train_y.clone(), options)?;
    let options = EvaluateOptions {
        verbose: Verbose::Silent,
        ..EvaluateOptions::default()
    };
    let tested = trainer.evaluate(lesson.test_x.clone(), lesson.test_y.clone(), options)?;
    let accuracy = tested.number("accuracy").context("accuracy is a metric")?;
    Ok((trainer, [trained.to_string(), format!("{accuracy:.3}")]))
}

fn departments(labels: &Array) -> Result<Array> {
    let labels = labels.as_slice::<u8>().context("labels are bytes")?;
    let departments = labels
        .iter()
        .map(|label| DEPARTMENT_OF[usize::from(*label)]);
    Ok(Array::from_vec(&[labels.len()], departments.collect())?)
}

/// The first images of each department.
fn few_of_each(departments: &Array, count: usize) -> Result<Vec<usize>> {
    let labels = departments.as_slice::<u8>().context("labels are bytes")?;
    let mut few = Vec::new();
    for (department, name) in DEPARTMENTS.iter().enumerate() {
        let of_it = (0..labels.len()).filter(|image| usize::from(labels[*image]) == department);
        let found = few.len();
        few.extend(of_it.take(count));
        let found = few.len() - found;
        ensure!(
            found == count,
            "expected {count} images of {name} to learn from, found {found}"
        );
    }
    Ok(few)
}
