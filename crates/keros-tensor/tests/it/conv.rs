//! Convolution against seven naive loops.

use keros_tensor::kernels::{Activation, Conv2dSpec, Padding, conv2d, conv2d_backward};
use keros_tensor::{Tensor, TensorError, Workspace};
use proptest::prelude::*;

use crate::support::{
    NaiveConv, check_close, finite_differences, flat, flat64, masked, on_every_path, random,
    rounded, tensor,
};
use crate::test_device::test_device;

fn check_conv(case: &NaiveConv, activation: Activation, with_bias: bool) {
    // What rounding a sum over so many channels and all cells may cost.
    let tolerance =
        |channels: usize| 2e-5_f64.max(3e-8 * (channels * case.w[0] * case.w[1]) as f64);
    let mut ws = Workspace::new(test_device());
    let (x, w) = (random(1, &case.x), random(2, &case.w));
    let co = case.w[3];
    let bias = random(3, &[co]);
    let relu = activation == Activation::Relu;
    let bias64 = if with_bias {
        flat64(&bias)
    } else {
        vec![0.0; co]
    };
    let (x64, w64) = (flat64(&x), flat64(&w));
    let bias = with_bias.then_some(&bias);

    let y = conv2d(&mut ws, &x, &w, bias, &case.spec, activation).unwrap();
    let expected = case.forward(&x64, &w64, &bias64, relu);
    assert_eq!(y.dims(), case.output_shape());
    assert_eq!(
        case.spec.output_shape(case.x, case.w).unwrap(),
        case.output_shape()
    );
    check_close("y", &y, &expected, tolerance(case.w[2]));

    let dy = random(4, &case.output_shape());
    // The reference's output: one that rounds to the other side of zero would mask other gradients.
    let y = rounded(&expected, y.dims());
    let dz = masked(&flat64(&dy), &flat(&y), relu);
    let (dx64, dw64, dbias64) = case.backward(&x64, &w64, &dz);
    for need_dx in [false, true] {
        // Gradients are overwritten: what is there before does not matter.
        let (dw, dbias) = (random(5, &case.w), random(6, &[co]));
        let dbias = with_bias.then_some(&dbias);
        let dx = conv2d_backward(
            &mut ws, &x, &w, &y, &dy, &case.spec, activation, &dw, dbias, need_dx,
        )
        .unwrap();
        assert_eq!(dx.is_some(), need_dx);
        check_close("dw", &dw, &dw64, 1e-4);
        if let Some(dbias) = dbias {
            check_close("dbias", dbias, &dbias64, 1e-4);
        }
        if let Some(dx) = dx {
            check_close("dx", &dx, &dx64, tolerance(co));
        }
    }
}

