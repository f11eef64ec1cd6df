//! The order of samples or batches in an epoch: a permutation that is a function of (seed, epoch),
//! kept while the epoch is in use.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::rng::{self, Purpose};

/// Permutations that are kept in any case: the current one and the next that is already being
/// prepared.
const KEPT: usize = 2;
/// The most that are kept where more epochs are in use, as by shuffled batches of several passes.
const MOST_KEPT: usize = 64;
/// The most items in those beyond [`KEPT`], with those before them: 128 MiB.
const MOST_ITEMS: usize = (128 << 20) / size_of::<usize>();

/// The most batches that are shuffled, 2²⁸: what a sequence says of its length may be any number.
const MOST_BATCHES: usize = 1 << 28;

/// The permutations of the epochs in use.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EpochOrder {
    seed: u64,
    purpose: Purpose,
    #[serde(skip)]
    recent: Mutex<Recent>,
}

/// The clone computes its permutations itself.
impl Clone for EpochOrder {
    fn clone(&self) -> Self {
        Self::new(self.seed, self.purpose)
    }
}

impl EpochOrder {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        Self {
            seed,
            purpose,
            recent: Mutex::default(),
        }
    }

    /// Whether there can be a permutation of so many batches.
    pub(crate) fn check_batches(len: usize) -> Result<(), DataError> {
        match len <= MOST_BATCHES {
            true => Ok(()),
            false => Err(DataError::invalid(
                "shuffling the batches of a sequence",
                "len",
                "at most 268435456",
                len,
            )),
        }
    }

    /// The permutation of `0..len` in `epoch`.
    pub(crate) fn get(&self, epoch: u64, len: usize) -> Arc<[usize]> {
        // A panic while the lock is held leaves valid entries.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let order = recent.order(epoch, len);
        // Who needs this one too waits for it, who needs another one does not.
        drop(recent);
        let shuffled = || {
            let mut order: Vec<usize> = (0..len).collect();
            let mut rng = rng::stream(self.seed, self.purpose, epoch, 0);
            rng::shuffle(&mut rng, &mut order);
            order.into()
        };
        Arc::clone(order.get_or_init(shuffled))
    }
}

/// A permutation, once it is computed.
type Order = Arc<OnceLock<Arc<[usize]>>>;

/// The epochs that were asked for last.
#[derive(Debug, Default)]
struct Recent {
    /// The last one first; at most [`MOST_KEPT`].
    epochs: Vec<Epoch>,
    /// How many of them are in use: so many had to be kept for what was asked for again.
    in_use: usize,
}

#[derive(Debug)]
struct Epoch {
    number: u64,
    len: usize,
    /// `None` if it is not kept.
    order: Option<Order>,
}

impl Recent {
    fn order(&mut self, number: u64, len: usize) -> Order {
        let is_it = |epoch: &Epoch| (epoch.number, epoch.len) == (number, len);
        let mut epoch = match self.epochs.iter().position(is_it) {
            Some(place) => {
                self.in_use = self.in_use.max(place + 1);
                self.epochs.remove(place)
            }
            None => Epoch {
                number,
                len,
                order: None,
            },
        };
        let order = Arc::clone(epoch.order.get_or_insert_default());
        self.epochs.insert(0, epoch);
        self.epochs.truncate(MOST_KEPT);
        let mut items = 0_usize;
        for (place, epoch) in self.epochs.iter_mut().enumerate() {
            items = items.saturating_add(epoch.len);
            if place >= KEPT && (place >= self.in_use || items > MOST_ITEMS) {
                epoch.order = None;
            }
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(recent: &Recent) -> Vec<u64> {
        let kept = recent.epochs.iter().filter(|epoch| epoch.order.is_some());
        kept.map(|epoch| epoch.number).collect()
    }

    #[test]
    fn epochs_one_after_the_other_keep_two_permutations() {
        let mut recent = Recent::default();
        for epoch in 0..100 {
            // The next one is prepared before the last batch of this one is asked for.
            for number in [epoch, epoch + 1, epoch] {
                recent.order(number, 10);
            }
            assert_eq!(kept(&recent), [epoch, epoch + 1]);
        }
    }

    #[test]
    fn epochs_that_are_asked_for_again_are_computed_once() {
        let order = EpochOrder::new(3, Purpose::Samples);
        let all = || -> Vec<_> { (0..20).map(|epoch| order.get(epoch, 50)).collect() };
        let first = all();
        let again = all();
        assert_eq!(again, first);
        for (epoch, kept) in all().iter().zip(&again) {
            assert!(Arc::ptr_eq(epoch, kept));
        }
    }

    #[test]
    fn what_is_kept_has_bounds() {
        let mut many = Recent::default();
        for epoch in (0..100).cycle().take(1000) {
            many.order(epoch, 10);
            many.order(epoch / 2, 10);
        }
        assert!(many.epochs.len() <= MOST_KEPT);

        let mut large = Recent::default();
        for epoch in (0..10).cycle().take(30) {
            large.order(epoch, MOST_ITEMS / 4);
        }
        assert_eq!(kept(&large), [9, 8, 7, 6]);
        // However large they are.
        for epoch in [10, 11, 10, 11] {
            large.order(epoch, usize::MAX);
        }
        assert_eq!(kept(&large), [11, 10]);
    }
}
