//! The first step and the memory of a training, each measured in a process of its own: what another
//! training did before would change both.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::data::Data;
use crate::{IMAGES, Model, Side, with_candle, with_keros};

/// Tells the process who is to train which network.
const VARIABLE: &str = "KEROS_BENCH_TRAIN";
const BATCH_SIZE: usize = 128;

/// The training that this process is to run, if it was started for one.
pub(crate) fn asked() -> Result<Option<(Side, Model)>> {
    let Ok(text) = env::var(VARIABLE) else {
        return Ok(None);
    };
    let sides = Side::ALL.into_iter();
    let mut pairs = sides.flat_map(|side| Model::ALL.map(|model| (side, model)));
    let asked = pairs.find(|&(side, model)| name(side, model) == text);
    let asked = asked.with_context(|| format!("{VARIABLE} is `{text}`, which is no training"))?;
    Ok(Some(asked))
}

fn name(side: Side, model: Model) -> String {
    format!("{} {}", side.name(), model.name())
}

/// Builds and trains for an epoch; gives the seconds to the end of the first step and the peak memory
/// in kB.
pub(crate) fn run(side: Side, model: Model) -> Result<String> {
    let data = Data::new(IMAGES);
    let start = Instant::now();
    let first_step = match side {
        Side::Keros => {
            let mut training = with_keros::Training::new(model, BATCH_SIZE, data)?;
            training.epochs(1)?;
            let first = training.progress.first.context("no batch was trained on")?;
            first - start
        }
        Side::Candle => {
            let mut training = with_candle::Training::new(model, BATCH_SIZE, data)?;
            training.steps(1)?;
            let first_step = start.elapsed();
            training.steps((IMAGES / BATCH_SIZE - 1) as u64)?;
            first_step
        }
    };
    Ok(format!("{} {}", first_step.as_secs_f64(), peak_kb()?))
}

/// The most memory this process ever had, in kB.
fn peak_kb() -> Result<u64> {
    let path = "/proc/self/status";
    let status = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.with_context(|| format!("{path} has no line `VmHWM`"))?;
    let number = peak.trim().trim_end_matches("kB").trim();
    number
        .parse()
        .with_context(|| format!("{path}: `VmHWM` is no number, found `{number}`"))
}

/// Starts such processes, and keeps their peaks of memory.
#[derive(Clone, Default)]
pub(crate) struct Processes {
    peaks_kb: Rc<RefCell<Vec<(Side, Model, u64)>>>,
}

impl Processes {
    /// Runs one; gives the time to the end of its first step.
    pub(crate) fn first_step(&self, side: Side, model: Model) -> Result<Duration> {
        let output = Command::new(env::current_exe()?)
            .env(VARIABLE, name(side, model))
            .output()
            .context("starting a training in a process of its own")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", name(side, model));
        let text = String::from_utf8(output.stdout)?;
        let figures = text.trim().split_once(' ');
        let (seconds, peak_kb) = figures.with_context(|| format!("not two figures: {text}"))?;
        self.peaks_kb
            .borrow_mut()
            .push((side, model, peak_kb.parse()?));
        Ok(Duration::from_secs_f64(seconds.parse()?))
    }

    /// The median of the peaks, in MB.
    pub(crate) fn peak_mb(&self, side: Side, model: Model) -> f64 {
        let peaks = self.peaks_kb.borrow();
        let ours = peaks
            .iter()
            .filter(|peak| (peak.0, peak.1) == (side, model));
        let mut ours: Vec<u64> = ours.map(|peak| peak.2).collect();
        ours.sort_unstable();
        ours.get(ours.len() / 2)
            .map_or(f64::NAN, |kb| *kb as f64 * 1024.0 / 1e6)
    }
}