fn padding() -> impl Strategy<Value = Padding> {
    prop_oneof![
        Just(Padding::Valid),
        Just(Padding::Same),
        Just(Padding::Causal)
    ]
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::Linear), Just(Activation::Relu)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Any kernel, stride, dilation, padding and grouping.
    #[test]
    fn matches_naive_loops(
        n in 1usize..4,
        (h, w) in (1usize..9, 1usize..9),
        (kh, kw) in (1usize..4, 1usize..5),
        (ci, co) in (1usize..4, 1usize..5),
        groups in 1usize..3,
        strides in (1usize..4, 1usize..4),
        dilation in (1usize..3, 1usize..3),
        padding in padding(),
        activation in activation(),
        with_bias in any::<bool>(),
    ) {
        let spec = Conv2dSpec { strides, padding, dilation, groups };
        let case = NaiveConv { x: [n, h, w, ci * groups], w: [kh, kw, ci, co * groups], spec };
        if spec.output_shape(case.x, case.w).is_ok() {
            on_every_path(|| check_conv(&case, activation, with_bias));
        } else {
            prop_assert_eq!(padding, Padding::Valid);
            prop_assert!((kh - 1) * dilation.0 >= h || (kw - 1) * dilation.1 >= w);
        }
    }

    /// The channel numbers that have kernels of their own.
    #[test]
    fn matches_naive_loops_for_wide_outputs(
        n in 1usize..3,
        (h, w) in (1usize..9, 1usize..18),
        (kh, kw) in (1usize..4, 1usize..4),
        ci in prop_oneof![1usize..5, Just(8usize), Just(16), Just(32), Just(48)],
        co in prop_oneof![Just(4usize), Just(8), Just(16), Just(32), Just(48), Just(64), Just(80)],
        groups in prop_oneof![2 => Just(1usize), 1 => 2usize..4],
        strides in prop_oneof![3 => Just((1usize, 1usize)), 1 => (1usize..3, 1usize..3)],
        dilation in prop_oneof![3 => Just((1usize, 1usize)), 1 => (1usize..3, 1usize..3)],
        padding in padding(),
        activation in activation(),
        with_bias in any::<bool>(),
    ) {
        let spec = Conv2dSpec { strides, padding, dilation, groups };
        let case = NaiveConv { x: [n, h, w, ci * groups], w: [kh, kw, ci, co * groups], spec };
        if spec.output_shape(case.x, case.w).is_ok() {
            on_every_path(|| check_conv(&case, activation, with_bias));
        }
    }
}

/// Every tile of the micro-kernels: all rests of columns, and of vectors of channels.
#[test]
fn every_tile_matches_naive_loops() {
    for (padding, strides, dilation, groups) in [
        (Padding::Valid, (1, 1), (1, 1), 1),
        (Padding::Same, (1, 1), (1, 1), 1),
        (Padding::Same, (2, 2), (1, 1), 1),
        (Padding::Valid, (2, 3), (1, 1), 1),
        (Padding::Same, (1, 1), (2, 2), 1),
        (Padding::Same, (1, 1), (1, 1), 2),
        (Padding::Same, (2, 2), (1, 1), 3),
    ] {
        let spec = Conv2dSpec {
            strides,
            padding,
            dilation,
            groups,
        };
        for (ci, co) in [
            (1, 4),
            (4, 4),
            (3, 8),
            (2, 16),
            (1, 24),
            (4, 32),
            (8, 48),
            (16, 64),
        ] {
            for width in (5..=17).chain([26, 31]) {
                let case = NaiveConv {
                    x: [1, 5, width, ci * groups],
                    w: [3, 3, ci, co * groups],
                    spec,
                };
                on_every_path(|| check_conv(&case, Activation::Relu, true));
            }
        }
    }
}

/// More images than partial sums, and patches of more than one block of rows.
#[test]
fn matches_naive_loops_beyond_one_block() {
    let spec = Conv2dSpec {
        padding: Padding::Same,
        ..Conv2dSpec::default()
    };
    for (x, w) in [
        ([19, 5, 4, 2], [3, 3, 2, 3]),
        ([1, 60, 64, 3], [5, 5, 3, 2]),
        ([1, 20, 64, 3], [5, 5, 3, 32]),
        // A row in several products, and in several parts of the first-level cache.
        ([2, 1, 1500, 40], [1, 5, 40, 3]),
        ([2, 1, 1500, 40], [1, 5, 40, 16]),
        // Several images in one product; more weights, and more inputs, than micro-kernels take.
        ([9, 3, 3, 160], [3, 3, 160, 384]),
        ([2, 2, 3, 1000], [3, 3, 1000, 16]),
        // Small windows of more pixels and more outputs than one block has on a GPU.
        ([3, 20, 21, 3], [3, 3, 3, 40]),
        ([2, 30, 17, 1], [5, 5, 1, 33]),
    ] {
        let case = NaiveConv { x, w, spec };
        on_every_path(|| check_conv(&case, Activation::Relu, true));
    }
}

