//! Element-wise activations against their definitions in double precision.

use keros_tensor::kernels::{Function, function, function_backward, log_softmax};
use keros_tensor::{Tensor, Workspace};

use crate::support::{
    check_close, finite_differences, flat, flat64, found, random, same_bits_on_every_path, tensor,
};
use crate::test_device::test_device;

fn relu(max_value: f32, negative_slope: f32, threshold: f32) -> Function {
    Function::Relu {
        max_value,
        negative_slope,
        threshold,
    }
}

fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn elu(x: f64, alpha: f64) -> f64 {
    if x < 0.0 { alpha * x.exp_m1() } else { x }
}

/// The part of the standard normal distribution below `x`.
fn normal(x: f64) -> f64 {
    let z = x.abs() / 2.0_f64.sqrt();
    let tail = if z < 2.0 {
        // The series of the error function.
        let (mut term, mut sum) = (z, z);
        for n in 1..60 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        0.5 - sum / std::f64::consts::PI.sqrt()
    } else {
        // The continued fraction of its complement.
        let fraction = (1..100)
            .rev()
            .fold(z, |rest, n| z + 0.5 * f64::from(n) / rest);
        0.5 * (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt())
    };
    if x < 0.0 { tail } else { 1.0 - tail }
}

fn reference(f: Function, x: f64) -> f64 {
    match f {
        Function::Relu {
            max_value,
            negative_slope,
            threshold,
        } => match x - f64::from(threshold) {
            below if below <= 0.0 => f64::from(negative_slope) * below,
            _ => x.min(f64::from(max_value)),
        },
        Function::Elu { alpha } => elu(x, f64::from(alpha)),
        Function::Selu => 1.050_700_987_355_480_5 * elu(x, 1.673_263_242_354_377_2),
        Function::Sigmoid => sigmoid(x),
        Function::Tanh => x.tanh(),
        Function::Softplus => softplus(x),
        Function::Softsign => x / (1.0 + x.abs()),
        Function::Exponential => x.exp(),
        Function::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Function::HardSilu => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Function::Silu => x * sigmoid(x),
        Function::Gelu => x * normal(x),
        Function::Mish => x * softplus(x).tanh(),
        other => panic!("no reference for {other:?}"),
    }
}

/// Finite numbers of every size, and those around the ends of what an exponential can be.
fn all_sizes() -> Vec<f32> {
    let patterns = (0..=u32::MAX).step_by(32_771).map(f32::from_bits);
    let mut values: Vec<f32> = patterns.filter(|x| x.is_finite()).collect();
    let denormal = f32::from_bits(1);
    for edge in [
        0.0,
        denormal,
        f32::MIN_POSITIVE,
        f32::MAX,
        0.625,
        15.0,
        20.0,
        104.5,
        120.0,
    ] {
        values.extend([edge, -edge]);
    }
    for edge in [88.722_84_f32, -87.336_54, -103.972_08] {
        let bits = edge.to_bits();
        values.extend((bits - 9..bits + 9).map(f32::from_bits));
    }
    // Where most inputs are.
    values.extend((-4000..4000).map(|k| k as f32 / 333.0));
    values
}

/// Distance between neighbours among the `f32` of this size.
fn last_place(value: f64) -> f64 {
    let exponent = (value.abs().to_bits() >> 52) as i32 - 1023;
    2.0_f64.powi(exponent.max(-126) - 23)
}

#[test]
fn values_of_every_size_are_within_their_bounds() {
    let values = all_sizes();
    let x = tensor(&values, &[values.len()]);
    same_bits_on_every_path(|| {
        let ws = &mut Workspace::new(test_device());
        for (f, bound) in [
            (Function::Exponential, 1.0),
            (Function::Tanh, 2.0),
            (Function::Sigmoid, 3.0),
            (Function::Softplus, 3.0),
            (Function::Elu { alpha: 1.0 }, 1.0),
            (Function::Selu, 4.0),
            (Function::Silu, 4.0),
            (Function::Gelu, 7.0),
            (Function::Mish, 4.0),
        ] {
            let y = function(ws, &x, f).unwrap();
            found(&format!("{f:?}"), &y);
            for (&x, y) in values.iter().zip(flat(&y)) {
                let expected = reference(f, f64::from(x));
                if expected > f64::from(f32::MAX) {
                    assert_eq!(y, f32::INFINITY, "{f:?}({x:e})");
                    continue;
                }
                let error = (f64::from(y) - expected).abs();
                let allowed = (bound * last_place(expected)).max(1e-43);
                assert!(
                    error <= allowed,
                    "{f:?}({x:e}): {y:e} instead of {expected:e}"
                );
            }
        }
    });
}

