//! Normalizations against their formulas in double precision, gradients against differences.

use keros_tensor::kernels::{
    Activation, BatchNorm, NormLayout, NormParams, activation, activation_backward, batch_norm,
    batch_norm_backward, channel_statistics, moving_average, normalize, normalize_backward,
    unit_normalize, unit_normalize_backward,
};
use keros_tensor::{Device, Tensor, Workspace, parallel};
use proptest::prelude::*;

use crate::support::{
    check_close, finite_differences, flat, flat64, random, same_bits_on_every_path, tensor,
};
use crate::test_device::test_device;

const EPSILON: f32 = 1e-3;

/// The sets of elements over which statistics are taken, normalized with scale and shift.
fn naive(
    x: &[f64],
    set_of: &dyn Fn(usize) -> usize,
    param_of: &dyn Fn(usize) -> usize,
    gamma: &[f64],
    beta: &[f64],
) -> Vec<f64> {
    let sets = (0..x.len()).map(set_of).max().map_or(0, |last| last + 1);
    let (mut mean, mut variance, mut count) = (vec![0.0; sets], vec![0.0; sets], vec![0.0; sets]);
    (0..x.len()).for_each(|i| count[set_of(i)] += 1.0);
    (0..x.len()).for_each(|i| mean[set_of(i)] += x[i] / count[set_of(i)]);
    (0..x.len()).for_each(|i| {
        variance[set_of(i)] += (x[i] - mean[set_of(i)]).powi(2) / count[set_of(i)];
    });
    (0..x.len())
        .map(|i| {
            let (set, param) = (set_of(i), param_of(i));
            let root = (variance[set] + f64::from(EPSILON)).sqrt();
            gamma[param] * (x[i] - mean[set]) / root + beta[param]
        })
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn batch_norm_follows_its_formula(
        shape in (2usize..5, 1usize..5, 1usize..5, 1usize..7),
        axis in 1usize..4,
    ) {
        let shape = [shape.0, shape.1, shape.2, shape.3];
        let (channels, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let channel = move |i: usize| i / inner % channels;
        same_bits_on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let (x, gamma, beta) = (random(1, &shape), random(2, &[channels]), random(3, &[channels]));
            let (x64, gamma64, beta64) = (flat64(&x), flat64(&gamma), flat64(&beta));
            let formula = |x: &[f64], gamma: &[f64], beta: &[f64]| {
                naive(x, &channel, &channel, gamma, beta)
            };
            let (mean, variance) = channel_statistics(&mut ws, &x, axis).unwrap();
            let norm = BatchNorm {
                gamma: Some(&gamma),
                beta: Some(&beta),
                ..BatchNorm::new(axis, &mean, &variance, EPSILON)
            };
            let y = batch_norm(&mut ws, &x, &norm).unwrap();
            check_close("y", &y, &formula(&x64, &gamma64, &beta64), 2e-5);

            let dy = random(4, &shape);
            let dy64 = flat64(&dy);
            let (dgamma, dbeta) = (random(5, &[channels]), random(6, &[channels]));
            let (dg, db) = (Some(&dgamma), Some(&dbeta));
            let dx = batch_norm_backward(&mut ws, &x, &dy, &norm, true, dg, db, true).unwrap().unwrap();
            let expected = finite_differences(&x64, |x| dot(&formula(x, &gamma64, &beta64), &dy64));
            check_close("dx", &dx, &expected, 2e-4);
            let expected = finite_differences(&gamma64, |g| dot(&formula(&x64, g, &beta64), &dy64));
            check_close("dgamma", &dgamma, &expected, 1e-4);
            let expected = finite_differences(&beta64, |b| dot(&formula(&x64, &gamma64, b), &dy64));
            check_close("dbeta", &dbeta, &expected, 1e-4);

            // With constants for statistics the gradient is a scale.
            let variance64 = flat64(&variance);
            let dx = batch_norm_backward(&mut ws, &x, &dy, &norm, false, None, None, true)
                .unwrap()
                .unwrap();
            let scaled = |(i, dy): (usize, &f64)| {
                let c = channel(i);
                dy * gamma64[c] / (variance64[c] + f64::from(EPSILON)).sqrt()
            };
            let expected: Vec<f64> = dy64.iter().enumerate().map(scaled).collect();
            check_close("dx of constants", &dx, &expected, 1e-5);
        });
    }

    #[test]
    fn normalize_follows_its_formula(
        (outer, before, kept, after) in (1usize..4, 1usize..5, 1usize..4, 1usize..12),
        trailing in any::<bool>(),
    ) {
        let layout = NormLayout { outer, before, kept, after };
        let params = if trailing { NormParams::Trailing } else { NormParams::Normalized };
        let set = move |i: usize| i / (before * kept * after) * kept + i / after % kept;
        let param = move |i: usize| {
            let row = if trailing { i / after % kept } else { i / (kept * after) % before };
            row * after + i % after
        };
        let len = if trailing { kept * after } else { before * after };
        same_bits_on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let shape = [outer, before, kept, after];
            let (x, gamma, beta) = (random(1, &shape), random(2, &[len]), random(3, &[len]));
            let (x64, gamma64, beta64) = (flat64(&x), flat64(&gamma), flat64(&beta));
            let formula = |x: &[f64], gamma: &[f64], beta: &[f64]| naive(x, &set, &param, gamma, beta);
            let (g, b) = (Some(&gamma), Some(&beta));
            let (y, statistics) = normalize(&mut ws, &x, &layout, g, b, params, EPSILON).unwrap();
            check_close("y", &y, &formula(&x64, &gamma64, &beta64), 2e-5);

            let dy = random(4, &shape);
            let dy64 = flat64(&dy);
            let (dgamma, dbeta) = (random(5, &[len]), random(6, &[len]));
            let dx = normalize_backward(
                &mut ws, &x, &statistics, &dy, &layout, g, params, Some(&dgamma), Some(&dbeta), true,
            ).unwrap().unwrap();
            let expected = finite_differences(&x64, |x| dot(&formula(x, &gamma64, &beta64), &dy64));
            check_close("dx", &dx, &expected, 5e-4);
            let expected = finite_differences(&gamma64, |g| dot(&formula(&x64, g, &beta64), &dy64));
            check_close("dgamma", &dgamma, &expected, 2e-4);
            let expected = finite_differences(&beta64, |b| dot(&formula(&x64, &gamma64, b), &dy64));
            check_close("dbeta", &dbeta, &expected, 2e-5);
        });
    }

    #[test]
    fn unit_normalize_follows_its_formula(
        (outer, before, kept, after) in (1usize..4, 1usize..5, 1usize..4, 1usize..12),
    ) {
        let layout = NormLayout { outer, before, kept, after };
        let set = |i: usize| i / (before * kept * after) * kept + i / after % kept;
        let formula = |x: &[f64]| -> Vec<f64> {
            let mut squares = vec![0.0; outer * kept];
            (0..x.len()).for_each(|i| squares[set(i)] += x[i] * x[i]);
            (0..x.len()).map(|i| x[i] / squares[set(i)].sqrt().max(1e-12)).collect()
        };
        same_bits_on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let x = (random(1, &[outer, before, kept, after]) + 0.1).unwrap();
            let (y, factors) = unit_normalize(&mut ws, &x, &layout).unwrap();
            check_close("y", &y, &formula(&flat64(&x)), 1e-6);
            let dy = random(2, x.dims());
            let dx = unit_normalize_backward(&mut ws, &y, &factors, &dy, &layout).unwrap();
            let scale = flat(&factors).into_iter().fold(1.0, f32::max);
            let expected = finite_differences(&flat64(&x), |x| dot(&formula(x), &flat64(&dy)));
            check_close("dx", &dx, &expected, 1e-5 * f64::from(scale));
        });
    }
}

