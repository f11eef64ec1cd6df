//! Element-wise kernels.

use keros_tensor::kernels::{Activation, activation, activation_backward, map, u8_to_f32, zip_map};
use keros_tensor::{Tensor, Workspace};

use crate::support::{flat, random, tensor};
use crate::test_device::test_device;

#[test]
fn relu_and_its_gradient() {
    let mut ws = Workspace::new(test_device());
    let x = tensor(&[-1.0, 0.0, 2.0, f32::NAN], &[2, 2]);
    let y = activation(&mut ws, &x, Activation::Relu).unwrap();
    assert_eq!(flat(&y)[..3], [0.0, 0.0, 2.0]);
    assert!(flat(&y)[3].is_nan());
    let dy = tensor(&[5.0, 6.0, 7.0, 8.0], &[2, 2]);
    let dx = activation_backward(&mut ws, &y, &dy, Activation::Relu).unwrap();
    assert_eq!(flat(&dx), [0.0, 0.0, 7.0, 0.0]);
    let dx = activation_backward(&mut ws, &y, &dy, Activation::Linear).unwrap();
    assert_eq!(flat(&dx), flat(&dy));
    let y = activation(&mut ws, &dy, Activation::Linear).unwrap();
    assert_eq!(flat(&y), flat(&dy));
}

#[test]
fn maps_cover_every_element() {
    let mut ws = Workspace::new(test_device());
    for len in [0, 1, 1000, 50_000] {
        let (a, b) = (random(1, &[len]), random(2, &[len]));
        let doubled: Vec<f32> = flat(&a).iter().map(|v| v * 2.0).collect();
        assert_eq!(flat(&map(&mut ws, &a, |v| v * 2.0).unwrap()), doubled);
        let sums: Vec<f32> = flat(&a).iter().zip(flat(&b)).map(|(a, b)| a + b).collect();
        assert_eq!(flat(&zip_map(&mut ws, &a, &b, |a, b| a + b).unwrap()), sums);
    }
    assert!(zip_map(&mut ws, &random(1, &[2]), &random(1, &[3]), |a, _| a).is_err());
}

#[test]
fn bytes_become_scaled_floats() {
    let mut ws = Workspace::new(test_device());
    let bytes: Vec<u8> = (0..=255).cycle().take(40_000).collect();
    let x = Tensor::from_slice(&bytes, (2, 200, 100), test_device()).unwrap();
    let y = u8_to_f32(&mut ws, &x, 1.0 / 255.0).unwrap();
    assert_eq!(y.dims(), [2, 200, 100]);
    for (y, x) in flat(&y).iter().zip(&bytes) {
        assert_eq!(*y, f32::from(*x) * (1.0 / 255.0));
    }
    assert!(u8_to_f32(&mut ws, &y, 1.0).is_err());
}
