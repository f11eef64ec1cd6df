//! How parameters begin.

use keros_tensor::{Device, Shape, Stream, Tensor, TensorError};

/// The distribution of a parameter's first values, with Keras's definitions.
///
/// `fan_in` and `fan_out` of a shape `[…, in, out]` are the product of the leading dimensions (the
/// receptive field) times `in` and `out`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Initializer {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// Uniform in `[minval, maxval)`; the default of [`Embedding`](crate::layers::Embedding), with
    /// ±0.05.
    RandomUniform {
        /// Lower end.
        minval: f32,
        /// Upper end.
        maxval: f32,
    },
    /// Uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010); the default of kernels.
    GlorotUniform,
    /// Normal cut off at two standard deviations, of variance 2 / (fan_in + fan_out).
    GlorotNormal,
    /// Uniform in ±√(6 / fan_in) (He et al. 2015).
    HeUniform,
    /// Normal cut off at two standard deviations, of variance 2 / fan_in.
    HeNormal,
}

/// Standard deviation of the standard normal distribution cut off at ±2.
const TRUNCATED_STD: f64 = 0.879_625_66;

impl Initializer {
    /// A new f32 tensor of `shape` with values drawn from `stream`.
    ///
    /// # Errors
    /// When the tensor cannot be made.
    pub fn tensor(
        self,
        shape: &[usize],
        stream: &Stream,
        device: &Device,
    ) -> Result<Tensor, TensorError> {
        let (fan_in, fan_out) = fans(shape);
        let mut values = vec![0.0_f32; shape.iter().product()];
        let uniform = |values: &mut [f32], fan: f64| {
            let limit = (6.0 / fan).sqrt() as f32;
            stream.fill_uniform(0, -limit, limit, values);
        };
        let normal = |values: &mut [f32], fan: f64| {
            let std = (2.0 / fan).sqrt() / TRUNCATED_STD;
            stream.fill_truncated_normal(0, 0.0, std as f32, values);
        };
        match self {
            Initializer::Zeros => {}
            Initializer::Ones => values.fill(1.0),
            Initializer::RandomUniform { minval, maxval } => {
                stream.fill_uniform(0, minval, maxval, &mut values);
            }
            Initializer::GlorotUniform => uniform(&mut values, fan_in + fan_out),
            Initializer::GlorotNormal => normal(&mut values, fan_in + fan_out),
            Initializer::HeUniform => uniform(&mut values, fan_in),
            Initializer::HeNormal => normal(&mut values, fan_in),
        }
        Ok(Tensor::from_vec(values, Shape::from(shape), device)?)
    }
}

fn fans(shape: &[usize]) -> (f64, f64) {
    match shape {
        [] => (1.0, 1.0),
        [n] => (*n as f64, *n as f64),
        [field @ .., fan_in, fan_out] => {
            let field = field.iter().product::<usize>() as f64;
            (field * *fan_in as f64, field * *fan_out as f64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(initializer: Initializer, shape: &[usize]) -> (f64, f64, f64) {
        let stream = Stream::new(7, 1);
        let tensor = initializer.tensor(shape, &stream, &Device::Cpu).unwrap();
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
        let largest = values
            .iter()
            .fold(0.0_f64, |m, v| m.max(f64::from(v.abs())));
        (mean, square - mean * mean, largest)
    }

    #[test]
    fn variances_and_limits_follow_the_fans() {
        // fan_in = 9 · 32 = 288, fan_out = 9 · 64 = 576.
        let shape = [3, 3, 32, 64];
        for (initializer, variance, limit) in [
            (
                Initializer::GlorotUniform,
                2.0 / 864.0,
                (6.0_f64 / 864.0).sqrt(),
            ),
            (
                Initializer::HeUniform,
                2.0 / 288.0,
                (6.0_f64 / 288.0).sqrt(),
            ),
            (
                Initializer::GlorotNormal,
                2.0 / 864.0,
                2.0 * (2.0_f64 / 864.0).sqrt() / TRUNCATED_STD,
            ),
            (
                Initializer::HeNormal,
                2.0 / 288.0,
                2.0 * (2.0_f64 / 288.0).sqrt() / TRUNCATED_STD,
            ),
        ] {
            let (mean, found, largest) = moments(initializer, &shape);
            assert!(
                mean.abs() < 0.02 * f64::sqrt(variance),
                "{initializer:?} mean {mean}"
            );
            assert!(
                (found / variance - 1.0).abs() < 0.03,
                "{initializer:?} variance {found}"
            );
            assert!(
                largest <= limit * 1.000_001,
                "{initializer:?} reaches {largest}"
            );
        }
    }
}
