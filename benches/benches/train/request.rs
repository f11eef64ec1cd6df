//! The command line of whole trainings: `--against` or `--model` asks for some, all other lines are criterion's.

use std::ffi::OsString;

use anyhow::{Result, bail, ensure};
use keros_bench_record::{Peer, find_peers};
use keros_benches::Pythons;
use lexopt::{Arg, ValueExt as _};

use crate::model::Model;
use crate::side::Side;

/// One training in one process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Training {
    pub(crate) model: Model,
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
    /// `None` if neither a model nor a peer is asked for.
    pub(crate) fn parse(words: Vec<OsString>) -> Result<Option<Request>> {
        let asked = |word: &OsString| {
            let word = word.to_string_lossy();
            let option = word.split('=').next();
            matches!(option, Some("--model" | "--against"))
        };
        if !words.iter().any(asked) {
            return Ok(None);
        }
        let mut models: Vec<Model> = Vec::new();
        let (mut batch_size, mut epochs, mut images, mut rounds) = (128, 3, None, 3);
        let (mut json, mut side, mut peers) = (false, Side::Keros, Vec::new());
        let mut pythons = Pythons::default();
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("model") => models.push(parser.value()?.string()?.parse()?),
                Arg::Long("batch-size") => batch_size = parser.value()?.parse()?,
                Arg::Long("epochs") => epochs = parser.value()?.parse()?,
                Arg::Long("images") => images = Some(parser.value()?.parse()?),
                Arg::Long("rounds") => rounds = parser.value()?.parse()?,
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
        if models.is_empty() {
            models.extend(Model::ALL);
        }
        let training = |model: Model| {
            let images = images.unwrap_or(model.images());
            ensure!(
                (1..=images).contains(&batch_size),
                "--batch-size is {batch_size}, expected a number from 1 to that of images, {images}"
            );
            Ok(Training {
                model,
                batch_size,
                epochs,
                images,
            })
        };
        let trainings = models
            .into_iter()
            .map(training)
            .collect::<Result<Vec<_>>>()?;
        Ok(Some(match trainings.as_slice() {
            [training] if json && peers.is_empty() => Request::Once(side, *training),
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
