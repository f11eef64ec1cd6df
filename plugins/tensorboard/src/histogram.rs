//! The buckets of a histogram, as `tf.summary.histogram` makes them.

/// How many there are; the default of `tf.summary.histogram`.
const BUCKETS: usize = 30;

/// A row per bucket: its left edge, its right edge, and how many values are in it. The buckets are of
/// equal width from the least to the greatest value; if these are equal, every edge is that value and
/// the last bucket has them all. Values that are not finite are left out; without any other, all is 0.
pub(crate) fn buckets(values: &[f32]) -> Vec<[f64; 3]> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let least = f64::from(finite().fold(f32::INFINITY, f32::min));
    let greatest = f64::from(finite().fold(f32::NEG_INFINITY, f32::max));
    if least > greatest {
        return vec![[0.0; 3]; BUCKETS];
    }
    let width = (greatest - least) / BUCKETS as f64;
    let edge = |i: usize| match i {
        BUCKETS => greatest,
        _ => least + width * i as f64,
    };
    let mut rows: Vec<[f64; 3]> = (0..BUCKETS).map(|i| [edge(i), edge(i + 1), 0.0]).collect();
    for value in finite() {
        let bucket = if width > 0.0 {
            // Rounds down, and the greatest value is in the last one.
            (((f64::from(value) - least) / width) as usize).min(BUCKETS - 1)
        } else {
            BUCKETS - 1
        };
        rows[bucket][2] += 1.0;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, buckets};

    fn counts(values: &[f32]) -> Vec<(usize, f64)> {
        let rows = buckets(values);
        let counts = rows.iter().enumerate().map(|(i, row)| (i, row[2]));
        counts.filter(|(_, count)| *count > 0.0).collect()
    }

    #[test]
    fn values_fall_into_buckets_of_equal_width() {
        let rows = buckets(&[0.0, 3.0, 0.05, 1.5, 3.0]);
        assert_eq!(rows.len(), BUCKETS);
        assert_eq!(rows[0], [0.0, 0.1, 2.0]);
        assert_eq!(rows[29][1..], [3.0, 2.0]);
        assert_eq!(rows[15][2], 1.0);
        for pair in rows.windows(2) {
            assert_eq!(pair[0][1], pair[1][0]);
        }
    }

    #[test]
    fn equal_values_are_in_the_last_bucket() {
        assert_eq!(buckets(&[0.5; 4]), {
            let mut rows = vec![[0.5, 0.5, 0.0]; BUCKETS];
            rows[29][2] = 4.0;
            rows
        });
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let values = [f32::NAN, -1.0, f32::INFINITY, 1.0, f32::NEG_INFINITY];
        assert_eq!(counts(&values), [(0, 1.0), (29, 1.0)]);
        assert_eq!(counts(&[f32::NAN]), []);
        assert_eq!(buckets(&[]), vec![[0.0; 3]; BUCKETS]);
    }

    #[test]
    fn the_widest_range_and_the_narrowest_have_finite_edges() {
        for values in [[f32::MIN, f32::MAX], [0.0, f32::from_bits(1)]] {
            let rows = buckets(&values);
            assert!(rows.as_flattened().iter().all(|edge| edge.is_finite()));
            assert_eq!(rows.iter().map(|row| row[2]).sum::<f64>(), 2.0);
        }
    }
}
