//! How long a training waits for data that come as fast as it takes them: a source and a step that
//! both sleep 5 ms a batch, compared with the slower of the two alone.

#![allow(clippy::print_stdout, reason = "a bench shows its results")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keros::data::{Array, Batch, DataError, Loader, LoaderOptions, Sequence};
use keros_benches::{Sides, Suite, Table, Times, quartiles, significant, timed};

/// Batches of one iteration; the wait for the first one is part of it.
const BATCHES: u64 = 100;
const GENERATION: Duration = Duration::from_millis(5);
const STEP: Duration = Duration::from_millis(5);

fn main() {
    let times = Times {
        warm_up_s: 0.5,
        measurement_s: 10.0,
        rounds: 10,
    };
    let Some(mut suite) = Suite::from_args(times) else {
        return;
    };
    for workers in [0, 1, 2, 4] {
        suite.case("workers", &workers.to_string(), || {
            let source: Arc<dyn Sequence> = Arc::new(Slow::new()?);
            let work = BATCHES as f64;
            Ok(Sides::of(work, move |n| train(&source, workers, n))
                // Both take the same time, so either alone is the limit.
                .against(1.0, |n| {
                    timed(n, || {
                        thread::sleep(STEP);
                        Ok(())
                    })
                }))
        });
    }
    let headings = [
        "case",
        "keros, ms a batch",
        "max(generation, training), ms",
        "keros ÷ limit",
    ];
    let table = Table::new(headings, &suite.finish(), |m| {
        [
            m.name.clone(),
            significant(1e3 / m.rate(0)),
            significant(1e3 / m.rate(1)),
            quartiles(m.slowdown(1)),
        ]
    });
    println!("{table}");
}

/// Consumes `BATCHES` batches `times` times, each time with a new loader.
fn train(source: &Arc<dyn Sequence>, workers: usize, times: u64) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..times {
        let options = LoaderOptions {
            workers,
            limit: Some(BATCHES),
            ..LoaderOptions::default()
        };
        let mut batches = 0;
        for loaded in Loader::from_sequence(Arc::clone(source), options)? {
            loaded?;
            thread::sleep(STEP);
            batches += 1;
        }
        ensure!(
            batches == BATCHES,
            "expected {BATCHES} batches, got {batches}"
        );
    }
    Ok(start.elapsed())
}

/// A source that waits, as for a disk.
struct Slow(Array);

impl Slow {
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
}
