//! Average and global pooling against naive loops.

use keros_tensor::Workspace;
use keros_tensor::kernels::{
    Padding, Pool2dSpec, average_pool2d, average_pool2d_backward, global_average_pool,
    global_average_pool_backward, global_max_pool, global_max_pool_backward,
};
use proptest::prelude::*;

use crate::support::{axis, check_close, flat, flat64, random, same_bits_on_every_path, tensor};
use crate::test_device::test_device;

/// For each output the inputs of its window.
fn windows(shape: [usize; 4], spec: &Pool2dSpec) -> Vec<Vec<usize>> {
    let [n, h, w, c] = shape;
    let (oh, top) = axis(spec.padding, h, spec.window.0, spec.strides.0, 1);
    let (ow, left) = axis(spec.padding, w, spec.window.1, spec.strides.1, 1);
    let window = |i: usize| {
        let (image, oy, ox, channel) = (i / (oh * ow * c), i / (ow * c) % oh, i / c % ow, i % c);
        let mut cells = Vec::new();
        for ky in 0..spec.window.0 {
            for kx in 0..spec.window.1 {
                let row = (oy * spec.strides.0 + ky) as isize - top;
                let column = (ox * spec.strides.1 + kx) as isize - left;
                if (0..h as isize).contains(&row) && (0..w as isize).contains(&column) {
                    let pixel = (image * h + row as usize) * w + column as usize;
                    cells.push(pixel * c + channel);
                }
            }
        }
        cells
    };
    (0..n * oh * ow * c).map(window).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn matches_naive_loops(
        shape in (1usize..4, 1usize..12, 1usize..12, 1usize..20),
        window in (1usize..5, 1usize..5),
        strides in (1usize..5, 1usize..5),
        padding in prop_oneof![
            Just(Padding::Valid),
            Just(Padding::Same),
            Just(Padding::Causal)
        ],
    ) {
        let shape = [shape.0, shape.1, shape.2, shape.3];
        let spec = Pool2dSpec { window, strides, padding };
        if spec.output_shape(shape).is_err() {
            return Ok(());
        }
        same_bits_on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            let x = random(1, &shape);
            let y = average_pool2d(&mut ws, &x, &spec).unwrap();
            let (x64, windows) = (flat64(&x), windows(shape, &spec));
            let mean = |cells: &Vec<usize>| {
                cells.iter().map(|&i| x64[i]).sum::<f64>() / cells.len() as f64
            };
            check_close("y", &y, &windows.iter().map(mean).collect::<Vec<_>>(), 1e-6);

            let dy = random(2, y.dims());
            let mut dx64 = vec![0.0; x64.len()];
            for (dy, cells) in flat64(&dy).iter().zip(&windows) {
                cells.iter().for_each(|&i| dx64[i] += dy / cells.len() as f64);
            }
            let dx = average_pool2d_backward(&mut ws, &dy, shape, &spec).unwrap();
            check_close("dx", &dx, &dx64, 2e-6);
        });
    }

    #[test]
    fn global_pools_match_naive_loops(
        (n, h, w, c) in (1usize..4, 1usize..9, 1usize..9, 1usize..20),
    ) {
        same_bits_on_every_path(|| {
            let mut ws = Workspace::new(test_device());
            // Rounding makes ties.
            let x = (random(1, &[n, h, w, c]) * 3.0).unwrap().round().unwrap();
            let (x64, dy) = (flat64(&x), random(2, &[n, c]));
            let dy64 = flat64(&dy);
            let of = |i: usize| i / (h * w * c) * c + i % c;
            let (mut mean, mut max) = (vec![0.0; n * c], vec![f64::NEG_INFINITY; n * c]);
            for (i, &x) in x64.iter().enumerate() {
                mean[of(i)] += x / (h * w) as f64;
                max[of(i)] = max[of(i)].max(x);
            }
            let y = global_average_pool(&mut ws, &x).unwrap();
            check_close("mean", &y, &mean, 1e-6);
            let dx = global_average_pool_backward(&mut ws, &dy, x.dims()).unwrap();
            let expected: Vec<f64> = (0..x64.len()).map(|i| dy64[of(i)] / (h * w) as f64).collect();
            check_close("dx of mean", &dx, &expected, 1e-6);

            let y = global_max_pool(&mut ws, &x).unwrap();
            check_close("max", &y, &max, 0.0);
            let mut ties = vec![0.0; n * c];
            let is_max = |i: usize| x64[i] == max[of(i)];
            (0..x64.len()).filter(|&i| is_max(i)).for_each(|i| ties[of(i)] += 1.0);
            let share = |i: usize| if is_max(i) { dy64[of(i)] / ties[of(i)] } else { 0.0 };
            let expected: Vec<f64> = (0..x64.len()).map(share).collect();
            let dx = global_max_pool_backward(&mut ws, &x, &y, &dy).unwrap();
            check_close("dx of max", &dx, &expected, 1e-6);
        });
    }
}

