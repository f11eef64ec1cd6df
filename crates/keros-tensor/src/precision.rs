//! How exactly GPUs multiply: a choice for the whole program.

use std::sync::atomic::{AtomicBool, Ordering};

static TF32: AtomicBool = AtomicBool::new(true);

/// Lets GPUs multiply matrices and convolve in TF32, or keeps them from it.
///
/// TF32 rounds the factors of each product to 10 bits of mantissa, or cuts off the others: a relative
/// error of up to `2⁻¹⁰` instead of `2⁻²⁴`; sums and all other operations stay in `f32`. It is several
/// times faster on GPUs from compute capability 8.0 on; older ones and the CPU do not have it.
/// As in Keras on TensorFlow it is allowed by default.
///
/// Holds for what is started after the call, on all threads and GPUs.
///
/// ```
/// assert!(keros_tensor::tf32());
/// keros_tensor::set_tf32(false);
/// assert!(!keros_tensor::tf32());
/// ```
pub fn set_tf32(allowed: bool) {
    TF32.store(allowed, Ordering::Relaxed);
}

/// Whether GPUs may use TF32; see [`set_tf32`].
#[must_use]
pub fn tf32() -> bool {
    TF32.load(Ordering::Relaxed)
}
