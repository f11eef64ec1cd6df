//! How a seed becomes random numbers: one counter-based stream per purpose, epoch and item.
//!
//! The layout is part of the contract: a training resumed with another version of this crate sees
//! the same data.
//!
//! Every stream is ChaCha8 (the 64-bit counter, 64-bit nonce form). The 256-bit key is four
//! little-endian 64-bit words:
//!
//! | word | content |
//! |---|---|
//! | 0 | seed |
//! | 1 | purpose, see [`Purpose`] |
//! | 2 | epoch |
//! | 3 | 0 |
//!
//! and the nonce is the item: the sample index for augmentation, the batch index for shuffling
//! within a batch, 0 for an order of samples or batches. Different keys or nonces give independent
//! streams, so nothing is shared between epochs, between samples, or between shuffling and
//! augmentation, and any of them can be computed first.
//!
//! Numbers are made from the key stream by the functions here, not by `rand`'s distributions, whose
//! results may change from one version to the next: [`unit()`] takes 64 bits, [`below`] 64 bits or
//! (rarely) a multiple, [`shuffle`] is Fisher and Yates's algorithm from the last element to the
//! second.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// What random numbers are for. The value is word 1 of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Purpose {
    /// The order of the samples of an epoch.
    Samples = 1,
    /// The order of the samples within one batch.
    WithinBatch = 2,
    /// The order of the batches of an epoch.
    Batches = 3,
    /// The augmentation of one sample.
    Augmentation = 4,
    /// Free for sequences outside this crate.
    Custom = 5,
}

/// The stream of one item in one epoch.
///
/// ```
/// use keros_data::rng::{Purpose, stream, unit};
///
/// let draw = |epoch, sample| unit(&mut stream(42, Purpose::Custom, epoch, sample));
/// assert_eq!(draw(3, 17), draw(3, 17));
/// assert_ne!(draw(3, 17), draw(4, 17));
/// ```
pub fn stream(seed: u64, purpose: Purpose, epoch: u64, item: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (word, value) in key.chunks_exact_mut(8).zip([seed, purpose as u64, epoch]) {
        word.copy_from_slice(&value.to_le_bytes());
    }
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(item);
    rng
}

/// A number in `[0, 1)`: the upper 53 of the next 64 bits.
pub fn unit<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
    (rng.next_u64() >> 11) as f64 * STEP
}

/// A number in `[low, high)` (`low` when both are equal).
pub fn uniform<R: Rng + ?Sized>(rng: &mut R, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(rng)
}

/// A whole number below `limit`, all equally likely; 0 when `limit` is 0 or 1 (which still takes 64
/// bits).
pub fn below<R: Rng + ?Sized>(rng: &mut R, limit: u64) -> u64 {
    // Lemire's method: the upper half of a 128-bit product, rejecting the few lower halves that
    // would be over-represented.
    let mut product = u128::from(rng.next_u64()) * u128::from(limit);
    if (product as u64) < limit {
        let threshold = limit.wrapping_neg() % limit;
        while (product as u64) < threshold {
            product = u128::from(rng.next_u64()) * u128::from(limit);
        }
    }
    (product >> 64) as u64
}

/// Brings the items into a random order.
pub fn shuffle<T, R: Rng + ?Sized>(rng: &mut R, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i as u64 + 1) as usize);
    }
}
