//! Numbers of the host on their way to a GPU: they travel on a stream of their own, beside the work on the batches
//! before, and are converted when they have arrived.
//!
//! Each upload has a page-locked buffer, which the host fills, and a buffer on the GPU, into which the copy stream
//! copies it. Two events keep the order: the host fills the one buffer only when the copy before is over, and the copy
//! into the other starts only when the conversion before has read it. The buffers of one step serve again three steps
//! later, so that the copies of at most three steps are under way.

use std::sync::Arc;

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::sys;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr as _, PushKernelArg as _, result,
};

use super::host::{Event, Pinned, SideStream};
use super::{Gpu, each, failure, modules, out_of_memory, recording};
use crate::access::Element;
use crate::parallel::{chunks_mut, for_each_part};
use crate::upload::Sealed;
use crate::{TensorError, Workspace};

const OP: &str = "uploading values";
/// Steps whose uploads may be under way.
const STEPS: usize = 3;
/// Uploads of one step that have buffers of their own; more of them wait for each other.
const MOST_OF_A_STEP: usize = 32;
/// Bytes that one task copies into page-locked memory.
const CHUNK: usize = 1 << 20;
/// Buffers are made as large as a multiple of this.
const ROUND: usize = 4096;

/// [`upload`](crate::upload): the caller has checked the length.
pub(crate) fn upload<S: Sealed<T>, T: Element>(
    gpu: &Gpu,
    ws: &mut Workspace,
    to: &Tensor,
    values: &[S],
) -> Result<(), TensorError> {
    let n = values.len();
    if n == 0 {
        return Ok(());
    }
    recording::flush()?;
    let to = gpu.address_of_any(OP, to)?;
    // SAFETY: the values are plain numbers without padding.
    let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
    let stream = gpu.stream();
    let ring = ws.uploads(gpu)?;
    let stage = ring.send(&stream, bytes)?;
    let from = stage.arrived.device_ptr(&stream).0;
    match S::KERNEL {
        None => {
            // SAFETY: both are as long as the values, and ordered by the stream.
            let copied =
                unsafe { result::memcpy_dtod_async(to, from, bytes.len(), stream.cu_stream()) };
            copied.map_err(|error| failure(OP, &error))?;
        }
        Some(kernel) => {
            let function = gpu.function(kernel, ("UPLOAD", modules::UPLOAD))?;
            let (threads, n) = (each(n), n as i64);
            let mut builder = stream.launch_builder(&function);
            builder.arg(&from).arg(&to).arg(&n);
            // SAFETY: these are the arguments of all kernels in upload.cu, and both buffers are as long as the values.
            unsafe { builder.launch(threads) }.map_err(|error| failure(OP, &error))?;
        }
    }
    stage.read.record(stream.cu_stream())
}

/// The buffers of the last steps.
pub(crate) struct Ring {
    steps: [Vec<Stage>; STEPS],
    step: usize,
    /// Uploads of this step so far.
    next: usize,
    /// Dropped after the stages, which wait for it.
    copying: SideStream,
}

impl Ring {
    pub(crate) fn new(gpu: &Gpu) -> Result<Self, TensorError> {
        Ok(Self {
            steps: Default::default(),
            step: 0,
            next: 0,
            copying: SideStream::new(gpu.stream().context())?,
        })
    }

    /// A step is over.
    pub(crate) fn turn(&mut self) {
        self.step = (self.step + 1) % STEPS;
        self.next = 0;
    }

    /// Bytes that it holds on the GPU.
    pub(crate) fn bytes(&self) -> usize {
        let stages = self.steps.iter().flatten();
        stages.map(|stage| stage.arrived.len()).sum()
    }

    /// Sends bytes to the GPU; what the stream is given from now on finds them there.
    fn send(&mut self, stream: &Arc<CudaStream>, bytes: &[u8]) -> Result<&mut Stage, TensorError> {
        let stages = &mut self.steps[self.step];
        let index = self.next % MOST_OF_A_STEP;
        self.next += 1;
        if stages
            .get(index)
            .is_none_or(|stage| stage.arrived.len() < bytes.len())
        {
            stages.truncate(index);
            stages.push(Stage::new(stream, bytes.len().next_multiple_of(ROUND))?);
        }
        let stage = &mut stages[index];
        stage.copied.wait()?;
        let staged = &mut stage.staging.bytes_mut()[..bytes.len()];
        for_each_part(chunks_mut(staged, CHUNK), |i, part: &mut [u8]| {
            part.copy_from_slice(&bytes[i * CHUNK..][..part.len()]);
        });
        let copying = self.copying.raw();
        stage.read.hold(copying)?;
        let to = stage.arrived.device_ptr(stream).0;
        // SAFETY: both buffers are as long, and neither is touched before its event.
        let copied = unsafe {
            result::memcpy_htod_async(to, &stage.staging.bytes()[..bytes.len()], copying)
        };
        copied.map_err(|error| failure(OP, &error))?;
        stage.copied.record(copying)?;
        stage.copied.hold(stream.cu_stream())?;
        Ok(stage)
    }
}

/// The buffers of one upload.
struct Stage {
    staging: Pinned,
    arrived: CudaSlice<u8>,
    /// The last copy from `staging` to `arrived`.
    copied: Event,
    /// What has last read `arrived`.
    read: Event,
}

impl Stage {
    fn new(stream: &Arc<CudaStream>, bytes: usize) -> Result<Self, TensorError> {
        let context = stream.context();
        // SAFETY: nothing is read of it before it is written.
        let arrived = unsafe { stream.alloc(bytes) };
        let stage = Self {
            arrived: arrived.map_err(|error| match error.0 {
                sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => out_of_memory(OP, Some(bytes)),
                _ => failure(OP, &error),
            })?,
            staging: Pinned::new(context, bytes)?,
            copied: Event::new(context)?,
            read: Event::new(context)?,
        };
        // The buffer is there when the stream has come to this point.
        stage.read.record(stream.cu_stream())?;
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Neither buffer is given back under the copy.
        let _ = self.copied.wait();
    }
}
