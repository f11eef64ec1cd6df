//! What is done in every step of a training stays on the GPU: no memory is copied to the host. On the CPU there is
//! nothing to copy, and these tests only run the kernels.

mod elements;
mod losses;
mod mixed;
mod networks;
mod tf32;

use keros_tensor::Workspace;
use keros_tensor::access::host_copies;

use crate::test_device::test_device;

/// Runs `work` and fails if memory of a GPU was copied to the host or back.
#[track_caller]
fn stays_on_the_gpu(work: impl FnOnce(&mut Workspace)) {
    let mut ws = Workspace::new(test_device());
    let before = host_copies();
    work(&mut ws);
    assert_eq!(host_copies(), before, "copies to the host and back");
}