/// Kernels larger than images and the cache, whose gradient tasks sum row by row.
#[test]
fn matches_naive_loops_for_large_kernels() {
    let plain = Conv2dSpec::default();
    let same = Conv2dSpec {
        padding: Padding::Same,
        ..plain
    };
    let causal = Conv2dSpec {
        padding: Padding::Causal,
        ..plain
    };
    let strides = (2, 2);
    for (x, w, spec) in [
        ([3, 6, 7, 128], [3, 3, 128, 512], plain),
        // Pixels that no window sees.
        (
            [2, 10, 10, 128],
            [3, 3, 128, 512],
            Conv2dSpec { strides, ..plain },
        ),
        (
            [2, 8, 7, 128],
            [3, 3, 128, 512],
            Conv2dSpec { strides, ..same },
        ),
        (
            [2, 5, 6, 128],
            [3, 3, 128, 512],
            Conv2dSpec {
                dilation: (2, 2),
                ..same
            },
        ),
        ([2, 5, 4, 128], [3, 3, 128, 512], causal),
        ([2, 1, 17, 256], [1, 5, 256, 512], causal),
        ([2, 4, 4, 1024], [1, 1, 1024, 528], plain),
        // A run of cells that does not fall into tasks, and tiles of all widths.
        ([2, 4, 4, 101], [3, 3, 101, 592], same),
        ([2, 4, 4, 128], [3, 3, 128, 520], same),
        // No micro-kernel for the input gradient.
        ([3, 4, 4, 64], [3, 3, 64, 1024], same),
        // More images than are summed at once.
        ([35, 4, 4, 64], [3, 3, 64, 928], same),
        // More images, with their borders, than are laid out at once.
        (
            [85, 4, 4, 512],
            [3, 3, 512, 128],
            Conv2dSpec {
                dilation: (8, 8),
                ..same
            },
        ),
        ([0, 4, 4, 128], [3, 3, 128, 512], same),
    ] {
        let case = NaiveConv { x, w, spec };
        on_every_path(|| check_conv(&case, Activation::Relu, true));
    }
    let case = NaiveConv {
        x: [2, 4, 4, 128],
        w: [3, 3, 128, 512],
        spec: same,
    };
    on_every_path(|| check_conv(&case, Activation::Linear, false));
}

/// Sums of so many terms, one added after the other, would lose two digits. On a GPU they are those of cuDNN.
#[test]
fn the_gradient_of_a_large_kernel_is_exact_over_many_images() {
    if !test_device().is_cpu() {
        return;
    }
    let (images, spec, linear) = (200, Conv2dSpec::default(), Activation::Linear);
    let constant = |shape: [usize; 4]| tensor(&vec![0.1; shape.iter().product()], &shape);
    let (x, w) = (constant([images, 6, 6, 64]), constant([3, 3, 64, 1024]));
    let dy = constant([images, 4, 4, 1024]);
    on_every_path(|| {
        let mut ws = Workspace::new(test_device());
        let dw = random(1, &[3, 3, 64, 1024]);
        conv2d_backward(&mut ws, &x, &w, &dy, &dy, &spec, linear, &dw, None, false).unwrap();
        let product = f64::from(0.1_f32).powi(2);
        let expected = vec![(images * 16) as f64 * product; 9 * 64 * 1024];
        check_close("dw", &dw, &expected, 5e-6);
    });
}

