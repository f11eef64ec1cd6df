//! Images per second of `Trainer::fit`, seconds to the end of the first step and peak memory,
//! compared with candle's own layers, loss and optimizer in a loop as its users write it; with
//! `--against`, `--model` or `--device`, whole trainings, also beside those of other libraries.
//!
//! All sides train the same network on random images with Adam, and read loss and accuracy of every
//! batch. The loop in candle does not shuffle, which costs it less. With `--device cuda` the images are
//! bytes in the memory of the host, and loss and accuracy are read once an epoch; passes that repeat are CUDA graphs, in
//! keros and with `torch.compile`, unless `--no-cuda-graphs` says otherwise.

#![allow(clippy::print_stdout, reason = "a bench shows its results")]

mod against;
mod data;
mod how;
mod model;
mod network;
mod once;
mod process;
mod request;
mod side;
mod with_candle;
mod with_keros;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use keros_bench_record::{Better, Case, Results};
use keros_benches::{Figure, Sides, Suite, Times, show};

use data::Data;
use how::{How, Precision};
use model::Model;
use request::{Request, Training};
use side::Side;

/// Images of an iteration.
const IMAGES: usize = 1280;

#[allow(clippy::print_stderr, reason = "a bad request is answered there")]
fn main() -> Result<ExitCode> {
    let start = SystemTime::now();
    let request = match Request::parse(std::env::args_os().skip(1).collect()) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    match request {
        None => suite()?,
        Some(Request::Once(side, training)) => {
            println!("{}", once::run(side, &training, start)?);
        }
        Some(Request::Contest(contest)) => against::run(&contest)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn suite() -> Result<()> {
    let times = Times {
        warm_up_s: 0.5,
        measurement_s: 20.0,
        rounds: 20,
    };
    let Some(mut suite) = Suite::from_args(times) else {
        return Ok(());
    };
    for (model, batch_size) in [
        (Model::MnistConvnet, 128),
        (Model::MnistConvnet, 32),
        (Model::Mlp, 128),
    ] {
        let name = format!("batch size {batch_size}");
        let figure = Figure::rate("images/s", 1.0);
        suite.case_with_rate(model.name(), &name, figure, IMAGES as u64, || {
            fit(model, batch_size)
        });
    }
    let (models, peaks) = ([Model::MnistConvnet, Model::Mlp], Peaks::default());
    for model in models {
        let figure = Figure::time("s", 1.0);
        suite.case(FIRST_STEP, model.name(), figure, || {
            Ok(first_step(model, &peaks))
        });
    }
    let mut cases = suite.finish();
    let peaks = models.map(|model| peak_memory(model, &peaks.borrow()));
    cases.extend(peaks.into_iter().flatten());
    show(&Results::of_suite("train", cases))
}

fn on_cpu() -> How {
    How {
        device: "cpu".to_owned(),
        precision: Precision::Float32,
        augment: false,
        graphs: true,
        measured: false,
    }
}

fn fit(model: Model, batch_size: usize) -> Result<Sides<'static>> {
    let data = || Data::new(model, IMAGES, false);
    let mut keros = with_keros::Training::new(model, batch_size, &on_cpu(), data())?;
    let mut candle = with_candle::Training::new(model, batch_size, data())?;
    let sides = Sides::of("keros", IMAGES as f64, move |epochs| {
        let start = Instant::now();
        keros.epochs(epochs)?;
        Ok(start.elapsed())
    });
    // By steps: rounds of whole epochs would be long.
    Ok(sides.against("candle", batch_size as f64, move |steps| {
        let start = Instant::now();
        candle.steps(steps)?;
        Ok(start.elapsed())
    }))
}

const FIRST_STEP: &str = "first step";

/// Peaks of memory in MB, by side and network.
type Peaks = Rc<RefCell<Vec<(Side, Model, f64)>>>;

fn first_step(model: Model, peaks: &Peaks) -> Sides<'static> {
    let training = Training {
        model,
        how: on_cpu(),
        batch_size: 128,
        epochs: 1,
        images: IMAGES,
    };
    let side = |side: Side| {
        let (peaks, training) = (Rc::clone(peaks), training.clone());
        move |times| -> Result<Duration> {
            let mut total = Duration::ZERO;
            for _ in 0..times {
                let figures = process::run(side.name(), side.command()?, &training)?;
                peaks.borrow_mut().push((side, model, figures.peak_mb));
                total += Duration::from_secs_f64(figures.first_s);
            }
            Ok(total)
        }
    };
    Sides::of("keros", 1.0, side(Side::Keros)).against("candle", 1.0, side(Side::Candle))
}

/// What the trainings that made first steps needed; `None` if there were none.
fn peak_memory(model: Model, peaks: &[(Side, Model, f64)]) -> Option<Case> {
    let of = |side| {
        let its = peaks
            .iter()
            .filter(move |peak| (peak.0, peak.1) == (side, model));
        its.map(|peak| peak.2)
    };
    let pairs = of(Side::Keros).zip(of(Side::Candle));
    let rounds: Vec<Vec<f64>> = pairs.map(|(keros, candle)| vec![keros, candle]).collect();
    let name = format!("peak memory/{}", model.name());
    let who = ["keros", "candle"];
    (!rounds.is_empty()).then(|| Case::of_rounds(name, "MB", Better::Lower, &who, &rounds))
}
