//! The two passes, along the rows and then down the columns, for floats.

use super::weights::Weights;

/// A value that can be resampled.
pub(super) trait Value: Copy {
    /// Rows of `width` pixels of `channels` values become shorter or longer.
    fn rows(source: &[Self], width: usize, channels: usize, weights: &Weights) -> Vec<Self>;

    /// Rows of `row_len` values become fewer or more; the first of them has the number `first`.
    fn columns(source: &[Self], row_len: usize, first: usize, weights: &Weights) -> Vec<Self>;
}

impl Value for f32 {
    fn rows(source: &[f32], width: usize, channels: usize, weights: &Weights) -> Vec<f32> {
        let mut out = Vec::new();
        for row in source.chunks_exact(width * channels) {
            for (i, start) in weights.starts.iter().enumerate() {
                let taps = weights.taps_of(&weights.weights, i);
                for channel in 0..channels {
                    let values = row[start * channels + channel..].iter().step_by(channels);
                    let products = taps.iter().zip(values).map(|(w, v)| f64::from(*v) * w);
                    out.push(products.sum::<f64>() as f32);
                }
            }
        }
        out
    }

    fn columns(source: &[f32], row_len: usize, first: usize, weights: &Weights) -> Vec<f32> {
        let mut out = Vec::with_capacity(weights.starts.len() * row_len);
        let mut sums = vec![0.0; row_len];
        for (i, start) in weights.starts.iter().enumerate() {
            sums.fill(0.0);
            let from = (start - first) * row_len;
            let rows = source[from..].chunks_exact(row_len);
            let taps = weights.taps_of(&weights.weights, i);
            for (weight, row) in taps.iter().zip(rows) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*value) * weight;
                }
            }
            out.extend(sums.iter().map(|sum| *sum as f32));
        }
        out
    }
}
