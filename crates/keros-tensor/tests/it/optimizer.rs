//! Optimizer updates against Keras's formulas in double precision, and what is done around them.

use keros_tensor::kernels::{
    FtrlStrengths, L1L2, NormBounds, Update, accumulate, adadelta_update, adagrad_update,
    adam_update, adamax_update, add_l1_l2_gradient, amsgrad_update, bound_norms, clamp,
    clip_global_norm, clip_norms, ftrl_update, l1_l2_penalties, l1_l2_sums, lion_update,
    mean_of_accumulated, moving_average, nadam_update, non_negative, rmsprop_update, scale,
    sgd_update, sum, sums_of_squares, weight_decay,
};
use keros_tensor::{Tensor, Workspace};

use crate::support::{check_close, flat, flat64, random, same_bits_on_every_path, tensor};
use crate::test_device::test_device;

/// Less than a vector, rests of vectors, and several tasks.
const LENGTHS: [usize; 5] = [1, 7, 16, 45, 40_003];

fn update<'a>(param: &'a Tensor, grad: &'a Tensor, state: &'a [Tensor]) -> Update<'a> {
    Update { param, grad, state }
}

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
        |w, g, s, t| adam_update(&[update(w, g, s)], alpha(t), BETA1, BETA2, EPSILON).unwrap(),
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
        |w, g, s, t| amsgrad_update(&[update(w, g, s)], alpha(t), BETA1, BETA2, EPSILON).unwrap(),
        |w, g, [m, v, max], t| {
            moments(g, m, v);
            *max = max.max(*v);
            *w -= alpha(t) * *m / (max.sqrt() + EPSILON);
        },
    );
}

#[test]
fn a_second_moment_that_is_lost_shows_in_the_parameter() {
    let (w, g) = (tensor(&[1.0], &[1]), tensor(&[1e20], &[1]));
    let state = [(); 3].map(|()| tensor(&[0.0], &[1]));
    let update = [update(&w, &g, &state)];
    // The square of the gradient is infinite, and what goes on from there is no number.
    for expected in [true, false] {
        amsgrad_update(&update, LR, BETA1, BETA2, EPSILON).unwrap();
        assert_eq!(flat(&w)[0].is_finite(), expected);
        keros_tensor::kernels::copy(&tensor(&[1.0], &[1]), &g).unwrap();
    }
}

