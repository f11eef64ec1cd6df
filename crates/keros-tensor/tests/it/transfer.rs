//! Values on their way to a device and back.

use keros_tensor::{Convert, DType, Readback, Tensor, TensorError, Workspace, access, upload};

use crate::support::random;
use crate::test_device::test_device;

fn uploaded<S: Convert<T>, T: access::Element>(values: &[S]) -> Vec<T> {
    let mut ws = Workspace::new(test_device());
    let tensor = upload::<S, T>(&mut ws, &[values.len()], values).unwrap();
    assert_eq!(tensor.dtype(), T::DTYPE);
    access::read::<T>(&tensor).unwrap().to_vec()
}

#[test]
fn values_are_converted_on_the_way() {
    let bytes: Vec<u8> = (0..=255).chain(0..7).collect();
    let floats: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
    assert_eq!(uploaded::<u8, f32>(&bytes), floats);
    assert_eq!(uploaded::<f32, f32>(&floats), floats);
    let whole: Vec<u32> = bytes.iter().map(|&byte| u32::from(byte)).collect();
    assert_eq!(uploaded::<u8, u32>(&bytes), whole);
    assert_eq!(uploaded::<f32, u32>(&floats), whole);

    let long = [0, -1, 1 << 24, (1 << 24) + 1, i64::MAX, i64::MIN];
    let nearest: Vec<f32> = long.iter().map(|&value| value as f32).collect();
    assert_eq!(uploaded::<i64, f32>(&long), nearest);
    let labels = [0_i64, 9, i64::from(u32::MAX)];
    assert_eq!(uploaded::<i64, u32>(&labels), [0, 9, u32::MAX]);
    assert_eq!(uploaded::<u8, f32>(&[]), [0.0; 0]);
}

#[test]
fn special_floats_arrive_as_they_are() {
    let values = [f32::NAN, f32::INFINITY, -0.0, f32::MIN_POSITIVE / 2.0];
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&uploaded::<f32, f32>(&values)), bits(&values));
}

/// The host may be steps ahead: each step must find its own values, whatever was sent since.
#[test]
fn every_step_finds_the_values_of_its_own_uploads() {
    const ROWS: [usize; 4] = [5000, 17, 70_000, 5000];
    let mut ws = Workspace::new(test_device());
    let mut kept = Vec::new();
    for step in 0..24_u8 {
        ws.recycle();
        // As in a batch: pixels, labels, weights; the last ones of an epoch are fewer.
        let rows = ROWS[usize::from(step) % ROWS.len()];
        let pixels = vec![step; rows];
        let labels = vec![i64::from(step); rows / 10];
        let weights = vec![f32::from(step); rows / 10];
        let pixels = upload::<u8, f32>(&mut ws, &[rows], &pixels).unwrap();
        let labels = upload::<i64, u32>(&mut ws, &[rows / 10], &labels).unwrap();
        let weights = upload::<f32, f32>(&mut ws, &[rows / 10], &weights).unwrap();
        kept.push([&pixels, &labels, &weights].map(|tensor| tensor.copy().unwrap()));
    }
    for (step, [pixels, labels, weights]) in kept.iter().enumerate() {
        let value = step as f32;
        assert!(
            access::read::<f32>(pixels)
                .unwrap()
                .iter()
                .all(|&p| p == value)
        );
        assert!(
            access::read::<u32>(labels)
                .unwrap()
                .iter()
                .all(|&l| l as usize == step)
        );
        assert!(
            access::read::<f32>(weights)
                .unwrap()
                .iter()
                .all(|&w| w == value)
        );
    }
}

#[test]
fn more_uploads_than_buffers_in_one_step_are_right_too() {
    let mut ws = Workspace::new(test_device());
    let tensors: Vec<Tensor> = (0..100_u8)
        .map(|k| upload::<u8, f32>(&mut ws, &[300], &[k; 300]).unwrap())
        .collect();
    for (k, tensor) in tensors.iter().enumerate() {
        assert_eq!(*access::read::<f32>(tensor).unwrap(), [k as f32; 300]);
    }
}

