//! A small residual network: blocks that add what they have learned to what they were given, built
//! with the graph API.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context, Result};
use clap::Parser;
use keros::nn::CosineDecay;
use keros::prelude::*;
use keros_examples::fashion::{CLASSES, Fashion, RESCALE, predict};
use keros_examples::files::make_folder;
use keros_examples::images_arg::ImagesArg;
use keros_examples::report::{ended, fail};
use std::path::PathBuf;
use std::process::ExitCode;

/// Trains a small residual network on Fashion-MNIST.
#[derive(Parser)]
struct Args {
    /// Passes over the training images.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    epochs: u64,
    /// Images per update.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// Channels of the first block; the next ones have twice and four times as many.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1024))]
    channels: u16,
    /// Where to train: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu", value_parser = parse_device)]
    device: Device,
    /// Folder for the model, the history and the learning curves.
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

/// Three blocks, the last two of which halve the image.
fn network(channels: usize, device: &Device, seed: u64) -> Result<Graph> {
    let mut graph = Graph::builder();
    let image = graph.input("image", [28, 28, 1]);
    let mut x = convolution(&mut graph, image, channels, 3, 1);
    x = graph.layer(ReLU::new(), x);
    for (filters, stride) in [(channels, 1), (2 * channels, 2), (4 * channels, 2)] {
        x = block(&mut graph, x, filters, stride);
    }
    x = graph.layer(GlobalAveragePooling2D::new(), x);
    let class = graph.layer(Dense::new(CLASSES.len()).activation("softmax"), x);
    Ok(graph.build(&[("class", class)], device, seed)?)
}

/// `relu(f(x) + x)`; where the shape changes, a convolution of one pixel brings `x` to it.
fn block(graph: &mut GraphBuilder, x: Node, filters: usize, stride: usize) -> Node {
    let shortcut = match stride {
        1 => x,
        _ => convolution(graph, x, filters, 1, stride),
    };
    let y = convolution(graph, x, filters, 3, stride);
    let y = graph.layer(ReLU::new(), y);
    let y = convolution(graph, y, filters, 3, 1);
    let sum = graph.merge(Add::new(), &[y, shortcut]);
    graph.layer(ReLU::new(), sum)
}

/// A convolution, normalized. It needs no bias: the normalization has one.
fn convolution(
    graph: &mut GraphBuilder,
    x: Node,
    filters: usize,
    size: usize,
    stride: usize,
) -> Node {
    let layer = Conv2D::new(filters, size)
        .strides(stride)
        .padding(Padding::Same)
        .use_bias(false);
    let x = graph.layer(layer, x);
    graph.layer(BatchNormalization::new().momentum(0.9), x)
}

fn run(args: &Args, data: &Fashion) -> Result<()> {
    let network = network(args.channels.into(), &args.device, args.images.seed)?;
    println!("{}", summary(&network));

    let flow = |images: &Array, labels: &Array, shuffle| {
        let options = FlowOptions {
            batch_size: args.batch_size.into(),
            seed: args.images.seed,
            shuffle,
            ..FlowOptions::default()
        };
        let generator = ImageDataGenerator::new().rescale(RESCALE);
        let generator = match shuffle {
            true => generator.horizontal_flip(true).width_shift_range(0.05),
            false => generator,
        };
        generator.flow(images.clone(), Some(labels.clone()), options)
    };
    let training = flow(&data.train_x, &data.train_y, true)?;
    let validation = flow(&data.test_x, &data.test_y, false)?;

    let updates = args.epochs * training.len() as u64;
    let mut trainer = Trainer::builder(network)
        .optimizer(Adam::new(CosineDecay::new(0.005, updates)?)?)
        .loss("sparse_categorical_crossentropy")
        .metric("accuracy")
        .seed(args.images.seed)
        .compile()?;
    let history = trainer.fit_generator(
        training,
        FitGeneratorOptions {
            epochs: args.epochs,
            // The flow shuffles single images, so there is no need to permute its batches.
            shuffle: false,
            validation_data: Some(validation.into()),
            ..FitGeneratorOptions::default()
        },
    )?;

    println!();
    for (count, is, taken_for) in confusions(&mut trainer, data)?.iter().take(3) {
        println!("{is} taken for {taken_for}: {count} times");
    }
    if let Some(out) = &args.out {
        make_folder(out)?;
        trainer.save(out.join("model.safetensors"))?;
        history.write_csv(out.join("history.csv"))?;
        history.write_svg(out.join("curves.svg"))?;
        println!("model, history and curves are in {}", out.display());
    }
    let accuracy = history
        .last("val_accuracy")
        .context("no epoch was trained")?;
    println!("val_accuracy {accuracy:.3}");
    Ok(())
}

/// How often test images of one class are taken for another, the most frequent first.
fn confusions(
    trainer: &mut Trainer<Graph>,
    data: &Fashion,
) -> Result<Vec<(usize, &'static str, &'static str)>> {
    let labels = data.test_y.as_slice::<u8>().context("labels are bytes")?;
    let mut counts = [[0; CLASSES.len()]; CLASSES.len()];
    for (label, (class, _)) in labels.iter().zip(predict(trainer, &data.test_x)?) {
        counts[usize::from(*label)][class] += 1;
    }
    let mut found = Vec::new();
    for (is, row) in CLASSES.iter().zip(counts) {
        for (taken_for, count) in CLASSES.iter().zip(row) {
            if is != taken_for && count > 0 {
                found.push((count, *is, *taken_for));
            }
        }
    }
    found.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
    Ok(found)
}
