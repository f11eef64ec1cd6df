//! Kernels on values of 16 bits give what those on `f32` give for the same numbers, rounded. The CPU has only `f32`.

use keros_tensor::kernels::{
    Activation, BatchNorm, Border, Conv2dSpec, Function, MergeOp, Padding, Pool2dSpec, activation,
    activation_backward, average_pool2d, average_pool2d_backward, batch_norm, batch_norm_backward,
    cast, channel_statistics, concatenate, conv2d, conv2d_backward, conv2d_transpose,
    conv2d_transpose_backward, crop2d, dense, dense_backward, dropout, function, function_backward,
    gaussian_dropout, gaussian_noise, global_average_pool, global_average_pool_backward,
    global_max_pool, global_max_pool_backward, max_pool2d, max_pool2d_backward, merge,
    merge_backward, slice_axis, zero_pad2d,
};
use keros_tensor::{DType, Stream, Tensor, TensorError, Workspace};
use proptest::prelude::*;

use super::{convolutions, stays_on_the_gpu};
use crate::support::{NaiveConv, flat, random, tensor};
use crate::test_device::test_device;

/// The types of values, each with a bound on the error of two roundings, as of a result of values that were
/// rounded on the way.
const TYPES: [(DType, f32); 2] = [(DType::BF16, 1.0 / 128.0), (DType::F16, 1.0 / 1024.0)];

/// What values an operation is given.
struct Kind {
    /// Random values are those that this type can hold.
    dtype: DType,
    /// Whether they are of that type, and not `f32`.
    is_narrow: bool,
}

impl Kind {
    fn values(&self, ws: &mut Workspace, seed: u64, shape: &[usize]) -> Tensor {
        let narrow = cast(ws, &random(seed, shape), self.dtype).unwrap();
        match self.is_narrow {
            true => narrow,
            false => cast(ws, &narrow, DType::F32).unwrap(),
        }
    }

    /// Values of `f32` in any case, as those of parameters.
    fn wide(&self, ws: &mut Workspace, seed: u64, shape: &[usize]) -> Tensor {
        let wide = Self {
            is_narrow: false,
            ..*self
        };
        wide.values(ws, seed, shape)
    }
}

/// Runs an operation on both types; its results agree. Those of gradients of parameters are `f32` in either case.
#[track_caller]
fn agree(name: &str, run: impl Fn(&mut Workspace, &Kind) -> Vec<Tensor>) {
    if test_device().is_cpu() {
        return;
    }
    for (dtype, tolerance) in TYPES {
        let found = [false, true].map(|is_narrow| {
            let mut found = Vec::new();
            stays_on_the_gpu(|ws| {
                let results = run(ws, &Kind { dtype, is_narrow });
                let wide = results
                    .iter()
                    .map(|x| cast(ws, x, DType::F32).unwrap().copy().unwrap());
                found = wide.collect::<Vec<_>>();
            });
            found
        });
        for (i, (wide, narrow)) in found[0].iter().zip(&found[1]).enumerate() {
            assert_eq!(wide.dims(), narrow.dims(), "{name} {i}");
            let (wide, narrow) = (flat(wide), flat(narrow));
            let largest = wide.iter().fold(1.0_f32, |most, x| most.max(x.abs()));
            for (a, b) in wide.iter().zip(&narrow) {
                let close = (a - b).abs() <= tolerance * largest;
                assert!(close, "{name} {dtype:?} {i}: {b} instead of {a}");
            }
        }
    }
}

