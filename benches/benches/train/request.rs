//! The command line of whole trainings: `--model` asks for one, all other lines are criterion's.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use lexopt::{Arg, ValueExt as _};

use crate::model::Model;
use crate::side::Side;

/// The interpreter of the peers, where the command line names none.
const PYTHON: &str = "KEROS_BENCH_PYTHON";

/// One training in one process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Training {
    pub(crate) model: Model,
    pub(crate) batch_size: usize,
    pub(crate) epochs: usize,
    pub(crate) images: usize,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) training: Training,
    /// Lines of JSON are wanted: without peers one, of this very process.
    pub(crate) json: bool,
    /// Who trains in this process.
    pub(crate) side: Side,
    pub(crate) against: Vec<Side>,
    pub(crate) rounds: usize,
    pub(crate) python: PathBuf,
}

impl Request {
    /// `None` if no model is asked for.
    pub(crate) fn parse(words: Vec<OsString>) -> Result<Option<Request>> {
        let asked = |word: &OsString| {
            let word = word.to_string_lossy();
            word == "--model" || word.starts_with("--model=")
        };
        if !words.iter().any(asked) {
            return Ok(None);
        }
        let mut model = None;
        let (mut batch_size, mut epochs, mut images, mut rounds) = (128, 3, None, 3);
        let (mut json, mut side, mut against) = (false, Side::Keros, Vec::new());
        let mut python = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
        let mut parser = lexopt::Parser::from_args(words);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("model") => model = Some(parser.value()?.string()?.parse()?),
                Arg::Long("batch-size") => batch_size = parser.value()?.parse()?,
                Arg::Long("epochs") => epochs = parser.value()?.parse()?,
                Arg::Long("images") => images = Some(parser.value()?.parse()?),
                Arg::Long("rounds") => rounds = parser.value()?.parse()?,
                Arg::Long("json") => json = true,
                Arg::Long("side") => side = parser.value()?.string()?.parse()?,
                Arg::Long("against") => {
                    for name in parser.value()?.string()?.split(',') {
                        against.push(name.parse()?);
                    }
                }
                Arg::Long("python") => python = parser.value()?,
                // Cargo's.
                Arg::Long("bench") => {}
                other => bail!(other.unexpected()),
            }
        }
        let model: Model = model.context("no model is given")?;
        let images = images.unwrap_or(model.images());
        for (option, number) in [("epochs", epochs), ("rounds", rounds)] {
            ensure!(number > 0, "--{option} is 0, expected at least 1");
        }
        ensure!(
            (1..=images).contains(&batch_size),
            "--batch-size is {batch_size}, expected a number from 1 to that of images, {images}"
        );
        Ok(Some(Request {
            training: Training {
                model,
                batch_size,
                epochs,
                images,
            },
            json,
            side,
            against,
            rounds,
            python: python.into(),
        }))
    }
}