/// A view begins where its tensor does not.
#[test]
fn views_are_convolved() {
    let (x, w) = (random(1, &[3, 7, 5, 3]), random(2, &[3, 3, 3, 8]));
    let (bias, dy) = (random(3, &[9]), random(4, &[3, 5, 3, 8]));
    let (x, bias, dy) = (
        x.narrow(0, 1, 2).unwrap(),
        bias.narrow(0, 1, 8).unwrap(),
        dy.narrow(0, 1, 2).unwrap(),
    );
    let (spec, relu) = (Conv2dSpec::default(), Activation::Relu);
    let run = |x: &Tensor, bias: &Tensor, dy: &Tensor| {
        let mut ws = Workspace::new(test_device());
        let y = conv2d(&mut ws, x, &w, Some(bias), &spec, relu).unwrap();
        let (dw, dbias) = (random(5, &[3, 3, 3, 8]), random(6, &[8]));
        let dbias = Some(&dbias);
        let dx = conv2d_backward(&mut ws, x, &w, &y, dy, &spec, relu, &dw, dbias, true).unwrap();
        [y, dx.unwrap(), dw].map(|tensor| flat64(&tensor))
    };
    let [x2, bias2, dy2] = [&x, &bias, &dy].map(|view| view.copy().unwrap());
    let (found, expected) = (run(&x, &bias, &dy), run(&x2, &bias2, &dy2));
    for (found, expected) in found.iter().zip(&expected) {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{a} instead of {b}");
        }
    }
}

/// An activation that is fused does not hide that a training diverges.
#[test]
pub(crate) fn nan_stays_nan() {
    for channels in [1, 4, 32] {
        let mut values = vec![1.0; 2 * 6 * 6 * channels];
        values[0] = f32::NAN;
        let x = tensor(&values, &[2, 6, 6, channels]);
        let (w, bias) = (random(1, &[3, 3, channels, 32]), random(2, &[32]));
        let (spec, relu) = (Conv2dSpec::default(), Activation::Relu);
        on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let y = conv2d(&mut ws, &x, &w, Some(&bias), &spec, relu).unwrap();
            let y = flat(&y);
            assert!(y[..32].iter().all(|y| y.is_nan()), "{channels} channels");
            assert!(y[32..].iter().all(|y| !y.is_nan()), "{channels} channels");
        });
    }
}

/// Sums of so many terms, one added after the other, would lose three digits.
#[test]
fn the_bias_gradient_of_large_images_is_exact() {
    let (size, spec, linear) = (512, Conv2dSpec::default(), Activation::Linear);
    for co in [3, 16] {
        let constant = |channels: usize| {
            let values = vec![0.1; size * size * channels];
            tensor(&values, &[1, size, size, channels])
        };
        let (x, w, dy) = (constant(1), random(1, &[1, 1, 1, co]), constant(co));
        on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let (dw, dbias) = (random(2, &[1, 1, 1, co]), random(3, &[co]));
            let bias = Some(&dbias);
            conv2d_backward(&mut ws, &x, &w, &dy, &dy, &spec, linear, &dw, bias, false).unwrap();
            let expected = vec![(size * size) as f64 * f64::from(0.1_f32); co];
            check_close("dbias", &dbias, &expected, 1e-5);
        });
    }
}

/// The reference's own gradients, so that both cannot be wrong together.
#[test]
fn reference_gradients_match_finite_differences() {
    let case = NaiveConv {
        x: [2, 4, 5, 4],
        w: [3, 2, 2, 6],
        spec: Conv2dSpec {
            strides: (2, 1),
            padding: Padding::Same,
            dilation: (1, 2),
            groups: 2,
        },
    };
    let (x, w) = (flat64(&random(1, &case.x)), flat64(&random(2, &case.w)));
    let bias = flat64(&random(3, &[6]));
    let dy = flat64(&random(4, &case.output_shape()));
    let objective = |x: &[f64], w: &[f64], bias: &[f64]| -> f64 {
        let y = case.forward(x, w, bias, true);
        y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
    };
    let y = case.forward(&x, &w, &bias, true);
    let dz: Vec<f64> = dy
        .iter()
        .zip(&y)
        .map(|(&dy, &y)| if y > 0.0 { dy } else { 0.0 })
        .collect();
    let (dx, dw, dbias) = case.backward(&x, &w, &dz);
    for (what, gradient, differences) in [
        (
            "dx",
            dx,
            finite_differences(&x, |x| objective(x, &w, &bias)),
        ),
        (
            "dw",
            dw,
            finite_differences(&w, |w| objective(&x, w, &bias)),
        ),
        (
            "dbias",
            dbias,
            finite_differences(&bias, |b| objective(&x, &w, b)),
        ),
    ] {
        for (a, b) in gradient.iter().zip(&differences) {
            assert!((a - b).abs() < 1e-7, "{what}: {a} instead of {b}");
        }
    }
}

