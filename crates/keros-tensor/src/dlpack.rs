//! Tensors as other libraries see them: DLPack's `DLTensor`, borrowed and read-only.
//!
//! The layout is that of `dlpack.h`, version 1 (<https://dmlc.github.io/dlpack/latest/c_api.html>).

use std::ffi::c_void;
use std::marker::PhantomData;

use candle_core::{DType, Tensor};

use crate::TensorError;
use crate::memory::{self, Memory};

/// Where memory is: `DLDevice`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DlDevice {
    /// `kDLCPU`, 1.
    pub device_type: i32,
    /// 0 on the CPU.
    pub device_id: i32,
}

/// The type of an element: `DLDataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DlDataType {
    /// `kDLInt` 0, `kDLUInt` 1, `kDLFloat` 2, `kDLBfloat` 4.
    pub code: u8,
    /// Bits of an element.
    pub bits: u8,
    /// Always 1.
    pub lanes: u16,
}

/// A tensor in memory: `DLTensor`. Its pointers are valid as long as the [`TensorView`] it is of.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DlTensor<'a> {
    /// The first element; memory that must not be written.
    pub data: *const c_void,
    /// Where it is.
    pub device: DlDevice,
    /// Number of axes.
    pub ndim: i32,
    /// Type of the elements.
    pub dtype: DlDataType,
    /// `ndim` lengths.
    pub shape: *const i64,
    /// `ndim` distances between neighbours, in elements.
    pub strides: *const i64,
    /// Bytes from `data` to the first element, always 0.
    pub byte_offset: u64,
    borrowed: PhantomData<&'a [u8]>,
}

/// A tensor on the CPU whose memory is lent out for reading. Nobody can write to it, and it is not
/// freed, as long as the view lives; on the same thread it must be dropped before the next write.
///
/// ```
/// use keros_tensor::{Device, Tensor, TensorView};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tensor = Tensor::new(&[[1_f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// let view = TensorView::new(&tensor)?;
/// assert_eq!(view.shape(), [2, 2]);
/// assert_eq!((view.dl_tensor().dtype.code, view.dl_tensor().dtype.bits), (2, 32));
/// # Ok(())
/// # }
/// ```
pub struct TensorView<'a> {
    memory: Memory<'a>,
    dtype: DlDataType,
    shape: Box<[i64]>,
    strides: Box<[i64]>,
}

impl<'a> TensorView<'a> {
    /// Lends out the memory of a tensor.
    ///
    /// # Errors
    /// A tensor that is not on the CPU, not contiguous, or of a type that C does not have; a call
    /// inside the closure of a [write](crate::access::write()).
    pub fn new(tensor: &'a Tensor) -> Result<TensorView<'a>, TensorError> {
        const OP: &str = "viewing a tensor";
        let (code, bits) = match tensor.dtype() {
            DType::U8 => (1, 8),
            DType::U32 => (1, 32),
            DType::I16 => (0, 16),
            DType::I32 => (0, 32),
            DType::I64 => (0, 64),
            DType::BF16 => (4, 16),
            DType::F16 => (2, 16),
            DType::F64 => (2, 64),
            // Other types than these have no memory to open.
            _ => (2, 32),
        };
        let memory = memory::open(OP, tensor)?;
        let shape: Box<[i64]> = tensor.dims().iter().map(|length| *length as i64).collect();
        let mut strides = shape.clone();
        let mut stride = 1;
        for (at, length) in strides.iter_mut().zip(&shape).rev() {
            *at = stride;
            stride *= (*length).max(1);
        }
        let dtype = DlDataType {
            code,
            bits,
            lanes: 1,
        };
        Ok(TensorView {
            memory,
            dtype,
            shape,
            strides,
        })
    }

    /// The lengths of the axes.
    #[must_use]
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// The elements in row-major order, in the byte order of the machine.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory
    }

    /// The view for a C interface.
    #[must_use]
    pub fn dl_tensor(&self) -> DlTensor<'_> {
        DlTensor {
            data: self.memory.as_ptr().cast(),
            device: DlDevice {
                device_type: 1,
                device_id: 0,
            },
            ndim: self.shape.len() as i32,
            dtype: self.dtype,
            shape: self.shape.as_ptr(),
            strides: self.strides.as_ptr(),
            byte_offset: 0,
            borrowed: PhantomData,
        }
    }
}
