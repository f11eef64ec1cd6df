//! What an output is compared with.

use keros_tensor::Tensor;

/// The form in which a loss takes its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A class index for each row of the output's last axis: one for a sample, or one for each of its positions.
    Labels,
    /// One number per output value.
    Values,
}

/// The targets of a batch on the device.
#[derive(Clone, Debug)]
pub enum Target {
    /// `[N, …]` u32: class indices, for outputs of shape `[N, …, classes]`.
    Labels(Tensor),
    /// f32 of the output's shape.
    Values(Tensor),
}
