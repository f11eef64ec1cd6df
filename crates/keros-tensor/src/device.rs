//! Names of devices as users write them.

use candle_core::{Device, DeviceLocation};

use crate::TensorError;

/// Turns a device name into a [`Device`].
///
/// `"cpu"` is the processor. `"cuda"` (the same as `"cuda:0"`) and `"cuda:N"` name a GPU, which takes
/// the feature `cuda`.
///
/// A GPU opened here works through all that it is given in one order, on a stream of its own.
///
/// # Errors
/// [`TensorError::DeviceUnavailable`] for a GPU in a build without the feature `cuda`,
/// [`TensorError::NoGpu`] where there is no driver or no GPU of this number;
/// [`TensorError::UnknownDevice`] for any other name.
pub fn parse_device(name: &str) -> Result<Device, TensorError> {
    let unknown = || TensorError::UnknownDevice { name: name.into() };
    match name.strip_prefix("cuda") {
        None if name == "cpu" => Ok(Device::Cpu),
        None => Err(unknown()),
        Some("") => open_gpu(name, 0),
        Some(index) => {
            let digits = index.strip_prefix(':').ok_or_else(unknown)?;
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(unknown());
            }
            // No machine has so many GPUs as make this overflow.
            open_gpu(name, digits.parse().unwrap_or(usize::MAX))
        }
    }
}

#[cfg(feature = "cuda")]
fn open_gpu(name: &str, index: usize) -> Result<Device, TensorError> {
    crate::cuda::open(index).map_err(|reason| TensorError::NoGpu {
        name: name.into(),
        reason,
    })
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(name: &str, _: usize) -> Result<Device, TensorError> {
    Err(TensorError::DeviceUnavailable { name: name.into() })
}

/// The name by which [`parse_device`] finds a device, such as `cuda:0`.
pub fn device_name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".to_owned(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// The kind of a device, for messages.
pub(crate) fn kind(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    }
}
