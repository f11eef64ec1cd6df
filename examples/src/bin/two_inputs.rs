//! A network with two named inputs and one named output, trained on a text file that is streamed: a
//! line is a sample, and the file is never in memory as a whole.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

use anyhow::{Context, Result};
use clap::Parser;
use keros::prelude::*;
use keros_examples::report::{ended, fail};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Trains a network with two inputs on the lines of a text file.
///
/// A line is `a,b,c|d,e|label`: the numbers of `input_1`, those of `input_2`, and 0 or 1.
#[derive(Parser)]
struct Args {
    /// The lines to train on, again and again.
    #[arg(long, value_name = "FILE", default_value_os_t = shipped("train.txt"))]
    file: PathBuf,
    /// The lines to validate on.
    #[arg(long, value_name = "FILE", default_value_os_t = shipped("validation.txt"))]
    validation: PathBuf,
    /// Lines per update.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,
    /// Updates per epoch.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    steps_per_epoch: u64,
    /// Epochs.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: u64,
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data/two_inputs")
        .join(name)
}

fn main() -> ExitCode {
    let args = Args::parse();
    match Data::open(&args) {
        Err(error) => fail(&error, 2),
        Ok(data) => ended(run(&args, data)),
    }
}

struct Data {
    training: Lines,
    validation: Lines,
    /// Of the validation, the whole file.
    batches: u64,
}

impl Data {
    fn open(args: &Args) -> Result<Data> {
        let rows = usize::from(args.batch_size);
        Ok(Data {
            training: Lines::open(&args.file, rows, true)?,
            validation: Lines::open(&args.validation, rows, true)?,
            batches: Lines::open(&args.validation, rows, false)?.count() as u64,
        })
    }
}

fn run(args: &Args, data: Data) -> Result<()> {
    let mut trainer = Trainer::builder(network()?)
        .optimizer("adam")
        .loss("binary_crossentropy")
        .metric("accuracy")
        .seed(1)
        .compile()?;
    trainer.optimizer_mut().set_learning_rate(0.01)?;
    let history = trainer.fit_generator(
        Source::generator(data.training),
        FitGeneratorOptions {
            steps_per_epoch: Some(args.steps_per_epoch),
            epochs: args.epochs,
            validation_data: Some(Source::generator(data.validation).into()),
            validation_steps: Some(data.batches),
            ..FitGeneratorOptions::default()
        },
    )?;
    let accuracy = history
        .last("val_accuracy")
        .context("no epoch was trained")?;
    println!("val_accuracy {accuracy:.3}");
    Ok(())
}

/// `output = Dense1(sigmoid)(Dense16(relu)(concat[Dense16(tanh)(input_1), Dense16(tanh)(input_2)]))`
fn network() -> Result<Graph> {
    let mut graph = Graph::builder();
    let first = graph.input("input_1", [3]);
    let second = graph.input("input_2", [2]);
    let first = graph.layer(Dense::new(16).activation("tanh"), first);
    let second = graph.layer(Dense::new(16).activation("tanh"), second);
    let both = graph.merge(Concatenate::new(-1), &[first, second]);
    let hidden = graph.layer(Dense::new(16).activation("relu"), both);
    let output = graph.layer(Dense::new(1).activation("sigmoid"), hidden);
    Ok(graph.build(&[("output", output)], &Device::Cpu, 1)?)
}

/// The batches of a file, one after another, the last one shorter: a generator is any iterator over
/// batches.
struct Lines {
    path: PathBuf,
    lines: BufReader<File>,
    number: u64,
    rows: usize,
    endless: bool,
}

impl Lines {
    fn open(path: &Path, rows: usize, endless: bool) -> Result<Lines> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Lines {
            path: path.to_owned(),
            lines: BufReader::new(file),
            number: 0,
            rows,
            endless,
        })
    }

    /// The next sample; `None` at the end of the file.
    fn sample(&mut self) -> Result<Option<[Vec<f32>; 3]>> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let wrong = || {
            format!(
                "{}, line {}: expected a,b,c|d,e|label, found `{}`",
                self.path.display(),
                self.number,
                line.trim_end()
            )
        };
        let numbers = |part: &str| -> Option<Vec<f32>> {
            part.split(',')
                .map(|number| number.trim().parse().ok())
                .collect()
        };
        let parts: Option<Vec<_>> = line.trim_end().split('|').map(numbers).collect();
        let sample = parts.and_then(|parts| <[Vec<f32>; 3]>::try_from(parts).ok());
        let sample = sample.filter(|sample| sample.each_ref().map(Vec::len) == [3, 2, 1]);
        Ok(Some(sample.with_context(wrong)?))
    }

    /// As many samples as there are up to the size of a batch.
    fn batch(&mut self) -> Result<Option<Batch>> {
        let mut columns = [const { Vec::new() }; 3];
        let mut rows = 0;
        while rows < self.rows {
            match self.sample()? {
                Some(sample) => {
                    for (column, numbers) in columns.iter_mut().zip(sample) {
                        column.extend(numbers);
                    }
                    rows += 1;
                }
                None if rows == 0 && self.endless && self.number > 0 => {
                    io::Seek::rewind(&mut self.lines)?;
                    self.number = 0;
                }
                None => break,
            }
        }
        if rows == 0 {
            return Ok(None);
        }
        let [first, second, label] = columns;
        let inputs = Arrays::from_pairs([
            ("input_1", Array::from_vec(&[rows, 3], first)?),
            ("input_2", Array::from_vec(&[rows, 2], second)?),
        ])?;
        let output = Arrays::from_pairs([("output", Array::from_vec(&[rows, 1], label)?)])?;
        Ok(Some(Batch::new(inputs, output)))
    }
}

impl Iterator for Lines {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().map_err(DataError::source).transpose()
    }
}
