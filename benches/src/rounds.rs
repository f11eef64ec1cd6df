//! What is compared, and the rounds in which it is timed: keros, then every peer, then keros again.
//!
//! On a machine that has other work to do, two figures measured one after the other differ by what
//! happened meanwhile. So ratios are taken within a round, where all sides had the same
//! disturbance, and the median of the rounds is shown with its quartiles.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Runs something a number of times and says how long that took.
type Run<'a> = Box<dyn FnMut(u64) -> Result<Duration> + 'a>;

struct Side<'a> {
    /// Done in one iteration, in a unit that all sides of the case share.
    work: f64,
    run: Run<'a>,
}

/// The sides of a case: ours, then those it is compared with.
pub struct Sides<'a>(Vec<Side<'a>>);

impl<'a> Sides<'a> {
    /// Our side: `run(n)` does `n` times `work` and returns how long it took, set-up left out.
    pub fn of(work: f64, run: impl FnMut(u64) -> Result<Duration> + 'a) -> Sides<'a> {
        Sides(Vec::new()).against(work, run)
    }

    /// Adds another side, which need not do the same amount of work in an iteration.
    #[must_use]
    pub fn against(
        mut self,
        work: f64,
        run: impl FnMut(u64) -> Result<Duration> + 'a,
    ) -> Sides<'a> {
        let run = Box::new(run);
        self.0.push(Side { work, run });
        self
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
    pub(crate) fn measured(self, name: String) -> Measured {
        let last = self.rounds.last().map_or(0, |round| round.iterations);
        let rounds = self.rounds.into_iter();
        Measured {
            name,
            work: self.sides.0.first().map_or(1.0, |side| side.work),
            rounds: rounds
                .filter(|round| round.iterations >= last.div_ceil(2))
                .map(|round| round.seconds)
                .collect(),
        }
    }
}

/// What was measured of a case.
pub struct Measured {
    /// The case.
    pub name: String,
    /// Work in one iteration of our side.
    work: f64,
    /// Seconds per unit of work, by round and side.
    rounds: Vec<Vec<f64>>,
}

impl Measured {
    /// Number of sides, ours included.
    #[must_use]
    pub fn sides(&self) -> usize {
        self.rounds.first().map_or(0, Vec::len)
    }

    /// Seconds a side takes for what our side does in one iteration; side 0 is ours.
    #[must_use]
    pub fn seconds(&self, side: usize) -> f64 {
        self.work * self.of_rounds(|round| round[side]).median
    }

    /// Work a side does in a second.
    #[must_use]
    pub fn rate(&self, side: usize) -> f64 {
        1.0 / self.of_rounds(|round| round[side]).median
    }

    /// Our rate divided by that of a side: above 1 we are faster.
    #[must_use]
    pub fn speedup(&self, side: usize) -> Quartiles {
        self.of_rounds(|round| round[side] / round[0])
    }

    /// Our time divided by that of a side for the same work: above 1 we are slower.
    #[must_use]
    pub fn slowdown(&self, side: usize) -> Quartiles {
        self.of_rounds(|round| round[0] / round[side])
    }

    /// Seconds that a side takes longer than we do for what we do in an iteration.
    #[must_use]
    pub fn excess_seconds(&self, side: usize) -> Quartiles {
        self.of_rounds(|round| self.work * (round[side] - round[0]))
    }

    fn of_rounds(&self, value: impl Fn(&[f64]) -> f64) -> Quartiles {
        Quartiles::of(self.rounds.iter().map(|round| value(round)).collect())
    }
}

/// The median of the rounds, and the range that half of them lie in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    /// A quarter of the rounds lies below.
    pub low: f64,
    /// Half of the rounds lies below.
    pub median: f64,
    /// A quarter of the rounds lies above.
    pub high: f64,
}

impl Quartiles {
    /// Of the values in any order; NaN if there is none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Quartiles {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * values.len().saturating_sub(1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            match (values.get(below), values.get(above)) {
                (Some(low), Some(high)) => low + (high - low) * place.fract(),
                _ => f64::NAN,
            }
        };
        Quartiles {
            low: at(0.25),
            median: at(0.5),
            high: at(0.75),
        }
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
        let sides = Sides::of(100.0, side(10)).against(50.0, side(40));
        let mut rounds = Rounds::new(sides).unwrap();
        for iterations in [1, 2, 8] {
            let time = rounds.play(iterations).unwrap();
            assert_eq!(time, Duration::from_millis(10 * iterations));
        }
        let measured = rounds.measured("case".to_owned());
        let near = |found: f64, expected: f64| {
            assert!(
                (found / expected - 1.0).abs() < 1e-9,
                "{found} instead of {expected}"
            );
        };
        near(measured.rate(0), 10_000.0);
        near(measured.rate(1), 1_250.0);
        near(measured.seconds(1), 0.08);
        near(measured.speedup(1).median, 8.0);
        near(measured.slowdown(1).median, 0.125);
        near(measured.excess_seconds(1).median, 0.07);
    }

    #[test]
    fn rounds_of_the_search_do_not_count() {
        let slow_at_first = |iterations| Ok(Duration::from_millis(10 * iterations + 100));
        let mut rounds = Rounds::new(Sides::of(1.0, slow_at_first)).unwrap();
        for iterations in [1, 49, 50, 100] {
            rounds.play(iterations).unwrap();
        }
        let seconds = rounds.measured("case".to_owned()).seconds(0);
        assert!((seconds - 0.0115).abs() < 1e-9, "{seconds}");
    }

    #[test]
    fn quartiles_lie_between_the_values() {
        let quartiles = Quartiles::of(vec![4.0, 1.0, 3.0, 2.0]);
        let expected = Quartiles {
            low: 1.75,
            median: 2.5,
            high: 3.25,
        };
        assert_eq!(quartiles, expected);
    }
}
