//! Convolutions in TF32 are as exact as factors with 10 bits of mantissa allow, whichever way of cuDNN is taken.

use std::process::Command;

use keros_tensor::kernels::{Activation, Conv2dSpec, Padding, conv2d, conv2d_backward};
use keros_tensor::{Workspace, set_cudnn_benchmark, set_tf32};
use proptest::prelude::*;

use super::convolutions;
use crate::conv::nan_stays_nan;
use crate::support::{NaiveConv, flat, flat64, masked, random};
use crate::test_device::test_device;

/// Set for the process that has TF32, which is a choice for all of it.
const CHILD: &str = "KEROS_TEST_TF32";

/// Runs a test in a process with these variables, if there is a GPU.
fn alone(test: &str, variables: &[(&str, &str)]) {
    if test_device().is_cpu() {
        return;
    }
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", test, "--ignored"]);
    program.env(CHILD, "1").envs(variables.iter().copied());
    let done = program.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn convolutions_in_tf32() {
    alone("gpu::tf32::with_tf32", &[]);
}

#[test]
fn convolutions_by_the_algorithms_that_were_measured() {
    // The one that the emulated cuDNN proposes is slow, and fails if it is started again after it was measured.
    let slow = ("KEROS_EMULATOR_SLOW_ENGINE", "1");
    alone("gpu::tf32::with_measured_algorithms", &[slow]);
    // There is memory for some of them only.
    let little = ("KEROS_EMULATOR_BYTES", "1000000");
    alone("gpu::tf32::with_measured_algorithms", &[little]);
}

/// Results and gradients of one convolution, beside those of a reference.
fn check(case: &NaiveConv) {
    let spec = case.spec;
    let mut ws = Workspace::new(test_device());
    let (x, w) = (random(1, &case.x), random(2, &case.w));
    let (bias, dy) = (random(3, &[case.w[3]]), random(4, &case.output_shape()));
    let relu = Activation::Relu;
    let y = conv2d(&mut ws, &x, &w, Some(&bias), &spec, relu).unwrap();
    let (dw, dbias) = (random(5, &case.w), random(6, &[case.w[3]]));
    let dx = conv2d_backward(
        &mut ws,
        &x,
        &w,
        &y,
        &dy,
        &spec,
        relu,
        &dw,
        Some(&dbias),
        true,
    )
    .unwrap()
    .unwrap();

    let magnitudes = |values: &[f64]| values.iter().map(|x| x.abs()).collect::<Vec<_>>();
    let (x, w, bias) = (flat64(&x), flat64(&w), flat64(&bias));
    let dz = masked(&flat64(&dy), &flat(&y), true);
    let expected_y = case.forward(&x, &w, &bias, true);
    let (expected_dx, expected_dw, expected_dbias) = case.backward(&x, &w, &dz);
    let (x, w, dz) = (magnitudes(&x), magnitudes(&w), magnitudes(&dz));
    let size_of_y = case.forward(&x, &w, &magnitudes(&bias), false);
    let (size_of_dx, size_of_dw, size_of_dbias) = case.backward(&x, &w, &dz);
    for (what, found, expected, sizes) in [
        ("y", &y, expected_y, size_of_y),
        ("dx", &dx, expected_dx, size_of_dx),
        ("dw", &dw, expected_dw, size_of_dw),
        ("dbias", &dbias, expected_dbias, size_of_dbias),
    ] {
        for (i, found) in flat(found).into_iter().enumerate() {
            // An error of 2^-10 in each factor, all in one direction.
            let most = sizes[i] / 512.0 + 1e-6;
            assert!(
                (f64::from(found) - expected[i]).abs() <= most,
                "{what} of {:?} by {:?}, {i}: {found} instead of {}",
                case.x,
                case.w,
                expected[i]
            );
        }
    }
}

/// Whether this is such a process, which then has TF32.
fn is_child() -> bool {
    let is_child = std::env::var_os(CHILD).is_some();
    if is_child {
        // Without TF32 from its start on.
        test_device();
        set_tf32(true);
    }
    is_child
}

#[test]
#[ignore = "runs in a process of its own"]
fn with_measured_algorithms() {
    if !is_child() {
        return;
    }
    set_cudnn_benchmark(true);
    let spec = Conv2dSpec {
        padding: Padding::Same,
        ..Conv2dSpec::default()
    };
    // More often than each algorithm is started to measure it.
    for _ in 0..6 {
        for (x, w) in [
            ([2, 7, 5, 8], [3, 3, 8, 16]),
            ([1, 6, 6, 40], [5, 3, 40, 8]),
            ([3, 4, 4, 6], [2, 2, 6, 24]),
        ] {
            check(&NaiveConv { x, w, spec });
        }
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn with_tf32() {
    if !is_child() {
        return;
    }
    let plain = Conv2dSpec::default();
    let spec = |padding, strides, dilation| Conv2dSpec {
        padding,
        strides,
        dilation,
        ..plain
    };
    let check_one = |x, w, spec| check(&NaiveConv { x, w, spec });
    let same = spec(Padding::Same, (1, 1), (1, 1));
    // More pixels than there are blocks for.
    check_one([3, 41, 40, 32], [3, 3, 32, 32], plain);
    check_one([2, 9, 11, 32], [3, 3, 32, 64], same);
    let strided = spec(Padding::Same, (2, 2), (1, 1));
    check_one([3, 7, 6, 64], [3, 3, 64, 32], strided);
    // A border that is wider on one side.
    check_one([2, 8, 8, 64], [3, 3, 64, 128], strided);
    let strided = spec(Padding::Same, (1, 2), (1, 1));
    check_one([2, 8, 13, 32], [5, 5, 32, 32], strided);
    let dilated = spec(Padding::Causal, (1, 1), (3, 2));
    check_one([2, 12, 5, 32], [2, 3, 32, 32], dilated);
    check_one([1, 1, 1, 32], [3, 3, 32, 32], same);
    // Few channels and steps of more than one pixel: a step is folded into channels.
    let steps = |padding, strides| spec(padding, strides, (1, 1));
    check_one([2, 23, 20, 3], [7, 7, 3, 16], steps(Padding::Same, (2, 2)));
    check_one([1, 16, 24, 3], [8, 8, 3, 32], steps(Padding::Valid, (8, 8)));
    check_one([2, 19, 11, 4], [5, 4, 4, 8], steps(Padding::Same, (3, 1)));
    check_one([2, 17, 30, 1], [11, 9, 1, 8], steps(Padding::Valid, (4, 5)));
    // Channels that other kernels are for.
    check_one([2, 9, 9, 3], [3, 3, 3, 32], same);
    check_one([2, 9, 9, 32], [3, 3, 32, 48], plain);
    check_one([2, 6, 6, 96], [3, 3, 96, 32], plain);
    nan_stays_nan();
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    };
    proptest!(config, |(case in convolutions())| check(&case));
}
