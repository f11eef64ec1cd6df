//! Element-wise activations against their definitions in double precision.

use keros_tensor::kernels::{Function, function, function_backward, log_softmax};
use keros_tensor::{Device, Tensor, Workspace};

use crate::support::{
    check_close, finite_differences, flat, flat64, random, same_bits_on_every_path, tensor,
};

fn relu(max_value: f32, negative_slope: f32, threshold: f32) -> Function {
    Function::Relu {
        max_value,
        negative_slope,
        threshold,
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn elu(x: f64, alpha: f64) -> f64 {
    if x < 0.0 { alpha * (x.exp() - 1.0) } else { x }
}

/// The error function by its series, which converges everywhere.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
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
        Function::Softplus => x.exp().ln_1p(),
        Function::Softsign => x / (1.0 + x.abs()),
        Function::Exponential => x.exp(),
        Function::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Function::HardSilu => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Function::Silu => x * sigmoid(x),
        Function::Gelu => x / 2.0 * (1.0 + erf(x / 2.0_f64.sqrt())),
        Function::Mish => x * x.exp().ln_1p().tanh(),
        other => panic!("no reference for {other:?}"),
    }
}

#[test]
fn values_and_gradients() {
    same_bits_on_every_path(|| {
        let ws = &mut Workspace::new(&Device::Cpu);
        for f in [
            relu(f32::INFINITY, 0.0, 0.0),
            relu(2.0, 0.1, 0.0),
            relu(2.0, 0.1, 0.5),
            relu(f32::INFINITY, -0.3, 0.0),
            Function::Elu { alpha: 0.8 },
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
    let ws = &mut Workspace::new(&Device::Cpu);
    let x = tensor(&[f32::NAN, f32::NEG_INFINITY, f32::INFINITY], &[3]);
    let y = flat(&function(ws, &x, relu(6.0, 0.0, 0.0)).unwrap());
    assert!(y[0].is_nan());
    assert_eq!(y[1..], [0.0, 6.0]);
}

#[test]
fn log_softmax_of_large_logits() {
    let ws = &mut Workspace::new(&Device::Cpu);
    let x = Tensor::new(&[[1000.0_f32, 999.0], [-1000.0, -1000.0]], &Device::Cpu).unwrap();
    let y = log_softmax(ws, &x).unwrap();
    let half = 0.5_f64.ln();
    let one = -(1.0_f64 + (-1.0_f64).exp()).ln();
    check_close("log softmax", &y, &[one, one - 1.0, half, half], 1e-6);
}
