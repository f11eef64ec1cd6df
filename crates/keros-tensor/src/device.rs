//! Names of devices as users write them.

use candle_core::{Device, DeviceLocation};

use crate::TensorError;

/// Turns a device name into a [`Device`].
///
/// `"cpu"` is the processor. `"cuda"` (the same as `"cuda:0"`) and `"cuda:N"` name a GPU.
///
/// # Errors
/// [`TensorError::DeviceUnavailable`] for a GPU, since this build has no CUDA support;
/// [`TensorError::UnknownDevice`] for any other name.
pub fn parse_device(name: &str) -> Result<Device, TensorError> {
    let is_cuda = match name.strip_prefix("cuda") {
        Some("") => true,
        Some(index) => index
            .strip_prefix(':')
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())),
        None => false,
    };
    if name == "cpu" {
        Ok(Device::Cpu)
    } else if is_cuda {
        Err(TensorError::DeviceUnavailable { name: name.into() })
    } else {
        Err(TensorError::UnknownDevice { name: name.into() })
    }
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
