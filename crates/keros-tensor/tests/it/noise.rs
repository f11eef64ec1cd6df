//! Gaussian noise: its numbers, and one noise for both passes.

use keros_tensor::kernels::{gaussian_dropout, gaussian_noise};
use keros_tensor::{Stream, Workspace};

use crate::support::{check_close, flat, flat64, random, same_bits_on_every_path, tensor};
use crate::test_device::test_device;

/// Less than a vector, rests of vectors, and several tasks.
const LENGTHS: [usize; 5] = [1, 7, 45, 64, 40_003];

/// What the numbers of a stream are in double precision.
fn normal(stream: Stream, len: usize) -> Vec<f64> {
    let mut numbers = vec![0.0; len];
    stream.fill_normal(0, 0.0, 1.0, &mut numbers);
    numbers.into_iter().map(f64::from).collect()
}

#[test]
fn noise_is_added_or_a_factor() {
    for (i, len) in LENGTHS.into_iter().enumerate() {
        same_bits_on_every_path(|| {
            let ws = &mut Workspace::new(test_device());
            let x = random(1, &[len]);
            let stream = Stream::new(3, i as u64);
            let pairs = || flat64(&x).into_iter().zip(normal(stream, len));
            let sums: Vec<f64> = pairs().map(|(x, z)| x + 0.7 * z).collect();
            let y = gaussian_noise(ws, &x, 0.7, stream).unwrap();
            check_close("sum", &y, &sums, 4e-6);
            let products: Vec<f64> = pairs().map(|(x, z)| x * (1.0 + 0.7 * z)).collect();
            let y = gaussian_dropout(ws, &x, 0.7, stream).unwrap();
            check_close("product", &y, &products, 4e-6);
        });
    }
}

#[test]
fn the_distribution_is_normal_into_its_tails() {
    let ws = &mut Workspace::new(test_device());
    const LEN: usize = 1 << 20;
    let zeros = tensor(&vec![0.0; LEN], &[1024, 1024]);
    let stream = Stream::new(5, 6);
    let z = flat(&gaussian_noise(ws, &zeros, 1.0, stream).unwrap());
    for (z, expected) in z.iter().zip(normal(stream, LEN)) {
        let error = (f64::from(*z) - expected).abs();
        assert!(error <= 2e-6 * expected.abs(), "{z} instead of {expected}");
    }
    // Parts beyond 1, 2, 3 and 4 deviations, on either side.
    for (limit, part) in [
        (1.0, 0.158_655),
        (2.0, 0.022_75),
        (3.0, 1.35e-3),
        (4.0, 3.17e-5),
    ] {
        for side in [1.0, -1.0] {
            let count = z.iter().filter(|z| side * **z > limit).count() as f64;
            let expected = part * LEN as f64;
            let error = (count - expected).abs();
            assert!(
                error < 5.0 * expected.sqrt(),
                "{count} beyond {limit} instead of {expected}"
            );
        }
    }
    assert!(z.iter().all(|z| z.abs() < 6.5 && *z != 0.0));
}

#[test]
fn a_deviation_out_of_range_is_an_error() {
    let ws = &mut Workspace::new(test_device());
    let x = random(1, &[2]);
    for stddev in [-0.1, f32::INFINITY, f32::NAN] {
        let error = gaussian_noise(ws, &x, stddev, Stream::new(0, 0)).unwrap_err();
        let expected = "Gaussian noise: bad stddev (expected a finite number from 0";
        assert!(error.to_string().starts_with(expected), "{error}");
        assert!(gaussian_dropout(ws, &x, stddev, Stream::new(0, 0)).is_err());
    }
    let unchanged = gaussian_noise(ws, &x, 0.0, Stream::new(0, 0)).unwrap();
    assert_eq!(flat(&unchanged), flat(&x));
}
