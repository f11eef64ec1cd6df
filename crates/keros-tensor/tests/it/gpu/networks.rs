//! Convolutions, dense layers and pools start kernels only.

use keros_tensor::kernels::{
    Activation, Conv2dSpec, Padding, Pool2dSpec, Taps, average_pool2d, average_pool2d_backward,
    conv2d, conv2d_backward, conv2d_transpose, conv2d_transpose_backward, dense, dense_backward,
    depthwise_conv2d, depthwise_conv2d_backward, global_average_pool, global_average_pool_backward,
    global_max_pool, global_max_pool_backward, max_pool2d, max_pool2d_backward, resample,
};

use super::stays_on_the_gpu;
use crate::support::random;

#[test]
fn dense_stays_on_the_gpu() {
    let (x, w, bias) = (
        random(1, &[4, 3]),
        random(2, &[3, 5]),
        Some(&random(3, &[5])),
    );
    stays_on_the_gpu(|ws| {
        let y = dense(ws, &x, &w, bias, Activation::Relu).unwrap();
        dense_backward(
            ws,
            &x,
            &w,
            &y,
            &y,
            Activation::Relu,
            &random(4, &[3, 5]),
            bias,
            true,
        )
        .unwrap();
    });
}

#[test]
fn convolution_stays_on_the_gpu() {
    let same = Conv2dSpec {
        padding: Padding::Same,
        ..Conv2dSpec::default()
    };
    let relu = Activation::Relu;
    // One that is padded alike on both sides, one that is not, one that is a matrix product, groups.
    for (spec, size, groups) in [
        (same, 3, 1),
        (same, 2, 1),
        (same, 1, 1),
        (Conv2dSpec { groups: 2, ..same }, 3, 2),
    ] {
        let x = random(1, &[2, 6, 5, 4]);
        let w = random(2, &[size, size, 4 / groups, 8]);
        let (bias, dw) = (Some(&random(3, &[8])), random(4, w.dims()));
        stays_on_the_gpu(|ws| {
            let y = conv2d(ws, &x, &w, bias, &spec, relu).unwrap();
            conv2d_backward(ws, &x, &w, &y, &y, &spec, relu, &dw, bias, true).unwrap();
        });
    }
    let (x, w) = (random(1, &[2, 6, 5, 8]), random(2, &[3, 3, 4, 8]));
    let (bias, dw) = (Some(&random(3, &[4])), random(4, w.dims()));
    stays_on_the_gpu(|ws| {
        let y = conv2d_transpose(ws, &x, &w, bias, (6, 5), &same, relu).unwrap();
        conv2d_transpose_backward(ws, &x, &w, &y, &y, &same, relu, &dw, bias, true).unwrap();
    });
    for (channels, multiplier) in [(8, 1), (3, 2)] {
        let x = random(1, &[2, 6, 5, channels]);
        let w = random(2, &[3, 3, channels, multiplier]);
        let (bias, dw) = (
            Some(&random(3, &[channels * multiplier])),
            random(4, w.dims()),
        );
        stays_on_the_gpu(|ws| {
            let y = depthwise_conv2d(ws, &x, &w, bias, &same, relu).unwrap();
            depthwise_conv2d_backward(ws, &x, &w, &y, &y, &same, relu, &dw, bias, true).unwrap();
        });
    }
}

#[test]
fn pools_stay_on_the_gpu() {
    let shape = [2, 6, 5, 3];
    let x = random(1, &shape);
    // Cells of a large window need larger numbers.
    for window in [(2, 2), (16, 17)] {
        let spec = Pool2dSpec {
            padding: Padding::Same,
            ..Pool2dSpec::new(window)
        };
        stays_on_the_gpu(|ws| {
            let (y, argmax) = max_pool2d(ws, &x, &spec).unwrap();
            max_pool2d_backward(ws, &y, &argmax, shape, &spec).unwrap();
            let y = average_pool2d(ws, &x, &spec).unwrap();
            average_pool2d_backward(ws, &y, shape, &spec).unwrap();
        });
    }
    stays_on_the_gpu(|ws| {
        let y = global_average_pool(ws, &x).unwrap();
        global_average_pool_backward(ws, &y, &shape).unwrap();
        let y = global_max_pool(ws, &x).unwrap();
        global_max_pool_backward(ws, &x, &y, &y).unwrap();
    });
}

#[test]
fn resampling_stays_on_the_gpu() {
    let x = random(1, &[2, 3, 4]);
    for taps in [Taps::repeat(3, 2), Taps::linear(3, 2)] {
        stays_on_the_gpu(|ws| {
            let y = resample(ws, &x, 1, &taps).unwrap();
            resample(ws, &y, 1, &taps.transposed()).unwrap();
        });
    }
}
