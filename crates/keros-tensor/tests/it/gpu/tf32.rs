//! Convolutions in TF32 are as exact as factors with 10 bits of mantissa allow.

use std::process::Command;

use keros_tensor::kernels::{Activation, Conv2dSpec, Padding, conv2d_backward};
use keros_tensor::{Workspace, set_tf32};

use crate::support::{NaiveConv, flat, flat64, random};
use crate::test_device::test_device;

#[test]
fn weight_gradients() {
    if test_device().is_cpu() {
        return;
    }
    // TF32 is a choice for the whole process.
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args([
        "--exact",
        "gpu::tf32::in_a_process_that_has_tf32",
        "--ignored",
    ]);
    let done = program.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "runs in a process of its own"]
fn in_a_process_that_has_tf32() {
    let device = test_device();
    set_tf32(true);
    let plain = Conv2dSpec::default();
    let spec = |padding, strides, dilation| Conv2dSpec {
        padding,
        strides,
        dilation,
        ..plain
    };
    for (x, w, spec) in [
        // More pixels than there are blocks for.
        ([3, 41, 40, 32], [3, 3, 32, 32], plain),
        (
            [2, 9, 11, 32],
            [3, 3, 32, 64],
            spec(Padding::Same, (1, 1), (1, 1)),
        ),
        (
            [3, 7, 6, 64],
            [3, 3, 64, 32],
            spec(Padding::Same, (2, 2), (1, 1)),
        ),
        (
            [2, 8, 13, 32],
            [5, 5, 32, 32],
            spec(Padding::Same, (1, 2), (1, 1)),
        ),
        (
            [2, 12, 5, 32],
            [2, 3, 32, 32],
            spec(Padding::Causal, (1, 1), (3, 2)),
        ),
        (
            [1, 1, 1, 32],
            [3, 3, 32, 32],
            spec(Padding::Same, (1, 1), (1, 1)),
        ),
        // Channels that other kernels are for.
        ([2, 9, 9, 32], [3, 3, 32, 48], plain),
        ([2, 6, 6, 96], [3, 3, 96, 32], plain),
    ] {
        let case = NaiveConv { x, w, spec };
        let mut ws = Workspace::new(device);
        let (x, w) = (random(1, &case.x), random(2, &case.w));
        let y = random(3, &case.output_shape());
        let (dy, dw) = (random(4, &case.output_shape()), random(5, &case.w));
        let linear = Activation::Linear;
        conv2d_backward(
            &mut ws, &x, &w, &y, &dy, &case.spec, linear, &dw, None, false,
        )
        .unwrap();
        let (x, w, dy) = (flat64(&x), flat64(&w), flat64(&dy));
        let (_, expected, _) = case.backward(&x, &w, &dy);
        // An error of 2^-10 in each factor, all in one direction.
        let [x, w, dy] =
            [x, w, dy].map(|values| values.iter().map(|x| x.abs()).collect::<Vec<_>>());
        let (_, magnitudes, _) = case.backward(&x, &w, &dy);
        for (i, ((found, expected), magnitude)) in
            flat(&dw).iter().zip(&expected).zip(&magnitudes).enumerate()
        {
            let error = (f64::from(*found) - expected).abs();
            assert!(
                error <= magnitude / 512.0 + 1e-6,
                "{:?} by {:?}, {i}: {found} instead of {expected}",
                case.x,
                case.w
            );
        }
    }
}