/// Each case starts some hundred kernels, which takes a while where the GPU is an emulated one.
fn cases_of_wide_groups() -> u32 {
    if test_device().is_cpu() { 60 } else { 2 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases_of_wide_groups()))]

    /// More channels than are handled side by side.
    #[test]
    fn wide_groups_are_what_they_are_alone(
        (outer, before) in (1usize..3, 2usize..9),
        (kept, after) in (1usize..40, 1usize..150),
    ) {
        let layout = NormLayout { outer, before, kept, after };
        let alone = NormLayout { kept: 1, ..layout };
        let shape = [outer, before, kept, after];
        let trailing = NormParams::Trailing;
        same_bits_on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let (x, dy) = (random(1, &shape), random(2, &shape));
            let (gamma, beta) = (random(3, &[kept, after]), random(4, &[kept, after]));
            let (dgamma, dbeta) = (random(5, &[kept, after]), random(6, &[kept, after]));
            let (g, b) = (Some(&gamma), Some(&beta));
            let (y, statistics) = normalize(&mut ws, &x, &layout, g, b, trailing, EPSILON).unwrap();
            let dx = normalize_backward(
                &mut ws, &x, &statistics, &dy, &layout, g, trailing, Some(&dgamma), Some(&dbeta), true,
            ).unwrap().unwrap();
            for k in 0..kept {
                let part = |t: &Tensor, axis| t.narrow(axis, k, 1).unwrap().contiguous().unwrap();
                let (x, dy, gamma, beta) = (part(&x, 2), part(&dy, 2), part(&gamma, 0), part(&beta, 0));
                let normalized = NormParams::Normalized;
                // Each row has the parameters, so that the other kernels can take them.
                let rows = |t: &Tensor| t.broadcast_as((before, after)).unwrap().contiguous().unwrap();
                let (gamma, beta) = (rows(&gamma), rows(&beta));
                let (dg, db) = (random(7, &[before, after]), random(8, &[before, after]));
                let (g, b) = (Some(&gamma), Some(&beta));
                let (expected, s) =
                    normalize(&mut ws, &x, &alone, g, b, normalized, EPSILON).unwrap();
                check_close("y", &part(&y, 2), &flat64(&expected), 1e-5);
                let expected = normalize_backward(
                    &mut ws, &x, &s, &dy, &alone, g, normalized, Some(&dg), Some(&db), true,
                ).unwrap().unwrap();
                check_close("dx", &part(&dx, 2), &flat64(&expected), 2e-5);
                let sum = |t: &Tensor| flat64(&t.to_device(&Device::Cpu).unwrap().sum(0).unwrap());
                check_close("dgamma", &part(&dgamma, 0), &sum(&dg), 2e-5);
                check_close("dbeta", &part(&dbeta, 0), &sum(&db), 2e-5);
            }
        });
    }
}