#[test]
fn the_shape_has_as_many_elements_as_there_are_values() {
    let mut ws = Workspace::new(test_device());
    let error = upload::<u8, f32>(&mut ws, &[2, 3], &[0; 7]).unwrap_err();
    assert!(matches!(error, TensorError::Shape { .. }), "{error}");
}

#[test]
fn a_readback_has_shapes_types_and_values() {
    let device = test_device();
    let a = random(1, &[3, 5]);
    let b = Tensor::new(&[7_u32, 8], device).unwrap();
    let c = Tensor::new(&[1.5_f64], device).unwrap();
    let empty = Workspace::new(device).take(&[0, 4], DType::F32).unwrap();
    let part = random(2, &[6, 4]).narrow(0, 2, 3).unwrap();
    let expected = [
        access::read::<f32>(&a).unwrap().to_vec(),
        access::read::<f32>(&part).unwrap().to_vec(),
    ];
    let values = Readback::start(&[&a, &b, &c, &empty, &part]).unwrap();
    let values = values.wait().unwrap();
    assert!(values.iter().all(|tensor| tensor.device().is_cpu()));
    assert_eq!(values[0].dims(), [3, 5]);
    assert_eq!(*access::read::<f32>(&values[0]).unwrap(), expected[0]);
    assert_eq!(values[1].to_vec1::<u32>().unwrap(), [7, 8]);
    assert_eq!(values[2].to_vec1::<f64>().unwrap(), [1.5]);
    assert_eq!(values[3].dims(), [0, 4]);
    assert_eq!(*access::read::<f32>(&values[4]).unwrap(), expected[1]);
    assert!(Readback::start(&[]).unwrap().wait().unwrap().is_empty());
}

#[test]
fn a_readback_has_the_values_of_when_it_was_started() {
    let device = test_device();
    if device.is_cpu() {
        // Nothing is copied there.
        return;
    }
    let tensor = Tensor::zeros(1000, DType::F32, device).unwrap();
    let mut started = Vec::new();
    for value in 0..40_u8 {
        tensor.const_set(f32::from(value).into()).unwrap();
        started.push(Readback::start(&[&tensor]).unwrap());
    }
    drop(tensor);
    // The last one first: nobody has to wait in order.
    for (value, readback) in started.into_iter().enumerate().rev() {
        let values = readback.wait().unwrap();
        assert_eq!(values[0].to_vec1::<f32>().unwrap(), [value as f32; 1000]);
    }
}

#[test]
fn readbacks_that_nobody_waits_for_disturb_no_other() {
    let device = test_device();
    for value in 0..40_u8 {
        let dropped = Tensor::full(0.5_f32, 2000, device).unwrap();
        drop(Readback::start(&[&dropped]).unwrap());
        let tensor = Tensor::full(f32::from(value), 2000, device).unwrap();
        let values = Readback::start(&[&tensor]).unwrap().wait().unwrap();
        assert_eq!(
            values[0].to_vec1::<f32>().unwrap(),
            [f32::from(value); 2000]
        );
    }
}

#[test]
fn a_readback_is_ready_when_its_values_are_there() {
    let tensor = random(3, &[10]);
    let readback = Readback::start(&[&tensor]).unwrap();
    test_device().synchronize().unwrap();
    assert!(readback.is_ready().unwrap());
}

#[test]
fn transfers_make_no_copies_that_wait() {
    let mut ws = Workspace::new(test_device());
    let before = access::host_copies();
    let pixels = upload::<u8, f32>(&mut ws, &[4, 4], &[9; 16]).unwrap();
    let readback = Readback::start(&[&pixels]).unwrap();
    assert_eq!(readback.wait().unwrap()[0].dims(), [4, 4]);
    assert_eq!(access::host_copies(), before);
}

#[test]
fn views_with_gaps_are_not_read_back_from_a_gpu() {
    let view = random(4, &[3, 5]).t().unwrap();
    let started = Readback::start(&[&view]);
    match test_device().is_cpu() {
        true => assert_eq!(started.unwrap().wait().unwrap()[0].dims(), [5, 3]),
        false => assert!(matches!(
            started.err(),
            Some(TensorError::NotContiguous { .. })
        )),
    }
}