#[test]
fn sgd_matches_the_formula() {
    check(
        [],
        |w, g, s, _| sgd_update(&[update(w, g, s)], None, LR, false).unwrap(),
        |w, g, [], _| *w -= LR * g,
    );
    for nesterov in [false, true] {
        let mu = 0.9;
        check(
            [0.0],
            |w, g, s, _| sgd_update(&[update(w, g, s)], Some(mu), LR, nesterov).unwrap(),
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
                let mut state = vec![v.clone()];
                state.extend(centered.then(|| average.clone()));
                state.extend(with_momentum.then(|| m.clone()));
                let momentum = with_momentum.then_some(mu);
                let updates = [update(w, g, &state)];
                rmsprop_update(&updates, centered, momentum, LR, rho, EPSILON).unwrap();
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
        |w, g, s, _| adagrad_update(&[update(w, g, s)], LR, EPSILON).unwrap(),
        |w, g, [a], _| {
            *a += g * g;
            *w -= LR * g / (*a + EPSILON).sqrt();
        },
    );
    let rho = 0.95;
    check(
        [0.0; 2],
        |w, g, s, _| adadelta_update(&[update(w, g, s)], LR, rho, EPSILON).unwrap(),
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
        |w, g, s, t| adamax_update(&[update(w, g, s)], alpha(t), BETA1, BETA2, EPSILON).unwrap(),
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
        |w, g, s, t| {
            let (updates, alpha) = ([update(w, g, s)], (of_m(t), of_g(t)));
            nadam_update(&updates, alpha, correction(t), BETA1, BETA2, EPSILON).unwrap();
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
        |w, g, s, _| lion_update(&[update(w, g, s)], LR, BETA1, BETA2).unwrap(),
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
            |w, g, s, _| ftrl_update(&[update(w, g, s)], 0.5, power, strengths).unwrap(),
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
            accumulate(&[(sum, g)], 1.0).unwrap();
            if t == 5 {
                mean_of_accumulated(&[(w, sum)], 6).unwrap();
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
            weight_decay(&[w], 0.1).unwrap();
            moving_average(&[(average, g)], 0.9, 0.2).unwrap();
            scale(&[w], 1.5).unwrap();
            clamp(&[w], 0.7).unwrap();
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
    clamp(&[&x], 1.0).unwrap();
    assert!(flat(&x)[0].is_nan());
    assert!(clamp(&[&x], -1.0).is_err());
}

/// More tensors than one start on a GPU takes, of many lengths.
fn many(seed: u64) -> Vec<Tensor> {
    let of = |i: u64| random(seed + i, &[(i * i) as usize % 97 * 31]);
    (0..150).map(of).collect()
}

fn squares(tensor: &Tensor) -> f64 {
    flat64(tensor).iter().map(|x| x * x).sum()
}

#[test]
fn many_parameters_are_updated_at_once() {
    let (w, g, m) = (many(1), many(1000), many(2000));
    let expected: Vec<(Vec<f64>, Vec<f64>)> = (0..w.len())
        .map(|i| {
            let (w, g, m) = (flat64(&w[i]), flat64(&g[i]), flat64(&m[i]));
            let m: Vec<f64> = m.iter().zip(&g).map(|(m, g)| 0.9 * m - LR * g).collect();
            (w.iter().zip(&m).map(|(w, m)| w + m).collect(), m)
        })
        .collect();
    let updates: Vec<Update<'_>> = (0..w.len())
        .map(|i| update(&w[i], &g[i], &m[i..=i]))
        .collect();
    sgd_update(&updates, Some(0.9), LR, false).unwrap();
    for (i, (w64, m64)) in expected.iter().enumerate() {
        check_close("w", &w[i], w64, 1e-6);
        check_close("m", &m[i], m64, 1e-6);
    }
    sgd_update(&[], None, LR, false).unwrap();
}

#[test]
fn gradients_are_clipped_by_their_norms() {
    let ws = &mut Workspace::new(test_device());
    let grads = many(1);
    let before: Vec<Vec<f64>> = grads.iter().map(flat64).collect();
    let all: Vec<&Tensor> = grads.iter().collect();
    let limit = 12.0;
    clip_norms(ws, &all, limit).unwrap();
    for (grad, before) in grads.iter().zip(&before) {
        let norm = before.iter().map(|x| x * x).sum::<f64>().sqrt();
        let factor = if norm > limit { limit / norm } else { 1.0 };
        let expected: Vec<f64> = before.iter().map(|x| factor * x).collect();
        check_close("clipped", grad, &expected, 1e-6);
    }
    let norm = |grads: &[Tensor]| grads.iter().map(squares).sum::<f64>().sqrt();
    let whole = norm(&grads);
    clip_global_norm(ws, &all, 1.01 * whole).unwrap();
    assert!((norm(&grads) / whole - 1.0).abs() < 1e-9, "not longer");
    clip_global_norm(ws, &all, whole / 3.0).unwrap();
    assert!((norm(&grads) / whole - 1.0 / 3.0).abs() < 1e-6);

    // Only the gradient itself, or all.
    let infinite = tensor(&[1.0, f32::INFINITY], &[2]);
    let short = tensor(&[0.5, 0.5], &[2]);
    clip_norms(ws, &[&infinite, &short], 1.0).unwrap();
    assert!(flat(&infinite)[1].is_nan());
    assert_eq!(flat(&short), [0.5, 0.5]);
    clip_global_norm(ws, &[&infinite, &short], 1.0).unwrap();
    assert!(flat(&short).iter().all(|x| x.is_nan()));
    clip_norms(ws, &[], 1.0).unwrap();
    clip_global_norm(ws, &[], 1.0).unwrap();
}

#[test]
fn penalties_and_their_gradients() {
    let (x, y) = (random(1, &[3, 1001]), random(2, &[7]));
    let of = |tensor, l1, l2| L1L2 { tensor, l1, l2 };
    let found = l1_l2_penalties(&[of(&x, 0.5, 0.25), of(&y, 0.0, 2.0), of(&y, 0.1, 0.0)]).unwrap();
    let sizes = |x: &Tensor| flat64(x).iter().map(|x| x.abs()).sum::<f64>();
    let expected = [
        0.5 * sizes(&x) + 0.25 * squares(&x),
        2.0 * squares(&y),
        0.1 * sizes(&y),
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
    }
    assert!(l1_l2_penalties(&[]).unwrap().is_empty());
    let infinite = tensor(&[1.0, f32::INFINITY], &[2]);
    let found = l1_l2_penalties(&[of(&infinite, 0.0, 0.1), of(&infinite, 0.1, 0.0)]).unwrap();
    assert_eq!(found, [f64::INFINITY; 2]);
    assert_eq!(l1_l2_penalties(&[of(&infinite, 0.0, 0.0)]).unwrap(), [0.0]);
    // The same as sums that are still to be multiplied.
    same_bits_on_every_path(|| {
        let ws = &mut Workspace::new(test_device());
        let parts = l1_l2_sums(ws, &[of(&x, 0.5, 0.25), of(&y, 0.0, 2.0)]).unwrap();
        let totals = parts.iter().map(|part| {
            let sums: Vec<f64> = part.sums.to_vec1().unwrap();
            part.total(&sums)
        });
        let total: f64 = totals.sum();
        assert!((total / (expected[0] + expected[1]) - 1.0).abs() < 1e-12);
    });

    let x = tensor(&[0.5, 0.0, -2.0, f32::NAN], &[4]);
    let grad = tensor(&[1.0; 4], &[4]);
    add_l1_l2_gradient(&grad, of(&x, 0.25, 0.5)).unwrap();
    assert_eq!(flat(&grad)[..3], [1.75, 1.0, -1.25]);
    assert!(flat(&grad)[3].is_nan());
}

#[test]
fn sums_of_squares_tell_what_is_finite() {
    same_bits_on_every_path(|| {
        let ws = &mut Workspace::new(test_device());
        let large = tensor(&[f32::MAX; 40], &[8, 5]);
        let all = [random(1, &[3, 1001]), large, random(2, &[0, 4])];
        let found: Vec<f64> = sums_of_squares(ws, &all.each_ref())
            .unwrap()
            .to_vec1()
            .unwrap();
        // One without elements has no sum.
        let expected = [squares(&all[0]), 40.0 * f64::from(f32::MAX).powi(2)];
        assert_eq!(found.len(), 2);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        }
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let bad = tensor(&[1.0, bad], &[2]);
            let found = sums_of_squares(ws, &[&bad, &all[0]]).unwrap();
            let found: Vec<f64> = found.to_vec1().unwrap();
            assert!(!found[0].is_finite() && found[1].is_finite());
        }
        assert_eq!(sums_of_squares(ws, &[]).unwrap().elem_count(), 0);
    });
}

#[test]
fn constraints_hold_along_their_axes() {
    same_bits_on_every_path(|| {
        let x = random(1, &[4097]);
        let expected: Vec<f64> = flat64(&x).iter().map(|x| x.max(0.0)).collect();
        non_negative(&[&x]).unwrap();
        check_close("non-negative", &x, &expected, 0.0);
    });
    let bounds = NormBounds {
        min: 0.9,
        max: 1.1,
        rate: None,
    };
    for axes in [&[0][..], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[2, 0, 1]] {
        for shape in [[3, 5, 7], [2, 300, 1], [40, 2, 65]] {
            let x = random(2, &shape);
            let before = flat64(&x);
            let strides = [shape[1] * shape[2], shape[2], 1];
            let vector = |i: usize| -> Vec<usize> {
                let kept = (0..3).filter(|axis| !axes.contains(axis));
                kept.map(|axis| i / strides[axis] % shape[axis]).collect()
            };
            let mut squares = std::collections::HashMap::new();
            for (i, x) in before.iter().enumerate() {
                *squares.entry(vector(i)).or_insert(0.0) += x * x;
            }
            for rate in [None, Some(0.25)] {
                let x = x.copy().unwrap();
                bound_norms(&x, axes, NormBounds { rate, ..bounds }).unwrap();
                let factor = |i: usize| {
                    let norm = f64::sqrt(squares[&vector(i)]);
                    let rate = rate.unwrap_or(1.0);
                    (rate * norm.clamp(0.9, 1.1) + (1.0 - rate) * norm) / (norm + 1e-7)
                };
                let expected = before.iter().enumerate().map(|(i, x)| x * factor(i));
                let expected: Vec<f64> = expected.collect();
                check_close(&format!("{shape:?} {axes:?}"), &x, &expected, 1e-6);
            }
        }
    }
    let x = random(3, &[2, 2]);
    assert!(bound_norms(&x, &[2], bounds).is_err());
    assert!(bound_norms(&x, &[0], NormBounds { min: 2.0, ..bounds }).is_err());
}

#[test]
fn wrong_tensors_are_errors() {
    let (w, g) = (random(1, &[3]), random(2, &[4]));
    assert!(sgd_update(&[update(&w, &g, &[])], None, 0.1, false).is_err());
    let copy = w.copy().unwrap();
    assert!(sgd_update(&[update(&w, &copy, &[])], None, 0.1, true).is_err());
    // The same tensor twice.
    assert!(sgd_update(&[update(&w, &w, &[])], None, 0.1, false).is_err());
    let g = random(2, &[3]);
    let adam = |state: &[Tensor]| adam_update(&[update(&w, &g, state)], 0.1, 0.9, 0.999, 1e-7);
    let (m, v) = (random(3, &[3]), random(4, &[3]));
    assert!(adam(&[w.clone(), v.clone()]).is_err());
    assert!(adam(&[m.clone(), m.clone()]).is_err());
    let error = adam(std::slice::from_ref(&m)).unwrap_err().to_string();
    assert!(error.contains("number of state tensors"), "{error}");
    assert_eq!(flat(&w), flat(&copy));
    adam(&[m, v]).unwrap();
}
