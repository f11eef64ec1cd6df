//! The device that the tests run on: `KEROS_TEST_DEVICE` names it, such as `cuda`; by default it is the CPU.

use keros_tensor::{Device, parse_device, set_tf32};

/// The device of `KEROS_TEST_DEVICE`, which multiplies as exactly as it can.
pub(crate) fn test_device() -> Device {
    let name = std::env::var("KEROS_TEST_DEVICE");
    set_tf32(false);
    parse_device(name.as_deref().unwrap_or("cpu")).unwrap()
}
