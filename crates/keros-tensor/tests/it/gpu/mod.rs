//! What is done in every step of a training stays on the GPU: no memory is copied to the host. On the CPU there is
//! nothing to copy, and these tests only run the kernels.

mod elements;
mod losses;
mod mixed;
mod networks;
mod tf32;

use keros_tensor::Workspace;
use keros_tensor::access::host_copies;
use keros_tensor::kernels::{Conv2dSpec, Padding};
use proptest::prelude::*;

use crate::support::NaiveConv;
use crate::test_device::test_device;

/// Runs `work` and fails if memory of a GPU was copied to the host or back.
#[track_caller]
fn stays_on_the_gpu(work: impl FnOnce(&mut Workspace)) {
    let mut ws = Workspace::new(test_device());
    let before = host_copies();
    work(&mut ws);
    assert_eq!(host_copies(), before, "copies to the host and back");
}

/// Convolutions as cuDNN may be given them: any kernel, stride, dilation, padding and grouping, of channels that fill
/// tensor cores and of others.
fn convolutions() -> impl Strategy<Value = NaiveConv> {
    let channels = || prop_oneof![1 => 1usize..6, 1 => Just(8), 1 => Just(16), 1 => Just(40)];
    let padding = [Padding::Valid, Padding::Same, Padding::Causal];
    let one_or = |most: usize| prop_oneof![1 => Just((1, 1)), 1 => (1..most, 1..most)];
    (
        (1usize..4, 1usize..12, 1usize..12),
        (1usize..8, 1usize..8),
        (channels(), channels()),
        prop_oneof![3 => Just(1usize), 1 => 2usize..4],
        (one_or(4), one_or(3)),
        proptest::sample::select(padding.to_vec()),
    )
        .prop_map(
            |((n, h, w), (kh, kw), (ci, co), groups, (strides, dilation), padding)| {
                let spec = Conv2dSpec {
                    strides,
                    padding,
                    dilation,
                    groups,
                };
                NaiveConv {
                    x: [n, h, w, ci * groups],
                    w: [kh, kw, ci, co * groups],
                    spec,
                }
            },
        )
        .prop_filter("windows larger than the images", |case| {
            case.spec.output_shape(case.x, case.w).is_ok()
        })
}