#[test]
fn large_means_do_not_cancel() {
    let mut ws = Workspace::new(test_device());
    let x = (random(1, &[4096, 3]) * 0.5).unwrap();
    let far = (&x + 1024.0).unwrap();
    let (_, near_variance) = channel_statistics(&mut ws, &x, 1).unwrap();
    let (mean, variance) = channel_statistics(&mut ws, &far, 1).unwrap();
    check_close("variance", &variance, &flat64(&near_variance), 1e-4);
    let column = |c: usize| flat64(&far).into_iter().skip(c).step_by(3).sum::<f64>() / 4096.0;
    check_close("mean", &mean, &[column(0), column(1), column(2)], 1e-6);
}

/// Shapes that several blocks of a GPU share: few channels, many, and channels that memory does not
/// run along.
#[test]
fn long_sums_follow_the_formula() {
    let mut ws = Workspace::new(test_device());
    for (shape, axis) in [
        (vec![700, 3], 1),
        (vec![300, 70], 1),
        (vec![2, 2], 1),
        (vec![5, 4000], 0),
        (vec![7, 30, 11, 9], 1),
        (vec![2, 3, 9000], 1),
        (vec![3, 2000, 2], 1),
    ] {
        let (channels, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let channel = |i: usize| i / inner % channels;
        let (x, dy) = (random(1, &shape), random(2, &shape));
        let (x64, dy64) = (flat64(&x), flat64(&dy));
        let count = x64.len() as f64 / channels as f64;
        let sums = |f: &dyn Fn(usize) -> f64| {
            let mut sums = vec![0.0; channels];
            (0..x64.len()).for_each(|i| sums[channel(i)] += f(i));
            sums
        };
        let (mean, variance) = channel_statistics(&mut ws, &x, axis).unwrap();
        let means = sums(&|i| x64[i] / count);
        let variances = sums(&|i| (x64[i] - means[channel(i)]).powi(2) / count);
        check_close("mean", &mean, &means, 1e-6);
        check_close("variance", &variance, &variances, 1e-6);
        let root = |i: usize| (variances[channel(i)] + f64::from(EPSILON)).sqrt();
        let normal = |i: usize| (x64[i] - means[channel(i)]) / root(i);
        let norm = BatchNorm::new(axis, &mean, &variance, EPSILON);
        let y = batch_norm(&mut ws, &x, &norm).unwrap();
        let expected: Vec<f64> = (0..x64.len()).map(normal).collect();
        check_close("y", &y, &expected, 1e-5);
        let (dgamma, dbeta) = (random(3, &[channels]), random(4, &[channels]));
        let (g, b) = (Some(&dgamma), Some(&dbeta));
        let dx = batch_norm_backward(&mut ws, &x, &dy, &norm, true, g, b, true)
            .unwrap()
            .unwrap();
        let (by_beta, by_gamma) = (sums(&|i| dy64[i]), sums(&|i| dy64[i] * normal(i)));
        check_close("dbeta", &dbeta, &by_beta, 1e-5);
        check_close("dgamma", &dgamma, &by_gamma, 1e-5);
        let slope = |i: usize| {
            let c = channel(i);
            (dy64[i] - by_beta[c] / count - normal(i) * by_gamma[c] / count) / root(i)
        };
        let expected: Vec<f64> = (0..x64.len()).map(slope).collect();
        check_close("dx", &dx, &expected, 2e-5);
    }
}

#[test]
fn statistics_along_an_early_axis_take_little_memory() {
    let mut ws = Workspace::new(test_device());
    let x = random(1, &[8, 32, 28, 28]);
    channel_statistics(&mut ws, &x, 1).unwrap();
    assert!(ws.bytes() < x.elem_count() / 4, "{} bytes", ws.bytes());
}

/// Rows of layer normalization that a block shares, and many short ones.
#[test]
fn layers_follow_the_formula() {
    let mut ws = Workspace::new(test_device());
    for (outer, after) in [(5, 1500), (300, 40)] {
        let layout = NormLayout {
            outer,
            before: 1,
            kept: 1,
            after,
        };
        let params = NormParams::Normalized;
        let (x, dy) = (random(1, &[outer, after]), random(2, &[outer, after]));
        let (gamma, beta) = (random(3, &[after]), random(4, &[after]));
        let (g, b) = (Some(&gamma), Some(&beta));
        let (y, statistics) = normalize(&mut ws, &x, &layout, g, b, params, EPSILON).unwrap();
        let (x64, dy64, gamma64) = (flat64(&x), flat64(&dy), flat64(&gamma));
        let (set, param) = (move |i: usize| i / after, move |i: usize| i % after);
        let expected = naive(&x64, &set, &param, &gamma64, &flat64(&beta));
        check_close("y", &y, &expected, 1e-5);
        let plain = naive(&x64, &set, &param, &vec![1.0; after], &vec![0.0; after]);
        let (dgamma, dbeta) = (random(5, &[after]), random(6, &[after]));
        normalize_backward(
            &mut ws,
            &x,
            &statistics,
            &dy,
            &layout,
            g,
            params,
            Some(&dgamma),
            Some(&dbeta),
            false,
        )
        .unwrap();
        let (mut by_gamma, mut by_beta) = (vec![0.0; after], vec![0.0; after]);
        for (i, dy) in dy64.iter().enumerate() {
            by_gamma[i % after] += dy * plain[i];
            by_beta[i % after] += dy;
        }
        check_close("dgamma", &dgamma, &by_gamma, 2e-5);
        check_close("dbeta", &dbeta, &by_beta, 1e-5);
    }
}

/// A ReLU that is fused is one that follows, to the bit: forward and backward, on every path and along every axis.
#[test]
fn a_fused_relu_is_one_that_follows() {
    for (shape, axis) in [
        (vec![6, 5, 3, 8], 3),
        (vec![70, 7], 1),
        (vec![3, 4, 10], 1),
        (vec![40, 17, 6, 24], 3),
        (vec![2, 3, 70, 5], 1),
        (vec![2, 50, 61], 1),
    ] {
        let channels = shape[axis];
        same_bits_on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let (x, dy) = (random(1, &shape), random(2, &shape));
            let (gamma, beta) = (random(3, &[channels]), random(4, &[channels]));
            let (mean, variance) = channel_statistics(&mut ws, &x, axis).unwrap();
            for (gamma, beta) in [(Some(&gamma), Some(&beta)), (None, None)] {
                let linear = BatchNorm {
                    gamma,
                    beta,
                    ..BatchNorm::new(axis, &mean, &variance, EPSILON)
                };
                let fused = BatchNorm {
                    activation: Activation::Relu,
                    ..linear
                };
                let z = batch_norm(&mut ws, &x, &linear).unwrap();
                let expected = activation(&mut ws, &z, Activation::Relu).unwrap();
                let y = batch_norm(&mut ws, &x, &fused).unwrap();
                assert_eq!(flat(&y), flat(&expected));
                let dz = activation_backward(&mut ws, &expected, &dy, Activation::Relu).unwrap();
                for of_batch in [true, false] {
                    let found = [(&dz, &linear), (&dy, &fused)].map(|(dy, norm)| {
                        let (dgamma, dbeta) = (random(5, &[channels]), random(6, &[channels]));
                        let (dg, db) = (Some(&dgamma), Some(&dbeta));
                        let dx = batch_norm_backward(&mut ws, &x, dy, norm, of_batch, dg, db, true);
                        [flat(&dx.unwrap().unwrap()), flat(&dgamma), flat(&dbeta)]
                    });
                    assert_eq!(found[0], found[1], "{shape:?} {axis}");
                }
            }
        });
    }
    // NaN stays.
    let mut ws = Workspace::new(test_device());
    let x = tensor(&[f32::NAN, 1.0, -1.0], &[3, 1]);
    let (mean, variance) = (tensor(&[0.0], &[1]), tensor(&[1.0], &[1]));
    let norm = BatchNorm {
        activation: Activation::Relu,
        ..BatchNorm::new(1, &mean, &variance, 0.0)
    };
    let y = flat(&batch_norm(&mut ws, &x, &norm).unwrap());
    assert!(y[0].is_nan() && y[1..] == [1.0, 0.0]);
}

