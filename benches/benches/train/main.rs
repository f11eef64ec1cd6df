//! Images per second of `Trainer::fit`, seconds to the end of the first step and peak memory,
//! compared with candle's own layers, loss and optimizer in a loop as its users write it.
//!
//! Both sides train the same network on the same images with Adam, and read loss and accuracy of
//! every batch. The loop in candle does not shuffle, which costs it less.

#![allow(clippy::print_stdout, reason = "a bench shows its results")]

mod data;
mod process;
mod with_candle;
mod with_keros;

use std::time::{Duration, Instant};

use anyhow::Result;
use keros_benches::{Measured, Sides, Suite, Table, Times, quartiles, significant};

use data::Data;
use process::Processes;

/// Images of an iteration.
const IMAGES: usize = 1280;

/// The networks that are trained.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Model {
    /// Two convolutions of 3 × 3 with pooling.
    MnistConvnet,
    /// Dense layers of 512, 512 and 10 units.
    Mlp,
}

impl Model {
    const ALL: [Model; 2] = [Model::MnistConvnet, Model::Mlp];

    fn name(self) -> &'static str {
        match self {
            Model::MnistConvnet => "mnist_convnet",
            Model::Mlp => "mlp",
        }
    }

    /// Channels last.
    fn sample_shape(self) -> &'static [usize] {
        match self {
            Model::MnistConvnet => &[28, 28, 1],
            Model::Mlp => &[784],
        }
    }
}

/// Who trains.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Keros,
    Candle,
}

impl Side {
    const ALL: [Side; 2] = [Side::Keros, Side::Candle];

    fn name(self) -> &'static str {
        match self {
            Side::Keros => "keros",
            Side::Candle => "candle",
        }
    }
}

fn main() -> Result<()> {
    if let Some((side, model)) = process::asked()? {
        println!("{}", process::run(side, model)?);
        return Ok(());
    }
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
    let processes = Processes::default();
    for model in Model::ALL {
        suite.case(FIRST_STEP, model.name(), || {
            Ok(first_step(model, &processes))
        });
    }

    let (first_steps, rates): (Vec<_>, Vec<_>) = suite
        .finish()
        .into_iter()
        .partition(|measured| measured.name.starts_with(FIRST_STEP));
    println!(
        "{}{}",
        table_of_rates(&rates),
        table_of_first_steps(&first_steps, &processes)
    );
    Ok(())
}

fn fit(model: Model, batch_size: usize) -> Result<Sides<'static>> {
    let mut keros = with_keros::Training::new(model, batch_size, Data::new(IMAGES))?;
    let mut candle = with_candle::Training::new(model, batch_size, Data::new(IMAGES))?;
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

fn first_step(model: Model, processes: &Processes) -> Sides<'static> {
    let side = |side| {
        let processes = processes.clone();
        move |times| -> Result<Duration> {
            (0..times).map(|_| processes.first_step(side, model)).sum()
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

fn table_of_first_steps(first_steps: &[Measured], processes: &Processes) -> Table {
    let headings = [
        "case",
        "keros, s",
        "candle, s",
        "keros ÷ candle",
        "keros, peak MB",
        "candle, peak MB",
    ];
    Table::new(headings, first_steps, |m| {
        let model = Model::ALL
            .into_iter()
            .find(|model| m.name.ends_with(model.name()));
        let peak = |side| model.map_or(f64::NAN, |model| processes.peak_mb(side, model));
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
