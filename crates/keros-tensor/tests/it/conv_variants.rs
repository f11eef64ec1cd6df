//! Depthwise and transposed convolution against seven naive loops.

use keros_tensor::kernels::{
    Activation, Conv2dSpec, Padding, conv2d_transpose, conv2d_transpose_backward, depthwise_conv2d,
    depthwise_conv2d_backward,
};
use keros_tensor::{Workspace, parallel};
use proptest::prelude::*;

use crate::support::{
    NaiveConv, check_close, flat, flat64, masked, on_every_path, random, rounded,
    same_bits_on_every_path,
};
use crate::test_device::test_device;

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

fn check_depthwise(
    x: [usize; 4],
    window: (usize, usize),
    m: usize,
    spec: Conv2dSpec,
    act: Activation,
) {
    let c = x[3];
    let grouped = NaiveConv {
        x,
        w: [window.0, window.1, 1, c * m],
        spec: Conv2dSpec { groups: c, ..spec },
    };
    let mut ws = Workspace::new(test_device());
    let w_shape = [window.0, window.1, c, m];
    let (xs, w, bias) = (random(1, &x), random(2, &w_shape), random(3, &[c * m]));
    let y = depthwise_conv2d(&mut ws, &xs, &w, Some(&bias), &spec, act).unwrap();
    let (x64, w64) = (flat64(&xs), flat64(&w));
    let relu = act == Activation::Relu;
    check_close(
        "y",
        &y,
        &grouped.forward(&x64, &w64, &flat64(&bias), relu),
        2e-5,
    );

    let dy = random(4, y.dims());
    let dz = masked(&flat64(&dy), &flat(&y), act == Activation::Relu);
    let (dx64, dw64, dbias64) = grouped.backward(&x64, &w64, &dz);
    for need_dx in [false, true] {
        let (dw, dbias) = (random(5, &w_shape), random(6, &[c * m]));
        let dx = depthwise_conv2d_backward(
            &mut ws,
            &xs,
            &w,
            &y,
            &dy,
            &spec,
            act,
            &dw,
            Some(&dbias),
            need_dx,
        )
        .unwrap();
        check_close("dw", &dw, &dw64, 1e-4);
        check_close("dbias", &dbias, &dbias64, 1e-4);
        assert_eq!(dx.is_some(), need_dx);
        if let Some(dx) = dx {
            check_close("dx", &dx, &dx64, 2e-5);
        }
    }
}

