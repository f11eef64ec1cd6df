//! Updates that depend on the whole of a parameter, against Keras's formulas in double precision.

use keros_tensor::kernels::{
    Adafactor, Muon, Update, adafactor_update, fill, lamb_update, muon_update,
};
use keros_tensor::{DType, Tensor, Workspace};

use crate::support::{
    check_close, flat, flat64, on_every_path, random, same_bits_on_every_path, tensor,
};
use crate::test_device::test_device;

/// Less than a vector, rests of vectors, several tasks, several matrices.
const SHAPES: [&[usize]; 9] = [
    &[1],
    &[45],
    &[40_003],
    &[1, 7],
    &[33, 20],
    &[700, 50],
    &[3, 2, 5, 17],
    &[2, 3, 20_001],
    &[9, 9_001],
];

fn squares(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

/// A parameter and what an optimizer keeps of it, in double precision too.
struct Case {
    w: Tensor,
    w64: Vec<f64>,
    state: Vec<Tensor>,
    state64: Vec<Vec<f64>>,
}

impl Case {
    fn new(shape: &[usize], state: &[&[usize]]) -> Case {
        let w = random(1, shape);
        let zeros = |shape: &&[usize]| tensor(&vec![0.0; shape.iter().product()], shape);
        let state: Vec<Tensor> = state.iter().map(zeros).collect();
        Case {
            w64: flat64(&w),
            w,
            state64: state.iter().map(flat64).collect(),
            state,
        }
    }

    fn update<'a>(&'a self, grad: &'a Tensor) -> Update<'a> {
        Update {
            param: &self.w,
            grad,
            state: &self.state,
        }
    }

    fn check(&self, tolerance: f64) {
        check_close("w", &self.w, &self.w64, tolerance);
        for (state, expected) in self.state.iter().zip(&self.state64) {
            check_close("state", state, expected, tolerance);
        }
    }
}

#[test]
fn lamb_matches_the_formula() {
    let (lr, beta1, beta2, epsilon) = (0.01, 0.9, 0.99, 1e-3);
    for shape in SHAPES {
        same_bits_on_every_path(|| {
            let ws = &mut Workspace::new(test_device());
            let mut case = Case::new(shape, &[shape, shape]);
            for t in 1..=4 {
                let g = random(10 + t as u64, shape);
                let g64 = flat64(&g);
                let (c1, c2) = (
                    1.0 / (1.0 - f64::powi(beta1, t)),
                    1.0 / (1.0 - f64::powi(beta2, t)),
                );
                let (first, second) = case.state64.split_at_mut(1);
                let moments = first[0].iter_mut().zip(&mut second[0]);
                let u: Vec<f64> = moments
                    .zip(g64)
                    .map(|((m, v), g)| {
                        *m += (1.0 - beta1) * (g - *m);
                        *v += (1.0 - beta2) * (g * g - *v);
                        *m * c1 / ((*v * c2).sqrt() + epsilon)
                    })
                    .collect();
                let ratio = squares(&case.w64).sqrt() / squares(&u).sqrt();
                let pairs = case.w64.iter_mut().zip(&u);
                pairs.for_each(|(w, u)| *w -= lr * ratio * u);
                let updates = [case.update(&g)];
                lamb_update(ws, &updates, lr, (c1, c2), beta1, beta2, epsilon).unwrap();
            }
            case.check(3e-6);
        });
    }
}

#[test]
fn a_norm_of_0_changes_nothing_in_lamb() {
    let ws = &mut Workspace::new(test_device());
    let (zero, ones) = (tensor(&[0.0; 3], &[3]), tensor(&[1.0; 3], &[3]));
    let state = || [tensor(&[0.0; 3], &[3]), tensor(&[0.0; 3], &[3])];
    let (a, b) = (state(), state());
    let (w, g) = (tensor(&[0.0; 3], &[3]), tensor(&[2.0; 3], &[3]));
    let first = Update {
        param: &w,
        grad: &g,
        state: &a,
    };
    let second = Update {
        param: &ones,
        grad: &zero,
        state: &b,
    };
    lamb_update(ws, &[first, second], 0.5, (10.0, 100.0), 0.9, 0.99, 1e-7).unwrap();
    check_close("from 0", &w, &[-0.5; 3], 1e-6);
    assert_eq!(flat(&ones), [1.0; 3]);
    lamb_update(ws, &[], 0.5, (1.0, 1.0), 0.9, 0.99, 1e-7).unwrap();
    assert!(
        lamb_update(
            ws,
            &[
                first,
                Update {
                    state: &b[..1],
                    ..second
                }
            ],
            0.5,
            (1.0, 1.0),
            0.9,
            0.99,
            1e-7
        )
        .is_err()
    );
}

/// Follows Adafactor's formula for a parameter of this shape.
fn adafactor(case: &mut Case, shape: &[usize], g: &[f64], numbers: Adafactor) {
    let mix = |old: f64, new: f64| numbers.beta2 * old + (1.0 - numbers.beta2) * new;
    let q: Vec<f64> = g.iter().map(|g| g * g + numbers.epsilon1).collect();
    let v: Vec<f64> = match *shape {
        [.., rows, columns] => {
            let (first, second) = case.state64.split_at_mut(1);
            let (r, c) = (&mut first[0], &mut second[0]);
            for (r, q) in r.iter_mut().zip(q.chunks(columns)) {
                *r = mix(*r, q.iter().sum::<f64>() / columns as f64);
            }
            for (i, c) in c.iter_mut().enumerate() {
                let matrix = &q[i / columns * rows * columns..][..rows * columns];
                let column = matrix.iter().skip(i % columns).step_by(columns);
                *c = mix(*c, column.sum::<f64>() / rows as f64);
            }
            let means: Vec<f64> = r
                .chunks(rows)
                .map(|r| r.iter().sum::<f64>() / rows as f64)
                .collect();
            (0..q.len())
                .map(|i| {
                    let (row, matrix) = (i / columns, i / columns / rows);
                    r[row] / means[matrix] * c[matrix * columns + i % columns]
                })
                .collect()
        }
        _ => {
            let v = &mut case.state64[0];
            v.iter_mut().zip(&q).for_each(|(v, q)| *v = mix(*v, *q));
            v.clone()
        }
    };
    let u: Vec<f64> = g.iter().zip(&v).map(|(g, v)| g / v.sqrt()).collect();
    let rms = |x: &[f64]| (squares(x) / x.len() as f64).sqrt();
    let rate = numbers.rate * rms(&case.w64).max(numbers.epsilon2)
        / (rms(&u) / numbers.clip_threshold).max(1.0);
    let pairs = case.w64.iter_mut().zip(&u);
    pairs.for_each(|(w, u)| *w -= rate * u);
}

#[test]
fn adafactor_matches_the_formula() {
    for shape in SHAPES {
        for (epsilon2, clip_threshold) in [(1e-3, 1.0), (3.0, 0.5)] {
            same_bits_on_every_path(|| {
                let ws = &mut Workspace::new(test_device());
                let state: Vec<Vec<usize>> = match shape {
                    [outer @ .., rows, columns] => {
                        vec![[outer, &[*rows]].concat(), [outer, &[*columns]].concat()]
                    }
                    _ => vec![shape.to_vec()],
                };
                let state: Vec<&[usize]> = state.iter().map(|shape| &shape[..]).collect();
                let mut case = Case::new(shape, &state);
                for t in 1..=4_i32 {
                    let numbers = Adafactor {
                        rate: 0.05 / f64::from(t).sqrt(),
                        beta2: 1.0 - f64::from(t).powf(-0.8),
                        epsilon1: 1e-30,
                        epsilon2,
                        clip_threshold,
                    };
                    let g = random(10 + t as u64, shape);
                    adafactor(&mut case, shape, &flat64(&g), numbers);
                    adafactor_update(ws, &[case.update(&g)], numbers).unwrap();
                }
                case.check(5e-6);
            });
        }
    }
}

/// As a matrix has whose layer is behind a ReLU that is never above 0, and of which a class is never asked for.
#[test]
fn a_row_and_a_column_without_gradients_are_finite_in_adafactor() {
    let shape = [20, 33];
    for size in [1.0, 1e-8, 1e10] {
        same_bits_on_every_path(|| {
            let ws = &mut Workspace::new(test_device());
            let mut case = Case::new(&shape, &[&[20], &[33]]);
            let before = case.w64.clone();
            for t in 1..=3_i32 {
                let numbers = Adafactor {
                    rate: 0.05,
                    beta2: 1.0 - f64::from(t).powf(-0.8),
                    epsilon1: 1e-30,
                    epsilon2: 1e-3,
                    clip_threshold: 1.0,
                };
                let mut g = flat(&random(10 + t as u64, &shape));
                for (i, g) in g.iter_mut().enumerate() {
                    let is_dead = i / 33 == 7 || i % 33 == 12;
                    *g = if is_dead { 0.0 } else { *g * size };
                }
                let g = tensor(&g, &shape);
                adafactor(&mut case, &shape, &flat64(&g), numbers);
                adafactor_update(ws, &[case.update(&g)], numbers).unwrap();
            }
            check_close("w", &case.w, &case.w64, 5e-6);
            assert_eq!(f64::from(flat(&case.w)[7 * 33 + 12]), before[7 * 33 + 12]);
        });
    }
}

/// The product of a matrix and another, or the transposed of that.
fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let column = |j: usize| b.iter().map(move |row| row[j]);
    let row = |a: &Vec<f64>| {
        (0..b[0].len())
            .map(|j| a.iter().zip(column(j)).map(|(a, b)| a * b).sum())
            .collect()
    };
    a.iter().map(row).collect()
}

