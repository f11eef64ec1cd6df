//! What is compared, and the rounds in which it is timed: keros, then every peer, then keros again.
//!
//! On a machine that has other work to do, two figures measured one after the other differ by what
//! happened meanwhile. So a round times all sides, and ratios are taken within it.

use std::time::{Duration, Instant};

use anyhow::Result;
use keros_bench_record::{Better, Case};

/// Runs something a number of times and says how long that took.
type Run<'a> = Box<dyn FnMut(u64) -> Result<Duration> + 'a>;

struct Side<'a> {
    who: &'static str,
    /// Done in one iteration, in a unit that all sides of the case share.
    work: f64,
    run: Run<'a>,
}

/// The sides of a case: ours, then those it is compared with.
pub struct Sides<'a>(Vec<Side<'a>>);

impl<'a> Sides<'a> {
    /// Our side: `run(n)` does `n` times `work` and returns how long it took, set-up left out.
    pub fn of(
        who: &'static str,
        work: f64,
        run: impl FnMut(u64) -> Result<Duration> + 'a,
    ) -> Sides<'a> {
        Sides(Vec::new()).against(who, work, run)
    }

    /// Adds another side, which need not do the same amount of work in an iteration.
    #[must_use]
    pub fn against(
        mut self,
        who: &'static str,
        work: f64,
        run: impl FnMut(u64) -> Result<Duration> + 'a,
    ) -> Sides<'a> {
        let run = Box::new(run);
        self.0.push(Side { who, work, run });
        self
    }
}

/// What is shown of a side's time for its work.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    unit: &'static str,
    better: Better,
    /// The value of one unit of work in a second.
    scale: f64,
}

impl Figure {
    /// Work in a second, times `scale`.
    #[must_use]
    pub const fn rate(unit: &'static str, scale: f64) -> Figure {
        Figure {
            unit,
            better: Better::Higher,
            scale,
        }
    }

    /// Seconds for a unit of work, times `scale`.
    #[must_use]
    pub const fn time(unit: &'static str, scale: f64) -> Figure {
        Figure {
            unit,
            better: Better::Lower,
            scale,
        }
    }
}

/// Runs `work` so many times and says how long that took.
///
/// # Errors
/// The first error of `work`.
pub fn timed<T>(iterations: u64, mut work: impl FnMut() -> Result<T>) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..iterations {
        std::hint::black_box(work()?);
    }
    Ok(start.elapsed())
}

/// A case that is being measured.
pub(crate) struct Rounds<'a> {
    sides: Sides<'a>,
    rounds: Vec<Round>,
}

struct Round {
    /// Of our side.
    iterations: u64,
    /// Seconds per unit of work, by side.
    seconds: Vec<f64>,
}

impl<'a> Rounds<'a> {
    /// Runs each side once, so that no round pays for what is done only the first time.
    pub(crate) fn new(mut sides: Sides<'a>) -> Result<Rounds<'a>> {
        for side in &mut sides.0 {
            (side.run)(1)?;
        }
        Ok(Rounds {
            sides,
            rounds: Vec::new(),
        })
    }

    /// One round: our side for `iterations`, the others for about as long. The time is that of ours.
    pub(crate) fn play(&mut self, iterations: u64) -> Result<Duration> {
        let last = self.rounds.last().map(|round| &round.seconds);
        let mut seconds = Vec::new();
        let ours_iterations = iterations;
        let mut ours = Duration::ZERO;
        for (index, side) in self.sides.0.iter_mut().enumerate() {
            let iterations = match last {
                _ if index == 0 => iterations,
                Some(last) => {
                    let once = (last[index] * side.work).max(1e-9);
                    ((ours.as_secs_f64() / once).round() as u64).max(1)
                }
                None => 1,
            };
            let time = (side.run)(iterations)?;
            if index == 0 {
                ours = time;
            }
            seconds.push(time.as_secs_f64() / (iterations as f64 * side.work));
        }
        self.rounds.push(Round {
            iterations: ours_iterations,
            seconds,
        });
        Ok(ours)
    }

    /// The result. Rounds much shorter than the last one are left out: with them criterion looked for
    /// a good length.
    pub(crate) fn case(self, name: String, figure: Figure) -> Case {
        let last = self.rounds.last().map_or(0, |round| round.iterations);
        let rounds = self.rounds.iter();
        let rounds = rounds.filter(|round| round.iterations >= last.div_ceil(2));
        let value = |seconds: &f64| match figure.better {
            Better::Higher => figure.scale / seconds,
            Better::Lower => figure.scale * seconds,
        };
        let values: Vec<Vec<f64>> = rounds
            .map(|round| round.seconds.iter().map(value).collect())
            .collect();
        let who: Vec<&str> = self.sides.0.iter().map(|side| side.who).collect();
        Case::of_rounds(name, figure.unit, figure.better, &who, &values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A side that takes `millis` for an iteration.
    fn side(millis: u64) -> impl FnMut(u64) -> Result<Duration> {
        move |iterations| Ok(Duration::from_millis(millis * iterations))
    }

    #[test]
    fn figures_are_per_work_and_ratios_per_round() {
        let case = |figure| {
            let sides = Sides::of("keros", 100.0, side(10)).against("candle", 50.0, side(40));
            let mut rounds = Rounds::new(sides).unwrap();
            for iterations in [1, 2, 8] {
                let time = rounds.play(iterations).unwrap();
                assert_eq!(time, Duration::from_millis(10 * iterations));
            }
            let case = rounds.case("case".to_owned(), figure);
            let ratio = case.sides[1].ratio.unwrap().median;
            (
                case.sides[0].value.median,
                case.sides[1].value.median,
                ratio,
            )
        };
        let rate = case(Figure::rate("images/s", 1.0));
        assert_eq!(rate, (10_000.0, 1_250.0, 8.0));
        let time = case(Figure::time("ms", 1e3));
        assert_eq!(time, (0.1, 0.8, 0.125));
    }

    #[test]
    fn rounds_of_the_search_do_not_count() {
        let slow_at_first = |iterations| Ok(Duration::from_millis(10 * iterations + 100));
        let mut rounds = Rounds::new(Sides::of("keros", 1.0, slow_at_first)).unwrap();
        for iterations in [1, 49, 50, 100] {
            rounds.play(iterations).unwrap();
        }
        let case = rounds.case("case".to_owned(), Figure::time("s", 1.0));
        assert_eq!(case.sides[0].value.median, 0.0115);
    }
}
