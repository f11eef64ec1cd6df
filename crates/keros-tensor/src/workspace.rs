//! The pool of buffers that every step reuses, so that no step allocates.

use std::fmt;
#[cfg(feature = "cuda")]
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::graph::Graphs;
use crate::{TensorError, access};

/// Buffers start on a cache line: a 64-byte vector load then touches one line.
const ALIGN_BYTES: usize = 64;
/// A buffer unused for this many recycles is dropped.
const KEEP_RECYCLES: u64 = 16;
/// A buffer serves requests down to a half of its size, or down to this many bytes less.
const SLACK_BYTES: usize = 4096;

/// A pool of recycled buffers on one device.
///
/// [`take`](Self::take) lends a tensor, [`recycle`](Self::recycle) takes back everything lent, and
/// from the second step on the same memory serves again.
///
/// # Ownership
/// A tensor from `take`, and every view of it (reshaped, narrowed, cloned), is valid until the next
/// `recycle`, or until the tensor is handed to [`give`](Self::give); after that its contents change
/// without notice.
/// Whoever keeps values longer copies them (`Tensor::copy`).
///
/// # Memory
/// A request is served by the smallest free buffer that is large enough and at most twice as large
/// (or 4 KiB larger), and by a new one otherwise.
/// A buffer that 16 recycles in a row did not use is dropped, so the pool holds what the last steps
/// used and no more.
/// Where a GPU has no memory left for a new buffer, the free ones are dropped first.
pub struct Workspace {
    device: Device,
    buffers: Vec<Buffer>,
    recycles: u64,
    /// What [`upload`](crate::upload) sends values through.
    #[cfg(feature = "cuda")]
    uploads: Option<crate::cuda::upload::Ring>,
    /// What was recorded with it.
    #[cfg(feature = "cuda")]
    graphs: Arc<Mutex<Graphs>>,
}

struct Buffer {
    storage: Tensor,
    key: usize,
    /// Index of the first element on a cache line.
    start: usize,
    capacity: usize,
    lent: bool,
    last_used: u64,
}