#[test]
fn edges_of_exponential_functions() {
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    let x = tensor(&[-infinity, -0.0, infinity, 89.0, -105.0], &[5]);
    let nans = tensor(&[nan, -nan], &[2]);
    let dy = tensor(&[1.0; 5], &[5]);
    same_bits_on_every_path(|| {
        let ws = &mut Workspace::new(test_device());
        for (f, expected) in [
            (Function::Exponential, [0.0, 1.0, infinity, infinity, 0.0]),
            (Function::Tanh, [-1.0, -0.0, 1.0, 1.0, -1.0]),
            (Function::Sigmoid, [0.0, 0.5, 1.0, 1.0, 0.0]),
            (
                Function::Softplus,
                [0.0, std::f32::consts::LN_2, infinity, 89.0, 0.0],
            ),
            (
                Function::Elu { alpha: 2.0 },
                [-2.0, -0.0, infinity, 89.0, -2.0],
            ),
            (Function::Silu, [-0.0, -0.0, infinity, 89.0, -0.0]),
            (Function::Gelu, [-0.0, -0.0, infinity, 89.0, -0.0]),
            (Function::Mish, [-0.0, -0.0, infinity, 89.0, -0.0]),
        ] {
            let y = flat(&function(ws, &x, f).unwrap());
            let bits =
                |values: &[f32]| -> Vec<u32> { values.iter().map(|y| y.to_bits()).collect() };
            assert_eq!(bits(&y), bits(&expected), "{f:?}: {y:?}");
            let y = flat(&function(ws, &nans, f).unwrap());
            assert!(y.iter().all(|y| y.is_nan()), "{f:?}");
        }
        for f in [Function::Silu, Function::Gelu, Function::Mish] {
            let dx = flat(&function_backward(ws, &x, &dy, f).unwrap());
            assert_eq!([dx[0], dx[2], dx[3], dx[4]], [0.0, 1.0, 1.0, 0.0], "{f:?}");
        }
    });
}

#[test]
fn values_and_gradients() {
    same_bits_on_every_path(|| {
        let ws = &mut Workspace::new(test_device());
        for f in [
            relu(f32::INFINITY, 0.0, 0.0),
            relu(2.0, 0.1, 0.0),
            relu(2.0, 0.1, 0.5),
            relu(f32::INFINITY, -0.3, 0.0),
            Function::Elu { alpha: 0.8 },
            Function::Elu { alpha: 0.0 },
            Function::Elu { alpha: -0.8 },
            Function::Selu,
            Function::Sigmoid,
            Function::Tanh,
            Function::Softplus,
            Function::Softsign,
            Function::Exponential,
            Function::HardSigmoid,
            Function::HardSilu,
            Function::Silu,
            Function::Gelu,
            Function::Mish,
        ] {
            for size in [1, 7, 33] {
                // In ±4, where every piece of every function is.
                let values: Vec<f32> = flat(&random(size as u64, &[size]))
                    .iter()
                    .map(|x| 4.0 * x)
                    .collect();
                let (x, dy) = (tensor(&values, &[size]), random(90, &[size]));
                let y = function(ws, &x, f).unwrap();
                let expected: Vec<f64> = flat64(&x).iter().map(|x| reference(f, *x)).collect();
                check_close(&format!("{f:?}"), &y, &expected, 2e-6);
                let kept = if f.keeps_output() { &y } else { &x };
                let dx = function_backward(ws, kept, &dy, f).unwrap();
                let weights = flat64(&dy);
                let expected = finite_differences(&flat64(&x), |x| {
                    let terms = x.iter().zip(&weights);
                    terms.map(|(x, dy)| reference(f, *x) * dy).sum()
                });
                check_close(&format!("{f:?} backward"), &dx, &expected, 2e-5);
            }
        }
    });
}

#[test]
fn not_a_number_stays_and_infinities_do_not_make_one() {
    let ws = &mut Workspace::new(test_device());
    let x = tensor(&[f32::NAN, f32::NEG_INFINITY, f32::INFINITY], &[3]);
    let y = flat(&function(ws, &x, relu(6.0, 0.0, 0.0)).unwrap());
    assert!(y[0].is_nan());
    assert_eq!(y[1..], [0.0, 6.0]);
}

#[test]
fn log_softmax_of_large_logits() {
    let ws = &mut Workspace::new(test_device());
    let x = Tensor::new(&[[1000.0_f32, 999.0], [-1000.0, -1000.0]], test_device()).unwrap();
    let y = log_softmax(ws, &x).unwrap();
    let half = 0.5_f64.ln();
    let one = -(1.0_f64 + (-1.0_f64).exp()).ln();
    check_close("log softmax", &y, &[one, one - 1.0, half, half], 1e-6);
}
