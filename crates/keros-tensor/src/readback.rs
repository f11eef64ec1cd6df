//! Values of a device for the host, without waiting for them.

use candle_core::Tensor;

use crate::TensorError;

/// Tensors on their way to the host.
///
/// [`start`](Self::start) notes the values that the tensors have at that point of the device's work
/// and returns at once; the tensors may be overwritten or dropped afterwards.
/// On a GPU the values travel to page-locked memory, in the order of the work and beside what the
/// host does meanwhile.
/// On the CPU nothing is copied: [`wait`](Self::wait) returns the tensors themselves, and who
/// overwrites them in between reads the new values.
///
/// ```
/// use keros_tensor::{Device, Readback, Tensor};
///
/// let losses = Tensor::new(&[0.5f32, 0.25], &Device::Cpu)?;
/// let readback = Readback::start(&[&losses])?;
/// assert!(readback.is_ready()?);
/// let values = readback.wait()?;
/// assert_eq!(values[0].to_vec1::<f32>()?, [0.5, 0.25]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Readback(Values);

enum Values {
    Here(Vec<Tensor>),
    #[cfg(feature = "cuda")]
    OnTheirWay(crate::cuda::readback::Copies),
}

impl Readback {
    /// Starts the copies of contiguous tensors that are all on one device.
    ///
    /// # Errors
    /// A tensor of a GPU that is not contiguous, on another device than the first, or of another
    /// type than [`access`](crate::access) knows; or no memory for the copies.
    pub fn start(tensors: &[&Tensor]) -> Result<Self, TensorError> {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = tensors.first().and_then(|tensor| crate::cuda::gpu(tensor)) {
            let copies = crate::cuda::readback::Copies::start(&gpu, tensors)?;
            return Ok(Self(Values::OnTheirWay(copies)));
        }
        let tensors = tensors.iter().map(|&tensor| tensor.clone());
        Ok(Self(Values::Here(tensors.collect())))
    }

    /// Whether [`wait`](Self::wait) returns at once; always so on the CPU.
    ///
    /// # Errors
    /// The work of the GPU has failed.
    pub fn is_ready(&self) -> Result<bool, TensorError> {
        match &self.0 {
            Values::Here(_) => Ok(true),
            #[cfg(feature = "cuda")]
            Values::OnTheirWay(copies) => copies.is_ready(),
        }
    }

    /// The values as tensors on the CPU, in the order of `start`, when they have arrived.
    ///
    /// # Errors
    /// The work of the GPU has failed.
    pub fn wait(self) -> Result<Vec<Tensor>, TensorError> {
        match self.0 {
            Values::Here(tensors) => Ok(tensors),
            #[cfg(feature = "cuda")]
            Values::OnTheirWay(copies) => copies.wait(),
        }
    }
}