/// `x` is the shape of the transposed convolution's input, `co` its number of filters.
fn check_transpose(
    x: [usize; 4],
    window: (usize, usize),
    co: usize,
    size: (usize, usize),
    spec: Conv2dSpec,
    act: Activation,
) {
    let mirrored = NaiveConv {
        x: [x[0], size.0, size.1, co],
        w: [window.0, window.1, co, x[3]],
        spec,
    };
    assert_eq!(mirrored.output_shape(), x);
    let mut ws = Workspace::new(test_device());
    let (xs, w, bias) = (random(1, &x), random(2, &mirrored.w), random(3, &[co]));
    let y = conv2d_transpose(&mut ws, &xs, &w, Some(&bias), size, &spec, act).unwrap();
    let (x64, w64) = (flat64(&xs), flat64(&w));
    let zeros = vec![0.0; mirrored.x.iter().product()];
    let (mut expected, _, _) = mirrored.backward(&zeros, &w64, &x64);
    for (i, (y, bias)) in expected
        .iter_mut()
        .zip(flat64(&bias).iter().cycle())
        .enumerate()
    {
        assert!(i < zeros.len());
        *y += bias;
        if act == Activation::Relu {
            *y = y.max(0.0);
        }
    }
    check_close("y", &y, &expected, 2e-5);

    // The reference's output: one that rounds to the other side of zero would mask other gradients.
    let y = rounded(&expected, y.dims());
    let dy = random(4, y.dims());
    let dz = masked(&flat64(&dy), &flat(&y), act == Activation::Relu);
    // The reverse of a transposed convolution is a convolution.
    let dx64 = mirrored.forward(&dz, &w64, &vec![0.0; x[3]], false);
    let (_, dw64, _) = mirrored.backward(&dz, &w64, &x64);
    let mut dbias64 = vec![0.0; co];
    for (i, dz) in dz.iter().enumerate() {
        dbias64[i % co] += dz;
    }
    for need_dx in [false, true] {
        let (dw, dbias) = (random(5, &mirrored.w), random(6, &[co]));
        let dx = conv2d_transpose_backward(
            &mut ws,
            &xs,
            &w,
            &y,
            &dy,
            &spec,
            act,
            &dw,
            Some(&dbias),
            need_dx,
        )
        .unwrap();
        check_close("dw", &dw, &dw64, 1e-4);
        check_close("dbias", &dbias, &dbias64, 1e-4);
        assert_eq!(dx.is_some(), need_dx);
        if let Some(dx) = dx {
            check_close("dx", &dx, &dx64, 5e-5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn depthwise_matches_naive_loops(
        n in 1usize..4,
        (h, w) in (1usize..9, 1usize..9),
        window in (1usize..4, 1usize..5),
        (c, m) in (1usize..36, 1usize..4),
        strides in (1usize..4, 1usize..4),
        dilation in (1usize..3, 1usize..3),
        padding in padding(),
        activation in activation(),
    ) {
        let spec = Conv2dSpec { strides, padding, dilation, groups: 1 };
        let fits = spec.output_shape([n, h, w, c], [window.0, window.1, c, 1]).is_ok();
        if fits {
            same_bits_on_every_path(|| {
                check_depthwise([n, h, w, c], window, m, spec, activation);
            });
        }
    }

    #[test]
    fn transposed_matches_naive_loops(
        n in 1usize..4,
        (h, w) in (1usize..6, 1usize..6),
        window in (1usize..5, 1usize..5),
        (ci, co) in (1usize..4, prop_oneof![1usize..4, Just(8), Just(16)]),
        strides in (1usize..4, 1usize..4),
        extra in (0usize..3, 0usize..3),
        padding in prop_oneof![Just(Padding::Valid), Just(Padding::Same)],
        activation in activation(),
    ) {
        let spec = Conv2dSpec { strides, padding, ..Conv2dSpec::default() };
        let size = |n, k, stride| padding.transposed_len(n, k, stride, 1).unwrap();
        let size = (size(h, window.0, strides.0), size(w, window.1, strides.1));
        on_every_path(|| check_transpose([n, h, w, ci], window, co, size, spec, activation));
        // Other sizes that lead to the same output.
        let larger = (size.0 + extra.0, size.1 + extra.1);
        let back = spec.output_shape([n, larger.0, larger.1, co], [window.0, window.1, co, ci]);
        if back.is_ok_and(|back| back == [n, h, w, ci]) {
            on_every_path(|| check_transpose([n, h, w, ci], window, co, larger, spec, activation));
        }
    }
}

#[test]
fn wrong_arguments_are_errors() {
    let mut ws = Workspace::new(test_device());
    let spec = Conv2dSpec::default();
    let linear = Activation::Linear;
    let x = random(1, &[2, 5, 5, 3]);
    for w in [[3, 3, 2, 1], [6, 3, 3, 1]] {
        assert!(depthwise_conv2d(&mut ws, &x, &random(2, &w), None, &spec, linear).is_err());
    }
    let w = random(2, &[3, 3, 3, 2]);
    let bias = Some(&x);
    assert!(depthwise_conv2d(&mut ws, &x, &w, bias, &spec, linear).is_err());
    let w = random(2, &[3, 3, 4, 3]);
    for size in [(6, 7), (7, 0), (8, 7)] {
        assert!(conv2d_transpose(&mut ws, &x, &w, None, size, &spec, linear).is_err());
    }
    let w = random(2, &[3, 3, 4, 2]);
    assert!(conv2d_transpose(&mut ws, &x, &w, None, (7, 7), &spec, linear).is_err());
}

#[test]
fn threads_do_not_change_a_bit() {
    let run = || {
        let mut ws = Workspace::new(test_device());
        let (x, w) = (random(1, &[37, 7, 9, 5]), random(2, &[3, 3, 5, 2]));
        let spec = Conv2dSpec::default();
        let relu = Activation::Relu;
        let y = depthwise_conv2d(&mut ws, &x, &w, None, &spec, relu).unwrap();
        let dw = random(3, w.dims());
        let dx = depthwise_conv2d_backward(&mut ws, &x, &w, &y, &y, &spec, relu, &dw, None, true);
        let up = conv2d_transpose(
            &mut ws,
            &x,
            &random(4, &[3, 3, 4, 5]),
            None,
            (9, 11),
            &spec,
            relu,
        );
        [y, dw, dx.unwrap().unwrap(), up.unwrap()].map(|tensor| flat(&tensor))
    };
    assert_eq!(parallel::with_threads(1, run), run());
}
