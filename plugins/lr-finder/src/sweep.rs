//! The sweep itself: which rate is tried when, when it is over, and what it suggests.

use crate::config::Config;

/// An update of the sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) learning_rate: f64,
    /// Of the samples of this update, before it.
    pub(crate) loss: f64,
    pub(crate) smoothed: f64,
}

/// Why a sweep is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All steps are done.
    Complete,
    /// The loss is too far above the best, or no number.
    Diverged,
}

/// The points so far.
#[derive(Debug)]
pub(crate) struct Sweep {
    config: Config,
    points: Vec<Point>,
    /// The moving average that begins at zero.
    average: f64,
    best: f64,
}

impl Sweep {
    pub(crate) fn new(config: &Config) -> Sweep {
        Sweep {
            config: config.clone(),
            points: Vec::with_capacity(config.steps),
            average: 0.0,
            best: f64::INFINITY,
        }
    }

    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }

    /// The rate of the next update: `min (max / min)^(i / (steps - 1))` for the update `i`.
    pub(crate) fn learning_rate(&self) -> f64 {
        let Config {
            min, max, steps, ..
        } = self.config;
        let share = self.points.len() as f64 / (steps - 1) as f64;
        // Whatever rounding does, the last rate is `max`.
        (min * (max / min).powf(share)).min(max)
    }

    /// Adds an update made with this rate, and tells whether it was the last.
    pub(crate) fn add(&mut self, learning_rate: f64, loss: f64) -> Option<End> {
        let Config {
            smoothing, steps, ..
        } = self.config;
        self.average = smoothing * self.average + (1.0 - smoothing) * loss;
        let updates = self.points.len() as i32 + 1;
        let smoothed = self.average / (1.0 - smoothing.powi(updates));
        self.points.push(Point {
            learning_rate,
            loss,
            smoothed,
        });
        if self.is_divergent(smoothed) {
            return Some(End::Diverged);
        }
        self.best = self.best.min(smoothed);
        (self.points.len() == steps).then_some(End::Complete)
    }

    /// Whether a loss is above `stop_factor` times the best. A best loss below zero is as far from
    /// its limit as its absolute value would be.
    fn is_divergent(&self, smoothed: f64) -> bool {
        if !smoothed.is_finite() {
            return true;
        }
        match self.config.stop_factor {
            Some(factor) if self.best.is_finite() => {
                smoothed - self.best > (factor - 1.0) * self.best.abs()
            }
            _ => false,
        }
    }

    /// The point at which the smoothed loss falls fastest; `None` if it never does. The steps are
    /// even on a logarithmic axis, so the slope is over the logarithm of the rate.
    pub(crate) fn suggestion(&self) -> Option<Point> {
        let finite = self
            .points
            .iter()
            .take_while(|point| point.smoothed.is_finite());
        let end = self
            .points
            .len()
            .saturating_sub(self.config.skip_end)
            .min(finite.count());
        let points = self.points.get(self.config.skip_begin..end)?;
        let slopes = (0..points.len()).map(|i| {
            let (before, after) = (i.saturating_sub(1), (i + 1).min(points.len() - 1));
            let rise = points[after].smoothed - points[before].smoothed;
            rise / (after - before).max(1) as f64
        });
        let (steepest, slope) = slopes.enumerate().min_by(|a, b| a.1.total_cmp(&b.1))?;
        (slope < 0.0).then(|| points[steepest])
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, End, Sweep};

    fn sweep(steps: usize, smoothing: f64) -> Sweep {
        Sweep::new(&Config {
            min: 1e-4,
            max: 1.0,
            steps,
            smoothing,
            skip_begin: 0,
            skip_end: 0,
            ..Config::new("a.csv")
        })
    }

    /// Adds losses until the sweep is over.
    fn run(sweep: &mut Sweep, losses: &[f64]) -> Option<End> {
        losses
            .iter()
            .find_map(|loss| sweep.add(sweep.learning_rate(), *loss))
    }

    #[test]
    fn rates_grow_by_the_same_factor_from_min_to_max() {
        let mut sweep = sweep(5, 0.5);
        assert_eq!(run(&mut sweep, &[1.0; 5]), Some(End::Complete));
        let rates: Vec<f64> = sweep
            .points()
            .iter()
            .map(|point| point.learning_rate)
            .collect();
        for (rate, expected) in rates.iter().zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
            assert!((rate / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
        assert_eq!((rates[0], rates[4]), (1e-4, 1.0));
    }

    #[test]
    fn smoothing_has_no_bias_to_zero() {
        let mut sweep = sweep(100, 0.98);
        run(&mut sweep, &[3.0, 3.0, 6.0]);
        let smoothed: Vec<f64> = sweep.points().iter().map(|point| point.smoothed).collect();
        assert!((smoothed[0] - 3.0).abs() < 1e-12 && (smoothed[1] - 3.0).abs() < 1e-12);
        let third = 3.0 + 3.0 * 0.02 / (1.0 - 0.98_f64.powi(3));
        assert!((smoothed[2] - third).abs() < 1e-12);
    }

    #[test]
    fn a_loss_above_the_limit_ends_the_sweep() {
        assert_eq!(run(&mut sweep(9, 0.0), &[2.0, 1.0, 4.0]), None);
        assert_eq!(
            run(&mut sweep(9, 0.0), &[2.0, 1.0, 4.1]),
            Some(End::Diverged)
        );
        assert_eq!(
            run(&mut sweep(9, 0.0), &[2.0, f64::NAN]),
            Some(End::Diverged)
        );
        assert_eq!(
            run(&mut sweep(9, 0.0), &[f64::INFINITY]),
            Some(End::Diverged)
        );
        // Below zero, three times the absolute value above the best.
        assert_eq!(run(&mut sweep(9, 0.0), &[-1.0, -2.0, -1.0, 4.0]), None);
        assert_eq!(
            run(&mut sweep(9, 0.0), &[-1.0, -2.0, -1.0, 4.1]),
            Some(End::Diverged)
        );
        let mut unlimited = sweep(9, 0.0);
        unlimited.config.stop_factor = None;
        assert_eq!(run(&mut unlimited, &[1.0, 1e9]), None);
    }

    fn check_suggestion(losses: &[f64], skip: (usize, usize), expected: Option<usize>) {
        let mut sweep = sweep(losses.len(), 0.0);
        sweep.config.stop_factor = None;
        (sweep.config.skip_begin, sweep.config.skip_end) = skip;
        run(&mut sweep, losses);
        let expected = expected.map(|index| sweep.points()[index]);
        assert_eq!(sweep.suggestion(), expected, "{losses:?}");
    }

    #[test]
    fn the_steepest_descent_is_suggested() {
        let losses = [5.0, 4.9, 4.5, 3.0, 2.5, 2.4, 9.0];
        check_suggestion(&losses, (0, 0), Some(3));
        check_suggestion(&losses, (4, 1), Some(4));
        check_suggestion(&[1.0, 2.0, 3.0], (0, 0), None);
        check_suggestion(&[3.0, 2.0, f64::NAN], (0, 0), Some(0));
        check_suggestion(&[3.0, 2.0], (2, 0), None);
        check_suggestion(&[3.0, 2.0], (1, 2), None);
    }
}