impl Workspace {
    /// An empty pool on `device`.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            buffers: Vec::new(),
            recycles: 0,
            #[cfg(feature = "cuda")]
            uploads: None,
            #[cfg(feature = "cuda")]
            graphs: Arc::default(),
        }
    }

    /// The device of the buffers.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Lends a contiguous tensor of `shape` and `dtype` with unspecified contents.
    ///
    /// # Errors
    /// The shape has more elements than memory can address, or the device has no memory left
    /// ([`TensorError::OutOfMemory`] on a GPU).
    pub fn take(&mut self, shape: &[usize], dtype: DType) -> Result<Tensor, TensorError> {
        let size = dtype.size_in_bytes().max(1);
        let elements = shape
            .iter()
            .try_fold(1usize, |n, &dim| n.checked_mul(dim))
            .filter(|n| {
                n.checked_mul(size)
                    .is_some_and(|b| b < isize::MAX as usize / 2)
            })
            .ok_or_else(|| TensorError::shape("taking buffer", "shape", "fewer elements", shape))?;
        let limit = (2 * elements).max(elements + SLACK_BYTES / size);
        let best = (0..self.buffers.len())
            .filter(|&i| {
                let buffer = &self.buffers[i];
                !buffer.lent
                    && buffer.storage.dtype() == dtype
                    && (elements..=limit).contains(&buffer.capacity)
            })
            .min_by_key(|&i| self.buffers[i].capacity);
        let index = match best {
            Some(index) => index,
            None => {
                let buffer = self.allocate(elements, dtype, size)?;
                self.buffers.push(buffer);
                self.buffers.len() - 1
            }
        };
        let buffer = &mut self.buffers[index];
        buffer.lent = true;
        buffer.last_used = self.recycles;
        let view = buffer.storage.narrow(0, buffer.start, elements)?;
        Ok(view.reshape(shape)?)
    }

    fn allocate(
        &mut self,
        elements: usize,
        dtype: DType,
        size: usize,
    ) -> Result<Buffer, TensorError> {
        let capacity = elements.max(1);
        let storage = self.storage(capacity + ALIGN_BYTES / size, dtype)?;
        let start = match dtype {
            // A GPU aligns its buffers by itself.
            _ if !self.device.is_cpu() => 0,
            DType::F32 => aligned_start::<f32>(&storage)?,
            DType::F64 => aligned_start::<f64>(&storage)?,
            DType::U8 => aligned_start::<u8>(&storage)?,
            DType::U32 => aligned_start::<u32>(&storage)?,
            DType::I64 => aligned_start::<i64>(&storage)?,
            _ => 0,
        };
        Ok(Buffer {
            key: access::storage_key(&storage)?,
            storage,
            start,
            capacity,
            lent: false,
            last_used: self.recycles,
        })
    }

    /// New memory for a buffer.
    fn storage(&mut self, elements: usize, dtype: DType) -> Result<Tensor, TensorError> {
        let made = Tensor::zeros(elements, dtype, &self.device);
        #[cfg(feature = "cuda")]
        if let Err(error) = &made
            && crate::cuda::is_out_of_memory(error)
        {
            crate::cuda::recording::flush()?;
            self.buffers.retain(|buffer| buffer.lent);
            self.uploads = None;
            // The memory is free when what it was used for is done.
            self.device.synchronize()?;
            return Tensor::zeros(elements, dtype, &self.device).map_err(|error| {
                let bytes = elements * dtype.size_in_bytes();
                match crate::cuda::is_out_of_memory(&error) {
                    true => crate::cuda::out_of_memory("taking buffer", Some(bytes)),
                    false => error.into(),
                }
            });
        }
        Ok(made?)
    }

    /// Begins to record what kernels do, if this is memory of a GPU and nothing is recorded yet.
    #[cfg(feature = "cuda")]
    pub(crate) fn record(&self) -> bool {
        let gpu = crate::cuda::Gpu::of(&self.device);
        gpu.is_some_and(|gpu| crate::cuda::recording::open(gpu, &self.graphs))
    }

    /// The uploads of the last steps to this GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn uploads(
        &mut self,
        gpu: &crate::cuda::Gpu,
    ) -> Result<&mut crate::cuda::upload::Ring, TensorError> {
        match self.uploads {
            Some(ref mut uploads) => Ok(uploads),
            ref mut none @ None => Ok(none.insert(crate::cuda::upload::Ring::new(gpu)?)),
        }
    }

    /// Takes a lent tensor, or any view of it, back before the step ends.
    ///
    /// A tensor that is not from this pool is left alone.
    pub fn give(&mut self, tensor: &Tensor) {
        if let Ok(key) = access::storage_key(tensor) {
            for buffer in &mut self.buffers {
                if buffer.key == key {
                    buffer.lent = false;
                }
            }
        }
    }

    /// Takes everything back: the start of a step.
    pub fn recycle(&mut self) {
        self.recycles += 1;
        #[cfg(feature = "cuda")]
        if let Some(uploads) = &mut self.uploads {
            uploads.turn();
        }
        let oldest = self.recycles.saturating_sub(KEEP_RECYCLES);
        self.buffers.retain(|buffer| buffer.last_used >= oldest);
        for buffer in &mut self.buffers {
            buffer.lent = false;
        }
    }

    /// Bytes that the pool holds, lent or free.
    pub fn bytes(&self) -> usize {
        let of_buffers = self
            .buffers
            .iter()
            .map(|b| b.storage.elem_count() * b.storage.dtype().size_in_bytes())
            .sum();
        #[cfg(feature = "cuda")]
        if let Some(uploads) = &self.uploads {
            return of_buffers + uploads.bytes();
        }
        of_buffers
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace")
            .field("device", &self.device)
            .field("buffers", &self.buffers.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

fn aligned_start<T: access::Element>(storage: &Tensor) -> Result<usize, TensorError> {
    let start = access::read::<T>(storage)?
        .as_ptr()
        .align_offset(ALIGN_BYTES);
    Ok(if start <= ALIGN_BYTES / size_of::<T>() {
        start
    } else {
        0
    })
}
