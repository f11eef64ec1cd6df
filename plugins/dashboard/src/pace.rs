//! How fast the training goes, and when it will be over.

use std::time::{Duration, Instant};

/// How much the latest epoch counts in the mean duration of an epoch; the rest is what was before.
const LATEST: f64 = 0.5;

/// The times of a run.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    begin: Instant,
    epoch_begin: Instant,
    /// Mean duration of an epoch with its validation, the later the heavier; none before the first
    /// has ended.
    epoch_mean: Option<Duration>,
    end: Option<Instant>,
}

impl Pace {
    pub(crate) fn begin(now: Instant) -> Pace {
        Pace {
            begin: now,
            epoch_begin: now,
            epoch_mean: None,
            end: None,
        }
    }

    pub(crate) fn begin_epoch(&mut self, now: Instant) {
        self.epoch_begin = now;
    }

    pub(crate) fn end_epoch(&mut self, now: Instant) {
        let latest = now - self.epoch_begin;
        self.epoch_mean = Some(match self.epoch_mean {
            Some(mean) => mean.mul_f64(1.0 - LATEST) + latest.mul_f64(LATEST),
            None => latest,
        });
    }

    pub(crate) fn end(&mut self, now: Instant) {
        self.end = Some(now);
    }

    /// Since the run began, until it ended.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        self.end.unwrap_or(now) - self.begin
    }

    pub(crate) fn in_epoch(&self, now: Instant) -> Duration {
        now - self.epoch_begin
    }

    /// The time to go with `epochs` to do, the current one with them, of which `done` of `steps`
    /// batches are done; nothing as long as nothing is known.
    pub(crate) fn to_go(
        &self,
        now: Instant,
        epochs: u64,
        done: u64,
        steps: Option<u64>,
    ) -> Option<Duration> {
        if self.end.is_some() {
            return None;
        }
        let spent = self.in_epoch(now);
        let epoch = match (self.epoch_mean, steps) {
            (Some(mean), _) => mean,
            (None, Some(steps)) if done > 0 => spent.mul_f64(steps.max(done) as f64 / done as f64),
            (None, _) => return None,
        };
        Some(
            epoch
                .mul_f64(epochs as f64)
                .saturating_sub(spent.min(epoch)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn in_the_first_epoch_batches_tell() {
        let start = Instant::now();
        let pace = Pace::begin(start);
        assert_eq!(pace.to_go(start, 3, 0, Some(10)), None);
        assert_eq!(pace.to_go(start + S, 3, 5, None), None);
        // 5 of 10 batches in 1 s: 2 s an epoch.
        assert_eq!(pace.to_go(start + S, 3, 5, Some(10)), Some(5 * S));
    }

    #[test]
    fn later_epochs_before_tell() {
        let start = Instant::now();
        let mut pace = Pace::begin(start);
        pace.end_epoch(start + 8 * S);
        pace.begin_epoch(start + 8 * S);
        assert_eq!(pace.to_go(start + 10 * S, 2, 1, None), Some(14 * S));
        pace.end_epoch(start + 12 * S);
        pace.begin_epoch(start + 12 * S);
        assert_eq!(pace.to_go(start + 12 * S, 1, 0, None), Some(6 * S));
        // One that takes longer than the others is about to end.
        assert_eq!(pace.to_go(start + 30 * S, 1, 9, None), Some(Duration::ZERO));
    }

    #[test]
    fn an_end_stops_the_clock() {
        let start = Instant::now();
        let mut pace = Pace::begin(start);
        pace.end_epoch(start + S);
        pace.end(start + 2 * S);
        assert_eq!(pace.elapsed(start + 9 * S), 2 * S);
        assert_eq!(pace.to_go(start + 9 * S, 1, 0, Some(1)), None);
    }
}