/// Sums of so many terms, one added after the other, would lose three digits.
#[test]
fn means_of_many_are_as_exact_as_those_of_few() {
    let constant = |shape: &[usize]| tensor(&vec![0.1; shape.iter().product()], shape);
    // A GPU has no sums in double precision here.
    let tolerance = if test_device().is_cpu() { 1e-6 } else { 1e-5 };
    let expected = |len| vec![f64::from(0.1_f32); len];
    same_bits_on_every_path(|| {
        let ws = &mut Workspace::new(test_device());
        for channels in [1, 3] {
            let y = global_average_pool(ws, &constant(&[1, 1024, 1024, channels])).unwrap();
            check_close("mean", &y, &expected(channels), tolerance);
        }
        for (window, strides, shape, len) in [
            ((512, 640), (300, 400), [1, 700, 900, 2], 18),
            ((1, 300_000), (1, 200_000), [1, 1, 500_000, 2], 6),
        ] {
            let spec = Pool2dSpec {
                window,
                strides,
                padding: Padding::Same,
            };
            let y = average_pool2d(ws, &constant(&shape), &spec).unwrap();
            check_close("y", &y, &expected(len), tolerance);
        }
    });
}

#[test]
fn large_windows_match_naive_loops() {
    let shape = [2, 40, 45, 3];
    for padding in [Padding::Valid, Padding::Same, Padding::Causal] {
        let spec = Pool2dSpec {
            window: (33, 35),
            strides: (3, 4),
            padding,
        };
        same_bits_on_every_path(|| {
            let x = random(1, &shape);
            let y = average_pool2d(&mut Workspace::new(test_device()), &x, &spec).unwrap();
            let (x64, windows) = (flat64(&x), windows(shape, &spec));
            let mean = |cells: &Vec<usize>| {
                cells.iter().map(|&i| x64[i]).sum::<f64>() / cells.len() as f64
            };
            check_close("y", &y, &windows.iter().map(mean).collect::<Vec<_>>(), 1e-6);
        });
    }
}

#[test]
fn nan_wins_and_wrong_shapes_are_errors() {
    let mut ws = Workspace::new(test_device());
    let x = tensor(&[1.0, f32::NAN, 3.0, 2.0], &[1, 2, 2, 1]);
    assert!(flat(&global_max_pool(&mut ws, &x).unwrap())[0].is_nan());
    assert!(flat(&global_average_pool(&mut ws, &x).unwrap())[0].is_nan());
    assert!(global_max_pool(&mut ws, &random(1, &[3])).is_err());
    assert!(global_average_pool(&mut ws, &random(1, &[3, 0, 2])).is_err());
    assert!(global_average_pool_backward(&mut ws, &x, &[1, 2, 2, 1]).is_err());
    let spec = Pool2dSpec::new((3, 2));
    assert!(average_pool2d(&mut ws, &x, &spec).is_err());
    let spec = Pool2dSpec::new((2, 2));
    assert!(average_pool2d_backward(&mut ws, &x, [1, 2, 2, 1], &spec).is_err());
}
