//! The command line of whole trainings: `--against`, `--model` or `--device` asks for some, all other lines are
//! criterion's.

use std::ffi::OsString;

use anyhow::{Result, bail, ensure};
use keros::prelude::parse_device;
use keros_bench_record::{Peer, find_peers};
use keros_benches::Pythons;
use lexopt::{Arg, ValueExt as _};

use crate::how::{How, Precision};
use crate::model::Model;
use crate::side::Side;

/// One training in one process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Training {
    pub(crate) model: Model,
    pub(crate) how: How,
    pub(crate) batch_size: usize,
    pub(crate) epochs: usize,
    pub(crate) images: usize,
}

#[derive(Debug)]
pub(crate) enum Request {
    /// In this process, for a line of JSON.
    Once(Side, Training),
    Contest(Contest),
}

/// keros in turn with others, or alone.
#[derive(Debug)]
pub(crate) struct Contest {
    pub(crate) trainings: Vec<Training>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) pythons: Pythons,
    pub(crate) rounds: usize,
    /// Lines of JSON are wanted.
    pub(crate) json: bool,
}

impl Request {
    /// `None` if no model, peer or device is asked for.
    pub(crate) fn parse(words: Vec<OsString>) -> Result<Option<Request>> {
        let asked = |word: &OsString| {
            let word = word.to_string_lossy();
            let option = word.split('=').next();
            matches!(option, Some("--model" | "--against" | "--device"))
        };
        if !words.iter().any(asked) {
            return Ok(None);
        }
        let mut models: Vec<Model> = Vec::new();
        let (mut batch_sizes, mut precisions) = (Vec::new(), Vec::new());
        let (mut device, mut epochs, mut images, mut rounds) = ("cpu".to_owned(), 3, None, 3);
        let (mut augment, mut graphs, mut measured) = (false, true, false);
        let (mut json, mut side) = (false, Side::Keros);
        let mut peers: Vec<Peer> = Vec::new();
        let mut pythons = Pythons::default();
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("model") => models.push(parser.value()?.string()?.parse()?),
                Arg::Long("batch-size") => batch_sizes.push(parser.value()?.parse()?),
                Arg::Long("precision") => precisions.push(parser.value()?.string()?.parse()?),
                Arg::Long("device") => device = parser.value()?.string()?,
                Arg::Long("epochs") => epochs = parser.value()?.parse()?,
                Arg::Long("images") => images = Some(parser.value()?.parse()?),
                Arg::Long("rounds") => rounds = parser.value()?.parse()?,
                Arg::Long("augment") => augment = true,
                Arg::Long("no-cuda-graphs") => graphs = false,
                Arg::Long("cudnn-benchmark") => measured = true,
                Arg::Long("json") => json = true,
                Arg::Long("side") => side = parser.value()?.string()?.parse()?,
                Arg::Long("against") => {
                    peers.extend(find_peers("train", &parser.value()?.string()?)?);
                }
                Arg::Long("python") => pythons.add(parser.value()?)?,
                // Cargo's.
                Arg::Long("bench") => {}
                other => bail!(other.unexpected()),
            }
        }
        for (option, number) in [("epochs", epochs), ("rounds", rounds)] {
            ensure!(number > 0, "--{option} is 0, expected at least 1");
        }
        let on_gpu = parse_device(&device)?.is_cuda();
        if on_gpu {
            let other = peers.iter().find(|peer| !peer.name.starts_with("torch"));
            let other = other.map_or("", |peer| peer.name);
            ensure!(
                other.is_empty(),
                "{other} is measured on the CPU alone, found --device {device}"
            );
        } else {
            ensure!(
                precisions.is_empty(),
                "--precision is for GPUs, found --device {device}"
            );
            ensure!(
                graphs,
                "--no-cuda-graphs is for GPUs, found --device {device}"
            );
            ensure!(
                !measured,
                "--cudnn-benchmark is for GPUs, found --device {device}"
            );
        }
        if augment {
            ensure!(
                peers.is_empty(),
                "--augment is for keros alone, found --against"
            );
            let flat = models.iter().find(|model| model.sample_shape().len() != 3);
            let flat = flat.map_or("", |model| model.name());
            ensure!(
                flat.is_empty(),
                "--augment is for images, which {flat} does not take"
            );
        }
        if models.is_empty() {
            models.extend(Model::usual(on_gpu));
        }
        if batch_sizes.is_empty() {
            batch_sizes.push(128);
        }
        if precisions.is_empty() {
            precisions.push(Precision::Tf32);
        }
        let mut trainings = Vec::new();
        for &model in &models {
            let images = images.unwrap_or(model.images(on_gpu));
            for &batch_size in &batch_sizes {
                ensure!(
                    (1..=images).contains(&batch_size),
                    "--batch-size is {batch_size}, expected a number from 1 to that of images, {images}"
                );
                trainings.extend(precisions.iter().map(|&precision| Training {
                    model,
                    how: How {
                        device: device.clone(),
                        precision,
                        augment,
                        graphs,
                        measured,
                    },
                    batch_size,
                    epochs,
                    images,
                }));
            }
        }
        Ok(Some(match trainings.as_slice() {
            [training] if json && peers.is_empty() => Request::Once(side, training.clone()),
            _ => Request::Contest(Contest {
                trainings,
                peers,
                pythons,
                rounds,
                json,
            }),
        }))
    }
}
