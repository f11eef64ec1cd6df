//! Dense layers against naive loops.

use keros_tensor::Workspace;
use keros_tensor::kernels::{Activation, dense, dense_backward};
use proptest::prelude::*;

use crate::support::{check_close, flat, flat64, random, same_bits_on_every_path, tensor};
use crate::test_device::test_device;

fn check_dense(outer: &[usize], inputs: usize, outputs: usize, relu: bool, with_bias: bool) {
    let mut ws = Workspace::new(test_device());
    let batch: usize = outer.iter().product();
    let shape = |last| [outer, &[last]].concat();
    let (x, w) = (random(1, &shape(inputs)), random(2, &[inputs, outputs]));
    let bias = random(3, &[outputs]);
    let activation = if relu {
        Activation::Relu
    } else {
        Activation::Linear
    };
    let bias_used = with_bias.then_some(&bias);
    let (x64, w64, bias64) = (flat64(&x), flat64(&w), flat64(&bias));

    let y = dense(&mut ws, &x, &w, bias_used, activation).unwrap();
    assert_eq!(y.dims(), shape(outputs));
    let expected: Vec<f64> = (0..batch * outputs)
        .map(|i| {
            let (row, column) = (i / outputs, i % outputs);
            let sum: f64 = (0..inputs)
                .map(|k| x64[row * inputs + k] * w64[k * outputs + column])
                .sum();
            let z = sum + if with_bias { bias64[column] } else { 0.0 };
            if relu { z.max(0.0) } else { z }
        })
        .collect();
    check_close("y", &y, &expected, 5e-5);

    let dy = random(4, &shape(outputs));
    let dz: Vec<f64> = flat64(&dy)
        .iter()
        .zip(flat(&y))
        .map(|(&dy, y)| if relu && y <= 0.0 { 0.0 } else { dy })
        .collect();
    let (mut dx64, mut dw64) = (vec![0.0; x64.len()], vec![0.0; w64.len()]);
    let mut dbias64 = vec![0.0; outputs];
    for (i, dz) in dz.iter().enumerate() {
        let (row, column) = (i / outputs, i % outputs);
        dbias64[column] += dz;
        for k in 0..inputs {
            dx64[row * inputs + k] += dz * w64[k * outputs + column];
            dw64[k * outputs + column] += dz * x64[row * inputs + k];
        }
    }
    for need_dx in [false, true] {
        let (dw, dbias) = (random(5, &[inputs, outputs]), random(6, &[outputs]));
        let dbias = with_bias.then_some(&dbias);
        let dx = dense_backward(&mut ws, &x, &w, &y, &dy, activation, &dw, dbias, need_dx).unwrap();
        check_close("dw", &dw, &dw64, 5e-5);
        if let Some(dbias) = dbias {
            check_close("dbias", dbias, &dbias64, 5e-5);
        }
        assert_eq!(dx.is_some(), need_dx);
        if let Some(dx) = dx {
            assert_eq!(dx.dims(), x.dims());
            check_close("dx", &dx, &dx64, 5e-5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn matches_naive_loops(
        outer in prop::collection::vec(0usize..5, 0..3),
        inputs in 1usize..40,
        outputs in 1usize..40,
        relu in any::<bool>(),
        with_bias in any::<bool>(),
    ) {
        same_bits_on_every_path(|| check_dense(&outer, inputs, outputs, relu, with_bias));
    }
}

#[test]
fn matches_naive_loops_beyond_one_tile() {
    check_dense(&[150], 140, 130, true, true);
    check_dense(&[3, 70], 9, 300, false, true);
    check_dense(&[70], 300, 10, true, false);
}

/// A sum of so many terms, one added after the other, would lose two digits.
#[test]
fn the_bias_gradient_of_many_rows_is_exact() {
    let (rows, outputs) = (1 << 20, 3);
    let constant = |columns: usize| tensor(&vec![0.1; rows * columns], &[rows, columns]);
    let (x, w, dy) = (constant(1), random(1, &[1, outputs]), constant(outputs));
    same_bits_on_every_path(|| {
        let mut ws = Workspace::new(test_device());
        let (dw, dbias) = (random(2, &[1, outputs]), random(3, &[outputs]));
        let (linear, bias) = (Activation::Linear, Some(&dbias));
        dense_backward(&mut ws, &x, &w, &dy, &dy, linear, &dw, bias, false).unwrap();
        let expected = vec![rows as f64 * f64::from(0.1_f32); outputs];
        check_close("dbias", &dbias, &expected, 1e-5);
    });
}

#[test]
fn a_layer_without_outputs_has_gradients() {
    let ws = &mut Workspace::new(test_device());
    for activation in [Activation::Linear, Activation::Relu] {
        let (x, w) = (random(1, &[4, 3]), tensor(&[], &[3, 0]));
        let (bias, dw) = (tensor(&[], &[0]), tensor(&[], &[3, 0]));
        let y = dense(ws, &x, &w, Some(&bias), activation).unwrap();
        assert_eq!(y.dims(), [4, 0]);
        let dy = tensor(&[], &[4, 0]);
        let dx = dense_backward(ws, &x, &w, &y, &dy, activation, &dw, Some(&bias), true);
        assert_eq!(flat(&dx.unwrap().unwrap()), [0.0; 12]);
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let mut ws = Workspace::new(test_device());
    let (x, w) = (random(1, &[4, 3]), random(2, &[3, 5]));
    let bad = dense(&mut ws, &random(1, &[4, 2]), &w, None, Activation::Linear).unwrap_err();
    assert_eq!(
        bad.to_string(),
        "dense: input has the wrong shape (expected […, 3], found [4, 2])"
    );
    assert!(dense(&mut ws, &x, &random(2, &[3]), None, Activation::Linear).is_err());
    assert!(dense(&mut ws, &x, &w, Some(&random(3, &[4])), Activation::Linear).is_err());
    let y = dense(&mut ws, &x, &w, None, Activation::Linear).unwrap();
    let dw = random(4, &[5, 3]);
    let bad = dense_backward(
        &mut ws,
        &x,
        &w,
        &y,
        &y,
        Activation::Linear,
        &dw,
        None,
        false,
    );
    assert!(bad.unwrap_err().to_string().contains("kernel gradient"));
}

/// A gradient buffer that is also an input would be overwritten while it is read.
#[test]
fn aliased_gradients_are_errors() {
    let mut ws = Workspace::new(test_device());
    let (x, w) = (random(1, &[4, 3]), random(2, &[3, 4]));
    let y = dense(&mut ws, &x, &w, None, Activation::Linear).unwrap();
    let dw = x.reshape((3, 4)).unwrap();
    let result = dense_backward(
        &mut ws,
        &x,
        &w,
        &y,
        &y,
        Activation::Linear,
        &dw,
        None,
        false,
    );
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("shares its storage")
    );
}
