//! Page-locked memory of the host, events and streams: what is needed beside the one stream of the GPU's work.

use std::ptr::NonNull;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::sys::{
    self, CUevent, CUevent_flags, CUevent_wait_flags, CUstream,
};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, result};

use super::failure;
use crate::TensorError;

/// Memory of the host that a GPU copies to and from by itself.
pub(super) struct Pinned {
    first: NonNull<u8>,
    bytes: usize,
    context: Arc<CudaContext>,
}

// SAFETY: it is plain memory, reached through the borrow of its owner only.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// At least one byte; page-locked memory comes in pages anyway.
    pub(super) fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, TensorError> {
        let refused =
            |error: &dyn std::fmt::Display| failure("allocating page-locked memory", error);
        context.bind_to_thread().map_err(|error| refused(&error))?;
        // SAFETY: the context is current. No flags: the memory is read by the host as well.
        let first = unsafe { result::malloc_host(bytes.max(1), 0) };
        let first = first.map_err(|error| refused(&error))?;
        let first = NonNull::new(first.cast()).ok_or_else(|| refused(&"no address"))?;
        Ok(Self {
            first,
            bytes,
            context: context.clone(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// The memory, once no copy from or to it is under way.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: it is as long, and every byte has been written by the driver or by a copy.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.bytes) }
    }

    /// As [`bytes`](Self::bytes).
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // A driver that refuses this has lost the memory with everything else.
        let _ = self.context.bind_to_thread();
        // SAFETY: it is from `malloc_host`, and whoever owned it has waited for its copies.
        let _ = unsafe { result::free_host(self.first.as_ptr().cast()) };
    }
}

/// A place in the work of a stream that the host or another stream can wait for. One that was never
/// recorded is over.
pub(super) struct Event {
    event: CUevent,
    context: Arc<CudaContext>,
}

// SAFETY: the driver takes events from any thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self, TensorError> {
        context.bind_to_thread().map_err(|error| wrong(&error))?;
        // The host sleeps while it waits: its cores are for those who prepare the data.
        let flags = CUevent_flags::CU_EVENT_DISABLE_TIMING as u32
            | CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32;
        let mut event = std::ptr::null_mut();
        // SAFETY: the context is current, and `event` is where the driver writes to.
        let made = unsafe { sys::cuEventCreate(&mut event, flags) };
        made.result().map_err(|error| wrong(&error))?;
        Ok(Self {
            event,
            context: context.clone(),
        })
    }

    /// Puts it behind everything that the stream was given so far.
    pub(super) fn record(&self, stream: CUstream) -> Result<(), TensorError> {
        self.bind()?;
        // SAFETY: event and stream are those of one context and live.
        unsafe { result::event::record(self.event, stream) }.map_err(|error| wrong(&error))
    }

    /// Whether what came before it is done.
    pub(super) fn is_over(&self) -> Result<bool, TensorError> {
        self.bind()?;
        // SAFETY: the event lives.
        match unsafe { result::event::query(self.event) } {
            Ok(()) => Ok(true),
            Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
            Err(error) => Err(wrong(&error)),
        }
    }

    /// Waits until what came before it is done.
    pub(super) fn wait(&self) -> Result<(), TensorError> {
        self.bind()?;
        // SAFETY: the event lives.
        unsafe { result::event::synchronize(self.event) }.map_err(|error| wrong(&error))
    }

    /// Lets what a stream is given from now on wait for it.
    pub(super) fn hold(&self, stream: CUstream) -> Result<(), TensorError> {
        self.bind()?;
        let flags = CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: event and stream are those of one context and live.
        unsafe { result::stream::wait_event(stream, self.event, flags) }
            .map_err(|error| wrong(&error))
    }

    /// Makes its context that of this thread, which need not be the one that made it.
    fn bind(&self) -> Result<(), TensorError> {
        self.context.bind_to_thread().map_err(|error| wrong(&error))
    }
}

/// A stream beside the one on which everything happens.
pub(super) struct SideStream {
    stream: CUstream,
    context: Arc<CudaContext>,
}

// SAFETY: the driver takes streams from any thread.
unsafe impl Send for SideStream {}
// SAFETY: as above.
unsafe impl Sync for SideStream {}

impl SideStream {
    /// Not by the context's own function, which would have candle order every tensor by events from then on.
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self, TensorError> {
        let wrong = |error| failure("opening a stream of the GPU", &error);
        context.bind_to_thread().map_err(wrong)?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        Ok(Self {
            stream: stream.map_err(wrong)?,
            context: context.clone(),
        })
    }

    pub(super) fn raw(&self) -> CUstream {
        self.stream
    }
}

impl Drop for SideStream {
    fn drop(&mut self) {
        let _ = self.context.bind_to_thread();
        // SAFETY: it is destroyed once, and whoever owned it has waited for its work.
        let _ = unsafe { result::stream::destroy(self.stream) };
    }
}

fn wrong(error: &DriverError) -> TensorError {
    failure("waiting for the GPU", error)
}

impl Drop for Event {
    fn drop(&mut self) {
        let _ = self.context.bind_to_thread();
        // SAFETY: it is destroyed once; the driver keeps what is still pending.
        let _ = unsafe { result::event::destroy(self.event) };
    }
}
