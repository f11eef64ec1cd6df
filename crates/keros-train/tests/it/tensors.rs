//! Arrays from candle tensors and back.

use crate::test_device::test_device;
use keros_data::{Array, DType as HostType};
use keros_tensor::{DType, Device, Tensor};
use keros_train::{array_from_tensor, tensor_from_array};

#[test]
fn arrays_survive_the_way_through_a_tensor() {
    let shape = [2, 3, 1];
    for array in [
        Array::from_vec(&shape, vec![0_u8, 1, 2, 253, 254, 255]).unwrap(),
        Array::from_vec(&shape, vec![-1.5_f32, 0.0, 1e-30, f32::MAX, 0.1, 2.0]).unwrap(),
        Array::from_vec(&shape, vec![i64::MIN, -1, 0, 1, 2, i64::MAX]).unwrap(),
        Array::from_vec(&[0, 4], Vec::<f32>::new()).unwrap(),
    ] {
        let tensor = tensor_from_array(&array, test_device()).unwrap();
        assert_eq!(tensor.dims(), array.shape());
        assert_eq!(array_from_tensor(&tensor).unwrap(), array);
    }
}

#[test]
fn other_types_take_the_nearest_and_views_are_laid_out() {
    let numbers = Tensor::arange(0.0_f64, 6.0, test_device()).unwrap();
    let turned = numbers.reshape((2, 3)).unwrap().t().unwrap();
    let array = array_from_tensor(&turned).unwrap();
    assert_eq!(array.shape(), [3, 2]);
    let expected = [0.0_f32, 3.0, 1.0, 4.0, 2.0, 5.0];
    assert_eq!(array.as_slice::<f32>().unwrap(), expected);
    for (dtype, expected) in [
        (DType::U32, HostType::I64),
        (DType::BF16, HostType::F32),
        (DType::F16, HostType::F32),
    ] {
        let on_cpu = numbers.to_device(&Device::Cpu).unwrap();
        let tensor = on_cpu.to_dtype(dtype).unwrap();
        let array = array_from_tensor(&tensor).unwrap();
        assert_eq!((array.dtype(), array.len()), (expected, 6));
    }
}
