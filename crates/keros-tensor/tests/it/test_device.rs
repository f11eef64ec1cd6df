//! The device that the tests run on: `KEROS_TEST_DEVICE` names it, such as `cuda`; by default it is the CPU.
//! With `KEROS_TEST_GRAPHS` what comes again on a GPU is started as graphs.

use std::sync::LazyLock;

use keros_tensor::{Device, parse_device, set_cuda_graphs, set_tf32};

static DEVICE: LazyLock<Device> = LazyLock::new(|| {
    set_tf32(false);
    set_cuda_graphs(std::env::var_os("KEROS_TEST_GRAPHS").is_some());
    let name = std::env::var("KEROS_TEST_DEVICE");
    parse_device(name.as_deref().unwrap_or("cpu")).unwrap()
});

/// The device of `KEROS_TEST_DEVICE`, which multiplies as exactly as it can.
pub(crate) fn test_device() -> &'static Device {
    &DEVICE
}
