//! The order of samples or batches in an epoch: a permutation that is a function of (seed, epoch),
//! computed once.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::rng::{self, Purpose};

/// Permutations of the epochs in use: at most two, the current one and the next that is already
/// being prepared.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EpochOrder {
    seed: u64,
    purpose: Purpose,
    #[serde(skip)]
    recent: Mutex<[Option<Permutation>; 2]>,
}

#[derive(Clone, Debug)]
struct Permutation {
    epoch: u64,
    order: Arc<[usize]>,
}

impl EpochOrder {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        Self {
            seed,
            purpose,
            recent: Mutex::new([None, None]),
        }
    }

    /// The permutation of `0..len` in `epoch`.
    pub(crate) fn get(&self, epoch: u64, len: usize) -> Arc<[usize]> {
        // A panic while the lock is held leaves a valid cache: nothing is written before it is
        // complete.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = recent
            .iter()
            .flatten()
            .find(|p| p.epoch == epoch && p.order.len() == len);
        if let Some(permutation) = cached {
            return Arc::clone(&permutation.order);
        }
        let mut order: Vec<usize> = (0..len).collect();
        rng::shuffle(
            &mut rng::stream(self.seed, self.purpose, epoch, 0),
            &mut order,
        );
        let order: Arc<[usize]> = order.into();
        recent.swap(0, 1);
        recent[0] = Some(Permutation {
            epoch,
            order: Arc::clone(&order),
        });
        order
    }
}
