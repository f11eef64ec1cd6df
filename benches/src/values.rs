//! Values to work on, the same in every run.

/// `len` numbers in `[-1, 1)`.
#[must_use]
pub fn floats(seed: u64, len: usize) -> Vec<f32> {
    bits(seed, len)
        .map(|bits| (bits >> 40) as f32 / (1_u32 << 23) as f32 - 1.0)
        .collect()
}

/// `len` bytes.
#[must_use]
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    bits(seed, len).map(|bits| (bits >> 56) as u8).collect()
}

/// `len` labels below `classes`.
#[must_use]
pub fn labels(seed: u64, len: usize, classes: u32) -> Vec<u32> {
    bits(seed, len)
        .map(|bits| (((bits >> 32) * u64::from(classes)) >> 32) as u32)
        .collect()
}

/// Splitmix64.
fn bits(seed: u64, len: usize) -> impl Iterator<Item = u64> {
    (0..len as u64).map(move |index| {
        let mut z = (seed ^ index.wrapping_add(1).rotate_left(20))
            .wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_spread_over_their_range() {
        let floats = floats(1, 10_000);
        assert!(floats.iter().all(|value| (-1.0..1.0).contains(value)));
        let mean = floats.iter().sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.05, "{mean}");
        let mut counts = [0; 10];
        for label in labels(2, 10_000, 10) {
            counts[label as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
    }
}