/// Without samples nothing is done, and the parameters' gradients are 0.
#[test]
fn empty_batches_are_normalized() {
    let mut ws = Workspace::new(test_device());
    let x = tensor(&[], &[0, 4]);
    let (mean, variance) = channel_statistics(&mut ws, &x, 1).unwrap();
    assert_eq!((flat(&mean), flat(&variance)), (vec![0.0; 4], vec![0.0; 4]));
    let norm = BatchNorm::new(1, &mean, &variance, EPSILON);
    let y = batch_norm(&mut ws, &x, &norm).unwrap();
    assert_eq!(y.dims(), [0, 4]);
    let (dgamma, dbeta) = (random(1, &[4]), random(2, &[4]));
    let (g, b) = (Some(&dgamma), Some(&dbeta));
    let norm = BatchNorm {
        activation: Activation::Relu,
        ..norm
    };
    batch_norm_backward(&mut ws, &x, &x, &norm, true, g, b, true).unwrap();
    assert_eq!((flat(&dgamma), flat(&dbeta)), (vec![0.0; 4], vec![0.0; 4]));
    for (before, kept, params) in [(1, 1, NormParams::Normalized), (2, 2, NormParams::Trailing)] {
        let layout = NormLayout {
            outer: 0,
            before,
            kept,
            after: 4 / kept / before,
        };
        let len = 4 / before;
        let (dgamma, dbeta) = (random(1, &[len]), random(2, &[len]));
        let (y, statistics) = normalize(&mut ws, &x, &layout, None, None, params, EPSILON).unwrap();
        assert_eq!(y.dims(), [0, 4]);
        let (g, b) = (Some(&dgamma), Some(&dbeta));
        normalize_backward(
            &mut ws,
            &x,
            &statistics,
            &x,
            &layout,
            None,
            params,
            g,
            b,
            true,
        )
        .unwrap();
        assert_eq!(
            (flat(&dgamma), flat(&dbeta)),
            (vec![0.0; len], vec![0.0; len])
        );
        let (y, factors) = unit_normalize(&mut ws, &x, &layout).unwrap();
        unit_normalize_backward(&mut ws, &y, &factors, &x, &layout).unwrap();
    }
}

