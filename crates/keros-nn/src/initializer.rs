//! How parameters begin.

use crate::error::NnError;
use crate::layers::finite;
use keros_tensor::{Device, Shape, Stream, Tensor};
use std::str::FromStr;

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
    /// All the same.
    Constant {
        /// The number.
        value: f32,
    },
    /// Normal; Keras's defaults are 0 and 0.05.
    RandomNormal {
        /// Mean.
        mean: f32,
        /// Standard deviation, at least 0.
        stddev: f32,
    },
    /// Normal cut off at two standard deviations; Keras's defaults are 0 and 0.05.
    TruncatedNormal {
        /// Mean.
        mean: f32,
        /// Standard deviation before the cut, at least 0.
        stddev: f32,
    },
    /// Of variance `scale / n`, `n` being a fan; Keras's defaults are 1, the fan in and the normal
    /// cut off.
    VarianceScaling {
        /// Above 0.
        scale: f32,
        /// What `n` is.
        mode: Fan,
        /// The distribution.
        distribution: Distribution,
    },
    /// Orthogonal columns (rows, if there are fewer of them) of length `gain`, the last axis against
    /// all others, uniformly distributed (Saxe et al. 2014); Keras's default is 1.
    Orthogonal {
        /// The length.
        gain: f32,
    },
    /// `gain` on the diagonal of a matrix, 0 beside it; Keras's default is 1.
    Identity {
        /// The number on the diagonal.
        gain: f32,
    },
    /// Uniform in `[minval, maxval)`; the default of [`Embedding`](crate::layers::Embedding), with
    /// ±0.05.
    RandomUniform {
        /// Lower end.
        minval: f32,
        /// Upper end, at least `minval`.
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
    /// Uniform in ±√(3 / fan_in) (LeCun et al. 1998).
    LecunUniform,
    /// Normal cut off at two standard deviations, of variance 1 / fan_in.
    LecunNormal,
}

/// What [`Initializer::VarianceScaling`] divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// `fan_in`
    In,
    /// `fan_out`
    Out,
    /// The mean of both.
    Avg,
}

/// How the values of [`Initializer::VarianceScaling`] are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Normal cut off at two standard deviations.
    TruncatedNormal,
    /// Normal.
    UntruncatedNormal,
    /// Uniform.
    Uniform,
}

/// Keras's classes with its other names and its defaults.
const NAMES: [(&str, &str, Initializer); 15] = [
    ("Zeros", "zeros", Initializer::Zeros),
    ("Ones", "ones", Initializer::Ones),
    ("Constant", "constant", Initializer::Constant { value: 0.0 }),
    (
        "RandomNormal",
        "random_normal",
        Initializer::RandomNormal {
            mean: 0.0,
            stddev: 0.05,
        },
    ),
    (
        "TruncatedNormal",
        "truncated_normal",
        Initializer::TruncatedNormal {
            mean: 0.0,
            stddev: 0.05,
        },
    ),
    (
        "RandomUniform",
        "random_uniform",
        Initializer::RandomUniform {
            minval: -0.05,
            maxval: 0.05,
        },
    ),
    (
        "VarianceScaling",
        "variance_scaling",
        Initializer::VarianceScaling {
            scale: 1.0,
            mode: Fan::In,
            distribution: Distribution::TruncatedNormal,
        },
    ),
    (
        "Orthogonal",
        "orthogonal",
        Initializer::Orthogonal { gain: 1.0 },
    ),
    ("Identity", "identity", Initializer::Identity { gain: 1.0 }),
    (
        "GlorotUniform",
        "glorot_uniform",
        Initializer::GlorotUniform,
    ),
    ("GlorotNormal", "glorot_normal", Initializer::GlorotNormal),
    ("HeUniform", "he_uniform", Initializer::HeUniform),
    ("HeNormal", "he_normal", Initializer::HeNormal),
    ("LecunUniform", "lecun_uniform", Initializer::LecunUniform),
    ("LecunNormal", "lecun_normal", Initializer::LecunNormal),
];

const KNOWN: [&str; NAMES.len()] = {
    let mut known = [""; NAMES.len()];
    let mut i = 0;
    while i < NAMES.len() {
        known[i] = NAMES[i].1;
        i += 1;
    }
    known
};

impl FromStr for Initializer {
    type Err = NnError;

    /// Keras's names, such as `he_normal` or `HeNormal`, with Keras's defaults.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = NAMES
            .iter()
            .find(|(class, other, _)| *class == name || *other == name);
        named
            .map(|(_, _, initializer)| *initializer)
            .ok_or_else(|| NnError::UnknownName {
                kind: "initializer",
                name: name.to_owned(),
                known: &KNOWN,
            })
    }
}

/// Standard deviation of the standard normal distribution cut off at ±2.
const TRUNCATED_STD: f64 = 0.879_625_66;

