//! Host arrays from candle tensors and back, for data that a program already has as tensors.

use crate::error::TrainError;
use keros_data::{Array, DType as HostType, Element};
use keros_tensor::{DType, Device, Tensor, TensorError, WithDType};

/// A copy of a tensor in main memory, of the same shape: `u8` stays `u8`, other integers become `i64`,
/// numbers `f32`, rounded if they were longer.
///
/// # Errors
/// An element type that candle cannot convert, or a failure of its device.
pub fn array_from_tensor(tensor: &Tensor) -> Result<Array, TrainError> {
    let values = tensor.flatten_all().map_err(TensorError::from)?;
    let shape = tensor.dims();
    Ok(match tensor.dtype() {
        DType::U8 => Array::from_vec(shape, elements::<u8>(&values)?)?,
        DType::U32 | DType::I16 | DType::I32 | DType::I64 => {
            Array::from_vec(shape, elements::<i64>(&values)?)?
        }
        _ => Array::from_vec(shape, elements::<f32>(&values)?)?,
    })
}

fn elements<T: WithDType>(flat: &Tensor) -> Result<Vec<T>, TensorError> {
    Ok(flat.to_dtype(T::DTYPE)?.to_vec1()?)
}

/// A copy of an array on `device`, of the same shape and type.
///
/// # Errors
/// A failure of the device.
pub fn tensor_from_array(array: &Array, device: &Device) -> Result<Tensor, TrainError> {
    fn upload<T: Element + WithDType>(
        array: &Array,
        device: &Device,
    ) -> Result<Tensor, TensorError> {
        let values = array.as_slice::<T>().unwrap_or_default();
        Ok(Tensor::from_slice(values, array.shape(), device)?)
    }
    let array = array.to_standard_layout();
    Ok(match array.dtype() {
        HostType::U8 => upload::<u8>(&array, device),
        HostType::I64 => upload::<i64>(&array, device),
        _ => upload::<f32>(&array, device),
    }?)
}