#[test]
fn moving_average_and_edges() {
    let mut ws = Workspace::new(test_device());
    let moving = tensor(&[1.0, 2.0], &[2]);
    moving_average(&[(&moving, &tensor(&[3.0, -2.0], &[2]))], 0.75, 0.25).unwrap();
    assert_eq!(flat(&moving), [1.5, 1.0]);
    assert!(moving_average(&[(&moving, &tensor(&[3.0], &[1]))], 0.75, 0.25).is_err());

    // Zeros have no direction: they stay, and the gradient is finite.
    let layout = NormLayout {
        outer: 1,
        before: 1,
        kept: 1,
        after: 3,
    };
    let zeros = tensor(&[0.0; 3], &[1, 3]);
    let (y, factors) = unit_normalize(&mut ws, &zeros, &layout).unwrap();
    assert_eq!(flat(&y), [0.0; 3]);
    let dx = unit_normalize_backward(&mut ws, &y, &factors, &zeros, &layout).unwrap();
    assert_eq!(flat(&dx), [0.0; 3]);

    let x = random(1, &[2, 3]);
    assert!(channel_statistics(&mut ws, &x, 2).is_err());
    assert!(unit_normalize(&mut ws, &x, &layout).is_err());
    let (mean, variance) = channel_statistics(&mut ws, &x, 1).unwrap();
    let gamma = random(2, &[2]);
    let norm = BatchNorm::new(1, &mean, &variance, 0.0);
    for norm in [
        BatchNorm {
            gamma: Some(&gamma),
            ..norm
        },
        BatchNorm {
            beta: Some(&gamma),
            ..norm
        },
        BatchNorm { axis: 2, ..norm },
    ] {
        assert!(batch_norm(&mut ws, &x, &norm).is_err());
        assert!(batch_norm_backward(&mut ws, &x, &x, &norm, true, None, None, true).is_err());
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let run = || {
        let mut ws = Workspace::new(test_device());
        let (x, dy) = (random(1, &[64, 9, 11, 24]), random(2, &[64, 9, 11, 24]));
        let (mean, variance) = channel_statistics(&mut ws, &x, 3).unwrap();
        let (dgamma, dbeta) = (random(3, &[24]), random(4, &[24]));
        let (g, b) = (Some(&dgamma), Some(&dbeta));
        let norm = BatchNorm {
            activation: Activation::Relu,
            ..BatchNorm::new(3, &mean, &variance, EPSILON)
        };
        let dx = batch_norm_backward(&mut ws, &x, &dy, &norm, true, g, b, true);
        let layout = NormLayout {
            outer: 64,
            before: 99,
            kept: 4,
            after: 6,
        };
        let trailing = NormParams::Trailing;
        let (y, statistics) =
            normalize(&mut ws, &x, &layout, None, None, trailing, EPSILON).unwrap();
        let (dg, db) = (random(5, &[24]), random(6, &[24]));
        normalize_backward(
            &mut ws,
            &x,
            &statistics,
            &dy,
            &layout,
            None,
            trailing,
            Some(&dg),
            Some(&db),
            false,
        )
        .unwrap();
        [
            mean,
            variance,
            dgamma,
            dbeta,
            dx.unwrap().unwrap(),
            y,
            dg,
            db,
        ]
        .map(|t| flat(&t))
    };
    assert_eq!(parallel::with_threads(1, run), run());
}

/// The least length is 1e-12, as in Keras 3.15.1.
#[test]
fn tiny_vectors_become_as_long_as_others() {
    let layout = NormLayout {
        outer: 4,
        before: 1,
        kept: 1,
        after: 2,
    };
    same_bits_on_every_path(|| {
        let mut ws = Workspace::new(test_device());
        let x = tensor(
            &[3e-7, 4e-7, -4e-12, 3e-12, 3e-13, 4e-13, 0.0, 0.0],
            &[4, 2],
        );
        let (y, factors) = unit_normalize(&mut ws, &x, &layout).unwrap();
        let expected = [0.6, 0.8, -0.8, 0.6, 0.3, 0.4, 0.0, 0.0];
        check_close("y", &y, &expected, 1e-6);
        let dy = tensor(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0], &[4, 2]);
        let dx = unit_normalize_backward(&mut ws, &y, &factors, &dy, &layout).unwrap();
        let relative: Vec<f32> = flat(&dx)
            .iter()
            .zip([2e6, 2e11, 1e12, 1e12].iter().flat_map(|f| [f; 2]))
            .map(|(dx, factor)| dx / factor)
            .collect();
        let expected = [0.64, -0.48, 0.48, 0.64, 1.0, 0.0, 0.0, 1.0];
        check_close("dx", &tensor(&relative, &[4, 2]), &expected, 1e-6);
    });
}

