//! Images per second of `Trainer::fit`, seconds to the end of the first step and peak memory,
//! compared with candle's own layers, loss and optimizer in a loop as its users write it; with
//! `--model`, whole trainings, also beside those of other libraries.
//!
//! All sides train the same network on random images with Adam, and read loss and accuracy of every
//! batch. The loop in candle does not shuffle, which costs it less.

#![allow(clippy::print_stdout, reason = "a bench shows its results")]

mod against;
mod data;
mod model;
mod once;
mod process;
mod request;
mod side;
mod with_candle;
mod with_keros;

use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use keros_benches::{Measured, Quartiles, Sides, Suite, Table, Times, quartiles, significant};

use data::Data;
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
        Some(request) if request.json && request.against.is_empty() => {
            println!("{}", once::run(request.side, &request.training, start)?);
        }
        Some(request) => against::run(&request)?,
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
        suite.case_with_rate(model.name(), &name, IMAGES as u64, || {
            fit(model, batch_size)
        });
    }
    let peaks = Peaks::default();
    for model in [Model::MnistConvnet, Model::Mlp] {
        suite.case(FIRST_STEP, model.name(), || Ok(first_step(model, &peaks)));
    }

    let (first_steps, rates): (Vec<_>, Vec<_>) = suite
        .finish()
        .into_iter()
        .partition(|measured| measured.name.starts_with(FIRST_STEP));
    println!(
        "{}{}",
        table_of_rates(&rates),
        table_of_first_steps(&first_steps, &peaks.borrow())
    );
    Ok(())
}

fn fit(model: Model, batch_size: usize) -> Result<Sides<'static>> {
    let mut keros = with_keros::Training::new(model, batch_size, Data::new(model, IMAGES))?;
    let mut candle = with_candle::Training::new(model, batch_size, Data::new(model, IMAGES))?;
    let sides = Sides::of(IMAGES as f64, move |epochs| {
        let start = Instant::now();
        keros.epochs(epochs)?;
        Ok(start.elapsed())
    });
    // By steps: rounds of whole epochs would be long.
    Ok(sides.against(batch_size as f64, move |steps| {
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
        batch_size: 128,
        epochs: 1,
        images: IMAGES,
    };
    let side = |side| {
        let peaks = Rc::clone(peaks);
        move |times| -> Result<Duration> {
            let mut total = Duration::ZERO;
            for _ in 0..times {
                let figures = process::run(side, &training, Path::new(""))?;
                peaks.borrow_mut().push((side, model, figures.peak_mb));
                total += Duration::from_secs_f64(figures.first_s);
            }
            Ok(total)
        }
    };
    Sides::of(1.0, side(Side::Keros)).against(1.0, side(Side::Candle))
}

fn table_of_rates(rates: &[Measured]) -> Table {
    let headings = [
        "case",
        "keros, images/s",
        "candle, images/s",
        "keros ÷ candle",
    ];
    Table::new(headings, rates, |m| {
        [
            m.name.clone(),
            significant(m.rate(0)),
            significant(m.rate(1)),
            quartiles(m.speedup(1)),
        ]
    })
}

fn table_of_first_steps(first_steps: &[Measured], peaks: &[(Side, Model, f64)]) -> Table {
    let headings = [
        "case",
        "keros, s",
        "candle, s",
        "keros ÷ candle",
        "keros, peak MB",
        "candle, peak MB",
    ];
    Table::new(headings, first_steps, |m| {
        let peak = |side| {
            let ours = peaks.iter().filter(|peak| {
                let (whose, model, _) = peak;
                *whose == side && m.name.ends_with(model.name())
            });
            Quartiles::of(ours.map(|peak| peak.2).collect()).median
        };
        [
            m.name.clone(),
            significant(m.seconds(0)),
            significant(m.seconds(1)),
            quartiles(m.slowdown(1)),
            significant(peak(Side::Keros)),
            significant(peak(Side::Candle)),
        ]
    })
}
