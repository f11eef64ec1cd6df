//! Max pooling against naive loops.

use keros_tensor::kernels::{
    Padding, Pool2dSpec, average_pool2d, average_pool2d_backward, max_pool2d, max_pool2d_backward,
};
use keros_tensor::{DType, Workspace};
use proptest::prelude::*;

use crate::support::{axis, check_close, flat, flat64, random, same_bits_on_every_path, tensor};
use crate::test_device::test_device;

/// Outputs and, for each, the input that it is: the first maximum in row-major order.
fn naive(x: &[f64], shape: [usize; 4], spec: &Pool2dSpec) -> (Vec<f64>, Vec<usize>) {
    let [n, h, w, c] = shape;
    let (oh, top) = axis(spec.padding, h, spec.window.0, spec.strides.0, 1);
    let (ow, left) = axis(spec.padding, w, spec.window.1, spec.strides.1, 1);
    let (mut y, mut sources) = (Vec::new(), Vec::new());
    for i in 0..n * oh * ow * c {
        let (image, oy, ox, channel) = (i / (oh * ow * c), i / (ow * c) % oh, i / c % ow, i % c);
        let mut best: Option<usize> = None;
        for ky in 0..spec.window.0 {
            for kx in 0..spec.window.1 {
                let row = (oy * spec.strides.0 + ky) as isize - top;
                let column = (ox * spec.strides.1 + kx) as isize - left;
                if row < 0 || column < 0 || row >= h as isize || column >= w as isize {
                    continue;
                }
                let at = ((image * h + row as usize) * w + column as usize) * c + channel;
                if best.is_none_or(|best| x[at] > x[best]) {
                    best = Some(at);
                }
            }
        }
        y.push(x[best.unwrap()]);
        sources.push(best.unwrap());
    }
    (y, sources)
}

fn check_pool(shape: [usize; 4], spec: &Pool2dSpec, ties: bool) {
    let mut ws = Workspace::new(test_device());
    let mut x = random(1, &shape);
    if ties {
        x = (x * 2.0).unwrap().round().unwrap();
    }
    let (expected, sources) = naive(&flat64(&x), shape, spec);
    let (y, argmax) = max_pool2d(&mut ws, &x, spec).unwrap();
    assert_eq!(y.dims(), spec.output_shape(shape).unwrap());
    check_close("y", &y, &expected, 0.0);

    let dy = random(2, y.dims());
    let mut dx64 = vec![0.0; flat(&x).len()];
    for (dy, source) in flat64(&dy).iter().zip(&sources) {
        dx64[*source] += dy;
    }
    let dx = max_pool2d_backward(&mut ws, &dy, &argmax, shape, spec).unwrap();
    check_close("dx", &dx, &dx64, 1e-6);
}

