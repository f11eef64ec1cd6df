//! How long a training waits for data that come as fast as it takes them (a source and a step that
//! both sleep 5 ms a batch, compared with the slower of the two alone), and how many augmented
//! images a loader delivers to one that does nothing else.
//!
//! With `--against` the second kind runs beside libraries of Python; `--json` prints a line per case
//! of it, as the scripts that time other libraries do, instead of the tables.

#![allow(clippy::print_stdout, reason = "a bench shows its results")]

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use keros::data::{
    Array, Batch, DataError, FlowOptions, ImageDataGenerator, Loader, LoaderOptions, Recipe,
    Sequence, worker,
};
use keros_bench_record::{Quartiles, Results};
use keros_benches::{Contest, Figure, Rates, Sides, Suite, Times, bytes, peak_kb, show, timed};
use serde_json::json;

/// Batches of one iteration; the wait for the first one is part of it.
const BATCHES: u64 = 100;
const GENERATION: Duration = Duration::from_millis(5);
const STEP: Duration = Duration::from_millis(5);
/// Images of a batch of the delivery cases.
const BATCH_SIZE: usize = 128;
/// Epochs of a delivery case with `--json`.
const EPOCHS: u64 = 5;

/// Who prepares.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Threads,
    Processes,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Threads => "threads",
            Kind::Processes => "processes",
        }
    }
}

/// Workers and their kind, in the order of the tables.
const CREWS: [(Kind, usize); 6] = [
    (Kind::Threads, 0),
    (Kind::Threads, 1),
    (Kind::Threads, 2),
    (Kind::Threads, 4),
    (Kind::Processes, 1),
    (Kind::Processes, 2),
];

/// Height and width, channels, images.
const SIZES: [(usize, usize, usize); 3] = [(28, 1, 12_800), (32, 3, 6_400), (224, 3, 256)];

fn main() -> Result<ExitCode> {
    worker::Registry::new()
        .with(Slow::NAME, |()| Slow::new())
        .serve_if_asked();
    let against = |contest: &Contest| match contest.is_alone() {
        true => lines(),
        false => against(contest),
    };
    Contest::or_suite("prefetch", against, overlap)
}

/// Images per second from one worker and from two beside those of other libraries, each with the kind
/// of workers that its users have by default.
fn against(contest: &Contest) -> Result<()> {
    let cases: Vec<_> = SIZES
        .iter()
        .map(|(side, channels, _)| (format!("{side}x{side}x{channels}"), vec![side.to_string()]))
        .collect();
    contest.play(&cases, |case| {
        let (side, channels, images) = SIZES[case];
        let source: Arc<dyn Sequence> = Arc::new(flow(side, channels, images)?);
        let median = |workers| -> Result<f64> {
            let mut loader = endless(&source, Kind::Threads, workers)?;
            Ok(Quartiles::of(delivered(&mut loader, source.len(), images)?).median)
        };
        Ok(Rates {
            one: median(1)?,
            two: median(2)?,
        })
    })
}

/// How a training and its data run beside each other.
fn overlap() -> Result<()> {
    let times = Times {
        warm_up_s: 0.5,
        measurement_s: 10.0,
        rounds: 10,
    };
    let Some(mut suite) = Suite::from_args(times) else {
        return Ok(());
    };
    for (kind, workers) in CREWS {
        let name = format!("{} {workers}", kind.name());
        suite.case("overlap", &name, Figure::time("ms a batch", 1e3), || {
            let source: Arc<dyn Sequence> = Arc::new(Slow::new()?);
            let work = BATCHES as f64;
            let mut loader = endless(&source, kind, workers)?;
            Ok(Sides::of("keros", work, move |n| train(&mut loader, n))
                // Both take the same time, so either alone is the limit.
                .against("the slower side alone", 1.0, |n| {
                    timed(n, || {
                        thread::sleep(STEP);
                        Ok(())
                    })
                }))
        });
    }
    show(&Results::of_suite("prefetch", suite.finish()))
}

/// A line of JSON for each delivery case.
fn lines() -> Result<()> {
    for (side, channels, images) in SIZES {
        let source: Arc<dyn Sequence> = Arc::new(flow(side, channels, images)?);
        for (kind, workers) in CREWS {
            let mut loader = endless(&source, kind, workers)?;
            let rates = delivered(&mut loader, source.len(), images)?;
            println!(
                "{}",
                json!({
                    "impl": "keros",
                    "what": format!("{side}x{side}x{channels}"),
                    "bs": BATCH_SIZE.min(images),
                    "workers": workers,
                    "kind": kind.name(),
                    "ips": rates.iter().map(|rate| rate.round()).collect::<Vec<_>>(),
                    "median": Quartiles::of(rates).median.round(),
                    "rss_mb": peak_kb()?.div_ceil(1024),
                    "verdict": loader.stats().verdict().to_string(),
                })
            );
        }
    }
    Ok(())
}

/// Images per second of each epoch but the first, which has the start of the workers in it.
fn delivered(loader: &mut Loader, batches: usize, images: usize) -> Result<Vec<f64>> {
    let mut rates = Vec::new();
    for _ in 0..=EPOCHS {
        let start = Instant::now();
        for _ in 0..batches {
            loader.next().context("the stream has no end")??;
        }
        rates.push(images as f64 / start.elapsed().as_secs_f64());
    }
    rates.remove(0);
    Ok(rates)
}

/// The augmentation that all libraries are timed with.
fn flow(side: usize, channels: usize, images: usize) -> Result<impl Sequence, DataError> {
    let pixels = bytes(1, images * side * side * channels);
    let x = Array::from_vec(&[images, side, side, channels], pixels)?;
    let options = FlowOptions {
        batch_size: BATCH_SIZE,
        ..FlowOptions::default()
    };
    ImageDataGenerator::new()
        .rotation_range(15.0)
        .width_shift_range(0.1)
        .height_shift_range(0.1)
        .shear_range(10.0)
        .zoom_range(0.1)
        .horizontal_flip(true)
        .rescale(1.0 / 255.0)
        .flow(x, None, options)
}

fn endless(source: &Arc<dyn Sequence>, kind: Kind, workers: usize) -> Result<Loader, DataError> {
    let options = LoaderOptions {
        workers,
        use_multiprocessing: matches!(kind, Kind::Processes),
        ..LoaderOptions::default()
    };
    Loader::from_sequence(Arc::clone(source), options)
}

/// Consumes `BATCHES` batches `times` times.
fn train(loader: &mut Loader, times: u64) -> Result<Duration> {
    let start = Instant::now();
    let batches = BATCHES * times;
    let mut taken = 0;
    for loaded in loader.take(usize::try_from(batches)?) {
        loaded?;
        thread::sleep(STEP);
        taken += 1;
    }
    ensure!(taken == batches, "expected {batches} batches, got {taken}");
    Ok(start.elapsed())
}

/// A source that waits, as for a disk.
struct Slow(Array);

impl Slow {
    const NAME: &'static str = "slow";

    fn new() -> Result<Slow, DataError> {
        Ok(Slow(Array::from_vec(&[1, 1], vec![0_u8])?))
    }
}

impl Sequence for Slow {
    fn len(&self) -> usize {
        BATCHES as usize
    }

    fn batch(&self, _: u64, _: usize) -> Result<Batch, DataError> {
        thread::sleep(GENERATION);
        Ok(Batch::inputs_only(self.0.clone()))
    }

    fn changes_on_epoch_end(&self) -> bool {
        false
    }

    fn recipe(&self) -> Result<Recipe<'_>, DataError> {
        Ok(Recipe::new(Self::NAME, &()))
    }
}
