//! Whether cuDNN's ways of a convolution are measured: a choice for the whole program.

use std::sync::atomic::{AtomicBool, Ordering};

static BENCHMARK: AtomicBool = AtomicBool::new(false);

/// Has the fastest of cuDNN's algorithms for a convolution found by measurement, or takes the one that cuDNN expects to
/// be the fastest.
///
/// Measuring starts each algorithm a few times when a convolution of a shape is first met, which makes the first step
/// slower, by seconds for a large network, and each shape of a partial batch a first step. Algorithms differ in the order of
/// their sums, and where two are about as fast time decides: the last digits of a training may then differ from one run
/// to the next.
///
/// Off by default, as `torch.backends.cudnn.benchmark`. Holds for shapes that are first met after the call, on all
/// threads and GPUs; without the feature `cudnn`, and on the CPU, there is nothing to measure.
///
/// ```
/// assert!(!keros_tensor::cudnn_benchmark());
/// keros_tensor::set_cudnn_benchmark(true);
/// assert!(keros_tensor::cudnn_benchmark());
/// ```
pub fn set_cudnn_benchmark(on: bool) {
    BENCHMARK.store(on, Ordering::Relaxed);
}

/// Whether cuDNN's algorithms are measured; see [`set_cudnn_benchmark`].
#[must_use]
pub fn cudnn_benchmark() -> bool {
    BENCHMARK.load(Ordering::Relaxed)
}
