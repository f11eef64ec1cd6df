//! Optimizer updates against Keras's formulas in double precision, and what is done around them.

use keros_tensor::Tensor;
use keros_tensor::kernels::{
    FtrlStrengths, accumulate, adadelta_update, adagrad_update, adam_update, adamax_update,
    amsgrad_update, clamp, ftrl_update, lion_update, mean_of_accumulated, moving_average,
    nadam_update, rmsprop_update, scale, sgd_update, sum, weight_decay,
};

use crate::support::{check_close, flat, flat64, random, same_bits_on_every_path, tensor};

/// Less than a vector, rests of vectors, and several tasks.
const LENGTHS: [usize; 5] = [1, 7, 16, 45, 40_003];

/// Updates a parameter five times by a kernel, `run(w, g, state, t)`, and element by element by its
/// formula, `formula(w, g, state, t)`; the state of `N` tensors begins at `start`.
fn check<const N: usize>(
    start: [f32; N],
    run: impl Fn(&Tensor, &Tensor, &[Tensor; N], i32),
    formula: impl Fn(&mut f64, f64, &mut [f64; N], i32),
) {
    for len in LENGTHS {
        same_bits_on_every_path(|| {
            let w = random(1, &[len]);
            let state = start.map(|start| tensor(&vec![start; len], &[len]));
            let mut w64 = flat64(&w);
            let mut state64 = vec![start.map(f64::from); len];
            for t in 1..=5 {
                let g = random(10 + t as u64, &[len]);
                run(&w, &g, &state, t);
                let elements = w64.iter_mut().zip(flat64(&g)).zip(&mut state64);
                elements.for_each(|((w, g), state)| formula(w, g, state, t));
            }
            check_close("w", &w, &w64, 2e-6);
            for (i, state) in state.iter().enumerate() {
                let expected: Vec<f64> = state64.iter().map(|state| state[i]).collect();
                check_close(&format!("state {i}"), state, &expected, 2e-6);
            }
        });
    }
}

const LR: f64 = 0.01;
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.99;
const EPSILON: f64 = 1e-3;

/// The moments of Adam.
fn moments(g: f64, m: &mut f64, v: &mut f64) {
    *m = BETA1 * *m + (1.0 - BETA1) * g;
    *v = BETA2 * *v + (1.0 - BETA2) * g * g;
}

/// Adam's learning rate with both corrections.
fn alpha(t: i32) -> f64 {
    LR * (1.0 - BETA2.powi(t)).sqrt() / (1.0 - BETA1.powi(t))
}

#[test]
fn adam_matches_the_formula() {
    check(
        [0.0; 2],
        |w, g, [m, v], t| adam_update(w, g, m, v, alpha(t), BETA1, BETA2, EPSILON).unwrap(),
        |w, g, [m, v], t| {
            moments(g, m, v);
            *w -= alpha(t) * *m / (v.sqrt() + EPSILON);
        },
    );
}

#[test]
fn amsgrad_matches_the_formula() {
    check(
        [0.0; 3],
        |w, g, [m, v, max], t| {
            amsgrad_update(w, g, m, v, max, alpha(t), BETA1, BETA2, EPSILON).unwrap();
        },
        |w, g, [m, v, max], t| {
            moments(g, m, v);
            *max = max.max(*v);
            *w -= alpha(t) * *m / (max.sqrt() + EPSILON);
        },
    );
}

#[test]
fn sgd_matches_the_formula() {
    check(
        [],
        |w, g, [], _| sgd_update(w, g, None, LR, false).unwrap(),
        |w, g, [], _| *w -= LR * g,
    );
    for nesterov in [false, true] {
        let mu = 0.9;
        check(
            [0.0],
            |w, g, [m], _| sgd_update(w, g, Some((m, mu)), LR, nesterov).unwrap(),
            |w, g, [m], _| {
                *m = mu * *m - LR * g;
                *w += if nesterov { mu * *m - LR * g } else { *m };
            },
        );
    }
}

#[test]
fn rmsprop_matches_the_formula() {
    let (rho, mu) = (0.9, 0.8);
    for (centered, with_momentum) in [(false, false), (false, true), (true, false), (true, true)] {
        check(
            [0.0; 3],
            |w, g, [v, average, m], _| {
                let average = centered.then_some(average);
                let momentum = with_momentum.then_some((m, mu));
                rmsprop_update(w, g, v, average, momentum, LR, rho, EPSILON).unwrap();
            },
            |w, g, [v, average, m], _| {
                *v = rho * *v + (1.0 - rho) * g * g;
                let mut spread = *v;
                if centered {
                    *average = rho * *average + (1.0 - rho) * g;
                    spread -= *average * *average;
                }
                let mut step = LR * g / (spread + EPSILON).sqrt();
                if with_momentum {
                    *m = mu * *m + step;
                    step = *m;
                }
                *w -= step;
            },
        );
    }
}

