//! Dropout: rate, scale, and one mask for both passes.

use keros_tensor::kernels::{dropout, dropout_backward};
use keros_tensor::{Stream, Workspace};

use crate::support::{flat, random, tensor};
use crate::test_device::test_device;

#[test]
fn drops_the_rate_and_scales_the_rest() {
    let mut ws = Workspace::new(test_device());
    let x = tensor(&[1.0; 100_000], &[100, 1000]);
    for rate in [0.0f32, 0.1, 0.5, 0.9] {
        let y = flat(&dropout(&mut ws, &x, rate, Stream::new(1, 2)).unwrap());
        let kept = 1.0 / (1.0 - rate);
        assert!(y.iter().all(|&v| v == 0.0 || v == kept));
        let dropped = y.iter().filter(|&&v| v == 0.0).count() as f64 / y.len() as f64;
        // Five standard deviations of a mean of 100,000.
        let limit = 5.0 * (f64::from(rate * (1.0 - rate)) / 1e5).sqrt();
        assert!(
            (dropped - f64::from(rate)).abs() <= limit,
            "{rate}: {dropped}"
        );
    }
}

#[test]
fn both_passes_use_one_mask() {
    let mut ws = Workspace::new(test_device());
    // Not a multiple of any vector or task size.
    let (x, dy) = (random(1, &[3, 12_345]), random(2, &[3, 12_345]));
    let stream = Stream::new(3, 4);
    let y = flat(&dropout(&mut ws, &x, 0.5, stream).unwrap());
    let dx = flat(&dropout_backward(&mut ws, &dy, 0.5, stream).unwrap());
    let (x, dy) = (flat(&x), flat(&dy));
    let mut words = vec![0; x.len()];
    stream.fill_u32(0, &mut words);
    for i in 0..x.len() {
        let kept = words[i] >= 1 << 31;
        assert_eq!(y[i], if kept { 2.0 * x[i] } else { 0.0 });
        assert_eq!(dx[i], if kept { 2.0 * dy[i] } else { 0.0 });
    }
    let other = flat(&dropout(&mut ws, &random(1, &[3, 12_345]), 0.5, Stream::new(3, 5)).unwrap());
    assert_ne!(y, other);
}

#[test]
fn a_rate_out_of_range_is_an_error() {
    let mut ws = Workspace::new(test_device());
    for rate in [-0.1, 1.0, f32::NAN] {
        let error = dropout(&mut ws, &random(1, &[2]), rate, Stream::new(0, 0)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("dropout: bad rate (expected 0 <= rate < 1")
        );
    }
}