#[test]
fn casts_round_to_the_nearest_half_way_to_even() {
    let mut ws = Workspace::new(test_device());
    // 1 + 2⁻⁸ and 1 + 3 · 2⁻⁸ are half-way between neighbours.
    let x = [
        1.0,
        1.003_906_3,
        1.011_718_8,
        -1.004,
        3.0e38,
        f32::INFINITY,
        1e-40,
    ];
    let rounded = [
        1.0,
        1.0,
        1.015_625,
        -1.007_812_5,
        3.004_055_3e38,
        f32::INFINITY,
    ];
    let narrow = cast(&mut ws, &tensor(&x, &[7]), DType::BF16).unwrap();
    assert_eq!(narrow.dtype(), DType::BF16);
    let wide = cast(&mut ws, &narrow, DType::F32).unwrap();
    assert_eq!(flat(&wide)[..6], rounded);
    assert!((flat(&wide)[6] - 1e-40).abs() < 1e-41);
    // 1 + 2⁻¹¹ and 1 + 3 · 2⁻¹¹ are half-way between neighbours, 65520 is as near to infinity, and the smallest
    // number is 2⁻²⁴.
    let x16 = [
        1.000_488_3,
        1.001_464_8,
        -2049.0,
        65519.0,
        -65520.0,
        6e-8,
        2e-8,
    ];
    let rounded = [
        1.0,
        1.001_953_1,
        -2048.0,
        65504.0,
        f32::NEG_INFINITY,
        5.960_464_5e-8,
        0.0,
    ];
    let narrow = cast(&mut ws, &tensor(&x16, &[7]), DType::F16).unwrap();
    assert_eq!(narrow.dtype(), DType::F16);
    assert_eq!(flat(&cast(&mut ws, &narrow, DType::F32).unwrap()), rounded);
    for (dtype, _) in TYPES {
        let nan = cast(&mut ws, &tensor(&[f32::NAN], &[1]), dtype).unwrap();
        assert!(flat(&cast(&mut ws, &nan, DType::F32).unwrap())[0].is_nan());
    }
    let refused = cast(&mut ws, &tensor(&x, &[7]), DType::F64).unwrap_err();
    assert!(
        matches!(
            refused,
            TensorError::DType {
                found: DType::F64,
                ..
            }
        ),
        "{refused}"
    );
}

/// Output and gradients of a convolution.
fn convolution(
    ws: &mut Workspace,
    kind: &Kind,
    case: &NaiveConv,
    activation: Activation,
) -> Vec<Tensor> {
    let spec = &case.spec;
    let x = &kind.values(ws, 1, &case.x);
    let (w, outputs) = (&kind.wide(ws, 2, &case.w), case.w[3]);
    let (bias, dw, dbias) = (
        random(3, &[outputs]),
        random(4, &case.w),
        random(5, &[outputs]),
    );
    let forward = conv2d(ws, x, w, Some(&bias), spec, activation).unwrap();
    let dy = &kind.values(ws, 6, &case.output_shape());
    // The mask of a ReLU is to be that of both types.
    let y = &kind.values(ws, 7, &case.output_shape());
    let dx = conv2d_backward(ws, x, w, y, dy, spec, activation, &dw, Some(&dbias), true);
    vec![forward, dx.unwrap().unwrap(), dw, dbias]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn convolutions_of_any_shape(case in convolutions()) {
        let linear = Activation::Linear;
        agree("conv2d", |ws, kind| convolution(ws, kind, &case, linear));
    }
}

#[test]
fn convolutions_and_dense_layers() {
    let same = Conv2dSpec {
        padding: Padding::Same,
        ..Conv2dSpec::default()
    };
    let strided = Conv2dSpec {
        strides: (2, 2),
        ..same
    };
    // Padded alike on both sides, more on one side, a matrix product, of groups, of few channels.
    for (spec, size, channels, groups) in [
        (same, 3, 8, 1),
        (strided, 3, 8, 1),
        (same, 1, 8, 1),
        (Conv2dSpec { groups: 2, ..same }, 3, 8, 2),
        (strided, 7, 3, 1),
    ] {
        for relu in [Activation::Linear, Activation::Relu] {
            let case = NaiveConv {
                x: [2, 6, 6, channels],
                w: [size, size, channels / groups, 8],
                spec,
            };
            agree("conv2d", |ws, kind| convolution(ws, kind, &case, relu));
        }
    }
    agree("conv2d_transpose", |ws, kind| {
        let x = &kind.values(ws, 1, &[2, 3, 3, 4]);
        let w = &kind.wide(ws, 2, &[3, 3, 8, 4]);
        let (dw, relu) = (random(4, w.dims()), Activation::Linear);
        let y = conv2d_transpose(ws, x, w, None, (6, 6), &strided, relu).unwrap();
        let dy = &kind.values(ws, 6, y.dims());
        let dx = conv2d_transpose_backward(ws, x, w, &y, dy, &strided, relu, &dw, None, true);
        vec![y, dx.unwrap().unwrap(), dw]
    });
    agree("dense", |ws, kind| {
        let (x, w) = (&kind.values(ws, 1, &[5, 7]), &kind.wide(ws, 2, &[7, 6]));
        let (bias, dw, dbias) = (random(3, &[6]), random(4, w.dims()), random(5, &[6]));
        let y = dense(ws, x, w, Some(&bias), Activation::Relu).unwrap();
        let (mask, dy) = (&kind.values(ws, 6, &[5, 6]), &kind.values(ws, 7, &[5, 6]));
        let dx = dense_backward(
            ws,
            x,
            w,
            mask,
            dy,
            Activation::Relu,
            &dw,
            Some(&dbias),
            true,
        );
        vec![y, dx.unwrap().unwrap(), dw, dbias]
    });
}

