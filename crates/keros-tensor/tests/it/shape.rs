//! Kernels that move, repeat and join values, against plain loops.

use keros_tensor::kernels::{
    Activation, MergeOp, Taps, affine, check_indices, concatenate, copy, crop2d, embedding,
    embedding_backward, fill, merge, permute, prelu_backward, resample, slice_axis, zero_pad2d,
};
use keros_tensor::{Tensor, TensorError, Workspace};

use crate::support::{check_close, flat, flat64, random, tensor};
use crate::test_device::test_device;

#[test]
fn permuting_follows_the_order() {
    let ws = &mut Workspace::new(test_device());
    for shape in [[1, 1, 1], [2, 3, 5], [7, 1, 9]] {
        let x = random(1, &shape);
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let y = permute(ws, &x, &order).unwrap();
            let expected = x.permute(order.to_vec()).unwrap().contiguous().unwrap();
            assert_eq!(y.dims(), expected.dims());
            assert_eq!(flat(&y), flat(&expected), "{shape:?} {order:?}");
        }
    }
    let error = permute(ws, &random(1, &[2, 3]), &[0, 0]).unwrap_err();
    assert!(matches!(error, TensorError::Argument { .. }), "{error}");
}

#[test]
fn repeating_summing_and_interpolating() {
    let ws = &mut Workspace::new(test_device());
    let x = tensor(&[1.0, 2.0, 5.0], &[1, 3]);
    let y = resample(ws, &x, 1, &Taps::repeat(3, 2)).unwrap();
    assert_eq!(flat(&y), [1.0, 1.0, 2.0, 2.0, 5.0, 5.0]);
    let back = resample(ws, &y, 1, &Taps::repeat(3, 2).transposed()).unwrap();
    assert_eq!(flat(&back), [2.0, 4.0, 10.0]);
    let y = resample(ws, &x, 1, &Taps::linear(3, 2)).unwrap();
    assert_eq!(flat(&y), [1.0, 1.25, 1.75, 2.75, 4.25, 5.0]);
    // Rows longer than a task.
    let long = random(2, &[2, 2, 20_001]);
    let sum = resample(ws, &long, 1, &Taps::repeat(1, 2).transposed()).unwrap();
    let values = flat(&long);
    let expected: Vec<f32> = (0..2 * 20_001)
        .map(|i| (i / 20_001 * 2 * 20_001) + i % 20_001)
        .map(|i| values[i] + values[i + 20_001])
        .collect();
    assert_eq!(flat(&sum), expected);
    let error = resample(ws, &x, 1, &Taps::repeat(4, 2)).unwrap_err();
    assert!(matches!(error, TensorError::Shape { .. }), "{error}");
}

#[test]
fn borders_come_and_go() {
    let ws = &mut Workspace::new(test_device());
    for border in [((0, 0), (0, 0)), ((1, 0), (2, 3)), ((3, 1), (0, 1))] {
        let x = random(3, &[2, 3, 5, 3]);
        let padded = zero_pad2d(ws, &x, border).unwrap();
        let ((top, bottom), (left, right)) = border;
        let expected = x.pad_with_zeros(1, top, bottom).unwrap();
        let expected = expected.pad_with_zeros(2, left, right).unwrap();
        assert_eq!(flat(&padded), flat(&expected), "{border:?}");
        assert_eq!(
            flat(&crop2d(ws, &padded, border).unwrap()),
            flat(&x),
            "{border:?}"
        );
    }
    let error = crop2d(ws, &random(3, &[1, 2, 2, 1]), ((2, 1), (0, 0))).unwrap_err();
    assert!(matches!(error, TensorError::Shape { .. }), "{error}");
}

#[test]
fn joining_and_taking_apart() {
    let ws = &mut Workspace::new(test_device());
    for axis in 0..3 {
        let inputs: Vec<Tensor> = [1, 4, 2]
            .map(|length| {
                let mut shape = [2, 3, 5];
                shape[axis] = length;
                random(length as u64, &shape)
            })
            .into();
        let y = concatenate(ws, &inputs, axis).unwrap();
        assert_eq!(flat(&y), flat(&Tensor::cat(&inputs, axis).unwrap()));
        let middle = slice_axis(ws, &y, axis, 1, 4).unwrap();
        assert_eq!(flat(&middle), flat(&inputs[1]));
        assert!(slice_axis(ws, &y, axis, 5, 4).is_err());
    }
    let other = [random(1, &[2, 3]), random(1, &[3, 2])];
    assert!(concatenate(ws, &other, 1).is_err());
    assert!(concatenate(ws, &[], 0).is_err());
}

#[test]
fn merging_scaling_and_looking_up() {
    let ws = &mut Workspace::new(test_device());
    let inputs = [
        tensor(&[1.0, -2.0, f32::NAN], &[3]),
        tensor(&[4.0, -3.0, 1.0], &[3]),
    ];
    for (op, expected) in [
        (MergeOp::Add, [5.0, -5.0]),
        (MergeOp::Subtract, [-3.0, 1.0]),
        (MergeOp::Multiply, [4.0, 6.0]),
        (MergeOp::Average, [2.5, -2.5]),
        (MergeOp::Maximum, [4.0, -2.0]),
        (MergeOp::Minimum, [1.0, -3.0]),
    ] {
        let y = flat(&merge(ws, &inputs, op, Activation::Linear).unwrap());
        assert_eq!(y[..2], expected, "{op:?}");
        assert!(y[2].is_nan(), "{op:?}");
        let y = flat(&merge(ws, &inputs, op, Activation::Relu).unwrap());
        assert_eq!(y[..2], expected.map(|y: f32| y.max(0.0)), "{op:?}");
        assert!(y[2].is_nan(), "{op:?}");
    }
    let x = tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2]);
    let y = affine(ws, &x, &[2.0, 10.0], &[1.0]).unwrap();
    assert_eq!(flat(&y), [3.0, 21.0, 7.0, 41.0]);
    assert!(affine(ws, &x, &[1.0, 2.0, 3.0], &[0.0]).is_err());
    let table = tensor(&[0.0, 1.0, 10.0, 11.0], &[2, 2]);
    let (y, _) = embedding(ws, &tensor(&[1.0, 0.0, 1.0], &[3, 1]), &table).unwrap();
    assert_eq!(y.dims(), [3, 1, 2]);
    assert_eq!(flat(&y), [10.0, 11.0, 0.0, 1.0, 10.0, 11.0]);
}

