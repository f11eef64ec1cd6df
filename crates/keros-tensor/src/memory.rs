//! Tensor memory as bytes, whatever the element type: for files and for other libraries.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Tensor};

use crate::TensorError;
use crate::access::{self, Reading};

/// The memory of a contiguous tensor, read-locked until dropped.
pub(crate) struct Memory<'a> {
    reading: Reading<'a>,
    range: Range<usize>,
}

impl Deref for Memory<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let storage = self.reading.storage();
        storage.map_or(&[], |storage| bytes(storage, self.range.clone()))
    }
}

/// Opens the memory of `tensor` for reading, in the byte order of the machine.
///
/// # Errors
/// The tensor is not on the CPU, is not contiguous or has elements of a type for which neither numpy
/// nor C has one, or the call is made inside the closure of a write.
pub(crate) fn open<'a>(op: &'static str, tensor: &'a Tensor) -> Result<Memory<'a>, TensorError> {
    if !has_bytes(tensor.dtype()) {
        return Err(TensorError::DType {
            op,
            expected: DType::F32,
            found: tensor.dtype(),
        });
    }
    let (reading, range) = Reading::start(op, tensor)?;
    match reading.storage() {
        Some(_) => Ok(Memory { reading, range }),
        None => Err(access::not_on_cpu(op, tensor)),
    }
}

macro_rules! dtypes {
    ($($dtype:ident)*) => {
        fn has_bytes(dtype: DType) -> bool {
            matches!(dtype, $(DType::$dtype)|*)
        }

        fn bytes(storage: &CpuStorage, range: Range<usize>) -> &[u8] {
            match storage {
                $(CpuStorage::$dtype(values) => {
                    let values = &values[range];
                    // SAFETY: the values are plain numbers without padding, borrowed as long as the
                    // result.
                    unsafe {
                        std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values))
                    }
                })*
                _ => &[],
            }
        }
    };
}

dtypes!(U8 U32 I16 I32 I64 BF16 F16 F32 F64);