/// Steps and distances far beyond the image, where products of sizes would overflow.
#[test]
fn extreme_steps_match_naive_loops() {
    let same = Conv2dSpec {
        padding: Padding::Same,
        ..Conv2dSpec::default()
    };
    let far = usize::MAX / 8;
    for (spec, w) in [
        (
            Conv2dSpec {
                strides: (usize::MAX, far),
                ..same
            },
            [3, 3, 16, 16],
        ),
        (
            Conv2dSpec {
                dilation: (1 << 40, 1 << 40),
                ..same
            },
            [3, 3, 16, 16],
        ),
        (
            Conv2dSpec {
                strides: (far, far),
                dilation: (usize::MAX, usize::MAX),
                ..Conv2dSpec::default()
            },
            [1, 1, 16, 16],
        ),
    ] {
        let x = [2, 5, 4, 16];
        let case = NaiveConv { x, w, spec };
        on_every_path(|| check_conv(&case, Activation::Relu, true));
    }
}

#[test]
fn an_empty_batch_has_zero_gradients() {
    let mut ws = Workspace::new(test_device());
    let (x, w) = (random(1, &[0, 5, 5, 2]), random(2, &[3, 3, 2, 4]));
    let spec = Conv2dSpec::default();
    let y = conv2d(&mut ws, &x, &w, None, &spec, Activation::Linear).unwrap();
    assert_eq!(y.dims(), [0, 3, 3, 4]);
    let dw = random(3, &[3, 3, 2, 4]);
    let dx = conv2d_backward(
        &mut ws,
        &x,
        &w,
        &y,
        &y,
        &spec,
        Activation::Linear,
        &dw,
        None,
        true,
    )
    .unwrap()
    .unwrap();
    assert_eq!(dx.dims(), [0, 5, 5, 2]);
    assert!(flat(&dw).iter().all(|&v| v == 0.0));
}

#[test]
fn wrong_shapes_are_errors_that_name_the_tensor() {
    let mut ws = Workspace::new(test_device());
    let (x, w) = (random(1, &[2, 5, 5, 3]), random(2, &[3, 3, 3, 4]));
    let spec = Conv2dSpec::default();
    let mut error = |x: &Tensor, w: &Tensor, bias: Option<&Tensor>, spec: &Conv2dSpec| {
        conv2d(&mut ws, x, w, bias, spec, Activation::Linear)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(&x, &random(2, &[3, 3, 2, 4]), None, &spec),
        "conv2d: kernel has the wrong shape (expected [kh, kw, 3, out], found [3, 3, 2, 4])"
    );
    assert!(error(&random(1, &[5, 5, 3]), &w, None, &spec).contains("input has the wrong shape"));
    assert!(error(&x, &w, Some(&random(3, &[3])), &spec).contains("bias has the wrong shape"));
    assert!(error(&x, &random(2, &[6, 3, 3, 4]), None, &spec).contains("holds a 6 × 3 kernel"));
    for spec in [
        Conv2dSpec {
            strides: (0, 1),
            ..spec
        },
        Conv2dSpec {
            dilation: (1, 0),
            ..spec
        },
        Conv2dSpec {
            dilation: (usize::MAX, 1),
            ..spec
        },
    ] {
        assert!(error(&x, &w, None, &spec).contains("input has the wrong shape"));
    }
    for groups in [0, 2] {
        assert!(error(&x, &w, None, &Conv2dSpec { groups, ..spec }).contains("bad groups"));
    }
    let transposed = x.transpose(1, 2).unwrap();
    assert!(matches!(
        conv2d(&mut ws, &transposed, &w, None, &spec, Activation::Linear),
        Err(TensorError::NotContiguous { .. })
    ));
}