/// Sums of so many terms, one added after the other, would lose three digits.
#[test]
fn gradients_of_parameters_of_many_are_as_exact_as_those_of_few() {
    let many = 1 << 15;
    for (outer, before, kept, after, params) in [
        (1, 2, many, 1, NormParams::Normalized),
        (many, 2, 1, 1, NormParams::Trailing),
        (many, 1, 1, 2, NormParams::Normalized),
    ] {
        let layout = NormLayout {
            outer,
            before,
            kept,
            after,
        };
        let len = match params {
            NormParams::Normalized => 2,
            NormParams::Trailing => 1,
        };
        // Each set has a 1 and a -1.
        let first =
            |i: usize| (i / (kept * after)).is_multiple_of(before) && i.is_multiple_of(after);
        let values: Vec<f32> = (0..2 * many)
            .map(|i| if first(i) { 1.0 } else { -1.0 })
            .collect();
        let x = tensor(&values, &[2 * many]);
        let dy: Vec<f32> = values
            .iter()
            .map(|x| if len == 1 { 0.1 + 0.05 * x } else { 0.1 })
            .collect();
        let dy = tensor(&dy, &[2 * many]);
        same_bits_on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let (_, statistics) =
                normalize(&mut ws, &x, &layout, None, None, params, EPSILON).unwrap();
            let (dgamma, dbeta) = (random(5, &[len]), random(6, &[len]));
            let (g, b) = (Some(&dgamma), Some(&dbeta));
            normalize_backward(
                &mut ws,
                &x,
                &statistics,
                &dy,
                &layout,
                None,
                params,
                g,
                b,
                false,
            )
            .unwrap();
            let scaled = |sums: &Tensor, by: f64| {
                let sums: Vec<f32> = flat64(sums)
                    .iter()
                    .map(|sum| (sum / many as f64 * by) as f32)
                    .collect();
                tensor(&sums, &[len])
            };
            let by = (1.0 + f64::from(EPSILON)).sqrt();
            let (of_gamma, of_beta) = match params {
                NormParams::Normalized => (vec![0.1, -0.1], vec![0.1, 0.1]),
                NormParams::Trailing => (vec![0.1], vec![0.2]),
            };
            check_close("dgamma", &scaled(&dgamma, by), &of_gamma, 2e-6);
            check_close("dbeta", &scaled(&dbeta, 1.0), &of_beta, 2e-6);
        });
    }
}
