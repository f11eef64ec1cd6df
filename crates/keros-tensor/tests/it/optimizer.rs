//! Optimizer updates against Keras's formulas in double precision.

use keros_tensor::kernels::{adam_update, sgd_update};

use crate::support::{check_close, flat64, random};

/// Two lengths: one task, and several.
const LENGTHS: [usize; 2] = [7, 40_000];

#[test]
fn adam_matches_the_formula() {
    for len in LENGTHS {
        let w = random(1, &[len]);
        let (m, v) = (w.zeros_like().unwrap(), w.zeros_like().unwrap());
        let mut w64 = flat64(&w);
        let (mut m64, mut v64) = (vec![0.0; len], vec![0.0; len]);
        let (lr, beta1, beta2, epsilon) = (1e-3, 0.9f64, 0.999f64, 1e-7);
        for t in 1..=5 {
            let g = random(10 + t as u64, &[len]);
            let alpha = lr * (1.0 - beta2.powi(t)).sqrt() / (1.0 - beta1.powi(t));
            adam_update(&w, &g, &m, &v, alpha, beta1, beta2, epsilon).unwrap();
            for (i, g) in flat64(&g).into_iter().enumerate() {
                m64[i] = beta1 * m64[i] + (1.0 - beta1) * g;
                v64[i] = beta2 * v64[i] + (1.0 - beta2) * g * g;
                w64[i] -= alpha * m64[i] / (v64[i].sqrt() + epsilon);
            }
        }
        check_close("w", &w, &w64, 1e-6);
        check_close("m", &m, &m64, 1e-6);
        check_close("v", &v, &v64, 1e-6);
    }
}

#[test]
fn sgd_matches_the_formula() {
    for len in LENGTHS {
        for (mu, nesterov) in [(None, false), (Some(0.9), false), (Some(0.9), true)] {
            let w = random(1, &[len]);
            let velocity = w.zeros_like().unwrap();
            let (mut w64, mut u64) = (flat64(&w), vec![0.0; len]);
            let lr = 0.05;
            for t in 0..4 {
                let g = random(10 + t, &[len]);
                sgd_update(&w, &g, mu.map(|mu| (&velocity, mu)), lr, nesterov).unwrap();
                let mu = mu.unwrap_or(0.0);
                for (i, g) in flat64(&g).into_iter().enumerate() {
                    u64[i] = mu * u64[i] - lr * g;
                    w64[i] += if nesterov {
                        mu * u64[i] - lr * g
                    } else {
                        u64[i]
                    };
                }
            }
            check_close("w", &w, &w64, 1e-6);
        }
    }
}

#[test]
fn wrong_tensors_are_errors() {
    let (w, g) = (random(1, &[3]), random(2, &[4]));
    assert!(sgd_update(&w, &g, None, 0.1, false).is_err());
    assert!(sgd_update(&w, &w.copy().unwrap(), None, 0.1, true).is_err());
    // The same tensor twice.
    assert!(sgd_update(&w, &w, None, 0.1, false).is_err());
    let g = random(2, &[3]);
    assert!(adam_update(&w, &g, &w, &g.copy().unwrap(), 0.1, 0.9, 0.999, 1e-7).is_err());
    let m = g.zeros_like().unwrap();
    assert!(adam_update(&w, &g, &m, &m, 0.1, 0.9, 0.999, 1e-7).is_err());
}
