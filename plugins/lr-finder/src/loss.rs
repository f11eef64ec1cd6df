//! The loss of each update, out of the running means that the logs hold.

/// Takes running means since the beginning of an epoch apart.
#[derive(Debug, Default)]
pub(crate) struct UpdateLoss {
    /// Of this epoch: the sum of the losses of its samples, and how many there were.
    epoch: (f64, f64),
    /// Of the batches since the last update, the same.
    update: (f64, f64),
}

impl UpdateLoss {
    /// The means of the logs begin anew.
    pub(crate) fn begin_epoch(&mut self) {
        self.epoch = (0.0, 0.0);
    }

    /// Adds a batch after which the logs tell this mean.
    pub(crate) fn add(&mut self, mean: f64, samples: u64) {
        let samples = samples as f64;
        let count = self.epoch.1 + samples;
        let sum = mean * count;
        self.update.0 += sum - self.epoch.0;
        self.update.1 += samples;
        self.epoch = (sum, count);
    }

    /// The mean loss of the samples since the last update, which begins anew.
    pub(crate) fn take(&mut self) -> f64 {
        let (sum, samples) = std::mem::take(&mut self.update);
        sum / samples
    }
}

#[cfg(test)]
mod tests {
    use super::UpdateLoss;

    #[test]
    fn the_loss_of_each_batch_comes_out_of_the_means() {
        let mut losses = UpdateLoss::default();
        for epoch in 0..2 {
            losses.begin_epoch();
            let (mut sum, mut count) = (0.0, 0);
            for (loss, samples) in [(4.0, 8), (0.5, 8), (f64::from(epoch), 3)] {
                sum += loss * samples as f64;
                count += samples;
                losses.add(sum / count as f64, samples);
                assert!((losses.take() - loss).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn batches_of_one_update_count_by_their_samples() {
        let mut losses = UpdateLoss::default();
        losses.add(1.0, 3);
        losses.add((3.0 + 5.0) / 4.0, 1);
        assert_eq!(losses.take(), 2.0);
    }
}