#[test]
fn adagrad_adadelta_and_adamax_match_their_formulas() {
    check(
        [0.1],
        |w, g, [a], _| adagrad_update(w, g, a, LR, EPSILON).unwrap(),
        |w, g, [a], _| {
            *a += g * g;
            *w -= LR * g / (*a + EPSILON).sqrt();
        },
    );
    let rho = 0.95;
    check(
        [0.0; 2],
        |w, g, [a, d], _| adadelta_update(w, g, a, d, LR, rho, EPSILON).unwrap(),
        |w, g, [a, d], _| {
            *a = rho * *a + (1.0 - rho) * g * g;
            let delta = g * (*d + EPSILON).sqrt() / (*a + EPSILON).sqrt();
            *d = rho * *d + (1.0 - rho) * delta * delta;
            *w -= LR * delta;
        },
    );
    let alpha = |t| LR / (1.0 - BETA1.powi(t));
    check(
        [0.0; 2],
        |w, g, [m, u], t| adamax_update(w, g, m, u, alpha(t), BETA1, BETA2, EPSILON).unwrap(),
        |w, g, [m, u], t| {
            *m = BETA1 * *m + (1.0 - BETA1) * g;
            *u = (BETA2 * *u).max(g.abs());
            *w -= alpha(t) * *m / (*u + EPSILON);
        },
    );
}

#[test]
fn nadam_matches_the_formula() {
    let momentum = |t: i32| BETA1 * (1.0 - 0.5 * 0.96_f64.powi(t));
    let product = |t: i32| (1..=t).map(momentum).product::<f64>();
    let of_m = |t: i32| LR * momentum(t + 1) / (1.0 - product(t + 1));
    let of_g = |t: i32| LR * (1.0 - momentum(t)) / (1.0 - product(t));
    let correction = |t: i32| 1.0 / (1.0 - BETA2.powi(t));
    check(
        [0.0; 2],
        |w, g, [m, v], t| {
            let alpha = (of_m(t), of_g(t));
            nadam_update(w, g, m, v, alpha, correction(t), BETA1, BETA2, EPSILON).unwrap();
        },
        |w, g, [m, v], t| {
            moments(g, m, v);
            *w -= (of_m(t) * *m + of_g(t) * g) / ((*v * correction(t)).sqrt() + EPSILON);
        },
    );
}

#[test]
fn lion_matches_the_formula() {
    check(
        [0.0],
        |w, g, [m], _| lion_update(w, g, m, LR, BETA1, BETA2).unwrap(),
        |w, g, [m], _| {
            *w -= LR * (BETA1 * *m + (1.0 - BETA1) * g).signum();
            *m = BETA2 * *m + (1.0 - BETA2) * g;
        },
    );
}

#[test]
fn ftrl_matches_the_formula() {
    let strengths = FtrlStrengths {
        l1: 0.02,
        l2: 0.3,
        l2_shrinkage: 0.1,
    };
    for power in [-0.5, -0.7] {
        check(
            [0.1, 0.0],
            |w, g, [a, z], _| ftrl_update(w, g, a, z, 0.5, power, strengths).unwrap(),
            |w, g, [a, z], _| {
                let new = *a + g * g;
                let root = new.powf(-power);
                *z += g + 2.0 * strengths.l2_shrinkage * *w - (root - a.powf(-power)) / 0.5 * *w;
                let clipped = z.clamp(-strengths.l1, strengths.l1);
                *w = (clipped - *z) / (root / 0.5 + 2.0 * strengths.l2);
                *a = new;
            },
        );
    }
}

#[test]
fn what_is_done_around_an_update() {
    check(
        [0.0],
        |w, g, [sum], t| {
            accumulate(sum, g).unwrap();
            if t == 5 {
                mean_of_accumulated(w, sum, 6).unwrap();
            }
        },
        |w, g, [sum], t| {
            *sum += g;
            if t == 5 {
                *w = (*w + *sum) / 6.0;
                *sum = 0.0;
            }
        },
    );
    check(
        [0.5],
        |w, g, [average], _| {
            weight_decay(w, 0.1).unwrap();
            moving_average(average, g, 0.9, 0.2).unwrap();
            scale(w, 1.5).unwrap();
            clamp(w, 0.7).unwrap();
        },
        |w, g, [average], _| {
            *average = 0.9 * *average + 0.2 * g;
            *w = (1.5 * (*w - 0.1 * *w)).clamp(-0.7, 0.7);
        },
    );
    for len in LENGTHS {
        same_bits_on_every_path(|| {
            let x = random(1, &[len]);
            let squares = sum(&x, |x| f64::from(x) * f64::from(x)).unwrap();
            let expected = flat64(&x).iter().map(|x| x * x).sum::<f64>();
            check_close("sum", &tensor(&[squares as f32], &[1]), &[expected], 1e-6);
        });
    }
    let x = tensor(&[f32::NAN], &[1]);
    clamp(&x, 1.0).unwrap();
    assert!(flat(&x)[0].is_nan());
    assert!(clamp(&x, -1.0).is_err());
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
