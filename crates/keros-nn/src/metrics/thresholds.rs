//! Weights of both classes between thresholds: what curves over all thresholds are made of.

use super::state;
use crate::error::NnError;

/// `num` evenly spaced thresholds from 0 to 1 without the ends.
pub(super) fn inner(num: usize) -> impl Iterator<Item = f64> {
    let last = num.saturating_sub(1);
    (1..last).map(move |i| i as f64 / last as f64)
}

/// Weights of `[positives, negatives]` by the number of thresholds below the prediction.
#[derive(Clone, Debug)]
pub(super) struct Buckets(Vec<[f64; 2]>);

/// Weights of decisions at a threshold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decisions {
    pub(super) true_positives: f64,
    pub(super) false_positives: f64,
    pub(super) true_negatives: f64,
    pub(super) false_negatives: f64,
}

impl Buckets {
    pub(super) fn new(thresholds: usize) -> Buckets {
        Buckets(vec![[0.0; 2]; thresholds + 1])
    }

    /// Adds a prediction, cut to [0, 1]; the thresholds ascend.
    pub(super) fn add(&mut self, thresholds: &[f32], truth: bool, prediction: f32, weight: f64) {
        let prediction = prediction.clamp(0.0, 1.0);
        let above = thresholds.partition_point(|threshold| *threshold < prediction);
        self.0[above][usize::from(!truth)] += weight;
    }

    /// What is decided at each threshold, from the lowest on.
    pub(super) fn decisions(&self) -> Vec<Decisions> {
        let mut sums = Vec::with_capacity(self.0.len());
        let mut sum = [0.0; 2];
        for [positives, negatives] in self.0.iter().rev() {
            sum = [sum[0] + positives, sum[1] + negatives];
            sums.push(sum);
        }
        let [positives, negatives] = sum;
        // The last sum is that of all predictions, at no threshold.
        sums.pop();
        let at = sums.into_iter().rev().map(|[right, wrong]| Decisions {
            true_positives: right,
            false_positives: wrong,
            true_negatives: negatives - wrong,
            false_negatives: positives - right,
        });
        at.collect()
    }

    pub(super) fn state(&self) -> impl Iterator<Item = f64> {
        self.0.iter().flatten().copied()
    }

    /// As many buckets as fit into the state, which is whole sets for `thresholds`.
    pub(super) fn load(
        metric: &str,
        state: &[f64],
        thresholds: usize,
        sets: Option<usize>,
    ) -> Result<Vec<Buckets>, NnError> {
        let len = thresholds + 1;
        if sets.is_none() && !state.len().is_multiple_of(2 * len) {
            let expected = format!("{} numbers for each label", 2 * len);
            return Err(NnError::metric_state(metric, expected, state.len()));
        }
        let rows = state::weights(metric, state, sets.map(|sets| sets * len))?;
        Ok(rows
            .chunks_exact(len)
            .map(|set| Buckets(set.to_vec()))
            .collect())
    }
}