#[test]
fn permuting_large_and_many_axes() {
    let ws = &mut Workspace::new(test_device());
    for (shape, order) in [
        (&[70, 41][..], &[1, 0][..]),
        (&[2, 33, 65], &[0, 2, 1]),
        (&[64, 5, 32], &[2, 1, 0]),
        (&[3, 4, 8, 12], &[1, 0, 2, 3]),
        (&[2, 3, 4, 1, 5], &[4, 3, 2, 1, 0]),
        (&[2, 3, 2, 3, 2, 5], &[3, 5, 0, 2, 4, 1]),
        (&[1, 1], &[1, 0]),
        (&[3, 0, 2], &[2, 1, 0]),
        (&[], &[]),
    ] {
        let x = random(1, shape);
        let values = flat(&x);
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        let expected: Vec<f32> = (0..values.len())
            .map(|mut place| {
                let mut from = 0;
                for &axis in order.iter().rev() {
                    from += place % shape[axis] * strides[axis];
                    place /= shape[axis];
                }
                values[from]
            })
            .collect();
        let y = permute(ws, &x, order).unwrap();
        assert_eq!(flat(&y), expected, "{shape:?} {order:?}");
    }
}

#[test]
fn gradients_of_many_rows_of_a_table_are_added_up() {
    let ws = &mut Workspace::new(test_device());
    let (rows, width, lookups) = (7, 133, 1001);
    // Row 3 stands almost everywhere, and row 5 nowhere.
    let row = |i: usize| if i.is_multiple_of(4) { i / 4 % 5 } else { 3 };
    let places: Vec<f32> = (0..lookups).map(|i| row(i) as f32).collect();
    let table = random(1, &[rows, width]);
    let (_, indices) = embedding(ws, &tensor(&places, &[lookups]), &table).unwrap();
    let (dy, dtable) = (random(2, &[lookups, width]), random(3, &[rows, width]));
    embedding_backward(ws, &indices, &dy, &dtable).unwrap();
    let mut expected = vec![0.0; rows * width];
    for (i, dy) in flat64(&dy).iter().enumerate() {
        expected[row(i / width) * width + i % width] += dy;
    }
    check_close("gradient of the table", &dtable, &expected, 2e-5);

    for bad in [-1.0, 7.0, 0.5, f32::NAN] {
        let values = [1.0, 2.0, 0.0, bad, 6.0, 0.0];
        let x = tensor(&values, &[3, 2]);
        let error = check_indices(&values, 2, rows).unwrap_err().to_string();
        assert!(error.ends_with("in row 1, position 1)"), "{error}");
        match embedding(ws, &x, &table) {
            Err(found) => assert!(test_device().is_cpu() && found.to_string() == error),
            Ok((y, indices)) => {
                assert!(!test_device().is_cpu());
                let y = flat(&y);
                let is_nan = |row: usize| y[row * width..][..width].iter().all(|y| y.is_nan());
                assert_eq!(
                    [0, 1, 2, 3, 4, 5].map(is_nan),
                    [false, false, false, true, false, false]
                );
                // Its gradient goes nowhere, and the others' where it belongs.
                let dy = random(4, &[3, 2, width]);
                embedding_backward(ws, &indices, &dy, &dtable).unwrap();
                let (dy, dtable) = (flat(&dy), flat(&dtable));
                assert_eq!(dtable[6 * width..], dy[4 * width..5 * width]);
                assert!(dtable.iter().all(|grad| grad.is_finite()));
            }
        }
    }
}

#[test]
fn slopes_and_factors_of_many_channels() {
    let ws = &mut Workspace::new(test_device());
    let (samples, channels) = (67, 1003);
    let (x, dy) = (
        random(1, &[samples, channels]),
        random(2, &[samples, channels]),
    );
    let (alpha, dalpha) = (random(3, &[channels]), random(4, &[channels]));
    prelu_backward(ws, &x, &alpha, &dy, &dalpha).unwrap();
    let mut expected = vec![0.0; channels];
    for (i, (x, dy)) in flat64(&x).iter().zip(flat64(&dy)).enumerate() {
        expected[i % channels] += x.min(0.0) * dy;
    }
    check_close("dalpha", &dalpha, &expected, 1e-5);
    let y = affine(ws, &x, &flat(&alpha), &[0.5]).unwrap();
    let (x64, alpha64) = (flat64(&x), flat64(&alpha));
    let expected: Vec<f64> = (0..x64.len())
        .map(|i| alpha64[i % channels] * x64[i] + 0.5)
        .collect();
    check_close("affine", &y, &expected, 1e-6);
}

#[test]
fn copies_are_between_tensors_of_one_shape() {
    let x = random(1, &[2, 3]);
    let view = x.narrow(0, 1, 1).unwrap();
    fill(&view, 2.0).unwrap();
    assert_eq!(flat(&x)[3..], [2.0; 3]);
    assert_ne!(flat(&x)[..3], [2.0; 3]);
    assert!(copy(&x, &random(2, &[3, 2])).is_err());
    assert!(matches!(copy(&x, &x), Err(TensorError::Aliased { .. })));
}
