//! How fast the training goes, and when it will be over.

use std::time::{Duration, Instant};

/// How much the latest epoch counts in the mean duration of an epoch; the rest is what was before.
const LATEST: f64 = 0.5;

/// The times of a run.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    begin: Instant,
    epoch_begin: Instant,
    /// Batches of the epoch that were done before this run, which began inside of it.
    before: u64,
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
            before: 0,
            epoch_mean: None,
            end: None,
        }
    }

    pub(crate) fn begin_epoch(&mut self, now: Instant) {
        self.epoch_begin = now;
        self.before = 0;
    }

    pub(crate) fn go_on(&mut self, before: u64) {
        self.before = before;
    }

    /// How many of the batches done in this epoch were done in this run.
    pub(crate) fn seen(&self, done: u64) -> u64 {
        done.saturating_sub(self.before)
    }

    pub(crate) fn end_epoch(&mut self, now: Instant) {
        if self.before > 0 {
            // A part of an epoch is none to expect of the others.
            return;
        }
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
    /// batches are done; nothing as long as nothing is known, or if it is more than a [`Duration`] holds.
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
        let spent = self.in_epoch(now).as_secs_f64();
        let (epoch, passed) = match (self.epoch_mean, steps, self.seen(done)) {
            (Some(mean), ..) => (mean.as_secs_f64(), spent),
            (None, None, _) | (None, _, 0) => return None,
            (None, Some(steps), seen) => {
                let batch = spent / seen as f64;
                (batch * steps.max(done) as f64, batch * done as f64)
            }
        };
        let to_go = epoch * epochs as f64 - passed.min(epoch);
        Duration::try_from_secs_f64(to_go.max(0.0)).ok()
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
    fn an_epoch_that_was_begun_before_is_no_measure_of_the_others() {
        let start = Instant::now();
        let mut pace = Pace::begin(start);
        pace.go_on(6);
        assert_eq!(pace.to_go(start + S, 3, 6, Some(10)), None);
        // 2 of 10 batches in 1 s: 5 s an epoch, of which 8 batches are done.
        assert_eq!(pace.seen(8), 2);
        assert_eq!(pace.to_go(start + S, 3, 8, Some(10)), Some(11 * S));
        pace.end_epoch(start + 2 * S);
        pace.begin_epoch(start + 2 * S);
        assert_eq!(pace.to_go(start + 3 * S, 2, 5, Some(10)), Some(3 * S));
    }

    #[test]
    fn a_run_without_an_end_has_no_time_to_go() {
        let start = Instant::now();
        let mut pace = Pace::begin(start);
        assert_eq!(pace.to_go(start + 9 * S, 1, 1, Some(u64::MAX)), None);
        pace.end_epoch(start + 9 * S);
        assert_eq!(pace.to_go(start + 9 * S, u64::MAX, 0, None), None);
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
