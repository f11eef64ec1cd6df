//! The two passes: along the rows, then down the columns, for bytes in fixed point and for floats.

use super::weights::Weights;

/// Bits behind the point of a fixed-point weight.
const PRECISION: u32 = 22;

/// A value that can be resampled.
pub(super) trait Value: Copy {
    /// Rows of `width` pixels of `channels` values become shorter or longer.
    fn rows(source: &[Self], width: usize, channels: usize, weights: &Weights) -> Vec<Self>;

    /// Rows of `row_len` values become fewer or more; the first of them has the number `first`.
    fn columns(source: &[Self], row_len: usize, first: usize, weights: &Weights) -> Vec<Self>;
}

/// The weights in fixed point.
fn fixed(weights: &Weights) -> Vec<i32> {
    let one = f64::from(1_u32 << PRECISION);
    let round = |weight: &f64| (weight * one + 0.5_f64.copysign(*weight)) as i32;
    weights.weights.iter().map(round).collect()
}

fn byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

impl Value for u8 {
    fn rows(source: &[u8], width: usize, channels: usize, weights: &Weights) -> Vec<u8> {
        let fixed = fixed(weights);
        match channels {
            1 => byte_rows::<1>(source, width, weights, &fixed),
            3 => byte_rows::<3>(source, width, weights, &fixed),
            4 => byte_rows::<4>(source, width, weights, &fixed),
            _ => byte_rows_of_any(source, width, channels, weights, &fixed),
        }
    }

    fn columns(source: &[u8], row_len: usize, first: usize, weights: &Weights) -> Vec<u8> {
        let fixed = fixed(weights);
        let mut out = Vec::with_capacity(weights.starts.len() * row_len);
        let mut sums = vec![0; row_len];
        for (i, start) in weights.starts.iter().enumerate() {
            sums.fill(HALF);
            let from = (start - first) * row_len;
            let rows = source[from..].chunks_exact(row_len);
            let taps = &fixed[i * weights.taps..][..weights.lengths[i]];
            for (weight, row) in taps.iter().zip(rows) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += i32::from(*value) * weight;
                }
            }
            out.extend(sums.iter().map(|sum| byte(*sum)));
        }
        out
    }
}

fn byte_rows<const C: usize>(
    source: &[u8],
    width: usize,
    weights: &Weights,
    fixed: &[i32],
) -> Vec<u8> {
    let (pixels, _) = source.as_chunks::<C>();
    let mut out = Vec::with_capacity(pixels.len() / width * weights.starts.len() * C);
    for row in pixels.chunks_exact(width) {
        let taps = fixed.chunks_exact(weights.taps);
        let new = weights.starts.iter().zip(&weights.lengths).zip(taps);
        for ((start, length), taps) in new {
            let mut sums = [HALF; C];
            for (weight, pixel) in taps.iter().zip(&row[*start..start + length]) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            out.extend_from_slice(&sums.map(byte));
        }
    }
    out
}

fn byte_rows_of_any(
    source: &[u8],
    width: usize,
    channels: usize,
    weights: &Weights,
    fixed: &[i32],
) -> Vec<u8> {
    let mut out = Vec::new();
    for row in source.chunks_exact(width * channels) {
        for (i, start) in weights.starts.iter().enumerate() {
            let taps = &fixed[i * weights.taps..][..weights.lengths[i]];
            for channel in 0..channels {
                let values = row[start * channels + channel..].iter().step_by(channels);
                let products = taps.iter().zip(values).map(|(w, v)| i32::from(*v) * w);
                out.push(byte(HALF + products.sum::<i32>()));
            }
        }
    }
    out
}

impl Value for f32 {
    fn rows(source: &[f32], width: usize, channels: usize, weights: &Weights) -> Vec<f32> {
        let mut out = Vec::new();
        for row in source.chunks_exact(width * channels) {
            for (i, start) in weights.starts.iter().enumerate() {
                let taps = &weights.weights[i * weights.taps..][..weights.lengths[i]];
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
            let taps = &weights.weights[i * weights.taps..][..weights.lengths[i]];
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