#[test]
fn batch_normalization() {
    for (shape, axis) in [(vec![4, 3, 3, 8], 3), (vec![6, 5], 1), (vec![3, 4, 10], 1)] {
        agree("batch_norm", |ws, kind| {
            let (x, dy) = (&kind.values(ws, 1, &shape), &kind.values(ws, 2, &shape));
            let channels = shape[axis];
            let (gamma, beta) = (random(3, &[channels]), random(4, &[channels]));
            let (dgamma, dbeta) = (random(5, &[channels]), random(6, &[channels]));
            let (mean, variance) = channel_statistics(ws, x, axis).unwrap();
            let norm = BatchNorm {
                gamma: Some(&gamma),
                beta: Some(&beta),
                ..BatchNorm::new(axis, &mean, &variance, 1e-3)
            };
            let y = batch_norm(ws, x, &norm).unwrap();
            let (to_gamma, to_beta) = (Some(&dgamma), Some(&dbeta));
            let dx = batch_norm_backward(ws, x, dy, &norm, true, to_gamma, to_beta, true);
            vec![mean, variance, y, dx.unwrap().unwrap(), dgamma, dbeta]
        });
    }
}

/// The ReLU sees what is rounded, as if it were not fused.
#[test]
fn a_relu_fused_into_batch_normalization() {
    if test_device().is_cpu() {
        return;
    }
    for (dtype, _) in TYPES {
        for (shape, axis) in [
            (vec![40, 3, 3, 8], 3),
            (vec![60, 5], 1),
            (vec![3, 4, 10], 1),
        ] {
            let ws = &mut Workspace::new(test_device());
            let [x, dy] = [1, 2].map(|seed| cast(ws, &random(seed, &shape), dtype).unwrap());
            let (gamma, beta) = (random(3, &[shape[axis]]), random(4, &[shape[axis]]));
            let (mean, variance) = channel_statistics(ws, &x, axis).unwrap();
            let linear = BatchNorm {
                gamma: Some(&gamma),
                beta: Some(&beta),
                ..BatchNorm::new(axis, &mean, &variance, 1e-3)
            };
            let fused = BatchNorm {
                activation: Activation::Relu,
                ..linear
            };
            let z = batch_norm(ws, &x, &linear).unwrap();
            let y = activation(ws, &z, Activation::Relu).unwrap();
            let dz = activation_backward(ws, &y, &dy, Activation::Relu).unwrap();
            let of_fused = batch_norm(ws, &x, &fused).unwrap();
            let dx = batch_norm_backward(ws, &x, &dz, &linear, true, None, None, true);
            let of_dx = batch_norm_backward(ws, &x, &dy, &fused, true, None, None, true);
            let both = [
                (y, of_fused),
                (dx.unwrap().unwrap(), of_dx.unwrap().unwrap()),
            ];
            for (expected, found) in both {
                let wide = [expected, found].map(|x| flat(&cast(ws, &x, DType::F32).unwrap()));
                assert_eq!(wide[0], wide[1], "{dtype:?} {shape:?}");
            }
        }
    }
}

