//! Work for a GPU that is gathered first, so that work that comes again is started at once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{TensorError, Workspace};

static GRAPHS: AtomicBool = AtomicBool::new(true);

/// Lets GPUs be told of the passes of a network as CUDA graphs, or not.
///
/// A pass through a small network takes the processor longer, which starts one kernel after the other, than the GPU.
/// Of passes that come again, with the same shapes in the same memory, a graph is made at the second time, and from
/// then on one call starts all of its kernels. What cannot be a graph is started as ever: the values are the same to
/// the bit.
///
/// On by default. Holds for the [recordings](Recording) that start after the call, on all threads and GPUs.
///
/// ```
/// assert!(keros_tensor::cuda_graphs());
/// keros_tensor::set_cuda_graphs(false);
/// assert!(!keros_tensor::cuda_graphs());
/// ```
pub fn set_cuda_graphs(on: bool) {
    GRAPHS.store(on, Ordering::Relaxed);
}

/// Whether GPUs are told of passes as graphs; see [`set_cuda_graphs`].
#[must_use]
pub fn cuda_graphs() -> bool {
    GRAPHS.load(Ordering::Relaxed)
}

/// How many CUDA graphs this thread has started.
#[must_use]
pub fn cuda_graph_starts() -> u64 {
    #[cfg(feature = "cuda")]
    return crate::cuda::recording::graph_starts();
    #[cfg(not(feature = "cuda"))]
    0
}

/// A stretch of work on one thread, of which a GPU is told when it [ends](Self::finish).
///
/// Until then the [`kernels`](crate::kernels) check their arguments and take their memory, but start nothing.
/// Functions of this crate that read or write memory of the GPU in another way start what was recorded before. Other
/// code does not know of it: around operations of candle on tensors of the GPU stands [`unrecorded`].
///
/// On the CPU, with [`set_cuda_graphs`] switched off and inside another recording it does nothing.
/// If it is dropped without [`finish`](Self::finish), as after an error, what is still recorded is not done.
///
/// ```
/// use keros_tensor::kernels::{self, Activation};
/// use keros_tensor::{Device, Recording, Tensor, Workspace};
///
/// let mut ws = Workspace::new(&Device::Cpu);
/// let x = Tensor::new(&[-1f32, 2.0], &Device::Cpu)?;
/// let recording = Recording::start(&ws);
/// let y = kernels::activation(&mut ws, &x, Activation::Relu)?;
/// recording.finish()?;
/// assert_eq!(y.to_vec1::<f32>()?, [0.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "what is recorded is done when it is finished"]
#[derive(Debug)]
pub struct Recording {
    /// Whether this one has opened what the thread records to.
    is_open: bool,
    /// A recording is that of its thread.
    _of_thread: std::marker::PhantomData<*const ()>,
}

impl Recording {
    /// Records what kernels do on the device of the workspace, whose memory they take; graphs live as long as the
    /// workspace.
    pub fn start(ws: &Workspace) -> Self {
        #[cfg(feature = "cuda")]
        let is_open = cuda_graphs() && ws.record();
        #[cfg(not(feature = "cuda"))]
        let is_open = {
            let _ = ws;
            false
        };
        Self {
            is_open,
            _of_thread: std::marker::PhantomData,
        }
    }

    /// Starts what was recorded.
    ///
    /// # Errors
    /// The driver or a library refuses work; none of what comes after it is done.
    pub fn finish(mut self) -> Result<(), TensorError> {
        if std::mem::take(&mut self.is_open) {
            #[cfg(feature = "cuda")]
            return crate::cuda::recording::close();
        }
        Ok(())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        #[cfg(feature = "cuda")]
        if self.is_open {
            crate::cuda::recording::discard();
        }
    }
}

/// Runs `work`, which may use candle's operations, with nothing being recorded on this thread: what was recorded before
/// is started first.
///
/// # Errors
/// The driver or a library refuses what was recorded; `work` does not run then.
pub fn unrecorded<R>(work: impl FnOnce() -> R) -> Result<R, TensorError> {
    #[cfg(feature = "cuda")]
    let _pause = crate::cuda::recording::Pause::start()?;
    Ok(work())
}