fn transposed(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..a[0].len())
        .map(|j| a.iter().map(|row| row[j]).collect())
        .collect()
}

#[test]
fn muon_matches_the_formula() {
    let [a, b, c] = [3.4445, -4.775, 2.0315];
    for [rows, columns] in [
        [1, 1],
        [1, 9],
        [20, 7],
        [7, 20],
        [16, 16],
        [130, 40],
        [40, 150],
    ] {
        for (nesterov, rms_rate) in [(true, Some(0.2)), (false, None)] {
            on_every_path(|| {
                let numbers = Muon {
                    lr: 0.02,
                    momentum: 0.9,
                    nesterov,
                    coefficients: [a, b, c],
                    steps: 5,
                    rms_rate,
                };
                let ws = &mut Workspace::new(test_device());
                let shape = [rows, columns];
                let mut case = Case::new(&shape, &[&shape]);
                for t in 1..=3 {
                    let g = random(10 + t, &shape);
                    let pairs = case.state64[0].iter_mut().zip(flat64(&g));
                    let x: Vec<f64> = pairs
                        .map(|(m, g)| {
                            *m = 0.9 * *m + g;
                            if nesterov { g + 0.9 * *m } else { *m }
                        })
                        .collect();
                    let norm = squares(&x).sqrt() + 1e-7;
                    let x: Vec<f64> = x.iter().map(|x| x / norm).collect();
                    let mut x: Vec<Vec<f64>> = x.chunks(columns).map(<[f64]>::to_vec).collect();
                    if rows > columns {
                        x = transposed(&x);
                    }
                    for _ in 0..5 {
                        let gram = product(&x, &transposed(&x));
                        let square = product(&gram, &gram);
                        let sum: Vec<Vec<f64>> = gram
                            .iter()
                            .zip(&square)
                            .map(|(g, s)| g.iter().zip(s).map(|(g, s)| b * g + c * s).collect())
                            .collect();
                        let next = product(&sum, &x);
                        x = x
                            .iter()
                            .zip(&next)
                            .map(|(x, n)| x.iter().zip(n).map(|(x, n)| a * x + n).collect())
                            .collect();
                    }
                    if rows > columns {
                        x = transposed(&x);
                    }
                    let long = (rows.max(columns) as f64).sqrt();
                    let rate = 0.02 * rms_rate.map_or(1.0, |rate| rate * long);
                    let pairs = case.w64.iter_mut().zip(x.concat());
                    pairs.for_each(|(w, x)| *w -= rate * x);
                    muon_update(ws, &[case.update(&g)], numbers).unwrap();
                }
                // Small singular values grow by 3.4 in each iteration, and so do errors of them.
                case.check(1e-4);
            });
        }
    }
}