#[test]
fn pools() {
    let same = Pool2dSpec {
        window: (3, 3),
        strides: (2, 2),
        padding: Padding::Same,
    };
    let wide = Pool2dSpec {
        window: (17, 16),
        ..same
    };
    for (spec, channels) in [
        (Pool2dSpec::new((2, 2)), 8),
        (same, 8),
        (same, 3),
        (wide, 4),
    ] {
        agree("pools", |ws, kind| {
            let x = &kind.values(ws, 1, &[2, 7, 6, channels]);
            let (y, argmax) = max_pool2d(ws, x, &spec).unwrap();
            let shape = [2, 7, 6, channels];
            let dy = &kind.values(ws, 2, y.dims());
            let dx = max_pool2d_backward(ws, dy, &argmax, shape, &spec).unwrap();
            let mean = average_pool2d(ws, x, &spec).unwrap();
            let of_mean = average_pool2d_backward(ws, dy, shape, &spec).unwrap();
            vec![y, dx, mean, of_mean]
        });
    }
    agree("global pools", |ws, kind| {
        let (x, shape) = (&kind.values(ws, 1, &[3, 5, 4, 6]), [3, 5, 4, 6]);
        let dy = &kind.values(ws, 2, &[3, 6]);
        let (mean, largest) = (
            global_average_pool(ws, x).unwrap(),
            global_max_pool(ws, x).unwrap(),
        );
        let of_mean = global_average_pool_backward(ws, dy, &shape).unwrap();
        let of_largest = global_max_pool_backward(ws, x, &largest, dy).unwrap();
        vec![mean, largest, of_mean, of_largest]
    });
}

#[test]
fn what_is_done_element_by_element() {
    for f in [
        Function::Relu {
            max_value: 6.0,
            negative_slope: 0.1,
            threshold: 0.0,
        },
        Function::Elu { alpha: 0.5 },
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
        agree("function", |ws, kind| {
            let (x, dy) = (&kind.values(ws, 1, &[3, 7]), &kind.values(ws, 2, &[3, 7]));
            let y = function(ws, x, f).unwrap();
            vec![y, function_backward(ws, x, dy, f).unwrap()]
        });
    }
    agree("relu and dropout", |ws, kind| {
        let (x, dy) = (&kind.values(ws, 1, &[9, 70]), &kind.values(ws, 2, &[9, 70]));
        let y = activation(ws, x, Activation::Relu).unwrap();
        let dx = activation_backward(ws, x, dy, Activation::Relu).unwrap();
        vec![y, dx, dropout(ws, x, 0.5, Stream::new(1, 2)).unwrap()]
    });
    agree("noise", |ws, kind| {
        let (x, stream) = (&kind.values(ws, 1, &[9, 70]), Stream::new(1, 2));
        let sum = gaussian_noise(ws, x, 0.3, stream).unwrap();
        vec![sum, gaussian_dropout(ws, x, 0.3, stream).unwrap()]
    });
    for op in [
        MergeOp::Add,
        MergeOp::Subtract,
        MergeOp::Multiply,
        MergeOp::Average,
        MergeOp::Maximum,
        MergeOp::Minimum,
    ] {
        agree("merge", |ws, kind| {
            let inputs = [1, 2].map(|seed| kind.values(ws, seed, &[3, 7]));
            let dy = &kind.values(ws, 3, &[3, 7]);
            let y = merge(ws, &inputs, op, Activation::Relu).unwrap();
            vec![y, merge_backward(ws, &inputs, dy, 1, op).unwrap()]
        });
    }
}

#[test]
fn moves() {
    for channels in [3, 8] {
        agree("moves", |ws, kind| {
            let inputs = [1, 2].map(|seed| kind.values(ws, seed, &[2, 5, 4, channels]));
            let joined = concatenate(ws, &inputs, 3).unwrap();
            let part = slice_axis(ws, &joined, 3, channels, channels).unwrap();
            let border: Border = ((1, 2), (0, 1));
            let padded = zero_pad2d(ws, &inputs[0], border).unwrap();
            let cut = crop2d(ws, &padded, border).unwrap();
            vec![joined, part, padded, cut]
        });
    }
}

#[test]
fn types_are_not_mixed_in_one_call() {
    if test_device().is_cpu() {
        return;
    }
    let mut ws = Workspace::new(test_device());
    let wide = random(1, &[3, 7]);
    let [one, other] = TYPES.map(|(dtype, _)| cast(&mut ws, &wide, dtype).unwrap());
    for (a, b) in [(&one, &wide), (&other, &wide), (&one, &other)] {
        let inputs = [a.clone(), b.clone()];
        assert!(merge(&mut ws, &inputs, MergeOp::Add, Activation::Linear).is_err());
        assert!(activation_backward(&mut ws, a, b, Activation::Relu).is_err());
        assert!(dense(&mut ws, a, a, None, Activation::Linear).is_err());
    }
    assert!(cast(&mut ws, &one, DType::F16).is_err());
}