impl Initializer {
    /// A new f32 tensor of `shape` with values drawn from `stream`.
    ///
    /// # Errors
    /// A shape that the distribution is not defined for, an argument out of range, or a tensor that
    /// cannot be made.
    pub fn tensor(
        self,
        shape: &[usize],
        stream: &Stream,
        device: &Device,
    ) -> Result<Tensor, NnError> {
        let size: usize = shape.iter().product();
        let mut values = Vec::new();
        if values.try_reserve_exact(size).is_err() {
            return Err(NnError::shape(
                "parameter",
                "a size that fits into memory",
                shape,
            ));
        }
        values.resize(size, 0.0_f32);
        let scaled = |scale: f32, mode, distribution| Initializer::VarianceScaling {
            scale,
            mode,
            distribution,
        };
        let (normal, uniform) = (Distribution::TruncatedNormal, Distribution::Uniform);
        match self {
            Initializer::Zeros => {}
            Initializer::Ones => values.fill(1.0),
            Initializer::Constant { value } => values.fill(value),
            Initializer::RandomUniform { minval, maxval } => {
                finite("minval", minval)?;
                if !(maxval >= minval && (maxval - minval).is_finite()) {
                    let expected = format!("at least minval, {minval}, and finitely far from it");
                    return Err(NnError::argument("maxval", expected, maxval));
                }
                stream.fill_uniform(0, minval, maxval, &mut values);
            }
            Initializer::RandomNormal { mean, stddev } => {
                check_normal(mean, stddev)?;
                stream.fill_normal(0, mean, stddev, &mut values);
            }
            Initializer::TruncatedNormal { mean, stddev } => {
                check_normal(mean, stddev)?;
                stream.fill_truncated_normal(0, mean, stddev, &mut values);
            }
            Initializer::VarianceScaling {
                scale,
                mode,
                distribution,
            } => {
                if !(scale > 0.0 && scale.is_finite()) {
                    return Err(NnError::argument("scale", "a number above 0", scale));
                }
                let (fan_in, fan_out) = fans(shape);
                let n = match mode {
                    Fan::In => fan_in,
                    Fan::Out => fan_out,
                    Fan::Avg => (fan_in + fan_out) / 2.0,
                };
                let variance = f64::from(scale) / n.max(1.0);
                let std = variance.sqrt();
                match distribution {
                    Distribution::Uniform => {
                        let limit = (3.0 * variance).sqrt() as f32;
                        stream.fill_uniform(0, -limit, limit, &mut values);
                    }
                    Distribution::UntruncatedNormal => {
                        stream.fill_normal(0, 0.0, std as f32, &mut values);
                    }
                    Distribution::TruncatedNormal => {
                        let std = (std / TRUNCATED_STD) as f32;
                        stream.fill_truncated_normal(0, 0.0, std, &mut values);
                    }
                }
            }
            Initializer::Orthogonal { gain } => {
                let Some((&columns, [_, ..])) = shape.split_last() else {
                    return Err(NnError::shape(
                        "orthogonal parameter",
                        "at least 2 axes",
                        shape,
                    ));
                };
                stream.fill_normal(0, 0.0, 1.0, &mut values);
                orthogonalize(&mut values, columns, gain);
            }
            Initializer::Identity { gain } => {
                let &[_, columns] = shape else {
                    return Err(NnError::shape("identity parameter", "2 axes", shape));
                };
                let diagonal = values.iter_mut().step_by(columns + 1);
                diagonal.take(columns).for_each(|value| *value = gain);
            }
            Initializer::GlorotUniform => {
                return scaled(1.0, Fan::Avg, uniform).tensor(shape, stream, device);
            }
            Initializer::GlorotNormal => {
                return scaled(1.0, Fan::Avg, normal).tensor(shape, stream, device);
            }
            Initializer::HeUniform => {
                return scaled(2.0, Fan::In, uniform).tensor(shape, stream, device);
            }
            Initializer::HeNormal => {
                return scaled(2.0, Fan::In, normal).tensor(shape, stream, device);
            }
            Initializer::LecunUniform => {
                return scaled(1.0, Fan::In, uniform).tensor(shape, stream, device);
            }
            Initializer::LecunNormal => {
                return scaled(1.0, Fan::In, normal).tensor(shape, stream, device);
            }
        }
        Ok(Tensor::from_vec(values, Shape::from(shape), device)?)
    }
}

fn check_normal(mean: f32, stddev: f32) -> Result<(), NnError> {
    finite("mean", mean)?;
    match stddev >= 0.0 && stddev.is_finite() {
        true => Ok(()),
        false => Err(NnError::argument(
            "stddev",
            "a finite number from 0",
            stddev,
        )),
    }
}

/// Makes the shorter side of a matrix of `columns` columns orthogonal, by Gram and Schmidt (twice,
/// which is enough), with vectors of length `gain`.
fn orthogonalize(values: &mut [f32], columns: usize, gain: f32) {
    let rows = values.len().checked_div(columns).unwrap_or(0);
    let (count, length) = (rows.min(columns), rows.max(columns));
    let at = |i: usize, k: usize| match rows < columns {
        true => i * columns + k,
        false => k * columns + i,
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut done: Vec<Vec<f64>> = Vec::with_capacity(count);
    for i in 0..count {
        let mut vector: Vec<f64> = (0..length).map(|k| f64::from(values[at(i, k)])).collect();
        for other in done.iter().chain(&done) {
            let along = dot(&vector, other);
            vector
                .iter_mut()
                .zip(other)
                .for_each(|(v, o)| *v -= along * o);
        }
        let norm = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|v| *v /= norm);
        for (k, v) in vector.iter().enumerate() {
            values[at(i, k)] = (f64::from(gain) * v) as f32;
        }
        done.push(vector);
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