#[test]
fn muon_without_steps_goes_along_the_momentum() {
    let ws = &mut Workspace::new(test_device());
    let (w, m) = (tensor(&[1.0; 6], &[2, 3]), tensor(&[0.0; 6], &[2, 3]));
    let numbers = Muon {
        lr: 0.5,
        momentum: 0.9,
        nesterov: false,
        coefficients: [3.0, -4.0, 2.0],
        steps: 0,
        rms_rate: None,
    };
    let g = ws.take(&[2, 3], DType::F32).unwrap();
    fill(&g, 2.0).unwrap();
    let update = Update {
        param: &w,
        grad: &g,
        state: std::slice::from_ref(&m),
    };
    muon_update(ws, &[update], numbers).unwrap();
    let along = 1.0 / 6_f64.sqrt();
    check_close("w", &w, &[1.0 - 0.5 * along; 6], 1e-6);
    // The gradient is still the caller's.
    let other = ws.take(&[2, 3], DType::F32).unwrap();
    fill(&other, 7.0).unwrap();
    check_close("g", &g, &[along; 6], 1e-6);
}

#[test]
fn what_does_not_fit_is_refused() {
    let ws = &mut Workspace::new(test_device());
    let (w, g) = (random(1, &[2, 3]), random(2, &[2, 3]));
    let (of_rows, of_columns) = (random(3, &[2]), random(4, &[3]));
    let numbers = Adafactor {
        rate: 0.1,
        beta2: 0.5,
        epsilon1: 1e-30,
        epsilon2: 1e-3,
        clip_threshold: 1.0,
    };
    let muon = Muon {
        lr: 0.1,
        momentum: 0.9,
        nesterov: true,
        coefficients: [3.0, -4.0, 2.0],
        steps: 2,
        rms_rate: None,
    };
    let before = flat(&w);
    for state in [
        vec![],
        vec![of_rows.clone()],
        vec![of_columns, of_rows.clone()],
        vec![w.clone(), of_rows],
    ] {
        let update = Update {
            param: &w,
            grad: &g,
            state: &state,
        };
        assert!(adafactor_update(ws, &[update], numbers).is_err());
        assert!(muon_update(ws, &[update], muon).is_err());
    }
    let flat_one = random(5, &[6]);
    let update = Update {
        param: &flat_one,
        grad: &random(6, &[6]),
        state: &[random(7, &[6])],
    };
    let error = muon_update(ws, &[update], muon).unwrap_err().to_string();
    assert!(error.contains("[rows, columns]"), "{error}");
    assert_eq!(flat(&w), before);
    adafactor_update(ws, &[], numbers).unwrap();
    muon_update(ws, &[], muon).unwrap();
}