fn padding() -> impl Strategy<Value = Padding> {
    prop_oneof![
        Just(Padding::Valid),
        Just(Padding::Same),
        Just(Padding::Causal)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn matches_naive_loops(
        shape in (1usize..4, 1usize..12, 1usize..12, 1usize..20),
        window in (1usize..5, 1usize..5),
        strides in (1usize..5, 1usize..5),
        padding in padding(),
        ties in any::<bool>(),
    ) {
        let shape = [shape.0, shape.1, shape.2, shape.3];
        let spec = Pool2dSpec { window, strides, padding };
        if spec.output_shape(shape).is_ok() {
            same_bits_on_every_path(|| check_pool(shape, &spec, ties));
        } else {
            prop_assert!(window.0 > shape[1] || window.1 > shape[2]);
        }
    }

    #[test]
    fn plain_windows_match_naive_loops(
        shape in (1usize..4, 2usize..12, 2usize..12, 1usize..40),
        padding in padding(),
        ties in any::<bool>(),
    ) {
        let shape = [shape.0, shape.1, shape.2, shape.3];
        let spec = Pool2dSpec { padding, ..Pool2dSpec::new((2, 2)) };
        same_bits_on_every_path(|| check_pool(shape, &spec, ties));
    }
}

#[test]
fn large_windows_have_wide_indices() {
    let spec = Pool2dSpec {
        window: (16, 17),
        strides: (1, 2),
        padding: Padding::Valid,
    };
    same_bits_on_every_path(|| check_pool([2, 18, 20, 3], &spec, false));
    let mut ws = Workspace::new(test_device());
    let (_, argmax) = max_pool2d(&mut ws, &random(1, &[1, 18, 20, 3]), &spec).unwrap();
    assert_eq!(argmax.dtype(), DType::U32);
}

#[test]
fn extreme_steps_match_naive_loops() {
    for padding in [Padding::Valid, Padding::Same, Padding::Causal] {
        let spec = Pool2dSpec {
            window: (2, 3),
            strides: (usize::MAX, usize::MAX / 8),
            padding,
        };
        check_pool([2, 5, 4, 3], &spec, false);
    }
}

/// candle's own `max_pool2d` returns a quarter of this gradient.
#[test]
fn the_gradient_of_a_sum_counts_every_window() {
    let mut ws = Workspace::new(test_device());
    for size in [4, 5] {
        let shape = [1, size, size, 1];
        let spec = Pool2dSpec::new((2, 2));
        let (y, argmax) = max_pool2d(&mut ws, &random(3, &shape), &spec).unwrap();
        let dx = max_pool2d_backward(&mut ws, &y.ones_like().unwrap(), &argmax, shape, &spec);
        assert_eq!(flat(&dx.unwrap()).iter().sum::<f32>(), 4.0);
    }
}

#[test]
fn nan_wins() {
    let mut ws = Workspace::new(test_device());
    for at in 0..4 {
        let mut values = [1.0, 2.0, 3.0, 4.0];
        values[at] = f32::NAN;
        let x = tensor(&values, &[1, 2, 2, 1]);
        for padding in [Padding::Valid, Padding::Same] {
            let spec = Pool2dSpec {
                window: (2, 2),
                strides: (2, 2),
                padding,
            };
            let (y, _) = max_pool2d(&mut ws, &x, &spec).unwrap();
            assert!(flat(&y)[0].is_nan());
        }
    }
}

#[test]
fn wrong_arguments_are_errors() {
    let mut ws = Workspace::new(test_device());
    let x = random(1, &[1, 4, 4, 2]);
    for (window, strides) in [((5, 2), (1, 1)), ((0, 2), (1, 1)), ((2, 2), (1, 0))] {
        let spec = Pool2dSpec {
            window,
            strides,
            padding: Padding::Valid,
        };
        assert!(max_pool2d(&mut ws, &x, &spec).is_err());
    }
    let spec = Pool2dSpec::new((2, 2));
    let (y, argmax) = max_pool2d(&mut ws, &x, &spec).unwrap();
    assert!(max_pool2d_backward(&mut ws, &y, &argmax, [1, 6, 4, 2], &spec).is_err());
    assert!(max_pool2d_backward(&mut ws, &y, &y, [1, 4, 4, 2], &spec).is_err());
}

/// Nobody walks through windows of so many cells.
#[test]
fn windows_much_larger_than_the_image_have_all_of_it() {
    for padding in [Padding::Same, Padding::Causal] {
        for (window, strides) in [(15, 3), (16, 16), (17, 1), (24, 8), (25, 4)] {
            let spec = Pool2dSpec {
                window: (window, window),
                strides: (strides, strides),
                padding,
            };
            check_pool([2, 8, 7, 3], &spec, true);
        }
    }
    let mut ws = Workspace::new(test_device());
    for (window, strides) in [
        ((1 << 20, 1 << 20), (1 << 20, 1 << 20)),
        ((1 << 32, 1 << 32), (3, 8)),
        ((usize::MAX, usize::MAX), (usize::MAX, 5)),
    ] {
        let (shape, padding) = ([1, 8, 8, 2], Padding::Same);
        let large = Pool2dSpec {
            window,
            strides,
            padding,
        };
        let small = Pool2dSpec {
            window: (16, 16),
            ..large
        };
        let x = random(1, &shape);
        let [found, expected] = [large, small].map(|spec| {
            let (y, argmax) = max_pool2d(&mut ws, &x, &spec).unwrap();
            let dx = max_pool2d_backward(&mut ws, &y, &argmax, shape, &spec).unwrap();
            let mean = average_pool2d(&mut ws, &x, &spec).unwrap();
            let of_mean = average_pool2d_backward(&mut ws, &y, shape, &spec).unwrap();
            [y, dx, mean, of_mean].map(|tensor| flat(&tensor))
        });
        assert_eq!(found, expected);
    }
}
