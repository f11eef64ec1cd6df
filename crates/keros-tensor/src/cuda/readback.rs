//! Tensors on their way from a GPU to the host: one buffer, one event, nobody waits.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaContext, result};
use candle_core::{DType, Device, Shape, Tensor};

use super::host::{Event, Pinned};
use super::{Gpu, failure, recording};
use crate::TensorError;
use crate::access::Element;

const OP: &str = "reading tensors back";
/// Parts of a buffer start so, which suits every element type.
const ALIGN: usize = 64;
/// Smaller buffers are made as large as this: page-locked memory is slow to get and comes in pages.
const LEAST_BYTES: usize = 1 << 14;
/// Buffers that wait for the next readback, of all devices together.
const MOST_FREE: usize = 16;

static FREE: Mutex<Vec<Buffer>> = Mutex::new(Vec::new());

struct Buffer {
    memory: Pinned,
    /// The last copy into the memory.
    copied: Event,
}

impl Buffer {
    /// The smallest free buffer that is large enough, or a new one.
    fn take(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, TensorError> {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Self| {
            buffer.memory.len() >= bytes && Arc::ptr_eq(buffer.memory.context(), context)
        };
        let smallest = (0..free.len())
            .filter(|&i| fits(&free[i]))
            .min_by_key(|&i| free[i].memory.len());
        if let Some(index) = smallest {
            let buffer = free.swap_remove(index);
            drop(free);
            // One whose values nobody waited for may still be written.
            buffer.copied.wait()?;
            return Ok(buffer);
        }
        drop(free);
        Ok(Self {
            memory: Pinned::new(context, bytes.next_power_of_two().max(LEAST_BYTES))?,
            copied: Event::new(context)?,
        })
    }

    /// Keeps it for the next readback; of too many the smallest goes.
    fn give(self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(self);
        if free.len() > MOST_FREE {
            let smallest = (0..free.len()).min_by_key(|&i| free[i].memory.len());
            let extra = free.swap_remove(smallest.unwrap_or_default());
            drop(free);
            let _ = extra.copied.wait();
        }
    }
}

struct Part {
    first: usize,
    bytes: usize,
    dtype: DType,
    shape: Shape,
}

/// Copies of tensors that are under way or have arrived.
pub(crate) struct Copies {
    /// `None` only in `drop`.
    buffer: Option<Buffer>,
    parts: Vec<Part>,
}

impl Copies {
    pub(crate) fn start(gpu: &Gpu, tensors: &[&Tensor]) -> Result<Self, TensorError> {
        recording::flush()?;
        let stream = gpu.stream();
        let mut parts = Vec::with_capacity(tensors.len());
        let mut sources = Vec::with_capacity(tensors.len());
        let mut end = 0;
        for tensor in tensors {
            sources.push(gpu.address_of_any(OP, tensor)?);
            let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
            parts.push(Part {
                first: end,
                bytes,
                dtype: tensor.dtype(),
                shape: tensor.shape().clone(),
            });
            end = (end + bytes).next_multiple_of(ALIGN);
        }
        let mut buffer = Buffer::take(stream.context(), end)?;
        for (part, source) in parts.iter().zip(sources) {
            let to = &mut buffer.memory.bytes_mut()[part.first..part.first + part.bytes];
            if to.is_empty() {
                continue;
            }
            // SAFETY: the source is as long as the part. What is written to it or freed later is so
            // on the same stream, and the buffer is not touched before its event is over.
            let copied = unsafe { result::memcpy_dtoh_async(to, source, stream.cu_stream()) };
            copied.map_err(|error| failure(OP, &error))?;
        }
        buffer.copied.record(stream.cu_stream())?;
        Ok(Self {
            buffer: Some(buffer),
            parts,
        })
    }

    pub(crate) fn is_ready(&self) -> Result<bool, TensorError> {
        let buffer = self.buffer.as_ref();
        buffer.map_or(Ok(true), |buffer| buffer.copied.is_over())
    }

    pub(crate) fn wait(self) -> Result<Vec<Tensor>, TensorError> {
        let Some(buffer) = &self.buffer else {
            return Ok(Vec::new());
        };
        buffer.copied.wait()?;
        let bytes = buffer.memory.bytes();
        self.parts
            .iter()
            .map(|part| {
                let bytes = &bytes[part.first..part.first + part.bytes];
                match part.dtype {
                    DType::F64 => tensor_of::<f64>(bytes, &part.shape),
                    DType::U8 => tensor_of::<u8>(bytes, &part.shape),
                    DType::U32 => tensor_of::<u32>(bytes, &part.shape),
                    DType::I64 => tensor_of::<i64>(bytes, &part.shape),
                    _ => tensor_of::<f32>(bytes, &part.shape),
                }
            })
            .collect()
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            buffer.give();
        }
    }
}

fn tensor_of<T: Element + candle_core::WithDType>(
    bytes: &[u8],
    shape: &Shape,
) -> Result<Tensor, TensorError> {
    // SAFETY: elements are plain numbers for which every pattern of bits is a value.
    let (before, values, after) = unsafe { bytes.align_to::<T>() };
    debug_assert!(before.is_empty() && after.is_empty(), "parts are aligned");
    Ok(Tensor::from_slice(values, shape, &Device::Cpu)?)
}
