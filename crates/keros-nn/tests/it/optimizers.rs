//! Optimizers against Keras's formulas, followed in f64.

use keros_nn::{Adam, NnError, Optimizer, Resolve, Sgd};
use keros_tensor::access::{read, write};
use keros_tensor::{Device, Params, Tensor};

/// Gradient of step `t` for the parameter's elements.
fn gradient(t: usize) -> [f64; 3] {
    let t = t as f64;
    [0.3 - 0.1 * t, (t * 1.7).sin(), 2e-4]
}

/// Runs `steps` updates of one parameter and returns its values.
fn run(optimizer: &mut dyn Optimizer, steps: usize) -> Vec<f32> {
    let mut params = Params::new();
    let start = Tensor::new(&[1.0_f32, -2.0, 0.5], &Device::Cpu).unwrap();
    let id = params.add("w", &start, true).unwrap();
    params.add("frozen", &start, false).unwrap();
    for t in 0..steps {
        write(params[id].grad(), |grad: &mut [f32]| {
            for (slot, g) in grad.iter_mut().zip(gradient(t)) {
                *slot = g as f32;
            }
        })
        .unwrap();
        optimizer.step(&params).unwrap();
    }
    let frozen = params.by_name("frozen").unwrap().value();
    assert_eq!(*read::<f32>(frozen).unwrap(), [1.0, -2.0, 0.5]);
    assert_eq!(optimizer.iterations(), steps as u64);
    read::<f32>(params[id].value()).unwrap().to_vec()
}

fn close(found: &[f32], expected: &[f64]) {
    for (f, e) in found.iter().zip(expected) {
        assert!(
            (f64::from(*f) - e).abs() < 2e-6,
            "{found:?} is not {expected:?}"
        );
    }
}

#[test]
fn adam_follows_keras() {
    let (rate, b1, b2, eps) = (0.05, 0.9, 0.99, 1e-7);
    let mut w = [1.0, -2.0, 0.5];
    let (mut m, mut v) = ([0.0; 3], [0.0_f64; 3]);
    for t in 0..20 {
        let n = t as i32 + 1;
        let alpha = rate * (1.0_f64 - f64::powi(b2, n)).sqrt() / (1.0 - f64::powi(b1, n));
        for (i, g) in gradient(t).into_iter().enumerate() {
            m[i] = b1 * m[i] + (1.0 - b1) * g;
            v[i] = b2 * v[i] + (1.0 - b2) * g * g;
            w[i] -= alpha * m[i] / (v[i].sqrt() + eps);
        }
    }
    let mut adam = Adam::new(rate)
        .unwrap()
        .betas(b1, b2)
        .unwrap()
        .epsilon(eps)
        .unwrap();
    close(&run(&mut adam, 20), &w);
}

#[test]
fn sgd_follows_keras() {
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        let rate = 0.1;
        let mut w = [1.0, -2.0, 0.5];
        let mut m = [0.0; 3];
        for t in 0..20 {
            for (i, g) in gradient(t).into_iter().enumerate() {
                m[i] = momentum * m[i] - rate * g;
                w[i] += if nesterov {
                    momentum * m[i] - rate * g
                } else {
                    m[i]
                };
            }
        }
        let mut sgd = Sgd::new(rate)
            .unwrap()
            .momentum(momentum, nesterov)
            .unwrap();
        close(&run(&mut sgd, 20), &w);
    }
}

#[test]
fn names_give_keras_defaults_and_bad_arguments_are_refused() {
    let adam: Box<dyn Optimizer> = "adam".resolve().unwrap();
    assert_eq!((adam.name(), adam.learning_rate()), ("adam", 0.001));
    let mut sgd: Box<dyn Optimizer> = "sgd".resolve().unwrap();
    assert_eq!((sgd.name(), sgd.learning_rate()), ("sgd", 0.01));
    sgd.set_learning_rate(0.5).unwrap();
    assert!(sgd.set_learning_rate(f64::INFINITY).is_err());
    assert_eq!(sgd.learning_rate(), 0.5);
    let unknown: Result<Box<dyn Optimizer>, NnError> = "adamant".resolve();
    let error = unknown.err().unwrap().to_string();
    assert_eq!(
        error,
        "unknown optimizer `adamant` (expected one of adadelta, adagrad, adam, adamax, adamw, ftrl, \
         lion, nadam, rmsprop, sgd)"
    );
    assert!(Adam::new(-1.0).is_err() && Sgd::new(f64::NAN).is_err());
    assert!(Adam::default().betas(0.9, 1.0).is_err());
    assert!(Adam::default().epsilon(0.0).is_err());
    assert!(Sgd::default().momentum(1.5, false).is_err());
}
