//! A suite: criterion's arguments and measurements, and the cases they make.

use std::process;
use std::time::Duration;

use anyhow::{Error, Result};
use criterion::{Criterion, SamplingMode, Throughput};
use keros_bench_record::Case;

use crate::rounds::{Figure, Rounds, Sides};

/// How long each case is measured, unless the command line says otherwise. All sides share the time.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Seconds before the measurement.
    pub warm_up_s: f64,
    /// Seconds of the measurement.
    pub measurement_s: f64,
    /// Rounds, at least 10.
    pub rounds: usize,
}

/// The cases of one bench program.
pub struct Suite {
    criterion: Criterion,
    results: Vec<Case>,
}

impl Suite {
    /// The suite as the command line asks for it; `None` if it asks for no measurement.
    ///
    /// `cargo bench` passes `--bench`, `cargo test` does not: what is a test there would only take
    /// time.
    #[must_use]
    pub fn from_args(times: Times) -> Option<Suite> {
        let given = |name: &str| std::env::args().any(|argument| argument == name);
        if !given("--bench") || given("--test") {
            return None;
        }
        let criterion = Criterion::default()
            .warm_up_time(Duration::from_secs_f64(times.warm_up_s))
            .measurement_time(Duration::from_secs_f64(times.measurement_s))
            .sample_size(times.rounds.max(10))
            .without_plots()
            .configure_from_args();
        Some(Suite {
            criterion,
            results: Vec::new(),
        })
    }

    /// Measures the case `group/name`, unless the command line leaves it out; only then are its sides
    /// made. An error ends the program.
    pub fn case<'a>(
        &mut self,
        group: &str,
        name: &str,
        figure: Figure,
        sides: impl FnOnce() -> Result<Sides<'a>>,
    ) {
        self.measure(group, name, figure, None, sides);
    }

    /// As [`Suite::case`], and criterion shows the rate of our side, which does `work` in an
    /// iteration.
    pub fn case_with_rate<'a>(
        &mut self,
        group: &str,
        name: &str,
        figure: Figure,
        work: u64,
        sides: impl FnOnce() -> Result<Sides<'a>>,
    ) {
        self.measure(group, name, figure, Some(work), sides);
    }

    fn measure<'a>(
        &mut self,
        group: &str,
        name: &str,
        figure: Figure,
        work: Option<u64>,
        sides: impl FnOnce() -> Result<Sides<'a>>,
    ) {
        let mut sides = Some(sides);
        let mut rounds: Option<Rounds<'a>> = None;
        let mut criterion_group = self.criterion.benchmark_group(group);
        // Rounds of one length have the same weight.
        criterion_group.sampling_mode(SamplingMode::Flat);
        if let Some(work) = work {
            criterion_group.throughput(Throughput::Elements(work));
        }
        criterion_group.bench_function(name, |bencher| {
            // Not inside `iter_custom`, which would take this time for that of an iteration.
            if let Some(sides) = sides.take() {
                rounds = Some(done(sides().and_then(Rounds::new)));
            }
            if let Some(rounds) = rounds.as_mut() {
                bencher.iter_custom(|iterations| done(rounds.play(iterations)));
            }
        });
        criterion_group.finish();
        if let Some(rounds) = rounds {
            self.results
                .push(rounds.case(format!("{group}/{name}"), figure));
        }
    }

    /// The results of the cases that were measured, in order.
    #[must_use]
    pub fn finish(self) -> Vec<Case> {
        self.criterion.final_summary();
        self.results
    }
}

/// The value, or the end: criterion has no way to give up.
#[allow(clippy::print_stderr, reason = "a bench program that fails says why")]
fn done<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("\nerror: {error:#}");
        process::exit(1)
    })
}
